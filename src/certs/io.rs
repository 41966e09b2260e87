//! The files of certificates and keys, and the handshakes of the links.

#[cfg(feature = "etcd")]
mod etcd;
mod seal;
mod shared;
mod sources;
mod store;
mod watch;

#[cfg(feature = "etcd")]
pub use etcd::{EtcdAccess, EtcdBackend};
pub use seal::Seals;
pub use shared::{Backend, Everything, Following, Found, Shared, Trouble};
pub use sources::{Change, Contents, Material, Sources, judge_own};
pub use store::{Pair, Store};
pub use watch::Watch;

use super::{CertificateName, Error, FileFault, Identity, LinkTls, Moment, Notice, Own, PeerRefused, verify};
use crate::causality::SiteId;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, TlsConnector, client, server};
use zeroize::Zeroizing;

/// Longest PEM file.
const PEM_BYTES_MAX: usize = 1 << 20;
/// How long a certificate made here is good.
const VALID_YEARS: u64 = 10;
/// How far a certificate made here reaches back, for peers whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(24 * 3_600);

/// Where a certificate and its key stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The certificate, which peers get.
    pub certificate: PathBuf,
    /// The key, which nobody gets.
    pub key: PathBuf,
}

impl Paths {
    /// `{name}.pem` and `{name}.key` in `dir`.
    pub fn new(dir: &Path, name: CertificateName) -> Paths {
        Paths {
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        }
    }
}

/// Our certificate as it stands on disk.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The certificate and its key.
    pub own: Own,
    /// Where it stands.
    pub paths: Paths,
    /// True if it was made just now.
    pub is_new: bool,
}

/// Loads our certificate, or makes a self-signed one if there is none: ECDSA P-256, ten years, for the
/// `hosts` (names or addresses under which peers dial us) and the identity.
///
/// # Errors
/// The files are there and wrong, or cannot be written.
pub fn ensure(
    dir: &Path,
    name: CertificateName,
    identity: &Identity,
    hosts: &[String],
) -> Result<Loaded, Error> {
    let paths = Paths::new(dir, name);
    let is_new = !exists(&paths.certificate)?;
    if is_new {
        make(dir, &paths, identity, hosts)?;
    }
    Ok(Loaded {
        is_new,
        ..load(dir, name, identity)?
    })
}

/// Loads our certificate.
///
/// # Errors
/// A file is missing or wrong, the two do not belong together, the certificate is out of date or names
/// somebody else.
pub fn load(dir: &Path, name: CertificateName, identity: &Identity) -> Result<Loaded, Error> {
    let store = Store::new(dir);
    let paths = store.paths(name);
    let pair = store.pair(name)?.ok_or_else(|| {
        let why = std::io::Error::from(std::io::ErrorKind::NotFound);
        at(&paths.certificate, why.into())
    })?;
    Ok(Loaded {
        own: judge_own(&pair, &paths, name, identity)?,
        paths,
        is_new: false,
    })
}

fn at(path: &Path, fault: FileFault) -> Error {
    Error::File {
        path: path.into(),
        fault: Box::new(fault),
    }
}

/// The time, as certificates tell it.
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Moment(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|why| at(path, why.into()))
}

fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    // A vector that grows leaves copies of a key behind.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    bytes.reserve_exact(length.min(PEM_BYTES_MAX) + 1);
    file.take(PEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > PEM_BYTES_MAX {
        return Err(FileFault::TooLarge { max: PEM_BYTES_MAX });
    }
    Ok(bytes)
}

/// Whether others can read a key.
fn key_exposed(paths: &Paths) -> Result<Option<Notice>, Error> {
    let meta = std::fs::metadata(&paths.key).map_err(|why| at(&paths.key, why.into()))?;
    let mode = meta.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then(|| Notice::KeyExposed {
        path: paths.key.clone(),
        mode,
    }))
}

/// Makes a certificate and writes the key first: a certificate on disk always has its key. A key without a
/// certificate is one of ours whose making was cut short, or one that waits for its certificate: it is used.
fn make(dir: &Path, paths: &Paths, identity: &Identity, hosts: &[String]) -> Result<(), Error> {
    let refused = |why: rcgen::Error| Error::Make(why.to_string());
    let params = params(identity, hosts).map_err(refused)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|why| at(dir, why.into()))?;
    let key = if exists(&paths.key)? {
        let text = Zeroizing::new(read(&paths.key).map_err(|fault| at(&paths.key, fault))?);
        let text = str::from_utf8(&text).map_err(|_| at(&paths.key, FileFault::NoKey))?;
        KeyPair::from_pem(text).map_err(|why| at(&paths.key, FileFault::Key(why.to_string())))?
    } else {
        let key = KeyPair::generate().map_err(refused)?;
        let text = Zeroizing::new(key.serialize_pem());
        write(dir, &paths.key, text.as_bytes(), 0o600).map_err(|why| at(&paths.key, why.into()))?;
        key
    };
    let certificate = params.self_signed(&key).map_err(refused)?;
    write(dir, &paths.certificate, certificate.pem().as_bytes(), 0o644)
        .map_err(|why| at(&paths.certificate, why.into()))
}

fn params(identity: &Identity, hosts: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common = format!("{} {}", identity.database_id(), identity.site());
    params.distinguished_name.push(DnType::CommonName, common);
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            // "Every address" is where one listens, not where one is.
            Ok(address) if address.is_unspecified() => continue,
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    let uri = SanType::URI(identity.to_string().try_into()?);
    params.subject_alt_names.push(uri);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let now = SystemTime::now();
    let valid = Duration::from_secs(VALID_YEARS * 31_556_952);
    params.not_before = now.checked_sub(BACKDATED).unwrap_or(now).into();
    params.not_after = now.checked_add(valid).unwrap_or(now).into();
    Ok(params)
}

/// Writes a file so that it is there whole and with its rights, or not at all, also after a power cut.
pub(crate) fn write(dir: &Path, path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match std::fs::remove_file(&unfinished) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(dir)?.sync_all()
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// One side refused the other.
    #[error(transparent)]
    Refused(#[from] PeerRefused),
    /// The peer is not configured, so it cannot be dialed.
    #[error("site {0} is not a configured peer")]
    NotAPeer(SiteId),
    /// The other side closed the connection.
    #[error("the other side closed the connection during the TLS handshake; is it a syncer's link port?")]
    Closed,
    /// It took too long.
    #[error("the TLS handshake took longer than {0:?}")]
    TimedOut(Duration),
    /// The socket failed.
    #[error("the connection broke during the TLS handshake: {0}")]
    Socket(std::io::ErrorKind),
}

/// What an error of a TLS stream means: at the handshake or, where the peer's refusal of our certificate
/// arrives with TLS 1.3, at the first read.
pub fn meaning(error: &std::io::Error) -> HandshakeError {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return HandshakeError::Refused(verify::refused(error));
    }
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof
        | std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::BrokenPipe => HandshakeError::Closed,
        kind => HandshakeError::Socket(kind),
    }
}

/// Takes a peer's connection: returns the stream and who is at the other end.
///
/// # Errors
/// Nobody we know, or not in time.
pub async fn accept<S>(
    tls: &LinkTls,
    socket: S,
    timeout: Duration,
) -> Result<(server::TlsStream<S>, SiteId), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(tls.server().clone()).accept(socket);
    let stream = within(timeout, handshake).await?;
    let site = tls.admit(stream.get_ref().1)?;
    Ok((stream, site))
}

/// Who came.
#[derive(Debug)]
pub enum Arrival<S> {
    /// A peer.
    Peer(server::TlsStream<S>, SiteId),
    /// Somebody with an invitation, who has shown a certificate.
    Guest(server::TlsStream<S>),
}

/// Takes a peer's connection, or that of whoever asks for the protocol of guests, which has settings of its own.
///
/// # Errors
/// Nobody we know and no guest, or not in time.
pub async fn accept_guests<S>(
    tls: &LinkTls,
    (protocol, settings): (&[u8], Arc<ServerConfig>),
    socket: S,
    timeout: Duration,
) -> Result<Arrival<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = async {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let named = hello.client_hello().alpn();
        let is_guest = named.is_some_and(|mut named| named.any(|name| name == protocol));
        let settings = if is_guest { settings } else { tls.server().clone() };
        Ok((hello.into_stream(settings).await?, is_guest))
    };
    let (stream, is_guest) = within(timeout, handshake).await?;
    if is_guest {
        return Ok(Arrival::Guest(stream));
    }
    let site = tls.admit(stream.get_ref().1)?;
    Ok(Arrival::Peer(stream, site))
}

/// Dials whoever shows the certificate with this fingerprint.
///
/// # Errors
/// Somebody else answers, or not in time.
pub async fn dial_pinned<S>(
    settings: Arc<ClientConfig>,
    socket: S,
    timeout: Duration,
) -> Result<client::TlsStream<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let nowhere = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    within(timeout, TlsConnector::from(settings).connect(nowhere, socket)).await
}

/// Opens the dialed connection to a peer. That the peer refuses *us* may show with TLS 1.3 only at the first
/// read: see [`meaning`].
///
/// # Errors
/// Somebody else answers, or not in time.
pub async fn dial<S>(
    tls: &LinkTls,
    site: SiteId,
    socket: S,
    timeout: Duration,
) -> Result<client::TlsStream<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = tls.client(site).ok_or(HandshakeError::NotAPeer(site))?;
    // The verifier asks for the site, not for a name, and no name is sent.
    let nowhere = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    let handshake = TlsConnector::from(config.clone()).connect(nowhere, socket);
    let stream = within(timeout, handshake).await?;
    tls.admit(stream.get_ref().1)?;
    Ok(stream)
}

async fn within<T>(
    timeout: Duration,
    handshake: impl Future<Output = std::io::Result<T>>,
) -> Result<T, HandshakeError> {
    match tokio::time::timeout(timeout, handshake).await {
        Ok(done) => done.map_err(|error| meaning(&error)),
        Err(_) => Err(HandshakeError::TimedOut(timeout)),
    }
}

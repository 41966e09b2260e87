//! Connections to the database: plain or TLS, logged in and named.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{GreetingError, ServerInfo, Url};
use crate::resp::reply::{Extent, Value, value};
use crate::resp::{Limits, encode};

/// Read from the socket at once. TLS by itself asks for 4 KiB, a quarter of one of its records.
const READ_BYTES: usize = 64 * 1024;

/// TLS to the database: what verifies it, and with what we prove ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbTls {
    /// PEM of the CA that signed the database's certificate.
    pub ca_file: PathBuf,
    /// PEM of our certificate and its key, where the database asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name in the database's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

/// Why the database could not be reached or asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("cannot connect to the database at {url}: {error}")]
    Socket {
        /// Its address.
        url: String,
        /// What the system said.
        error: io::Error,
    },
    /// Not in time.
    #[error("the database at {url} does not answer within {timeout:?}")]
    TimedOut {
        /// Its address.
        url: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// A file for TLS.
    #[error("database_tls: {path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS.
    #[error("TLS with the database at {url}: {why}")]
    Tls {
        /// Its address.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// It closed the connection, or what it says is no RESP.
    #[error("the database's connection: {0}")]
    Broken(String),
    /// It refuses us.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
}

/// A connection to the database.
#[derive(Debug)]
pub enum Stream {
    /// Plain.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

/// Connects.
///
/// # Errors
/// The database cannot be reached, or TLS fails.
pub async fn connect(url: &Url, tls: Option<&DbTls>, timeout: Duration) -> Result<Stream, ConnectError> {
    match tokio::time::timeout(timeout, connect_now(url, tls)).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::TimedOut {
            url: url.to_string(),
            timeout,
        }),
    }
}

async fn connect_now(url: &Url, tls: Option<&DbTls>) -> Result<Stream, ConnectError> {
    let socket = |error| ConnectError::Socket {
        url: url.to_string(),
        error,
    };
    let stream = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(socket)?;
    stream.set_nodelay(true).map_err(socket)?;
    if !url.tls {
        return Ok(Stream::Tcp(stream));
    }
    let refused = |why: String| ConnectError::Tls {
        url: url.to_string(),
        why,
    };
    let Some(tls) = tls else {
        return Err(refused("database_tls.ca_file is not configured".to_owned()));
    };
    let config = Arc::new(client_config(tls).map_err(|error| match error {
        TlsFault::File(path, why) => ConnectError::File { path, why },
        TlsFault::Config(why) => refused(why),
    })?);
    let name = tls.server_name.as_deref().unwrap_or(&url.host);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| refused(error.to_string()))?;
    let stream = TlsConnector::from(config)
        .connect(name, BufReader::with_capacity(READ_BYTES, stream))
        .await
        .map_err(|error| refused(error.to_string()))?;
    Ok(Stream::Tls(Box::new(stream)))
}

enum TlsFault {
    File(PathBuf, String),
    Config(String),
}

fn client_config(tls: &DbTls) -> Result<ClientConfig, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsFault::File(tls.ca_file.clone(), error.to_string()))?;
    }
    let config = |error: rustls::Error| TlsFault::Config(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(config)?
        .with_root_certificates(roots);
    match &tls.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| TlsFault::File(key.clone(), error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(config)
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let fault = |why: String| TlsFault::File(path.to_owned(), why);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fault(error.to_string()))?;
    if found.is_empty() {
        return Err(fault("no certificate in it".to_owned()));
    }
    Ok(found)
}

/// Logs in, names the connection and asks who answers.
///
/// # Errors
/// The server refuses, or is no Redis or Valkey.
pub async fn greet(stream: &mut Stream, url: &Url, name: &str) -> Result<ServerInfo, ConnectError> {
    if let Some(password) = &url.password {
        let password = password.expose().as_bytes();
        let answer = match &url.user {
            Some(user) => command(stream, &[b"AUTH", user.as_bytes(), password]).await?,
            None => command(stream, &[b"AUTH", password]).await?,
        };
        expect_ok("AUTH", &answer)?;
    }
    let answer = command(stream, &[b"CLIENT", b"SETNAME", name.as_bytes()]).await?;
    expect_ok("CLIENT SETNAME", &answer)?;
    let answer = command(stream, &[b"INFO", b"server"]).await?;
    let info = match &answer {
        Value::BulkString(text) => ServerInfo::parse(&String::from_utf8_lossy(text)),
        _ => None,
    };
    info.ok_or_else(|| GreetingError::of("INFO server", &answer).into())
}

fn expect_ok(command: &'static str, answer: &Value) -> Result<(), ConnectError> {
    match answer {
        Value::SimpleString(_) => Ok(()),
        _ => Err(GreetingError::of(command, answer).into()),
    }
}

/// Sends one command and waits for its reply. Not for the hot path: nothing is pipelined.
///
/// # Errors
/// The connection breaks or what comes is no RESP2. An error reply is a value.
pub async fn command(stream: &mut Stream, args: &[&[u8]]) -> Result<Value, ConnectError> {
    let broken = |error: io::Error| ConnectError::Broken(error.to_string());
    let mut out = Vec::new();
    encode::command(&mut out, args);
    stream.write_all(&out).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut input = BytesMut::with_capacity(4096);
    let mut extent = Extent::new();
    let limits = Limits::default();
    loop {
        let reply = value(&mut input, &mut extent, &limits);
        if let Some(reply) = reply.map_err(|error| ConnectError::Broken(error.to_string()))? {
            return Ok(reply);
        }
        if stream.read_buf(&mut input).await.map_err(broken)? == 0 {
            return Err(ConnectError::Broken("closed by the database".to_owned()));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, from),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, from),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

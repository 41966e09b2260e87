//! Certificates: who is a peer, and with what we prove who we are.
//!
//! Owns the names and identities of certificates, what makes a certificate acceptable ([`Trust`]), the TLS
//! settings of the links ([`LinkTls`]), and in `io` the files and the handshakes. Depends on `causality` for
//! site names, and on `suggest`. Everything but `io` is pure: files come in as bytes, the time as an argument.
//!
//! ```text
//! PEM ──pem──▶ DER ──facts──▶ names, dates ──trust──▶ which peer it speaks for ──policy──▶ rustls settings
//! ```
//!
//! Invariants:
//! - A link without a certificate from both sides, or without [`ALPN`] on both sides, does not come about.
//! - A certificate speaks for one site at most: the peer in whose file it stands, or, if a CA in that peer's
//!   file signed it, the peer that its names tell. Never for ourselves, never for another database.
//! - Nothing is resumed: every connection proves itself anew, so a new [`LinkTls`] is a complete reload.
//! - What is judged is judged whole: a set of files of which one is faulty changes nothing.
//! - No key is shown by `Debug` or an error.

mod ciphers;
mod cluster;
mod error;
mod expiry;
#[cfg(feature = "io")]
mod facts;
mod identity;
#[cfg(feature = "io")]
pub mod io;
mod moment;
#[cfg(feature = "io")]
mod pem;
#[cfg(feature = "io")]
mod policy;
mod refusal;
mod reload;
#[cfg(feature = "io")]
mod revocations;
#[cfg(feature = "io")]
mod stranger;
#[cfg(feature = "io")]
mod trust;
#[cfg(feature = "io")]
mod verify;

#[cfg(all(test, feature = "io"))]
mod tests;

use crate::suggest;
use std::collections::BTreeMap;
use std::fmt;

pub use ciphers::{CIPHER_LIST_BYTES_MAX, CipherError, CipherList, Suite};
pub use cluster::{CLUSTER_SETTINGS, Cluster, ClusterError};
pub use error::{Error, FileFault, Notice, StoreFault};
pub use expiry::Expiry;
#[cfg(feature = "io")]
pub use facts::{Facts, fingerprint};
pub use identity::{DATABASE_ID_BYTES_MAX, Identity, IdentityError};
pub use moment::Moment;
#[cfg(feature = "io")]
pub use pem::{OwnFile, PeerFile, certificates, leaf, own, peer_file, text};
#[cfg(feature = "io")]
pub use policy::{LinkTls, Own};
pub use refusal::PeerRefused;
pub use reload::{RETRY_MS, Verdict, Watched};
#[cfg(feature = "io")]
pub use revocations::Revocations;
#[cfg(feature = "io")]
pub use stranger::{pinned_client, stranger_server};
#[cfg(feature = "io")]
pub use trust::{Role, Trust};

/// The protocol's name in the TLS handshake. Its number is that of the handshake, not of the link frames.
pub const ALPN: &[u8] = b"syncer/1";

/// What a certificate is for; also the name of its files, `{name}.pem` and `{name}.key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateName {
    /// The console of the cluster manager.
    Cm,
    /// The REST API.
    Api,
    /// Client connections through the proxy.
    Proxy,
    /// The links between syncers.
    Syncer,
    /// The metrics for collectors.
    MetricsExporter,
}

impl CertificateName {
    /// All of them.
    pub const ALL: [CertificateName; 5] = [
        CertificateName::Cm,
        CertificateName::Api,
        CertificateName::Proxy,
        CertificateName::Syncer,
        CertificateName::MetricsExporter,
    ];

    /// The name as the operator writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            CertificateName::Cm => "cm",
            CertificateName::Api => "api",
            CertificateName::Proxy => "proxy",
            CertificateName::Syncer => "syncer",
            CertificateName::MetricsExporter => "metrics_exporter",
        }
    }
}

/// A word that is no certificate's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said:?} is no certificate{meant}; there are cm, api, proxy, syncer, metrics_exporter", meant = meant(.said))]
pub struct NameError {
    /// What was said.
    pub said: String,
}

fn meant(said: &str) -> String {
    suggest::nearest(said, CertificateName::ALL.map(CertificateName::as_str))
        .map(|near| format!(", did you mean {near}?"))
        .unwrap_or_default()
}

impl std::str::FromStr for CertificateName {
    type Err = NameError;

    fn from_str(said: &str) -> Result<CertificateName, NameError> {
        let known = CertificateName::ALL
            .into_iter()
            .find(|name| name.as_str() == said);
        known.ok_or_else(|| NameError {
            said: said.to_owned(),
        })
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The oldest TLS version that a link accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    V1_2,
    /// TLS 1.3 only.
    #[default]
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        })
    }
}

/// What can be set about the links' TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The oldest version that either side may use.
    pub tls_version_min: TlsVersion,
    /// The cipher suites that may be used, the preferred one first.
    pub cipher_suites: CipherList,
}

/// What was counted about handshakes, all since start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Peers that were let in or reached.
    pub admitted: u64,
    /// Peers that were refused or refused us, by [`PeerRefused::label`].
    pub refused: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Counts one refusal.
    pub fn note(&mut self, refused: &PeerRefused) {
        *self.refused.entry(refused.label()).or_default() += 1;
    }
}

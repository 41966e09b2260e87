//! Certificates: who is a peer, and with what we prove who we are.
//!
//! Owns the names and identities of certificates, what makes a certificate acceptable ([`Trust`]), the TLS
//! settings of the links ([`LinkTls`]), and in `io` the files and the handshakes. Depends on `causality` for
//! site names. Everything but `io` is pure: files come in as bytes, the time as an argument.
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
//! - No key is shown by `Debug` or an error.

mod error;
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
#[cfg(feature = "io")]
mod trust;
#[cfg(feature = "io")]
mod verify;

#[cfg(all(test, feature = "io"))]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use error::{Error, FileFault, Notice};
#[cfg(feature = "io")]
pub use facts::{Facts, fingerprint};
pub use identity::{DATABASE_ID_BYTES_MAX, Identity, IdentityError};
pub use moment::Moment;
#[cfg(feature = "io")]
pub use pem::{OwnFile, certificates, own};
#[cfg(feature = "io")]
pub use policy::{LinkTls, Own};
pub use refusal::PeerRefused;
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

/// What can be set about the links' TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// The oldest version that either side may use.
    pub tls_version_min: TlsVersion,
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

//! Why a peer was refused, or refused us.

use super::Moment;
use crate::causality::SiteId;

/// Why no link came about after TCP did. [`PeerRefused::label`] is for metrics, the text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// The certificate stands in no peer's file, and no CA of the peer it names signed it.
    #[error(
        "the certificate {fingerprint}{claim} is not trusted; put it, or the CA that signed it, into the file \
         that this peer's `certificate` names", claim = claim(.claims)
    )]
    UnknownCertificate {
        /// Of the certificate.
        fingerprint: String,
        /// The peer that it says it is. Unproven.
        claims: Option<SiteId>,
    },
    /// Its time is over.
    #[error("the peer's certificate expired at {0}; renew it there, or set this machine's clock")]
    Expired(Moment),
    /// Its time has not come.
    #[error("the peer's certificate is not valid before {0}; one of the two clocks is wrong")]
    NotYetValid(Moment),
    /// It is another peer's.
    #[error("the certificate is that of site {found}, not of {expected}; check the peer's `address`")]
    WrongSite {
        /// Who was dialed.
        expected: SiteId,
        /// Who answered.
        found: SiteId,
    },
    /// It names a site that is no peer of ours.
    #[error("the certificate names site {0}, which is not configured here; add a [[peer]] block for it")]
    UnknownSite(SiteId),
    /// It is for another database.
    #[error(
        "the certificate is for database id {found}, this is {expected}; check `address` and `database_id`"
    )]
    WrongDatabase {
        /// Ours.
        expected: String,
        /// The certificate's.
        found: String,
    },
    /// It is our own, or names our own site.
    #[error(
        "the certificate is our own or names our own site; the address leads back to this syncer, or two sites \
         share one name or certificate"
    )]
    OwnSite,
    /// Its names fit several peers.
    #[error("the certificate names more than one site, so it proves none; issue one certificate per site")]
    Ambiguous,
    /// It cannot be read, or its syncer URI cannot.
    #[error("the peer's certificate cannot be read: {0}")]
    Malformed(String),
    /// Signed, but not to be used by a client or server of TLS.
    #[error(
        "the certificate does not allow its use on a link; it needs the extended key usages serverAuth and \
         clientAuth, or none"
    )]
    WrongPurpose,
    /// A revocation list names it or one of its chain.
    #[error("the peer's certificate, or a CA of its chain, is revoked; it needs a new one")]
    Revoked,
    /// There are revocation lists, and none for a CA of its chain.
    #[error(
        "no revocation list in this peer's file is of the CA that signed its certificate; add it, or take all lists \
         out"
    )]
    NoRevocationList,
    /// A revocation list is out of date.
    #[error("the revocation list in this peer's file was to be renewed by {0}; put the new one there")]
    RevocationListExpired(Moment),
    /// The chain has a fault of another kind.
    #[error("the peer's certificate was not verified: {0}")]
    NotVerified(String),
    /// The peer does not hold the certificate's key.
    #[error("the peer's signature is wrong; it does not hold the key of its certificate")]
    BadSignature,
    /// The peer showed no certificate.
    #[error("the peer showed no certificate; a link needs one from both sides")]
    NoCertificate,
    /// The peer speaks something else over TLS.
    #[error("the peer does not speak syncer/1 (ALPN); is it a syncer's link port?")]
    BadAlpn,
    /// No common TLS version.
    #[error("no TLS version in common; compare `tls_version_min` at both sites")]
    TlsVersion,
    /// The other side does not speak TLS.
    #[error("the other side does not speak TLS; is it a syncer's link port?")]
    NotTls,
    /// The peer refused us, in TLS' own words.
    #[error(
        "the peer refused the connection ({0}); its log tells why, often our certificate in its peer file is \
         an old one"
    )]
    RefusedByPeer(String),
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed: {0}")]
    Protocol(String),
}

fn claim(site: &Option<SiteId>) -> String {
    site.map(|site| format!(", which names site {site},"))
        .unwrap_or_default()
}

impl PeerRefused {
    /// A fixed word for metrics and scripts.
    pub fn label(&self) -> &'static str {
        match self {
            PeerRefused::UnknownCertificate { .. } => "unknown_certificate",
            PeerRefused::Expired(_) => "expired",
            PeerRefused::NotYetValid(_) => "not_yet_valid",
            PeerRefused::WrongSite { .. } => "wrong_site",
            PeerRefused::UnknownSite(_) => "unknown_site",
            PeerRefused::WrongDatabase { .. } => "wrong_database",
            PeerRefused::OwnSite => "own_site",
            PeerRefused::Ambiguous => "ambiguous",
            PeerRefused::Malformed(_) => "malformed",
            PeerRefused::WrongPurpose => "wrong_purpose",
            PeerRefused::Revoked => "revoked",
            PeerRefused::NoRevocationList => "no_revocation_list",
            PeerRefused::RevocationListExpired(_) => "revocation_list_expired",
            PeerRefused::NotVerified(_) => "not_verified",
            PeerRefused::BadSignature => "bad_signature",
            PeerRefused::NoCertificate => "no_certificate",
            PeerRefused::BadAlpn => "bad_alpn",
            PeerRefused::TlsVersion => "tls_version",
            PeerRefused::NotTls => "not_tls",
            PeerRefused::RefusedByPeer(_) => "refused_by_peer",
            PeerRefused::Protocol(_) => "protocol",
        }
    }
}

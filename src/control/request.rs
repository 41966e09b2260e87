//! What a running syncer is asked, and what it answers: one JSON object on one line each.

use super::view::StatusView;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// Longest file of a certificate or key in a request.
pub const PEM_BYTES_MAX: usize = 256 << 10;
/// Longest request line, its newline included: two files, whose line ends take two bytes each, and names.
pub const REQUEST_BYTES_MAX: usize = 5 * PEM_BYTES_MAX;
/// Longest response line, its newline included.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// A request: `{"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The status of this syncer.
    Status,
    /// A site is gone for good: keys that wait for its value get this site's.
    Overrule {
        /// The site's name.
        site: String,
    },
    /// Another site is to be invited.
    Invite {
        /// Where it reaches this one; nothing if `link.listen` tells.
        address: Option<String>,
        /// For so many seconds.
        valid_s: u64,
    },
    /// Certificates and the cluster's settings; answered without a running syncer, too.
    Cluster(ClusterRequest),
}

/// What is asked about certificates and the cluster's settings: `{"request":"cluster","about":"certificate_list"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClusterRequest {
    /// A certificate and its key take the place of another.
    CertificateSet {
        /// Which one.
        name: String,
        /// The certificate and its chain, PEM.
        certificate: String,
        /// The key, PEM.
        key: KeyText,
    },
    /// What is known of a certificate, or of all.
    CertificateShow {
        /// Which one.
        name: Option<String>,
    },
    /// One line for each certificate.
    CertificateList,
    /// The files are looked at now.
    CertificateReload,
    /// The other sites.
    PeerList,
    /// A peer that joined is none any more.
    PeerRemove {
        /// Which one.
        site: String,
    },
    /// All invitations that are open are taken back.
    InvitationWithdraw,
    /// The cluster's settings.
    ClusterShow,
    /// A setting of the cluster gets a value.
    ClusterSet {
        /// Which one.
        setting: String,
        /// Its value.
        value: String,
    },
}

/// A private key, or an invitation, on its way: not shown, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// Hides a key.
    pub fn new(text: String) -> KeyText {
        KeyText(Zeroizing::new(text))
    }

    /// The key itself. Never hand it to a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A response: `{"status":{...}}`, `{"invitation":{...}}`, `{"done":"..."}` or `{"error":"..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The status of this syncer.
    Status(Box<StatusView>),
    /// An invitation: its line, and for a human until when it is good and what to compare.
    Invitation {
        /// The line, with the secret in it.
        line: KeyText,
        /// The rest.
        words: String,
    },
    /// It was done: what, for a human.
    Done(String),
    /// Why the request was not served.
    Error(String),
}

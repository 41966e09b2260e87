//! What can be wrong with our own files and the peers' files.

use super::{Identity, Moment};
use crate::causality::SiteId;
use std::path::PathBuf;

/// Why the certificates on disk cannot be used. Nothing of it goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is wrong.
    #[error("{path}: {fault}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Box<FileFault>,
    },
    /// A peer's file is wrong.
    #[error("{path} (certificate of peer {site}): {fault}", path = path.display())]
    Peer {
        /// The peer.
        site: SiteId,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Box<FileFault>,
    },
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}; check the host names given for it")]
    Make(String),
    /// The TLS library refused the settings.
    #[error("the TLS settings are refused: {0}")]
    Tls(String),
    /// The store that the syncers of the site share.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl Error {
    /// A fixed word for metrics and scripts.
    pub fn label(&self) -> &'static str {
        match self {
            Error::File { fault, .. } => fault.label(),
            Error::Peer { .. } => "peer_file",
            Error::Make(_) => "make",
            Error::Tls(_) => "policy",
            Error::Store(_) => "store",
        }
    }
}

/// What is wrong with the store that the syncers of a site share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// Nobody answers.
    #[error("etcd is not reached: {0}")]
    Unreachable(String),
    /// It answers, and refuses.
    #[error("etcd refuses: {0}")]
    Refused(String),
    /// There is no answer, and nothing here to go on with.
    #[error("{why}; and {dir} holds no copy of this site's certificate to start with", dir = dir.display())]
    NoCopy {
        /// The directory.
        dir: PathBuf,
        /// Why there is no answer.
        why: Box<StoreFault>,
    },
    /// A file of the access to it.
    #[error("{path}: {why}", path = path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file of the keys that seal.
    #[error("{path} (etcd.seal_file): {why}; one to eight lines of 64 hexadecimal digits are needed: openssl rand -hex 32",
        path = path.display())]
    SealFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// None of our keys opens a value.
    #[error("the value {name} in etcd does not open with a key of {path} (etcd.seal_file); the syncers of a site need the \
        same keys, and this value was sealed with another one, or by nobody", path = path.display())]
    Sealed {
        /// Its full name.
        name: String,
        /// The file of our keys.
        path: PathBuf,
    },
    /// It cannot be sealed.
    #[error("the value {0} is too long to be put into etcd")]
    NotSealed(String),
    /// It opens, and reads as nothing that this version writes.
    #[error("the value {0} in etcd does not read; was it written by a later version?")]
    Malformed(String),
    /// Somebody else was faster.
    #[error(
        "{0} was changed by another syncer of this site meanwhile; nothing is replaced. Look at it, and set it again"
    )]
    Changed(String),
}

impl StoreFault {
    /// Whether it may be over by itself.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreFault::Unreachable(_))
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The system refused to read or write it.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// Longer than any file of certificates.
    #[error("the file is larger than {max} bytes; is it a PEM file?")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// More certificates than any chain.
    #[error("the file holds more than {max} certificates")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// Not PEM.
    #[error("the file does not parse as PEM: {0}")]
    Pem(String),
    /// No certificate in it.
    #[error("no certificate in it; a PEM file with -----BEGIN CERTIFICATE----- is needed")]
    NoCertificate,
    /// A certificate does not parse.
    #[error("certificate {number} in it does not parse: {why}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Why.
        why: String,
    },
    /// More revocation lists than CAs.
    #[error("the file holds more than {max} revocation lists")]
    TooManyRevocationLists {
        /// The limit.
        max: usize,
    },
    /// A revocation list does not parse.
    #[error(
        "revocation list {number} in it does not parse: {why}; a list of version 2 with a CRL number is needed"
    )]
    RevocationList {
        /// Counted from 1.
        number: usize,
        /// Why.
        why: String,
    },
    /// No key in it.
    #[error("no private key in it; PKCS#8, PKCS#1 or SEC1 in PEM is needed")]
    NoKey,
    /// The key is locked with a pass phrase.
    #[error(
        "the private key is encrypted, and nobody could be asked for its pass phrase; decrypt it: openssl pkey"
    )]
    EncryptedKey,
    /// The key is of a kind or size not supported.
    #[error(
        "the private key cannot be used: {0}; ECDSA P-256 or P-384, Ed25519 or RSA from 2048 bits is needed"
    )]
    Key(String),
    /// Key and certificate do not belong together.
    #[error("the private key is not that of the certificate next to it; replace both files together")]
    KeyMismatch,
    /// The key is missing though the certificate is there.
    #[error(
        "the private key is missing, though its certificate is there; put it back, or move the certificate away"
    )]
    KeyMissing,
    /// The time is over.
    #[error("the certificate expired at {0}; replace it and its key, and hand it to the peers")]
    Expired(Moment),
    /// The time has not come.
    #[error("the certificate is not valid before {0}; check this machine's clock")]
    NotYetValid(Moment),
    /// It names another site or database than it is used for.
    #[error("the certificate is for {found}, not for {expected}; the files may be exchanged")]
    OtherIdentity {
        /// What the configuration says.
        expected: Identity,
        /// What the certificate says.
        found: Identity,
    },
    /// Its syncer URI is malformed.
    #[error("the certificate's syncer URI is malformed: {0}")]
    Uri(#[from] super::IdentityError),
    /// The certificate is already another peer's.
    #[error("the same certificate is that of peer {0}; every site needs its own")]
    SharedWith(SiteId),
    /// Signed by an algorithm that proves nothing any more.
    #[error("the certificate is signed with {0}, which can be forged; have it signed with SHA-256 or better")]
    WeakSignature(&'static str),
    /// It may not be used for what it is for.
    #[error(
        "the certificate does not allow its use as {needed}; it needs the extended key usages {needed}, or none"
    )]
    Usage {
        /// What is missing.
        needed: &'static str,
    },
    /// With the policy's suites the key could not be used.
    #[error(
        "with TLS 1.2 allowed, none of the cluster's cipher_suites for it works with this certificate's {0} key; \
         add one, or have min_data_TLS_version 1.3"
    )]
    NoSuite(&'static str),
    /// The policy is damaged.
    #[error(transparent)]
    Cluster(#[from] super::ClusterError),
    /// The certificate is our own.
    #[error("this is our own certificate; the peer's own file, made by `syncer init` there, is needed")]
    Own,
}

impl FileFault {
    fn label(&self) -> &'static str {
        match self {
            FileFault::System(_) | FileFault::TooLarge { .. } => "unreadable",
            FileFault::EncryptedKey => "encrypted_key",
            FileFault::KeyMismatch => "key_mismatch",
            FileFault::KeyMissing => "key_missing",
            FileFault::Expired(_) => "expired",
            FileFault::NotYetValid(_) => "not_yet_valid",
            FileFault::OtherIdentity { .. } | FileFault::Uri(_) => "wrong_identity",
            FileFault::WeakSignature(_)
            | FileFault::Usage { .. }
            | FileFault::NoSuite(_)
            | FileFault::Cluster(_) => "policy",
            FileFault::SharedWith(_) | FileFault::Own => "peer_file",
            FileFault::TooMany { .. }
            | FileFault::Pem(_)
            | FileFault::NoCertificate
            | FileFault::Certificate { .. }
            | FileFault::TooManyRevocationLists { .. }
            | FileFault::RevocationList { .. }
            | FileFault::NoKey
            | FileFault::Key(_) => "malformed",
        }
    }
}

/// What an operator should know, though everything works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The key's file can be read by others.
    #[error("{path} can be read by other users (mode {mode:03o}); chmod 600 it", path = path.display())]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// Our certificate will be over soon.
    #[error("{path} expires at {at}; make a new one and hand it to the peers before", path = path.display())]
    ExpiresSoon {
        /// The file.
        path: PathBuf,
        /// When.
        at: Moment,
    },
    /// A peer's revocation list is over or will be soon.
    #[error(
        "the revocation list in the file of peer {site} is good until {at}; after that the peer is refused, unless a newer one is put there"
    )]
    RevocationsExpire {
        /// The peer.
        site: SiteId,
        /// When.
        at: Moment,
    },
    /// A peer's certificate is over or will be soon.
    #[error("the certificate of peer {site} expires or expired at {at}; get the new one from there")]
    PeerExpires {
        /// The peer.
        site: SiteId,
        /// When.
        at: Moment,
    },
}

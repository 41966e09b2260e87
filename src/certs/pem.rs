//! Certificates and keys out of PEM.

use super::{CipherList, Facts, FileFault, Moment, Own, Revocations, facts, fingerprint, policy};
use memchr::memmem;
use rustls::InconsistentKeys;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

/// Most certificates in one file.
pub(super) const CERTIFICATES_MAX: usize = 64;
/// Most revocation lists in one file.
pub(super) const REVOCATIONS_MAX: usize = 64;

/// The certificates of a PEM file, at least one, each of which parses. Other sections are skipped.
///
/// # Errors
/// What is wrong with the file.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let mut found = Vec::new();
    for section in CertificateDer::pem_slice_iter(pem) {
        let der = section.map_err(|why| FileFault::Pem(why.to_string()))?;
        if found.len() == CERTIFICATES_MAX {
            return Err(FileFault::TooMany {
                max: CERTIFICATES_MAX,
            });
        }
        found.push(der);
        readable(found.len(), &found)?;
    }
    if found.is_empty() {
        return Err(FileFault::NoCertificate);
    }
    Ok(found)
}

/// What the first certificate of a PEM file says, and its fingerprint.
///
/// # Errors
/// What is wrong with the file.
pub fn leaf(pem: &[u8]) -> Result<(Facts, String), FileFault> {
    let found = certificates(pem)?;
    let leaf = found.first().ok_or(FileFault::NoCertificate)?;
    let facts = Facts::read(leaf).map_err(|why| FileFault::Certificate {
        number: 1,
        why: why.to_string(),
    })?;
    Ok((facts, fingerprint(leaf)))
}

/// A certificate as the text of a PEM file.
pub fn text(der: &CertificateDer<'_>) -> String {
    ::pem::encode(&::pem::Pem::new("CERTIFICATE", der.to_vec()))
}

/// What a peer's file holds.
#[derive(Debug)]
pub struct PeerFile {
    /// Its certificates, at least one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Its revocation lists.
    pub revocations: Vec<Revocations>,
}

/// A peer's file: certificates, and revocation lists of the CAs among them. Other sections are skipped.
///
/// # Errors
/// What is wrong with the file.
pub fn peer_file(pem: &[u8]) -> Result<PeerFile, FileFault> {
    let certificates = certificates(pem)?;
    let mut revocations = Vec::new();
    for section in CertificateRevocationListDer::pem_slice_iter(pem) {
        let der = section.map_err(|why| FileFault::Pem(why.to_string()))?;
        if revocations.len() == REVOCATIONS_MAX {
            return Err(FileFault::TooManyRevocationLists { max: REVOCATIONS_MAX });
        }
        let number = revocations.len() + 1;
        let list = Revocations::read(&der).map_err(|why| FileFault::RevocationList { number, why })?;
        revocations.push(list);
    }
    Ok(PeerFile {
        certificates,
        revocations,
    })
}

/// Checks the last certificate of a file with both parsers that will meet it later.
fn readable(number: usize, found: &[CertificateDer<'static>]) -> Result<(), FileFault> {
    let Some(der) = found.last() else {
        return Ok(());
    };
    let fault = |why: String| FileFault::Certificate { number, why };
    match Facts::read(der) {
        Ok(_) => {}
        Err(facts::Unreadable::Uri(why)) => return Err(FileFault::Uri(why)),
        Err(facts::Unreadable::Parse(why)) => return Err(fault(why)),
    }
    match ParsedCertificate::try_from(der) {
        Ok(_) => Ok(()),
        Err(why) => Err(fault(why.to_string())),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, FileFault> {
    let holds = |mark: &[u8]| memmem::find(pem, mark).is_some();
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(FileFault::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|why| match why {
        PemError::NoItemsFound => FileFault::NoKey,
        why => FileFault::Pem(why.to_string()),
    })
}

/// Which of our two files a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnFile {
    /// The certificate's.
    Certificate,
    /// The key's.
    Key,
}

/// Our certificate, its chain and its key.
///
/// # Errors
/// A file does not parse, the two do not belong together, or `now` is outside of the validity.
pub fn own(certificate_pem: &[u8], key_pem: &[u8], now: Moment) -> Result<Own, (OwnFile, FileFault)> {
    let chain = certificates(certificate_pem).map_err(|fault| (OwnFile::Certificate, fault))?;
    let key = private_key(key_pem).map_err(|fault| (OwnFile::Key, fault))?;
    let Some(leaf) = chain.first().cloned() else {
        return Err((OwnFile::Certificate, FileFault::NoCertificate));
    };
    let unreadable = |why: facts::Unreadable| FileFault::Certificate {
        number: 1,
        why: why.to_string(),
    };
    let facts = Facts::read(&leaf).map_err(|why| (OwnFile::Certificate, unreadable(why)))?;
    if facts.not_after < now {
        return Err((OwnFile::Certificate, FileFault::Expired(facts.not_after)));
    }
    if facts.not_before > now {
        return Err((OwnFile::Certificate, FileFault::NotYetValid(facts.not_before)));
    }
    let certified = CertifiedKey::from_der(chain, key, &policy::provider(&CipherList::default())).map_err(
        |why| match why {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                (OwnFile::Key, FileFault::KeyMismatch)
            }
            why => (OwnFile::Key, FileFault::Key(why.to_string())),
        },
    )?;
    Ok(Own::new(leaf, facts, certified))
}

//! Revocation lists (CRLs) as they stand in a peer's file.

use super::Moment;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeSet;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// One list. That a CA signed it is checked with each chain; a certificate that is pinned needs no such proof to
/// be refused, for the list stands in the same file.
#[derive(Debug)]
pub struct Revocations {
    pub(super) list: CertRevocationList<'static>,
    /// By when the CA promises a newer one.
    pub next_update: Option<Moment>,
    issuer: Vec<u8>,
    serials: BTreeSet<Vec<u8>>,
}

impl Revocations {
    /// Reads a list with both parsers that will meet it later.
    ///
    /// # Errors
    /// Why it does not parse.
    pub(super) fn read(der: &CertificateRevocationListDer<'_>) -> Result<Revocations, String> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|why| why.to_string())?;
        let (_, read) = CertificateRevocationList::from_der(der).map_err(|why| why.to_string())?;
        Ok(Revocations {
            list: list.into(),
            next_update: read.next_update().map(|at| Moment(at.timestamp())),
            issuer: read.issuer().as_raw().to_vec(),
            serials: read
                .iter_revoked_certificates()
                .map(|one| one.raw_serial().to_vec())
                .collect(),
        })
    }

    /// Whether it names this certificate.
    pub(super) fn revokes(&self, der: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(der).is_ok_and(|(_, read)| {
            read.issuer().as_raw() == self.issuer && self.serials.contains(read.raw_serial())
        })
    }
}

//! What a certificate says of itself.

use super::{Identity, IdentityError, Moment};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuiteCommon, SupportedCipherSuite};
use std::fmt::Write;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The parts of a certificate that decide about it or are shown to people. Nothing here is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// First second of its validity.
    pub not_before: Moment,
    /// Last second of its validity.
    pub not_after: Moment,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// The one identity that its syncer URIs tell.
    pub identity: Option<Identity>,
    /// Whether its syncer URIs tell more than one.
    pub is_ambiguous: bool,
    /// Whether it may be used as a TLS server and as a client; `None` if it does not say.
    pub usages: Option<(bool, bool)>,
    /// The algorithm that it is signed with, if that one can be forged.
    pub weak_signature: Option<&'static str>,
    /// DNS names and common names, lower case.
    pub names: Vec<String>,
}

/// Why a certificate tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Parse(String),
    #[error("{0}")]
    Uri(#[from] IdentityError),
}

impl Facts {
    /// Reads a certificate.
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Facts, Unreadable> {
        let parse = |why: &dyn std::fmt::Display| Unreadable::Parse(why.to_string());
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|why| parse(&why))?;
        if !rest.is_empty() {
            return Err(parse(&"bytes follow the certificate"));
        }
        let mut facts = Facts {
            not_before: Moment(certificate.validity().not_before.timestamp()),
            not_after: Moment(certificate.validity().not_after.timestamp()),
            is_ca: certificate.is_ca(),
            identity: None,
            is_ambiguous: false,
            usages: None,
            weak_signature: weak(&certificate),
            names: Vec::new(),
        };
        let usages = certificate.extended_key_usage().map_err(|why| parse(&why))?;
        facts.usages = usages.map(|usages| {
            let (any, value) = (usages.value.any, usages.value);
            (any || value.server_auth, any || value.client_auth)
        });
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|why| parse(&why))?;
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => facts.names.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => facts.note_uri(uri)?,
                _ => {}
            }
        }
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        facts.names.extend(common.map(str::to_ascii_lowercase));
        Ok(facts)
    }

    fn note_uri(&mut self, uri: &str) -> Result<(), IdentityError> {
        let Some(identity) = Identity::from_uri(uri) else {
            return Ok(());
        };
        let identity = identity?;
        self.is_ambiguous |= self.identity.as_ref().is_some_and(|first| *first != identity);
        self.identity = Some(identity);
        Ok(())
    }
}

/// Signatures by hash functions whose collisions can be made.
fn weak(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" | "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        _ => None,
    }
}

/// The SHA-256 of a certificate as people compare it: `SHA256:AB:CD:...`.
pub fn fingerprint(der: &CertificateDer<'_>) -> String {
    // The provider hands its hash functions out by way of its suites.
    let common: &CipherSuiteCommon = match TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls12(suite) => &suite.common,
        SupportedCipherSuite::Tls13(suite) => &suite.common,
    };
    let mut text = String::from("SHA256");
    for byte in common.hash_provider.hash(der).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, ":{byte:02X}");
    }
    text
}

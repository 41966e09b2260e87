//! [`Trust`] as rustls asks for it, and rustls' errors as refusals.

use super::{Moment, PeerRefused, Role, Trust};
use crate::causality::SiteId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use std::sync::Arc;

/// Accepts any configured peer that dials us.
#[derive(Debug)]
pub(super) struct Dialing(pub Arc<Trust>);

/// Accepts the one peer that we dial.
#[derive(Debug)]
pub(super) struct Dialed {
    pub trust: Arc<Trust>,
    pub site: SiteId,
}

impl ClientCertVerifier for Dialing {
    /// No hints: a peer has one certificate, and who listens here is nobody's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .verify(end_entity, intermediates, Role::Client, None, now)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|refused| said(refused, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Dialed {
    /// The name is not asked: a site is known by its certificate, wherever it listens.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust
            .verify(end_entity, intermediates, Role::Server, Some(self.site), now)
            .map(|_| ServerCertVerified::assertion())
            .map_err(|refused| said(refused, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.trust.provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// A refusal on its way through rustls. Dates travel as rustls' own errors, for these have an alert of their
/// own: the peer's operator reads "certificate expired".
fn said(refused: PeerRefused, now: UnixTime) -> Error {
    let since = |at: Moment| {
        let seconds = u64::try_from(at.0).unwrap_or(0);
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    Error::InvalidCertificate(match refused {
        PeerRefused::Expired(at) => CertificateError::ExpiredContext {
            time: now,
            not_after: since(at),
        },
        PeerRefused::NotYetValid(at) => CertificateError::NotValidYetContext {
            time: now,
            not_before: since(at),
        },
        refused => CertificateError::Other(OtherError(Arc::new(refused))),
    })
}

fn moment(time: UnixTime) -> Moment {
    Moment(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// What an error of rustls means here.
pub(super) fn refused(error: &Error) -> PeerRefused {
    match error {
        Error::InvalidCertificate(error) => refused_certificate(error),
        Error::NoCertificatesPresented => PeerRefused::NoCertificate,
        Error::NoApplicationProtocol => PeerRefused::BadAlpn,
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => PeerRefused::TlsVersion,
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => PeerRefused::BadAlpn,
        Error::AlertReceived(alert) => PeerRefused::RefusedByPeer(format!("{alert:?}")),
        Error::InvalidMessage(_) => PeerRefused::NotTls,
        error => PeerRefused::Protocol(error.to_string()),
    }
}

fn refused_certificate(error: &CertificateError) -> PeerRefused {
    match error {
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<PeerRefused>() {
            Some(refused) => refused.clone(),
            None => PeerRefused::NotVerified(other.to_string()),
        },
        CertificateError::ExpiredContext { not_after, .. } => PeerRefused::Expired(moment(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            PeerRefused::NotYetValid(moment(*not_before))
        }
        CertificateError::BadEncoding => PeerRefused::Malformed("bad encoding".into()),
        CertificateError::BadSignature => PeerRefused::BadSignature,
        error => PeerRefused::NotVerified(error.to_string()),
    }
}

/// What an error of a chain means here.
pub(super) fn not_verified(error: &webpki::Error) -> PeerRefused {
    match error {
        webpki::Error::CertExpired { not_after, .. } => PeerRefused::Expired(moment(*not_after)),
        webpki::Error::CertNotValidYet { not_before, .. } => PeerRefused::NotYetValid(moment(*not_before)),
        webpki::Error::RequiredEkuNotFoundContext(_) => PeerRefused::WrongPurpose,
        webpki::Error::CertRevoked => PeerRefused::Revoked,
        webpki::Error::UnknownRevocationStatus => PeerRefused::NoRevocationList,
        webpki::Error::CrlExpired { next_update, .. } => {
            PeerRefused::RevocationListExpired(moment(*next_update))
        }
        error => PeerRefused::NotVerified(error.to_string()),
    }
}

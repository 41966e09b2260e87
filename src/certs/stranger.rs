//! TLS with somebody who is no peer yet: each side shows its certificate and proves that it has the key. Whether it is
//! let in is decided by what is said over the connection, and the two certificates are part of that.

use super::{CipherList, Error, Own, fingerprint, policy};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError,
    PeerIncompatible, ServerConfig, SignatureScheme, version,
};
use std::sync::Arc;

/// Accepts any certificate whose key the other side has, or the one with a fingerprint.
#[derive(Debug)]
struct Stranger {
    provider: Arc<CryptoProvider>,
    /// `SHA256:AB:CD:...`
    pinned: Option<String>,
}

/// The settings allow TLS 1.3 only.
const TOO_OLD: TlsError = TlsError::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig);

/// How a certificate's key is proven, by either side.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            Err(TOO_OLD)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            verify_tls13_signature(
                message,
                cert,
                dss,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

impl ClientCertVerifier for Stranger {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Stranger {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.pinned.as_ref() == Some(&fingerprint(end_entity)) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(TlsError::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    signatures!();
}

/// For whoever dials with this protocol: it must show a certificate, any one.
///
/// # Errors
/// rustls refuses the settings.
pub fn stranger_server(own: &Own, protocol: &[u8]) -> Result<Arc<ServerConfig>, Error> {
    let provider = policy::provider(&CipherList::default());
    let anybody = Stranger {
        provider: provider.clone(),
        pinned: None,
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_client_cert_verifier(Arc::new(anybody))
        .with_cert_resolver(own.resolver());
    server.alpn_protocols = vec![protocol.to_vec()];
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(server))
}

/// For dialing whoever shows the certificate with this fingerprint, and nobody else.
///
/// # Errors
/// rustls refuses the settings.
pub fn pinned_client(own: &Own, fingerprint: &str, protocol: &[u8]) -> Result<Arc<ClientConfig>, Error> {
    let provider = policy::provider(&CipherList::default());
    let pinned = Stranger {
        provider: provider.clone(),
        pinned: Some(fingerprint.to_owned()),
    };
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| Error::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_client_cert_resolver(own.resolver());
    client.alpn_protocols = vec![protocol.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    Ok(Arc::new(client))
}

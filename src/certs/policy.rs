//! The TLS settings of the links.

use super::{
    ALPN, CertificateName, CipherList, Error, Facts, FileFault, PeerRefused, Settings, Suite, TlsVersion,
    Trust, fingerprint, verify,
};
use crate::causality::SiteId;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ClientConfig, CommonState, SignatureAlgorithm};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What we prove ourselves with.
#[derive(Clone)]
pub struct Own {
    leaf: CertificateDer<'static>,
    facts: Facts,
    key: Arc<CertifiedKey>,
}

impl Own {
    pub(super) fn new(leaf: CertificateDer<'static>, facts: Facts, key: CertifiedKey) -> Own {
        Own {
            leaf,
            facts,
            key: Arc::new(key),
        }
    }

    /// Whether it may be used for a service: on a link it is shown by both sides.
    ///
    /// # Errors
    /// Its usages or its signature do not allow it.
    pub fn suits(&self, name: CertificateName) -> Result<(), FileFault> {
        if let Some(algorithm) = self.facts.weak_signature {
            return Err(FileFault::WeakSignature(algorithm));
        }
        let Some((server, client)) = self.facts.usages else {
            return Ok(());
        };
        match name {
            CertificateName::Syncer if !(server && client) => Err(FileFault::Usage {
                needed: "serverAuth and clientAuth",
            }),
            _ if !server => Err(FileFault::Usage { needed: "serverAuth" }),
            _ => Ok(()),
        }
    }

    /// Whether a peer with TLS 1.2 could be met, if the settings allow one.
    ///
    /// # Errors
    /// There are suites of TLS 1.2, and none for this key.
    pub fn fits(&self, settings: &Settings) -> Result<(), FileFault> {
        if settings.tls_version_min == TlsVersion::V1_3 {
            return Ok(());
        }
        let is_rsa = self.key.key.algorithm() == SignatureAlgorithm::RSA;
        let mut old = settings
            .cipher_suites
            .suites()
            .iter()
            .filter(|suite| !suite.is_tls13())
            .peekable();
        if old.peek().is_none() || old.any(|suite| suite.is_ecdsa() != is_rsa) {
            return Ok(());
        }
        Err(FileFault::NoSuite(if is_rsa {
            "RSA"
        } else {
            "ECDSA or Ed25519"
        }))
    }

    /// For the handshake.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// What it says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its fingerprint, `SHA256:AB:CD:...`.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.leaf)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Both sides' settings, made together from one set of files. To reload, make a new one.
#[derive(Debug, Clone)]
pub struct LinkTls {
    server: Arc<ServerConfig>,
    clients: BTreeMap<SiteId, Arc<ClientConfig>>,
    trust: Arc<Trust>,
}

impl LinkTls {
    /// Puts the settings together.
    ///
    /// # Errors
    /// rustls refuses them.
    pub fn new(own: &Own, trust: Trust, settings: &Settings) -> Result<LinkTls, Error> {
        let refused = |error: rustls::Error| Error::Tls(error.to_string());
        let trust = Arc::new(trust);
        let versions = versions(settings.tls_version_min);
        let key = own.resolver();

        let mut server = ServerConfig::builder_with_provider(trust.provider().clone())
            .with_protocol_versions(&versions)
            .map_err(refused)?
            .with_client_cert_verifier(Arc::new(verify::Dialing(trust.clone())))
            .with_cert_resolver(key.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ignore_client_order = true;

        let mut clients = BTreeMap::new();
        for site in trust.sites() {
            let verifier = verify::Dialed {
                trust: trust.clone(),
                site,
            };
            let mut client = ClientConfig::builder_with_provider(trust.provider().clone())
                .with_protocol_versions(&versions)
                .map_err(refused)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_cert_resolver(key.clone());
            client.alpn_protocols = vec![ALPN.to_vec()];
            client.resumption = Resumption::disabled();
            client.enable_sni = false;
            clients.insert(site, Arc::new(client));
        }
        Ok(LinkTls {
            server: Arc::new(server),
            clients,
            trust,
        })
    }

    /// For peers that dial us.
    pub fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// For dialing this peer: no other one is accepted by it. `None` if it is not configured.
    pub fn client(&self, site: SiteId) -> Option<&Arc<ClientConfig>> {
        self.clients.get(&site)
    }

    /// The peers and their certificates.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Which peer a chain speaks for that a handshake with these settings has verified.
    ///
    /// # Errors
    /// None of them.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<SiteId, PeerRefused> {
        self.trust.identify(chain)
    }

    /// The last step of every handshake: who is there, and does it speak our protocol. rustls lets a client
    /// pass that names no protocol at all, and a server that chooses none.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub fn admit(&self, connection: &CommonState) -> Result<SiteId, PeerRefused> {
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(PeerRefused::BadAlpn);
        }
        self.identify(connection.peer_certificates().unwrap_or_default())
    }
}

fn versions(min: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match min {
        TlsVersion::V1_2 => vec![&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => vec![&version::TLS13],
    }
}

/// The cryptography of the links: the suites of a list, in its order.
pub(super) fn provider(list: &CipherList) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let known = std::mem::take(&mut provider.cipher_suites);
    let ours = list.suites().iter().map(|suite| number(*suite));
    provider.cipher_suites = ours
        .filter_map(|number| known.iter().find(|suite| suite.suite() == number).copied())
        .collect();
    Arc::new(provider)
}

fn number(suite: Suite) -> CipherSuite {
    match suite {
        Suite::Tls13Aes256Gcm => CipherSuite::TLS13_AES_256_GCM_SHA384,
        Suite::Tls13ChaCha20 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::Tls13Aes128Gcm => CipherSuite::TLS13_AES_128_GCM_SHA256,
        Suite::EcdsaAes256Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::RsaAes256Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::EcdsaChaCha20 => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Suite::RsaChaCha20 => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        Suite::EcdsaAes128Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::RsaAes128Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    }
}

//! Which certificates speak for which peer.

use super::{Facts, FileFault, Identity, Moment, PeerRefused, facts, fingerprint, verify};
use crate::causality::SiteId;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use std::sync::Arc;

/// Which side of the handshake a certificate is shown by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// By who was dialed.
    Server,
    /// By who dials.
    Client,
}

/// The peers and what their files hold.
#[derive(Debug)]
pub struct Trust {
    me: Identity,
    own: CertificateDer<'static>,
    peers: Vec<Peer>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Peer {
    site: SiteId,
    /// Everything in its file: any of them is accepted as it is.
    pinned: Vec<(CertificateDer<'static>, Facts)>,
    /// The CAs among them, if there are any: what they sign is accepted if it names the peer.
    issuers: Option<Issuers>,
}

#[derive(Debug)]
struct Issuers {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Nobody yet.
    pub fn new(me: Identity, own: CertificateDer<'static>, provider: Arc<CryptoProvider>) -> Trust {
        Trust {
            me,
            own,
            peers: Vec::new(),
            provider,
        }
    }

    /// Takes a peer in, with the certificates of its file.
    ///
    /// # Errors
    /// A certificate is our own, another peer's, or names somebody else.
    pub fn add(&mut self, site: SiteId, certificates: Vec<CertificateDer<'static>>) -> Result<(), FileFault> {
        let mut pinned = Vec::new();
        for (at, der) in certificates.into_iter().enumerate() {
            let fault = |why: String| FileFault::Certificate { number: at + 1, why };
            let facts = Facts::read(&der).map_err(|why| fault(why.to_string()))?;
            self.check(site, &der, &facts)?;
            pinned.push((der, facts));
        }
        let issuers = self.issuers(&pinned)?;
        self.peers.push(Peer {
            site,
            pinned,
            issuers,
        });
        Ok(())
    }

    fn check(&self, site: SiteId, der: &CertificateDer<'_>, facts: &Facts) -> Result<(), FileFault> {
        if *der == self.own {
            return Err(FileFault::Own);
        }
        // A CA may well be the issuer of several peers; a certificate of a site stands for one only.
        let holder = self.peers.iter().find(|peer| peer.pins(der).is_some());
        if let (false, Some(holder)) = (facts.is_ca, holder) {
            return Err(FileFault::SharedWith(holder.site));
        }
        let Some(found) = &facts.identity else {
            return Ok(());
        };
        let is_peer = found.database_id() == self.me.database_id() && found.site() == site;
        if is_peer && !facts.is_ambiguous {
            return Ok(());
        }
        Err(FileFault::OtherIdentity {
            expected: Identity::new(self.me.database_id(), site)?,
            found: found.clone(),
        })
    }

    fn issuers(&self, pinned: &[(CertificateDer<'static>, Facts)]) -> Result<Option<Issuers>, FileFault> {
        let mut roots = RootCertStore::empty();
        for (at, (der, _)) in pinned.iter().enumerate().filter(|(_, (_, facts))| facts.is_ca) {
            roots.add(der.clone()).map_err(|why| FileFault::Certificate {
                number: at + 1,
                why: why.to_string(),
            })?;
        }
        if roots.is_empty() {
            return Ok(None);
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), self.provider.clone());
        let clients = clients.build().map_err(|why| FileFault::Certificate {
            number: 1,
            why: why.to_string(),
        })?;
        Ok(Some(Issuers { roots, clients }))
    }

    /// The peers, in the order in which they were added.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> {
        self.peers.iter().map(|peer| peer.site)
    }

    /// Every peer with the end of its certificates' validity: the latest in its file.
    pub fn expiries(&self) -> impl Iterator<Item = (SiteId, Moment)> {
        self.peers.iter().filter_map(|peer| {
            let last = peer.pinned.iter().map(|(_, facts)| facts.not_after).max();
            last.map(|at| (peer.site, at))
        })
    }

    /// The peer that a chain speaks for, once a handshake has verified it: the first certificate is the
    /// peer's own, the others do not matter.
    ///
    /// # Errors
    /// It speaks for no peer.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<SiteId, PeerRefused> {
        let leaf = chain.first().ok_or(PeerRefused::NoCertificate)?;
        self.find(leaf).map(|(peer, _)| peer.site)
    }

    /// The peer that a certificate speaks for, and how that would be proven.
    fn find(&self, leaf: &CertificateDer<'_>) -> Result<(&Peer, Proof<'_>), PeerRefused> {
        if *leaf == self.own {
            return Err(PeerRefused::OwnSite);
        }
        let facts = Facts::read(leaf)?;
        let mut holders = self.peers.iter().filter_map(|peer| {
            let facts = peer.pins(leaf)?;
            Some((peer, Proof::Pin(facts)))
        });
        match (holders.next(), holders.next()) {
            (Some(holder), None) => return Ok(holder),
            (Some(_), Some(_)) => return Err(PeerRefused::Ambiguous),
            (None, _) => {}
        }
        let peer = self.named(leaf, &facts)?;
        let issuers = peer
            .issuers
            .as_ref()
            .ok_or_else(|| unknown(leaf, Some(peer.site)))?;
        Ok((peer, Proof::Chain(issuers)))
    }

    /// The peer that a certificate names: by its syncer URI if it has one, otherwise by DNS or common name.
    fn named(&self, leaf: &CertificateDer<'_>, facts: &Facts) -> Result<&Peer, PeerRefused> {
        if facts.is_ambiguous {
            return Err(PeerRefused::Ambiguous);
        }
        if let Some(identity) = &facts.identity {
            if identity.database_id() != self.me.database_id() {
                return Err(PeerRefused::WrongDatabase {
                    expected: self.me.database_id().into(),
                    found: identity.database_id().into(),
                });
            }
            if identity.site() == self.me.site() {
                return Err(PeerRefused::OwnSite);
            }
            let mut peers = self.peers.iter();
            let peer = peers.find(|peer| peer.site == identity.site());
            return peer.ok_or(PeerRefused::UnknownSite(identity.site()));
        }
        let names = |site: SiteId| facts.names.iter().any(|name| name == site.as_str());
        let mut peers = self.peers.iter().filter(|peer| names(peer.site));
        match (peers.next(), peers.next(), names(self.me.site())) {
            (Some(peer), None, false) => Ok(peer),
            (None, _, true) => Err(PeerRefused::OwnSite),
            (None, _, false) => Err(unknown(leaf, None)),
            (Some(_), ..) => Err(PeerRefused::Ambiguous),
        }
    }

    /// Verifies a chain at `now`, and that it is the one of `expected` if somebody was dialed.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        expected: Option<SiteId>,
        now: UnixTime,
    ) -> Result<SiteId, PeerRefused> {
        let (peer, proof) = self.find(leaf)?;
        if let Some(expected) = expected.filter(|&expected| expected != peer.site) {
            return Err(PeerRefused::WrongSite {
                expected,
                found: peer.site,
            });
        }
        match proof {
            Proof::Pin(facts) => in_time(facts, now)?,
            Proof::Chain(issuers) => {
                self.chain(issuers, leaf, intermediates, role, now)
                    .map_err(|error| match error {
                        rustls::Error::InvalidCertificate(
                            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
                        ) => unknown(leaf, Some(peer.site)),
                        error => verify::refused(&error),
                    })?
            }
        }
        Ok(peer.site)
    }

    fn chain(
        &self,
        issuers: &Issuers,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match role {
            Role::Server => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(leaf)?,
                &issuers.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            ),
            Role::Client => {
                let verified = issuers.clients.verify_client_cert(leaf, intermediates, now);
                verified.map(|_| ())
            }
        }
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }
}

/// How a certificate is proven.
enum Proof<'a> {
    /// It stands in the peer's file, which is the proof; its dates still count.
    Pin(&'a Facts),
    /// By who signed it.
    Chain(&'a Issuers),
}

impl Peer {
    fn pins(&self, der: &CertificateDer<'_>) -> Option<&Facts> {
        let pin = self.pinned.iter().find(|(pinned, _)| pinned == der);
        pin.map(|(_, facts)| facts)
    }
}

fn in_time(facts: &Facts, now: UnixTime) -> Result<(), PeerRefused> {
    let now = Moment(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if facts.not_after < now {
        return Err(PeerRefused::Expired(facts.not_after));
    }
    if facts.not_before > now {
        return Err(PeerRefused::NotYetValid(facts.not_before));
    }
    Ok(())
}

fn unknown(leaf: &CertificateDer<'_>, claims: Option<SiteId>) -> PeerRefused {
    PeerRefused::UnknownCertificate {
        fingerprint: fingerprint(leaf),
        claims,
    }
}

impl From<facts::Unreadable> for PeerRefused {
    fn from(why: facts::Unreadable) -> PeerRefused {
        PeerRefused::Malformed(why.to_string())
    }
}

//! Which certificates speak for which peer.

use super::{
    Facts, FileFault, Identity, Moment, PeerFile, PeerRefused, Revocations, facts, fingerprint, verify,
};
use crate::causality::SiteId;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::sync::Arc;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder,
    anchor_from_trusted_cert,
};

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
    pinned: Vec<Pin>,
    /// The CAs among them: what they sign is accepted if it names the peer.
    roots: Vec<TrustAnchor<'static>>,
    /// The revocation lists of its file. With any, every CA of a chain must have one that is in date.
    revocations: Vec<Revocations>,
}

#[derive(Debug)]
struct Pin {
    der: CertificateDer<'static>,
    facts: Facts,
    is_revoked: bool,
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

    /// Takes a peer in, with what its file holds.
    ///
    /// # Errors
    /// A certificate is our own, another peer's, or names somebody else.
    pub fn add(&mut self, site: SiteId, file: PeerFile) -> Result<(), FileFault> {
        let PeerFile {
            certificates,
            revocations,
        } = file;
        let (mut pinned, mut roots) = (Vec::new(), Vec::new());
        for (at, der) in certificates.into_iter().enumerate() {
            let fault = |why: String| FileFault::Certificate { number: at + 1, why };
            let facts = Facts::read(&der).map_err(|why| fault(why.to_string()))?;
            self.check(site, &der, &facts)?;
            if facts.is_ca {
                let root = anchor_from_trusted_cert(&der).map_err(|why| fault(why.to_string()))?;
                roots.push(root.to_owned());
            }
            let is_revoked = revocations.iter().any(|list| list.revokes(&der));
            pinned.push(Pin {
                der,
                facts,
                is_revoked,
            });
        }
        self.peers.push(Peer {
            site,
            pinned,
            roots,
            revocations,
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

    /// The peers, in the order in which they were added.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> {
        self.peers.iter().map(|peer| peer.site)
    }

    /// Every peer with the end of its certificates' validity: the latest in its file.
    pub fn expiries(&self) -> impl Iterator<Item = (SiteId, Moment)> {
        self.peers.iter().filter_map(|peer| {
            let last = peer.pinned.iter().map(|pin| pin.facts.not_after).max();
            last.map(|at| (peer.site, at))
        })
    }

    /// The peers that have revocation lists, with the time until which all of them are in date.
    pub fn revocations(&self) -> impl Iterator<Item = (SiteId, Moment)> {
        self.peers.iter().filter_map(|peer| {
            let ends = peer.revocations.iter().filter_map(|list| list.next_update);
            ends.min().map(|at| (peer.site, at))
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
            let pin = peer.pins(leaf)?;
            Some((peer, Proof::Pin(pin)))
        });
        match (holders.next(), holders.next()) {
            (Some(holder), None) => return Ok(holder),
            (Some(_), Some(_)) => return Err(PeerRefused::Ambiguous),
            (None, _) => {}
        }
        let peer = self.named(leaf, &facts)?;
        if peer.roots.is_empty() {
            return Err(unknown(leaf, Some(peer.site)));
        }
        Ok((peer, Proof::Chain))
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
            Proof::Pin(pin) if pin.is_revoked => return Err(PeerRefused::Revoked),
            Proof::Pin(pin) => in_time(&pin.facts, now)?,
            Proof::Chain => {
                self.chain(peer, leaf, intermediates, role, now)
                    .map_err(|error| match error {
                        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                            unknown(leaf, Some(peer.site))
                        }
                        error => verify::not_verified(&error),
                    })?
            }
        }
        Ok(peer.site)
    }

    fn chain(
        &self,
        peer: &Peer,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<&CertRevocationList<'_>> = peer.revocations.iter().map(|list| &list.list).collect();
        // The whole chain is checked, and what no list covers is refused: those are webpki's defaults.
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation =
            revocation.map(|lists| lists.with_expiration_policy(ExpirationPolicy::Enforce).build());
        let usage = match role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                algorithms,
                &peer.roots,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map(|_| ())
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }
}

/// How a certificate is proven.
enum Proof<'a> {
    /// It stands in the peer's file, which is the proof; its dates still count.
    Pin(&'a Pin),
    /// By who signed it.
    Chain,
}

impl Peer {
    fn pins(&self, der: &CertificateDer<'_>) -> Option<&Pin> {
        self.pinned.iter().find(|pin| pin.der == *der)
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

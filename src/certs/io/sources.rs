//! Everything that the links' TLS is made of, read together and judged together.

use super::super::{
    CertificateName, Cluster, Error, Expiry, FileFault, Identity, LinkTls, Moment, Notice, Own, OwnFile,
    TlsVersion, Trust, pem, policy,
};
use super::{Pair, Paths, Store, at, key_exposed, now, read};
use crate::causality::SiteId;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Where a site's certificates are, and whom they must fit.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Our own, and the policy.
    pub store: Store,
    /// Who we are.
    pub identity: Identity,
    /// The peers' files.
    pub peers: Vec<(SiteId, PathBuf)>,
    /// The oldest TLS version of links until the cluster's policy tells one.
    pub tls_version_min: TlsVersion,
}

/// A change that is judged before it is made.
#[derive(Debug, Clone)]
pub enum Change {
    /// Of our certificate and key.
    Own(Pair),
    /// Of the policy.
    Cluster(Cluster),
}

/// The files' contents at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    own: Pair,
    cluster: Vec<u8>,
    peers: Vec<Vec<u8>>,
}

/// What the links can be set up with.
#[derive(Debug, Clone)]
pub struct Material {
    /// Our certificate.
    pub own: Own,
    /// The policy.
    pub cluster: Cluster,
    /// The links' settings.
    pub tls: LinkTls,
    /// Of the contents it came from.
    pub digest: u128,
}

impl Sources {
    /// Reads all files; with a change, what it would put there instead of what is there.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn read(&self, change: Option<Change>) -> Result<Contents, Error> {
        let (own, cluster) = match change {
            None => (None, None),
            Some(Change::Own(pair)) => (Some(pair), None),
            Some(Change::Cluster(cluster)) => (None, Some(cluster.to_string().into_bytes())),
        };
        let own = own.map_or_else(|| self.own(), Ok)?;
        let mut peers = Vec::new();
        for (site, path) in &self.peers {
            peers.push(read(path).map_err(|fault| of_peer(*site, path, fault))?);
        }
        Ok(Contents {
            own,
            cluster: cluster.map_or_else(|| self.store.cluster_text(), Ok)?,
            peers,
        })
    }

    fn own(&self) -> Result<Pair, Error> {
        self.store.pair(CertificateName::Syncer)?.ok_or_else(|| {
            let why = std::io::Error::from(std::io::ErrorKind::NotFound);
            at(&self.store.paths(CertificateName::Syncer).certificate, why.into())
        })
    }

    /// Judges contents, and puts the links' settings together from them. Nothing is changed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn judge(&self, contents: &Contents) -> Result<Material, Error> {
        let paths = self.store.paths(CertificateName::Syncer);
        let own = judge_own(&contents.own, &paths, CertificateName::Syncer, &self.identity)?;
        let cluster = self.store.read_cluster(&contents.cluster)?;
        let settings = cluster.links(self.tls_version_min);
        own.fits(&settings)
            .map_err(|fault| at(&paths.certificate, fault))?;
        let provider = policy::provider(&settings.cipher_suites);
        let mut trust = Trust::new(self.identity.clone(), own.certificate().clone(), provider);
        for ((site, path), text) in self.peers.iter().zip(&contents.peers) {
            let added = pem::peer_file(text).and_then(|file| trust.add(*site, file));
            added.map_err(|fault| of_peer(*site, path, fault))?;
        }
        Ok(Material {
            tls: LinkTls::new(&own, trust, &settings)?,
            digest: contents.digest(),
            own,
            cluster,
        })
    }

    /// Judges what is there together with one more peer, whose file holds only this certificate.
    ///
    /// # Errors
    /// What is wrong with it, or with what is there.
    pub fn judge_with(&self, site: SiteId, certificate: &CertificateDer<'_>) -> Result<Material, Error> {
        let mut contents = self.read(None)?;
        contents.peers.push(pem::text(certificate).into_bytes());
        let mut sources = self.clone();
        sources.peers.push((site, PathBuf::from(format!("{site}.pem"))));
        sources.judge(&contents)
    }

    /// The directories in which something may change.
    pub fn directories(&self) -> Vec<PathBuf> {
        let of_peers = self.peers.iter().filter_map(|(_, path)| path.parent());
        let mut all: Vec<PathBuf> = of_peers.map(Path::to_owned).collect();
        all.push(self.store.dir().to_owned());
        all.sort();
        all.dedup();
        all
    }

    /// What is known to end, and how near that is: our certificate, the peers', and their revocation lists. Lists
    /// live for days only, so they count as near from the last day on.
    pub fn expiries(&self, material: &Material, now: Moment) -> Vec<(Expiry, Notice)> {
        let at = material.own.facts().not_after;
        let path = self.store.paths(CertificateName::Syncer).certificate;
        let mut all = vec![(Expiry::at(at, now), Notice::ExpiresSoon { path, at })];
        let trust = material.tls.trust();
        let peers = trust.expiries();
        all.extend(peers.map(|(site, at)| (Expiry::at(at, now), Notice::PeerExpires { site, at })));
        for (site, at) in trust.revocations() {
            let near = Some(Expiry::at(at, now)).filter(|near| *near >= Expiry::Day);
            all.push((near.unwrap_or_default(), Notice::RevocationsExpire { site, at }));
        }
        all
    }

    /// Whether others can read our key.
    ///
    /// # Errors
    /// The key's file cannot be asked.
    pub fn key_exposed(&self) -> Result<Option<Notice>, Error> {
        key_exposed(&self.store.paths(CertificateName::Syncer))
    }
}

fn of_peer(site: SiteId, path: &Path, fault: FileFault) -> Error {
    Error::Peer {
        site,
        path: path.to_owned(),
        fault: Box::new(fault),
    }
}

/// Judges a pair as that of a service: it parses, belongs together, is in date, suits the service and names nobody
/// else. `paths` is what an error calls the files.
///
/// # Errors
/// What is wrong with it.
pub fn judge_own(
    pair: &Pair,
    paths: &Paths,
    name: CertificateName,
    identity: &Identity,
) -> Result<Own, Error> {
    let own = pem::own(&pair.certificate, &pair.key, now()).map_err(|(file, fault)| match file {
        OwnFile::Certificate => at(&paths.certificate, fault),
        OwnFile::Key => at(&paths.key, fault),
    })?;
    own.suits(name).map_err(|fault| at(&paths.certificate, fault))?;
    let facts = own.facts();
    let found = facts.identity.clone();
    if let Some(found) = found.filter(|found| found != identity || facts.is_ambiguous) {
        let expected = identity.clone();
        return Err(at(
            &paths.certificate,
            FileFault::OtherIdentity { expected, found },
        ));
    }
    Ok(own)
}

impl Contents {
    /// Equal for equal contents. It serves to notice changes, and is never shown.
    pub fn digest(&self) -> u128 {
        let mut state = Xxh3::new();
        let parts = [&self.own.certificate, &*self.own.key, &self.cluster];
        for part in parts.into_iter().chain(&self.peers) {
            state.update(&(part.len() as u64).to_le_bytes());
            state.update(part);
        }
        state.digest128()
    }
}

//! Certificates made for a test, and a cluster in which every site has a trust file of its own for every peer.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::Cluster;
use crate::support::cluster::ClusterBuilder;
use crate::support::site::PeerEntry;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Made {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says.
pub fn params(database_id: &str, site: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = format!("syncer://{database_id}/{site}");
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 400 * DAY).into();
    params
}

/// Its time is over since an hour.
pub fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = (SystemTime::now() - DAY / 24).into();
    params
}

pub fn self_signed(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    Made {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// A CA of a test.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A list that revokes one certificate.
    pub fn revokes(&self, serial: u64) -> String {
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: (now - DAY).into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    pub fn sign(&self, params: CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        Made {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A cluster whose trust is in files that a test writes.
pub struct Yard {
    pub cluster: Cluster,
    dir: TempDir,
}

impl Yard {
    /// Everything made, each trusting the other's certificate, nothing running.
    pub fn prepare(builder: ClusterBuilder) -> Yard {
        let yard = Yard {
            cluster: builder.prepare(),
            dir: tempfile::tempdir().unwrap(),
        };
        for site in 0..yard.cluster.sites.len() {
            let peers = yard.peers(site);
            for (peer, known) in peers.iter().zip(yard.cluster.peers_of(site)) {
                std::fs::copy(known.certificate, &peer.certificate).unwrap();
            }
            yard.cluster.sites[site].write_config(&peers);
        }
        yard
    }

    /// The peers of a site, with the trust files of this yard.
    pub fn peers(&self, site: usize) -> Vec<PeerEntry> {
        let mut peers = self.cluster.peers_of(site);
        for peer in &mut peers {
            peer.certificate = self.trusted(site, &peer.site);
        }
        peers
    }

    /// Starts what was prepared.
    /// One after the other: sites that begin at once may both dial, and one of the two connections ends again.
    pub fn start_sites(&mut self) {
        for site in &mut self.cluster.sites {
            site.start();
            site.wait_status("it answers", |_| true);
        }
        self.cluster.wait_connected();
    }

    pub fn start(builder: ClusterBuilder) -> Yard {
        let mut yard = Yard::prepare(builder);
        yard.start_sites();
        yard
    }

    /// What a site trusts as this peer.
    pub fn trusted(&self, site: usize, peer: &str) -> PathBuf {
        self.dir.path().join(format!("{site}-{peer}.pem"))
    }

    /// Everybody but the site itself trusts these certificates as its own, from their next reload on.
    pub fn trust(&self, site: usize, certificates: &[&str]) {
        let name = &self.cluster.sites[site].name;
        for other in (0..self.cluster.sites.len()).filter(|&other| other != site) {
            put(&self.trusted(other, name), &certificates.concat());
        }
    }

    /// A site has this certificate from its next reload on.
    pub fn own(&self, site: usize, made: &Made) {
        let path = self.cluster.sites[site].certificate_path();
        put(&path.with_extension("key"), &made.key);
        put(&path, &made.certificate);
    }

    /// The certificate that a site has on disk.
    pub fn certificate(&self, site: usize) -> String {
        std::fs::read_to_string(self.cluster.sites[site].certificate_path()).unwrap()
    }

    pub fn reload(&self, site: usize) {
        self.cluster.sites[site].signal(Signal::HUP);
    }

    /// Reloads, and waits until this was said so often by the site: `is replaced` or `not replaced`.
    #[track_caller]
    pub fn reloaded(&self, site: usize, words: &str) {
        let site_of = &self.cluster.sites[site];
        let before = count(&site_of.log(), words);
        self.reload(site);
        crate::support::wait_until(
            &format!("{} says {words}", site_of.name),
            crate::support::LONG,
            || count(&site_of.log(), words) > before,
        );
    }
}

pub fn count(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

/// Replaces a file as a whole.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("unfinished");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

//! Certificates and policy of running sites: set by the administrator, changed on disk, refused.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod documents;
#[cfg(feature = "etcd")]
mod etcd;
mod set;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::site::{PeerEntry, Site, say};
use support::{Cluster, ClusterBuilder, LONG, wait_until};
use tempfile::TempDir;

/// Two sites whose peers' files stand apart from the stores, as on two machines.
pub struct Two {
    pub cluster: Cluster,
    pub dir: TempDir,
}

impl Two {
    pub fn start() -> Two {
        let mut two = Two::prepare();
        two.run();
        two
    }

    /// The sites, which do not run yet.
    pub fn prepare() -> Two {
        let cluster = ClusterBuilder::new(2).prepare();
        let dir = tempfile::tempdir().unwrap();
        Two { cluster, dir }
    }

    pub fn run(&mut self) {
        let (cluster, dir) = (&mut self.cluster, &self.dir);
        for site in 0..2 {
            let peers = cluster.peers_of(site);
            let apart = |peer: &PeerEntry| {
                let certificate = dir.path().join(format!("{}.pem", peer.site));
                std::fs::copy(&peer.certificate, &certificate).unwrap();
                PeerEntry {
                    certificate,
                    ..peer.clone()
                }
            };
            let peers: Vec<PeerEntry> = peers.iter().map(apart).collect();
            cluster.sites[site].write_config(&peers);
        }
        for site in &mut cluster.sites {
            site.start();
        }
        cluster.wait_connected();
    }

    pub fn a(&self) -> &Site {
        &self.cluster.sites[0]
    }

    pub fn b(&self) -> &Site {
        &self.cluster.sites[1]
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A self-signed pair for site a, `{name}.pem` and `{name}.key`.
    pub fn self_signed(&self, name: &str, uri: &str, more: &str) {
        openssl(
            self.dir.path(),
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.pem \
                 -days 900 -subj /CN=a -addext subjectAltName=URI:{uri}{more}"
            ),
        );
    }

    /// b trusts this certificate as well.
    pub fn trusted_by_b(&self, name: &str) {
        let mut text = std::fs::read_to_string(self.path("a.pem")).unwrap();
        text += &std::fs::read_to_string(self.path(name)).unwrap();
        std::fs::write(self.path("a.pem"), text).unwrap();
        done(self.b(), "cluster certificate reload");
    }

    /// A write at each site arrives at the other.
    #[track_caller]
    pub fn writes_arrive(&self, key: &str) {
        for (from, to) in [(0, 1), (1, 0)] {
            let key = format!("{key}:{from}");
            self.cluster.client(from).ok(&format!("SET {key} 1"));
            self.cluster.wait_value(to, &format!("GET {key}"), "1");
        }
    }
}

pub fn openssl(dir: &Path, args: &str) {
    let words = args.split(' ').filter(|word| !word.is_empty());
    let out = Command::new("openssl")
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "openssl {args}: {}", say(&out));
}

pub fn admin(site: &Site, words: &str) -> Output {
    site.command("admin", &words.split(' ').collect::<Vec<_>>())
}

/// What the words answer; they must succeed.
#[track_caller]
pub fn done(site: &Site, words: &str) -> String {
    let out = admin(site, words);
    assert!(out.status.success(), "{words}: {}", say(&out));
    String::from_utf8(out.stdout).unwrap()
}

/// Why the words were refused; they must be.
#[track_caller]
pub fn refused(site: &Site, words: &str) -> String {
    let out = admin(site, words);
    assert!(!out.status.success(), "{words}: {}", say(&out));
    String::from_utf8(out.stderr).unwrap()
}

/// Where a site's own pair stands.
pub fn own_file(site: &Site, name: &str) -> PathBuf {
    site.certificate_path().with_file_name(name)
}

/// Waits until the links' certificates were replaced so often.
#[track_caller]
pub fn wait_replaced(site: &Site, times: u64) {
    site.wait_status("the certificates are replaced", |s| {
        s.number("certificates.replaced") >= times
    });
}

/// Waits until so many replacements were refused for this reason.
#[track_caller]
pub fn wait_refused(site: &Site, reason: &str, times: u64) {
    wait_until(
        &format!("{times} replacements are refused: {reason}"),
        LONG,
        || site.status().is_some_and(|s| refusals(&s, reason) >= times),
    );
}

/// Whether the last replacement was none that was refused.
pub fn has_no_error(status: &support::status::Status) -> bool {
    status.0.pointer("/certificates/last_error").unwrap().is_null()
}

pub fn refusals(status: &support::status::Status, reason: &str) -> u64 {
    let found = status.0.pointer(&format!("/certificates/refused/{reason}"));
    found.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

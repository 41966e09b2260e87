//! Certificates for the tests, and what they are tried with.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ciphers;
mod files;
mod handshake;
mod refusals;
mod revocations;
mod shared;
mod store;

use super::*;
use crate::causality::SiteId;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use std::path::Path;
use std::process::Command;

/// 2060-06-01 12:00:00 UTC: within what these tests make, and behind every day on which openssl makes more.
pub const NOON: Moment = Moment(2_853_316_800);

pub fn site(name: &str) -> SiteId {
    name.parse().unwrap()
}

pub fn identity(name: &str) -> Identity {
    Identity::new("orders", site(name)).unwrap()
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says; `Default` says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Says<'a> {
    pub uris: &'a [&'a str],
    pub dns: &'a [&'a str],
    pub common: &'a str,
    pub is_ca: bool,
    pub years: Option<(i32, i32)>,
    pub server_only: bool,
}

impl Says<'_> {
    pub fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common);
        let uris = self.uris.iter().map(|&u| SanType::URI(u.try_into().unwrap()));
        let dns = self.dns.iter().map(|&n| SanType::DnsName(n.try_into().unwrap()));
        params.subject_alt_names.extend(uris.chain(dns));
        let (from, to) = self.years.unwrap_or((2020, 2090));
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if self.server_only {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }
        params
    }

    /// Signed by itself.
    pub fn pair(self) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: self.params().self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Signed by `ca`.
    pub fn signed(self, ca: &Pair) -> Pair {
        let key = KeyPair::generate().unwrap();
        let issuer_key = KeyPair::from_pem(&ca.key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&ca.certificate, issuer_key).unwrap();
        Pair {
            certificate: self.params().signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `syncer init` makes for a site, in short.
pub fn made(name: &str) -> Pair {
    let uri = identity(name).to_string();
    Says {
        uris: &[&uri],
        common: name,
        ..Says::default()
    }
    .pair()
}

pub fn authority() -> Pair {
    Says {
        common: "Test CA",
        is_ca: true,
        ..Says::default()
    }
    .pair()
}

pub fn loaded(pair: &Pair) -> Own {
    own(pair.certificate.as_bytes(), pair.key.as_bytes(), NOON).unwrap()
}

pub fn trust(me: &str, own: &Own, peers: &[(&str, &Pair)]) -> Result<Trust, FileFault> {
    let mut trust = Trust::new(
        identity(me),
        own.certificate().clone(),
        policy::provider(&CipherList::default()),
    );
    for (name, pair) in peers {
        trust.add(site(name), peer_file(pair.certificate.as_bytes())?)?;
    }
    Ok(trust)
}

pub fn tls(me: &str, pair: &Pair, peers: &[(&str, &Pair)]) -> LinkTls {
    let own = loaded(pair);
    let trust = trust(me, &own, peers).unwrap();
    LinkTls::new(&own, trust, &Settings::default()).unwrap()
}

pub fn openssl(dir: &Path, args: &str) {
    let out = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .expect("these tests need the openssl command");
    assert!(
        out.status.success(),
        "openssl {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// The certificate that people make by hand: `openssl req -x509`, which says CA:TRUE.
pub fn by_hand(name: &str, newkey: &str) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let args = format!("req -x509 -newkey {newkey} -nodes -keyout k -out c -days 36500 -subj /CN={name}");
    openssl(dir.path(), &args);
    Pair {
        certificate: std::fs::read_to_string(dir.path().join("c")).unwrap(),
        key: std::fs::read_to_string(dir.path().join("k")).unwrap(),
    }
}

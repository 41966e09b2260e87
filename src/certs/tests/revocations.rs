//! Revocation lists in a peer's file.

use super::super::{Role, peer_file};
use super::*;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = Says {
            common: "CA with lists",
            is_ca: true,
            ..Says::default()
        }
        .params();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate of site b.
    fn sign(&self, serial: u64) -> CertificateDer<'static> {
        let uri = identity("b").to_string();
        let mut params = Says {
            uris: &[&uri],
            ..Says::default()
        }
        .params();
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }

    /// A list that is good until the end of a year.
    fn list(&self, revoked: &[u64], until: i32) -> String {
        let one = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2021, 1, 1),
            next_update: rcgen::date_time_ymd(until, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// What becomes of b's certificate with this file for b.
fn judged(file: &str, leaf: &CertificateDer<'_>) -> Result<SiteId, &'static str> {
    let own = loaded(&made("a"));
    let mut trust = trust("a", &own, &[]).unwrap();
    trust.add(site("b"), peer_file(file.as_bytes()).unwrap()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(NOON.0).unwrap()));
    let as_client = trust.verify(leaf, &[], Role::Client, None, now);
    let as_server = trust.verify(leaf, &[], Role::Server, Some(site("b")), now);
    assert_eq!(as_client, as_server);
    as_client.map_err(|refused| refused.label())
}

#[test]
fn what_a_list_names_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (good, bad) = (ca.sign(1), ca.sign(2));
    let file = |list: &str| format!("{}{list}", ca.pem);
    assert_eq!(judged(&file(""), &bad), Ok(site("b")));
    assert_eq!(judged(&file(&ca.list(&[2], 2080)), &good), Ok(site("b")));
    assert_eq!(judged(&file(&ca.list(&[2], 2080)), &bad), Err("revoked"));
    // What cannot be checked is refused: a list of another authority (of the same name!), or one that is over.
    assert_eq!(
        judged(&file(&ca.list(&[], 2050)), &good),
        Err("revocation_list_expired")
    );
    assert!(judged(&file(&other.list(&[], 2080)), &good).is_err());
    // With an authority in overlap, each needs its list.
    let both = format!("{}{}{}", ca.pem, other.pem, ca.list(&[2], 2080));
    assert_eq!(judged(&both, &good), Ok(site("b")));
    assert_eq!(judged(&both, &bad), Err("revoked"));
    // A pinned certificate that a list names.
    let pem = |der: &CertificateDer<'_>| {
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        let coded = base64(der);
        for line in coded.as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text + "-----END CERTIFICATE-----\n"
    };
    assert_eq!(
        judged(&format!("{}{}", pem(&bad), ca.list(&[2], 2080)), &bad),
        Err("revoked")
    );
    assert_eq!(
        judged(&format!("{}{}", pem(&good), ca.list(&[2], 2080)), &good),
        Ok(site("b"))
    );
}

fn base64(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("der"), bytes).unwrap();
    openssl(dir.path(), "base64 -A -in der -out text");
    std::fs::read_to_string(dir.path().join("text")).unwrap()
}

#[test]
fn lists_that_do_not_read() {
    let ca = Authority::new();
    let list = ca.list(&[2], 2080);
    let refused = |list: &str| {
        peer_file(format!("{}{list}", ca.pem).as_bytes())
            .unwrap_err()
            .to_string()
    };
    let garbled = format!("{}AAAA{}", &list[..60], &list[60..]);
    assert!(
        refused(&garbled).contains("revocation list 1 in it does not parse"),
        "{}",
        refused(&garbled)
    );
    assert!(refused(&list.repeat(65)).contains("more than 64 revocation lists"));
    // A file of lists alone lets nobody in.
    assert!(
        peer_file(list.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("no certificate in it")
    );
}

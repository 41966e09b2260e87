//! Files: made, loaded, and wrong in every way.

use super::super::io::{ensure, load};
use super::*;
use std::os::unix::fs::PermissionsExt;

fn fault(pair: &Pair) -> String {
    let (_, fault) = own(pair.certificate.as_bytes(), pair.key.as_bytes(), NOON).unwrap_err();
    fault.to_string()
}

#[test]
fn made_once_and_loaded_after() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state/certs");
    let hosts = [
        "db.example".to_owned(),
        "10.0.0.7".to_owned(),
        "::1".to_owned(),
        "0.0.0.0".to_owned(),
    ];
    let made = ensure(&dir, CertificateName::Syncer, &identity("a"), &hosts).unwrap();
    assert!(made.is_new);
    assert_eq!(made.own.facts().identity, Some(identity("a")));
    assert!(!made.own.facts().is_ca);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made.paths.key), 0o600);
    assert_eq!(mode(&dir), 0o700);
    let again = ensure(&dir, CertificateName::Syncer, &identity("a"), &hosts).unwrap();
    assert!(!again.is_new);
    assert_eq!(again.own.fingerprint(), made.own.fingerprint());
    let names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // What OpenSSL makes of it.
    openssl(&dir, "x509 -in syncer.pem -noout -checkend 315000000");
    let out = Command::new("openssl")
        .args([
            "x509",
            "-in",
            "syncer.pem",
            "-noout",
            "-text",
            "-fingerprint",
            "-sha256",
        ])
        .current_dir(&dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    for part in [
        "CA:FALSE",
        "prime256v1",
        "DNS:db.example",
        "IP Address:10.0.0.7",
        "URI:syncer://orders/a",
        "TLS Web Client Authentication",
        made.own.fingerprint().strip_prefix("SHA256:").unwrap(),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("0.0.0.0"));
}

#[test]
fn a_making_that_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let make = || ensure(dir.path(), CertificateName::Api, &identity("a"), &[]);
    let made = make().unwrap();
    let key = std::fs::read(&made.paths.key).unwrap();
    std::fs::remove_file(&made.paths.certificate).unwrap();
    std::fs::write(dir.path().join("api.pem.new"), "half").unwrap();
    assert!(make().unwrap().is_new);
    assert_eq!(std::fs::read(&made.paths.key).unwrap(), key);
    std::fs::remove_file(&made.paths.key).unwrap();
    let error = make().unwrap_err().to_string();
    assert!(
        error.contains("api.key") && error.contains("key is missing"),
        "{error}"
    );
}

#[test]
fn our_own_files() {
    let (a, other) = (made("a"), made("a"));
    let with = |certificate: &str, key: &str| {
        fault(&Pair {
            certificate: certificate.into(),
            key: key.into(),
        })
    };
    let cut = a.certificate.replace("-----END CERTIFICATE-----", "");
    let garbled = format!("{}AAAA{}", &a.certificate[..60], &a.certificate[60..]);
    let cases = [
        (with(&a.certificate, &other.key), "not that of the certificate"),
        (with("", &a.key), "no certificate in it"),
        (with(&a.key, &a.key), "no certificate in it"),
        (with(&cut, &a.key), "does not parse as PEM"),
        (with(&garbled, &a.key), "certificate 1 in it does not parse"),
        (with(&a.certificate, ""), "no private key in it"),
        (with(&a.certificate, &a.certificate), "no private key in it"),
    ];
    for (shown, part) in cases {
        assert!(shown.contains(part), "{part:?}: {shown}");
    }
    for (years, part) in [
        ((2020, 2021), "expired at 2021"),
        ((2080, 2090), "not valid before 2080"),
    ] {
        let says = Says {
            years: Some(years),
            ..Says::default()
        };
        let shown = fault(&says.pair());
        assert!(shown.contains(part), "{shown}");
    }
    let many = a.certificate.repeat(pem::CERTIFICATES_MAX + 1);
    assert!(with(&many, &a.key).contains("more than 64"));
}

#[test]
fn encrypted_keys_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "ecparam -name prime256v1 -genkey -noout -out sec1");
    openssl(dir.path(), "pkcs8 -topk8 -in sec1 -out pkcs8 -passout pass:x");
    openssl(dir.path(), "ec -in sec1 -aes256 -out legacy -passout pass:x");
    for name in ["pkcs8", "legacy"] {
        let shown = fault(&Pair {
            certificate: made("a").certificate,
            key: std::fs::read_to_string(dir.path().join(name)).unwrap(),
        });
        assert!(shown.contains("encrypted"), "{name}: {shown}");
    }
}

#[test]
fn keys_in_every_wrapping() {
    let dir = tempfile::tempdir().unwrap();
    for (make, convert) in [
        (
            "ecparam -name prime256v1 -genkey -noout -out k",
            "ec -in k -out w",
        ),
        ("genrsa -out k 2048", "rsa -in k -traditional -out w"),
        ("genrsa -out k 2048", "pkcs8 -topk8 -nocrypt -in k -out w"),
    ] {
        openssl(dir.path(), make);
        openssl(dir.path(), convert);
        openssl(dir.path(), "req -x509 -key w -out c -days 36500 -subj /CN=a");
        let text = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        loaded(&Pair {
            certificate: text("c"),
            key: text("w"),
        });
    }
}

#[test]
fn peers_files() {
    let (a, b) = (made("a"), made("b"));
    let refused = |peers: &[(&str, &Pair)]| trust("a", &loaded(&a), peers).unwrap_err().to_string();
    let foreign = Says {
        uris: &["syncer://stock/b"],
        ..Says::default()
    }
    .pair();
    let cases = [
        (refused(&[("b", &a)]), "this is our own certificate"),
        (
            refused(&[("c", &b)]),
            "is for syncer://orders/b, not for syncer://orders/c",
        ),
        (refused(&[("b", &foreign)]), "is for syncer://stock/b, not for"),
    ];
    for (shown, part) in cases {
        assert!(shown.contains(part), "{part:?}: {shown}");
    }
    let plain = Says::default().pair();
    assert!(refused(&[("b", &plain), ("c", &plain)]).contains("that of peer b"));
    // One CA for two peers is how CAs are used.
    let ca = authority();
    assert!(trust("a", &loaded(&a), &[("b", &ca), ("c", &ca)]).is_ok());
}

#[test]
fn missing_and_foreign_files() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(dir.path(), CertificateName::Syncer, &identity("a"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("syncer.pem"), "{error}");
    ensure(dir.path(), CertificateName::Syncer, &identity("a"), &[]).unwrap();
    let error = load(dir.path(), CertificateName::Syncer, &identity("b"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("for syncer://orders/a, not for syncer://orders/b"),
        "{error}"
    );
    std::fs::write(dir.path().join("syncer.pem"), vec![b'-'; 2 << 20]).unwrap();
    let error = load(dir.path(), CertificateName::Syncer, &identity("a"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("larger than"), "{error}");
    let bad = ensure(
        &dir.path().join("x"),
        CertificateName::Cm,
        &identity("a"),
        &["é".into()],
    );
    assert!(matches!(bad, Err(Error::Make(_))), "{bad:?}");
}

#[test]
fn nothing_shows_a_key() {
    let pair = made("a");
    let shown = format!("{:?} {:?}", loaded(&pair), tls("a", &pair, &[]));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

//! What the administrator sets.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::site::say;
use crate::{Two, admin, done, has_no_error, openssl, own_file, refusals, refused};

/// The words that put a pair of files in the place of the syncer's.
pub fn set(two: &Two, name: &str) -> String {
    let (certificate, key) = (two.path(&format!("{name}.pem")), two.path(&format!("{name}.key")));
    format!(
        "cluster certificate set syncer certificate_file {} key_file {}",
        certificate.display(),
        key.display()
    )
}

#[test]
fn all_five_are_made_at_the_first_start() {
    let two = Two::start();
    for name in ["cm", "api", "proxy", "syncer", "metrics_exporter"] {
        let key = own_file(two.a(), &format!("{name}.key"));
        assert_eq!(
            std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
        let out = Command::new("openssl")
            .args(["x509", "-noout", "-text", "-in"])
            .arg(own_file(two.a(), &format!("{name}.pem")))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(
            text.contains("URI:syncer://orders/a")
                && text.contains("IP Address:127.0.0.1")
                && text.contains("prime256v1"),
            "{name}: {text}"
        );
    }
    let list = done(two.a(), "cluster certificate list");
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.contains("metrics_exporter valid"), "{list}");
    let shown = done(two.a(), "cluster certificate show syncer");
    assert!(
        shown.contains("syncer://orders/a") && shown.contains("SHA256:"),
        "{shown}"
    );
    // Another service's certificate moves no link.
    two.self_signed("api", "syncer://orders/a", "");
    let (certificate, key) = (two.path("api.pem"), two.path("api.key"));
    let words = format!(
        "cluster certificate set api certificate_file {} key_file {}",
        certificate.display(),
        key.display()
    );
    let answer = done(two.a(), &words);
    assert!(
        answer.starts_with("certificate api is set: SHA256:") && !answer.contains("link"),
        "{answer}"
    );
    let file = std::fs::read(own_file(two.a(), "api.pem")).unwrap();
    assert_eq!(file, std::fs::read(certificate).unwrap());
    assert!(refused(two.a(), "cluster certificate show apis").contains("did you mean api?"));
}

#[test]
fn a_certificate_of_an_authority_is_set_and_the_link_moves() {
    let two = Two::start();
    let dir = two.dir.path();
    openssl(dir, "genrsa -out ca.key 2048");
    openssl(
        dir,
        "req -x509 -new -key ca.key -days 900 -subj /CN=CA -out ca.pem",
    );
    two.trusted_by_b("ca.pem");
    openssl(dir, "genrsa -out new.key 2048");
    openssl(
        dir,
        "req -new -key new.key -subj /CN=a -addext subjectAltName=URI:syncer://orders/a -out new.csr",
    );
    openssl(
        dir,
        "x509 -req -in new.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -copy_extensions copy -out new.pem",
    );
    two.writes_arrive("before");
    let answer = done(two.a(), &set(&two, "new"));
    assert!(answer.contains("certificate syncer is set: SHA256:"), "{answer}");
    assert!(
        answer.contains("\nvalid until 20") && answer.contains("\nlink to b: moved"),
        "{answer}"
    );
    two.writes_arrive("after");
    let key = own_file(two.a(), "syncer.key");
    assert_eq!(
        std::fs::read(&key).unwrap(),
        std::fs::read(two.path("new.key")).unwrap()
    );
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // A second time, over what the first one left.
    openssl(
        dir,
        "x509 -req -in new.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 400 -copy_extensions copy -out new.pem",
    );
    assert!(done(two.a(), &set(&two, "new")).contains("\nlink to b: moved"));
    two.writes_arrive("again");
    two.cluster.converge();
}

/// Pairs that are wrong in every way, by name; `good` is not.
fn make_bad_ones(two: &Two) {
    let dir = two.dir.path();
    let named = "syncer://orders/a";
    two.self_signed("good", named, "");
    two.self_signed("other", named, "");
    two.self_signed("site", "syncer://orders/b", "");
    two.self_signed("database", "syncer://stock/a", "");
    two.self_signed("usage", named, " -addext extendedKeyUsage=serverAuth");
    two.self_signed("weak", named, " -sha1");
    openssl(
        dir,
        "req -x509 -newkey rsa:1024 -nodes -keyout short.key -out short.pem -days 900 -subj /CN=a",
    );
    openssl(
        dir,
        "req -new -key good.key -subj /CN=a -addext subjectAltName=DNS:a -out good.csr",
    );
    openssl(
        dir,
        "x509 -req -in good.csr -signkey good.key -days -1 -copy_extensions copy -out expired.pem",
    );
    openssl(
        dir,
        "pkcs8 -topk8 -in good.key -out locked.key -passout pass:canary-of-the-test",
    );
    let copy = |from: &str, to: &str| std::fs::copy(two.path(from), two.path(to)).unwrap();
    copy("good.key", "expired.key");
    copy("good.pem", "locked.pem");
    copy("good.pem", "mismatch.pem");
    copy("other.key", "mismatch.key");
    let text = std::fs::read_to_string(two.path("good.pem")).unwrap();
    std::fs::write(two.path("half.pem"), &text[..text.len() / 2]).unwrap();
    copy("good.key", "half.key");
    std::fs::write(two.path("none.pem"), "nothing").unwrap();
    copy("good.key", "none.key");
}

#[test]
fn a_bad_replacement_changes_nothing_and_says_why() {
    let two = Two::start();
    let before = std::fs::read(own_file(two.a(), "syncer.pem")).unwrap();
    make_bad_ones(&two);
    for (name, reason, part) in [
        ("mismatch", "key_mismatch", "not that of the certificate"),
        (
            "site",
            "wrong_identity",
            "is for syncer://orders/b, not for syncer://orders/a",
        ),
        ("database", "wrong_identity", "is for syncer://stock/a"),
        ("usage", "policy", "serverAuth and clientAuth"),
        ("weak", "policy", "SHA-1"),
        ("short", "malformed", "RSA from 2048 bits"),
        ("expired", "expired", "expired at"),
        ("locked", "encrypted_key", "encrypted"),
        ("half", "malformed", "PEM"),
        ("none", "malformed", "no certificate in it"),
        // Nobody told b of it.
        ("good", "no_link", "no link could be established"),
    ] {
        let refusals_before = refusals(&two.a().status().unwrap(), reason);
        let why = refused(two.a(), &set(&two, name));
        assert!(why.contains(part), "{name}: {why}");
        let status = two.a().status().unwrap();
        assert_eq!(
            refusals(&status, reason),
            refusals_before + 1,
            "{name}: {}",
            status.0
        );
        assert_eq!(status.number("certificates.replaced"), 0, "{name}");
        assert!(
            why.contains(status.text("certificates.last_error")),
            "{name}: {why}"
        );
        assert_eq!(
            std::fs::read(own_file(two.a(), "syncer.pem")).unwrap(),
            before,
            "{name}"
        );
    }
    assert!(refused(two.a(), &set(&two, "missing")).contains("No such file"));
    assert!(
        refused(
            two.a(),
            "cluster certificate set sincer certificate_file /dev/null key_file /dev/null"
        )
        .contains("did you mean syncer?")
    );
    two.writes_arrive("after");
    let log = two.a().log();
    assert!(!log.contains("PRIVATE") && !log.contains("canary"), "{log}");
    // Once b knows it, it is as good as any.
    two.trusted_by_b("good.pem");
    assert!(done(two.a(), &set(&two, "good")).contains("link to b: moved"));
    assert!(has_no_error(&two.a().status().unwrap()));
    two.writes_arrive("good");
}

/// Whether a handshake with the link port gets as far as certificates with these options.
fn greets(two: &Two, options: &str) -> bool {
    let address = format!("127.0.0.1:{}", two.a().link_port);
    let out = Command::new("openssl")
        .args([
            "s_client", "-connect", &address, "-alpn", "syncer/1", "-cert", "b.pem", "-key", "b.key",
        ])
        .args(options.split(' '))
        .current_dir(two.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).contains("BEGIN CERTIFICATE")
}

#[test]
fn the_policy_is_set_shown_and_obeyed() {
    let two = Two::start();
    std::fs::copy(own_file(two.b(), "syncer.key"), two.path("b.key")).unwrap();
    let shown = done(two.a(), "cluster config");
    assert!(
        shown.contains("min_data_TLS_version     1.3") && shown.contains("http_support"),
        "{shown}"
    );
    assert!(greets(&two, "-tls1_3") && !greets(&two, "-tls1_2"));
    let answer = done(two.a(), "cluster config min_data_TLS_version 1.2");
    assert!(answer.contains("link to b: moved"), "{answer}");
    assert!(greets(&two, "-tls1_2") && !greets(&two, "-tls1_1 -cipher DEFAULT@SECLEVEL=0"));
    let answer = done(
        two.a(),
        "cluster config cipher_suites ECDHE+AESGCM:!aNULL:!AES128",
    );
    assert!(
        answer.contains("ECDHE-ECDSA-AES256-GCM-SHA384") && !answer.contains("CHACHA20-POLY1305\n"),
        "{answer}"
    );
    assert!(greets(&two, "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384"));
    assert!(!greets(&two, "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"));
    assert!(!greets(&two, "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305"));
    done(two.a(), "cluster config http_support disabled");
    done(two.a(), "cluster config min_control_TLS_version 1.3");
    for (words, part) in [
        ("min_data_TLS_version 1.1", "RFC 8996"),
        ("min_control_TLS_version 1.0", "RFC 8996"),
        ("cipher_suites HIGH:DES-CBC3-SHA", "DES-CBC3-SHA"),
        ("cipher_suites HIGH:!foo", "foo"),
        ("http_support off", "enabled nor disabled"),
        // The key is an ECDSA one.
        ("cipher_suites aRSA", "none of the cluster's cipher_suites"),
    ] {
        let why = refused(two.a(), &format!("cluster config {words}"));
        assert!(why.contains(part), "{words}: {why}");
    }
    let shown = done(two.a(), "cluster config");
    for part in [
        "min_control_TLS_version  1.3",
        "min_data_TLS_version     1.2",
        "cipher_suites            ECDHE+AESGCM:!aNULL:!AES128",
        "http_support             disabled",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    two.writes_arrive("after");
}

#[test]
fn without_a_running_syncer_the_store_is_changed() {
    let mut two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.self_signed("foreign", "syncer://orders/c", "");
    two.trusted_by_b("new.pem");
    two.cluster.sites[0].stop();
    let shown = done(two.a(), "cluster certificate show");
    assert!(shown.contains("metrics_exporter"), "{shown}");
    assert!(refused(two.a(), &set(&two, "foreign")).contains("not for syncer://orders/a"));
    assert!(done(two.a(), &set(&two, "new")).contains("next start"));
    assert!(done(two.a(), "cluster config min_data_TLS_version 1.2").contains("next start"));
    assert!(!admin(two.a(), "conflicts overrule site b").status.success());
    two.cluster.sites[0].start();
    two.cluster.wait_connected();
    let shown = done(two.a(), "cluster config");
    assert!(shown.contains("min_data_TLS_version     1.2"), "{shown}");
    let out = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", "new.pem"])
        .current_dir(two.dir.path())
        .output()
        .unwrap();
    let fingerprint = String::from_utf8_lossy(&out.stdout);
    let fingerprint = fingerprint.trim().split('=').nth(1).unwrap().to_owned();
    let shown = done(two.a(), "cluster certificate show syncer");
    assert!(shown.contains(&fingerprint), "{shown}: {}", say(&out));
    two.writes_arrive("after");
}

//! Files that others change: in two steps, by renames, by links, by another syncer of the site.

use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::support::site::{run_to_end, say};
use crate::{Two, done, has_no_error, own_file, wait_refused, wait_replaced};

fn put(two: &Two, name: &str, as_name: &str) {
    std::fs::copy(two.path(name), own_file(two.a(), as_name)).unwrap();
}

#[test]
fn a_pair_that_is_written_in_two_steps_is_taken_when_it_is_whole() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.trusted_by_b("new.pem");
    put(&two, "new.pem", "syncer.pem");
    put(&two, "new.key", "syncer.key");
    wait_replaced(two.a(), 1);
    let status = two.a().status().unwrap();
    assert_eq!(
        status.0.pointer("/certificates/refused").unwrap(),
        &serde_json::json!({})
    );
    two.writes_arrive("after");
}

#[test]
fn a_pair_that_stays_half_is_told_and_the_old_one_stays() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.trusted_by_b("new.pem");
    put(&two, "new.pem", "syncer.pem");
    wait_refused(two.a(), "key_mismatch", 1);
    two.writes_arrive("meanwhile");
    let status = two.a().status().unwrap();
    assert!(
        status
            .text("certificates.last_error")
            .contains("not that of the certificate")
    );
    two.a().wait_log(&["key_mismatch", "not replaced"]);
    // The key comes late, and SIGHUP asks for a look.
    put(&two, "new.key", "syncer.key");
    two.a().signal(Signal::HUP);
    wait_replaced(two.a(), 1);
    assert!(has_no_error(&two.a().status().unwrap()));
    two.writes_arrive("after");
}

/// Kubernetes: the names are links through `..data`, which is renamed over.
#[test]
fn a_mounted_secret_is_swapped() {
    let mut two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.trusted_by_b("new.pem");
    two.cluster.sites[0].stop();
    let certs = own_file(two.a(), "");
    let write = |version: &str, certificate: &[u8], key: &[u8]| {
        std::fs::create_dir(certs.join(version)).unwrap();
        std::fs::write(certs.join(version).join("syncer.pem"), certificate).unwrap();
        std::fs::write(certs.join(version).join("syncer.key"), key).unwrap();
        symlink(version, certs.join("..data_tmp")).unwrap();
        std::fs::rename(certs.join("..data_tmp"), certs.join("..data")).unwrap();
    };
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    write(
        "..1",
        &read(&certs.join("syncer.pem")),
        &read(&certs.join("syncer.key")),
    );
    for name in ["syncer.pem", "syncer.key"] {
        std::fs::remove_file(certs.join(name)).unwrap();
        symlink(format!("..data/{name}"), certs.join(name)).unwrap();
    }
    two.cluster.sites[0].start();
    two.cluster.wait_connected();
    write("..2", &read(&two.path("new.pem")), &read(&two.path("new.key")));
    wait_replaced(two.a(), 1);
    two.writes_arrive("after");
}

/// Vault: a new file is renamed over the old one. Here the peer's file, by one that does not read, then by one that does.
#[test]
fn a_trust_bundle_is_exchanged() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    std::fs::write(two.path("next"), "-----BEGIN CERTIFICATE-----\nno").unwrap();
    std::fs::rename(two.path("next"), two.path("a.pem")).unwrap();
    wait_refused(two.b(), "peer_file", 1);
    two.writes_arrive("meanwhile");
    let both = [
        std::fs::read(own_file(two.a(), "syncer.pem")).unwrap(),
        std::fs::read(two.path("new.pem")).unwrap(),
    ];
    std::fs::write(two.path("next"), both.concat()).unwrap();
    std::fs::rename(two.path("next"), two.path("a.pem")).unwrap();
    wait_replaced(two.b(), 1);
    let (certificate, key) = (two.path("new.pem"), two.path("new.key"));
    let words = format!(
        "cluster certificate set syncer certificate_file {} key_file {}",
        certificate.display(),
        key.display()
    );
    assert!(done(two.a(), &words).contains("link to b: moved"));
    two.writes_arrive("after");
}

/// Two syncers of one site share the store; what is set at one is taken by the other.
#[test]
fn another_node_of_the_site_takes_what_is_set() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.trusted_by_b("new.pem");
    // The other node: its own data, the same store. It need not run.
    let config = std::fs::read_to_string(two.a().config_path()).unwrap();
    let data = format!(
        "data_dir = {:?}",
        two.a().certificate_path().parent().unwrap().parent().unwrap()
    );
    assert!(config.contains(&data), "{config}");
    let config = config.replace(&data, &format!("data_dir = {:?}", two.path("node2")));
    let store = own_file(two.a(), "");
    std::fs::write(
        two.path("node2.toml"),
        format!("{config}\n[certificates]\ndir = {store:?}\n"),
    )
    .unwrap();
    let (certificate, key) = (two.path("new.pem"), two.path("new.key"));
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let words = [
        "cluster",
        "certificate",
        "set",
        "syncer",
        "certificate_file",
        &certificate,
        "key_file",
        &key,
    ];
    let out = run_to_end("admin", &two.path("node2.toml"), &words);
    assert!(out.status.success(), "{}", say(&out));
    wait_replaced(two.a(), 1);
    two.writes_arrive("certificate");
    let out = run_to_end(
        "admin",
        &two.path("node2.toml"),
        &["cluster", "config", "min_data_TLS_version", "1.2"],
    );
    assert!(out.status.success(), "{}", say(&out));
    wait_replaced(two.a(), 2);
    let shown = done(two.a(), "cluster config");
    assert!(shown.contains("min_data_TLS_version     1.2"), "{shown}");
    two.writes_arrive("policy");
}

#[test]
fn what_ends_soon_is_told() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", " -days 5");
    two.trusted_by_b("new.pem");
    put(&two, "new.pem", "syncer.pem");
    put(&two, "new.key", "syncer.key");
    wait_replaced(two.a(), 1);
    two.a().wait_log(&["ends within 7 days", "syncer.pem expires at"]);
    let table = two.a().command("status", &[]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("CERTIFICATE syncer ends within 7 days"), "{table}");
    let status = two.a().status().unwrap();
    let left = status
        .0
        .pointer("/certificates/held/0/expires_in_s")
        .unwrap()
        .as_i64()
        .unwrap();
    assert!((0..=5 * 86_400).contains(&left), "{left}");
}

//! Files that others change: in two steps, by renames, by links, by another syncer of the site.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::ports::free_port;
use crate::support::site::Site;
use crate::support::{LONG, RedisServer, ServerOptions, wait_until};
use crate::{Two, done, has_no_error, own_file, refusals, refused, wait_refused, wait_replaced};

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
    // The other node: its own data, the same store.
    let mut other = Site::new("a", "orders", RedisServer::start(ServerOptions::default()));
    other.extra = format!("[certificates]\ndir = {:?}\n", own_file(two.a(), ""));
    other.write_config(&[]);
    other.start();
    other.wait_status("it answers", |_| true);
    let (certificate, key) = (two.path("new.pem"), two.path("new.key"));
    let words = format!(
        "cluster certificate set syncer certificate_file {} key_file {}",
        certificate.display(),
        key.display()
    );
    // Set at one, taken by both; and the other way round.
    done(two.a(), &words);
    wait_replaced(&other, 1);
    assert_eq!(fingerprint(&other), fingerprint(two.a()));
    two.writes_arrive("certificate");
    done(&other, "cluster config min_data_TLS_version 1.2");
    wait_replaced(two.a(), 2);
    let shown = done(two.a(), "cluster config");
    assert!(shown.contains("min_data_TLS_version     1.2"), "{shown}");
    two.writes_arrive("policy");
}

fn fingerprint(site: &Site) -> String {
    let status = site.status().unwrap();
    let held = status.0.pointer("/certificates/held/0/fingerprint");
    held.unwrap().as_str().unwrap().to_owned()
}

/// Files that are of no use: nothing changes, it is told why, and counted. When they are good, they are taken.
#[test]
fn what_cannot_be_used_changes_nothing() {
    let two = Two::start();
    two.self_signed("new", "syncer://orders/a", "");
    two.trusted_by_b("new.pem");
    let before = fingerprint(two.a());
    let [pem, key] = ["syncer.pem", "syncer.key"].map(|name| own_file(two.a(), name));
    let check = |reason: &str, part: &str| {
        let why = refused(two.a(), "cluster certificate reload");
        assert!(why.contains(part), "{reason}: {why}");
        let status = two.a().status().unwrap();
        // The watch may have told it already.
        assert!(refusals(&status, reason) >= 1, "{reason}: {}", status.0);
        assert!(
            why.contains(status.text("certificates.last_error")),
            "{reason}: {why}"
        );
        assert_eq!(status.number("certificates.replaced"), 0);
        assert_eq!(fingerprint(two.a()), before);
        two.writes_arrive(reason);
    };
    // From tomorrow on.
    let mut params = rcgen::CertificateParams::default();
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = (std::time::SystemTime::now() + day).into();
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    std::fs::write(&pem, params.self_signed(&pair).unwrap().pem()).unwrap();
    check("not_yet_valid", "not valid before");
    // Half of the file.
    let text = std::fs::read_to_string(two.path("new.pem")).unwrap();
    std::fs::write(&pem, &text[..text.len() / 2]).unwrap();
    check("malformed", "PEM");
    // A key that cannot be read.
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    put(&two, "new.pem", "syncer.pem");
    check("unreadable", "syncer.key");
    std::fs::remove_dir(&key).unwrap();
    put(&two, "new.key", "syncer.key");
    done(two.a(), "cluster certificate reload");
    wait_replaced(two.a(), 1);
    assert!(has_no_error(&two.a().status().unwrap()) && fingerprint(two.a()) != before);
    two.writes_arrive("after");
}

/// Other processes of its user may not look into the syncer, and no core file is written: what `/proc` shows of such a
/// process is root's. As root, the syncer is started as somebody else, for root's own is root's anyhow.
#[test]
fn the_process_is_not_dumpable() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // The path of the program itself may lead through folders that are root's alone.
    let program = dir.path().join("syncer");
    std::fs::copy(env!("CARGO_BIN_EXE_syncer"), &program).unwrap();
    let config = dir.path().join("a.toml");
    let text = format!(
        "site = \"a\"\ndatabase_id = \"orders\"\ndatabase = \"redis://127.0.0.1:1\"\ndata_dir = \"data\"\n[link]\n\
         listen = \"127.0.0.1:{}\"\n",
        free_port()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(&config);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the syncer answers", LONG, || {
        assert_eq!(child.try_wait().unwrap(), None, "the syncer has ended");
        data.join("control.sock").exists()
    });
    let owner = |file: &str| {
        std::fs::metadata(format!("/proc/{}/{file}", child.id()))
            .unwrap()
            .uid()
    };
    let seen = (owner("mem"), owner("environ"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, (0, 0));
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

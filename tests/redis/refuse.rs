//! What must not be joined is refused, with words that help.

use crate::support::certificate;
use crate::support::server::tail;
use crate::support::site::say;
use crate::support::{Cluster, Random, RedisServer, SHORT, ServerOptions, Site, wait_until};

/// Every one of these words, in any letter case.
#[track_caller]
fn assert_says(text: &str, expected: &[&str]) {
    let lower = text.to_lowercase();
    let missing: Vec<_> = expected
        .iter()
        .filter(|word| !lower.contains(&word.to_lowercase()))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are not in:\n{text}");
}

/// The log line that tells of the refusal, once it is there.
#[track_caller]
fn wait_refusal(site: &Site, expected: &[&str]) {
    wait_until(
        &format!("the log of {} says {expected:?}", site.name),
        SHORT,
        || {
            let log = site.log().to_lowercase();
            log.lines()
                .any(|line| expected.iter().all(|word| line.contains(&word.to_lowercase())))
        },
    );
}

#[test]
fn a_database_with_unknown_data_is_refused() {
    Random::announced("unknown data");
    let mut cluster = Cluster::build(2).prepare();
    cluster.client(0).load(&["SET old 1", "HSET h f v"]);
    cluster.sites[1].start();
    cluster.sites[0].start();
    // The mend is in the message: either an empty database, or the word that the data are agreed.
    wait_refusal(&cluster.sites[0], &["agreed"]);
    let up = cluster.sites[0]
        .status()
        .is_some_and(|status| status.database_is_up());
    assert!(!up, "the syncer does not pretend to replicate");
    assert_eq!(
        cluster.client(1).ok("EXISTS old h").int(),
        0,
        "nothing of it has reached the other site"
    );
    // A write after the refusal must not trickle over either: half of the data is worse than none.
    cluster.client(0).ok("SET later 1");
    cluster.client(1).ok("SET here 1");
    cluster.sites[1].wait_read();
    assert_eq!(cluster.client(1).ok("EXISTS later").int(), 0);
}

#[test]
fn another_database_id_is_refused() {
    Random::announced("another database id");
    let mut cluster = Cluster::build(2).prepare();
    // Certificates that name no database: then it is the greeting that tells.
    for site in &cluster.sites {
        let path = site.certificate_path();
        certificate::make(path.parent().expect("a directory"), "syncer");
    }
    cluster.sites[1].database_id = "invoices".into();
    let peers = cluster.peers_of(1);
    cluster.sites[1].write_config(&peers);
    for site in &mut cluster.sites {
        site.start();
    }
    for site in &cluster.sites {
        site.wait_status("the stream is read", |s| s.database_is_up());
    }
    wait_until("one of the two has told why", SHORT, || {
        cluster
            .sites
            .iter()
            .any(|s| s.log().contains("invoices") && s.log().contains("orders"))
    });
    assert_apart(&cluster);
}

/// A certificate of our own making names the database: already the start is refused.
#[test]
fn a_certificate_for_another_database_id_is_refused() {
    Random::announced("a certificate for another database id");
    let mut cluster = Cluster::build(2).prepare();
    cluster.sites[0].database_id = "invoices".into();
    let peers = cluster.peers_of(0);
    cluster.sites[0].write_config(&peers);
    let output = cluster.sites[0].command("run", &[]);
    assert!(!output.status.success());
    assert_says(&say(&output), &["syncer://orders/a", "syncer://invoices/a"]);
}

#[test]
fn another_certificate_is_refused() {
    Random::announced("another certificate");
    let mut cluster = Cluster::build(2).prepare();
    // Somebody else's certificate, well made, on the path where b's is expected.
    let stranger = Site::new("b", "orders", RedisServer::start(ServerOptions::default()));
    stranger.init();
    let mut peers = cluster.peers_of(0);
    peers[0].certificate = stranger.certificate_path();
    cluster.sites[0].write_config(&peers);
    for site in &mut cluster.sites {
        site.start();
    }
    wait_refusal(&cluster.sites[0], &["certificate"]);
    assert_apart(&cluster);
}

/// A valid certificate of one site must not speak for another one.
#[test]
fn a_peer_under_another_name_is_refused() {
    Random::announced("another name");
    let cluster = Cluster::build(3).prepare();
    // At a, the certificates of b and c are exchanged: each of them then claims to be the other one.
    let mut peers = cluster.peers_of(0);
    let (b, c) = (peers[0].certificate.clone(), peers[1].certificate.clone());
    (peers[0].certificate, peers[1].certificate) = (c, b);
    cluster.sites[0].write_config(&peers);
    let output = cluster.sites[0].command("run", &[]);
    assert!(!output.status.success());
    assert_says(&say(&output), &["syncer://orders/c", "syncer://orders/b"]);
}

/// The two sites are not connected and exchange nothing.
#[track_caller]
fn assert_apart(cluster: &Cluster) {
    cluster.client(0).ok("SET from:a 1");
    cluster.client(1).ok("SET from:b 1");
    for site in &cluster.sites {
        site.wait_read();
        let other = if site.name == "a" { "b" } else { "a" };
        let status = site.status().expect("the syncer runs on and tries again");
        assert!(!status.peer_is_up(other), "{}", status.0);
    }
    assert_eq!(cluster.client(0).ok("EXISTS from:b").int(), 0);
    assert_eq!(cluster.client(1).ok("EXISTS from:a").int(), 0);
}

#[test]
fn mistakes_in_the_configuration_are_all_told() {
    Random::announced("configuration");
    let site = Site::new("a", "orders", RedisServer::start(ServerOptions::default()));
    site.init();
    let good = site.config(&[]);
    let broken = |change: &dyn Fn(&str) -> String| {
        std::fs::write(site.config_path(), change(&good)).expect("configuration written");
        let output = site.command("run", &[]);
        assert_eq!(output.status.code(), Some(64), "{}", say(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = broken(&|good| good.replace("data_dir", "data_dri"));
    assert_says(&text, &["data_dri", "data_dir"]);
    let text = broken(&|good| good.replace("listen =", "listne ="));
    assert_says(&text, &["listne", "listen"]);
    let text = broken(&|good| good.replace("site = \"a\"", "site = \"Not a name\""));
    assert_says(&text, &["site", "Not a name"]);
    // All at once, not one after the other.
    let text = broken(&|good| {
        good.replace("site = \"a\"", "site = \"A B\"")
            .replace("data_dir", "data_dri")
    });
    assert_says(&text, &["A B", "data_dri"]);
    let text = broken(&|good| format!("{good}\nthis is no TOML"));
    assert!(!text.is_empty());
}

#[test]
fn a_missing_configuration_or_certificate_is_told() {
    Random::announced("missing files");
    let cluster = Cluster::build(2).prepare();
    let site = &cluster.sites[0];
    let missing = site.config_path().with_file_name("nowhere.toml");
    let output = crate::support::run_to_end("run", &missing, &[]);
    assert!(!output.status.success());
    assert_says(&say(&output), &["nowhere.toml"]);

    std::fs::remove_file(cluster.sites[1].certificate_path()).expect("the peer's certificate");
    let output = site.command("run", &[]);
    assert!(!output.status.success(), "{}", say(&output));
    assert_says(&say(&output), &["certificate", "syncer.pem"]);
}

#[test]
fn a_wrong_password_is_told() {
    Random::announced("wrong password");
    let options = ServerOptions {
        password: Some("right".into()),
        ..ServerOptions::default()
    };
    let mut site = Site::new("a", "orders", RedisServer::start(options));
    site.database_url = Some(format!("redis://:terribly-wrong@127.0.0.1:{}", site.server.port));
    site.init();
    site.start();
    wait_refusal(&site, &["password"]);
    assert!(
        !site.log().contains("terribly-wrong"),
        "secrets stay out of the log:\n{}",
        tail(&site.log(), 20)
    );
}

#[test]
fn status_without_a_syncer_is_an_error_with_advice() {
    Random::announced("status without syncer");
    let site = Site::new("a", "orders", RedisServer::start(ServerOptions::default()));
    site.init();
    let output = site.command("status", &["--json"]);
    assert!(!output.status.success());
    assert_says(&say(&output), &["run"]);
}

#[test]
fn status_tells_of_a_peer_that_is_down_and_of_the_backlog_for_it() {
    Random::announced("status with a peer down");
    let mut cluster = Cluster::new(2);
    cluster.sites[1].stop();
    let lines: Vec<_> = (0..100).map(|n| format!("SET k:{n} v")).collect();
    cluster.client(0).load(&lines);
    let status =
        cluster.sites[0].wait_status("the lag is told", |s| s.peer("b").number("lag_operations") >= 100);
    assert!(!status.peer_is_up("b"));
    assert!(
        status.number("window.operations") >= 100,
        "unstable while a site has not seen them"
    );
    let human = cluster.sites[0].command("status", &[]);
    assert!(human.status.success());
    assert_says(&String::from_utf8_lossy(&human.stdout), &["b", "100"]);
    cluster.sites[1].start();
    cluster.wait_connected();
    cluster.converge();
}

#[test]
fn two_syncers_on_one_data_directory_are_refused() {
    Random::announced("two syncers on one directory");
    let cluster = Cluster::new(2);
    let output = cluster.sites[0].command("run", &[]);
    assert!(!output.status.success());
    assert_says(&say(&output), &["data"]);
    cluster.client(0).ok("SET alive 1");
    cluster.wait_value(1, "GET alive", "1");
}

#[test]
fn init_twice_keeps_the_certificate() {
    Random::announced("init twice");
    let site = Site::new("a", "orders", RedisServer::start(ServerOptions::default()));
    site.init();
    let first = std::fs::read(site.certificate_path()).expect("certificate");
    let output = site.command("init", &[]);
    assert!(output.status.success(), "{}", say(&output));
    assert_eq!(
        std::fs::read(site.certificate_path()).expect("certificate"),
        first
    );
    assert_says(&String::from_utf8_lossy(&output.stdout), &["SHA256:"]);
}

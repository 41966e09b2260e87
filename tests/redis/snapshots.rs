//! Every way in which a database may greet its replica: disk and diskless snapshots, TLS, passwords, users.

use crate::support::{Client, Cluster, ClusterBuilder, Random, ServerOptions};

/// What the database's user of a syncer needs, and nothing more. The README promises that this is enough.
const LEAST_ACL: &str = "~* &* +@read +@write +multi +exec +discard +watch +unwatch +select +psync +replconf +ping +info \
    +client|setname +client|id +client|list +client|kill +command +time +eval";

/// Keys of every type, and enough of them that the snapshot does not fit into one read.
fn preload(client: &mut Client, keys: usize) {
    let mut lines = Vec::new();
    for n in 0..keys {
        lines.push(match n % 7 {
            0 => format!("SET old:{n} {}", "v".repeat(200)),
            1 => format!("HSET old:{n} f {n} g {n}"),
            2 => format!("SADD old:{n} 1 2 3"),
            3 => format!("ZADD old:{n} 1 a 2 b"),
            4 => format!("RPUSH old:{n} a b c"),
            5 => format!("XADD old:{n} 1-1 f v"),
            _ => format!("SET old:{n} {n} PXAT 4102444800000"),
        });
    }
    client.load(&lines);
}

/// Writes at both sites, a restart of a syncer, writes again.
fn works(name: &str, builder: ClusterBuilder, preloaded: usize) {
    Random::announced(name);
    let mut cluster = builder.prepare();
    for site in 0..cluster.sites.len() {
        preload(&mut cluster.client(site), preloaded);
    }
    for site in &mut cluster.sites {
        // Data that are the same everywhere must be declared so.
        site.start_with(if preloaded > 0 { &["--agreed"] } else { &[] });
    }
    cluster.wait_connected();
    for round in 0..2 {
        for site in 0..cluster.sites.len() {
            let mut client = cluster.client(site);
            let lines: Vec<_> = (0..200).map(|n| format!("SET new:{site}:{n} {round}")).collect();
            client.load(&lines);
            client.load(&["INCR both", "SADD members x y", "DEL old:0", "HINCRBY old:1 f 1"]);
        }
        cluster.converge();
        cluster.sites[round % 2].kill();
        cluster.client(round % 2).ok("INCR both");
        cluster.sites[round % 2].start();
        cluster.wait_connected();
    }
    cluster.converge();
    assert_eq!(cluster.client(0).ok("GET both").text(), "6");
}

fn diskless(yes: bool) -> ServerOptions {
    ServerOptions::default().with("repl-diskless-sync", if yes { "yes" } else { "no" })
}

#[test]
fn empty_databases_disk_and_diskless() {
    works(
        "one disk, one diskless",
        Cluster::build(2)
            .server(0, diskless(false))
            .server(1, diskless(true)),
        0,
    );
}

#[test]
fn agreed_databases_with_a_snapshot_from_disk() {
    works(
        "agreed, disk",
        Cluster::build(2).servers(&diskless(false)),
        20_000,
    );
}

#[test]
fn agreed_databases_with_a_diskless_snapshot() {
    works(
        "agreed, diskless",
        Cluster::build(2).servers(&diskless(true)),
        20_000,
    );
}

/// A database that takes its time sends empty lines before its snapshot.
#[test]
fn a_snapshot_that_lets_wait() {
    let slow = diskless(true)
        .with("repl-diskless-sync-delay", "3")
        .with("repl-ping-replica-period", "1")
        .with("rdb-key-save-delay", "200");
    works(
        "slow snapshot",
        Cluster::build(2).server(0, slow.clone()).server(1, slow),
        3_000,
    );
}

#[test]
fn databases_with_tls() {
    let options = ServerOptions {
        tls: true,
        ..ServerOptions::default()
    };
    works("TLS", Cluster::build(2).servers(&options), 0);
}

#[test]
fn a_database_with_tls_and_a_password() {
    let secret = Some("pass with spaces & signs %:/@?#".to_string());
    let options = ServerOptions {
        tls: true,
        password: secret,
        ..ServerOptions::default()
    };
    works("TLS and password", Cluster::build(2).server(0, options), 0);
}

#[test]
fn databases_with_a_password() {
    let options = ServerOptions {
        password: Some("secret".into()),
        ..ServerOptions::default()
    };
    works("password", Cluster::build(2).servers(&options), 0);
}

#[test]
fn databases_with_a_user_of_least_rights() {
    let users = vec![("syncer".to_string(), format!("on >s3cret {LEAST_ACL}"))];
    let options = ServerOptions {
        users,
        ..ServerOptions::default()
    };
    works(
        "least rights",
        Cluster::build(2)
            .servers(&options)
            .syncer_user("syncer", "s3cret"),
        0,
    );
}

/// The server closes the link of a replica that is told nothing of its patience: a busy script, a pause.
#[test]
fn a_database_that_pings_often_and_rarely() {
    let often = ServerOptions::default().with("repl-ping-replica-period", "1");
    let rarely = ServerOptions::default().with("repl-ping-replica-period", "3600");
    works("pings", Cluster::build(2).server(0, often).server(1, rarely), 0);
}

//! A database that came back older than it was, and knows where its history left the one before, gets back what it lost:
//! a replica that was behind and takes over, and a database that was started from an older file.

use crate::crash::{assert_refused, every_type, wait_mark};
use crate::support::status::Status;
use crate::support::{Cluster, LONG, Random, RedisServer, SHORT, ServerOptions, wait_until};

/// Kills a site's database and starts it from the file that it wrote before.
fn fall_back(cluster: &mut Cluster, site: usize) {
    cluster.sites[site].server.kill();
    cluster.sites[site].server.restart();
}

#[test]
fn an_older_database_gets_back_what_it_lost() {
    Random::announced("an older database");
    let mut cluster = Cluster::build(2).start();
    cluster
        .client(0)
        .load(&["SET first 1", "INCR number", "SADD set a b", "RPUSH list a b"]);
    cluster.converge();
    // The snapshot on disk is from here; what follows is lost with the crash.
    cluster.client(0).ok("SAVE");
    cluster.client(0).load(&every_type(0));
    cluster.client(0).load(&[
        "SET precious 1",
        "INCRBY number 5",
        "SREM set a",
        "LPOP list",
        "DEL first",
    ]);
    cluster.client(1).load(&every_type(1));
    cluster.client(1).load(&["INCRBY number 10", "SADD set c"]);
    cluster.converge();
    wait_mark(&cluster, 0, 10);
    fall_back(&mut cluster, 0);
    // What clients do before it has everything is kept, too.
    cluster
        .client(0)
        .load(&["INCRBY number 100", "SADD set d", "RPUSH list z"]);
    cluster.sites[0].wait_log(&["came back older than it was", "made good"]);
    cluster.sites[0].wait_log(&["has got back what it lost"]);
    cluster.wait_connected();
    cluster.converge();
    let mut client = cluster.client(0);
    assert_eq!(client.ok("GET precious").text(), "1");
    assert_eq!(client.ok("GET number").text(), "116");
    assert_eq!(client.ok("EXISTS first").int(), 0);
    assert_eq!(client.ok("SISMEMBER set a").int(), 0);
    assert_eq!(client.ok("SMISMEMBER set b c d").array().len(), 3);
    assert_eq!(client.ok("SCARD set").int(), 3);
    assert_eq!(client.ok("LRANGE list 0 -1").array().len(), 2);
    for line in [
        "EXISTS text:0",
        "EXISTS stream:0",
        "EXISTS sketch:1",
        "EXISTS hash:1",
    ] {
        assert_eq!(client.ok(line).int(), 1, "{line}");
    }
}

/// The healing outlives the syncer, and waits for whoever has the values.
#[test]
fn what_was_lost_waits_for_the_others() {
    Random::announced("lost and cut off");
    let mut cluster = Cluster::build(2).start();
    cluster.client(0).ok("SET first 1");
    cluster.converge();
    cluster.client(0).ok("SAVE");
    cluster.client(0).load(&["SET precious 1", "INCR number"]);
    cluster.converge();
    cluster.cut_all();
    fall_back(&mut cluster, 0);
    for _ in 0..2 {
        let waits = |status: &Status| status.number("window.keys_healing") == 2;
        cluster.sites[0].wait_status("two keys wait", waits);
        cluster.sites[0].kill();
        cluster.sites[0].start();
    }
    cluster.client(0).ok("INCR number");
    cluster.heal_all();
    cluster.wait_connected();
    cluster.sites[0].wait_log(&["has got back what it lost"]);
    cluster.converge();
    assert_eq!(cluster.client(0).ok("GET precious").text(), "1");
    assert_eq!(cluster.client(0).ok("GET number").text(), "2");
}

/// What emptied a database names no keys.
#[test]
fn a_lost_flush_is_a_matter_for_an_operator() {
    Random::announced("a lost flush");
    let mut cluster = Cluster::build(2).start();
    cluster.client(0).load(&["SET gone 1", "INCR number"]);
    cluster.converge();
    cluster.client(0).ok("SAVE");
    cluster.client(1).ok("FLUSHALL");
    cluster.client(0).ok("SET precious 1");
    cluster.converge();
    fall_back(&mut cluster, 0);
    assert_refused(
        &cluster,
        &[
            "came back older than it was",
            "FLUSHALL",
            "Nothing was changed",
            "runbook",
        ],
    );
    // Nor is what it has again, and nobody else, sent to the others.
    assert_eq!(cluster.client(1).ok("EXISTS gone").int(), 0);
}

/// A replica of a site's database that has not got the newest writes takes its place, at its address.
#[test]
fn a_replica_that_was_behind_takes_over() {
    let mut random = Random::announced("a replica that was behind");
    let mut cluster = Cluster::build(3).start();
    cluster.client(0).load(&every_type(0));
    cluster.client(0).load(&["INCR number", "RPUSH list a b c d e f"]);
    let master = cluster.sites[0].server.port;
    let options = ServerOptions::default().with("replicaof", &format!("127.0.0.1 {master}"));
    let mut replica = RedisServer::start(options);
    wait_until("the replica is there", LONG, || {
        let info = replica.info("replication");
        info.get("master_link_status")
            .is_some_and(|status| status == "up")
    });
    cluster.converge();
    // From here on it gets nothing more.
    replica.client().ok("REPLICAOF NO ONE");
    for round in 0..20 {
        for site in 0..3 {
            let n = random.below(5);
            cluster.client(site).load(&[
                "INCR number".to_owned(),
                format!("RPUSH list {site}:{round}"),
                format!("SADD set:{n} {site}:{round}"),
                format!("SET text:{n} {site}:{round}"),
                format!("HINCRBY hash:{n} counter 1"),
                format!("ZADD sorted:{n} {round} {site}"),
            ]);
        }
        cluster.client(0).run("LPOP list");
    }
    cluster.converge();
    let number = cluster.client(1).ok("GET number").text();
    cluster.sites[0].server.kill();
    // Clients have found it before the syncer has.
    replica
        .client()
        .load(&["INCRBY number 1000", "SADD set:0 late", "DEL text:1"]);
    replica.client().ok(&format!("CONFIG SET port {master}"));
    replica.port = master;
    cluster.sites[0].server = replica;
    wait_until("the replica serves", SHORT, || {
        cluster.sites[0].server.try_client().is_ok()
    });
    cluster.sites[0].wait_log(&["has got back what it lost"]);
    cluster.wait_connected();
    cluster.converge();
    let expected = number.parse::<i64>().expect("a number") + 1000;
    assert_eq!(cluster.client(2).ok("GET number").text(), expected.to_string());
    assert_eq!(cluster.client(2).ok("SISMEMBER set:0 late").int(), 1);
}

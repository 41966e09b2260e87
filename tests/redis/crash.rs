//! A database that crashed comes back and goes on; what it lacks is never taken for the truth.

use crate::support::{Cluster, Random, SHORT, ServerOptions, wait_until};

/// An append-only file that is synced before every answer.
fn always() -> ServerOptions {
    let options = ServerOptions {
        aof: true,
        ..ServerOptions::default()
    };
    options.with("appendfsync", "always")
}

/// Waits until the mark behind a site's own writes is at least this.
#[track_caller]
fn wait_mark(cluster: &Cluster, site: usize, least: u64) {
    let mut client = cluster.client(site);
    let key = format!("{{syncer}}:{}:captured", cluster.sites[site].name);
    wait_until("the mark is there", SHORT, || {
        let mark = client.ok(&format!("GET {key}")).text();
        mark.parse::<u64>().is_ok_and(|mark| mark >= least)
    });
    cluster.sites[site].wait_read();
}

/// Kills a database while its syncer cannot read it, so that the last writes are in no stream.
fn kill_with_tail(cluster: &mut Cluster, site: usize, tail: &[&str]) {
    wait_mark(cluster, site, 1);
    cluster.sites[site].kill();
    cluster.client(site).load(tail);
    cluster.sites[site].server.kill();
    cluster.sites[site].server.restart();
    cluster.sites[site].start();
}

/// A key of every type; n tells the sites' apart.
fn every_type(n: usize) -> Vec<String> {
    let lines = [
        "SET text:{n} v",
        "SET number:{n} 7",
        "SET mortal:{n} v PXAT 4102444800000",
        "RPUSH list:{n} a b c",
        "SADD set:{n} a b c",
        "SADD integers:{n} 1 2 3",
        "HSET hash:{n} f v g w",
        "ZADD sorted:{n} 1 a 2.5 b",
        "XADD stream:{n} 1-1 f v",
        "XGROUP CREATE stream:{n} readers 0",
        "PFADD sketch:{n} a b c",
        "SETBIT bits:{n} 100 1",
    ];
    lines
        .iter()
        .map(|line| line.replace("{n}", &n.to_string()))
        .collect()
}

#[test]
fn a_tail_that_no_stream_carried_reaches_the_others() {
    Random::announced("a tail");
    let mut cluster = Cluster::build(3).servers(&always()).start();
    for site in 0..3 {
        cluster.client(site).load(&every_type(site));
        cluster
            .client(site)
            .load(&["SELECT 5", &format!("SET five:{site} 5")]);
    }
    cluster
        .client(0)
        .load(&["SET gone 1", "SET kept 1", "SADD members old"]);
    cluster.converge();
    let tail = [
        "DEL gone",
        "SET kept 2",
        "SET new 1",
        "SADD members new",
        "SREM members old",
        "RPUSH list:1 d",
        "XADD stream:1 2-1 f v",
        "HSET hash:2 f tail",
        "INCR number:0",
    ];
    kill_with_tail(&mut cluster, 0, &tail);
    cluster.wait_connected();
    cluster.converge();
    let mut other = cluster.client(1);
    assert_eq!(other.ok("EXISTS gone").int(), 0, "a key that went in the tail");
    assert_eq!(other.ok("GET kept").text(), "2");
    assert_eq!(other.ok("GET new").text(), "1");
    assert_eq!(other.ok("GET number:0").text(), "8");
    assert_eq!(other.ok("LINDEX list:1 3").text(), "d");
    assert_eq!(other.ok("SCARD members").int(), 1);
    assert_eq!(other.ok("SISMEMBER members new").int(), 1);
    // And it goes on in both directions.
    cluster.client(0).ok("INCR number:0");
    cluster.client(2).ok("INCR number:0");
    cluster.converge();
    assert_eq!(cluster.client(1).ok("GET number:0").text(), "10");
}

/// What the others wrote meanwhile is newer than anything in the snapshot.
#[test]
fn writes_of_the_others_during_the_outage_stay() {
    Random::announced("writes during the outage");
    let mut cluster = Cluster::build(2).servers(&always()).start();
    let lines = [
        "SET text 1",
        "SET number 10",
        "SET doomed 1",
        "SET mortal 1",
        "HSET hash f 1 n 5",
        "SADD set a b",
        "RPUSH list a",
        "SET type 1",
        "SADD doomed:set a",
    ];
    cluster.client(0).load(&lines);
    cluster.converge();
    wait_mark(&cluster, 0, 1);
    cluster.sites[0].kill();
    cluster
        .client(0)
        .load(&["INCR number", "HINCRBY hash n 1", "SADD set tail", "SET tail 1"]);
    cluster.sites[0].server.kill();
    let meanwhile = [
        "SET text 2",
        "INCRBY number 100",
        "DEL doomed",
        "PEXPIREAT mortal 4102444800000",
        "HSET hash f 2",
        "HINCRBY hash n 10",
        "SREM set b",
        "RPUSH list b",
        "DEL type",
        "SADD type member",
        "DEL doomed:set",
    ];
    cluster.client(1).load(&meanwhile);
    cluster.sites[1].wait_read();
    cluster.sites[0].server.restart();
    cluster.client(0).ok("INCR number");
    cluster.sites[0].start();
    cluster.wait_connected();
    cluster.converge();
    let mut client = cluster.client(0);
    assert_eq!(client.ok("GET text").text(), "2");
    assert_eq!(client.ok("GET number").text(), "112");
    assert_eq!(client.ok("EXISTS doomed doomed:set").int(), 0);
    assert!(client.ok("PTTL mortal").int() > 0);
    assert_eq!(client.ok("HGET hash f").text(), "2");
    assert_eq!(client.ok("HGET hash n").text(), "16");
    assert_eq!(client.ok("SISMEMBER set tail").int(), 1);
    assert_eq!(client.ok("SISMEMBER set b").int(), 0);
    assert_eq!(client.ok("TYPE type").text(), "set");
    assert_eq!(client.ok("GET tail").text(), "1");
}

/// Nobody has a backlog for ever: a gap in the stream of a database that lives is bridged the same way.
#[test]
fn a_backlog_that_was_too_short_is_bridged() {
    Random::announced("a short backlog");
    let options = ServerOptions::default().with("repl-backlog-size", "16384");
    let mut cluster = Cluster::build(2).servers(&options).start();
    cluster.client(0).ok("SET number 1");
    cluster.converge();
    wait_mark(&cluster, 0, 1);
    cluster.sites[0].stop();
    let lines: Vec<_> = (0..2_000)
        .map(|n| format!("SET key:{n} {}", "v".repeat(50)))
        .collect();
    cluster.client(0).load(&lines);
    cluster.client(0).ok("INCR number");
    cluster.client(1).ok("INCR number");
    cluster.sites[0].start();
    cluster.wait_connected();
    cluster.converge();
    assert_eq!(cluster.client(1).ok("GET number").text(), "3");
}

/// FLUSHALL takes the markers with it; they are put again.
#[test]
fn a_crash_after_a_flush_is_healed() {
    Random::announced("a flush");
    let mut cluster = Cluster::build(2).servers(&always()).start();
    for site in 0..2 {
        cluster
            .client(site)
            .load(&["INCR before", "FLUSHALL", "INCR after"]);
        cluster.converge();
        kill_with_tail(&mut cluster, site, &["INCR tail"]);
        cluster.wait_connected();
        cluster.converge();
        assert_eq!(cluster.client(1 - site).ok("EXISTS before").int(), 0);
    }
    assert_eq!(cluster.client(0).ok("GET tail").text(), "1");
}

#[track_caller]
fn assert_refused(cluster: &Cluster, words: &[&str]) {
    cluster.sites[0].wait_log(words);
    // The other site keeps what it has, and goes on.
    let mut other = cluster.client(1);
    other.ok("INCR number");
    cluster.sites[1].wait_read();
    assert_eq!(other.ok("EXISTS precious").int(), 1, "nothing is erased");
    assert!(!cluster.sites[0].status().expect("a status").database_is_up());
}

#[test]
fn an_empty_database_is_never_the_truth() {
    Random::announced("an empty database");
    let mut cluster = Cluster::build(2).start();
    cluster.client(0).load(&["SET precious 1", "INCR number"]);
    cluster.converge();
    cluster.sites[0].server.kill();
    cluster.sites[0].server.restart();
    assert_refused(&cluster, &["proves", "Nothing was changed", "runbook"]);
}

/// Also when only the others have written.
#[test]
fn an_empty_database_without_own_writes_is_never_the_truth() {
    Random::announced("an empty database without own writes");
    let mut cluster = Cluster::build(2).start();
    cluster.client(1).load(&["SET precious 1", "INCR number"]);
    cluster.converge();
    cluster.sites[0].server.kill();
    cluster.sites[0].server.restart();
    assert_refused(&cluster, &["older than it was", "of site b", "runbook"]);
}

#[test]
fn an_older_database_is_never_the_truth() {
    Random::announced("an older database");
    let mut cluster = Cluster::build(2).start();
    cluster.client(0).load(&["SET first 1", "INCR number"]);
    cluster.converge();
    wait_mark(&cluster, 0, 2);
    // The snapshot on disk is from here; what follows is lost with the crash.
    cluster.client(0).ok("SAVE");
    cluster.client(0).ok("SET precious 1");
    cluster.converge();
    wait_mark(&cluster, 0, 3);
    cluster.sites[0].server.kill();
    cluster.sites[0].server.restart();
    assert_refused(&cluster, &["older than it was", "of site a", "runbook"]);
}

#[test]
fn data_beyond_the_limit_are_refused() {
    Random::announced("too much data");
    let builder = Cluster::build(2).servers(&always());
    let mut cluster = builder.config("[snapshot]\nbytes_max = \"1 MiB\"\n").start();
    cluster.client(0).load(&["SET precious 1", "INCR number"]);
    let lines: Vec<_> = (0..300)
        .map(|n| format!("SET key:{n} {}", "v".repeat(5_000)))
        .collect();
    cluster.client(0).load(&lines);
    cluster.converge();
    kill_with_tail(&mut cluster, 0, &["SET tail 1"]);
    assert_refused(&cluster, &["snapshot.bytes_max", "Raise"]);
}

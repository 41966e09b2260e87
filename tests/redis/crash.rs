//! A database that crashed comes back and goes on; what it lacks is never taken for the truth. A log that lost its
//! end gets it back.

use std::path::{Path, PathBuf};

use crate::support::{Cluster, Random, SHORT, ServerOptions, Site, wait_until};

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
pub fn wait_mark(cluster: &Cluster, site: usize, least: u64) {
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
pub fn every_type(n: usize) -> Vec<String> {
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
pub fn assert_refused(cluster: &Cluster, words: &[&str]) {
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

fn data_dir(site: &Site) -> PathBuf {
    let certificate = site.certificate_path();
    certificate
        .ancestors()
        .nth(2)
        .expect("the data directory")
        .to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Replaces the log of a site that is not running with an older copy.
fn put_back(site: &Site, copy_of_log: &Path) {
    let log = data_dir(site).join("log");
    std::fs::remove_dir_all(&log).expect("the log is there");
    copy(copy_of_log, &log);
}

/// Operations must not be numbered twice: those that a peer holds come back from there.
#[test]
fn a_log_that_lost_its_end_gets_it_back() {
    Random::announced("a lost end");
    let mut cluster = Cluster::new(3);
    cluster.client(0).load(&["SET a 1", "INCR n"]);
    cluster.client(1).load(&["SET b 1", "INCR n"]);
    cluster.converge();
    cluster.sites[0].stop();
    let older = data_dir(&cluster.sites[0]).join("older");
    copy(&data_dir(&cluster.sites[0]).join("log"), &older);
    cluster.sites[0].start();
    cluster.wait_connected();
    for round in 0..20 {
        cluster
            .client(0)
            .load(&["INCR n", &format!("RPUSH list {round}")]);
        cluster.client(1).ok("INCR n");
    }
    cluster.converge();
    wait_mark(&cluster, 0, 42);
    cluster.sites[0].kill();
    put_back(&cluster.sites[0], &older);
    cluster.client(0).load(&["INCR n", "SET meanwhile 1"]);
    cluster.client(2).ok("INCR n");
    cluster.sites[0].start();
    cluster.wait_connected();
    cluster.client(0).ok("INCR n");
    cluster.converge();
    assert_eq!(cluster.client(2).ok("GET n").text(), "45");
    assert_eq!(cluster.client(1).ok("LLEN list").int(), 20);
    assert_eq!(cluster.client(1).ok("GET meanwhile").text(), "1");
    cluster.sites[0].wait_log(&["the own log is whole"]);
}

/// Nothing is captured before the last peer has been heard.
#[test]
fn a_log_that_is_gone_waits_for_every_peer() {
    Random::announced("a log that is gone");
    let mut cluster = Cluster::new(3);
    cluster.client(0).load(&["SET a 1", "INCR n"]);
    cluster.converge();
    wait_mark(&cluster, 0, 2);
    cluster.sites[0].stop();
    cluster.sites[2].stop();
    std::fs::remove_dir_all(data_dir(&cluster.sites[0]).join("log")).expect("the log is there");
    cluster.sites[0].start();
    cluster.sites[0].wait_log(&["every peer has said"]);
    cluster.sites[0].wait_status("b is connected", |status| status.peer_is_up("b"));
    cluster.client(0).ok("INCR n");
    assert!(!cluster.sites[0].status().expect("a status").database_is_up());
    cluster.sites[2].start();
    cluster.wait_connected();
    cluster.converge();
    assert_eq!(cluster.client(2).ok("GET n").text(), "2");
}

/// After a power cut the end of the log may be gone, whatever the database says.
#[test]
fn after_another_boot_the_peers_are_asked() {
    Random::announced("another boot");
    let mut cluster = Cluster::new(2);
    cluster.client(0).load(&["SET a 1", "INCR n"]);
    cluster.converge();
    cluster.sites[0].kill();
    std::fs::write(data_dir(&cluster.sites[0]).join("boot"), "another").expect("written");
    cluster.sites[0].start();
    cluster.wait_connected();
    cluster.sites[0].wait_log(&["the machine went down"]);
    cluster.sites[0].wait_log(&["the own log is whole"]);
    cluster.client(0).ok("INCR n");
    cluster.converge();
    assert_eq!(cluster.client(1).ok("GET n").text(), "2");
}

/// A site that told only one peer before it went is not lost.
#[test]
fn a_peer_passes_on_what_only_it_was_told() {
    Random::announced("passed on");
    let mut cluster = Cluster::new(3);
    cluster.client(0).ok("SET before 1");
    cluster.converge();
    cluster.cut(0, 2);
    cluster.client(0).load(&["SET told 1", "INCR n"]);
    cluster.wait_value(1, "GET n", "1");
    assert_eq!(cluster.client(2).ok("EXISTS told n").int(), 0);
    cluster.sites[0].kill();
    cluster.wait_value(2, "GET n", "1");
    cluster.client(2).ok("INCR n");
    cluster.wait_value(1, "GET n", "2");
    cluster.heal(0, 2);
    cluster.sites[0].start();
    cluster.wait_connected();
    cluster.converge();
    assert_eq!(cluster.client(0).ok("GET n").text(), "2");
}

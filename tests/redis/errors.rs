//! A database that refuses: what passes is waited for, what stays is recorded, nothing is skipped in silence.

use crate::support::{Cluster, LONG, Random, ServerOptions, wait_until};

/// Writes at a while b refuses, checks that nothing is lost once b is well again.
fn pauses_and_recovers(name: &str, ail: &str, log_word: &str, mend: &str) {
    Random::announced(name);
    let cluster = Cluster::new(2);
    let (mut a, mut b) = (cluster.client(0), cluster.client(1));
    a.load(&["SET before 1", "INCR count"]);
    cluster.converge();
    for line in ail.split(" ; ") {
        b.ok(line);
    }
    let lines: Vec<_> = (0..300)
        .flat_map(|n| [format!("SET k:{n} v"), "INCR count".to_string()])
        .collect();
    a.load(&lines);
    cluster.sites[1].wait_log(&[log_word]);
    // The other direction is not held up by it, as far as the database lets anybody write.
    for line in mend.split(" ; ") {
        b.ok(line);
    }
    cluster.wait_connected();
    cluster.converge();
    assert_eq!(b.ok("GET count").text(), "301");
    a.ok("SET after 1");
    cluster.wait_value(1, "GET after", "1");
}

#[test]
fn out_of_memory_is_waited_for() {
    let ail = "CONFIG SET maxmemory-policy noeviction ; CONFIG SET maxmemory 1";
    pauses_and_recovers("OOM", ail, "OOM", "CONFIG SET maxmemory 0");
}

#[test]
fn a_read_only_database_is_waited_for() {
    // A master that nobody can reach: the database is a replica without one.
    pauses_and_recovers(
        "READONLY",
        "REPLICAOF 127.0.0.1 1",
        "READONLY",
        "REPLICAOF NO ONE",
    );
}

#[test]
fn too_few_replicas_are_waited_for() {
    let ail = "CONFIG SET min-replicas-to-write 5";
    pauses_and_recovers(
        "NOREPLICAS",
        ail,
        "NOREPLICAS",
        "CONFIG SET min-replicas-to-write 0",
    );
}

/// A paused database answers late: nothing may be sent a second time for that.
#[test]
fn a_paused_database_gets_everything_once() {
    Random::announced("pause");
    let cluster = Cluster::new(2);
    let (mut a, mut b) = (cluster.client(0), cluster.client(1));
    for _ in 0..3 {
        b.ok("CLIENT PAUSE 1500 WRITE");
        let lines: Vec<_> = (0..500).map(|n| format!("INCR count:{}", n % 5)).collect();
        a.load(&lines);
        wait_until("the writes have arrived", LONG, || {
            b.ok("GET count:0").text() == a.ok("GET count:0").text()
        });
    }
    cluster.converge();
    assert_eq!(b.ok("GET count:0").text(), "300");
}

/// A busy script: BUSY is answered to everybody until it ends.
#[test]
fn a_busy_database_is_waited_for() {
    Random::announced("busy");
    let options = ServerOptions::default().with("lua-time-limit", "50");
    let cluster = Cluster::build(2).servers(&options).start();
    let (mut a, mut b) = (cluster.client(0), cluster.client(1));
    let script = "local t = redis.call('TIME')[1]; repeat until redis.call('TIME')[1] - t >= 2";
    b.send(&["EVAL", script, "0"]).expect("sent");
    let lines: Vec<_> = (0..300).map(|_| "INCR count").collect();
    a.load(&lines);
    b.try_read().expect("the script's reply");
    cluster.converge();
    assert_eq!(b.ok("GET count").text(), "300");
}

/// Runs of `SET` go as `MSET`; where the database does not take that, they go as they came, and nothing is lost or told.
#[test]
fn a_database_without_mset_gets_each_set() {
    Random::announced("without mset");
    let without = ServerOptions::default().with("rename-command", "MSET nowhere-mset");
    let cluster = Cluster::build(2).server(1, without).start();
    let mut a = cluster.client(0);
    let lines: Vec<_> = (0..500).map(|n| format!("SET k:{} v:{n}", n % 60)).collect();
    a.load(&lines);
    cluster.converge();
    let mut b = cluster.client(1);
    assert_eq!(b.ok("GET k:59").text(), "v:479");
    let status = cluster.sites[1].status().expect("status");
    assert_eq!(status.number("totals.commands_refused"), 0, "{}", status.0);
}

/// A command that this database does not know: the rest of its batch is applied, the loss is told.
#[test]
fn a_command_that_is_refused_for_good_is_recorded() {
    Random::announced("refused for good");
    let without = ServerOptions::default()
        .with("rename-command", "GEOADD nowhere-geoadd")
        .with("rename-command", "SETBIT nowhere-setbit");
    let cluster = Cluster::build(2).server(1, without).start();
    let mut a = cluster.client(0);
    let mut lines = vec!["MULTI".to_string()];
    lines.extend((0..20).map(|n| format!("SET in:{n} 1")));
    lines.extend(["SETBIT bits 3 1".into(), "SET last 1".into(), "EXEC".into()]);
    lines.extend((0..50).map(|n| format!("SET k:{n} v")));
    lines.push("SETBIT more:bits 3 1".into());
    a.load(&lines);
    cluster.sites[1].wait_log(&["SETBIT", "bits", "unknown command"]);
    cluster.wait_value(1, "GET last", "1");
    cluster.wait_value(1, "GET k:49", "v");
    a.ok("SET after 1");
    cluster.wait_value(1, "GET after", "1");
    let status = cluster.sites[1].status().expect("status");
    assert!(status.number("totals.commands_refused") >= 1, "{}", status.0);
}

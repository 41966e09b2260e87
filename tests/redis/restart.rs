//! Restarts in any order go on where they were: by partial resync, without a lost write.

use crate::support::{Cluster, Random, ServerOptions};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Syncer(usize),
    Database(usize),
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// SIGTERM for a syncer, SHUTDOWN SAVE for a database.
    Orderly,
    /// `kill -9`; of databases only with an append-only file, without it they have lost their data.
    Killed,
}

/// Writes unique keys, so that a lost or a doubled one is seen, and remembers how many.
#[derive(Debug, Default)]
struct Ledger {
    written: u64,
}

impl Ledger {
    /// Some keys and a counter at every site whose database runs.
    fn write(&mut self, cluster: &Cluster) {
        for (n, site) in cluster.sites.iter().enumerate() {
            if site.server.is_running() {
                let mut lines = Vec::new();
                for _ in 0..40 {
                    self.written += 1;
                    lines.push(format!("SET key:{} {n}", self.written));
                    lines.push("INCR written".to_string());
                }
                site.server.client().load(&lines);
            }
        }
    }

    fn check(&self, cluster: &Cluster) {
        cluster.converge();
        for site in &cluster.sites {
            let mut client = site.server.client();
            assert_eq!(
                client.ok("GET written").text(),
                self.written.to_string(),
                "at {}",
                site.name
            );
            let keys: Vec<_> = (1..=self.written)
                .map(|n| vec!["EXISTS".to_string(), format!("key:{n}")])
                .collect();
            let mut found = 0;
            for piece in keys.chunks(500) {
                found += client
                    .pipeline(piece)
                    .iter()
                    .filter(|reply| reply.int() == 1)
                    .count() as u64;
            }
            assert_eq!(found, self.written, "keys at {}", site.name);
        }
    }
}

fn stop(cluster: &mut Cluster, part: Part, how: How) {
    match (part, how) {
        (Part::Syncer(n), How::Orderly) => cluster.sites[n].stop(),
        (Part::Syncer(n), How::Killed) => cluster.sites[n].kill(),
        (Part::Database(n), How::Orderly) => cluster.sites[n].server.shutdown("SAVE"),
        (Part::Database(n), How::Killed) => cluster.sites[n].server.kill(),
    }
}

fn start(cluster: &mut Cluster, part: Part) {
    match part {
        Part::Syncer(n) => cluster.sites[n].start(),
        Part::Database(n) => cluster.sites[n].server.restart(),
    }
}

/// Full resyncs that every database has served since its last start.
fn full_resyncs(cluster: &Cluster) -> Vec<u64> {
    cluster
        .sites
        .iter()
        .map(|s| s.server.info_number("stats", "sync_full"))
        .collect()
}

fn restarts(name: &str, sites: usize, steps: &[(Part, How)]) {
    Random::announced(name);
    let mut cluster = Cluster::new(sites);
    let mut ledger = Ledger::default();
    ledger.write(&cluster);
    for &(part, how) in steps {
        println!("{name}: {how:?} end of {part:?}");
        let before = full_resyncs(&cluster);
        stop(&mut cluster, part, how);
        ledger.write(&cluster);
        start(&mut cluster, part);
        ledger.write(&cluster);
        cluster.wait_connected();
        let after = full_resyncs(&cluster);
        for (n, (&before, &after)) in before.iter().zip(&after).enumerate() {
            // A database counts anew after its start.
            let allowed = if part == Part::Database(n) { 0 } else { before };
            assert_eq!(
                after, allowed,
                "full resyncs of database {n} after {how:?} end of {part:?}"
            );
        }
    }
    ledger.check(&cluster);
}

#[test]
fn restarted_syncers_resume() {
    use How::{Killed, Orderly};
    let steps = [
        (Part::Syncer(0), Orderly),
        (Part::Syncer(1), Orderly),
        (Part::Syncer(0), Killed),
        (Part::Syncer(1), Killed),
        (Part::Syncer(0), Killed),
    ];
    restarts("restarted syncers", 2, &steps);
}

#[test]
fn restarted_databases_resume() {
    let steps = [
        (Part::Database(0), How::Orderly),
        (Part::Database(1), How::Orderly),
    ];
    restarts("restarted databases", 2, &steps);
}

#[test]
fn restarts_of_three_sites_in_random_order_resume() {
    let mut random = Random::announced("restarts of three sites");
    let mut steps = Vec::new();
    for site in 0..3 {
        steps.extend([
            (Part::Syncer(site), How::Orderly),
            (Part::Syncer(site), How::Killed),
            (Part::Database(site), How::Orderly),
        ]);
    }
    random.shuffle(&mut steps);
    restarts("restarts of three sites", 3, &steps);
}

/// Everything stops, in a random order, and starts in another one.
#[test]
fn everything_stopped_and_started_in_random_order_resumes() {
    let mut random = Random::announced("everything stopped and started");
    let mut cluster = Cluster::new(2);
    let mut ledger = Ledger::default();
    for round in 0..3 {
        ledger.write(&cluster);
        // A database that restarts has no backlog from before: a syncer that died with a part of the stream
        // unread could only be served by a full resync.
        cluster.quiet();
        let mut parts = vec![
            Part::Syncer(0),
            Part::Syncer(1),
            Part::Database(0),
            Part::Database(1),
        ];
        random.shuffle(&mut parts);
        for &part in &parts {
            // A database that was killed has a new history: see `crash.rs` and below.
            let how = match part {
                Part::Syncer(_) if random.below(2) == 0 => How::Killed,
                _ => How::Orderly,
            };
            println!("round {round}: {how:?} end of {part:?}");
            stop(&mut cluster, part, how);
        }
        random.shuffle(&mut parts);
        for &part in &parts {
            println!("round {round}: start of {part:?}");
            start(&mut cluster, part);
        }
        ledger.write(&cluster);
        cluster.wait_connected();
        assert_eq!(full_resyncs(&cluster), [0, 0], "full resyncs in round {round}");
    }
    ledger.check(&cluster);
}

/// Databases and syncers of three sites are killed in a random order; a killed database has its full resync.
#[test]
fn killed_databases_come_back() {
    let mut random = Random::announced("killed databases");
    let options = ServerOptions {
        aof: true,
        ..ServerOptions::default()
    };
    let options = options.with("appendfsync", "always");
    let mut cluster = Cluster::build(3).servers(&options).start();
    let mut ledger = Ledger::default();
    let mut parts: Vec<_> = (0..3)
        .flat_map(|n| [Part::Database(n), Part::Syncer(n)])
        .collect();
    random.shuffle(&mut parts);
    for part in parts {
        println!("kill of {part:?}");
        ledger.write(&cluster);
        // Two databases must have heard of each other's snapshot.
        cluster.quiet();
        ledger.write(&cluster);
        stop(&mut cluster, part, How::Killed);
        ledger.write(&cluster);
        start(&mut cluster, part);
        ledger.write(&cluster);
        cluster.wait_connected();
    }
    ledger.check(&cluster);
}

/// Long absence of one site while the other two go on, and of two while one does.
#[test]
fn a_site_that_was_away_catches_up() {
    Random::announced("a site that was away");
    let mut cluster = Cluster::new(3);
    let mut ledger = Ledger::default();
    ledger.write(&cluster);
    cluster.quiet();
    cluster.sites[2].stop();
    for _ in 0..20 {
        ledger.write(&cluster);
    }
    cluster.sites[1].kill();
    for _ in 0..20 {
        ledger.write(&cluster);
    }
    cluster.sites[2].start();
    cluster.sites[1].start();
    cluster.wait_connected();
    assert_eq!(full_resyncs(&cluster), [1, 1, 1], "only the first one of each");
    ledger.check(&cluster);
}

/// The selected database is part of the position: the server does not repeat SELECT on a partial resync.
#[test]
fn the_selected_database_survives_a_restart() {
    Random::announced("selected database");
    let mut cluster = Cluster::new(2);
    let mut client = cluster.client(0);
    client.load(&["SELECT 3", "SET before 1"]);
    cluster.converge();
    for killed in [false, true] {
        if killed {
            cluster.sites[0].kill()
        } else {
            cluster.sites[0].stop()
        }
        client.ok(&format!("SET after:{killed} 1"));
        cluster.sites[0].start();
        cluster.wait_connected();
        client.ok(&format!("SET later:{killed} 1"));
        cluster.converge();
        let mut other = cluster.client(1);
        other.ok("SELECT 3");
        let found = other.ok(&format!("EXISTS after:{killed} later:{killed}"));
        assert_eq!(found.int(), 2, "keys of database 3 at the other site");
    }
}

//! Counters are exact, whatever dies.
//!
//! A client whose connection breaks does not know whether its last commands were executed. So after quiet a
//! counter must lie between what was acknowledged and that plus what is unknown, and be equal at all sites.
//!
//! Databases end in order (`SHUTDOWN SAVE`) and by `kill -9`; then they have an append-only file that is synced
//! before they answer, so whatever they have told is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::encode;
use crate::support::{Client, Cluster, LONG, Random, ServerOptions, Way, wait_until};

const COUNTERS: u64 = 16;
const PIPELINE: usize = 4;

/// What the clients of all sites know.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: [AtomicI64; COUNTERS as usize],
    unknown: [AtomicI64; COUNTERS as usize],
}

/// A client that increments at one site until it is stopped, and connects again when it must.
struct Writer {
    stop: Arc<AtomicBool>,
    /// Pipelines that were fully acknowledged.
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(port: u16, tally: &Arc<Tally>, mut random: Random) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_seen, rounds_counted, tally) = (Arc::clone(&stop), Arc::clone(&rounds), Arc::clone(tally));
        let thread = std::thread::spawn(move || {
            let mut client: Option<Client> = None;
            while !stop_seen.load(Ordering::Relaxed) {
                client = client.or_else(|| Client::connect(port).ok());
                let alive = client.as_mut().is_some_and(|c| increment(c, &tally, &mut random));
                if alive {
                    rounds_counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    client = None;
                }
                // The writers' pace; the faults, not the load, are under test here.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            stop,
            rounds,
            thread: Some(thread),
        }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("writer");
        }
    }
}

/// One pipeline of increments; false when the connection broke.
fn increment(client: &mut Client, tally: &Tally, random: &mut Random) -> bool {
    let mut bytes = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..PIPELINE {
        let (counter, amount) = (random.below(COUNTERS), 1 + random.below(3) as i64);
        let words = match random.below(4) {
            0 => vec![
                "DECRBY".into(),
                format!("counter:{counter}"),
                format!("-{amount}"),
            ],
            1 => vec![
                "HINCRBY".into(),
                format!("hash:{}", counter % 3),
                counter.to_string(),
                amount.to_string(),
            ],
            _ => vec!["INCRBY".into(), format!("counter:{counter}"), amount.to_string()],
        };
        encode(&mut bytes, &words);
        sent.push((counter as usize, amount));
    }
    // From here on every command may have been executed, until its reply says more.
    let mut broken = client.send_raw(&bytes).is_err();
    for (counter, amount) in sent {
        match if broken { None } else { client.try_read().ok() } {
            Some(reply) if reply.is_error() => {} // refused, for instance while loading
            Some(_) => {
                tally.acknowledged[counter].fetch_add(amount, Ordering::Relaxed);
            }
            None => {
                broken = true;
                tally.unknown[counter].fetch_add(amount, Ordering::Relaxed);
            }
        }
    }
    !broken
}

/// The value of a counter at one site: its string and its hash field together.
fn value(client: &mut Client, counter: u64) -> i64 {
    let plain = client.run(&format!("GET counter:{counter}"));
    let field = client.run(&format!("HGET hash:{} {counter}", counter % 3));
    [plain, field]
        .iter()
        .filter(|r| r.bytes().is_some())
        .map(crate::support::Reply::int)
        .sum()
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillSyncer(usize),
    KillBothSyncers,
    FreezeSyncer(usize),
    EndDatabase(usize),
    EndDatabaseKillSyncer(usize),
    KillDatabase(usize),
    KillDatabaseAndSyncer(usize),
    Cut,
    DropConnections,
    Stall,
    StallOneWay(usize),
    CutFromDatabase(usize),
    StallDatabase(usize),
}

/// Plays `faults` in random order while both sites are written, then checks every counter.
fn chaos(name: &str, options: &ServerOptions, faults: &[Fault], rounds: usize) {
    let mut random = Random::announced(name);
    let mut cluster = Cluster::build(2).servers(options).database_proxies().start();
    let tally = Arc::new(Tally::default());
    let ports: Vec<_> = cluster.sites.iter().map(|site| site.server.port).collect();
    let mut writers: Vec<_> = ports
        .iter()
        .map(|&port| Writer::start(port, &tally, random.split()))
        .collect();

    let mut order: Vec<_> = faults.iter().copied().cycle().take(rounds).collect();
    random.shuffle(&mut order);
    for (round, fault) in order.into_iter().enumerate() {
        println!("{name}: round {round}: {fault:?}");
        progress(&cluster, &writers, 20 + random.below(60));
        begin(&mut cluster, fault);
        progress(&cluster, &writers, 20 + random.below(100));
        end(&mut cluster, fault);
        if random.below(2) == 0 {
            cluster.wait_connected();
        }
    }
    for writer in &mut writers {
        writer.stop();
    }
    cluster.heal_all();
    cluster.wait_connected();
    cluster.converge();

    let mut clients: Vec<_> = (0..2).map(|site| cluster.client(site)).collect();
    let mut wrong = Vec::new();
    for counter in 0..COUNTERS {
        let values: Vec<_> = clients.iter_mut().map(|client| value(client, counter)).collect();
        let least = tally.acknowledged[counter as usize].load(Ordering::Relaxed);
        let most = least + tally.unknown[counter as usize].load(Ordering::Relaxed);
        if values[0] != values[1] || !(least..=most).contains(&values[0]) {
            wrong.push(format!(
                "counter {counter}: {values:?}, should be {least} to {most}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Waits until the writers of every site whose database runs have made `pipelines` more.
fn progress(cluster: &Cluster, writers: &[Writer], pipelines: u64) {
    let running = |n: usize| cluster.sites[n].server.is_running();
    let goals: Vec<_> = writers
        .iter()
        .map(|w| w.rounds.load(Ordering::Relaxed) + pipelines)
        .collect();
    wait_until("the writers go on", LONG, || {
        let reached = |n: usize| writers[n].rounds.load(Ordering::Relaxed) >= goals[n];
        (0..writers.len()).all(|n| !running(n) || reached(n))
    });
}

fn begin(cluster: &mut Cluster, fault: Fault) {
    if matches!(fault, Fault::EndDatabase(_) | Fault::EndDatabaseKillSyncer(_)) {
        // A database that ends waits for the replicas it has; what it wrote while it had none is in no stream.
        cluster.wait_connected();
    }
    if matches!(fault, Fault::KillDatabase(_) | Fault::KillDatabaseAndSyncer(_)) {
        // Of two databases that crash before they have heard of each other, the later snapshot wins. And what a snapshot's
        // reset took of a client before the syncer had read it, or of a syncer that dies as well, is lost if the database
        // crashes before that is repaired: what was sent behind the repair is there when the other site has heard of the
        // reset, and has been heard again (docs/conflicts.md).
        cluster.wait_connected();
        exchanged(cluster);
        exchanged(cluster);
    }
    match fault {
        Fault::KillDatabase(n) => cluster.sites[n].server.kill(),
        Fault::KillDatabaseAndSyncer(n) => {
            cluster.sites[n].server.kill();
            cluster.sites[n].kill();
        }
        Fault::KillSyncer(n) => cluster.sites[n].kill(),
        Fault::KillBothSyncers => cluster.sites.iter_mut().for_each(crate::support::Site::kill),
        Fault::FreezeSyncer(n) => cluster.sites[n].signal(Signal::STOP),
        Fault::EndDatabase(n) => cluster.sites[n].server.shutdown("SAVE"),
        Fault::EndDatabaseKillSyncer(n) => {
            cluster.sites[n].server.shutdown("SAVE");
            cluster.sites[n].kill();
        }
        Fault::Cut => cluster.cut(0, 1),
        Fault::DropConnections => cluster.drop_connections(0, 1),
        Fault::Stall => cluster.stall(0, 1),
        Fault::StallOneWay(n) => cluster.stall_one_way(n, 1 - n),
        Fault::CutFromDatabase(n) => cluster.database_proxies[n].cut(),
        Fault::StallDatabase(n) => cluster.database_proxies[n].stall(Way::Back),
    }
}

fn end(cluster: &mut Cluster, fault: Fault) {
    match fault {
        Fault::KillSyncer(n) => cluster.sites[n].start(),
        Fault::KillBothSyncers => cluster.sites.iter_mut().for_each(crate::support::Site::start),
        Fault::FreezeSyncer(n) => cluster.sites[n].signal(Signal::CONT),
        Fault::EndDatabase(n) | Fault::KillDatabase(n) => cluster.sites[n].server.restart(),
        Fault::EndDatabaseKillSyncer(n) | Fault::KillDatabaseAndSyncer(n) => {
            cluster.sites[n].start();
            cluster.sites[n].server.restart();
        }
        _ => cluster.heal_all(),
    }
}

/// Everything that was written so far is at both sites.
fn exchanged(cluster: &Cluster) {
    for n in 0..2 {
        let count = cluster.client(n).ok(&format!("INCR exchanged:{n}")).text();
        cluster.wait_value(1 - n, &format!("GET exchanged:{n}"), &count);
    }
}

const PROCESSES_AND_LINKS: &[Fault] = &[
    Fault::KillSyncer(0),
    Fault::Cut,
    Fault::KillSyncer(1),
    Fault::Stall,
    Fault::KillBothSyncers,
    Fault::StallOneWay(0),
    Fault::DropConnections,
    Fault::CutFromDatabase(0),
    Fault::FreezeSyncer(1),
    Fault::StallDatabase(1),
];

const DATABASES_TOO: &[Fault] = &[
    Fault::EndDatabase(0),
    Fault::KillSyncer(0),
    Fault::EndDatabase(1),
    Fault::KillSyncer(1),
    Fault::EndDatabaseKillSyncer(0),
    Fault::KillBothSyncers,
    Fault::EndDatabaseKillSyncer(1),
    Fault::Cut,
    Fault::Stall,
    Fault::StallOneWay(1),
];

const CRASHES: &[Fault] = &[
    Fault::KillDatabase(0),
    Fault::KillSyncer(0),
    Fault::KillDatabase(1),
    Fault::KillSyncer(1),
    Fault::KillDatabaseAndSyncer(0),
    Fault::Cut,
    Fault::KillDatabaseAndSyncer(1),
    Fault::Stall,
    Fault::StallDatabase(0),
    Fault::StallOneWay(1),
];

/// An append-only file that is synced before every answer.
fn always() -> ServerOptions {
    let options = ServerOptions {
        aof: true,
        ..ServerOptions::default()
    };
    options.with("appendfsync", "always")
}

#[test]
fn counters_are_exact_without_faults() {
    chaos("no faults", &ServerOptions::default(), &[], 0);
}

#[test]
fn counters_are_exact_while_syncers_die_and_links_break() {
    chaos(
        "syncers and links",
        &ServerOptions::default(),
        PROCESSES_AND_LINKS,
        10,
    );
}

#[test]
fn counters_are_exact_while_everything_ends() {
    chaos("everything", &ServerOptions::default(), DATABASES_TOO, 20);
}

/// Twenty rounds, ten databases and syncers killed in them.
#[test]
fn counters_are_exact_while_everything_is_killed() {
    chaos("everything is killed", &always(), CRASHES, 20);
}

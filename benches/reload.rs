//! What it costs to replace certificates under load: two sites that both write at full speed, with and without reloads.
//!
//! ```text
//! cargo bench --bench reload                                    # three pairs of runs, medians
//! cargo bench --bench reload -- --runs 1 --commands 2000000 --reloads 100
//! cargo bench --bench reload -- --reloads 14                    # one a second
//! cargo bench --bench reload -- --runs 0 --slices 3             # slices alone
//! cargo bench --bench reload -- --test                          # a smoke run of a few seconds
//! ```
//!
//! **Load.** One client per site sends pipelined SETs of 32 bytes to random keys of its own out of half a million; every
//! 64th command is an `INCR` of a counter of its site. The time runs until each database has both end keys.
//!
//! A second load is paced, 20,000 commands a second per site: there a gap is one of the link, not of a database that has
//! more to do than it can.
//!
//! **Reloads.** SIGHUP to the two syncers in turn, spread over the run; each reads its files anew, and its link moves to a
//! new connection. The next one is sent when the log says that the one before is done.
//!
//! **Lost, twice.** At the end both counters must hold at both databases what was sent, and the databases the same number
//! of keys.
//!
//! **CPU.** What both syncers took of it, of the system's accounts: where the machine does other work as well, runs differ by
//! more than the reloads cost, and this is the better measure. A hundred reloads in a run of 14 seconds are one every 140 ms,
//! each a handshake with new keys at both sites; `--reloads 14` is one a second, still far more than anybody renews.
//!
//! **Slices.** Runs differ by more than the reloads cost, so there is a third measure, within one run at full speed: slices
//! of half a second without reloads and with four take turns, a hundred reloads in all. A slice's rate is that of both counters, as
//! the other site's database has them. Each slice with reloads is compared with the mean of the one before and the one behind it; told are the mean of
//! these ratios and its standard error.
//!
//! **Gap.** Each database tells by `CLIENT TRACKING ... BCAST` when the other site's counter was written. The longest time
//! between two such messages while the other site's writes arrive.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::encode;
use support::{Cluster, LONG, Random, Reply, ServerOptions, Site, wait_until};

const KEYS: u64 = 500_000;
const COUNT_EVERY: u64 = 64;
const RATE_PER_SECOND: u64 = 20_000;
/// Between two pieces of the paced load.
const PIECE: Duration = Duration::from_millis(2);
const SLICE: Duration = Duration::from_millis(500);
const RELOADS_IN_SLICE: usize = 4;
const DONE: &str = "the certificates are replaced";

#[derive(Debug)]
struct Options {
    /// Of each load, without and with reloads.
    runs: usize,
    /// Runs in slices.
    slices: usize,
    commands: u64,
    reloads: usize,
    /// Of the paced load.
    seconds: u64,
}

/// What the two sites write.
struct Load {
    /// Each one's commands, and how often its counter counts.
    sites: [(Vec<u8>, u64); 2],
    commands: u64,
    /// In which time, if not as fast as can be.
    seconds: Option<u64>,
}

fn options() -> Options {
    let mut options = Options {
        runs: 3,
        slices: 3,
        commands: 3_000_000,
        reloads: 100,
        seconds: 10,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .and_then(|value| value.parse().ok())
                .expect("a number")
        };
        match arg.as_str() {
            "--bench" => {}
            "--test" => {
                (options.runs, options.slices) = (1, 0);
                (options.commands, options.reloads, options.seconds) = (100_000, 4, 1);
            }
            "--slices" => options.slices = value() as usize,
            "--runs" => options.runs = value() as usize,
            "--commands" => options.commands = value(),
            "--seconds" => options.seconds = value(),
            "--reloads" => options.reloads = value() as usize,
            other => panic!("unknown option {other}; see the head of benches/reload.rs"),
        }
    }
    options
}

/// All commands of one site as they go over the wire, and how often its counter counts.
fn encoded(site: usize, commands: u64, random: &mut Random) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let mut counts = 0;
    for n in 0..commands {
        if n.is_multiple_of(COUNT_EVERY) {
            encode(&mut bytes, &["INCR", &format!("count:{site}")]);
            counts += 1;
        } else {
            let key = format!("key:{site}:{:012}", random.below(KEYS));
            encode(&mut bytes, &["SET", &key, &format!("{n:032}")]);
        }
    }
    encode(&mut bytes, &["SET", &format!("end:{site}"), "1"]);
    (bytes, counts)
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    commands_per_second: f64,
    gap_ms: f64,
    seconds: f64,
    /// Of both syncers, per million commands.
    cpu_seconds: f64,
}

/// CPU time that a process has taken, user and system.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the system's accounts");
    // Behind the name, which may hold spaces: the state is the first field, user and system time are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // Linux tells them in hundredths of a second, on every machine.
    Duration::from_millis(ticks * 10)
}

/// Of both syncers.
fn cpu_of_syncers(cluster: &Cluster) -> Duration {
    cluster.sites.iter().map(|site| cpu(site.pid())).sum()
}

/// Writes everything to a database and reads the replies away.
fn write(site: &Site, bytes: &[u8], seconds: Option<u64>) {
    let mut socket = TcpStream::connect(("127.0.0.1", site.server.port)).expect("the database");
    let mut replies = socket.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut chunk = vec![0; 1 << 18];
            while let Ok(count) = replies.read(&mut chunk) {
                assert!(!chunk[..count].contains(&b'-'), "a command was refused");
                if count == 0 {
                    break;
                }
            }
        });
        let pieces = seconds.map(|seconds| Duration::from_secs(seconds).as_millis() / PIECE.as_millis());
        let len = pieces.map_or(1 << 18, |pieces| bytes.len().div_ceil(pieces as usize));
        let start = Instant::now();
        for (at, piece) in bytes.chunks(len).enumerate() {
            if pieces.is_some() {
                let due = start + PIECE * at as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            socket.write_all(piece).expect("the database reads");
        }
        socket.shutdown(std::net::Shutdown::Write).expect("the end");
    });
}

/// The longest time between two messages about the other site's counter, until it is complete.
fn longest_gap(site: &Site, counter: &str, expected: u64) -> Duration {
    let mut listener = site.server.client();
    let id = listener.ok("CLIENT ID").int();
    listener.ok("SUBSCRIBE __redis__:invalidate");
    let mut tracker = site.server.client();
    tracker.ok(&format!(
        "CLIENT TRACKING on REDIRECT {id} BCAST PREFIX {counter}"
    ));
    let (mut last, mut longest) = (None, Duration::ZERO);
    while tracker.ok(&format!("GET {counter}")).text() != expected.to_string() {
        listener.try_read().expect("a message about the counter");
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            longest = longest.max(now.duration_since(last));
        }
    }
    longest
}

/// Reloads the two in turn, `pause` apart, until there were enough or the writing is over: so many. Some were done `before`.
fn reload(cluster: &Cluster, (before, reloads): (usize, usize), pause: Duration, over: &AtomicBool) -> usize {
    for n in 0..reloads {
        std::thread::sleep(pause);
        if over.load(Ordering::Relaxed) {
            return n;
        }
        let done = (before + n) / 2 + 1;
        let site = &cluster.sites[(before + n) % 2];
        site.signal(Signal::HUP);
        let is_done = || site.log().matches(DONE).count() == done;
        wait_until("the certificates are replaced", LONG, is_done);
    }
    reloads
}

/// Runs a load, and something beside it that may stop when the flag is set.
fn run<R: Send>(load: &Load, beside: impl FnOnce(&Cluster, &AtomicBool) -> R + Send) -> (Numbers, R) {
    let loads = &load.sites;
    let options = ServerOptions::default().with("client-output-buffer-limit", "replica 0 0 0");
    let cluster = Cluster::build(2).servers(&options).direct_links().start();
    let over = AtomicBool::new(false);
    let cpu_before = cpu_of_syncers(&cluster);
    let start = Instant::now();
    let (gaps, found) = std::thread::scope(|scope| {
        let gaps: Vec<_> = (0..2)
            .map(|site| {
                let (cluster, counts) = (&cluster, loads[1 - site].1);
                scope.spawn(move || longest_gap(&cluster.sites[site], &format!("count:{}", 1 - site), counts))
            })
            .collect();
        for (site, (bytes, _)) in loads.iter().enumerate() {
            let cluster = &cluster;
            scope.spawn(move || write(&cluster.sites[site], bytes, load.seconds));
        }
        let beside = scope.spawn(|| beside(&cluster, &over));
        for (site, other) in [(0, 1), (1, 0)] {
            let mut client = cluster.client(site);
            let key = format!("GET end:{other}");
            wait_until("everything has arrived", Duration::from_secs(300), || {
                client.ok(&key) != Reply::Nil
            });
        }
        over.store(true, Ordering::Relaxed);
        let gaps: Vec<Duration> = gaps.into_iter().map(|gap| gap.join().unwrap()).collect();
        (gaps, beside.join().unwrap())
    });
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = (cpu_of_syncers(&cluster) - cpu_before).as_secs_f64();
    check(&cluster, loads);
    let numbers = Numbers {
        commands_per_second: 2.0 * load.commands as f64 / seconds,
        gap_ms: gaps.iter().max().unwrap().as_secs_f64() * 1e3,
        seconds,
        cpu_seconds: cpu_seconds * 1e6 / (2.0 * load.commands as f64),
    };
    (numbers, found)
}

/// Slices in turn without and with reloads, until the writing is over: how many reloads, and each slice's rate.
fn slices(cluster: &Cluster, over: &AtomicBool) -> (usize, Vec<f64>) {
    let mut clients = [0, 1].map(|site| cluster.client(site));
    let mut applied = || -> f64 {
        let counts = clients.iter_mut().enumerate().map(|(site, client)| {
            let count = client.ok(&format!("GET count:{}", 1 - site));
            if count == Reply::Nil {
                0.0
            } else {
                count.text().parse().expect("a number")
            }
        });
        counts.sum()
    };
    let (mut rates, mut reloads) = (Vec::new(), 0);
    // The first seconds of a run are slower: databases grow.
    std::thread::sleep(SLICE * 4);
    let (mut before, mut since) = (applied(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        if rates.len() % 2 == 1 {
            reloads += reload(
                cluster,
                (reloads, RELOADS_IN_SLICE),
                SLICE / (RELOADS_IN_SLICE as u32 + 1),
                over,
            );
        }
        std::thread::sleep(SLICE.saturating_sub(since.elapsed()));
        let (now, at) = (applied(), Instant::now());
        rates.push((now - before) / (at - since).as_secs_f64());
        (before, since) = (now, at);
    }
    // The last one is not whole.
    rates.pop();
    (reloads, rates)
}

/// How each slice with reloads compares with those beside it: the mean, and its standard error.
fn compare_slices(rates: &[f64]) -> (f64, f64) {
    let ratios = rates
        .windows(3)
        .step_by(2)
        .map(|slices| 2.0 * slices[1] / (slices[0] + slices[2]));
    let ratios: Vec<f64> = ratios.collect();
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let variance = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

/// Nothing was lost, nothing counted twice, and no link was down.
fn check(cluster: &Cluster, loads: &[(Vec<u8>, u64)]) {
    cluster.quiet();
    let keys = |site: usize| {
        let mut client = cluster.client(site);
        for (of, (_, counts)) in loads.iter().enumerate() {
            let found = client.ok(&format!("GET count:{of}")).text();
            assert_eq!(found, counts.to_string(), "count:{of} at site {site}");
        }
        client.ok("DBSIZE").int() - client.ok("KEYS {syncer}:*").array().len() as i64
    };
    assert_eq!(keys(0), keys(1), "keys at the two sites");
    for site in &cluster.sites {
        let log = site.log();
        let mut down = log.lines().filter(|line| line.contains("link down"));
        assert!(down.all(|line| line.contains("Connection refused")), "{log}");
        assert!(!log.contains("Failed"), "{log}");
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Pairs of runs of one load, without and with reloads: a line for each, and their medians.
fn compare(name: &str, load: &Load, options: &Options) {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut pause = Duration::ZERO;
    for _ in 0..options.runs {
        for (reloads, all) in [(0, &mut without), (options.reloads, &mut with)] {
            let (found, done) = run(load, |cluster, over| reload(cluster, (0, reloads), pause, over));
            println!(
                "| {name} | {done} | {:.0} | {:.1} | {:.1} | {:.2} |",
                found.commands_per_second, found.gap_ms, found.seconds, found.cpu_seconds
            );
            if reloads == 0 {
                // So that they are spread over three quarters of a run.
                pause = Duration::from_secs_f64(found.seconds * 0.75 / options.reloads as f64);
            }
            all.push(found);
        }
    }
    let rate = |all: &[Numbers]| median(all.iter().map(|run| run.commands_per_second).collect());
    let cpu = |all: &[Numbers]| median(all.iter().map(|run| run.cpu_seconds).collect());
    let gap = |all: &[Numbers]| median(all.iter().map(|run| run.gap_ms).collect());
    println!(
        "| {name}, medians | with : without | {:.3} | {:.1} : {:.1} | | {:.3} |",
        rate(&with) / rate(&without),
        gap(&with),
        gap(&without),
        cpu(&with) / cpu(&without)
    );
}

fn main() {
    let options = options();
    let mut random = Random::announced("reload");
    println!("lost 0 and twice 0, or the run ends with a panic\n");
    println!("| load | reloads | commands/s | longest gap, ms | seconds | CPU s per million |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let paced = options.seconds * RATE_PER_SECOND;
    let loads = [
        ("full speed", options.commands, None),
        ("paced", paced, Some(options.seconds)),
    ];
    for (name, commands, seconds) in loads.into_iter().filter(|_| options.runs > 0) {
        let load = Load {
            sites: [0, 1].map(|site| encoded(site, commands, &mut random)),
            commands,
            seconds,
        };
        compare(name, &load, &options);
    }
    for _ in 0..options.slices {
        let load = Load {
            sites: [0, 1].map(|site| encoded(site, 3 * options.commands, &mut random)),
            commands: 3 * options.commands,
            seconds: None,
        };
        let (_, (reloads, rates)) = run(&load, slices);
        let (mean, error) = compare_slices(&rates);
        println!("| full speed, slices | {reloads} | with : without {mean:.3} ± {error:.3} | | | |");
    }
}

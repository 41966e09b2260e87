//! Everything at once: three sites, every type, what has rules by element and what is settled as a whole, conflicts on
//! few keys at full speed, while syncers die and links break; then quiet, and equal data. Rounds of some seconds, so
//! that a difference is found near its cause.
//!
//! `SYNCER_TORTURE_SECONDS` sets for how long (60 otherwise), `SYNCER_TEST_SEED` plays the same choices again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::encode;
use crate::support::{Client, Cluster, Random, ServerOptions, words};

const SITES: u64 = 3;
/// Keys of each type.
const KEYS: u64 = 4;
const PIPELINE: usize = 32;
/// After everything has stopped, so long may it take until nothing is on its way.
const QUIET: Duration = Duration::from_secs(240);

#[test]
fn everything_at_once_converges() {
    let mut random = Random::announced("torture");
    let seconds = std::env::var("SYNCER_TORTURE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(60));
    // A syncer that is away at full speed must find its place again.
    let server = ServerOptions::default().with("repl-backlog-size", "512mb");
    let mut cluster = Cluster::build(SITES as usize).servers(&server).start();
    let mut round = 0;
    while round == 0 || Instant::now() < end {
        round += 1;
        let written = play(&mut cluster, &mut random);
        cluster.quiet_within(QUIET);
        crate::support::compare(&cluster);
        println!("torture: round {round}: {written} commands, equal");
    }
}

/// One round: writers at every site, faults one after the other; gives how many commands were executed.
fn play(cluster: &mut Cluster, random: &mut Random) -> u64 {
    let written = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let ports: Vec<u16> = cluster.sites.iter().map(|site| site.server.port).collect();
    let writers: Vec<JoinHandle<()>> = ports
        .into_iter()
        .enumerate()
        .map(|(site, port)| {
            let (stop, written, mut random) = (Arc::clone(&stop), Arc::clone(&written), random.split());
            std::thread::spawn(move || write(port, site, &stop, &written, &mut random))
        })
        .collect();
    for _ in 0..4 {
        pause(random, 300);
        fault(cluster, random);
    }
    stop.store(true, Ordering::Relaxed);
    writers
        .into_iter()
        .for_each(|writer| writer.join().expect("a writer"));
    cluster.heal_all();
    cluster.wait_connected();
    written.load(Ordering::Relaxed)
}

/// How long a fault lasts is part of the play; nothing is concluded from it.
fn pause(random: &mut Random, ms_max: u64) {
    std::thread::sleep(Duration::from_millis(20 + random.below(ms_max)));
}

fn fault(cluster: &mut Cluster, random: &mut Random) {
    let one = random.below(SITES) as usize;
    let other = (one + 1 + random.below(SITES - 1) as usize) % SITES as usize;
    match random.below(7) {
        0 | 1 => {
            println!("torture: kill syncer {one}");
            cluster.sites[one].kill();
            pause(random, 500);
            cluster.sites[one].start();
        }
        2 => {
            println!("torture: cut {one} from {other}");
            cluster.cut(one, other);
            pause(random, 1_500);
        }
        3 => {
            println!("torture: {one} does not reach {other}");
            cluster.stall_one_way(one, other);
            pause(random, 1_500);
        }
        4 => {
            println!("torture: reset {one} to {other}");
            cluster.drop_connections(one, other);
        }
        5 => {
            println!("torture: freeze syncer {one}");
            cluster.sites[one].signal(Signal::STOP);
            pause(random, 800);
            cluster.sites[one].signal(Signal::CONT);
        }
        _ => {
            println!("torture: slow link {one} to {other}");
            cluster.delay(one, other, Duration::from_millis(random.below(60)));
            pause(random, 1_000);
        }
    }
    if random.below(3) == 0 {
        cluster.heal_all();
    }
}

fn write(port: u16, site: usize, stop: &AtomicBool, written: &AtomicU64, random: &mut Random) {
    let mut client: Option<Client> = None;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        client = client.or_else(|| Client::connect(port).ok());
        let Some(open) = client.as_mut() else { continue };
        let mut bytes = Vec::new();
        for _ in 0..PIPELINE {
            n += 1;
            encode(&mut bytes, &words(&command(random, site, n)));
        }
        let whole = open.send_raw(&bytes).is_ok() && (0..PIPELINE).all(|_| open.try_read().is_ok());
        if whole {
            written.fetch_add(PIPELINE as u64, Ordering::Relaxed);
        } else {
            client = None;
        }
    }
}

/// One command of any type. What the server refuses (another type, no such group) is a part of the play.
fn command(random: &mut Random, site: usize, n: u64) -> String {
    let key = random.below(KEYS);
    let element = random.below(8);
    match random.below(13) {
        0 => text(random, key, site, n),
        1 => number(random, key, n),
        2 => set(random, key, element),
        3 => hash(random, key, element, site, n),
        4 => sorted(random, key, element, n),
        5 => expiry(random, key, n),
        6 => fight(random, key, n),
        7 => format!("DEL {}:{key}", pick(random, &["s", "c", "m", "h", "z", "f"])),
        8 => list(random, key, site, n),
        9 => stream(random, key, site, n),
        10 => whole_values(random, key, site, n),
        11 => derived(random, key),
        _ => format!("DEL {}:{key}", pick(random, &["l", "x", "b", "p"])),
    }
}

fn pick<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    all[random.below(all.len() as u64) as usize]
}

fn text(random: &mut Random, key: u64, site: usize, n: u64) -> String {
    match random.below(7) {
        0..4 => format!("SET s:{key} {site}-{n}"),
        4 => format!("SET s:{key} {n} PXAT {}", 4_102_444_800_000 + n),
        5 => format!("MSET s:{key} {n} s:{} {n}", (key + 1) % KEYS),
        _ => format!("GETDEL s:{key}"),
    }
}

fn number(random: &mut Random, key: u64, n: u64) -> String {
    match random.below(8) {
        0..5 => format!("INCRBY c:{key} {}", random.below(9)),
        5 => format!("DECR c:{key}"),
        6 => format!("SET c:{key} {n}"),
        _ => format!("INCRBYFLOAT c:{key} 2"),
    }
}

fn set(random: &mut Random, key: u64, element: u64) -> String {
    match random.below(8) {
        0..4 => format!("SADD m:{key} e{element} f{}", random.below(8)),
        4..6 => format!("SREM m:{key} e{element} f{}", random.below(8)),
        6 => format!("SPOP m:{key}"),
        _ => format!("SMOVE m:{key} m:{} e{element}", (key + 1) % KEYS),
    }
}

fn hash(random: &mut Random, key: u64, element: u64, site: usize, n: u64) -> String {
    match random.below(8) {
        0..3 => format!("HSET h:{key} f{element} {site}-{n}"),
        3..5 => format!("HINCRBY h:{key} n{element} {n}"),
        5 => format!("HINCRBYFLOAT h:{key} n{element} 1.5"),
        _ => format!("HDEL h:{key} f{element} n{element}"),
    }
}

fn sorted(random: &mut Random, key: u64, element: u64, n: u64) -> String {
    match random.below(8) {
        0..3 => format!("ZADD z:{key} {n} e{element}"),
        3..6 => format!("ZINCRBY z:{key} 2 e{element}"),
        6 => format!("ZREM z:{key} e{element}"),
        _ => format!(
            "GEOADD z:{key} {}.5 {}.25 g{element}",
            random.below(90),
            random.below(60)
        ),
    }
}

fn list(random: &mut Random, key: u64, site: usize, n: u64) -> String {
    match random.below(14) {
        0..3 => format!("LPUSH l:{key} {site}-{n}"),
        3..5 => format!("RPUSH l:{key} {site}-{n} {site}+{n}"),
        5..8 => format!("LPOP l:{key}"),
        8..10 => format!("RPOP l:{key}"),
        10 => format!("LTRIM l:{key} 0 20"),
        11 => format!("LSET l:{key} 0 {site}={n}"),
        12 => format!("LINSERT l:{key} BEFORE {site}-{} new", n - 1),
        _ => format!("LMOVE l:{key} l:{} LEFT RIGHT", (key + 1) % KEYS),
    }
}

fn stream(random: &mut Random, key: u64, site: usize, n: u64) -> String {
    match random.below(10) {
        0..5 => format!("XADD x:{key} * from {site}-{n}"),
        5 => format!("XADD x:{key} MAXLEN 30 * from {site}-{n}"),
        6 => format!("XTRIM x:{key} MAXLEN 20"),
        7 => format!("XGROUP CREATE x:{key} g $ MKSTREAM"),
        8 => format!("XREADGROUP GROUP g c{site} COUNT 3 STREAMS x:{key} >"),
        _ => format!("XGROUP DESTROY x:{key} g"),
    }
}

fn whole_values(random: &mut Random, key: u64, site: usize, n: u64) -> String {
    match random.below(9) {
        0 | 1 => format!("SETBIT b:{key} {} {}", random.below(64), random.below(2)),
        2 => format!("BITFIELD b:{key} INCRBY u8 8 1"),
        3 => format!("PFADD p:{key} {n}"),
        4 => format!("PFMERGE p:{key} p:{}", (key + 1) % KEYS),
        5 => format!("SETRANGE s:{key} {} {site}", n % 30),
        6 => format!("ZPOPMIN z:{key}"),
        7 => format!("APPEND f:{key} x"),
        _ => format!("RPUSH f:{key} {n}"),
    }
}

fn expiry(random: &mut Random, key: u64, n: u64) -> String {
    let kind = pick(random, &["s", "c", "m", "h", "z"]);
    match random.below(4) {
        0 | 1 => format!("PEXPIREAT {kind}:{key} {}", 4_102_444_800_000 + n),
        2 => format!("PERSIST {kind}:{key}"),
        _ => format!("PEXPIRE {kind}:{key} {}", 1 + random.below(50)),
    }
}

fn derived(random: &mut Random, key: u64) -> String {
    let other = (key + 1) % KEYS;
    match random.below(6) {
        0 => format!("RENAME s:{key} s:{other}"),
        1 => format!("COPY h:{key} h:{other} REPLACE"),
        2 => format!("SUNIONSTORE m:{key} m:{key} m:{other}"),
        3 => format!("ZUNIONSTORE z:{key} 2 z:{key} z:{other}"),
        4 => format!("BITOP OR b:{key} b:{key} b:{other}"),
        _ => format!("MOVE s:{key} {}", 1 + random.below(2)),
    }
}

/// Several types on one key.
fn fight(random: &mut Random, key: u64, n: u64) -> String {
    match random.below(7) {
        0 => format!("SET f:{key} {n}"),
        1 => format!("INCR f:{key}"),
        2 => format!("SADD f:{key} e{n}"),
        3 => format!("HSET f:{key} f {n}"),
        4 => format!("ZADD f:{key} {n} e"),
        _ => format!("DEL f:{key}"),
    }
}

//! Runs that count: clients only ever add to numbers, each another number, while databases crash soon one after the other.
//! What they were told can be added up, so no snapshot is taken for the truth here (`oracle/tallies.rs`).
//!
//! A snapshot is a reset of what its site has seen, and another site's database gets it as an absolute value, over what
//! clients wrote there meanwhile. It is the one way in which adding up is undone, so each round crashes one database, and
//! often another one, or the same, beside what the first snapshot set off: behind a transaction that has undone something,
//! or before the repair of that.

use crate::plan::{Order, Place, Race, What, fault};
use crate::random::Random;
use crate::resp::words;

/// One seed of so many counts; it is one of those with crashes.
const EVERY: u64 = 32;

/// An expiry time that no run lives to see, Unix milliseconds.
const FAR_MS: u64 = 4_102_444_800_000;

/// Whether a seed is a run that counts.
pub fn is_one(seed: u64) -> bool {
    seed % EVERY == 15
}

/// The sequence of such a run.
pub fn random(seed: u64) -> Random {
    Random::new(seed.wrapping_mul(0xe703_7ed1_a0b4_28db) ^ 0x1f)
}

/// Whether a key is one that is only ever added to.
pub fn is_tally(key: &[u8]) -> bool {
    key.starts_with(b"tall")
}

/// What happens, and for how many steps.
pub fn events(random: &mut Random, sites: usize) -> (Vec<(u64, usize, What)>, u64) {
    let mut events = Vec::new();
    let tallies = random.pick(&[&["tally0"] as &[&str], &["tallies0"], &["tally0", "tallies0"]]);
    let (mut begin, mut number) = (0, 0);
    for _ in 0..2 + random.below(6) {
        let steps = random.pick(&[60, 150, 400]);
        let mut count = |random: &mut Random, from: u64| {
            number += 1;
            let write = count(random, tallies, number);
            (
                from + random.below(steps),
                random.below(sites as u64) as usize,
                write,
            )
        };
        for _ in 0..4 + random.below(12) {
            events.push(count(random, begin));
        }
        begin += steps / 2;
        crashes(random, sites, begin, tallies, &mut events);
        for _ in 0..random.below(12) {
            events.push(count(random, begin));
        }
        begin += steps;
    }
    if random.chance(25) {
        for _ in 0..1 + random.below(4) {
            let site = random.below(sites as u64) as usize;
            let fault = fault(random, site, sites, begin, false);
            events.push((random.below(begin), site, fault));
        }
    }
    (events, begin)
}

/// A database crashes, and often one right beside what its content sets off.
fn crashes(
    random: &mut Random,
    sites: usize,
    step: u64,
    tallies: &[&str],
    events: &mut Vec<(u64, usize, What)>,
) {
    let first = random.below(sites as u64) as usize;
    for _ in 0..random.pick(&[0, 1, 1, 2]) {
        let second = match random.chance(30) {
            true => first,
            false => random.below(sites as u64) as usize,
        };
        let order = Order {
            behind: first,
            place: random.pick(&[
                Place::Before,
                Place::BeforeRepair,
                Place::BeforeRepair,
                Place::Behind,
            ]),
            beside: tallies.iter().map(|key| key.as_bytes().to_vec()).collect(),
            passes: random.pick(&[0, 0, 1, 3]),
            away: 1 + random.below(20),
        };
        events.push((step, second, What::CrashBeside(order)));
    }
    events.push((step, first, What::Crash(1 + random.below(20))));
}

/// A client adds to a number, some right beside a transaction of the syncer; now and then it does what only has the key
/// settled.
fn count(random: &mut Random, tallies: &[&str], number: u64) -> What {
    let key = random.pick(tallies);
    let is_hash = key.starts_with("tallies");
    let command = match (random.below(12), is_hash) {
        (0, _) => format!("PEXPIREAT {key} {}", FAR_MS + number),
        (1, true) => format!("HSET {key} name v{number}"),
        (_, true) => format!("HINCRBY {key} f{} {number}", random.below(2)),
        (_, false) => format!("INCRBY {key} {number}"),
    };
    let (db, commands, block) = (0, vec![words(&command)], false);
    match random.chance(40) {
        true => What::Race(Race {
            place: random.pick(&[Place::Before, Place::Before, Place::BeforeRepair, Place::Behind]),
            db,
            commands,
            block,
            beside: Some(key.as_bytes().to_vec()),
        }),
        false => What::Write { db, commands, block },
    }
}

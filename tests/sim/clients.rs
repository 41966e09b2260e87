//! What clients write: few keys, few elements, and patterns that hurt.

use crate::plan::{Place, Race, What};
use crate::random::Random;
use crate::resp::{Words, words};

/// A family of commands that meets on the same keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// SET and its forms.
    Texts,
    /// Increments and SET.
    Counters,
    /// SADD, SREM.
    Sets,
    /// HSET, HDEL, HINCRBY.
    Hashes,
    /// Hashes whose fields have expiry times.
    Fields,
    /// ZADD, ZREM, ZINCRBY.
    Sorted,
    /// All of these on one key.
    Fight,
    /// Lists that are only pushed to and deleted.
    Pushes,
    /// Lists with everything.
    Lists,
    /// A queue: pushed everywhere, popped.
    Queue,
    /// APPEND, SETRANGE, SETBIT, BITFIELD.
    Bytes,
    /// Bits, set by SETBIT, BITFIELD and SETRANGE, and SET.
    Bits,
    /// PFADD.
    Unions,
    /// Entries of streams, and removals by id.
    Entries,
    /// Entries of streams that are trimmed to a length, and removals by id.
    Trims,
    /// Streams with groups, and trimmed by their length.
    Streams,
    /// Commands on several keys.
    Derived,
    /// Lists and hashes and strings on one key.
    WholeFight,
}

const ELEMENTWISE: &[Family] = &[
    Family::Texts,
    Family::Counters,
    Family::Sets,
    Family::Hashes,
    Family::Sorted,
    Family::Fight,
    Family::Bits,
    Family::Unions,
    Family::Entries,
    Family::Trims,
];
const WHOLE: &[Family] = &[
    Family::Pushes,
    Family::Lists,
    Family::Queue,
    Family::Bytes,
    Family::Streams,
    Family::Derived,
    Family::WholeFight,
];

/// What a run's clients do.
#[derive(Debug, Clone)]
pub struct Mix {
    families: Vec<Family>,
    keys: u64,
    databases: u64,
    /// So many of a hundred are expiry times.
    expiries: u64,
    flushes: bool,
    blocks: bool,
    deletes: u64,
    /// So many expiry times of a hundred stand under a condition.
    conditions: u64,
}

impl Mix {
    /// A mix.
    pub fn of(random: &mut Random, long: bool) -> Mix {
        let pool = match random.chance(60) || long {
            true => ELEMENTWISE,
            false => WHOLE,
        };
        let families = (0..random.pick(&[1, 1, 1, 2, 3]))
            .map(|_| random.pick(pool))
            .collect();
        Mix {
            families,
            keys: random.pick(&[1, 1, 2]),
            databases: random.pick(&[1, 1, 1, 2]),
            expiries: if random.chance(35) { 25 } else { 0 },
            flushes: random.chance(8),
            blocks: random.chance(30),
            deletes: random.pick(&[5, 12, 25]),
            conditions: 0,
        }
    }

    /// A mix for races: little on one key, so that nothing comes behind that makes good what went wrong.
    pub fn of_races(random: &mut Random) -> Mix {
        let families: &[Family] = &[
            Family::Fight,
            Family::Fight,
            Family::Texts,
            Family::Counters,
            Family::Sets,
            Family::Hashes,
            Family::Sorted,
        ];
        Mix {
            families: vec![random.pick(families)],
            keys: 1,
            databases: 1,
            expiries: if random.chance(50) { 25 } else { 0 },
            flushes: false,
            blocks: false,
            deletes: random.pick(&[0, 12, 25]),
            conditions: 50,
        }
    }

    /// A mix on hashes whose fields have expiry times, now and then with other types on the same keys. Expiry times of
    /// keys can stand under conditions, too: for one server by itself (docs/testing.md).
    pub fn of_fields(random: &mut Random, key_conditions: bool) -> Mix {
        let families = match random.below(8) {
            0 => vec![Family::Fields, Family::Fight],
            1 => vec![Family::Fields, Family::Hashes],
            _ => vec![Family::Fields],
        };
        Mix {
            families,
            keys: random.pick(&[1, 1, 2]),
            databases: 1,
            expiries: if random.chance(20) { 15 } else { 0 },
            flushes: random.chance(8),
            blocks: random.chance(30),
            deletes: random.pick(&[0, 2, 5, 12]),
            conditions: if key_conditions { 50 } else { 0 },
        }
    }

    /// The same for a scene.
    pub fn of_field_scene(random: &mut Random) -> [Mix; 3] {
        let mix = Mix {
            flushes: false,
            ..Mix::of_fields(random, false)
        };
        [mix.clone(), mix.clone(), mix]
    }

    /// Mixes for a scene: for what stands before it and is written elsewhere, for what a client writes right before
    /// that, and for what one writes before the repair. One family or all that fight, and times under conditions; or
    /// a string that takes the place of another type, and is then written as a string although that type has won.
    pub fn of_scene(random: &mut Random) -> [Mix; 3] {
        let of = |random: &mut Random, families: &[Family]| Mix {
            families: vec![random.pick(families)],
            ..Mix::of_races(random)
        };
        let mix = match random.below(8) {
            0 => of(random, &[Family::Entries, Family::Bits, Family::Trims]),
            1 | 2 => {
                let numbers = of(random, &[Family::Counters]);
                let typed = of(random, &[Family::Sets, Family::Hashes, Family::Sorted]);
                return [numbers.clone(), typed, numbers];
            }
            3..=5 => Mix {
                expiries: 60,
                deletes: 5,
                ..Mix::of_races(random)
            },
            _ => Mix::of_races(random),
        };
        [mix.clone(), mix.clone(), mix]
    }
}

/// One write of a client.
pub fn write(random: &mut Random, mix: &Mix, number: u64) -> What {
    let (db, commands, block) = commands(random, mix, number);
    What::Write { db, commands, block }
}

/// One that races with the syncer.
pub fn race(random: &mut Random, mix: &Mix, number: u64) -> What {
    let (db, commands, block) = commands(random, mix, number);
    What::Race(Race {
        place: random.pick(&[Place::Before, Place::BeforeRepair, Place::Behind]),
        db,
        commands,
        block,
        beside: None,
    })
}

/// A command on the key of a scene.
pub fn in_scene(random: &mut Random, mix: &Mix, number: u64, key: &[u8]) -> Words {
    let mut words = command(random, mix, number);
    words[1] = key.to_vec();
    words
}

/// Database, commands, and whether they are one transaction.
fn commands(random: &mut Random, mix: &Mix, number: u64) -> (usize, Vec<Words>, bool) {
    let db = random.below(mix.databases) as usize;
    let count = if mix.blocks && random.chance(30) {
        2 + random.below(3)
    } else {
        1
    };
    let commands = (0..count)
        .map(|at| command(random, mix, number * 10 + at))
        .collect();
    (db, commands, count > 1)
}

fn command(random: &mut Random, mix: &Mix, n: u64) -> Words {
    let family = random.pick(&mix.families);
    let name = format!("{}{}", letters(family), random.below(mix.keys));
    let other = format!("{}{}", letters(family), random.below(mix.keys + 1));
    if mix.flushes && random.chance(4) {
        return words(random.pick(&["FLUSHALL", "FLUSHDB"]));
    }
    if random.chance(mix.deletes) {
        return words(&format!("{} {name}", random.pick(&["DEL", "DEL", "UNLINK"])));
    }
    if mix.expiries > 0 && random.chance(mix.expiries) {
        if mix.conditions > 0 && random.chance(mix.conditions) {
            return words(&condition(random, &name, n));
        }
        return words(&expiry(random, &name, n));
    }
    words(&match family {
        Family::Texts => texts(random, &name, &other, n),
        Family::Counters => counters(random, &name, n),
        Family::Sets => sets(random, &name),
        Family::Hashes => hashes(random, &name, n),
        Family::Fields => fields(random, mix, &name, n),
        Family::Sorted => sorted(random, &name),
        Family::Fight => match random.below(5) {
            0 => texts(random, &name, &other, n),
            1 => counters(random, &name, n),
            2 => sets(random, &name),
            3 => hashes(random, &name, n),
            _ => sorted(random, &name),
        },
        Family::Pushes => pushes(random, &name, n),
        Family::Lists => lists(random, &name, &other, n),
        Family::Queue => queue(random, &name, n),
        Family::Bytes => bytes(random, &name, n),
        Family::Bits => bits(random, &name, n),
        Family::Unions => unions(random, &name, n),
        Family::Entries => entries(random, &name, n),
        Family::Streams => streams(random, &name, n),
        Family::Trims => trims(random, &name, n),
        Family::Derived => derived(random, &name, &other, n),
        Family::WholeFight => match random.below(5) {
            0 => texts(random, &name, &other, n),
            1 => hashes(random, &name, n),
            2 => bytes(random, &name, n),
            _ => lists(random, &name, &other, n),
        },
    })
}

fn letters(family: Family) -> &'static str {
    match family {
        Family::Texts => "text",
        Family::Counters => "count",
        Family::Sets => "set",
        Family::Hashes | Family::Fields => "hash",
        Family::Sorted => "sorted",
        Family::Fight => "fight",
        Family::Pushes => "pushes",
        Family::Lists => "list",
        Family::Queue => "queue",
        Family::Bytes => "bytes",
        Family::Bits => "bits",
        Family::Unions => "union",
        Family::Entries => "entries",
        Family::Streams => "stream",
        Family::Trims => "trims",
        Family::Derived => "derived",
        Family::WholeFight => "whole",
    }
}

/// Far beyond every run.
const LATER_MS: u64 = 1_000_000_000;

fn expiry(random: &mut Random, key: &str, n: u64) -> String {
    let soon = 1 + random.below(120);
    let late = LATER_MS + n * 1000;
    match random.below(9) {
        0 | 1 => format!("PEXPIRE {key} {soon}"),
        2 | 3 => format!("PEXPIRE {key} {late}"),
        4 => format!("PERSIST {key}"),
        5 => condition(random, key, n),
        6 => format!("EXPIRE {key} 0"),
        7 => format!("SET {key} v{n} PX {}", random.pick(&[soon, late])),
        _ => format!("EXISTS {key}"),
    }
}

fn condition(random: &mut Random, key: &str, n: u64) -> String {
    let late = LATER_MS + n * 1000;
    format!("PEXPIRE {key} {late} {}", random.pick(&["NX", "XX", "GT", "LT"]))
}

fn texts(random: &mut Random, key: &str, other: &str, n: u64) -> String {
    match random.below(9) {
        0..=3 => format!("SET {key} v{n}"),
        4 => format!("SET {key} v{n} {}", random.pick(&["NX", "XX", "GET", "KEEPTTL"])),
        5 => format!("GETSET {key} v{n}"),
        6 => format!("MSET {key} v{n} {other} w{n}"),
        7 => format!("SETNX {key} v{n}"),
        _ => format!("GETDEL {key}"),
    }
}

fn counters(random: &mut Random, key: &str, n: u64) -> String {
    match random.below(10) {
        0..=3 => format!("INCR {key}"),
        4 => format!("INCRBY {key} {}", 1 + random.below(50)),
        5 => format!("DECR {key}"),
        6 => format!("DECRBY {key} {}", 1 + random.below(50)),
        7 | 8 => format!("SET {key} {}", n * 1000),
        _ => format!("SET {key} {} KEEPTTL", n * 1000),
    }
}

fn sets(random: &mut Random, key: &str) -> String {
    let mut member = || format!("m{}", random.below(4));
    let (one, two) = (member(), member());
    match random.below(10) {
        0..=3 => format!("SADD {key} {one}"),
        4 => format!("SADD {key} {one} {two}"),
        5..=7 => format!("SREM {key} {one}"),
        8 => format!("SREM {key} {one} {two}"),
        _ => format!("SPOP {key}{}", random.pick(&["", " 2", " 9"])),
    }
}

fn hashes(random: &mut Random, key: &str, n: u64) -> String {
    let field = format!("f{}", random.below(3));
    match random.below(10) {
        0..=2 => format!("HSET {key} {field} v{n}"),
        3 => format!("HSET {key} {field} {n} g{n} {n}"),
        4 => format!("HMSET {key} {field} {}", n * 100),
        5 => format!("HSETNX {key} {field} x{n}"),
        6 | 7 => format!("HINCRBY {key} {field} {}", 1 + random.below(9)),
        _ => format!("HDEL {key} {field}"),
    }
}

/// Where keys expire, nothing is written that says KEEPTTL or a condition: a server that finds such a field over tells
/// its replicas to remove it, with it they lose a key that had no other and its expiry time, and the server keeps that.
fn fields(random: &mut Random, mix: &Mix, key: &str, n: u64) -> String {
    let (one, two) = (random.below(3), random.below(3));
    let (field, other) = (format!("f{one}"), format!("f{two}"));
    let both = match one == two {
        true => format!("FIELDS 1 {field}"),
        false => format!("FIELDS 2 {field} {other}"),
    };
    let soon = 1 + random.below(120);
    let late = LATER_MS + n * 1000;
    let ms = random.pick(&[soon, late, late]);
    let at_once = mix.expiries == 0;
    match random.below(28) {
        0..=2 => format!("HSET {key} {field} {n}"),
        3 => format!("HSET {key} f0 {n} f1 {n} f2 {n}"),
        4 => format!("HSETNX {key} {field} {n}"),
        5..=7 => format!("HINCRBY {key} {field} {}", 1 + random.below(9)),
        8 if at_once => format!("HINCRBYFLOAT {key} {field} {}", 1 + random.below(9)),
        8 | 9 => format!("HDEL {key} {field}"),
        10..=12 => format!("HPEXPIRE {key} {ms} FIELDS 1 {field}"),
        13 => format!("HPEXPIRE {key} {ms} {both}"),
        14 => {
            let condition = random.pick(&["NX", "XX", "GT", "LT"]);
            format!("HPEXPIRE {key} {late} {condition} {both}")
        }
        15 => {
            let condition = random.pick(&["NX", "XX", "GT", "LT"]);
            format!("HPEXPIRE {key} {late} {condition} FIELDS 1 {field}")
        }
        16 => format!("HEXPIRE {key} 0 {both}"),
        17 | 18 => format!("HPERSIST {key} {both}"),
        19 | 20 => format!("HSETEX {key} PX {ms} FIELDS 1 {field} {n}"),
        21 if at_once => {
            let condition = random.pick(&["FNX", "FXX"]);
            let time = random.pick(&["KEEPTTL".to_owned(), format!("PX {ms}"), "PX 0".to_owned()]);
            format!("HSETEX {key} {condition} {time} FIELDS 1 {field} {n}")
        }
        22 if at_once => format!("HSETEX {key} KEEPTTL FIELDS 1 {field} {n}"),
        21..=23 => format!("HSETEX {key} PX {ms} FIELDS 3 f0 {n} f1 {n} f2 {n}"),
        24 => format!("HGETEX {key} PX {ms} {both}"),
        25 => format!("HGETEX {key} PERSIST {both}"),
        26 => format!("HGETEX {key} {both}"),
        _ => format!("HGETDEL {key} {both}"),
    }
}

fn sorted(random: &mut Random, key: &str) -> String {
    let member = format!("z{}", random.below(4));
    let score = random.below(20);
    match random.below(12) {
        0..=3 => format!("ZADD {key} {score} {member}"),
        4 => format!("ZADD {key} {score} {member} {} z9", score + 1),
        5 => format!(
            "ZADD {key} {} {score} {member}",
            random.pick(&["NX", "XX", "GT", "LT", "CH"])
        ),
        6..=8 => format!("ZINCRBY {key} {}.5 {member}", random.below(9)),
        _ => format!("ZREM {key} {member}"),
    }
}

fn pushes(random: &mut Random, key: &str, n: u64) -> String {
    match random.below(4) {
        0 => format!("LPUSH {key} e{n} e{n}b"),
        1 => format!("LPUSH {key} e{n}"),
        2 => format!("RPUSHX {key} e{n}"),
        _ => format!("RPUSH {key} e{n}"),
    }
}

fn queue(random: &mut Random, key: &str, n: u64) -> String {
    match random.below(10) {
        0..=5 => format!("LPUSH {key} e{n}"),
        6..=8 => format!("RPOP {key}"),
        _ => format!("LPOP {key}"),
    }
}

fn lists(random: &mut Random, key: &str, other: &str, n: u64) -> String {
    let known = format!("e{}", random.below(n + 1));
    match random.below(15) {
        0..=2 => format!("RPUSH {key} e{n}"),
        3..=5 => format!("LPUSH {key} e{n}"),
        6 => format!("LPOP {key}"),
        7 => format!("RPOP {key} 2"),
        8 => format!("LSET {key} {} s{n}", random.pick(&["0", "-1", "1"])),
        9 => format!("LINSERT {key} {} {known} i{n}", random.pick(&["BEFORE", "AFTER"])),
        10 => format!("LREM {key} {} {known}", random.pick(&["0", "1", "-1"])),
        11 => format!("LTRIM {key} {}", random.pick(&["1 -1", "0 -2", "0 3", "-3 -1"])),
        12 => format!("LMPOP 1 {key} {} COUNT 2", random.pick(&["LEFT", "RIGHT"])),
        13 => format!("LMOVE {key} {other} RIGHT LEFT"),
        _ => format!("BLPOP {key} 1"),
    }
}

fn bytes(random: &mut Random, key: &str, n: u64) -> String {
    match random.below(7) {
        0 | 1 => format!("APPEND {key} <{n}>"),
        2 => format!("SETRANGE {key} {} {n}", random.below(12)),
        3 | 4 => format!("SETBIT {key} {} {}", random.below(80), random.below(2)),
        5 => format!(
            "BITFIELD {key} INCRBY u8 {} {}",
            8 * random.below(6),
            1 + random.below(9)
        ),
        _ => format!("SET {key} base{n}"),
    }
}

fn bits(random: &mut Random, key: &str, n: u64) -> String {
    let at = random.below(20);
    match random.below(12) {
        0..=5 => format!("SETBIT {key} {at} {}", random.below(2)),
        6 => format!("SETBIT {key} {} {}", 20 + random.below(60), random.below(2)),
        7 => format!("SETRANGE {key} {} {n}", random.below(3)),
        8 => format!("BITFIELD {key} SET u{} {at} {n}", 1 + random.below(9)),
        9 => format!("BITFIELD {key} SET i5 {at} {n} SET u1 {} 1", at + 3),
        10 if random.chance(30) => format!("INCR {key}"),
        _ => format!("SET {key} {n}"),
    }
}

fn unions(random: &mut Random, key: &str, n: u64) -> String {
    match random.below(40) {
        0 => format!("SET {key} v{n}"),
        1 => format!("PFADD {key}"),
        2..6 => format!("PFADD {key} u{} u{}", random.below(6), random.below(20)),
        _ => format!("PFADD {key} u{}", random.below(6)),
    }
}

fn entries(random: &mut Random, key: &str, n: u64) -> String {
    // Ids of writes before this one, and its own.
    let mut recent = || (n - n % 10).saturating_sub(10 * random.below(7)) + 1;
    let (one, two) = (recent(), recent());
    match random.below(18) {
        0..=9 => format!("XADD {key} {}-0 f {n}", n + 1),
        10 | 11 => format!("XADD {key} {one}-0 f {n} g {n}"),
        12 | 13 => format!("XDEL {key} {one}-0"),
        14 => format!("XDEL {key} {one}-0 {two}-0"),
        15 => format!("XADD {key} MINID {one} {}-0 f {n}", n + 1),
        _ => format!("XTRIM {key} MINID {one}"),
    }
}

fn trims(random: &mut Random, key: &str, n: u64) -> String {
    // Ids of writes before this one, and its own.
    let mut recent = || (n - n % 10).saturating_sub(10 * random.below(9)) + 1;
    let (one, two) = (recent(), recent());
    let most = random.pick(&[0, 1, 2, 3, 4, 5, 7]);
    match random.below(18) {
        0..=7 => format!("XADD {key} {}-0 f {n}", n + 1),
        8 => format!("XADD {key} {one}-0 f {n} g {n}"),
        9..=11 => format!(
            "XADD {key} MAXLEN {} {most} {}-0 f {n}",
            random.pick(&["=", "~"]),
            n + 1
        ),
        12 | 13 => format!("XDEL {key} {one}-0"),
        14 => format!("XDEL {key} {one}-0 {two}-0"),
        15 => format!("XADD {key} MINID {one} {}-0 f {n}", n + 1),
        16 => format!("XTRIM {key} MINID {one}"),
        _ => format!("XTRIM {key} MAXLEN {most}"),
    }
}

fn streams(random: &mut Random, key: &str, n: u64) -> String {
    let id = format!("{}-{}", 1 + random.below(n + 2), random.below(3));
    match random.below(if n.is_multiple_of(3) { 14 } else { 10 }) {
        0..=5 => format!("XADD {key} * f {n}"),
        6 => format!("XADD {key} {id} f {n}"),
        7 => format!("XADD {key} MAXLEN {} 4 * f {n}", random.pick(&["=", "~"])),
        8 => format!("XDEL {key} {id}"),
        9 => format!("XTRIM {key} MAXLEN 3"),
        10 => format!("XGROUP CREATE {key} g{} 0 MKSTREAM", random.below(2)),
        11 => format!(
            "XREADGROUP GROUP g{} c{} COUNT 2 STREAMS {key} >",
            random.below(2),
            random.below(2)
        ),
        12 => format!("XACK {key} g{} {id}", random.below(2)),
        _ => format!("XGROUP DESTROY {key} g1"),
    }
}

fn derived(random: &mut Random, key: &str, other: &str, n: u64) -> String {
    match random.below(14) {
        0 => format!("SADD {key} m{}", random.below(4)),
        1 => format!("ZADD {key} {n} m{}", random.below(4)),
        2 => format!("SET {key} v{n}"),
        3 => format!("RENAME {key} {other}"),
        4 => format!("COPY {key} {other} REPLACE"),
        5 => format!("MOVE {key} {}", random.below(2)),
        6 => format!("SUNIONSTORE {other} {key} derived0"),
        7 => format!("SDIFFSTORE {other} {key} derived1"),
        8 => format!("ZUNIONSTORE {other} 2 {key} derived0"),
        9 => format!("SMOVE {key} {other} m{}", random.below(4)),
        10 => format!("SORT {key} ALPHA STORE {other}"),
        11 => format!("RPUSH {key} e{n}"),
        12 => format!("LMOVE {key} {other} LEFT RIGHT"),
        _ => format!("BITOP OR {other} {key} derived0"),
    }
}

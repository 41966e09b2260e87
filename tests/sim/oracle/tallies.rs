//! Whether numbers that clients only ever added to hold the sum of what they were told.
//!
//! The other judges take a snapshot for the truth. Here it is none: each addition counts once, whatever crashed, at all sites.
//! What may be missing, and never be there twice, is what docs/conflicts.md ("A database that crashed") gives up:
//!
//! 1. An addition that nobody had read when its database crashed: "it had not been read when the database crashed", and
//!    "a write from the uncaptured last moment before the crash loses against any concurrent write to the same value".
//! 2. One of a site whose syncer did not know what was under way when it read the whole content: "the syncer dies in the same
//!    moment as its database".
//! 3. One that a snapshot had seen, or that was done again and had been seen then, beside a later value that has seen neither:
//!    "the same key in the snapshot of another crash: the later snapshot's". A `SET` that is done again is such a value.
//!
//! The runs do without what else would excuse a loss: databases that come back older, flushes, backlogs that are too short,
//! swaps, deletes.

use std::collections::BTreeMap;

use super::Keys;
use super::operation::{Effect, Op};
use crate::database::{Cause, Database, Record, Value};
use crate::host::Host;
use crate::resp::{Word, show};
use crate::tallies::is_tally;
use crate::world::World;

/// Database, key, and field if it is a hash.
type Number = (usize, Word, Option<Word>);

/// What a number may be, and what was added to it, in words.
#[derive(Default)]
struct Told {
    least: i64,
    most: i64,
    lines: Vec<String>,
}

/// Judges all such numbers.
pub fn judge(world: &World, keys: &Keys) -> Result<(), String> {
    let mut told: BTreeMap<Number, Told> = BTreeMap::new();
    for host in &world.hosts {
        count(world, host, keys, &mut told);
    }
    count_owed(world, keys, &mut told);
    for ((db, key, field), told) in told {
        let held = held(&world.hosts[0].database, (db, &key, field.as_ref()));
        if (told.least..=told.most).contains(&held) {
            continue;
        }
        let what = if held < told.least { "lost" } else { "twice" };
        let field = field.map(|field| format!(" {}", String::from_utf8_lossy(&field)));
        return Err(format!(
            "tally {what}: {}{} of {db} should be {} to {}, is {held}\n{}",
            String::from_utf8_lossy(&key),
            field.unwrap_or_default(),
            told.least,
            told.most,
            told.lines.join("\n")
        ));
    }
    Ok(())
}

/// What the clients of one site were told.
fn count(world: &World, host: &Host, keys: &Keys, told: &mut BTreeMap<Number, Told>) {
    let book = world.book.borrow();
    let mut seq = 0;
    for record in &host.database.history {
        let Some((number, delta)) = addition(record) else {
            continue;
        };
        let mut command = Vec::new();
        crate::resp::command(&mut command, &record.words);
        let own = book
            .operations
            .range((host.at as u8, seq + 1)..(host.at as u8 + 1, 0));
        let found = own.into_iter().find(|(_, logged)| logged.command == command);
        let read = found.filter(|_| !record.is_untold).map(|((_, seq), _)| *seq);
        seq = read.unwrap_or(seq);
        let excuse = match read {
            None => Some("not read"),
            Some(_) if host.blind.iter().any(|end| record.offset <= *end) => Some("syncer had died"),
            Some(seq) => {
                let ops = &keys[&(number.0, number.1.clone())];
                let is_hidden = is_hidden((host.at, seq), number.2.as_ref(), ops);
                is_hidden.then_some("in an earlier snapshot")
            }
        };
        let told = told.entry(number).or_default();
        told.most += delta;
        told.least += if excuse.is_none() { delta } else { 0 };
        let name = crate::host::name(host.at);
        let excuse = excuse.unwrap_or_default();
        told.lines
            .push(format!("{name}{seq} {} {excuse}", show(&record.words)));
    }
}

/// What was done again and is not there for the third reason. That it stands there once more shows in the sum.
fn count_owed(world: &World, keys: &Keys, told: &mut BTreeMap<Number, Told>) {
    let book = world.book.borrow();
    for ((db, key, field), told) in told {
        let ops = &keys[&(*db, key.clone())];
        let is_owed = |op: &&Op| book.operations[&(op.site as u8, op.seq)].is_owed;
        for op in ops.iter().filter(is_owed) {
            let number = |text: &Word| String::from_utf8_lossy(text).parse().unwrap_or(0);
            let delta = match (&op.effect, &field) {
                (Effect::Add(delta), None) => *delta,
                (Effect::AddField(name, delta), Some(field)) if name == field => *delta,
                (Effect::Set(text, _), None) => number(text),
                (Effect::Fields(pairs, _), Some(field)) => {
                    match pairs.iter().find(|(name, _)| name == field) {
                        Some((_, text)) => number(text),
                        None => continue,
                    }
                }
                _ => continue,
            };
            let is_hidden = is_hidden((op.site, op.seq), field.as_ref(), ops);
            told.least -= if is_hidden { delta } else { 0 };
            let hidden = if is_hidden { "in an earlier snapshot" } else { "" };
            let name = crate::host::name(op.site);
            told.lines
                .push(format!("{name}{} {} done again {hidden}", op.seq, op.text));
        }
    }
}

/// A client's addition to such a number.
fn addition(record: &Record) -> Option<(Number, i64)> {
    let words = &record.words;
    let is_clients =
        matches!(record.cause, Cause::Client(_)) && words.get(1).is_some_and(|key| is_tally(key));
    let field = match (words[0].as_slice(), is_clients) {
        (b"INCRBY", true) => None,
        (b"HINCRBY", true) => Some(words[2].clone()),
        _ => return None,
    };
    let delta = String::from_utf8_lossy(words.last()?).parse().ok()?;
    Some(((record.db, words[1].clone(), field), delta))
}

/// Whether a snapshot had seen it, and a later one that takes the place of that one neither.
fn is_hidden((site, seq): (usize, u64), field: Option<&Word>, ops: &[Op]) -> bool {
    let has_met = |op: &Op| op.past[site] >= seq;
    // Nobody but a snapshot, and what is done again behind one, puts a value here.
    let puts = |op: &&Op| match &op.effect {
        Effect::Set(..) => field.is_none(),
        Effect::Fields(pairs, _) => pairs.iter().any(|(name, _)| Some(name) == field),
        _ => false,
    };
    let values = || ops.iter().filter(puts);
    let takes_its_place = |by: &Op, op: &Op| !by.has_met(op) && !op.has_met(by) && by.order() > op.order();
    values()
        .filter(|op| op.is_state && has_met(op))
        .any(|op| values().any(|by| !has_met(by) && takes_its_place(by, op)))
}

fn held(database: &Database, (db, key, field): (usize, &Word, Option<&Word>)) -> i64 {
    let number = |text: &Word| String::from_utf8_lossy(text).parse().ok();
    let found = match (database.dbs[db].get(key).map(|entry| &entry.value), field) {
        (Some(Value::Text(text)), None) => number(text),
        (Some(Value::Hash(hash)), Some(field)) => hash.values.get(field).and_then(number),
        _ => None,
    };
    found.unwrap_or(0)
}

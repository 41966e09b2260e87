//! The independent judge of what the data should be: the rules' plain definition over the whole history, without
//! windows, bases or repairs, and sharing no code with the engine.

mod evaluate;
mod fields;
mod history;
mod lists;
mod operation;
mod stream;
mod tallies;
mod whole;

use std::collections::BTreeMap;

use crate::database::{Database, Value};
use crate::resp::{Word, parse, show};
use crate::world::World;
use operation::{Effect, Op};

type Keys = BTreeMap<(usize, Word), Vec<Op>>;

/// Compares history and data with the rules.
pub fn judge(world: &World) -> Result<(), String> {
    history::judge(world)?;
    let keys = keys(world);
    tallies::judge(world, &keys)?;
    let database = &world.hosts[0].database;
    for ((db, key), mut ops) in keys {
        let states: Vec<Op> = ops.iter().filter(|op| op.is_state).cloned().collect();
        for op in &mut ops {
            op.is_inside = states.iter().any(|state| state.has_met(op));
        }
        evaluate::resolve(&mut ops);
        let told: Vec<Op> = (ops.extract_if(.., |op| matches!(op.effect, Effect::Told(..)))).collect();
        let held = database.dbs[db].get(&key);
        let name = String::from_utf8_lossy(&key).into_owned();
        let refs: Vec<&Op> = ops.iter().collect();
        if ops.iter().any(|op| matches!(op.effect, Effect::Whole)) || evaluate::is_whole(&refs) {
            let given: Vec<Vec<Vec<Word>>> = (world.hosts.iter())
                .map(|host| given_out(&host.database, db, &key))
                .collect();
            let known = (&told[..], &given[..]);
            whole::judge(&refs, known, held)
                .map_err(|why| format!("list rule: key {name} of {db}: {why}"))?;
            stream::judge(&refs, held).map_err(|why| format!("stream rule: key {name} of {db}: {why}"))?;
            continue;
        }
        let ideal = evaluate::evaluate(&refs);
        let held = held.map(|entry| (entry.value.clone(), entry.expires));
        if ideal != held {
            let same = match (&ideal, &held) {
                (Some((Value::Hash(ideal), _)), Some((Value::Hash(held), _))) => {
                    ideal.values == held.values && fields::may_be(&held.values, &held.times, &refs)
                }
                _ => ideal.as_ref().map(|(value, _)| value) == held.as_ref().map(|(value, _)| value),
            };
            if same
                && held.as_ref().is_some_and(|(_, time)| {
                    ideal.as_ref().is_some_and(|(_, ideal)| ideal == time)
                        || evaluate::may_expire(&refs, *time)
                })
            {
                continue;
            }
            let rule = if same { "expiry rule" } else { "rule" };
            let lines: Vec<String> = ops.iter().map(|op| format!("{op:?}")).collect();
            return Err(format!(
                "{rule}: key {name} of database {db} should be {ideal:?}, is {held:?}\n{}",
                lines.join("\n")
            ));
        }
    }
    Ok(())
}

/// What the clients of a database were given of a list, pop by pop.
fn given_out(database: &Database, db: usize, key: &Word) -> Vec<Vec<Word>> {
    let given = database.given.iter();
    let of_key = given.filter(|(of, name, _)| *of == db && name == key);
    of_key.map(|(_, _, elements)| elements.clone()).collect()
}

/// Every operation as each of its keys sees it. What empties a database is a DEL of every key in it.
fn keys(world: &World) -> Keys {
    let book = world.book.borrow();
    let mut keys = Keys::new();
    let mut flushes = Vec::new();
    for ((site, seq), logged) in book.operations.iter().filter(|(_, logged)| !logged.tells_time) {
        let Some((words, _)) = parse(&logged.command) else {
            continue;
        };
        let op = |effect| Op {
            site: usize::from(*site),
            seq: *seq,
            past: logged.past.clone(),
            time: logged.time,
            is_state: logged.is_state,
            is_inside: false,
            effect,
            text: show(&words),
        };
        match words[0].to_ascii_uppercase().as_slice() {
            b"FLUSHALL" => flushes.push((None, op(Effect::Del))),
            b"FLUSHDB" => flushes.push((Some(logged.db), op(Effect::Del))),
            _ => {
                for (db, key, effect) in operation::effects(logged.db, &words) {
                    keys.entry((db, key)).or_default().push(op(effect));
                }
            }
        }
    }
    for ((db, _), ops) in &mut keys {
        let here = flushes
            .iter()
            .filter(|(only, _)| only.is_none_or(|only| only == *db));
        ops.extend(here.map(|(_, op)| op.clone()));
    }
    keys
}

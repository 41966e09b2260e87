//! What must hold when everything has come to rest.

use std::collections::BTreeMap;

use crate::database::{Entry, Keyspace, Value};
use crate::host::Host;
use crate::resp::Word;
use crate::world::World;

/// Judges a run that has come to rest.
pub fn judge(world: &World) -> Result<(), String> {
    if let Some(twice) = &world.book.borrow().twice {
        return Err(twice.clone());
    }
    let has_ended = world.hosts.iter().any(|host| host.has_ended);
    let mut sites = world.hosts.iter().filter_map(|host| host.running.as_ref());
    if has_ended && sites.any(|running| running.site.converge().keys_waiting() > 0) {
        // Only the site that has ended could tell.
        return Ok(());
    }
    if world.heals_each_other() {
        return Ok(());
    }
    equal_data(world)?;
    if has_ended {
        // Its operator has to decide what becomes of it; until then the others remember what it may not have.
        return Ok(());
    }
    empty_windows(world)?;
    crate::oracle::judge(world)
}

/// The data of a database, without what belongs to the syncer.
pub fn data(keys: &Keyspace) -> BTreeMap<&Word, &Entry> {
    keys.iter()
        .filter(|(key, _)| !key.starts_with(b"{syncer}:"))
        .collect()
}

/// What a database tells its replicas of a value: of a consumer to whom nothing is delivered it says nothing, if it was
/// not created by name. No database takes a time of delivery that is later than its own clock, and clocks differ.
fn told(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Value::Stream(stream) = &mut entry.value {
        for group in stream.groups.values_mut() {
            let pending = group.pending.values_mut();
            pending.for_each(|pending| pending.delivered_ms = 0);
            group.consumers = (group.pending.values())
                .map(|pending| pending.consumer.clone())
                .collect();
        }
    }
    entry
}

fn equal_data(world: &World) -> Result<(), String> {
    let mut going = world.hosts.iter().filter(|host| !host.has_ended);
    let Some(first) = going.next() else {
        return Ok(());
    };
    let others: Vec<&Host> = going.collect();
    for (db, keys) in first.database.dbs.iter().enumerate() {
        let here = data(keys);
        for other in &others {
            let there = data(&other.database.dbs[db]);
            let told = |entry: Option<&&Entry>| entry.map(|entry| told(entry));
            let differs = |key: &&&Word| told(here.get(*key)) != told(there.get(*key));
            if let Some(key) = here.keys().chain(there.keys()).find(differs) {
                let name = String::from_utf8_lossy(key);
                let (a, b) = (here.get(key), there.get(key));
                return Err(format!(
                    "key {name} of database {db} differs: site 0 {a:?}, site {} {b:?}",
                    other.at
                ));
            }
        }
    }
    Ok(())
}

fn empty_windows(world: &World) -> Result<(), String> {
    for host in &world.hosts {
        let Some(running) = &host.running else { continue };
        let converge = running.site.converge();
        if converge.unstable() > 0 || converge.keys_in_conflict() > 0 {
            return Err(format!(
                "site {} has not settled: {} operations, {} keys in conflict, {} waiting, stable {:?}, observed {:?}",
                host.at,
                converge.unstable(),
                converge.keys_in_conflict(),
                converge.keys_waiting(),
                running.site.stable(),
                running.site.observed(),
            ));
        }
    }
    Ok(())
}

/// Every operation, in order of time, and what the sites hold.
pub fn print(world: &World) {
    let book = world.book.borrow();
    let mut operations: Vec<_> = book.operations.iter().collect();
    operations.sort_by_key(|(_, logged)| logged.time);
    println!("operations by time (database, command, past):");
    for ((site, seq), logged) in operations {
        let words = crate::resp::parse(&logged.command)
            .map(|(words, _)| crate::resp::show(&words))
            .unwrap_or_default();
        let name = crate::host::name(usize::from(*site));
        println!(
            "  {name}{seq} at {} [{}] {words} past {:?}",
            logged.time >> 16,
            logged.db,
            logged.past
        );
    }
    for host in &world.hosts {
        println!("stream of {}:", crate::host::name(host.at));
        for record in &host.database.history {
            println!(
                "  unit {} {:?} [{}] {}",
                record.unit,
                record.cause,
                record.db,
                crate::resp::show(&record.words)
            );
        }
        for (db, keys) in host.database.dbs.iter().enumerate() {
            for (key, entry) in data(keys) {
                println!("  holds [{db}] {}: {entry:?}", String::from_utf8_lossy(key));
            }
        }
    }
}

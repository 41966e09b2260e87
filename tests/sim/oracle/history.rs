//! Whether the logs tell what the databases did: every effective command of a client is one operation, in its
//! order, with exactly the past that its database had, and a timestamp behind everything it saw. And whether each
//! database executed what the others did once, and behind what it had seen.

use std::collections::BTreeSet;

use super::operation::of_fields;
use crate::database::{Cause, Database, Record};
use crate::journal::{Book, Logged};
use crate::resp::{Word, Words, parse, show};
use crate::world::World;

/// A command that belongs into the log, and what its database had executed of each site before.
struct Local {
    db: usize,
    words: Words,
    past: Vec<u64>,
    /// A key or field of the syncer's transaction had expired: the server's DEL or HDEL may be taken for the syncer's own,
    /// or the other way round.
    may_lack: bool,
}

/// The local commands of a database, in order.
fn expected(database: &Database, sites: usize) -> Vec<Local> {
    let mut past = vec![0; sites];
    let mut locals = Vec::new();
    let mut at = 0;
    let history = &database.history;
    while at < history.len() {
        let unit = history[at].unit;
        let end = history[at..]
            .iter()
            .position(|record| record.unit != unit)
            .map_or(history.len(), |len| at + len);
        let records = &history[at..end];
        let may_lack = records.iter().any(|record| record.cause == Cause::Applied);
        for (db, words) in records
            .iter()
            .filter(|record| !record.is_untold)
            .filter_map(local)
        {
            locals.push(Local {
                db,
                words,
                past: past.clone(),
                may_lack,
            });
        }
        let kept = |record: &&Record| record.cause == Cause::Applied && !record.is_void();
        for record in records.iter().filter(kept) {
            if let Some((site, seq)) = marker(&record.words) {
                past[site] = past[site].max(seq);
            }
        }
        at = end;
    }
    locals
}

/// What a record tells of the database's own doing. What the server made of a time of ours that was over is a removal of
/// its own, and where it sends the value in place of an increment that found a field over, that tells of its removal.
fn local(record: &Record) -> Option<(usize, Words)> {
    let is = |name: &[u8]| record.words[0].eq_ignore_ascii_case(name);
    if record.cause != Cause::Applied || is(b"HDEL") {
        return Some((record.db, record.words.clone()));
    }
    let is_sum = is(b"HSET") && record.words.len() == 4;
    is_sum.then(|| (record.db, [&[b"HDEL".to_vec()], &record.words[1..3]].concat()))
}

/// The syncer writes a ZADD or an HPEXPIREAT of one element, one of several from a server that names those that took the
/// time, and an HSETEX, without the condition, which has held, and what older servers know as they know it.
fn without_condition(words: &Words, names_takers: bool) -> Words {
    let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
    let word = |text: &str| text.as_bytes().to_vec();
    if is(b"HPEXPIREAT") && (words.len() == 7 || names_takers) && words[3] != b"FIELDS" {
        return [&words[..3], &words[4..]].concat();
    }
    if is(b"HGETDEL") {
        return [&[word("HDEL"), words[1].clone()], of_fields(words, 2).1].concat();
    }
    if is(b"HSETEX") {
        let (options, pairs) = of_fields(words, 2);
        let is_time = |word: &&Word| !matches!(word.as_slice(), b"FNX" | b"FXX");
        let times: Vec<Word> = options.iter().filter(is_time).cloned().collect();
        return match times.is_empty() {
            true => [&[word("HSET"), words[1].clone()], pairs].concat(),
            false => {
                let behind = &words[words.len() - pairs.len() - 2..];
                [&words[..2], &times, behind].concat()
            }
        };
    }
    let conditions: [&[u8]; 4] = [b"NX", b"XX", b"GT", b"LT"];
    if words[0].eq_ignore_ascii_case(b"ZADD") && words.len() == 5 && conditions.contains(&words[2].as_slice())
    {
        return [&words[..2], &words[3..]].concat();
    }
    words.clone()
}

fn marker(words: &Words) -> Option<(usize, u64)> {
    let site = words
        .get(1)?
        .strip_prefix(b"{syncer}:")
        .filter(|site| site.len() == 1)?;
    let value = String::from_utf8_lossy(words.get(2)?).into_owned();
    let seq = value.split(' ').next()?.parse().ok()?;
    Some((usize::from(site[0] - b'a'), seq))
}

/// Judges what was captured.
pub fn judge(world: &World) -> Result<(), String> {
    let book = world.book.borrow();
    for host in &world.hosts {
        let locals = expected(&host.database, world.hosts.len());
        let names_takers = !host.database.version.is_valkey();
        captured(host.at, names_takers, &locals, &book)?;
        applied(host.at, &host.database, &book, world.hosts.len())?;
    }
    times(&book)
}

/// Whether what was logged is what the database did: in its order, with its past. What a server removed within a
/// transaction of ours may have been taken for ours, and what was shipped stands in between; so all places in the log
/// that the commands so far can lead to are followed at once.
fn captured(site: usize, names_takers: bool, locals: &[Local], book: &Book) -> Result<(), String> {
    let mut rows = Vec::new();
    for ((_, seq), logged) in book.operations.range((site as u8, 0)..(site as u8 + 1, 0)) {
        let (words, _) = parse(&logged.command).ok_or("history: a row that is no command")?;
        rows.push((*seq, logged, words));
    }
    let is_shipped = |(_, logged, words): &(u64, &Logged, Words)| {
        let names: [&[u8]; 4] = [b"RESTORE", b"DEL", b"UNLINK", b"SYNCER.TOOK"];
        logged.is_state || logged.is_owed || logged.tells_time || names.contains(&words[0].as_slice())
    };
    let fits = |local: &Local, (seq, logged, words): &(u64, &Logged, Words)| {
        let others = |at: &usize| *at != site;
        let mut sites = (0..local.past.len()).filter(others);
        let is_its = sites.all(|at| logged.past[at] == local.past[at]);
        let is_delete = matches!(words[0].as_slice(), b"DEL" | b"UNLINK") && !local.may_lack;
        !logged.tells_time
            && *words == without_condition(&local.words, names_takers)
            && logged.db == local.db
            && (is_its || is_delete)
            && logged.past[site] == seq - 1
            && !logged.is_state
    };
    let mut places = BTreeSet::from([0]);
    for local in locals {
        let mut next = BTreeSet::new();
        for &place in &places {
            for (at, row) in rows.iter().enumerate().skip(place) {
                if fits(local, row) {
                    next.insert(at + 1);
                }
                if !is_shipped(row) {
                    break;
                }
            }
        }
        if local.may_lack {
            next.extend(&places);
        }
        if next.is_empty() {
            let place = places.last().copied().unwrap_or_default();
            let found = rows
                .get(place)
                .map(|(_, logged, words)| (show(words), &logged.past));
            return Err(format!(
                "history: site {site}: logged {found:?} instead of {} with the past {:?}",
                show(&local.words),
                local.past
            ));
        }
        places = next;
    }
    Ok(())
}

/// Whether a database executed each operation of the other sites once, and behind everything that it had seen.
fn applied(site: usize, database: &Database, book: &Book, sites: usize) -> Result<(), String> {
    let mut executed = vec![0; sites];
    let mut last_unit = 0;
    for record in &database.history {
        // Behind a FLUSH all markers are written anew: the first of a unit tells whose operations it carries.
        let Some((origin, seq)) = marker(&record.words).filter(|_| record.unit != last_unit) else {
            continue;
        };
        last_unit = record.unit;
        if record.cause != Cause::Applied || origin == site || record.is_void() {
            continue;
        }
        if seq <= executed[origin] {
            return Err(format!(
                "history: site {site} executed operation {seq} of site {origin} again"
            ));
        }
        for seq in executed[origin] + 1..=seq {
            let Some(logged) = book.operations.get(&(origin as u8, seq)) else {
                continue;
            };
            let mut others = (0..sites).filter(|at| *at != site && *at != origin);
            if let Some(of) = others.find(|at| logged.past[*at] > executed[*at]) {
                return Err(format!(
                    "history: site {site} executed operation {seq} of site {origin} before what that had seen of site {of}"
                ));
            }
        }
        executed[origin] = seq;
    }
    Ok(())
}

fn times(book: &Book) -> Result<(), String> {
    for ((site, seq), logged) in &book.operations {
        for (of, upto) in logged.past.iter().enumerate() {
            let Some(seen) = book.operations.get(&(of as u8, *upto)) else {
                continue;
            };
            if seen.time >= logged.time {
                return Err(format!(
                    "history: operation {seq} of site {site} is not later than what it saw"
                ));
            }
        }
    }
    Ok(())
}

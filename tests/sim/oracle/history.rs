//! Whether the logs tell what the databases did: every effective command of a client is one operation, in its
//! order, with exactly the past that its database had, and a timestamp behind everything it saw.

use crate::database::{Cause, Database};
use crate::journal::Book;
use crate::resp::{Words, parse, show};
use crate::world::World;

/// A command that belongs into the log, and what its database had executed of each site before.
struct Local {
    db: usize,
    words: Words,
    past: Vec<u64>,
    /// A key of the syncer's transaction had expired: the server's DEL may be taken for the syncer's own.
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
        for record in records.iter().filter(|record| record.cause != Cause::Applied) {
            locals.push(Local {
                db: record.db,
                words: record.words.clone(),
                past: past.clone(),
                may_lack: records.iter().any(|record| record.cause == Cause::Applied),
            });
        }
        for record in records.iter().filter(|record| record.cause == Cause::Applied) {
            if let Some((site, seq)) = marker(&record.words) {
                past[site] = past[site].max(seq);
            }
        }
        at = end;
    }
    locals
}

fn marker(words: &Words) -> Option<(usize, u64)> {
    let site = words.get(1)?.strip_prefix(b"{syncer}:")?;
    let value = String::from_utf8_lossy(words.get(2)?).into_owned();
    let seq = value.split(' ').next()?.parse().ok()?;
    Some((usize::from(site[0] - b'a'), seq))
}

/// Judges what was captured.
pub fn judge(world: &World) -> Result<(), String> {
    let book = world.book.borrow();
    for host in &world.hosts {
        let locals = expected(&host.database, world.hosts.len());
        captured(host.at, &locals, &book)?;
    }
    times(&book)
}

fn captured(site: usize, locals: &[Local], book: &Book) -> Result<(), String> {
    let mut rows = book
        .operations
        .range((site as u8, 0)..(site as u8 + 1, 0))
        .peekable();
    for Local {
        db,
        words,
        past,
        may_lack,
    } in locals
    {
        let found = loop {
            let Some((seq, logged)) = rows.peek().map(|((_, seq), logged)| (*seq, *logged)) else {
                break None;
            };
            let (found, _) = parse(&logged.command).ok_or("history: a row that is no command")?;
            let is_its = || (0..past.len()).all(|at| at == site || logged.past[at] == past[at]);
            if found == *words && logged.db == *db && (!*may_lack || is_its()) {
                rows.next();
                break Some((seq, logged));
            }
            let shipped = matches!(found[0].as_slice(), b"RESTORE" | b"DEL" | b"UNLINK");
            if *may_lack {
                break None;
            }
            if !shipped {
                return Err(format!(
                    "history: site {site}: logged {} instead of {}",
                    show(&found),
                    show(words)
                ));
            }
            rows.next();
        };
        let Some((seq, logged)) = found else {
            if *may_lack {
                continue;
            }
            return Err(format!("history: site {site}: {} was never logged", show(words)));
        };
        let others = |at: &usize| *at != site;
        let same = (0..past.len())
            .filter(others)
            .all(|at| logged.past[at] == past[at]);
        let is_delete = matches!(words[0].as_slice(), b"DEL" | b"UNLINK");
        if (!same && !is_delete) || logged.past[site] != seq - 1 {
            return Err(format!(
                "history: site {site}: {} has the past {:?}, its database had executed {past:?}",
                show(words),
                logged.past
            ));
        }
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

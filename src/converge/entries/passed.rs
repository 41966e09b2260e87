//! Entries that consumer groups had passed before they came: no group delivers what is put in its place below what it was
//! last delivered.
//!
//! No reply of a database is needed to tell. An entry has an id above everything that its site's stream held, so a group
//! can only be past it by a command that neither saw the entry nor was seen by it. It is told once, when nothing on the
//! key can be concurrent any more: by then it is known who was delivered what.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::causality::SiteIx;
use crate::command::effect::Effect;
use crate::command::entries::{id, id_of};
use crate::converge::operation::Operation;
use crate::resp::{Limits, Scan, Scanner};

/// An entry that groups have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedEntry {
    /// Its id.
    pub id: (u64, u64),
    /// How many groups.
    pub groups: u64,
}

/// A command that tells how far a group has come.
struct Move<'a> {
    op: &'a Operation,
    /// By its name.
    last: Bytes,
    /// The entry that it delivers, by its name.
    delivers: Option<Bytes>,
}

/// The entries among these operations that groups have passed, each with its site and the site of a group's command that
/// went past it.
pub fn passed(operations: &[&Operation]) -> Vec<(PassedEntry, SiteIx, SiteIx)> {
    let mut groups: BTreeMap<Bytes, Vec<Move<'_>>> = BTreeMap::new();
    for op in operations {
        if let Some((group, moved)) = move_of(op) {
            groups.entry(group).or_default().push(moved);
        }
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let removed: BTreeSet<&Bytes> = (operations.iter())
        .filter_map(|op| match &op.effect {
            Effect::StreamRemove(ids) => Some(ids),
            _ => None,
        })
        .flatten()
        .collect();
    let mut passed = Vec::new();
    for op in operations {
        let Effect::StreamAdd { id: name, .. } = &op.effect else {
            continue;
        };
        let is_reset = |other: &&&Operation| other.effect == Effect::Del && other.sees(op.dot);
        let Some(id) = id_of(name).filter(|_| !removed.contains(name)) else {
            continue;
        };
        let passers: Vec<SiteIx> = (groups.values())
            .filter_map(|moves| passer(moves, op, name))
            .collect();
        let Some(&passer) = passers.first() else { continue };
        if operations.iter().any(|other| is_reset(&other)) {
            continue;
        }
        let groups = passers.len() as u64;
        passed.push((PassedEntry { id, groups }, op.dot.site, passer));
    }
    passed
}

/// The site whose command took a group past an entry that nobody else had delivered to it.
fn passer(moves: &[Move<'_>], entry: &Operation, name: &Bytes) -> Option<SiteIx> {
    let is_past =
        |moved: &&Move<'_>| moved.last >= *name && !moved.op.sees(entry.dot) && !entry.sees(moved.op.dot);
    let past = moves.iter().find(is_past)?;
    // Where it was written it may have been delivered before the group was known to be past it.
    let is_delivered = |moved: &Move<'_>| {
        let came_first = moved.op.dot.site == entry.dot.site && !moved.op.sees(past.op.dot);
        moved.delivers.as_ref() == Some(name) || came_first && moved.last >= *name && moved.op.sees(entry.dot)
    };
    (!moves.iter().any(is_delivered)).then_some(past.op.dot.site)
}

/// What `XREADGROUP` and `XCLAIM` leave in the stream, and `XGROUP SETID`: the group, and how far it has come.
fn move_of(op: &Operation) -> Option<(Bytes, Move<'_>)> {
    if op.effect != Effect::Opaque {
        return None;
    }
    let words = words_of(&op.raw);
    let is = |at: usize, word: &str| {
        words
            .get(at)
            .is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    };
    let (group, last, delivers) = if is(0, "XCLAIM") {
        let at = (5..words.len()).find(|&at| is(at, "LASTID"))?;
        (words.get(2)?, words.get(at + 1)?, words.get(5))
    } else if is(0, "XGROUP") && is(1, "SETID") {
        (words.get(3)?, words.get(4)?, None)
    } else {
        return None;
    };
    let moved = Move {
        op,
        last: id(last)?,
        delivers: delivers.and_then(|word| id(word)),
    };
    Some((group.clone(), moved))
}

fn words_of(command: &Bytes) -> Vec<Bytes> {
    let mut scanner = Scanner::new(Limits::default());
    match scanner.next(command) {
        Ok(Scan::Command { .. }) => {
            let args = scanner.args().iter();
            args.map(|arg| command.slice(arg.range())).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::causality::{Dot, Hlc, Vector};
    use crate::command::entries::name_of;
    use crate::converge::render::command;

    /// An operation of a site, with what it saw of the sites 0 and 1.
    fn op(site: u8, past: [u64; 2], effect: Effect, raw: &str) -> Operation {
        let mut seen = Vector::zero(2);
        (0..2).for_each(|at| seen.advance(SiteIx(at), past[usize::from(at)]));
        let words: Vec<&[u8]> = raw.split(' ').map(str::as_bytes).collect();
        Operation {
            dot: Dot {
                site: SiteIx(site),
                seq: past[usize::from(site)] + 1,
            },
            past: Rc::new(seen),
            time: Hlc(1),
            effect,
            raw: command(&words),
            contested: false,
            joint: false,
        }
    }

    fn entry(site: u8, past: [u64; 2], ms: u64) -> Operation {
        let effect = Effect::StreamAdd {
            id: name_of(ms, 1),
            fields: Vec::new(),
            trim: None,
        };
        op(site, past, effect, "XADD")
    }

    fn group(site: u8, past: [u64; 2], raw: &str) -> Operation {
        op(site, past, Effect::Opaque, raw)
    }

    fn found(operations: &[Operation]) -> Vec<((u64, u64), u64)> {
        let all: Vec<&Operation> = operations.iter().collect();
        let passed = passed(&all).into_iter();
        passed.map(|(entry, ..)| (entry.id, entry.groups)).collect()
    }

    #[test]
    fn a_group_that_did_not_see_an_entry_has_passed_it() {
        let read = "XCLAIM s g c 0 9-1 TIME 1 RETRYCOUNT 1 FORCE JUSTID LASTID 9-1";
        let ops = [entry(0, [0, 0], 9), group(0, [1, 0], read), entry(1, [0, 0], 5)];
        assert_eq!(found(&ops), [((5, 1), 1)]);
        // Two groups, one of them twice; what is above is still to come.
        let mut more = ops.to_vec();
        more.push(group(0, [2, 0], "XGROUP SETID s h 9-1 ENTRIESREAD 1"));
        more.push(group(0, [3, 0], read));
        more.push(entry(1, [0, 1], 12));
        assert_eq!(found(&more), [((5, 1), 2)]);
        // Seen, it was delivered, or stood below on purpose.
        let seen = [entry(1, [0, 0], 5), group(0, [0, 1], read)];
        assert_eq!(found(&seen), []);
    }

    #[test]
    fn what_was_delivered_elsewhere_or_is_gone_is_not_told() {
        let read = "XCLAIM s g c 0 9-1 TIME 1 RETRYCOUNT 1 FORCE JUSTID LASTID 9-1";
        let ops = [group(0, [0, 0], read), entry(1, [0, 0], 5)];
        let and = |more: Operation| found(&[ops[0].clone(), ops[1].clone(), more]);
        let claimed = "XCLAIM s g d 0 5-1 TIME 1 RETRYCOUNT 1 FORCE JUSTID LASTID 5-1";
        assert_eq!(and(group(1, [0, 1], claimed)), []);
        assert_eq!(and(group(1, [0, 1], "XGROUP SETID s g 5-1 ENTRIESREAD 1")), []);
        // Once the group is known to be past it, it goes on behind.
        let later = group(1, [1, 1], "XGROUP SETID s g 9-1 ENTRIESREAD 1");
        assert_eq!(and(later), [((5, 1), 1)]);
        let removal = op(1, [0, 1], Effect::StreamRemove(vec![name_of(5, 1)]), "XDEL");
        assert_eq!(and(removal), []);
        assert_eq!(and(op(1, [0, 1], Effect::Del, "DEL s")), []);
        assert_eq!(and(group(1, [0, 1], "XACK s g 1-1")), [((5, 1), 1)]);
    }
}

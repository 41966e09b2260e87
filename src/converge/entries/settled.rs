//! Entries of a stream that is never at rest: which are base already, and which of those may be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::rest::is_bound;
use super::{ABOVE, FLOOR, enter, entries, is_id, lower, mark, trim_of};
use crate::causality::{Dot, Vector};
use crate::command::effect::Effect;
use crate::command::entries::{Left, Trim};
use crate::converge::content::{Content, Kind, TEXT, Value, kind_of};
use crate::converge::operation::Operation;

/// Plain entries, and removals of entries, that everything has seen which could take them or counts them. None where other
/// types or resets are met.
pub(in crate::converge) fn settled(
    base: &Content,
    operations: &[Operation],
    stable: &Vector,
    has_ended: impl Fn(Dot) -> bool,
) -> BTreeSet<Dot> {
    let is_open = matches!(base.kind, Kind::Unknown | Kind::Absent | Kind::Stream);
    let is_plain = |op: &Operation| match op.effect {
        Effect::Expire { .. } => true,
        _ => kind_of(&op.effect) == Kind::Stream,
    };
    if !is_open || !operations.iter().all(is_plain) {
        return BTreeSet::new();
    }
    let mut seen = stable.clone();
    let trims = operations.iter().filter(|op| trim_of(&op.effect).is_some());
    trims.for_each(|op| {
        seen.meet(&op.past);
    });
    let may_go = |op: &Operation| seen.includes(op.dot) && !op.is_state() && !has_ended(op.dot);
    let mut by_id: BTreeMap<&Bytes, Vec<&Operation>> = BTreeMap::new();
    for op in operations {
        op.elements().for_each(|id| by_id.entry(id).or_default().push(op));
    }
    let is_add = |op: &Operation| matches!(op.effect, Effect::StreamAdd { .. });
    let mut gone: BTreeSet<Dot> = BTreeSet::new();
    for (id, all) in &by_id {
        let mut adds = all.iter().filter(|op| is_add(op));
        let (Some(add), None) = (adds.next(), adds.next()) else {
            continue;
        };
        let is_whole = matches!(add.effect, Effect::StreamAdd { trim: None, .. });
        let is_seen = all.iter().all(|op| op.dot == add.dot || op.sees(add.dot));
        if is_whole && is_seen && may_go(add) && !base.elements.contains_key(*id) {
            gone.insert(add.dot);
        }
    }
    let stays = |op: &&Operation, gone: &BTreeSet<Dot>| is_add(op) && !gone.contains(&op.dot);
    let removals = operations
        .iter()
        .filter(|op| matches!(op.effect, Effect::StreamRemove(_)) && may_go(op));
    let removed: Vec<Dot> = removals
        .filter(|op| {
            let mut beside = op.elements().filter_map(|id| by_id.get(id)).flatten();
            !beside.any(|other| stays(other, &gone))
        })
        .map(|op| op.dot)
        .collect();
    gone.extend(removed);
    gone
}

/// These operations are base from now on.
pub(in crate::converge) fn settle(base: &mut Content, gone: &[Operation]) {
    if base.kind == Kind::Absent {
        let expiry = base.expiry;
        *base = Content {
            expiry,
            ..Content::empty(Kind::Stream)
        };
    }
    base.kind = Kind::Stream;
    for op in gone {
        if let Effect::StreamAdd { id, fields, .. } = &op.effect {
            enter(base, id, fields);
        }
    }
    for op in gone {
        if let Effect::StreamRemove(ids) = &op.effect {
            ids.iter().for_each(|id| base.put(id, Value::Absent));
        }
    }
}

/// The oldest entries of the base that the database holds as it should are not known any more: they join the rest. What
/// trims to a length left of that is said of the rest as it was, so where there are such nothing is forgotten.
pub(in crate::converge) fn forget_oldest(base: &mut Content, operations: &[Operation], have: &mut Content) {
    let counts = |op: &Operation| {
        let left = trim_of(&op.effect).map(|trim| match trim {
            Trim::Longest { left, .. } => !matches!(left, Some(Left::From(_))),
            Trim::Below(_) | Trim::Rest { .. } => false,
        });
        left == Some(true)
    };
    if is_bound(base) || is_bound(have) || operations.iter().any(counts) {
        return;
    }
    let adds = operations.iter().filter_map(|op| match &op.effect {
        Effect::StreamAdd { id, .. } => Some(id),
        _ => None,
    });
    let named: BTreeSet<&Bytes> = operations.iter().flat_map(Operation::elements).collect();
    let is_same = |id: &Bytes| base.elements.get(id) == have.elements.get(id) && !named.contains(id);
    // What is forgotten lies below all that is known: of the rest nothing is told but how many there are.
    let stay = [&*base, &*have].map(|content| entries(content).find(|id| !is_same(id)));
    let adds = adds.chain(stay.into_iter().flatten());
    let floor = adds.min().cloned().unwrap_or(ABOVE);
    let old = base.elements.range(..floor.clone());
    let ids: Vec<Bytes> = old
        .filter(|(id, _)| is_id(id) && is_same(id))
        .map(|(id, _)| id.clone())
        .collect();
    // A trim by id leaves nothing of the base but what was added behind it.
    let oldest = ids
        .iter()
        .find(|id| matches!(base.get(id), Value::Entry(_)))
        .cloned();
    for content in [&mut *base, &mut *have] {
        lower_cut(content, oldest.as_ref());
        ids.iter().for_each(|id| {
            content.elements.remove(id);
        });
        content.rest_unknown = true;
    }
    for content in [base, have] {
        content.elements.remove(&FLOOR);
        lower(content, &floor);
    }
}

/// Below this id alone it is known that nothing is left.
fn lower_cut(content: &mut Content, oldest: Option<&Bytes>) {
    if let Some(oldest) = oldest
        && mark(content, &TEXT).is_some_and(|below| below > oldest)
    {
        content.put(&TEXT, Value::Bytes(oldest.clone()));
    }
}

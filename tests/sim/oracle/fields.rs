//! When fields of a hash should expire.
//!
//! Of the settings of a field's time that nothing ended the longest counts, and none is the longest. A setting is over
//! where something saw it that set the time again, took the field or the key, or wrote to a field that was not there
//! and says nothing of times.

use std::collections::BTreeMap;

use super::evaluate::{finds_or_leaves_none, surely_finds_none, value};
use super::operation::{Effect, Op, Time};
use crate::database::Value;
use crate::resp::Word;

/// The time of each of these fields that has one.
pub fn times(values: &BTreeMap<Word, Word>, ops: &[&Op]) -> BTreeMap<Word, u64> {
    let enders = enders(ops, finds_or_leaves_none);
    let time = |field: &Word| Some((field.clone(), longest(&left(field, &enders, ops, found))?));
    values.keys().filter_map(time).collect()
}

/// Whether the times could be these where it is not known what the key held before its writes were remembered: then a
/// removal may not be known to have taken the last field, or a field not to have been there at all, which a server names
/// with others that were; and some setting that was over by that still counts.
pub fn may_be(values: &BTreeMap<Word, Word>, held: &BTreeMap<Word, u64>, ops: &[&Op]) -> bool {
    let (exact, sure) = (enders(ops, finds_or_leaves_none), enders(ops, surely_finds_none));
    let rank = |time: Option<u64>| time.unwrap_or(u64::MAX);
    values.keys().all(|field| {
        let held = held.get(field).copied();
        let prescribed = left(field, &exact, ops, found);
        longest(&prescribed) == held
            || left(field, &sure, ops, may_have_found).contains(&held)
                && prescribed.iter().all(|time| rank(*time) < rank(held))
    })
}

/// What ends the times of all fields that it saw.
fn enders<'a>(ops: &[&'a Op], finds_none: impl Fn(&Op, &[&Op]) -> bool) -> Vec<&'a Op> {
    let ends = |op: &&Op| matches!(op.effect, Effect::Del | Effect::Set(..)) || finds_none(op, ops);
    ops.iter().copied().filter(ends).collect()
}

/// What those settings of a field's time say that nothing ended.
fn left(
    field: &Word,
    enders: &[&Op],
    ops: &[&Op],
    found: impl Fn(&Op, &Word, &[&Op]) -> bool,
) -> Vec<Option<u64>> {
    let ends = |op: &&Op| {
        let removes = matches!(&op.effect, Effect::Unset(fields) if fields.contains(field));
        removes || says(op, field).is_some() || keeps(op, field) && !found(op, field, ops)
    };
    let mut enders = enders.to_vec();
    enders.extend(ops.iter().filter(|op| ends(op)));
    let left = ops.iter().filter(|op| !enders.iter().any(|by| by.sees(op)));
    left.filter_map(|op| says(op, field)).collect()
}

/// None is the longest; without any setting there is none.
fn longest(said: &[Option<u64>]) -> Option<u64> {
    match said.contains(&None) {
        true => None,
        false => said.iter().flatten().copied().max(),
    }
}

/// What an operation says of a field's time: nothing, never, or then.
fn says(op: &Op, field: &Word) -> Option<Option<u64>> {
    match &op.effect {
        Effect::Fields(pairs, time) if pairs.iter().any(|(name, _)| name == field) => match time {
            Time::Never => Some(None),
            Time::At(at) => Some(Some(*at)),
            Time::Kept => None,
        },
        Effect::FieldTimes(fields, at) if fields.contains(field) => Some(*at),
        _ => None,
    }
}

/// Whether it writes to a field and leaves the time as it is.
fn keeps(op: &Op, field: &Word) -> bool {
    match &op.effect {
        Effect::AddField(name, _) => name == field,
        Effect::Fields(pairs, Time::Kept) => pairs.iter().any(|(name, _)| name == field),
        _ => false,
    }
}

/// Whether the field was there before it.
fn found(op: &Op, field: &Word, ops: &[&Op]) -> bool {
    let past: Vec<&Op> = ops.iter().copied().filter(|other| op.sees(other)).collect();
    matches!(value(&past), Some(Value::Hash(hash)) if hash.values.contains_key(field))
}

/// Whether nothing that it saw tells that the field was not there. What a snapshot holds that it has not met was not there
/// for it, though it counts as older.
fn may_have_found(op: &Op, field: &Word, ops: &[&Op]) -> bool {
    let removes = |other: &&Op| match &other.effect {
        Effect::Unset(fields) => fields.contains(field),
        Effect::Del => true,
        _ => other.kind().is_some_and(|kind| Some(kind) != op.kind()),
    };
    let mut past = ops.iter().copied().filter(|other| op.has_met(other));
    !past.any(|other| removes(&other)) || found(op, field, ops)
}

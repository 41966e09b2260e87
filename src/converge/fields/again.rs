//! The expiry times of fields in a replay.
//!
//! A replay is executed later than what it repeats, and at each database at another moment: a time that it sets on the way may
//! be over by then, and the field gone, before a command behind it could prolong the time. So values are set without times,
//! and behind all each field is given the one that the rules prescribe, as the key is given its own. A command that may read
//! times, one on the hash as a whole, finds those that the rules prescribe for what stands before it: another site, where all of
//! that was settled before it came, executes it on just these.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Around, removes, set_by, unix_ms};
use crate::causality::Dot;
use crate::command::effect::{Effect, SetExpiry};
use crate::converge::content::{Content, Expiry, Value};
use crate::converge::cover::Cover;
use crate::converge::operation::Operation;

/// How what sets times is executed again, and which times there are before what may read them, and in the end.
#[derive(Debug, Default)]
pub(in crate::converge) struct Again {
    parts: Vec<Part>,
}

/// What stands between two commands that may read times.
#[derive(Debug)]
struct Part {
    operations: BTreeSet<Dot>,
    times: BTreeMap<Bytes, Expiry>,
    /// The command behind it that may read them.
    reader: Option<Dot>,
}

impl Again {
    /// In a replay of these, in their order, among `all` that is known; `enders` have
    /// [found the key gone](crate::converge::life), or fields.
    pub fn of<'a>(
        order: impl Iterator<Item = &'a Operation>,
        all: &[Operation],
        enders: &[Operation],
    ) -> Again {
        let order: Vec<&Operation> = order.collect();
        let is_time = |op: &&Operation| {
            matches!(
                op.effect,
                Effect::HashSetTimed { .. } | Effect::FieldExpire { .. }
            )
        };
        if !order.iter().any(is_time) {
            return Again::default();
        }
        let parts = order.split_inclusive(|op| !op.is_elementwise());
        Again {
            parts: parts.map(|part| Part::of(part, all, enders)).collect(),
        }
    }

    /// Whether there is something to tell of times.
    pub fn has_any(&self) -> bool {
        !self.parts.is_empty()
    }

    /// What is executed for an operation that sets times; none if it is executed as it came. Something stands for it in any
    /// case, which tells that it has been executed. Not `in_order`, what may read times has perhaps been executed before it.
    pub fn effect(&self, op: &Operation, operations: &[Operation], in_order: bool) -> Option<Effect> {
        let mut parts = self.parts.iter();
        let part = parts.find(|part| part.operations.contains(&op.dot))?;
        if !in_order && part.reader.is_some() {
            return set_again(op, operations);
        }
        match &op.effect {
            Effect::HashSetTimed {
                pairs,
                expiry: SetExpiry::At(_),
            } => Some(Effect::HashSet(pairs.clone())),
            Effect::FieldExpire { fields, at_unix_ms } => {
                let mut times = fields.iter().map(|field| part.times.get(field).copied());
                let first = times.next().flatten().unwrap_or(Expiry::Never);
                let is_one = times.all(|time| time == Some(first));
                // Of several fields it may not be told which took the time, and before a reader it has to be known.
                let is_told = fields.len() == 1 || part.reader.is_none();
                let wanted = unix_ms(first).filter(|_| is_one && is_told);
                (wanted != *at_unix_ms).then(|| Effect::FieldExpire {
                    fields: fields.clone(),
                    at_unix_ms: wanted,
                })
            }
            _ => None,
        }
    }

    /// What is still to be executed when `content` has been reached: in the end, or before this reader of times.
    pub fn missing(&self, reader: Option<Dot>, content: &Content) -> Vec<Effect> {
        let is_there = |field: &Bytes| content.get(field) != Value::Absent;
        let is_missing = |field: &Bytes, time: Expiry| is_there(field) && time != content.time(field);
        let times = self.before(reader).map(|(field, time)| (field, *time));
        let missing = times.filter(|(field, time)| is_missing(field, *time));
        let effect = |(field, time): (&Bytes, Expiry)| Effect::FieldExpire {
            fields: vec![field.clone()],
            at_unix_ms: unix_ms(time),
        };
        missing.map(effect).collect()
    }

    /// Whether this reader of times finds the same in a replay, where it found these.
    pub fn are_found(&self, reader: Dot, found: &BTreeMap<Bytes, Expiry>) -> bool {
        let mut times = self.before(Some(reader));
        times.all(|(field, time)| found.get(field).is_none_or(|found| found == time))
    }

    fn before(&self, reader: Option<Dot>) -> impl Iterator<Item = (&Bytes, &Expiry)> {
        let parts = self.parts.iter().filter(move |part| part.reader == reader);
        parts.flat_map(|part| &part.times)
    }
}

impl Part {
    fn of(part: &[&Operation], all: &[Operation], enders: &[Operation]) -> Part {
        let reader = part.last().filter(|op| !op.is_elementwise()).map(|op| op.dot);
        let part = &part[..part.len() - usize::from(reader.is_some())];
        let cover = Cover::of(part);
        let around = Around::of(&cover, enders);
        // Before a reader nothing is said of what something has removed: it may be over at this database, which then
        // removes it by itself, each time anew, and each time that is an operation.
        let stays = |op: &Operation, field: &Bytes| reader.is_none() || !is_removed(op, field, all);
        let sets = |op: &&&Operation, field: &Bytes| set_by(op, field).is_some() && stays(op, field);
        let fields: BTreeSet<&Bytes> = (part.iter())
            .flat_map(|op| op.elements().filter(move |field| sets(&op, field)))
            .collect();
        let time = |field: &Bytes| {
            let names = |op: &&Operation| op.elements().any(|name| name == field);
            let touching = part.iter().copied().filter(names);
            let touching: Vec<&Operation> = touching.filter(|op| stays(op, field)).collect();
            around.register(&Content::unknown(), field, &touching)
        };
        Part {
            operations: part.iter().map(|op| op.dot).collect(),
            times: fields
                .into_iter()
                .map(|field| (field.clone(), time(field)))
                .collect(),
            reader,
        }
    }
}

/// Whether something that saw it has removed this field.
fn is_removed(op: &Operation, field: &Bytes, all: &[Operation]) -> bool {
    let mut removals = all.iter().filter(|other| removes(other, field));
    removals.any(|other| other.is_after(op))
}

/// How times are set again, out of order, where something has removed fields that saw them set: of these nothing is
/// said. They may be over at this database, which then removes them by itself, each time anew, and each time that is an operation.
fn set_again(op: &Operation, operations: &[Operation]) -> Option<Effect> {
    let is_gone = |field: &Bytes| is_removed(op, field, operations);
    let (gone, rest) = match &op.effect {
        Effect::FieldExpire {
            fields,
            at_unix_ms: Some(ms),
        } => {
            let (gone, left): (Vec<Bytes>, Vec<Bytes>) = fields.iter().cloned().partition(is_gone);
            let rest = (!left.is_empty()).then_some(Effect::FieldExpire {
                fields: left,
                at_unix_ms: Some(*ms),
            });
            (gone, rest)
        }
        Effect::HashSetTimed {
            pairs,
            expiry: expiry @ SetExpiry::At(_),
        } => {
            let (gone, left): (Vec<_>, Vec<_>) = pairs.iter().cloned().partition(|(field, _)| is_gone(field));
            let rest = (!left.is_empty()).then_some(Effect::HashSetTimed {
                pairs: left,
                expiry: *expiry,
            });
            (gone.into_iter().map(|(field, _)| field).collect(), rest)
        }
        _ => return None,
    };
    match gone.is_empty() {
        true => None,
        false => Some(rest.unwrap_or(Effect::HashRemove(gone))),
    }
}

//! The expiry times of fields in a replay.
//!
//! A replay is executed later than what it repeats, and at each database at another moment: a time that it sets on the way may
//! be over by then, and the field gone, before a command behind it could prolong the time. So values are set without times,
//! and behind all each field is given the one that the rules prescribe, as the key is given its own. Only a command that
//! may read times, one on the hash as a whole, finds what was set before it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Around, removes, set_by, unix_ms};
use crate::causality::Dot;
use crate::command::effect::{Effect, SetExpiry};
use crate::converge::content::{Content, Expiry, Value};
use crate::converge::cover::Cover;
use crate::converge::operation::Operation;

/// How what sets times is executed again, and which times there are in the end.
#[derive(Debug, Default)]
pub(in crate::converge) struct Again {
    /// What is behind all that may read times.
    behind: BTreeSet<Dot>,
    times: BTreeMap<Bytes, Expiry>,
}

impl Again {
    /// In a replay of these, in their order; `enders` have [found the key gone](crate::converge::life), or fields.
    pub fn of<'a>(order: impl Iterator<Item = &'a Operation>, enders: &[Operation]) -> Again {
        let order: Vec<&Operation> = order.collect();
        let from = order.iter().rposition(|op| !op.is_elementwise());
        let behind = &order[from.map_or(0, |last| last + 1)..];
        let fields: BTreeSet<&Bytes> = (behind.iter())
            .flat_map(|op| op.elements().filter(|field| set_by(op, field).is_some()))
            .collect();
        if fields.is_empty() {
            return Again::default();
        }
        let cover = Cover::of(behind);
        let around = Around::of(&cover, enders);
        let time = |field: &Bytes| {
            let touching = behind.iter().copied();
            let touching: Vec<&Operation> = touching
                .filter(|op| op.elements().any(|name| name == field))
                .collect();
            around.register(&Content::unknown(), field, &touching)
        };
        Again {
            behind: behind.iter().map(|op| op.dot).collect(),
            times: fields
                .into_iter()
                .map(|field| (field.clone(), time(field)))
                .collect(),
        }
    }

    /// What is executed for an operation that sets times; none if it is executed as it came. Something stands for it in any
    /// case, which tells that it has been executed.
    pub fn effect(&self, op: &Operation, operations: &[Operation]) -> Option<Effect> {
        if !self.behind.contains(&op.dot) {
            return set_again(op, operations);
        }
        match &op.effect {
            Effect::HashSetTimed {
                pairs,
                expiry: SetExpiry::At(_),
            } => Some(Effect::HashSet(pairs.clone())),
            Effect::FieldExpire { fields, at_unix_ms } => {
                let mut times = fields.iter().map(|field| self.times.get(field).copied());
                let first = times.next().flatten().unwrap_or(Expiry::Never);
                let is_one = times.all(|time| time == Some(first));
                let wanted = unix_ms(first).filter(|_| is_one);
                (wanted != *at_unix_ms).then(|| Effect::FieldExpire {
                    fields: fields.clone(),
                    at_unix_ms: wanted,
                })
            }
            _ => None,
        }
    }

    /// What is still to be executed when `content` has been reached.
    pub fn missing(&self, content: &Content) -> Vec<Effect> {
        let is_there = |field: &Bytes| content.get(field) != Value::Absent;
        let is_missing = |field: &Bytes, time: Expiry| is_there(field) && time != content.time(field);
        let times = self.times.iter().map(|(field, time)| (field, *time));
        let missing = times.filter(|(field, time)| is_missing(field, *time));
        let effect = |(field, time): (&Bytes, Expiry)| Effect::FieldExpire {
            fields: vec![field.clone()],
            at_unix_ms: unix_ms(time),
        };
        missing.map(effect).collect()
    }
}

/// How times are set again, before what may read them, where something has removed fields that saw them set: of these nothing is
/// said. They may be over at this database, which then removes them by itself, each time anew, and each time that is an operation.
fn set_again(op: &Operation, operations: &[Operation]) -> Option<Effect> {
    let is_gone = |field: &Bytes| {
        let mut removals = operations.iter().filter(|other| removes(other, field));
        removals.any(|other| other.is_after(op))
    };
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

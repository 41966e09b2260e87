//! The expiry times of a hash's fields: of each field a register beside its value, as the key has one.
//!
//! Among concurrent settings the longest wins, and none is the longest. HSET sets none. HDEL, and whatever takes the whole
//! key, ends the times that it saw; so does an increment that found no field. A setting puts no field there: a removal
//! that did not see it has its way.
//!
//! A time that is not in [`Content::times`] is unknown where elements may be, else there is none.

mod again;

use std::cell::LazyCell;
use std::collections::BTreeSet;

use bytes::Bytes;

pub(super) use self::again::Again;
use super::content::{Content, Expiry, Kind, Value, kind_of};
use super::cover::{Cover, join, outside_states};
use super::difference::unix_ms;
use super::evaluate::{is_reset, is_write};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::causality::Vector;
use crate::command::FieldTimes;
use crate::command::effect::{Effect, SetExpiry};

impl Content {
    /// What is known of a field's expiry time. What is not there has none.
    pub(super) fn time(&self, field: &Bytes) -> Expiry {
        match self.times.get(field) {
            _ if self.get(field) == Value::Absent => Expiry::Never,
            Some(time) => *time,
            None if self.rest_unknown => Expiry::Unknown,
            None => Expiry::Never,
        }
    }

    pub(super) fn set_time(&mut self, field: &Bytes, time: Expiry) {
        let says_nothing = match self.rest_unknown {
            true => Expiry::Unknown,
            false => Expiry::Never,
        };
        if time == says_nothing {
            self.times.remove(field);
        } else {
            self.times.insert(field.clone(), time);
        }
    }

    /// A field is written, and keeps its time if it was there. Whether it was may not be known: HPEXPIREAT can name
    /// fields that are not.
    pub(super) fn keep_time(&mut self, field: &Bytes) {
        let time = match self.get(field) {
            Value::Absent => Expiry::Never,
            Value::Plus(0) => Expiry::Unknown,
            _ => return,
        };
        self.set_time(field, time);
    }
}

/// A command on times took effect.
pub(super) fn apply(content: &mut Content, effect: &Effect) {
    match effect {
        Effect::HashSetTimed { pairs, expiry } => {
            for (field, value) in pairs {
                match expiry {
                    SetExpiry::Keep => content.keep_time(field),
                    SetExpiry::Clear => content.set_time(field, Expiry::Never),
                    SetExpiry::At(ms) => content.set_time(field, Expiry::At(*ms)),
                }
                content.put(field, Value::Bytes(value.clone()));
            }
        }
        Effect::FieldExpire { fields, at_unix_ms } => {
            for field in fields {
                if content.get(field) != Value::Absent {
                    content.set_time(field, at_unix_ms.map_or(Expiry::Never, Expiry::At));
                }
            }
        }
        _ => {}
    }
}

/// What is known once a command on times turned out to have had none. Of several fields the database names those that it
/// found, so what came back may only look different.
pub(super) fn had_no_effect(content: &mut Content, effect: &Effect) {
    match effect {
        // No time is refused but one that is over: then the fields are gone.
        Effect::HashSetTimed { pairs, .. } => {
            pairs
                .iter()
                .for_each(|(field, _)| content.put(field, Value::Absent));
        }
        Effect::FieldExpire { fields, at_unix_ms } => match (&fields[..], at_unix_ms) {
            ([field], Some(_)) => content.put(field, Value::Absent),
            // Whatever came back, none of them has a time.
            (_, None) => fields
                .iter()
                .for_each(|field| content.set_time(field, Expiry::Never)),
            _ => fields
                .iter()
                .for_each(|field| content.set_time(field, Expiry::Unknown)),
        },
        _ => {}
    }
}

/// A command on the hash as a whole seems to have had no effect. HPEXPIREAT with a condition over several fields is one, and
/// Redis 8 names those that took the time, so what came back looks different: none of the times is known any more.
pub(super) fn forget_times(content: &mut Content) {
    content.times.clear();
    let fields: Vec<Bytes> = content.elements.keys().cloned().collect();
    fields
        .iter()
        .for_each(|field| content.set_time(field, Expiry::Unknown));
}

/// What decides over times, beside the operations on a field.
pub(super) struct Around<'a> {
    cover: &'a Cover<'a>,
    /// They [found the key gone](super::life), or left it so; or found fields gone.
    enders: &'a [Operation],
}

impl<'a> Around<'a> {
    pub fn of(cover: &'a Cover<'a>, enders: &'a [Operation]) -> Around<'a> {
        Around { cover, enders }
    }

    /// The time that the rules prescribe for a field that these operations name, on top of what the content says.
    pub fn register(&self, content: &Content, field: &Bytes, touching: &[&Operation]) -> Expiry {
        let mut covered = None;
        let ends_times = |op: &&Operation| op.effect == Effect::Del || removes(op, field);
        let mut covering: Vec<&Operation> = self.enders.iter().filter(ends_times).collect();
        let ends = |op: &&Operation| set_by(op, field).is_some() || removes(op, field);
        covering.extend(touching.iter().copied().filter(ends));
        if covering.is_empty() {
            return content.time(field);
        }
        covering.iter().for_each(|op| join(&mut covered, &op.past));
        let outside = LazyCell::new(|| outside_states(touching));
        let is_covered = |op: &Operation| {
            let is_later = |other: &&Operation| ends(other) && other.dot != op.dot && other.is_after(op);
            self.cover.key_of(op)
                || covered.as_ref().is_some_and(|past| past.includes(op.dot))
                || op.is_state() && outside.iter().any(is_later)
        };
        let alive = touching.iter().filter(|op| !is_covered(op));
        alive
            .filter_map(|op| set_by(op, field))
            .reduce(|one, other| match off(Mutation::LongestFieldExpiry) {
                true => other,
                false => one.longest(other),
            })
            .unwrap_or(Expiry::Never)
    }
}

/// The fields of a write that keeps times which were not there: what it saw of their times is over. `seen` is all that it
/// saw, also what was superseded by something that it did not see; of the rest the base may tell.
pub(super) fn found_none(op: &Operation, seen: &[&Operation], base: &Content) -> Vec<Bytes> {
    let fields: Vec<&Bytes> = match &op.effect {
        Effect::HashCount { field, .. } => vec![field],
        Effect::HashSetTimed {
            pairs,
            expiry: SetExpiry::Keep,
        } => pairs.iter().map(|(field, _)| field).collect(),
        _ => Vec::new(),
    };
    let takes_all = |other: &Operation| {
        is_reset(&other.effect) || !matches!(kind_of(&other.effect), Kind::Unknown | Kind::Other | Kind::Hash)
    };
    let is_gone = |field: &Bytes| {
        let mut gone: Option<Vector> = None;
        let takes = |other: &&&Operation| removes(other, field) || takes_all(other);
        seen.iter()
            .filter(takes)
            .for_each(|other| join(&mut gone, &other.past));
        let is_left = |other: &Operation| {
            is_write(&other.effect) && !gone.as_ref().is_some_and(|gone| gone.includes(other.dot))
        };
        // A command on the value as a whole may have put it there.
        let may_put = |other: &Operation| {
            kind_of(&other.effect) == Kind::Other || other.elements().any(|name| name == field)
        };
        let is_there = seen.iter().any(|other| is_left(other) && may_put(other));
        !is_there && (gone.is_some() || base.get(field) == Value::Absent)
    };
    fields
        .into_iter()
        .filter(|field| is_gone(field))
        .cloned()
        .collect()
}

/// What an operation sets a field's time to.
fn set_by(op: &Operation, field: &Bytes) -> Option<Expiry> {
    match &op.effect {
        Effect::HashSet(pairs) => pairs
            .iter()
            .any(|(name, _)| name == field)
            .then_some(Expiry::Never),
        Effect::HashSetTimed { pairs, expiry } if pairs.iter().any(|(name, _)| name == field) => match expiry
        {
            SetExpiry::Keep => None,
            SetExpiry::Clear => Some(Expiry::Never),
            SetExpiry::At(ms) => Some(Expiry::At(*ms)),
        },
        Effect::FieldExpire { fields, at_unix_ms } => fields
            .contains(field)
            .then(|| at_unix_ms.map_or(Expiry::Never, Expiry::At)),
        _ => None,
    }
}

fn removes(op: &Operation, field: &Bytes) -> bool {
    matches!(&op.effect, Effect::HashRemove(fields) if fields.contains(field))
}

/// The commands on times that are still to be executed when `content` has been reached. One field each: of several, the
/// database would name those that it found.
pub(super) fn time_difference(want: &Content, content: &Content, effects: &mut Vec<Effect>) {
    let fields: BTreeSet<&Bytes> = want.times.keys().chain(content.times.keys()).collect();
    for field in fields {
        let (wanted, found) = (want.time(field), content.time(field));
        let is_there = want.get(field) != Value::Absent && content.get(field) != Value::Absent;
        if is_there && wanted != Expiry::Unknown && wanted != found {
            effects.push(Effect::FieldExpire {
                fields: vec![field.clone()],
                at_unix_ms: unix_ms(wanted),
            });
        }
    }
}

/// What a database can execute of these: one without times of fields gets values, as HSET.
pub(super) fn within(known: FieldTimes, effects: &mut Vec<Effect>) {
    if known >= FieldTimes::Whole {
        return;
    }
    effects.retain(|effect| known == FieldTimes::Apart || !matches!(effect, Effect::FieldExpire { .. }));
    for effect in effects {
        if let Effect::HashSetTimed { pairs, .. } = effect {
            *effect = Effect::HashSet(std::mem::take(pairs));
        }
    }
}

#[cfg(test)]
mod tests;

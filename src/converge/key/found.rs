//! The times of fields that commands which may read them found, as far as that is known.
//!
//! In a replay they find [those that the rules prescribe](crate::converge::fields::Again) for what stands before them. So a
//! trace that is in the canonical order stands for a replay only if each of them found these.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use crate::causality::Dot;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Value};

/// The times of the fields that were there, and that something in the trace had set a time of.
pub(super) type Times = BTreeMap<Bytes, Expiry>;

/// What was found in a trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    timed: BTreeSet<Bytes>,
    /// Shared, for what is held is copied to foresee what will be.
    times: Vec<(Dot, Rc<Times>)>,
}

impl Found {
    /// A command is executed where this is held.
    pub fn executes(&mut self, content: &Content, effect: &Effect, dot: Option<Dot>) {
        match (effect, dot) {
            (Effect::HashSetTimed { pairs, .. }, _) => {
                let fields = pairs.iter().map(|(field, _)| field);
                self.timed.extend(fields.cloned());
            }
            (Effect::FieldExpire { fields, .. }, _) => self.timed.extend(fields.iter().cloned()),
            (Effect::Opaque | Effect::Derived, Some(dot)) if !self.timed.is_empty() => {
                let there = self
                    .timed
                    .iter()
                    .filter(|field| content.get(field) != Value::Absent);
                let times = there.map(|field| (field.clone(), content.time(field)));
                self.times.push((dot, Rc::new(times.collect())));
            }
            _ => {}
        }
    }

    /// What each command found.
    pub fn times(&self) -> impl Iterator<Item = (Dot, &Times)> {
        self.times.iter().map(|(dot, times)| (*dot, times.as_ref()))
    }

    /// There is no trace any more, or it begins anew.
    pub fn forget(&mut self) {
        self.timed.clear();
        self.times.clear();
    }

    /// These are no longer in the trace.
    pub fn retain(&mut self, is_kept: impl Fn(Dot) -> bool) {
        self.times.retain(|(dot, _)| is_kept(*dot));
    }
}

//! A key's expiry time of which only the databases know, where it may have gone at some of them.
//!
//! A removal may take the last element, and with it the key and its time. Where nothing is known of what lay before the
//! conflict, nobody can tell. But where a write that the removal has not seen came first, there was one more element, and
//! the time stayed. So once such a removal and such a write have met, a site reads which time its key has, and if there is
//! one, tells it as a part of a snapshot is told: it yields to whatever it has not seen. A site that finds none has nothing
//! to tell, then or later: either there never was one, or it has gone here.
//!
//! And where a time is given anew to a key that was not there any more, that of the others, who may have forgotten all of
//! it and found it gone, has none. So that is told, too.
//!
//! What arrives while it is read is settled meanwhile: after a restart nobody could tell which increments have waited for it.

use crate::causality::Vector;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Kind, kind_of};
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;

use super::KeyState;

/// What is known of that.
#[derive(Debug, Clone, Default)]
pub(super) struct Timed {
    /// The newest writes and removals of elements, by site.
    writes: Option<Vector>,
    removals: Option<Vector>,
    /// One of each has met that had not seen the other.
    has_met: bool,
    /// The time is being read.
    pub is_reading: bool,
    /// What was read is known.
    is_read: bool,
}

impl Timed {
    /// An operation is added.
    pub fn note(&mut self, op: &Operation) {
        let others = match &op.effect {
            Effect::SetRemove(_)
            | Effect::HashRemove(_)
            | Effect::SortedRemove(_)
            | Effect::ListPop { .. } => advance(&mut self.removals, op, &self.writes),
            effect if is_write(effect) && has_elements(kind_of(effect)) => {
                advance(&mut self.writes, op, &self.removals)
            }
            _ => return,
        };
        self.has_met |= !others;
    }

    /// Whether it is to be read what time the key has, that of `want` not being known.
    pub fn calls_for_reading(&self, want: &Content) -> bool {
        self.has_met
            && !self.is_reading
            && !self.is_read
            && want.expiry == Expiry::Unknown
            && want.kind != Kind::Absent
    }

    /// What was read has become an operation, or was nothing.
    pub fn read(&mut self) {
        self.is_read |= std::mem::take(&mut self.is_reading);
    }

    /// Nothing is known any more of what was read: what is base now may have been told.
    pub fn forget(&mut self) {
        self.is_read = false;
    }
}

/// Whether what is wanted gives a key that has gone, or come anew, a time again: what took the last element counts as if it
/// had not, and only the database tells that it did.
pub(super) fn gives_anew(want: &Content, have: &Content) -> bool {
    let is_given = want.kind != Kind::Absent && matches!(want.expiry, Expiry::At(_));
    is_given && want.rest_unknown && !have.rest_unknown && have.expiry == Expiry::Never
}

/// Whether it has seen all of these others.
fn advance(of_its: &mut Option<Vector>, op: &Operation, others: &Option<Vector>) -> bool {
    let zero = || Vector::zero(op.past.entries().count());
    let newest = op.dot.seq;
    let known = of_its.get_or_insert_with(zero);
    known.advance(op.dot.site, newest.max(known.get(op.dot.site)));
    others.as_ref().is_none_or(|others| {
        let mut seen = others.entries();
        seen.all(|(site, seq)| site == op.dot.site || seq <= op.past.get(site))
    })
}

fn has_elements(kind: Kind) -> bool {
    matches!(kind, Kind::Set | Kind::Hash | Kind::Sorted | Kind::List)
}

impl KeyState {
    /// The key was found to have no expiry time in the database, or to be no key.
    pub fn no_time(&mut self) {
        self.timed.read();
    }
}

#[cfg(test)]
mod tests;

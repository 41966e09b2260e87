//! A key's expiry time of which only the databases know, where it may have gone at some of them.
//!
//! A removal may take the last element, and with it the key and its time. Where nothing is known of what lay before the
//! conflict, nobody can tell. But where a write that the removal has not seen came first, there was one more element, and
//! the time stayed. So once such a removal and such a write have met, a site reads which time its key has, and if there is
//! one, tells it as a part of a snapshot is told: it yields to whatever it has not seen. A site that finds none has nothing
//! to tell, then or later: either there never was one, or it has gone here.
//!
//! The same where a setting is remembered, and a removal that it had not seen is followed by a write: that keeps the time here,
//! for it is not known to have found no key. A site that remembers them no more has what its database did. What
//! one has told, no other tells again.
//!
//! What arrives while it is read is settled meanwhile: after a restart nobody could tell which increments have waited for it.

use crate::causality::{Dot, Vector};
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Kind, kind_of};
use crate::converge::cover::join;
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;

use super::KeyState;

/// What is known of that.
#[derive(Debug, Default)]
pub(super) struct Timed {
    /// The newest writes and removals of elements, by site.
    writes: Option<Vector>,
    removals: Option<Vector>,
    /// One of each has met that had not seen the other.
    has_met: bool,
    /// A removal is followed by a write, or has met one.
    is_followed: bool,
    /// What the writes have seen.
    seen: Option<Vector>,
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
                self.is_followed |= self.removals.is_some();
                join(&mut self.seen, &op.past);
                advance(&mut self.writes, op, &self.removals)
            }
            _ => return,
        };
        self.has_met |= !others;
        self.is_followed |= self.has_met;
    }

    /// Whether a removal may have taken the key from this setting, and a write that saw it made it anew.
    fn may_have_ended(&self, setting: &Operation) -> bool {
        let is_unseen = |(site, seq)| !setting.sees(Dot { site, seq });
        let mut removals = self.removals.iter().flat_map(Vector::entries);
        let is_seen = |seen: &Vector| seen.includes(setting.dot);
        self.seen.as_ref().is_some_and(is_seen) && removals.any(is_unseen)
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

fn is_setting(op: &Operation) -> bool {
    matches!(op.effect, Effect::Expire { .. })
}

fn has_elements(kind: Kind) -> bool {
    matches!(kind, Kind::Set | Kind::Hash | Kind::Sorted | Kind::List)
}

impl KeyState {
    /// Whether it is to be read what time the key has, where it should be as in `want`.
    pub(super) fn calls_for_reading(&self, want: &Content) -> bool {
        let timed = &self.timed;
        if want.kind == Kind::Absent || timed.is_reading || timed.is_read {
            return false;
        }
        match want.expiry {
            Expiry::Unknown => timed.has_met,
            Expiry::Never => false,
            Expiry::At(_) if !timed.is_followed => false,
            Expiry::At(_) => {
                let told = || self.operations.iter().filter(|op| op.tells_time());
                let is_told = |setting: &Operation| told().any(|op| op.sees(setting.dot));
                let mut settings = self.operations.iter().filter(|op| is_setting(op));
                want.expiry == self.base.expiry && told().next().is_none()
                    || settings.any(|op| timed.may_have_ended(op) && !is_told(op))
            }
        }
    }

    /// The key was found to have no expiry time in the database, or to be no key.
    pub fn no_time(&mut self) {
        self.timed.read();
    }
}

#[cfg(test)]
mod tests;

//! What a database that crashed was still owed: own operations that a repair had undone, and that had not been put again.
//!
//! Whatever the database holds when it comes back counts as what the rules prescribe. That is wrong for a key whose value
//! from elsewhere was put over clients' writes: these are in the log, and in nothing that the database holds.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{KeyState, TxnId};
use crate::causality::Vector;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Kind, TEXT, Value, integer};
use crate::converge::difference::difference;
use crate::converge::evaluate::evaluate;
use crate::converge::operation::Operation;

/// What a key lacked at the end of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// What the database held.
    pub held: Content,
    /// What turns that into what the rules prescribe.
    pub effects: Vec<Effect>,
}

impl KeyState {
    /// What it lacked when these transactions, and no others of those on their way, had been executed, and so had the operations in
    /// `holds`. Nothing where the rules by element do not tell, or what the database held is not known.
    pub fn owed(&self, executed: &BTreeSet<TxnId>, holds: &Vector) -> Option<Owed> {
        if !self.is_elementwise() || self.is_healing() {
            return None;
        }
        let is_held = |op: &&Operation| holds.includes(op.dot);
        let mut others = self.operations.iter().filter(|op| !holds.includes(op.dot));
        if others.any(Operation::may_supersede) {
            // What it has replaced is not known any more.
            return None;
        }
        let operations: Vec<Operation> = self.operations.iter().filter(is_held).cloned().collect();
        let enders: Vec<Operation> = self.life.enders().iter().filter(is_held).cloned().collect();
        let want = evaluate(&self.base, &operations, &enders);
        let mut held = self.held.clone();
        for txn in self.held.in_flight().iter().map(|flight| flight.txn) {
            match executed.contains(&txn) {
                true => held.echoed(txn, &[]),
                false => drop(held.passed_over(txn)),
            }
        }
        let held = held.actual().content.clone();
        let effects = difference(&want, &held).ok()?;
        (!effects.is_empty()).then_some(Owed { held, effects })
    }
}

impl Owed {
    /// What of it has to be done to this value, which the database came back with. Somebody who wrote what is not in the
    /// stream any more knew better; increments stand beside that.
    pub fn on(&self, found: &Content) -> Vec<Effect> {
        let effects = self.effects.iter();
        effects
            .filter_map(|effect| self.effect_on(effect, found))
            .collect()
    }

    fn effect_on(&self, effect: &Effect, found: &Content) -> Option<Effect> {
        let is_same = |element: &Bytes| found.get(element) == self.held.get(element);
        let is_number =
            |element: &Bytes| matches!(found.get(element), Value::Bytes(bytes) if integer(&bytes).is_some());
        let is_left = match effect {
            Effect::Count { .. } => is_number(&TEXT),
            Effect::HashCount { field, .. } => found.kind == Kind::Hash && is_number(field),
            Effect::SortedCount { member, .. } => matches!(found.get(member), Value::Score(_)),
            Effect::Set { .. } => found.kind == self.held.kind && is_same(&TEXT),
            Effect::Del => found.normal() == self.held.normal(),
            Effect::Expire { .. } => found.expiry == self.held.expiry && found.expiry != Expiry::Unknown,
            _ if found.kind != self.held.kind => false,
            Effect::SetAdd(members) => return same(members, |it| is_same(it)).map(Effect::SetAdd),
            Effect::SetRemove(members) => return same(members, |it| is_same(it)).map(Effect::SetRemove),
            Effect::HashRemove(fields) => return same(fields, |it| is_same(it)).map(Effect::HashRemove),
            Effect::SortedRemove(members) => {
                return same(members, |it| is_same(it)).map(Effect::SortedRemove);
            }
            Effect::HashSet(pairs) => return same(pairs, |(field, _)| is_same(field)).map(Effect::HashSet),
            Effect::SortedAdd(pairs) => return same(pairs, |(_, it)| is_same(it)).map(Effect::SortedAdd),
            _ => false,
        };
        is_left.then(|| effect.clone())
    }
}

/// Those of an effect's elements that are the same still, if there are any.
fn same<T: Clone>(elements: &[T], is_same: impl Fn(&T) -> bool) -> Option<Vec<T>> {
    let same: Vec<T> = elements.iter().filter(|it| is_same(it)).cloned().collect();
    (!same.is_empty()).then_some(same)
}

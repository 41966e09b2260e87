//! What a database that crashed was still owed: own operations that a repair had undone, and that had not been put again.
//!
//! Whatever the database holds when it comes back counts as what the rules prescribe. That is wrong for a key whose value
//! from elsewhere was put over clients' writes: these are in the log, and in nothing that the database holds.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{KeyState, TxnId};
use crate::causality::Vector;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Kind, TEXT, Value, integer, kind_of};
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
    /// Elements of which that is not known: what is still to be executed has replaced operations on them.
    replaced: BTreeSet<Bytes>,
    /// Elements that nothing but increments has made.
    counted: BTreeSet<Bytes>,
}

impl KeyState {
    /// What it lacked when these transactions, and no others of those on their way, had been executed, and so had the operations in
    /// `holds`. Nothing where the rules by element do not tell, or what the database held is not known.
    pub fn owed(&self, executed: &BTreeSet<TxnId>, holds: &Vector) -> Option<Owed> {
        if !self.is_elementwise() || self.is_healing() {
            return None;
        }
        let is_held = |op: &&Operation| holds.includes(op.dot);
        let others = || self.operations.iter().filter(|op| !holds.includes(op.dot));
        if others().any(Operation::is_reset) {
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
        let mut effects = difference(&want, &held).ok()?;
        if others().any(|op| matches!(op.effect, Effect::Expire { .. })) {
            effects.retain(|effect| !matches!(effect, Effect::Expire { .. }));
        }
        let replacing = others().filter(|op| op.may_supersede());
        let replaced = replacing.flat_map(Operation::elements).cloned().collect();
        (!effects.is_empty()).then_some(Owed {
            held,
            effects,
            replaced,
            counted: counted(&operations),
        })
    }
}

/// The elements that nothing but increments has made.
fn counted(operations: &[Operation]) -> BTreeSet<Bytes> {
    let mut counted = BTreeSet::new();
    for op in operations {
        match &op.effect {
            Effect::Count { .. } => drop(counted.insert(TEXT)),
            Effect::HashCount { field, .. } => drop(counted.insert(field.clone())),
            _ => {}
        }
    }
    let is_put = |op: &Operation, element: &Bytes| match op.effect {
        Effect::Set { .. } => *element == TEXT,
        _ => op.assigned(element).is_some(),
    };
    counted.retain(|element| !operations.iter().any(|op| is_put(op, element)));
    counted
}

impl Owed {
    /// What of it has to be done to this value, which the database came back with. Somebody who wrote what is not in the
    /// stream any more knew better; increments stand beside that, also what they had made of nothing.
    pub fn on(&self, found: &Content) -> Vec<Effect> {
        let mut all = Vec::new();
        for effect in &self.effects {
            all.extend(self.effect_on(effect, found));
            all.extend(self.counts_on(effect, found));
        }
        all
    }

    /// The numbers that an effect would put where somebody has counted on from nothing, as increments.
    fn counts_on(&self, effect: &Effect, found: &Content) -> Vec<Effect> {
        let delta = |kind: Kind, element: &Bytes, value: &Bytes| {
            let is_counted = self.held.get(element) == Value::Absent && self.counted.contains(element);
            integer(value).filter(|_| is_counted && self.is_number(found, kind, element))
        };
        match effect {
            Effect::Set { value, .. } => {
                let delta = delta(Kind::Text, &TEXT, value);
                delta.map(|delta| Effect::Count { delta }).into_iter().collect()
            }
            Effect::HashSet(pairs) => {
                let count = |(field, value): &(Bytes, Bytes)| {
                    let delta = delta(Kind::Hash, field, value)?;
                    let field = field.clone();
                    Some(Effect::HashCount { field, delta })
                };
                pairs.iter().filter_map(count).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether there is a number in this element, of which all is known that was done to it.
    fn is_number(&self, found: &Content, kind: Kind, element: &Bytes) -> bool {
        let is_integer = || matches!(found.get(element), Value::Bytes(bytes) if integer(&bytes).is_some());
        found.kind == kind && !self.replaced.contains(element) && is_integer()
    }

    fn effect_on(&self, effect: &Effect, found: &Content) -> Option<Effect> {
        let is_same = |element: &Bytes| {
            found.get(element) == self.held.get(element) && !self.replaced.contains(element)
        };
        // Somebody has begun where nothing was.
        let is_begun = |effect: &Effect| self.held.kind == Kind::Absent && found.kind == kind_of(effect);
        let is_left = match effect {
            Effect::Count { .. } => self.is_number(found, Kind::Text, &TEXT),
            Effect::HashCount { field, .. } => self.is_number(found, Kind::Hash, field),
            Effect::SortedCount { member, .. } => {
                matches!(found.get(member), Value::Score(_)) && !self.replaced.contains(member)
            }
            Effect::Set { .. } => found.kind == self.held.kind && is_same(&TEXT),
            Effect::Del => found.normal() == self.held.normal(),
            Effect::Expire { .. } => found.expiry == self.held.expiry && found.expiry != Expiry::Unknown,
            _ if found.kind != self.held.kind && !is_begun(effect) => false,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{key, op, vector};
    use super::*;

    /// What is still to be executed has replaced what it names, and no more.
    #[test]
    fn only_elements_that_somebody_has_replaced_are_not_known() {
        let mut key = key();
        key.executed(op(0, 1, [0, 0, 0], 1, "HINCRBY k f 5"));
        key.executed(op(1, 1, [0, 0, 0], 2, "DEL k"));
        key.delivered(op(1, 2, [0, 1, 0], 3, "HSET k g 1"));
        let owed = key.owed(&BTreeSet::new(), &vector([1, 1, 0])).unwrap();
        let five = (Bytes::from("f"), Bytes::from("5"));
        assert_eq!(owed.on(&Content::absent()), [Effect::HashSet(vec![five])]);
        key.delivered(op(1, 3, [0, 2, 0], 4, "HSET k f 1"));
        let owed = key.owed(&BTreeSet::new(), &vector([1, 1, 0])).unwrap();
        assert_eq!(owed.on(&Content::absent()), []);
    }

    /// A counter was undone as a whole, and nobody read what a client counted on.
    #[test]
    fn what_was_counted_on_from_nothing_keeps_both() {
        let mut key = key();
        key.executed(op(0, 1, [0, 0, 0], 1, "INCRBY k 13"));
        key.executed(op(1, 1, [0, 0, 0], 2, "DEL k"));
        let owed = key.owed(&BTreeSet::new(), &vector([1, 1, 0])).unwrap();
        let found = Content::text(Bytes::from("3"));
        assert_eq!(owed.on(&found), [Effect::Count { delta: 13 }]);
    }
}

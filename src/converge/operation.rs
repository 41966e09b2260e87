//! One operation as a key sees it.

use std::rc::Rc;

use bytes::Bytes;

use super::content::{Kind, Value, kind_of};
use super::mutation::{Mutation, off};
use crate::causality::{Dot, Hlc, SiteIx, Vector};
use crate::command::effect::{Effect, SetExpiry};

/// One operation on one key.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its identity.
    pub dot: Dot,
    /// Its causal past, without itself.
    pub past: Rc<Vector>,
    /// When it was written.
    pub time: Hlc,
    /// What it does to this key.
    pub effect: Effect,
    /// The command as it arrived, in RESP.
    pub raw: Bytes,
    /// A derived operation that read keys in conflict: only its origin knows the value.
    pub contested: bool,
    /// Its command has effects on several keys, and all of them or none: that it had none says nothing of this key.
    pub joint: bool,
}

impl Operation {
    /// Whether the other operation is in this one's past.
    pub fn sees(&self, other: Dot) -> bool {
        self.past.includes(other)
    }

    /// Whether it is a part of a snapshot. What a snapshot holds yields to everything that it has not seen: it may
    /// be as old as the outage was long.
    pub fn is_state(&self) -> bool {
        self.time.is_of_state()
    }

    /// Whether it tells of an expiry time, as a part of a snapshot: of one that the key had, so it takes the place of none
    /// that was given.
    pub fn tells_time(&self) -> bool {
        self.is_state() && matches!(self.effect, Effect::Expire { .. })
    }

    /// Whether it tells what a key holds, as a part of a snapshot, and not of its expiry time alone.
    pub fn tells_value(&self) -> bool {
        self.is_state() && !self.tells_time()
    }

    /// Whether the other operation counts as seen by this one: it was, or it is a part of a snapshot and this one
    /// is concurrent with it and none.
    pub fn is_after(&self, other: &Operation) -> bool {
        let yields = || other.is_state() && !self.is_state() && !other.sees(self.dot);
        self.sees(other.dot) || yields() && !off(Mutation::SnapshotsYield)
    }

    /// The order among concurrent operations: by time, ties by site; parts of snapshots come first.
    pub fn order(&self) -> (bool, Hlc, SiteIx) {
        (!self.is_state(), self.time, self.dot.site)
    }

    /// Whether the rules of [`evaluate`](super::evaluate) cover it; others need a replay.
    pub fn is_elementwise(&self) -> bool {
        match &self.effect {
            Effect::Opaque | Effect::Derived | Effect::Restore { .. } => false,
            Effect::ListPush { .. } => !self.is_state(),
            Effect::ListPop { took, .. } => took.is_some(),
            // What a trim to a length took away may depend on what has no rules by element.
            Effect::StreamAdd { trim: Some(trim), .. } | Effect::StreamTrim(trim) => trim.is_known(),
            _ => true,
        }
    }

    /// Whether a condition stands in its command (`NX`, `GT` and the like): that it had no effect where it was
    /// executed again tells that the condition did not hold there, and not what the key holds.
    pub fn is_conditional(&self) -> bool {
        let plain = match &self.effect {
            Effect::SortedAdd(pairs) => 2 + 2 * pairs.len(),
            Effect::Expire { at_unix_ms: Some(_) } => 3,
            Effect::FieldExpire {
                fields,
                at_unix_ms: Some(_),
            } => 5 + fields.len(),
            Effect::HashSetTimed { pairs, expiry } => {
                let time = if matches!(expiry, SetExpiry::At(_)) { 2 } else { 1 };
                4 + time + 2 * pairs.len()
            }
            _ => return false,
        };
        let count = self.raw.strip_prefix(b"*").unwrap_or_default();
        let digits = count.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.fold(0_usize, |count, digit| {
            count.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        });
        count > plain
    }

    /// Whether it replaces everything that it has seen of the key.
    pub fn is_reset(&self) -> bool {
        matches!(
            self.effect,
            Effect::Del | Effect::Set { .. } | Effect::Restore { .. }
        )
    }

    /// The elements that it names; none for strings and whole keys.
    pub fn elements(&self) -> impl Iterator<Item = &Bytes> {
        (0..).map_while(|at| self.element(at))
    }

    fn element(&self, at: usize) -> Option<&Bytes> {
        match &self.effect {
            Effect::SetAdd(names)
            | Effect::SetRemove(names)
            | Effect::HashRemove(names)
            | Effect::SortedRemove(names)
            | Effect::StreamRemove(names)
            | Effect::FieldExpire { fields: names, .. }
            | Effect::Union(names) => names.get(at),
            Effect::Bits(bits) => bits.get(at).map(|(name, _)| name),
            Effect::HashSet(pairs) | Effect::HashSetTimed { pairs, .. } => {
                pairs.get(at).map(|(field, _)| field)
            }
            Effect::SortedAdd(pairs) => pairs.get(at).map(|(_, member)| member),
            Effect::ListPush { elements, .. } => elements.get(at).map(|(name, _)| name),
            Effect::ListPop { took, .. } => took.as_ref()?.get(at).map(|(name, _)| name),
            Effect::StreamAdd { id: name, .. }
            | Effect::HashCount { field: name, .. }
            | Effect::SortedCount { member: name, .. } => (at == 0).then_some(name),
            _ => None,
        }
    }

    /// Whether it takes the place of what the element held before; an SADD only adds.
    pub fn overwrites_element(&self, element: &Bytes) -> bool {
        match &self.effect {
            Effect::SetRemove(names)
            | Effect::HashRemove(names)
            | Effect::SortedRemove(names)
            | Effect::StreamRemove(names) => names.contains(element),
            Effect::Bits(bits) => bit_of(bits, element).is_some(),
            Effect::HashSet(pairs) | Effect::HashSetTimed { pairs, .. } => {
                pairs.iter().any(|(field, _)| field == element)
            }
            Effect::SortedAdd(pairs) => pairs.iter().any(|(_, member)| member == element),
            Effect::ListPop { took: Some(took), .. } => took.iter().any(|(name, _)| name == element),
            _ => false,
        }
    }

    /// Whether it takes the place of what its elements held before, all of them.
    pub fn overwrites(&self) -> bool {
        matches!(
            self.effect,
            Effect::SetRemove(_)
                | Effect::HashRemove(_)
                | Effect::SortedRemove(_)
                | Effect::StreamRemove(_)
                | Effect::Bits(_)
                | Effect::HashSet(_)
                | Effect::HashSetTimed { .. }
                | Effect::SortedAdd(_)
                | Effect::ListPop { .. }
        )
    }

    /// Whether it puts something absolute in its elements.
    pub fn assigns(&self) -> bool {
        matches!(
            self.effect,
            Effect::SetAdd(_)
                | Effect::Union(_)
                | Effect::Bits(_)
                | Effect::StreamAdd { .. }
                | Effect::HashSet(_)
                | Effect::HashSetTimed { .. }
                | Effect::SortedAdd(_)
        )
    }

    /// What it puts in the element, if it puts anything absolute there (the last, when it names it twice).
    pub fn assigned(&self, element: &Bytes) -> Option<Value> {
        match &self.effect {
            Effect::SetAdd(names) | Effect::Union(names) => names.contains(element).then_some(Value::Member),
            Effect::Bits(bits) => bit_of(bits, element).map(Value::Bit),
            Effect::StreamAdd { id, fields, .. } => (id == element).then(|| Value::Entry(fields.clone())),
            Effect::HashSet(pairs) | Effect::HashSetTimed { pairs, .. } => {
                let pair = pairs.iter().rev().find(|(field, _)| field == element)?;
                Some(Value::Bytes(pair.1.clone()))
            }
            Effect::SortedAdd(pairs) => {
                let pair = pairs.iter().rev().find(|(_, member)| member == element)?;
                Some(Value::Score(pair.0))
            }
            _ => None,
        }
    }

    /// Whether there are operations that this one [supersedes](Operation::supersedes) if it saw them.
    pub fn may_supersede(&self) -> bool {
        !matches!(
            self.effect,
            Effect::Count { .. }
                | Effect::HashCount { .. }
                | Effect::SortedCount { .. }
                // In a replay they do not stand for themselves: what lies between may have read them.
                | Effect::Bits(_)
                | Effect::Union(_)
                // A trim that did not see their removal counts them.
                | Effect::StreamAdd { .. }
                | Effect::StreamRemove(_)
                | Effect::StreamTrim(_)
                // What a pop took, others' pops that saw it did not.
                | Effect::ListPush { .. }
                | Effect::ListPop { .. }
                | Effect::ListTook { .. }
                | Effect::Opaque
                | Effect::Derived
        )
    }

    /// Whether this operation makes an older one in its past irrelevant for good: whatever the older one
    /// could cover or add, this one covers or adds too.
    pub fn supersedes(&self, older: &Operation) -> bool {
        let is_of_stream = kind_of(&older.effect) == Kind::Stream;
        if !self.sees(older.dot) || is_of_stream {
            return false;
        }
        match &self.effect {
            Effect::Del => true,
            // Another value may win that has not seen what this one has; then that is replayed on the other.
            Effect::Restore { .. } => matches!(older.effect, Effect::Restore { .. }),
            Effect::Set {
                expiry: SetExpiry::Clear | SetExpiry::At(_),
                ..
            } => true,
            Effect::Expire { .. } => {
                matches!(older.effect, Effect::Expire { .. }) && (older.tells_time() || !self.tells_time())
            }
            Effect::SetAdd(_) | Effect::SetRemove(_) => {
                matches!(older.effect, Effect::SetAdd(_) | Effect::SetRemove(_)) && self.names_all_of(older)
            }
            // It sets a time or ends those that it saw.
            Effect::HashSet(_)
            | Effect::HashRemove(_)
            | Effect::HashSetTimed {
                expiry: SetExpiry::Clear | SetExpiry::At(_),
                ..
            } => kind_of(&older.effect) == Kind::Hash && self.names_all_of(older),
            Effect::FieldExpire { .. } => {
                matches!(older.effect, Effect::FieldExpire { .. }) && self.names_all_of(older)
            }
            Effect::SortedAdd(_) | Effect::SortedRemove(_) => {
                matches!(
                    older.effect,
                    Effect::SortedAdd(_) | Effect::SortedRemove(_) | Effect::SortedCount { .. }
                ) && self.names_all_of(older)
            }
            _ => false,
        }
    }

    fn names_all_of(&self, older: &Operation) -> bool {
        older
            .elements()
            .all(|element| self.elements().any(|mine| mine == element))
    }
}

/// A bit among others, which stand in the order of their names.
fn bit_of(bits: &[(Bytes, bool)], name: &Bytes) -> Option<bool> {
    let place = bits.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
    bits.get(place).map(|(_, bit)| *bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditional(raw: &'static [u8], effect: Effect) -> bool {
        let op = Operation {
            dot: Dot {
                site: SiteIx(0),
                seq: 1,
            },
            past: Rc::new(Vector::zero(1)),
            time: Hlc(1),
            effect,
            raw: Bytes::from_static(raw),
            contested: false,
            joint: false,
        };
        op.is_conditional()
    }

    #[test]
    fn a_condition_is_one_argument_more() {
        let pair = || Effect::SortedAdd(vec![(4.0, Bytes::from_static(b"m"))]);
        let at = Effect::Expire { at_unix_ms: Some(1) };
        let nx = b"*5\r\n$4\r\nZADD\r\n$1\r\nk\r\n$2\r\nNX\r\n$1\r\n4\r\n$1\r\nm\r\n";
        assert!(conditional(nx, pair()));
        assert!(!conditional(
            b"*4\r\n$4\r\nZADD\r\n$1\r\nk\r\n$1\r\n4\r\n$1\r\nm\r\n",
            pair()
        ));
        assert!(conditional(
            b"*4\r\n$9\r\nPEXPIREAT\r\n$1\r\nk\r\n$1\r\n1\r\n$2\r\nNX\r\n",
            at
        ));
        assert!(!conditional(b"", pair()));
    }
}

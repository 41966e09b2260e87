//! Who loses: concurrent operations of which the rules keep one and drop the other, wholly or on an element.
//!
//! Counting and telling only: the value itself comes from [`evaluate`](super::evaluate) and
//! [`replay`](super::replay).

use bytes::Bytes;

use super::content::{Kind, kind_of};
use super::entries::PassedEntry;
use super::operation::Operation;
use crate::causality::SiteIx;
use crate::command::effect::Effect;

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Of concurrent SETs the latest stays.
    SetLost,
    /// Of concurrent writes of different types the latest one's type stays.
    TypeLost,
    /// Of concurrent writes to a field or a score the latest stays.
    ElementLost,
    /// A removal does not take what was written concurrently.
    RemovalLost,
    /// Of concurrent expiry times the longest stays.
    ExpiryLost,
    /// Commands on the value as a whole are replayed in one order.
    Reordered,
    /// An entry was put in its place in a stream behind what a group had been delivered.
    EntryPassed,
}

impl Rule {
    /// All, in the order of [`Rule::at`].
    pub const ALL: [Rule; 7] = [
        Rule::SetLost,
        Rule::TypeLost,
        Rule::ElementLost,
        Rule::RemovalLost,
        Rule::ExpiryLost,
        Rule::Reordered,
        Rule::EntryPassed,
    ];

    /// Its place in [`Rule::ALL`].
    pub fn at(self) -> usize {
        self as usize
    }

    /// Its name in the status, the metrics and the log.
    pub fn label(self) -> &'static str {
        match self {
            Rule::SetLost => "set_lost",
            Rule::TypeLost => "type_lost",
            Rule::ElementLost => "element_lost",
            Rule::RemovalLost => "removal_lost",
            Rule::ExpiryLost => "expiry_lost",
            Rule::Reordered => "reordered",
            Rule::EntryPassed => "entry_passed",
        }
    }
}

/// A conflict that was resolved against somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// By which rule.
    pub rule: Rule,
    /// Database number.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// The type of the write that stays, as far as it is known.
    pub kind: Kind,
    /// Whose write stays.
    pub winner: SiteIx,
    /// Whose write goes.
    pub loser: SiteIx,
    /// The entry that groups will not deliver.
    pub entry: Option<PassedEntry>,
}

/// What the rules say of two operations on a key, if they are concurrent and one of them loses: the rule, the
/// winner and the loser.
pub fn judge<'a>(one: &'a Operation, other: &'a Operation) -> Option<(Rule, &'a Operation, &'a Operation)> {
    if one.is_after(other) || other.is_after(one) {
        return None;
    }
    let (later, earlier) = if one.order() > other.order() {
        (one, other)
    } else {
        (other, one)
    };
    match (removes(later), removes(earlier)) {
        (true, true) => None,
        (true, false) => removal(earlier, later),
        (false, true) => removal(later, earlier),
        (false, false) => writes(later, earlier),
    }
}

fn removes(op: &Operation) -> bool {
    matches!(
        op.effect,
        Effect::Del
            | Effect::SetRemove(_)
            | Effect::HashRemove(_)
            | Effect::SortedRemove(_)
            | Effect::StreamRemove(_)
            | Effect::StreamTrim(_)
            | Effect::ListPop { .. }
            | Effect::ListTook { .. }
    )
}

fn removal<'a>(write: &'a Operation, removal: &'a Operation) -> Option<(Rule, &'a Operation, &'a Operation)> {
    let meets = match removal.effect {
        _ if matches!(write.effect, Effect::FieldExpire { .. }) => false,
        Effect::Del => !matches!(write.effect, Effect::Expire { .. }),
        _ => write
            .elements()
            .any(|element| removal.overwrites_element(element)),
    };
    meets.then_some((Rule::RemovalLost, write, removal))
}

fn writes<'a>(later: &'a Operation, earlier: &'a Operation) -> Option<(Rule, &'a Operation, &'a Operation)> {
    let rule = match (&later.effect, &earlier.effect) {
        (Effect::Expire { .. }, Effect::Expire { .. }) => return expiry(later, earlier),
        (Effect::Expire { .. }, _) | (_, Effect::Expire { .. }) => return None,
        (Effect::FieldExpire { fields, .. }, Effect::FieldExpire { fields: others, .. }) => {
            let is_shared = fields.iter().any(|field| others.contains(field));
            return is_shared.then(|| expiry(later, earlier)).flatten();
        }
        (Effect::Set { .. }, Effect::Set { .. }) => Rule::SetLost,
        (Effect::Restore { .. }, _) | (_, Effect::Restore { .. }) => return None,
        (Effect::Opaque | Effect::Derived, _) | (_, Effect::Opaque | Effect::Derived) => Rule::Reordered,
        _ if kind_of(&later.effect) != kind_of(&earlier.effect) => Rule::TypeLost,
        _ => {
            // Equal values are no loss.
            let contested = later.elements().any(|element| {
                takes(later, element)
                    && takes(earlier, element)
                    && later.assigned(element) != earlier.assigned(element)
            });
            return contested.then_some((Rule::ElementLost, later, earlier));
        }
    };
    Some((rule, later, earlier))
}

/// Whether it leaves no room for another value of the element.
fn takes(op: &Operation, element: &Bytes) -> bool {
    op.overwrites_element(element) || matches!(&op.effect, Effect::StreamAdd { id, .. } if id == element)
}

fn expiry<'a>(later: &'a Operation, earlier: &'a Operation) -> Option<(Rule, &'a Operation, &'a Operation)> {
    let time = |op: &Operation| match op.effect {
        Effect::Expire { at_unix_ms } | Effect::FieldExpire { at_unix_ms, .. } => {
            at_unix_ms.unwrap_or(u64::MAX)
        }
        _ => 0,
    };
    match time(later).cmp(&time(earlier)) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some((Rule::ExpiryLost, later, earlier)),
        std::cmp::Ordering::Less => Some((Rule::ExpiryLost, earlier, later)),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::causality::{Dot, Hlc, Vector};
    use crate::command::effect::SetExpiry;

    fn op(site: u8, time: u64, effect: Effect) -> Operation {
        Operation {
            dot: Dot {
                site: SiteIx(site),
                seq: 1,
            },
            past: Rc::new(Vector::zero(2)),
            time: Hlc(time),
            effect,
            raw: Bytes::new(),
            contested: false,
            joint: false,
        }
    }

    fn set(value: &'static str) -> Effect {
        Effect::Set {
            value: Bytes::from_static(value.as_bytes()),
            expiry: SetExpiry::Clear,
        }
    }

    /// The rule, and the winner's site, of an operation of site 0 at time 1 and one of site 1 at time 2.
    fn judged(first: Effect, second: Effect) -> Option<(Rule, u8)> {
        let (first, second) = (op(0, 1, first), op(1, 2, second));
        let told = |found: Option<(Rule, &Operation, &Operation)>| {
            found.map(|(rule, winner, _)| (rule, winner.dot.site.0))
        };
        let found = told(judge(&first, &second));
        assert_eq!(
            found,
            told(judge(&second, &first)),
            "the order of asking does not matter"
        );
        found
    }

    #[test]
    fn each_rule_names_its_loser() {
        let name = || vec![Bytes::from_static(b"e")];
        let field = |value: &'static str| {
            Effect::HashSet(vec![(
                Bytes::from_static(b"e"),
                Bytes::from_static(value.as_bytes()),
            )])
        };
        let at = |ms| Effect::Expire { at_unix_ms: ms };
        assert_eq!(judged(set("a"), set("b")), Some((Rule::SetLost, 1)));
        assert_eq!(judged(set("a"), Effect::Count { delta: 1 }), None, "both count");
        assert_eq!(
            judged(Effect::Count { delta: 1 }, Effect::Count { delta: 1 }),
            None
        );
        assert_eq!(
            judged(set("a"), Effect::SetAdd(name())),
            Some((Rule::TypeLost, 1))
        );
        assert_eq!(judged(set("a"), Effect::Del), Some((Rule::RemovalLost, 0)));
        assert_eq!(
            judged(Effect::SetRemove(name()), Effect::SetAdd(name())),
            Some((Rule::RemovalLost, 1))
        );
        assert_eq!(judged(Effect::Del, Effect::Del), None);
        assert_eq!(judged(field("1"), field("2")), Some((Rule::ElementLost, 1)));
        assert_eq!(judged(field("1"), field("1")), None, "equal values are no loss");
        assert_eq!(judged(at(Some(9)), at(Some(5))), Some((Rule::ExpiryLost, 0)));
        assert_eq!(judged(at(None), at(Some(5))), Some((Rule::ExpiryLost, 0)));
        assert_eq!(judged(Effect::Opaque, set("a")), Some((Rule::Reordered, 1)));
    }
}

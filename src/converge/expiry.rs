//! The register of the expiry time: the longest of those that nothing covers.

use super::content::{Content, Expiry, Kind, kind_of};
use super::cover::join;
use super::evaluate::{evaluate_value, is_write};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::command::effect::{Effect, SetExpiry};

/// The expiry time that the rules prescribe for these operations on top of a base.
pub(super) fn register(base: &Content, operations: &[&Operation]) -> Expiry {
    let mut ends = Ends::new(base, operations);
    let setting: Vec<(&Operation, Expiry)> = operations
        .iter()
        .filter_map(|op| Some((*op, expiry_of(&op.effect)?)))
        .collect();
    if setting.is_empty() {
        // Where types fight for the key, some site had to delete it, and with it the time.
        let is_gone = base.expiry == Expiry::Never
            || kinds_fight(operations)
            || (0..operations.len()).any(|at| ends.at(at));
        return if is_gone { Expiry::Never } else { base.expiry };
    }
    let mut covering = None;
    setting.iter().for_each(|(op, _)| join(&mut covering, &op.past));
    operations
        .iter()
        .filter(|op| op.effect == Effect::Del)
        .for_each(|op| join(&mut covering, &op.past));
    let is_covered = |op: &Operation, ends: &mut Ends<'_>| {
        let is_later = |other: &Operation| other.dot != op.dot && other.is_after(op);
        covering.as_ref().is_some_and(|past| past.includes(op.dot))
            || (0..operations.len()).any(|at| is_later(operations[at]) && ends.at(at))
            || op.is_state()
                && operations
                    .iter()
                    .any(|other| is_later(other) && expiry_of(&other.effect).is_some())
    };
    let alive = setting.into_iter().filter(|(op, _)| !is_covered(op, &mut ends));
    alive
        .map(|(_, expiry)| expiry)
        .reduce(|one, other| match off(Mutation::LongestExpiry) {
            true => other,
            false => one.longest(other),
        })
        .unwrap_or(Expiry::Never)
}

fn kinds_fight(operations: &[&Operation]) -> bool {
    let kind = |op: &Operation| kind_of(&op.effect);
    let mut kinds = operations
        .iter()
        .map(|op| kind(op))
        .filter(|kind| *kind != Kind::Unknown);
    let first = kinds.next();
    if kinds.all(|kind| Some(kind) == first) {
        return false;
    }
    operations.iter().enumerate().any(|(at, op)| {
        operations[..at].iter().any(|other| {
            let differ = kind(op) != kind(other) && kind(op) != Kind::Unknown && kind(other) != Kind::Unknown;
            differ && !op.is_after(other) && !other.is_after(op)
        })
    })
}

/// What an effect says of the expiry time.
fn expiry_of(effect: &Effect) -> Option<Expiry> {
    match effect {
        Effect::Set {
            expiry: SetExpiry::Clear,
            ..
        } => Some(Expiry::Never),
        Effect::Set {
            expiry: SetExpiry::At(ms),
            ..
        } => Some(Expiry::At(*ms)),
        Effect::Expire { at_unix_ms } => Some(at_unix_ms.map_or(Expiry::Never, Expiry::At)),
        Effect::Restore { ttl_unix_ms, .. } => Some(ttl_unix_ms.map_or(Expiry::Never, Expiry::At)),
        _ => None,
    }
}

/// Which operations show that the key, and its expiry time, had gone: a DEL, a command that found no key, or one
/// of another type, and took effect, or one that took the last element. A SET replaces any type and may keep the
/// time.
struct Ends<'a> {
    base: &'a Content,
    operations: &'a [&'a Operation],
    known: Vec<Option<bool>>,
    /// By site and number.
    order: Vec<usize>,
    /// Operations after which the key may be gone, or of another type than most.
    threats: Vec<usize>,
    kind: Kind,
}

impl<'a> Ends<'a> {
    fn new(base: &'a Content, operations: &'a [&'a Operation]) -> Ends<'a> {
        let mut order: Vec<usize> = (0..operations.len()).collect();
        order.sort_unstable_by_key(|&at| operations[at].dot);
        let kinds = operations.iter().map(|op| kind_of(&op.effect));
        let kind = kinds
            .clone()
            .find(|kind| *kind != Kind::Unknown)
            .unwrap_or(Kind::Unknown);
        let threatens = |op: &Operation| {
            let of = kind_of(&op.effect);
            removes(&op.effect) || of != Kind::Unknown && of != kind
        };
        let threats = (0..operations.len())
            .filter(|&at| threatens(operations[at]))
            .collect();
        Ends {
            base,
            operations,
            known: vec![None; operations.len()],
            order,
            threats,
            kind,
        }
    }

    fn at(&mut self, at: usize) -> bool {
        if let Some(known) = self.known[at] {
            return known;
        }
        let ends = self.find(at);
        self.known[at] = Some(ends);
        ends
    }

    fn find(&self, at: usize) -> bool {
        let op = self.operations[at];
        let kind = kind_of(&op.effect);
        match &op.effect {
            Effect::Del => return true,
            Effect::Restore { .. } | Effect::Opaque | Effect::Derived => return false,
            _ if kind == Kind::Unknown => return false,
            _ => {}
        }
        if is_write(&op.effect) && kind == self.kind && self.found_its_own(op) {
            return false;
        }
        let mut past: Vec<&Operation> = self
            .operations
            .iter()
            .copied()
            .filter(|other| op.is_after(other))
            .collect();
        if !is_write(&op.effect) {
            past.push(op);
            if evaluate_value(self.base, &past).kind == Kind::Absent {
                return true;
            }
            past.pop();
        }
        let found = if past.is_empty() {
            self.base.kind
        } else {
            evaluate_value(self.base, &past).kind
        };
        match found {
            Kind::Absent => true,
            Kind::Unknown | Kind::Other => false,
            found => found != kind && !matches!(op.effect, Effect::Set { .. }),
        }
    }

    /// Whether the site's operation before this one had made the key, and nothing that was seen since may have
    /// taken it away. That is so in long runs of writes, and spares looking at all of the past for each.
    fn found_its_own(&self, op: &Operation) -> bool {
        let place = self.order.partition_point(|&at| self.operations[at].dot < op.dot);
        let before = place
            .checked_sub(1)
            .map(|place| self.operations[self.order[place]]);
        let Some(before) = before.filter(|before| before.dot.site == op.dot.site) else {
            return false;
        };
        kind_of(&before.effect) == self.kind
            && creates(&before.effect)
            && !self.threats.iter().any(|&at| {
                let threat = self.operations[at];
                op.is_after(threat) && !before.is_after(threat)
            })
    }
}

fn removes(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Del | Effect::SetRemove(_) | Effect::HashRemove(_) | Effect::SortedRemove(_)
    )
}

/// Whether the key exists after it, whatever was there before.
fn creates(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Set { .. }
            | Effect::Count { .. }
            | Effect::Bits(_)
            | Effect::Union(_)
            | Effect::SetAdd(_)
            | Effect::HashSet(_)
            | Effect::HashCount { .. }
            | Effect::SortedAdd(_)
            | Effect::SortedCount { .. }
    )
}

//! The rules for data that has elements: the value that a set of operations prescribes.
//!
//! `a` covers `b` when b is in a's causal past and a overwrites it; operations that nothing covers are alive.
//! A DEL or SET covers the key, an effective command of another type covers everything of the first type
//! (the key had become empty), an HSET, ZADD, SREM, HDEL or ZREM covers its elements.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::content::{Content, Expiry, Kind, TEXT, Value, add, add_score, kind_of};
use super::operation::Operation;
use crate::command::effect::{Effect, SetExpiry};

/// The content that the rules prescribe for these operations on top of a base.
///
/// Every operation must be [element-wise](Operation::is_elementwise).
pub fn evaluate(base: &Content, operations: &[Operation]) -> Content {
    if operations.is_empty() {
        return base.clone();
    }
    let mut content = evaluate_value(base, operations);
    if content.kind != Kind::Absent {
        content.expiry = evaluate_expiry(base, operations);
    }
    content
}

fn evaluate_value(base: &Content, operations: &[Operation]) -> Content {
    let alive: Vec<&Operation> = operations.iter().filter(|op| is_alive(op, operations)).collect();
    let base_alive = !covers_base(base, operations);
    let kind = match alive.iter().max_by_key(|op| op.order()) {
        Some(latest) => kind_of(&latest.effect),
        None if base_alive && base.kind == Kind::Unknown => removal_kind(operations),
        None if base_alive => base.kind,
        None => Kind::Absent,
    };
    let hidden = !matches!(base.kind, Kind::Unknown | Kind::Absent | Kind::Other) && base.kind != kind;
    let mut content = if base_alive && !hidden {
        base.clone()
    } else {
        Content::absent()
    };
    content.kind = kind;
    match kind {
        Kind::Text => evaluate_text(&mut content, &alive),
        Kind::Set | Kind::Hash | Kind::Sorted => evaluate_elements(&mut content, kind, operations),
        Kind::Unknown | Kind::Absent | Kind::Other => {}
    }
    if content.is_empty() {
        Content::absent()
    } else {
        content
    }
}

/// The type that removals on an unknown base tell.
fn removal_kind(operations: &[Operation]) -> Kind {
    operations
        .iter()
        .map(|op| kind_of(&op.effect))
        .find(|kind| *kind != Kind::Unknown)
        .unwrap_or(Kind::Unknown)
}

fn is_reset(effect: &Effect) -> bool {
    matches!(effect, Effect::Del | Effect::Set { .. })
}

fn covers_base(base: &Content, operations: &[Operation]) -> bool {
    let mut kinds = operations
        .iter()
        .map(|op| kind_of(&op.effect))
        .filter(|kind| *kind != Kind::Unknown);
    let Some(first) = kinds.next() else {
        return operations.iter().any(|op| is_reset(&op.effect));
    };
    let base_fits = matches!(base.kind, Kind::Unknown | Kind::Absent | Kind::Other) || base.kind == first;
    operations.iter().any(|op| is_reset(&op.effect)) || kinds.any(|kind| kind != first) || !base_fits
}

/// Whether another operation that saw this one took the whole key from it.
fn key_covered(op: &Operation, operations: &[Operation]) -> bool {
    let kind = kind_of(&op.effect);
    operations.iter().any(|other| {
        let other_kind = kind_of(&other.effect);
        let overwrites = is_reset(&other.effect)
            || (other_kind != Kind::Unknown && kind != Kind::Unknown && other_kind != kind);
        overwrites && other.dot != op.dot && other.is_after(op)
    })
}

/// Whether a later operation overwrote this element of an operation.
fn element_covered(op: &Operation, element: &Bytes, operations: &[Operation]) -> bool {
    operations
        .iter()
        .any(|other| other.overwrites_element(element) && other.dot != op.dot && other.is_after(op))
}

fn is_alive(op: &Operation, operations: &[Operation]) -> bool {
    match &op.effect {
        Effect::Del | Effect::Expire { .. } => false,
        Effect::SetRemove(_) | Effect::HashRemove(_) | Effect::SortedRemove(_) => false,
        Effect::Set { .. } | Effect::Count { .. } => !key_covered(op, operations),
        _ => {
            !key_covered(op, operations)
                && op
                    .elements()
                    .any(|element| !element_covered(op, element, operations))
        }
    }
}

fn evaluate_text(content: &mut Content, alive: &[&Operation]) {
    let latest_set = alive
        .iter()
        .filter(|op| matches!(op.effect, Effect::Set { .. }))
        .max_by_key(|op| op.order());
    let mut value = match latest_set.map(|op| &op.effect) {
        Some(Effect::Set { value, .. }) => Value::Bytes(value.clone()),
        _ => content.get(&TEXT),
    };
    let mut counts: Vec<&&Operation> = alive
        .iter()
        .filter(|op| matches!(op.effect, Effect::Count { .. }))
        .collect();
    counts.sort_by_key(|op| op.order());
    for op in counts {
        if let Effect::Count { delta } = op.effect
            && let Some(sum) = add(&value, delta)
        {
            value = sum;
        }
    }
    content.elements.clear();
    content.rest_unknown = false;
    content.elements.insert(TEXT, value);
}

fn evaluate_elements(content: &mut Content, kind: Kind, operations: &[Operation]) {
    let mut by_element: BTreeMap<&Bytes, Vec<&Operation>> = BTreeMap::new();
    for op in operations.iter().filter(|op| kind_of(&op.effect) == kind) {
        for element in op.elements() {
            by_element.entry(element).or_default().push(op);
        }
    }
    for (element, touching) in by_element {
        let value = evaluate_element(content, element, &touching, operations);
        content.elements.insert(element.clone(), value);
    }
}

fn evaluate_element(
    content: &Content,
    element: &Bytes,
    touching: &[&Operation],
    operations: &[Operation],
) -> Value {
    let mut alive: Vec<&Operation> = touching
        .iter()
        .copied()
        .filter(|op| !key_covered(op, operations) && !element_covered(op, element, operations))
        .collect();
    alive.sort_by_key(|op| op.order());
    let latest = alive.iter().rev().find_map(|op| op.assigned(element));
    let overwritten = touching.iter().any(|op| op.overwrites_element(element));
    let mut value = match latest {
        Some(value) => value,
        None if overwritten => Value::Absent,
        None => content.get(element),
    };
    for op in alive {
        let sum = match &op.effect {
            Effect::HashCount { delta, .. } => add(&value, *delta),
            Effect::SortedCount { delta, .. } => add_score(&value, *delta),
            _ => continue,
        };
        value = sum.unwrap_or(value);
    }
    value
}

/// The register of the expiry time: the longest of those that nothing covers.
pub(super) fn evaluate_expiry(base: &Content, operations: &[Operation]) -> Expiry {
    let mut longest: Option<Expiry> = None;
    let ends: Vec<bool> = operations
        .iter()
        .map(|op| expiry_of(&op.effect).is_some() || ends_expiry(op, base, operations))
        .collect();
    let base_covered = ends.contains(&true);
    for op in operations {
        let sets = expiry_of(&op.effect);
        let covered = sets.is_some()
            && (operations.iter().zip(&ends))
                .any(|(other, &ends)| ends && other.dot != op.dot && other.is_after(op));
        if let (Some(expiry), false) = (sets, covered) {
            longest = Some(longest.map_or(expiry, |known| known.longest(expiry)));
        }
    }
    match longest {
        Some(expiry) => expiry,
        // Where types fight for the key, some site had to delete it, and with it the time.
        None if base_covered || kinds_fight(operations) => Expiry::Never,
        None => base.expiry,
    }
}

fn kinds_fight(operations: &[Operation]) -> bool {
    let kind = |op: &Operation| kind_of(&op.effect);
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

/// Whether an operation shows that the key, and its expiry time, had gone: a DEL, or a command that found no
/// key, or one of another type, and took effect. A SET replaces any type and may keep the time.
fn ends_expiry(op: &Operation, base: &Content, operations: &[Operation]) -> bool {
    let kind = kind_of(&op.effect);
    match &op.effect {
        Effect::Del => return true,
        Effect::Restore { .. } | Effect::Opaque | Effect::Derived => return false,
        _ if kind == Kind::Unknown => return false,
        _ => {}
    }
    if surely_finds_key(op, base, operations) {
        return false;
    }
    let past: Vec<Operation> = operations
        .iter()
        .filter(|other| op.is_after(other))
        .cloned()
        .collect();
    let found = if past.is_empty() {
        base.kind
    } else {
        evaluate_value(base, &past).kind
    };
    match found {
        Kind::Absent => true,
        Kind::Unknown | Kind::Other => false,
        found => found != kind && !matches!(op.effect, Effect::Set { .. }),
    }
}

/// Whether a key of the operation's type, or of one that is not followed, was there for certain: its past has
/// nothing that could have taken the key, or something that nothing took. It spares evaluating the whole past.
fn surely_finds_key(op: &Operation, base: &Content, operations: &[Operation]) -> bool {
    let kind = kind_of(&op.effect);
    let fits = |found: Kind| found == kind || matches!(found, Kind::Unknown | Kind::Other);
    let past = || operations.iter().filter(|other| op.is_after(other));
    let is_removal = |op: &Operation| {
        matches!(
            op.effect,
            Effect::SetRemove(_) | Effect::HashRemove(_) | Effect::SortedRemove(_)
        )
    };
    if !fits(base.kind) || past().any(|other| !fits(kind_of(&other.effect)) || is_removal(other)) {
        return false;
    }
    let dels: Vec<&Operation> = past().filter(|other| other.effect == Effect::Del).collect();
    dels.is_empty()
        || past().any(|other| {
            kind_of(&other.effect) != Kind::Unknown && !dels.iter().any(|del| del.is_after(other))
        })
}

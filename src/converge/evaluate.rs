//! The rules for data that has elements: the value that a set of operations prescribes.
//!
//! `a` covers `b` when b is in a's causal past and a overwrites it; operations that nothing covers are alive.
//! A DEL or SET covers the key, an effective command of another type covers everything of the first type
//! (the key had become empty), an HSET, ZADD, SREM, HDEL or ZREM covers its elements.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::content::{Content, Kind, TEXT, Value, add, add_in_any_order, add_score, kind_of};
use super::cover::Cover;
use super::entries::put_entries;
use super::expiry::register;
use super::fields::Around;
use super::list::put_list;
use super::mutation::{Mutation, off};
use super::operation::Operation;
use super::pieces::put_pieces;
use crate::command::effect::Effect;

/// The content that the rules prescribe for these operations on top of a base. `enders` are those that found the key
/// gone, or left it so: they end what they saw of the expiry time.
///
/// Every operation must be [element-wise](Operation::is_elementwise).
pub fn evaluate(base: &Content, operations: &[Operation], enders: &[Operation]) -> Content {
    if operations.is_empty() {
        return base.clone();
    }
    let operations: Vec<&Operation> = operations.iter().collect();
    let mut content = evaluate_content(base, &operations, enders);
    if content.kind != Kind::Absent {
        content.expiry = register(base, &operations, enders);
    }
    content
}

/// The same as a base that these operations become. Where nothing is in it, what superseded its elements may be left, and
/// the key never have gone, nor its expiry time.
pub(super) fn evaluate_base(base: &Content, operations: &[Operation], enders: &[Operation]) -> Content {
    let mut content = evaluate(base, operations, enders);
    if content.kind == Kind::Absent {
        let operations: Vec<&Operation> = operations.iter().collect();
        content.expiry = register(base, &operations, enders);
    }
    content
}

/// The same without expiry times.
pub(super) fn evaluate_value(base: &Content, operations: &[&Operation]) -> Content {
    evaluate_content(base, operations, &[])
}

/// The type of that: where something is there, nothing else has to be evaluated.
pub(super) fn evaluate_kind(base: &Content, operations: &[&Operation]) -> Kind {
    let cover = Cover::of(operations);
    let alive = latest_alive(operations, &cover).map(|op| kind_of(&op.effect));
    match alive {
        Some(kind @ (Kind::Text | Kind::Set | Kind::Hash | Kind::Sorted)) => kind,
        _ => evaluate_value(base, operations).kind,
    }
}

fn evaluate_content(base: &Content, operations: &[&Operation], enders: &[Operation]) -> Content {
    let cover = Cover::of(operations);
    let base_alive = !covers_base(base, operations);
    let kind = match latest_alive(operations, &cover) {
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
        Kind::Text => {
            let alive: Vec<&Operation> = (operations.iter().copied())
                .filter(|op| is_alive(op, &cover))
                .collect();
            evaluate_text(&mut content, &alive);
            put_pieces(&mut content, &alive, &cover);
        }
        Kind::Stream => put_entries(&mut content, operations, &cover),
        Kind::List => put_list(&mut content, operations, &cover),
        Kind::Set | Kind::Hash | Kind::Sorted => {
            evaluate_elements(&mut content, kind, operations, (&cover, enders));
        }
        Kind::Unknown | Kind::Absent | Kind::Other => {}
    }
    if content.is_empty() {
        Content::absent()
    } else {
        content
    }
}

/// The latest operation that is alive; where all are of one type, some one that is.
fn latest_alive<'a>(operations: &[&'a Operation], cover: &Cover<'_>) -> Option<&'a Operation> {
    let mut alive = operations.iter().rev().filter(|op| is_alive(op, cover));
    match cover.has_one_kind() {
        true => alive.next().copied(),
        false => alive
            .max_by_key(|op| (!off(Mutation::TypeConflict)).then(|| op.order()))
            .copied(),
    }
}

/// The type that removals on an unknown base tell.
fn removal_kind(operations: &[&Operation]) -> Kind {
    operations
        .iter()
        .map(|op| kind_of(&op.effect))
        .find(|kind| *kind != Kind::Unknown)
        .unwrap_or(Kind::Unknown)
}

pub(super) fn is_reset(effect: &Effect) -> bool {
    matches!(effect, Effect::Del | Effect::Set { .. })
}

pub(super) fn covers_base(base: &Content, operations: &[&Operation]) -> bool {
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

/// Whether it puts something there, rather than taking it away.
pub(super) fn is_write(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::SetRemove(_)
            | Effect::HashRemove(_)
            | Effect::SortedRemove(_)
            | Effect::StreamRemove(_)
            | Effect::StreamTrim(_)
            | Effect::ListPop { .. }
            | Effect::ListTook { .. }
            | Effect::ListRemove { .. }
            | Effect::FieldExpire { .. }
    )
}

pub(super) fn is_alive(op: &Operation, cover: &Cover<'_>) -> bool {
    match &op.effect {
        Effect::Del | Effect::Expire { .. } => false,
        effect if !is_write(effect) => false,
        // A stream stays when its last entry goes.
        Effect::Set { .. } | Effect::Count { .. } | Effect::StreamAdd { .. } => !cover.key_of(op),
        _ => !cover.key_of(op) && op.elements().any(|element| !cover.element_of(op, element)),
    }
}

fn evaluate_text(content: &mut Content, alive: &[&Operation]) {
    let latest_set = alive
        .iter()
        .filter(|op| matches!(op.effect, Effect::Set { .. }))
        .max_by_key(|op| (!off(Mutation::SetLatestWins)).then(|| op.order()));
    let mut value = match latest_set.map(|op| &op.effect) {
        Some(Effect::Set { value, .. }) => Value::Bytes(value.clone()),
        _ => content.get(&TEXT),
    };
    let counts = alive.iter().filter_map(|op| match op.effect {
        Effect::Count { delta } => Some((*op, delta)),
        _ => None,
    });
    value = add_counts(value, counts.collect());
    content.rest_unknown = false;
    content.elements.insert(TEXT, value);
}

/// Adds them up, in the order in which they were written where that matters.
fn add_counts(value: Value, mut counts: Vec<(&Operation, i64)>) -> Value {
    let deltas = counts.iter().map(|(_, delta)| *delta);
    if !off(Mutation::CountersAddUp)
        && let Some(sum) = add_in_any_order(&value, deltas)
    {
        return sum;
    }
    counts.sort_by_key(|(op, _)| op.order());
    if off(Mutation::CountersAddUp) {
        counts.truncate(1);
    }
    (counts.iter()).fold(value, |value, (_, delta)| add(&value, *delta).unwrap_or(value))
}

fn evaluate_elements(
    content: &mut Content,
    kind: Kind,
    operations: &[&Operation],
    (cover, enders): (&Cover<'_>, &[Operation]),
) {
    let around = Around::of(cover, enders);
    let mut by_element: BTreeMap<&Bytes, Vec<&Operation>> = BTreeMap::new();
    for op in operations.iter().filter(|op| kind_of(&op.effect) == kind) {
        for element in op.elements() {
            by_element.entry(element).or_default().push(op);
        }
    }
    for (element, touching) in by_element {
        let value = evaluate_element(content, element, &touching, cover);
        if kind == Kind::Hash {
            content.set_time(element, around.register(content, element, &touching));
        }
        content.elements.insert(element.clone(), value);
    }
}

fn evaluate_element(content: &Content, element: &Bytes, touching: &[&Operation], cover: &Cover<'_>) -> Value {
    let later = cover.of_element(element);
    let mut alive: Vec<&Operation> = touching
        .iter()
        .copied()
        .filter(|op| !cover.key_of(op) && !later.covers(op))
        .collect();
    let overwrites = |op: &&Operation| op.overwrites_element(element);
    let latest = (alive.iter())
        .filter(|op| op.assigns())
        .max_by_key(|op| (!off(Mutation::ElementLatestWins)).then(|| op.order()))
        .and_then(|op| op.assigned(element));
    let value = match latest {
        Some(value) => value,
        None if touching.iter().any(overwrites) => Value::Absent,
        None => content.get(element),
    };
    alive.retain(|op| matches!(op.effect, Effect::HashCount { .. } | Effect::SortedCount { .. }));
    let counts = alive.iter().filter_map(|op| match op.effect {
        Effect::HashCount { delta, .. } => Some((*op, delta)),
        _ => None,
    });
    let value = add_counts(value, counts.collect());
    alive.retain(|op| matches!(op.effect, Effect::SortedCount { .. }));
    alive.sort_by_key(|op| (!off(Mutation::ElementLatestWins)).then(|| op.order()));
    alive.iter().fold(value, |value, op| match op.effect {
        Effect::SortedCount { delta, .. } => add_score(&value, delta).unwrap_or(value),
        _ => value,
    })
}

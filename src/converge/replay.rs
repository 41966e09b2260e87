//! Commands whose result depends on state: replay in one order from one root.
//!
//! Canonical order of a key's operations: topological in causality, SETs as early as causality allows, then by
//! timestamp. It is the same at every site, and deterministic commands executed in the same
//! order from the same root give the same value.

use std::collections::BTreeSet;

use super::cover::join;
use super::list::{took_nothing, took_only};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::causality::{Dot, SiteIx, Vector};
use crate::command::effect::Effect;

/// Where a replay starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Whatever lay before the window.
    Base,
    /// No key.
    Empty,
    /// The value that this operation carries.
    State(Dot),
}

impl Root {
    /// The operation whose value it is.
    pub fn state(self) -> Option<Dot> {
        match self {
            Root::State(dot) => Some(dot),
            Root::Base | Root::Empty => None,
        }
    }
}

/// The canonical order: from this root, these operations (indexes into the list that was given).
#[derive(Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Where to start.
    pub root: Root,
    /// What to execute then.
    pub order: Vec<usize>,
}

/// Puts operations into canonical order.
///
/// A DEL has no place in it: what it saw is left out, and what it did not see survives. Expiry times are a register
/// of their own (see [`expiry`](super::expiry)) and left out, too, and so is what tells of another operation.
pub fn canonical(operations: &[Operation]) -> Canonical {
    let state = root_state(operations);
    let reset = joined(resets(operations));
    let is_left = |op: &Operation| {
        let is_value = !matches!(
            op.effect,
            Effect::Restore { .. } | Effect::Expire { .. } | Effect::ListTook { .. } | Effect::Del
        );
        is_value
            && !state.is_some_and(|state| state.sees(op.dot))
            && !reset.as_ref().is_some_and(|past| past.includes(op.dot))
    };
    // A pop has no place in it either, if what it took is gone with one that it had not seen.
    let is_empty = root_of(operations, state) == Root::Empty;
    let is_gone = |op: &Operation| {
        let unseen = || resets(operations).filter(|reset| !op.sees(reset.dot));
        let is_pop = matches!(op.effect, Effect::ListPop { .. });
        is_empty && is_pop && joined(unseen()).is_some_and(|past| took_only(op, &past))
    };
    let remaining = (0..operations.len())
        .filter(|&at| is_left(&operations[at]) && !is_gone(&operations[at]))
        .collect();
    let mut order = sort(operations, remaining);
    // What several took is taken once.
    let mut taken = BTreeSet::new();
    order.retain(|&at| !took_nothing(&operations[at], &mut taken));
    let is_set = |&at: &usize| matches!(operations[at].effect, Effect::Set { .. });
    // Whatever a SET had seen is gone, so nothing but earlier SETs stands before the last one.
    match order.iter().rposition(is_set) {
        Some(last) => Canonical {
            root: Root::Empty,
            order: order[last..].to_vec(),
        },
        None => Canonical {
            root: root_of(operations, state),
            order,
        },
    }
}

/// The shipped value that a replay starts from. One that has not seen a DEL is none: it holds what the DEL saw, and what
/// the DEL did not see survives, though that value has it as well. Of the snapshots of two sites the later one counts.
pub(super) fn root_state(operations: &[Operation]) -> Option<&Operation> {
    let state = latest_state(operations).map(|at| &operations[at])?;
    let mut deletions = operations.iter().filter(|op| op.effect == Effect::Del);
    let is_before = |op: &Operation| state.sees(op.dot) || op.is_state() && state.is_state();
    deletions.all(is_before).then_some(state)
}

/// Where a replay without SETs starts: with nothing behind a DEL, else from the shipped value, if there is one.
fn root_of(operations: &[Operation], state: Option<&Operation>) -> Root {
    match state {
        Some(state) => Root::State(state.dot),
        None if operations.iter().any(|op| op.effect == Effect::Del) => Root::Empty,
        None => Root::Base,
    }
}

fn resets(operations: &[Operation]) -> impl Iterator<Item = &Operation> {
    operations
        .iter()
        .filter(|op| matches!(op.effect, Effect::Del | Effect::Set { .. }))
}

/// What some of these have seen.
fn joined<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<Vector> {
    let mut joined = None;
    operations.for_each(|op| join(&mut joined, &op.past));
    joined
}

/// Of several shipped values that nothing newer covers, the latest.
fn latest_state(operations: &[Operation]) -> Option<usize> {
    let is_state = |op: &Operation| matches!(op.effect, Effect::Restore { .. });
    let is_covered = |op: &Operation| {
        operations
            .iter()
            .any(|other| is_state(other) && other.dot != op.dot && other.sees(op.dot))
    };
    (0..operations.len())
        .filter(|&at| is_state(&operations[at]) && !is_covered(&operations[at]))
        .max_by_key(|&at| operations[at].order())
}

/// Topological in causality, then by [`rank`]. A site's operations see each other, so only the first that is left
/// of each site can be next, and it is when it sees none of the other sites' firsts.
fn sort(operations: &[Operation], mut remaining: Vec<usize>) -> Vec<usize> {
    remaining.sort_unstable_by_key(|&at| operations[at].dot);
    let mut chains: Vec<&[usize]> = remaining
        .chunk_by(|&one, &next| operations[one].dot.site == operations[next].dot.site)
        .collect();
    let mut order = Vec::with_capacity(remaining.len());
    while !chains.is_empty() {
        let is_ready = |op: &Operation| !chains.iter().any(|chain| op.sees(operations[chain[0]].dot));
        let next = (0..chains.len())
            .filter(|&at| is_ready(&operations[chains[at][0]]))
            .min_by_key(|&at| rank(operations, chains[at][0]))
            // Causality has no cycles, so something is always ready.
            .unwrap_or(0);
        order.push(chains[next][0]);
        chains[next] = &chains[next][1..];
        chains.retain(|chain| !chain.is_empty());
    }
    order
}

/// Resets come first, then what was written first.
fn rank(operations: &[Operation], at: usize) -> impl Ord + use<> {
    let op = &operations[at];
    // Switched off, it is the order of arrival, another one at each site.
    (
        (!off(Mutation::ReplayOrder)).then(|| (!op.is_reset(), op.order())),
        if off(Mutation::ReplayOrder) { at } else { 0 },
    )
}

/// Whether the order of some of these was decided by us and not by causality.
pub fn any_concurrent(operations: &[Operation], order: &[usize]) -> bool {
    // The order is topological, so it is a chain exactly when each neighbour sees the one before it.
    order
        .windows(2)
        .any(|pair| !operations[pair[1]].sees(operations[pair[0]].dot))
}

/// Who ships the value when nobody can compute it: the origin of the latest derived command (only there was
/// it executed on what it read), else the site of the latest operation.
pub fn arbiter(operations: &[Operation], order: &[usize]) -> Option<SiteIx> {
    if off(Mutation::Arbiter) {
        return None;
    }
    let latest = |derived: bool| {
        order
            .iter()
            .map(|&at| &operations[at])
            .filter(|op| !derived || matches!(op.effect, Effect::Derived))
            .max_by_key(|op| op.order())
    };
    latest(true).or_else(|| latest(false)).map(|op| op.dot.site)
}

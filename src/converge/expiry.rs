//! The register of the expiry time: the longest of those that nothing covers.

use std::cell::LazyCell;

use super::content::{Content, Expiry, Kind, kind_of};
use super::cover::{join, outside_states};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::command::effect::{Effect, SetExpiry};

/// The expiry time that the rules prescribe for these operations on top of a base. The DELs among `enders` are those
/// that [found the key gone](super::life), whether they are still among the operations or not.
pub(super) fn register(base: &Content, operations: &[&Operation], enders: &[Operation]) -> Expiry {
    let enders = || enders.iter().filter(|op| op.effect == Effect::Del);
    let setting: Vec<(&Operation, Expiry)> = operations
        .iter()
        .filter_map(|op| Some((*op, expiry_of(&op.effect)?)))
        .collect();
    if setting.is_empty() {
        // Where types fight for the key, some site had to delete it, and with it the time.
        let is_gone = base.expiry == Expiry::Never || enders().next().is_some() || kinds_fight(operations);
        return if is_gone { Expiry::Never } else { base.expiry };
    }
    let set = setting.iter().map(|(op, _)| *op).filter(|op| !op.tells_time());
    let covering: Vec<&Operation> = set.chain(enders()).collect();
    let mut covered = None;
    covering.iter().for_each(|op| join(&mut covered, &op.past));
    let outside = LazyCell::new(|| outside_states(operations));
    let is_covered = |op: &Operation| {
        covered.as_ref().is_some_and(|past| past.includes(op.dot)) || op.is_state() && yields(op, &outside)
    };
    let alive = setting.into_iter().filter(|(op, _)| !is_covered(op));
    alive
        .map(|(_, expiry)| expiry)
        .reduce(|one, other| match off(Mutation::LongestExpiry) {
            true => other,
            false => one.longest(other),
        })
        .unwrap_or(Expiry::Never)
}

/// Whether the time in a snapshot is none any more because of something that it has not seen: what says itself what
/// becomes of the time, or of the key. What merely found no key there found what the snapshot holds.
fn yields(state: &Operation, outside: &[&Operation]) -> bool {
    let is_known = |kind: Kind| !matches!(kind, Kind::Unknown | Kind::Other);
    let decides = |other: &&&Operation| {
        let (here, there) = (kind_of(&state.effect), kind_of(&other.effect));
        let differ = here != there && is_known(here) && is_known(there);
        expiry_of(&other.effect).is_some() || other.effect == Effect::Del || differ
    };
    let mut deciding = outside.iter().filter(decides);
    deciding.any(|other| other.dot != state.dot && other.is_after(state))
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
            let (one, two) = (kind(op), kind(other));
            let differ = one != two && one != Kind::Unknown && two != Kind::Unknown;
            // What is done within a list leaves one.
            let is_within = matches!((one, two), (Kind::List, Kind::Other) | (Kind::Other, Kind::List));
            differ && !is_within && !op.is_after(other) && !other.is_after(op)
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

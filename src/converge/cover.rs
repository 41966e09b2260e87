//! Which operations are covered: what another one saw and overwrote.
//!
//! An operation's past is a version vector, so "somebody of these saw it" is one comparison with the join of their
//! pasts. That keeps evaluation linear in the operations of a key, however many a long cut has gathered.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::content::{Kind, kind_of};
use super::evaluate::{is_reset, is_write};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::causality::Vector;

/// The joined pasts of everything that overwrites.
#[derive(Debug, Default)]
pub(super) struct Cover<'a> {
    /// Of those that take the whole key.
    resets: Option<Vector>,
    /// Of those of each type: they take the key from every other type. None if there is but one.
    kinds: Vec<(Kind, Vector)>,
    /// Of those that take the place of an element.
    elements: BTreeMap<&'a Bytes, Vector>,
    /// All, where pasts are not enough: a part of a snapshot yields to what it has not seen, or a rule is switched off.
    beside: Vec<&'a Operation>,
}

/// The part of it that one element needs.
#[derive(Debug)]
pub(super) struct ElementCover<'c, 'a> {
    cover: &'c Cover<'a>,
    element: &'c Bytes,
    past: Option<&'c Vector>,
}

impl<'a> Cover<'a> {
    pub fn of(operations: &[&'a Operation]) -> Cover<'a> {
        let mut cover = Cover::default();
        if off(Mutation::ObservedRemove) || off(Mutation::AddWins) {
            cover.beside = operations.to_vec();
        } else if operations.iter().any(|op| op.tells_value()) {
            cover.beside = outside_states(operations);
        }
        let mut known = operations.iter().map(|op| kind_of(&op.effect)).filter(is_known);
        let first = known.next();
        let has_one_kind = known.all(|kind| Some(kind) == first);
        for op in operations {
            let kind = kind_of(&op.effect);
            if is_reset(&op.effect) {
                join(&mut cover.resets, &op.past);
            }
            if !has_one_kind && is_known(&kind) {
                cover.join_kind(kind, &op.past);
            }
            if !op.overwrites() {
                continue;
            }
            for element in op.elements() {
                match cover.elements.get_mut(element) {
                    Some(past) => {
                        past.join(&op.past);
                    }
                    None => {
                        cover.elements.insert(element, (*op.past).clone());
                    }
                }
            }
        }
        cover
    }

    /// Whether all operations are of one type, as far as they have one.
    pub fn has_one_kind(&self) -> bool {
        self.kinds.is_empty()
    }

    fn join_kind(&mut self, kind: Kind, past: &Vector) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, joined)) => {
                joined.join(past);
            }
            None => self.kinds.push((kind, past.clone())),
        }
    }

    /// Whether another operation that saw this one took the whole key from it.
    pub fn key_of(&self, op: &Operation) -> bool {
        let kind = kind_of(&op.effect);
        let saw = |past: &Vector| past.includes(op.dot);
        self.resets.as_ref().is_some_and(saw)
            || kind != Kind::Unknown && self.kinds.iter().any(|(other, past)| *other != kind && saw(past))
            || (op.is_state() || off(Mutation::ObservedRemove)) && self.is_taken_beside(op)
    }

    fn is_taken_beside(&self, op: &Operation) -> bool {
        let kind = kind_of(&op.effect);
        self.beside.iter().any(|other| {
            let other_kind = kind_of(&other.effect);
            let differ = other_kind != Kind::Unknown && kind != Kind::Unknown && other_kind != kind;
            let covers = other.is_after(op) || off(Mutation::ObservedRemove) && !op.sees(other.dot);
            (is_reset(&other.effect) || differ) && other.dot != op.dot && covers
        })
    }

    /// Whether a later operation overwrote this element of an operation.
    pub fn element_of(&self, op: &Operation, element: &Bytes) -> bool {
        self.of_element(element).covers(op)
    }

    /// What covers operations on one element.
    pub fn of_element<'c>(&'c self, element: &'c Bytes) -> ElementCover<'c, 'a> {
        ElementCover {
            past: self.elements.get(element),
            cover: self,
            element,
        }
    }

    fn is_overwritten_beside(&self, op: &Operation, element: &Bytes) -> bool {
        let mut beside = self.beside.iter();
        beside.any(|other| other.overwrites_element(element) && other.is_after(op) && other.dot != op.dot)
    }

    fn is_removed_beside(&self, op: &Operation, element: &Bytes) -> bool {
        let mut removals = self.beside.iter().filter(|other| !is_write(&other.effect));
        removals.any(|other| other.overwrites_element(element) && other.dot != op.dot && !op.sees(other.dot))
    }
}

impl ElementCover<'_, '_> {
    /// Whether a later operation overwrote what this one did to the element.
    pub fn covers(&self, op: &Operation) -> bool {
        self.past.is_some_and(|past| past.includes(op.dot))
            || op.is_state() && self.cover.is_overwritten_beside(op, self.element)
            || off(Mutation::AddWins) && self.cover.is_removed_beside(op, self.element)
    }
}

/// What no part of a snapshot has seen: the rest stands in that, and decides nothing about another one.
pub(super) fn outside_states<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let states: Vec<&&Operation> = operations.iter().filter(|op| op.tells_value()).collect();
    let is_inside = |op: &Operation| states.iter().any(|state| state.sees(op.dot));
    let outside = operations.iter().copied();
    outside.filter(|op| op.is_state() || !is_inside(op)).collect()
}

fn is_known(kind: &Kind) -> bool {
    *kind != Kind::Unknown
}

/// Joins a past to those known.
pub(super) fn join(joined: &mut Option<Vector>, past: &Vector) {
    match joined {
        Some(joined) => {
            joined.join(past);
        }
        None => *joined = Some(past.clone()),
    }
}

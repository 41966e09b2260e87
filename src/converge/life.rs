//! Which operations found the key gone, or left it so: what they saw of its expiry time is over.
//!
//! Whether the key was there depends on everything that an operation saw, and that includes what was superseded
//! since, by something that it did not see. So what is superseded stays as a ghost until nothing can come any more
//! that has seen it and not its successor: its place in causality and the elements that it names, no values. The
//! question is asked once for each operation, when it is added, for its past is complete then.
//!
//! Ghosts of one site that did the same and had seen the same of other sites differ in their numbers alone, and
//! of those that an operation saw only the last counts. They are kept as one, so a hot key costs two words for each.
//!
//! Invariant: `enders` holds, of all operations that are not folded, those that ended something and whose past is
//! in no other's.

mod presence;
mod shape;
mod wholes;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use self::presence::Presence;
use self::shape::{shape, stripped};
use self::wholes::is_gone_in_replay;
use super::content::{Content, Kind, kind_of};
use super::cover::join;
use super::evaluate::{evaluate_kind, evaluate_value, is_reset, is_write};
use super::fields::found_none;
use super::list::Taken;
use super::operation::Operation;
use crate::causality::{Dot, Hlc, Seq, Vector};
use crate::command::effect::{Effect, SetExpiry};

/// A new ghost is put to one of so many last ones, if it continues it.
const CHAINS_OPEN: usize = 8;
/// How many of the newest operations are looked at for a write that tells that a key is there.
const NEAR: usize = 16;

/// What is known of a key's presence.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// What is folded, with all that was superseded; its values mean nothing.
    base: Content,
    /// The same on what was read of the own database.
    read: Option<Content>,
    is_hidden: bool,
    ghosts: Vec<Ghost>,
    enders: Vec<Operation>,
    /// All that ended something, also those whose past is in another one's.
    ended: BTreeSet<Dot>,
    presence: Presence,
    /// Fields may have expiry times.
    has_times: bool,
    /// Something tells that the key had gone, beside removals of elements.
    has_reset: bool,
    has_state: bool,
    /// All that is in some operation's past.
    seen: Option<Vector>,
}

/// Superseded operations of one site.
#[derive(Debug, Clone)]
struct Ghost {
    /// The last of them, without values.
    last: Operation,
    /// Those before it, in order.
    earlier: Vec<(Seq, Hlc)>,
}

impl Life {
    /// Nothing is known.
    pub fn new() -> Life {
        Life {
            base: Content::unknown(),
            read: None,
            is_hidden: false,
            ghosts: Vec::new(),
            enders: Vec::new(),
            ended: BTreeSet::new(),
            presence: Presence::new(),
            has_times: false,
            has_reset: false,
            has_state: false,
            seen: None,
        }
    }

    /// The operations that ended something, as DELs; those that found fields gone, as HDELs of these. Of DELs, what
    /// another one's past includes is left out.
    pub fn enders(&self) -> &[Operation] {
        &self.enders
    }

    /// An operation is added to those that are there.
    pub fn add(&mut self, op: &Operation, operations: &[Operation]) {
        let is_late = self.seen.as_ref().is_some_and(|seen| seen.includes(op.dot));
        self.note(op);
        if is_late {
            // What empties a whole database meets a key when others have already seen it.
            let mut operations = operations.to_vec();
            operations.push(op.clone());
            self.review(&operations);
        } else {
            if self.ends(op, operations) {
                self.end(op);
            }
            self.end_times(op, operations);
        }
        match &mut self.seen {
            Some(seen) => {
                seen.join(&op.past);
            }
            None => self.seen = Some((*op.past).clone()),
        }
    }

    fn note(&mut self, op: &Operation) {
        self.has_state |= op.tells_value();
        self.has_times |= matches!(op.effect, Effect::FieldExpire { .. });
        self.presence.note(op);
        self.has_reset |= tells_of_end(&op.effect, self.presence.kind());
    }

    fn end(&mut self, op: &Operation) {
        let is_within = |older: &Operation| {
            let is_key = older.effect == Effect::Del;
            is_key && op.sees(older.dot) && (older.is_state() || !op.is_state())
        };
        self.enders.retain(|older| !is_within(older));
        self.enders.push(stripped(op, Effect::Del));
        self.ended.insert(op.dot);
    }

    /// It may have found fields gone, and with them their times.
    fn end_times(&mut self, op: &Operation, operations: &[Operation]) {
        let keeps = matches!(
            op.effect,
            Effect::HashCount { .. }
                | Effect::HashSetTimed {
                    expiry: SetExpiry::Keep,
                    ..
                }
        );
        if !self.has_times || !keeps {
            return;
        }
        let past = self.past_of(op, operations);
        let seen: Vec<&Operation> = past.iter().map(AsRef::as_ref).collect();
        let fields = found_none(op, &seen, self.base());
        if !fields.is_empty() {
            self.enders.push(stripped(op, Effect::HashRemove(fields)));
        }
    }

    /// All that an operation really saw: a part of a snapshot that counts as older was not there. What a DEL among it had
    /// seen tells nothing any more, and is left out; but not beside a part of a snapshot, which yields to what it has not seen.
    fn past_of<'a>(&'a self, op: &Operation, operations: &'a [Operation]) -> Vec<Cow<'a, Operation>> {
        let deleted = (!self.has_state).then(|| self.presence.deleted_in(&op.past));
        let is_left = |dot: Dot| !deleted.as_ref().is_some_and(|deleted| deleted.includes(dot));
        let left = self.ghosts.iter().filter(|ghost| is_left(ghost.last.dot));
        let ghosts = left.filter_map(|ghost| ghost.seen_by(op));
        let seen = |other: &&Operation| other.dot != op.dot && op.sees(other.dot) && is_left(other.dot);
        let others = operations.iter().filter(seen).map(Cow::Borrowed);
        ghosts.chain(others).collect()
    }

    /// All is asked again, in an order that causality allows.
    fn review(&mut self, operations: &[Operation]) {
        self.enders.clear();
        self.ended.clear();
        self.presence.forget_views();
        let over = self.over(operations);
        // In a chain only the first can have found no key.
        let ghosts = self.ghosts.iter().map(Ghost::first);
        let there = operations.iter().map(Cow::Borrowed);
        let mut all: Vec<Cow<'_, Operation>> = ghosts.chain(there).collect();
        all.sort_by_key(|op| op.past.entries().map(|(_, seq)| seq).sum::<Seq>());
        let all: Vec<Operation> = all.into_iter().map(Cow::into_owned).collect();
        for op in &all {
            if !over.contains(&op.dot) && self.ends(op, &all) {
                self.end(op);
            }
            self.end_times(op, &all);
        }
    }

    /// The ghosts that do not have to be asked: a DEL that is left ends all that it saw, and so all that they ended.
    fn over(&self, operations: &[Operation]) -> BTreeSet<Dot> {
        let mut gone = None;
        let deletes = operations
            .iter()
            .filter(|op| op.effect == Effect::Del && !op.is_state());
        deletes.for_each(|op| join(&mut gone, &op.past));
        let firsts = self.ghosts.iter().map(|ghost| ghost.first().dot);
        firsts
            .filter(|dot| gone.as_ref().is_some_and(|gone| gone.includes(*dot)))
            .collect()
    }

    fn ends(&mut self, op: &Operation, operations: &[Operation]) -> bool {
        match &op.effect {
            Effect::Del => return true,
            Effect::Expire { .. } | Effect::FieldExpire { .. } | Effect::ListTook { .. } => return false,
            Effect::Restore { .. } | Effect::Derived => return false,
            Effect::Opaque => return self.may_be_gone() && self.found_no_value(op, operations),
            // A stream stays when its last entry goes.
            Effect::StreamRemove(_) | Effect::StreamTrim(_) | Effect::StreamSplice(_) => return false,
            // It sets the time, and so ends what it saw.
            Effect::Set {
                expiry: SetExpiry::Clear | SetExpiry::At(_),
                ..
            } => return false,
            _ => {}
        }
        if !self.may_be_gone() {
            return false;
        }
        let base = known_base(&self.base, self.read.as_ref(), self.is_hidden);
        let known = (!self.has_state).then(|| self.presence.ends(op, base));
        known.flatten().unwrap_or_else(|| self.looks_gone(op, operations))
    }

    /// Whether a write of the same type is near, of which nothing that takes anything can have seen what it left: then not
    /// all of the past has to be looked at. A part of a snapshot yields to what it has not seen, so it tells nothing.
    fn found_a_write(&self, op: &Operation, operations: &[Operation]) -> bool {
        let kind = kind_of(&op.effect);
        let is_by_element = matches!(kind, Kind::Text | Kind::Set | Kind::Hash | Kind::Sorted);
        let fits = |base: Kind| matches!(base, Kind::Unknown | Kind::Absent) || base == kind;
        if !is_by_element || self.presence.has_others() || !fits(self.base().kind) {
            return false;
        }
        let is_plain = |other: &Operation| is_write(&other.effect) && kind_of(&other.effect) == kind;
        let is_left = |other: &Operation| {
            is_plain(other) && op.sees(other.dot) && !other.is_state() && !other.is_conditional()
        };
        let mut near = operations.iter().enumerate().rev().take(NEAR);
        let Some((at, write)) = near.find(|(_, other)| is_left(other)) else {
            return false;
        };
        let takes = |other: &Operation| !is_plain(other) && other.sees(write.dot);
        // What has seen it stands behind it.
        !operations[at + 1..].iter().any(takes) && !self.ghosts.iter().any(|ghost| takes(&ghost.last))
    }

    /// Looks at all of the past, where it must.
    fn looks_gone(&self, op: &Operation, operations: &[Operation]) -> bool {
        if is_write(&op.effect) && self.found_a_write(op, operations) {
            return false;
        }
        let kind = kind_of(&op.effect);
        let past = self.past_of(op, operations);
        let mut past: Vec<&Operation> = past.iter().map(AsRef::as_ref).collect();
        if is_value_left(&past) {
            return false;
        }
        if let Some(is_gone) = is_gone_in_replay(self.base(), &past, op) {
            return is_gone;
        }
        let found = kind_left(self.base(), &past, kind);
        let is_gone = match found {
            Kind::Absent => true,
            Kind::Unknown | Kind::Other => false,
            found => found != kind && !matches!(op.effect, Effect::Set { .. }),
        };
        if is_gone || is_write(&op.effect) {
            return is_gone;
        }
        past.push(op);
        kind_left(self.base(), &past, kind) == Kind::Absent
    }

    /// Whether the key can be known to have gone. On a base that is not known, removals of elements tell nothing.
    fn may_be_gone(&self) -> bool {
        let kind = self.base().kind;
        let is_open = matches!(kind, Kind::Unknown | Kind::Other) || kind == self.presence.kind();
        self.has_reset || !self.base().rest_unknown || !is_open
    }

    fn base(&self) -> &Content {
        known_base(&self.base, self.read.as_ref(), self.is_hidden)
    }

    /// An operation was superseded.
    pub fn bury(&mut self, op: &Operation) {
        if matches!(op.effect, Effect::Expire { .. } | Effect::FieldExpire { .. }) {
            return;
        }
        let ghost = stripped(op, shape(&op.effect));
        let mut open = self.ghosts.iter_mut().rev().take(CHAINS_OPEN);
        match open.find(|last| last.is_continued_by(&ghost)) {
            Some(chain) => {
                chain.earlier.push((chain.last.dot.seq, chain.last.time));
                chain.last = ghost;
            }
            None => self.ghosts.push(Ghost {
                last: ghost,
                earlier: Vec::new(),
            }),
        }
    }

    /// The enders among what is folded.
    pub fn enders_in(&self, folded: &Vector) -> Vec<Operation> {
        let is_folded = |op: &&Operation| folded.includes(op.dot);
        self.enders.iter().filter(is_folded).cloned().collect()
    }

    /// Whether this operation ended something.
    pub fn has_ended(&self, dot: Dot) -> bool {
        self.ended.contains(&dot)
    }

    /// Whether every operation may have to be looked at to say what another one found.
    pub fn needs_all(&self) -> bool {
        self.has_state || self.presence.has_others()
    }

    /// How many are kept.
    pub fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// All that were superseded and are not folded.
    pub fn all_ghosts(&self) -> impl Iterator<Item = Cow<'_, Operation>> {
        self.ghosts.iter().flat_map(Ghost::all)
    }

    /// What is folded, on what was not read.
    pub fn folded(&self) -> &Content {
        &self.base
    }

    /// A list was read: the base is this. [`Life::learn`] follows.
    pub fn learn_base(&mut self, base: &Content) {
        self.read = Some(base.clone());
    }

    /// Whether what was read of the base does not count.
    pub fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    /// What pops took is known now, or known better. Where the base is hidden, what was read of it does not count:
    /// other sites could not read it.
    pub fn learn(&mut self, took: &BTreeMap<Dot, Option<Taken>>, operations: &[Operation], is_hidden: bool) {
        self.is_hidden = is_hidden;
        let teach = |op: &mut Operation| {
            if let (Effect::ListPop { took: known, .. }, Some(found)) = (&mut op.effect, took.get(&op.dot)) {
                known.clone_from(found);
            }
        };
        self.ghosts.iter_mut().for_each(|ghost| teach(&mut ghost.last));
        let mut operations = operations.to_vec();
        operations.iter_mut().for_each(teach);
        self.presence = Presence::new();
        for op in self.ghosts.iter().flat_map(Ghost::all) {
            self.presence.note(&op);
        }
        operations.iter().for_each(|op| self.presence.note(op));
        self.review(&operations);
    }

    /// A pop that nobody has seen took this, and not that; no more and no less.
    pub fn retake(&mut self, pop: &Operation, before: &Taken, now: &Taken) {
        let names = |taken: &Taken| {
            taken
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<BTreeSet<Bytes>>()
        };
        self.presence.retake(pop, &names(before), &names(now));
    }

    /// The last of each chain of ghosts: those before it have seen as much of other sites. What a ghost that stays has
    /// not seen must stay, too: a DEL among them would cover it in the base.
    pub fn latest_ghosts(&self) -> impl Iterator<Item = &Operation> {
        self.ghosts.iter().map(|ghost| &ghost.last)
    }

    /// These operations, and all ghosts that `seen` includes, are base from now on; all that stays and all that will
    /// come has seen them.
    pub fn fold(&mut self, seen: &Vector, folded: &[Operation], kept: &[Operation]) {
        let mut ghosts = Vec::new();
        self.ghosts.retain_mut(|ghost| {
            ghosts.extend(ghost.take(seen));
            !seen.includes(ghost.last.dot)
        });
        let gone: Vec<&Operation> = folded.iter().chain(&ghosts).collect();
        if !gone.is_empty() {
            let kind = self.presence.kind();
            self.base = left_by(&self.base, &gone, kind);
            self.read = self.read.as_ref().map(|read| left_by(read, &gone, kind));
        }
        self.forget(seen, kept);
    }

    /// Nothing is known any more of what was before the operations that are kept.
    pub fn restart(&mut self, seen: &Vector, kept: &[Operation]) {
        self.ghosts.retain_mut(|ghost| {
            ghost.take(seen);
            !seen.includes(ghost.last.dot)
        });
        self.base = Content::unknown();
        (self.read, self.is_hidden) = (None, false);
        self.forget(seen, kept);
        // By what was before, which another site may have forgotten before these came.
        self.review(kept);
    }

    fn forget(&mut self, seen: &Vector, kept: &[Operation]) {
        self.enders.retain(|op| !seen.includes(op.dot));
        self.ended.retain(|dot| !seen.includes(*dot));
        let left = || self.ghosts.iter().map(|ghost| &ghost.last).chain(kept);
        if self.presence.forget(seen) {
            self.presence = Presence::new();
            let ghosts = self.ghosts.iter().flat_map(Ghost::all);
            let all = ghosts.chain(kept.iter().map(Cow::Borrowed));
            all.for_each(|op| self.presence.note(&op));
        }
        let kind = self.presence.kind();
        self.has_times = left().any(|op| matches!(op.effect, Effect::FieldExpire { .. }));
        self.has_state = left().any(Operation::tells_value);
        self.has_reset = left().any(|op| tells_of_end(&op.effect, kind));
    }
}

/// What was read of it counts where it is not hidden.
fn known_base<'a>(folded: &'a Content, read: Option<&'a Content>, is_hidden: bool) -> &'a Content {
    read.filter(|_| !is_hidden).unwrap_or(folded)
}

/// What these leave of a base. What is done to a stream's groups or within a list, and to another value as a whole, leaves
/// it there, though the rules by element take it for another type.
fn left_by(base: &Content, operations: &[&Operation], kind: Kind) -> Content {
    let operations = &without_void_values(operations)[..];
    let left = |operations: &[&Operation]| match operations.is_empty() {
        true => base.clone(),
        false => evaluate_value(base, operations),
    };
    if is_whole_left(operations, kind) {
        return Content {
            kind: Kind::Other,
            ..Content::unknown()
        };
    }
    let is_named = |op: &&Operation| kind_of(&op.effect) != Kind::Other;
    let named: Vec<&Operation> = operations.iter().copied().filter(is_named).collect();
    let without = left(&named);
    match without.kind {
        Kind::Stream | Kind::List => without,
        _ => left(operations),
    }
}

/// Whether these include the value in a snapshot, and nothing that took the key behind it.
fn is_value_left(operations: &[&Operation]) -> bool {
    let is_value = |op: &&&Operation| op.is_state() && matches!(op.effect, Effect::Restore { .. });
    let is_taken = |value: &Operation| {
        let mut others = operations.iter();
        others.any(|op| is_reset(&op.effect) && op.is_after(value))
    };
    operations.iter().filter(is_value).any(|value| !is_taken(value))
}

/// Without the values that were sent and have not seen one of the DELs: in a replay they are nothing.
fn without_void_values<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let deletes = || operations.iter().filter(|op| op.effect == Effect::Del);
    let is_void = |op: &Operation| {
        let is_sent = matches!(op.effect, Effect::Restore { .. }) && !op.is_state();
        is_sent && deletes().any(|delete| !op.sees(delete.dot))
    };
    operations.iter().copied().filter(|op| !is_void(op)).collect()
}

/// The type of that.
fn kind_left(base: &Content, operations: &[&Operation], kind: Kind) -> Kind {
    match operations.iter().any(|op| kind_of(&op.effect) == Kind::Other) {
        true => left_by(base, operations, kind).kind,
        false if operations.is_empty() => base.kind,
        false => evaluate_kind(base, operations),
    }
}

/// Whether these, which no other type fights with, include a command on the value as a whole, and no DEL behind it.
fn is_whole_left(operations: &[&Operation], of: Kind) -> bool {
    if matches!(of, Kind::Unknown | Kind::List | Kind::Stream) {
        return false;
    }
    let kind = |op: &&Operation| kind_of(&op.effect);
    let mut wholes = operations.iter().filter(|op| kind(op) == Kind::Other);
    let is_deleted =
        |whole: &Operation| (operations.iter()).any(|op| op.effect == Effect::Del && op.sees(whole.dot));
    let is_alone = || {
        let mut kinds = operations.iter().map(kind);
        kinds.all(|kind| kind == of || matches!(kind, Kind::Other | Kind::Unknown))
    };
    wholes.any(|whole| !is_deleted(whole)) && is_alone()
}

/// Whether it tells that a key of this type had gone, beside removals of elements.
fn tells_of_end(effect: &Effect, kind: Kind) -> bool {
    let own = kind_of(effect);
    // What is done to a stream's groups takes nothing of it, and what is done within a list leaves one.
    let is_within = matches!(
        (own, kind),
        (Kind::Stream | Kind::List, Kind::Other) | (Kind::Other, Kind::Stream | Kind::List)
    );
    is_reset(effect) || own != Kind::Unknown && own != kind && !is_within
}

impl Ghost {
    /// Whether the next one is of the same site, does the same, and saw nothing else of other sites.
    fn is_continued_by(&self, next: &Operation) -> bool {
        let (site, last) = (next.dot.site, &self.last);
        let mut others = last.past.entries().zip(next.past.entries());
        last.dot.site == site
            && last.dot.seq < next.dot.seq
            && last.effect == next.effect
            // What each took is another thing, known or not.
            && !matches!(last.effect, Effect::ListPop { .. })
            && !last.is_state()
            && !next.is_state()
            && others.all(|((of, one), (_, other))| of == site || one == other)
    }

    /// The one with this number, and with the past that it had.
    fn at(&self, (seq, time): (Seq, Hlc)) -> Operation {
        let site = self.last.dot.site;
        let mut past = Vector::zero(self.last.past.entries().count());
        for (of, upto) in self.last.past.entries() {
            past.advance(of, if of == site { seq.saturating_sub(1) } else { upto });
        }
        Operation {
            dot: Dot { site, seq },
            past: Rc::new(past),
            time,
            ..self.last.clone()
        }
    }

    fn all(&self) -> impl Iterator<Item = Cow<'_, Operation>> {
        let earlier = self.earlier.iter().map(|&one| Cow::Owned(self.at(one)));
        earlier.chain([Cow::Borrowed(&self.last)])
    }

    fn first(&self) -> Cow<'_, Operation> {
        match self.earlier.first() {
            Some(&first) => Cow::Owned(self.at(first)),
            None => Cow::Borrowed(&self.last),
        }
    }

    /// The last that this operation saw.
    fn seen_by(&self, op: &Operation) -> Option<Cow<'_, Operation>> {
        if op.sees(self.last.dot) {
            return Some(Cow::Borrowed(&self.last));
        }
        let upto = op.past.get(self.last.dot.site);
        let seen = self.earlier.partition_point(|&(seq, _)| seq <= upto);
        let last = self.earlier[..seen].last()?;
        Some(Cow::Owned(self.at(*last)))
    }

    /// Takes out what is included, and gives the last of it.
    fn take(&mut self, seen: &Vector) -> Option<Operation> {
        let upto = seen.get(self.last.dot.site);
        let count = self.earlier.partition_point(|&(seq, _)| seq <= upto);
        let earlier = self.earlier[..count].last().map(|&last| self.at(last));
        self.earlier.drain(..count);
        match seen.includes(self.last.dot) {
            true => Some(self.last.clone()),
            false => earlier,
        }
    }
}

#[cfg(test)]
mod tests;

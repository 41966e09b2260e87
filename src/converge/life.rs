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

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::content::{Content, Kind, TEXT, Value, kind_of};
use super::evaluate::{evaluate_value, is_reset, is_write};
use super::operation::Operation;
use crate::causality::{Dot, Hlc, Seq, Vector};
use crate::command::effect::{Effect, SetExpiry};

/// A new ghost is put to one of so many last ones, if it continues it.
const CHAINS_OPEN: usize = 8;
/// Elements that are looked at before all of the past is.
const WITNESSES: usize = 64;

/// What took something away, each with its past.
type Threats = BTreeMap<Dot, Rc<Vector>>;

/// What is known of a key's presence.
#[derive(Debug)]
pub(super) struct Life {
    /// What is folded, with all that was superseded; its values mean nothing.
    base: Content,
    ghosts: Vec<Ghost>,
    enders: Vec<Operation>,
    /// The type of the first operation, and of most.
    kind: Kind,
    deletes: Threats,
    /// Operations of other types.
    others: Threats,
    elements: BTreeMap<Bytes, Element>,
    /// Elements that were put there lately.
    witnesses: VecDeque<Bytes>,
    /// Something tells that the key had gone, beside removals of elements.
    has_reset: bool,
    has_state: bool,
    /// All that is in some operation's past.
    seen: Option<Vector>,
}

/// What happened to one element; a string is one.
#[derive(Debug, Default)]
struct Element {
    /// By site, in order: what puts it there.
    creations: Vec<Vec<Seq>>,
    removals: Threats,
}

/// Superseded operations of one site.
#[derive(Debug)]
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
            ghosts: Vec::new(),
            enders: Vec::new(),
            kind: Kind::Unknown,
            deletes: Threats::new(),
            others: Threats::new(),
            elements: BTreeMap::new(),
            witnesses: VecDeque::new(),
            has_reset: false,
            has_state: false,
            seen: None,
        }
    }

    /// The operations that ended something, as DELs. What another one's past includes is left out.
    pub fn enders(&self) -> &[Operation] {
        &self.enders
    }

    /// An operation is added to those that are there.
    pub fn add(&mut self, op: &Operation, operations: &[Operation]) {
        let is_late = self.seen.as_ref().is_some_and(|seen| seen.includes(op.dot));
        self.note(op);
        if is_late {
            // What empties a whole database meets a key when others have already seen it.
            self.review(op, operations);
        } else if self.ends(op, operations) {
            self.end(op);
        }
        match &mut self.seen {
            Some(seen) => {
                seen.join(&op.past);
            }
            None => self.seen = Some((*op.past).clone()),
        }
    }

    fn note(&mut self, op: &Operation) {
        self.has_state |= op.is_state();
        let kind = kind_of(&op.effect);
        if self.kind == Kind::Unknown {
            self.kind = kind;
        }
        let is_other = kind != Kind::Unknown && kind != self.kind;
        self.has_reset |= is_other || is_reset(&op.effect);
        if is_other {
            self.others.insert(op.dot, Rc::clone(&op.past));
        } else if op.effect == Effect::Del {
            self.deletes.insert(op.dot, Rc::clone(&op.past));
        } else if !is_write(&op.effect) {
            for name in op.elements() {
                let removals = &mut self.element(name).removals;
                removals.insert(op.dot, Rc::clone(&op.past));
            }
        } else if matches!(op.effect, Effect::Set { .. } | Effect::Count { .. }) {
            self.element(&TEXT).put(op.dot);
            self.witness(&TEXT);
        } else {
            for name in op.elements() {
                self.element(name).put(op.dot);
                self.witness(name);
            }
        }
    }

    fn element(&mut self, name: &Bytes) -> &mut Element {
        // Looked up twice so that the name is copied once: it must not hold the batch that it came in.
        if !self.elements.contains_key(name) {
            self.elements
                .insert(Bytes::copy_from_slice(name), Element::default());
        }
        self.elements.entry(name.clone()).or_default()
    }

    fn witness(&mut self, name: &Bytes) {
        let mut recent = self.witnesses.iter().take(CHAINS_OPEN);
        if recent.all(|known| known != name) {
            self.witnesses.truncate(WITNESSES - 1);
            self.witnesses.push_front(Bytes::copy_from_slice(name));
        }
    }

    fn end(&mut self, op: &Operation) {
        let is_within = |older: &Operation| op.sees(older.dot) && (older.is_state() || !op.is_state());
        self.enders.retain(|older| !is_within(older));
        self.enders.push(stripped(op, Effect::Del));
    }

    /// All is asked again, in an order that causality allows.
    fn review(&mut self, late: &Operation, operations: &[Operation]) {
        self.enders.clear();
        // In a chain only the first can have found no key.
        let ghosts = self.ghosts.iter().map(Ghost::first);
        let there = operations.iter().chain([late]).map(Cow::Borrowed);
        let mut all: Vec<Cow<'_, Operation>> = ghosts.chain(there).collect();
        all.sort_by_key(|op| op.past.entries().map(|(_, seq)| seq).sum::<Seq>());
        let all: Vec<Operation> = all.into_iter().map(Cow::into_owned).collect();
        for op in &all {
            if self.ends(op, &all) {
                self.end(op);
            }
        }
    }

    fn ends(&mut self, op: &Operation, operations: &[Operation]) -> bool {
        match &op.effect {
            Effect::Del => return true,
            Effect::Expire { .. } | Effect::Restore { .. } | Effect::Opaque | Effect::Derived => {
                return false;
            }
            // It sets the time, and so ends what it saw.
            Effect::Set {
                expiry: SetExpiry::Clear | SetExpiry::At(_),
                ..
            } => return false,
            _ => {}
        }
        if !self.may_be_gone() || self.is_surely_there(op) {
            return false;
        }
        self.is_surely_gone(op) || self.looks_gone(op, operations)
    }

    /// Looks at all of the past.
    fn looks_gone(&mut self, op: &Operation, operations: &[Operation]) -> bool {
        let kind = kind_of(&op.effect);
        let ghosts: Vec<Cow<'_, Operation>> =
            self.ghosts.iter().filter_map(|ghost| ghost.seen_by(op)).collect();
        let mut past: Vec<&Operation> = ghosts.iter().map(AsRef::as_ref).collect();
        past.extend(
            operations
                .iter()
                .filter(|other| other.dot != op.dot && op.is_after(other)),
        );
        let found = match past.is_empty() {
            true => self.base.kind,
            false => evaluate_value(&self.base, &past).kind,
        };
        let is_gone = match found {
            Kind::Absent => true,
            Kind::Unknown | Kind::Other => false,
            found => found != kind && !matches!(op.effect, Effect::Set { .. }),
        };
        if is_gone || is_write(&op.effect) {
            return is_gone;
        }
        past.push(op);
        let left = evaluate_value(&self.base, &past);
        drop(ghosts);
        let is_there = |(name, value): (Bytes, Value)| (value != Value::Absent).then_some(name);
        let left_there = left.elements.into_iter().filter_map(is_there);
        self.witnesses = left_there
            .chain(self.witnesses.drain(..))
            .take(WITNESSES)
            .collect();
        left.kind == Kind::Absent
    }

    /// Whether the key can be known to have gone. On a base that is not known, removals of elements tell nothing.
    fn may_be_gone(&self) -> bool {
        let is_open = matches!(self.base.kind, Kind::Unknown | Kind::Other) || self.base.kind == self.kind;
        self.has_reset || !self.base.rest_unknown || !is_open
    }

    /// Whether it saw some element be put there that nothing which it saw has taken away, nor does itself. That is
    /// nearly always so, and spares looking at all of the past.
    fn is_surely_there(&self, op: &Operation) -> bool {
        let kind = kind_of(&op.effect);
        let mut gone = Vector::zero(op.past.entries().count());
        if self.has_state || kind != self.kind || join_seen(&self.others, op, &mut gone) {
            return false;
        }
        let is_deleted = join_seen(&self.deletes, op, &mut gone);
        let is_left = |name: &&Bytes| is_write(&op.effect) || !op.overwrites_element(name);
        self.witnesses.iter().filter(is_left).any(|name| {
            let mut gone = gone.clone();
            let element = self.elements.get(name);
            let is_removed = element.is_some_and(|element| join_seen(&element.removals, op, &mut gone));
            let is_put = element.is_some_and(|element| element.is_put(op, &gone));
            let is_in_base = || (self.base.elements.get(name)).is_some_and(|value| *value != Value::Absent);
            is_put || !is_deleted && !is_removed && self.base.kind == kind && is_in_base()
        })
    }

    /// Whether all that it saw is a DEL, and what that one saw.
    fn is_surely_gone(&self, op: &Operation) -> bool {
        let is_all = |(dot, past): (&Dot, &Rc<Vector>)| {
            let seq_of = |site| past.get(site).max(if site == dot.site { dot.seq } else { 0 });
            op.past.entries().all(|(site, seq)| seq <= seq_of(site))
        };
        !self.has_state && last_seen(&self.deletes, op).any(is_all)
    }

    /// An operation was superseded.
    pub fn bury(&mut self, op: &Operation) {
        if matches!(op.effect, Effect::Expire { .. }) {
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

    /// Takes from `seen` what some ghost that stays has not seen: a DEL among them would cover it in the base.
    pub fn meet_staying(&self, before: &Vector, seen: &mut Vector) {
        for op in self.ghosts.iter().filter_map(|ghost| ghost.first_behind(before)) {
            seen.meet(&op.past);
        }
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
            self.base = evaluate_value(&self.base, &gone);
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
        self.forget(seen, kept);
    }

    fn forget(&mut self, seen: &Vector, kept: &[Operation]) {
        self.enders.retain(|op| !seen.includes(op.dot));
        self.deletes.retain(|dot, _| !seen.includes(*dot));
        self.others.retain(|dot, _| !seen.includes(*dot));
        self.elements.retain(|_, element| !element.forget(seen));
        let left = self.ghosts.iter().map(|ghost| &ghost.last).chain(kept);
        self.has_state = left.clone().any(Operation::is_state);
        self.has_reset = left
            .map(|op| (&op.effect, kind_of(&op.effect)))
            .any(|(effect, kind)| is_reset(effect) || kind != Kind::Unknown && kind != self.kind);
    }
}

impl Element {
    fn put(&mut self, dot: Dot) {
        let site = dot.site.at();
        if self.creations.len() <= site {
            self.creations.resize(site + 1, Vec::new());
        }
        let seqs = &mut self.creations[site];
        seqs.insert(seqs.partition_point(|&seq| seq < dot.seq), dot.seq);
    }

    /// Whether something that this operation saw put it there, and is not gone.
    fn is_put(&self, op: &Operation, gone: &Vector) -> bool {
        op.past.entries().any(|(site, upto)| {
            let seqs = self.creations.get(site.at()).map_or(&[][..], Vec::as_slice);
            let seen = seqs.partition_point(|&seq| seq <= upto);
            let last = seqs[..seen].last();
            last.is_some_and(|&seq| !gone.includes(Dot { site, seq }))
        })
    }

    /// Forgets what is included; whether nothing is left.
    fn forget(&mut self, seen: &Vector) -> bool {
        self.removals.retain(|dot, _| !seen.includes(*dot));
        for (site, upto) in seen.entries() {
            if let Some(seqs) = self.creations.get_mut(site.at()) {
                seqs.drain(..seqs.partition_point(|&seq| seq <= upto));
            }
        }
        self.removals.is_empty() && self.creations.iter().all(Vec::is_empty)
    }
}

/// Of each site the last that this operation saw.
fn last_seen<'a>(threats: &'a Threats, op: &'a Operation) -> impl Iterator<Item = (&'a Dot, &'a Rc<Vector>)> {
    op.past.entries().filter_map(|(site, seq)| {
        let seen = Dot { site, seq: 0 }..=Dot { site, seq };
        threats.range(seen).next_back()
    })
}

/// Adds what those saw that this operation saw; whether there is any. A site's operations see each other, so the last
/// has seen what the earlier ones have.
fn join_seen(threats: &Threats, op: &Operation, gone: &mut Vector) -> bool {
    let mut any = false;
    for (_, past) in last_seen(threats, op) {
        gone.join(past);
        any = true;
    }
    any
}

impl Ghost {
    /// Whether the next one is of the same site, does the same, and saw nothing else of other sites.
    fn is_continued_by(&self, next: &Operation) -> bool {
        let (site, last) = (next.dot.site, &self.last);
        let mut others = last.past.entries().zip(next.past.entries());
        last.dot.site == site
            && last.dot.seq < next.dot.seq
            && last.effect == next.effect
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

    fn first(&self) -> Cow<'_, Operation> {
        match self.earlier.first() {
            Some(&first) => Cow::Owned(self.at(first)),
            None => Cow::Borrowed(&self.last),
        }
    }

    /// The last that this operation comes after.
    fn seen_by(&self, op: &Operation) -> Option<Cow<'_, Operation>> {
        if op.is_after(&self.last) {
            return Some(Cow::Borrowed(&self.last));
        }
        let upto = op.past.get(self.last.dot.site);
        let seen = self.earlier.partition_point(|&(seq, _)| seq <= upto);
        let last = self.earlier[..seen].last()?;
        Some(Cow::Owned(self.at(*last)))
    }

    /// The first that is not included.
    fn first_behind(&self, seen: &Vector) -> Option<Cow<'_, Operation>> {
        let upto = seen.get(self.last.dot.site);
        let count = self.earlier.partition_point(|&(seq, _)| seq <= upto);
        match self.earlier.get(count) {
            Some(first) => Some(Cow::Owned(self.at(*first))),
            None => (self.last.dot.seq > upto).then_some(Cow::Borrowed(&self.last)),
        }
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

/// The operation with another effect, and without the command.
fn stripped(op: &Operation, effect: Effect) -> Operation {
    Operation {
        dot: op.dot,
        past: Rc::clone(&op.past),
        time: op.time,
        effect,
        raw: Bytes::new(),
        contested: op.contested,
        joint: op.joint,
    }
}

/// An effect without values. Names are copied, so that they do not hold the batch that they came in.
fn shape(effect: &Effect) -> Effect {
    let copy = |name: &Bytes| Bytes::copy_from_slice(name);
    let all = |names: &[Bytes]| names.iter().map(copy).collect();
    match effect {
        Effect::Set { .. } => Effect::Set {
            value: Bytes::new(),
            expiry: SetExpiry::Keep,
        },
        Effect::Count { .. } => Effect::Count { delta: 0 },
        Effect::Bits(bits) => Effect::Bits(bits.iter().map(|(name, _)| (copy(name), false)).collect()),
        Effect::Union(names) => Effect::Union(all(names)),
        Effect::SetAdd(names) => Effect::SetAdd(all(names)),
        Effect::SetRemove(names) => Effect::SetRemove(all(names)),
        Effect::HashSet(pairs) => Effect::HashSet(
            pairs
                .iter()
                .map(|(field, _)| (copy(field), Bytes::new()))
                .collect(),
        ),
        Effect::HashRemove(names) => Effect::HashRemove(all(names)),
        Effect::HashCount { field, .. } => Effect::HashCount {
            field: copy(field),
            delta: 0,
        },
        Effect::SortedAdd(pairs) => {
            Effect::SortedAdd(pairs.iter().map(|(_, member)| (0.0, copy(member))).collect())
        }
        Effect::SortedRemove(names) => Effect::SortedRemove(all(names)),
        Effect::SortedCount { member, .. } => Effect::SortedCount {
            member: copy(member),
            delta: 0.0,
        },
        Effect::Restore { .. } | Effect::Opaque | Effect::Derived => Effect::Opaque,
        Effect::Del => Effect::Del,
        Effect::Expire { at_unix_ms } => Effect::Expire {
            at_unix_ms: *at_unix_ms,
        },
    }
}

#[cfg(test)]
mod tests;

//! Whether a key was there for an operation, without looking at all that the operation saw.
//!
//! Of each site it keeps a view: which elements were there for that site's latest operation on the key. A site's
//! operations see ever more, so the next one's view is that view and what happened to the elements that were touched
//! in between. However long the history is, an operation is met once by each site's view.
//!
//! It answers for keys of one type. Commands on the value as a whole ([`Kind::Other`]) put nothing there that it knows
//! of and take what they saw, as DELs do; of keys for which types fight, and of parts of snapshots, it says nothing.
//!
//! Invariant: what it says is what [`evaluate_value`](crate::converge::evaluate) says of the operation's past.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::effect::Effect;
use crate::converge::content::{Content, Kind, TEXT, Value, kind_of};
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;

/// What took something away, each with its past.
type Threats = BTreeMap<Dot, Rc<Vector>>;

/// In place of an element's number: all of them.
const ALL: u32 = u32::MAX;

/// What happened to a key's elements, and what each site has seen of it.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    /// The type of the key's operations.
    kind: Kind,
    deletes: Threats,
    /// Commands on the value as a whole.
    wholes: Threats,
    /// Values that were sent.
    values: Threats,
    /// Operations of other types.
    others: Threats,
    elements: Vec<Element>,
    numbers: BTreeMap<Bytes, u32>,
    /// By site, in order: which elements an operation names.
    touches: Vec<Vec<(Seq, u32)>>,
    /// By site.
    views: Vec<Option<View>>,
}

/// What happened to one element; a string is one.
#[derive(Debug, Clone)]
struct Element {
    /// By site, in order: what puts it there.
    creations: Vec<Vec<Seq>>,
    removals: Threats,
}

/// What a site's latest operation saw.
#[derive(Debug, Clone)]
struct View {
    past: Vector,
    /// Elements that are there, by number; those of the base are not among them.
    there: BTreeSet<u32>,
    /// All of the base's elements before this one are gone.
    base_from: Bytes,
}

impl Presence {
    pub fn new() -> Presence {
        Presence {
            kind: Kind::Unknown,
            deletes: Threats::new(),
            wholes: Threats::new(),
            values: Threats::new(),
            others: Threats::new(),
            elements: Vec::new(),
            numbers: BTreeMap::new(),
            touches: Vec::new(),
            views: Vec::new(),
        }
    }

    /// The type that it answers for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether types fight for the key.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// An operation is there that nobody has asked about yet, except after [`Presence::forget_views`].
    pub fn note(&mut self, op: &Operation) {
        let kind = kind_of(&op.effect);
        if op.effect == Effect::Del {
            self.deletes.insert(op.dot, Rc::clone(&op.past));
            self.touch(op.dot, ALL);
        } else if kind == Kind::Other {
            let is_sent = matches!(op.effect, Effect::Restore { .. }) && !op.is_state();
            let wholes = if is_sent {
                &mut self.values
            } else {
                &mut self.wholes
            };
            wholes.insert(op.dot, Rc::clone(&op.past));
            if self.are_taking() {
                self.touch(op.dot, ALL);
            }
        } else if kind != Kind::Unknown {
            if self.kind == Kind::Unknown {
                self.kind = kind;
            }
            match kind == self.kind {
                true => self.note_elements(op),
                false => {
                    self.others.insert(op.dot, Rc::clone(&op.past));
                }
            }
        }
    }

    /// Whether commands on the value as a whole take what they saw. Those on a stream's groups, or within a list, leave it
    /// there.
    fn are_taking(&self) -> bool {
        !matches!(self.kind, Kind::Stream | Kind::List)
    }

    /// What the DELs in this past had seen.
    pub fn deleted_in(&self, past: &Vector) -> Vector {
        let mut deleted = Vector::zero(past.entries().count());
        join_seen(&self.deletes, past, &mut deleted);
        deleted
    }

    /// Whether something is in this past that left a value as a whole, and no DEL that saw it. A value that was sent counts
    /// if it has seen every DEL, as in a replay.
    pub fn has_whole(&self, past: &Vector) -> bool {
        let deleted = self.deleted_in(past);
        let deletes = || past.entries().filter_map(|entry| last_of(&self.deletes, entry));
        let is_root = |value: &Vector| deletes().all(|(delete, _)| value.includes(*delete));
        // Whoever saw the last one of a site saw those before it, and that has seen what they saw.
        past.entries().any(|entry| {
            let whole = last_of(&self.wholes, entry);
            let value = last_of(&self.values, entry).filter(|(_, past)| is_root(past));
            let mut left = whole.into_iter().chain(value);
            left.any(|(dot, _)| !deleted.includes(*dot))
        })
    }

    fn note_elements(&mut self, op: &Operation) {
        if matches!(
            op.effect,
            Effect::Set { .. } | Effect::Count { .. } | Effect::StreamAdd { .. }
        ) {
            return self.put(op.dot, &TEXT);
        }
        if self.kind == Kind::Stream || matches!(op.effect, Effect::FieldExpire { .. }) {
            // A stream stays when its last entry goes, and a time neither puts a field there nor takes one.
            return;
        }
        for name in op.elements() {
            if is_write(&op.effect) {
                self.put(op.dot, name);
            } else {
                let at = self.number(name);
                let removals = &mut self.elements[at as usize].removals;
                removals.insert(op.dot, Rc::clone(&op.past));
                self.touch(op.dot, at);
            }
        }
    }

    fn put(&mut self, dot: Dot, name: &Bytes) {
        let at = self.number(name);
        let seqs = of_site(&mut self.elements[at as usize].creations, dot);
        seqs.insert(seqs.partition_point(|&seq| seq < dot.seq), dot.seq);
        self.touch(dot, at);
    }

    fn touch(&mut self, dot: Dot, at: u32) {
        let touches = of_site(&mut self.touches, dot);
        touches.insert(touches.partition_point(|&(seq, _)| seq <= dot.seq), (dot.seq, at));
    }

    fn number(&mut self, name: &Bytes) -> u32 {
        if let Some(&at) = self.numbers.get(name) {
            return at;
        }
        // Copied, so that it does not hold the batch that it came in.
        let at = self.elements.len() as u32;
        self.numbers.insert(Bytes::copy_from_slice(name), at);
        self.elements.push(Element {
            creations: Vec::new(),
            removals: Threats::new(),
        });
        at
    }

    /// An operation that is noted removed these elements, and not those.
    pub fn retake(&mut self, op: &Operation, before: &BTreeSet<Bytes>, now: &BTreeSet<Bytes>) {
        let numbers: Vec<u32> = before
            .symmetric_difference(now)
            .map(|name| self.number(name))
            .collect();
        for name in before.difference(now) {
            let at = self.number(name);
            self.elements[at as usize].removals.remove(&op.dot);
        }
        for name in now.difference(before) {
            let at = self.number(name);
            let removals = &mut self.elements[at as usize].removals;
            removals.insert(op.dot, Rc::clone(&op.past));
            self.touch(op.dot, at);
        }
        for mut view in std::mem::take(&mut self.views) {
            if let Some(view) = view.as_mut().filter(|view| view.past.includes(op.dot)) {
                self.look_again(view, numbers.iter().copied());
                view.base_from = Bytes::new();
            }
            self.views.push(view);
        }
    }

    /// What the sites have seen is found out anew: an operation has come that somebody saw before.
    pub fn forget_views(&mut self) {
        self.views.clear();
    }

    /// Whether the operation, which is noted, found the key gone, or left it so; `None` if that cannot be said here.
    pub fn ends(&mut self, op: &Operation, base: &Content) -> Option<bool> {
        if kind_of(&op.effect) != self.kind || last_seen(&self.others, &op.past).next().is_some() {
            return None;
        }
        let site = op.dot.site.at();
        if self.views.len() <= site {
            self.views.resize_with(site + 1, || None);
        }
        let mut view = match self.views[site].take() {
            Some(view) if op.past.covers(&view.past) => view,
            _ => View::new(op.past.entries().count()),
        };
        self.catch_up(&mut view, &op.past);
        let found = self.found(&mut view, base);
        let mut ends = match found {
            Kind::Absent => true,
            Kind::Unknown | Kind::Other => false,
            found => found != self.kind && !matches!(op.effect, Effect::Set { .. }),
        };
        if !ends && !is_write(&op.effect) {
            let mut with_own = (*op.past).clone();
            with_own.advance(op.dot.site, op.dot.seq);
            self.catch_up(&mut view, &with_own);
            ends = self.found(&mut view, base) == Kind::Absent;
        }
        self.views[site] = Some(view);
        Some(ends)
    }

    fn catch_up(&self, view: &mut View, past: &Vector) {
        let mut touched = Vec::new();
        for (site, upto) in past.entries() {
            let touches = self.touches.get(site.at()).map_or(&[][..], Vec::as_slice);
            let from = touches.partition_point(|&(seq, _)| seq <= view.past.get(site));
            let new = touches[from..].iter().take_while(|(seq, _)| *seq <= upto);
            touched.extend(new.map(|(_, at)| *at));
        }
        view.past.join(past);
        if !touched.is_empty() {
            self.look_again(view, touched.into_iter());
        }
    }

    /// Looks whether these elements are there in what the view has seen.
    fn look_again(&self, view: &mut View, touched: impl Iterator<Item = u32> + Clone) {
        let past = &view.past;
        let mut gone = self.deleted_in(past);
        if self.are_taking() {
            join_seen(&self.wholes, past, &mut gone);
            join_seen(&self.values, past, &mut gone);
        }
        let is_there = |at: u32| self.elements[at as usize].is_there(past, &gone);
        if touched.clone().any(|at| at == ALL) {
            view.there.retain(|&at| is_there(at));
        }
        for at in touched.filter(|&at| at != ALL) {
            match is_there(at) {
                true => view.there.insert(at),
                false => view.there.remove(&at),
            };
        }
    }

    /// The type of what the view shows, as [`evaluate_value`](crate::converge::evaluate) gives it.
    fn found(&self, view: &mut View, base: &Content) -> Kind {
        if !view.there.is_empty() {
            return self.kind;
        }
        // None is known to leave the key empty.
        if self.are_taking() && self.has_whole(&view.past) {
            return Kind::Other;
        }
        let any = |threats| last_seen(threats, &view.past).next().is_some();
        let is_whole = self.are_taking() && (any(&self.wholes) || any(&self.values));
        let (is_deleted, is_named) = (any(&self.deletes), self.is_named(view));
        let fits = match base.kind {
            Kind::Unknown | Kind::Absent | Kind::Other => true,
            kind => !is_whole && (kind == self.kind || !is_named),
        };
        if is_deleted || is_whole && is_named || !fits {
            return Kind::Absent;
        }
        match base.kind == self.kind && !base.rest_unknown && !self.is_base_left(view, base) {
            true => Kind::Absent,
            false => base.kind,
        }
    }

    /// Whether the view includes an operation on elements.
    fn is_named(&self, view: &View) -> bool {
        view.past.entries().any(|(site, upto)| {
            let touches = self.touches.get(site.at()).map_or(&[][..], Vec::as_slice);
            let mut seen = touches.iter().take_while(|(seq, _)| *seq <= upto);
            seen.any(|(_, at)| *at != ALL)
        })
    }

    fn is_base_left(&self, view: &mut View, base: &Content) -> bool {
        let is_removed = |name: &Bytes| {
            let element = self.numbers.get(name).map(|&at| &self.elements[at as usize]);
            element.is_some_and(|element| last_seen(&element.removals, &view.past).next().is_some())
        };
        let left = match &base.list {
            Some(list) => list.names(&view.base_from).find(|name| !is_removed(name)),
            None => {
                let mut rest = base.elements.range(view.base_from.clone()..);
                let left = rest.find(|(name, value)| **value != Value::Absent && !is_removed(name));
                left.map(|(name, _)| name.clone())
            }
        };
        let is_left = left.is_some();
        view.base_from = left.unwrap_or_else(|| std::mem::take(&mut view.base_from));
        is_left
    }

    /// What is included is part of the base from now on. Whether operations of another type are all that is left: then
    /// it has to be begun anew with them.
    pub fn forget(&mut self, seen: &Vector) -> bool {
        let sets = [
            &mut self.deletes,
            &mut self.wholes,
            &mut self.values,
            &mut self.others,
        ];
        for threats in sets {
            threats.retain(|dot, _| !seen.includes(*dot));
        }
        for (site, upto) in seen.entries() {
            if let Some(touches) = self.touches.get_mut(site.at()) {
                touches.drain(..touches.partition_point(|&(seq, _)| seq <= upto));
            }
        }
        let mut next = 0;
        let mut renumber = |element: &mut Element| {
            let is_left = !element.forget(seen);
            next += u32::from(is_left);
            is_left.then_some(next.wrapping_sub(1))
        };
        let numbers: Vec<Option<u32>> = self.elements.iter_mut().map(&mut renumber).collect();
        let number = |at: u32| numbers.get(at as usize).copied().flatten();
        self.elements.retain(|element| !element.is_empty());
        self.numbers
            .retain(|_, at| number(*at).map(|new| *at = new).is_some());
        for (_, at) in self.touches.iter_mut().flatten() {
            *at = number(*at).unwrap_or(ALL);
        }
        for view in &mut self.views {
            view.take_if(|view| !view.past.covers(seen));
            if let Some(view) = view {
                view.there = view.there.iter().filter_map(|&at| number(at)).collect();
                view.base_from = Bytes::new();
            }
        }
        self.elements.is_empty() && !self.others.is_empty()
    }
}

impl View {
    fn new(sites: usize) -> View {
        View {
            past: Vector::zero(sites),
            there: BTreeSet::new(),
            base_from: Bytes::new(),
        }
    }
}

impl Element {
    /// Whether something in this past put it there, and is neither gone with the key nor removed.
    fn is_there(&self, past: &Vector, gone: &Vector) -> bool {
        if self.removals.is_empty() {
            return self.is_put(past, gone);
        }
        let mut gone = gone.clone();
        join_seen(&self.removals, past, &mut gone);
        self.is_put(past, &gone)
    }

    fn is_put(&self, past: &Vector, gone: &Vector) -> bool {
        past.entries().any(|(site, upto)| {
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
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.creations.iter().all(Vec::is_empty)
    }
}

fn of_site<T>(lists: &mut Vec<Vec<T>>, dot: Dot) -> &mut Vec<T> {
    let site = dot.site.at();
    if lists.len() <= site {
        lists.resize_with(site + 1, Vec::new);
    }
    &mut lists[site]
}

/// The last of a site so far.
fn last_of(threats: &Threats, (site, seq): (SiteIx, Seq)) -> Option<(&Dot, &Rc<Vector>)> {
    let seen = Dot { site, seq: 0 }..=Dot { site, seq };
    threats.range(seen).next_back()
}

/// Of each site the last that is in this past.
fn last_seen<'a>(threats: &'a Threats, past: &'a Vector) -> impl Iterator<Item = &'a Rc<Vector>> {
    let last = |entry| last_of(threats, entry).map(|(_, past)| past);
    past.entries().filter_map(last)
}

/// Adds what those saw that are in this past. A site's operations see each other, so the last has seen what the
/// earlier ones have.
fn join_seen(threats: &Threats, past: &Vector, gone: &mut Vector) {
    for seen in last_seen(threats, past) {
        gone.join(seen);
    }
}

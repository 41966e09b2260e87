//! What each site had seen of a list, and so what its pops took.
//!
//! Of each site it keeps a view: the elements that were in the list for that site's latest operation on the key. A
//! site's operations see ever more, so the next one's view is that view and what came in between: an operation is met
//! once by each site's view, however long the history is.
//!
//! What removes the list, or puts a value in its place, *hides* what was below it: a site that executed that before it
//! read the base cannot know how much there was. So for all sites a pop that has not seen it took what was pushed at
//! its own end, and for the rest what is hidden, however much it wanted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::sequence::Sequence;
use super::{base_name, base_place, end_of, hidden_name, whole_name, whole_place};
use crate::causality::{Dot, Hlc, Seq, Vector};
use crate::command::effect::Effect;
use crate::converge::content::{Content, Kind, kind_of};
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;
use crate::value::{self, Value};

/// What a pop took: names, and values as far as they are known.
pub type Taken = Vec<(Bytes, Option<Bytes>)>;

/// What was done to a list, and what each site has seen of it.
#[derive(Debug, Default)]
pub struct Views {
    /// By site, in order.
    entries: Vec<Vec<Entry>>,
    /// By site; none before the first list operation.
    views: Vec<View>,
    /// What hides the base.
    hiders: Vec<Dot>,
}

/// In place of the length of what something left that is executed as it came.
const ENDLESS: usize = 1 << 16;

#[derive(Debug)]
struct Entry {
    seq: Seq,
    time: Hlc,
    deed: Deed,
}

#[derive(Debug)]
enum Deed {
    Push(Vec<(Bytes, Bytes)>),
    Pop(Vec<Bytes>),
    /// It removes all that this past includes.
    Reset(Rc<Vector>),
    /// What it made of all that this past includes is not known, unless it carries a list.
    Whole(Rc<Vector>, Option<Rc<Vec<Bytes>>>),
}

/// The elements that some operations leave.
#[derive(Debug, Clone)]
struct View {
    past: Vector,
    left: BTreeMap<Bytes, Pushed>,
    /// What is left of the base, if that is known.
    base: Option<Range<usize>>,
    /// In place of a hidden base there is what this operation left, and what that is if it carried it.
    whole: Option<(Dot, Option<Rc<Vec<Bytes>>>)>,
    right: BTreeMap<Bytes, Pushed>,
}

#[derive(Debug, Clone)]
struct Pushed {
    /// The push; none if it was folded.
    dot: Option<Dot>,
    value: Option<Bytes>,
}

impl Views {
    /// Whether something is known of a list here.
    pub fn is_open(&self) -> bool {
        !self.views.is_empty()
    }

    /// Whether something that hides the base is among the operations.
    pub fn is_blind(&self) -> bool {
        !self.hiders.is_empty()
    }

    /// Whether it leaves nothing known of the base: it removes it, or puts a value in its place.
    pub fn hides_base(op: &Operation) -> bool {
        Views::is_reset(op) || matches!(op.effect, Effect::Restore { .. })
    }

    /// Whether it removes a list that it saw.
    fn is_reset(op: &Operation) -> bool {
        let kind = kind_of(&op.effect);
        let is_other = !matches!(kind, Kind::Unknown | Kind::List | Kind::Other);
        op.effect == Effect::Del || is_other && is_write(&op.effect) && !op.is_state()
    }

    /// Begins with these operations, in an order that causality allows, on what is known of the base; `folded` is what
    /// is known of it without having read it. Gives what each pop took, if that can be said.
    pub fn open(
        &mut self,
        (base, folded): (&Content, &Content),
        operations: &[Operation],
    ) -> BTreeMap<Dot, Option<Taken>> {
        let sites = operations.iter().map(|op| op.past.entries().count()).max();
        let sites = sites.unwrap_or(0);
        let hiders = operations.iter().filter(|op| Views::hides_base(op));
        let hiders: Vec<Dot> = hiders.map(|op| op.dot).collect();
        let mut view = View::of(base, sites);
        if !hiders.is_empty() {
            view = View::of(folded, sites);
            view.base = view.base.or(Some(0..ENDLESS));
        }
        *self = Views {
            entries: (0..sites).map(|_| Vec::new()).collect(),
            views: vec![view; sites],
            hiders,
        };
        let mut took = BTreeMap::new();
        for op in operations {
            let found = self.enter(op);
            if matches!(op.effect, Effect::ListPop { .. }) {
                took.insert(op.dot, found);
            }
        }
        took
    }

    /// An operation becomes known; what it took from the list, if it did and that can be said.
    pub fn add(&mut self, op: &Operation) -> Option<Taken> {
        if Views::hides_base(op) {
            self.hiders.push(op.dot);
        }
        self.enter(op)
    }

    /// The same of an operation that is among the hiders if it is one.
    fn enter(&mut self, op: &Operation) -> Option<Taken> {
        let site = op.dot.site.at();
        let is_blind = self.is_blind();
        let view = self.views.get_mut(site)?;
        let mut found = None;
        let past = || Rc::clone(&op.past);
        let deed = match &op.effect {
            _ if op.is_state() => Deed::Whole(past(), None),
            _ if Views::is_reset(op) => Deed::Reset(past()),
            Effect::ListPush { elements, .. } => Deed::Push(elements.clone()),
            Effect::ListPop { left, count, .. } => {
                view.advance(&op.past, &self.entries, is_blind);
                let is_hidden = self.hiders.iter().any(|dot| !op.past.includes(*dot));
                found = view.ends(*left, *count, is_hidden.then_some(op.dot));
                match &found {
                    Some(found) => Deed::Pop(found.iter().map(|(name, _)| name.clone()).collect()),
                    None => Deed::Whole(past(), None),
                }
            }
            Effect::Restore { payload, .. } => Deed::Whole(past(), list_in(payload)),
            Effect::Opaque | Effect::Derived => Deed::Whole(past(), None),
            _ => return None,
        };
        self.entries.get_mut(site)?.push(Entry {
            seq: op.dot.seq,
            time: op.time,
            deed,
        });
        found
    }

    /// What is included is part of the base from now on.
    pub fn forget(&mut self, seen: &Vector) {
        let is_blind = self.is_blind();
        for view in &mut self.views {
            view.advance(seen, &self.entries, is_blind);
        }
        self.hiders.retain(|dot| !seen.includes(*dot));
        for (site, upto) in seen.entries() {
            if let Some(entries) = self.entries.get_mut(site.at()) {
                entries.drain(..entries.partition_point(|entry| entry.seq <= upto));
            }
        }
    }
}

/// The list in a dump, if it is one.
fn list_in(payload: &Bytes) -> Option<Rc<Vec<Bytes>>> {
    match value::decode(payload) {
        Ok(Value::List(elements)) => Some(Rc::new(elements)),
        _ => None,
    }
}

impl View {
    fn of(base: &Content, sites: usize) -> View {
        let may_be_list = matches!(base.kind, Kind::List | Kind::Unknown | Kind::Other);
        let list = match &base.list {
            Some(list) => Some(list.as_ref().clone()),
            None if base.rest_unknown && may_be_list => None,
            None => Some(Sequence::default()),
        };
        let mut view = View {
            past: Vector::zero(sites),
            left: BTreeMap::new(),
            base: list.as_ref().map(Sequence::base),
            whole: None,
            right: BTreeMap::new(),
        };
        for item in list.iter().flat_map(Sequence::beside) {
            let pushed = Pushed {
                dot: None,
                value: item.value.clone(),
            };
            view.side(&item.name).insert(item.name.clone(), pushed);
        }
        view
    }

    fn side(&mut self, name: &Bytes) -> &mut BTreeMap<Bytes, Pushed> {
        match end_of(name) {
            Some(true) => &mut self.left,
            _ => &mut self.right,
        }
    }

    /// Takes in what this past has.
    fn advance(&mut self, past: &Vector, entries: &[Vec<Entry>], is_blind: bool) {
        let mut new: Vec<(Dot, &Entry)> = Vec::new();
        for (site, upto) in past.entries() {
            let entries = entries.get(site.at()).map_or(&[][..], Vec::as_slice);
            let from = entries.partition_point(|entry| entry.seq <= self.past.get(site));
            let behind = entries[from..].iter().take_while(|entry| entry.seq <= upto);
            new.extend(behind.map(|entry| (Dot { site, seq: entry.seq }, entry)));
        }
        self.past.join(past);
        // Nothing is taken before it is pushed.
        new.sort_unstable_by_key(|(dot, entry)| (entry.time, dot.site));
        new.into_iter()
            .for_each(|(dot, entry)| self.take_in(dot, &entry.deed, is_blind));
    }

    fn take_in(&mut self, dot: Dot, deed: &Deed, is_blind: bool) {
        match deed {
            Deed::Push(elements) => {
                for (name, value) in elements {
                    let pushed = Pushed {
                        dot: Some(dot),
                        value: Some(value.clone()),
                    };
                    self.side(name).insert(name.clone(), pushed);
                }
            }
            Deed::Pop(names) => names.iter().for_each(|name| {
                let of_base = base_place(name).filter(|_| self.whole.is_none());
                let is_there = |dot: &Dot| self.whole.as_ref().is_some_and(|(whole, _)| whole == dot);
                let of_whole = whole_place(name).filter(|(dot, _)| is_there(dot));
                match (of_base.or(of_whole.map(|(_, place)| place)), &mut self.base) {
                    (None, _) => drop(self.side(name).remove(name)),
                    (Some(place), Some(base)) if place == base.start && place < base.end => base.start += 1,
                    (Some(place), Some(base)) if place + 1 == base.end && base.start <= place => {
                        base.end -= 1;
                    }
                    _ => {}
                }
            }),
            Deed::Reset(past) => {
                self.retain_unseen(past);
                if self.whole.as_ref().is_none_or(|(dot, _)| past.includes(*dot)) {
                    self.base = Some(0..0);
                }
            }
            // Behind what it left stands what it did not see.
            Deed::Whole(past, list) => {
                self.retain_unseen(past);
                let len = list.as_ref().map_or(ENDLESS, |list| list.len());
                self.base = is_blind.then_some(0..len);
                self.whole = is_blind.then(|| (dot, list.clone()));
            }
        }
    }

    fn retain_unseen(&mut self, past: &Vector) {
        let stays = |pushed: &Pushed| pushed.dot.is_some_and(|dot| !past.includes(dot));
        self.left.retain(|_, pushed| stays(pushed));
        self.right.retain(|_, pushed| stays(pushed));
    }

    /// So many from one end, or all; `None` if they cannot be told. What is wanted of a hidden base has one name.
    fn ends(&self, left: bool, count: u64, hidden_from: Option<Dot>) -> Option<Taken> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let taken = |(name, pushed): (&Bytes, &Pushed)| (name.clone(), pushed.value.clone());
        let of_base = |place| match &self.whole {
            Some((dot, list)) => {
                let value = list.as_ref().and_then(|list| list.get(place).cloned());
                (whole_name(*dot, place), value)
            }
            None => (base_name(place), None),
        };
        let mut found: Taken = match left {
            true => self.left.iter().map(taken).take(count).collect(),
            false => self.right.iter().rev().map(taken).take(count).collect(),
        };
        if found.len() == count {
            return Some(found);
        }
        if let Some(pop) = hidden_from {
            found.push((hidden_name(pop), None));
            return Some(found);
        }
        let base = self.base.clone()?;
        let wanted = count - found.len();
        match left {
            true => found.extend(base.take(wanted).map(of_base)),
            false => found.extend(base.rev().take(wanted).map(of_base)),
        }
        let wanted = count - found.len();
        match left {
            true => found.extend(self.right.iter().map(taken).take(wanted)),
            false => found.extend(self.left.iter().rev().map(taken).take(wanted)),
        }
        Some(found)
    }
}

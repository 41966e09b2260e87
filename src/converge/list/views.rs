//! What each site had seen of a list, and so what its pops took.
//!
//! Of each site it keeps a view: the elements that were in the list for that site's latest operation on the key. A
//! site's operations see ever more, so the next one's view is that view and what came in between: an operation is met
//! once by each site's view, however long the history is.
//!
//! What removes the list, or puts a value in its place, *hides* what was below it: a site that executed that before it
//! read the base cannot know how much there was. So for all sites a pop that has not seen it took what was pushed at
//! its own end, and for the rest what is hidden, however much it wanted.
//!
//! Where the site of a pop tells what that took ([`Effect::ListTook`]), this counts, for whatever has seen the pop:
//! its own list stood in another order, in the moment before a repair.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::sequence::Sequence;
use super::{base_name, base_place, end_of, hidden_name, is_hidden_name, whole_name, whole_place};
use crate::causality::{Dot, Hlc, Seq, Vector};
use crate::command::effect::Effect;
use crate::command::took::Told;
use crate::converge::content::{Content, Kind, kind_of};
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;
use crate::value::{self, Value};

/// What a pop took: names, and values as far as they are known.
pub type Taken = Vec<(Bytes, Option<Bytes>)>;

/// What was done to a list, and what each site has seen of it.
#[derive(Debug, Clone, Default)]
pub struct Views {
    /// By site, in order.
    entries: Vec<Vec<Entry>>,
    /// By site; none before the first list operation.
    views: Vec<View>,
    /// What hides the base.
    hiders: Vec<Dot>,
    /// What pops took that their sites have told of.
    told: BTreeMap<Dot, Vec<Told>>,
    /// What the own database gave out, by pop.
    given: BTreeMap<Dot, Taken>,
    /// Of which of these the others are to be told, and what.
    untold: Vec<(Dot, Vec<Told>)>,
}

/// What becomes of pops when one is told of.
#[derive(Debug, Clone, PartialEq)]
pub enum Retold {
    /// It was known.
    Known,
    /// The pop alone took something else: this before, and this now.
    Took(Taken, Taken),
    /// Others may have, too: all learn anew.
    All,
}

/// In place of the length of what something left that is executed as it came.
const ENDLESS: usize = 1 << 16;

#[derive(Debug, Clone)]
struct Entry {
    seq: Seq,
    time: Hlc,
    deed: Deed,
}

#[derive(Debug, Clone)]
enum Deed {
    Push(Vec<(Bytes, Bytes)>),
    Pop(Vec<Bytes>),
    /// It removes all that this past includes.
    Reset(Rc<Vector>),
    /// It puts a value in the place of all that this past includes: a list, if that is known.
    Value(Rc<Vector>, Option<Rc<Vec<Bytes>>>),
    /// What it made of all that this past includes is not known.
    Whole(Rc<Vector>),
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
    /// Commands on the value as a whole that no value which was sent has seen.
    wholes: Vec<Dot>,
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
        op.effect == Effect::Del || is_other && is_write(&op.effect)
    }

    /// Begins with these operations, in an order that causality allows, on what is known of the base; `folded` is what
    /// is known of it without having read it. Gives what each pop took, if that can be said.
    pub fn open(
        &mut self,
        (base, folded): (&Content, &Content),
        operations: &[Operation],
        may_tell: impl Fn(Dot) -> bool,
    ) -> BTreeMap<Dot, Option<Taken>> {
        let sites = operations.iter().map(|op| op.past.entries().count()).max();
        let sites = sites.unwrap_or(0);
        let hiders = operations.iter().filter(|op| Views::hides_base(op));
        let hiders: Vec<Dot> = hiders.map(|op| op.dot).collect();
        let told = operations.iter().filter_map(told_by).collect();
        let mut view = View::of(base, sites);
        if !hiders.is_empty() {
            view = View::of(folded, sites);
            view.base = view.base.or(Some(0..ENDLESS));
        }
        *self = Views {
            entries: (0..sites).map(|_| Vec::new()).collect(),
            views: vec![view; sites],
            hiders,
            told,
            given: std::mem::take(&mut self.given),
            untold: Vec::new(),
        };
        let mut took = BTreeMap::new();
        for op in operations {
            let found = self.enter(op, may_tell(op.dot));
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
        self.enter(op, true)
    }

    /// The same of an operation that is among the hiders if it is one. If it is a pop of this site, the others may be
    /// told of it.
    fn enter(&mut self, op: &Operation, may_tell: bool) -> Option<Taken> {
        let site = op.dot.site.at();
        let is_blind = self.is_blind();
        let view = self.views.get_mut(site)?;
        let mut found = None;
        let past = || Rc::clone(&op.past);
        let deed = match &op.effect {
            _ if Views::is_reset(op) => Deed::Reset(past()),
            Effect::ListPush { elements, .. } => Deed::Push(elements.clone()),
            Effect::ListPop { left, count, .. } => {
                view.advance(&op.past, &self.entries, is_blind);
                let is_hidden = self.hiders.iter().any(|dot| !op.past.includes(*dot));
                let hidden_from = is_hidden.then_some(op.dot);
                found = match self.told.get(&op.dot) {
                    Some(told) => view.resolve(told, hidden_from),
                    None => view.ends(*left, *count, hidden_from),
                };
                let given = self.given.get(&op.dot).filter(|_| may_tell);
                if let Some(given) = given.filter(|given| differs(found.as_ref(), given)) {
                    let told: Vec<Told> = given.iter().map(|element| view.tell(element, *left)).collect();
                    found = view.resolve(&told, hidden_from);
                    self.told.insert(op.dot, told.clone());
                    self.untold.push((op.dot, told));
                }
                match &found {
                    Some(found) => Deed::Pop(found.iter().map(|(name, _)| name.clone()).collect()),
                    None => Deed::Whole(past()),
                }
            }
            Effect::Restore { payload, .. } => Deed::Value(past(), list_in(payload)),
            Effect::Opaque | Effect::Derived => Deed::Whole(past()),
            _ => return None,
        };
        self.entries.get_mut(site)?.push(Entry {
            seq: op.dot.seq,
            time: op.time,
            deed,
        });
        found
    }

    /// The own database gave this to a client, for a pop that is added next, or is asked again.
    pub fn give(&mut self, pop: Dot, given: Taken) {
        self.given.insert(pop, given);
    }

    /// The pops of this site that the others are to be told of, and what.
    pub fn take_untold(&mut self) -> Vec<(Dot, Vec<Told>)> {
        std::mem::take(&mut self.untold)
    }

    /// The site of a pop tells what that took.
    pub fn retell(&mut self, op: &Operation) -> Retold {
        let Some((pop, told)) = told_by(op).filter(|_| self.is_open()) else {
            return Retold::Known;
        };
        if self.told.get(&pop) == Some(&told) {
            return Retold::Known;
        }
        let resolved = self.resolve_last(pop, &told);
        self.told.insert(pop, told);
        let Some(found) = resolved else {
            return Retold::All;
        };
        let last = self
            .entries
            .get_mut(pop.site.at())
            .and_then(|entries| entries.last_mut());
        match last {
            Some(Entry {
                deed: Deed::Pop(took),
                ..
            }) if took.len() == found.len() => {
                let names = found.iter().map(|(name, _)| name.clone()).collect();
                let before = std::mem::replace(took, names);
                Retold::Took(before.into_iter().map(|name| (name, None)).collect(), found)
            }
            _ => Retold::All,
        }
    }

    /// What a pop took that is its site's last, and that nobody has seen yet.
    fn resolve_last(&self, pop: Dot, told: &[Told]) -> Option<Taken> {
        let site = pop.site.at();
        let is_last = self.entries.get(site)?.last()?.seq == pop.seq;
        let is_seen = self.views.iter().any(|view| view.past.includes(pop));
        let is_hidden = self.is_blind();
        if !is_last || is_seen || is_hidden {
            return None;
        }
        let view = &self.views[site];
        let found = view.resolve(told, None)?;
        found.iter().all(|(name, _)| view.has(name)).then_some(found)
    }

    /// Whether the pop's site has told what it took.
    pub fn is_told(&self, pop: Dot) -> bool {
        self.told.contains_key(&pop)
    }

    /// What is included is part of the base from now on.
    pub fn forget(&mut self, seen: &Vector) {
        let is_blind = self.is_blind();
        for view in &mut self.views {
            view.advance(seen, &self.entries, is_blind);
        }
        self.hiders.retain(|dot| !seen.includes(*dot));
        self.told.retain(|pop, _| !seen.includes(*pop));
        self.given.retain(|pop, _| !seen.includes(*pop));
        for (site, upto) in seen.entries() {
            if let Some(entries) = self.entries.get_mut(site.at()) {
                entries.drain(..entries.partition_point(|entry| entry.seq <= upto));
            }
        }
    }
}

/// Whether a pop gave something else than it is thought to have taken.
fn differs(known: Option<&Taken>, given: &Taken) -> bool {
    let Some(known) = known else {
        return true;
    };
    // What is hidden has one name, however much it is.
    let is_hidden = known.iter().any(|(name, _)| is_hidden_name(name));
    let names = |taken: &Taken| -> BTreeSet<Bytes> {
        let counts = |name: &&Bytes| !is_hidden || end_of(name).is_some();
        taken
            .iter()
            .map(|(name, _)| name)
            .filter(counts)
            .cloned()
            .collect()
    };
    names(known) != names(given)
}

/// The pop that an operation tells of, and what that took.
fn told_by(op: &Operation) -> Option<(Dot, Vec<Told>)> {
    let Effect::ListTook { pop, took } = &op.effect else {
        return None;
    };
    let site = op.dot.site;
    Some((Dot { site, seq: *pop }, took.clone()))
}

/// The list in a dump, if it is one.
pub(super) fn list_in(payload: &Bytes) -> Option<Rc<Vec<Bytes>>> {
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
            wholes: Vec::new(),
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

    /// Whether this element is in it.
    fn has(&self, name: &Bytes) -> bool {
        let is_of_base =
            |at| self.whole.is_none() && self.base.as_ref().is_some_and(|base| base.contains(&at));
        self.left.contains_key(name)
            || self.right.contains_key(name)
            || base_place(name).is_some_and(is_of_base)
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
        new.sort_unstable_by_key(|(dot, entry)| (entry.time.written(), dot.site));
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
            // It is executed again on a value that has not seen it.
            Deed::Value(past, list) => {
                self.wholes.retain(|dot| !past.includes(*dot));
                let list = list.as_ref().filter(|_| self.wholes.is_empty());
                self.put_whole(dot, past, list.cloned(), is_blind);
            }
            Deed::Whole(past) => {
                self.wholes.push(dot);
                self.put_whole(dot, past, None, is_blind);
            }
        }
    }

    /// Behind what it left stands what it did not see.
    fn put_whole(&mut self, dot: Dot, past: &Vector, list: Option<Rc<Vec<Bytes>>>, is_blind: bool) {
        self.retain_unseen(past);
        let len = list.as_ref().map_or(ENDLESS, |list| list.len());
        self.base = is_blind.then_some(0..len);
        self.whole = is_blind.then_some((dot, list));
    }

    /// An element that the database gave out, as others can understand it: what was read of the own database, or was
    /// pushed before a conflict began here, has another name elsewhere.
    fn tell(&self, (name, value): &(Bytes, Option<Bytes>), left: bool) -> Told {
        let of_base = self.base.clone().unwrap_or_default();
        let pushed = |side: &BTreeMap<Bytes, Pushed>| side.contains_key(name);
        let ahead = || self.left.range(..name.clone()).count();
        let behind = || self.right.range(name.clone()..).count();
        let number = |count: usize| i64::try_from(count).ok();
        let place = match base_place(name).filter(|at| of_base.contains(at)) {
            Some(at) if left => number(self.left.len() + at - of_base.start),
            Some(at) => number(of_base.end - at + self.right.len()).map(|back| -back),
            None if pushed(&self.left) => number(ahead()),
            None if pushed(&self.right) => number(behind()).map(|back| -back),
            None => None,
        };
        let name = match base_place(name) {
            None => name.clone(),
            Some(_) => Bytes::new(),
        };
        Told {
            name,
            place,
            value: value.clone(),
        }
    }

    /// What a pop took that its site has told of, by the names that it has here; `None` if one of them cannot be said.
    /// What it took of a hidden base has one name, but for what is told to be of a push: who has not seen what hides
    /// it knows it by that, and what hides it may not have seen the push.
    fn resolve(&self, told: &[Told], hidden_from: Option<Dot>) -> Option<Taken> {
        let mut found = Taken::new();
        for told in told {
            let is_here = self.left.contains_key(&told.name) || self.right.contains_key(&told.name);
            let name = match (is_here, told.place, hidden_from) {
                (true, ..) => told.name.clone(),
                (false, _, Some(_)) if end_of(&told.name).is_some() => told.name.clone(),
                (false, _, Some(pop)) => hidden_name(pop),
                (false, Some(place), None) => self.at(place)?,
                (false, None, None) => told.name.clone(),
            };
            if !found.iter().any(|(other, _)| *other == name) {
                let value = told.value.clone().filter(|_| !is_hidden_name(&name));
                found.push((name, value));
            }
        }
        Some(found)
    }

    /// The name at a place of the list, counted from an end; `None` if it cannot be said.
    fn at(&self, place: i64) -> Option<Bytes> {
        let is_head = place >= 0;
        let back = if is_head { place } else { -1 - place };
        let count = u64::try_from(back).ok()? + 1;
        let mut upto = self.ends(is_head, count, None)?;
        let is_there = upto.len() as u64 == count;
        upto.pop().filter(|_| is_there).map(|(name, _)| name)
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

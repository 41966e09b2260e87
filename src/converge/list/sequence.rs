//! A list as it stands: its elements in some order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::{Taken, base_name, base_place, end_of};
use crate::command::effect::Effect;
use crate::converge::difference::OutOfReach;

/// Up to here a list is short: its repairs name their neighbours, so that a client's write in between does not mislead
/// them. What is taken from a longer one is named, too, as far as it is no more than this.
const SHORT: usize = 64;

/// Of a pop of more it is not remembered what it took, nor told: it would be as large as a value.
const GIVEN_MAX: usize = 1024;

/// An element, with its value if that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its place in the order that is the same everywhere.
    pub name: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// A list as it stands. Its base, or what is left of it in one piece, is never spelled out.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    left: VecDeque<Item>,
    base: Range<usize>,
    values: Rc<Vec<Option<Bytes>>>,
    right: VecDeque<Item>,
}

impl PartialEq for Sequence {
    fn eq(&self, other: &Sequence) -> bool {
        self.base == other.base && self.left == other.left && self.right == other.right
    }
}

impl Sequence {
    /// The base alone.
    pub fn of_base(values: Vec<Option<Bytes>>) -> Sequence {
        Sequence {
            base: 0..values.len(),
            values: Rc::new(values),
            ..Sequence::default()
        }
    }

    /// A list whose elements have these names.
    pub fn of_items(items: impl Iterator<Item = Item>) -> Sequence {
        Sequence {
            right: items.collect(),
            ..Sequence::default()
        }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.left.len() + self.base.len() + self.right.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of one that stands in the order of its names, from this one on.
    pub fn names(&self, from: &Bytes) -> impl Iterator<Item = Bytes> {
        let first = base_place(from).unwrap_or(0).max(self.base.start);
        let base = (first..self.base.end).map(base_name);
        let left = self.left.iter().map(|item| item.name.clone());
        let right = self.right.iter().map(|item| item.name.clone());
        left.chain(base).chain(right).skip_while(move |name| name < from)
    }

    /// What is left of the base in one piece.
    pub fn base(&self) -> Range<usize> {
        self.base.clone()
    }

    /// What stands before that, and behind it.
    pub fn beside(&self) -> impl Iterator<Item = &Item> {
        self.left.iter().chain(&self.right)
    }

    /// Whether all values are known, and these.
    pub fn is(&self, values: &[Bytes]) -> bool {
        self.len() == values.len() && self.values().eq(values.iter().map(Some))
    }

    fn values(&self) -> impl DoubleEndedIterator<Item = Option<&Bytes>> {
        let base = self.values.get(self.base.clone()).unwrap_or_default();
        let left = self.left.iter().map(|item| item.value.as_ref());
        let right = self.right.iter().map(|item| item.value.as_ref());
        left.chain(base.iter().map(Option::as_ref)).chain(right)
    }

    fn of_place(&self, at: usize) -> Item {
        Item {
            name: base_name(at),
            value: self.values.get(at).cloned().flatten(),
        }
    }

    fn items(&self) -> Vec<Item> {
        let base = self.base.clone().map(|at| self.of_place(at));
        let left = self.left.iter().cloned();
        left.chain(base).chain(self.right.iter().cloned()).collect()
    }

    /// Without these, and with those that were pushed, in the order of their names. `None` if what is gone of the base
    /// leaves more than one piece.
    pub fn joined(mut self, removed: &BTreeSet<&Bytes>, pushed: Vec<Item>) -> Option<Sequence> {
        self.left.retain(|item| !removed.contains(&item.name));
        self.right.retain(|item| !removed.contains(&item.name));
        let places = removed.iter().filter_map(|name| base_place(name));
        let places: Vec<usize> = places.filter(|place| self.base.contains(place)).collect();
        let ahead = places.iter().zip(self.base.clone());
        let ahead = ahead.take_while(|(place, first)| *place == first).count();
        let last = self.base.end - (places.len() - ahead)..self.base.end;
        if !places[ahead..].iter().copied().eq(last.clone()) {
            return None;
        }
        self.base = self.base.start + ahead..last.start;
        for item in pushed {
            match end_of(&item.name) {
                Some(true) => self.left.push_back(item),
                _ => self.right.push_back(item),
            }
        }
        for side in [&mut self.left, &mut self.right] {
            let is_sorted = side
                .iter()
                .zip(side.iter().skip(1))
                .all(|(one, next)| one.name < next.name);
            if !is_sorted {
                side.make_contiguous()
                    .sort_unstable_by(|one, other| one.name.cmp(&other.name));
            }
        }
        Some(self)
    }

    /// What a pop would take of it, if it is one of not too many.
    pub fn given_by(&self, effect: &Effect) -> Option<Taken> {
        let Effect::ListPop { left, count, .. } = effect else {
            return None;
        };
        let count = usize::try_from(*count).ok().filter(|count| *count <= GIVEN_MAX)?;
        let items = self.ends(*left, count).into_iter();
        Some(items.map(|item| (item.name, item.value)).collect())
    }

    fn ends(&self, left: bool, count: usize) -> Vec<Item> {
        let base = self.base.clone();
        let of_base = |at| self.of_place(at);
        match left {
            true => (self.left.iter().cloned())
                .chain(base.map(of_base))
                .chain(self.right.iter().cloned())
                .take(count)
                .collect(),
            false => (self.right.iter().rev().cloned())
                .chain(base.rev().map(of_base))
                .chain(self.left.iter().rev().cloned())
                .take(count)
                .collect(),
        }
    }

    /// All of it as one push on nothing.
    ///
    /// # Errors
    /// A value is not known.
    pub fn as_push(&self) -> Result<Effect, OutOfReach> {
        push(false, self.items().iter())
    }

    /// Executes a command that took effect; whether the list can have been what it was thought to be.
    pub fn change(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::ListPush { left, elements } => {
                for (name, value) in elements {
                    let item = Item {
                        name: name.clone(),
                        value: Some(value.clone()),
                    };
                    match left {
                        true => self.left.push_front(item),
                        false => self.right.push_back(item),
                    }
                }
                true
            }
            Effect::ListPop { left, count, .. } => {
                let is_there = !self.is_empty();
                self.pop(*left, usize::try_from(*count).unwrap_or(usize::MAX));
                is_there
            }
            Effect::ListRemove { left, element } => {
                let place = match left {
                    true => self.find(&element.1),
                    false => self.find_last(&element.1),
                };
                place.inspect(|&place| self.remove(place)).is_some()
            }
            Effect::ListInsert {
                before,
                pivot,
                element,
            } => {
                let item = Item {
                    name: element.0.clone(),
                    value: Some(element.1.clone()),
                };
                let place = self.find(pivot);
                place.inspect(|&place| self.insert(if *before { place } else { place + 1 }, item));
                place.is_some()
            }
            _ => false,
        }
    }

    /// Whether a command would find what it needs.
    pub fn has(&self, effect: &Effect) -> bool {
        match effect {
            Effect::ListPop { .. } => !self.is_empty(),
            Effect::ListRemove { element, .. } => self.find(&element.1).is_some(),
            Effect::ListInsert { pivot, .. } => self.find(pivot).is_some(),
            _ => true,
        }
    }

    fn find(&self, value: &Bytes) -> Option<usize> {
        self.values().position(|other| other == Some(value))
    }

    fn find_last(&self, value: &Bytes) -> Option<usize> {
        let behind = self.values().rev().position(|other| other == Some(value))?;
        Some(self.len() - 1 - behind)
    }

    fn pop(&mut self, left: bool, mut count: usize) {
        let (first, last) = match left {
            true => (&mut self.left, &mut self.right),
            false => (&mut self.right, &mut self.left),
        };
        count -= drop_end(first, left, count);
        let base = count.min(self.base.len());
        match left {
            true => self.base.start += base,
            false => self.base.end -= base,
        }
        drop_end(last, left, count - base);
    }

    fn remove(&mut self, place: usize) {
        self.spell_out(place);
        if place < self.left.len() {
            self.left.remove(place);
        } else if place == self.left.len() && !self.base.is_empty() {
            self.base.start += 1;
        } else {
            self.right.remove(place - self.left.len() - self.base.len());
        }
    }

    fn insert(&mut self, place: usize, item: Item) {
        self.spell_out(place);
        if place <= self.left.len() {
            self.left.insert(place, item);
        } else {
            self.right.insert(place - self.left.len() - self.base.len(), item);
        }
    }

    /// A place within the base is spelled out with all on its nearer side.
    fn spell_out(&mut self, place: usize) {
        let Some(at) = place
            .checked_sub(self.left.len())
            .filter(|at| *at < self.base.len())
        else {
            return;
        };
        let middle = self.base.start + at;
        if at <= self.base.len() / 2 {
            let ahead: Vec<Item> = (self.base.start..middle).map(|at| self.of_place(at)).collect();
            self.left.extend(ahead);
            self.base.start = middle;
        } else {
            let behind: Vec<Item> = (middle..self.base.end).map(|at| self.of_place(at)).collect();
            behind
                .into_iter()
                .rev()
                .for_each(|item| self.right.push_front(item));
            self.base.end = middle;
        }
    }

    /// The commands that turn it into what is wanted: near the ends alone, what both have in one piece stays.
    ///
    /// # Errors
    /// A value is not known that a command would have to name.
    pub fn changes_to(&self, want: &Sequence) -> Result<Vec<Effect>, OutOfReach> {
        if self == want {
            return Ok(Vec::new());
        }
        if self.len() <= SHORT && want.len() <= SHORT {
            let (have, want) = (self.items(), want.items());
            return match self.by_name(&have, &want)? {
                Some(changes) => Ok(changes),
                None => whole(&have, &want),
            };
        }
        let stays = self.base.start.max(want.base.start)..self.base.end.min(want.base.end);
        if stays.is_empty() {
            return whole(&self.items(), &want.items());
        }
        let head = |list: &Sequence| -> Vec<Item> {
            let base = (list.base.start..stays.start).map(|at| list.of_place(at));
            list.left.iter().cloned().chain(base).collect()
        };
        let tail = |list: &Sequence| -> Vec<Item> {
            let base = (stays.end..list.base.end).map(|at| list.of_place(at));
            base.chain(list.right.iter().cloned()).collect()
        };
        let mut changes = at_head(&head(self), &head(want))?;
        changes.extend(at_tail(&tail(self), &tail(want))?);
        Ok(changes)
    }

    /// Commands that name every element, if its value tells it from all others.
    fn by_name(&self, have: &[Item], want: &[Item]) -> Result<Option<Vec<Effect>>, OutOfReach> {
        let mut list = self.clone();
        let mut changes = Vec::new();
        let mut go = |change: Effect| {
            list.change(&change);
            changes.push(change);
        };
        let is_held: BTreeSet<&Bytes> = have.iter().map(|item| &item.name).collect();
        // What is there twice, by a repair that met a client's write, is seen as out of place.
        let mut inserted: Vec<usize> = Vec::new();
        let mut removed: Vec<&Item> = Vec::new();
        let mut rest = have.iter().peekable();
        for (at, item) in want.iter().enumerate() {
            if !is_held.contains(&item.name) {
                inserted.push(at);
                continue;
            }
            removed.extend(std::iter::from_fn(|| {
                rest.next_if(|other| other.name != item.name)
            }));
            if rest.next().is_none() {
                return Ok(None);
            }
        }
        removed.extend(rest);
        // What is wanted stands before what goes, so that the list is never empty in between.
        for at in inserted {
            let element = named(&want[at])?;
            let ahead = at.checked_sub(1).map(|ahead| &want[ahead]);
            let mut behind = want[at + 1..].iter();
            let behind = behind.find(|behind| is_held.contains(&behind.name));
            go(match (ahead, behind) {
                (Some(pivot), _) => Effect::ListInsert {
                    before: false,
                    pivot: named(pivot)?.1,
                    element,
                },
                (None, Some(pivot)) => Effect::ListInsert {
                    before: true,
                    pivot: named(pivot)?.1,
                    element,
                },
                // Whatever a client pushes meanwhile at the end that it came from is newer, and goes outside.
                (None, None) => Effect::ListPush {
                    left: end_of(&element.0) != Some(false),
                    elements: vec![element],
                },
            });
        }
        for item in removed {
            go(Effect::ListRemove {
                left: true,
                element: named(item)?,
            });
        }
        // Equal values, or an order that is another one.
        let is_reached = list
            .items()
            .iter()
            .map(|item| &item.name)
            .eq(want.iter().map(|item| &item.name));
        Ok(is_reached.then_some(changes))
    }
}

fn named(item: &Item) -> Result<(Bytes, Bytes), OutOfReach> {
    let value = item.value.clone().ok_or(OutOfReach)?;
    Ok((item.name.clone(), value))
}

fn drop_end(items: &mut VecDeque<Item>, left: bool, count: usize) -> usize {
    let count = count.min(items.len());
    match left {
        true => drop(items.drain(..count)),
        false => items.truncate(items.len() - count),
    }
    count
}

/// Without a common piece of the base the longest piece that both have stays.
fn whole(have: &[Item], want: &[Item]) -> Result<Vec<Effect>, OutOfReach> {
    let places: BTreeMap<&Bytes, usize> = want
        .iter()
        .enumerate()
        .map(|(at, item)| (&item.name, at))
        .collect();
    let (mut best, mut run) = ((0, 0, 0), (0, 0, 0));
    for (at, item) in have.iter().enumerate() {
        run = match places.get(&item.name) {
            None => (0, 0, 0),
            Some(&place) if run.2 > 0 && place == run.1 + run.2 => (run.0, run.1, run.2 + 1),
            Some(&place) => (at, place, 1),
        };
        if run.2 > best.2 {
            best = run;
        }
    }
    let (at, place, len) = best;
    if len == 0 && !want.is_empty() {
        // The list is never empty in between, which would end its expiry time.
        let mut changes = vec![push(false, want.iter())?];
        changes.extend((!have.is_empty()).then(|| pop(true, have.len())));
        return Ok(changes);
    }
    let mut changes = at_head(&have[..at], &want[..place])?;
    changes.extend(at_tail(&have[at + len..], &want[place + len..])?);
    Ok(changes)
}

/// What stands before the piece that stays.
fn at_head(have: &[Item], want: &[Item]) -> Result<Vec<Effect>, OutOfReach> {
    let pairs = have.iter().rev().zip(want.iter().rev());
    let same = pairs.take_while(|(one, other)| one.name == other.name).count();
    let popped = have[..have.len() - same].iter();
    changes(true, popped, want[..want.len() - same].iter().rev())
}

/// What stands behind it.
fn at_tail(have: &[Item], want: &[Item]) -> Result<Vec<Effect>, OutOfReach> {
    let pairs = have.iter().zip(want);
    let same = pairs.take_while(|(one, other)| one.name == other.name).count();
    changes(false, have[same..].iter().rev(), want[same..].iter())
}

/// `popped` from its end.
fn changes<'a>(
    left: bool,
    popped: impl ExactSizeIterator<Item = &'a Item>,
    pushed: impl ExactSizeIterator<Item = &'a Item>,
) -> Result<Vec<Effect>, OutOfReach> {
    if pushed.len() == 0 && popped.len() <= SHORT {
        // Named: a client may have popped it as well.
        let remove = |item| {
            Ok(Effect::ListRemove {
                left,
                element: named(item)?,
            })
        };
        return popped.map(remove).collect();
    }
    let mut changes = Vec::new();
    changes.extend((popped.len() > 0).then(|| pop(left, popped.len())));
    if pushed.len() > 0 {
        changes.push(push(left, pushed)?);
    }
    Ok(changes)
}

fn pop(left: bool, count: usize) -> Effect {
    Effect::ListPop {
        left,
        count: count as u64,
        took: None,
    }
}

fn push<'a>(left: bool, items: impl Iterator<Item = &'a Item>) -> Result<Effect, OutOfReach> {
    Ok(Effect::ListPush {
        left,
        elements: items.map(named).collect::<Result<_, _>>()?,
    })
}

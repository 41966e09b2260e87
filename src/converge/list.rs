//! Lists: pushes and pops at both ends, by element.
//!
//! An element's name is its place in the order that is the same everywhere: what was pushed at the head, the newest
//! first, then the *base*, what lay in the list before all of these operations, then what was pushed at the tail, the
//! newest last. So a list is a set of names, and the rules by element hold for it: a push adds, a pop removes what it
//! took, a `DEL` what it saw.
//!
//! A pop tells no element. It took what stood at its end where it was executed, and every site finds the same from the
//! pop's past alone ([`Views`]); that is what a pop *learns*. It has to be known how many elements the base has, so
//! the list is read once from the own database when its key comes into conflict. Nothing of it goes anywhere.
//!
//! What the database holds is followed command by command ([`Sequence`]), for it may stand in another order until it is
//! repaired. Where that cannot be done, and with every other command on lists, the list is replayed as a whole.

mod sequence;
mod views;

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::sequence::{Item, Sequence};
pub use self::views::Taken;
pub(super) use self::views::{Retold, Views};
use super::content::{Content, Expiry, Kind};
use super::cover::Cover;
use super::difference::OutOfReach;
use super::operation::Operation;
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::effect::Effect;

const HEAD: u8 = 0;
const BASE: u8 = 1;
const TAIL: u8 = 2;
/// What an operation left that is executed as it came; no list has names of it.
const WHOLE: u8 = 3;
/// What a pop took of a base that is hidden; no list has names of it either.
const HIDDEN: u8 = 4;

/// The end of the list at which something was pushed; none for what the base had.
fn end_of(name: &Bytes) -> Option<bool> {
    match name.first() {
        Some(&HEAD) => Some(true),
        Some(&TAIL) => Some(false),
        _ => None,
    }
}

fn base_name(at: usize) -> Bytes {
    let mut name = BytesMut::with_capacity(9);
    name.put_u8(BASE);
    name.put_u64(at as u64);
    name.freeze()
}

/// The place in the base, if it is one of its names.
fn base_place(name: &Bytes) -> Option<usize> {
    let place: [u8; 8] = name.strip_prefix(&[BASE])?.try_into().ok()?;
    usize::try_from(u64::from_be_bytes(place)).ok()
}

/// Names what an operation pushes. Values are copied, so that they do not hold the batch that they came in.
pub(super) fn name_elements(op: &mut Operation) {
    let (time, site, seq) = (op.time.0, op.dot.site.0, op.dot.seq);
    let Effect::ListPush { left, elements } = &mut op.effect else {
        return;
    };
    for (item, (name, value)) in elements.iter_mut().enumerate() {
        let mut place = [0; 22];
        let mut rest = &mut place[1..];
        rest.put_u64(time);
        rest.put_u8(site);
        rest.put_u64(seq);
        rest.put_u32(item as u32);
        if *left {
            // The newest first.
            place.iter_mut().for_each(|byte| *byte = !*byte);
        }
        place[0] = if *left { HEAD } else { TAIL };
        *name = Bytes::copy_from_slice(&place);
        *value = Bytes::copy_from_slice(value);
    }
}

/// A list of which so much is known as was read.
pub(super) fn base_of(values: Vec<Option<Bytes>>) -> Content {
    if values.is_empty() {
        return Content::absent();
    }
    let mut content = Content::empty(Kind::List);
    content.list = Some(Box::new(Sequence::of_base(values)));
    content
}

/// What a list holds after a command that took effect.
pub(super) fn apply(content: &mut Content, effect: &Effect) {
    let is_clear = match &mut content.list {
        Some(list) => list.change(effect),
        None => false,
    };
    if !is_clear {
        // It holds something else than was thought.
        content.list = None;
        content.rest_unknown = true;
    }
}

/// What the rules prescribe for a list on what the content holds of its base.
pub(super) fn put_list(content: &mut Content, operations: &[&Operation], cover: &Cover<'_>) {
    if content.rest_unknown {
        content.list = None;
        return;
    }
    let mut removed: BTreeSet<&Bytes> = BTreeSet::new();
    for op in operations {
        if let Effect::ListPop { took: Some(took), .. } = &op.effect {
            removed.extend(took.iter().map(|(name, _)| name));
        }
    }
    let mut pushed: Vec<Item> = Vec::new();
    for op in operations.iter().filter(|op| !cover.key_of(op)) {
        if let Effect::ListPush { elements, .. } = &op.effect {
            let left = elements
                .iter()
                .filter(|(name, _)| !removed.contains(name) && !cover.element_of(op, name));
            pushed.extend(left.map(|(name, value)| Item {
                name: name.clone(),
                value: Some(value.clone()),
            }));
        }
    }
    let list = content.list.take().unwrap_or_default();
    content.list = list.joined(&removed, pushed).map(Box::new);
    content.rest_unknown = content.list.is_none();
}

/// The effects that turn one list into another.
///
/// # Errors
/// [`OutOfReach`] where one of them is not known, or an element would have to be put back that nobody here knows.
pub(super) fn list_difference(
    want: &Content,
    have: &Content,
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<(), OutOfReach> {
    let wanted = want.list.as_ref().ok_or(OutOfReach)?;
    if have.kind == Kind::List
        && let Some(held) = &have.list
    {
        effects.extend(held.changes_to(wanted)?);
        return Ok(());
    }
    if have.kind != Kind::Absent {
        effects.push(Effect::Del);
    }
    *expiry = Expiry::Never;
    effects.push(wanted.as_push()?);
    Ok(())
}

/// The name of something that an operation left which is executed as it came.
fn whole_name(op: Dot, at: usize) -> Bytes {
    beside_name(WHOLE, op, at)
}

/// The name of all that this pop took of a base that is hidden.
fn hidden_name(pop: Dot) -> Bytes {
    beside_name(HIDDEN, pop, 0)
}

fn is_hidden_name(name: &Bytes) -> bool {
    name.first() == Some(&HIDDEN)
}

fn beside_name(tag: u8, op: Dot, at: usize) -> Bytes {
    let mut name = BytesMut::with_capacity(18);
    name.put_u8(tag);
    name.put_u8(op.site.0);
    name.put_u64(op.seq);
    name.put_u64(at as u64);
    name.freeze()
}

/// The operation behind such a name, and its place.
fn whole_place(name: &Bytes) -> Option<(Dot, usize)> {
    let place: [u8; 17] = name.strip_prefix(&[WHOLE])?.try_into().ok()?;
    let number = |from: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&place[from..from + 8]);
        u64::from_be_bytes(bytes)
    };
    let dot = Dot {
        site: SiteIx(place[0]),
        seq: number(1),
    };
    Some((dot, usize::try_from(number(9)).ok()?))
}

/// What put there what a name stands for; none if the base had it.
fn origin_of(name: &Bytes) -> Option<Dot> {
    push_of(name).or_else(|| whole_place(name).map(|(dot, _)| dot))
}

/// The push that a name stands for, if it is of one.
fn push_of(name: &Bytes) -> Option<Dot> {
    let is_left = end_of(name)?;
    let mut place: [u8; 22] = name.as_ref().try_into().ok()?;
    if is_left {
        place.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut seq = [0; 8];
    seq.copy_from_slice(&place[10..18]);
    Some(Dot {
        site: SiteIx(place[9]),
        seq: Seq::from_be_bytes(seq),
    })
}

/// Whether a pop took nothing but what something with this past removed; all such pasts include the base.
pub(super) fn took_only(op: &Operation, removed: &Vector) -> bool {
    let is_removed = |name: &Bytes| origin_of(name).is_none_or(|dot| removed.includes(dot));
    match &op.effect {
        Effect::ListPop { took: Some(took), .. } => took.iter().all(|(name, _)| is_removed(name)),
        _ => false,
    }
}

/// Whether a pop took something else than what was pushed at its own end, or of a base that is hidden.
pub(super) fn reaches_beyond(op: &Operation) -> bool {
    let Effect::ListPop { left, took, .. } = &op.effect else {
        return false;
    };
    let is_near = |name: &Bytes| end_of(name) == Some(*left) || is_hidden_name(name);
    took.as_ref()
        .is_none_or(|took| !took.iter().all(|(name, _)| is_near(name)))
}

/// Whether all that a pop took had been taken by those that this was asked of before.
pub(super) fn took_nothing<'a>(op: &'a Operation, taken: &mut BTreeSet<&'a Bytes>) -> bool {
    let Effect::ListPop { took: Some(took), .. } = &op.effect else {
        return false;
    };
    let mut took_any = took.is_empty();
    for (name, _) in took {
        took_any |= taken.insert(name);
    }
    !took_any
}

/// The list in a dump, if it is one; its elements have names of what that operation left.
pub(super) fn of_dump(payload: &Bytes, dot: Dot) -> Option<Sequence> {
    let list = views::list_in(payload)?;
    let item = |(at, value): (usize, &Bytes)| Item {
        name: whole_name(dot, at),
        value: Some(value.clone()),
    };
    Some(Sequence::of_items(list.iter().enumerate().map(item)))
}

/// A pop's effects where its operation is executed again, beside others, on what has the past `root`: it takes the
/// elements that it took where it was executed. Those are known everywhere if its site told them, of what was pushed at the
/// same end since, and of what the value at the root had.
pub(super) fn replayed(op: &Operation, root: Option<&Vector>, is_told: bool) -> Option<Vec<Effect>> {
    let Effect::ListPop {
        left,
        count,
        took: Some(took),
    } = &op.effect
    else {
        return None;
    };
    let is_known = |name: &Bytes| end_of(name) == Some(*left) || whole_place(name).is_some();
    let is_at_root = |name| root.is_some_and(|root| push_of(name).is_some_and(|dot| root.includes(dot)));
    // Of several it may not be known everywhere how many there were.
    let is_one = || *count == 1 && matches!(&took[..], [(name, _)] if is_known(name) && !is_at_root(name));
    if took.is_empty() || !is_told && !is_one() {
        return None;
    }
    let removal = |(name, value): &(Bytes, Option<Bytes>)| {
        Some(Effect::ListRemove {
            left: *left,
            element: (name.clone(), value.clone()?),
        })
    };
    took.iter().map(removal).collect()
}

//! Streams: entries by id.
//!
//! An entry is an element by the [name](crate::command::entries) of its id. More elements stand beside: under [`TEXT`]
//! the id below which the base has no entries any more, under [`LAST`] the last id given out, as far as it is known,
//! under [`FLOOR`] the lowest id of an entry that is named. What lies before the window has lower ids than everything in
//! it, for whoever gave those out had seen it: it is the [rest], and under [`REST`] stands what trims to a length left of
//! it.
//!
//! A trim removes what it saw. What it left is asked once, when it comes, for its past is complete then ([`left_by`]).

mod passed;
mod rest;
mod settled;

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

pub use self::passed::{PassedEntry, passed};
pub use self::rest::Bound;
use self::rest::{bind, floor, is_gone, keep_newest, removed, rest_difference};
pub(super) use self::rest::{forget_rest, same_rest};
pub(super) use self::settled::{forget_oldest, settle, settled};

use super::content::{Content, Expiry, Kind, TEXT, Value};
use super::cover::Cover;
use super::difference::{OutOfReach, begun};
use super::evaluate::{evaluate_value, is_reset};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::command::effect::{Effect, Splice};
use crate::command::entries::{ID_BYTES, Left, Trim, name_of};

/// The element that holds the last id given out.
const LAST: Bytes = Bytes::from_static(b"last");

/// The element that holds the lowest id of an entry that is named.
const FLOOR: Bytes = Bytes::from_static(b"floor");

/// The element that tells what trims to a length left of what is below.
const REST: Bytes = Bytes::from_static(b"rest");

/// Above every id.
const ABOVE: Bytes = Bytes::from_static(&[u8::MAX; ID_BYTES]);

/// What an effect takes away by age.
pub(super) fn trim_of(effect: &Effect) -> Option<&Trim> {
    match effect {
        Effect::StreamAdd { trim, .. } => trim.as_ref(),
        Effect::StreamTrim(trim) => Some(trim),
        _ => None,
    }
}

fn is_id(name: &Bytes) -> bool {
    name.len() == ID_BYTES
}

/// An id that this content keeps under a name of its own.
fn mark<'a>(content: &'a Content, name: &Bytes) -> Option<&'a Bytes> {
    match content.elements.get(name) {
        Some(Value::Bytes(id)) => Some(id),
        _ => None,
    }
}

fn raise(content: &mut Content, name: &Bytes, id: &Bytes) {
    if mark(content, name).is_none_or(|known| known < id) {
        content.put(name, Value::Bytes(id.clone()));
    }
}

fn lower(content: &mut Content, id: &Bytes) {
    if mark(content, &FLOOR).is_none_or(|known| known > id) {
        content.put(&FLOOR, Value::Bytes(id.clone()));
    }
}

fn enter(content: &mut Content, id: &Bytes, fields: &[Bytes]) {
    content.put(id, Value::Entry(fields.to_vec()));
    raise(content, &LAST, id);
    lower(content, id);
}

/// Entries known to be there, oldest first.
fn entries(content: &Content) -> impl DoubleEndedIterator<Item = &Bytes> {
    let elements = content.elements.iter();
    elements.filter_map(|(name, value)| matches!(value, Value::Entry(_)).then_some(name))
}

/// What a stream holds after a command that took effect, as the database executes it.
pub(super) fn apply(content: &mut Content, effect: &Effect) {
    match effect {
        Effect::StreamAdd { id, fields, trim } => {
            enter(content, id, fields);
            trim.iter().for_each(|trim| cut(content, trim, &[]));
        }
        Effect::StreamRemove(ids) => ids.iter().for_each(|id| content.put(id, Value::Absent)),
        Effect::StreamTrim(trim) => cut(content, trim, &[]),
        Effect::StreamSplice(splice) => {
            splice
                .entries
                .iter()
                .for_each(|(id, fields)| enter(content, id, fields));
            splice.last.iter().for_each(|last| raise(content, &LAST, last));
            splice
                .trim
                .iter()
                .for_each(|trim| cut(content, trim, &splice.kept));
        }
        _ => {}
    }
}

/// What a trim does to what the database holds.
fn cut(content: &mut Content, trim: &Trim, kept: &[Bytes]) {
    match trim {
        Trim::Below(below) => take_below(content, below, kept),
        Trim::Longest { most, .. } => match oldest_of(content, *most, kept) {
            Some(below) => take_below(content, &below, kept),
            None => {
                let known = entries(content).filter(|id| !kept.contains(id)).count() as u64;
                keep_newest(content, most.saturating_sub(known), &[]);
            }
        },
        Trim::Rest { most, under, gone } => {
            let mut known: Vec<Bytes> = content
                .elements
                .range(..under.clone())
                .rev()
                .filter(|(_, value)| matches!(value, Value::Entry(_)))
                .map(|(id, _)| id.clone())
                .collect();
            if known.is_empty() {
                return keep_newest(content, *most, gone);
            }
            // The stream was made anew in between.
            if content.rest_unknown {
                keep_newest(content, 0, &[]);
            }
            known.extend_from_slice(gone);
            known.sort_unstable_by(|one, other| other.cmp(one));
            for id in known.iter().skip(usize::try_from(*most).unwrap_or(usize::MAX)) {
                content.put(id, Value::Absent);
            }
        }
    }
}

fn take_below(content: &mut Content, below: &Bytes, kept: &[Bytes]) {
    let kept: BTreeSet<&Bytes> = kept.iter().collect();
    for (name, value) in &mut content.elements {
        if is_id(name) && name < below && !kept.contains(name) {
            *value = Value::Absent;
        }
    }
    raise(content, &TEXT, below);
}

/// The oldest of the newest so many entries, where so many are known to be there.
fn oldest_of(content: &Content, most: u64, kept: &[Bytes]) -> Option<Bytes> {
    let Some(newer) = usize::try_from(most).ok()?.checked_sub(1) else {
        return Some(ABOVE);
    };
    let kept: BTreeSet<&Bytes> = kept.iter().collect();
    let mut seen = entries(content).rev().filter(|name| !kept.contains(name));
    seen.nth(newer).cloned()
}

/// Whether the database would refuse this id for a new entry, as far as is known.
pub(super) fn refuses(content: &Content, id: &Bytes) -> bool {
    content.kind == Kind::Stream && top(content).is_some_and(|top| top >= id)
}

/// An id that the next one has to be above.
fn top(content: &Content) -> Option<&Bytes> {
    let highest = content.elements.keys().rev().find(|name| is_id(name));
    highest.max(mark(content, &LAST))
}

/// What is known once a command turned out to have had no effect.
pub(super) fn had_no_effect(mut content: Content, effect: &Effect) -> Content {
    match effect {
        Effect::StreamAdd { id, .. } => {
            content.kind = Kind::Stream;
            // Its id was too low; whether the entry is there for another reason is known or is not.
            if !content.elements.contains_key(id) {
                content.put(id, Value::Absent);
            }
            raise(&mut content, &LAST, id);
            lower(&mut content, id);
        }
        // There was nothing that it could take.
        Effect::StreamSplice(splice) if splice.entries.is_empty() => {
            splice
                .trim
                .iter()
                .for_each(|trim| cut(&mut content, trim, &splice.kept));
        }
        Effect::StreamRemove(ids) => ids.iter().for_each(|id| content.put(id, Value::Absent)),
        _ => {}
    }
    content
}

/// What the rules prescribe for a stream on what the content holds of its base: an entry stays unless something that saw
/// it removed it; of several with one id the latest.
pub(super) fn put_entries(content: &mut Content, operations: &[&Operation], cover: &Cover<'_>) {
    let below = |op: &&'_ Operation| trim_of(&op.effect)?.below().cloned();
    let mut cuts: Vec<(&Operation, Bytes)> = operations
        .iter()
        .filter_map(|op| below(op).map(|below| (*op, below)))
        .collect();
    cuts.sort_unstable_by(|one, other| other.1.cmp(&one.1));
    // All have seen the base.
    if let Some((_, highest)) = cuts.first() {
        take_below(content, highest, &[]);
    }
    let is_cut = |op: &Operation, id: &Bytes| {
        let mut above = cuts.iter().take_while(|(_, below)| below > id);
        above.any(|(trim, _)| trim.dot == op.dot || trim.is_after(op) || off(Mutation::ObservedRemove))
    };
    let mut adds: Vec<(&Operation, &Bytes, &Vec<Bytes>)> = Vec::new();
    for op in operations {
        match &op.effect {
            Effect::StreamAdd { id, fields, .. } => adds.push((op, id, fields)),
            Effect::StreamRemove(ids) => ids.iter().for_each(|id| content.put(id, Value::Absent)),
            _ => {}
        }
    }
    let lowest = adds.iter().map(|(_, id, _)| *id).min();
    lowest.iter().for_each(|id| lower(content, id));
    if content.rest_unknown {
        bind_rest(content, operations);
    }
    adds.sort_by_key(|(op, ..)| (!off(Mutation::ElementLatestWins)).then(|| op.order()));
    adds.iter().for_each(|(_, id, _)| content.put(id, Value::Absent));
    for (op, id, fields) in adds {
        if cover.key_of(op) {
            continue;
        }
        raise(content, &LAST, id);
        if !cover.element_of(op, id) && !is_cut(op, id) {
            content.put(id, Value::Entry(fields.clone()));
        }
    }
}

/// What trims to a length leave of the rest.
fn bind_rest(content: &mut Content, operations: &[&Operation]) {
    let several = |op: &&&Operation| matches!(&op.effect, Effect::StreamRemove(ids) if ids.len() > 1);
    let removals: Vec<&Operation> = operations.iter().filter(several).copied().collect();
    let floor = floor(content);
    for op in operations {
        let Some(Trim::Longest {
            left: Some(Left::OfRest { most, without }),
            ..
        }) = trim_of(&op.effect)
        else {
            continue;
        };
        let mut unseen = removals.iter().filter(|other| !op.sees(other.dot));
        let bound = Bound {
            most: *most,
            without: Rc::clone(without),
            is_open: unseen.any(|other| other.elements().any(|id| *id < floor && !without.contains(id))),
        };
        bind(content, bound);
    }
}

/// What a trim to the newest so many left of what it saw. `None` if that depends on what has no rules by element.
pub(super) fn left_by(base: &Content, operations: &[Operation], trim: &Operation) -> Option<Left> {
    let Some(Trim::Longest { most, .. }) = trim_of(&trim.effect) else {
        return None;
    };
    let mut own = trim.clone();
    let mut seen: Vec<&Operation> = operations.iter().filter(|op| trim.sees(op.dot)).collect();
    if let Effect::StreamAdd { trim, .. } = &mut own.effect {
        *trim = None;
        seen.push(&own);
    }
    if !seen.iter().all(|op| op.is_elementwise()) {
        return None;
    }
    let content = evaluate_value(base, &seen);
    if let Some(below) = oldest_of(&content, *most, &[]) {
        return Some(Left::From(below));
    }
    if is_gone(&content) {
        return Some(Left::From(name_of(0, 0)));
    }
    Some(Left::OfRest {
        most: most.saturating_sub(entries(&content).count() as u64),
        without: Rc::new(removed(&content).cloned().collect()),
    })
}

/// The effects that turn one stream into another.
///
/// # Errors
/// [`OutOfReach`] when the wanted entries are those of a base that `have` no longer has.
pub(super) fn entry_difference(
    want: &Content,
    have: &Content,
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<(), OutOfReach> {
    let is_open = matches!(
        have.kind,
        Kind::Stream | Kind::Unknown | Kind::Absent | Kind::Other
    );
    let forgets = !want.rest_unknown && mark(have, &LAST) > mark(want, &LAST);
    let rebuild = !want.rest_unknown && have.rest_unknown || !is_open || forgets;
    let absent = Content::absent();
    let current = begun(want, (have, rebuild, &absent), effects, expiry)?;
    let trims = rest_difference(want, current)?;
    let mut names: BTreeSet<&Bytes> = want.elements.keys().collect();
    if !want.rest_unknown || current.rest_unknown {
        names.extend(current.elements.keys());
    }
    let (mut missing, mut removed) = (Vec::new(), Vec::new());
    for name in names.into_iter().filter(|name| is_id(name)) {
        match (want.get(name), current.get(name)) {
            (wanted, held) if wanted == held => {}
            (Value::Entry(fields), _) => missing.push((name.clone(), fields)),
            (Value::Absent, _) => removed.push(name.clone()),
            _ => return Err(OutOfReach),
        }
    }
    let last = mark(want, &LAST);
    if current.kind == Kind::Absent
        && missing.is_empty()
        && let Some(last) = last
    {
        // A stream without entries begins with one.
        missing.push((last.clone(), vec![Bytes::new(), Bytes::new()]));
        removed = vec![last.clone()];
    }
    put(want, current, missing, effects);
    if !removed.is_empty() {
        effects.push(Effect::StreamRemove(removed));
    }
    effects.extend(trims.into_iter().map(|trim| {
        Effect::StreamSplice(Splice {
            trim: Some(trim),
            ..Splice::default()
        })
    }));
    Ok(())
}

/// Entries above all others are added; others are put in their places by a script, which loses none that comes in
/// between.
fn put(want: &Content, current: &Content, missing: Vec<(Bytes, Vec<Bytes>)>, effects: &mut Vec<Effect>) {
    let wanted = mark(want, &TEXT);
    let below = wanted.filter(|below| current.rest_unknown && mark(current, &TEXT) < Some(below));
    let first = missing.first().map(|(id, _)| id);
    let is_above = match top(current) {
        Some(top) => first.is_none_or(|first| first > top),
        None => !current.rest_unknown,
    };
    let reached = missing.last().map(|(id, _)| id).max(mark(current, &LAST));
    let last = mark(want, &LAST).filter(|last| reached < Some(last));
    if below.is_none() && last.is_none() && (is_above || missing.is_empty()) {
        effects.extend(missing.into_iter().map(|(id, fields)| Effect::StreamAdd {
            id,
            fields,
            trim: None,
        }));
        return;
    }
    let kept = entries(want).filter(|id| below.is_some_and(|below| *id < below));
    effects.push(Effect::StreamSplice(Splice {
        kept: kept.cloned().collect(),
        entries: missing,
        trim: below.cloned().map(Trim::Below),
        last: last.cloned(),
    }));
}

/// A stream's operation as it is replayed beside others: it is put in its place, and takes away what it saw alone.
/// `kept` are entries that it has not seen.
pub(super) fn replayed(op: &Operation, kept: impl FnOnce() -> Vec<Bytes>) -> Option<Effect> {
    match &op.effect {
        Effect::StreamAdd { id, fields, trim } => Some(Effect::StreamSplice(Splice {
            entries: vec![(id.clone(), fields.clone())],
            kept: trim.as_ref().map(|_| kept()).unwrap_or_default(),
            trim: trim.clone(),
            last: Some(id.clone()),
        })),
        Effect::StreamTrim(trim) => Some(Effect::StreamSplice(Splice {
            kept: kept(),
            trim: Some(trim.clone()),
            ..Splice::default()
        })),
        Effect::StreamRemove(ids) => {
            let kept = kept();
            let seen = ids.iter().filter(|id| !kept.contains(id));
            Some(Effect::StreamRemove(seen.cloned().collect()))
        }
        _ => None,
    }
}

/// The ids of the entries that an effect puts in.
pub(super) fn put_by(effect: &Effect) -> impl Iterator<Item = &Bytes> {
    let (one, many) = match effect {
        Effect::StreamAdd { id, .. } => (Some(id), None),
        Effect::StreamSplice(splice) => (None, Some(&splice.entries)),
        _ => (None, None),
    };
    one.into_iter()
        .chain(many.into_iter().flatten().map(|(id, _)| id))
}

/// Entries of these that an operation has not seen. Of what a removal names, something else of `all` may have taken one;
/// then another entry with its id may be there that is to go.
pub(super) fn unseen<'a>(
    op: &Operation,
    beside: impl Iterator<Item = &'a Operation>,
    all: &[Operation],
) -> Vec<Bytes> {
    let takes = |by: &Operation, id: &Bytes| is_reset(&by.effect) || by.overwrites_element(id);
    let is_taken = |add: &Operation, id: &Bytes| all.iter().any(|by| takes(by, id) && by.sees(add.dot));
    let is_beside = |other: &Operation, id: &Bytes| match &op.effect {
        Effect::StreamAdd { id: own, .. } => own != id,
        Effect::StreamRemove(ids) => ids.contains(id) && !is_taken(other, id),
        _ => true,
    };
    let ids = beside.filter_map(|other| match &other.effect {
        Effect::StreamAdd { id, .. } if !op.sees(other.dot) && is_beside(other, id) => Some(id.clone()),
        _ => None,
    });
    ids.collect::<BTreeSet<Bytes>>().into_iter().collect()
}

#[cfg(test)]
mod tests;

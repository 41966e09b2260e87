//! Strings in pieces: bitmaps by bit, HyperLogLogs by element.
//!
//! Such a string is its *ground*, the value under [`TEXT`], which may be unknown, and the
//! [pieces](crate::command::pieces) that were put on it. Bits that nothing names are those of the ground, and it
//! grows with zeros to hold every named bit, zero or one. So a bitmap of any length costs what was written to it.
//!
//! What pieces cannot be joined with is left to a replay: numbers, a HyperLogLog that was written as a string, bits
//! of a HyperLogLog, other types. Where only bits and SETs meet, a replay gives the same: SETs first, then bits by
//! time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::content::{Content, Expiry, Kind, TEXT, Value, kind_of};
use super::cover::Cover;
use super::difference::{OutOfReach, set_expiry};
use super::evaluate::{covers_base, is_alive};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use crate::command::effect::Effect;
use crate::command::pieces::Piece;

/// No number that a counter takes is longer.
const NUMBER_BYTES_MAX: u64 = 20;

/// Whether pieces of this content are named.
pub(super) fn has_pieces(content: &Content) -> bool {
    let mut names = content.elements.keys().rev();
    content.kind == Kind::Text && names.next().is_some_and(|name| *name != TEXT)
}

/// Whether pieces meet what they cannot be joined with by rules. What something has overwritten meets nothing: one
/// site may have forgotten it while another remembers it, and both have to decide alike.
pub(super) fn needs_replay(base: &Content, operations: &[Operation]) -> bool {
    // Nearly always that is enough, and it looks at no past.
    if !meet(Some(base), operations.iter()) {
        return false;
    }
    let all: Vec<&Operation> = operations.iter().collect();
    let cover = Cover::of(&all);
    let alive = all.iter().copied().filter(|op| is_alive(op, &cover));
    meet((!covers_base(base, &all)).then_some(base), alive)
}

fn meet<'a>(base: Option<&Content>, operations: impl Iterator<Item = &'a Operation> + Clone) -> bool {
    let any = |test: fn(&Effect) -> bool| operations.clone().any(|op| test(&op.effect));
    let pieces = base.filter(|base| has_pieces(base));
    let holds = |test: fn(&Value) -> bool| pieces.is_some_and(|base| base.elements.values().any(test));
    let bits =
        any(|effect| matches!(effect, Effect::Bits(_))) || holds(|value| matches!(value, Value::Bit(_)));
    let union = any(|effect| matches!(effect, Effect::Union(_))) || holds(|value| *value == Value::Member);
    if !bits && !union {
        return false;
    }
    let ground = match base {
        Some(base) if base.kind == Kind::Text => base.get(&TEXT),
        _ => Value::Plus(0),
    };
    let others = any(|effect| !matches!(kind_of(effect), Kind::Text | Kind::Unknown));
    let counts = any(|effect| matches!(effect, Effect::Count { .. }))
        || matches!(ground, Value::Plus(number) if number != 0);
    let written = any(|effect| matches!(effect, Effect::Set { .. })) || matches!(ground, Value::Bytes(_));
    others || counts || union && (bits || written)
}

/// What a counter command finds in a string, with its pieces in it; `None` where that is not known.
pub(super) fn counted(content: &Content) -> Option<Value> {
    if !has_pieces(content) {
        return Some(content.get(&TEXT));
    }
    let view = View::of(content);
    let ground = view.bytes()?;
    let len = view.len();
    if !view.union.is_empty() || len > NUMBER_BYTES_MAX {
        return Some(Value::Bytes(Bytes::new()));
    }
    let mut text = vec![0; len as usize];
    text[..ground.len()].copy_from_slice(ground);
    for (offset, (_, bit)) in &view.bits {
        let mask = 0x80 >> (offset % 8);
        let byte = &mut text[(offset / 8) as usize];
        *byte = if *bit { *byte | mask } else { *byte & !mask };
    }
    Some(Value::Bytes(text.into()))
}

/// Puts the pieces that are alive on what the content holds: of concurrent bits the latest.
pub(super) fn put_pieces(content: &mut Content, alive: &[&Operation], cover: &Cover<'_>) {
    let is_piece = |op: &&&Operation| matches!(op.effect, Effect::Bits(_) | Effect::Union(_));
    let mut alive: Vec<&&Operation> = alive.iter().filter(is_piece).collect();
    alive.sort_by_key(|op| (!off(Mutation::ElementLatestWins)).then(|| op.order()));
    for op in alive {
        match &op.effect {
            Effect::Bits(bits) => bits
                .iter()
                .filter(|(name, _)| !cover.element_of(op, name))
                .for_each(|(name, bit)| content.put(name, Value::Bit(*bit))),
            Effect::Union(names) => names.iter().for_each(|name| content.put(name, Value::Member)),
            _ => {}
        }
    }
}

/// A string's ground, and what is on it.
struct View<'a> {
    ground: Value,
    bits: BTreeMap<u64, (&'a Bytes, bool)>,
    union: BTreeSet<&'a Bytes>,
}

impl View<'_> {
    fn of(content: &Content) -> View<'_> {
        let mut view = View {
            ground: match content.kind {
                Kind::Text => content.get(&TEXT),
                Kind::Absent => Value::Absent,
                _ => Value::Plus(0),
            },
            bits: BTreeMap::new(),
            union: BTreeSet::new(),
        };
        for (name, value) in content.elements.iter().filter(|_| content.kind == Kind::Text) {
            match (Piece::of(name), value) {
                (Some(Piece::Bit(offset)), Value::Bit(bit)) => {
                    view.bits.insert(offset, (name, *bit));
                }
                (Some(Piece::Element(_)), Value::Member) => {
                    view.union.insert(name);
                }
                _ => {}
            }
        }
        view
    }

    /// The ground's bytes, if they are known.
    fn bytes(&self) -> Option<&[u8]> {
        match &self.ground {
            Value::Absent => Some(&[]),
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes that the string has, as far as they are known.
    fn len(&self) -> u64 {
        let ground = self.bytes().map_or(0, <[u8]>::len) as u64;
        let last = self.bits.last_key_value();
        ground.max(last.map_or(0, |(offset, _)| offset / 8 + 1))
    }

    /// A bit, if it is known.
    fn bit(&self, offset: u64) -> Option<bool> {
        if let Some((_, bit)) = self.bits.get(&offset) {
            return Some(*bit);
        }
        let ground = self.bytes()?;
        let byte = usize::try_from(offset / 8).ok().and_then(|at| ground.get(at));
        Some(byte.is_some_and(|byte| byte >> (7 - offset % 8) & 1 == 1))
    }

    /// Whether both stand on the same: a key that is not there is as good as an empty string.
    fn stands_on(&self, other: &View<'_>) -> bool {
        match (self.bytes(), other.bytes()) {
            (Some(one), Some(other)) => one == other,
            _ => self.ground == other.ground,
        }
    }
}

/// The effects that turn one string into another when pieces of either are named.
///
/// # Errors
/// [`OutOfReach`] when the wanted ground is one that `have` no longer has.
pub(super) fn piece_difference(
    want: &Content,
    have: &Content,
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<(), OutOfReach> {
    let (wanted, mut held) = (View::of(want), View::of(have));
    let is_other = matches!(have.kind, Kind::Set | Kind::Hash | Kind::Sorted | Kind::Stream);
    let shrinks = wanted.bytes().is_some() && held.len() > wanted.len();
    let forgets = held.union.iter().any(|name| !wanted.union.contains(name));
    let empty = Content::absent();
    if is_other || !wanted.stands_on(&held) || shrinks || forgets {
        match &wanted.ground {
            Value::Bytes(value) => {
                effects.push(Effect::Set {
                    value: value.clone(),
                    expiry: set_expiry(want.expiry),
                });
                *expiry = want.expiry;
            }
            Value::Absent => {
                effects.push(Effect::Del);
                *expiry = Expiry::Never;
            }
            _ => return Err(OutOfReach),
        }
        held = View::of(&empty);
        held.ground = wanted.ground.clone();
    } else if have.kind == Kind::Absent {
        *expiry = Expiry::Never;
    }
    let bits = bits_missing(&wanted, &held)?;
    if !bits.is_empty() {
        effects.push(Effect::Bits(bits));
    }
    let missing = wanted.union.difference(&held.union);
    let missing: Vec<Bytes> = missing.map(|&name| name.clone()).collect();
    if !missing.is_empty() {
        effects.push(Effect::Union(missing));
    }
    Ok(())
}

fn bits_missing(wanted: &View<'_>, held: &View<'_>) -> Result<Vec<(Bytes, bool)>, OutOfReach> {
    let mut bits = BTreeMap::new();
    for (&offset, &(name, bit)) in &held.bits {
        let want = wanted.bit(offset).ok_or(OutOfReach)?;
        if want != bit {
            bits.insert(offset, (name, want));
        }
    }
    for (&offset, &(name, bit)) in &wanted.bits {
        // Of an unknown string a bit beyond the end may have to be set to zero.
        if held.bit(offset) != Some(bit) {
            bits.insert(offset, (name, bit));
        }
    }
    if held.bytes().is_some()
        && held.len() < wanted.len()
        && let Some((&offset, &last)) = wanted.bits.last_key_value()
    {
        bits.insert(offset, last);
    }
    Ok(bits
        .into_values()
        .map(|(name, bit)| (name.clone(), bit))
        .collect())
}

#[cfg(test)]
mod tests;

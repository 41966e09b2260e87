//! What a key should hold, from everything that was ever written to it.
//!
//! An operation is gone where another that saw it overwrote it; what is left counts. Nothing is known of the
//! engine here: no base, no folding, no order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use super::fields;
use super::operation::{Cut, Effect, Kind, Op, Time};
use crate::database::{Hash, Stream, Value};
use crate::resp::Word;

/// Value and expiry time; `None` for no key.
pub fn evaluate(ops: &[&Op]) -> Option<(Value, Option<u64>)> {
    let mut value = value(ops)?;
    if let Value::Hash(hash) = &mut value {
        hash.times = fields::times(&hash.values, ops);
    }
    Some((value, expires(ops)))
}

/// Whether the time could be this one where it is not known what the key held before its writes were remembered.
/// Then a removal may not be known to have taken the last element, and some setting that a write behind it had
/// ended still counts (docs/conflicts.md).
pub fn may_expire(ops: &[&Op], held: Option<u64>) -> bool {
    let exact = left(ops, ends);
    let longer = |time: &Option<u64>| exact.iter().all(|other| rank(time) > rank(other));
    left(ops, surely_ends)
        .iter()
        .any(|time| *time == held && longer(time))
}

fn rank(time: &Option<u64>) -> u64 {
    time.unwrap_or(u64::MAX)
}

/// Whether `by` saw `op` and took the whole key from it.
fn key_taken(by: &Op, op: &Op) -> bool {
    let resets = matches!(by.effect, Effect::Del | Effect::Set(..));
    let other_type = by.kind().is_some() && op.kind().is_some() && by.kind() != op.kind();
    by.sees(op) && (resets || other_type)
}

/// Whether an effect puts something in the place of an element.
fn overwrites(effect: &Effect, element: &Word) -> bool {
    match effect {
        Effect::Leave(names) | Effect::Unset(names) | Effect::Unscore(names) => names.contains(element),
        Effect::Fields(pairs, _) => pairs.iter().any(|(field, _)| field == element),
        Effect::Scores(pairs) => pairs.iter().any(|(member, _)| member == element),
        _ => false,
    }
}

/// The elements that an operation writes.
fn written(effect: &Effect) -> Vec<&Word> {
    match effect {
        Effect::Join(names) => names.iter().collect(),
        Effect::Fields(pairs, _) => pairs.iter().map(|(field, _)| field).collect(),
        Effect::Scores(pairs) => pairs.iter().map(|(member, _)| member).collect(),
        Effect::AddField(field, _) => vec![field],
        Effect::AddScore(member, _) => vec![member],
        _ => Vec::new(),
    }
}

pub fn has_key(op: &Op, ops: &[&Op]) -> bool {
    !ops.iter().any(|by| key_taken(by, op))
}

fn has_element(op: &Op, element: &Word, ops: &[&Op]) -> bool {
    has_key(op, ops)
        && !ops
            .iter()
            .any(|by| by.sees(op) && overwrites(&by.effect, element))
}

fn is_alive(op: &Op, ops: &[&Op]) -> bool {
    match op.effect {
        Effect::Set(..) | Effect::Add(_) | Effect::Bits(_) | Effect::Take(_) => has_key(op, ops),
        Effect::Enter(..) => has_key(op, ops),
        _ => written(&op.effect)
            .into_iter()
            .any(|element| has_element(op, element, ops)),
    }
}

/// Whether something alive meets what no rule joins it with: the key is judged like a list.
pub fn is_whole(ops: &[&Op]) -> bool {
    let alive: Vec<&&Op> = ops.iter().filter(|op| is_alive(op, ops)).collect();
    let any = |test: fn(&Effect) -> bool| alive.iter().any(|op| test(&op.effect));
    let bits = any(|effect| matches!(effect, Effect::Bits(_)));
    let takes = any(|effect| matches!(effect, Effect::Take(_)));
    let sets = any(|effect| matches!(effect, Effect::Set(..)));
    let adds = any(|effect| matches!(effect, Effect::Add(_)));
    let others = alive.iter().any(|op| op.kind() != Some(Kind::Text));
    bits && (takes || adds || others) || takes && (sets || adds || others)
}

/// The value, without the times of fields.
pub fn value(ops: &[&Op]) -> Option<Value> {
    let mut alive: Vec<&Op> = ops.iter().copied().filter(|op| is_alive(op, ops)).collect();
    alive.sort_by_key(|op| op.order());
    match alive.last()?.kind()? {
        Kind::Text => Some(Value::Text(pieces(text(&alive), &alive, ops))),
        Kind::Set => Some(Value::Set(elements(Kind::Set, ops).into_iter().collect())),
        Kind::Stream => Some(Value::Stream(stream(&alive, ops))),
        Kind::Hash => {
            let fields = elements(Kind::Hash, ops).into_iter();
            Some(Value::Hash(Hash {
                values: fields
                    .map(|field| (field.clone(), field_of(&field, ops)))
                    .collect(),
                ..Hash::default()
            }))
        }
        Kind::Sorted => {
            let members = elements(Kind::Sorted, ops).into_iter();
            Some(Value::Sorted(
                members
                    .map(|member| (member.clone(), score_of(&member, ops)))
                    .collect(),
            ))
        }
    }
}

/// An entry is gone where something that saw it struck it out or cut it off; of several with one id the latest stays.
fn stream(alive: &[&Op], ops: &[&Op]) -> Stream {
    let mut stream = Stream::default();
    for op in alive {
        let Effect::Enter(id, fields, _) = &op.effect else {
            continue;
        };
        stream.last = stream.last.max(*id);
        let takes = |by: &&Op| match &by.effect {
            Effect::Strike(ids) => by.sees(op) && ids.contains(id),
            Effect::Trim(Cut::Below(below)) => by.sees(op) && id < below,
            Effect::Enter(_, _, Some(Cut::Below(below))) => {
                (by.sees(op) || (by.site, by.seq) == (op.site, op.seq)) && id < below
            }
            _ => false,
        };
        if !ops.iter().any(takes) {
            stream.entries.insert(*id, fields.clone());
        }
    }
    stream
}

/// Says of each trim to a length by id what it took away: the oldest of the entries that it saw.
pub fn resolve(ops: &mut [Op]) {
    ops.sort_by_key(Op::order);
    for at in 0..ops.len() {
        let (Effect::Enter(_, _, Some(Cut::Longest(most))) | Effect::Trim(Cut::Longest(most))) =
            ops[at].effect
        else {
            continue;
        };
        let mut own = ops[at].clone();
        if let Effect::Enter(_, _, cut) = &mut own.effect {
            *cut = None;
        }
        let mut view: Vec<&Op> = ops.iter().filter(|op| own.sees(op)).collect();
        if matches!(own.effect, Effect::Enter(..)) {
            view.push(&own);
        }
        let entries = match value(&view) {
            Some(Value::Stream(stream)) => stream.entries,
            _ => BTreeMap::new(),
        };
        let below = match most {
            0 => Some((u64::MAX, u64::MAX)),
            most => entries.keys().rev().nth(most as usize - 1).copied(),
        };
        let below = Cut::Below(below.unwrap_or_default());
        match &mut ops[at].effect {
            Effect::Enter(_, _, cut) => *cut = Some(below),
            effect => *effect = Effect::Trim(below),
        }
    }
}

fn add(text: &[u8], delta: i64) -> Option<Word> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then(|| (number + delta).to_string().into_bytes())
}

/// The latest SET, and every increment on top.
fn text(alive: &[&Op]) -> Word {
    let mut value = None;
    for op in alive {
        if let Effect::Set(text, _) = &op.effect {
            value = Some(text.clone());
        }
    }
    for op in alive {
        if let Effect::Add(delta) = op.effect {
            let sum = add(value.as_deref().unwrap_or(b"0"), delta);
            value = sum.or(value);
        }
    }
    value.unwrap_or_default()
}

/// Bits on top, each as the latest left it that nothing which saw it set again; or all that a HyperLogLog took in.
fn pieces(mut text: Word, alive: &[&Op], ops: &[&Op]) -> Word {
    let sets = |op: &Op, bit: u64| match &op.effect {
        Effect::Bits(bits) => bits.iter().rev().find(|(at, _)| *at == bit).map(|(_, on)| *on),
        _ => None,
    };
    let mut taken = BTreeSet::new();
    for op in alive {
        match &op.effect {
            Effect::Bits(bits) => {
                for &(bit, _) in bits {
                    let byte = bit as usize / 8;
                    text.resize(text.len().max(byte + 1), 0);
                    if ops.iter().any(|by| by.sees(op) && sets(by, bit).is_some()) {
                        continue;
                    }
                    text[byte] &= !(0x80 >> (bit % 8));
                    if sets(op, bit) == Some(true) {
                        text[byte] |= 0x80 >> (bit % 8);
                    }
                }
            }
            Effect::Take(elements) => taken.extend(elements.iter().cloned()),
            _ => {}
        }
    }
    if !taken.is_empty() {
        text = b"HYLL".to_vec();
        for element in taken {
            text.push(b'\n');
            text.extend(element);
        }
    }
    text
}

/// The elements of one type that something alive writes.
fn elements(kind: Kind, ops: &[&Op]) -> BTreeSet<Word> {
    let of_kind = ops.iter().filter(|op| op.kind() == Some(kind));
    of_kind
        .flat_map(|op| {
            written(&op.effect)
                .into_iter()
                .filter(|element| has_element(op, element, ops))
        })
        .cloned()
        .collect()
}

fn touching<'a>(element: &Word, ops: &[&'a Op]) -> Vec<&'a Op> {
    let here = |op: &&Op| written(&op.effect).contains(&element) && has_element(op, element, ops);
    let mut here: Vec<&Op> = ops.iter().copied().filter(here).collect();
    here.sort_by_key(|op| op.order());
    here
}

fn field_of(field: &Word, ops: &[&Op]) -> Word {
    let touching = touching(field, ops);
    let set = |op: &&Op| match &op.effect {
        Effect::Fields(pairs, _) => pairs
            .iter()
            .rev()
            .find(|(name, _)| name == field)
            .map(|(_, value)| value.clone()),
        _ => None,
    };
    let mut value = touching.iter().rev().find_map(set);
    for op in touching {
        if let Effect::AddField(_, delta) = op.effect {
            value = add(value.as_deref().unwrap_or(b"0"), delta).or(value);
        }
    }
    value.unwrap_or_default()
}

fn score_of(member: &Word, ops: &[&Op]) -> f64 {
    let touching = touching(member, ops);
    let set = |op: &&Op| match &op.effect {
        Effect::Scores(pairs) => pairs
            .iter()
            .rev()
            .find(|(name, _)| name == member)
            .map(|(_, score)| *score),
        _ => None,
    };
    let first = touching.iter().rev().find_map(set).unwrap_or(0.0);
    let deltas = touching.iter().filter_map(|op| match op.effect {
        Effect::AddScore(_, delta) => Some(delta),
        _ => None,
    });
    deltas.fold(first, |sum, delta| sum + delta)
}

/// What an operation says of the expiry time: nothing, never, or then.
fn says(effect: &Effect) -> Option<Option<u64>> {
    match effect {
        Effect::Set(_, Time::Never) => Some(None),
        Effect::Set(_, Time::At(at)) => Some(Some(*at)),
        Effect::Expire(at) => Some(*at),
        _ => None,
    }
}

/// Whether what it saw of the expiry time is over: it set one, took the key, or made it anew.
fn ends(op: &Op, ops: &[&Op]) -> bool {
    says(&op.effect).is_some() || op.effect == Effect::Del || finds_or_leaves_none(op, ops)
}

/// Whether it made the key anew, or took it.
pub fn finds_or_leaves_none(op: &Op, ops: &[&Op]) -> bool {
    if matches!(op.effect, Effect::FieldTimes(..)) {
        return false;
    }
    let Some(kind) = op.kind() else { return false };
    let past: Vec<&Op> = ops.iter().copied().filter(|other| op.has_met(other)).collect();
    let after: Vec<&Op> = ops
        .iter()
        .copied()
        .filter(|other| op.has_met(other) || std::ptr::eq(*other, op))
        .collect();
    if value(&after).is_none() {
        return true;
    }
    match value(&past) {
        None => true,
        Some(_) if matches!(op.effect, Effect::Set(..)) => false,
        Some(found) => kind != kind_of(&found),
    }
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Set(_) => Kind::Set,
        Value::Hash(_) => Kind::Hash,
        Value::Sorted(_) => Kind::Sorted,
        Value::Stream(_) => Kind::Stream,
        _ => Kind::Text,
    }
}

/// Whether it ends what it saw even if no removal ever takes the last element.
fn surely_ends(op: &Op, ops: &[&Op]) -> bool {
    says(&op.effect).is_some() || op.effect == Effect::Del || surely_finds_none(op, ops)
}

/// Whether it made the key anew, even if no removal ever took the last element.
pub fn surely_finds_none(op: &Op, ops: &[&Op]) -> bool {
    let past: Vec<&Op> = ops.iter().copied().filter(|other| op.has_met(other)).collect();
    let puts = |other: &Op| {
        matches!(other.effect, Effect::Set(..) | Effect::Add(_) | Effect::Enter(..))
            || !written(&other.effect).is_empty()
    };
    let fits = |other: &Op| matches!(op.effect, Effect::Set(..)) || other.kind() == op.kind();
    puts(op)
        && !past
            .iter()
            .any(|other| puts(other) && fits(other) && has_key(other, &past))
}

/// What those settings say that nothing ended.
fn left(ops: &[&Op], ends: impl Fn(&Op, &[&Op]) -> bool) -> Vec<Option<u64>> {
    let enders: Vec<&Op> = ops.iter().copied().filter(|op| ends(op, ops)).collect();
    // Of a snapshot that it has not met only that ends the time which says so, or is of another type.
    let decides = |by: &Op, op: &Op| {
        let differ = by.kind().is_some() && op.kind().is_some() && by.kind() != op.kind();
        says(&by.effect).is_some() || by.effect == Effect::Del || differ
    };
    let is_ended = |op: &&&Op| {
        let yields = |by: &&Op| op.is_state && by.sees(op) && decides(by, op);
        enders.iter().any(|by| by.has_met(op)) || ops.iter().any(yields)
    };
    let left = ops.iter().filter(|op| !is_ended(op));
    left.filter_map(|op| says(&op.effect)).collect()
}

/// The longest of those settings that nothing ended.
fn expires(ops: &[&Op]) -> Option<u64> {
    left(ops, ends)
        .iter()
        .max_by_key(|time| rank(time))
        .copied()
        .flatten()
}

/// For a report: how often each name occurs.
pub fn count<'a>(names: impl Iterator<Item = &'a Word>) -> BTreeMap<&'a Word, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

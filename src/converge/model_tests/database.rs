//! A database small enough to be obviously right.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::command::effect::{Effect, SetExpiry};
use crate::command::pieces::Piece;

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Text(Bytes),
    Sketch(BTreeSet<Bytes>),
    Set(Vec<Bytes>),
    /// Values and expiry times.
    Hash(BTreeMap<Bytes, (Bytes, Option<u64>)>),
    Sorted(BTreeMap<Bytes, f64>),
    List(Vec<Bytes>),
}

/// Content and expiry time of each key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Database {
    pub keys: BTreeMap<Bytes, (Data, Option<u64>)>,
}

fn count(text: Option<&Bytes>, delta: i64) -> Option<Bytes> {
    let number: i64 = text.map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse().ok())?;
    Some(Bytes::from((number + delta).to_string()))
}

impl Database {
    /// A hash's fields, with their times.
    pub fn fields(&self, key: &Bytes) -> BTreeMap<Bytes, (Bytes, Option<u64>)> {
        match self.keys.get(key) {
            Some((Data::Hash(hash), _)) => hash.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Executes a command; whether it took effect (and so is propagated).
    pub fn execute(&mut self, key: &Bytes, command: &Command) -> bool {
        let before = self.keys.get(key).cloned();
        let after = match command {
            Command::Effect(effect) => self.apply(before.clone(), effect),
            Command::Push { left, value } => push(before.clone(), *left, value),
            Command::Pop { left } => pop(before.clone(), *left),
            Command::Take { left, value } => edit(before.clone(), |list| {
                let place = match left {
                    true => list.iter().position(|other| other == value),
                    false => list.iter().rposition(|other| other == value),
                };
                place.map(|place| drop(list.remove(place)))
            }),
            Command::Insert {
                before: is_before,
                pivot,
                value,
            } => edit(before.clone(), |list| {
                let place = list.iter().position(|other| other == pivot)?;
                list.insert(if *is_before { place } else { place + 1 }, value.clone());
                Some(())
            }),
            Command::Load(value) => Some(value.clone()),
        };
        match after {
            None => false,
            Some(None) => {
                let existed = self.keys.remove(key).is_some();
                existed || matches!(command, Command::Load(_))
            }
            Some(Some(value)) => {
                self.keys.insert(key.clone(), value);
                true
            }
        }
    }

    /// `None`: no effect. `Some(None)`: the key goes.
    fn apply(&self, before: Value, effect: &Effect) -> Option<Value> {
        let expiry = before.as_ref().and_then(|(_, expiry)| *expiry);
        match (effect, before) {
            (Effect::Del, None) | (Effect::Expire { .. }, None) => None,
            (Effect::Del, Some(_)) => Some(None),
            (Effect::Set { value, expiry: how }, _) => {
                let expiry = match how {
                    SetExpiry::Clear => None,
                    SetExpiry::At(ms) => Some(*ms),
                    SetExpiry::Keep => expiry,
                };
                Some(Some((Data::Text(value.clone()), expiry)))
            }
            (Effect::Expire { at_unix_ms: None }, Some((_, None))) => None,
            (Effect::Expire { at_unix_ms }, Some((data, _))) => Some(Some((data, *at_unix_ms))),
            (Effect::Count { delta }, before) => {
                let text = match before {
                    None => count(None, *delta)?,
                    Some((Data::Text(text), _)) => count(Some(&text), *delta)?,
                    _ => return None,
                };
                Some(Some((Data::Text(text), expiry)))
            }
            (Effect::Bits(bits), before) => {
                let text = match &before {
                    None => Bytes::new(),
                    Some((Data::Text(text), _)) => text.clone(),
                    _ => return None,
                };
                let changed = set_bits(&text, bits);
                (changed != text).then_some(Some((Data::Text(changed), expiry)))
            }
            (Effect::Union(names), before) => {
                let old = match before {
                    None => BTreeSet::new(),
                    Some((Data::Sketch(sketch), _)) => sketch,
                    _ => return None,
                };
                let mut sketch = old.clone();
                sketch.extend(names.iter().cloned());
                (sketch != old).then_some(Some((Data::Sketch(sketch), expiry)))
            }
            (Effect::ListPush { left, elements }, before) => elements
                .iter()
                .try_fold(before, |before, (_, value)| push(before, *left, value)),
            (Effect::ListPop { left, count, .. }, before) => {
                let mut after = pop(before, *left)?;
                for _ in 1..*count {
                    after = pop(after.clone(), *left).unwrap_or(after);
                }
                Some(after)
            }
            (effect, before) => apply_elements(before, effect, expiry),
        }
    }
}

fn set_bits(text: &[u8], bits: &[(Bytes, bool)]) -> Bytes {
    let mut text = text.to_vec();
    for (name, bit) in bits {
        let Some(Piece::Bit(offset)) = Piece::of(name) else {
            unreachable!("{name:?}");
        };
        let (at, mask) = (offset as usize / 8, 0x80 >> (offset % 8));
        text.resize(text.len().max(at + 1), 0);
        text[at] = if *bit { text[at] | mask } else { text[at] & !mask };
    }
    Bytes::from(text)
}

pub type Value = Option<(Data, Option<u64>)>;

fn apply_elements(before: Value, effect: &Effect, expiry: Option<u64>) -> Option<Value> {
    let data = before.map(|(data, _)| data);
    match effect {
        Effect::SetAdd(_) | Effect::SetRemove(_) => {
            let mut set = match data {
                None => Vec::new(),
                Some(Data::Set(set)) => set,
                Some(_) => return None,
            };
            let old = set.clone();
            match effect {
                Effect::SetAdd(names) => set.extend(names.iter().filter(|n| !old.contains(n)).cloned()),
                Effect::SetRemove(names) => set.retain(|member| !names.contains(member)),
                _ => unreachable!(),
            }
            set.sort();
            let changed = set != old;
            changed.then(|| (!set.is_empty()).then_some((Data::Set(set), expiry)))
        }
        Effect::SortedAdd(_) | Effect::SortedRemove(_) | Effect::SortedCount { .. } => {
            let old = match data {
                None => BTreeMap::new(),
                Some(Data::Sorted(sorted)) => sorted,
                Some(_) => return None,
            };
            let sorted = apply_scores(old.clone(), effect);
            (sorted != old).then(|| (!sorted.is_empty()).then_some((Data::Sorted(sorted), expiry)))
        }
        _ => {
            let mut hash = match data {
                None => BTreeMap::new(),
                Some(Data::Hash(hash)) => hash,
                Some(_) => return None,
            };
            let old = hash.clone();
            match effect {
                Effect::HashSet(pairs) => {
                    let pairs = pairs.iter().cloned();
                    hash.extend(pairs.map(|(field, value)| (field, (value, None))));
                }
                Effect::HashSetTimed { pairs, expiry } => {
                    for (field, value) in pairs {
                        let time = match expiry {
                            SetExpiry::Keep => hash.get(field).and_then(|(_, time)| *time),
                            SetExpiry::Clear => None,
                            SetExpiry::At(ms) => Some(*ms),
                        };
                        hash.insert(field.clone(), (value.clone(), time));
                    }
                }
                Effect::FieldExpire { fields, at_unix_ms } => {
                    let mut found = fields.iter().filter(|field| hash.contains_key(*field)).count();
                    for (_, time) in fields.iter().filter_map(|field| old.get(field)) {
                        found -= usize::from(at_unix_ms.is_none() && time.is_none());
                    }
                    if found == 0 {
                        return None;
                    }
                    for field in fields {
                        if let Some((_, time)) = hash.get_mut(field) {
                            *time = *at_unix_ms;
                        }
                    }
                }
                Effect::HashRemove(names) => {
                    hash.retain(|field, _| !names.contains(field));
                    if hash == old {
                        return None;
                    }
                }
                Effect::HashCount { field, delta } => {
                    let (value, time) = hash.get(field).cloned().unzip();
                    let sum = count(value.as_ref(), *delta)?;
                    hash.insert(field.clone(), (sum, time.flatten()));
                }
                _ => unreachable!("{effect:?}"),
            }
            Some((!hash.is_empty()).then_some((Data::Hash(hash), expiry)))
        }
    }
}

fn apply_scores(mut sorted: BTreeMap<Bytes, f64>, effect: &Effect) -> BTreeMap<Bytes, f64> {
    match effect {
        Effect::SortedAdd(pairs) => {
            sorted.extend(pairs.iter().map(|(score, member)| (member.clone(), *score)))
        }
        Effect::SortedRemove(names) => sorted.retain(|member, _| !names.contains(member)),
        Effect::SortedCount { member, delta } => *sorted.entry(member.clone()).or_default() += delta,
        _ => unreachable!("{effect:?}"),
    }
    sorted
}

fn push(before: Value, left: bool, value: &Bytes) -> Option<Value> {
    let (mut list, expiry) = match before {
        None => (Vec::new(), None),
        Some((Data::List(list), expiry)) => (list, expiry),
        Some(_) => return None,
    };
    list.insert(if left { 0 } else { list.len() }, value.clone());
    Some(Some((Data::List(list), expiry)))
}

fn edit(before: Value, edit: impl FnOnce(&mut Vec<Bytes>) -> Option<()>) -> Option<Value> {
    let Some((Data::List(mut list), expiry)) = before else {
        return None;
    };
    edit(&mut list)?;
    Some((!list.is_empty()).then_some((Data::List(list), expiry)))
}

fn pop(before: Value, left: bool) -> Option<Value> {
    let Some((Data::List(mut list), expiry)) = before else {
        return None;
    };
    list.remove(if left { 0 } else { list.len() - 1 });
    Some((!list.is_empty()).then_some((Data::List(list), expiry)))
}

/// What the model's clients and engines execute.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Effect(Effect),
    Push {
        left: bool,
        value: Bytes,
    },
    Pop {
        left: bool,
    },
    Take {
        left: bool,
        value: Bytes,
    },
    Insert {
        before: bool,
        pivot: Bytes,
        value: Bytes,
    },
    Load(Value),
}

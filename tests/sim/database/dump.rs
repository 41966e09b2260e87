//! Values as DUMP gives them: the plainest RDB encodings, version 9, CRC-64. Streams stand in an encoding of
//! the model's own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::value::{Group, Pending, Stream, Value};
use crate::resp::Word;

const TEXT: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const HASH: u8 = 4;
const SORTED: u8 = 5;
const STREAM: u8 = 15;
const VERSION: u16 = 9;

/// A value's payload.
pub fn dump(value: &Value) -> Word {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => {
            out.push(TEXT);
            string(&mut out, text);
        }
        Value::List(list) => all(&mut out, LIST, list.iter()),
        Value::Set(set) => all(&mut out, SET, set.iter()),
        Value::Hash(hash) => {
            out.push(HASH);
            length(&mut out, hash.len());
            for (field, value) in hash {
                string(&mut out, field);
                string(&mut out, value);
            }
        }
        Value::Sorted(sorted) => {
            out.push(SORTED);
            length(&mut out, sorted.len());
            for (member, score) in sorted {
                string(&mut out, member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Stream(value) => {
            out.push(STREAM);
            stream(&mut out, value);
        }
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn all<'a>(out: &mut Vec<u8>, kind: u8, elements: impl ExactSizeIterator<Item = &'a Word>) {
    out.push(kind);
    length(out, elements.len());
    elements.for_each(|element| string(out, element));
}

fn length(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        _ => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn string(out: &mut Vec<u8>, word: &[u8]) {
    length(out, word.len());
    out.extend_from_slice(word);
}

fn stream(out: &mut Vec<u8>, value: &Stream) {
    let number = |out: &mut Vec<u8>, number: u64| string(out, number.to_string().as_bytes());
    let id = |out: &mut Vec<u8>, id: (u64, u64)| {
        number(out, id.0);
        number(out, id.1);
    };
    length(out, value.entries.len());
    for (entry, fields) in &value.entries {
        id(out, *entry);
        length(out, fields.len());
        fields.iter().for_each(|field| string(out, field));
    }
    id(out, value.last);
    id(out, value.max_deleted);
    number(out, value.added);
    length(out, value.groups.len());
    for (name, group) in &value.groups {
        string(out, name);
        id(out, group.last);
        length(out, group.consumers.len());
        group.consumers.iter().for_each(|consumer| string(out, consumer));
        length(out, group.pending.len());
        for (entry, pending) in &group.pending {
            id(out, *entry);
            string(out, &pending.consumer);
            number(out, pending.delivered_ms);
            number(out, pending.count);
        }
    }
}

/// The value of a payload, if it is one.
pub fn restore(payload: &[u8]) -> Option<Value> {
    let (body, sum) = payload.split_last_chunk::<8>()?;
    if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let (body, version) = body.split_last_chunk::<2>()?;
    if u16::from_le_bytes(*version) > 11 {
        return None;
    }
    let mut reader = Reader(body);
    let value = match reader.byte()? {
        TEXT => Value::Text(reader.string()?),
        LIST => Value::List(reader.strings()?.into_iter().collect::<VecDeque<_>>()),
        SET => Value::Set(reader.strings()?.into_iter().collect::<BTreeSet<_>>()),
        HASH => Value::Hash(reader.hash()?),
        SORTED => Value::Sorted(reader.sorted()?),
        STREAM => Value::Stream(reader.stream()?),
        _ => return None,
    };
    reader.0.is_empty().then_some(value)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn length(&mut self) -> Option<usize> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Some(usize::from(first)),
            1 => Some(usize::from(first & 0x3f) << 8 | usize::from(self.byte()?)),
            2 => {
                let (len, rest) = self.0.split_first_chunk::<4>()?;
                self.0 = rest;
                Some(u32::from_be_bytes(*len) as usize)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Word> {
        let len = self.length()?;
        let (word, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(word.to_vec())
    }

    fn strings(&mut self) -> Option<Vec<Word>> {
        (0..self.length()?).map(|_| self.string()).collect()
    }

    fn hash(&mut self) -> Option<BTreeMap<Word, Word>> {
        (0..self.length()?)
            .map(|_| Some((self.string()?, self.string()?)))
            .collect()
    }

    fn sorted(&mut self) -> Option<BTreeMap<Word, f64>> {
        let mut sorted = BTreeMap::new();
        for _ in 0..self.length()? {
            let member = self.string()?;
            let (score, rest) = self.0.split_first_chunk::<8>()?;
            self.0 = rest;
            sorted.insert(member, f64::from_le_bytes(*score));
        }
        Some(sorted)
    }

    fn number(&mut self) -> Option<u64> {
        String::from_utf8(self.string()?).ok()?.parse().ok()
    }

    fn id(&mut self) -> Option<(u64, u64)> {
        Some((self.number()?, self.number()?))
    }

    fn stream(&mut self) -> Option<Stream> {
        let mut value = Stream::default();
        for _ in 0..self.length()? {
            value.entries.insert(self.id()?, self.strings()?);
        }
        (value.last, value.max_deleted, value.added) = (self.id()?, self.id()?, self.number()?);
        for _ in 0..self.length()? {
            let (name, last) = (self.string()?, self.id()?);
            let consumers = self.strings()?.into_iter().collect();
            let mut group = Group {
                last,
                consumers,
                pending: BTreeMap::new(),
            };
            for _ in 0..self.length()? {
                let entry = self.id()?;
                let pending = Pending {
                    consumer: self.string()?,
                    delivered_ms: self.number()?,
                    count: self.number()?,
                };
                group.pending.insert(entry, pending);
            }
            value.groups.insert(name, group);
        }
        Some(value)
    }
}

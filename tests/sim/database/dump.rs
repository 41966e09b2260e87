//! Values as DUMP gives them: the plainest RDB encodings, version 9, CRC-64. Streams, and hashes whose fields have
//! expiry times, are written and read by the engine's own codec, which has tests on real servers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use syncer::value as codec;

use super::Version;
use super::value::{Group, Hash, Pending, Stream, Value};
use crate::resp::Word;

const TEXT: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const HASH: u8 = 4;
const SORTED: u8 = 5;
const VERSION: u16 = 9;

/// The newest format that a database reads and writes.
pub fn newest(version: Version) -> u16 {
    let number = match version {
        Version::Redis70 => (7, 0),
        Version::Redis72 => (7, 2),
        Version::Redis80 => (8, 0),
        Version::Valkey8 => (8, 1),
        Version::Valkey91 => (9, 1),
    };
    codec::newest_version(version.is_valkey(), number)
}

/// A value's payload.
pub fn dump(value: &Value, version: Version) -> Word {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => {
            out.push(TEXT);
            string(&mut out, text);
        }
        Value::List(list) => all(&mut out, LIST, list.iter()),
        Value::Set(set) => all(&mut out, SET, set.iter()),
        Value::Hash(hash) if !hash.times.is_empty() => {
            let value = codec::Value::hash(fields(hash)).expect("a hash");
            return codec::encode(&value, newest(version)).expect("a hash").to_vec();
        }
        Value::Hash(hash) => {
            out.push(HASH);
            length(&mut out, hash.values.len());
            for (field, value) in &hash.values {
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
            return codec::encode(&codec::Value::Stream(stream(value)), 10)
                .expect("a stream")
                .to_vec();
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

fn fields(hash: &Hash) -> Vec<codec::Field> {
    let field = |(name, value): (&Word, &Word)| codec::Field {
        name: Bytes::copy_from_slice(name),
        value: Bytes::copy_from_slice(value),
        expires_unix_ms: hash.times.get(name).copied(),
    };
    hash.values.iter().map(field).collect()
}

fn hash_of(fields: Vec<codec::Field>) -> Hash {
    let mut hash = Hash::default();
    for field in fields {
        hash.put(&field.name, &field.value);
        hash.times
            .extend(field.expires_unix_ms.map(|at| (field.name.to_vec(), at)));
    }
    hash
}

fn stream(value: &Stream) -> codec::Stream {
    let id = |(ms, seq): (u64, u64)| codec::StreamId { ms, seq };
    let bytes = |word: &Word| Bytes::copy_from_slice(word);
    let group = |(name, group): (&Word, &Group)| codec::Group {
        name: bytes(name),
        last_id: id(group.last),
        entries_read: None,
        pending: group
            .pending
            .iter()
            .map(|(entry, pending)| codec::Pending {
                id: id(*entry),
                consumer: bytes(&pending.consumer),
                delivered_unix_ms: pending.delivered_ms as i64,
                deliveries: pending.count,
            })
            .collect(),
        consumers: group
            .consumers
            .iter()
            .map(|name| codec::Consumer {
                name: bytes(name),
                seen_unix_ms: 0,
                active_unix_ms: 0,
            })
            .collect(),
    };
    let entry = |(entry, fields): (&(u64, u64), &Vec<Word>)| codec::Entry {
        id: id(*entry),
        fields: fields
            .chunks_exact(2)
            .map(|pair| (bytes(&pair[0]), bytes(&pair[1])))
            .collect(),
    };
    codec::Stream {
        entries: value.entries.iter().map(entry).collect(),
        last_id: id(value.last),
        max_deleted_id: id(value.max_deleted),
        entries_added: value.added,
        groups: value.groups.iter().map(group).collect(),
    }
}

fn stream_of(value: codec::Stream) -> Stream {
    let id = |id: codec::StreamId| (id.ms, id.seq);
    let group = |group: codec::Group| {
        let pending = group.pending.into_iter().map(|pending| {
            let of = Pending {
                consumer: pending.consumer.to_vec(),
                delivered_ms: pending.delivered_unix_ms as u64,
                count: pending.deliveries,
            };
            (id(pending.id), of)
        });
        let of = Group {
            last: id(group.last_id),
            pending: pending.collect(),
            consumers: group
                .consumers
                .into_iter()
                .map(|consumer| consumer.name.to_vec())
                .collect(),
        };
        (group.name.to_vec(), of)
    };
    let words = |fields: Vec<(Bytes, Bytes)>| {
        fields
            .into_iter()
            .flat_map(|(f, v)| [f.to_vec(), v.to_vec()])
            .collect()
    };
    Stream {
        entries: value
            .entries
            .into_iter()
            .map(|entry| (id(entry.id), words(entry.fields)))
            .collect(),
        last: id(value.last_id),
        max_deleted: id(value.max_deleted_id),
        added: value.entries_added,
        groups: value.groups.into_iter().map(group).collect(),
    }
}

/// The value of a payload, if it is one.
pub fn restore(payload: &[u8], reader: Version) -> Option<Value> {
    let (body, sum) = payload.split_last_chunk::<8>()?;
    if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let (body, version) = body.split_last_chunk::<2>()?;
    if u16::from_le_bytes(*version) > newest(reader).max(11) {
        return None;
    }
    let mut reader = Reader(body);
    let value = match reader.byte()? {
        TEXT => Value::Text(reader.string()?),
        LIST => Value::List(reader.strings()?.into_iter().collect::<VecDeque<_>>()),
        SET => Value::Set(reader.strings()?.into_iter().collect::<BTreeSet<_>>()),
        HASH => Value::Hash(Hash {
            values: reader.hash()?,
            ..Hash::default()
        }),
        SORTED => Value::Sorted(reader.sorted()?),
        _ => match codec::decode(&Bytes::copy_from_slice(payload)).ok()? {
            codec::Value::Stream(stream) => return Some(Value::Stream(stream_of(stream))),
            codec::Value::Hash(fields) => return Some(Value::Hash(hash_of(fields))),
            _ => return None,
        },
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
}

//! Streams: entries, groups, and what consumers have not acknowledged.
//!
//! ```text
//! nodes { key16 listpack }*
//! length last_ms last_seq
//! [2: first_ms first_seq deleted_ms deleted_seq added]
//! groups { name last_ms last_seq [2: read]
//!          pending { id16 delivered8 deliveries }*
//!          consumers { name seen8 [3: active8] pending { id16 }* }* }*
//! ```
//!
//! Ids of 16 bytes are big-endian; 2 and 3 tell since which version of the format a part is there.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::Cursor;
use super::encode::{put_length, put_text};
use super::{DecodeError, EncodeError, Impossible, stream_nodes};

/// The id of an entry; ordered by time, then by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix milliseconds.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

/// A stream's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: StreamId,
    /// Fields and values in the order given; a field may stand there twice.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// What a stream holds. Deleted entries leave nothing but [`Stream::max_deleted_id`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The entries, their ids rising.
    pub entries: Vec<Entry>,
    /// The highest id ever given, not below the last entry's.
    pub last_id: StreamId,
    /// The highest id ever deleted; zero if none was, or before Redis 7.
    pub max_deleted_id: StreamId,
    /// Entries ever added; before Redis 7 those that are there.
    pub entries_added: u64,
    /// The groups, their names rising.
    pub groups: Vec<Group>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Bytes,
    /// The last id delivered.
    pub last_id: StreamId,
    /// Entries read; `None` if the server does not know, or before Redis 7.
    pub entries_read: Option<u64>,
    /// What was delivered and not acknowledged, by rising id.
    pub pending: Vec<Pending>,
    /// The consumers, their names rising.
    pub consumers: Vec<Consumer>,
}

/// An entry delivered and not acknowledged. It may have been deleted since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The entry.
    pub id: StreamId,
    /// To whom; one of the group's consumers.
    pub consumer: Bytes,
    /// When it was last delivered, Unix milliseconds.
    pub delivered_unix_ms: i64,
    /// How often.
    pub deliveries: u64,
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consumer {
    /// Its name.
    pub name: Bytes,
    /// When it last tried anything, Unix milliseconds.
    pub seen_unix_ms: i64,
    /// When it last got anything, Unix milliseconds; -1 is never. Before Redis 7.2 the time last seen.
    pub active_unix_ms: i64,
}

impl StreamId {
    pub(super) fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
}

/// `entries_read` of a group that does not know (`SCG_INVALID_ENTRIES_READ`), as it is written.
const READ_UNKNOWN: u64 = u64::MAX;

pub(super) fn decode(format: u8, cursor: &mut Cursor) -> Result<Stream, DecodeError> {
    let entries = stream_nodes::decode(cursor)?;
    let length = cursor.length()?;
    if length != entries.len() as u64 {
        return Err(DecodeError::Malformed("a stream's length is not its own"));
    }
    let last_id = id(cursor)?;
    let (mut max_deleted_id, mut entries_added) = (StreamId::default(), length);
    if format >= 2 {
        id(cursor)?;
        max_deleted_id = id(cursor)?;
        entries_added = cursor.length()?;
    }
    let mut groups = Vec::new();
    for _ in 0..cursor.length()? {
        cursor.budget.element()?;
        groups.push(group(format, cursor)?);
    }
    groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let stream = Stream {
        entries,
        last_id,
        max_deleted_id,
        entries_added,
        groups,
    };
    stream.check()?;
    Ok(stream)
}

fn id(cursor: &mut Cursor) -> Result<StreamId, DecodeError> {
    Ok(StreamId {
        ms: cursor.length()?,
        seq: cursor.length()?,
    })
}

fn raw_id(cursor: &mut Cursor) -> Result<StreamId, DecodeError> {
    cursor.fixed("a pending entry's id").map(StreamId::from_bytes)
}

fn group(format: u8, cursor: &mut Cursor) -> Result<Group, DecodeError> {
    let (name, last_id) = (cursor.text()?, id(cursor)?);
    let entries_read = match format {
        1 => None,
        _ => Some(cursor.length()?).filter(|&read| read != READ_UNKNOWN),
    };
    let mut pending: Vec<Pending> = Vec::new();
    for _ in 0..cursor.length()? {
        cursor.budget.element()?;
        pending.push(Pending {
            id: raw_id(cursor)?,
            consumer: Bytes::new(),
            delivered_unix_ms: cursor.time()?,
            deliveries: cursor.length()?,
        });
    }
    if pending.windows(2).any(|pair| pair[0].id >= pair[1].id) {
        return Err(DecodeError::Malformed("a group's pending ids do not rise"));
    }
    let mut owned = vec![false; pending.len()];
    let mut consumers = Vec::new();
    for _ in 0..cursor.length()? {
        cursor.budget.element()?;
        consumers.push(consumer(format, cursor, &mut pending, &mut owned)?);
    }
    if owned.contains(&false) {
        return Err(DecodeError::Malformed("a pending entry belongs to no consumer"));
    }
    consumers.sort_unstable();
    Ok(Group {
        name,
        last_id,
        entries_read,
        pending,
        consumers,
    })
}

fn consumer(
    format: u8,
    cursor: &mut Cursor,
    pending: &mut [Pending],
    owned: &mut [bool],
) -> Result<Consumer, DecodeError> {
    let (name, seen_unix_ms) = (cursor.text()?, cursor.time()?);
    let active_unix_ms = match format {
        3 => cursor.time()?,
        _ => seen_unix_ms,
    };
    for _ in 0..cursor.length()? {
        let id = raw_id(cursor)?;
        let at = pending.binary_search_by_key(&id, |pending| pending.id);
        let at = at.map_err(|_| DecodeError::Malformed("a consumer's pending entry is not its group's"))?;
        if std::mem::replace(&mut owned[at], true) {
            return Err(DecodeError::Malformed("a pending entry belongs to two consumers"));
        }
        pending[at].consumer = name.clone();
    }
    Ok(Consumer {
        name,
        seen_unix_ms,
        active_unix_ms,
    })
}

impl Stream {
    /// Whether a database can hold it: what the fields' descriptions promise.
    ///
    /// # Errors
    /// What is not so.
    pub fn check(&self) -> Result<(), Impossible> {
        if self.entries.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return Err(Impossible("a stream whose ids do not rise"));
        }
        if self.entries.iter().any(|entry| entry.fields.is_empty()) {
            return Err(Impossible("a stream's entry without fields"));
        }
        if self.entries.last().is_some_and(|last| last.id > self.last_id) {
            return Err(Impossible("a stream's entry above the stream's last id"));
        }
        if self.groups.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err(Impossible("a group that stands in a stream twice"));
        }
        self.groups.iter().try_for_each(Group::check)
    }
}

impl Group {
    fn check(&self) -> Result<(), Impossible> {
        if self.consumers.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err(Impossible("a consumer that stands in a group twice"));
        }
        if self.pending.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return Err(Impossible("a group whose pending ids do not rise"));
        }
        let unknown = |pending: &Pending| {
            let known = self
                .consumers
                .binary_search_by(|known| known.name.cmp(&pending.consumer));
            known.is_err()
        };
        if self.pending.iter().any(unknown) {
            return Err(Impossible("a pending entry of a consumer that does not exist"));
        }
        Ok(())
    }

    fn put(&self, format: u8, out: &mut BytesMut) {
        put_text(out, &self.name);
        put_id(out, self.last_id);
        if format >= 2 {
            put_length(out, self.entries_read.unwrap_or(READ_UNKNOWN));
        }
        put_length(out, self.pending.len() as u64);
        let mut owned: BTreeMap<&[u8], Vec<StreamId>> = BTreeMap::new();
        for pending in &self.pending {
            out.put_slice(&pending.id.to_bytes());
            out.put_i64_le(pending.delivered_unix_ms);
            put_length(out, pending.deliveries);
            owned.entry(&pending.consumer).or_default().push(pending.id);
        }
        put_length(out, self.consumers.len() as u64);
        for consumer in &self.consumers {
            put_text(out, &consumer.name);
            out.put_i64_le(consumer.seen_unix_ms);
            if format >= 3 {
                out.put_i64_le(consumer.active_unix_ms);
            }
            let ids = owned.get(consumer.name.as_ref()).map_or(&[][..], Vec::as_slice);
            put_length(out, ids.len() as u64);
            ids.iter().for_each(|id| out.put_slice(&id.to_bytes()));
        }
    }
}

fn put_id(out: &mut BytesMut, id: StreamId) {
    put_length(out, id.ms);
    put_length(out, id.seq);
}

/// Writes a stream in format 1, 2 or 3.
pub(super) fn encode(stream: &Stream, format: u8, out: &mut BytesMut) -> Result<(), EncodeError> {
    stream.check()?;
    stream_nodes::encode(&stream.entries, out)?;
    put_length(out, stream.entries.len() as u64);
    put_id(out, stream.last_id);
    if format >= 2 {
        put_id(
            out,
            stream.entries.first().map(|entry| entry.id).unwrap_or_default(),
        );
        put_id(out, stream.max_deleted_id);
        put_length(out, stream.entries_added);
    }
    put_length(out, stream.groups.len() as u64);
    stream.groups.iter().for_each(|group| group.put(format, out));
    Ok(())
}

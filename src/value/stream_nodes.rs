//! A stream's entries in their nodes, each a listpack behind the id of its first entry (`t_stream.c`).
//!
//! ```text
//! count deleted n name* 0                               the names of the first entry
//! { flags ms seq [names of its own: n] ... parts }*     ms and seq counted from the node's id
//! ```
//!
//! With flag 2 an entry has the first one's names and only values follow; without, names and values. Flag 1
//! marks a deleted entry. `parts` is the number of elements of the entry before it, for walking backwards.

use std::slice;

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{Budget, Cursor};
use super::encode::{put_length, put_text};
use super::listpack::{Elements, Writer};
use super::{DecodeError, EncodeError, Entry, PAYLOAD_BYTES_MAX, StreamId};

const DELETED: i64 = 1;
const SAME_NAMES: i64 = 2;
/// Most entries of a node, and bytes of its entries, that are written; the servers' defaults.
const ENTRIES_MAX: usize = 100;
const ENTRIES_BYTES_MAX: usize = 4096;

/// The entries of all nodes that are not deleted.
pub(super) fn decode(cursor: &mut Cursor) -> Result<Vec<Entry>, DecodeError> {
    let nodes = cursor.length()?;
    let mut entries = Vec::new();
    let mut last = None;
    for _ in 0..nodes {
        let key = cursor.text()?;
        let key: [u8; 16] = key
            .as_ref()
            .try_into()
            .map_err(|_| DecodeError::Malformed("a stream node's key is no id"))?;
        let mut node = Node {
            key: StreamId::from_bytes(key),
            last,
            elements: Elements::new(cursor.text()?)?,
            budget: &mut cursor.budget,
        };
        if last >= Some(node.key) {
            return Err(DecodeError::Malformed("a stream's ids do not rise"));
        }
        node.read(&mut entries)?;
        last = node.last;
    }
    Ok(entries)
}

struct Node<'a> {
    key: StreamId,
    /// The id before, also of another node. What is deleted does not count: entries may have been put in its place.
    last: Option<StreamId>,
    elements: Elements,
    budget: &'a mut Budget,
}

impl Node<'_> {
    fn number(&mut self) -> Result<i64, DecodeError> {
        let element = self
            .elements
            .next()
            .ok_or(DecodeError::Truncated("a stream's node"))?;
        element?.number("a stream's node has a text for a number")
    }

    fn count(&mut self) -> Result<u64, DecodeError> {
        u64::try_from(self.number()?)
            .map_err(|_| DecodeError::Malformed("a stream's node has a negative count"))
    }

    fn text(&mut self) -> Result<Bytes, DecodeError> {
        self.budget.element()?;
        let element = self
            .elements
            .next()
            .ok_or(DecodeError::Truncated("a stream's node"))?;
        Ok(element?.into_text())
    }

    fn read(&mut self, entries: &mut Vec<Entry>) -> Result<(), DecodeError> {
        let (count, deleted) = (self.count()?, self.count()?);
        let mut names = Vec::new();
        for _ in 0..self.count()? {
            names.push(self.text()?);
        }
        if self.number()? != 0 {
            return Err(DecodeError::Malformed("a stream node's head has no end"));
        }
        let (mut live, mut gone) = (0, 0);
        while let Some(flags) = self.elements.next() {
            let flags = flags?.number("a stream entry's flags are no number")?;
            let entry = self.entry(flags, &names)?;
            if flags & DELETED == 0 {
                entries.push(entry);
                live += 1;
            } else {
                gone += 1;
            }
        }
        if (live, gone) != (count, deleted) {
            return Err(DecodeError::Malformed("a stream node's counts are not its own"));
        }
        Ok(())
    }

    fn entry(&mut self, flags: i64, names: &[Bytes]) -> Result<Entry, DecodeError> {
        if flags & !(DELETED | SAME_NAMES) != 0 {
            return Err(DecodeError::Malformed("a stream's entry has unknown flags"));
        }
        self.budget.element()?;
        let id = self.id(flags & DELETED == 0)?;
        let mut fields = Vec::new();
        let parts = if flags & SAME_NAMES != 0 {
            for name in names {
                self.budget.element()?;
                fields.push((name.clone(), self.text()?));
            }
            fields.len() as u64 + 3
        } else {
            for _ in 0..self.count()? {
                fields.push((self.text()?, self.text()?));
            }
            2 * fields.len() as u64 + 4
        };
        if self.count()? != parts {
            return Err(DecodeError::Malformed("a stream entry's length is not its own"));
        }
        Ok(Entry { id, fields })
    }

    /// The entry's id, which must be above the one before if the entry is there.
    fn id(&mut self, is_there: bool) -> Result<StreamId, DecodeError> {
        let (ms, seq) = (self.number()?, self.number()?);
        let id = StreamId {
            ms: self.key.ms.wrapping_add_signed(ms),
            seq: self.key.seq.wrapping_add_signed(seq),
        };
        if id < self.key || is_there && self.last >= Some(id) {
            return Err(DecodeError::Malformed("a stream's ids do not rise"));
        }
        if is_there {
            self.last = Some(id);
        }
        Ok(id)
    }
}

/// Writes entries in nodes of the servers' default size.
pub(super) fn encode(entries: &[Entry], out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut nodes = BytesMut::new();
    let mut count = 0;
    let mut rest = entries.iter();
    while let Some(first) = rest.as_slice().first() {
        let node = node(first, &mut rest);
        put_text(&mut nodes, &first.id.to_bytes());
        put_text(&mut nodes, &node);
        count += 1;
        if nodes.len() > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::TooLong);
        }
    }
    put_length(out, count);
    out.put(nodes);
    Ok(())
}

/// One node of the next entries, as many as belong into it. Names that an entry shares with the first one are
/// written once and do not count, so that long names do not make many nodes.
fn node(first: &Entry, rest: &mut slice::Iter<'_, Entry>) -> Bytes {
    let mut body = Vec::new();
    let mut bytes = 0;
    while let Some(entry) = rest.as_slice().first()
        && body.len() < ENTRIES_MAX
        && bytes < ENTRIES_BYTES_MAX
    {
        let same = has_names_of(entry, first);
        let written = |(name, value): &(Bytes, Bytes)| value.len() + if same { 0 } else { name.len() };
        bytes += entry.fields.iter().map(written).sum::<usize>();
        body.push((entry, same));
        rest.next();
    }
    let mut writer = Writer::new();
    writer.number(body.len() as i64);
    writer.number(0);
    writer.number(first.fields.len() as i64);
    first.fields.iter().for_each(|(name, _)| writer.text(name));
    writer.number(0);
    for (entry, same) in body {
        put_entry(&mut writer, first.id, entry, same);
    }
    writer.finish()
}

/// Whether the entry has the first one's names. Those of one node that was read are the same bytes: comparing the
/// places spares the letters, of which a hostile payload makes many entries share many.
fn has_names_of(entry: &Entry, first: &Entry) -> bool {
    let same = |own: &Bytes, known: &Bytes| {
        own.len() == known.len() && (own.as_ptr() == known.as_ptr() || own == known)
    };
    let mut pairs = entry.fields.iter().zip(&first.fields);
    entry.fields.len() == first.fields.len() && pairs.all(|((own, _), (known, _))| same(own, known))
}

fn put_entry(writer: &mut Writer, first: StreamId, entry: &Entry, same: bool) {
    writer.number(if same { SAME_NAMES } else { 0 });
    writer.number(entry.id.ms.wrapping_sub(first.ms) as i64);
    writer.number(entry.id.seq.wrapping_sub(first.seq) as i64);
    let count = entry.fields.len() as i64;
    if !same {
        writer.number(count);
    }
    for (name, value) in &entry.fields {
        if !same {
            writer.text(name);
        }
        writer.text(value);
    }
    writer.number(if same { count + 3 } else { 2 * count + 4 });
}

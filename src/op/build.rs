//! Building a batch while a stream is read.

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{BATCH_VERSION, Batch, FLAG_CONTINUES, MARK_BYTES, Mark, ROW_BYTES, Row, Source};
use crate::causality::{Hlc, Roster, Seq, SiteIx, Vector};

/// The tables of batches that follow each other share allocations of this size.
const TABLES_BYTES: usize = 64 << 10;

/// Gathers rows, marks and payload. Payload stays in the blocks that were read: a run of neighbouring commands
/// is one slice.
#[derive(Debug)]
pub struct Builder {
    rows: BytesMut,
    marks: Vec<Mark>,
    parts: Vec<Bytes>,
    payload: usize,
    /// Commands of the block being read that are not a part yet.
    run: std::ops::Range<usize>,
}

/// A place between two units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    rows: usize,
    payload: usize,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            rows: BytesMut::with_capacity(TABLES_BYTES),
            marks: Vec::new(),
            parts: Vec::new(),
            payload: 0,
            run: 0..0,
        }
    }
}

impl Builder {
    /// Operations gathered.
    pub fn count(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    /// Payload bytes gathered.
    pub fn payload_len(&self) -> usize {
        self.payload
    }

    /// Adds the command at `range` of the block that is being read. `row.end` is filled in here.
    #[inline]
    pub fn push(&mut self, range: std::ops::Range<usize>, row: Row, block: &[u8]) {
        if self.run.end != range.start {
            self.close_run(block);
            self.run = range.clone();
        }
        self.run.end = range.end;
        self.payload += range.len();
        self.push_row(row);
    }

    /// Adds a command that stands in no block, behind those of the block that is being read.
    pub fn push_owned(&mut self, command: Bytes, row: Row, block: &[u8]) {
        self.close_run(block);
        self.payload += command.len();
        self.parts.push(command);
        self.push_row(row);
    }

    #[inline]
    fn push_row(&mut self, row: Row) {
        let mut bytes = [0u8; ROW_BYTES];
        bytes[..4].copy_from_slice(&(self.payload as u32).to_le_bytes());
        bytes[4] = row.flags;
        bytes[5] = row.class as u8;
        bytes[6..8].copy_from_slice(&row.db.to_le_bytes());
        bytes[8..].copy_from_slice(&row.fingerprint.to_le_bytes());
        self.rows.put_slice(&bytes);
    }

    /// A gap in a block: what came before is kept as a range until the block is complete, unless a second run
    /// begins; then the first is noted as a part to be cut from the block.
    fn close_run(&mut self, block: &[u8]) {
        if !self.run.is_empty() {
            // Gaps inside a block are echoes or heartbeats; copying keeps the block free to be recycled.
            self.parts.push(Bytes::copy_from_slice(&block[self.run.clone()]));
        }
        self.run = 0..0;
    }

    /// The block has been read: its last run becomes a part.
    pub fn end_block(&mut self, block: &Bytes) {
        if !self.run.is_empty() {
            self.parts.push(block.slice(self.run.clone()));
        }
        self.run = 0..0;
    }

    /// More was observed: it is in the past of the next row.
    pub fn mark(&mut self, time: Hlc, site: SiteIx, seq: Seq) {
        self.marks.push(Mark {
            at: self.count() as u32,
            time,
            site,
            seq,
        });
    }

    /// The last row ends its unit.
    pub fn end_unit(&mut self) {
        if let Some(at) = self.rows.len().checked_sub(ROW_BYTES) {
            self.rows[at + 4] &= !FLAG_CONTINUES;
        }
    }

    /// The place behind the last row.
    pub fn place(&self) -> Place {
        Place {
            rows: self.rows.len(),
            payload: self.payload,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Builder::default();
    }

    /// Closes a batch at a place; what lies behind it stays for the next. `None` without operations before it.
    /// Only between blocks.
    pub fn finish(
        &mut self,
        place: Place,
        origin: SiteIx,
        (first_seq, time): (Seq, Hlc),
        observed: Vector,
        source: Source,
    ) -> Option<Batch> {
        if place.rows == 0 {
            return None;
        }
        let rows = self.rows.split_to(place.rows).freeze();
        let count = (place.rows / ROW_BYTES) as u32;
        // A mark right behind the last row tells what had been observed at the source's offset; the next batch
        // begins with it anyway.
        let behind = self
            .marks
            .iter()
            .position(|mark| mark.at > count)
            .unwrap_or(self.marks.len());
        let left: Vec<Mark> = self.marks.drain(behind..).collect();
        let marks = std::mem::replace(&mut self.marks, left);
        self.marks.iter_mut().for_each(|mark| mark.at -= count);
        let parts = self.split_parts(place.payload);
        self.payload -= place.payload;
        self.lower_rows(place.payload as u32);
        Some(Batch {
            origin,
            first_seq,
            time,
            observed,
            marks,
            source,
            rows,
            parts,
            wire: std::cell::OnceCell::new(),
        })
    }

    fn split_parts(&mut self, payload: usize) -> Vec<Bytes> {
        let mut left = payload;
        let mut taken = 0;
        while taken < self.parts.len() && self.parts[taken].len() <= left {
            left -= self.parts[taken].len();
            taken += 1;
        }
        let rest = self.parts.split_off(taken);
        let mut parts = std::mem::replace(&mut self.parts, rest);
        if left > 0
            && let Some(straddling) = self.parts.first_mut()
        {
            parts.push(straddling.split_to(left));
        }
        parts
    }

    /// Rows of an incomplete unit that stay count their ends from the next batch's begin.
    fn lower_rows(&mut self, by: u32) {
        for row in self.rows.chunks_exact_mut(ROW_BYTES) {
            let end = u32::from_le_bytes([row[0], row[1], row[2], row[3]]) - by;
            row[..4].copy_from_slice(&end.to_le_bytes());
        }
    }
}

impl Batch {
    /// The batch as bytes: its head, its table, then the payload's parts; all but the head as they are.
    pub fn encode(&self, roster: &Roster) -> &[Bytes] {
        self.wire.get_or_init(|| self.encode_anew(roster))
    }

    fn encode_anew(&self, roster: &Roster) -> Vec<Bytes> {
        let sites = 48 * roster.count();
        let mut head = BytesMut::with_capacity(128 + sites + MARK_BYTES * self.marks.len());
        head.put_u8(BATCH_VERSION);
        head.put_u8(roster.count() as u8);
        head.put_u32_le(self.count() as u32);
        head.put_u32_le(self.marks.len() as u32);
        head.put_u64_le(self.first_seq);
        head.put_u64_le(self.time.0);
        head.put_slice(&self.source.replication_id);
        head.put_u64_le(self.source.offset);
        head.put_u32_le(self.source.db);
        head.put_u8(self.origin.0);
        for (ix, seq) in self.observed.entries() {
            let name = roster.name(ix);
            head.put_u8(name.as_bytes().len() as u8);
            head.put_slice(name.as_bytes());
            head.put_u64_le(seq);
        }
        for mark in &self.marks {
            head.put_u32_le(mark.at);
            head.put_u64_le(mark.time.0);
            head.put_u8(mark.site.0);
            head.put_u64_le(mark.seq);
        }
        let mut parts = Vec::with_capacity(2 + self.parts.len());
        parts.push(head.freeze());
        parts.push(self.rows.clone());
        parts.extend(self.parts.iter().cloned());
        parts
    }
}

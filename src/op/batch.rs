//! A batch and its decoding.

use std::cell::OnceCell;

use bytes::{Buf, Bytes};

use crate::causality::{Hlc, Roster, SEQ_MAX, Seq, SiteId, SiteIx, Vector};
use crate::command::EffectClass;

/// Version of the format, first byte of every batch.
pub const BATCH_VERSION: u8 = 1;
/// Length of a replication id.
pub const REPLICATION_ID_BYTES: usize = 40;
/// Bytes of one table row.
pub const ROW_BYTES: usize = 16;
/// Bytes of one mark.
pub const MARK_BYTES: usize = 21;
/// The row belongs to the same atomic unit as the row behind it.
pub const FLAG_CONTINUES: u8 = 1;
/// The command has more keys than the fingerprint tells, or none.
pub const FLAG_KEYS_INSIDE: u8 = 2;
/// The command is part of a snapshot: it yields to everything concurrent.
pub const FLAG_STATE: u8 = 4;

/// Where the source's stream stood behind a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The database's replication id.
    pub replication_id: [u8; REPLICATION_ID_BYTES],
    /// Offset of the last byte that belongs to the batch.
    pub offset: u64,
    /// The database selected behind it; the server does not send it again.
    pub db: u32,
}

/// From this row on, more was in the past: an echo stood between two local commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// First row it holds for; behind the last row it tells what was observed up to the source's offset.
    pub at: u32,
    /// Timestamp of that row; those behind it follow by ones.
    pub time: Hlc,
    /// The site of which more was observed.
    pub site: SiteIx,
    /// Up to here.
    pub seq: Seq,
}

/// One command of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// End of the command in the payload.
    pub end: u32,
    /// `FLAG_*`.
    pub flags: u8,
    /// What kind of effect it has.
    pub class: EffectClass,
    /// Database number.
    pub db: u16,
    /// Fingerprint of (db, first key).
    pub fingerprint: u64,
}

impl Row {
    /// Whether the next row belongs to the same unit.
    pub fn continues(&self) -> bool {
        self.flags & FLAG_CONTINUES != 0
    }

    /// Whether it is part of a snapshot.
    pub fn is_state(&self) -> bool {
        self.flags & FLAG_STATE != 0
    }

    /// Whether the keys have to be read from the command.
    pub fn keys_inside(&self) -> bool {
        self.flags & FLAG_KEYS_INSIDE != 0
    }
}

/// A run of consecutive operations of one site.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose they are.
    pub origin: SiteIx,
    /// Number of the first.
    pub first_seq: Seq,
    /// Timestamp of the first; those behind it follow by ones, up to the first mark.
    pub time: Hlc,
    /// What had been observed before the first.
    pub observed: Vector,
    /// Where more came in.
    pub marks: Vec<Mark>,
    /// Where the source stood behind the last.
    pub source: Source,
    pub(super) rows: Bytes,
    pub(super) parts: Vec<Bytes>,
    /// The batch as bytes, once it has been or was made from them.
    pub(super) wire: OnceCell<Vec<Bytes>>,
}

/// Why bytes are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A newer syncer wrote it.
    #[error("batch format {0}; this syncer reads format {BATCH_VERSION}; update it first")]
    Version(u8),
    /// It ends before what it announces.
    #[error("the batch ends in its {0}")]
    Short(&'static str),
    /// Something in it cannot be.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
    /// It was written by a site that this configuration does not name.
    #[error("the batch comes from site {0}, which is not configured here; add it as a [[peer]]")]
    UnknownOrigin(SiteId),
}

impl Batch {
    /// How many operations.
    pub fn count(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    /// Number of the last operation.
    pub fn last_seq(&self) -> Seq {
        self.first_seq + self.count() as Seq - 1
    }

    /// The row at `at`; `None` past the end.
    #[inline]
    pub fn row(&self, at: usize) -> Option<Row> {
        let bytes = self.rows.get(at * ROW_BYTES..(at + 1) * ROW_BYTES)?;
        decode_row(bytes)
    }

    /// Where the command of a row begins in the payload.
    #[inline]
    pub fn start_of(&self, at: usize) -> u32 {
        at.checked_sub(1)
            .and_then(|before| self.row(before))
            .map_or(0, |row| row.end)
    }

    /// The commands of rows `from..to` as they came, without copying.
    pub fn bytes_of(&self, from: usize, to: usize, mut give: impl FnMut(Bytes)) {
        let (mut start, end) = (self.start_of(from) as usize, self.start_of(to) as usize);
        let mut begin = 0;
        for part in &self.parts {
            let next = begin + part.len();
            if start < next && begin < end {
                give(part.slice(start - begin..end.min(next) - begin));
                start = next;
            }
            begin = next;
        }
    }

    /// One command; a command never lies in two parts.
    pub fn command(&self, at: usize) -> Bytes {
        let mut command = Bytes::new();
        self.bytes_of(at, at + 1, |bytes| command = bytes);
        command
    }

    /// The rows `from..to` with their commands, in order, without counting references.
    pub fn commands(&self, from: usize, to: usize) -> impl Iterator<Item = (Row, &[u8])> {
        let mut start = self.start_of(from) as usize;
        let mut parts = self.parts.iter();
        let (mut begin, mut part) = (0, &[][..]);
        (from..to).map_while(move |at| {
            let row = self.row(at)?;
            while start >= begin + part.len() {
                begin += part.len();
                part = parts.next()?;
            }
            let command = part.get(start - begin..row.end as usize - begin)?;
            start = row.end as usize;
            Some((row, command))
        })
    }

    /// Bytes of payload and table: what it takes in memory, nearly.
    pub fn memory_bytes(&self) -> usize {
        self.payload_len() + self.rows.len()
    }

    /// Payload bytes.
    pub fn payload_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Timestamp of a row.
    pub fn time_of(&self, at: usize) -> Hlc {
        let behind = self.marks.partition_point(|mark| mark.at as usize <= at);
        match self.marks[..behind].last() {
            Some(mark) => mark.time.plus((at - mark.at as usize) as u64),
            None => self.time.plus(at as u64),
        }
    }

    /// Causal past of a row, without itself.
    pub fn past_of(&self, at: usize) -> Vector {
        let mut past = self.observed.clone();
        for mark in self.marks.iter().take_while(|mark| mark.at as usize <= at) {
            past.advance(mark.site, mark.seq.max(past.get(mark.site)));
        }
        past.advance(self.origin, self.first_seq + at as Seq - 1);
        past
    }

    /// The marks behind a row.
    pub fn marks_behind(&self, at: usize) -> &[Mark] {
        let first = self.marks.partition_point(|mark| mark.at as usize <= at);
        &self.marks[first..]
    }

    /// What had been observed behind the last operation, with everything up to the source's offset.
    pub fn observed_after(&self) -> Vector {
        self.past_of(self.count())
    }

    /// Decodes a batch from its bytes, which are shared with it; bytes in several parts are joined first.
    ///
    /// # Errors
    /// Anything that does not fit, found before it is used.
    pub fn decode(parts: Vec<Bytes>, roster: &Roster) -> Result<Batch, BatchError> {
        let whole = match <[Bytes; 1]>::try_from(parts) {
            Ok([whole]) => whole,
            Err(parts) => parts.concat().into(),
        };
        let mut payload = whole.clone();
        let mut batch = decode_head(&mut payload, roster)?;
        batch.parts = vec![payload];
        batch.wire = OnceCell::from(vec![whole]);
        batch.check()?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), BatchError> {
        let mut end = 0;
        for at in 0..self.count() {
            let row = self
                .row(at)
                .ok_or(BatchError::Malformed("an unknown effect class"))?;
            if row.end <= end {
                return Err(BatchError::Malformed("row ends do not rise"));
            }
            end = row.end;
        }
        if end as usize != self.payload_len() {
            return Err(BatchError::Malformed(
                "the last row does not end with the payload",
            ));
        }
        let last = self
            .row(self.count().wrapping_sub(1))
            .ok_or(BatchError::Malformed("no operation"))?;
        if last.continues() {
            return Err(BatchError::Malformed("a unit goes on behind the batch"));
        }
        if self.marks.windows(2).any(|pair| pair[0].at > pair[1].at) {
            return Err(BatchError::Malformed("marks are out of order"));
        }
        self.check_numbers()
    }

    /// Nothing can overflow that is counted from here on, and no operation is in its own past.
    fn check_numbers(&self) -> Result<(), BatchError> {
        let is_late = |time: Hlc| time > Hlc::MAX;
        if is_late(self.time) || self.marks.iter().any(|mark| is_late(mark.time)) {
            return Err(BatchError::Malformed("a timestamp that no clock shows"));
        }
        if self.first_seq > SEQ_MAX - self.count() as Seq {
            return Err(BatchError::Malformed(
                "operations are numbered beyond the last number",
            ));
        }
        let is_own =
            |mark: &Mark| mark.site == self.origin && mark.seq >= self.first_seq + Seq::from(mark.at);
        if self.observed.get(self.origin) >= self.first_seq || self.marks.iter().any(is_own) {
            return Err(BatchError::Malformed("an operation is in its own past"));
        }
        Ok(())
    }
}

#[inline]
fn decode_row(bytes: &[u8]) -> Option<Row> {
    let (end, rest) = bytes.split_first_chunk::<4>()?;
    let (fingerprint, _) = rest.get(4..)?.split_first_chunk::<8>()?;
    Some(Row {
        end: u32::from_le_bytes(*end),
        flags: rest[0],
        class: EffectClass::from_code(rest[1])?,
        db: u16::from_le_bytes([rest[2], rest[3]]),
        fingerprint: u64::from_le_bytes(*fingerprint),
    })
}

fn need(head: &Bytes, bytes: usize, what: &'static str) -> Result<(), BatchError> {
    if head.remaining() < bytes {
        Err(BatchError::Short(what))
    } else {
        Ok(())
    }
}

fn decode_head(head: &mut Bytes, roster: &Roster) -> Result<Batch, BatchError> {
    need(head, 2 + 4 + 4 + 8 + 8 + REPLICATION_ID_BYTES + 8 + 4 + 1, "head")?;
    let version = head.get_u8();
    if version != BATCH_VERSION {
        return Err(BatchError::Version(version));
    }
    let sites = usize::from(head.get_u8());
    let rows = head.get_u32_le() as usize;
    let marks = head.get_u32_le() as usize;
    let first_seq = head.get_u64_le();
    let time = Hlc(head.get_u64_le());
    let mut replication_id = [0; REPLICATION_ID_BYTES];
    head.copy_to_slice(&mut replication_id);
    let source = Source {
        replication_id,
        offset: head.get_u64_le(),
        db: head.get_u32_le(),
    };
    let origin_at = usize::from(head.get_u8());
    let (names, observed) = decode_sites(head, sites, roster)?;
    let name = *names
        .get(origin_at)
        .ok_or(BatchError::Malformed("its origin is not among its sites"))?;
    let origin = roster.find(name).ok_or(BatchError::UnknownOrigin(name))?;
    let marks = decode_marks(head, marks, &names, roster, rows)?;
    need(head, rows.saturating_mul(ROW_BYTES), "table")?;
    if rows == 0 || first_seq == 0 {
        return Err(BatchError::Malformed("no operation"));
    }
    let rows = head.split_to(rows * ROW_BYTES);
    Ok(Batch {
        origin,
        first_seq,
        time,
        observed,
        marks,
        source,
        rows,
        parts: Vec::new(),
        wire: OnceCell::new(),
    })
}

/// What was observed of sites that are not configured here says nothing to this site and is left out.
fn decode_sites(
    head: &mut Bytes,
    sites: usize,
    roster: &Roster,
) -> Result<(Vec<SiteId>, Vector), BatchError> {
    let mut names = Vec::new();
    let mut observed = Vector::zero(roster.count());
    for _ in 0..sites {
        need(head, 1, "sites")?;
        let len = usize::from(head.get_u8());
        need(head, len + 8, "sites")?;
        let name = SiteId::new(&head.split_to(len)).map_err(|_| BatchError::Malformed("a site's name"))?;
        let seq = head.get_u64_le();
        if let Some(ix) = roster.find(name) {
            observed.advance(ix, seq.max(observed.get(ix)));
        }
        names.push(name);
    }
    Ok((names, observed))
}

fn decode_marks(
    head: &mut Bytes,
    count: usize,
    names: &[SiteId],
    roster: &Roster,
    rows: usize,
) -> Result<Vec<Mark>, BatchError> {
    need(head, count.saturating_mul(MARK_BYTES), "marks")?;
    let mut marks = Vec::new();
    for _ in 0..count {
        let at = head.get_u32_le();
        let time = Hlc(head.get_u64_le());
        let name = names
            .get(usize::from(head.get_u8()))
            .ok_or(BatchError::Malformed("a mark's site"))?;
        let seq = head.get_u64_le();
        if at as usize > rows {
            return Err(BatchError::Malformed("a mark behind the last row"));
        }
        if let Some(site) = roster.find(*name) {
            marks.push(Mark { at, time, site, seq });
        }
    }
    Ok(marks)
}

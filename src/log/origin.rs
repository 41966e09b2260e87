//! The log of one origin.

mod positions;

use bytes::Bytes;

use super::disk::Disk;
use super::error::LogError;
use super::segment::{
    KIND_BATCH, KIND_POSITION, MAGIC, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, checksum,
    segment_header,
};
use crate::causality::{SEQ_MAX, SiteId};

/// Bytes that one read takes at least, where there are so many, while records are read one behind the other.
const READ_ON_BYTES: usize = 128 << 10;
/// The same where one is looked up: what lies between two entries of the index by default.
const LOOK_UP_BYTES: usize = 32 << 10;

/// What can be set about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A segment is closed when it has reached this and the one before it is on disk; one record may be longer.
    pub segment_bytes: u64,
    /// Bytes of log between two entries of the index in memory.
    pub index_step_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_bytes: 64 << 20,
            index_step_bytes: 32 << 10,
        }
    }
}

/// What was found when the log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// First operation held; 0 for none.
    pub first_seq: u64,
    /// Last operation held; 0 for none.
    pub last_seq: u64,
    /// Body of the last position record.
    pub last_position: Option<Bytes>,
    /// Bytes cut off a torn end.
    pub torn_bytes: u64,
}

/// A batch record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// First operation in it.
    pub first_seq: u64,
    /// Last operation in it.
    pub last_seq: u64,
    /// Its body.
    pub parts: Vec<Bytes>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// First sequence number that a batch in it can have.
    first_seq: u64,
    /// Sparse: first sequence number of a batch record, and its offset.
    index: Vec<(u64, u64)>,
}

impl Segment {
    /// Where to begin to look for an operation.
    fn near(&self, seq: u64) -> u64 {
        let behind = self.index.partition_point(|(first, _)| *first <= seq);
        let near = behind.checked_sub(1).and_then(|at| self.index.get(at));
        near.map_or(SEGMENT_HEADER_BYTES as u64, |(_, offset)| *offset)
    }
}

/// A piece of a segment that was read.
#[derive(Debug, Default)]
struct Piece {
    segment: u64,
    offset: u64,
    bytes: Bytes,
}

impl Piece {
    fn find(&self, segment: u64, offset: u64, bytes: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let to = from.checked_add(bytes)?;
        (segment == self.segment && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Where the record behind a batch stands.
#[derive(Debug, Clone, Copy)]
struct Next {
    seq: u64,
    segment: u64,
    offset: u64,
}

/// The log of one origin.
#[derive(Debug)]
pub struct OriginLog<D> {
    pub(super) disk: D,
    origin: SiteId,
    database_id: String,
    settings: Settings,
    segments: Vec<Segment>,
    first_seq: u64,
    last_seq: u64,
    /// A write failed and could not be undone yet: the last segment has to be cut to its known length.
    dirty: bool,
    /// Read last. Bytes below a segment's known end never change, so it stays true.
    piece: Piece,
    /// Bytes that the next read takes at least.
    ahead: usize,
    /// Behind the batch that was read last: whoever reads on does not look for it.
    next: Option<Next>,
}

impl<D: Disk> OriginLog<D> {
    /// Opens the log, cuts a torn end, and refuses any other damage.
    ///
    /// # Errors
    /// The disk, damage, or a log that is somebody else's.
    pub fn open(
        disk: D,
        database_id: &str,
        origin: SiteId,
        settings: Settings,
    ) -> Result<(OriginLog<D>, Recovery), LogError> {
        let mut log = OriginLog {
            disk,
            origin,
            database_id: database_id.to_owned(),
            settings,
            segments: Vec::new(),
            first_seq: 0,
            last_seq: 0,
            dirty: false,
            piece: Piece::default(),
            ahead: READ_ON_BYTES,
            next: None,
        };
        let mut recovery = Recovery::default();
        let numbers = log
            .disk
            .list()
            .map_err(|error| log.refused("list its segments", error))?;
        for (at, number) in numbers.iter().enumerate() {
            if !log.recover_segment(*number, &numbers[at + 1..], &mut recovery)? {
                break;
            }
        }
        if let [.., before, _] = &log.segments[..] {
            let before = before.number;
            log.disk
                .force_soon(before)
                .map_err(|error| log.refused("force a full segment to disk", error))?;
        }
        // What was read of a torn end is gone.
        log.piece = Piece::default();
        recovery.first_seq = log.first_seq;
        recovery.last_seq = log.last_seq;
        Ok((log, recovery))
    }

    pub(super) fn refused(&self, what: &'static str, error: std::io::Error) -> LogError {
        LogError::Disk {
            origin: self.origin.to_string(),
            what,
            error,
        }
    }

    fn damaged(&self, segment: u64, offset: u64, what: &'static str) -> LogError {
        LogError::Damaged {
            origin: self.origin.to_string(),
            segment,
            offset,
            what,
        }
    }

    /// Gives whether the log can go on behind it. `behind` are the segments there: if it is one at most, this one may be
    /// torn (see [`OriginLog::is_full`]). If it lost nothing but a position, the segment behind it follows all the same.
    fn recover_segment(
        &mut self,
        number: u64,
        behind: &[u64],
        recovery: &mut Recovery,
    ) -> Result<bool, LogError> {
        let may_be_torn = behind.len() <= 1;
        let len = self.len(number)?;
        let header = self.read(number, 0, SEGMENT_HEADER_BYTES, len)?;
        let body = header.get(..SEGMENT_HEADER_BYTES - 4);
        let stored = header
            .get(SEGMENT_HEADER_BYTES - 4..)
            .and_then(|tail| tail.try_into().ok());
        let whole = body.zip(stored.map(u32::from_le_bytes));
        let Some((body, _)) = whole.filter(|(body, stored)| checksum(&[body]) == *stored) else {
            if !may_be_torn {
                return Err(self.damaged(number, 0, "its header"));
            }
            // Nothing of it had reached the disk when everything stopped.
            self.remove_torn(behind, recovery)?;
            self.remove_torn(&[number], recovery)?;
            return Ok(false);
        };
        self.check_owner(number, body)?;
        let first_seq = u64::from_le_bytes(body[112..120].try_into().unwrap_or_default());
        if first_seq > SEQ_MAX || !self.segments.is_empty() && first_seq != self.last_seq + 1 {
            if first_seq <= self.last_seq || first_seq > SEQ_MAX || !behind.is_empty() {
                return Err(self.damaged(number, 112, "it does not follow the segment before it"));
            }
            // The end of the segment before it never reached the disk.
            self.remove_torn(&[number], recovery)?;
            return Ok(false);
        }
        self.last_seq = first_seq.saturating_sub(1);
        let bytes = SEGMENT_HEADER_BYTES as u64;
        self.segments.push(Segment {
            number,
            bytes,
            first_seq,
            index: Vec::new(),
        });
        let end = self.recover_records(number, len, recovery)?;
        if end == len {
            return Ok(true);
        }
        if !may_be_torn {
            return Err(self.damaged(number, end, "a record"));
        }
        recovery.torn_bytes += len - end;
        self.disk
            .truncate(number, end)
            .map_err(|error| self.refused("cut a torn end", error))?;
        Ok(true)
    }

    fn len(&mut self, segment: u64) -> Result<u64, LogError> {
        self.disk
            .len(segment)
            .map_err(|error| self.refused("read", error))
    }

    fn remove_torn(&mut self, segments: &[u64], recovery: &mut Recovery) -> Result<(), LogError> {
        for segment in segments {
            recovery.torn_bytes += self.len(*segment)?;
            self.disk
                .remove(*segment)
                .map_err(|error| self.refused("remove a torn segment", error))?;
        }
        Ok(())
    }

    fn check_owner(&self, segment: u64, header: &[u8]) -> Result<(), LogError> {
        let ours = segment_header(self.origin, &self.database_id, segment, 0);
        if header[..8] == MAGIC[..] && header[8..112] == ours[8..112] {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
        let found = if header[..7] == MAGIC[..7] && header[7] != MAGIC[7] {
            format!("a log of version {}", header[7])
        } else {
            format!(
                "site {:?} of database {:?}",
                text(&header[8..40]),
                text(&header[40..104])
            )
        };
        Err(LogError::Foreign {
            origin: self.origin.to_string(),
            segment,
            found,
        })
    }

    /// Walks records as long as they are whole; gives where that ended.
    fn recover_records(&mut self, number: u64, len: u64, recovery: &mut Recovery) -> Result<u64, LogError> {
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        while let Some(header) = RecordHeader::decode(self.read(number, offset, RECORD_HEADER_BYTES, len)?) {
            let next = offset + (RECORD_HEADER_BYTES + header.body) as u64;
            if next > len {
                break;
            }
            let record = self.read(number, offset + 4, RECORD_HEADER_BYTES - 4 + header.body, len)?;
            if checksum(&[&record]) != header.checksum {
                break;
            }
            match header.kind {
                KIND_BATCH if self.last_seq != 0 && header.first_seq != self.last_seq + 1 => {
                    return Err(self.damaged(number, offset, "operations are missing before it"));
                }
                KIND_BATCH => self.note_batch(&header, offset),
                _ => {
                    let body = record.get(RECORD_HEADER_BYTES - 4..).unwrap_or_default();
                    recovery.last_position = Some(Bytes::copy_from_slice(body));
                }
            }
            offset = next;
            if let Some(segment) = self.segments.last_mut() {
                segment.bytes = offset;
            }
        }
        Ok(offset)
    }

    fn note_batch(&mut self, header: &RecordHeader, offset: u64) {
        if self.first_seq == 0 {
            self.first_seq = header.first_seq;
        }
        self.last_seq = header.last_seq;
        let step = self.settings.index_step_bytes;
        if let Some(segment) = self.segments.last_mut()
            && segment.index.last().is_none_or(|(_, last)| offset >= last + step)
        {
            segment.index.push((header.first_seq, offset));
        }
    }

    /// Bytes of a segment that ends at `end`; fewer at the end.
    fn read(&mut self, segment: u64, offset: u64, bytes: usize, end: u64) -> Result<Bytes, LogError> {
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = bytes.min(left);
        if let Some(found) = self.piece.find(segment, offset, bytes) {
            return Ok(found);
        }
        let wanted = bytes.max(self.ahead).min(left);
        let read = self
            .disk
            .read_at(segment, offset, wanted)
            .map_err(|error| self.refused("read", error))?;
        let found = read.slice(..bytes.min(read.len()));
        self.piece = Piece {
            segment,
            offset,
            bytes: read,
        };
        Ok(found)
    }

    /// First operation held; 0 for none.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Last operation held; 0 for none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of the records behind an operation, rounded up to a step of the index.
    pub fn bytes_behind(&self, seq: u64) -> u64 {
        if seq >= self.last_seq {
            return 0;
        }
        let at = self
            .segments
            .partition_point(|segment| segment.first_seq <= seq + 1);
        let later: u64 = self.segments[at..].iter().map(|segment| segment.bytes).sum();
        let within = at
            .checked_sub(1)
            .and_then(|at| self.segments.get(at))
            .map_or(0, |segment| segment.bytes - segment.near(seq + 1));
        within + later
    }

    /// Number of the segment that is written, if there is one.
    #[cfg(feature = "io")]
    pub(super) fn newest_segment(&self) -> Option<u64> {
        self.segments.last().map(|segment| segment.number)
    }

    /// Appends the operations `first_seq..=last_seq`.
    ///
    /// # Errors
    /// They do not follow, or the disk refuses; then nothing was appended and it can be tried again.
    pub fn append_batch(&mut self, first_seq: u64, last_seq: u64, parts: &[Bytes]) -> Result<(), LogError> {
        if self.last_seq != 0 && first_seq != self.last_seq + 1 {
            return Err(LogError::Gap {
                origin: self.origin.to_string(),
                last: self.last_seq,
                found: first_seq,
            });
        }
        let slices: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        let offset = self.append(KIND_BATCH, first_seq, last_seq, &slices)?;
        let body = slices.iter().map(|part| part.len()).sum();
        self.note_batch(
            &RecordHeader {
                checksum: 0,
                kind: KIND_BATCH,
                body,
                first_seq,
                last_seq,
            },
            offset,
        );
        Ok(())
    }

    /// Appends a position.
    ///
    /// # Errors
    /// The disk refuses; nothing was appended.
    pub fn append_position(&mut self, body: &[u8]) -> Result<(), LogError> {
        let seq = self.last_seq;
        self.append(KIND_POSITION, seq, seq, &[body]).map(|_| ())
    }

    fn append(&mut self, kind: u8, first_seq: u64, last_seq: u64, parts: &[&[u8]]) -> Result<u64, LogError> {
        self.mend()?;
        if self.is_full()? {
            self.begin_segment()?;
        }
        let header = RecordHeader::encode(kind, first_seq, last_seq, parts);
        let mut slices: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
        slices.push(&header);
        slices.extend_from_slice(parts);
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let Some((number, offset)) = self
            .segments
            .last()
            .map(|segment| (segment.number, segment.bytes))
        else {
            return Ok(0);
        };
        if let Err(error) = self.disk.append(number, &slices) {
            self.dirty = true;
            let _ = self.mend();
            return Err(self.refused("append", error));
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes += len as u64;
        }
        Ok(offset)
    }

    /// Undoes a write that failed half way.
    fn mend(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        if let Some((number, bytes)) = self
            .segments
            .last()
            .map(|segment| (segment.number, segment.bytes))
        {
            self.disk
                .truncate(number, bytes)
                .map_err(|error| self.refused("undo a failed write", error))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Whether the next record begins a segment. Nobody waits for the disk here: a full segment is forced while the
    /// next one is written, which grows until that is done. So a crash leaves at most the two newest without their ends.
    fn is_full(&mut self) -> Result<bool, LogError> {
        let Some(newest) = self.segments.last() else {
            return Ok(true);
        };
        if newest.bytes < self.settings.segment_bytes {
            return Ok(false);
        }
        let [.., before, _] = &self.segments[..] else {
            return Ok(true);
        };
        let before = before.number;
        self.disk
            .is_forced(before)
            .map_err(|error| self.refused("force a full segment to disk", error))
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        if let Some(full) = self.segments.last().map(|segment| segment.number) {
            self.disk
                .force_soon(full)
                .map_err(|error| self.refused("force a full segment to disk", error))?;
        }
        let number = self.segments.last().map_or(1, |segment| segment.number + 1);
        let first_seq = self.last_seq + 1;
        let header = segment_header(self.origin, &self.database_id, number, first_seq);
        self.disk
            .create(number)
            .map_err(|error| self.refused("make a segment", error))?;
        if let Err(error) = self.disk.append(number, &[&header]) {
            let _ = self.disk.remove(number);
            return Err(self.refused("begin a segment", error));
        }
        let bytes = header.len() as u64;
        self.segments.push(Segment {
            number,
            bytes,
            first_seq,
            index: Vec::new(),
        });
        Ok(())
    }

    /// The batch record that holds an operation.
    ///
    /// # Errors
    /// The disk, or damage.
    pub fn read_batch(&mut self, seq: u64) -> Result<Option<Entry>, LogError> {
        if seq < self.first_seq || seq > self.last_seq || seq == 0 {
            return Ok(None);
        }
        let at = self.segments.partition_point(|segment| segment.first_seq <= seq);
        let Some(segment) = at.checked_sub(1).and_then(|at| self.segments.get(at)) else {
            return Ok(None);
        };
        let (number, end) = (segment.number, segment.bytes);
        let known = self.next.filter(|next| next.seq == seq && next.segment == number);
        let (mut offset, ahead) = match known {
            Some(next) => (next.offset, READ_ON_BYTES),
            None => (segment.near(seq), LOOK_UP_BYTES),
        };
        self.ahead = ahead;
        while offset < end {
            let header = RecordHeader::decode(self.read(number, offset, RECORD_HEADER_BYTES, end)?);
            let header = header.ok_or_else(|| self.damaged(number, offset, "a record"))?;
            if header.kind == KIND_BATCH && (header.first_seq..=header.last_seq).contains(&seq) {
                return self.read_entry(number, offset, &header, end).map(Some);
            }
            offset += (RECORD_HEADER_BYTES + header.body) as u64;
        }
        Ok(None)
    }

    fn read_entry(
        &mut self,
        number: u64,
        offset: u64,
        header: &RecordHeader,
        end: u64,
    ) -> Result<Entry, LogError> {
        let record = self.read(number, offset + 4, RECORD_HEADER_BYTES - 4 + header.body, end)?;
        if checksum(&[&record]) != header.checksum {
            return Err(self.damaged(number, offset, "a record's checksum"));
        }
        let parts = vec![record.slice(RECORD_HEADER_BYTES - 4..)];
        self.next = Some(Next {
            seq: header.last_seq + 1,
            segment: number,
            offset: offset + (RECORD_HEADER_BYTES + header.body) as u64,
        });
        Ok(Entry {
            first_seq: header.first_seq,
            last_seq: header.last_seq,
            parts,
        })
    }

    /// Removes whole segments that hold only operations below `seq`, never the newest; gives the bytes freed.
    ///
    /// # Errors
    /// The disk.
    pub fn trim(&mut self, below: u64) -> Result<u64, LogError> {
        let mut freed = 0;
        while self.segments.len() > 1 && self.segments[1].first_seq <= below {
            let (number, bytes) = (self.segments[0].number, self.segments[0].bytes);
            self.disk
                .remove_soon(number)
                .map_err(|error| self.refused("remove a segment", error))?;
            self.segments.remove(0);
            self.first_seq = self.segments[0].first_seq.min(self.last_seq);
            freed += bytes;
        }
        Ok(freed)
    }
}

const _: () = assert!(KIND_POSITION != KIND_BATCH);

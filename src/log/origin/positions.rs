//! Positions that were kept earlier: a restart goes on from the last one, and only a database that came back older than
//! it was asks for another.

use bytes::Bytes;

use super::OriginLog;
use super::READ_ON_BYTES;
use crate::log::disk::Disk;
use crate::log::error::LogError;
use crate::log::segment::{KIND_POSITION, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};

impl<D: Disk> OriginLog<D> {
    /// The newest position that this takes, as it takes it.
    ///
    /// # Errors
    /// The disk, or damage.
    pub fn newest_position<T>(&mut self, take: impl Fn(Bytes) -> Option<T>) -> Result<Option<T>, LogError> {
        for at in (0..self.segments.len()).rev() {
            let (number, end) = (self.segments[at].number, self.segments[at].bytes);
            let (mut offset, mut found) = (SEGMENT_HEADER_BYTES as u64, None);
            self.ahead = READ_ON_BYTES;
            while offset < end {
                let header = RecordHeader::decode(self.read(number, offset, RECORD_HEADER_BYTES, end)?);
                let header = header.ok_or_else(|| self.damaged(number, offset, "a record"))?;
                if header.kind == KIND_POSITION {
                    let from = offset + RECORD_HEADER_BYTES as u64;
                    let body = self.read(number, from, header.body, end)?;
                    found = take(body).or(found);
                }
                offset += (RECORD_HEADER_BYTES + header.body) as u64;
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

//! The bytes of a segment: a header, then records.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

use crate::causality::{SEQ_MAX, SiteId};

/// First bytes of every segment; the last is the version.
pub const MAGIC: &[u8; 8] = b"SYNCLOG\x01";
/// Bytes of the segment header.
pub const SEGMENT_HEADER_BYTES: usize = 124;
/// Bytes before a record's body.
pub const RECORD_HEADER_BYTES: usize = 25;
/// Longest body.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// A record of operations.
pub const KIND_BATCH: u8 = 1;
/// A record of a position.
pub const KIND_POSITION: u8 = 2;

/// A segment's header: magic (8), origin (32), database id (64), number (8), first sequence number (8),
/// checksum (4).
pub fn segment_header(origin: SiteId, database_id: &str, number: u64, first_seq: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(SEGMENT_HEADER_BYTES);
    out.put_slice(MAGIC);
    out.put_slice(&padded::<32>(origin.as_bytes()));
    out.put_slice(&padded::<64>(database_id.as_bytes()));
    out.put_u64_le(number);
    out.put_u64_le(first_seq);
    let checksum = checksum(&[&out]);
    out.put_u32_le(checksum);
    out.freeze()
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    let len = bytes.len().min(N);
    padded[..len].copy_from_slice(&bytes[..len]);
    padded
}

/// CRC-32C over several slices.
pub fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

/// A record's header: checksum of all that follows (4), kind (1), body length (4), first and last sequence
/// number (8 each).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// CRC-32C of the rest of the header and the body.
    pub checksum: u32,
    /// `KIND_*`.
    pub kind: u8,
    /// Bytes of the body.
    pub body: usize,
    /// First operation; for a position the last one before it.
    pub first_seq: u64,
    /// Last operation.
    pub last_seq: u64,
}

impl RecordHeader {
    /// The header of a record with this body.
    pub fn encode(kind: u8, first_seq: u64, last_seq: u64, parts: &[&[u8]]) -> [u8; RECORD_HEADER_BYTES] {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let mut header = [0; RECORD_HEADER_BYTES];
        header[4] = kind;
        header[5..9].copy_from_slice(&(body as u32).to_le_bytes());
        header[9..17].copy_from_slice(&first_seq.to_le_bytes());
        header[17..].copy_from_slice(&last_seq.to_le_bytes());
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&header[4..]);
        parts.iter().for_each(|part| digest.update(part));
        header[..4].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
        header
    }

    /// Reads a header; `None` if there are too few bytes or it cannot be one.
    pub fn decode(mut bytes: Bytes) -> Option<RecordHeader> {
        if bytes.remaining() < RECORD_HEADER_BYTES {
            return None;
        }
        let header = RecordHeader {
            checksum: bytes.get_u32_le(),
            kind: bytes.get_u8(),
            body: bytes.get_u32_le() as usize,
            first_seq: bytes.get_u64_le(),
            last_seq: bytes.get_u64_le(),
        };
        let is_kind = matches!(header.kind, KIND_BATCH | KIND_POSITION);
        let is_run = header.first_seq <= header.last_seq && header.last_seq <= SEQ_MAX;
        (is_kind && is_run && header.body <= BODY_BYTES_MAX).then_some(header)
    }
}

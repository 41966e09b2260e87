//! Frames: what stands on the wire between two syncers.
//!
//! ```text
//! 0      4      5       6        10
//! ┌──────┬──────┬───────┬────────┬──────────┐
//! │ len  │ type │ flags │ CRC-32C│ body     │   little-endian; len counts the body;
//! └──────┴──────┴───────┴────────┴──────────┘   the checksum covers len, type, flags and body
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::causality::{Seq, SiteId};

/// Bytes before the body.
pub const HEADER_BYTES: usize = 10;
/// Longest body of any frame but a batch.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Longest text in a `Close`.
pub const CLOSE_TEXT_BYTES_MAX: usize = 256;
/// Longest database id.
const DATABASE_ID_BYTES_MAX: usize = 64;

const HELLO: u8 = 1;
const RESUME: u8 = 2;
const BATCH: u8 = 3;
const ACK: u8 = 4;
const PULL: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;
const CLOSE: u8 = 9;
const MOVED: u8 = 10;
const REDIAL: u8 = 11;

/// [`Hello::features`]: this connection takes over from the one before it, which is drained and not cut.
pub const TAKES_OVER: u64 = 1;

/// What a site says of itself: of each origin, by its name, how far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// The last operation in its log.
    pub held: Vec<(SiteId, Seq)>,
    /// The last operation that its database has executed, repairs of conflicts included.
    pub settled: Vec<(SiteId, Seq)>,
}

/// Who opens a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Oldest version of the session that it speaks.
    pub protocol_min: u16,
    /// Newest.
    pub protocol_max: u16,
    /// The database whose copies are kept equal.
    pub database_id: String,
    /// Its site.
    pub site: SiteId,
    /// Which run of the site this is.
    pub incarnation: u64,
    /// Optional abilities, one bit each.
    pub features: u64,
}

/// A batch of operations of one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFrame {
    /// Whose operations.
    pub origin: SiteId,
    /// The first one.
    pub first_seq: Seq,
    /// The last one.
    pub last_seq: Seq,
    /// The batch's bytes.
    pub body: Bytes,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first of each side.
    Hello(Hello),
    /// The second of each side: from where to go on.
    Resume(Positions),
    /// Operations.
    Batch(BatchFrame),
    /// How far we are.
    Ack(Positions),
    /// The sender waits for the value of this key, which the receiver has to ship.
    Pull {
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
    },
    /// Are you there?
    Ping {
        /// Comes back.
        nonce: u64,
    },
    /// I am.
    Pong {
        /// As received.
        nonce: u64,
    },
    /// The last of a side but for pings and a `Close`: what it sends next goes over a newer connection.
    Moved,
    /// The sender has a new certificate or new trust: whoever dialed, dial anew.
    Redial,
    /// The last of a side.
    Close {
        /// Why, for a human.
        text: String,
    },
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too long for its type.
    #[error("a frame of type {kind} with {claimed} bytes; at most {max} are allowed")]
    Oversize {
        /// Its type.
        kind: u8,
        /// What it claims.
        claimed: usize,
        /// What is allowed.
        max: usize,
    },
    /// Damaged.
    #[error("a frame's checksum is wrong")]
    Checksum,
    /// Nothing we know.
    #[error("a frame of unknown type {0}; is the peer's version newer?")]
    UnknownType(u8),
    /// The body is not what its type says.
    #[error("a malformed {0} frame")]
    Malformed(&'static str),
}

impl FrameError {
    /// A name for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            FrameError::Oversize { .. } => "oversize",
            FrameError::Checksum => "checksum",
            FrameError::UnknownType(_) => "unknown_type",
            FrameError::Malformed(_) => "malformed",
        }
    }
}

/// Takes frames out of what was received.
#[derive(Debug, Clone)]
pub struct Decoder {
    batch_bytes_max: usize,
}

impl Decoder {
    /// A decoder that takes batches up to so many bytes.
    pub fn new(batch_bytes_max: usize) -> Decoder {
        Decoder { batch_bytes_max }
    }

    /// The next frame, taken out of `input`; `None` while it is not whole. A batch shares `input`'s memory.
    ///
    /// # Errors
    /// What is wrong. The session cannot go on.
    pub fn next(&self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((len, kind)) = self.header(input)? else {
            return Ok(None);
        };
        if input.len() < HEADER_BYTES + len {
            return Ok(None);
        }
        let mut frame = input.split_to(HEADER_BYTES + len).freeze();
        let expected = (&frame[6..HEADER_BYTES]).get_u32_le();
        let head = [frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]];
        let flags = frame[5];
        frame.advance(HEADER_BYTES);
        if checksum(&head, std::slice::from_ref(&frame)) != expected {
            return Err(FrameError::Checksum);
        }
        if flags != 0 {
            return Err(FrameError::Malformed("flagged"));
        }
        body(kind, frame).map(Some)
    }

    fn header(&self, input: &BytesMut) -> Result<Option<(usize, u8)>, FrameError> {
        if input.len() < HEADER_BYTES {
            return Ok(None);
        }
        let len = (&input[..4]).get_u32_le() as usize;
        let kind = input[4];
        let max = match kind {
            // A key can be as long as any argument.
            BATCH | PULL => self.batch_bytes_max,
            HELLO | RESUME | ACK | PING | PONG | CLOSE | MOVED | REDIAL => CONTROL_BYTES_MAX,
            _ => return Err(FrameError::UnknownType(kind)),
        };
        if len > max {
            return Err(FrameError::Oversize {
                kind,
                claimed: len,
                max,
            });
        }
        Ok(Some((len, kind)))
    }
}

fn checksum(head: &[u8; 6], body: &[Bytes]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    body.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

fn body(kind: u8, mut body: Bytes) -> Result<Frame, FrameError> {
    match kind {
        HELLO => hello(body).ok_or(FrameError::Malformed("hello")),
        RESUME => positions(body)
            .map(Frame::Resume)
            .ok_or(FrameError::Malformed("resume")),
        ACK => positions(body)
            .map(Frame::Ack)
            .ok_or(FrameError::Malformed("ack")),
        BATCH => batch(body).ok_or(FrameError::Malformed("batch")),
        PULL => match body.try_get_u32_le() {
            Ok(db) => Ok(Frame::Pull { db, key: body }),
            Err(_) => Err(FrameError::Malformed("pull")),
        },
        PING | PONG => match (body.try_get_u64_le(), body.is_empty()) {
            (Ok(nonce), true) if kind == PING => Ok(Frame::Ping { nonce }),
            (Ok(nonce), true) => Ok(Frame::Pong { nonce }),
            _ => Err(FrameError::Malformed("ping")),
        },
        MOVED if body.is_empty() => Ok(Frame::Moved),
        REDIAL if body.is_empty() => Ok(Frame::Redial),
        MOVED | REDIAL => Err(FrameError::Malformed("moved or redial")),
        CLOSE => match std::str::from_utf8(&body) {
            Ok(text) if text.len() <= CLOSE_TEXT_BYTES_MAX => Ok(Frame::Close {
                text: text.to_owned(),
            }),
            _ => Err(FrameError::Malformed("close")),
        },
        kind => Err(FrameError::UnknownType(kind)),
    }
}

fn name(body: &mut Bytes) -> Option<SiteId> {
    let len = usize::from(body.try_get_u8().ok()?);
    if body.len() < len {
        return None;
    }
    let name = body.split_to(len);
    SiteId::new(&name).ok()
}

fn hello(mut body: Bytes) -> Option<Frame> {
    let protocol_min = body.try_get_u16_le().ok()?;
    let protocol_max = body.try_get_u16_le().ok()?;
    let incarnation = body.try_get_u64_le().ok()?;
    let features = body.try_get_u64_le().ok()?;
    let site = name(&mut body)?;
    let len = usize::from(body.try_get_u8().ok()?);
    let printable = body.iter().all(|byte| (0x20..0x7f).contains(byte));
    if len == 0 || len > DATABASE_ID_BYTES_MAX || body.len() != len || !printable {
        return None;
    }
    Some(Frame::Hello(Hello {
        protocol_min,
        protocol_max,
        database_id: String::from_utf8(body.to_vec()).ok()?,
        site,
        incarnation,
        features,
    }))
}

fn positions(mut body: Bytes) -> Option<Positions> {
    let mut lists = [Vec::new(), Vec::new()];
    for list in &mut lists {
        for _ in 0..body.try_get_u8().ok()? {
            let site = name(&mut body)?;
            list.push((site, body.try_get_u64_le().ok()?));
        }
    }
    let [held, settled] = lists;
    body.is_empty().then_some(Positions { held, settled })
}

fn batch(mut body: Bytes) -> Option<Frame> {
    let origin = name(&mut body)?;
    let first_seq = body.try_get_u64_le().ok()?;
    let last_seq = body.try_get_u64_le().ok()?;
    (first_seq >= 1 && first_seq <= last_seq).then_some(Frame::Batch(BatchFrame {
        origin,
        first_seq,
        last_seq,
        body,
    }))
}

fn put_name(out: &mut BytesMut, site: SiteId) {
    let name = site.as_str().as_bytes();
    out.put_u8(name.len() as u8);
    out.put_slice(name);
}

fn put_positions(out: &mut BytesMut, positions: &Positions) {
    for list in [&positions.held, &positions.settled] {
        out.put_u8(list.len() as u8);
        for (site, seq) in list {
            put_name(out, *site);
            out.put_u64_le(*seq);
        }
    }
}

/// Appends a frame. A text in a `Close` is cut at its limit.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    let kind = match frame {
        Frame::Hello(hello) => {
            out.put_u16_le(hello.protocol_min);
            out.put_u16_le(hello.protocol_max);
            out.put_u64_le(hello.incarnation);
            out.put_u64_le(hello.features);
            put_name(out, hello.site);
            out.put_u8(hello.database_id.len() as u8);
            out.put_slice(hello.database_id.as_bytes());
            HELLO
        }
        Frame::Resume(positions) => {
            put_positions(out, positions);
            RESUME
        }
        Frame::Ack(positions) => {
            put_positions(out, positions);
            ACK
        }
        Frame::Batch(batch) => {
            put_batch_head(out, batch.origin, batch.first_seq, batch.last_seq);
            out.put_slice(&batch.body);
            BATCH
        }
        Frame::Pull { db, key } => {
            out.put_u32_le(*db);
            out.put_slice(key);
            PULL
        }
        Frame::Ping { nonce } => {
            out.put_u64_le(*nonce);
            PING
        }
        Frame::Pong { nonce } => {
            out.put_u64_le(*nonce);
            PONG
        }
        Frame::Moved => MOVED,
        Frame::Redial => REDIAL,
        Frame::Close { text } => {
            let end = text.floor_char_boundary(CLOSE_TEXT_BYTES_MAX);
            out.put_slice(&text.as_bytes()[..end]);
            CLOSE
        }
    };
    finish(&mut out[start..], kind, &[]);
}

/// Appends header and head of a batch whose bytes follow it in parts.
pub fn encode_batch_head(origin: SiteId, first_seq: Seq, last_seq: Seq, parts: &[Bytes], out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    put_batch_head(out, origin, first_seq, last_seq);
    finish(&mut out[start..], BATCH, parts);
}

fn put_batch_head(out: &mut BytesMut, origin: SiteId, first_seq: Seq, last_seq: Seq) {
    put_name(out, origin);
    out.put_u64_le(first_seq);
    out.put_u64_le(last_seq);
}

/// Fills in the header of a frame whose body is what follows it and the parts behind.
fn finish(frame: &mut [u8], kind: u8, parts: &[Bytes]) {
    let len = frame.len() - HEADER_BYTES + parts.iter().map(Bytes::len).sum::<usize>();
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    frame[4] = kind;
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&frame[..6]);
    digest.update(&frame[HEADER_BYTES..]);
    parts.iter().for_each(|part| digest.update(part));
    let sum = digest.finalize() as u32;
    frame[6..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

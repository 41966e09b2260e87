//! Listpacks, read and written (`listpack.c`).
//!
//! ```text
//! bytes4 count2 { element back }* 255     count 65535: not known
//! 0nnnnnnn                                0 to 127
//! 10llllll  text                          1110llll l8 text      240 l32 text
//! 110nnnnn n8                             13 bits, signed
//! 241 n16   242 n24   243 n32   244 n64   signed, little-endian
//! ```
//!
//! `back` is the element's length for walking backwards, seven bits a byte, the most significant first. Every
//! one is compared with what its element makes it: the server believes them.

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;
use super::blob::{Element, canonical_number, fixed, piece, signed};

const HEAD_BYTES: usize = 6;
const END: u8 = 255;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Reads a listpack's elements; the last `None` comes only behind a whole and consistent one.
#[derive(Debug)]
pub(super) struct Elements {
    blob: Bytes,
    at: usize,
    count: u16,
    seen: usize,
    over: bool,
}

impl Elements {
    pub fn new(blob: Bytes) -> Result<Elements, DecodeError> {
        let bytes = u32::from_le_bytes(fixed(&blob, 0, "a listpack's head")?);
        if bytes as usize != blob.len() {
            return Err(DecodeError::Malformed("a listpack's length is not its own"));
        }
        Ok(Elements {
            count: u16::from_le_bytes(fixed(&blob, 4, "a listpack's head")?),
            blob,
            at: HEAD_BYTES,
            seen: 0,
            over: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Element>, DecodeError> {
        let [first] = fixed(&self.blob, self.at, "a listpack")?;
        if first == END {
            if self.at + 1 != self.blob.len() {
                return Err(DecodeError::Malformed("a listpack ends before its length"));
            }
            if self.count != COUNT_UNKNOWN && usize::from(self.count) != self.seen {
                return Err(DecodeError::Malformed("a listpack's count is not its own"));
            }
            return Ok(None);
        }
        let (element, len) = self.element(first)?;
        let (back, back_len) = back_length(len);
        let found = piece(&self.blob, self.at + len, back_len, "a listpack")?;
        if found != back[..back_len] {
            return Err(DecodeError::Malformed("a listpack's back length is wrong"));
        }
        self.at += len + back_len;
        self.seen += 1;
        Ok(Some(element))
    }

    /// The element that begins with `first` and its length in bytes.
    fn element(&self, first: u8) -> Result<(Element, usize), DecodeError> {
        let text = |head: usize, len: usize| {
            let text = piece(&self.blob, self.at + head, len, "a listpack's text")?;
            Ok((Element::Text(text), head + len))
        };
        let number = |len: usize| {
            let bytes = piece(&self.blob, self.at + 1, len, "a listpack's number")?;
            Ok((Element::Number(signed(&bytes)), 1 + len))
        };
        let second = || fixed::<1>(&self.blob, self.at + 1, "a listpack").map(|[byte]| byte);
        match first {
            0x00..=0x7f => Ok((Element::Number(first.into()), 1)),
            0x80..=0xbf => text(1, usize::from(first & 0x3f)),
            0xc0..=0xdf => {
                let raw = i64::from(first & 0x1f) << 8 | i64::from(second()?);
                let number = if raw >= 1 << 12 { raw - (1 << 13) } else { raw };
                Ok((Element::Number(number), 2))
            }
            0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | usize::from(second()?)),
            0xf0 => {
                let len = u32::from_le_bytes(fixed(&self.blob, self.at + 1, "a listpack")?);
                text(5, len as usize)
            }
            0xf1 => number(2),
            0xf2 => number(3),
            0xf3 => number(4),
            0xf4 => number(8),
            _ => Err(DecodeError::Malformed("no listpack element begins so")),
        }
    }
}

impl Iterator for Elements {
    type Item = Result<Element, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The bytes that follow an element of `len` bytes, and how many they are. The bounds are the server's, which
/// takes a byte more than it must at the upper end of each.
fn back_length(len: usize) -> ([u8; 5], usize) {
    let bytes = match len {
        0..=127 => 1,
        128..16383 => 2,
        16383..2097151 => 3,
        2097151..268435455 => 4,
        _ => 5,
    };
    let mut back = [0; 5];
    let mut rest = len;
    for at in (0..bytes).rev() {
        back[at] = (rest & 0x7f) as u8 | if at > 0 { 0x80 } else { 0 };
        rest >>= 7;
    }
    (back, bytes)
}

/// Writes a listpack.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: BytesMut,
    count: usize,
}

impl Writer {
    pub fn new() -> Writer {
        let mut bytes = BytesMut::new();
        bytes.put_bytes(0, HEAD_BYTES);
        Writer { bytes, count: 0 }
    }

    /// A text, as a number if it is one, like the server does.
    pub fn text(&mut self, text: &[u8]) {
        if let Some(number) = canonical_number(text) {
            return self.number(number);
        }
        let start = self.bytes.len();
        match text.len() {
            len @ 0..64 => self.bytes.put_u8(0x80 | len as u8),
            len @ 64..4096 => self.bytes.put_u16(0xe000 | len as u16),
            len => {
                self.bytes.put_u8(0xf0);
                self.bytes.put_u32_le(len as u32);
            }
        }
        self.bytes.put_slice(text);
        self.close(start);
    }

    pub fn number(&mut self, number: i64) {
        let start = self.bytes.len();
        match number {
            0..128 => self.bytes.put_u8(number as u8),
            -4096..4096 => self.bytes.put_u16(0xc000 | (number as u16 & 0x1fff)),
            -0x8000..0x8000 => self.wide(0xf1, number, 2),
            -0x80_0000..0x80_0000 => self.wide(0xf2, number, 3),
            -0x8000_0000..0x8000_0000 => self.wide(0xf3, number, 4),
            _ => self.wide(0xf4, number, 8),
        }
        self.close(start);
    }

    fn wide(&mut self, first: u8, number: i64, bytes: usize) {
        self.bytes.put_u8(first);
        self.bytes.put_int_le(number, bytes);
    }

    fn close(&mut self, start: usize) {
        let (back, len) = back_length(self.bytes.len() - start);
        self.bytes.put_slice(&back[..len]);
        self.count += 1;
    }

    /// The whole listpack. Whoever writes keeps it below four gigabytes.
    pub fn finish(mut self) -> Bytes {
        self.bytes.put_u8(END);
        let len = self.bytes.len() as u32;
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4..HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes.freeze()
    }
}

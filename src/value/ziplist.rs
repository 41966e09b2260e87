//! The packed collections of older versions: ziplists, zipmaps, intsets. Read only.
//!
//! ```text
//! ziplist   bytes4 tail4 count2 { before element }* 255
//! before    l8, or 254 l32: the length of the element before this one
//! element   00llllll | 01llllll l8 | 128 l32 (big-endian), then text
//!           192 n16 | 208 n32 | 224 n64 | 240 n24 | 254 n8 | 1111nnnn: n - 1, from 0 to 12
//! zipmap    count1 { len name len free1 value unused }* 255
//! intset    width4 count4 { number }*
//! ```

use bytes::Bytes;

use super::DecodeError;
use super::blob::{Element, fixed, piece, signed};
use super::cursor::Budget;

const HEAD_BYTES: usize = 10;
const END: u8 = 255;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Reads a ziplist's elements; the last `None` comes only behind a whole and consistent one.
#[derive(Debug)]
pub(super) struct Elements {
    blob: Bytes,
    at: usize,
    tail: usize,
    count: u16,
    seen: usize,
    /// Where the element before begins.
    before: Option<usize>,
    over: bool,
}

impl Elements {
    pub fn new(blob: Bytes) -> Result<Elements, DecodeError> {
        let bytes = u32::from_le_bytes(fixed(&blob, 0, "a ziplist's head")?);
        if bytes as usize != blob.len() {
            return Err(DecodeError::Malformed("a ziplist's length is not its own"));
        }
        Ok(Elements {
            tail: u32::from_le_bytes(fixed(&blob, 4, "a ziplist's head")?) as usize,
            count: u16::from_le_bytes(fixed(&blob, 8, "a ziplist's head")?),
            blob,
            at: HEAD_BYTES,
            seen: 0,
            before: None,
            over: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Element>, DecodeError> {
        let [first] = fixed(&self.blob, self.at, "a ziplist")?;
        if first == END {
            return self.end().map(|()| None);
        }
        let (back, back_len) = match first {
            254 => (
                u32::from_le_bytes(fixed(&self.blob, self.at + 1, "a ziplist")?),
                5,
            ),
            short => (short.into(), 1),
        };
        if back as usize != self.before.map_or(0, |before| self.at - before) {
            return Err(DecodeError::Malformed("a ziplist's back length is wrong"));
        }
        let (element, len) = self.element(self.at + back_len)?;
        self.before = Some(self.at);
        self.at += back_len + len;
        self.seen += 1;
        Ok(Some(element))
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.at + 1 != self.blob.len() {
            return Err(DecodeError::Malformed("a ziplist ends before its length"));
        }
        if self.tail != self.before.unwrap_or(HEAD_BYTES) {
            return Err(DecodeError::Malformed("a ziplist's tail is not its last element"));
        }
        if self.count != COUNT_UNKNOWN && usize::from(self.count) != self.seen {
            return Err(DecodeError::Malformed("a ziplist's count is not its own"));
        }
        Ok(())
    }

    /// The element at `at`, behind the back length, and its length in bytes.
    fn element(&self, at: usize) -> Result<(Element, usize), DecodeError> {
        let [first] = fixed(&self.blob, at, "a ziplist")?;
        let text = |head: usize, len: usize| {
            let text = piece(&self.blob, at + head, len, "a ziplist's text")?;
            Ok((Element::Text(text), head + len))
        };
        let number = |len: usize| {
            let bytes = piece(&self.blob, at + 1, len, "a ziplist's number")?;
            Ok((Element::Number(signed(&bytes)), 1 + len))
        };
        match first {
            0x00..=0x3f => text(1, usize::from(first)),
            0x40..=0x7f => {
                let [second] = fixed(&self.blob, at + 1, "a ziplist")?;
                text(2, usize::from(first & 0x3f) << 8 | usize::from(second))
            }
            0x80 => {
                let len = u32::from_be_bytes(fixed(&self.blob, at + 1, "a ziplist")?);
                text(5, len as usize)
            }
            0xc0 => number(2),
            0xd0 => number(4),
            0xe0 => number(8),
            0xf0 => number(3),
            0xfe => number(1),
            0xf1..=0xfd => Ok((Element::Number(i64::from(first & 0x0f) - 1), 1)),
            _ => Err(DecodeError::Malformed("no ziplist element begins so")),
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

/// A zipmap's names and values, one after the other.
pub(super) fn zipmap(blob: &Bytes, budget: &mut Budget) -> Result<Vec<Bytes>, DecodeError> {
    let [count] = fixed(blob, 0, "a zipmap")?;
    let mut at = 1;
    let mut texts = Vec::new();
    while fixed::<1>(blob, at, "a zipmap")? != [END] {
        budget.element()?;
        let name_len = zipmap_length(blob, &mut at)?;
        texts.push(piece(blob, at, name_len, "a zipmap's name")?);
        at += name_len;
        budget.element()?;
        let value_len = zipmap_length(blob, &mut at)?;
        let [unused] = fixed(blob, at, "a zipmap")?;
        texts.push(piece(blob, at + 1, value_len, "a zipmap's value")?);
        at += 1 + value_len + usize::from(unused);
    }
    if at + 1 != blob.len() {
        return Err(DecodeError::Malformed("a zipmap ends before its bytes"));
    }
    // From 254 fields on the count is not kept.
    if count < 254 && usize::from(count) != texts.len() / 2 {
        return Err(DecodeError::Malformed("a zipmap's count is not its own"));
    }
    Ok(texts)
}

fn zipmap_length(blob: &[u8], at: &mut usize) -> Result<usize, DecodeError> {
    let [first] = fixed(blob, *at, "a zipmap")?;
    let (len, taken) = match first {
        254 => (u32::from_le_bytes(fixed(blob, *at + 1, "a zipmap")?) as usize, 5),
        255 => return Err(DecodeError::Malformed("a zipmap ends behind a name")),
        short => (short.into(), 1),
    };
    *at += taken;
    Ok(len)
}

/// An intset's numbers as texts.
pub(super) fn intset(blob: &[u8], budget: &mut Budget) -> Result<Vec<Bytes>, DecodeError> {
    let width = u32::from_le_bytes(fixed(blob, 0, "an intset's head")?);
    let count = u32::from_le_bytes(fixed(blob, 4, "an intset's head")?);
    if !matches!(width, 2 | 4 | 8) {
        return Err(DecodeError::Malformed(
            "an intset's numbers have an impossible width",
        ));
    }
    let body = blob.get(8..).unwrap_or_default();
    if (count as usize).checked_mul(width as usize) != Some(body.len()) {
        return Err(DecodeError::Malformed("an intset's count is not its own"));
    }
    let mut texts = Vec::new();
    let mut before = None;
    for bytes in body.chunks_exact(width as usize) {
        budget.element()?;
        let number = signed(bytes);
        if before >= Some(number) {
            return Err(DecodeError::Malformed("an intset's numbers do not rise"));
        }
        before = Some(number);
        texts.push(Bytes::from(number.to_string()));
    }
    Ok(texts)
}

//! Reading a payload from its front, with an eye on what that costs.

use bytes::Bytes;

use super::atom::{Atom, Head, head, length};
use super::{DecodeError, lzf};

/// What any payload may take when it is decoded, however short it is: a string of zeros is legitimate.
pub const MEMORY_BYTES_MIN: u64 = 512 * 1024 * 1024;
/// And for each of its bytes.
const MEMORY_PER_BYTE: u64 = 64;
/// What an element costs beside its bytes.
const ELEMENT_BYTES: u64 = 64;

/// What decoding may still take.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// For a payload of so many bytes.
    pub fn of(payload_bytes: usize) -> Budget {
        Budget {
            left: (payload_bytes as u64)
                .saturating_mul(MEMORY_PER_BYTE)
                .saturating_add(MEMORY_BYTES_MIN),
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.left = self.left.checked_sub(bytes).ok_or(DecodeError::TooLarge)?;
        Ok(())
    }

    /// One more element is kept.
    pub fn element(&mut self) -> Result<(), DecodeError> {
        self.take(ELEMENT_BYTES)
    }
}

/// A payload's body and how far it is read.
#[derive(Debug)]
pub(super) struct Cursor {
    bytes: Bytes,
    at: usize,
    pub budget: Budget,
}

impl Cursor {
    pub fn new(bytes: Bytes, budget: Budget) -> Cursor {
        Cursor { bytes, at: 0, budget }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Nothing may follow.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn atom<T>(&mut self, parse: impl Fn(&[u8]) -> Atom<T>, what: &'static str) -> Result<T, DecodeError> {
        let (value, len) = parse(self.rest())?.ok_or(DecodeError::Truncated(what))?;
        self.at += len;
        Ok(value)
    }

    pub fn length(&mut self) -> Result<u64, DecodeError> {
        self.atom(length, "a length")
    }

    pub fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        self.atom(super::atom::fixed::<N>, what)
    }

    /// Eight bytes, a time in Unix milliseconds; -1 is no time.
    pub fn time(&mut self) -> Result<i64, DecodeError> {
        self.fixed("a time").map(i64::from_le_bytes)
    }

    /// So many bytes, without copying.
    pub fn take(&mut self, len: u64, what: &'static str) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated(what))?;
        if len > self.rest().len() {
            return Err(DecodeError::Truncated(what));
        }
        let taken = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(taken)
    }

    /// A text: plain, a number, or compressed.
    pub fn text(&mut self) -> Result<Bytes, DecodeError> {
        self.budget.element()?;
        match self.atom(head, "a text")? {
            Head::Plain { bytes } => self.take(bytes, "a text"),
            Head::Integer(number) => Ok(Bytes::from(number.to_string())),
            Head::Lzf { packed, bytes } => {
                let packed = self.take(packed, "a compressed text")?;
                self.budget.take(bytes)?;
                let len = usize::try_from(bytes).map_err(|_| DecodeError::TooLarge)?;
                let mut text = Vec::new();
                lzf::decompress(&packed, len, &mut text)?;
                Ok(Bytes::from(text))
            }
        }
    }
}

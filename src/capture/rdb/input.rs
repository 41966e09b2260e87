//! Bytes in pieces: small parts are read whole, long ones are passed over.

use super::Error;
use crate::value::atom::{Atom, Malformed};

/// Longest atom in bytes: an LZF header, one byte and two lengths of nine.
const ATOM_BYTES_MAX: usize = 24;

/// The beginning of an atom whose end has not come yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Carry {
    bytes: [u8; ATOM_BYTES_MAX],
    len: usize,
}

/// One piece of the snapshot and how far it is read.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    carry: &'a mut Carry,
    /// Offset of `bytes[0]` in the snapshot.
    base: u64,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8], base: u64, carry: &'a mut Carry) -> Input<'a> {
        Input {
            bytes,
            at: 0,
            carry,
            base,
        }
    }

    /// How many bytes of the piece are read.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// Offset in the snapshot of the next byte or of the atom begun.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64 - self.carry.len as u64
    }

    /// True if the whole piece is read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads one atom; `None` consumes the whole piece and keeps the beginning for the next one.
    pub fn atom<T>(&mut self, parse: impl Fn(&[u8]) -> Atom<T>) -> Result<Option<T>, Error> {
        let offset = self.offset();
        let malformed = |Malformed(byte)| Error::Length { byte, offset };
        if self.carry.len == 0
            && let Some((value, len)) = parse(self.rest()).map_err(malformed)?
        {
            self.at += len;
            return Ok(Some(value));
        }
        let held = self.carry.len;
        let rest = self.rest();
        let taken = rest.len().min(ATOM_BYTES_MAX - held);
        for (to, &from) in self.carry.bytes.iter_mut().skip(held).zip(rest) {
            *to = from;
        }
        let filled = self.carry.bytes.get(..held + taken).unwrap_or_default();
        match parse(filled).map_err(malformed)? {
            Some((value, len)) => {
                self.at += len.saturating_sub(held);
                self.carry.len = 0;
                Ok(Some(value))
            }
            None => {
                self.at += taken;
                self.carry.len = held + taken;
                Ok(None)
            }
        }
    }

    /// Up to `left` bytes that are here; the caller counts. Only between atoms.
    pub fn take(&mut self, left: u64) -> &'a [u8] {
        let rest = self.rest();
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// Passes over `left` bytes; true when none is left.
    pub fn skip(&mut self, left: &mut u64) -> bool {
        *left -= self.take(*left).len() as u64;
        *left == 0
    }
}

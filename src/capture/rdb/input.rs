//! Bytes in pieces: small parts are read whole, long ones are passed over.

use super::Error;

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

/// An atom's value and length, `None` if bytes are missing, or why it is none.
pub(super) type Atom<T> = Result<Option<(T, usize)>, Malformed>;

/// A first byte that begins no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub u8);

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

/// A fixed number of bytes.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Atom<[u8; N]> {
    Ok(bytes.first_chunk::<N>().map(|bytes| (*bytes, N)))
}

/// A length: 6, 14, 32 or 64 bits, the larger ones big-endian.
pub(super) fn length(bytes: &[u8]) -> Atom<u64> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let low = u64::from(first & 0x3f);
    Ok(match first {
        0x00..=0x3f => Some((low, 1)),
        0x40..=0x7f => bytes.get(1).map(|&second| (low << 8 | u64::from(second), 2)),
        0x80 => tail(bytes).map(|n| (u64::from(u32::from_be_bytes(n)), 5)),
        0x81 => tail(bytes).map(|n| (u64::from_be_bytes(n), 9)),
        _ => return Err(Malformed(first)),
    })
}

/// The `N` bytes behind the first.
pub(super) fn tail<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(1..)?.first_chunk::<N>().copied()
}

//! The smallest pieces of the format, shared by snapshots and dumps: lengths and the heads of texts.
//!
//! Each function looks at the front of `bytes` and gives a value with its length in bytes, or `None` if bytes
//! are missing, so that whoever reads a stream can come again with more.

/// An atom's value and length, `None` if bytes are missing, or why it is none.
pub type Atom<T> = Result<Option<(T, usize)>, Malformed>;

/// A first byte that begins no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub u8);

/// A fixed number of bytes.
///
/// # Errors
/// None.
pub fn fixed<const N: usize>(bytes: &[u8]) -> Atom<[u8; N]> {
    Ok(bytes.first_chunk::<N>().map(|bytes| (*bytes, N)))
}

/// A length: 6, 14, 32 or 64 bits, the larger ones big-endian.
///
/// # Errors
/// The first byte begins no length.
pub fn length(bytes: &[u8]) -> Atom<u64> {
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
pub fn tail<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(1..)?.first_chunk::<N>().copied()
}

/// How a text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The bytes follow.
    Plain {
        /// How many.
        bytes: u64,
    },
    /// The text is this number in decimal.
    Integer(i32),
    /// LZF follows.
    Lzf {
        /// Compressed bytes.
        packed: u64,
        /// Bytes when decompressed.
        bytes: u64,
    },
}

impl Head {
    /// Bytes that follow the head.
    pub fn body_bytes(self) -> u64 {
        match self {
            Head::Plain { bytes } => bytes,
            Head::Integer(_) => 0,
            Head::Lzf { packed, .. } => packed,
        }
    }

    /// The most memory the text takes while it is read.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Head::Plain { bytes } => bytes,
            Head::Integer(_) => 11,
            Head::Lzf { packed, bytes } => packed.max(bytes),
        }
    }
}

/// Reads the head of a text.
///
/// # Errors
/// The first byte begins no text.
pub fn head(bytes: &[u8]) -> Atom<Head> {
    let integer = |n: Option<i32>, len| n.map(|n| (Head::Integer(n), len));
    Ok(match bytes.first() {
        None => None,
        Some(0xc0) => integer(tail(bytes).map(|n| i8::from_le_bytes(n).into()), 2),
        Some(0xc1) => integer(tail(bytes).map(|n| i16::from_le_bytes(n).into()), 3),
        Some(0xc2) => integer(tail(bytes).map(i32::from_le_bytes), 5),
        Some(0xc3) => lzf_head(bytes)?,
        Some(_) => length(bytes)?.map(|(bytes, len)| (Head::Plain { bytes }, len)),
    })
}

fn lzf_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let Some((packed, packed_len)) = length(bytes.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let plain = length(bytes.get(1 + packed_len..).unwrap_or_default())?;
    Ok(plain.map(|(bytes, len)| (Head::Lzf { packed, bytes }, 1 + packed_len + len)))
}

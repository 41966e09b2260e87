//! Reads a snapshot (RDB) as it arrives and names its keys, without decoding their values.
//!
//! ```text
//! "REDIS" 4 digits | "VALKEY" 3 digits        magic and version
//! { 250 text text }                            aux fields
//! { 254 len  251 len len                       database, sizes
//!   { [252 ms8 | 253 s4] [248 len] [249 b1]    expiry, idle time, frequency of the next key
//!     type1 text(key) value } }
//! 255 crc8                                     end; checksum of all before, 0 if not computed
//! ```
//!
//! Bytes go into [`Reader::next`] in pieces of any size, items come out. What the value of each type looks
//! like is a table (`layout`), walked by one machine (`walk`); memory is bounded by [`Limits`] whatever the
//! snapshot claims. Text is plain, a small integer, or LZF-compressed (`text`); its pieces are those of a dump
//! and stand in the room `value`.

mod dump;
mod input;
mod layout;
mod reader;
mod text;
mod walk;

pub use dump::{dump, text};
pub use layout::Kind;
pub use reader::{Read, Reader};

use crate::value::LzfError;

/// What the reader may hold in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest key.
    pub key_bytes_max: u64,
    /// Longest name or value of an aux field; longer ones are passed over.
    pub aux_bytes_max: u64,
    /// Longest value handed out on request; longer ones are passed over.
    pub value_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 512 * 1024 * 1024,
            aux_bytes_max: 64 * 1024,
            value_bytes_max: 64 * 1024,
        }
    }
}

/// Whose format it is: they gave different meanings to the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `REDIS0006` and later; also Valkey up to 8.
    Redis,
    /// `VALKEY080` and later.
    Valkey,
}

/// One thing met in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The first item.
    Header {
        /// Whose format.
        flavour: Flavour,
        /// Its version.
        version: u16,
    },
    /// A note of the server: `repl-stream-db`, `repl-id`, `repl-offset`, `redis-ver`, ...
    Aux {
        /// Its name.
        name: &'a [u8],
        /// Its value as text.
        value: &'a [u8],
    },
    /// A function library.
    Function,
    /// Data that a module keeps outside of keys.
    ModuleAux,
    /// A key.
    Key {
        /// Its database.
        db: u32,
        /// Its name.
        key: &'a [u8],
        /// Its type.
        kind: Kind,
        /// When it expires, Unix milliseconds; may be in the past.
        expire_at_ms: Option<i64>,
    },
    /// The value of the key just named, if it was asked for.
    Value {
        /// The string; `None` if the key holds no string or one longer than `value_bytes_max`.
        text: Option<&'a [u8]>,
    },
    /// The value of the key just named as it stands in the snapshot, if that was asked for.
    Raw {
        /// The number of its type.
        code: u8,
        /// The bytes behind the key; `None` if they are more than `value_bytes_max`.
        bytes: Option<&'a [u8]>,
    },
    /// The last item: complete and the checksum is right.
    End {
        /// True if the server had computed a checksum.
        checksummed: bool,
    },
}

/// Why a snapshot does not read. Offsets count from the snapshot's first byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin as a snapshot.
    #[error("this is no snapshot: it begins with {0:?}")]
    Magic(String),
    /// A type or section this program does not know.
    #[error(
        "unknown {what} {code} at offset {offset} of a {flavour:?} snapshot of version {version}; the database \
         is newer than this program: update the syncer"
    )]
    Unknown {
        /// "type", "section" or "module part".
        what: &'static str,
        /// Its number.
        code: u64,
        /// Where it stands.
        offset: u64,
        /// Whose format.
        flavour: Flavour,
        /// The snapshot's version.
        version: u16,
    },
    /// A module's value in the format of 2017 pre-releases, which only the module itself can skip.
    #[error("a module value of a pre-release format at offset {offset}; rewrite it with a released server")]
    OldModule {
        /// Where it stands.
        offset: u64,
    },
    /// A length that is no length.
    #[error("bad length encoding {byte:#04x} at offset {offset}; the snapshot is damaged")]
    Length {
        /// The first byte.
        byte: u8,
        /// Where it stands.
        offset: u64,
    },
    /// A database number beyond 32 bits.
    #[error("database number {number} at offset {offset}; the snapshot is damaged")]
    Database {
        /// The number.
        number: u64,
        /// Where it stands.
        offset: u64,
    },
    /// A key longer than the limit.
    #[error("a key of {bytes} bytes at offset {offset}, the limit is {max}; the snapshot is damaged")]
    KeyTooLong {
        /// The claimed length.
        bytes: u64,
        /// The limit.
        max: u64,
        /// Where it stands.
        offset: u64,
    },
    /// Compressed text that does not decompress.
    #[error("compressed text that ends at offset {offset}: {reason}; the snapshot is damaged")]
    Lzf {
        /// What is wrong.
        reason: LzfError,
        /// Where the text ends.
        offset: u64,
    },
    /// The checksum is wrong.
    #[error(
        "the snapshot's checksum is {found:016x}, its bytes give {computed:016x}; it was damaged on the way"
    )]
    Checksum {
        /// What stands there.
        found: u64,
        /// What the bytes give.
        computed: u64,
    },
    /// It ended early.
    #[error("the snapshot ends at offset {offset}, before its end mark")]
    Truncated {
        /// Its length.
        offset: u64,
    },
    /// Bytes behind the end.
    #[error("bytes behind the snapshot's end at offset {offset}")]
    Trailing {
        /// Where they begin.
        offset: u64,
    },
}

impl Error {
    /// True if the same snapshot, sent again, may read: damage, not difference.
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            Error::Magic(_) | Error::Unknown { .. } | Error::OldModule { .. }
        )
    }
}

#[cfg(test)]
mod tests;

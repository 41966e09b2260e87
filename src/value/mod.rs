//! Values: what a key holds, and the dump payloads in which it travels.
//!
//! ```text
//! type1 value version2 crc8      what DUMP gives and RESTORE takes; version and checksum little-endian,
//!                                the checksum over everything before it
//! ```
//!
//! [`decode`] reads every encoding of Redis 6.2 to 8.2 and Valkey 7.2 to 9 and believes nothing: a payload
//! comes from a peer or a client, and the database's own loader trusts its input far more than it should. So
//! only what [`encode`] writes anew from a [`Value`] is handed on, in the plainest types. Modules' values can be
//! read by their module alone ([`DecodeError::Module`]).
//!
//! Owns [`Value`], the two formats, and the pieces of the format that the snapshot reader needs as well
//! ([`atom`], [`lzf`]). Pure.
//!
//! Invariants:
//! - No payload makes this room panic, recurse, or take more memory than 64 bytes for each of its own plus
//!   [`MEMORY_BYTES_MIN`]: compressed text counts with what it claims before it is decompressed.
//! - Decoded values are in one canonical order (members, fields and groups by name, scores rising), so two
//!   values are equal exactly when the databases that gave them hold the same.
//! - `decode(encode(v)) == v` for every value that the constructors let pass.

pub mod atom;
mod blob;
mod cursor;
mod decode;
mod encode;
mod listpack;
pub mod lzf;
mod stream;
mod stream_nodes;
mod ziplist;

pub use cursor::MEMORY_BYTES_MIN;
pub use decode::{check_footer, decode, is_module};
pub use encode::{encode, newest_version};
pub use lzf::LzfError;
pub use stream::{Consumer, Entry, Group, Pending, Stream, StreamId};

use bytes::Bytes;

/// Type numbers, `RDB_TYPE_*` in the servers' `rdb.h`.
mod types {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const SORTED_SET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET: u8 = 5;
    pub const MODULE_OLD: u8 = 6;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_1: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Valkey 9, or a pre-release of Redis 7.4: the version in the footer tells.
    pub const HASH_22: u8 = 22;
    pub const HASH_LISTPACK_EX_EARLY: u8 = 23;
    pub const HASH_METADATA: u8 = 24;
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// The first format version of Valkey's own; smaller ones are Redis's.
const VALKEY_VERSION_MIN: u16 = 80;

/// What a key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(Bytes),
    /// A list, from its head; never empty.
    List(Vec<Bytes>),
    /// A set, its members rising; never empty.
    Set(Vec<Bytes>),
    /// A sorted set, by score and then by member; never empty, and no score is not-a-number.
    SortedSet(Vec<(f64, Bytes)>),
    /// A hash, its fields' names rising; never empty.
    Hash(Vec<Field>),
    /// A stream.
    Stream(Stream),
}

/// A field of a hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it expires, Unix milliseconds; `None` means never.
    pub expires_unix_ms: Option<u64>,
}

/// Latest moment at which a field may expire, Unix milliseconds (`EB_EXPIRE_TIME_MAX` of Redis).
pub const FIELD_EXPIRY_MAX_UNIX_MS: u64 = (1 << 48) - 1;

/// What no value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub &'static str);

impl Value {
    /// A list.
    ///
    /// # Errors
    /// It is empty.
    pub fn list(elements: Vec<Bytes>) -> Result<Value, Impossible> {
        if elements.is_empty() {
            return Err(Impossible("a list without elements"));
        }
        Ok(Value::List(elements))
    }

    /// A set of these members in any order.
    ///
    /// # Errors
    /// It is empty, or a member stands there twice.
    pub fn set(mut members: Vec<Bytes>) -> Result<Value, Impossible> {
        if members.is_empty() {
            return Err(Impossible("a set without members"));
        }
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Impossible("a member stands in a set twice"));
        }
        Ok(Value::Set(members))
    }

    /// A sorted set of these scores and members in any order.
    ///
    /// # Errors
    /// It is empty, a member stands there twice, or a score is not a number.
    pub fn sorted_set(mut members: Vec<(f64, Bytes)>) -> Result<Value, Impossible> {
        if members.is_empty() {
            return Err(Impossible("a sorted set without members"));
        }
        if members.iter().any(|(score, _)| score.is_nan()) {
            return Err(Impossible("a score that is not a number"));
        }
        members.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        if members.windows(2).any(|pair| pair[0].1 == pair[1].1) {
            return Err(Impossible("a member stands in a sorted set twice"));
        }
        // Stable, and nothing here is not-a-number: equal scores keep the order of members.
        members.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        Ok(Value::SortedSet(members))
    }

    /// A hash of these fields in any order.
    ///
    /// # Errors
    /// It is empty, a name stands there twice, or a field expires later than a database can tell.
    pub fn hash(mut fields: Vec<Field>) -> Result<Value, Impossible> {
        if fields.is_empty() {
            return Err(Impossible("a hash without fields"));
        }
        let too_late = |field: &Field| field.expires_unix_ms > Some(FIELD_EXPIRY_MAX_UNIX_MS);
        if fields.iter().any(too_late) {
            return Err(Impossible("a field with an impossible expiry time"));
        }
        fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if fields.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Impossible("a field stands in a hash twice"));
        }
        Ok(Value::Hash(fields))
    }
}

/// Why a payload is not handed to a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than a type and a footer.
    #[error("it is too short for a payload")]
    Short,
    /// The checksum is wrong.
    #[error("its checksum is {found:016x}, its bytes give {computed:016x}")]
    Checksum {
        /// What stands there.
        found: u64,
        /// What the bytes give.
        computed: u64,
    },
    /// A type this program does not know.
    #[error("its type {code} (format version {version}) is unknown to this program")]
    UnknownType {
        /// The type's number.
        code: u8,
        /// The version in its footer.
        version: u16,
    },
    /// A module's own type, which only the module reads.
    #[error("it is a module's own type")]
    Module,
    /// It ends inside of something.
    #[error("it ends in {0}")]
    Truncated(&'static str),
    /// Bytes behind the value.
    #[error("{0} bytes follow its value")]
    Trailing(usize),
    /// A first byte that begins neither a length nor a text.
    #[error("the byte {0:#04x} begins no length")]
    Length(u8),
    /// Compressed text that does not decompress.
    #[error("compressed text: {0}")]
    Lzf(#[from] LzfError),
    /// It would take more memory than its length can justify.
    #[error("it claims more memory than its length can justify")]
    TooLarge,
    /// A part contradicts itself or another.
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<atom::Malformed> for DecodeError {
    fn from(atom::Malformed(byte): atom::Malformed) -> DecodeError {
        DecodeError::Length(byte)
    }
}

impl From<Impossible> for DecodeError {
    fn from(Impossible(what): Impossible) -> DecodeError {
        DecodeError::Malformed(what)
    }
}

/// Why a value cannot be written for a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The database is too old for it.
    #[error("{what} are unknown to the database, which reads format version {version}")]
    TooOld {
        /// What it does not know.
        what: &'static str,
        /// What it reads.
        version: u16,
    },
    /// Longer than a database takes.
    #[error("it would be longer than the {PAYLOAD_BYTES_MAX} bytes that a database takes in one argument")]
    TooLong,
    /// Not a value that a database can hold.
    #[error("it holds {0}")]
    Impossible(#[from] Impossible),
}

/// The longest payload that is written: `proto-max-bulk-len`, beyond which a server ends the connection.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024 * 1024;

#[cfg(test)]
mod tests;

//! Values.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::resp::Word;

/// A sorted set: the score of each member.
pub type Sorted = BTreeMap<Word, f64>;

/// A hash: its values, and when those of its fields expire that do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hash {
    /// The value of each field, also of one that is over and was not removed yet.
    pub values: BTreeMap<Word, Word>,
    /// Unix milliseconds.
    pub times: BTreeMap<Word, u64>,
}

impl Hash {
    /// Whether a field is over, and nobody has removed it yet.
    pub fn is_due(&self, field: &[u8], now: u64) -> bool {
        self.times.get(field).is_some_and(|at| *at <= now)
    }

    /// Sets a field, without a time; true if it is new.
    pub fn put(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.times.remove(field);
        self.keep(field, value)
    }

    /// Sets a field and leaves it its time; true if it is new.
    pub fn keep(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.values.insert(field.to_vec(), value.to_vec()).is_none()
    }

    /// Removes a field; true if it was there.
    pub fn take(&mut self, field: &[u8]) -> bool {
        self.times.remove(field);
        self.values.remove(field).is_some()
    }

    /// Removes fields.
    pub fn take_all(&mut self, fields: &[Word]) {
        for field in fields {
            self.take(field);
        }
    }
}

/// An id of a stream's entry.
pub type EntryId = (u64, u64);

/// A pending entry: its consumer, when it was delivered, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Whose.
    pub consumer: Word,
    /// Unix milliseconds.
    pub delivered_ms: u64,
    /// How often.
    pub count: u64,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// The last entry delivered.
    pub last: EntryId,
    /// Its consumers.
    pub consumers: BTreeSet<Word>,
    /// Entries delivered and not acknowledged.
    pub pending: BTreeMap<EntryId, Pending>,
}

/// A stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// Its entries: fields and values.
    pub entries: BTreeMap<EntryId, Vec<Word>>,
    /// The highest id ever given out.
    pub last: EntryId,
    /// The highest id deleted.
    pub max_deleted: EntryId,
    /// Entries ever added.
    pub added: u64,
    /// Its groups.
    pub groups: BTreeMap<Word, Group>,
}

/// What was counted on the way is no data, and a dump for an older server leaves it out.
impl PartialEq for Stream {
    fn eq(&self, other: &Stream) -> bool {
        (&self.entries, self.last, &self.groups) == (&other.entries, other.last, &other.groups)
    }
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(Word),
    /// A list.
    List(VecDeque<Word>),
    /// A set.
    Set(BTreeSet<Word>),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    Sorted(Sorted),
    /// A stream; it may be empty.
    Stream(Stream),
}

impl Value {
    /// Whether it is no key any more.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::List(list) => list.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Hash(hash) => hash.values.is_empty(),
            Value::Sorted(sorted) => sorted.is_empty(),
            Value::Text(_) | Value::Stream(_) => false,
        }
    }
}

/// A value with its expiry time.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Unix milliseconds.
    pub expires: Option<u64>,
}

/// A type of value.
pub trait Typed: Sized {
    /// The value as this type, if it is one.
    fn of(value: &mut Value) -> Option<&mut Self>;
    /// An empty one.
    fn empty() -> Value;
}

macro_rules! typed {
    ($($kind:ident: $inner:ty;)*) => {$(
        impl Typed for $inner {
            fn of(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$kind(inner) => Some(inner),
                    _ => None,
                }
            }
            fn empty() -> Value {
                Value::$kind(Default::default())
            }
        }
    )*};
}

typed! {
    Text: Word;
    List: VecDeque<Word>;
    Set: BTreeSet<Word>;
    Hash: Hash;
    Sorted: Sorted;
    Stream: Stream;
}

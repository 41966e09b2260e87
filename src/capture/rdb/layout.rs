//! What the value of each object type is made of.

use super::Flavour;

/// The type of a key, as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A module's own type.
    Module,
}

/// One part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A text: plain, integer or compressed.
    Text,
    /// A length.
    Length,
    /// So many bytes.
    Bytes(u8),
    /// A score as decimal text behind one byte of length; 253 to 255 are not-a-number and the infinities.
    Score,
    /// A length, then these parts so many times.
    Each(&'static [Part]),
    /// What a module wrote: numbered parts up to the number 0.
    Module,
}

use Part::{Bytes, Each, Length, Module, Score, Text};

const PAIRS: &[Part] = &[Each(&[Text, Text])];
const TEXTS: &[Part] = &[Each(&[Text])];
/// Entries not yet acknowledged: id, delivery time, delivery count.
const PENDING: Part = Each(&[Bytes(16), Bytes(8), Length]);
/// The same, by consumer: ids only.
const OWNED: Part = Each(&[Bytes(16)]);
/// Name and time last seen; since version 3 the time last active too.
const CONSUMERS: Part = Each(&[Text, Bytes(8), OWNED]);
const CONSUMERS_3: Part = Each(&[Text, Bytes(8), Bytes(8), OWNED]);
/// Name and last id; since version 2 the entries read too.
const GROUPS: Part = Each(&[Text, Length, Length, PENDING, CONSUMERS]);
const GROUPS_2: Part = Each(&[Text, Length, Length, Length, PENDING, CONSUMERS]);
const GROUPS_3: Part = Each(&[Text, Length, Length, Length, PENDING, CONSUMERS_3]);
/// Entries, then length and last id; since version 2 first id, highest deleted id and entries added too.
const STREAM: &[Part] = &[Each(&[Text, Text]), Length, Length, Length, GROUPS];
const STREAM_2: &[Part] = &[
    Each(&[Text, Text]),
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    GROUPS_2,
];
const STREAM_3: &[Part] = &[
    Each(&[Text, Text]),
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    Length,
    GROUPS_3,
];

/// The parts of an object type's value; `None` for a number that is no type (in this flavour).
///
/// Number 6, the module values of 2017's pre-releases, has no layout: only the module can tell their end.
pub(super) fn layout(flavour: Flavour, code: u8) -> Option<(Kind, &'static [Part])> {
    Some(match (code, flavour) {
        (0, _) => (Kind::String, &[Text]),
        (1 | 14, _) => (Kind::List, TEXTS),
        (10, _) => (Kind::List, &[Text]),
        (18, _) => (Kind::List, &[Each(&[Length, Text])]),
        (2, _) => (Kind::Set, TEXTS),
        (11 | 20, _) => (Kind::Set, &[Text]),
        (3, _) => (Kind::SortedSet, &[Each(&[Text, Score])]),
        (5, _) => (Kind::SortedSet, &[Each(&[Text, Bytes(8)])]),
        (12 | 17, _) => (Kind::SortedSet, &[Text]),
        (4, _) => (Kind::Hash, PAIRS),
        (9 | 13 | 16, _) => (Kind::Hash, &[Text]),
        // Fields with an expiry of their own: Valkey writes it behind the value, Redis before the field, and
        // since its release the earliest one first.
        (22, Flavour::Valkey) => (Kind::Hash, &[Each(&[Text, Text, Bytes(8)])]),
        (22, Flavour::Redis) => (Kind::Hash, &[Each(&[Length, Text, Text])]),
        (23, Flavour::Redis) => (Kind::Hash, &[Text]),
        (24, Flavour::Redis) => (Kind::Hash, &[Bytes(8), Each(&[Length, Text, Text])]),
        (25, Flavour::Redis) => (Kind::Hash, &[Bytes(8), Text]),
        (15, _) => (Kind::Stream, STREAM),
        (19, _) => (Kind::Stream, STREAM_2),
        (21, _) => (Kind::Stream, STREAM_3),
        (7, _) => (Kind::Module, &[Length, Module]),
        _ => return None,
    })
}

/// One numbered part of a module's data; `None` for a number that is none.
pub(super) fn module_part(code: u64) -> Option<&'static [Part]> {
    Some(match code {
        1 | 2 => &[Length],
        3 => &[Bytes(4)],
        4 => &[Bytes(8)],
        5 => &[Text],
        _ => return None,
    })
}

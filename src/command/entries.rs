//! Streams: entries by id, and what trims them.
//!
//! An id has a name of sixteen bytes that sorts as the id does, so that the rules by element hold for it.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};

use super::effect::Effect;

/// Bytes of an id's name.
pub const ID_BYTES: usize = 16;
/// Fields and values that an entry may have here; a script cannot hand on more than some thousand words.
const WORDS_MAX: usize = 4_000;

/// What takes a stream's oldest entries away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trim {
    /// Entries below this id, by its name (MINID).
    Below(Bytes),
    /// All but the newest so many (MAXLEN).
    Longest {
        /// How many stay.
        most: u64,
        /// What it left of what it saw, once that is known.
        left: Option<Left>,
    },
    /// Of the entries below an id all but the newest so many. No command of a client's does that.
    Rest {
        /// How many stay.
        most: u64,
        /// The id.
        under: Bytes,
        /// Entries that count as if they were there.
        gone: Vec<Bytes>,
    },
}

/// What a trim to a length left of what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Nothing below this id.
    From(Bytes),
    /// All entries that anybody has named, and of the others, which are older, the newest so many.
    OfRest {
        /// How many.
        most: u64,
        /// Entries of those that it saw removed.
        without: Rc<BTreeSet<Bytes>>,
    },
}

impl Trim {
    /// Below what nothing stays, as far as it is known.
    pub fn below(&self) -> Option<&Bytes> {
        match self {
            Trim::Below(below)
            | Trim::Longest {
                left: Some(Left::From(below)),
                ..
            } => Some(below),
            Trim::Longest { .. } | Trim::Rest { .. } => None,
        }
    }

    /// Whether it is known what it left.
    pub fn is_known(&self) -> bool {
        !matches!(self, Trim::Longest { left: None, .. })
    }
}

/// The name of an id.
pub fn name_of(ms: u64, seq: u64) -> Bytes {
    let mut name = BytesMut::with_capacity(ID_BYTES);
    name.put_u64(ms);
    name.put_u64(seq);
    name.freeze()
}

/// The id that a name stands for, if it is the name of one.
pub fn id_of(name: &[u8]) -> Option<(u64, u64)> {
    let (ms, seq) = name.split_first_chunk::<8>()?;
    let seq = seq.try_into().ok()?;
    Some((u64::from_be_bytes(*ms), u64::from_be_bytes(seq)))
}

/// The id before this one.
pub fn before((ms, seq): (u64, u64)) -> (u64, u64) {
    match seq.checked_sub(1) {
        Some(seq) => (ms, seq),
        None => (ms.saturating_sub(1), u64::MAX),
    }
}

/// The name of an id as it stands in a stream; without a second part it is the first of its millisecond.
pub fn id(word: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(word).ok()?;
    match text.split_once('-') {
        None => Some(name_of(text.parse().ok()?, 0)),
        Some((ms, seq)) => Some(name_of(ms.parse().ok()?, seq.parse().ok()?)),
    }
}

/// XADD. What cannot be spliced in is left to a replay as it came.
pub(super) fn add(args: &[Bytes]) -> Effect {
    try_add(args).unwrap_or(Effect::Opaque)
}

fn try_add(args: &[Bytes]) -> Option<Effect> {
    let mut rest = args.get(2..)?;
    if rest.first()?.eq_ignore_ascii_case(b"NOMKSTREAM") {
        rest = &rest[1..];
    }
    let (trim, rest) = trim_of(rest)?;
    let (word, fields) = rest.split_first()?;
    let id = id(word)?;
    // Nothing can be put before the lowest id.
    let lowest = name_of(0, 1);
    let fits = id > lowest && !fields.is_empty() && fields.len().is_multiple_of(2);
    (fits && fields.len() <= WORDS_MAX).then(|| Effect::StreamAdd {
        id,
        fields: fields.to_vec(),
        trim,
    })
}

/// XDEL.
pub(super) fn remove(args: &[Bytes]) -> Effect {
    let ids = args.get(2..).unwrap_or_default().iter().map(|word| id(word));
    ids.collect::<Option<Vec<Bytes>>>()
        .map_or(Effect::Opaque, Effect::StreamRemove)
}

/// XTRIM.
pub(super) fn trim(args: &[Bytes]) -> Effect {
    match args.get(2..).and_then(trim_of) {
        Some((Some(trim), [])) => Effect::StreamTrim(trim),
        _ => Effect::Opaque,
    }
}

/// MAXLEN or MINID, if one stands here, and what follows; `None` if it is none that a stream carries.
fn trim_of(args: &[Bytes]) -> Option<(Option<Trim>, &[Bytes])> {
    let word = args.first()?;
    let is_count = word.eq_ignore_ascii_case(b"MAXLEN");
    if !is_count && !word.eq_ignore_ascii_case(b"MINID") {
        return Some((None, args));
    }
    let exact = usize::from(args.get(1)?.as_ref() == b"=");
    let threshold = args.get(1 + exact)?;
    let trim = if is_count {
        Trim::Longest {
            most: std::str::from_utf8(threshold).ok()?.parse().ok()?,
            left: None,
        }
    } else {
        Trim::Below(id(threshold)?)
    };
    Some((Some(trim), &args[2 + exact..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Vec<Bytes> {
        text.split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    #[test]
    fn names_sort_as_ids_do() {
        let ids = [
            (0, 1),
            (1, 0),
            (1, 255),
            (1, 256),
            (255, 9),
            (256, 0),
            (u64::MAX, 0),
        ];
        let names = ids.map(|(ms, seq)| name_of(ms, seq));
        assert!(names.is_sorted());
        assert_eq!(names.map(|name| id_of(&name).unwrap()), ids);
        assert_eq!(id_of(b"last"), None);
        assert_eq!([(5, 3), (5, 0)].map(before), [(5, 2), (4, u64::MAX)]);
    }

    #[test]
    fn an_entry_and_its_trim_are_told_apart() {
        let entry = |trim| Effect::StreamAdd {
            id: name_of(9, 1),
            fields: words("f v"),
            trim,
        };
        assert_eq!(add(&words("XADD s 9-1 f v")), entry(None));
        assert_eq!(add(&words("XADD s nomkstream 9-1 f v")), entry(None));
        let longest = |most| Trim::Longest { most, left: None };
        assert_eq!(add(&words("XADD s MAXLEN = 4 9-1 f v")), entry(Some(longest(4))));
        assert_eq!(add(&words("XADD s maxlen 0 9-1 f v")), entry(Some(longest(0))));
        let below = Trim::Below(name_of(3, 0));
        assert_eq!(add(&words("XADD s MINID 3 9-1 f v")), entry(Some(below.clone())));
        assert_eq!(trim(&words("XTRIM s MINID = 3-0")), Effect::StreamTrim(below));
        assert_eq!(trim(&words("XTRIM s MAXLEN 7")), Effect::StreamTrim(longest(7)));
        let ids = vec![name_of(1, 1), name_of(2, 0)];
        assert_eq!(remove(&words("XDEL s 1-1 2")), Effect::StreamRemove(ids));
    }

    #[test]
    fn what_no_stream_carries_is_replayed_as_it_came() {
        for text in [
            "XADD s * f v",
            "XADD s 9-1 f",
            "XADD s 0-1 f v",
            "XADD s MAXLEN ~ 4 9-1 f v",
            "XADD s",
        ] {
            assert_eq!(add(&words(text)), Effect::Opaque, "{text}");
        }
        assert_eq!(trim(&words("XTRIM s MAXLEN = 4 LIMIT 10")), Effect::Opaque);
        assert_eq!(remove(&words("XDEL s x")), Effect::Opaque);
    }
}

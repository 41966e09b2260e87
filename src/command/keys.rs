//! Where a command's keys stand.

use super::table::Spec;

/// A command's arguments, its name included, wherever they lie.
pub trait Args {
    /// How many.
    fn count(&self) -> usize;
    /// One of them; empty when there is none at that place.
    fn arg(&self, at: usize) -> &[u8];
}

impl<T: AsRef<[u8]>> Args for [T] {
    fn count(&self) -> usize {
        self.len()
    }
    fn arg(&self, at: usize) -> &[u8] {
        self.get(at).map_or(&[], AsRef::as_ref)
    }
}

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It decides the result and stays as it is.
    Read,
    /// It changes.
    Write,
}

/// A key's place among the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAt {
    /// Index of the argument.
    pub at: usize,
    /// What happens to it.
    pub access: Access,
}

/// The rule by which a command's keys are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    /// It has none.
    None,
    /// One, written.
    One(u8),
    /// Every `step`-th argument from the first to the end, written.
    Every {
        /// Step between keys.
        step: u8,
    },
    /// Two, both written.
    Two,
    /// The first is read, the second written (COPY).
    Copy,
    /// The first is written, the others up to the end are read (SINTERSTORE, PFMERGE).
    FirstFromRest,
    /// The first is written, then a count and as many that are read (ZUNIONSTORE).
    FirstFromCounted,
    /// The first is written, the second read (ZRANGESTORE, GEOSEARCHSTORE).
    FirstFromSecond,
    /// BITOP: the destination behind the operation, then the sources.
    BitOp,
    /// One is read, the one behind STORE or STOREDIST is written (SORT, GEORADIUS).
    Store,
    /// As the server told us: first, last and step (a negative last counts from the end), all written.
    Told {
        /// First key's place.
        first: u16,
        /// Last key's place.
        last: i16,
        /// Step between keys.
        step: u16,
    },
}

/// Gives each key of a command to `give`, in the order of the arguments.
pub fn keys<A: Args + ?Sized>(spec: &Spec, args: &A, mut give: impl FnMut(KeyAt)) {
    let count = args.count();
    let mut write = |at: usize| {
        give(KeyAt {
            at,
            access: Access::Write,
        })
    };
    match spec.keys {
        KeyRule::None => {}
        KeyRule::One(at) => write(usize::from(at)),
        KeyRule::Every { step } => (1..count).step_by(usize::from(step).max(1)).for_each(write),
        KeyRule::Two => (1..3).for_each(write),
        KeyRule::Told { first, last, step } => {
            let end = if last < 0 {
                count as i64 + i64::from(last)
            } else {
                i64::from(last)
            };
            let places = (usize::from(first)..count).step_by(usize::from(step).max(1));
            places.take_while(|&at| at as i64 <= end).for_each(write);
        }
        rule => reading_keys(rule, args, give),
    }
}

fn reading_keys<A: Args + ?Sized>(rule: KeyRule, args: &A, mut give: impl FnMut(KeyAt)) {
    let count = args.count();
    let (written, read) = match rule {
        KeyRule::Copy => (2, 1..2),
        KeyRule::FirstFromRest => (1, 2..count),
        KeyRule::FirstFromSecond => (1, 2..3),
        KeyRule::BitOp => (2, 3..count),
        KeyRule::FirstFromCounted => {
            let keys = std::str::from_utf8(args.arg(2))
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            (1, 3..count.min(3usize.saturating_add(keys)))
        }
        _ => {
            let is_store = |at: &usize| {
                let word = args.arg(*at);
                word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST")
            };
            (store_place((2..count).filter(is_store).last()), 1..2)
        }
    };
    let mut places: Vec<KeyAt> = read
        .map(|at| KeyAt {
            at,
            access: Access::Read,
        })
        .collect();
    if written > 0 {
        places.push(KeyAt {
            at: written,
            access: Access::Write,
        });
    }
    places.sort_by_key(|key| key.at);
    places.into_iter().for_each(&mut give);
}

fn store_place(word: Option<usize>) -> usize {
    word.map_or(0, |at| at + 1)
}

//! A segment in memory: operations in the order of their numbers, and an index that is made when it is needed.
//!
//! The index is open addressing, linear, on slots of four bytes: a piece of the fingerprint and the place of
//! the key's newest operation, which leads to the ones before it. Bytes per operation: 20 before the segment is
//! indexed, 25 to 31 afterwards.

use super::{Question, Unseen};
use crate::causality::Seq;
use crate::command::EffectClass;

/// Most operations in a segment: a place has 20 bits, and a slot tells "empty" from a place.
pub const SEGMENT_MAX: usize = 1 << 18;
/// Bytes of an operation in memory, indexed, at most.
pub const OPERATION_BYTES: usize = 31;

const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
const CLASS_BITS: u32 = 8;
const SLOTS_MIN: usize = 16;

/// One operation, beside its fingerprint.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Its number, less the segment's base; never 0.
    offset: u32,
    /// Offset of the newest older operation on the key whose class is another; 0 for none.
    other: u32,
    /// Place of the operation before it on the same key plus one, 0 for none; below, its class.
    before_and_class: u32,
}

impl Entry {
    fn class(self) -> u8 {
        self.before_and_class as u8
    }

    fn before(self) -> u32 {
        self.before_and_class >> CLASS_BITS
    }
}

/// Consecutive operations of one origin, in memory.
#[derive(Debug)]
pub struct Table {
    /// The number before the first.
    base: Seq,
    limit: usize,
    /// Which of all segments is older.
    age: u64,
    fingerprints: Vec<u64>,
    entries: Vec<Entry>,
    /// A power of two of them; a piece of the fingerprint over a place plus one, or 0.
    slots: Vec<u32>,
    /// Entries before this one are in the index.
    indexed: usize,
    /// Entries before this one are stable.
    trimmed: usize,
}

impl Table {
    /// A segment that begins with operation `first` and takes `limit` entries.
    pub fn new(first: Seq, limit: usize, age: u64) -> Table {
        Table {
            base: first - 1,
            limit: limit.min(SEGMENT_MAX),
            age,
            fingerprints: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
            indexed: 0,
            trimmed: 0,
        }
    }

    /// Number of the last operation.
    pub fn last(&self) -> Seq {
        self.base + self.entries.last().map_or(0, |entry| u64::from(entry.offset))
    }

    /// Entries that are not stable.
    pub fn len(&self) -> usize {
        self.entries.len() - self.trimmed
    }

    /// When it was begun, among all segments.
    pub fn age(&self) -> u64 {
        self.age
    }

    /// What it takes.
    pub fn memory_bytes(&self) -> usize {
        let entry = size_of::<Entry>();
        self.fingerprints.capacity() * 8 + self.entries.capacity() * entry + self.slots.capacity() * 4
    }

    /// Adds an operation behind the last; false if the segment is full.
    #[inline]
    pub fn push(&mut self, fingerprint: u64, seq: Seq, class: EffectClass) -> bool {
        let offset = seq - self.base;
        if self.entries.len() >= self.limit || offset > u64::from(u32::MAX) {
            return false;
        }
        self.fingerprints.push(fingerprint);
        self.entries.push(Entry {
            offset: offset as u32,
            other: 0,
            before_and_class: class as u32,
        });
        true
    }

    /// Brings the index up to date.
    fn index(&mut self) {
        let count = self.entries.len();
        if count * 4 > self.slots.len() * 3 {
            let slots = (count * 2).next_power_of_two().max(SLOTS_MIN);
            self.slots = vec![0; slots];
            self.indexed = self.trimmed;
        }
        // Places do not depend on each other, so that the processor waits for many of them at once.
        for place in self.indexed..count {
            self.index_one(place);
        }
        self.indexed = count;
    }

    #[inline]
    fn index_one(&mut self, place: usize) {
        let fingerprint = self.fingerprints[place];
        let mask = self.slots.len() - 1;
        let mut at = fingerprint as usize & mask;
        let (mut before, mut other) = (0, 0);
        let class = self.entries[place].class();
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            if slot >> PLACE_BITS == piece_of(fingerprint) {
                let known = (slot & PLACE_MASK) as usize - 1;
                if self.fingerprints[known] == fingerprint {
                    let known = self.entries[known];
                    before = slot & PLACE_MASK;
                    other = if known.class() == class {
                        known.other
                    } else {
                        known.offset
                    };
                    break;
                }
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = piece_of(fingerprint) << PLACE_BITS | (place as u32 + 1);
        self.entries[place].other = other;
        self.entries[place].before_and_class = before << CLASS_BITS | u32::from(class);
    }

    /// The newest operation on a key.
    #[inline]
    fn find(&self, fingerprint: u64) -> Option<Entry> {
        let mask = self.slots.len() - 1;
        let mut at = fingerprint as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot >> PLACE_BITS == piece_of(fingerprint) {
                let place = (slot & PLACE_MASK) as usize - 1;
                if self.fingerprints[place] == fingerprint {
                    return Some(self.entries[place]);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// What is here that the operation has not seen.
    #[inline]
    pub fn unseen(&mut self, question: Question) -> Unseen {
        if self.indexed < self.entries.len() {
            self.index();
        }
        let Some(newest) = self.find(question.fingerprint) else {
            return Unseen::Absent;
        };
        let seen = question.seen.saturating_sub(self.base);
        if u64::from(newest.offset) <= seen {
            return Unseen::Nothing;
        }
        let class = question.class;
        let alike = newest.class() == class as u8 && u64::from(newest.other) <= seen;
        if alike && class.commutes(class) {
            Unseen::Commutes
        } else {
            Unseen::Conflicts
        }
    }

    /// The numbers of the operations on a key behind `front`, newest first.
    pub fn operations(&mut self, fingerprint: u64, front: Seq, mut give: impl FnMut(Seq)) {
        if self.indexed < self.entries.len() {
            self.index();
        }
        let mut next = self.find(fingerprint);
        while let Some(entry) = next {
            let seq = self.base + u64::from(entry.offset);
            if seq <= front {
                return;
            }
            give(seq);
            next = (entry.before() as usize)
                .checked_sub(1)
                .map(|place| self.entries[place]);
        }
    }

    /// The fingerprints of the operations behind `seen`.
    pub fn keys_behind(&self, seen: Seq, keys: &mut Vec<u64>) {
        keys.extend_from_slice(&self.fingerprints[self.place_behind(seen)..]);
    }

    /// Lets go of what is stable; gives how many entries that were.
    pub fn trim(&mut self, front: Seq) -> usize {
        let before = self.trimmed;
        self.trimmed = self.place_behind(front).max(before);
        self.trimmed - before
    }

    fn place_behind(&self, seq: Seq) -> usize {
        let seen = seq.saturating_sub(self.base);
        self.entries
            .partition_point(|entry| u64::from(entry.offset) <= seen)
    }

    /// What is not stable, in the order of its numbers: fingerprint, number, class.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Seq, u8)> + '_ {
        let places = self.trimmed..self.entries.len();
        places.map(|place| {
            let entry = self.entries[place];
            let seq = self.base + u64::from(entry.offset);
            (self.fingerprints[place], seq, entry.class())
        })
    }
}

/// The piece of a fingerprint that stands in a slot; the place of the slot comes from the other end.
#[inline]
fn piece_of(fingerprint: u64) -> u32 {
    (fingerprint >> (32 + PLACE_BITS)) as u32
}

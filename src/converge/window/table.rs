//! A segment in memory: operations in the order of their numbers, and an index that is made when it is needed.
//!
//! The index leads from a fingerprint to the place of the key's newest operation, and that one to those before
//! it. Bytes per operation: 20 before the segment is indexed, at most 26 afterwards if it is full.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::{Question, Unseen};
use crate::causality::Seq;
use crate::command::EffectClass;

/// Bytes of an operation in memory, at most: fingerprint, entry, and a full table's slot of five bytes.
pub const OPERATION_BYTES: usize = 26;

const CLASS_BITS: u32 = 8;

/// The most operations, up to `operations`, whose index wastes no room: a hash table is full at seven eighths of a
/// power of two.
pub fn fitting(operations: usize) -> usize {
    let slots = operations.max(7) / 7 * 8;
    let slots = (slots / 2 + 1).next_power_of_two();
    slots / 8 * 7
}

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
    last: Seq,
    limit: usize,
    /// Which of all segments is older.
    age: u64,
    fingerprints: Vec<u64>,
    entries: Vec<Entry>,
    /// Place of each key's newest operation.
    newest: HashTable<u32>,
    /// Entries before this one are in the index.
    indexed: usize,
    /// Entries before this one are stable.
    trimmed: usize,
}

impl Table {
    /// A segment that begins with operation `first` and takes `limit` entries. Its room is taken at once: what grows
    /// is copied again and again, and every copy is memory that the kernel has to clear. A `spare` of the same size
    /// gives its own.
    pub fn new(first: Seq, limit: usize, age: u64, spare: Option<Table>) -> Table {
        let of_size = |spare: &Table| spare.limit == limit;
        let (mut fingerprints, mut entries, mut newest) = match spare.filter(of_size) {
            Some(spare) => (spare.fingerprints, spare.entries, spare.newest),
            None => (
                Vec::with_capacity(limit),
                Vec::with_capacity(limit),
                HashTable::new(),
            ),
        };
        fingerprints.clear();
        entries.clear();
        newest.clear();
        Table {
            base: first - 1,
            last: first - 1,
            limit,
            age,
            fingerprints,
            entries,
            newest,
            indexed: 0,
            trimmed: 0,
        }
    }

    /// Number of the last operation.
    pub fn last(&self) -> Seq {
        self.last
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
        let index = self.newest.num_buckets() * (size_of::<u32>() + 1);
        self.fingerprints.capacity() * 8 + self.entries.capacity() * entry + index
    }

    /// Adds an operation behind the last; false if the segment is full.
    #[inline]
    pub fn push(&mut self, fingerprint: u64, seq: Seq, class: EffectClass) -> bool {
        let offset = seq - self.base;
        if self.entries.len() >= self.limit || offset > u64::from(u32::MAX) {
            return false;
        }
        self.last = seq;
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
        if self.newest.capacity() < count {
            // The old index is left and not moved over, so that stable operations stay out of the new one.
            self.newest = HashTable::with_capacity(fitting(count * 4).min(self.limit).max(count));
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
        let Table {
            fingerprints,
            entries,
            newest,
            ..
        } = self;
        let fingerprint = fingerprints[place];
        let is_it = |&known: &u32| fingerprints[known as usize] == fingerprint;
        let hash = |&known: &u32| fingerprints[known as usize];
        match newest.entry(fingerprint, is_it, hash) {
            Slot::Vacant(slot) => {
                slot.insert(place as u32);
            }
            Slot::Occupied(mut slot) => {
                let before = std::mem::replace(slot.get_mut(), place as u32);
                let (known, class) = (entries[before as usize], entries[place].class());
                let other = if known.class() == class {
                    known.other
                } else {
                    known.offset
                };
                entries[place].other = other;
                entries[place].before_and_class = (before + 1) << CLASS_BITS | u32::from(class);
            }
        }
    }

    /// The newest operation on a key.
    #[inline]
    fn find(&self, fingerprint: u64) -> Option<Entry> {
        let is_it = |&place: &u32| self.fingerprints[place as usize] == fingerprint;
        let place = self.newest.find(fingerprint, is_it)?;
        Some(self.entries[*place as usize])
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

//! A segment on disk: records cut into buckets by the upper bits of the fingerprint, in each the operations in
//! the order of their numbers.
//!
//! A record is the fingerprint, then the number shifted left by eight over the class, both 8 bytes little
//! endian. In memory stay where each bucket ends, a checksum of it, and the filter. So a look-up that passes the
//! filter reads one bucket, about half a kilobyte.
//!
//! The files are a cache of the logs: nothing reads what an earlier run of the program left.

use xxhash_rust::xxh3::xxh3_64;

use super::filter::Filter;
use super::spill::{Runs, WindowError};
use super::table::Table;
use super::{Question, Unseen};
use crate::causality::Seq;

/// Bytes of a record.
const RECORD_BYTES: usize = 16;
/// Records that a bucket has about.
const BUCKET_RECORDS: usize = 32;

/// What is known in memory of a bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// The record behind its last.
    end: u32,
    check: u32,
}

/// A segment on disk.
#[derive(Debug)]
pub struct Run {
    id: u64,
    last: Seq,
    records: usize,
    /// The bucket is the fingerprint shifted right by so much.
    shift: u32,
    buckets: Box<[Bucket]>,
    filter: Option<Filter>,
}

/// A run that has been laid out, and its bytes.
pub struct Laid {
    /// The run.
    pub run: Run,
    /// What belongs on disk.
    pub bytes: Vec<u8>,
}

impl Run {
    /// Lays a segment out as run `id`.
    pub fn lay(id: u64, table: &Table) -> Laid {
        let records = table.len();
        let bits = (records / BUCKET_RECORDS).next_power_of_two().trailing_zeros();
        // At least one bit, for a shift by all 64 is none.
        let shift = 64 - bits.max(1);
        let mut buckets = vec![Bucket::default(); 1 << bits.max(1)];
        let mut filter = Filter::new(records);
        for (fingerprint, ..) in table.rows() {
            buckets[(fingerprint >> shift) as usize].end += 1;
            filter.add(fingerprint);
        }
        let mut next = 0;
        for bucket in &mut buckets {
            // For now where it begins; filling it moves that to its end.
            next += std::mem::replace(&mut bucket.end, next);
        }
        let mut bytes = vec![0; records * RECORD_BYTES];
        for (fingerprint, seq, class) in table.rows() {
            let bucket = &mut buckets[(fingerprint >> shift) as usize];
            let at = bucket.end as usize * RECORD_BYTES;
            let word = seq << 8 | u64::from(class);
            bytes[at..at + 8].copy_from_slice(&fingerprint.to_le_bytes());
            bytes[at + 8..at + RECORD_BYTES].copy_from_slice(&word.to_le_bytes());
            bucket.end += 1;
        }
        let mut begin = 0;
        for bucket in &mut buckets {
            let end = bucket.end as usize * RECORD_BYTES;
            bucket.check = check_of(&bytes[begin..end]);
            begin = end;
        }
        let run = Run {
            id,
            last: table.last(),
            records,
            shift,
            buckets: buckets.into(),
            filter: Some(filter),
        };
        Laid { run, bytes }
    }

    /// Its number on disk.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Number of the last operation.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Operations in it.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        (self.records * RECORD_BYTES) as u64
    }

    /// What it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>() + self.filter_bytes()
    }

    /// What its filter takes of that.
    pub fn filter_bytes(&self) -> usize {
        self.filter.as_ref().map_or(0, Filter::memory_bytes)
    }

    /// Gives the filter up: from now on every look-up reads.
    pub fn drop_filter(&mut self) {
        self.filter = None;
    }

    fn bucket<'a>(&self, at: usize, runs: &'a mut impl Runs) -> Result<&'a [u8], WindowError> {
        let begin = at
            .checked_sub(1)
            .map_or(0, |before| self.buckets[before].end as usize);
        let bucket = self.buckets[at];
        let records = bucket.end as usize - begin;
        let bytes = runs.read(self.id, (begin * RECORD_BYTES) as u64, records * RECORD_BYTES)?;
        if check_of(bytes) == bucket.check {
            Ok(bytes)
        } else {
            Err(WindowError::Changed { file: self.id })
        }
    }

    /// What is here that the operation has not seen.
    ///
    /// # Errors
    /// The disk's.
    #[inline]
    pub fn unseen(&self, question: Question, runs: &mut impl Runs) -> Result<Unseen, WindowError> {
        let fingerprint = question.fingerprint;
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.may_hold(fingerprint))
        {
            return Ok(Unseen::Absent);
        }
        let class = question.class;
        let mut found = Unseen::Absent;
        let bucket = self.bucket((fingerprint >> self.shift) as usize, runs)?;
        for (_, seq, of) in records(bucket).filter(|record| record.0 == fingerprint) {
            found = match found {
                Unseen::Conflicts => Unseen::Conflicts,
                _ if seq <= question.seen => Unseen::Nothing,
                _ if of == class as u8 && class.commutes(class) => Unseen::Commutes,
                _ => Unseen::Conflicts,
            };
        }
        Ok(found)
    }

    /// The numbers of the operations on a key behind `front`, oldest first.
    ///
    /// # Errors
    /// The disk's.
    pub fn operations(
        &self,
        fingerprint: u64,
        front: Seq,
        runs: &mut impl Runs,
    ) -> Result<Vec<Seq>, WindowError> {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.may_hold(fingerprint))
        {
            return Ok(Vec::new());
        }
        let bucket = self.bucket((fingerprint >> self.shift) as usize, runs)?;
        let found = records(bucket).filter(|&(of, seq, _)| of == fingerprint && seq > front);
        Ok(found.map(|(_, seq, _)| seq).collect())
    }

    /// The fingerprints of the operations behind `seen`.
    ///
    /// # Errors
    /// The disk's.
    pub fn keys_behind(
        &self,
        seen: Seq,
        runs: &mut impl Runs,
        keys: &mut Vec<u64>,
    ) -> Result<(), WindowError> {
        for at in 0..self.buckets.len() {
            let behind = records(self.bucket(at, runs)?).filter(|&(_, seq, _)| seq > seen);
            keys.extend(behind.map(|(fingerprint, ..)| fingerprint));
        }
        Ok(())
    }
}

fn check_of(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// Fingerprint, number, class.
fn records(bytes: &[u8]) -> impl Iterator<Item = (u64, Seq, u8)> + '_ {
    let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
    records.iter().map(|record| {
        let [low, high] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&record[at..at + 8]);
            u64::from_le_bytes(word)
        });
        (low, high >> 8, high as u8)
    })
}

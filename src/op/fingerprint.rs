//! Fingerprints of keys.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Fingerprints (db, key) pairs the same way at every site of one database.
///
/// Two keys of one fingerprint cost time, never correctness: keys in conflict are told apart by their bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprinter {
    seed: u64,
}

impl Fingerprinter {
    /// Seeds with the database id, so that clients cannot choose keys that collide everywhere.
    pub fn new(database_id: &str) -> Fingerprinter {
        Fingerprinter {
            seed: xxh3_64_with_seed(database_id.as_bytes(), 0),
        }
    }

    /// The fingerprint of a key in a database.
    #[inline]
    pub fn of(self, db: u32, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed ^ u64::from(db))
    }
}

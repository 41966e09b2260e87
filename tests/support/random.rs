//! Repeatable randomness (splitmix64).

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator that can be split, so that every thread of a test draws from a sequence of its own.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Seeded from `SYNCER_TEST_SEED`, else from the clock; prints the seed.
    pub fn announced(test: &str) -> Self {
        let seed = match std::env::var("SYNCER_TEST_SEED") {
            Ok(text) => text.trim().parse().expect("SYNCER_TEST_SEED is a decimal number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("clock after 1970")
                .as_nanos() as u64,
        };
        println!("{test}: SYNCER_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

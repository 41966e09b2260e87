//! The pace of reading: under load the stream is read in larger pieces.
//!
//! A database sends what one turn of its loop wrote, 16 KiB with a pipelining client, and each piece by itself would
//! become a batch of its own: a wake-up, a write to the log, a record on each link, a transaction at each peer. So
//! while more comes than [`FLOOD_BYTES_PER_MS`] for a while, every read is followed by a rest, and the next one finds
//! more. A trickle and a single large value are read at once.

/// What is no flood yet: a hundred thousand small writes a second.
const FLOOD_BYTES_PER_MS: u64 = 8 * 1024;
/// So much above that is a flood.
const LEVEL_FLOOD: u64 = 64 * 1024;
/// More is forgotten, so that a flood's end is seen soon.
const LEVEL_MAX: u64 = 128 * 1024;
/// A rest, in milliseconds: small beside what writes wait for in a flood anyway.
pub const REST_MS: u64 = 2;

/// A bucket that fills with what is read and leaks with time.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    level: u64,
    at_ms: u64,
}

impl Pace {
    /// So many bytes were read; true if a rest is due. Time counts from anywhere and may stand still.
    pub fn is_flood(&mut self, now_ms: u64, bytes: usize) -> bool {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = now_ms.max(self.at_ms);
        self.level = self
            .level
            .saturating_sub(passed.saturating_mul(FLOOD_BYTES_PER_MS));
        self.level = self.level.saturating_add(bytes as u64).min(LEVEL_MAX);
        self.level >= LEVEL_FLOOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_only_while_it_lasts() {
        let mut pace = Pace::default();
        let mut now_ms = 0;
        let mut rests = 0;
        while now_ms < 100 {
            let rests_now = pace.is_flood(now_ms, 16 * 1024);
            rests += u64::from(rests_now);
            now_ms += if rests_now { REST_MS + 1 } else { 1 };
            // What came during the rest is read with the next piece.
            if rests_now {
                rests += u64::from(pace.is_flood(now_ms, 32 * 1024));
            }
        }
        assert!(rests > 20, "{rests}");
        assert!(!pace.is_flood(now_ms + 20, 16 * 1024));
    }

    #[test]
    fn a_trickle_and_a_large_value_are_none() {
        let mut pace = Pace::default();
        // 80,000 writes of 75 bytes a second, in pieces of any size.
        for ms in 0..1000 {
            assert!(!pace.is_flood(ms, 6000));
        }
        assert!(!pace.is_flood(2000, 60 * 1024));
        assert!(pace.is_flood(2000, 1 << 30));
        assert!(!pace.is_flood(2020, 100));
    }
}

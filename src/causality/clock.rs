//! The hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014), one word wide.

use std::fmt;

/// A hybrid logical timestamp: Unix milliseconds in the upper 48 bits, a counter in the lower 16.
///
/// The counter carries over into the milliseconds when it is full, so plain integer order is the clock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

const COUNTER_BITS: u32 = 16;
const STATE_BIT: u64 = 1 << 63;

impl Hlc {
    /// Latest timestamp that is taken from outside, in the year 6429: behind it is room for all that may follow.
    pub const MAX: Hlc = Hlc(u64::MAX >> 1);

    /// The first timestamp of a millisecond.
    pub fn from_unix_ms(unix_ms: u64) -> Hlc {
        Hlc(unix_ms << COUNTER_BITS)
    }

    /// The physical part, Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The same, as the time of a key in a snapshot. No clock comes so far, so the mark stands beside the time.
    pub fn of_state(self) -> Hlc {
        Hlc(self.0 | STATE_BIT)
    }

    /// Whether it is the time of a key in a snapshot.
    pub fn is_of_state(self) -> bool {
        self.0 & STATE_BIT != 0
    }

    /// When it was written, also of a key in a snapshot: an order that causality agrees with.
    pub fn written(self) -> Hlc {
        Hlc(self.0 & !STATE_BIT)
    }

    /// The timestamp `n` ticks later.
    pub fn plus(self, n: u64) -> Hlc {
        Hlc(self.0 + n)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.unix_ms(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// One site's clock. It never repeats and never falls behind what it has seen.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Hlc,
}

impl Clock {
    /// A clock that goes on behind `last` (the highest timestamp found in the log).
    pub fn resume(last: Hlc) -> Clock {
        Clock { last }
    }

    /// Reserves `count` consecutive timestamps at `now_unix_ms` and returns the first.
    pub fn reserve(&mut self, now_unix_ms: u64, count: u64) -> Hlc {
        let first = Hlc::from_unix_ms(now_unix_ms).max(self.last.plus(1));
        self.last = first.plus(count.saturating_sub(1));
        first
    }

    /// The next timestamp at `now_unix_ms`.
    pub fn tick(&mut self, now_unix_ms: u64) -> Hlc {
        self.reserve(now_unix_ms, 1)
    }

    /// Absorbs a timestamp that has become part of the past.
    pub fn absorb(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }

    /// The highest timestamp given out or absorbed.
    pub fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_repeats_when_time_stands_or_falls() {
        let mut clock = Clock::default();
        let first = clock.tick(1000);
        assert!(clock.tick(1000) > first);
        let jumped_back = clock.tick(10);
        assert!(jumped_back > first);
        assert_eq!(clock.tick(2000), Hlc::from_unix_ms(2000));
    }

    #[test]
    fn is_later_than_what_it_absorbed() {
        let mut clock = Clock::default();
        clock.absorb(Hlc::from_unix_ms(5000));
        assert!(clock.tick(10) > Hlc::from_unix_ms(5000));
    }
}

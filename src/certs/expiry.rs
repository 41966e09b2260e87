//! When the end of a certificate's validity is told: 30, 7 and 1 days before it, and when it has come.

use super::Moment;
use std::fmt;

const DAY_S: i64 = 86_400;

/// How near the end is. A later one is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Expiry {
    /// Further than 30 days.
    #[default]
    Far,
    /// Within 30 days.
    Month,
    /// Within 7 days.
    Week,
    /// Within one day.
    Day,
    /// Over.
    Over,
}

impl Expiry {
    /// How near `end` is at `now`.
    pub fn at(end: Moment, now: Moment) -> Expiry {
        match end.0.saturating_sub(now.0) {
            ..0 => Expiry::Over,
            left if left <= DAY_S => Expiry::Day,
            left if left <= 7 * DAY_S => Expiry::Week,
            left if left <= 30 * DAY_S => Expiry::Month,
            _ => Expiry::Far,
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Expiry::Far => "valid",
            Expiry::Month => "ends within 30 days",
            Expiry::Week => "ends within 7 days",
            Expiry::Day => "ends within 1 day",
            Expiry::Over => "expired",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_comes_nearer() {
        let end = Moment(100 * DAY_S);
        for (days, expected) in [
            (0, Expiry::Far),
            (69, Expiry::Far),
            (70, Expiry::Month),
            (92, Expiry::Month),
            (93, Expiry::Week),
            (98, Expiry::Week),
            (99, Expiry::Day),
            (100, Expiry::Day),
            (101, Expiry::Over),
        ] {
            assert_eq!(Expiry::at(end, Moment(days * DAY_S)), expected, "day {days}");
        }
        assert!(Expiry::Over > Expiry::Day && Expiry::Day > Expiry::Far);
    }
}

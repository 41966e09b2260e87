//! What becomes of files that change under a running syncer.
//!
//! A pair of files changes in two steps, and who changes them is not asked to tell: a certificate whose key has
//! not come yet looks like a fault. So faulty files get some time to become whole, in silence; only then is the
//! fault told, once. What is in use stays in use throughout.

use std::fmt;

/// How long faulty files may be on their way to being whole, in milliseconds.
const SETTLE_MS: u64 = 5_000;
/// How soon faulty files are looked at again meanwhile, in milliseconds.
pub const RETRY_MS: u64 = 250;

/// When whole files that came to nothing are tried again by themselves, in milliseconds: what they were tried with
/// (the peers, the network) may have changed.
const TRY_AGAIN_MS: u64 = 60_000;

/// What to do about faulty files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Look again soon.
    Retry,
    /// They stay so: tell it.
    Report,
}

/// The files as last seen, by a digest of their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched<D> {
    in_use: D,
    /// Whole files that came to nothing, and when.
    refused: Option<(D, u64)>,
    faulty: Option<Faulty>,
    /// Somebody asked for another look: whatever is found is not known.
    is_forced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Faulty {
    since_ms: u64,
    /// What was told of it.
    told: Option<String>,
}

impl<D: PartialEq> Watched<D> {
    /// These are in use.
    pub fn new(in_use: D) -> Watched<D> {
        Watched {
            in_use,
            refused: None,
            faulty: None,
            is_forced: false,
        }
    }

    /// Whether files found at `now_ms` need no further look: they are in use, or came to nothing not long ago.
    pub fn knows(&mut self, digest: &D, now_ms: u64) -> bool {
        if self.is_forced {
            return false;
        }
        if *digest == self.in_use {
            self.refused = None;
            self.faulty = None;
            return true;
        }
        let refused = self.refused.as_ref().filter(|(refused, _)| refused == digest);
        refused.is_some_and(|(_, at_ms)| now_ms.saturating_sub(*at_ms) < TRY_AGAIN_MS)
    }

    /// They were looked at at `now_ms` and found faulty.
    pub fn faulty(&mut self, why: &impl fmt::Display, now_ms: u64) -> Verdict {
        self.is_forced = false;
        let faulty = self.faulty.get_or_insert(Faulty {
            since_ms: now_ms,
            told: None,
        });
        if now_ms.saturating_sub(faulty.since_ms) < SETTLE_MS {
            return Verdict::Retry;
        }
        let why = Some(why.to_string());
        if faulty.told == why {
            return Verdict::Keep;
        }
        faulty.told = why;
        Verdict::Report
    }

    /// They are in use now.
    pub fn took(&mut self, digest: D) {
        *self = Watched::new(digest);
    }

    /// They are whole, and could not be used.
    pub fn refused(&mut self, digest: D, now_ms: u64) {
        self.refused = Some((digest, now_ms));
        self.faulty = None;
        self.is_forced = false;
    }

    /// Somebody asks for another try: whatever is found next counts as new, also what is in use or was refused, and
    /// faults get no time to settle.
    pub fn force(&mut self) {
        self.is_forced = true;
        self.faulty = Some(Faulty {
            since_ms: 0,
            told: None,
        });
    }

    /// Whether faulty files are given time.
    pub fn is_settling(&self) -> bool {
        self.faulty.as_ref().is_some_and(|faulty| faulty.told.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_changes_in_two_steps() {
        let mut watched = Watched::new(1);
        assert!(watched.knows(&1, 10_000) && !watched.is_settling());
        assert_eq!(watched.faulty(&"mismatch", 10_000), Verdict::Retry);
        assert!(watched.is_settling());
        assert_eq!(watched.faulty(&"no key", 14_999), Verdict::Retry);
        assert!(!watched.knows(&2, 14_999));
        watched.took(2);
        assert!(watched.knows(&2, 15_000));
        // Each change has its own time.
        assert_eq!(watched.faulty(&"mismatch", 15_000), Verdict::Retry);
        assert!(watched.knows(&2, 15_001));
        assert_eq!(watched.faulty(&"mismatch", 25_000), Verdict::Retry);
    }

    #[test]
    fn a_fault_that_stays_is_told_once() {
        let mut watched = Watched::new(1);
        assert_eq!(watched.faulty(&"mismatch", 100), Verdict::Retry);
        assert_eq!(watched.faulty(&"mismatch", 5_100), Verdict::Report);
        assert!(!watched.is_settling());
        assert_eq!(watched.faulty(&"mismatch", 60_000), Verdict::Keep);
        assert_eq!(watched.faulty(&"expired", 61_000), Verdict::Report);
        watched.force();
        assert_eq!(watched.faulty(&"expired", 62_000), Verdict::Report);
    }

    #[test]
    fn what_was_refused_is_tried_again_later() {
        let mut watched = Watched::new(1);
        assert!(!watched.knows(&2, 0));
        watched.refused(2, 0);
        assert!(watched.knows(&2, 59_999) && !watched.knows(&3, 0));
        assert!(!watched.knows(&2, 60_000));
        watched.refused(2, 60_000);
        watched.force();
        assert!(!watched.knows(&2, 60_001) && !watched.knows(&1, 60_001));
        // Back to what is in use, and to the refused one again.
        watched.refused(2, 60_002);
        assert!(watched.knows(&1, 60_003));
        assert!(!watched.knows(&2, 60_004));
    }
}

//! A database that came back older than it was, at a known place of its stream: a replica that was behind took over, or it
//! was started from an older file.
//!
//! Its stream goes on from that place. Everything that was known to have been executed counts as executed still: own
//! operations behind the place are with the other sites, or will be, and keep their numbers. What it lacks is made good
//! key by key: whatever was not stable there has left nothing certain in its keys, so each of them waits for another
//! site's value (`converge/key/healing.rs`). A repair of a conflict is told by no operation, but it is of such a key.
//!
//! Invariants: what was stable at the place is in the database as the rules have it. Until every key is whole again this
//! site settles nothing behind the point, its logs reach back to it, and a restart begins the healing anew.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::journal::Journal;
use super::site::{HEALING, Site};
use crate::causality::{Dot, Seq, SiteIx, Vector};

/// More keys are a matter for a copy of the whole data: each takes memory, and travels alone.
pub const KEYS_MAX: usize = 200_000;

/// Why what a database has lost cannot be made good key by key. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealError {
    /// Nobody knows any more what was stable there.
    #[error("no record of what had settled at that point of its stream is left in the log")]
    NoRecord,
    /// The log does not reach back so far.
    #[error("the log here does not reach back to operation {from} of site {site}, which had not settled")]
    Trimmed {
        /// Whose operation.
        site: String,
        /// The first that is needed and not there.
        from: Seq,
    },
    /// What emptied a database names no keys.
    #[error("among what it lost is a FLUSHALL, FLUSHDB or SWAPDB of site {site}")]
    Databases {
        /// Whose.
        site: String,
    },
    /// Too much.
    #[error("it lost writes to more than {KEYS_MAX} keys")]
    TooMany,
    /// There is nobody to ask.
    #[error("there is no other site")]
    Alone,
}

impl<J: Journal> Site<J> {
    /// Behind which point the database has lost what it held, until it is whole again.
    pub fn healing(&self) -> Option<&Vector> {
        self.healing.as_ref()
    }

    /// The keys that would have to be healed behind this point, which was stable where the database's stream goes on.
    ///
    /// # Errors
    /// It cannot be healed.
    pub fn lost_keys(&mut self, stable: &Vector) -> Result<BTreeSet<(u64, u32, Bytes)>, HealError> {
        if self.roster.count() == 1 {
            return Err(HealError::Alone);
        }
        let mut keys = BTreeSet::new();
        for site in self.roster.clone().all() {
            for seq in stable.get(site) + 1..=self.past.observed.get(site) {
                self.add_keys_of(Dot { site, seq }, &mut keys)?;
            }
        }
        Ok(keys)
    }

    fn add_keys_of(&mut self, dot: Dot, keys: &mut BTreeSet<(u64, u32, Bytes)>) -> Result<(), HealError> {
        let site = || self.roster.name(dot.site).to_string();
        let Some((batch, at)) = self.past.row_of(dot) else {
            return Err(HealError::Trimmed {
                site: site(),
                from: dot.seq,
            });
        };
        if batch.row(at).is_some_and(|row| row.class.is_of_databases()) {
            return Err(HealError::Databases { site: site() });
        }
        let shares = self.past.shares_of(dot).into_iter();
        let written = shares.filter(|(_, share)| share.operation.is_some());
        keys.extend(written.map(|(fingerprint, share)| (fingerprint, share.db, share.key)));
        match keys.len() > KEYS_MAX {
            true => Err(HealError::TooMany),
            false => Ok(()),
        }
    }

    /// The database lost what it held behind this point, or an earlier run was not done with making it good: to be called
    /// behind [`Site::recover`]. Gives how many keys wait.
    ///
    /// # Errors
    /// As [`Site::lost_keys`].
    pub fn heal(&mut self, stable: &Vector) -> Result<usize, HealError> {
        let keys = self.lost_keys(stable)?;
        let Some(peer) = self.roster.clone().peers().next() else {
            return Err(HealError::Alone);
        };
        for (fingerprint, db, key) in &keys {
            self.converge.heal((*fingerprint, *db, key), peer, &mut self.past);
        }
        self.settled.hold_open(HEALING, stable);
        self.healing = Some(stable.clone());
        Ok(keys.len())
    }

    /// Whoever is connected is asked.
    pub(super) fn heal_by_connected(&mut self) {
        if self.healing.is_none() {
            return;
        }
        let peers = self.roster.peers();
        let connected: Vec<SiteIx> = peers.filter(|site| self.peers.get(*site).connected).collect();
        self.converge.heal_by(&connected);
        if self.converge.is_dirty() {
            self.settle_now();
        }
    }

    /// What is whole again holds nothing back any more.
    pub(super) fn end_healing(&mut self) {
        if self.healing.is_some() && self.converge.keys_healing() == 0 {
            self.healing = None;
            self.settled.release(HEALING);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;

    use super::super::window_tests::{Memory, execute, receive, site, write};
    use super::*;
    use crate::resp::encode;

    const B: SiteIx = SiteIx(1);

    /// Site a, begun again with a database that has lost these writes, all of which are in its log.
    fn fallen(commands: &[&[&[u8]]]) -> Site<Memory> {
        let log = Memory::default();
        let mut before = site("a", "b", log.clone());
        commands.iter().for_each(|command| write(&mut before, command));
        let mut a = site("a", "b", log);
        let (source, nothing) = (before.source(), Vector::zero(2));
        a.recover(source, before.observed(), &nothing, before.time());
        a
    }

    #[test]
    fn what_was_lost_begins_anew_with_what_another_site_has() {
        let mut a = fallen(&[&[b"INCRBY", b"n", b"5"]]);
        let nothing = Vector::zero(2);
        assert_eq!(a.heal(&nothing), Ok(1));
        a.apply_connected();
        assert_eq!(execute(&mut a), "");
        a.prune();
        assert_eq!((a.converge().keys_healing(), a.healing()), (1, Some(&nothing)));
        assert_eq!(a.reminders(0, 9), [(B, 0, Bytes::from_static(b"n"))]);
        // A client's write meanwhile is an operation, and nothing more.
        write(&mut a, &[b"INCRBY", b"n", b"2"]);
        assert_eq!(execute(&mut a), "");
        // There was no such key when the other one was asked.
        let log = Memory::default();
        write(&mut site("b", "a", log.clone()), &[b"DEL", b"n"]);
        receive(&mut a, &log, B);
        while a.deliver() {}
        let commands = execute(&mut a);
        let mut expected = BytesMut::new();
        encode::command(&mut expected, &[b"DEL", b"n"]);
        encode::command(&mut expected, &[b"SET", b"n", b"7"]);
        assert_eq!(commands.as_bytes(), expected);
        a.prune();
        assert_eq!((a.converge().keys_healing(), a.healing()), (0, None));
    }

    /// Where the other one is gone for good, what this database holds is what there is.
    #[test]
    fn an_operator_can_end_the_wait() {
        let mut a = fallen(&[&[b"SET", b"k", b"v"]]);
        assert_eq!(a.heal(&Vector::zero(2)), Ok(1));
        a.apply_connected();
        execute(&mut a);
        assert_eq!(a.overrule(B), 1);
        a.prune();
        assert_eq!((a.converge().keys_healing(), a.healing()), (0, None));
        assert_eq!(a.converge().keys_waiting(), 0);
    }

    #[test]
    fn what_names_no_keys_is_refused() {
        let refused = |mut a: Site<Memory>| a.heal(&Vector::zero(2)).unwrap_err();
        let site = "a".to_owned();
        assert_eq!(
            refused(fallen(&[&[b"SET", b"k", b"v"], &[b"FLUSHALL"]])),
            HealError::Databases { site }
        );
    }
}

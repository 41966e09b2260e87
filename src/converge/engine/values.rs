//! Values that are read from the database: for the others, or for this site alone.

use bytes::Bytes;

use super::{Converge, History, KeyOperation, compare_later};
use crate::causality::{Dot, Seq, SiteIx};
use crate::command::took;
use crate::converge::key::{KeyState, TxnId};
use crate::converge::mutation::{Mutation, off};

impl Converge {
    /// Another site, which holds so many operations of this one, demands the value of a key: it is shipped by the next
    /// [`Converge::settle`], in conflict or not.
    pub fn demand_state(
        &mut self,
        (fingerprint, db, key): (u64, u32, &Bytes),
        (by, holds): (SiteIx, Seq),
        history: &mut impl History,
    ) {
        self.open(fingerprint, history);
        let (me, place) = (self.me, (fingerprint, db, key));
        self.conflicts.enter_key(place, |state| {
            if !state.has_sent(me, holds) {
                state.demand_state(Some(by));
            }
        });
        self.compare(fingerprint, db, key);
    }

    /// What the database holds of a key is older than it was: it waits for the value of this site, in conflict or not.
    pub fn heal(&mut self, place: (u64, u32, &Bytes), by: SiteIx, history: &mut impl History) {
        let (fingerprint, db, key) = place;
        if off(Mutation::Heals) {
            return;
        }
        self.open(fingerprint, history);
        self.conflicts.enter_key(place, |state| state.heal(by));
        self.compare(fingerprint, db, key);
    }

    /// Keys that ask none of these sites for their value, which is older here than it was, ask one of them.
    pub fn heal_by(&mut self, sites: &[SiteIx]) {
        if sites.is_empty() {
            return;
        }
        let dirty = &mut self.dirty;
        self.conflicts.change_waiting(|fingerprint, key| {
            let site = sites[(fingerprint % sites.len() as u64) as usize];
            let is_away = key.heals_by().is_some_and(|asked| !sites.contains(&asked));
            if is_away && key.heal_by(site) {
                compare_later(dirty, fingerprint, key);
            }
        });
    }

    /// A session with this site is up: what it was asked for in an earlier one may be lost, and it may have forgotten it.
    pub fn ask_again(&mut self, site: SiteIx) {
        self.conflicts.change_waiting(|_, key| key.ask_again(site));
    }

    /// The value read for a key in a transaction of ours has become this operation.
    pub fn shipped(&mut self, fingerprint: u64, share: KeyOperation) {
        if let Some(operation) = share.operation {
            let place = (fingerprint, share.db, &share.key);
            self.conflicts.enter_key(place, |state| state.shipped(operation));
            self.compare(fingerprint, share.db, &share.key);
        }
    }

    /// A derived operation, executed as it came, had no effect here: only its origin knows the result.
    /// [`Converge::take_contested`] gives it.
    pub fn doubt_result(&mut self, dot: Dot) {
        self.contest(dot, true);
    }

    /// Such an operation had none on this key either: unless that is known of it, being in conflict, it is found out what is
    /// missing.
    pub fn doubt_effect(&mut self, place: (u64, u32, &Bytes), history: &mut impl History) {
        if !self.conflicts.contains(place.0) {
            self.materialise(place.0, history);
            self.change_and_compare(place, KeyState::lose_actual);
        }
    }

    /// Puts a key in conflict, unless it is.
    pub fn open(&mut self, fingerprint: u64, history: &mut impl History) {
        if !self.conflicts.contains(fingerprint) {
            self.materialise(fingerprint, history);
        }
    }

    /// A transaction of ours, with operations on this key or repairs, will not be executed any more.
    pub fn passed_over(&mut self, place: (u64, u32, &Bytes), txn: TxnId) {
        self.change_and_compare(place, |state| state.passed_over(txn));
    }

    /// The value could not be read; try again.
    pub fn ship_failed(&mut self, key: (u64, u32, &Bytes)) {
        self.change_and_compare(key, KeyState::snapshot_failed);
    }

    /// Whether one of an operation's keys is a list that has to be read before it is delivered.
    pub(super) fn waits_to_be_read(&mut self, fingerprint: u64, shares: &[KeyOperation]) -> bool {
        let (me, means) = (self.me, self.means);
        let mut waits = false;
        for share in shares {
            let Some(operation) = &share.operation else {
                continue;
            };
            let place = (fingerprint, share.db, &share.key);
            let asked = |state: &mut KeyState| state.waits_to_be_read(operation, me, means);
            if self.conflicts.change_key(place, asked) == Some(true) {
                self.compare(fingerprint, share.db, &share.key);
                waits = true;
            }
        }
        waits
    }

    /// A list was read in a transaction of ours; `None` if the key holds something else.
    pub fn read(&mut self, key: (u64, u32, &Bytes), found: Option<&[Bytes]>) {
        self.change_and_compare(key, |state| state.read(found));
    }

    /// The key turned out to have no expiry time in the database, or not to be there.
    pub fn no_time(&mut self, key: (u64, u32, &Bytes)) {
        self.change_and_compare(key, KeyState::no_time);
    }

    /// An empty window at site `me`. What pops of this site took is told to the others: [`Converge::take_told`] is called
    /// before each [`Converge::settle`].
    pub fn telling_pops(me: SiteIx) -> Converge {
        Converge {
            tells: true,
            ..Converge::new(me)
        }
    }

    /// What the other sites are to be told of pops of this site, before anything of theirs is announced: commands, and
    /// the keys that they are about.
    pub fn take_told(&mut self) -> Vec<(u64, u32, Bytes)> {
        let mut told = Vec::new();
        for (fingerprint, db, key) in &self.dirty {
            let place = (*fingerprint, *db, key);
            let pops = self.conflicts.change_key(place, KeyState::take_told);
            for (pop, took) in pops.into_iter().flatten() {
                told.push((*fingerprint, *db, took::encode(key, pop, &took)));
            }
        }
        told
    }

    fn change_and_compare(&mut self, place: (u64, u32, &Bytes), change: impl FnOnce(&mut KeyState)) {
        let (fingerprint, db, key) = place;
        if self.conflicts.change_key(place, change).is_some() {
            self.compare(fingerprint, db, key);
        }
    }
}

//! The window and the keys in conflict, together.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::key::{KeyState, Repair, TxnId};
use super::losses::{Loss, Rule};
use super::operation::Operation;
use super::window::{Touch, Window};
use crate::causality::{Dot, SiteIx, Vector};
use crate::command::EffectClass;

/// Losses kept for whoever writes them down.
const LOSSES_MAX: usize = 1024;

/// One key's share of an operation, as it is found in the history.
#[derive(Debug, Clone)]
pub struct KeyOperation {
    /// Database number.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// The operation; `None` if it only read this key.
    pub operation: Option<Operation>,
    /// Whether a key that it wrote depends on keys that it read or on other keys' state.
    pub has_derived: bool,
}

/// What the engine has to look up when a key turns out to be in conflict.
pub trait History {
    /// An operation's shares on keys with this fingerprint.
    fn operations(&mut self, dot: Dot, fingerprint: u64) -> Vec<KeyOperation>;
    /// The transaction in which a remote operation is on its way to the database, if its echo has not come.
    /// From then on the key's share in that transaction is watched.
    fn in_flight(&mut self, dot: Dot, fingerprint: u64, db: u32, key: &Bytes) -> Option<TxnId>;
}

/// An operation on one of its keys, before anything is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Fingerprint of (db, key).
    pub fingerprint: u64,
    /// Its identity.
    pub dot: Dot,
    /// What kind of effect it has.
    pub class: EffectClass,
    /// Its causal past.
    pub past: &'a Vector,
}

/// The repair of one key, to be submitted in the transaction that was named.
#[derive(Debug)]
pub struct KeyRepair {
    /// Fingerprint of (db, key).
    pub fingerprint: u64,
    /// Database number.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// What to submit.
    pub repair: Repair,
}

/// What becomes of a remote operation on one of its keys.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing conflicts: it is applied as the bytes that arrived.
    Verbatim,
    /// The key is in conflict: what [`Converge::settle`] gives takes its place.
    InConflict,
}

/// Counters since the start.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    /// Keys that came into conflict.
    pub conflicts: u64,
    /// Repairs submitted after a race with a local write.
    pub repairs: u64,
    /// Values shipped for others.
    pub states: u64,
    /// Conflicts resolved against somebody, by [`Rule::at`].
    pub losses: [u64; Rule::ALL.len()],
}

/// The window and the keys in conflict.
#[derive(Debug)]
pub struct Converge {
    me: SiteIx,
    window: Window,
    conflicts: BTreeMap<u64, Vec<KeyState>>,
    counters: Counters,
    contested: Vec<Dot>,
    /// Keys to be compared by the next [`Converge::settle`].
    dirty: Vec<(u64, u32, Bytes)>,
    /// Told to nobody yet; the newest are left out when nobody asks.
    losses: Vec<Loss>,
}

impl Converge {
    /// An empty window at site `me`.
    pub fn new(me: SiteIx) -> Converge {
        Converge {
            me,
            window: Window::default(),
            conflicts: BTreeMap::new(),
            counters: Counters::default(),
            contested: Vec::new(),
            dirty: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Unstable operations in the window, one per key that they touch.
    pub fn unstable(&self) -> usize {
        self.window.len()
            + self
                .conflicts
                .values()
                .flatten()
                .map(|key| key.operations().len())
                .sum::<usize>()
    }

    /// Keys in conflict.
    pub fn keys_in_conflict(&self) -> usize {
        self.conflicts.values().map(Vec::len).sum()
    }

    /// Keys that wait for another site to ship their value.
    pub fn keys_waiting(&self) -> usize {
        self.conflicts
            .values()
            .flatten()
            .filter(|key| key.is_waiting())
            .count()
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The keys in conflict.
    pub fn keys(&self) -> impl Iterator<Item = &KeyState> {
        self.conflicts.values().flatten()
    }

    /// A local operation was read from the stream. True if its key is in conflict.
    #[inline]
    pub fn local(&mut self, arrival: Arrival<'_>, history: &mut impl History) -> bool {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast => false,
            touch => {
                self.local_in_conflict(arrival, touch, history);
                true
            }
        }
    }

    #[cold]
    fn local_in_conflict(&mut self, arrival: Arrival<'_>, touch: Touch, history: &mut impl History) {
        if touch == Touch::Conflict {
            self.materialise(arrival.fingerprint, history);
        }
        for share in history.operations(arrival.dot, arrival.fingerprint) {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            self.key_mut(arrival.fingerprint, share.db, &share.key)
                .executed(operation);
            // Also with nothing in flight: an expiry time that had lost its key may have found a new one.
            self.compare(arrival.fingerprint, share.db, &share.key);
        }
    }

    /// A remote operation is to be submitted: as it came, or, in the same transaction, as what is settled.
    #[inline]
    pub fn remote(&mut self, arrival: Arrival<'_>, history: &mut impl History) -> Verdict {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast => Verdict::Verbatim,
            touch => {
                self.remote_in_conflict(arrival, touch, history);
                Verdict::InConflict
            }
        }
    }

    #[cold]
    fn remote_in_conflict(&mut self, arrival: Arrival<'_>, touch: Touch, history: &mut impl History) {
        if touch == Touch::Conflict {
            self.materialise(arrival.fingerprint, history);
        }
        for share in history.operations(arrival.dot, arrival.fingerprint) {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            self.key_mut(arrival.fingerprint, share.db, &share.key)
                .delivered(operation);
            self.compare(arrival.fingerprint, share.db, &share.key);
        }
    }

    /// Like [`Converge::remote`] for a key that has to take the slow path because another key of the same
    /// command does.
    pub fn remote_slowly(&mut self, arrival: Arrival<'_>, history: &mut impl History) {
        let touch = if self.conflicts.contains_key(&arrival.fingerprint) {
            Touch::InConflict
        } else {
            Touch::Conflict
        };
        self.remote_in_conflict(arrival, touch, history);
    }

    /// An operation was executed while nobody looked (before a restart).
    pub fn executed(&mut self, arrival: Arrival<'_>, history: &mut impl History) {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast => return,
            Touch::Conflict => self.materialise(arrival.fingerprint, history),
            Touch::InConflict => {}
        }
        for share in history.operations(arrival.dot, arrival.fingerprint) {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            self.key_mut(arrival.fingerprint, share.db, &share.key)
                .executed(operation);
        }
    }

    fn contest(&mut self, dot: Dot, has_derived: bool) {
        if has_derived && !self.contested.contains(&dot) {
            self.contested.push(dot);
        }
    }

    /// Whether [`Converge::take_contested`] has something to give.
    pub fn has_contested(&self) -> bool {
        !self.contested.is_empty()
    }

    /// Derived operations one of whose keys came into conflict since this was last asked: the keys that they
    /// wrote have to be put in conflict too, with [`Converge::contest_key`].
    pub fn take_contested(&mut self) -> Vec<Dot> {
        std::mem::take(&mut self.contested)
    }

    /// The value that a derived operation left in this key can only come from its origin.
    pub fn contest_key(&mut self, fingerprint: u64, dot: Dot, history: &mut impl History) {
        if !self.conflicts.contains_key(&fingerprint) {
            self.materialise(fingerprint, history);
        }
        for key in self.conflicts.entry(fingerprint).or_default() {
            if key.contest(dot) && !key.is_dirty() {
                key.mark_dirty();
                self.dirty.push((fingerprint, key.db(), key.key().clone()));
            }
        }
    }

    /// Whether an operation on this key would find a conflict.
    pub fn would_conflict(&self, arrival: Arrival<'_>) -> bool {
        self.window
            .would_conflict(arrival.fingerprint, arrival.class, arrival.past)
    }

    /// Adds an operation that empties whole databases to every key that it is concurrent with. With `txn` it
    /// is on its way in that transaction, without it has been executed.
    pub fn flush(
        &mut self,
        operation: &Operation,
        only_db: Option<u32>,
        txn: Option<TxnId>,
        history: &mut impl History,
    ) -> Vec<(u64, u32, Bytes)> {
        for fingerprint in self.window.keys_concurrent_with(&operation.past) {
            self.materialise(fingerprint, history);
        }
        let mut touched = Vec::new();
        for (&fingerprint, keys) in &mut self.conflicts {
            for key in keys
                .iter_mut()
                .filter(|key| only_db.is_none_or(|db| db == key.db()))
            {
                match txn {
                    Some(txn) => key.submitted(operation.clone(), txn),
                    None => key.executed(operation.clone()),
                }
                touched.push((fingerprint, key.db(), key.key().clone()));
            }
        }
        touched
    }

    /// Adds an operation that empties whole databases, and has been executed or submitted, to one key.
    pub fn meet(
        &mut self,
        fingerprint: u64,
        db: u32,
        key: &Bytes,
        flush: &Operation,
        history: &mut impl History,
    ) {
        if !self.conflicts.contains_key(&fingerprint) {
            self.materialise(fingerprint, history);
        }
        let state = self.key_mut(fingerprint, db, key);
        if state.operations().iter().any(|op| op.dot == flush.dot) {
            return;
        }
        match history.in_flight(flush.dot, fingerprint, db, key) {
            Some(txn) => state.submitted(flush.clone(), txn),
            // It was executed before the key's operation: nothing of the key's is gone by it.
            None => state.delivered(flush.clone()),
        }
        self.compare(fingerprint, db, key);
    }

    /// Puts a key in conflict, with everything unstable on it.
    pub fn materialise(&mut self, fingerprint: u64, history: &mut impl History) {
        self.counters.conflicts += 1;
        self.conflicts.entry(fingerprint).or_default();
        for dot in self.window.take(fingerprint) {
            for share in history.operations(dot, fingerprint) {
                self.contest(dot, share.has_derived);
                let Some(operation) = share.operation else {
                    continue;
                };
                let in_flight = history.in_flight(dot, fingerprint, share.db, &share.key);
                let key = self.key_mut(fingerprint, share.db, &share.key);
                match in_flight {
                    Some(txn) => key.submitted(operation, txn),
                    None => key.executed(operation),
                }
            }
        }
    }

    fn key_mut(&mut self, fingerprint: u64, db: u32, key: &Bytes) -> &mut KeyState {
        let keys = self.conflicts.entry(fingerprint).or_default();
        let at = keys
            .iter()
            .position(|state| state.db() == db && state.key() == key)
            .unwrap_or(keys.len());
        if at == keys.len() {
            keys.push(KeyState::new(db, key.clone()));
        }
        &mut keys[at]
    }

    /// A transaction came back with, for each of this key's commands in it, whether it took effect.
    pub fn echoed(&mut self, (fingerprint, db, key): (u64, u32, &Bytes), txn: TxnId, effective: &[bool]) {
        if let Some(state) = self.known(fingerprint, db, key) {
            state.echoed(txn, effective);
            self.compare(fingerprint, db, key);
        }
    }

    /// The value read for a key in a transaction of ours has become this operation.
    pub fn shipped(&mut self, fingerprint: u64, share: KeyOperation) {
        if let Some(operation) = share.operation {
            self.key_mut(fingerprint, share.db, &share.key).shipped(operation);
            self.compare(fingerprint, share.db, &share.key);
        }
    }

    /// The value could not be read; try again.
    pub fn ship_failed(&mut self, (fingerprint, db, key): (u64, u32, &Bytes)) {
        if let Some(state) = self.known(fingerprint, db, key) {
            state.snapshot_failed();
            self.compare(fingerprint, db, key);
        }
    }

    /// Ideal and actual of a key are compared by the next [`Converge::settle`].
    pub fn compare(&mut self, fingerprint: u64, db: u32, key: &Bytes) {
        if let Some(state) = self.known(fingerprint, db, key)
            && !state.is_dirty()
        {
            state.mark_dirty();
            self.dirty.push((fingerprint, db, key.clone()));
        }
    }

    /// Whether [`Converge::settle`] has something to compare.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Compares ideal and actual of every key that something happened to since the last call: however much
    /// that was, it is one comparison. What is missing goes into transaction `txn`.
    pub fn settle(&mut self, txn: TxnId) -> Vec<KeyRepair> {
        let me = self.me;
        let mut repairs = Vec::new();
        for (fingerprint, db, key) in std::mem::take(&mut self.dirty) {
            let Some(state) = self.known(fingerprint, db, &key) else {
                continue;
            };
            let repair = state.reconcile(me, txn);
            let losses = state.take_losses();
            self.note(losses);
            if repair.is_empty() {
                continue;
            }
            self.counters.repairs += 1;
            self.counters.states += u64::from(repair.ship_state);
            repairs.push(KeyRepair {
                fingerprint,
                db,
                key,
                repair,
            });
        }
        repairs
    }

    fn note(&mut self, losses: Vec<Loss>) {
        for loss in losses {
            self.counters.losses[loss.rule.at()] += 1;
            if self.losses.len() < LOSSES_MAX {
                self.losses.push(loss);
            }
        }
    }

    /// Conflicts that were resolved against somebody since this was last asked, as far as they were kept.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Forgets what the database holds under the keys in conflict; all are compared anew.
    pub fn lose_actual(&mut self) {
        self.dirty.clear();
        for (&fingerprint, states) in &mut self.conflicts {
            for state in states {
                state.lose_actual();
                state.mark_dirty();
                self.dirty.push((fingerprint, state.db(), state.key().clone()));
            }
        }
    }

    /// Forgets all operations: a value that has seen them takes their place. Counters stay.
    pub fn forget(&mut self) {
        self.window = Window::default();
        self.conflicts.clear();
        self.contested.clear();
        self.dirty.clear();
    }

    fn known(&mut self, fingerprint: u64, db: u32, key: &Bytes) -> Option<&mut KeyState> {
        let keys = self.conflicts.get_mut(&fingerprint)?;
        keys.iter_mut()
            .find(|state| state.db() == db && state.key() == key)
    }

    /// Lets go of what is stable and settled. Keys whose wait may have ended by it are compared again.
    pub fn prune(&mut self, stable: &Vector) {
        self.window.trim(stable);
        let (window, dirty) = (&mut self.window, &mut self.dirty);
        self.conflicts.retain(|&fingerprint, keys| {
            keys.retain_mut(|key| {
                if key.is_waiting() && !key.is_dirty() {
                    key.mark_dirty();
                    dirty.push((fingerprint, key.db(), key.key().clone()));
                }
                !key.prune(stable)
            });
            if keys.is_empty() {
                window.release(fingerprint);
            }
            !keys.is_empty()
        });
    }

    /// The fingerprints of all keys, in conflict or not, on which the window holds something that this past
    /// does not include.
    pub fn keys_concurrent_with(&self, past: &Vector) -> Vec<u64> {
        let mut keys = self.window.keys_concurrent_with(past);
        keys.extend(self.conflicts.keys());
        keys.sort_unstable();
        keys
    }
}

//! The keys in conflict, with what is asked of all of them kept as sums.
//!
//! A key leaves when all its operations are stable and nothing is on its way. So that a stable point that moves
//! costs what became stable and not what is in conflict, each key watches one of its operations that is not
//! stable yet; it is visited when that one is. A key that only something on its way holds is visited when
//! something has happened to it.
//!
//! Invariant: every key watches an operation, is in the list of those to be visited, or is held.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry as Place};

use bytes::Bytes;

use super::key::KeyState;
use super::losses::Loss;
use crate::causality::{Dot, Seq, SiteIx, Vector};

/// The keys of one fingerprint.
#[derive(Debug, Default)]
struct Entry {
    states: Vec<KeyState>,
    visit: Visit,
}

/// When an entry is visited.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// At the next chance: it is in the list, or on a visit.
    #[default]
    Next,
    /// When the operation that it watches is stable.
    Stable,
    /// When something has happened to it.
    Held,
}

/// What is asked of all keys together.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    keys: usize,
    operations: usize,
    waiting: usize,
    healing: usize,
}

/// The keys in conflict, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Contested {
    entries: BTreeMap<u64, Entry>,
    sums: Sums,
    /// The fingerprints of keys that wait for another site.
    waiting: BTreeSet<u64>,
    watched: BTreeSet<(SiteIx, Seq, u64)>,
    next: Vec<u64>,
    /// Told by keys when something left them.
    losses: Vec<Loss>,
    /// Keys of which something left, so that they have to be compared.
    dirty: Vec<(u64, u32, Bytes)>,
}

impl Sums {
    fn of(states: &[KeyState]) -> Sums {
        Sums {
            keys: states.len(),
            operations: states.iter().map(|state| state.operations().len()).sum(),
            waiting: states
                .iter()
                .filter(|state| state.waiting_for().is_some())
                .count(),
            healing: states.iter().filter(|state| state.is_healing()).count(),
        }
    }

    fn replace(&mut self, before: Sums, after: Sums) {
        self.keys = self.keys - before.keys + after.keys;
        self.operations = self.operations - before.operations + after.operations;
        self.waiting = self.waiting - before.waiting + after.waiting;
        self.healing = self.healing - before.healing + after.healing;
    }
}

impl Contested {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.sums.keys
    }

    /// The operations kept for them.
    pub fn operations(&self) -> usize {
        self.sums.operations
    }

    /// Keys that wait for another site.
    pub fn waiting(&self) -> usize {
        self.sums.waiting
    }

    /// Keys whose value is older here than it was.
    pub fn healing(&self) -> usize {
        self.sums.healing
    }

    /// Since when the key has been waiting that waits longest, Unix milliseconds.
    pub fn waiting_since_ms(&self) -> Option<u64> {
        let entries = self
            .waiting
            .iter()
            .filter_map(|fingerprint| self.entries.get(fingerprint));
        let states = entries.flat_map(|entry| &entry.states);
        states.filter_map(KeyState::waiting_since_ms).min()
    }

    /// Whether the key of this fingerprint is in conflict.
    pub fn contains(&self, fingerprint: u64) -> bool {
        self.entries.contains_key(&fingerprint)
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &KeyState> {
        self.entries.values().flat_map(|entry| &entry.states)
    }

    /// The key of this fingerprint is in conflict from now on.
    pub fn begin(&mut self, fingerprint: u64) {
        if let Place::Vacant(place) = self.entries.entry(fingerprint) {
            place.insert(Entry::default());
            self.next.push(fingerprint);
        }
    }

    /// Something happens to the keys of one fingerprint, if it is in conflict.
    pub fn change<R>(&mut self, fingerprint: u64, change: impl FnOnce(&mut Vec<KeyState>) -> R) -> Option<R> {
        let entry = self.entries.get_mut(&fingerprint)?;
        if entry.visit == Visit::Held {
            entry.visit = Visit::Next;
            self.next.push(fingerprint);
        }
        let before = Sums::of(&entry.states);
        let result = change(&mut entry.states);
        let after = Sums::of(&entry.states);
        self.sums.replace(before, after);
        if before.waiting == 0 && after.waiting > 0 {
            self.waiting.insert(fingerprint);
        } else if before.waiting > 0 && after.waiting == 0 {
            self.waiting.remove(&fingerprint);
        }
        Some(result)
    }

    /// Something happens to one key, if it is in conflict.
    pub fn change_key<R>(
        &mut self,
        (fingerprint, db, key): (u64, u32, &Bytes),
        change: impl FnOnce(&mut KeyState) -> R,
    ) -> Option<R> {
        let is_it = |state: &&mut KeyState| state.db() == db && state.key() == key;
        let find = |states: &mut Vec<KeyState>| states.iter_mut().find(is_it).map(change);
        self.change(fingerprint, find)?
    }

    /// Something happens to one key, which is in conflict from now on.
    pub fn enter_key(
        &mut self,
        (fingerprint, db, key): (u64, u32, &Bytes),
        change: impl FnOnce(&mut KeyState),
    ) {
        self.begin(fingerprint);
        self.change(fingerprint, |states| {
            let is_it = |state: &KeyState| state.db() == db && state.key() == key;
            let at = states.iter().position(is_it).unwrap_or(states.len());
            if at == states.len() {
                states.push(KeyState::new(db, key.clone()));
            }
            change(&mut states[at]);
        });
    }

    /// Something happens to every key.
    pub fn change_each(&mut self, change: impl FnMut(u64, &mut KeyState)) {
        let fingerprints = self.entries.keys().copied().collect();
        self.change_these(fingerprints, change);
    }

    /// Something happens to every key that waits, and to those of the same fingerprint.
    pub fn change_waiting(&mut self, change: impl FnMut(u64, &mut KeyState)) {
        let fingerprints = self.waiting.iter().copied().collect();
        self.change_these(fingerprints, change);
    }

    fn change_these(&mut self, fingerprints: Vec<u64>, mut change: impl FnMut(u64, &mut KeyState)) {
        for fingerprint in fingerprints {
            self.change(fingerprint, |states| {
                states.iter_mut().for_each(|state| change(fingerprint, state));
            });
        }
    }

    /// Lets go of what is stable and settled; gives the fingerprints that are not in conflict any more.
    pub fn prune(&mut self, stable: &Vector) -> Vec<u64> {
        let mut visits = std::mem::take(&mut self.next);
        for (site, seq) in stable.entries() {
            let up_to_here = (site, 0, 0)..=(site, seq, u64::MAX);
            let stable = self.watched.extract_if(up_to_here, |_| true);
            visits.extend(stable.map(|watch| watch.2));
        }
        visits.retain(|&fingerprint| self.visit(fingerprint, stable));
        visits
    }

    /// What was resolved against somebody, told since this was last asked.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Keys that have to be compared because of what left them since this was last asked.
    pub fn take_dirty(&mut self) -> Vec<(u64, u32, Bytes)> {
        std::mem::take(&mut self.dirty)
    }

    /// Whether the key is let go of.
    fn visit(&mut self, fingerprint: u64, stable: &Vector) -> bool {
        let mut losses = std::mem::take(&mut self.losses);
        let mut dirty = std::mem::take(&mut self.dirty);
        self.change(fingerprint, |states| {
            states.retain_mut(|key| {
                let was_dirty = key.is_dirty();
                let is_settled = key.prune(stable);
                losses.extend(key.take_losses());
                if key.is_dirty() && !was_dirty {
                    dirty.push((fingerprint, key.db(), key.key().clone()));
                }
                !is_settled
            });
        });
        (self.losses, self.dirty) = (losses, dirty);
        let Some(entry) = self.entries.get_mut(&fingerprint) else {
            return false;
        };
        if entry.states.is_empty() {
            self.entries.remove(&fingerprint);
            return true;
        }
        let mut operations = entry.states.iter().flat_map(KeyState::operations);
        entry.visit = match operations.find(|operation| !stable.includes(operation.dot)) {
            Some(operation) => {
                let Dot { site, seq } = operation.dot;
                self.watched.insert((site, seq, fingerprint));
                Visit::Stable
            }
            None => Visit::Held,
        };
        false
    }
}

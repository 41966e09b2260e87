//! What empties whole databases, and the keys in conflict that it is an operation of.

use bytes::Bytes;

use super::{Converge, History};
use crate::causality::{Dot, Vector};
use crate::converge::key::{KeyState, TxnId};
use crate::converge::mutation::{Mutation, off};
use crate::converge::operation::Operation;

impl Converge {
    /// Adds an operation that empties whole databases to every key that it is concurrent with. With `txn` it
    /// is on its way in that transaction, without it has been executed.
    pub fn flush(
        &mut self,
        operation: &Operation,
        only_db: Option<u32>,
        txn: Option<TxnId>,
        history: &mut impl History,
    ) -> Vec<(u64, u32, Bytes)> {
        // Without an answer the fault is kept, and nothing is submitted.
        let concurrent = self.window.keys_concurrent_with(&operation.past);
        for fingerprint in concurrent.unwrap_or_default() {
            self.materialise(fingerprint, history);
        }
        let mut touched = Vec::new();
        self.conflicts.change_each(|fingerprint, key| {
            if only_db.is_some_and(|db| db != key.db()) {
                return;
            }
            // What was older is gone with all else.
            key.end_healing();
            match txn {
                Some(txn) => key.submitted(operation.clone(), txn),
                None => key.executed(operation.clone()),
            }
            touched.push((fingerprint, key.db(), key.key().clone()));
        });
        self.flushes.push((operation.clone(), only_db));
        touched
    }

    /// Those that are not stable, and the database that each emptied, if it was one.
    pub fn flushes(&self) -> &[(Operation, Option<u32>)] {
        &self.flushes
    }

    /// What is stable is in the past of everything that is still to come.
    pub fn forget_flushes(&mut self, stable: &Vector) {
        self.flushes.retain(|(flush, _)| !stable.includes(flush.dot));
    }

    /// Adds an operation that empties whole databases, and has been executed or submitted, to one key.
    pub fn meet(
        &mut self,
        fingerprint: u64,
        db: u32,
        key: &Bytes,
        (arrived, flush): (Dot, &Operation),
        history: &mut impl History,
    ) {
        self.open(fingerprint, history);
        let place = (fingerprint, db, key);
        self.conflicts.enter_key(place, |state| {
            if !state.knows_flush(flush) {
                enter(state, fingerprint, (arrived, flush), history);
            }
        });
        self.compare(fingerprint, db, key);
    }

    /// Keys that come into conflict take in what emptied them before.
    pub(super) fn recall_flushes(&mut self, fingerprint: u64, history: &mut impl History) {
        if self.flushes.is_empty() || off(Mutation::FlushMeets) {
            return;
        }
        let flushes = self.flushes.clone();
        self.conflicts.change(fingerprint, |states| {
            for (flush, only_db) in &flushes {
                let is_its = |state: &&mut KeyState| only_db.is_none_or(|db| db == state.db());
                for state in states.iter_mut().filter(is_its) {
                    if state.was_emptied_by(flush) && !state.knows_flush(flush) {
                        enter(state, fingerprint, (flush.dot, flush), history);
                    }
                }
            }
        });
    }
}

fn enter(
    state: &mut KeyState,
    fingerprint: u64,
    (arrived, flush): (Dot, &Operation),
    history: &mut impl History,
) {
    let key = state.key().clone();
    match history.in_flight(flush.dot, fingerprint, state.db(), &key) {
        Some(txn) => state.submitted(flush.clone(), txn),
        None => state.flushed_before(flush.clone(), arrived),
    }
}

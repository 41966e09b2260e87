//! What was read from the stream, handled in its order: local operations enter the window, echoes tell what
//! our transactions did.

use std::rc::Rc;

use bytes::Bytes;

use super::journal::Journal;
use super::passed_over::earliest;
use super::site::{Barrier, DEFERRED, Site};
use super::txn::{Outcome, Reader, Txn};
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::EffectClass;
use crate::command::effect::Effect;
use crate::converge::mutation::{Mutation, off};
use crate::converge::{Arrival, Operation, Took, TxnId};
use crate::op::{Batch, Row};

/// Something the stream said.
#[derive(Debug)]
pub(super) enum Event {
    /// The rows up to here are next in order.
    Rows(usize),
    /// A marked transaction came back.
    Echo {
        /// Whose operations it carried; this site for repairs alone.
        site: SiteIx,
        /// The last of them; 0 for none.
        seq: Seq,
        /// Its number, if this run sent it.
        txn: Option<TxnId>,
        /// What it did.
        effects: Effects,
    },
    /// A list was read for this site alone; `None` if it is none.
    Read {
        /// Fingerprint of (db, key).
        fingerprint: u64,
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
        /// The transaction in which it was read.
        txn: TxnId,
        /// The elements.
        found: Option<Vec<Bytes>>,
    },
    /// A key was found to have no expiry time.
    NoTime {
        /// Fingerprint of (db, key).
        fingerprint: u64,
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
    },
    /// This row is a value that was read for the others, or an expiry time.
    Shipped {
        /// The row.
        row: usize,
    },
    /// This row is what the server removed by itself within the transaction whose echo follows.
    Removal {
        /// The row.
        row: usize,
    },
}

impl Event {
    /// Whether it is about rows behind so many: they come with the next batch, and so does what follows them.
    fn is_behind(&self, count: usize) -> bool {
        match self {
            Event::Rows(upto) => *upto > count,
            Event::Shipped { row } | Event::Removal { row } => *row >= count,
            Event::Echo { .. } | Event::Read { .. } | Event::NoTime { .. } => false,
        }
    }
}

/// Which commands of a transaction took effect.
#[derive(Debug)]
pub(super) enum Effects {
    All,
    Each(Vec<bool>, Vec<Removed>),
    /// It was sent by an earlier run.
    Unknown,
}

/// What the server removed by itself within a transaction.
#[derive(Debug)]
pub(super) struct Removed {
    /// Behind so many of the transaction's commands.
    pub behind: usize,
    pub db: u32,
    pub key: Bytes,
    pub effect: Effect,
}

impl Effects {
    /// What came of a key's commands at these places.
    fn of(&self, (db, key): (u32, &Bytes), places: &[usize]) -> Vec<Took> {
        let Effects::Each(each, removed) = self else {
            return vec![Took::whole(); places.len()];
        };
        let effect = |&place: &usize| each.get(place).copied().unwrap_or(false);
        let effects = places.iter().map(effect);
        let mut took: Vec<Took> = effects
            .map(|effect| Took {
                effect,
                removed: None,
            })
            .collect();
        for removed in removed
            .iter()
            .filter(|removed| removed.db == db && removed.key == key)
        {
            // Before its first command it is an operation like any other.
            let before = places.partition_point(|&place| place < removed.behind);
            let Some(last) = before.checked_sub(1) else {
                continue;
            };
            match (&mut took[last].removed, &removed.effect) {
                // Redis sends an HDEL for each field.
                (Some(Effect::HashRemove(fields)), Effect::HashRemove(more)) => {
                    fields.extend(more.iter().cloned());
                }
                (last, effect) => *last = Some(effect.clone()),
            }
        }
        took
    }
}

impl<J: Journal> Site<J> {
    /// Handles events in order, those of rows up to the end of `batch`.
    pub(super) fn handle_events(&mut self, batch: Option<&Rc<Batch>>) {
        let count = batch.map_or(0, |batch| batch.count());
        let mut next = 0;
        let mut before = self.past.observed.clone();
        while let Some(event) = self.events.pop_front() {
            if event.is_behind(count) {
                self.events.push_front(event);
                break;
            }
            match event {
                Event::Rows(upto) => {
                    self.local_rows(batch, next, upto);
                    next = next.max(upto);
                }
                Event::Removal { row } => {
                    self.local_row(batch, row, true);
                    self.observed.join(&self.running);
                    next = row + 1;
                }
                Event::Echo {
                    site,
                    seq,
                    txn,
                    effects,
                } => {
                    if let Some(held) = self.echoed(site, seq, txn, effects) {
                        before.meet(&held);
                    }
                }
                Event::Read {
                    fingerprint,
                    db,
                    key,
                    txn,
                    found,
                } => {
                    // It is not repaired before that is compared.
                    if let Some(held) = self.settled.release(txn) {
                        before.meet(&held);
                    }
                    self.converge.read((fingerprint, db, &key), found.as_deref());
                }
                Event::NoTime { fingerprint, db, key } => self.converge.no_time((fingerprint, db, &key)),
                Event::Shipped { row } => {
                    if let Some(batch) = batch {
                        self.shipped(batch, row);
                    }
                    next = row + 1;
                }
            }
        }
        self.local_rows(batch, next, count);
        for event in &mut self.events {
            match event {
                Event::Rows(row) | Event::Shipped { row } | Event::Removal { row } => *row -= count,
                Event::Echo { .. } | Event::Read { .. } | Event::NoTime { .. } => {}
            }
        }
        self.hold_if_at_fault(&before);
        self.settle(&before);
        self.flush_repairs();
        self.claim();
        self.relieve();
    }

    pub(super) fn local_rows(&mut self, batch: Option<&Rc<Batch>>, from: usize, to: usize) {
        for at in from..to {
            self.local_row(batch, at, false);
        }
        self.observed.join(&self.running);
    }

    /// `within`, the server removed something by itself within a transaction of ours that comes back next.
    #[inline]
    fn local_row(&mut self, batch: Option<&Rc<Batch>>, at: usize, within: bool) {
        let Some(batch) = batch else { return };
        let Some(row) = batch.row(at) else { return };
        let dot = Dot {
            site: self.me,
            seq: batch.first_seq + at as Seq,
        };
        if row.keys_inside() || row.class.is_of_databases() {
            self.local_of_many_keys(dot, row, within);
        } else {
            self.local_of_one_key(dot, row, within);
        }
        self.past.observed.advance(self.me, dot.seq);
        self.running.advance(self.me, dot.seq);
    }

    #[inline]
    fn local_of_one_key(&mut self, dot: Dot, row: Row, within: bool) {
        let arrival = Arrival {
            fingerprint: row.fingerprint,
            dot,
            class: row.class,
            past: &self.running,
        };
        self.converge.local(arrival, within, &mut self.past);
        if !self.converge.flushes().is_empty() {
            let before = self.running.clone();
            self.meet_flushes(dot, &before);
        }
        if self.converge.has_contested() {
            self.contest();
        }
    }

    fn local_of_many_keys(&mut self, dot: Dot, row: Row, within: bool) {
        let past = self.running.clone();
        if row.class == EffectClass::Flush {
            self.local_flush(dot);
            return;
        }
        for fingerprint in self.past.fingerprints_of(dot) {
            let arrival = Arrival {
                fingerprint,
                dot,
                class: row.class,
                past: &past,
            };
            self.converge.local(arrival, within, &mut self.past);
        }
        self.meet_flushes(dot, &past);
        self.contest();
    }

    fn local_flush(&mut self, dot: Dot) {
        let Some((operation, only_db)) = self.past.flush_of(dot) else {
            return;
        };
        let touched = self.converge.flush(&operation, only_db, None, &mut self.past);
        self.meet_earlier_flushes(&operation, &touched);
        for (fingerprint, db, key) in touched {
            self.converge.compare(fingerprint, db, &key);
        }
    }

    /// Keys that came into conflict by a FLUSH take in those that were executed or submitted before it.
    pub(super) fn meet_earlier_flushes(&mut self, flush: &Operation, touched: &[(u64, u32, Bytes)]) {
        for (earlier, only_db) in self.converge.flushes().to_vec() {
            if earlier.dot == flush.dot || flush.past.includes(earlier.dot) {
                continue;
            }
            for (fingerprint, db, key) in touched {
                if only_db.is_none_or(|only| only == *db) {
                    let met = (flush.dot, &earlier);
                    self.converge.meet(*fingerprint, *db, key, met, &mut self.past);
                }
            }
        }
    }

    /// An operation that arrives while a FLUSH concurrent with it is unstable: its key takes the FLUSH in.
    pub(super) fn meet_flushes(&mut self, dot: Dot, past: &Vector) {
        if self.converge.flushes().is_empty() || off(Mutation::FlushMeets) {
            return;
        }
        let stable = self.peers.stability.stable().clone();
        self.converge.forget_flushes(&stable);
        for (flush, only_db) in self.converge.flushes().to_vec() {
            if past.includes(flush.dot) || flush.past.includes(dot) {
                continue;
            }
            for (fingerprint, share) in self.past.shares_of(dot) {
                if only_db.is_some_and(|db| db != share.db) {
                    continue;
                }
                self.converge
                    .meet(fingerprint, share.db, &share.key, (dot, &flush), &mut self.past);
            }
        }
    }

    /// Derived operations one of whose keys came into conflict: the keys they wrote follow.
    pub(super) fn contest(&mut self) {
        loop {
            let dots = self.converge.take_contested();
            if dots.is_empty() {
                return;
            }
            for dot in dots {
                for (fingerprint, _) in self.past.shares_of(dot) {
                    self.converge.contest_key(fingerprint, dot, &mut self.past);
                }
            }
        }
    }

    /// Gives what had been held for the transaction, if something was to be read in it and was not, or what had been
    /// held for all that an earlier run had executed.
    fn echoed(&mut self, site: SiteIx, seq: Seq, txn: Option<TxnId>, effects: Effects) -> Option<Vector> {
        let before = self.past.observed.clone();
        let passed = self.pass_over(txn);
        if let Some(txn) = txn.filter(|_| site == self.me) {
            self.own_echoed = txn;
        }
        if site != self.me && seq > before.get(site) {
            self.counters.applied += seq - before.get(site);
            if txn.is_none() {
                self.enter_executed(site, before.get(site) + 1, seq);
            }
            self.past.observed.advance(site, seq);
            self.running.advance(site, seq);
            if self.submitted.get(site) < seq && !off(Mutation::ExactlyOnce) {
                self.submitted.advance(site, seq);
            }
        }
        let place = self.past.in_flight.iter().position(|known| Some(known.id) == txn);
        let txn = place.and_then(|place| self.past.in_flight.remove(place))?;
        if place.is_some_and(|place| place < self.unsent) {
            self.unsent -= 1;
        }
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(txn.bytes);
        let has_read = matches!(&txn.outcome, Some(Outcome::Executed(dumps)) if !dumps.is_empty());
        let for_me = txn.reads().any(|(_, reader)| reader == Reader::Me);
        let held = match has_read && for_me {
            true => None,
            false => self.settled.release(txn.id),
        };
        self.marks.seen = self.marks.seen.max(txn.captured);
        let recovered = match self.barrier {
            Barrier::Sent(id) if id == txn.id => self.passed_barrier(),
            _ => None,
        };
        self.fold_effects(&txn, &effects, has_read);
        let deferred = self.settled.release(DEFERRED | txn.id);
        earliest([passed, recovered, deferred, held.filter(|_| for_me)])
    }

    /// Tells each key in conflict which of its commands took effect.
    fn fold_effects(&mut self, txn: &Txn, effects: &Effects, has_read: bool) {
        let shares = txn.shares();
        let mut told: Vec<(u64, u32, &Bytes)> = Vec::new();
        for (fingerprint, db, key, _) in &shares {
            let key = (*fingerprint, *db, key);
            if told.contains(&key) {
                continue;
            }
            told.push(key);
            let its = shares.iter().filter(|share| (share.0, share.1, &share.2) == key);
            let places: Vec<usize> = its.map(|share| share.3).collect();
            let took = effects.of((key.1, key.2), &places);
            self.converge.echoed(key, txn.id, &took);
        }
        if let Effects::Each(each, removed) = effects {
            for removed in removed {
                let fingerprint = self.past.fingerprints.of(removed.db, &removed.key);
                let key = (fingerprint, removed.db, &removed.key);
                if !told.contains(&key) {
                    self.converge.echoed(key, txn.id, &[]);
                }
            }
            // What it read had expired or was written here, and not yet where it came from.
            for dot in txn.derived_without(each) {
                self.converge.doubt_result(dot);
                for (fingerprint, share) in self.past.shares_of(dot) {
                    let place = (fingerprint, share.db, &share.key);
                    self.converge.doubt_effect(place, &mut self.past);
                }
            }
        }
        if !has_read {
            for (key, _) in txn.reads() {
                self.converge.ship_failed(key);
            }
        }
        self.contest();
    }

    fn shipped(&mut self, batch: &Rc<Batch>, at: usize) {
        let dot = Dot {
            site: self.me,
            seq: batch.first_seq + at as Seq,
        };
        for (fingerprint, share) in self.past.shares_of(dot) {
            self.converge.shipped(fingerprint, share);
        }
        self.past.observed.advance(self.me, dot.seq);
        self.running.advance(self.me, dot.seq);
    }
}

//! Transactions that were not executed although one behind them was.
//!
//! The chain (`echo/chain.rs`) stops what follows a transaction that the database refused. It cannot where somebody takes
//! the chain away with all the data while the database refuses every command that would tell. Echoes come in the order of
//! execution, so what has not come back before one that was sent behind it never will, and may not be sent again: what was
//! executed has seen it. Its keys are in conflict from now on, without it, and what they lack is repaired.
//!
//! One that empties a database is sent again: there is no key to look at. Its marker falls back, and rises with the next.

use crate::causality::{Dot, Vector};
use crate::command::EffectClass;
use crate::converge::TxnId;

use super::journal::Journal;
use super::site::{Barrier, DEFERRED, Site};
use super::txn::Txn;

impl<J: Journal> Site<J> {
    /// A transaction has come back, before what it says is counted. Gives what had been held for those before it.
    pub(super) fn pass_over(&mut self, txn: Option<TxnId>) -> Option<Vector> {
        let mut in_flight = self.past.in_flight.iter();
        let place = in_flight
            .position(|known| Some(known.id) == txn)
            .filter(|place| *place > 0)?;
        let before: Vec<TxnId> = self.past.in_flight.iter().take(place).map(|txn| txn.id).collect();
        let mut held = Vec::new();
        for id in before {
            let operations = self.operations_in(id);
            if self.barrier == Barrier::Sent(id) || self.has(&operations, EffectClass::is_of_databases) {
                continue;
            }
            for &dot in &operations {
                for fingerprint in self.past.fingerprints_of(dot) {
                    self.converge.open(fingerprint, &mut self.past);
                }
            }
            held.push(self.settled.release(DEFERRED | id));
            held.push(self.forget_txn(id, &operations));
        }
        self.contest();
        earliest(held)
    }

    /// The operations that a transaction carries.
    fn operations_in(&self, id: TxnId) -> Vec<Dot> {
        let Some(txn) = self.txn(id).filter(|txn| txn.to > 0) else {
            return Vec::new();
        };
        let site = txn.origin;
        (txn.from..=txn.to).map(|seq| Dot { site, seq }).collect()
    }

    /// Whether one of these is of such a class.
    fn has(&mut self, operations: &[Dot], is_meant: impl Fn(EffectClass) -> bool) -> bool {
        operations.iter().any(|&dot| {
            let row = self.past.row_of(dot).and_then(|(batch, at)| batch.row(at));
            row.is_some_and(|row| is_meant(row.class))
        })
    }

    /// It is not sent again; its keys, all of which are in conflict, are told. Gives what had been held for it.
    fn forget_txn(&mut self, id: TxnId, operations: &[Dot]) -> Option<Vector> {
        let place = self.past.in_flight.iter().position(|txn| txn.id == id)?;
        let txn = self.past.in_flight.remove(place)?;
        tracing::warn!(
            origin = %self.roster.name(txn.origin),
            first = txn.from,
            last = txn.to,
            "the database refused a transaction and executed one behind it; its keys are repaired"
        );
        self.unsent = self.unsent.saturating_sub(usize::from(place < self.unsent));
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(txn.bytes);
        for (fingerprint, db, key, _) in txn.shares() {
            self.converge.passed_over((fingerprint, db, &key), id);
        }
        for (key, _) in txn.reads() {
            self.converge.ship_failed(key);
        }
        for dot in operations {
            if self.has(&[*dot], |class| class == EffectClass::Derived) {
                self.converge.doubt_result(*dot);
            }
        }
        if txn.to > 0 {
            self.unclaimed.push(Txn {
                from: txn.from,
                to: txn.to,
                time: txn.time,
                ..Txn::new(self.next_txn, txn.origin)
            });
            self.next_txn += 1;
        }
        self.settled.release(id)
    }

    /// Behind the repairs, a marker for what was passed over, unless what was executed, or will be, covers it.
    pub(super) fn claim(&mut self) {
        for txn in std::mem::take(&mut self.unclaimed) {
            let covers = |other: &Txn| other.origin == txn.origin && other.to >= txn.to;
            let is_covered = self.past.observed.get(txn.origin) >= txn.to;
            if !is_covered && !self.past.in_flight.iter().any(covers) {
                self.enqueue(txn);
            }
        }
    }
}

/// What all of these have; none if there are none.
pub(super) fn earliest(held: impl IntoIterator<Item = Option<Vector>>) -> Option<Vector> {
    held.into_iter().flatten().reduce(|mut all, one| {
        all.meet(&one);
        all
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::{Bytes, BytesMut};

    use super::super::Settings;
    use super::super::window_tests::{Memory, receive, site};
    use super::*;
    use crate::causality::SiteIx;
    use crate::echo::{Link, Place};
    use crate::resp::encode;

    const B: SiteIx = SiteIx(1);

    /// What is submitted, in order: the bytes as they come back, and the commands carried.
    fn submitted(site: &mut Site<Memory>) -> Vec<(Bytes, Vec<Bytes>)> {
        let mut all = Vec::new();
        while let Some(id) = site.next_txn().map(|txn| txn.id) {
            let txn = site.txn(id).unwrap();
            let link = Link {
                number: all.len() as u64 + 1,
                place: Place::Alone,
            };
            let parts = txn.encode(&site.marker(txn), &link).parts;
            all.push((Bytes::from(parts.concat()), txn.expected()));
        }
        all
    }

    fn come_back(site: &mut Site<Memory>, transactions: &[(Bytes, Vec<Bytes>)]) {
        let mut stream = BytesMut::new();
        for (bytes, _) in transactions {
            stream.extend_from_slice(bytes);
        }
        site.read_stream(&mut stream).unwrap();
    }

    /// A site whose database is ready, and all that clients of B wrote has been submitted, each in a transaction.
    fn with_writes_of_b(commands: &[&[&[u8]]]) -> Site<Memory> {
        let held_by_b = Memory::default();
        let (mut a, mut b) = (
            site("a", "b", Memory::default()),
            site("b", "a", held_by_b.clone()),
        );
        a.settings = Settings {
            transaction_commands_max: 1,
            ..Settings::default()
        };
        let mut stream = BytesMut::new();
        commands
            .iter()
            .for_each(|words| encode::command(&mut stream, words));
        b.read_stream(&mut stream).unwrap();
        receive(&mut a, &held_by_b, B);
        a.apply_connected();
        let barrier = submitted(&mut a);
        come_back(&mut a, &barrier);
        while a.deliver() {}
        a
    }

    #[test]
    fn what_was_passed_over_is_repaired_and_not_sent_again() {
        let mut a = with_writes_of_b(&[
            &[b"INCRBY", b"n", b"5"],
            &[b"SADD", b"s", b"m"],
            &[b"SET", b"t", b"first"],
            &[b"SET", b"t", b"second"],
        ]);
        let sent = submitted(&mut a);
        assert_eq!(sent.len(), 4);
        // The database refused the first three, and took the last.
        come_back(&mut a, &sent[3..]);
        assert_eq!(a.observed().get(B), 4);
        let repairs: Vec<Bytes> = submitted(&mut a)
            .into_iter()
            .flat_map(|(_, commands)| commands)
            .collect();
        let mut expected = BytesMut::new();
        encode::command(&mut expected, &[b"INCRBY", b"n", b"5"]);
        encode::command(&mut expected, &[b"SADD", b"s", b"m"]);
        assert_eq!(repairs.concat(), expected);
    }

    #[test]
    fn what_nobody_else_s_marker_covers_gets_one_of_its_own() {
        let mut a = with_writes_of_b(&[&[b"SADD", b"s", b"m"]]);
        // A transaction without operations of B stands behind it.
        let txn = Txn::new(a.next_txn, a.me);
        a.next_txn += 1;
        a.enqueue(txn);
        let sent = submitted(&mut a);
        assert_eq!(sent.len(), 2);
        come_back(&mut a, &sent[1..]);
        assert_eq!(a.observed().get(B), 0);
        let repairs = submitted(&mut a);
        assert_eq!(repairs.len(), 2);
        assert!(!repairs[0].1.is_empty() && repairs[1].1.is_empty());
        come_back(&mut a, &repairs);
        assert_eq!(a.observed().get(B), 1);
    }
}

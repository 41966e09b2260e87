//! What was owed to a database when it crashed is done again, behind the snapshot that it came back with.
//!
//! What a client writes between the moment in which a transaction of ours goes out and the one in which the database
//! executes it may be undone by that, and is put again when the echo shows it. A crash in between takes the second, not the
//! first. Then the log has what the snapshot lacks, and the snapshot would be the word of this site: so what is missing
//! becomes an operation of this site behind the snapshot, which its own database has yet to execute.
//!
//! Only what is known counts: a run that has yet to find out what an earlier one did knows nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::journal::Journal;
use super::site::{Barrier, Site};
use super::snapshot::Snapshot;
use super::told::push;
use crate::causality::{Dot, Seq, Vector};
use crate::command::{Class, EffectClass, spec};
use crate::converge::content::Content;
use crate::converge::mutation::{Mutation, off};
use crate::converge::render::render;
use crate::converge::{Operation, Owed, TxnId};
use crate::op::{Batch, Builder, Row, Source};

/// By fingerprint, database number and key.
pub(super) type AllOwed = BTreeMap<(u64, u32, Bytes), Owed>;

impl<J: Journal> Site<J> {
    /// What the database was owed when this snapshot of it was taken, all of which stands under the point.
    pub(super) fn owed(&self, snapshot: &Snapshot, holds: &Vector, source: &Source) -> AllOwed {
        let is_other = |before: Source| before.replication_id != source.replication_id;
        let has_crashed = self.source.is_some_and(is_other);
        if off(Mutation::Owed) || self.recovering || self.has_swapped || !has_crashed {
            return AllOwed::new();
        }
        let Some(executed) = self.executed_by(snapshot) else {
            return AllOwed::new();
        };
        let fingerprints = self.past.fingerprints;
        let owed = self.converge.keys().filter_map(|state| {
            let (db, key) = (state.db(), state.key());
            let place = (fingerprints.of(db, key), db, key.clone());
            Some((place, state.owed(&executed, holds)?))
        });
        owed.collect()
    }

    /// Those on their way that the database had executed, if that can be told: the last of all still has its marker.
    fn executed_by(&self, snapshot: &Snapshot) -> Option<BTreeSet<TxnId>> {
        if self.has_sent_nothing {
            return Some(BTreeSet::new());
        }
        let in_flight = &self.past.in_flight;
        let mut executed = 0;
        let ours = snapshot.markers.iter();
        for marker in ours.filter(|marker| marker.writer == self.writer) {
            let place = in_flight.iter().position(|txn| txn.id == marker.txn);
            let is_own = marker.origin == self.roster.name(self.me);
            // A barrier stands before what was sent on the connection before.
            let hides_others = self.barrier == Barrier::Sent(marker.txn);
            if hides_others || is_own && place.is_none() && marker.txn != self.own_echoed {
                return None;
            }
            executed = executed.max(place.map_or(0, |place| place + 1));
        }
        Some(in_flight.iter().take(executed).map(|txn| txn.id).collect())
    }

    /// The snapshot has become this batch: what was owed follows.
    pub(super) fn owe(&mut self, owed: &AllOwed, snapshot: &Batch, source: Source) {
        if owed.is_empty() {
            return;
        }
        let found = self.found_of(owed, snapshot);
        let mut builder = Builder::default();
        for (place, owed) in owed {
            // A value that travels whole tells nothing of its elements.
            let Some(found) = found.get(place) else { continue };
            for effect in owed.on(found) {
                let command = render(&place.2, &effect);
                if let Some(class) = class_of(&command) {
                    push(&mut builder, (place.0, place.1), class, command);
                }
            }
        }
        if builder.count() == 0 {
            return;
        }
        let time = self.clock.reserve(self.now_unix_ms, builder.count() as u64);
        match self.append_own(&mut builder, time, self.running.clone(), source) {
            Ok(batch) => batch.iter().for_each(|batch| self.execute_owed(batch)),
            Err(error) => {
                tracing::error!(%error, "own writes that the database had yet to get again when it crashed are lost");
            }
        }
    }

    /// What the snapshot has of these keys, where it tells that by element.
    fn found_of(&mut self, owed: &AllOwed, snapshot: &Batch) -> BTreeMap<(u64, u32, Bytes), Content> {
        let absent = |place: &(u64, u32, Bytes)| (place.clone(), Content::absent());
        let mut found: BTreeMap<_, _> = owed.keys().map(absent).collect();
        let fingerprints: Vec<u64> = owed.keys().map(|place| place.0).collect();
        for at in 0..snapshot.count() {
            let is_owed = |row: &Row| fingerprints.binary_search(&row.fingerprint).is_ok();
            if !snapshot.row(at).as_ref().is_some_and(is_owed) {
                continue;
            }
            let dot = Dot {
                site: self.me,
                seq: snapshot.first_seq + at as Seq,
            };
            for (fingerprint, share) in self.past.shares_of(dot) {
                let place = (fingerprint, share.db, share.key);
                let told = share.operation.filter(Operation::is_elementwise);
                if let Some((before, op)) = found.remove(&place).zip(told) {
                    found.insert(place, before.after(&op.effect));
                }
            }
        }
        found
    }

    /// Operations of this site that its database does not have.
    fn execute_owed(&mut self, batch: &Batch) {
        let before = self.past.observed.clone();
        for at in 0..batch.count() {
            let Some(row) = batch.row(at) else { continue };
            let seq = batch.first_seq + at as Seq;
            let dot = Dot { site: self.me, seq };
            let past = self.running.clone();
            self.deliver_slowly(row, dot, &past);
            self.past.observed.advance(self.me, seq);
            self.running.advance(self.me, seq);
        }
        self.observed.join(&self.running);
        self.settle(&before);
        self.flush_repairs();
    }
}

/// The class of a command that we have written.
fn class_of(command: &[u8]) -> Option<EffectClass> {
    let name = command.split(|byte| *byte == b'\n').nth(2)?;
    match spec(name.trim_ascii_end())?.class {
        Class::Write(class) => Some(class),
        Class::Control(_) | Class::Read => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::window_tests::{Memory, execute, receive, site, write};
    use super::*;
    use crate::capture::rdb::Kind;
    use crate::causality::SiteIx;
    use crate::echo::{captured_key_of, key_of};

    const B: SiteIx = SiteIx(1);

    /// A text as it stands in a snapshot.
    fn raw(text: &[u8]) -> Vec<u8> {
        [&[text.len() as u8], text].concat()
    }

    /// Site a has submitted b's `SET n 10` and has read a client's `INCRBY n 5`, no echo; the transaction's marker.
    fn before_the_crash() -> (Site<Memory>, Vec<u8>) {
        let held_by_b = Memory::default();
        let (mut a, mut b) = (
            site("a", "b", Memory::default()),
            site("b", "a", held_by_b.clone()),
        );
        a.apply_connected();
        execute(&mut a);
        write(&mut b, &[b"SET", b"n", b"10"]);
        receive(&mut a, &held_by_b, B);
        while a.deliver() {}
        let id = a.next_txn().unwrap().id;
        let marker = a.marker(a.txn(id).unwrap()).value().into_bytes();
        write(&mut a, &[b"INCRBY", b"n", b"5"]);
        a.stream_lost();
        a.apply_lost();
        (a, marker)
    }

    /// The database comes back with this value, this marker of b, and one of a's own.
    fn come_back_as(a: &mut Site<Memory>, id: u8, value: &[u8], marker: &[u8], own: Option<&[u8]>) {
        let mut snapshot = a.snapshot(1 << 20);
        snapshot.version(10);
        let name = |site| a.roster().name(site);
        snapshot.own_key(&key_of(name(B)), &raw(marker));
        if let Some(own) = own {
            snapshot.own_key(&key_of(name(a.roster().me())), &raw(own));
        }
        snapshot.own_key(&captured_key_of(name(a.roster().me())), &raw(b"1"));
        snapshot
            .key((0, b"n"), Kind::String, (0, &raw(value)), None)
            .unwrap();
        let source = Source {
            replication_id: [id; 40],
            offset: 0,
            db: 0,
        };
        a.adopt(snapshot, source).unwrap();
        a.apply_connected();
    }

    /// The same without one of a's own; what is executed then.
    fn come_back(a: &mut Site<Memory>, value: &[u8], marker: &[u8]) -> String {
        come_back_as(a, b'2', value, marker, None);
        execute(a)
    }

    /// The barrier was executed before the next crash, and nobody has read it: nothing else had been sent.
    #[test]
    fn what_is_done_again_survives_the_next_crash() {
        let (mut a, marker) = before_the_crash();
        come_back_as(&mut a, b'2', b"10", &marker, None);
        let id = a.next_txn().unwrap().id;
        let barrier = a.marker(a.txn(id).unwrap()).value().into_bytes();
        a.stream_lost();
        a.apply_lost();
        come_back_as(&mut a, b'3', b"10", &marker, Some(&barrier));
        assert!(execute(&mut a).contains("INCRBY"));
    }

    /// What b's value was put over, the other sites get behind the snapshot, and so does the database.
    #[test]
    fn an_increment_under_a_write_of_ours_is_done_again() {
        let (mut a, marker) = before_the_crash();
        let commands = come_back(&mut a, b"10", &marker);
        assert_eq!(commands, "*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$1\r\n5\r\n");
        let last = a.journal().last(a.roster().me());
        let batch = a.journal_mut().batch(SiteIx(0), last).unwrap();
        assert_eq!(&batch.command(batch.count() - 1)[..], commands.as_bytes());
    }

    /// Also where clients have written since what no stream shows; not where that is no number any more.
    #[test]
    fn a_number_that_went_on_keeps_both() {
        let (mut a, marker) = before_the_crash();
        assert!(come_back(&mut a, b"12", &marker).contains("INCRBY"));
        let (mut a, marker) = before_the_crash();
        assert!(!come_back(&mut a, b"no number", &marker).contains("INCRBY"));
    }
}

//! Inbound: batches of other sites become marked transactions, in causal order.

use std::rc::Rc;

use bytes::Bytes;

use super::dumps::DumpError;
use super::journal::{Journal, JournalError};
use super::merge::merged;
use super::peers::Ack;
use super::site::{Barrier, RECOVERING, Site};
use super::txn::{Queued, Txn};
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::{EffectClass, FieldTimes};
use crate::converge::mutation::{Mutation, off};
use crate::converge::{Arrival, Touch, TxnId, Verdict};
use crate::op::{Batch, Row};

/// A time so near may be over before the database executes what sets it.
const SOON_MS: u64 = 60_000;

/// So many operations meet a conflict at once, in one transaction and before others get their turn.
const MET_MAX: u64 = 512;

impl<J: Journal> Site<J> {
    /// A batch arrived from whoever holds it. What is known already is passed over.
    ///
    /// # Errors
    /// The log refuses.
    pub fn received(&mut self, batch: &Rc<Batch>) -> Result<bool, JournalError> {
        let held = self.past.journal.last(batch.origin);
        let is_own = batch.origin == self.me && !self.is_restoring();
        if batch.first_seq != held + 1 || is_own {
            return Ok(false);
        }
        self.past.journal.append(batch)?;
        Ok(true)
    }

    /// A session with a peer is up.
    pub fn peer_connected(&mut self, site: SiteIx, ack: &Ack) {
        self.restore.hear(site, ack.held.get(self.me));
        self.peers.connected(site, ack, self.past.journal.last(site));
        self.converge.ask_again(site);
    }

    /// The session is down.
    pub fn peer_disconnected(&mut self, site: SiteIx) {
        self.peers.disconnected(site);
    }

    /// What a peer says of itself.
    pub fn acknowledged(&mut self, site: SiteIx, ack: &Ack) {
        self.peers.acknowledged(site, ack);
        if self.peers.take_settled(&self.past.observed) {
            self.prune();
        }
    }

    /// The next batch for a peer: of our own, or of what else it can get from nobody but us.
    pub fn next_batch_for(&mut self, site: SiteIx) -> Option<Rc<Batch>> {
        self.next_batch_of(site, self.me).or_else(|| self.relay(site))
    }

    fn next_batch_of(&mut self, site: SiteIx, origin: SiteIx) -> Option<Rc<Batch>> {
        let seq = self.peers.get(site).next.get(origin) + 1;
        if seq > self.past.journal.last(origin) {
            return None;
        }
        let batch = self.past.journal.batch(origin, seq);
        let peer = self.peers.get_mut(site);
        peer.needs_snapshot = batch.is_none();
        let batch = batch?;
        peer.next.advance(origin, batch.last_seq());
        Some(batch)
    }

    /// Lets go of what is stable. What this site itself has settled counts, too.
    pub fn prune(&mut self) {
        let settled = self.settled.point(&self.past.observed);
        self.peers.stability.observe(self.me, &settled);
        self.peers.take_settled(&self.past.observed);
        let stable = self.peers.stability.stable().clone();
        self.converge.prune(&stable);
        if self.converge.is_dirty() {
            self.settle_now();
        }
        self.end_healing();
    }

    /// Keys whose value this site has waited for in vain for so many milliseconds: their names, for a reminder to
    /// the site that is to send it; so many at most.
    pub fn reminders(&mut self, after_ms: u64, most: usize) -> Vec<(SiteIx, u32, Bytes)> {
        self.heal_by_connected();
        self.converge.reminders(after_ms, most)
    }

    /// Another site waits for a key's value: it is read and becomes an operation of this site.
    pub fn pulled(&mut self, by: SiteIx, db: u32, key: &Bytes) {
        let fingerprint = self.past.fingerprints.of(db, key);
        let holds = self.peers.get(by).held.get(self.me);
        self.converge
            .demand_state((fingerprint, db, key), (by, holds), &mut self.past);
        self.settle_now();
    }

    /// A site is gone for good: every key that waits for its value gets the one that this site holds. Gives how
    /// many keys.
    pub fn overrule(&mut self, gone: SiteIx) -> usize {
        let count = self.converge.overrule(gone);
        self.settle_now();
        count
    }

    pub(super) fn settle_now(&mut self) {
        let before = self.past.observed.clone();
        self.settle(&before);
        self.flush_repairs();
    }

    /// A connection to apply on is up, and nothing sent on an earlier one can still be executed. Its first
    /// transaction tells, when it comes back, what of those before was executed.
    pub fn apply_connected(&mut self) {
        self.drop_barrier();
        let txn = Txn::new(self.next_txn, self.me);
        self.next_txn += 1;
        self.barrier = match off(Mutation::Barrier) {
            true => Barrier::Passed,
            false => Barrier::Sent(txn.id),
        };
        self.past.in_flight.push_front(txn);
        self.unsent = 0;
    }

    /// The connection is down.
    pub fn apply_lost(&mut self) {
        self.drop_barrier();
        self.barrier = Barrier::Down;
        self.unsent = 0;
        self.past.in_flight.iter_mut().for_each(|txn| txn.outcome = None);
    }

    fn drop_barrier(&mut self) {
        if let Barrier::Sent(id) = self.barrier {
            self.past.in_flight.retain(|txn| txn.id != id);
        }
    }

    /// Whether transactions flow.
    pub fn is_applying(&self) -> bool {
        self.barrier == Barrier::Passed
    }

    /// A command that the database will never queue is left out of its transaction. One that stands for several
    /// operations is sent as these, and so are those to come: the user may lack the right to it.
    pub fn leave_out(&mut self, id: TxnId, refused: &Queued) {
        self.leave_out_script(id, refused);
        match refused.is_merged {
            true => self.merges = false,
            false => self.counters.refused += 1,
        }
    }

    /// A script that the database's user may not run is left out of its transaction; its key waits for the right.
    pub fn leave_out_script(&mut self, id: TxnId, refused: &Queued) {
        if let Some(txn) = self.past.in_flight.iter_mut().find(|txn| txn.id == id) {
            txn.leave_out(refused.place);
        }
    }

    /// What did not come back before the barrier was not executed and goes out again, in the same order. Gives what
    /// had been held until an earlier run's repairs are known: all is compared once the event is over, for rows that
    /// stand behind the barrier are in the log already.
    pub(super) fn passed_barrier(&mut self) -> Option<Vector> {
        self.barrier = Barrier::Passed;
        self.has_sent_nothing = false;
        self.unsent = 0;
        if std::mem::take(&mut self.recovering) {
            self.converge.take_over(&self.past.observed);
            return self.settled.release(RECOVERING);
        }
        if self.past.in_flight.is_empty() {
            // Nothing of ours is on its way: repairs of an earlier run may have been lost.
            self.converge.lose_actual();
        }
        None
    }

    /// Submits what is ready, as far as the database may take more. True if more is ready: what meets a conflict costs a
    /// hundred times what goes on as it came, so not all of that is met at once, and whoever waits for this thread gets a turn.
    #[must_use]
    pub fn deliver(&mut self) -> bool {
        self.flush_repairs();
        let begin = self.met;
        let mut progress = self.barrier == Barrier::Passed && self.relieve();
        while std::mem::take(&mut progress) {
            for origin in self.roster.peers() {
                if self.in_flight_bytes >= self.settings.in_flight_bytes_max {
                    return false;
                }
                progress |= self.deliver_of(origin);
            }
            if progress && self.met - begin >= MET_MAX {
                return true;
            }
        }
        false
    }

    fn deliver_of(&mut self, origin: SiteIx) -> bool {
        let seq = self.submitted.get(origin) + 1;
        if seq > self.past.journal.last(origin) {
            return false;
        }
        let Some(batch) = self.past.journal.batch(origin, seq) else {
            return false;
        };
        let from = (seq - batch.first_seq) as usize;
        let past = batch.past_of(from);
        if !self.is_ready(origin, &past) {
            return false;
        }
        let to = self.deliver_rows(&batch, from, past);
        if self.fault().is_some() {
            return false;
        }
        if to == from {
            return false;
        }
        self.submitted.advance(origin, batch.first_seq + to as Seq - 1);
        true
    }

    /// Whether everything that an operation of this site has seen has been submitted here.
    fn is_ready(&self, origin: SiteIx, past: &Vector) -> bool {
        let mut others = self.roster.all().filter(|site| *site != origin);
        off(Mutation::CausalOrder) || others.all(|site| past.get(site) <= self.known_of(site))
    }

    fn known_of(&self, site: SiteIx) -> Seq {
        if site == self.me {
            self.past.observed.get(site)
        } else {
            self.submitted.get(site)
        }
    }

    /// Puts rows into one transaction, whole units up to its limits, as long as what they saw has been submitted;
    /// gives where it stopped.
    fn deliver_rows(&mut self, batch: &Rc<Batch>, from: usize, mut past: Vector) -> usize {
        self.flush_repairs();
        let origin = batch.origin;
        self.past.building = Some(Txn::new(self.next_txn, origin));
        self.next_txn += 1;
        let (commands_max, bytes_max) = (
            self.settings.transaction_commands_max,
            self.settings.transaction_bytes_max,
        );
        let mut marks = batch.marks_behind(from).iter().peekable();
        let mut start = batch.start_of(from);
        let mut at = from;
        let begin = self.met;
        while let Some(row) = batch.row(at) {
            let mut saw_more = false;
            while let Some(mark) = marks.next_if(|mark| mark.at as usize == at) {
                past.advance(mark.site, mark.seq.max(past.get(mark.site)));
                saw_more = true;
            }
            if saw_more && !self.is_ready(origin, &past) {
                break;
            }
            let seq = batch.first_seq + at as Seq;
            let dot = Dot { site: origin, seq };
            let begins_unit = at == 0 || batch.row(at - 1).is_none_or(|before| !before.continues());
            if !self.deliver_row(
                (batch, at, row),
                begins_unit,
                dot,
                &past,
                (row.end - start) as usize,
            ) {
                break;
            }
            past.advance(origin, seq);
            start = row.end;
            at += 1;
            let full = self
                .past
                .building
                .as_ref()
                .is_some_and(|txn| txn.commands >= commands_max || txn.bytes >= bytes_max);
            if (full || self.met - begin >= MET_MAX) && !row.continues() {
                break;
            }
        }
        if at == from {
            self.past.building = None;
        }
        self.settle(&past);
        self.flush_repairs();
        if let Some(mut txn) = self.past.building.take() {
            txn.from = batch.first_seq + from as Seq;
            txn.to = batch.first_seq + at as Seq - 1;
            txn.time = batch.time_of(at - 1);
            if self.merges {
                txn.pieces = merged(txn.pieces);
            }
            if txn.flushes {
                self.push_marks(&mut txn, true);
            }
            self.enqueue(txn);
        }
        at
    }

    /// Whether it was delivered. If not it waits, and what was delivered ends with the unit before it.
    #[inline]
    fn deliver_row(
        &mut self,
        (batch, at, row): (&Rc<Batch>, usize, Row),
        begins_unit: bool,
        dot: Dot,
        past: &Vector,
        bytes: usize,
    ) -> bool {
        self.extend_building(dot);
        if self.deliver_specially((batch, at, row), dot, past, bytes) {
            return true;
        }
        let arrival = arrival(row, dot, past);
        match self.converge.remote(arrival, begins_unit, &mut self.past) {
            Verdict::Verbatim => self.push_verbatim(batch, at, row, bytes),
            Verdict::InConflict => {
                self.met += 1;
                self.weigh(bytes);
                self.contest();
            }
            Verdict::Waits => return false,
            Verdict::Unknown => return true,
        }
        self.meet_flushes(dot, past);
        true
    }

    /// What is not just a command on one key, if it is that.
    #[inline]
    fn deliver_specially(
        &mut self,
        (batch, at, row): (&Rc<Batch>, usize, Row),
        dot: Dot,
        past: &Vector,
        bytes: usize,
    ) -> bool {
        if row.class == EffectClass::Restore {
            self.deliver_value(batch, at, row, dot, past);
        } else if row.class == EffectClass::Took {
            self.deliver_slowly(row, dot, past);
        } else if row.keys_inside() || row.class.is_of_databases() {
            self.deliver_many_keys(batch, at, row, dot, past, bytes);
        } else {
            return row.class == EffectClass::Opaque
                && self.past.dumps.field_times != FieldTimes::Whole
                && self.deliver_timed(batch, at, row, dot, past);
        }
        true
    }

    /// What a repair stands for counts, too: otherwise no limit would hold where repairs are small.
    fn weigh(&mut self, bytes: usize) {
        if let Some(txn) = &mut self.past.building {
            txn.bytes += bytes;
        }
    }

    /// An HSETEX that this database does not know, or of which nothing tells whether it took effect; true if it was one.
    fn deliver_timed(&mut self, batch: &Rc<Batch>, at: usize, row: Row, dot: Dot, past: &Vector) -> bool {
        if self.past.dumps.field_times == FieldTimes::Quiet {
            let time = self.past.fields_expire(batch, at);
            let may_be_over = time.is_some_and(|time| time < self.now_unix_ms.saturating_add(SOON_MS));
            if may_be_over {
                // By the rules it is put there by commands that tell.
                self.deliver_slowly(row, dot, past);
            }
            return may_be_over;
        }
        let Some((command, is_short)) = self.past.plain(batch, at) else {
            return false;
        };
        if is_short {
            self.tell_short(&command, dot);
        }
        self.deliver_rewritten(command, row, dot, past);
        true
    }

    /// A whole value never reaches the database as it came.
    #[cold]
    fn deliver_value(&mut self, batch: &Rc<Batch>, at: usize, row: Row, dot: Dot, past: &Vector) {
        let command = batch.command(at);
        let rewritten = match self.past.restored(&command) {
            Ok(rewritten) => rewritten,
            Err(why) => return self.refuse_value(&command, dot, &why),
        };
        self.deliver_rewritten(rewritten.command, row, dot, past);
    }

    fn deliver_rewritten(&mut self, command: Bytes, row: Row, dot: Dot, past: &Vector) {
        let arrival = arrival(row, dot, past);
        match self.converge.remote(arrival, false, &mut self.past) {
            Verdict::Verbatim => {
                if let Some(txn) = &mut self.past.building {
                    txn.push_rewritten(dot.seq, u32::from(row.db), command);
                }
            }
            Verdict::InConflict | Verdict::Waits => self.contest(),
            Verdict::Unknown => return,
        }
        self.meet_flushes(dot, past);
    }

    /// Only the rules are told, whatever is in conflict: what a pop took, for one, is for no database.
    #[cold]
    pub(super) fn deliver_slowly(&mut self, row: Row, dot: Dot, past: &Vector) {
        let arrival = arrival(row, dot, past);
        self.converge.remote_slowly(arrival, &mut self.past);
        self.contest();
        self.meet_flushes(dot, past);
    }

    /// Nothing of it is applied, and it never becomes an operation on its key here. The sites differ in the key
    /// until it is written anew, so it is told.
    fn refuse_value(&mut self, command: &Bytes, dot: Dot, why: &DumpError) {
        self.counters.values_refused += 1;
        let key = self.key_of(command);
        tracing::warn!(
            target: "syncer::refused",
            origin = %self.roster.name(dot.site),
            seq = dot.seq,
            %key,
            error = %why,
            "a value of another site was refused and not applied"
        );
    }

    /// The key of a command, for a human.
    fn key_of(&mut self, command: &Bytes) -> String {
        let args = self.past.parse(command).map(|parsed| parsed.args);
        let key = args.as_ref().and_then(|args| args.get(1));
        key.map_or_else(
            || "?".to_owned(),
            |key| String::from_utf8_lossy(&key[..key.len().min(100)]).into_owned(),
        )
    }

    /// A field is written without the expiry time that it has elsewhere.
    #[cold]
    fn tell_short(&mut self, command: &Bytes, dot: Dot) {
        self.counters.refused += 1;
        let key = self.key_of(command);
        tracing::warn!(
            target: "syncer::refused",
            origin = %self.roster.name(dot.site),
            seq = dot.seq,
            %key,
            "this database has no expiry times of hash fields: the field's value was applied without one"
        );
    }

    /// The operation counts as carried by the transaction under construction, so that it is found there.
    fn extend_building(&mut self, dot: Dot) {
        if let Some(txn) = &mut self.past.building {
            if txn.from == 0 {
                txn.from = dot.seq;
            }
            txn.to = dot.seq;
        }
    }

    fn push_verbatim(&mut self, batch: &Rc<Batch>, at: usize, row: Row, bytes: usize) {
        self.counters.fast += 1;
        if let Some(txn) = &mut self.past.building {
            txn.push_row(batch, at, u32::from(row.db), bytes);
        }
    }

    fn deliver_many_keys(
        &mut self,
        batch: &Rc<Batch>,
        at: usize,
        row: Row,
        dot: Dot,
        past: &Vector,
        bytes: usize,
    ) {
        if row.class == EffectClass::Flush {
            return self.deliver_flush(batch, at, row, dot, bytes);
        }
        let fingerprints = self.past.fingerprints_of(dot);
        let arrival = |fingerprint| Arrival {
            fingerprint,
            dot,
            class: row.class,
            past,
        };
        if fingerprints
            .iter()
            .any(|&fingerprint| self.converge.look(arrival(fingerprint)) != Touch::Fast)
        {
            for fingerprint in fingerprints {
                self.converge.remote_slowly(arrival(fingerprint), &mut self.past);
            }
            self.weigh(bytes);
            self.contest();
        } else {
            for fingerprint in fingerprints {
                self.converge.remote(arrival(fingerprint), false, &mut self.past);
            }
            self.push_verbatim(batch, at, row, bytes);
        }
        self.meet_flushes(dot, past);
    }

    fn deliver_flush(&mut self, batch: &Rc<Batch>, at: usize, row: Row, dot: Dot, bytes: usize) {
        self.push_verbatim(batch, at, row, bytes);
        if let Some(building) = &mut self.past.building {
            building.flushes = true;
        }
        let txn = self.txn_id();
        let Some((operation, only_db)) = self.past.flush_of(dot) else {
            return;
        };
        let touched = self
            .converge
            .flush(&operation, only_db, Some(txn), &mut self.past);
        if let Some(building) = &mut self.past.building {
            for (fingerprint, db, key) in &touched {
                building.watch(*fingerprint, *db, key.clone(), dot.seq);
            }
        }
        self.meet_earlier_flushes(&operation, &touched);
        for (fingerprint, db, key) in touched {
            self.converge.compare(fingerprint, db, &key);
        }
    }
}

/// What a row does to its one key.
fn arrival(row: Row, dot: Dot, past: &Vector) -> Arrival<'_> {
    Arrival {
        fingerprint: row.fingerprint,
        dot,
        class: row.class,
        past,
    }
}

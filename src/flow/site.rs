//! The engine of one site.

use std::collections::VecDeque;

use super::dumps::Dumps;
use super::events::Event;
use super::history::Past;
use super::journal::Journal;
use super::marks::Marks;
use super::outbound::Reading;
use super::peers::{Ack, PeerState, Peers};
use super::restore::Restore;
use super::txn::{Outcome, Reader, Txn};
use crate::causality::{Clock, Dot, Hlc, Roster, SiteIx, Vector};
use crate::command::{FieldTimes, Learned};
use crate::converge::{Converge, KeyRepair, REPLAY_MAX, Settled, TxnId};
use crate::echo::Marker;
use crate::op::{Builder, Fingerprinter, REPLICATION_ID_BYTES, Source};

/// What can be set about the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most commands in one marked transaction; a client's own block may be larger.
    pub transaction_commands_max: usize,
    /// Most bytes in one marked transaction; one command or block may be larger.
    pub transaction_bytes_max: usize,
    /// Most bytes in transactions that have not come back.
    pub in_flight_bytes_max: usize,
    /// Whether FLUSHALL and FLUSHDB of clients are sent to the other sites.
    pub propagate_flush: bool,
    /// Whether a client's SWAPDB is sent as a snapshot, rather than as it came.
    pub swap_by_snapshot: bool,
    /// Whether values of modules' own types, which nobody here can check, are taken from other sites.
    pub restore_modules: bool,
    /// So many operations of one key in conflict are executed again at most, before its value is sent instead.
    pub replay_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            transaction_commands_max: 512,
            transaction_bytes_max: 256 * 1024,
            in_flight_bytes_max: 8 * 1024 * 1024,
            propagate_flush: true,
            swap_by_snapshot: true,
            restore_modules: false,
            replay_max: REPLAY_MAX,
        }
    }
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands of local clients that were captured.
    pub captured: u64,
    /// Remote commands that came back from the database.
    pub applied: u64,
    /// Of these, applied as the bytes that arrived.
    pub fast: u64,
    /// Remote commands that the database will never take.
    pub refused: u64,
    /// Values of other sites that were not handed to the database.
    pub values_refused: u64,
    /// Transactions that were tried again.
    pub retried: u64,
    /// Commands in the stream whose keys nobody knows; they were not sent to anybody.
    pub unknown: u64,
}

/// One site: both journeys, as a pure machine.
#[derive(Debug)]
pub struct Site<J> {
    pub(super) roster: Roster,
    pub(super) me: SiteIx,
    pub(super) settings: Settings,
    /// Tells this run's markers from those of runs before.
    pub(super) writer: u64,
    pub(super) now_unix_ms: u64,
    pub(super) clock: Clock,
    /// Echoes and own operations read from the stream.
    pub(super) observed: Vector,
    /// What has been observed as far as events have been handled, beside the history that is borrowed with it.
    pub(super) running: Vector,
    /// Submitted to the database, of each origin.
    pub(super) submitted: Vector,
    pub(super) settled: Settled,
    pub(super) peers: Peers,
    pub(super) converge: Converge,
    pub(super) past: Past<J>,
    pub(super) reading: Reading,
    pub(super) builder: Builder,
    pub(super) events: VecDeque<Event>,
    pub(super) source: Option<Source>,
    /// Whether the stream is there.
    pub(super) is_streaming: bool,
    /// The last transaction under this site's own marker that came back.
    pub(super) own_echoed: TxnId,
    /// Nothing but barriers was sent since the database's whole content was read.
    pub(super) has_sent_nothing: bool,
    /// A SWAPDB ended the database's history, and its snapshot has not been taken.
    pub(super) has_swapped: bool,
    /// Number of the transaction in which repairs are being gathered.
    pub(super) next_txn: TxnId,
    pub(super) repairs: Option<Txn>,
    /// Markers for what will not be executed any more, to stand behind its repairs.
    pub(super) unclaimed: Vec<Txn>,
    /// The first transaction in flight that was not handed out on the present connection.
    pub(super) unsent: usize,
    pub(super) in_flight_bytes: usize,
    /// How many operations of others have met a conflict.
    pub(super) met: u64,
    /// Nothing is submitted before the present connection's first marker has come back.
    pub(super) barrier: Barrier,
    /// An earlier run's repairs may have been executed: nothing is compared before that is known.
    pub(super) recovering: bool,
    /// Whether the database takes several `SET`s as one `MSET`.
    pub(super) merges: bool,
    pub(super) counters: Counters,
    pub(super) marks: Marks,
    pub(super) restore: Restore,
    /// Behind which point the database has lost what it held, while that is being made good.
    pub(super) healing: Option<Vector>,
}

/// What holds the settled point back until an earlier run's repairs are known.
pub(super) const RECOVERING: TxnId = TxnId::MAX - 1;
/// What holds it back while keys are older here than they were.
pub(super) const HEALING: TxnId = TxnId::MAX - 3;
/// What holds the settled point back while keys wait for a right of the database's user.
const SCRIPTLESS: TxnId = TxnId::MAX - 2;
/// With a transaction's number: what holds it back for keys that are put off until that has come back.
pub(super) const DEFERRED: TxnId = 1 << 62;

/// Whether it is known what the database has executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barrier {
    /// No connection to apply on.
    Down,
    /// A transaction of this number was sent; when it comes back, all before it has.
    Sent(TxnId),
    /// Known.
    Passed,
}

impl<J: Journal> Site<J> {
    /// A site with empty logs behind it; see [`Site::recover`] for others. `writer` is a number that no earlier
    /// run had.
    pub fn new(roster: Roster, database_id: &str, writer: u64, settings: Settings, journal: J) -> Site<J> {
        let (me, sites) = (roster.me(), roster.count());
        let dumps = Dumps {
            allow_modules: settings.restore_modules,
            rdb_version: 0,
            field_times: FieldTimes::None,
        };
        let mut converge = Converge::telling_pops(me);
        converge.set_replay_max(settings.replay_max);
        Site {
            me,
            settings,
            writer,
            now_unix_ms: 0,
            clock: Clock::default(),
            observed: Vector::zero(sites),
            running: Vector::zero(sites),
            submitted: Vector::zero(sites),
            settled: Settled::default(),
            peers: Peers::new(sites),
            converge,
            past: Past::new(journal, Fingerprinter::new(database_id), me, sites, dumps),
            reading: Reading::default(),
            builder: Builder::default(),
            events: VecDeque::new(),
            source: None,
            is_streaming: false,
            own_echoed: 0,
            has_sent_nothing: false,
            has_swapped: false,
            next_txn: 1,
            repairs: None,
            unclaimed: Vec::new(),
            unsent: 0,
            in_flight_bytes: 0,
            met: 0,
            barrier: Barrier::Down,
            recovering: false,
            merges: true,
            counters: Counters::default(),
            marks: Marks::default(),
            restore: Restore::new(sites),
            healing: None,
            roster,
        }
    }

    /// Goes on behind what was kept: where the stream stood, what had been observed there, and the highest
    /// timestamp known. The window is rebuilt from the logs as the operations in them are met again.
    pub fn recover(&mut self, source: Option<Source>, observed: &Vector, stable: &Vector, time: Hlc) {
        self.source = source;
        self.peers.stability.recover(stable);
        self.observed.join(observed);
        self.past.observed.join(observed);
        self.submitted.join(observed);
        self.running.join(observed);
        let last = self.past.journal.last(self.me);
        for vector in [
            &mut self.observed,
            &mut self.past.observed,
            &mut self.submitted,
            &mut self.running,
        ] {
            vector.advance(self.me, last.max(vector.get(self.me)));
        }
        self.clock.absorb(time);
        // An echo behind the last batch is observed there without its timestamp.
        for site in self.roster.all() {
            let seq = self.past.observed.get(site);
            if let Some((batch, at)) = self.past.row_of(Dot { site, seq }) {
                self.clock.absorb(batch.time_of(at));
            }
        }
        self.reading.db = source.map_or(0, |source| source.db);
        self.rebuild_window();
        self.recovering = true;
        self.settled.hold(RECOVERING, stable);
    }

    /// Commands that the server knows and the table does not.
    pub fn learn(&mut self, learned: Learned) {
        self.past.learned = learned;
    }

    /// The newest payload format that the database reads; see [`newest_version`](crate::value::newest_version).
    pub fn set_rdb_version(&mut self, rdb_version: u16) {
        self.past.dumps.rdb_version = rdb_version;
    }

    /// What the database knows of the expiry times of hash fields.
    pub fn set_field_times(&mut self, field_times: FieldTimes) {
        self.past.dumps.field_times = field_times;
        self.converge.set_field_times(field_times);
    }

    /// Whether the database lets us run scripts, for which keys wait that need one; gives what was so before.
    pub fn set_may_script(&mut self, may_script: bool) -> bool {
        let before = self.converge.set_may_script(may_script);
        self.settle_now();
        before
    }

    /// The time, Unix milliseconds; every event happens at the time last given.
    pub fn set_time(&mut self, now_unix_ms: u64) {
        self.now_unix_ms = now_unix_ms;
        self.converge.set_time(now_unix_ms);
    }

    /// The sites.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The logs.
    pub fn journal(&self) -> &J {
        &self.past.journal
    }

    /// The logs.
    pub fn journal_mut(&mut self) -> &mut J {
        &mut self.past.journal
    }

    /// Where the stream stands behind everything that is in the log.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// What has been read of each origin's operations.
    pub fn observed(&self) -> &Vector {
        &self.past.observed
    }

    /// What is in everybody's past.
    pub fn stable(&self) -> &Vector {
        self.peers.stability.stable()
    }

    /// The window and the keys in conflict.
    pub fn converge(&self) -> &Converge {
        &self.converge
    }

    /// Conflicts that were resolved against somebody since this was last asked.
    pub fn take_losses(&mut self) -> Vec<crate::converge::Loss> {
        self.converge.take_losses()
    }

    /// The highest timestamp given out or absorbed.
    pub fn time(&self) -> Hlc {
        self.clock.last()
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Counts a command that the database refuses for good.
    pub fn count_refused(&mut self) {
        self.counters.refused += 1;
    }

    /// Counts a transaction that is tried again.
    pub fn count_retried(&mut self) {
        self.counters.retried += 1;
    }

    /// A peer as known here.
    pub fn peer(&self, site: SiteIx) -> &PeerState {
        self.peers.get(site)
    }

    /// How far a peer's database has executed everything.
    pub fn settled_at(&self, site: SiteIx) -> &Vector {
        self.peers.stability.observed(site)
    }

    /// What this site says of itself.
    pub fn ack(&self) -> Ack {
        let mut held = Vector::zero(self.roster.count());
        for origin in self.roster.all() {
            held.advance(origin, self.past.journal.last(origin));
        }
        Ack {
            held,
            settled: self.settled.point(&self.past.observed),
        }
    }

    /// A marker for a transaction.
    pub fn marker(&self, txn: &Txn) -> Marker {
        let origin = self.roster.name(txn.origin);
        Marker {
            origin,
            seq: txn.to,
            time: txn.time,
            writer: self.writer,
            txn: txn.id,
        }
    }

    /// The number for what is submitted next.
    pub(super) fn txn_id(&self) -> TxnId {
        let open = self.past.building.as_ref().or(self.repairs.as_ref());
        open.map_or(self.next_txn, |txn| txn.id)
    }

    /// Compares the keys that something happened to. What is missing joins the transaction under construction,
    /// or goes out at the end of the event; `before` is what had been observed before its cause.
    pub(super) fn settle(&mut self, before: &Vector) {
        if self.converge.has_contested() {
            // What it left is not brought about by executing it again: it would change its other keys, too.
            self.contest();
        }
        if !self.converge.is_dirty() || self.recovering {
            return;
        }
        self.tell();
        let repairs = self.converge.settle(self.txn_id());
        if self.converge.waits_to_script() {
            self.settled.hold_open(SCRIPTLESS, before);
        } else {
            self.settled.release(SCRIPTLESS);
        }
        for txn in self.converge.take_deferred() {
            self.settled.hold_open(DEFERRED | txn, before);
        }
        if repairs.is_empty() {
            return;
        }
        if let Some(building) = &mut self.past.building {
            // They go with the operations that called for them.
            repairs
                .into_iter()
                .for_each(|repair| push_repair(building, repair));
            return;
        }
        let mut txn = self.repairs.take().unwrap_or_else(|| {
            let txn = Txn::new(self.next_txn, self.me);
            self.next_txn += 1;
            txn
        });
        self.settled.hold(txn.id, before);
        for repair in repairs {
            push_repair(&mut txn, repair);
        }
        self.repairs = Some(txn);
    }

    /// Puts the gathered repairs in the queue.
    pub(super) fn flush_repairs(&mut self) {
        if let Some(txn) = self.repairs.take() {
            self.enqueue(txn);
        }
    }

    pub(super) fn enqueue(&mut self, txn: Txn) {
        self.in_flight_bytes += txn.bytes;
        self.past.in_flight.push_back(txn);
    }

    /// The next transaction to send, if the database may take more. While its stream is away it may not: whatever it has
    /// executed when it comes back should be seen from what was sent before (`owed.rs`).
    pub fn next_txn(&mut self) -> Option<&Txn> {
        let allowed = match self.barrier {
            _ if !self.is_streaming => 0,
            Barrier::Down => 0,
            Barrier::Sent(_) => 1,
            Barrier::Passed => usize::MAX,
        };
        if self.unsent >= allowed || self.fault().is_some() {
            return None;
        }
        let txn = self.past.in_flight.get(self.unsent)?;
        self.unsent += 1;
        Some(txn)
    }

    /// Transactions handed out that have not come back.
    pub fn unanswered(&self) -> usize {
        self.unsent
    }

    /// A transaction in flight.
    pub fn txn(&self, id: TxnId) -> Option<&Txn> {
        self.past.in_flight.iter().find(|txn| txn.id == id)
    }

    /// The replies of a transaction are in.
    pub fn replied(&mut self, id: TxnId, outcome: Outcome) {
        if let Some(txn) = self.past.in_flight.iter_mut().find(|txn| txn.id == id) {
            txn.outcome = Some(outcome);
        }
    }
}

pub(super) fn push_repair(txn: &mut Txn, repair: KeyRepair) {
    let KeyRepair {
        fingerprint,
        db,
        key,
        repair,
    } = repair;
    txn.commands += repair.commands.len();
    txn.bytes += repair.commands.iter().map(bytes::Bytes::len).sum::<usize>();
    let for_all = repair.ship_state.then_some(Reader::All);
    let time = repair.tells_time.then_some(Reader::Time);
    let reads = for_all.or(repair.read.then_some(Reader::Me)).or(time);
    let commands = repair.commands;
    txn.pieces.push(super::txn::Piece::Repair {
        fingerprint,
        db,
        key,
        commands,
        reads,
    });
}

const _: () = assert!(REPLICATION_ID_BYTES == 40);

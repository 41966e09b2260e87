//! The window after a restart, from the logs; and its memory and faults while running.

use std::rc::Rc;

use super::journal::Journal;
use super::site::Site;
use crate::causality::{Dot, Hlc, Seq, SiteIx, Vector};
use crate::converge::{Arrival, Spill, TxnId, WindowError};
use crate::op::Batch;

/// Rows after which a rebuild looks at the window's memory.
const ROWS_PER_RELIEF: usize = 1024;

/// A place in the log of one origin, with what an operation there has in its past.
struct Cursor {
    batch: Rc<Batch>,
    at: usize,
    /// The first mark behind the place.
    mark: usize,
    past: Vector,
    time: Hlc,
}

impl Cursor {
    fn new<J: Journal>(journal: &mut J, dot: Dot) -> Option<Cursor> {
        let batch = journal.batch(dot.site, dot.seq)?;
        let at = (dot.seq - batch.first_seq) as usize;
        Some(Cursor {
            at,
            mark: batch.marks.partition_point(|mark| mark.at as usize <= at),
            past: batch.past_of(at),
            time: batch.time_of(at),
            batch,
        })
    }

    fn dot(&self) -> Dot {
        Dot {
            site: self.batch.origin,
            seq: self.batch.first_seq + self.at as Seq,
        }
    }

    /// The next operation of the origin.
    fn next<J: Journal>(mut self, journal: &mut J) -> Option<Cursor> {
        let dot = self.dot();
        self.at += 1;
        if self.at == self.batch.count() {
            let seq = dot.seq + 1;
            return Cursor::new(journal, Dot { seq, ..dot });
        }
        self.past.advance(dot.site, dot.seq);
        self.time = self.time.plus(1);
        while let Some(mark) = self.batch.marks.get(self.mark)
            && mark.at as usize <= self.at
        {
            self.past
                .advance(mark.site, mark.seq.max(self.past.get(mark.site)));
            self.time = mark.time;
            self.mark += 1;
        }
        Some(self)
    }
}

impl<J: Journal> Site<J> {
    /// Keeps at most about `memory_max` bytes of the window's index in memory, the rest on `disk`.
    pub fn spill_to(&mut self, disk: Box<dyn Spill>, memory_max: usize) {
        self.converge.spill_to(disk, memory_max);
    }

    /// The window's disk failed a look-up. Nothing is submitted any more, nor is anything told to the others
    /// that is not certain: this machine is to be made anew from the logs, which have everything.
    pub fn fault(&self) -> Option<&WindowError> {
        self.converge.fault()
    }

    /// Bounds the window's memory; whether it may take more. While the disk refuses, what remote sites send
    /// waits in the log: a client's own writes cannot wait.
    pub(super) fn relieve(&mut self) -> bool {
        if let Err(error) = self.converge.relieve(self.now_unix_ms) {
            tracing::error!(%error, "the window cannot go to disk; what the other sites send is held back");
        }
        self.fault().is_none() && !self.converge.is_refused()
    }

    /// After a fault others must not forget what is concurrent with what was observed since `before`.
    pub(super) fn hold_if_at_fault(&mut self, before: &Vector) {
        if self.fault().is_some() {
            self.settled.hold(TxnId::MAX, before);
        }
    }

    /// Operations that an earlier run had executed enter the window.
    pub(super) fn enter_executed(&mut self, origin: SiteIx, from: Seq, to: Seq) {
        let dot = Dot {
            site: origin,
            seq: from,
        };
        let mut next = Cursor::new(&mut self.past.journal, dot);
        while let Some(cursor) = next.filter(|cursor| cursor.dot().seq <= to) {
            self.enter_row(&cursor);
            next = cursor.next(&mut self.past.journal);
        }
    }

    fn enter_row(&mut self, cursor: &Cursor) {
        let Some(row) = cursor.batch.row(cursor.at) else {
            return;
        };
        let dot = cursor.dot();
        if row.class.is_of_databases() {
            if let Some((operation, only_db)) = self.past.flush_of(dot) {
                let touched = self.converge.flush(&operation, only_db, None, &mut self.past);
                self.meet_earlier_flushes(&operation, &touched);
            }
            return;
        }
        let arrival = |fingerprint| Arrival {
            fingerprint,
            dot,
            class: row.class,
            past: &cursor.past,
        };
        if row.keys_inside() {
            for fingerprint in self.past.fingerprints_of(dot) {
                self.converge.executed(arrival(fingerprint), &mut self.past);
            }
        } else {
            self.converge.executed(arrival(row.fingerprint), &mut self.past);
        }
        self.meet_flushes(dot, &cursor.past);
    }

    /// Where what is not stable begins to be concurrent with anything. What is stable is in the past of everything
    /// still to come, but not of everything that came.
    fn rebuild_from(&mut self, stable: &Vector) -> Vector {
        let mut from = stable.clone();
        loop {
            let before = from.clone();
            for site in self.roster.all() {
                let seq = before.get(site) + 1;
                // An origin's pasts grow, so its first operation has the least.
                if seq <= self.past.observed.get(site)
                    && let Some(first) = Cursor::new(&mut self.past.journal, Dot { site, seq })
                {
                    from.meet(&first.past);
                }
            }
            if from == before {
                return from;
            }
        }
    }

    /// Behind which point each log is still needed: by a restart here, or by a site that does not hold it yet.
    pub fn needed_from(&mut self) -> Vector {
        let stable = self.peers.stability.stable().clone();
        let mut needed = self.rebuild_from(&stable);
        if let Some(from) = self.healing() {
            needed.meet(from);
        }
        let mut held = Vector::zero(self.roster.count());
        for origin in self.roster.all() {
            held.advance(origin, self.peers.held_by_all(self.me, origin));
        }
        needed.meet(&held);
        needed
    }

    /// Where a log does not reach so far back, nothing that its missing operations have seen is entered either: they
    /// took what an entered one would leave.
    fn reached_from(&mut self, stable: &Vector) -> Vector {
        let wanted = self.rebuild_from(stable);
        let mut from = wanted.clone();
        loop {
            let before = from.clone();
            for site in self.roster.all() {
                let mut seen = stable.clone();
                let seq = before.get(site) + 1;
                match Cursor::new(&mut self.past.journal, Dot { site, seq }) {
                    Some(_) if before.get(site) == wanted.get(site) => continue,
                    Some(first) => seen.meet(&first.past),
                    None => from.advance(site, stable.get(site).max(before.get(site))),
                }
                if before.get(site) > wanted.get(site) {
                    from.join(&seen);
                }
            }
            if from == before {
                return from;
            }
        }
    }

    /// Everything unstable in the logs that the database has executed enters the window, in the order of time,
    /// which agrees with causality. Each log is read once, from its stable point on, and the window's memory is
    /// bounded on the way.
    pub(super) fn rebuild_window(&mut self) {
        let stable = self.peers.stability.stable().clone();
        let from = self.reached_from(&stable);
        let mut cursors: Vec<Option<Cursor>> = Vec::new();
        for site in self.roster.all() {
            let mut at = |seq| {
                let executed = seq <= self.past.observed.get(site);
                let cursor = executed.then(|| Cursor::new(&mut self.past.journal, Dot { site, seq }));
                cursor.flatten()
            };
            cursors.push(at(from.get(site) + 1));
        }
        for rows in 1.. {
            let times = cursors.iter_mut().filter(|cursor| cursor.is_some());
            let Some(earliest) = times.min_by_key(|cursor| cursor.as_ref().map(|cursor| cursor.time)) else {
                return;
            };
            let Some(cursor) = earliest.take() else { return };
            self.enter_row(&cursor);
            let next = cursor.next(&mut self.past.journal);
            *earliest = next.filter(|cursor| self.past.observed.includes(cursor.dot()));
            if rows % ROWS_PER_RELIEF == 0 {
                self.relieve();
            }
        }
    }
}

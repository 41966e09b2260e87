//! What pops of this site took, told to the others: operations that stand in no stream.
//!
//! Invariant: they are in the log before anything is said of what called for them. Whoever counts what this site has
//! settled has seen all that it had in its log by then, and so these.

use std::rc::Rc;

use bytes::Bytes;

use super::journal::Journal;
use super::site::Site;
use crate::causality::Hlc;
use crate::command::EffectClass;
use crate::op::{Builder, Row};

impl<J: Journal> Site<J> {
    /// Appends what is to be told to the log, and takes it in. If the log refuses, all sites go on with what the
    /// pops' past tells.
    pub(super) fn tell(&mut self) {
        loop {
            let told = self.converge.take_told();
            let Some(source) = self.source.filter(|_| !told.is_empty()) else {
                return;
            };
            let mut builder = Builder::default();
            for (fingerprint, db, command) in told {
                push(&mut builder, fingerprint, db, command);
            }
            let first_seq = self.past.journal.last(self.me) + 1;
            let time = self.stamp_told(builder.count() as u64);
            let observed = self.running.clone();
            let batch = builder.finish(builder.place(), self.me, (first_seq, time), observed, source);
            let Some(batch) = batch.map(Rc::new) else { return };
            if let Err(error) = self.past.journal.append(&batch) {
                tracing::warn!(%error, "what pops took cannot be told; it counts what their past tells");
                return;
            }
            self.local_rows(Some(&batch), 0, batch.count());
        }
    }

    /// The first of so many timestamps in a row. Rows of a unit that is not complete yet come later.
    fn stamp_told(&mut self, count: u64) -> Hlc {
        let first = self.clock.tick(self.now_unix_ms);
        let mut last = first.plus(count - 1);
        let waiting = self.builder.count() as u64;
        if waiting > 0 {
            self.reading.first_time = Some(last.plus(1));
            last = last.plus(waiting);
            self.reading.last_time = last;
        }
        self.clock.absorb(last);
        first
    }
}

fn push(builder: &mut Builder, fingerprint: u64, db: u32, command: Bytes) {
    let row = Row {
        end: 0,
        flags: 0,
        class: EffectClass::Took,
        db: db as u16,
        fingerprint,
    };
    builder.push_owned(command, row, &[]);
}

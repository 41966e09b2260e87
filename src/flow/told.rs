//! What pops of this site took, told to the others: operations that stand in no stream.
//!
//! Invariant: they are in the log before anything is said of what called for them. Whoever counts what this site has
//! settled has seen all that it had in its log by then, and so these.

use std::rc::Rc;

use bytes::Bytes;

use super::journal::{Journal, JournalError};
use super::site::Site;
use crate::causality::{Hlc, Vector};
use crate::command::EffectClass;
use crate::op::{Batch, Builder, Row, Source};

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
                push(&mut builder, (fingerprint, db), EffectClass::Took, command);
            }
            let time = self.stamp_told(builder.count() as u64);
            let batch = match self.append_own(&mut builder, time, self.running.clone(), source) {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(%error, "what pops took cannot be told; it counts what their past tells");
                    return;
                }
            };
            let Some(batch) = batch else { return };
            self.local_rows(Some(&batch), 0, batch.count());
        }
    }

    /// Operations of this site that no client wrote go to the log, as one batch, with this past.
    pub(super) fn append_own(
        &mut self,
        builder: &mut Builder,
        time: Hlc,
        observed: Vector,
        source: Source,
    ) -> Result<Option<Rc<Batch>>, JournalError> {
        let first_seq = self.past.journal.last(self.me) + 1;
        let batch = builder.finish(builder.place(), self.me, (first_seq, time), observed, source);
        let batch = batch.map(Rc::new);
        if let Some(batch) = &batch {
            self.past.journal.append(batch)?;
        }
        Ok(batch)
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

/// A command that stands in no stream, on one key.
pub(super) fn push(builder: &mut Builder, (fingerprint, db): (u64, u32), class: EffectClass, command: Bytes) {
    let row = Row {
        end: 0,
        flags: 0,
        class,
        db: db as u16,
        fingerprint,
    };
    builder.push_owned(command, row, &[]);
}

//! SWAPDB: two databases change places.
//!
//! Executed at another site as it came, it would take what was written there meanwhile to where nobody else has it.
//! So it is not sent. The site takes it for the end of its database's history: the next link asks for a snapshot,
//! and the whole content goes to the other sites as a reset of everything in its past (`snapshot.rs`), which yields
//! to whatever it has not seen.
//!
//! Invariant: everything before it in the stream is in the log when the history ends, but for a unit that it stands
//! in; nothing behind it is read, so all of that is part of the snapshot.

use super::journal::Journal;
use super::outbound::{Progress, Stop, arg};
use super::site::Site;
use crate::op::REPLICATION_ID_BYTES;

impl<J: Journal> Site<J> {
    /// A client's SWAPDB in the stream. One database for itself is no change.
    pub(super) fn swapped(&mut self, frame: &[u8], len: usize) -> Progress {
        let args = self.reading.scanner.args();
        match arg(args, frame, 1) == arg(args, frame, 2) {
            true => Progress::Used(len),
            false => Progress::Stop(Stop::Swapped),
        }
    }

    /// No server continues the history of this id. The position is kept like any other, so a restart asks for a
    /// snapshot, too.
    pub(super) fn end_history(&mut self) {
        self.has_swapped = true;
        if let Some(source) = &mut self.source {
            source.replication_id = [b'f'; REPLICATION_ID_BYTES];
        }
    }

    /// Whether a SWAPDB waits for its snapshot.
    pub fn has_swapped(&self) -> bool {
        self.has_swapped
    }
}

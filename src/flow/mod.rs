//! Flow: both journeys of a write through the stations, and the order rules between them.
//!
//! Outbound: stream of the own database > rows of a batch > log > links. Inbound: link > log > converge > marked
//! transactions > own database > echo in the stream. [`Site`] is the whole engine of one site as a pure
//! machine: bytes, batches and replies go in; transactions and batches to send come out. Time is an argument.
//!
//! Depends on ground and stations; the log is behind [`Journal`]. Invariants: an operation is in the log before
//! anybody else can see it; remote operations are submitted in causal order; what a marker covers is never
//! submitted again; the position that is kept never lies inside a unit.

mod align;
mod check;
mod dumps;
mod echoes;
mod events;
mod healing;
mod history;
mod inbound;
mod journal;
mod marks;
mod merge;
mod outbound;
mod owed;
mod passed_over;
mod peers;
mod rebuild;
mod restore;
mod site;
mod snapshot;
mod swap;
mod told;
mod txn;

pub use check::RowFault;
pub use healing::HealError;
pub use journal::{Journal, JournalError};
pub use outbound::{Stop, StreamError};
pub use peers::{Ack, PeerState};
pub use site::{Counters, Settings, Site};
pub use snapshot::{Snapshot, SnapshotError};
pub use txn::{Dump, Encoded, Outcome, Piece, Queued, Txn};

#[cfg(test)]
mod window_tests;

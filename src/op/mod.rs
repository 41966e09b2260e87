//! Operations in transit: the batch, its table and its codec.
//!
//! Owns the batch format, which is the same in memory, in the log and on the wire (`docs/formats.md`): a head,
//! one table row per command, and the commands' bytes as they came. Depends on causality and the command
//! classes. Sites stand in it by name, so a batch outlives changes of the roster.
//!
//! Invariants: rows lie in stream order and their ends rise; a unit (a client's MULTI block) is never split
//! over two batches; a decoded batch has been checked against its own length before anything is read from it.

mod batch;
mod build;
mod fingerprint;

pub use batch::{
    Batch, BatchError, FLAG_CONTINUES, FLAG_KEYS_INSIDE, FLAG_STATE, Mark, REPLICATION_ID_BYTES, Row, Source,
};
pub use build::{Builder, Place};
pub use fingerprint::Fingerprinter;

#[cfg(test)]
mod tests;

//! Link: frames and the session between two syncers.
//!
//! Owns the wire format ([`frames`], drawn in `docs/formats.md`), the order of a session ([`Session`]) and, in
//! `io`, the task that moves its bytes over a stream that TLS has already authenticated. Depends on
//! `causality` for site names. Batches are opaque bytes here.
//!
//! Invariants:
//! - Nothing is believed of a peer before its certificate, its `Hello` and its `Resume` agree with what is
//!   configured; no batch is taken earlier.
//! - A frame is whole and its checksum right, or the session ends with a typed error.
//! - Nothing is reserved on the strength of a length that a peer claims.
//! - Reading never waits for writing nor the other way round, so two full pipes cannot block each other.

pub mod frames;
#[cfg(feature = "io")]
pub mod io;
mod session;

pub use session::{Event, Local, Refused, Session, Tick};

/// What one session counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// Batches sent.
    pub batches_sent: u64,
    /// Batches received.
    pub batches_received: u64,
}

#[cfg(test)]
mod tests;

//! The Redis protocol: where commands and replies begin and end in a run of bytes, and how to write them.
//!
//! Owns framing and encoding of RESP2, the RESP3 types a reply may hold, inline commands and the empty lines
//! a master sends as keep-alive. Depends on no other room. What it may be fed is bounded by [`Limits`]; it
//! keeps no counters, for every outcome is handed to the caller as a value.
//!
//! - [`Scanner`] frames a command stream and copies nothing: an argument is a range of the caller's buffer.
//! - [`reply`] reads replies: [`reply::token`] flat and borrowed for the pipelined connection,
//!   [`reply::value`] whole and owned for everything that is not in a hurry.
//! - [`encode`] writes commands.
//!
//! Invariants:
//! - Split invariance: the frames do not depend on how the stream was cut into reads.
//! - Every byte of the stream belongs to exactly one outcome, so lengths add up to replication offsets.
//! - A frame that is accepted is canonical: encoding its arguments again gives its bytes (inline commands
//!   apart). No two readings of one stream exist.
//! - Nothing is reserved on the strength of a number in the stream, and nothing in the stream can panic.

pub mod encode;
mod error;
pub mod inline;
mod length;
mod limits;
pub mod reply;
mod scanner;

#[cfg(test)]
mod tests;

pub use error::{Fault, FrameError};
pub use limits::Limits;
pub use scanner::{ArgRange, Scan, Scanner};

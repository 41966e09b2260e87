//! Log: the durable, append-only log of one origin site.
//!
//! Owns the segment format (`docs/formats.md`), recovery after a torn write, look-up by sequence number and
//! trimming. Depends on site names only; what a record holds is other rooms' business. The disk is a small
//! trait, so a simulator can tear writes and fail calls.
//!
//! Invariants: batch records follow each other without a gap; what was appended is found again unless the disk
//! lost it; a damaged end is cut, damage anywhere else is refused, nothing is skipped in silence. The end is what the two
//! newest segments hold: all older ones were forced to disk before the newest was made.

mod disk;
mod error;
#[cfg(feature = "io")]
pub mod io;
mod origin;
mod segment;

pub use disk::Disk;
pub use error::LogError;
pub use origin::{Entry, OriginLog, Recovery, Settings};
pub use segment::RECORD_HEADER_BYTES;

#[cfg(test)]
mod tests;

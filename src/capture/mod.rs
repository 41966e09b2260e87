//! Capture: the local database as its replica sees it.
//!
//! Owns the replication link to one database: the handshake and its answers (`psync`), the snapshot that a
//! full synchronisation sends (`rdb`), what is acknowledged and when (`ack`), the read blocks (`blocks`),
//! the pace of reading (`pace`), and in `io` the task that holds the socket. It may use the ground only; what it
//! reads goes to a [`Sink`].
//!
//! Invariants:
//! - An offset counts bytes of the command stream and names the last byte known. Newlines, answers and
//!   snapshots do not count. The first byte after [`Sink::on_full_resync`] or [`Sink::on_continue`] has
//!   `offset + 1`.
//! - Stream bytes are delivered in order, none left out, none twice.
//! - A position is worth keeping only after [`Sink::on_snapshot_end`] or [`Sink::on_continue`].
//! - The link says only `REPLCONF` and `PSYNC`. It names no port (nothing shall dial us) and claims no
//!   capability beyond `eof` and `psync2`.

mod ack;
mod blocks;
#[cfg(feature = "io")]
pub mod io;
mod pace;
mod psync;
pub mod rdb;
mod sink;

use std::fmt;

pub use ack::{AckPolicy, Progress, replconf_ack};
pub use blocks::Blocks;
pub use psync::{Event, Psync, Step, backoff_ms};
pub use sink::{Sink, Want};

/// A replication id: the database's name for one history of writes, 40 letters and digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplId([u8; ReplId::BYTES]);

impl ReplId {
    /// Length in bytes.
    pub const BYTES: usize = 40;

    /// Checks and keeps an id; `None` if it is not 40 ASCII letters and digits.
    pub fn new(id: &[u8]) -> Option<ReplId> {
        let id: [u8; ReplId::BYTES] = id.try_into().ok()?;
        id.iter().all(u8::is_ascii_alphanumeric).then_some(ReplId(id))
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or(""))
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a stream was left: the history and the offset of the last byte known.
///
/// Kept together or not at all: after a promotion the old id is good only up to the offset of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The history.
    pub replid: ReplId,
    /// The last byte known; always the end of a command outside of MULTI.
    pub offset: u64,
}

/// What can be set about capturing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds between two acknowledgements.
    pub ack_interval_ms: u64,
    /// Milliseconds without one byte from the database after which the link counts as dead.
    pub silence_ms_max: u64,
    /// First and shortest pause before a refused step is tried again, milliseconds.
    pub retry_ms_min: u64,
    /// Longest such pause, milliseconds.
    pub retry_ms_max: u64,
    /// Size of a read block in bytes.
    pub block_bytes: usize,
    /// Blocks kept for reuse.
    pub blocks_spare_max: usize,
    /// What the snapshot reader may hold in memory.
    pub rdb: rdb::Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ack_interval_ms: 1_000,
            silence_ms_max: 60_000,
            retry_ms_min: 100,
            retry_ms_max: 5_000,
            block_bytes: 256 * 1024,
            // As many as the newest batches, which are kept, hold pieces of.
            blocks_spare_max: 24,
            rdb: rdb::Limits::default(),
        }
    }
}

/// What was counted on the links to the database, all since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Partial resynchronisations granted.
    pub continues: u64,
    /// Full resynchronisations begun.
    pub full_resyncs: u64,
    /// Snapshots read to their end.
    pub snapshots: u64,
    /// Bytes of snapshots.
    pub snapshot_bytes: u64,
    /// Bytes of the command stream.
    pub stream_bytes: u64,
    /// Steps of the handshake that were put off (loading, no master link, busy).
    pub retries: u64,
    /// Acknowledgements sent.
    pub acks: u64,
}

/// Why the database puts us off for now. Nothing is wrong with us; the step is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// `-LOADING`.
    #[error("the database is loading its data set")]
    Loading,
    /// `-NOMASTERLINK` or `-MASTERDOWN`: a replica without its own master, or a failover under way.
    #[error("the database is a replica whose link to its master is down, or is failing over")]
    NoMaster,
    /// `-BUSY`.
    #[error("the database is busy with a script; it must end or be killed by its owner")]
    Script,
    /// Any other `-ERR`: a snapshot that could not be begun, for instance.
    #[error("the database answered {0:?}")]
    Other(String),
}

/// Why the replication link failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The login is missing.
    #[error("the database wants a login before {step} ({answer:?}); give user and password in `database`")]
    NoAuth {
        /// The refused command.
        step: &'static str,
        /// The database's words.
        answer: String,
    },
    /// The user may not replicate.
    #[error(
        "the database user may not call {step} ({answer:?}); grant it: ACL SETUSER <user> +psync +replconf +ping"
    )]
    NoPermission {
        /// The refused command.
        step: &'static str,
        /// The database's words.
        answer: String,
    },
    /// The server takes nobody from outside.
    #[error("the database refuses connections ({answer:?}); set a password or leave protected mode")]
    Denied {
        /// The database's words.
        answer: String,
    },
    /// The command does not exist there.
    #[error(
        "the database does not know {step} ({answer:?}); replication must be possible: not renamed, not a managed \
         service that hides it, no proxy in between"
    )]
    UnknownCommand {
        /// The refused command.
        step: &'static str,
        /// The database's words.
        answer: String,
    },
    /// The snapshot was promised and then could not be made.
    #[error("the database could not make its snapshot ({answer:?}); see its own log, often a full disk")]
    SnapshotFailed {
        /// The database's words.
        answer: String,
    },
    /// An answer that no server gives.
    #[error("unexpected answer to {step}: {answer:?}; is this a Redis or Valkey database?")]
    Unexpected {
        /// What was asked.
        step: &'static str,
        /// The first bytes of the answer.
        answer: String,
    },
    /// The snapshot does not read.
    #[error("snapshot: {0}")]
    Rdb(#[from] rdb::Error),
    /// The database has been silent for too long.
    #[error("no byte from the database for {silent_ms} ms; the link is dead, it will be opened again")]
    Silent {
        /// How long, in milliseconds.
        silent_ms: u64,
    },
    /// The database closed the link.
    #[error("the database closed the replication link {0}; it will be opened again")]
    Closed(&'static str),
    /// The socket failed.
    #[error("replication link: {kind}; it will be opened again")]
    Socket {
        /// The system's reason.
        kind: std::io::ErrorKind,
    },
}

impl Error {
    /// True if a new connection can help by itself; false if somebody must change something first.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::SnapshotFailed { .. } | Error::Silent { .. } | Error::Closed(_) | Error::Socket { .. } => {
                true
            }
            Error::Rdb(error) => error.is_retryable(),
            Error::NoAuth { .. }
            | Error::NoPermission { .. }
            | Error::Denied { .. }
            | Error::UnknownCommand { .. }
            | Error::Unexpected { .. } => false,
        }
    }
}

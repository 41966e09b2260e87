//! The status of a syncer, as values.
//!
//! Times are milliseconds, sizes bytes. Counters count since this process started, and only rise.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "io")]
use serde::{Deserialize, Serialize};

/// Everything `syncer status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct StatusView {
    /// This site's name.
    pub site: String,
    /// The shared database's id.
    pub database_id: String,
    /// The syncer's version.
    pub version: String,
    /// Time since this process started.
    pub uptime_ms: u64,
    /// The site's own database.
    pub database: DatabaseView,
    /// The other sites, in the order of their names.
    pub peers: Vec<PeerView>,
    /// The link port.
    #[cfg_attr(feature = "io", serde(default))]
    pub links: LinksView,
    /// The operations that can still conflict.
    pub window: WindowView,
    /// The logs on disk.
    pub log: LogView,
    /// What this site and its peers prove themselves with.
    #[cfg_attr(feature = "io", serde(default))]
    pub certificates: CertificatesView,
    /// Conflicts resolved against somebody, by rule.
    pub conflicts: BTreeMap<String, u64>,
    /// Counters of the whole engine.
    pub totals: TotalsView,
}

/// The link to the site's own database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct DatabaseView {
    /// Host and port, without user and password.
    pub address: String,
    /// Product and version, for instance `Redis 7.0.15`; empty until known.
    pub server_version: String,
    /// How the replication link stands.
    pub link_state: DatabaseLink,
    /// The replication id of the stream that is read; empty until known.
    pub replication_id: String,
    /// The replication offset read so far.
    pub offset: u64,
    /// The offset that is safe in the log on disk.
    pub offset_durable: u64,
    /// What went wrong last, if the link is not streaming.
    pub last_error: Option<String>,
}

/// How the replication link to the database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "io", serde(rename_all = "snake_case"))]
pub enum DatabaseLink {
    /// Not connected; the syncer dials again.
    #[default]
    Connecting,
    /// Connected; the database prepares or sends a snapshot.
    Snapshot,
    /// The stream is read.
    Streaming,
    /// Refused for good; somebody must act.
    Refused,
}

/// Another site, seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct PeerView {
    /// Its name.
    pub site: String,
    /// Where its syncer listens.
    pub address: String,
    /// How the link stands.
    pub state: PeerState,
    /// Operations of this site that the peer's database has not executed yet, as far as known here.
    pub lag_operations: u64,
    /// Their bytes in our log.
    pub lag_bytes: u64,
    /// The age of the oldest of them.
    pub lag_ms: u64,
    /// How far its clock was ahead of ours when last seen; negative if behind.
    pub clock_ahead_ms: i64,
    /// Sent to it.
    pub sent: TrafficView,
    /// Received from it.
    pub received: TrafficView,
    /// What went wrong last, if the link is down.
    pub last_error: Option<String>,
}

/// How the link to a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "io", serde(rename_all = "snake_case"))]
pub enum PeerState {
    /// Not connected; both sides dial again.
    #[default]
    Connecting,
    /// Batches and acknowledgements flow.
    Connected,
    /// One side refuses the other; somebody must act.
    Refused,
    /// It is behind the start of every log and needs a snapshot.
    NeedsSnapshot,
}

/// The link port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct LinksView {
    /// Connections to the link port whose greeting is not through.
    pub greeting: u64,
    /// Connections that were refused, and links that were ended because of what the peer sent, by reason; also of those
    /// that this syncer dialed.
    pub refused: BTreeMap<String, u64>,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct TrafficView {
    /// Operations: commands, or a client's whole MULTI block.
    pub operations: u64,
    /// Bytes on the link, frames included, before TLS.
    pub bytes: u64,
}

/// The unstable operations and the keys in the slow path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct WindowView {
    /// Operations that some site may not have seen yet.
    pub operations: u64,
    /// What their index takes in memory.
    #[cfg_attr(feature = "io", serde(default))]
    pub memory_bytes: u64,
    /// What of their index lies on disk.
    #[cfg_attr(feature = "io", serde(default))]
    pub disk_bytes: u64,
    /// Keys with concurrent operations.
    pub keys_in_conflict: u64,
    /// Of these, keys that wait for another site.
    pub keys_waiting: u64,
    /// How long the longest of them has been waiting.
    pub waiting_ms_max: u64,
    /// Of these, keys that the database lost writes to: they get another site's value.
    #[cfg_attr(feature = "io", serde(default))]
    pub keys_healing: u64,
}

/// The logs of all origins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct LogView {
    /// What they take on disk.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Each origin's log, in the order of their names.
    pub origins: Vec<OriginView>,
}

/// The log of one origin, as held here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct OriginView {
    /// The site that wrote these operations first.
    pub site: String,
    /// The oldest operation held; 0 if the log is empty.
    pub first_seq: u64,
    /// The newest one; 0 if the log is empty.
    pub last_seq: u64,
}

/// What this site and its peers prove themselves with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct CertificatesView {
    /// This site's own, by service, then those of the peers.
    pub held: Vec<CertificateView>,
    /// Times that the links' certificate, policy or trust was replaced.
    pub replaced: u64,
    /// Replacements that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Why the last replacement was refused, until one succeeds.
    pub last_error: Option<String>,
    /// The store that the syncers of the site share, if it is another than the directory.
    #[cfg_attr(feature = "io", serde(default))]
    pub store: Option<StoreView>,
}

/// A store that others keep for the syncers of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct StoreView {
    /// Whether the copy here is up to date.
    pub is_reached: bool,
    /// Seconds since when it may not be.
    pub behind_s: u64,
    /// Why.
    pub error: Option<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct CertificateView {
    /// The service, or `peer:` and a site.
    pub name: String,
    /// Of our own, to be compared; empty for a peer's file, which may hold several.
    pub fingerprint: String,
    /// End of its validity, for people.
    pub until: String,
    /// Seconds until then; negative once it is over.
    pub expires_in_s: i64,
    /// `valid`, or how near the end is.
    pub state: String,
}

/// Counters of the whole engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "io", derive(Serialize, Deserialize))]
pub struct TotalsView {
    /// Operations of this site's clients, read from the stream.
    pub local_operations_captured: u64,
    /// Operations of other sites, executed by this site's database.
    pub remote_operations_applied: u64,
    /// Of these, applied as the bytes that arrived, because nothing was concurrent with them.
    pub remote_operations_fast: u64,
    /// Corrections written because a key's value was not what the rules prescribe.
    pub keys_reconciled: u64,
    /// Remote commands that this database refused for good; each is in the log with its key.
    pub commands_refused: u64,
    /// Values of other sites that were not handed to this database, because they do not read; each is in the
    /// log with its key.
    pub values_refused: u64,
    /// Transactions tried again after a passing error of the database.
    pub apply_retries: u64,
    /// Times the stream was continued where it had stopped.
    pub partial_resyncs: u64,
    /// Times the database answered with a snapshot.
    pub full_resyncs: u64,
}

impl fmt::Display for DatabaseLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DatabaseLink::Connecting => "connecting",
            DatabaseLink::Snapshot => "snapshot",
            DatabaseLink::Streaming => "streaming",
            DatabaseLink::Refused => "refused",
        })
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PeerState::Connecting => "connecting",
            PeerState::Connected => "connected",
            PeerState::Refused => "refused",
            PeerState::NeedsSnapshot => "needs snapshot",
        })
    }
}

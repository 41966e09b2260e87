//! What can go wrong with a log.

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refuses.
    #[error(
        "log of {origin}: cannot {what}: {error}; free space or mend the disk, then it goes on by itself"
    )]
    Disk {
        /// Whose log.
        origin: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// Damage that no torn write explains.
    #[error(
        "log of {origin}: segment {segment} is damaged at byte {offset} ({what}); move the whole log directory away \
         and let the site start anew from its peers"
    )]
    Damaged {
        /// Whose log.
        origin: String,
        /// Number of the segment.
        segment: u64,
        /// Byte in the segment.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The directory belongs to another site, database or version.
    #[error("log of {origin}: segment {segment} belongs to {found}; check data_dir")]
    Foreign {
        /// Whose log it should be.
        origin: String,
        /// Number of the segment.
        segment: u64,
        /// What it says.
        found: String,
    },
    /// A batch that does not follow the last one.
    #[error("log of {origin}: operation {found} does not follow {last}")]
    Gap {
        /// Whose log.
        origin: String,
        /// Last operation held.
        last: u64,
        /// First of what was to be appended.
        found: u64,
    },
    /// Another syncer uses the directory.
    #[error("{0} is used by another syncer; each needs a data_dir of its own")]
    Locked(String),
}

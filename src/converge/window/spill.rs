//! What the window needs of a disk, and what it has put there.

use std::fmt;

use super::run::Run;
use super::table::{OPERATION_BYTES, SEGMENT_MAX};

/// Operations that a segment has at least, so that a short window is not cut into crumbs.
const SEGMENT_MIN: usize = 1 << 12;
/// Segments that fit into the memory allowed, at least, if every site has an open one.
const SEGMENTS_PER_SITE: usize = 4;
/// Pause after the disk refused a segment, milliseconds.
const RETRY_MS: u64 = 1_000;

/// Files with a number, each written once.
///
/// They are a cache: whoever makes a disk removes what an earlier run left. Nothing is forced to disk.
pub trait Spill: fmt::Debug {
    /// Makes a file of these bytes. On an error it may be there in part.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, file: u64, bytes: &[u8]) -> std::io::Result<()>;
    /// Reads as many bytes as there is room for, from an offset.
    ///
    /// # Errors
    /// The system's; also if the file ends before.
    fn read(&mut self, file: u64, offset: u64, into: &mut [u8]) -> std::io::Result<()>;
    /// Removes a file, whole or in part.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, file: u64) -> std::io::Result<()>;
}

/// The disk failed the window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Where the window had put a part of itself.
    #[error("the window's file {file} cannot be read: {error}")]
    Read {
        /// Its number.
        file: u64,
        /// What the system said.
        error: String,
    },
    /// What was read is not what was written.
    #[error("the window's file {file} is not what was written")]
    Changed {
        /// Its number.
        file: u64,
    },
    /// The part stays in memory.
    #[error("the window's file {file} cannot be written: {error}")]
    Write {
        /// Its number.
        file: u64,
        /// What the system said.
        error: String,
    },
}

/// Reads from runs.
pub trait Runs {
    /// Bytes of a run.
    ///
    /// # Errors
    /// The disk's.
    fn read(&mut self, run: u64, offset: u64, bytes: usize) -> Result<&[u8], WindowError>;
}

/// The disk, and how much goes there.
#[derive(Debug, Default)]
pub struct SpillState {
    disk: Option<Box<dyn Spill>>,
    memory_max: usize,
    next_file: u64,
    next_age: u64,
    disk_bytes: u64,
    /// A segment was begun since memory was last looked at.
    begun: bool,
    /// After a refusal, not before.
    retry_unix_ms: u64,
    buffer: Vec<u8>,
}

impl SpillState {
    pub fn begin(&mut self, disk: Box<dyn Spill>, memory_max: usize) {
        self.disk = Some(disk);
        self.memory_max = memory_max;
        self.begun = true;
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Bytes in memory that are allowed; `None` if there is no disk.
    pub fn memory_max(&self) -> Option<usize> {
        self.disk.as_ref().map(|_| self.memory_max)
    }

    /// The age of a segment that begins.
    pub fn next_age(&mut self) -> u64 {
        self.begun = true;
        self.next_age += 1;
        self.next_age
    }

    /// How many operations the next segment of an origin takes that has so many already: a part of them, so
    /// that a segment leaves soon after its operations are stable.
    pub fn segment_limit(&self, sites: usize, entries: usize) -> usize {
        let limit = (entries / 2).clamp(SEGMENT_MIN, SEGMENT_MAX);
        match self.memory_max() {
            None => limit,
            Some(bytes) => limit.min((bytes / (OPERATION_BYTES * SEGMENTS_PER_SITE * sites.max(2))).max(1)),
        }
    }

    /// Whether memory is to be looked at now.
    pub fn is_due(&mut self, now_unix_ms: u64) -> bool {
        self.disk.is_some() && now_unix_ms >= self.retry_unix_ms && std::mem::take(&mut self.begun)
    }

    /// Writes a run.
    pub fn write(&mut self, run: &Run, bytes: &[u8], now_unix_ms: u64) -> Result<(), WindowError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let written = disk.write(run.id(), bytes);
        if let Err(error) = written {
            // What there is of it is in the way of nobody; its number is not used again.
            let _ = disk.remove(run.id());
            self.retry_unix_ms = now_unix_ms + RETRY_MS;
            self.begun = true;
            return Err(WindowError::Write {
                file: run.id(),
                error: error.to_string(),
            });
        }
        self.disk_bytes += run.disk_bytes();
        Ok(())
    }

    /// Everything that had to go has gone.
    pub fn relieved(&mut self) {
        self.retry_unix_ms = 0;
    }

    /// Whether the last segment that had to go to disk is still in memory.
    pub fn is_refused(&self) -> bool {
        self.retry_unix_ms > 0
    }

    /// A number for a new file.
    pub fn next_file(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file
    }

    /// Removes a run.
    pub fn remove(&mut self, run: &Run) {
        self.disk_bytes -= run.disk_bytes();
        if let Some(disk) = &mut self.disk
            && let Err(error) = disk.remove(run.id())
        {
            tracing::warn!(file = run.id(), %error, "a file of the window cannot be removed; it goes at the next start");
        }
    }
}

impl Runs for SpillState {
    fn read(&mut self, run: u64, offset: u64, bytes: usize) -> Result<&[u8], WindowError> {
        let said = |error: String| WindowError::Read { file: run, error };
        let disk = self.disk.as_mut().ok_or_else(|| said("no disk".to_owned()))?;
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        let into = &mut self.buffer[..bytes];
        disk.read(run, offset, into)
            .map_err(|error| said(error.to_string()))?;
        Ok(into)
    }
}

//! What the log needs of a disk.

use bytes::Bytes;

/// Segments are files with a number; all calls name the segment.
pub trait Disk {
    /// The numbers of all segments, rising.
    ///
    /// # Errors
    /// The system's.
    fn list(&mut self) -> std::io::Result<Vec<u64>>;
    /// Makes an empty segment.
    ///
    /// # Errors
    /// The system's.
    fn create(&mut self, segment: u64) -> std::io::Result<()>;
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn len(&mut self, segment: u64) -> std::io::Result<u64>;
    /// Reads up to `bytes` from an offset; fewer at the end. Asked for no more than the segment has.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&mut self, segment: u64, offset: u64, bytes: usize) -> std::io::Result<Bytes>;
    /// Writes all parts behind its end.
    ///
    /// # Errors
    /// The system's; some of the bytes may have been written.
    fn append(&mut self, segment: u64, parts: &[&[u8]]) -> std::io::Result<()>;
    /// Cuts it.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&mut self, segment: u64, bytes: u64) -> std::io::Result<()>;
    /// Begins to force its bytes to disk, without waiting for it. One segment at a time: it is asked for the next one
    /// when [`Disk::is_forced`] has said yes.
    ///
    /// # Errors
    /// The system's.
    fn force_soon(&mut self, segment: u64) -> std::io::Result<()>;
    /// Whether that is done.
    ///
    /// # Errors
    /// The system could not force it; it has been begun anew.
    fn is_forced(&mut self, segment: u64) -> std::io::Result<bool>;
    /// Removes it.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, segment: u64) -> std::io::Result<()>;
    /// Removes it when there is time: none of its bytes are read again, its number is not used again, and what is asked
    /// for first is removed first.
    ///
    /// # Errors
    /// The system's, as far as they are known at once.
    fn remove_soon(&mut self, segment: u64) -> std::io::Result<()> {
        self.remove(segment)
    }
}

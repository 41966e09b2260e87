//! Who takes what was captured.

use bytes::BytesMut;

use super::rdb::Item;
use super::{Busy, Position, Progress};

/// The sink's answer to a snapshot item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Skip the value.
    Skip,
    /// After a key: hand out its value too, as [`Item::Value`].
    Value,
    /// After a key: hand out its value's bytes too, as [`Item::Raw`].
    Raw,
}

/// Takes the events of one link, called on the link's own task. An error ends the link.
pub trait Sink {
    /// Why the sink refuses to go on.
    type Error;

    /// The stream goes on behind `position`. The id may be a new one (a promotion, a restart): from here on
    /// positions carry this id.
    ///
    /// # Errors
    /// The sink refuses.
    fn on_continue(&mut self, position: Position) -> Result<(), Self::Error>;

    /// A snapshot follows; the stream begins behind `position` after it. Not to be kept before
    /// [`Sink::on_snapshot_end`]: a snapshot that broke off must not look like a position.
    ///
    /// # Errors
    /// The sink refuses.
    fn on_full_resync(&mut self, position: Position) -> Result<(), Self::Error>;

    /// One item of the snapshot.
    ///
    /// # Errors
    /// The sink refuses, for instance a snapshot that holds data.
    fn on_snapshot_item(&mut self, item: Item<'_>) -> Result<Want, Self::Error>;

    /// The snapshot is complete and its checksum is right.
    ///
    /// # Errors
    /// The sink refuses.
    fn on_snapshot_end(&mut self) -> Result<(), Self::Error>;

    /// More bytes of the stream stand at the end of `stream`. The sink splits off the front what it has
    /// finished with (`split_to(n).freeze()` copies nothing) and leaves an incomplete command; the next
    /// call shows the same bytes again, contiguous with what came since.
    ///
    /// # Errors
    /// The sink refuses.
    fn on_stream(&mut self, stream: &mut BytesMut) -> Result<(), Self::Error>;

    /// The database puts us off; the handshake's step is repeated in `after_ms`.
    fn on_wait(&mut self, busy: &Busy, after_ms: u64);

    /// What is durable, and the newest GETACK seen.
    fn progress(&mut self) -> Progress;
}

//! What the flow needs of the logs.

use std::rc::Rc;

use crate::causality::{Seq, SiteIx};
use crate::op::Batch;

/// The log refused; the operations were not taken and are asked for again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log cannot be written: {0}")]
pub struct JournalError(pub String);

/// One log of batches per origin.
pub trait Journal {
    /// Appends a batch behind the last of its origin.
    ///
    /// # Errors
    /// The disk refuses; nothing was appended.
    fn append(&mut self, batch: &Rc<Batch>) -> Result<(), JournalError>;

    /// The batch that holds an operation, if it is still there.
    fn batch(&mut self, origin: SiteIx, seq: Seq) -> Option<Rc<Batch>>;

    /// The last operation held of an origin; 0 for none.
    fn last(&self, origin: SiteIx) -> Seq;
}

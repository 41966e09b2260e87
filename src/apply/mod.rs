//! Apply: what the database answers to our transactions.
//!
//! Owns the reading of replies on the pipelined connection: which transactions were executed, which refused and
//! why, and which values were read. Depends on the ground only. What a transaction carries is decided in
//! flow; its bytes are written by the node.
//!
//! Invariant: every reply belongs to exactly one transaction, in the order in which they were sent; a connection
//! on which that cannot hold is given up.

mod fault;
mod replies;

pub use fault::Fault;
pub use replies::{Answer, CommandError, Pending, Replies, ReplyError, Value};

#[cfg(test)]
mod tests;

//! Node: one running syncer, put together.
//!
//! The only room that knows every other. One thread runs everything on the way of a write: reading the stream,
//! the flow, the log, TLS and the pipelined connection, because a hand-over between threads costs more than
//! any of these steps; forcing the log to disk has a thread of its own. The pure [`Site`](crate::flow::Site) decides,
//! the tasks here move bytes.
//!
//! Invariant: a borrow of the shared state never lives across an await.

mod applier;
mod began;
mod boot;
mod certificates;
mod cluster;
mod conflicts;
mod connections;
mod doorway;
mod guest;
mod healing;
pub mod identity;
mod joining;
mod links;
mod logs;
mod peer_flow;
mod peers;
mod position;
mod reminders;
mod shared;
mod source;
mod start;
mod status;

pub use certificates::prepare;
pub use cluster::offline;
pub use guest::{Guest, JoinError};
pub use peers::PeersError;
pub use start::{Error, run};

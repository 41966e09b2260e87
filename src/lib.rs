//! Syncer: active-active replication for unmodified Redis and Valkey databases.
//!
//! The rooms stand here in the order in which a write flows through them. One rule binds them: data
//! travels sideways, imports travel down. A file imports only from a floor below its own, never from a
//! neighbour; neighbours meet as values. `tests/architecture.rs` holds the rule, `ARCHITECTURE.md`
//! explains it.

// Ground: pure and shared; no station is named here. Earlier rooms only.
pub mod causality;
pub mod command;
pub mod database;
pub mod echo;
pub mod op;
pub mod resp;
pub mod suggest;
pub mod value;

// Stations: one step of the way each; they know the ground only.
pub mod apply;
pub mod capture;
pub mod certs;
pub mod control;
pub mod converge;
#[cfg(feature = "io")]
pub mod joining;
pub mod link;
pub mod log;

// Above the stations: both journeys, pure.
pub mod flow;

// Shore: what was said and what it means, and the only room that knows every other.
#[cfg(feature = "io")]
pub mod config;
#[cfg(feature = "io")]
pub mod node;

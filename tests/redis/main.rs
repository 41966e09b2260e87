//! The product on real servers: every test starts its own databases and syncers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod atomic;
mod bits;
mod chain;
mod conflicts;
mod counters;
mod crash;
mod errors;
mod examples;
mod forms;
mod harness;
mod loops;
mod lost_tail;
mod refuse;
mod restart;
mod snapshots;
mod streams;
mod torture;
mod values;
mod waiting;
mod window;

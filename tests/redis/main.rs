//! The product on real servers: every test starts its own databases and syncers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod forms;
mod harness;
mod atomic;
mod counters;
mod loops;

//! The capture room against real servers (`REDIS_SERVER`, default `redis-server`).
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod acks;
mod handshake;
mod link;
#[path = "../support/ports.rs"]
mod ports;
mod resync;
mod server;
mod snapshot;

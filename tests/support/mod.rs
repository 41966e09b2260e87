//! What the tests on real servers stand on: a database server, a site (database and syncer), a cluster of
//! sites joined by forwarders that can be cut, and the comparison of their data.
//!
//! Rules of the house:
//! - No sleep stands for "it will have happened by then": waiting goes through [`wait_until`], which names
//!   what it waited for when it gives up.
//! - Randomness comes from a [`Random`] whose seed is printed; `SYNCER_TEST_SEED` plays a run again.
//! - Everything runs on loopback, in temporary folders, and is stopped by process id when it goes out of
//!   scope. A failing test prints the tail of every log of its processes.

// One support folder serves several binaries, and none of them uses all of it.
#![allow(dead_code, unused_imports)]

pub mod certificate;
pub mod client;
pub mod cluster;
pub mod compare;
pub mod ports;
pub mod proxy;
pub mod random;
pub mod server;
pub mod site;
pub mod status;
pub mod wait;

pub use client::{Client, Reply, words};
pub use cluster::{Cluster, ClusterBuilder};
pub use compare::{compare, differences};
pub use proxy::{Proxy, Way};
pub use random::Random;
pub use server::{RedisServer, ServerOptions};
pub use site::{Site, run_to_end};
pub use wait::{LONG, SHORT, clock_tick, wait_until};

/// The keys that belong to the syncer: they differ from site to site and are not data.
pub const MARKER_PREFIX: &[u8] = b"{syncer}:";

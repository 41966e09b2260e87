//! The simulator: the whole pure engine at several sites, under one seed. `docs/testing.md` tells how to use it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod applier;
mod clients;
mod database;
mod disk;
mod host;
mod journal;
mod judge;
mod known;
mod net;
mod oracle;
mod plan;
mod random;
mod resp;
mod run;
mod scenes;
mod shrink;
mod snapshot;
mod tallies;
mod world;

/// Seeds of the test.
const SEEDS: u64 = 3_000;

fn main() -> std::process::ExitCode {
    run::main(Some(SEEDS))
}

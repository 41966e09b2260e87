//! The simulator until it is stopped: `cargo run --release --example sim`.
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

fn main() -> std::process::ExitCode {
    run::main(None)
}

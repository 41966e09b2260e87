//! Configuration: what was said, and what it means.
//!
//! Owns the table of options ([`ROWS`]: one row is one option's name, default, check, documentation and
//! meaning), the TOML file's shape, the environment overrides, and the typed [`Settings`] that `node` cuts
//! up for the other rooms. Depends on `causality` for site names.
//!
//! ```text
//! text + environment ──said──▶ Config (key, value as text, place) ──meant──▶ Settings (typed, checked)
//!                       └───────────────── Mistakes: all of them, each with its place ─────┘
//! ```
//!
//! Parsing is pure: the text and a function that looks up a variable come in, nothing else is touched; only
//! `io.rs` reads files and the process's environment.
//!
//! Invariants: every mistake is reported, not only the first; no mistake and no `Debug` shows a secret;
//! the defaults pass the same checks as what an operator writes; `docs/configuration.md` is written from
//! the table.

mod etcd;
pub mod io;
mod mistake;
mod reference;
mod rows;
mod said;
mod settings;
mod value;

pub use crate::database::Secret;
pub use etcd::Etcd;
pub use mistake::{Mistake, Mistakes, Place};
pub use reference::reference;
pub use rows::{ENVIRONMENT_PREFIX, PeerRow, ROWS, Row, peer_rows};
pub use said::{Config, Said, SaidPeer};
pub use settings::{
    Apply, Certificates, ConflictLog, Conflicts, Database, DatabaseTls, FlushPolicy, Link, Log, LogSync,
    ModulePolicy, Peer, Settings, SwapPolicy, TlsVersion, TraceFormat, Tracing,
};

/// What a configuration means: parses the text, lays the environment over it and checks everything.
///
/// `variable` looks up an environment variable by its full name.
///
/// # Errors
/// All mistakes, in the order of the text.
pub fn settings(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Mistakes> {
    let (config, mut mistakes) = Config::said(text, variable);
    let settings = Settings::meant(&config, &mut mistakes);
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(mistakes.sorted()),
    }
}

#[cfg(test)]
mod tests;

//! The command line's words: one file per command. Knows every room it starts; nothing knows it.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage (clap's own), 64 mistakes in the configuration.

pub mod admin;
pub mod demo;
pub mod init;
pub mod invite;
pub mod join;
mod logging;
pub mod run;
pub mod status;

use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use syncer::config;

const EXIT_FAILED: u8 = 1;
const EXIT_CONFIG: u8 = 64;

/// Active-active replication for unmodified Redis and Valkey databases
///
/// A site is one database and one syncer beside it. Clients write to any site at any time; the syncers
/// exchange the writes and resolve conflicts, so that all sites come to hold the same data. The databases
/// need no module, proxy or patch.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Try it:
  syncer demo                          two databases, two sites, a cut, and a comparison

Two sites, each with its own file:
  syncer run --config a.toml           runs until SIGTERM or Ctrl-C
  syncer invite --config a.toml        prints a line for a new site
  syncer join LINE --config b.toml     at the new site, before its first `syncer run`
  syncer status --config a.toml        how it is doing
  syncer admin --config a.toml WORDS   tell it what to do

Exit codes:
  0   done
  1   failed; the reason is on standard error
  2   wrong usage of the command line
  64  mistakes in the configuration; all of them are on standard error";

/// The commands; each file documents its own.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Init(init::InitArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Admin(admin::AdminArgs),
    Invite(invite::InviteArgs),
    Join(join::JoinArgs),
    Demo(demo::DemoArgs),
}

/// The configuration file, as every command takes it.
#[derive(Debug, Args)]
pub struct ConfigArg {
    /// The site's configuration file (TOML; docs/configuration.md lists the keys)
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

impl ConfigArg {
    /// Reads and checks it.
    pub fn load(&self) -> Result<config::Settings, Failure> {
        Ok(config::io::load(&self.config)?)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(config::io::Error),
    /// Anything else, with its sources.
    Failed(Box<dyn Error>),
}

impl Failure {
    /// A failure in words.
    pub fn new(words: impl Into<String>) -> Failure {
        Failure::Failed(words.into().into())
    }

    /// Says on standard error what is wrong, with all sources of an error.
    pub fn report(&self) {
        let mut error: &dyn Error = match self {
            Failure::Config(error) => error,
            // The reader of our output went away; nobody is left to be told.
            Failure::Failed(error) if is_broken_pipe(error.as_ref()) => return,
            Failure::Failed(error) => error.as_ref(),
        };
        let mut words = format!("syncer: {error}");
        while let Some(source) = error.source() {
            words.push_str(&format!(": {source}"));
            error = source;
        }
        // Nothing can be done about a closed standard error.
        let _ = writeln!(io::stderr(), "{words}");
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(config::io::Error::Mistaken { .. }) => ExitCode::from(EXIT_CONFIG),
            Failure::Failed(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
            Failure::Config(_) | Failure::Failed(_) => ExitCode::from(EXIT_FAILED),
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

impl From<config::io::Error> for Failure {
    fn from(error: config::io::Error) -> Failure {
        Failure::Config(error)
    }
}

macro_rules! failed_from {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::Failed(Box::new(error))
            }
        }
    )*};
}
failed_from!(
    io::Error,
    serde_json::Error,
    syncer::control::io::Error,
    syncer::control::words::WordsError,
    syncer::node::Error,
    syncer::certs::Error,
    syncer::node::JoinError
);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}

//! The command line: what is asked for, and the exit code.

mod cli;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Init(args) => cli::init::init(&args),
        cli::Command::Run(args) => cli::run::run(&args),
        cli::Command::Status(args) => cli::status::status(&args),
        cli::Command::Admin(args) => cli::admin::admin(&args),
        cli::Command::Invite(args) => cli::invite::invite(&args),
        cli::Command::Join(args) => cli::join::join(&args),
        cli::Command::Demo(args) => cli::demo::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

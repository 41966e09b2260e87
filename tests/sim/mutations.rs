//! Each rule switched off in turn, or those named on the command line: the simulator must find that it is missing.
#![allow(
    missing_docs,
    dead_code,
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

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use syncer::converge::mutation::{Mutation, switch_off};

/// Seeds within which every rule must be missed.
const SEEDS: u64 = 1_000;

/// The first seed that fails without the rule, and holds with it.
fn first_to_fail(rule: Mutation) -> Option<(u64, String)> {
    let mut from = 0;
    while from < SEEDS {
        switch_off(Some(rule));
        let (seed, failure) = first_failure(from)?;
        switch_off(None);
        if shrink::outcome(&plan::Plan::of(seed)).is_ok() {
            return Some((seed, failure));
        }
        from = seed + 1;
    }
    None
}

fn first_failure(from: u64) -> Option<(u64, String)> {
    let next = AtomicU64::new(from);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS
                || found
                    .lock()
                    .unwrap()
                    .as_ref()
                    .is_some_and(|(first, _)| *first < seed)
            {
                return;
            }
            if let Err(failure) = shrink::outcome(&plan::Plan::of(seed)) {
                let mut found = found.lock().unwrap();
                if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                    *found = Some((seed, failure));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap()
}

fn main() -> std::process::ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = 0_usize;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |rule: &Mutation| args.contains(&format!("{rule:?}"));
    let all = !Mutation::ALL.iter().any(is_named);
    for rule in Mutation::ALL.into_iter().filter(|rule| all || is_named(rule)) {
        match first_to_fail(rule) {
            Some((seed, failure)) => {
                let line: String = failure
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(100)
                    .collect();
                println!("| {rule:?} | {} | {line} |", seed + 1);
            }
            None => {
                missed += 1;
                println!("| {rule:?} | not found | |");
            }
        }
    }
    if missed == 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

//! The command line: which seeds, on how many threads, and what a failure says.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::plan::Plan;
use crate::shrink::{outcome, shrink};
use crate::world::World;

/// Most runs spent on making a failure small.
const SHRINK_TRIES: usize = 3_000;

struct Options {
    seed: Option<u64>,
    from: u64,
    seeds: Option<u64>,
    threads: usize,
    keep_going: bool,
    /// Known failures are failures, too.
    strict: bool,
    /// From one seed to the next.
    step: u64,
}

fn options(seeds: Option<u64>) -> Options {
    let mut options = Options {
        seed: None,
        from: 0,
        seeds,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        keep_going: false,
        strict: false,
        step: 1,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse::<u64>().ok());
        match arg.as_str() {
            "--seed" => options.seed = number(),
            "--from" => options.from = number().unwrap_or(0),
            "--seeds" => options.seeds = number(),
            "--step" => options.step = number().unwrap_or(1).max(1),
            "--threads" => options.threads = number().unwrap_or(1) as usize,
            "--strict" => options.strict = true,
            "--keep-going" => options.keep_going = true,
            // Arguments of the test harness.
            _ => {}
        }
    }
    options
}

/// Runs what the command line asks for.
pub fn main(seeds: Option<u64>) -> ExitCode {
    let options = options(seeds);
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("SIM_PANICS").is_some() {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    match options.seed {
        Some(seed) => replay(seed),
        None => search(&options),
    }
}

fn replay(seed: u64) -> ExitCode {
    let plan = Plan::of(seed);
    println!(
        "seed {seed}: {} sites, {} events, {} steps",
        plan.hosts.len(),
        plan.events.len(),
        plan.steps
    );
    match outcome(&plan) {
        Ok(()) => {
            println!("seed {seed} holds");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            report(seed, &plan, &failure);
            ExitCode::FAILURE
        }
    }
}

fn report(seed: u64, plan: &Plan, failure: &str) {
    println!("seed {seed} fails: {failure}");
    let (small, failure) = shrink(plan, failure, SHRINK_TRIES);
    println!(
        "smallest history, {} events at {} sites: {failure}",
        small.events.len(),
        small.hosts.len()
    );
    for (at, host) in small.hosts.iter().enumerate() {
        println!("  site {}: {host:?}", crate::host::name(at));
    }
    small.events.iter().for_each(|event| println!("  {event}"));
    let mut world = World::new(small);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    crate::judge::print(&world);
    println!("replay: cargo run --release --example sim -- --seed {seed}");
}

fn search(options: &Options) -> ExitCode {
    let begin = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options
        .seeds
        .map_or(u64::MAX, |seeds| options.from + seeds * options.step);
    let failed: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let (done, known) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(options.step, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if let Err(failure) = outcome(&Plan::of(seed)) {
                if let Some(reason) = crate::known::reason(&failure).filter(|_| !options.strict) {
                    let failure: String = failure.chars().take(100).collect();
                    println!("seed {seed}: known ({reason}): {failure}");
                    known.fetch_add(1, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                if options.keep_going {
                    println!("seed {seed}: {}", failure.chars().take(300).collect::<String>());
                }
                failed.lock().unwrap().push((seed, failure));
                stop.fetch_or(!options.keep_going, Ordering::Relaxed);
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if options.seeds.is_none() && count % 1000 == 0 {
                let per_hour = count as f64 / begin.elapsed().as_secs_f64() * 3600.0;
                println!(
                    "{count} seeds, {per_hour:.0} per hour, {} failed",
                    failed.lock().unwrap().len()
                );
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(work);
        }
    });
    let count = done.load(Ordering::Relaxed);
    println!(
        "{} known failures; --strict counts them as failures",
        known.load(Ordering::Relaxed)
    );
    let seconds = begin.elapsed().as_secs_f64();
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    println!(
        "{count} seeds in {seconds:.1} s ({:.0} per hour), {} failed",
        count as f64 / seconds * 3600.0,
        failed.len()
    );
    match failed.first() {
        None => ExitCode::SUCCESS,
        Some((seed, failure)) => {
            report(*seed, &Plan::of(*seed), failure);
            ExitCode::FAILURE
        }
    }
}

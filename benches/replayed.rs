//! What a key costs that is replayed, and never at rest: a capped list, pushed to and trimmed at two sites.
//!
//! ```text
//! cargo bench --bench replayed                       # 500, 2,000 and 4,000 a second at each site, 20 seconds each
//! cargo bench --bench replayed -- --seconds 60
//! cargo bench --bench replayed -- --test             # a smoke run of a second
//! ```
//!
//! **Load.** One client per site, `LPUSH l e` and `LTRIM l 0 99` in one pipeline, so many times a second, over a link with
//! 20 ms each way. `LTRIM` has no rule by element: the list is settled by executing its operations again, in one order.
//!
//! **Behind.** From the last reply to a client until both databases hold the same list and nothing is on its way.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{Cluster, Random};

const RATES: [u64; 3] = [500, 2_000, 4_000];
const DELAY: Duration = Duration::from_millis(20);

fn seconds() -> Option<u64> {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--test") {
        return None;
    }
    let at = args.iter().position(|arg| arg == "--seconds");
    Some(at.map_or(20, |at| args[at + 1].parse().expect("--seconds takes a number")))
}

/// Writes at this rate; when it began.
fn write(cluster: &Cluster, key: &str, rate: u64, seconds: u64) -> Instant {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for site in 0..2 {
            let mut client = cluster.client(site);
            scope.spawn(move || {
                for number in 0..rate * seconds {
                    let element = format!("e{site}-{number}");
                    client.pipeline(&[vec!["LPUSH", key, &element], vec!["LTRIM", key, "0", "99"]]);
                    let due = Duration::from_micros(number * 1_000_000 / rate);
                    if let Some(left) = due.checked_sub(begun.elapsed()) {
                        std::thread::sleep(left);
                    }
                }
            });
        }
    });
    begun
}

fn main() {
    Random::announced("replayed");
    let cluster = Cluster::new(2);
    cluster.delay(0, 1, DELAY);
    let (seconds, rates) = match seconds() {
        Some(seconds) => (seconds, &RATES[..]),
        None => (1, &RATES[..1]),
    };
    println!("| pushes and trims a second, each site | seconds | behind, s |");
    println!("| --- | --- | --- |");
    for &rate in rates {
        let key = format!("list:{rate}");
        let begun = write(&cluster, &key, rate, seconds);
        let wrote = begun.elapsed();
        cluster.converge();
        let behind = begun.elapsed() - wrote;
        assert_eq!(cluster.client(0).run(&format!("LLEN {key}")).int(), 100);
        println!(
            "| {rate} | {:.1} | {:.2} |",
            wrote.as_secs_f64(),
            behind.as_secs_f64()
        );
    }
}

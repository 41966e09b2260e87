//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// For what takes milliseconds on an idle machine.
pub const SHORT: Duration = Duration::from_secs(15);
/// For what needs connections to be made again, or much data to move.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks `condition` every few milliseconds until it holds; panics with `what` after `deadline`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    while !condition() {
        assert!(
            start.elapsed() < deadline,
            "gave up after {deadline:?} waiting until {what}"
        );
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Lets the clock of this machine move on, so that two writes get timestamps that can be told apart.
pub fn clock_tick() {
    std::thread::sleep(Duration::from_millis(5));
}

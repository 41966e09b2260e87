//! Ctrl-C: every wait of the demo ends at it, so that everything started is stopped and removed.

use super::super::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The longest step of a wait.
const STEP: Duration = Duration::from_millis(20);

/// Whether the demo shall end.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for Ctrl-C, SIGTERM and the terminal's end, on a thread of its own.
    pub fn on_signals() -> Result<Stop, Failure> {
        let stop = Stop::default();
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        drop(entered);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
            });
            told.0.store(true, Ordering::Relaxed);
        });
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps, unless the end is asked for.
    pub fn sleep(&self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            if self.is_set() {
                return Err(Failure::new("interrupted"));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STEP));
        }
    }

    /// Asks again and again until the answer is there, for at most `time_max`.
    pub fn wait<T>(
        &self,
        what: &str,
        time_max: Duration,
        mut ask: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            if start.elapsed() > time_max {
                return Err(Failure::new(format!(
                    "gave up after {} s waiting until {what}",
                    time_max.as_secs()
                )));
            }
            self.sleep(STEP)?;
        }
    }
}

//! The syncer's own log lines, to standard error.

use super::Failure;
use std::io::IsTerminal;
use syncer::config::{TraceFormat, Tracing};
use tracing_subscriber::EnvFilter;

/// Starts writing log lines. To be called once.
pub fn start(settings: &Tracing) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&settings.level);
    let filter = filter.map_err(|error| Failure::new(format!("tracing.level: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match settings.format {
        TraceFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        TraceFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Failed(error))
}

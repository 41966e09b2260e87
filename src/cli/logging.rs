//! The syncer's own log lines, to standard error.

use super::Failure;
use std::io::IsTerminal;
use syncer::config::{TraceFormat, Tracing};
use tracing_subscriber::EnvFilter;

/// The TLS library warns of what strangers send, a line for each of their connections, as many as they like. What it comes
/// to, the link port's own lines tell, at a bounded rate.
const STRANGERS: &str = "rustls=error";

/// The filter of what is configured; what it says of a target counts.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(level)?;
    Ok(match level.contains("rustls") {
        true => filter,
        false => filter.add_directive(STRANGERS.parse()?),
    })
}

/// Starts writing log lines. To be called once.
pub fn start(settings: &Tracing) -> Result<(), Failure> {
    let filter = filter(&settings.level);
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

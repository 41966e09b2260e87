//! `syncer run`: the syncer of one site, until it is told to stop.

use super::{ConfigArg, Failure, logging};
use syncer::{config, node};

/// Run the syncer of a site, in the foreground
///
/// Reads the database's replication stream, exchanges writes with the peers and applies theirs. Log lines go
/// to standard error. SIGTERM or Ctrl-C ends it in order; after any other end it goes on where it stopped.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  syncer run --config /etc/syncer/a.toml
  syncer run --config /etc/syncer/a.toml --agreed     the first start over databases that hold the same data"
)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,

    /// The databases of all sites hold the same data now
    ///
    /// A new site's database must be empty. Give this once, at the first start of every site, if instead the
    /// databases were filled with the same data (from one backup, say) and nobody writes to them until all
    /// sites run. What differs then is not found and stays different. It counts for one snapshot.
    #[arg(long, verbatim_doc_comment)]
    agreed: bool,
}

/// A task that panics takes the process with it: half a syncer would look alive. Whoever supervises it starts
/// it again, and it goes on from its log.
fn die_whole() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// The kernel clears a huge page as a whole, and the allocator gives freed memory back and asks for it anew all the
/// time: it was a tenth of the CPU time, and half of the memory (`benches/README.md`). Where it cannot be had, the
/// syncer runs as well.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

/// Runs the command.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    let password = config::io::password(&settings.database)?;
    logging::start(&settings.tracing)?;
    die_whole();
    take_small_pages();
    node::run(&settings, password.as_ref(), args.agreed)?;
    Ok(())
}

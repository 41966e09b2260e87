//! `syncer status`: asks the running syncer over its control socket.

use super::{ConfigArg, Failure};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;
use syncer::control::{self, Request, Response, StatusView};

/// How long a syncer may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Time between two views with `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal and puts the cursor at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show how a running syncer is doing
///
/// Per peer: the link's state and how far the peer is behind, in operations, bytes and time. Further the
/// database's stream, the window of operations that can still conflict, the log, and the conflicts resolved.
/// docs/monitoring.md explains every field.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  syncer status --config a.toml --watch
  syncer status --config a.toml --json | jq .peers[].lag_operations"
)]
pub struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,

    /// Show it anew every second, with rates
    #[arg(long, short)]
    watch: bool,

    /// Print one JSON object (with --watch, one per line and second)
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let socket = args.config.load()?.control_socket();
    let mut out = io::stdout();
    if !args.watch {
        let view = ask(&socket)?;
        let text = if args.json {
            json(&view)?
        } else {
            control::table(&view, None)
        };
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let clear = if out.is_terminal() && !args.json {
        CLEAR
    } else {
        ""
    };
    let mut before: Option<StatusView> = None;
    loop {
        // A syncer that restarts is no reason to stop watching.
        let text = match ask(&socket) {
            Ok(view) if args.json => json(&view)?,
            Ok(view) => {
                let text = control::table(&view, before.as_ref());
                before = Some(view);
                text
            }
            Err(error) if args.json => {
                writeln!(io::stderr(), "syncer: {error}")?;
                String::new()
            }
            Err(error) => format!("{error}\n"),
        };
        write!(out, "{clear}{text}")?;
        if clear.is_empty() && !args.json {
            writeln!(out)?;
        }
        out.flush()?;
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// The status of the syncer behind a control socket.
pub fn ask(socket: &Path) -> Result<StatusView, control::io::Error> {
    match control::io::ask(socket, &Request::Status, ANSWER_TIME_MAX)? {
        Response::Status(view) => Ok(*view),
        Response::Error(words) | Response::Done(words) => Err(control::io::Error::Malformed(words)),
        Response::Invitation { .. } => Err(control::io::Error::Malformed("an invitation".to_owned())),
    }
}

fn json(view: &StatusView) -> Result<String, Failure> {
    Ok(serde_json::to_string(view)? + "\n")
}

//! `syncer invite`: one line with which a new site can join.

use super::{ConfigArg, Failure};
use std::io::{self, Write};
use std::time::Duration;
use syncer::control::{self, Request, Response};

/// How long the running syncer may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Nobody needs longer to carry a line from one machine to another.
const MINUTES_MAX: u64 = 7 * 24 * 60;

/// Invite a new site
///
/// Asks the running syncer of this site for an invitation and prints it: one line, with a secret in it, that is good
/// once and for a while. Carry it to the new site on a way that others cannot read, and use it there with
/// `syncer join`. The rest is on standard error. `syncer admin cluster invitation withdraw` makes it void.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  syncer invite --config /etc/syncer/a.toml
  syncer invite --config /etc/syncer/a.toml --address a.example.net:9400 --minutes 10"
)]
pub struct InviteArgs {
    #[command(flatten)]
    config: ConfigArg,

    /// Where the new site reaches this one, if `link.listen` does not tell
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,

    /// How long the invitation is good
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: u64,
}

/// Runs the command.
pub fn invite(args: &InviteArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    let request = Request::Invite {
        address: args.address.clone(),
        valid_s: args.minutes * 60,
    };
    match control::io::ask(&settings.control_socket(), &request, ANSWER_TIME_MAX)? {
        Response::Invitation { line, words } => {
            writeln!(io::stderr(), "{words}")?;
            Ok(writeln!(io::stdout(), "{}", line.expose())?)
        }
        Response::Error(words) => Err(Failure::new(words)),
        Response::Done(_) | Response::Status(_) => {
            Err(control::io::Error::Malformed("no invitation".to_owned()).into())
        }
    }
}

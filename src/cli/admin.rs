//! `syncer admin`: the administrator's words, carried out by the running syncer.

use super::{ConfigArg, Failure};
use std::io::{self, Write};
use std::time::Duration;
use syncer::control::{self, Response, words};

/// How long a syncer may take to carry something out.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Tell the running syncer of a site what to do
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = concat!("Words:\n", "  conflicts overrule site <name>   keys that wait for the value of a site that is gone for good\n",
        "                                   get this site's, everywhere\n\nExample:\n  syncer admin --config a.toml conflicts overrule site b")
)]
pub struct AdminArgs {
    #[command(flatten)]
    config: ConfigArg,

    /// What to do, as words
    #[arg(required = true, trailing_var_arg = true, value_name = "WORD")]
    words: Vec<String>,
}

/// Runs the command.
pub fn admin(args: &AdminArgs) -> Result<(), Failure> {
    let request = words::parse(&args.words)?;
    let socket = args.config.load()?.control_socket();
    match control::io::ask(&socket, &request, ANSWER_TIME_MAX)? {
        Response::Done(words) => Ok(writeln!(io::stdout(), "{words}")?),
        Response::Error(words) => Err(Failure::new(words)),
        Response::Status(_) => Err(control::io::Error::Malformed("a status".to_owned()).into()),
    }
}

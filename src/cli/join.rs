//! `syncer join`: a new site uses an invitation.

use super::{ConfigArg, Failure, init};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use syncer::config;
use syncer::node::Guest;
use zeroize::Zeroizing;

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 4096;

/// Join the sites that share a database
///
/// Used once at a new site, before its first `syncer run`, with the line that `syncer invite` printed at another one.
/// Makes the data directory and a certificate if there are none, shows the fingerprints of both sides and asks, and
/// then both sites take each other in. Join every site that shares the database, each with an invitation of its own.
/// The new site's database has to be empty.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  syncer join syncer-join://a.example.net:9400/... --config /etc/syncer/b.toml
  syncer join - --config /etc/syncer/b.toml --yes < line     the line from standard input, no question"
)]
pub struct JoinArgs {
    /// The invitation, or - to read it from standard input, where no other process sees it
    #[arg(value_name = "LINE")]
    line: String,

    #[command(flatten)]
    config: ConfigArg,

    /// Where the other site reaches this one, if `link.listen` does not tell
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// This site's database holds the same data as the others' did when their syncers ran first
    ///
    /// For a set that was started with `syncer run --agreed`. Start this site with --agreed as well.
    #[arg(long, verbatim_doc_comment)]
    agreed: bool,
}

/// Runs the command.
pub fn join(args: &JoinArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    let password = config::io::password(&settings.database)?;
    init::make_private(&settings.data_dir)?;
    let line = match args.line.as_str() {
        "-" => read_line()?,
        line => Zeroizing::new(line.to_owned()),
    };
    let guest = Guest::new(&settings, &line, args.address.clone())?;
    let invitation = guest.invitation();
    let site = invitation.site;
    writeln!(
        io::stderr(),
        "database     {}\n\
         joins        site {site} at {}\n\
         fingerprint  {}\n\
         as           site {} at {}\n\
         fingerprint  {}",
        invitation.database_id,
        invitation.address,
        invitation.fingerprint,
        settings.site,
        guest.address(),
        guest.fingerprint(),
    )?;
    if !args.yes && !is_wanted(args.line == "-")? {
        return Err(Failure::new("not joined; nothing was changed at either site"));
    }
    let others = guest.join(password, args.agreed)?;
    let mut words = format!("joined: site {site} and this one know each other\n");
    for other in &others {
        words.push_str(&format!(
            "join site {other} as well, before the first start: `syncer invite` there, `syncer join` here\n"
        ));
    }
    if others.is_empty() {
        let agreed = if args.agreed { " --agreed" } else { "" };
        let config = args.config.config.display();
        words.push_str(&format!("start it: syncer run --config {config}{agreed}\n"));
    }
    Ok(io::stdout().write_all(words.as_bytes())?)
}

fn read_line() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX as usize));
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

fn is_wanted(is_input_taken: bool) -> Result<bool, Failure> {
    if is_input_taken || !io::stdin().is_terminal() {
        return Err(Failure::new(
            "compare the fingerprints, and say --yes; without a terminal nobody can be asked. Nothing was changed",
        ));
    }
    write!(io::stderr(), "Are these the two sites? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

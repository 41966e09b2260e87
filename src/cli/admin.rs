//! `syncer admin`: the administrator's words, carried out by the running syncer, or on the store where none runs.

use super::{ConfigArg, Failure};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;
use syncer::config::Settings;
use syncer::control::words::{self, Order};
use syncer::control::{self, ClusterRequest, KeyText, PEM_BYTES_MAX, Request, Response};
use syncer::node;

/// How long a syncer may take to carry something out: longer than its links may take to move.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// Tell the running syncer of a site what to do
///
/// Certificates and the cluster's settings can be set and shown without a running syncer, too; they count from its
/// next start then.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = after_help())]
pub struct AdminArgs {
    #[command(flatten)]
    config: ConfigArg,

    /// What to do, as words
    #[arg(required = true, trailing_var_arg = true, value_name = "WORD")]
    words: Vec<String>,
}

fn after_help() -> String {
    format!(
        "Words:\n{}\nExamples:\n  syncer admin --config a.toml cluster certificate list\n  \
         syncer admin --config a.toml cluster certificate set syncer certificate_file a.pem key_file a.key\n",
        words::forms()
    )
}

/// Runs the command.
pub fn admin(args: &AdminArgs) -> Result<(), Failure> {
    let order = words::parse(&args.words)?;
    let settings = args.config.load()?;
    let request = request(order)?;
    match carry_out(&settings, &request)? {
        Response::Done(words) => Ok(writeln!(io::stdout(), "{}", words.trim_end())?),
        Response::Error(words) => Err(Failure::new(words)),
        Response::Status(_) | Response::Invitation { .. } => {
            Err(control::io::Error::Malformed("something else".to_owned()).into())
        }
    }
}

fn carry_out(settings: &Settings, request: &Request) -> Result<Response, control::io::Error> {
    match (
        control::io::ask(&settings.control_socket(), request, ANSWER_TIME_MAX),
        request,
    ) {
        (Err(control::io::Error::NotRunning(_)), Request::Cluster(request)) => {
            Ok(node::offline(settings, request))
        }
        (done, _) => done,
    }
}

/// The request for an order; the files of a certificate are read here, by who gives the order.
fn request(order: Order) -> Result<Request, Failure> {
    Ok(Request::Cluster(match order {
        Order::Overrule { site } => return Ok(Request::Overrule { site }),
        Order::CertificateSet {
            name,
            certificate_file,
            key_file,
        } => ClusterRequest::CertificateSet {
            name,
            certificate: text("certificate_file", &certificate_file)?,
            key: KeyText::new(text("key_file", &key_file)?),
        },
        Order::Cluster(request) => request,
    }))
}

/// The text of a PEM file. What is wrong with it beyond that, the syncer tells.
fn text(what: &str, path: &str) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(format!("{what} {path}: {why}"));
    let file = File::open(Path::new(path)).map_err(|why| failed(why.to_string()))?;
    // Large enough from the start: a text that grows leaves copies of a key behind.
    let mut text = String::with_capacity(PEM_BYTES_MAX + 1);
    file.take(PEM_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|why| failed(format!("{why}; is it a PEM file?")))?;
    if text.len() > PEM_BYTES_MAX {
        return Err(failed(format!(
            "the file is larger than {PEM_BYTES_MAX} bytes; is it a PEM file?"
        )));
    }
    Ok(text)
}

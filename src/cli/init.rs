//! `syncer init`: the data directory, the certificate, and what the peers must be told.

use super::{ConfigArg, Failure};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use syncer::config::Settings;
use syncer::node;

/// Prepare a site: its data directory and its certificate
///
/// Makes the data directory and a self-signed certificate with its key, and prints what the other sites need:
/// the path of the certificate to copy to them, its fingerprint to compare, and the block for their
/// configuration. Run again, it changes nothing and prints the same.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "Example:\n  syncer init --config /etc/syncer/a.toml"
)]
pub struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Runs the command.
pub fn init(args: &InitArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    make_private(&settings.data_dir)?;
    let made = node::prepare(&settings)?;
    let words = words(&settings, &made.paths.certificate, &made.own.fingerprint());
    std::io::stdout().write_all(words.as_bytes())?;
    Ok(())
}

/// Makes a directory that only its owner can enter. One that exists is left as it is.
pub(super) fn make_private(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| {
        Failure::new(format!(
            "cannot make the data directory {}: {error}",
            path.display()
        ))
    })
}

fn words(settings: &Settings, certificate: &Path, fingerprint: &str) -> String {
    let listen = &settings.link.listen;
    let (host, port) = listen.rsplit_once(':').unwrap_or((listen, "9400"));
    let address = if settings.hosts().is_empty() {
        format!("HOST:{port}")
    } else {
        format!("{host}:{port}")
    };
    let site = settings.site;
    format!(
        "site         {site}\n\
         database id  {}\n\
         data         {}\n\
         certificate  {}\n\
         fingerprint  {fingerprint}\n\
         \n\
         Copy the certificate (never the key) to every other site, compare the fingerprint there, and add this\n\
         to the other site's configuration:\n\
         \n\
         [[peer]]\n\
         site = \"{site}\"\n\
         address = \"{address}\"\n\
         certificate = \"/etc/syncer/{site}.pem\"\n",
        settings.database_id,
        settings.data_dir.display(),
        certificate.display(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(listen: &str) -> Settings {
        let text = format!(
            "site = \"a\"\ndatabase_id = \"o\"\ndatabase = \"redis://h\"\ndata_dir = \"/d\"\n[link]\nlisten = \"{listen}\"\n"
        );
        syncer::config::settings(&text, &|_| None).unwrap()
    }

    #[test]
    fn the_block_for_the_peers() {
        let text = words(
            &settings("10.0.0.1:9500"),
            Path::new("/d/certs/syncer.pem"),
            "SHA256:AA",
        );
        assert!(text.contains("address = \"10.0.0.1:9500\""), "{text}");
        assert!(
            text.contains("certificate  /d/certs/syncer.pem\nfingerprint  SHA256:AA\n"),
            "{text}"
        );
        // The block is one that a configuration takes.
        let block = text.split_once("[[peer]]").unwrap().1;
        let peer = format!(
            "site = \"b\"\ndatabase_id = \"o\"\ndatabase = \"redis://h\"\ndata_dir = \"/d\"\n[[peer]]{block}"
        );
        assert_eq!(syncer::config::settings(&peer, &|_| None).unwrap().peers.len(), 1);
    }

    #[test]
    fn a_wildcard_is_no_address() {
        assert!(words(&settings("0.0.0.0:9400"), Path::new("c"), "f").contains("address = \"HOST:9400\""));
        assert_eq!(settings("[::1]:9400").hosts(), ["::1"]);
        assert!(settings("[::]:9400").hosts().is_empty());
    }
}

//! The peers that joined by an invitation: the folder `peers` in the data directory, beside the configuration's peer
//! blocks.
//!
//! For each peer two files, `{site}.pem`, as good as the `certificate` of a peer block, and `{site}.toml`, which is
//! written last and removed first: a peer counts if and only if its row is there, and a row always has its
//! certificate. Where the configuration has a block for the same site, the block counts.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::causality::SiteId;
use crate::certs::io::write;
use crate::certs::{leaf, text};
use crate::config::{Peer, Settings};
use crate::joining::check_address;

const FOLDER: &str = "peers";
const ROW: &str = "toml";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The system.
    #[error("{}: {error}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A row that nobody here wrote.
    #[error(
        "{} is damaged ({why}); remove it with `syncer admin cluster peer remove`, and invite the site anew",
        path.display()
    )]
    Damaged {
        /// The row.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    address: String,
    /// The other sites that it knew then.
    others: Vec<String>,
}

/// A peer that joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    pub peer: Peer,
    /// The other sites that it knew then.
    pub others: Vec<SiteId>,
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// That of a data directory.
    pub fn of(data_dir: &Path) -> Folder {
        Folder {
            dir: data_dir.join(FOLDER),
        }
    }

    fn row(&self, site: SiteId) -> PathBuf {
        self.dir.join(format!("{site}.{ROW}"))
    }

    fn certificate(&self, site: SiteId) -> PathBuf {
        self.dir.join(format!("{site}.pem"))
    }

    fn system(path: &Path) -> impl FnOnce(std::io::Error) -> PeersError {
        let path = path.to_owned();
        move |error| PeersError::System { path, error }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// The folder cannot be read, or a row is damaged.
    pub fn read(&self) -> Result<Vec<Joined>, PeersError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Folder::system(&self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Folder::system(&self.dir))?.path();
            if path.extension().is_some_and(|extension| extension == ROW) {
                found.push(self.joined(&path)?);
            }
        }
        found.sort_by_key(|joined| joined.peer.site);
        Ok(found)
    }

    fn joined(&self, path: &Path) -> Result<Joined, PeersError> {
        let damaged = |why: String| PeersError::Damaged {
            path: path.to_owned(),
            why,
        };
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let site = name.parse::<SiteId>().map_err(|why| damaged(why.to_string()))?;
        let text = std::fs::read_to_string(path).map_err(Folder::system(path))?;
        let row: Row = toml::from_str(&text).map_err(|why| damaged(why.message().to_owned()))?;
        check_address(&row.address).map_err(|why| damaged(why.to_owned()))?;
        let others = row.others.iter().map(|other| other.parse::<SiteId>());
        Ok(Joined {
            others: others
                .collect::<Result<_, _>>()
                .map_err(|why| damaged(why.to_string()))?,
            peer: Peer {
                site,
                address: row.address,
                certificate: self.certificate(site),
            },
        })
    }

    /// Takes a peer in.
    ///
    /// # Errors
    /// The folder cannot be written; the peer is none then.
    pub fn keep(
        &self,
        site: SiteId,
        address: &str,
        certificate: &CertificateDer<'_>,
        others: &[SiteId],
    ) -> Result<(), PeersError> {
        use std::os::unix::fs::DirBuilderExt;
        let mut folder = std::fs::DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(&self.dir);
        made.map_err(Folder::system(&self.dir))?;
        let row = Row {
            address: address.to_owned(),
            others: others.iter().map(SiteId::to_string).collect(),
        };
        let path = self.row(site);
        let row = toml::to_string(&row).map_err(|why| PeersError::Damaged {
            path: path.clone(),
            why: why.to_string(),
        })?;
        let certificate_path = self.certificate(site);
        write(&self.dir, &certificate_path, text(certificate).as_bytes(), 0o644)
            .map_err(Folder::system(&certificate_path))?;
        write(&self.dir, &path, row.as_bytes(), 0o644).map_err(Folder::system(&path))
    }

    /// Forgets a peer; whether there was one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn remove(&self, site: SiteId) -> Result<bool, PeersError> {
        let mut was_there = false;
        for path in [self.row(site), self.certificate(site)] {
            match std::fs::remove_file(&path) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(PeersError::System { path, error }),
            }
        }
        Ok(was_there)
    }
}

/// The settings with the peers that joined; and who else those knew that is no peer here.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn with_joined(settings: &Settings) -> Result<(Settings, Vec<SiteId>), PeersError> {
    let mut all = settings.clone();
    let mut others = Vec::new();
    for joined in Folder::of(&settings.data_dir).read()? {
        if settings.peers.iter().any(|peer| peer.site == joined.peer.site) {
            tracing::warn!(peer = %joined.peer.site, "the peer stands in the configuration and has joined; the configuration counts");
            continue;
        }
        others.extend(joined.others);
        all.peers.push(joined.peer);
    }
    others.retain(|site| *site != all.site && !all.peers.iter().any(|peer| peer.site == *site));
    others.sort_unstable();
    others.dedup();
    Ok((all, others))
}

/// A line for each peer.
pub(super) fn list(settings: &Settings) -> Result<String, PeersError> {
    let (all, _) = with_joined(settings)?;
    let line = |peer: &Peer| {
        let is_configured = settings.peers.iter().any(|known| known.site == peer.site);
        let from = if is_configured { "configuration" } else { "joined" };
        let certificate = std::fs::read(&peer.certificate).map_err(|why| why.to_string());
        let shown = certificate.and_then(|pem| leaf(&pem).map_err(|why| why.to_string()));
        let shown = shown.map_or_else(
            |why| format!("{}: {why}", peer.certificate.display()),
            |(_, print)| print,
        );
        format!(
            "{:<17}{:<15}{:<28}{shown}",
            peer.site.as_str(),
            from,
            peer.address
        )
    };
    let lines: Vec<String> = all.peers.iter().map(line).collect();
    Ok(match lines.is_empty() {
        true => "this site has no peers".to_owned(),
        false => lines.join("\n"),
    })
}

/// Forgets a peer that joined.
///
/// # Errors
/// In words, why not.
pub(super) fn remove(settings: &Settings, said: &str) -> Result<SiteId, String> {
    let site: SiteId = said
        .parse()
        .map_err(|why: crate::causality::SiteIdError| why.to_string())?;
    match Folder::of(&settings.data_dir).remove(site) {
        Ok(true) => Ok(site),
        Ok(false) if settings.peers.iter().any(|peer| peer.site == site) => Err(format!(
            "site {site} stands in the configuration file; take its [[peer]] block out, and start the syncer again"
        )),
        Ok(false) => Err(format!(
            "site {site} is no peer; `syncer admin cluster peer list` names them"
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn site(name: &str) -> SiteId {
        SiteId::new(name.as_bytes()).unwrap()
    }

    fn settings(data_dir: &Path, more: &str) -> Settings {
        let text = format!(
            "site = \"a\"\ndatabase_id = \"o\"\ndatabase = \"redis://h\"\ndata_dir = {data_dir:?}\n{more}"
        );
        crate::config::settings(&text, &|_| None).unwrap()
    }

    #[test]
    fn a_peer_is_kept_listed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let alone = settings(dir.path(), "");
        let folder = Folder::of(dir.path());
        assert_eq!(list(&alone).unwrap(), "this site has no peers");
        let certificate = CertificateDer::from(vec![1, 2, 3]);
        let others = [site("a"), site("b"), site("c")];
        folder
            .keep(site("b"), "b.example.net:9400", &certificate, &others)
            .unwrap();
        let (all, missing) = with_joined(&alone).unwrap();
        assert_eq!(all.peers.len(), 1);
        assert_eq!(all.peers[0].address, "b.example.net:9400");
        assert_eq!(missing, [site("c")], "neither this site nor a peer of it");
        assert!(
            list(&alone)
                .unwrap()
                .starts_with("b                joined         b.example.net:9400")
        );
        assert!(remove(&alone, "c").unwrap_err().contains("is no peer"));
        assert_eq!(remove(&alone, "b"), Ok(site("b")));
        assert_eq!(folder.read().unwrap(), []);
    }

    #[test]
    fn the_configuration_counts_and_cannot_be_changed_by_words() {
        let dir = tempfile::tempdir().unwrap();
        let block = "[[peer]]\nsite = \"b\"\naddress = \"h:1\"\ncertificate = \"/c\"\n";
        let configured = settings(dir.path(), block);
        assert!(remove(&configured, "b").unwrap_err().contains("[[peer]] block"));
        let certificate = CertificateDer::from(vec![1, 2, 3]);
        Folder::of(dir.path())
            .keep(site("b"), "h:2", &certificate, &[])
            .unwrap();
        let (all, _) = with_joined(&configured).unwrap();
        assert_eq!((all.peers.len(), all.peers[0].address.as_str()), (1, "h:1"));
    }

    #[test]
    fn a_damaged_row_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let alone = settings(dir.path(), "");
        std::fs::create_dir(dir.path().join("peers")).unwrap();
        for text in [
            "address = 1",
            "address = \"h\"\nothers = []",
            "address = \"h:1\"\nothers = [\"B\"]",
        ] {
            std::fs::write(dir.path().join("peers/b.toml"), text).unwrap();
            assert!(
                with_joined(&alone)
                    .unwrap_err()
                    .to_string()
                    .contains("b.toml is damaged"),
                "{text}"
            );
        }
        assert_eq!(remove(&alone, "b"), Ok(site("b")));
    }
}

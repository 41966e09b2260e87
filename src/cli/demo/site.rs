//! One site of the demo: a database, its configuration file and its syncer, all started as a user would.

use super::super::{Failure, status};
use super::process::Process;
use super::server::{Server, free_port};
use super::stop::Stop;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use syncer::control::{DatabaseLink, PeerState, StatusView};

/// What all sites of the demo share.
const DATABASE_ID: &str = "demo";

/// A site. Its processes are stopped when this is dropped, the syncer first.
pub struct Site {
    /// `a` or `b`.
    pub name: &'static str,
    /// Its configuration file.
    pub config: PathBuf,
    syncer: Option<Process>,
    /// Its database.
    pub server: Server,
    link_port: u16,
    folder: PathBuf,
}

impl Site {
    /// Starts its database and runs `syncer init`.
    pub fn prepare(name: &'static str, program: &Path, folder: &Path, stop: &Stop) -> Result<Site, Failure> {
        let server = Server::start(program, folder, name, stop)?;
        let config = folder.join(format!("{name}.toml"));
        let site = Site {
            name,
            config,
            syncer: None,
            server,
            link_port: free_port()?,
            folder: folder.into(),
        };
        site.write_config(None)?;
        let output = site.command("init")?.output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!(
                "syncer init of site {name} failed:\n{words}"
            )));
        }
        Ok(site)
    }

    /// Where its syncer listens for links.
    pub fn link_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.link_port))
    }

    /// Tells it of its peer, which is reached at `address`, and starts its syncer.
    pub fn start(&mut self, peer: &str, address: SocketAddr, certificate: &Path) -> Result<(), Failure> {
        self.write_config(Some((peer, address, certificate)))?;
        let log = self.folder.join(format!("syncer-{}.log", self.name));
        self.syncer = Some(Process::start(&mut self.command("run")?, log)?);
        Ok(())
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join(format!("syncer-{}", self.name))
    }

    /// The certificate that `syncer init` made.
    pub fn certificate(&self) -> PathBuf {
        self.data_dir().join("certs/syncer.pem")
    }

    fn write_config(&self, peer: Option<(&str, SocketAddr, &Path)>) -> Result<(), Failure> {
        let mut text = format!("site = {:?}\ndatabase_id = {DATABASE_ID:?}\n", self.name);
        let _ = writeln!(text, "database = \"redis://127.0.0.1:{}\"", self.server.port);
        let _ = writeln!(
            text,
            "data_dir = {:?}\n\n[link]\nlisten = \"{}\"",
            self.data_dir(),
            self.link_address()
        );
        if let Some((site, address, certificate)) = peer {
            let _ = writeln!(text, "\n[[peer]]\nsite = {site:?}\naddress = \"{address}\"");
            let _ = writeln!(text, "certificate = {certificate:?}");
        }
        Ok(std::fs::write(&self.config, text)?)
    }

    /// A command of this very program on this site's configuration.
    fn command(&self, word: &str) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(word).arg("--config").arg(&self.config);
        // What the user set for a syncer of their own is not meant for these.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SYNCER_"))
        {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Its status, while its syncer answers.
    pub fn status(&self) -> Option<StatusView> {
        status::ask(&self.data_dir().join("control.sock")).ok()
    }

    /// Whether its stream is read and its peer is connected.
    pub fn is_up(&self) -> bool {
        self.status().is_some_and(|view| {
            view.database.link_state == DatabaseLink::Streaming
                && view.peers.iter().all(|peer| peer.state == PeerState::Connected)
        })
    }

    /// Whether its syncer ended by itself, which it never should.
    pub fn has_ended(&mut self) -> bool {
        self.syncer.as_mut().is_some_and(|syncer| !syncer.runs())
    }

    /// The last lines of its syncer's and its database's output.
    pub fn last_words(&self) -> String {
        let syncer = self
            .syncer
            .as_ref()
            .map(|syncer| syncer.last_words(15))
            .unwrap_or_default();
        format!(
            "syncer {}:\n{syncer}database {}:\n{}",
            self.name,
            self.name,
            self.server.last_words()
        )
    }
}

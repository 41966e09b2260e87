//! The demo's databases: an ordinary Redis or Valkey from this machine.

use super::super::Failure;
use super::client::Client;
use super::process::Process;
use super::stop::Stop;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Names a server goes by, in the order of preference.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];
/// How often another port is tried when somebody took the first.
const TRIES: usize = 3;
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// A running database. It is stopped when this is dropped.
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    process: Process,
}

/// The server program: what `REDIS_SERVER` names, or the first known one on the path.
pub fn find() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("REDIS_SERVER") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Failure::new(
            "no redis-server or valkey-server on the PATH. Install one (Debian, Ubuntu: `apt-get install \
             redis-server`; Fedora: `dnf install valkey`; macOS: `brew install redis`), or name one in the \
             variable REDIS_SERVER",
        )
    })
}

/// The program's own words for its version.
pub fn version(program: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::new(format!("cannot start {}: {error}", program.display()));
    let output = Command::new(program).arg("--version").output().map_err(failed)?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = words.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let product = words.split_whitespace().next().unwrap_or("database");
    Ok(format!("{product} {}", number.unwrap_or("of unknown version")))
}

/// A port of this machine that nobody listens on now.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Server {
    /// Starts an empty one with its files in `folder`.
    pub fn start(program: &Path, folder: &Path, name: &str, stop: &Stop) -> Result<Server, Failure> {
        let data = folder.join(format!("database-{name}"));
        std::fs::create_dir(&data)?;
        let mut last = None;
        for _ in 0..TRIES {
            let port = free_port()?;
            let mut command = Command::new(program);
            command.args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ]);
            command
                .args(["--repl-diskless-sync-delay", "0", "--dir"])
                .arg(&data);
            let mut process = Process::start(&mut command, folder.join(format!("database-{name}.log")))?;
            let up = stop.wait("the database answers", START_TIME_MAX, || {
                let pong = Client::connect(port).and_then(|mut client| client.call(&["PING"]));
                // Ours must still run: another program may have been faster to take the port.
                if !process.runs() {
                    Some(false)
                } else {
                    pong.is_ok().then_some(true)
                }
            })?;
            if up {
                return Ok(Server { port, process });
            }
            last = Some(process);
        }
        let words = last.map(|process| process.last_words(10)).unwrap_or_default();
        Err(Failure::new(format!(
            "the database of site {name} does not start:\n{words}"
        )))
    }

    /// A connection to it.
    pub fn client(&self) -> Result<Client, Failure> {
        let client = Client::connect(self.port);
        client.map_err(|error| Failure::new(format!("database on port {}: {error}", self.port)))
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        self.process.last_words(10)
    }
}

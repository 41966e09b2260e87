//! A database server of our own: started on a free port, stopped by its process id.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::certificate::{self, TlsFiles};
use super::client::Client;
use super::ports::free_port;
use super::wait::{LONG, wait_until};

/// How a server is started. The default: no persistence, no password, no TLS.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Append-only file, synced every second.
    pub aof: bool,
    /// A second port that speaks TLS, with a self-signed certificate.
    pub tls: bool,
    /// The default user's password.
    pub password: Option<String>,
    /// Lines for `ACL SETUSER`, run after every start: `("name", "on >pw ~* +@all")`.
    pub users: Vec<(String, String)>,
    /// Further options as on the command line, for instance `("repl-diskless-sync", "no")`.
    pub extra: Vec<(String, String)>,
}

impl ServerOptions {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }
}

/// The program to start: `REDIS_SERVER`, else `redis-server`.
pub fn server_program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// One server and its folder. Restarting keeps port, data and options.
#[derive(Debug)]
pub struct RedisServer {
    pub port: u16,
    pub tls: Option<(u16, TlsFiles)>,
    pub options: ServerOptions,
    dir: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub fn start(options: ServerOptions) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("syncer-db-")
            .tempdir()
            .expect("temporary folder");
        let tls = options
            .tls
            .then(|| (free_port(), certificate::make(dir.path(), "database")));
        let mut server = Self {
            port: free_port(),
            tls,
            options,
            dir,
            child: None,
        };
        server.restart();
        server
    }

    /// Starts the stopped server again and waits until it has loaded its data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server is running");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("log file");
        let mut command = Command::new(server_program());
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        command.arg("--dir").arg(self.dir.path());
        command.args(["--appendonly", if self.options.aof { "yes" } else { "no" }]);
        command.args(["--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"]);
        command.args(["--enable-debug-command", "yes"]);
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password]);
        }
        if let Some((port, files)) = &self.tls {
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command
                .arg("--tls-cert-file")
                .arg(&files.certificate)
                .arg("--tls-key-file")
                .arg(&files.key);
            command.arg("--tls-ca-cert-file").arg(&files.certificate);
        }
        for (name, value) in &self.options.extra {
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", server_program()));
        self.child = Some(child);
        wait_until("the database answers", LONG, || {
            let gone = self
                .child
                .as_mut()
                .is_some_and(|c| c.try_wait().expect("child").is_some());
            assert!(!gone, "the database ended at its start:\n{}", self.log());
            self.try_client()
                .and_then(|mut c| c.try_run("PING"))
                .is_ok_and(|r| !r.is_error())
        });
        let mut client = self.client();
        for (name, rules) in &self.options.users {
            client.ok(&format!("ACL SETUSER {name} reset {rules}"));
        }
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Process id, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// A new connection as the default user.
    pub fn try_client(&self) -> std::io::Result<Client> {
        let mut client = Client::connect(self.port)?;
        if let Some(password) = &self.options.password {
            client.try_args(&["AUTH", password])?;
        }
        Ok(client)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        self.try_client()
            .unwrap_or_else(|e| panic!("the database on port {} does not answer: {e}", self.port))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `SHUTDOWN SAVE` or `SHUTDOWN NOSAVE`, from a connection of its own, and waits for the end.
    pub fn shutdown(&mut self, how: &str) {
        let mut client = self.client();
        // The reply to a successful SHUTDOWN is the end of the connection.
        let reply = client.try_run(&format!("SHUTDOWN {how}"));
        assert!(reply.is_err(), "SHUTDOWN {how}: {reply:?}");
        let mut child = self.child.take().expect("the server is running");
        child.wait().expect("child");
    }

    /// A section of INFO as a map.
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let text = self.client().ok(&format!("INFO {section}")).text();
        text.lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(k, v)| (k.into(), v.trim().into()))
            .collect()
    }

    #[track_caller]
    pub fn info_number(&self, section: &str, field: &str) -> u64 {
        let info = self.info(section);
        let text = info
            .get(field)
            .unwrap_or_else(|| panic!("INFO {section} has no {field}"));
        text.parse()
            .unwrap_or_else(|_| panic!("INFO {section}: {field} is {text:?}"))
    }

    /// The end of the replication stream.
    pub fn offset(&self) -> u64 {
        self.info_number("replication", "master_repl_offset")
    }

    /// Major and minor version of the command set: Redis' own, or the one a Valkey server says it speaks.
    pub fn version(&self) -> (u32, u32) {
        let info = self.info("server");
        let mut parts = info["redis_version"]
            .split('.')
            .map(|p| p.parse().expect("version"));
        (parts.next().expect("major"), parts.next().expect("minor"))
    }

    /// The address for the `database` key of a syncer's configuration.
    pub fn url(&self, user: Option<(&str, &str)>) -> String {
        let who = match (user, &self.options.password) {
            (Some((user, password)), _) => format!("{user}:{}@", percent_encoded(password)),
            (None, Some(password)) => format!(":{}@", percent_encoded(password)),
            (None, None) => String::new(),
        };
        match &self.tls {
            Some((port, _)) => format!("rediss://{who}127.0.0.1:{port}"),
            None => format!("redis://{who}127.0.0.1:{}", self.port),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- database on port {}, last lines of its log\n{}",
                self.port,
                tail(&self.log(), 25)
            );
        }
    }
}

/// A password as it stands in an address.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The last `count` lines.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A file for a child's output, appended over restarts.
pub fn append_to(path: &std::path::Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("log file")
}

//! One site: a database, a syncer process and its configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports::free_port;
use super::server::{RedisServer, append_to, tail};
use super::status::Status;
use super::wait::{LONG, SHORT, wait_until};

/// How a site knows another one: name, address to dial, certificate to trust.
#[derive(Debug, Clone)]
pub struct PeerEntry {
    pub site: String,
    pub address: String,
    pub certificate: PathBuf,
}

/// A database and its syncer. The syncer is a child process of the test.
#[derive(Debug)]
pub struct Site {
    pub name: String,
    pub server: RedisServer,
    pub database_id: String,
    /// Where this syncer listens for its peers.
    pub link_port: u16,
    /// The user the syncer logs in as, instead of the default one.
    pub user: Option<(String, String)>,
    /// What stands instead of the server's own URL, for instance the address of a forwarder.
    pub database_url: Option<String>,
    /// Lines for the top of the configuration, before its first section.
    pub extra_top: String,
    /// Lines for the section `[link]`.
    pub extra_link: String,
    /// Sections for the end of the configuration.
    pub extra: String,
    dir: TempDir,
    child: Option<Child>,
}

impl Site {
    pub fn new(name: &str, database_id: &str, server: RedisServer) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("syncer-site-")
            .tempdir()
            .expect("temporary folder");
        Self {
            name: name.into(),
            server,
            database_id: database_id.into(),
            link_port: free_port(),
            user: None,
            database_url: None,
            extra_top: String::new(),
            extra_link: String::new(),
            extra: String::new(),
            dir,
            child: None,
        }
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("syncer.toml")
    }

    /// The certificate to hand to the peers.
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.path().join("data/certs/syncer.pem")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("syncer.log")
    }

    /// The text of the configuration file.
    pub fn config(&self, peers: &[PeerEntry]) -> String {
        let user = self
            .user
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()));
        let url = self.database_url.clone().unwrap_or_else(|| self.server.url(user));
        let data_dir = self.dir.path().join("data");
        let mut text = format!("site = {:?}\ndatabase_id = {:?}\n", self.name, self.database_id);
        let _ = writeln!(
            text,
            "database = {url:?}\ndata_dir = {:?}\n{}",
            data_dir, self.extra_top
        );
        let _ = writeln!(
            text,
            "[link]\nlisten = \"127.0.0.1:{}\"\n{}",
            self.link_port, self.extra_link
        );
        if let Some((_, files)) = &self.server.tls {
            let _ = writeln!(text, "\n[database_tls]\nca_file = {:?}", files.certificate);
        }
        for peer in peers {
            let _ = writeln!(
                text,
                "\n[[peer]]\nsite = {:?}\naddress = {:?}",
                peer.site, peer.address
            );
            let _ = writeln!(text, "certificate = {:?}", peer.certificate);
        }
        text + "\n" + &self.extra
    }

    pub fn write_config(&self, peers: &[PeerEntry]) {
        std::fs::write(self.config_path(), self.config(peers)).expect("configuration written");
    }

    /// `syncer init`: data directory and certificate.
    pub fn init(&self) {
        self.write_config(&[]);
        let output = self.command("init", &[]);
        assert!(
            output.status.success(),
            "syncer init of {}: {}",
            self.name,
            say(&output)
        );
        assert!(
            self.certificate_path().is_file(),
            "syncer init made no {}",
            self.certificate_path().display()
        );
    }

    /// Runs one command of the syncer to its end.
    pub fn command(&self, name: &str, more: &[&str]) -> Output {
        let config = self.config_path();
        run_to_end(name, &config, more)
    }

    /// `syncer run`, in the background. Its log is shown when the test fails.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "syncer {} is running", self.name);
        let log = append_to(&self.log_path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncer"));
        command
            .args(["run", "--config"])
            .arg(self.config_path())
            .args(flags)
            .stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log file")).stderr(log);
        self.child = Some(command.spawn().expect("the syncer starts"));
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the syncer is running").id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for an orderly end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let code = self.wait_for_end();
        assert_eq!(code, Some(0), "exit code of syncer {} after SIGTERM", self.name);
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the syncer is running");
        kill_process(Pid::from_child(child), signal).expect("signal sent");
    }

    /// Waits until the syncer ends by itself; its exit code.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("the syncer is running");
        let mut status = None;
        wait_until(&format!("syncer {} ends", self.name), SHORT, || {
            status = child.try_wait().expect("child");
            status.is_some()
        });
        self.child = None;
        status.and_then(|status| status.code())
    }

    /// `syncer status --json`; nothing while the syncer does not answer.
    pub fn status(&self) -> Option<Status> {
        let output = self.command("status", &["--json"]);
        output.status.success().then(|| {
            let value = serde_json::from_slice(&output.stdout);
            Status(value.unwrap_or_else(|e| panic!("status is not JSON ({e}): {}", say(&output))))
        })
    }

    /// Waits until the status satisfies `condition`; the last one seen is shown on failure.
    #[track_caller]
    pub fn wait_status(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let start = std::time::Instant::now();
        loop {
            last = self.status().or(last);
            if let Some(status) = &last
                && condition(status)
            {
                return status.clone();
            }
            assert!(
                start.elapsed() < LONG,
                "gave up after {LONG:?} waiting until {what} at site {}: {}",
                self.name,
                last.map_or("no status".into(), |s| s.0.to_string())
            );
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
    }

    /// Waits until the syncer has read everything that its database has executed so far.
    #[track_caller]
    pub fn wait_read(&self) {
        let end = self.server.offset();
        self.wait_status("the whole stream is read", |s| s.number("database.offset") >= end);
    }

    /// What the syncer has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the syncer's log has a line with all of these words.
    #[track_caller]
    pub fn wait_log(&self, expected: &[&str]) {
        wait_until(
            &format!("the log of {} says {expected:?}", self.name),
            SHORT,
            || {
                self.log()
                    .lines()
                    .any(|line| expected.iter().all(|word| line.contains(word)))
            },
        );
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- syncer {}, last lines of its log\n{}",
                self.name,
                tail(&self.log(), 40)
            );
        }
    }
}

/// Runs `syncer NAME --config FILE` to its end.
pub fn run_to_end(name: &str, config: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncer"));
    command
        .arg(name)
        .arg("--config")
        .arg(config)
        .args(more)
        .stdin(Stdio::null());
    command.output().expect("the syncer starts")
}

/// A finished command's words, for messages.
pub fn say(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}{err}", output.status)
}

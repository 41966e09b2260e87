//! A database process of our own, and a small blocking client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ports::free_port;

/// A running server; killed when dropped.
pub struct Server {
    pub port: u16,
    pub dir: TempDir,
    child: Child,
}

impl Server {
    /// Starts a server with these options and waits until it answers.
    pub fn start(options: &[&str]) -> Server {
        let server = Server::launch(tempfile::tempdir().unwrap(), options);
        wait_until("the server answers", || {
            TcpStream::connect(("127.0.0.1", server.port))
                .is_ok_and(|stream| !Client(BufReader::new(stream)).call("PING").is_empty())
        });
        server
    }

    /// Starts a server in `dir` and does not wait.
    pub fn launch(dir: TempDir, options: &[&str]) -> Server {
        let port = free_port();
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(program)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(dir.path())
            .args([
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
            ])
            .args(["--enable-debug-command", "yes"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a redis-server to test with");
        Server { port, dir, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::open(self.port)
    }

    /// One field of `INFO`.
    pub fn info(&self, field: &str) -> String {
        let info = self.client().call("INFO everything");
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_exit(&mut self) {
        wait_until("the server exits", || self.child.try_wait().unwrap().is_some());
    }

    /// Ends the process and gives back its folder.
    pub fn into_dir(mut self) -> TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again, for at most 30 seconds.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waited too long until {what}"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Calls one command after the other; replies become text, arrays one element per line.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn open(port: u16) -> Client {
        Client(BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap()))
    }

    /// A command as words.
    pub fn call(&mut self, words: &str) -> String {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.call_args(&args)
    }

    pub fn call_args(&mut self, args: &[&[u8]]) -> String {
        self.0.get_mut().write_all(&encode(args)).unwrap();
        self.reply()
    }

    /// Sends and does not wait for an answer.
    pub fn send(&mut self, words: &str) {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.0.get_mut().write_all(&encode(&args)).unwrap();
    }

    /// One raw line of the answer.
    pub fn read_line(&mut self, line: &mut String) {
        self.0.read_line(line).unwrap();
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let line = line.trim_end();
        let (sigil, rest) = line.split_at(1.min(line.len()));
        match sigil {
            "+" | ":" => rest.to_owned(),
            "$" if rest == "-1" => String::new(),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut text).unwrap();
                text.truncate(text.len() - 2);
                String::from_utf8_lossy(&text).into_owned()
            }
            "*" => {
                let count: i64 = rest.parse().unwrap();
                let lines: Vec<String> = (0..count).map(|_| self.reply()).collect();
                lines.join("\n")
            }
            _ => line.to_owned(),
        }
    }
}

pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(format!("${}\r\n", arg.len()).bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

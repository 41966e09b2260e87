//! What the demo starts and leaves behind: nothing.

use super::super::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end in order before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A folder of the demo's own, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it in the system's place for temporary files. Never takes one that exists.
    pub fn new() -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(format!("syncer-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("syncer: {} is left behind: {error}", self.0.display());
        }
    }
}

/// A running program with its output in a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it in a process group of its own: Ctrl-C reaches the demo alone, which then stops it in order.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Process, Failure> {
        let file = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = command.spawn().map_err(|error| {
            Failure::new(format!(
                "cannot start {}: {error}",
                command.get_program().to_string_lossy()
            ))
        })?;
        Ok(Process { child, log })
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of its output.
    pub fn last_words(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let skipped = text.lines().count().saturating_sub(lines);
        text.lines()
            .skip(skipped)
            .map(|line| format!("  {line}\n"))
            .collect()
    }

    /// Asks it to end.
    fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // An error means that it has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.runs() {
            return;
        }
        self.terminate();
        let start = Instant::now();
        while self.runs() {
            if start.elapsed() > END_TIME_MAX {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

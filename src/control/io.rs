//! The control socket: a Unix socket in the data directory, for the owner only.
//!
//! One connection carries one request and its response. Reading and writing have a deadline; what is asked for takes
//! the time it takes, so a few connections are served beside each other.

use super::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Request, Response};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// Longest path that a Unix socket takes.
const PATH_BYTES_MAX: usize = 107;
/// How long one connection may take to say what it wants, and to take the answer.
const TALK_TIME_MAX: Duration = Duration::from_secs(2);
/// Connections at a time. More wait.
const CONNECTIONS_MAX: usize = 16;
/// Rest after the system refused a connection (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What the socket is called until its rights are set.
const NEW_SUFFIX: &str = ".new";

/// Why the control socket does not serve or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is longer than the system allows.
    #[error("{path} has more than {max} bytes; choose a shorter data_dir", path = .0.display(),
            max = PATH_BYTES_MAX - NEW_SUFFIX.len())]
    PathTooLong(PathBuf),
    /// Somebody answers there already.
    #[error("a syncer is already running with this data_dir (it answers on {path})", path = .0.display())]
    Taken(PathBuf),
    /// Something that is not a socket stands in the way.
    #[error("{path} is in the way and not a socket; move it", path = .0.display())]
    NotASocket(PathBuf),
    /// Nobody listens there.
    #[error("no syncer answers on {path}; is `syncer run` running with this configuration?", path = .0.display())]
    NotRunning(PathBuf),
    /// The other side does not speak this language.
    #[error("the syncer's answer is not understood: {0}; are both of the same version?")]
    Malformed(String),
    /// The system refused.
    #[error("control socket {path}: {why}", path = path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

/// A bound control socket; it is removed when this is dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket with mode 0600, in the place of one left behind by a dead process.
    ///
    /// # Errors
    /// Another process answers there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Server, Error> {
        let system = |why| Error::System {
            path: path.into(),
            why,
        };
        let mut new = path.as_os_str().to_owned();
        new.push(NEW_SUFFIX);
        let new = PathBuf::from(new);
        if new.as_os_str().len() > PATH_BYTES_MAX {
            return Err(Error::PathTooLong(path.into()));
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(Error::NotASocket(path.into()));
            }
            if BlockingStream::connect(path).is_ok() {
                return Err(Error::Taken(path.into()));
            }
        }
        match std::fs::remove_file(&new) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(system(why)),
            _ => {}
        }
        // Nobody may connect before the rights are set, so the socket gets its name only then.
        let listener = UnixListener::bind(&new).map_err(system)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).map_err(system)?;
        std::fs::rename(&new, path).map_err(system)?;
        Ok(Server {
            listener,
            path: path.into(),
        })
    }

    /// Answers requests until it is told to end or is dropped; who asked before the end still gets an answer. Must run
    /// on a `LocalSet`.
    pub async fn serve(self, ending: Rc<Notify>, handler: impl AsyncFn(Request) -> Response + 'static) {
        let handler = Rc::new(handler);
        let mut served = JoinSet::new();
        loop {
            while served.try_join_next().is_some() {}
            if served.len() >= CONNECTIONS_MAX {
                served.join_next().await;
            }
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = ending.notified() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let handler = Rc::clone(&handler);
                    served.spawn_local(async move {
                        if let Err(error) = answer(stream, &*handler).await {
                            tracing::debug!(%error, "a control connection broke");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while served.join_next().await.is_some() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket was not removed");
        }
    }
}

async fn answer(mut stream: UnixStream, handler: &impl AsyncFn(Request) -> Response) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    // A request may hold a key; what is left of it is wiped.
    let mut line = Zeroizing::new(Vec::new());
    let mut read = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX as u64));
    in_time(read.read_until(b'\n', &mut line)).await?;
    let response = match serde_json::from_slice(&line) {
        Ok(request) => handler(request).await,
        Err(error) => Response::Error(format!("the request is not understood: {error}")),
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    in_time(write.write_all(&text)).await?;
    write.shutdown().await
}

async fn in_time<T>(talk: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match tokio::time::timeout(TALK_TIME_MAX, talk).await {
        Ok(done) => done,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Asks a running syncer, blocking for at most about twice `timeout`.
///
/// # Errors
/// Nobody answers, or not in this language.
pub fn ask(path: &Path, request: &Request, timeout: Duration) -> Result<Response, Error> {
    let system = |why| Error::System {
        path: path.into(),
        why,
    };
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(Error::PathTooLong(path.into()));
    }
    let mut stream = BlockingStream::connect(path).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            Error::NotRunning(path.into())
        }
        _ => system(why),
    })?;
    stream.set_read_timeout(Some(timeout)).map_err(system)?;
    stream.set_write_timeout(Some(timeout)).map_err(system)?;
    let mut text = Zeroizing::new(Vec::with_capacity(REQUEST_BYTES_MAX));
    serde_json::to_writer(&mut *text, request).map_err(|e| Error::Malformed(e.to_string()))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(system)?;
    let mut line = Vec::new();
    BufReader::new(stream.take(RESPONSE_BYTES_MAX as u64))
        .read_until(b'\n', &mut line)
        .map_err(system)?;
    serde_json::from_slice(&line).map_err(|e| Error::Malformed(e.to_string()))
}

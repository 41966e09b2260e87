//! Notices changes in directories.
//!
//! Directories are watched, not files: files are exchanged by renames and links (Kubernetes swaps `..data`, Vault
//! renames), after which a watch on the file itself would look at what is gone.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

/// Watches while it lives.
pub struct Watch {
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Has `changed` notified after a change in one of the directories. What cannot be watched (some network
    /// file systems, no watches left) is told in the log once; who polls as well misses nothing for long.
    pub fn new(directories: &[PathBuf], changed: Arc<Notify>) -> Watch {
        let told = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(&event.kind)) {
                changed.notify_one();
            }
        };
        let mut watcher = match notify::recommended_watcher(told) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "changes of certificates are not watched for; they are polled");
                return Watch { _watcher: None };
            }
        };
        for directory in directories {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::warn!(directory = %directory.display(), %error,
                    "changes of certificates are not watched for here; they are polled");
            }
        }
        Watch {
            _watcher: Some(watcher),
        }
    }
}

/// Looking at a file is an event, too, and must not be answered by looking again.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

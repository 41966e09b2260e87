//! Segments as files, and the thread that does what a disk takes its time for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use crossbeam::channel::{Sender, unbounded};
use rustix::buffer::spare_capacity;
use rustix::io::pread;

use super::disk::Disk;
use super::error::LogError;
use super::origin::{OriginLog, Recovery, Settings};
use crate::causality::SiteId;

/// Above so much work that waits, nothing is forced only because a second has passed.
const WORK_WAITING_MAX: usize = 64;

/// How it stands with a full segment: being forced, on disk, refused by the system.
const FORCING: u8 = 0;
const FORCED: u8 = 1;
const REFUSED: u8 = 2;

fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016}.log"))
}

/// A directory of segment files.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    files: BTreeMap<u64, File>,
    /// The first segment that may hold bytes which were not forced to disk.
    unforced: u64,
    /// Whether a segment was made since the directory was forced.
    made: bool,
    /// The last full segment.
    full: Option<(u64, Arc<AtomicU8>)>,
}

impl FileDisk {
    /// What is to be forced to disk: the segments written since, and the directory if it has new ones.
    fn unforced(&self) -> io::Result<Vec<File>> {
        let written = self
            .files
            .range(self.unforced..)
            .map(|(_, file)| file.try_clone());
        let dir = self.made.then(|| File::open(&self.dir));
        written.chain(dir).collect()
    }

    fn forced(&mut self, newest: u64) {
        self.unforced = newest;
        self.made = false;
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        let FileDisk { dir, files, .. } = self;
        Ok(match files.entry(segment) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let path = path(dir, segment);
                entry.insert(OpenOptions::new().read(true).append(true).open(path)?)
            }
        })
    }
}

impl Disk for FileDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&mut self, segment: u64) -> io::Result<()> {
        let path = path(&self.dir, segment);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(path)?;
        self.files.insert(segment, file);
        self.made = true;
        Ok(())
    }

    fn len(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.file(segment)?.metadata()?.len())
    }

    fn read_at(&mut self, segment: u64, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let file = self.file(segment)?;
        let mut buffer = Vec::with_capacity(bytes);
        while buffer.len() < bytes {
            let at = offset + buffer.len() as u64;
            let read = rustix::io::retry_on_intr(|| pread(&*file, spare_capacity(&mut buffer), at))?;
            if read == 0 {
                break;
            }
        }
        buffer.truncate(bytes);
        Ok(buffer.into())
    }

    fn append(&mut self, segment: u64, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.file(segment)?;
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = file.write_vectored(rest)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.file(segment)?.set_len(bytes)
    }

    fn force_soon(&mut self, segment: u64) -> io::Result<()> {
        let file = self.file(segment)?.try_clone()?;
        let state = Arc::new(AtomicU8::new(FORCING));
        self.full = Some((segment, Arc::clone(&state)));
        give(Work::ForceFull(file, state))
    }

    fn is_forced(&mut self, segment: u64) -> io::Result<bool> {
        let state = match &self.full {
            Some((full, state)) if *full == segment => state.load(Ordering::Acquire),
            _ => FORCED,
        };
        if state == REFUSED {
            self.force_soon(segment)?;
            return Err(io::Error::other(
                "the system could not; see the log of the program",
            ));
        }
        Ok(state == FORCED)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.files.remove(&segment);
        std::fs::remove_file(path(&self.dir, segment))
    }

    fn remove_soon(&mut self, segment: u64) -> io::Result<()> {
        // The file closes there, too: whichever is last frees the blocks, and waits for them.
        let file = self.files.remove(&segment);
        give(Work::Remove(path(&self.dir, segment), file))
    }
}

/// Opens or makes the log of an origin in a directory of its own.
///
/// # Errors
/// As [`OriginLog::open`].
pub fn open(
    dir: &Path,
    database_id: &str,
    origin: SiteId,
    settings: Settings,
) -> Result<(OriginLog<FileDisk>, Recovery), LogError> {
    let refused = |error| LogError::Disk {
        origin: origin.to_string(),
        what: "make its directory",
        error,
    };
    std::fs::create_dir_all(dir).map_err(refused)?;
    let disk = FileDisk {
        dir: dir.to_owned(),
        files: BTreeMap::new(),
        unforced: 0,
        made: true,
        full: None,
    };
    let (mut log, recovery) = OriginLog::open(disk, database_id, origin, settings)?;
    log.disk.unforced = log.newest_segment().unwrap_or_default();
    Ok((log, recovery))
}

/// What a disk may take seconds for.
enum Work {
    /// Because a second has passed.
    Force(File),
    /// Because the log goes on in another one.
    ForceFull(File, Arc<AtomicU8>),
    Remove(PathBuf, Option<File>),
}

impl Work {
    fn run(self) {
        match self {
            Work::Force(file) => {
                is_done(file.sync_data());
            }
            Work::ForceFull(file, state) => {
                let end = if is_done(file.sync_data()) {
                    FORCED
                } else {
                    REFUSED
                };
                state.store(end, Ordering::Release);
            }
            Work::Remove(path, file) => {
                let removed = std::fs::remove_file(&path);
                drop(file);
                if let Err(error) = removed {
                    tracing::error!(%error, path = %path.display(), "a segment of the log could not be removed");
                }
            }
        }
    }
}

fn is_done(forced: io::Result<()>) -> bool {
    if let Err(error) = &forced {
        tracing::error!(%error, "the log could not be forced to disk");
    }
    forced.is_ok()
}

/// The thread that does it, one after the other, so that nobody on the way of a write waits.
static WORKER: LazyLock<Option<Sender<Work>>> = LazyLock::new(|| {
    let (sender, receiver) = unbounded::<Work>();
    std::thread::Builder::new()
        .name("log-disk".to_owned())
        .spawn(move || receiver.into_iter().for_each(Work::run))
        .ok()
        .map(|_| sender)
});

fn give(work: Work) -> io::Result<()> {
    let sent = WORKER.as_ref().map(|worker| worker.send(work));
    if sent.is_some_and(|sent| sent.is_ok()) {
        return Ok(());
    }
    Err(io::Error::other(
        "the thread that works on the log's files is gone",
    ))
}

impl OriginLog<FileDisk> {
    /// Forces what was appended to disk and waits for it.
    ///
    /// # Errors
    /// The disk.
    pub fn sync_now(&mut self) -> Result<(), LogError> {
        let Some(newest) = self.newest_segment() else {
            return Ok(());
        };
        let unforced = self.disk.unforced();
        let synced = unforced.and_then(|files| files.iter().try_for_each(File::sync_data));
        synced.map_err(|error| self.refused("force to disk", error))?;
        self.disk.forced(newest);
        Ok(())
    }

    /// Begins to force what was appended to disk, without waiting for it.
    pub fn request_sync(&mut self) {
        let Some(newest) = self.newest_segment() else {
            return;
        };
        if WORKER
            .as_ref()
            .is_some_and(|worker| worker.len() > WORK_WAITING_MAX)
        {
            return;
        }
        let given = self
            .disk
            .unforced()
            .and_then(|files| files.into_iter().try_for_each(|file| give(Work::Force(file))));
        match given {
            Ok(()) => self.disk.forced(newest),
            Err(error) => tracing::error!(%error, "the log could not be forced to disk"),
        }
    }
}

/// Holds a data directory for one process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes a data directory, which must exist.
///
/// # Errors
/// Another syncer has it, or the system refuses.
pub fn lock(dir: &Path) -> Result<Lock, LogError> {
    let refused = |error| LogError::Disk {
        origin: dir.display().to_string(),
        what: "lock data_dir",
        error,
    };
    std::fs::create_dir_all(dir).map_err(refused)?;
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(_) => Err(LogError::Locked(dir.display().to_string())),
    }
}

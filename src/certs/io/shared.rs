//! A store that the syncers of a site share without a shared volume: somebody keeps named values for all of them, and
//! the directory is this syncer's copy.
//!
//! [`Shared`] decides what goes where; a [`Backend`] moves the bytes (`etcd.rs`). Everything else reads the copy, so
//! that a syncer starts and runs without the backend, and notices a change as it notices one of files.
//!
//! Invariants:
//! - A pair is one value, so a certificate and its key are replaced at once, everywhere.
//! - A value is written only over the one that was seen last: of two at the same time one is refused.
//! - What the backend has counts; the copy only fills what it lacks.
//! - Nothing leaves this machine unsealed.

use super::super::{CertificateName, Error, StoreFault};
use super::{Pair, Seals, Store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The policy's name among the values.
const CLUSTER: &str = "cluster";
/// How often it is looked again if another syncer fills the store meanwhile.
const ROUNDS_MAX: usize = 3;
/// How long one look waits for a change.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it rests when the backend does not answer.
const REST: Duration = Duration::from_secs(1);

/// A value of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Without the site's prefix.
    pub name: String,
    /// Sealed.
    pub value: Vec<u8>,
    /// Rises with every change of it.
    pub revision: i64,
}

/// Everything at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Everything {
    /// The values.
    pub values: Vec<Found>,
    /// Rises with every change of any.
    pub revision: i64,
}

/// Who keeps the values. Every call waits for its answer.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// The full name of a value, as it is bound to what is sealed.
    fn full_name(&self, name: &str) -> String;

    /// All values of the site.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    fn all(&self) -> Result<Everything, StoreFault>;

    /// Writes a value if what stands there is of this revision, 0 for nothing. Gives the new one, nothing if it was
    /// another.
    ///
    /// # Errors
    /// It does not answer, or refuses. If it does not answer, it may have written all the same.
    fn put(&self, name: &str, value: Vec<u8>, revision: i64) -> Result<Option<i64>, StoreFault>;

    /// Waits until something changed after a revision, but no longer than `patience`.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    fn wait(&self, revision: i64, patience: Duration) -> Result<(), StoreFault>;
}

/// What is known of the backend.
#[derive(Debug)]
pub struct Shared {
    backend: Box<dyn Backend>,
    seals: Seals,
    known: Mutex<Known>,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Debug, Default)]
struct Known {
    revisions: BTreeMap<String, i64>,
    revision: i64,
}

/// Why the copy may be behind.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What happened last.
    pub why: String,
    /// Since when it is so.
    pub since: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Nothing is asked yet.
    pub fn new(backend: Box<dyn Backend>, seals: Seals) -> Shared {
        Shared {
            backend,
            seals,
            known: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Why the copy may be behind, if it may.
    pub fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    /// Brings the copy up to what the backend has, and puts there what it lacks and the copy has.
    pub(super) fn sync(&self, copy: &Store) -> Result<(), Error> {
        let mut known = lock(&self.known);
        let mut done = Ok(false);
        for _ in 0..ROUNDS_MAX {
            done = self.round(copy, &mut known);
            if !matches!(done, Ok(false)) {
                break;
            }
        }
        drop(known);
        let done = done.and_then(|is_settled| match is_settled {
            true => Ok(()),
            false => Err(StoreFault::Changed(CLUSTER.to_owned()).into()),
        });
        self.note(&done);
        done
    }

    /// One look; false if another syncer filled the store meanwhile.
    fn round(&self, copy: &Store, known: &mut Known) -> Result<bool, Error> {
        let everything = self.backend.all()?;
        let mut texts = BTreeMap::new();
        let is_ours = |found: &&Found| found.name == CLUSTER || found.name.parse::<CertificateName>().is_ok();
        for found in everything.values.iter().filter(is_ours) {
            let text = self
                .seals
                .open(&self.backend.full_name(&found.name), &found.value)?;
            texts.insert(found.name.as_str(), text);
        }
        let revisions = everything.values.iter();
        known.revisions = revisions
            .map(|found| (found.name.clone(), found.revision))
            .collect();
        known.revision = everything.revision;
        let mut is_settled = true;
        for name in CertificateName::ALL {
            match texts.get(name.as_str()) {
                Some(text) => {
                    let pair = unpacked(text).ok_or_else(|| StoreFault::Malformed(name.to_string()))?;
                    // A copy that does not read is replaced, too.
                    if copy.pair(name).ok().flatten().as_ref() != Some(&pair) {
                        copy.replace_here(name, &pair)?;
                    }
                }
                None => {
                    if let Some(pair) = copy.pair(name)? {
                        is_settled &= self.fill(known, name.as_str(), &packed(&pair))?;
                    }
                }
            }
        }
        let here = copy.cluster_text()?;
        match texts.get(CLUSTER) {
            Some(text) if here != **text => copy.write_cluster(text)?,
            None if !here.is_empty() => is_settled &= self.fill(known, CLUSTER, &here)?,
            _ => {}
        }
        Ok(is_settled)
    }

    /// Puts a value there that is missing; false if somebody was faster.
    fn fill(&self, known: &mut Known, name: &str, text: &[u8]) -> Result<bool, Error> {
        Ok(self.write(known, name, text, 0)?)
    }

    fn write(&self, known: &mut Known, name: &str, text: &[u8], before: i64) -> Result<bool, StoreFault> {
        let value = self.seals.seal(&self.backend.full_name(name), text)?;
        let written = self.backend.put(name, value, before)?;
        if let Some(revision) = written {
            known.revisions.insert(name.to_owned(), revision);
        }
        Ok(written.is_some())
    }

    /// Replaces what was seen last. The caller holds what is known until the copy has it, too.
    fn put(&self, known: &mut Known, name: &str, text: &[u8]) -> Result<(), Error> {
        let before = known.revisions.get(name).copied().unwrap_or(0);
        match self.write(known, name, text, before)? {
            true => Ok(()),
            false => Err(StoreFault::Changed(name.to_owned()).into()),
        }
    }

    pub(super) fn put_pair(&self, copy: &Store, name: CertificateName, pair: &Pair) -> Result<(), Error> {
        let mut known = lock(&self.known);
        self.put(&mut known, name.as_str(), &packed(pair))?;
        copy.replace_here(name, pair)
    }

    pub(super) fn put_cluster(
        &self,
        copy: &Store,
        text: &[u8],
        is_same: impl FnOnce(Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut known = lock(&self.known);
        is_same(copy.cluster_text()?)?;
        self.put(&mut known, CLUSTER, text)?;
        copy.write_cluster(text)
    }

    /// Tells once that it begins and once that it is over.
    fn note(&self, done: &Result<(), Error>) {
        let mut trouble = lock(&self.trouble);
        let Err(error) = done else {
            if let Some(was) = trouble.take() {
                let seconds = was.since.elapsed().as_secs();
                tracing::info!(seconds, "the shared store of certificates is reached again");
            }
            return;
        };
        let why = error.to_string();
        let since = trouble.as_ref().map_or_else(Instant::now, |was| was.since);
        if trouble.as_ref().is_none_or(|was| was.why != why) {
            tracing::warn!(error = %why, "the shared store of certificates is of no use; what is here stays in use");
        }
        *trouble = Some(Trouble { why, since });
    }
}

/// The thread that keeps a copy up to date ends some time after this is dropped.
#[derive(Debug)]
pub struct Following(Arc<AtomicBool>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Following {
    /// Keeps the copy up to date: at once where the backend tells of a change, and with a look every ten seconds.
    pub(super) fn begin(copy: Store, shared: Arc<Shared>) -> std::io::Result<Following> {
        let is_over = Arc::new(AtomicBool::new(false));
        let following = Following(Arc::clone(&is_over));
        std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || {
                let mut is_synced = true;
                while !is_over.load(Ordering::Relaxed) {
                    let revision = lock(&shared.known).revision;
                    // Behind a look that failed, nothing tells when the next one is worth while.
                    let is_told = is_synced && shared.backend.wait(revision, PATIENCE).is_ok();
                    // What is wrong, the look tells.
                    is_synced = shared.sync(&copy).is_ok();
                    if !is_told {
                        std::thread::sleep(REST);
                    }
                }
            })?;
        Ok(following)
    }
}

/// A pair as one text: the certificate's length, the certificate, the key.
fn packed(pair: &Pair) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(pair.certificate.len()).unwrap_or(u32::MAX);
    let whole = 4 + pair.certificate.len() + pair.key.len();
    let mut text = Zeroizing::new(Vec::with_capacity(whole));
    text.extend_from_slice(&length.to_le_bytes());
    text.extend_from_slice(&pair.certificate);
    text.extend_from_slice(&pair.key);
    text
}

fn unpacked(text: &[u8]) -> Option<Pair> {
    let (length, rest) = text.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (certificate, key) = rest.split_at_checked(length)?;
    Some(Pair {
        certificate: certificate.to_vec(),
        key: Zeroizing::new(key.to_vec()),
    })
}

//! The store: the directory of a site's certificates, keys and policy, which several syncers may share.
//!
//! A pair is replaced by one rename. What [`Store::replace`] wrote stands in a set, a directory of its own, and
//! `{name}` is a link to the set that is in force:
//!
//! ```text
//! syncer.pem -> syncer/certificate.pem     syncer -> .syncer.7/certificate.pem
//! syncer.key -> syncer/key.pem                                 key.pem
//! ```
//!
//! Plain files in the place of the two outer links are as good: `syncer init` makes them, and others may put them
//! there. The first replacement turns them into a set with the same contents, and only then swaps the set.
//!
//! The directory may be a shared volume; or, with [`Shared`], a copy of what others keep for all syncers of the site.
//! Then a change goes there first.
//!
//! Invariant: at every moment, also after a crash, the two names give a certificate and its own key.

use super::super::{CertificateName, Cluster, Error, FileFault, StoreFault};
use super::{Following, Paths, Shared, at, exists, read, write};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The policy's file.
const CLUSTER_FILE: &str = "cluster.conf";
/// Who holds a lock on it may change the store.
const LOCK_FILE: &str = ".lock";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
/// How often a pair is read again that was replaced between its two files.
const READS_MAX: usize = 5;

/// The directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    shared: Option<Arc<Shared>>,
}

/// A certificate and its key as text. The key is wiped from memory when this is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(***)")
    }
}

impl Store {
    /// The store in this directory.
    pub fn new(dir: &Path) -> Store {
        Store {
            dir: dir.into(),
            shared: None,
        }
    }

    /// The store of which this directory is a copy.
    pub fn copy_of(shared: Shared, dir: &Path) -> Store {
        Store {
            dir: dir.into(),
            shared: Some(Arc::new(shared)),
        }
    }

    /// Who keeps it for the site, if not the directory itself.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_deref()
    }

    /// Brings the directory up to date, if it is a copy.
    ///
    /// # Errors
    /// Who keeps the store does not answer, or the directory cannot be written.
    pub fn sync(&self) -> Result<(), Error> {
        self.shared.as_ref().map_or(Ok(()), |shared| shared.sync(self))
    }

    /// Keeps the directory up to date while what this gives lives, if it is a copy.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn follow(&self) -> io::Result<Option<Following>> {
        let shared = self.shared.as_ref();
        let begin = |shared| Following::begin(self.clone(), Arc::clone(shared));
        shared.map(begin).transpose()
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names under which a pair is read.
    pub fn paths(&self, name: CertificateName) -> Paths {
        Paths::new(&self.dir, name)
    }

    /// A pair as it stands; nothing if there is no certificate of this name.
    ///
    /// # Errors
    /// A file cannot be read, or the key is missing.
    pub fn pair(&self, name: CertificateName) -> Result<Option<Pair>, Error> {
        let paths = self.paths(name);
        let mut reads = 0;
        loop {
            if !exists(&paths.certificate)? {
                return Ok(None);
            }
            let pair = read_pair(&paths);
            reads += 1;
            // If it was replaced in between, the key is that of another certificate.
            let again = read(&paths.certificate).ok();
            let is_whole = pair
                .as_ref()
                .is_ok_and(|pair| again.as_ref() == Some(&pair.certificate));
            if is_whole || reads == READS_MAX {
                return pair.map(Some);
            }
        }
    }

    /// Replaces a pair.
    ///
    /// # Errors
    /// The store cannot be written; the pair is then the one before.
    pub fn replace(&self, name: CertificateName, pair: &Pair) -> Result<(), Error> {
        match &self.shared {
            Some(shared) => shared.put_pair(self, name, pair),
            None => self.replace_here(name, pair),
        }
    }

    /// Replaces a pair in the directory.
    pub(super) fn replace_here(&self, name: CertificateName, pair: &Pair) -> Result<(), Error> {
        let _lock = self.lock()?;
        let paths = self.paths(name);
        let has_names = leads(&paths.certificate, name, CERTIFICATE) && leads(&paths.key, name, KEY);
        let before = if has_names { None } else { self.pair(name)? };
        let set = self
            .put(name, pair, before.as_ref(), !has_names)
            .map_err(|why| at(&self.dir, why.into()))?;
        self.remove_others(name, &set);
        Ok(())
    }

    fn put(
        &self,
        name: CertificateName,
        pair: &Pair,
        before: Option<&Pair>,
        naming: bool,
    ) -> io::Result<PathBuf> {
        if let Some(before) = before {
            self.swap(name, &self.write_set(name, before)?)?;
            self.name(name)?;
        }
        let set = self.write_set(name, pair)?;
        self.swap(name, &set)?;
        if naming && before.is_none() {
            self.name(name)?;
        }
        Ok(set)
    }

    /// Puts the two names there, the key's first: a certificate always has its key.
    fn name(&self, name: CertificateName) -> io::Result<()> {
        let paths = self.paths(name);
        self.link(&Path::new(name.as_str()).join(KEY), &paths.key)?;
        self.link(&Path::new(name.as_str()).join(CERTIFICATE), &paths.certificate)
    }

    /// Lets `{name}` lead to a set.
    fn swap(&self, name: CertificateName, set: &Path) -> io::Result<()> {
        self.link(set, &self.dir.join(name.as_str()))
    }

    /// Puts a link in the place of whatever file or link is there, at once.
    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        let mut unfinished = at.as_os_str().to_owned();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        match std::fs::remove_file(&unfinished) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        symlink(target, &unfinished)?;
        std::fs::rename(&unfinished, at)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Writes a set that nothing leads to yet; gives its name in the directory.
    fn write_set(&self, name: CertificateName, pair: &Pair) -> io::Result<PathBuf> {
        let number = self.sets(name)?.into_iter().map(|(number, _)| number).max();
        let set = PathBuf::from(format!(".{name}.{}", number.unwrap_or(0).saturating_add(1)));
        let dir = self.dir.join(&set);
        DirBuilder::new().mode(0o700).create(&dir)?;
        write(&dir, &dir.join(KEY), &pair.key, 0o600)?;
        write(&dir, &dir.join(CERTIFICATE), &pair.certificate, 0o644)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(set)
    }

    /// Every set of a name, by number.
    fn sets(&self, name: CertificateName) -> io::Result<Vec<(u64, PathBuf)>> {
        let prefix = format!(".{name}.");
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let file = entry.file_name();
            let number = file.to_str().and_then(|file| file.strip_prefix(&prefix));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                sets.push((number, entry.path()));
            }
        }
        Ok(sets)
    }

    /// Removes what nothing leads to any more. What cannot be removed is tried again with the next replacement.
    fn remove_others(&self, name: CertificateName, kept: &Path) {
        for (_, path) in self.sets(name).unwrap_or_default() {
            if path.file_name() == Some(kept.as_os_str()) {
                continue;
            }
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "an old set of a certificate stays");
            }
        }
    }

    fn cluster_path(&self) -> PathBuf {
        self.dir.join(CLUSTER_FILE)
    }

    /// The policy's text, empty if nobody has set any.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cluster_text(&self) -> Result<Vec<u8>, Error> {
        let path = self.cluster_path();
        match read(&path) {
            Err(FileFault::System(why)) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            done => done.map_err(|fault| at(&path, fault)),
        }
    }

    /// The policy out of its text.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read_cluster(&self, text: &[u8]) -> Result<Cluster, Error> {
        let text = String::from_utf8_lossy(text);
        Cluster::parse(&text).map_err(|why| at(&self.cluster_path(), why.into()))
    }

    /// Replaces the policy whose text was `before`.
    ///
    /// # Errors
    /// It has become another, or the store cannot be written; the policy is then the one before.
    pub fn set_cluster(&self, cluster: &Cluster, before: &[u8]) -> Result<(), Error> {
        let text = cluster.to_string().into_bytes();
        let is_same = |here: Vec<u8>| match here == before {
            true => Ok(()),
            false => Err(Error::from(StoreFault::Changed("cluster".to_owned()))),
        };
        if let Some(shared) = &self.shared {
            return shared.put_cluster(self, &text, is_same);
        }
        let _lock = self.lock()?;
        is_same(self.cluster_text()?)?;
        self.put_cluster(&text)
    }

    /// Replaces the policy in the directory.
    pub(super) fn write_cluster(&self, text: &[u8]) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.put_cluster(text)
    }

    fn put_cluster(&self, text: &[u8]) -> Result<(), Error> {
        let path = self.cluster_path();
        write(&self.dir, &path, text, 0o644).map_err(|why| at(&path, why.into()))
    }

    /// Waits until nobody else changes the store, and keeps them from it until the file is closed.
    fn lock(&self) -> Result<File, Error> {
        let path = self.dir.join(LOCK_FILE);
        let locked = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|why: io::Error| at(&path, why.into()))
    }
}

fn read_pair(paths: &Paths) -> Result<Pair, Error> {
    let certificate = read(&paths.certificate).map_err(|fault| at(&paths.certificate, fault))?;
    if !exists(&paths.key)? {
        return Err(at(&paths.key, FileFault::KeyMissing));
    }
    let key = read(&paths.key).map_err(|fault| at(&paths.key, fault))?;
    Ok(Pair {
        certificate,
        key: Zeroizing::new(key),
    })
}

/// Whether a name is the link that [`Store::name`] makes.
fn leads(path: &Path, name: CertificateName, file: &str) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target == Path::new(name.as_str()).join(file))
}

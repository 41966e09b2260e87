//! Syncers that share a store without a shared volume, with a backend in memory.

use super::super::io::{Backend, Everything, Found, Seals, Shared, Store};
use super::store::stored;
use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What all of a test's syncers share.
#[derive(Debug, Default)]
struct Kept {
    values: Mutex<Everything>,
    is_down: AtomicBool,
    /// What somebody else writes right before the next write of ours.
    faster: Mutex<Option<Found>>,
}

#[derive(Debug, Clone, Default)]
struct InMemory(Arc<Kept>);

impl InMemory {
    fn up(&self) -> Result<(), StoreFault> {
        match self.0.is_down.load(Ordering::Relaxed) {
            true => Err(StoreFault::Unreachable("it is down".to_owned())),
            false => Ok(()),
        }
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let all = self.0.values.lock().unwrap();
        all.values
            .iter()
            .find(|found| found.name == name)
            .map(|found| found.value.clone())
    }

    fn set(&self, name: &str, value: Vec<u8>) {
        let mut all = self.0.values.lock().unwrap();
        all.revision += 1;
        let revision = all.revision;
        all.values.retain(|found| found.name != name);
        all.values.push(Found {
            name: name.to_owned(),
            value,
            revision,
        });
    }
}

impl Backend for InMemory {
    fn full_name(&self, name: &str) -> String {
        format!("/orders/a/{name}")
    }

    fn all(&self) -> Result<Everything, StoreFault> {
        self.up()?;
        Ok(self.0.values.lock().unwrap().clone())
    }

    fn put(&self, name: &str, value: Vec<u8>, before: i64) -> Result<Option<i64>, StoreFault> {
        self.up()?;
        if let Some(faster) = self.0.faster.lock().unwrap().take() {
            self.set(&faster.name, faster.value);
        }
        let all = self.0.values.lock().unwrap().clone();
        let there = all.values.iter().find(|found| found.name == name);
        let there = there.map_or(0, |found| found.revision);
        if there != before {
            return Ok(None);
        }
        self.set(name, value);
        Ok(Some(self.0.values.lock().unwrap().revision))
    }

    fn wait(&self, _: i64, _: Duration) -> Result<(), StoreFault> {
        self.up()
    }
}

struct Site {
    dir: tempfile::TempDir,
    kept: InMemory,
}

const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const TWO: &str = "ff112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

impl Site {
    fn new() -> Site {
        Site {
            dir: tempfile::tempdir().unwrap(),
            kept: InMemory::default(),
        }
    }

    fn seals(&self, keys: &str) -> Seals {
        let path = self.dir.path().join("seal");
        std::fs::write(&path, keys).unwrap();
        Seals::read(&path).unwrap()
    }

    /// A syncer with its own copy.
    fn syncer(&self, name: &str, keys: &str) -> Store {
        let shared = Shared::new(Box::new(self.kept.clone()), self.seals(keys));
        Store::copy_of(shared, &self.dir.path().join(name))
    }
}

const NAME: CertificateName = CertificateName::Syncer;

#[test]
fn what_one_sets_the_others_get() {
    let site = Site::new();
    let (a, b) = (site.syncer("a", ONE), site.syncer("b", ONE));
    let [one, two] = [stored(&made("a")), stored(&made("a"))];
    a.sync().unwrap();
    a.replace(NAME, &one).unwrap();
    b.sync().unwrap();
    assert_eq!(b.pair(NAME).unwrap(), Some(one.clone()));
    b.replace(NAME, &two).unwrap();
    // a has not looked since: its next one would pass over b's.
    let late = a.replace(NAME, &one).unwrap_err();
    assert!(
        late.to_string().contains("syncer was changed by another syncer"),
        "{late}"
    );
    assert_eq!(a.pair(NAME).unwrap(), Some(one));
    a.sync().unwrap();
    assert_eq!(a.pair(NAME).unwrap(), Some(two.clone()));
    let mut policy = Cluster::default();
    policy.set("min_data_TLS_version", "1.2").unwrap();
    a.set_cluster(&policy, b"").unwrap();
    b.sync().unwrap();
    assert_eq!(b.cluster_text().unwrap(), policy.to_string().into_bytes());
    assert!(b.set_cluster(&Cluster::default(), b"").is_err());
    // Whoever looks into the store reads nothing.
    for name in ["syncer", "cluster"] {
        let value = site.kept.value(name).unwrap();
        let text = String::from_utf8_lossy(&value).into_owned();
        assert!(!text.contains("PRIVATE") && !text.contains("CERTIFICATE") && !text.contains("min_data"));
    }
}

#[test]
fn the_first_fills_it_and_the_others_take_that() {
    let site = Site::new();
    let (a, b) = (site.syncer("a", ONE), site.syncer("b", ONE));
    let [one, two] = [stored(&made("a")), stored(&made("a"))];
    // Both had a pair of their own; and of b, somebody else is faster in between.
    Store::new(a.dir()).replace(NAME, &one).unwrap();
    Store::new(b.dir()).replace(NAME, &two).unwrap();
    a.sync().unwrap();
    let value = site.kept.value("syncer").unwrap();
    *site.kept.0.values.lock().unwrap() = Everything::default();
    *site.kept.0.faster.lock().unwrap() = Some(Found {
        name: "syncer".to_owned(),
        value,
        revision: 0,
    });
    b.sync().unwrap();
    assert_eq!(b.pair(NAME).unwrap(), Some(one));
}

#[test]
fn without_it_the_copy_stays_and_it_is_told() {
    let site = Site::new();
    let a = site.syncer("a", ONE);
    let one = stored(&made("a"));
    a.sync().unwrap();
    a.replace(NAME, &one).unwrap();
    site.kept.0.is_down.store(true, Ordering::Relaxed);
    let why = a.sync().unwrap_err();
    assert!(matches!(&why, Error::Store(fault) if fault.may_pass()) && why.label() == "store");
    let trouble = a.shared().unwrap().trouble().unwrap();
    assert_eq!(trouble.why, "etcd is not reached: it is down");
    assert!(a.replace(NAME, &stored(&made("a"))).is_err());
    assert_eq!(a.pair(NAME).unwrap(), Some(one));
    site.kept.0.is_down.store(false, Ordering::Relaxed);
    a.sync().unwrap();
    assert!(a.shared().unwrap().trouble().is_none());
}

#[test]
fn what_our_keys_did_not_seal_for_this_place_is_refused() {
    let site = Site::new();
    let a = site.syncer("a", ONE);
    let one = stored(&made("a"));
    a.replace(NAME, &one).unwrap();
    let other = site.syncer("other", TWO);
    let why = other.sync().unwrap_err();
    assert!(
        why.to_string().contains("etcd.seal_file") && why.label() == "store",
        "{why}"
    );
    assert!(matches!(&why, Error::Store(fault) if !fault.may_pass()));
    assert_eq!(other.pair(NAME).unwrap(), None);
    // A new key first, the old one behind it: then it opens, and what is set from then on needs the new one.
    let both = site.syncer("both", &format!("{TWO}\n\n{ONE}\n"));
    both.sync().unwrap();
    assert_eq!(both.pair(NAME).unwrap(), Some(one.clone()));
    both.replace(NAME, &one).unwrap();
    other.sync().unwrap();
    assert!(a.sync().is_err());
    // Moved to another name, cut, or changed in any byte.
    let value = site.kept.value("syncer").unwrap();
    site.kept.set("api", value.clone());
    assert!(other.sync().is_err());
    let seals = site.seals(TWO);
    assert!(seals.open("/orders/a/syncer", &value).is_ok());
    assert!(seals.open("/orders/b/syncer", &value).is_err());
    for at in 0..value.len() {
        assert!(seals.open("/orders/a/syncer", &value[..at]).is_err(), "{at}");
        let mut bent = value.clone();
        bent[at] ^= 1;
        assert!(seals.open("/orders/a/syncer", &bent).is_err(), "{at}");
    }
    assert_ne!(
        seals.seal("x", b"same").unwrap(),
        seals.seal("x", b"same").unwrap()
    );
    assert_eq!(format!("{seals:?}"), "Seals(***)");
}

#[test]
fn a_file_of_keys_is_read_strictly() {
    let site = Site::new();
    let path = site.dir.path().join("seal");
    for wrong in [
        "",
        "\n",
        &ONE[1..],
        &format!("{ONE}0"),
        &ONE.replace('0', "g"),
        &ONE.replace("00", "+0"),
        &"\u{e9}".repeat(32),
    ] {
        std::fs::write(&path, wrong).unwrap();
        let why = Seals::read(&path).unwrap_err().to_string();
        assert!(why.contains("openssl rand -hex 32"), "{why}");
        assert!(wrong.len() < 8 || !why.contains(&wrong[..8]), "{why}");
    }
    std::fs::write(&path, format!("{ONE}\n").repeat(9)).unwrap();
    assert!(Seals::read(&path).is_err() && Seals::read(&path.join("none")).is_err());
}

//! The window as the engine uses it: what must be known before operations are forgotten, a disk that fails, and the
//! window after a restart.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::BytesMut;

use super::*;
use crate::causality::{Roster, Seq, SiteId, SiteIx, Vector};
use crate::converge::Spill;
use crate::echo::{Link, Place};
use crate::op::{Batch, Fingerprinter};
use crate::resp::encode;

const A: SiteIx = SiteIx(0);
const B: SiteIx = SiteIx(1);

/// Batches by their last operation.
pub(super) type Batches = BTreeMap<(SiteIx, Seq), Rc<Batch>>;

#[derive(Debug, Default, Clone)]
pub(super) struct Memory(Rc<RefCell<Batches>>);

impl Journal for Memory {
    fn append(&mut self, batch: &Rc<Batch>) -> Result<(), JournalError> {
        let place = (batch.origin, batch.last_seq());
        self.0.borrow_mut().insert(place, Rc::clone(batch));
        Ok(())
    }

    fn batch(&mut self, origin: SiteIx, seq: Seq) -> Option<Rc<Batch>> {
        let batches = self.0.borrow();
        let (_, batch) = batches.range((origin, seq)..=(origin, Seq::MAX)).next()?;
        Some(Rc::clone(batch))
    }

    fn last(&self, origin: SiteIx) -> Seq {
        let batches = self.0.borrow();
        let last = batches.range((origin, 0)..=(origin, Seq::MAX)).next_back();
        last.map_or(0, |((_, seq), _)| *seq)
    }
}

/// Files in memory, whose reading can be made to fail.
#[derive(Debug, Default, Clone)]
struct Disk {
    files: Rc<RefCell<BTreeMap<u64, Vec<u8>>>>,
    fails: Rc<Cell<bool>>,
}

impl Spill for Disk {
    fn write(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.borrow_mut().insert(file, bytes.to_vec());
        Ok(())
    }

    fn read(&mut self, file: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.fails.get() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        into.copy_from_slice(&self.files.borrow()[&file][offset as usize..][..into.len()]);
        Ok(())
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        self.files.borrow_mut().remove(&file);
        Ok(())
    }
}

pub(super) fn site(name: &str, peer: &str, journal: Memory) -> Site<Memory> {
    let id = |name: &str| SiteId::new(name.as_bytes()).unwrap();
    let roster = Roster::new(id(name), &[id(peer)]).unwrap();
    let mut site = Site::new(roster, "orders", 1, Settings::default(), journal);
    site.set_time(1_000);
    site.stream_begins([b'1'; 40], 0, 0);
    site
}

fn vector(a: Seq, b: Seq) -> Vector {
    let mut vector = Vector::zero(2);
    vector.advance(A, a);
    vector.advance(B, b);
    vector
}

/// Clients of the site set these keys.
fn set(site: &mut Site<Memory>, keys: impl Iterator<Item = u64>) {
    let mut stream = BytesMut::new();
    for key in keys {
        encode::command(&mut stream, &[b"SET", format!("key:{key}").as_bytes(), b"v"]);
    }
    site.read_stream(&mut stream).unwrap();
}

/// The other site's batches arrive.
pub(super) fn receive(site: &mut Site<Memory>, from: &Memory, origin: SiteIx) {
    let batches: Vec<_> = from.0.borrow().values().cloned().collect();
    for batch in batches.iter().filter(|batch| batch.origin == origin) {
        assert!(site.received(batch).unwrap());
    }
}

/// A client of the site writes.
pub(super) fn write(site: &mut Site<Memory>, command: &[&[u8]]) {
    let mut stream = BytesMut::new();
    encode::command(&mut stream, command);
    site.read_stream(&mut stream).unwrap();
}

/// The database executes everything that is submitted, and it comes back; the commands in it.
pub(super) fn execute(site: &mut Site<Memory>) -> String {
    let mut commands = Vec::new();
    while let Some(id) = site.next_txn().map(|txn| txn.id) {
        let txn = site.txn(id).unwrap();
        commands.extend(txn.expected().concat());
        let link = Link {
            number: id,
            place: Place::Alone,
        };
        let parts = txn.encode(&site.marker(txn), &link).parts;
        site.read_stream(&mut BytesMut::from(&parts.concat()[..]))
            .unwrap();
    }
    String::from_utf8(commands).unwrap()
}

/// What meets conflicts is met in parts, and nothing of it is left.
#[test]
fn many_conflicts_are_not_met_at_once() {
    let (held_by_a, held_by_b) = (Memory::default(), Memory::default());
    let mut a = site("a", "b", held_by_a);
    let mut b = site("b", "a", held_by_b.clone());
    set(&mut b, 1..2_001);
    a.set_time(2_000);
    set(&mut a, 1..2_001);
    a.apply_connected();
    execute(&mut a);
    receive(&mut a, &held_by_b, B);
    let mut parts = 1;
    while a.deliver() {
        parts += 1;
    }
    assert_eq!((parts, a.converge().keys_in_conflict()), (4, 2_000));
}

/// A peer's word that it has seen an operation of ours counts only when everything that it did before saying so has
/// been executed here: what it did without having seen ours is concurrent with it, and must still find it.
#[test]
fn what_a_peer_has_settled_counts_behind_its_operations() {
    let (held_by_a, held_by_b) = (Memory::default(), Memory::default());
    let mut a = site("a", "b", held_by_a);
    let mut b = site("b", "a", held_by_b.clone());
    set(&mut b, 1..2);
    a.set_time(2_000);
    set(&mut a, 1..2);
    // The batch and the word that B has executed both arrive while A's database takes nothing.
    receive(&mut a, &held_by_b, B);
    a.acknowledged(
        B,
        &Ack {
            held: vector(1, 1),
            settled: vector(1, 1),
        },
    );
    a.prune();
    assert_eq!(a.stable().get(A), 0);
    a.apply_connected();
    execute(&mut a);
    while a.deliver() {}
    assert_eq!(a.converge().keys_in_conflict(), 1);
    execute(&mut a);
    a.prune();
    assert_eq!(a.stable(), &vector(1, 1));
    assert_eq!((a.converge().keys_in_conflict(), a.converge().unstable()), (0, 0));
}

#[test]
fn nothing_is_submitted_after_a_look_up_that_the_disk_failed() {
    let held_by_b = Memory::default();
    let mut a = site("a", "b", Memory::default());
    let mut b = site("b", "a", held_by_b.clone());
    let disk = Disk::default();
    a.spill_to(Box::new(disk.clone()), 16 << 10);
    for first in (0..2000).step_by(50) {
        set(&mut a, first..first + 50);
    }
    assert!(disk.files.borrow().len() > 3);
    set(&mut b, 0..2);
    receive(&mut a, &held_by_b, B);
    a.apply_connected();
    execute(&mut a);
    disk.fails.set(true);
    while a.deliver() {}
    assert!(a.fault().is_some());
    assert_eq!(execute(&mut a), "");
    // What is told to the others stays behind what happens now.
    set(&mut a, 5000..5001);
    assert_eq!((a.observed().get(A), a.ack().settled.get(A)), (2001, 2000));
}

#[test]
fn a_restart_finds_the_conflicts_again_within_the_memory_allowed() {
    let (held_by_a, held_by_b) = (Memory::default(), Memory::default());
    let mut a = site("a", "b", held_by_a.clone());
    let mut b = site("b", "a", held_by_b.clone());
    for first in (0..4000).step_by(100) {
        set(&mut a, first..first + 100);
        set(&mut b, first + 3990..first + 4090);
    }
    receive(&mut a, &held_by_b, B);
    let mut again = site("a", "b", held_by_a);
    let disk = Disk::default();
    again.spill_to(Box::new(disk.clone()), 32 << 10);
    again.recover(a.source(), &vector(4000, 4000), &vector(0, 10), a.time());
    // Keys 3990 to 3999 were set at both. B's are stable, but A's, which are not, have not seen them.
    assert_eq!(again.converge().keys_in_conflict(), 10);
    assert!(again.converge().keys().all(|key| key.operations().len() == 2));
    assert!(again.converge().unstable() >= 4000 + 4000);
    assert!(!disk.files.borrow().is_empty());
    assert!(again.converge().window_size().memory_bytes < 64 << 10);

    let mut again = site("a", "b", a.journal().clone());
    again.recover(a.source(), &vector(4000, 4000), &vector(0, 0), a.time());
    assert_eq!(again.converge().keys_in_conflict(), 10);
    let fingerprints = Fingerprinter::new("orders");
    let keys: Vec<String> = (3990..4000).map(|key| format!("key:{key}")).collect();
    let mut expected: Vec<u64> = keys
        .iter()
        .map(|key| fingerprints.of(0, key.as_bytes()))
        .collect();
    expected.sort_unstable();
    let found: Vec<u64> = again
        .converge()
        .keys()
        .map(|key| fingerprints.of(0, key.key()))
        .collect();
    assert_eq!(found, expected);
}

/// What is submitted first for all that arrives of B.
fn answers(a: &mut Site<Memory>, held_by_b: &Memory) -> Vec<bytes::Bytes> {
    receive(a, held_by_b, B);
    a.apply_connected();
    execute(a);
    while a.deliver() {}
    a.next_txn().unwrap().expected()
}

/// Whoever finds these markers in a snapshot has to stamp behind what they tell of, though nothing of it has come back.
#[test]
fn markers_behind_a_flush_tell_the_latest_time() {
    let held_by_b = Memory::default();
    let mut a = site("a", "b", Memory::default());
    let mut b = site("b", "a", held_by_b.clone());
    b.set_time(9_000);
    write(&mut b, &[b"FLUSHALL"]);
    let written = answers(&mut a, &held_by_b);
    let key = b"{syncer}:b\r\n";
    let marks = written
        .iter()
        .filter(|command| memchr::memmem::find(command, key).is_some());
    let value = |command: &bytes::Bytes| {
        let text = String::from_utf8(command.to_vec()).unwrap();
        text.split("\r\n").nth(6).map(str::to_owned).unwrap()
    };
    let times: Vec<String> = marks.map(value).collect();
    let time = b.time().0.to_string();
    assert!(
        times.len() == 1 && times[0].split(' ').nth(1) == Some(&time),
        "{times:?}"
    );
}

/// Executed again for the key that it wrote, a command on two keys would take the other one with it.
#[test]
fn a_flush_that_meets_a_renamed_key_renames_nothing_again() {
    let (held_by_a, held_by_b) = (Memory::default(), Memory::default());
    let mut a = site("a", "b", held_by_a);
    let mut b = site("b", "a", held_by_b.clone());
    write(&mut a, &[b"RPUSH", b"k", b"x"]);
    write(&mut a, &[b"RENAME", b"k", b"l"]);
    write(&mut a, &[b"RPUSH", b"k", b"y"]);
    write(&mut b, &[b"FLUSHALL"]);
    let written = answers(&mut a, &held_by_b);
    let has = |word: &[u8]| {
        written
            .iter()
            .any(|command| memchr::memmem::find(command, word).is_some())
    };
    assert!(has(b"RPUSH") && !has(b"RENAME"), "{written:?}");
}

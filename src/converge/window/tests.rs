#![allow(clippy::unwrap_used)]
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use super::table::{OPERATION_BYTES, fitting};
use super::*;

const A: SiteIx = SiteIx(0);
const B: SiteIx = SiteIx(1);

fn dot(site: SiteIx, seq: u64) -> Dot {
    Dot { site, seq }
}

fn past(a: u64, b: u64) -> Vector {
    let mut past = Vector::zero(2);
    past.advance(A, a);
    past.advance(B, b);
    past
}

/// Files in memory, which fail on demand.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<u64, Vec<u8>>,
    written: usize,
    refuse_writes: bool,
    refuse_reads: bool,
}

#[derive(Debug, Default, Clone)]
struct Disk(Rc<RefCell<Files>>);

impl Spill for Disk {
    fn write(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        if disk.refuse_writes {
            disk.files.insert(file, bytes[..bytes.len() / 2].to_vec());
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.written += 1;
        disk.files.insert(file, bytes.to_vec());
        Ok(())
    }

    fn read(&mut self, file: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let disk = self.0.borrow();
        if disk.refuse_reads {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let from = offset as usize;
        into.copy_from_slice(&disk.files[&file][from..from + into.len()]);
        Ok(())
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        let gone = self.0.borrow_mut().files.remove(&file);
        gone.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn a_chain_is_fast_and_a_fork_is_not() {
    let mut window = Window::default();
    let set = EffectClass::Set;
    assert_eq!(window.touch(9, dot(A, 1), set, &past(0, 0)), Touch::Fast);
    assert_eq!(window.touch(9, dot(B, 1), set, &past(1, 0)), Touch::Fast);
    assert_eq!(window.touch(9, dot(A, 2), set, &past(1, 0)), Touch::Conflict);
    assert_eq!(window.take(9).unwrap(), [dot(A, 1), dot(B, 1)]);
    assert_eq!(window.touch(9, dot(A, 2), set, &past(1, 0)), Touch::InConflict);
    window.trim(&past(2, 1));
    window.release(9);
    assert_eq!(window.touch(9, dot(A, 3), set, &past(2, 1)), Touch::Fast);
}

#[test]
fn what_commutes_needs_no_order_until_something_else_comes() {
    let mut window = Window::default();
    let count = EffectClass::Count;
    assert_eq!(
        window.touch(9, dot(A, 1), EffectClass::Set, &past(0, 0)),
        Touch::Fast
    );
    for seq in 2..=4 {
        assert_eq!(
            window.touch(9, dot(A, seq), count, &past(seq - 1, 0)),
            Touch::Fast
        );
        // It has seen the SET, though not the counts behind it.
        assert_eq!(
            window.touch(9, dot(B, seq - 1), count, &past(1, seq - 2)),
            Touch::Fast
        );
    }
    let set = EffectClass::Set;
    assert_eq!(window.touch(9, dot(B, 4), set, &past(3, 3)), Touch::Conflict);
    assert_eq!(window.touch(9, dot(B, 4), set, &past(4, 3)), Touch::Fast);
    assert_eq!(window.touch(9, dot(A, 5), count, &past(4, 3)), Touch::Conflict);
}

#[test]
fn what_is_stable_leaves() {
    let mut window = Window::default();
    for seq in 1..=100 {
        window.touch(seq, dot(A, seq), EffectClass::Set, &past(seq - 1, 0));
    }
    assert_eq!(window.trim(&past(99, 0)), 99);
    assert_eq!(window.len(), 1);
    assert_eq!(
        window.touch(5, dot(B, 1), EffectClass::Set, &past(0, 0)),
        Touch::Fast
    );
    assert_eq!(window.keys_concurrent_with(&past(0, 1)).unwrap(), [100]);
    assert_eq!(window.take(5).unwrap(), [dot(B, 1)]);
    assert_eq!(window.trim(&past(100, 1)), 2);
    assert!(window.is_empty());
    // One segment's room stays for the next, of each site.
    assert!(window.size().memory_bytes <= 2 * fitting(1 << 12) * OPERATION_BYTES);
}

/// A window whose older part is on the disk: keys 1 to `count`, one SET of site A each.
fn spilled(count: u64) -> (Window, Disk) {
    let disk = Disk::default();
    let mut window = Window::default();
    window.spill_to(Box::new(disk.clone()), 16 << 10);
    for seq in 1..=count {
        window.touch(seq << 48, dot(A, seq), EffectClass::Set, &past(seq - 1, 0));
        window.relieve(0).unwrap();
    }
    assert!(disk.0.borrow().written > 3);
    (window, disk)
}

#[test]
fn a_look_up_that_the_disk_fails_is_no_answer() {
    let (mut window, disk) = spilled(2000);
    let set = EffectClass::Set;
    assert_eq!(
        window.touch(1 << 48, dot(B, 1), set, &past(0, 0)),
        Touch::Conflict
    );
    disk.0.borrow_mut().refuse_reads = true;
    assert_eq!(window.touch(2 << 48, dot(B, 1), set, &past(2000, 0)), Touch::Fast);
    assert_eq!(window.touch(3 << 48, dot(B, 2), set, &past(2, 0)), Touch::Unknown);
    assert!(matches!(window.fault(), Some(WindowError::Read { .. })));
    assert!(window.take(4 << 48).is_err());
    assert!(window.keys_concurrent_with(&past(0, 0)).is_err());
}

#[test]
fn a_file_that_changed_is_found_out() {
    let (mut window, disk) = spilled(2000);
    disk.0
        .borrow_mut()
        .files
        .values_mut()
        .for_each(|file| file[9] ^= 1);
    let touched: Vec<Touch> = (1..50)
        .map(|key| window.look(key << 48, B, EffectClass::Set, &past(0, 0)))
        .collect();
    assert!(touched.contains(&Touch::Unknown));
    assert!(!touched.contains(&Touch::Fast));
    assert!(matches!(window.fault(), Some(WindowError::Changed { .. })));
}

#[test]
fn what_cannot_be_written_stays_in_memory() {
    let (mut window, disk) = spilled(2000);
    disk.0.borrow_mut().refuse_writes = true;
    let mut refused = 0;
    for seq in 2001..=4000 {
        window.touch(seq << 48, dot(A, seq), EffectClass::Set, &past(seq - 1, 0));
        refused += usize::from(window.relieve(5).is_err());
    }
    assert_eq!(refused, 1, "not tried again at once");
    assert!(window.is_refused());
    assert_eq!(window.len(), 4000);
    assert_eq!(
        window.look(3000 << 48, B, EffectClass::Set, &past(0, 0)),
        Touch::Conflict
    );
    disk.0.borrow_mut().refuse_writes = false;
    window.relieve(5000).unwrap();
    assert!(!window.is_refused());
    assert!(window.size().memory_bytes < 20 << 10);
    window.trim(&past(4000, 0));
    assert_eq!((window.len(), window.size().disk_bytes), (0, 0));
    assert!(disk.0.borrow().files.is_empty());
}

/// A fixed xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// What the window is compared with: everything, looked through from end to end.
#[derive(Default)]
struct Reference {
    operations: Vec<(u64, Dot, EffectClass)>,
    /// The keys in conflict, each with all of its operations.
    contested: BTreeMap<u64, Vec<Dot>>,
}

impl Reference {
    fn touch(&mut self, key: u64, dot: Dot, class: EffectClass, past: &Vector) -> Touch {
        if let Some(dots) = self.contested.get_mut(&key) {
            dots.push(dot);
            return Touch::InConflict;
        }
        let conflicts = |&(of, other, its): &(u64, Dot, EffectClass)| {
            let unseen = other.site != dot.site && !past.includes(other);
            of == key && unseen && !(its == class && class.commutes(class))
        };
        if self.operations.iter().any(conflicts) {
            return Touch::Conflict;
        }
        self.operations.push((key, dot, class));
        Touch::Fast
    }

    fn take(&mut self, key: u64) -> Vec<Dot> {
        let on_key = self.operations.iter().filter(|operation| operation.0 == key);
        let mut dots: Vec<Dot> = on_key.map(|operation| operation.1).collect();
        dots.sort_unstable();
        dots.dedup();
        self.contested.insert(key, dots.clone());
        dots
    }

    fn keys_concurrent_with(&self, past: &Vector) -> Vec<u64> {
        let unseen = self.operations.iter().filter(|(_, dot, _)| !past.includes(*dot));
        let keys: BTreeSet<u64> = unseen.map(|operation| operation.0).collect();
        let free = keys.into_iter().filter(|key| !self.contested.contains_key(key));
        free.collect()
    }
}

/// Three sites as one of them sees them, in causal order.
struct History {
    random: Random,
    window: Window,
    disk: Disk,
    reference: Reference,
    /// By site, what its next operation has seen.
    seen: Vec<Vector>,
    /// The past of every operation.
    pasts: BTreeMap<Dot, Vector>,
    conflicts: usize,
}

const SITES: u64 = 3;

impl History {
    fn new(seed: u64, memory_max: usize) -> History {
        let disk = Disk::default();
        let mut window = Window::default();
        window.spill_to(Box::new(disk.clone()), memory_max);
        History {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            window,
            disk,
            reference: Reference::default(),
            seen: vec![Vector::zero(SITES as usize); SITES as usize],
            pasts: BTreeMap::new(),
            conflicts: 0,
        }
    }

    /// A site observes some of what another has done, and what lies in the past of that.
    fn observe(&mut self) {
        let (by, of) = (
            self.random.below(SITES) as usize,
            self.random.below(SITES) as usize,
        );
        let site = SiteIx(of as u8);
        let (from, to) = (self.seen[by].get(site), self.seen[of].get(site));
        let seq = from + self.random.below(to - from + 1);
        if let Some(past) = self.pasts.get(&dot(site, seq)) {
            self.seen[by].join(past);
        }
        let seq = seq.max(self.seen[by].get(site));
        self.seen[by].advance(site, seq);
    }

    fn write(&mut self) {
        let at = self.random.below(SITES) as usize;
        let site = SiteIx(at as u8);
        let past = self.seen[at].clone();
        let dot = dot(site, past.get(site) + 1);
        let class = match self.random.below(6) {
            0 => EffectClass::Set,
            1 => EffectClass::SetAdd,
            _ => EffectClass::Count,
        };
        for _ in 0..1 + self.random.below(8) / 7 {
            let key = self.random.below(400).wrapping_mul(0xa076_1d64_78bd_642f);
            let expected = self.reference.touch(key, dot, class, &past);
            assert_eq!(self.window.look(key, site, class, &past), expected);
            assert_eq!(self.window.touch(key, dot, class, &past), expected, "{dot:?}");
            if expected == Touch::Conflict {
                self.conflicts += 1;
                assert_eq!(self.window.take(key).unwrap(), self.reference.take(key));
                self.reference.touch(key, dot, class, &past);
            }
        }
        self.seen[at].advance(site, dot.seq);
        self.pasts.insert(dot, past);
    }

    fn prune(&mut self) {
        let mut stable = self.seen[0].clone();
        self.seen.iter().for_each(|seen| stable.meet(seen));
        self.window.trim(&stable);
        self.reference
            .operations
            .retain(|operation| !stable.includes(operation.1));
        let window = &mut self.window;
        self.reference.contested.retain(|&key, dots| {
            let stays = dots.iter().any(|&dot| !stable.includes(dot));
            if !stays {
                window.release(key);
            }
            stays
        });
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..70 => self.write(),
                70..95 => self.observe(),
                95..97 => self.prune(),
                97..99 => self.window.relieve(0).unwrap(),
                _ => {
                    let past = self.seen[self.random.below(SITES) as usize].clone();
                    let expected = self.reference.keys_concurrent_with(&past);
                    assert_eq!(self.window.keys_concurrent_with(&past).unwrap(), expected);
                }
            }
        }
        let mut all = self.seen[0].clone();
        self.seen.iter().for_each(|seen| {
            all.join(seen);
        });
        self.seen.fill(all);
        self.prune();
        assert!(self.window.is_empty());
        assert_eq!(self.window.size().disk_bytes, 0);
        assert!(self.disk.0.borrow().files.is_empty());
    }
}

#[test]
fn it_says_what_a_naive_window_says() {
    let (mut conflicts, mut written) = (0, 0);
    for seed in 0..60 {
        println!("seed {seed}");
        // From a few operations per segment to all of them in memory.
        let mut history = History::new(seed, [2_000, 8_000, 40_000, 1 << 20][seed as usize % 4]);
        history.run(3_000);
        conflicts += history.conflicts;
        written += history.disk.0.borrow().written;
    }
    assert!(conflicts > 1_000, "{conflicts}");
    assert!(written > 1_000, "{written}");
}

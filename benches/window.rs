//! What it costs to enter an operation into the window, and what the window takes.
//!
//! `Throughput::Elements` counts operations. Keys are random, so a look-up finds nothing of them in the cache once
//! the window is larger than it. Before the groups stands one line each of what is no average: the longest single
//! call while a window grows, and memory beside what lies on disk.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncer::causality::{Dot, SiteIx, Vector};
use syncer::command::EffectClass;
use syncer::converge::io::FileSpill;
use syncer::converge::{Touch, Window};

const A: SiteIx = SiteIx(0);
const B: SiteIx = SiteIx(1);
const SET: EffectClass = EffectClass::Set;
const MEMORY_MAX: usize = 64 << 20;

/// A fixed xorshift: the load is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

fn past(a: u64, b: u64) -> Vector {
    let mut past = Vector::zero(2);
    past.advance(A, a);
    past.advance(B, b);
    past
}

fn dot(site: SiteIx, seq: u64) -> Dot {
    Dot { site, seq }
}

/// The key of an operation of site A.
fn key(seq: u64) -> u64 {
    Random(seq.wrapping_mul(0xa076_1d64_78bd_642f) | 1).next()
}

/// A window of so many operations of site A, each on a key of its own; with a disk if it is given a directory.
fn filled(operations: u64, disk: Option<&std::path::Path>) -> (Window, Duration) {
    let mut window = Window::default();
    if let Some(dir) = disk {
        window.spill_to(Box::new(FileSpill::begin(dir).unwrap()), MEMORY_MAX);
    }
    let mut seen = past(0, 0);
    let mut longest = Duration::ZERO;
    for seq in 1..=operations {
        let start = Instant::now();
        window.touch(key(seq), dot(A, seq), SET, &seen);
        if seq % 256 == 0 {
            window.relieve(0).unwrap();
        }
        longest = longest.max(start.elapsed());
        seen.advance(A, seq);
    }
    (window, longest)
}

fn sizes(c: &Criterion) -> Vec<u64> {
    // `cargo test --benches` and `-- --test` only ask whether it runs.
    let smoke = std::env::args().any(|arg| arg == "--test") || !std::env::args().any(|arg| arg == "--bench");
    let _ = c;
    if smoke {
        vec![10_000]
    } else {
        vec![10_000, 1_000_000, 10_000_000]
    }
}

/// Resident memory of this process.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// The longest call while a window grows and every operation of A is looked for by one of B.
fn longest_of_both(operations: u64) -> Duration {
    let mut window = Window::default();
    let (mut seen_a, seen_b) = (past(0, 0), past(0, 0));
    let mut longest = Duration::ZERO;
    for seq in 1..=operations {
        let start = Instant::now();
        window.touch(key(seq), dot(A, seq), SET, &seen_a);
        let look = window.look(!key(seq), B, SET, &seen_b);
        longest = longest.max(start.elapsed());
        assert_eq!(look, Touch::Fast);
        seen_a.advance(A, seq);
    }
    longest
}

fn figures(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    for operations in sizes(c) {
        println!(
            "longest call, {operations} operations, nothing looked up: {:?}; everything looked up: {:?}",
            filled(operations, None).1,
            longest_of_both(operations),
        );
        let before = resident_mib();
        let (window, longest) = filled(operations, Some(dir.path()));
        let size = window.size();
        println!(
            "{operations} operations under {} MiB: {} MiB in memory ({} MiB more resident), {} MiB on disk, longest \
             call {longest:?}",
            MEMORY_MAX >> 20,
            size.memory_bytes >> 20,
            resident_mib().saturating_sub(before),
            size.disk_bytes >> 20,
        );
    }
}

/// A site whose peers are silent: its own operations, one after the other.
fn own(c: &mut Criterion) {
    let mut group = c.benchmark_group("own_after_own");
    for operations in sizes(c) {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(operations), |b| {
            let mut random = Random(7);
            let (mut window, _) = filled(operations, None);
            let (mut seq, mut seen, mut stable) = (operations, past(operations, 0), past(0, 0));
            b.iter(|| {
                seq += 1;
                let touch = window.touch(random.next(), dot(A, seq), SET, &seen);
                seen.advance(A, seq);
                if seq % 512 == 0 {
                    stable.advance(A, seq - operations);
                    window.trim(&stable);
                }
                touch
            });
        });
    }
    group.finish();
}

/// Both sites write, each of them a window behind the other; no key is hit twice.
fn both(c: &mut Criterion) {
    let mut group = c.benchmark_group("both_write");
    for operations in sizes(c) {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(operations), |b| {
            let (mut random, mut window) = (Random(7), Window::default());
            let half = operations / 2;
            let (mut seq, mut stable) = (0, past(0, 0));
            let mut step = |window: &mut Window| {
                seq += 1;
                let behind = seq.saturating_sub(half);
                let a = window.touch(random.next(), dot(A, seq), SET, &past(seq - 1, behind));
                let b = window.touch(random.next(), dot(B, seq), SET, &past(behind, seq - 1));
                if seq % 512 == 0 && behind > 0 {
                    stable = past(behind, behind);
                    window.trim(&stable);
                }
                (a, b)
            };
            (0..half + 1).for_each(|_| drop(black_box(step(&mut window))));
            b.iter(|| step(&mut window));
        });
    }
    group.finish();
}

/// Look-ups in a window of another site's operations, by one that has seen none of them.
fn look(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("look");
    let seen = past(0, 0);
    for operations in sizes(c) {
        for (place, disk) in [("memory", None), ("64MiB_and_disk", Some(dir.path()))] {
            let (mut window, _) = filled(operations, disk);
            let mut random = Random(11);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(format!("miss/{place}"), operations), |b| {
                b.iter(|| window.look(random.next(), B, SET, &seen));
            });
            group.bench_function(BenchmarkId::new(format!("hit_oldest/{place}"), operations), |b| {
                b.iter(|| window.look(key(1 + random.next() % (operations / 10)), B, SET, &seen));
            });
            group.bench_function(BenchmarkId::new(format!("hit_newest/{place}"), operations), |b| {
                b.iter(|| window.look(key(operations - random.next() % (operations / 10)), B, SET, &seen));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    targets = figures, own, both, look
}
criterion_main!(benches);

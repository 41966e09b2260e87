//! What the log costs: appending batches, recovering a large log, reading batches back, on the file system that holds
//! the build directory. Nothing is forced to disk: that is the disk's figure.
//!
//! A batch holds `SET key:000000000042 <32 bytes>`s, 75 bytes each and 16 of table. Throughput counts bytes of the log
//! and commands.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncer::causality::{Hlc, Roster, SiteId, SiteIx, Vector};
use syncer::command::EffectClass;
use syncer::log::io::{FileDisk, open};
use syncer::log::{OriginLog, RECORD_HEADER_BYTES, Settings};
use syncer::op::{Builder, REPLICATION_ID_BYTES, Row, Source};
use syncer::resp::encode;

/// Kept on disk while appending; older segments are removed, as a running syncer does.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// The log that is recovered and read.
const LARGE_BYTES: u64 = 512 << 20;
/// The same in a smoke run.
const SMALL_BYTES: u64 = 4 << 20;

fn site() -> SiteId {
    SiteId::new(b"a").unwrap()
}

/// A batch as the source builds it, in the parts that are written.
fn batch(rows: usize) -> Vec<Bytes> {
    let mut block = BytesMut::new();
    let mut builder = Builder::default();
    let mut ends = Vec::new();
    for number in 0..rows {
        let key = format!("key:{number:012}");
        encode::command(&mut block, &[b"SET", key.as_bytes(), &[b'v'; 32]]);
        ends.push(block.len());
    }
    let block = block.freeze();
    let mut start = 0;
    for end in ends {
        let row = Row {
            end: 0,
            flags: 0,
            class: EffectClass::Set,
            db: 0,
            fingerprint: start as u64,
        };
        builder.push(start..end, row, &block);
        start = end;
    }
    builder.end_block(&block);
    let source = Source {
        replication_id: [b'f'; REPLICATION_ID_BYTES],
        offset: 1,
        db: 0,
    };
    let place = builder.place();
    let roster = Roster::new(site(), &[SiteId::new(b"b").unwrap()]).unwrap();
    let batch = builder.finish(place, SiteIx(0), (1, Hlc(1)), Vector::zero(2), source);
    batch.unwrap().encode(&roster).to_vec()
}

fn bytes_of(parts: &[Bytes]) -> u64 {
    (RECORD_HEADER_BYTES + parts.iter().map(Bytes::len).sum::<usize>()) as u64
}

fn log_in(dir: &Path) -> OriginLog<FileDisk> {
    open(dir, "orders", site(), Settings::default()).unwrap().0
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn append(log: &mut OriginLog<FileDisk>, rows: usize, parts: &[Bytes]) {
    let first = log.last_seq() + 1;
    log.append_batch(first, first + rows as u64 - 1, parts).unwrap();
}

fn appending(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for rows in [1, 64, 4096] {
        let parts = batch(rows);
        let dir = directory();
        let mut log = log_in(dir.path());
        group.throughput(Throughput::ElementsAndBytes {
            elements: rows as u64,
            bytes: bytes_of(&parts),
        });
        group.bench_function(BenchmarkId::from_parameter(rows), |b| {
            b.iter(|| {
                append(&mut log, rows, black_box(&parts));
                if log.bytes() > LOG_BYTES_MAX {
                    log.trim(log.last_seq()).unwrap();
                }
            });
        });
    }
}

/// A log of batches of 64 rows, which is what a moderate load gives.
fn reading(c: &mut Criterion) {
    const ROWS: usize = 64;
    let is_smoke = std::env::args().any(|arg| arg == "--test");
    let wanted = if is_smoke { SMALL_BYTES } else { LARGE_BYTES };
    let parts = batch(ROWS);
    let dir = directory();
    let mut log = log_in(dir.path());
    while log.bytes() < wanted {
        append(&mut log, ROWS, &parts);
    }
    let commands = log.last_seq();
    let mut group = c.benchmark_group("large");
    group.sample_size(10).throughput(Throughput::ElementsAndBytes {
        elements: commands,
        bytes: log.bytes(),
    });
    group.bench_function("recover", |b| b.iter(|| log_in(dir.path()).last_seq()));
    group.finish();

    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::ElementsAndBytes {
        elements: ROWS as u64,
        bytes: bytes_of(&parts),
    });
    let mut seq = 1;
    group.bench_function("one behind the other", |b| {
        b.iter(|| {
            let entry = log.read_batch(seq).unwrap().unwrap();
            seq = if entry.last_seq < commands {
                entry.last_seq + 1
            } else {
                1
            };
            entry.parts.len()
        });
    });
    // A fixed stride that is prime to everything: no two neighbours.
    let mut seq = 1;
    group.bench_function("anywhere", |b| {
        b.iter(|| {
            seq = (seq + 7_368_787) % commands + 1;
            log.read_batch(seq).unwrap().unwrap().parts.len()
        });
    });
}

criterion_group!(benches, appending, reading);
criterion_main!(benches);

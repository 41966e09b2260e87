//! What it costs to frame one command: the scanner beside the decoders of `redis-protocol`, in one run.
//!
//! Buffers stay in the cache (256 KiB to 1 MiB) unless a name says `cold`; `Throughput::Elements` counts commands.
//! Read the ratios; nanoseconds belong to the machine.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use redis_protocol::resp2::decode::{decode_bytes_mut, decode_range};
use syncer::resp::reply::{self, Next, Token};
use syncer::resp::{Limits, Scan, Scanner, encode};

const HOT_BYTES: usize = 256 << 10;
const COLD_BYTES: usize = 64 << 20;

/// A fixed xorshift: the load is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, low: u64, high: u64) -> usize {
        (low + self.next() % (high - low + 1)) as usize
    }
}

/// `SET key:000000000042 <32 bytes>`: 75 bytes each.
fn sets(bytes: usize) -> (Vec<u8>, u64) {
    let (mut out, mut count) = (Vec::new(), 0u64);
    while out.len() + 75 <= bytes {
        let key = format!("key:{count:012}");
        encode::command(&mut out, &[b"SET", key.as_bytes(), &[b'v'; 32]]);
        count += 1;
    }
    assert_eq!(out.len() as u64, count * 75);
    (out, count)
}

/// Two to `args_max` arguments; keys of 6 to 40 bytes, values of 1 to 2000 with short ones as likely as long.
fn mixed(bytes: usize, args_max: u64) -> (Vec<u8>, u64) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let text = vec![b'x'; 2048];
    let names: [&[u8]; 8] = [
        b"SET",
        b"DEL",
        b"HSET",
        b"ZADD",
        b"LPUSH",
        b"INCRBY",
        b"PEXPIREAT",
        b"XADD",
    ];
    let (mut out, mut count) = (Vec::new(), 0u64);
    while out.len() < bytes {
        let mut args = vec![names[random.between(0, 7)], &text[..random.between(6, 40)]];
        for _ in 0..random.between(0, args_max - 2) {
            let high = 1 << random.between(0, 11);
            args.push(&text[..random.between(1, high).min(2000)]);
        }
        encode::command(&mut out, &args);
        count += 1;
    }
    (out, count)
}

fn scan(scanner: &mut Scanner, buf: &[u8]) -> u64 {
    let (mut at, mut args) = (0, 0);
    while let Scan::Command { len } = scanner.next(&buf[at..]).unwrap() {
        args += black_box(scanner.args()).len() as u64;
        at += len;
    }
    assert_eq!(at, buf.len());
    args
}

fn range(buf: &[u8]) -> usize {
    let mut at = 0;
    while let Some((frame, len)) = decode_range(&buf[at..]).unwrap() {
        black_box(&frame);
        at += len;
    }
    at
}

fn bytes_mut(mut buf: BytesMut) -> usize {
    let mut at = 0;
    while let Some((frame, len, _)) = decode_bytes_mut(&mut buf).unwrap() {
        black_box(&frame);
        at += len;
    }
    at
}

fn decoders(group: &mut BenchmarkGroup<'_, WallTime>, buf: &[u8], count: u64) {
    group.throughput(Throughput::Elements(count));
    let mut scanner = Scanner::new(Limits::default());
    group.bench_function("scanner", |b| b.iter(|| scan(&mut scanner, black_box(buf))));
    group.bench_function("redis-protocol decode_range", |b| {
        b.iter(|| range(black_box(buf)))
    });
    group.bench_function("redis-protocol decode_bytes_mut", |b| {
        b.iter_batched(|| BytesMut::from(buf), bytes_mut, BatchSize::SmallInput);
    });
}

fn commands(c: &mut Criterion) {
    let (buf, count) = sets(HOT_BYTES);
    decoders(&mut c.benchmark_group("set_75_bytes"), &buf, count);
    // Commands too many to learn by heart, so the branches are as hard to predict as a real stream's.
    let (buf, count) = mixed(4 * HOT_BYTES, 4);
    decoders(&mut c.benchmark_group("mixed_2_to_4_args"), &buf, count);
    let (buf, count) = mixed(4 * HOT_BYTES, 12);
    decoders(&mut c.benchmark_group("mixed_2_to_12_args"), &buf, count);

    let (buf, count) = sets(COLD_BYTES);
    let mut group = c.benchmark_group("set_75_bytes_cold");
    group.throughput(Throughput::Elements(count)).sample_size(20);
    let mut scanner = Scanner::new(Limits::default());
    group.bench_function("scanner", |b| b.iter(|| scan(&mut scanner, black_box(&buf))));
}

/// One RPUSH of 160,000 elements that arrives in reads of 16 KiB.
fn long_command(c: &mut Criterion) {
    const ELEMENTS: usize = 160_000;
    let mut args: Vec<&[u8]> = vec![b"RPUSH", b"list"];
    args.resize(ELEMENTS + 2, b"0123456789abcdef");
    let mut buf = Vec::new();
    encode::command(&mut buf, &args);
    let mut group = c.benchmark_group("rpush_160k_in_16_kib_reads");
    group.throughput(Throughput::Bytes(buf.len() as u64));
    let mut scanner = Scanner::new(Limits::default());
    group.bench_function("scanner", |b| {
        b.iter(|| {
            let mut have = 0;
            loop {
                have = buf.len().min(have + (16 << 10));
                if let Scan::Command { len } = scanner.next(black_box(&buf[..have])).unwrap() {
                    break len;
                }
            }
        });
    });
}

/// What a pipelined connection hears to transactions of ten commands.
fn replies(c: &mut Criterion) {
    let mut buf = Vec::new();
    while buf.len() < HOT_BYTES {
        encode::simple(&mut buf, b"OK");
        for _ in 0..10 {
            encode::simple(&mut buf, b"QUEUED");
        }
        encode::array_header(&mut buf, 10);
        for i in 0..10 {
            encode::integer(&mut buf, i % 3);
        }
    }
    let limits = Limits::default();
    let tokens = |buf: &[u8]| {
        let (mut at, mut count, mut sum) = (0, 0u64, 0);
        while let Next::Token { token, len } = reply::token(&buf[at..], &limits).unwrap() {
            sum += match token {
                Token::Int(number) => number,
                Token::Simple(text) => text.len() as i64,
                _ => 1,
            };
            count += 1;
            at += len;
        }
        black_box(sum);
        count
    };
    let mut group = c.benchmark_group("replies_exec_of_10");
    group.throughput(Throughput::Elements(tokens(&buf)));
    group.bench_function("token", |b| b.iter(|| tokens(black_box(&buf))));
}

fn encoding(c: &mut Criterion) {
    let mut out = BytesMut::with_capacity(HOT_BYTES);
    let args: [&[u8]; 3] = [b"SET", b"key:000000000042", &[b'v'; 32]];
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("set_75_bytes", |b| {
        b.iter(|| {
            out.clear();
            for _ in 0..1000 {
                encode::command(&mut out, black_box(&args));
            }
            out.len()
        });
    });
}

criterion_group!(benches, commands, long_command, replies, encoding);
criterion_main!(benches);

//! What the clients of one site do: writes on keys that the other site writes as well.

use super::client::{Batch, Client};
use super::stop::Stop;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use syncer::resp::reply::Value;

/// Writes are sent in batches of this interval's worth.
const INTERVAL: Duration = Duration::from_millis(10);
/// Elements of one set, fields of one hash.
const ELEMENTS: u64 = 8;
/// Remaining life of a key that gets one: longer than any demo, for the clocks to stay out of it.
const LIFE_MS: u64 = 3_600_000;

/// What a site's clients have been told.
#[derive(Default)]
pub struct Tally {
    /// Writes acknowledged.
    pub writes: AtomicU64,
    /// The sum of all increments acknowledged.
    pub counted: AtomicI64,
    /// Writes that the database refused.
    pub refused: AtomicU64,
}

/// The clients of one site, on a thread. They end when this is dropped or told to.
pub struct Workload {
    tally: Arc<Tally>,
    quit: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What is written, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Writes per second.
    pub rate: u64,
    /// Keys of each type.
    pub keys: u64,
    /// What the sequence of writes is drawn from.
    pub seed: u64,
}

impl Workload {
    /// Starts writing to the database on `port`.
    pub fn start(port: u16, load: Load, stop: &Stop) -> io::Result<Workload> {
        let client = Client::connect(port)?;
        let (tally, quit) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let (theirs, ending, stop) = (Arc::clone(&tally), Arc::clone(&quit), stop.clone());
        let thread = std::thread::spawn(move || {
            write(client, load, &theirs, || {
                ending.load(Ordering::Relaxed) || stop.is_set()
            })
        });
        Ok(Workload {
            tally,
            quit,
            thread: Some(thread),
        })
    }

    /// What was acknowledged so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends the writing: after this, the tally stands.
    pub fn end(&mut self) -> io::Result<()> {
        self.quit.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_| Err(io::Error::other("the workload broke")))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn write(mut client: Client, load: Load, tally: &Tally, ended: impl Fn() -> bool) -> io::Result<()> {
    let mut random = Random(load.seed);
    let start = Instant::now();
    let mut sent = 0;
    while !ended() {
        let due = start.elapsed().as_millis() as u64 * load.rate / 1000;
        // A database that was held up is not flooded afterwards.
        let step = (load.rate * INTERVAL.as_millis() as u64 / 1000).max(1);
        let count = due.saturating_sub(sent).min(step * 4);
        sent = due;
        let mut batch = Batch::default();
        let added: Vec<i64> = (0..count)
            .map(|_| one(&mut batch, &mut random, load.keys))
            .collect();
        for (reply, added) in client.send(&batch)?.iter().zip(added) {
            match reply {
                Value::Error(_) => tally.refused.fetch_add(1, Ordering::Relaxed),
                _ => {
                    tally.counted.fetch_add(added, Ordering::Relaxed);
                    tally.writes.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// Puts one write into the batch; answers what it adds to a counter.
fn one(batch: &mut Batch, random: &mut Random, keys: u64) -> i64 {
    let (number, element) = (random.below(keys), random.below(ELEMENTS));
    let key = |kind: &str| format!("{kind}:{number}").into_bytes();
    let value = random.next().to_string();
    let element = element.to_string();
    match random.below(100) {
        0..40 => batch.push(&[b"SET", &key("string"), value.as_bytes()]),
        40..70 => {
            let added = random.below(10) as i64 - 3;
            batch.push(&[b"INCRBY", &key("counter"), added.to_string().as_bytes()]);
            return added;
        }
        70..78 => batch.push(&[b"SADD", &key("set"), element.as_bytes()]),
        78..82 => batch.push(&[b"SREM", &key("set"), element.as_bytes()]),
        82..92 => batch.push(&[b"HSET", &key("hash"), element.as_bytes(), value.as_bytes()]),
        92..96 => batch.push(&[b"DEL", &key("string")]),
        _ => {
            let life = (LIFE_MS + random.below(LIFE_MS)).to_string();
            batch.push(&[b"PEXPIRE", &key("string"), life.as_bytes()]);
        }
    }
    0
}

/// The sum of all counters of a database.
pub fn counted(client: &mut Client, keys: u64) -> io::Result<i64> {
    let mut batch = Batch::default();
    (0..keys).for_each(|number| batch.push(&[b"GET", format!("counter:{number}").as_bytes()]));
    let values = client.send(&batch)?;
    let texts = values
        .iter()
        .map(|value| String::from_utf8_lossy(&super::compare::text(value)).into_owned());
    Ok(texts.filter_map(|text| text.parse::<i64>().ok()).sum())
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

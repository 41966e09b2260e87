//! The logs of a simulated syncer: the real ones, on a disk that can lose its end, with the position record that
//! a restart goes on from.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use syncer::causality::{Hlc, Roster, Seq, SiteIx, Vector};
use syncer::command::EffectClass;
use syncer::flow::{Journal, JournalError, Site};
use syncer::log::{OriginLog, Settings};
use syncer::op::{Batch, Source};

use crate::disk::SimDisk;
use crate::random::Random;

/// The name under which all simulated sites share their data.
pub const DATABASE_ID: &str = "sim";
/// Decoded batches kept at hand; few, so that the log is read.
const RECENT: usize = 2;

/// Every operation ever logged, by origin and number, with what the log said of it. It outlives everything.
#[derive(Debug, Default)]
pub struct Book {
    /// The operations.
    pub operations: BTreeMap<(u8, Seq), Logged>,
    /// Whose content was read, and where their streams go on behind it.
    snapshots: Vec<(u8, Source)>,
    /// An operation that was logged twice, differently.
    pub twice: Option<String>,
}

/// An operation as the log holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its database.
    pub db: usize,
    /// Its command in RESP.
    pub command: Bytes,
    /// Its causal past without itself, by site.
    pub past: Vec<Seq>,
    /// Its timestamp.
    pub time: u64,
    /// It is a part of a snapshot.
    pub is_state: bool,
    /// It tells of an expiry time that the key had there, and was executed by nobody.
    pub tells_time: bool,
    /// It stands behind a snapshot, and does again what the database lacked that came back.
    pub is_owed: bool,
}

/// The book that all share.
pub type SharedBook = Rc<RefCell<Book>>;

/// Everything a restart goes on from.
#[derive(Debug, Clone)]
pub struct Position {
    /// Where the stream stood.
    pub source: Source,
    /// The highest timestamp.
    pub time: Hlc,
    /// What had been observed there.
    pub observed: Vector,
    /// What was stable.
    pub stable: Vector,
}

impl Position {
    /// What a site would keep now.
    pub fn of(site: &Site<Logs>) -> Option<Position> {
        Some(Position {
            source: site.source()?,
            time: site.time(),
            observed: site.observed().clone(),
            stable: site.stable().clone(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut numbers = vec![self.source.offset, u64::from(self.source.db), self.time.0];
        for vector in [&self.observed, &self.stable] {
            numbers.extend(vector.entries().map(|(_, seq)| seq));
        }
        let mut out = self.source.replication_id.to_vec();
        numbers
            .iter()
            .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out
    }

    fn decode(bytes: &[u8], sites: usize) -> Option<Position> {
        let (id, rest) = bytes.split_first_chunk::<40>()?;
        let numbers: Vec<u64> = rest
            .chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")))
            .collect();
        let vector = |from: usize| {
            let mut vector = Vector::zero(sites);
            for at in 0..sites {
                vector.advance(SiteIx(at as u8), numbers[from + at]);
            }
            vector
        };
        Some(Position {
            source: Source {
                replication_id: *id,
                offset: numbers[0],
                db: numbers[1] as u32,
            },
            time: Hlc(numbers[2]),
            observed: vector(3),
            stable: vector(3 + sites),
        })
    }
}

#[derive(Debug)]
struct Origin {
    log: OriginLog<SimDisk>,
    disk: SimDisk,
    recent: VecDeque<Rc<Batch>>,
}

/// One log per origin.
#[derive(Debug)]
pub struct Logs {
    roster: Roster,
    origins: Vec<Origin>,
    force_each: bool,
    book: SharedBook,
}

impl Logs {
    /// Opens what the disks hold.
    pub fn open(
        disks: &[SimDisk],
        roster: &Roster,
        segment_bytes: u64,
        force_each: bool,
        book: &SharedBook,
    ) -> Result<(Logs, Option<Position>), String> {
        let mut origins = Vec::new();
        let mut position = None;
        for site in roster.all() {
            let disk = disks[site.at()].clone();
            let settings = Settings {
                segment_bytes,
                index_step_bytes: 256,
            };
            let opened = OriginLog::open(disk.clone(), DATABASE_ID, roster.name(site), settings);
            let (log, recovery) = opened.map_err(|error| error.to_string())?;
            if site == roster.me() {
                position = recovery
                    .last_position
                    .and_then(|body| Position::decode(&body, roster.count()));
            }
            origins.push(Origin {
                log,
                disk,
                recent: VecDeque::new(),
            });
        }
        let mut logs = Logs {
            roster: roster.clone(),
            origins,
            force_each,
            book: Rc::clone(book),
        };
        let position = logs.newer_of(position);
        Ok((logs, position))
    }

    /// The position record, or the own log's last batch if it is later.
    fn newer_of(&mut self, position: Option<Position>) -> Option<Position> {
        let me = self.roster.me();
        let Some(last) = self.batch(me, self.last(me)) else {
            return position;
        };
        let time = last.time_of(last.count());
        let at_batch = |stable| Position {
            source: last.source,
            time,
            observed: last.observed_after(),
            stable,
        };
        let Some(position) = position else {
            return Some(at_batch(Vector::zero(self.roster.count())));
        };
        let same = position.source.replication_id == last.source.replication_id;
        let later = last.last_seq() > position.observed.get(me)
            || same && last.source.offset > position.source.offset;
        let time = position.time.max(time);
        let position = if later {
            at_batch(position.stable)
        } else {
            position
        };
        Some(Position { time, ..position })
    }

    /// Appends a position to the own log.
    pub fn keep(&mut self, position: &Position) {
        let _ = self.origins[self.roster.me().at()]
            .log
            .append_position(&position.encode());
    }

    /// What was stable when the stream stood there, as far as it was kept.
    pub fn stable_at(&mut self, id: &[u8; 40], offset: u64) -> Option<Vector> {
        let sites = self.roster.count();
        let is_before = |at: &Position| at.source.replication_id == *id && at.source.offset <= offset;
        let log = &mut self.origins[self.roster.me().at()].log;
        let position = log.newest_position(|body| Position::decode(&body, sites).filter(is_before));
        Some(position.ok()??.stable)
    }

    /// Forces the newest segments to disk.
    pub fn force(&self) {
        self.origins.iter().for_each(|origin| origin.disk.force());
    }

    /// Removes whole segments below.
    pub fn trim(&mut self, origin: SiteIx, below: Seq) {
        let _ = self.origins[origin.at()].log.trim(below);
    }

    fn note(&self, batch: &Batch) {
        let mut book = self.book.borrow_mut();
        let place = (batch.origin.0, batch.source);
        let is_behind_snapshot = book.snapshots.contains(&place);
        if batch
            .row(0)
            .is_some_and(|row| row.is_state() && row.class == EffectClass::Flush)
        {
            book.snapshots.push(place);
        }
        for at in 0..batch.count() {
            let seq = batch.first_seq + at as Seq;
            let row = batch.row(at);
            let is_state = row.is_some_and(|row| row.is_state());
            // A snapshot begins with a reset.
            let is_behind = at > 0 && batch.row(at - 1).is_some_and(|row| row.continues());
            let is_time = row.is_some_and(|row| row.class == EffectClass::Expire);
            let tells_time = is_state && is_time && !is_behind;
            let is_told = row.is_some_and(|row| row.class == EffectClass::Took);
            let logged = Logged {
                db: row.map_or(0, |row| usize::from(row.db)),
                command: batch.command(at),
                past: batch.past_of(at).entries().map(|(_, seq)| seq).collect(),
                time: batch.time_of(at).0,
                is_state: is_state && !tells_time,
                tells_time,
                is_owed: is_behind_snapshot && !is_state && !is_told,
            };
            let known = book
                .operations
                .entry((batch.origin.0, seq))
                .or_insert_with(|| logged.clone());
            if *known != logged {
                let twice = format!(
                    "operation {seq} of site {} twice: {known:?} and {logged:?}",
                    batch.origin.0
                );
                book.twice.get_or_insert(twice);
            }
        }
    }
}

impl Journal for Logs {
    fn append(&mut self, batch: &Rc<Batch>) -> Result<(), JournalError> {
        let origin = &mut self.origins[batch.origin.at()];
        let parts = batch.encode(&self.roster);
        origin
            .log
            .append_batch(batch.first_seq, batch.last_seq(), parts)
            .map_err(|error| JournalError(error.to_string()))?;
        if self.force_each {
            origin.disk.force();
        }
        origin.recent.push_back(Rc::clone(batch));
        if origin.recent.len() > RECENT {
            origin.recent.pop_front();
        }
        self.note(batch);
        Ok(())
    }

    fn batch(&mut self, origin: SiteIx, seq: Seq) -> Option<Rc<Batch>> {
        let origin = &mut self.origins[origin.at()];
        let holds = |batch: &&Rc<Batch>| (batch.first_seq..=batch.last_seq()).contains(&seq);
        if let Some(batch) = origin.recent.iter().find(holds) {
            return Some(Rc::clone(batch));
        }
        let entry = origin.log.read_batch(seq).ok()??;
        Batch::decode(entry.parts, &self.roster).ok().map(Rc::new)
    }

    fn last(&self, origin: SiteIx) -> Seq {
        self.origins[origin.at()].log.last_seq()
    }
}

/// The disks of one site lose power.
pub fn power_cut(disks: &[SimDisk], random: &mut Random) {
    disks.iter().for_each(|disk| disk.power_cut(random));
}

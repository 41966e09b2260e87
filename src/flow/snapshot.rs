//! A keyspace state: the whole data set of the own database as one operation, when its stream has a gap.
//!
//! A database that comes back with a new history holds everything that was read from it, and possibly writes that
//! no stream ever carried. Its snapshot becomes one atomic unit of this site: a reset of everything in its past,
//! and each key behind it. Its past is exact: the own operations up to the end of the log, and of each other site
//! what the markers in the snapshot say. The unit counts as executed here at the snapshot's position; the peers
//! execute it, and replay on it whatever it has not seen.
//!
//! Invariant: a database that is not proved to hold what was captured from it and applied to it is never taken for
//! the truth, for what it lacks would be deleted everywhere. Proof are the markers of all sites, and the one that
//! this site puts behind its own operations (`marks.rs`).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::journal::{Journal, JournalError};
use super::site::{Barrier, Site};
use crate::capture::rdb::{self, Kind};
use crate::causality::{Seq, SiteIx, Vector};
use crate::command::EffectClass;
use crate::converge::Settled;
use crate::echo::{Marker, captured_key_of};
use crate::op::{Batch, Builder, FLAG_CONTINUES, FLAG_KEYS_INSIDE, FLAG_STATE, Fingerprinter, Row, Source};
use crate::resp::encode;
use crate::value::{self, Value};

/// Commands are gathered in blocks of about this size.
const BLOCK_BYTES: usize = 4 << 20;
/// Larger values travel whole: the rules by element cost in proportion to what an operation names.
const ELEMENTS_MAX: usize = 1024;
const ELEMENTS_BYTES_MAX: usize = 256 * 1024;
/// How long own operations may have been captured behind the newest marker in the snapshot, by their timestamps.
/// Markers follow every tenth of a second; where they could not be put for longer, nothing is proved.
const UNMARKED_MS_MAX: u64 = 5_000;

/// Why a snapshot is not taken for what this site's database held. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It lacks something that was read from the database or applied to it.
    #[error(
        "the database came back older than it was: it holds {holds} operations of site {site}, {known} are known to \
         have been executed there. Nothing was changed, and its lack is not sent to anybody. Start the database with \
         its newest append-only file; if there is none, see \"A database that lost writes\" in docs/runbook.md"
    )]
    Older {
        /// Whose operations it lacks.
        site: String,
        /// As far as it shows.
        holds: Seq,
        /// As far as was seen.
        known: Seq,
    },
    /// It does not show what it holds of this site's own operations.
    #[error(
        "nothing in the database proves that it still holds what was captured from it ({why}). Nothing was changed, \
         and its lack is not sent to anybody. See \"A database that lost writes\" in docs/runbook.md"
    )]
    Unproved {
        /// What is missing.
        why: &'static str,
    },
    /// It holds operations that the log does not.
    #[error(
        "the database shows {holds} operations of site {site}, the log of them ends here at {log}: it lost its end, \
         and no peer has given it back yet. Connect the peers, or put the newest copy of the data directory back"
    )]
    LogBehind {
        /// Whose operations.
        site: String,
        /// As the database shows.
        holds: Seq,
        /// The log's end.
        log: Seq,
    },
    /// The sites may differ on purpose.
    #[error(
        "the database's stream has a gap, and with flush.policy = \"ignore\" its data may differ from the other \
         sites' on purpose, so they cannot be sent to them. See \"A database that lost writes\" in docs/runbook.md"
    )]
    FlushIgnored,
    /// More than one unit may hold.
    #[error(
        "the database's stream has a gap, and its data are more than snapshot.bytes_max ({max} bytes) allows to send \
         to the other sites in one transaction. Nothing was changed. Raise snapshot.bytes_max at this site and start \
         the syncer again"
    )]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The log refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A snapshot while it is read.
#[derive(Debug)]
pub struct Snapshot {
    builder: Builder,
    block: BytesMut,
    bytes: u64,
    bytes_max: u64,
    version: u16,
    fingerprints: Fingerprinter,
    pub(super) markers: Vec<Marker>,
    captured_key: Vec<u8>,
    captured: Option<Seq>,
    keys: u64,
}

impl Snapshot {
    /// The snapshot's format, which its values are dumped in.
    pub fn version(&mut self, version: u16) {
        self.version = version;
    }

    /// A key that belongs to the syncer, and its value.
    pub fn own_key(&mut self, key: &[u8], raw: &[u8]) {
        let Some(value) = rdb::text(raw) else { return };
        if key == self.captured_key {
            // A SWAPDB leaves older ones in other databases; each tells what was held once.
            let captured = std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse().ok());
            self.captured = self.captured.max(captured);
        } else {
            self.markers.extend(Marker::parse(key, &value));
        }
    }

    /// A key of the data: its type and its value's bytes as they stand in the snapshot.
    ///
    /// # Errors
    /// The data are more than allowed.
    pub fn key(
        &mut self,
        (db, key): (u32, &[u8]),
        kind: Kind,
        (code, raw): (u8, &[u8]),
        expires_unix_ms: Option<u64>,
    ) -> Result<(), SnapshotError> {
        let expires = encode::Decimal::new(expires_unix_ms.unwrap_or(0));
        let dump = Bytes::from(rdb::dump(code, raw, self.version));
        let by_element = by_element(kind, &dump, raw);
        let (class, args) = match &by_element {
            Some((class, name, rest)) => {
                let mut args: Vec<&[u8]> = vec![name.as_bytes(), key];
                args.extend(rest.iter().map(|arg| &arg[..]));
                if *class == EffectClass::Set && expires_unix_ms.is_some() {
                    args.extend([&b"PXAT"[..], expires.as_bytes()]);
                }
                (*class, args)
            }
            None => {
                let args: [&[u8]; 6] = [b"RESTORE", key, expires.as_bytes(), &dump, b"REPLACE", b"ABSTTL"];
                (EffectClass::Restore, args.to_vec())
            }
        };
        self.push_key((db, key), class, &args)?;
        if expires_unix_ms.is_some() && !matches!(class, EffectClass::Set | EffectClass::Restore) {
            self.push_key(
                (db, key),
                EffectClass::Expire,
                &[b"PEXPIREAT", key, expires.as_bytes()],
            )?;
        }
        self.keys += 1;
        Ok(())
    }

    fn push_key(
        &mut self,
        (db, key): (u32, &[u8]),
        class: EffectClass,
        args: &[&[u8]],
    ) -> Result<(), SnapshotError> {
        let from = self.block.len();
        encode::command(&mut self.block, args);
        self.bytes += (self.block.len() - from) as u64;
        if self.bytes > self.bytes_max {
            return Err(self.too_large());
        }
        let row = Row {
            end: 0,
            flags: FLAG_CONTINUES | FLAG_STATE,
            class,
            db: db as u16,
            fingerprint: self.fingerprints.of(db, key),
        };
        self.push(from, row);
        Ok(())
    }

    /// One value is more than the whole may be.
    pub fn too_large(&self) -> SnapshotError {
        SnapshotError::TooLarge { max: self.bytes_max }
    }

    /// Keys of data so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    fn push(&mut self, from: usize, row: Row) {
        self.builder.push(from..self.block.len(), row, &self.block);
        if self.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let block = self.block.split().freeze();
        self.builder.end_block(&block);
    }
}

/// A value as its type's own command, so that the rules by element hold for it: class, name and what follows the
/// key. `None` for the types without such rules, for large values, and for hashes whose fields expire.
fn by_element(kind: Kind, dump: &Bytes, raw: &[u8]) -> Option<(EffectClass, &'static str, Vec<Bytes>)> {
    if kind == Kind::String {
        return Some((EffectClass::Set, "SET", vec![Bytes::from(rdb::text(raw)?)]));
    }
    if !matches!(kind, Kind::Set | Kind::Hash | Kind::SortedSet) || raw.len() > ELEMENTS_BYTES_MAX {
        return None;
    }
    let (class, name, rest) = match value::decode(dump).ok()? {
        Value::Set(members) => (EffectClass::SetAdd, "SADD", members),
        Value::SortedSet(members) => {
            let pair = |(score, member): (f64, Bytes)| [Bytes::from(score.to_string()), member];
            let pairs = members.into_iter().flat_map(pair).collect();
            (EffectClass::SortedAdd, "ZADD", pairs)
        }
        Value::Hash(fields) if fields.iter().all(|field| field.expires_unix_ms.is_none()) => {
            let pairs = fields.into_iter().flat_map(|field| [field.name, field.value]);
            (EffectClass::HashSet, "HSET", pairs.collect())
        }
        _ => return None,
    };
    (rest.len() <= ELEMENTS_MAX).then_some((class, name, rest))
}

impl<J: Journal> Site<J> {
    /// Begins to read a snapshot; its keys' commands may take so many bytes.
    pub fn snapshot(&self, bytes_max: u64) -> Snapshot {
        let mut snapshot = Snapshot {
            builder: Builder::default(),
            block: BytesMut::new(),
            bytes: 0,
            bytes_max,
            version: 0,
            fingerprints: self.past.fingerprints,
            markers: Vec::new(),
            captured_key: captured_key_of(self.roster.name(self.me)),
            captured: None,
            keys: 0,
        };
        encode::command(&mut snapshot.block, &[b"FLUSHALL"]);
        let reset = Row {
            end: 0,
            flags: FLAG_CONTINUES | FLAG_KEYS_INSIDE | FLAG_STATE,
            class: EffectClass::Flush,
            db: 0,
            fingerprint: 0,
        };
        snapshot.push(0, reset);
        snapshot
    }

    /// The snapshot is complete: if it proves to be what the database held, it becomes an operation of this site,
    /// and the stream goes on behind it. What was on its way to the database counts as executed as far as the
    /// snapshot's markers say; the rest is delivered again.
    ///
    /// # Errors
    /// It proves nothing, or the log refuses; nothing was changed.
    pub fn adopt(&mut self, snapshot: Snapshot, source: Source) -> Result<(), SnapshotError> {
        let observed = self.prove(&snapshot)?;
        let owed = self.owed(&snapshot, &observed, &source);
        for marker in &snapshot.markers {
            self.clock.absorb(marker.time);
        }
        let Some(batch) = self.append_snapshot(snapshot, source, observed.clone())? else {
            return Ok(());
        };
        self.counters.captured += batch.count() as u64;
        self.forget(observed);
        // What will come may have seen some of it, and not the snapshot.
        self.rebuild_window();
        self.has_swapped = false;
        self.stream_begins(source.replication_id, source.offset, source.db);
        self.handle_events(Some(&batch));
        self.owe(&owed, &batch, source);
        if self.barrier != Barrier::Down {
            self.apply_connected();
        }
        Ok(())
    }

    /// What the snapshot holds of every site, if it holds all that it must.
    fn prove(&mut self, snapshot: &Snapshot) -> Result<Vector, SnapshotError> {
        if !self.settings.propagate_flush {
            return Err(SnapshotError::FlushIgnored);
        }
        if self.healing.is_some() {
            return Err(SnapshotError::Unproved {
                why: "it had come back older than it was before, and has not got back yet all that it lost",
            });
        }
        let mut holds = Vector::zero(self.roster.count());
        for marker in &snapshot.markers {
            if let Some(site) = self.roster.find(marker.origin).filter(|site| *site != self.me) {
                holds.advance(site, marker.seq.max(holds.get(site)));
            }
        }
        for site in self.roster.peers() {
            let known = self.past.observed.get(site);
            if holds.get(site) < known {
                return Err(self.older(site, holds.get(site), known));
            }
            let log = self.past.journal.last(site);
            if holds.get(site) > log {
                return Err(self.log_behind(site, holds.get(site), log));
            }
        }
        let log = self.past.journal.last(self.me);
        holds.advance(self.me, log);
        match snapshot.captured {
            Some(captured) if captured < self.marks.seen => {
                Err(self.older(self.me, captured, self.marks.seen))
            }
            // Once everybody was heard, what the log lacks is known to nobody: it is part of the snapshot.
            Some(captured) if captured > log && !self.is_restored() => {
                Err(self.log_behind(self.me, captured, log))
            }
            Some(captured) if !self.is_recent(captured) => Err(SnapshotError::Unproved {
                why: "its marker is much older than the last operations captured",
            }),
            None if log > 0 => Err(SnapshotError::Unproved {
                why: "it has no marker of this site; an empty database has none",
            }),
            _ => Ok(holds),
        }
    }

    fn older(&self, site: SiteIx, holds: Seq, known: Seq) -> SnapshotError {
        SnapshotError::Older {
            site: self.roster.name(site).to_string(),
            holds,
            known,
        }
    }

    fn log_behind(&self, site: SiteIx, holds: Seq, log: Seq) -> SnapshotError {
        SnapshotError::LogBehind {
            site: self.roster.name(site).to_string(),
            holds,
            log,
        }
    }

    /// Whether all own operations behind this one were captured in a short time.
    fn is_recent(&mut self, captured: Seq) -> bool {
        let log = self.past.journal.last(self.me);
        let mut time = |seq| {
            let batch = self.past.journal.batch(self.me, seq)?;
            Some(batch.time_of((seq - batch.first_seq) as usize).unix_ms())
        };
        captured >= log
            || time(captured + 1)
                .zip(time(log))
                .is_some_and(|(first, last)| last.saturating_sub(first) <= UNMARKED_MS_MAX)
    }

    fn append_snapshot(
        &mut self,
        mut snapshot: Snapshot,
        source: Source,
        observed: Vector,
    ) -> Result<Option<Rc<Batch>>, JournalError> {
        snapshot.builder.end_unit();
        snapshot.end_block();
        let builder = &mut snapshot.builder;
        let time = self.clock.reserve(self.now_unix_ms, builder.count() as u64);
        self.append_own(builder, time, observed, source)
    }

    /// Everything that this run knew of the database, but what the snapshot shows.
    pub(super) fn forget(&mut self, observed: Vector) {
        self.stream_lost();
        self.converge.forget();
        self.past.in_flight.clear();
        self.has_sent_nothing = true;
        self.past.building = None;
        self.repairs = None;
        self.unclaimed.clear();
        self.unsent = 0;
        self.in_flight_bytes = 0;
        self.settled = Settled::default();
        self.marks.forget();
        self.past.observed.clone_from(&observed);
        self.running.clone_from(&observed);
        self.submitted.clone_from(&observed);
        self.observed = observed;
    }
}

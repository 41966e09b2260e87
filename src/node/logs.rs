//! The logs of all origins as the flow's journal, with the newest batches at hand.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use super::position::Position;
use crate::causality::{Roster, Seq, SiteId, SiteIx, Vector};
use crate::flow::{Journal, JournalError};
use crate::log::io::FileDisk;
use crate::log::{LogError, OriginLog, Recovery};
use crate::op::Batch;

/// Bytes of decoded batches kept per origin.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// Batches kept per origin that were read back from the log: whoever is behind asks for each a few times.
const READ_BACK_MAX: usize = 4;

struct Origin {
    log: OriginLog<FileDisk>,
    recent: VecDeque<Rc<Batch>>,
    recent_bytes: usize,
    read_back: VecDeque<Rc<Batch>>,
}

/// One log per origin.
pub(super) struct Logs {
    roster: Roster,
    origins: Vec<Origin>,
    /// Whether every batch is forced to disk before anybody else can see it.
    sync_each: bool,
    /// The position record as it was found.
    kept: Option<Position>,
}

impl Logs {
    /// Opens or makes the logs below `dir`; gives what was found of this site's own.
    pub fn open(
        dir: &Path,
        database_id: &str,
        roster: &Roster,
        settings: &crate::log::Settings,
        sync_each: bool,
    ) -> Result<(Logs, Option<Position>), LogError> {
        let mut origins = Vec::new();
        let mut position = None;
        for site in roster.all() {
            let name = roster.name(site);
            let (log, recovery) =
                crate::log::io::open(&dir.join(name.as_str()), database_id, name, settings.clone())?;
            if site == roster.me() {
                position = found(&recovery, roster);
            }
            if recovery.torn_bytes > 0 {
                tracing::warn!(origin = %name, bytes = recovery.torn_bytes, "cut a torn end off the log");
            }
            origins.push(Origin {
                log,
                recent: VecDeque::new(),
                recent_bytes: 0,
                read_back: VecDeque::new(),
            });
        }
        let mut logs = Logs {
            roster: roster.clone(),
            origins,
            sync_each,
            kept: None,
        };
        logs.kept = position.map(|position| logs.with_newcomers(position));
        let position = logs.position();
        Ok((logs, position))
    }

    /// A site that the position does not know has seen nothing, so nothing is stable but what is not in the logs any
    /// more: nobody can get that.
    fn with_newcomers(&self, mut position: Position) -> Position {
        if !position.names_all {
            let mut trimmed = Vector::zero(self.roster.count());
            for site in self.roster.all() {
                trimmed.advance(site, self.first(site).saturating_sub(1));
            }
            position.stable.meet(&trimmed);
            position.names_all = true;
        }
        position
    }

    /// Where the own log ends: the position record, or the last batch if it is later.
    pub fn position(&mut self) -> Option<Position> {
        let kept = self.kept.clone();
        self.newer_of(kept)
    }

    fn newer_of(&mut self, position: Option<Position>) -> Option<Position> {
        let me = self.roster.me();
        let Some(last) = self.batch(me, self.last(me)) else {
            return position;
        };
        let time = last.time_of(last.count());
        let at_batch = |stable, marked| Position {
            source: last.source,
            time,
            observed: last.observed_after(),
            stable,
            marked,
            names_all: true,
        };
        match position {
            None => Some(at_batch(Vector::zero(self.roster.count()), 0)),
            Some(position) => {
                let same = position.source.replication_id == last.source.replication_id;
                // A snapshot's batch begins a new history: its number tells that it is later.
                let later = last.last_seq() > position.observed.get(me)
                    || same && last.source.offset > position.source.offset;
                let time = position.time.max(time);
                let position = if later {
                    at_batch(position.stable, position.marked)
                } else {
                    position
                };
                Some(Position { time, ..position })
            }
        }
    }

    /// What was stable when the stream of this history stood at this offset or before it, as far as that was kept.
    pub fn stable_at(&mut self, replication_id: &[u8], offset: u64) -> Result<Option<Vector>, LogError> {
        let roster = self.roster.clone();
        let is_before =
            |at: &Position| at.source.replication_id == replication_id && at.source.offset <= offset;
        let log = &mut self.origins[roster.me().at()].log;
        let position = log.newest_position(|body| Position::decode(body, &roster).filter(is_before))?;
        Ok(position.map(|position| self.with_newcomers(position).stable))
    }

    /// Appends a position to the own log.
    pub fn append_position(&mut self, position: &Position) -> Result<(), LogError> {
        let body = position.encode(&self.roster);
        self.origins[self.roster.me().at()].log.append_position(&body)
    }

    /// Makes the position that was appended last as safe as the operations are.
    pub fn secure_position(&mut self) -> Result<(), LogError> {
        match self.sync_each {
            true => self.origins[self.roster.me().at()].log.sync_now(),
            false => Ok(()),
        }
    }

    /// Begins to force everything written to disk.
    pub fn request_sync(&mut self) {
        self.origins
            .iter_mut()
            .for_each(|origin| origin.log.request_sync());
    }

    /// Forces everything written to disk.
    pub fn sync_now(&mut self) -> Result<(), LogError> {
        self.origins
            .iter_mut()
            .try_for_each(|origin| origin.log.sync_now())
    }

    /// Removes what lies below; whole segments only.
    pub fn trim(&mut self, origin: SiteIx, below: Seq) -> Result<(), LogError> {
        self.origins[origin.at()].log.trim(below).map(|_| ())
    }

    /// Bytes on disk of one origin.
    pub fn bytes(&self, origin: SiteIx) -> u64 {
        self.origins[origin.at()].log.bytes()
    }

    /// Bytes of the operations behind one: to the byte as far as they are at hand, else as the index tells.
    pub fn bytes_behind(&self, origin: SiteIx, seq: Seq) -> u64 {
        let origin = &self.origins[origin.at()];
        if seq >= origin.log.last_seq() {
            return 0;
        }
        let at = origin.recent.partition_point(|batch| batch.last_seq() <= seq);
        let recent = origin.recent.iter().skip(at);
        if origin
            .recent
            .get(at)
            .is_none_or(|batch| batch.first_seq > seq + 1)
        {
            return origin.log.bytes_behind(seq);
        }
        recent.map(|batch| batch.payload_len() as u64).sum()
    }

    /// First operation held of an origin.
    pub fn first(&self, origin: SiteIx) -> Seq {
        self.origins[origin.at()].log.first_seq()
    }
}

/// Whether a site that is none of the roster has operations in a log here.
pub(super) fn has_log(data_dir: &Path, database_id: &str, site: SiteId) -> bool {
    let dir = data_dir.join("log").join(site.as_str());
    let settings = crate::log::Settings::default();
    // What cannot be read may hold some.
    dir.exists()
        && crate::log::io::open(&dir, database_id, site, settings).map_or(true, |(log, _)| log.last_seq() > 0)
}

fn found(recovery: &Recovery, roster: &Roster) -> Option<Position> {
    Position::decode(recovery.last_position.clone()?, roster)
}

impl Origin {
    fn keep(&mut self, batch: &Rc<Batch>) {
        self.recent_bytes += batch.memory_bytes();
        self.recent.push_back(Rc::clone(batch));
        while self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1 {
            if let Some(old) = self.recent.pop_front() {
                self.recent_bytes -= old.memory_bytes();
            }
        }
    }

    fn recent(&self, seq: Seq) -> Option<Rc<Batch>> {
        let at = self.recent.partition_point(|batch| batch.last_seq() < seq);
        self.recent
            .get(at)
            .filter(|batch| batch.first_seq <= seq)
            .or_else(|| {
                let mut back = self.read_back.iter();
                back.find(|batch| (batch.first_seq..=batch.last_seq()).contains(&seq))
            })
            .cloned()
    }

    fn keep_read(&mut self, batch: &Rc<Batch>) {
        if self.read_back.len() == READ_BACK_MAX {
            self.read_back.pop_front();
        }
        self.read_back.push_back(Rc::clone(batch));
    }
}

impl Journal for Logs {
    fn append(&mut self, batch: &Rc<Batch>) -> Result<(), JournalError> {
        let sync_each = self.sync_each;
        let origin = &mut self.origins[batch.origin.at()];
        let parts = batch.encode(&self.roster);
        origin
            .log
            .append_batch(batch.first_seq, batch.last_seq(), parts)
            .and_then(|_| if sync_each { origin.log.sync_now() } else { Ok(()) })
            .map_err(|error| JournalError(error.to_string()))?;
        origin.keep(batch);
        Ok(())
    }

    fn batch(&mut self, origin: SiteIx, seq: Seq) -> Option<Rc<Batch>> {
        let log = &mut self.origins[origin.at()];
        if let Some(batch) = log.recent(seq) {
            return Some(batch);
        }
        let entry = match log.log.read_batch(seq) {
            Ok(entry) => entry?,
            Err(error) => {
                tracing::error!(%error, "the log cannot be read");
                return None;
            }
        };
        match Batch::decode(entry.parts, &self.roster) {
            Ok(batch) => {
                let batch = Rc::new(batch);
                log.keep_read(&batch);
                Some(batch)
            }
            Err(error) => {
                tracing::error!(%error, seq, "a batch in the log cannot be understood");
                None
            }
        }
    }

    fn last(&self, origin: SiteIx) -> Seq {
        self.origins[origin.at()].log.last_seq()
    }
}

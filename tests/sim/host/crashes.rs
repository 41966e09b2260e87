//! Databases that crash, fall back or send too little, and what the program does about it.

use syncer::flow::SnapshotError;

use super::{Host, name};
use crate::database::{Cause, Record};
use crate::snapshot;

impl Host {
    /// The database dies; false where nothing in it would prove afterwards that it is whole, and it lives on.
    pub fn crash(&mut self) -> bool {
        if !self.is_proved() {
            return false;
        }
        self.die();
        self.database.crash();
        true
    }

    fn die(&mut self) {
        self.restarting = false;
        self.drop_stream();
        self.drop_apply();
        self.zombies.clear();
        self.down = true;
    }

    /// The database writes a file.
    pub fn save(&mut self) {
        if !self.is_away() {
            self.saved = Some((self.database.dbs.clone(), self.database.offset()));
        }
    }

    /// The database dies and comes back as that file has it, or as a replica that was so far behind; false if there is none.
    pub fn fall_back(&mut self, is_replica: bool) -> bool {
        let Some((dbs, offset)) = self.saved.take().filter(|_| !self.down && !self.fell_back) else {
            return false;
        };
        self.die();
        self.database.fall_back(dbs, offset, is_replica);
        self.fell_back = true;
        true
    }

    /// A client swaps two databases; not where nothing would prove afterwards that the whole is there.
    pub fn swap(&mut self, number: usize) {
        if !self.is_away() && self.is_proved() {
            let words = ["SWAPDB", "0", "1"].map(|word| word.as_bytes().to_vec()).to_vec();
            self.database.run(0, &[words], false, Cause::Client(number));
        }
    }

    /// Whether the database has the mark of each site that it has anything of.
    fn is_proved(&self) -> bool {
        if self.fell_back {
            return false;
        }
        let has = |key: String| self.database.dbs[0].contains_key(key.as_bytes());
        let Some(running) = &self.running else {
            return false;
        };
        let mut sites = running.site.observed().entries();
        sites.all(|(site, seq)| match site.at() == self.at {
            true => seq == 0 || has(format!("{{syncer}}:{}:captured", name(self.at))),
            false => {
                seq == 0 && !self.has_executed(site.at()) || has(format!("{{syncer}}:{}", name(site.at())))
            }
        })
    }

    /// Whether it has anything of this site, also what its syncer has not read yet.
    fn has_executed(&self, site: usize) -> bool {
        let key = format!("{{syncer}}:{}", name(site));
        let is_mark = |record: &Record| match &record.words[..] {
            [_, of, position, ..] => of == key.as_bytes() && !position.starts_with(b"0 "),
            _ => false,
        };
        let mut applied = self.database.history.iter();
        applied.any(|record| record.cause == Cause::Applied && !record.is_lost && is_mark(record))
    }

    /// The replication link breaks, and what the syncer has not read is not kept for it.
    pub fn lose_backlog(&mut self) {
        if !self.is_away() && self.is_proved() {
            self.drop_stream();
            self.database.forget_backlog();
        }
    }

    /// The database came back older than it was since the syncer met it last, and its stream tells what it was a replica of
    /// and how far.
    pub(super) fn fallen(&mut self) -> Option<([u8; 40], u64)> {
        let source = self.running.as_ref()?.site.source().filter(|_| self.fell_back)?;
        self.fell_back = false;
        self.database.lost_behind(source.offset);
        let before = self.database.old_id;
        before.filter(|(id, end)| *id == source.replication_id && source.offset > *end)
    }

    /// The syncer begins anew where the database's stream goes on, if what was lost can be made good.
    pub(super) fn heal(&mut self, id: &[u8; 40], end: u64) -> Result<bool, String> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        let site = &mut running.site;
        let stable = site.journal_mut().stable_at(id, end);
        let Some(mut stable) = stable.filter(|stable| site.lost_keys(stable).is_ok()) else {
            self.running = None;
            self.has_ended = true;
            return Ok(true);
        };
        if let Some(before) = &self.healing {
            stable.meet(before);
        }
        site.stream_begins(self.database.id, end, 0);
        self.healing = Some(stable);
        self.keep_position();
        self.force();
        self.kill();
        Ok(true)
    }

    /// Nothing that was sent before may be executed behind the snapshot that bridges the gap.
    pub(super) fn bridge(&mut self, told: u64) -> Result<bool, String> {
        self.drop_apply();
        self.zombies.clear();
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        running.site.set_time(self.now);
        match snapshot::bridge(&mut running.site, &mut self.database) {
            Ok(()) => {}
            Err(SnapshotError::Journal(_)) => return Ok(false),
            Err(SnapshotError::Older { .. } | SnapshotError::Unproved { .. }) => {
                self.running = None;
                self.has_ended = true;
                return Ok(true);
            }
            Err(error) => return Err(format!("site {}: {error}", self.at)),
        }
        self.bridged += 1;
        if !running.knows_earlier {
            self.blind.push(self.database.offset());
        }
        self.database.told_until(told);
        self.read_from(self.database.offset());
        Ok(true)
    }
}

//! A site: a database and the syncer beside it, with what the program does between the engine and the outside.

mod crashes;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use syncer::causality::{Roster, SiteId, Vector};
use syncer::flow::{Settings, Site, Stop};

use crate::applier::{Applier, Connection};
use crate::database::{Cause, Database, Keyspace, Version, newest};
use crate::disk::SimDisk;
use crate::journal::{DATABASE_ID, Logs, Position, SharedBook};
use crate::plan::{Order, Place, Race};

/// What a site is made of.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Which server.
    pub version: Version,
    /// Every batch is forced to disk before anybody sees it.
    pub force_each: bool,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// After how long another site is reminded of a value that it should send, milliseconds.
    pub remind_ms: u64,
    /// The engine's settings.
    pub flow: Settings,
    /// How far the syncer's clock is ahead, milliseconds.
    pub skew_ms: u64,
    /// How far the database's clock is ahead.
    pub database_skew_ms: u64,
}

impl HostSettings {
    /// A clock jumps, the database's or the syncer's.
    pub fn jump(&mut self, ms: i64, of_database: bool) {
        let clock = match of_database {
            true => &mut self.database_skew_ms,
            false => &mut self.skew_ms,
        };
        *clock = clock.saturating_add_signed(ms);
    }
}

/// Operations that a log keeps behind what is stable.
const SLACK: u64 = 20;

/// The name of a site.
pub fn name(site: usize) -> SiteId {
    SiteId::new(&[b'a' + site as u8]).expect("a letter")
}

/// The sites as one of them sees them.
pub fn roster(me: usize, sites: usize) -> Roster {
    let peers: Vec<SiteId> = (0..sites).filter(|site| *site != me).map(name).collect();
    Roster::new(name(me), &peers).expect("names differ")
}

/// A syncer that runs: everything that a crash takes.
pub struct Running {
    /// The engine.
    pub site: Site<Logs>,
    stream: Option<Stream>,
    apply: Option<(Applier, Connection)>,
    getack: Option<u64>,
    /// It knows what an earlier run had under way.
    knows_earlier: bool,
    /// Keys whose value was waited for in vain, for each site that should send it.
    pub reminders: Vec<VecDeque<(u32, Bytes)>>,
}

struct Stream {
    /// Read from the database so far.
    offset: u64,
    buffer: BytesMut,
}

/// A site.
pub struct Host {
    /// Which.
    pub at: usize,
    sites: usize,
    /// Its settings.
    pub settings: HostSettings,
    /// Its database.
    pub database: Database,
    /// Its disks, one per origin.
    pub disks: Vec<SimDisk>,
    /// Its syncer, if it runs.
    pub running: Option<Running>,
    /// Connections whose other end has gone: the database may still read them.
    zombies: Vec<Connection>,
    runs: u64,
    book: SharedBook,
    /// The database refuses to write.
    pub refusing: bool,
    /// The database waits for the syncer to have everything, then restarts.
    pub restarting: bool,
    /// The database has crashed and has not started again.
    pub down: bool,
    /// What the database last wrote to a file, and its stream's offset there.
    saved: Option<(Vec<Keyspace>, u64)>,
    /// The database has come back older than it was, and the syncer has not met it yet.
    fell_back: bool,
    /// What the syncer keeps on disk while a database gets back what it lost.
    healing: Option<Vector>,
    /// The syncer has ended: its database had come back older than it was.
    pub has_ended: bool,
    /// Clients' writes that wait for a transaction of the syncer to race with, and which events they are.
    pub races: VecDeque<(Race, usize)>,
    /// The database is to die beside a transaction.
    pub order: Option<Order>,
    /// It is to die now, and start again so many steps later.
    pub dies_for: Option<u64>,
    /// How often its whole content was read.
    pub bridged: u64,
    /// The stream's ends behind which the syncer did not know what was under way.
    pub blind: Vec<u64>,
    /// The syncer's clock, Unix milliseconds.
    pub now: u64,
    /// Commands refused for good.
    pub refused: Vec<String>,
}

impl Host {
    /// A site with an empty database.
    pub fn new(at: usize, sites: usize, settings: HostSettings, book: &SharedBook) -> Host {
        Host {
            at,
            sites,
            database: Database::new(settings.version, at as u8),
            disks: vec![SimDisk::default(); sites]
                .iter()
                .map(|_| SimDisk::default())
                .collect(),
            settings,
            running: None,
            zombies: Vec::new(),
            runs: 0,
            book: std::rc::Rc::clone(book),
            refusing: false,
            restarting: false,
            down: false,
            saved: None,
            fell_back: false,
            healing: None,
            has_ended: false,
            races: VecDeque::new(),
            order: None,
            dies_for: None,
            bridged: 0,
            blind: Vec::new(),
            now: 0,
            refused: Vec::new(),
        }
    }

    /// Starts the syncer as the program does.
    pub fn start(&mut self) -> Result<(), String> {
        self.runs += 1;
        let roster = roster(self.at, self.sites);
        let (segment_bytes, force_each) = (self.settings.segment_bytes, self.settings.force_each);
        let (logs, position) = Logs::open(&self.disks, &roster, segment_bytes, force_each, &self.book)?;
        let writer = self.runs * 100 + self.at as u64;
        let mut site = Site::new(roster, DATABASE_ID, writer, self.settings.flow.clone(), logs);
        site.set_time(self.now);
        site.set_rdb_version(match self.settings.version.has_field_times() {
            true => newest(self.settings.version),
            false => 10,
        });
        site.set_field_times(self.settings.version.field_times());
        if let Some(position) = position {
            site.recover(
                Some(position.source),
                &position.observed,
                &position.stable,
                position.time,
            );
        }
        if let Some(stable) = &self.healing {
            site.heal(stable).map_err(|error| error.to_string())?;
        }
        self.running = Some(Running {
            site,
            stream: None,
            apply: None,
            getack: None,
            knows_earlier: false,
            reminders: vec![VecDeque::new(); self.sites],
        });
        Ok(())
    }

    /// The syncer dies; what the machine had in memory stays unless it loses power, too.
    pub fn kill(&mut self) {
        self.drop_apply();
        self.running = None;
    }

    /// The replication link breaks.
    pub fn drop_stream(&mut self) {
        if let Some(running) = &mut self.running
            && running.stream.take().is_some()
        {
            running.site.stream_lost();
        }
    }

    /// The connection to apply on breaks; the database has yet to notice.
    pub fn drop_apply(&mut self) {
        if let Some(running) = &mut self.running
            && let Some((applier, connection)) = running.apply.take()
        {
            self.refused.extend(applier.refused);
            self.zombies.push(connection);
            running.site.apply_lost();
        }
    }

    /// Makes what connections are missing; true if it did something.
    pub fn connect(&mut self) -> Result<bool, String> {
        let mut done = self.connect_stream()?;
        let is_away = self.is_away();
        let Some(running) = &mut self.running else {
            return Ok(done);
        };
        if running.apply.is_none() && running.site.source().is_some() && !is_away {
            // CLIENT KILL: nothing that an older connection sent is executed from here on.
            self.zombies.clear();
            running.site.apply_connected();
            running.apply = Some((Applier::default(), Connection::default()));
            done = true;
        }
        Ok(done)
    }

    fn connect_stream(&mut self) -> Result<bool, String> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        if running.stream.is_some() || self.down {
            return Ok(false);
        }
        if let Some((id, end)) = self.fallen() {
            return self.heal(&id, end);
        }
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        let (id, db, offset) = match running.site.source() {
            None => {
                if self.database.dbs.iter().any(|keys| !keys.is_empty()) {
                    return Err(format!("site {}: a full resync of a database with data", self.at));
                }
                self.database.full_resync();
                (self.database.id, 0, self.database.offset())
            }
            Some(source) if self.database.can_continue(&source.replication_id, source.offset) => {
                (self.database.id, source.db, source.offset)
            }
            Some(source) => return self.bridge(source.offset),
        };
        let first = running.site.source().is_none();
        running.site.stream_begins(id, offset, db);
        self.read_from(offset);
        if first {
            self.force();
        }
        Ok(true)
    }

    /// The stream is up, and the engine knows where it begins.
    fn read_from(&mut self, offset: u64) {
        if let Some(running) = &mut self.running {
            running.stream = Some(Stream {
                offset,
                buffer: BytesMut::new(),
            });
        }
        self.keep_position();
    }

    /// Whether the database serves nobody now.
    pub fn is_away(&self) -> bool {
        self.restarting || self.down
    }

    /// Reads up to so many bytes of the stream; true if there was something.
    pub fn read(&mut self, most: usize) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let Some(stream) = &mut running.stream else {
            return false;
        };
        let from = (stream.offset - self.database.begin) as usize;
        let bytes = &self.database.stream[from..];
        let len = most.min(bytes.len());
        if len == 0 && stream.buffer.is_empty() {
            return false;
        }
        stream.buffer.extend_from_slice(&bytes[..len]);
        stream.offset += len as u64;
        let before = (stream.buffer.len(), running.site.source());
        running.site.set_time(self.now);
        let read = running.site.read_stream(&mut stream.buffer);
        let moved = len > 0 || before != (stream.buffer.len(), running.site.source());
        match read {
            Ok(Stop::Drained | Stop::Replies) => {}
            Ok(Stop::Swapped) => {
                self.keep_position();
                self.drop_stream();
                return true;
            }
            Err(_) => {
                self.drop_stream();
                return true;
            }
        }
        while running.site.deliver() {}
        running.knows_earlier |= running.site.is_applying();
        let getack = running.site.getack();
        if getack != running.getack {
            running.getack = getack;
            self.promise_position();
        }
        moved
    }

    /// Sends up to so many transactions; true if there were any.
    pub fn gather(&mut self, most: usize) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        running.site.set_time(self.now);
        while running.site.deliver() {}
        match &mut running.apply {
            Some((applier, connection)) => applier.gather(&mut running.site, connection, most),
            None => false,
        }
    }

    /// The database executes up to so many commands; true if there were any.
    pub fn serve(&mut self, most: usize) -> bool {
        if self.is_away() {
            return self.restart_if_ready();
        }
        let mut done = false;
        for zombie in &mut self.zombies {
            done |= zombie.serve(&mut self.database, self.refusing);
        }
        if let Some((_, connection)) = self.running.as_mut().and_then(|running| running.apply.as_mut()) {
            let mut left = most;
            while left > 0 {
                let next = connection.about_to_execute(self.at);
                if let Some((data, is_repair)) = &next {
                    let is_before =
                        |place| place == Place::Before || place == Place::BeforeRepair && *is_repair;
                    race(&mut self.races, &mut self.database, data, is_before);
                    self.dies_for = due(&mut self.order, data, is_before);
                    if self.dies_for.is_some() {
                        return true;
                    }
                }
                if !connection.serve(&mut self.database, self.refusing) {
                    break;
                }
                if let Some((data, _)) = next {
                    let is_behind = |place| place == Place::Behind;
                    race(&mut self.races, &mut self.database, &data, is_behind);
                    self.dies_for = due(&mut self.order, &data, is_behind);
                    if self.dies_for.is_some() {
                        return true;
                    }
                }
                left -= 1;
                done = true;
            }
        }
        done
    }

    /// Reads up to so many bytes of replies; true if there were any.
    pub fn receive(&mut self, most: usize) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        running.site.set_time(self.now);
        match &mut running.apply {
            Some((applier, connection)) if !connection.output.is_empty() => {
                applier.receive(&mut running.site, connection, most);
                self.refused.append(&mut applier.refused);
                true
            }
            _ => false,
        }
    }

    /// The acknowledge task: keeps the position and lets go of what is stable.
    pub fn acknowledge(&mut self) {
        self.keep_position();
        if let Some(running) = &mut self.running {
            running.site.set_time(self.now);
            running.site.take_losses();
            running.site.prune();
            if running.site.healing().is_none() {
                self.healing = None;
            }
            for (site, db, key) in running.site.reminders(self.settings.remind_ms, usize::MAX) {
                running.reminders[site.at()].push_back((db, key));
            }
        }
    }

    /// The housekeeping task: forces the logs and removes what nobody needs.
    pub fn keep_house(&mut self) {
        self.force();
        let Some(running) = &mut self.running else { return };
        let site = &mut running.site;
        let needed = site.needed_from();
        for origin in site.roster().clone().all() {
            let below = needed.get(origin) + 1;
            site.journal_mut().trim(origin, below.saturating_sub(SLACK));
        }
    }

    fn force(&mut self) {
        if let Some(running) = &mut self.running {
            running.site.journal().force();
        }
    }

    fn keep_position(&mut self) {
        if let Some(running) = &mut self.running
            && let Some(position) = Position::of(&running.site)
        {
            running.site.journal_mut().keep(&position);
        }
    }

    /// What the database is told of it is as safe as operations are.
    fn promise_position(&mut self) {
        self.keep_position();
        if self.settings.force_each {
            self.disks[self.at].force();
        }
    }

    /// The database is told to shut down: it stops writing and asks its replicas how far they are.
    pub fn shut_down(&mut self) {
        if !self.is_away()
            && self.database.dbs.iter().any(|keys| !keys.is_empty())
            && self
                .running
                .as_ref()
                .is_some_and(|running| running.stream.is_some())
        {
            let getack = ["REPLCONF", "GETACK", "*"].map(|word| word.as_bytes().to_vec());
            self.database.feed(&getack);
            self.restarting = true;
        }
    }

    fn restart_if_ready(&mut self) -> bool {
        if !self.restarting {
            return false;
        }
        // Keys still expire until it is down.
        let offset = self.database.offset();
        self.promise_position();
        let kept = self.running.as_ref().and_then(|running| running.site.source());
        if kept.is_none_or(|source| source.offset < offset) {
            return false;
        }
        self.restarting = false;
        self.zombies.clear();
        self.drop_stream();
        self.drop_apply();
        self.zombies.clear();
        self.database.restart();
        true
    }

    /// Whether nothing is on its way between database and syncer.
    pub fn is_quiet(&self) -> bool {
        if self.has_ended {
            return true;
        }
        let Some(running) = &self.running else {
            return false;
        };
        let read = running
            .stream
            .as_ref()
            .is_some_and(|stream| stream.offset == self.database.offset() && stream.buffer.is_empty());
        let applied = running
            .apply
            .as_ref()
            .is_some_and(|(_, connection)| connection.input.is_empty() && connection.output.is_empty());
        read && applied && running.site.is_applying() && !self.is_away()
    }
}

/// Whether the database is to die here, beside a transaction of these words, and for how long; after that it is not to any more.
fn due(order: &mut Option<Order>, data: &[Vec<u8>], is_here: impl Fn(Place) -> bool) -> Option<u64> {
    let is_beside = |order: &&mut Order| order.beside.iter().any(|key| data.contains(key));
    let waiting = order
        .as_mut()
        .filter(|order| is_here(order.place))
        .filter(is_beside)?;
    if waiting.passes > 0 {
        waiting.passes -= 1;
        return None;
    }
    order.take().map(|order| order.away)
}

/// The first client that waits for just this, and for a transaction of these words, writes.
fn race(
    races: &mut VecDeque<(Race, usize)>,
    database: &mut Database,
    data: &[Vec<u8>],
    is_here: impl Fn(Place) -> bool,
) {
    let is_beside = |race: &Race| race.beside.as_ref().is_none_or(|key| data.contains(key));
    let first = races
        .iter()
        .position(|(race, _)| is_here(race.place) && is_beside(race));
    if let Some((race, number)) = first.and_then(|at| races.remove(at)) {
        database.run(race.db, &race.commands, race.block, Cause::Client(number));
    }
}

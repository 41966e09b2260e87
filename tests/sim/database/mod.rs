//! A database as the engine meets it: values, expiry, transactions, and exactly the replication stream that
//! Redis 7.0 (or 7.2, 8.0, Valkey 8 or 9) sends.
//!
//! What arrives in a stream was measured; the test `model` compares this model with a real server, data and
//! stream. Each command is one function that gives its reply and what it sends to replicas.

mod dump;
mod fields;
mod hashes;
mod keys;
mod lists;
mod sets;
mod sorted;
mod splice;
mod streams;
mod strings;
mod table;
mod value;

pub use dump::{dump, newest};
pub use value::{Entry, Hash, Sorted, Stream, Value};

use std::collections::BTreeMap;

use syncer::command::FieldTimes;

use super::resp::{self, Reply, Word, Words};

/// Databases of a server.
pub const DATABASES: usize = 4;

/// Whose ways of replication are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Redis 7.0.
    Redis70,
    /// Redis 7.2.
    Redis72,
    /// Valkey 8: deletes of its own are UNLINK.
    Valkey8,
    /// Redis 8.0: fields with expiry times.
    Redis80,
    /// Valkey 9.1: such fields, too, but other ways.
    Valkey91,
}

impl Version {
    /// Whether it is a Valkey.
    pub fn is_valkey(self) -> bool {
        matches!(self, Version::Valkey8 | Version::Valkey91)
    }

    /// Whether its fields can have expiry times.
    pub fn has_field_times(self) -> bool {
        matches!(self, Version::Redis80 | Version::Valkey91)
    }

    /// What the program knows of it.
    pub fn field_times(self) -> FieldTimes {
        match self.has_field_times() {
            true if self.is_valkey() => FieldTimes::Quiet,
            true => FieldTimes::Whole,
            false => FieldTimes::None,
        }
    }

    /// How it names a delete of its own.
    pub fn own_delete(self) -> &'static [u8] {
        if self.is_valkey() { b"UNLINK" } else { b"DEL" }
    }
}

/// Why a command is in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A client, and which of its writes.
    Client(usize),
    /// The server itself: a key had expired.
    Server,
    /// The syncer.
    Applied,
}

/// One command of the stream, as it was.
#[derive(Debug, Clone)]
pub struct Record {
    /// Why it is there.
    pub cause: Cause,
    /// Selected database.
    pub db: usize,
    /// The command.
    pub words: Words,
    /// Which unit it belongs to.
    pub unit: u64,
    /// The stream's offset behind it.
    pub offset: u64,
    /// Nobody read it before a crash or a short backlog took the stream away: a snapshot had to tell of it.
    pub is_untold: bool,
    /// The database has lost it.
    pub is_lost: bool,
}

impl Record {
    /// What was lost and nobody had read was executed for nobody.
    pub fn is_void(&self) -> bool {
        self.is_lost && self.is_untold
    }
}

/// What a command sends to replicas.
#[derive(Debug)]
pub enum Sent {
    /// It changed nothing.
    Nothing,
    /// Itself.
    Verbatim,
    /// These instead.
    As(Vec<Words>),
}

/// What a pop took: database, key, elements.
pub type Given = (usize, Word, Vec<Word>);

/// What became of a command.
pub type Outcome = Result<(Reply, Sent), String>;

/// The keys of one database.
pub type Keyspace = BTreeMap<Word, Entry>;

/// A server.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its data.
    pub dbs: Vec<Keyspace>,
    /// Its clock, Unix milliseconds.
    pub now: u64,
    /// Which server it is.
    pub version: Version,
    /// Replication id.
    pub id: [u8; 40],
    /// The id before, and up to which offset it holds.
    pub old_id: Option<([u8; 40], u64)>,
    /// The backlog; it reaches back to `begin`.
    pub stream: Vec<u8>,
    /// Offset before the backlog's first byte.
    pub begin: u64,
    /// Everything that was ever in the stream.
    pub history: Vec<Record>,
    /// What lists gave out to clients, in order: database, key, elements.
    pub given: Vec<Given>,
    popped: Option<Given>,
    /// The records that it lost when it came back older than it was, the last one first, until that is noticed.
    lost: Vec<usize>,
    /// So many pops there were then.
    given_before: usize,
    selected: Option<usize>,
    unit: Vec<(usize, Words, Cause)>,
    units: u64,
    dice: u64,
    site: u64,
    /// How often it was started again.
    lives: u64,
}

impl Database {
    /// An empty server.
    pub fn new(version: Version, site: u8) -> Database {
        Database {
            dbs: vec![Keyspace::new(); DATABASES],
            now: 0,
            version,
            id: new_id(u64::from(site) + 1),
            old_id: None,
            stream: Vec::new(),
            begin: 0,
            history: Vec::new(),
            given: Vec::new(),
            popped: None,
            lost: Vec::new(),
            given_before: 0,
            selected: None,
            unit: Vec::new(),
            units: 0,
            dice: u64::from(site),
            site: u64::from(site),
            lives: 0,
        }
    }

    /// Offset of the stream's last byte.
    pub fn offset(&self) -> u64 {
        self.begin + self.stream.len() as u64
    }

    /// A replica starts from nothing: what follows selects its database first.
    pub fn full_resync(&mut self) {
        self.selected = None;
    }

    /// Whether a replica can go on behind this offset.
    pub fn can_continue(&self, id: &[u8; 40], offset: u64) -> bool {
        let known = *id == self.id || matches!(&self.old_id, Some((old, end)) if old == id && offset <= *end);
        known && offset >= self.begin && offset <= self.offset()
    }

    /// Stops in good order and starts again from what it saved.
    pub fn restart(&mut self) {
        self.old_id = Some((self.id, self.offset()));
        self.begin_anew();
    }

    /// Dies, and starts again from a file that lacks nothing: its stream goes on under a new id, which no replica knows.
    pub fn crash(&mut self) {
        self.old_id = None;
        // An offset tells where a record stands for as long as a run goes on, so it does not begin anew.
        self.begin_anew();
    }

    /// Dies, and starts again from an older file; or a replica takes over that was so far behind, and knows where.
    pub fn fall_back(&mut self, dbs: Vec<Keyspace>, offset: u64, is_replica: bool) {
        self.dbs = dbs;
        self.lost = self.behind(offset).map(|(at, _)| at).collect();
        self.given_before = self.given.len();
        for &at in &self.lost {
            self.history[at].is_lost = true;
        }
        let begin = self.begin;
        let (id, stream) = (self.id, self.stream.clone());
        self.crash();
        if is_replica && offset >= begin {
            self.stream = stream;
            self.stream.truncate((offset - begin) as usize);
            (self.begin, self.old_id) = (begin, Some((id, offset)));
        }
    }

    /// Of what it lost, this is how far anybody had read it.
    pub fn lost_behind(&mut self, offset: u64) {
        for at in std::mem::take(&mut self.lost) {
            let record = &mut self.history[at];
            if record.offset <= offset {
                continue;
            }
            record.is_untold = true;
            let is_pop = is(&record.words[0], "LPOP") || is(&record.words[0], "RPOP");
            if !is_pop || record.cause == Cause::Applied {
                continue;
            }
            // What it gave is told to nobody.
            let place = (record.db, &record.words[1]);
            let mut given = self.given[..self.given_before].iter();
            if let Some(at) = given.rposition(|(of, name, _)| (*of, name) == place) {
                self.given.remove(at);
                self.given_before -= 1;
            }
        }
    }

    fn begin_anew(&mut self) {
        self.lives += 1;
        self.id = new_id(self.site + 1 + (self.lives << 8));
        self.forget_backlog();
        self.selected = None;
    }

    /// Who is not here now cannot go on behind what was sent so far.
    pub fn forget_backlog(&mut self) {
        self.begin = self.offset();
        self.stream.clear();
    }

    /// A snapshot takes the place of everything behind this offset.
    pub fn told_until(&mut self, offset: u64) {
        self.behind(offset)
            .for_each(|(_, record)| record.is_untold = true);
    }

    /// What it has not lost of what stands behind this offset, and where.
    fn behind(&mut self, offset: u64) -> impl Iterator<Item = (usize, &mut Record)> {
        let records = self.history.iter_mut().enumerate().rev();
        records.filter(move |(_, record)| !record.is_lost && record.offset > offset)
    }

    /// Runs commands of a client, as one transaction if so wanted.
    pub fn run(&mut self, db: usize, commands: &[Words], block: bool, cause: Cause) -> Vec<Reply> {
        let mut replies = Vec::new();
        for words in commands {
            replies.push(self.call(db, words, cause));
            if !block {
                self.end_unit();
            }
        }
        self.end_unit();
        replies
    }

    /// One command inside a unit.
    pub fn call(&mut self, db: usize, words: &Words, cause: Cause) -> Reply {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        let Some(run) = table::find(&name, self.version) else {
            return Reply::Error(format!("ERR unknown command '{name}'"));
        };
        match run(self, db, words) {
            Err(text) => Reply::Error(text),
            Ok((reply, sent)) => {
                self.given
                    .extend(self.popped.take().filter(|_| cause != Cause::Applied));
                match sent {
                    Sent::Nothing => {}
                    Sent::Verbatim => self.unit.push((db, words.clone(), cause)),
                    Sent::As(all) => self.unit.extend(all.into_iter().map(|words| (db, words, cause))),
                }
                reply
            }
        }
    }

    /// Whether a command exists; a transaction with one that does not is refused.
    pub fn knows(&self, words: &Words) -> bool {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        table::find(&name, self.version).is_some()
    }

    /// What was done since goes into the stream as one unit.
    pub fn end_unit(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        let Some((first_db, ..)) = unit.first() else {
            return;
        };
        self.units += 1;
        let block = unit.len() > 1;
        if block {
            if self.version == Version::Redis70 {
                self.select(*first_db);
            }
            self.feed(&[b"MULTI".to_vec()]);
        }
        for (db, words, cause) in unit {
            self.select(db);
            self.feed(&words);
            self.history.push(Record {
                cause,
                db,
                words,
                unit: self.units,
                offset: self.offset(),
                is_untold: false,
                is_lost: false,
            });
        }
        if block {
            self.feed(&[b"EXEC".to_vec()]);
        }
    }

    fn select(&mut self, db: usize) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            self.feed(&[b"SELECT".to_vec(), db.to_string().into_bytes()]);
        }
    }

    /// Something that is no write: PING, REPLCONF.
    pub fn feed(&mut self, words: &[Word]) {
        resp::command(&mut self.stream, words);
    }

    /// Removes keys that have expired, each in a unit of its own. `most` limits how many.
    pub fn expire_cycle(&mut self, most: usize) {
        let now = self.now;
        let gone: Vec<(usize, Word)> = self
            .dbs
            .iter()
            .enumerate()
            .flat_map(|(db, keys)| {
                let expired = move |entry: &Entry| entry.expires.is_some_and(|at| at <= now);
                keys.iter()
                    .filter(move |(_, entry)| expired(entry))
                    .map(move |(key, _)| (db, key.clone()))
            })
            .take(most)
            .collect();
        for (db, key) in gone {
            self.expire_if_due(db, &key);
            self.end_unit();
        }
        fields::expire_cycle(self, most);
    }

    fn expire_if_due(&mut self, db: usize, key: &[u8]) {
        let due = self.dbs[db]
            .get(key)
            .is_some_and(|entry| entry.expires.is_some_and(|at| at <= self.now));
        if due {
            self.dbs[db].remove(key);
            self.of_its_own(db, made(&[self.version.own_delete(), key]));
        }
    }

    /// The server does something that nobody asked for.
    pub(crate) fn of_its_own(&mut self, db: usize, words: Words) {
        self.unit.push((db, words, Cause::Server));
    }

    /// The entry of a key, after an expired one has gone.
    pub(crate) fn entry(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        self.expire_if_due(db, key);
        self.dbs[db].get_mut(key)
    }

    pub(crate) fn existing<T: value::Typed>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<&mut T>, String> {
        match self.entry(db, key) {
            None => Ok(None),
            Some(entry) => T::of(&mut entry.value).map(Some).ok_or_else(wrong_type),
        }
    }

    pub(crate) fn or_new<T: value::Typed>(&mut self, db: usize, key: &[u8]) -> Result<&mut T, String> {
        self.expire_if_due(db, key);
        let entry = self.dbs[db].entry(key.to_vec()).or_insert_with(|| Entry {
            value: T::empty(),
            expires: None,
        });
        T::of(&mut entry.value).ok_or_else(wrong_type)
    }

    /// An empty value is no key.
    pub(crate) fn drop_if_empty(&mut self, db: usize, key: &[u8]) {
        if self.dbs[db].get(key).is_some_and(|entry| entry.value.is_empty()) {
            self.dbs[db].remove(key);
        }
    }

    /// Puts a value in place of whatever there was; an empty one removes the key. True if anything changed.
    pub(crate) fn store(&mut self, db: usize, key: &[u8], value: Value) -> bool {
        self.expire_if_due(db, key);
        if value.is_empty() {
            return self.dbs[db].remove(key).is_some();
        }
        self.dbs[db].insert(key.to_vec(), Entry { value, expires: None });
        true
    }

    /// A number for choices that a server makes at random.
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.dice = self
            .dice
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        ((self.dice >> 33) % below.max(1) as u64) as usize
    }
}

fn new_id(number: u64) -> [u8; 40] {
    let mut id = [b'0'; 40];
    let text = format!(
        "{:040x}",
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    );
    id.copy_from_slice(text.as_bytes());
    id
}

pub(crate) fn wrong_type() -> String {
    "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned()
}

pub(crate) fn syntax() -> String {
    "ERR syntax error".to_owned()
}

/// An argument that must be there.
pub(crate) fn word(words: &Words, at: usize) -> Result<&Word, String> {
    words
        .get(at)
        .ok_or_else(|| "ERR wrong number of arguments".to_owned())
}

pub(crate) fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// An integer in its one decimal form.
pub(crate) fn integer(word: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(word).ok();
    let number = text.and_then(|text| text.parse::<i64>().ok());
    number
        .filter(|number| number.to_string().as_bytes() == word)
        .ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
}

pub(crate) fn float(word: &[u8]) -> Result<f64, String> {
    let number = std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    number
        .filter(|number| !number.is_nan())
        .ok_or_else(|| "ERR value is not a valid float".to_owned())
}

pub(crate) fn ok(sent: Sent) -> Outcome {
    Ok((Reply::Simple("OK"), sent))
}

/// A count, sent as it came if it is above zero.
pub(crate) fn counted(count: usize) -> Outcome {
    let sent = if count > 0 { Sent::Verbatim } else { Sent::Nothing };
    Ok((Reply::Int(count as i64), sent))
}

/// Words of a command that the server makes itself.
pub(crate) fn made(parts: &[&[u8]]) -> Words {
    parts.iter().map(|part| part.to_vec()).collect()
}

//! Expiry times of a hash's fields, as Redis 8 and Valkey 9 have them.
//!
//! Redis takes a field that is over for one that is there with a time in the past, so HPEXPIRE brings it back, but for
//! commands that look at its value: these remove it, and send HDEL; and HPERSIST passes it over. Valkey takes it for absent. What a command with
//! conditions or fields that are not there sends differs, too.

use super::{Database, Hash, Outcome, Sent, Value, counted, integer, is, made, syntax, word};
use crate::resp::{Reply, Word, Words};

impl Database {
    /// A command looks at the value of a field; whether any field of the hash has a time.
    pub(super) fn looks_at(&mut self, db: usize, key: &[u8], field: &[u8]) -> Result<bool, String> {
        let (now, is_valkey) = (self.now, self.version.is_valkey());
        let Some(hash) = self.existing::<Hash>(db, key)? else {
            return Ok(false);
        };
        let is_timed = !hash.times.is_empty();
        if !is_valkey && hash.is_due(field, now) {
            hash.take(field);
            self.drop_if_empty(db, key);
            self.of_its_own(db, made(&[b"HDEL", key, field]));
        }
        Ok(is_timed)
    }

    /// What is sent of removed fields.
    fn removed(&self, key: &[u8], fields: &[Word]) -> Sent {
        let hdel = |fields: &[Word]| [&made(&[b"HDEL", key])[..], fields].concat();
        match (fields.is_empty(), self.version.is_valkey()) {
            (true, _) => Sent::Nothing,
            (_, true) => Sent::As(vec![hdel(fields)]),
            (_, false) => Sent::As(fields.chunks(1).map(hdel).collect()),
        }
    }
}

/// Removes fields that are over, up to so many. Redis does it one by one, Valkey all of a key, and the key with the
/// last.
pub fn expire_cycle(database: &mut Database, most: usize) {
    let now = database.now;
    let mut left = most;
    for db in 0..database.dbs.len() {
        let keys: Vec<Word> = database.dbs[db].keys().cloned().collect();
        for key in keys {
            let Some(Value::Hash(hash)) = database.dbs[db].get_mut(&key).map(|entry| &mut entry.value) else {
                continue;
            };
            let mut due: Vec<(u64, Word)> =
                (hash.times.iter().map(|(field, at)| (*at, field.clone()))).collect();
            due.retain(|(at, _)| *at <= now);
            due.sort();
            due.truncate(left);
            left -= due.len();
            let due: Vec<Word> = due.into_iter().map(|(_, field)| field).collect();
            hash.take_all(&due);
            lapsed(database, db, &key, &due);
        }
    }
}

fn lapsed(database: &mut Database, db: usize, key: &[u8], fields: &[Word]) {
    database.drop_if_empty(db, key);
    if let Sent::As(all) = database.removed(key, fields) {
        for words in all {
            database.of_its_own(db, words);
            let is_gone = !database.dbs[db].contains_key(key);
            if is_gone && database.version.is_valkey() {
                database.of_its_own(db, made(&[database.version.own_delete(), key]));
            }
            database.end_unit();
        }
    }
}

/// The options before FIELDS, and the words behind its number.
fn parts(words: &Words, from: usize) -> Result<(&[Word], &[Word]), String> {
    let at = words.iter().position(|word| is(word, "FIELDS"));
    let at = at.filter(|at| *at >= from).ok_or_else(syntax)?;
    Ok((&words[from..at], words.get(at + 2..).ok_or_else(syntax)?))
}

/// A command on these fields.
fn on_fields(begin: &[&[u8]], options: &[Word], fields: &[Word]) -> Words {
    let number = fields.len().to_string();
    let mut all = made(begin);
    all.extend_from_slice(options);
    all.extend(made(&[b"FIELDS", number.as_bytes()]));
    all.extend_from_slice(fields);
    all
}

fn expire(database: &mut Database, db: usize, words: &Words, at: i64) -> Outcome {
    let key = word(words, 1)?.clone();
    let (options, fields) = parts(words, 3)?;
    let (now, is_valkey) = (database.now, database.version.is_valkey());
    let at = u64::try_from(at).map_err(|_| "ERR invalid expire time".to_owned())?;
    let mut empty = Hash::default();
    let hash = database.existing::<Hash>(db, &key)?.unwrap_or(&mut empty);
    let mut took = Vec::new();
    let mut replies = Vec::new();
    for field in fields {
        if !hash.values.contains_key(field) || is_valkey && hash.is_due(field, now) {
            replies.push(Reply::Int(-2));
            continue;
        }
        let old = hash.times.get(field).copied();
        let allowed = match options.first().map(|word| word.to_ascii_uppercase()).as_deref() {
            None => true,
            Some(b"NX") => old.is_none(),
            Some(b"XX") => old.is_some(),
            Some(b"GT") => old.is_some_and(|old| at > old),
            Some(b"LT") => old.is_none_or(|old| at < old),
            Some(_) => return Err(syntax()),
        };
        if !allowed {
            replies.push(Reply::Int(0));
            continue;
        }
        took.push(field.clone());
        match at <= now {
            true => drop(hash.take(field)),
            false => drop(hash.times.insert(field.clone(), at)),
        }
        replies.push(Reply::Int(if at <= now { 2 } else { 1 }));
    }
    database.drop_if_empty(db, &key);
    let named = if is_valkey { fields } else { &took };
    let sent = match (took.is_empty(), at <= now) {
        (true, _) => Sent::Nothing,
        (_, true) => database.removed(&key, &took),
        (_, false) => {
            let at = at.to_string();
            let begin: &[&[u8]] = &[b"HPEXPIREAT", &key, at.as_bytes()];
            Sent::As(vec![on_fields(begin, options, named)])
        }
    };
    Ok((Reply::Array(replies), sent))
}

pub fn hexpire(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = database.now as i64 + integer(word(words, 2)?)? * 1000;
    expire(database, db, words, at)
}

pub fn hpexpire(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = database.now as i64 + integer(word(words, 2)?)?;
    expire(database, db, words, at)
}

pub fn hexpireat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)? * 1000;
    expire(database, db, words, at)
}

pub fn hpexpireat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)?;
    expire(database, db, words, at)
}

pub fn hpersist(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (_, fields) = parts(words, 2)?;
    let took = persist(database, db, word(words, 1)?, fields)?;
    counted(took.len())
}

/// Takes the times of these fields away; those that had one. None of these servers persists a field that is over.
fn persist(database: &mut Database, db: usize, key: &[u8], fields: &[Word]) -> Result<Vec<Word>, String> {
    let now = database.now;
    let Some(hash) = database.existing::<Hash>(db, key)? else {
        return Ok(Vec::new());
    };
    let took = fields
        .iter()
        .filter(|field| !hash.is_due(field, now) && hash.times.remove(*field).is_some());
    Ok(took.cloned().collect())
}

pub fn hgetdel(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (now, is_valkey) = (database.now, database.version.is_valkey());
    let (_, fields) = parts(words, 2)?;
    for field in fields {
        database.looks_at(db, word(words, 1)?, field)?;
    }
    let Some(hash) = database.existing::<Hash>(db, &words[1])? else {
        return counted(0);
    };
    let count = fields
        .iter()
        .filter(|field| !hash.is_due(field, now) && hash.take(field))
        .count();
    database.drop_if_empty(db, &words[1]);
    let sent = match (count, is_valkey) {
        (0, _) => Sent::Nothing,
        (_, true) => Sent::Verbatim,
        (_, false) => Sent::As(vec![[&made(&[b"HDEL", &words[1]])[..], fields].concat()]),
    };
    Ok((Reply::Int(count as i64), sent))
}

/// What a command says of a time.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Unsaid,
    Kept,
    Persist,
    At(u64),
}

/// The time that options set, and the options with it made absolute.
fn when(now: u64, options: &[Word]) -> Result<(When, Vec<Word>), String> {
    let (mut when, mut left) = (When::Unsaid, Vec::new());
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let (unit_ms, base) = match option.to_ascii_uppercase().as_slice() {
            b"EX" => (1000, now),
            b"PX" => (1, now),
            b"EXAT" => (1000, 0),
            b"PXAT" => (1, 0),
            other => {
                match other {
                    b"KEEPTTL" => when = When::Kept,
                    b"PERSIST" => when = When::Persist,
                    _ => {}
                }
                left.push(option.clone());
                continue;
            }
        };
        let number = integer(rest.next().ok_or_else(syntax)?)?;
        let at = u64::try_from(number).map_err(|_| "ERR invalid expire time".to_owned())? * unit_ms + base;
        when = When::At(at);
        left.extend(made(&[b"PXAT", at.to_string().as_bytes()]));
    }
    Ok((when, left))
}

/// HSETEX key [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS n field value ...
pub fn hsetex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (now, is_valkey) = (database.now, database.version.is_valkey());
    let key = word(words, 1)?.clone();
    let (options, pairs) = parts(words, 2)?;
    let (when, mut options) = when(now, options)?;
    let condition = options.iter().position(|word| is(word, "FNX") || is(word, "FXX"));
    if let Some(at) = condition {
        let wants = is(&options[at], "FXX");
        for pair in pairs.chunks_exact(2) {
            database.looks_at(db, &key, &pair[0])?;
            let hash = database.existing::<Hash>(db, &key)?;
            let is_there =
                hash.is_some_and(|hash| hash.values.contains_key(&pair[0]) && !hash.is_due(&pair[0], now));
            if is_there != wants {
                return counted(0);
            }
        }
        if is_valkey {
            options.remove(at);
        }
    }
    let hash = database.or_new::<Hash>(db, &key)?;
    let is_over = matches!(when, When::At(at) if at <= now);
    let (mut gone, mut lapsed) = (Vec::new(), Vec::new());
    for pair in pairs.chunks_exact(2) {
        let (field, value) = (&pair[0], &pair[1]);
        match when {
            _ if is_over => {
                if hash.take(field) || !is_valkey {
                    gone.push(field.clone());
                }
            }
            When::Kept if is_valkey && hash.is_due(field, now) => {
                hash.put(field, value);
                lapsed.push(field.clone());
            }
            When::Kept => drop(hash.keep(field, value)),
            When::At(at) => {
                hash.put(field, value);
                hash.times.insert(field.clone(), at);
            }
            _ => drop(hash.put(field, value)),
        }
    }
    database.drop_if_empty(db, &key);
    if !lapsed.is_empty() {
        database.of_its_own(db, [&made(&[b"HDEL", &key])[..], &lapsed].concat());
    }
    let sent = match is_over {
        true => database.removed(&key, &gone),
        false => {
            let number = (pairs.len() / 2).to_string();
            let begin = made(&[b"HSETEX", &key]);
            let fields = made(&[b"FIELDS", number.as_bytes()]);
            Sent::As(vec![[&begin[..], &options, &fields, pairs].concat()])
        }
    };
    Ok((Reply::Int(1), sent))
}

/// HGETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] FIELDS n field ...
pub fn hgetex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (now, is_valkey) = (database.now, database.version.is_valkey());
    let key = word(words, 1)?.clone();
    let (options, fields) = parts(words, 2)?;
    let (when, _) = when(now, options)?;
    for field in fields {
        database.looks_at(db, &key, field)?;
    }
    let Some(hash) = database.existing::<Hash>(db, &key)? else {
        return counted(0);
    };
    let is_there = |field: &&Word| hash.values.contains_key(*field) && !hash.is_due(field, now);
    let found: Vec<Word> = fields.iter().filter(is_there).cloned().collect();
    let reply = Reply::Int(found.len() as i64);
    let of = |took: Vec<Word>, begin: &[&[u8]]| match took.is_empty() {
        true => Sent::Nothing,
        false if is_valkey => Sent::As(vec![on_fields(begin, &[], &took)]),
        false => Sent::As(vec![on_fields(begin, &[], fields)]),
    };
    let sent = match when {
        When::At(at) if at <= now => {
            hash.take_all(&found);
            database.drop_if_empty(db, &key);
            database.removed(&key, &found)
        }
        When::At(at) => {
            hash.times.extend(found.iter().map(|field| (field.clone(), at)));
            of(found, &[b"HPEXPIREAT", &key, at.to_string().as_bytes()])
        }
        When::Persist => of(persist(database, db, &key, &found)?, &[b"HPERSIST", &key]),
        When::Unsaid | When::Kept => Sent::Nothing,
    };
    Ok((reply, sent))
}

//! Whole keys, expiry times, whole databases.

use super::{DATABASES, Database, Outcome, Sent, Value, counted, integer, is, made, ok, syntax, word};
use crate::resp::{Reply, Word, Words};

pub fn del(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let mut removed = 0;
    for key in &words[1..] {
        database.expire_if_due(db, key);
        removed += usize::from(database.dbs[db].remove(key).is_some());
    }
    counted(removed)
}

fn expire(database: &mut Database, db: usize, words: &Words, at: i64) -> Outcome {
    let key = word(words, 1)?.clone();
    let now = database.now as i64;
    let Some(entry) = database.entry(db, &key) else {
        return counted(0);
    };
    let old = entry.expires.map_or(i64::MAX, |at| at as i64);
    for condition in &words[3..] {
        let allowed = match condition.to_ascii_uppercase().as_slice() {
            b"NX" => entry.expires.is_none(),
            b"XX" => entry.expires.is_some(),
            b"GT" => at > old,
            b"LT" => at < old,
            _ => return Err(syntax()),
        };
        if !allowed {
            return counted(0);
        }
    }
    if at <= now {
        database.dbs[db].remove(&key);
        let name = database.version.own_delete();
        return Ok((Reply::Int(1), Sent::As(vec![made(&[name, &key])])));
    }
    entry.expires = Some(at as u64);
    let mut sent = made(&[b"PEXPIREAT", &key, at.to_string().as_bytes()]);
    sent.extend(words[3..].iter().cloned());
    Ok((Reply::Int(1), Sent::As(vec![sent])))
}

pub fn expire_s(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = database.now as i64 + integer(word(words, 2)?)? * 1000;
    expire(database, db, words, at)
}

pub fn pexpire(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = database.now as i64 + integer(word(words, 2)?)?;
    expire(database, db, words, at)
}

pub fn expireat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)? * 1000;
    expire(database, db, words, at)
}

pub fn pexpireat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)?;
    expire(database, db, words, at)
}

pub fn persist(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let had = database
        .entry(db, word(words, 1)?)
        .and_then(|entry| entry.expires.take());
    counted(usize::from(had.is_some()))
}

/// GETEX key [EX s | PX ms | PERSIST]
pub fn getex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(value) = database.existing::<Word>(db, word(words, 1)?)?.cloned() else {
        return Ok((Reply::Null, Sent::Nothing));
    };
    let sent = match words.get(2) {
        None => Sent::Nothing,
        Some(option) if is(option, "PERSIST") => {
            let had = database
                .entry(db, &words[1])
                .and_then(|entry| entry.expires.take());
            had.map_or(Sent::Nothing, |_| Sent::As(vec![made(&[b"PERSIST", &words[1]])]))
        }
        Some(option) => {
            let unit_ms = if is(option, "EX") { 1000 } else { 1 };
            let at = database.now as i64 + integer(word(words, 3)?)? * unit_ms;
            let expired = made(&[b"PEXPIREAT", &words[1], at.to_string().as_bytes()]);
            expire(database, db, &expired, at)?.1
        }
    };
    Ok((Reply::Bulk(value), sent))
}

fn rename_to(database: &mut Database, db: usize, from: &Word, to: &Word) {
    if let Some(entry) = database.dbs[db].remove(from) {
        database.dbs[db].insert(to.clone(), entry);
    }
}

pub fn rename(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (word(words, 1)?, word(words, 2)?);
    if database.entry(db, from).is_none() {
        return Err("ERR no such key".to_owned());
    }
    if from == to {
        return ok(Sent::Nothing);
    }
    database.expire_if_due(db, to);
    rename_to(database, db, from, to);
    ok(Sent::Verbatim)
}

pub fn renamenx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (word(words, 1)?, word(words, 2)?);
    if database.entry(db, from).is_none() {
        return Err("ERR no such key".to_owned());
    }
    if database.entry(db, to).is_some() {
        return counted(0);
    }
    rename_to(database, db, from, to);
    counted(1)
}

pub fn copy(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (word(words, 1)?, word(words, 2)?);
    let place = words.iter().position(|word| is(word, "DB"));
    let to_db = place.map_or(Ok(db as i64), |at| integer(word(words, at + 1)?))? as usize;
    let replace = words[3..].iter().any(|word| is(word, "REPLACE"));
    if from == to && to_db == db {
        return Err("ERR source and destination objects are the same".to_owned());
    }
    let Some(entry) = database.entry(db, from).map(|entry| entry.clone()) else {
        return counted(0);
    };
    if database.entry(to_db, to).is_some() && !replace {
        return counted(0);
    }
    database.dbs[to_db].insert(to.clone(), entry);
    counted(1)
}

pub fn move_key(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let to_db = integer(word(words, 2)?)? as usize;
    if to_db == db {
        return Err("ERR source and destination objects are the same".to_owned());
    }
    let Some(entry) = database.entry(db, &words[1]).map(|entry| entry.clone()) else {
        return counted(0);
    };
    if database.entry(to_db, &words[1]).is_some() {
        return counted(0);
    }
    database.dbs[db].remove(&words[1]);
    database.dbs[to_db].insert(words[1].clone(), entry);
    counted(1)
}

/// SORT key ALPHA STORE destination
pub fn sort(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let to = word(words, 4)?;
    let mut elements: Vec<Word> = match database.entry(db, &words[1]).map(|entry| entry.value.clone()) {
        None => Vec::new(),
        Some(Value::List(list)) => list.into_iter().collect(),
        Some(Value::Set(set)) => set.into_iter().collect(),
        Some(Value::Sorted(sorted)) => sorted.into_keys().collect(),
        Some(_) => return Err(super::wrong_type()),
    };
    elements.sort();
    let count = elements.len() as i64;
    let changed = database.store(db, to, Value::List(elements.into()));
    Ok((
        Reply::Int(count),
        if changed { Sent::Verbatim } else { Sent::Nothing },
    ))
}

pub fn flushdb(database: &mut Database, db: usize, _: &Words) -> Outcome {
    database.dbs[db].clear();
    ok(Sent::Verbatim)
}

pub fn flushall(database: &mut Database, _: usize, _: &Words) -> Outcome {
    database.dbs.iter_mut().for_each(super::Keyspace::clear);
    ok(Sent::Verbatim)
}

pub fn swapdb(database: &mut Database, _: usize, words: &Words) -> Outcome {
    let (a, b) = (
        integer(word(words, 1)?)? as usize,
        integer(word(words, 2)?)? as usize,
    );
    if a >= DATABASES || b >= DATABASES {
        return Err("ERR DB index is out of range".to_owned());
    }
    database.dbs.swap(a, b);
    ok(Sent::Verbatim)
}

pub fn dump(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let value = database
        .entry(db, word(words, 1)?)
        .map(|entry| entry.value.clone())
        .map(|value| super::dump::dump(&value, database.version));
    Ok((value.map_or(Reply::Null, Reply::Bulk), Sent::Nothing))
}

pub fn restore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (key, mut at) = (word(words, 1)?.clone(), integer(word(words, 2)?)?);
    let has = |name| words[4..].iter().any(|word| is(word, name));
    let value = super::dump::restore(word(words, 3)?, database.version)
        .ok_or_else(|| "ERR DUMP payload version or checksum are wrong".to_owned())?;
    let exists = database.entry(db, &key).is_some();
    if exists && !has("REPLACE") {
        return Err("BUSYKEY Target key name already exists.".to_owned());
    }
    let relative = at != 0 && !has("ABSTTL");
    if relative {
        at += database.now as i64;
    }
    database.dbs[db].remove(&key);
    if at != 0 && at <= database.now as i64 {
        let sent = if exists {
            Sent::As(vec![made(&[b"DEL", &key])])
        } else {
            Sent::Nothing
        };
        return ok(sent);
    }
    let expires = (at != 0).then_some(at as u64);
    database.dbs[db].insert(key, super::Entry { value, expires });
    if !relative {
        return ok(Sent::Verbatim);
    }
    let mut sent = words.clone();
    sent[2] = at.to_string().into_bytes();
    sent.push(b"ABSTTL".to_vec());
    ok(Sent::As(vec![sent]))
}

pub fn pttl(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let now = database.now;
    let left = match database.entry(db, word(words, 1)?) {
        None => -2,
        Some(entry) => entry.expires.map_or(-1, |at| at as i64 - now as i64),
    };
    Ok((Reply::Int(left), Sent::Nothing))
}

pub fn time(database: &mut Database, _: usize, _: &Words) -> Outcome {
    let (s, us) = (database.now / 1000, database.now % 1000 * 1000);
    let number = |number: u64| Reply::Bulk(number.to_string().into_bytes());
    Ok((Reply::Array(vec![number(s), number(us)]), Sent::Nothing))
}

pub fn llen(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let len = database
        .existing::<std::collections::VecDeque<Word>>(db, word(words, 1)?)?
        .map_or(0, |list| list.len());
    Ok((Reply::Int(len as i64), Sent::Nothing))
}

/// A client's look at a key: an expired one goes.
pub fn exists(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let found = database.entry(db, word(words, 1)?).is_some();
    Ok((Reply::Int(i64::from(found)), Sent::Nothing))
}

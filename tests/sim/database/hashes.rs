//! Hashes. What a server makes of a field that is over and still there differs: Redis 8 removes it when a command looks
//! at it, Valkey 9 takes it for absent.

use super::{Database, Hash, Outcome, Sent, Version, counted, float, integer, made, ok, word};
use crate::resp::{Reply, Word, Words};

pub fn hset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (version, now) = (database.version, database.now);
    let hash = database.or_new::<Hash>(db, word(words, 1)?)?;
    let mut added = 0;
    for pair in words[2..].chunks_exact(2) {
        let was_hidden = version.is_valkey() && hash.is_due(&pair[0], now);
        added += i64::from(hash.put(&pair[0], &pair[1]) || was_hidden);
    }
    Ok((Reply::Int(added), Sent::Verbatim))
}

pub fn hmset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    hset(database, db, words)?;
    ok(Sent::Verbatim)
}

pub fn hsetnx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let is_timed = database.looks_at(db, word(words, 1)?, &words[2])?;
    let value = word(words, 3)?;
    let now = database.now;
    let hash = database.or_new::<Hash>(db, &words[1])?;
    if hash.values.contains_key(&words[2]) && !hash.is_due(&words[2], now) {
        return counted(0);
    }
    hash.put(&words[2], value);
    let sent = match is_timed && database.version.is_valkey() {
        true => Sent::As(vec![made(&[b"HSET", &words[1], &words[2], value])]),
        false => Sent::Verbatim,
    };
    Ok((Reply::Int(1), sent))
}

pub fn hdel(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (version, now) = (database.version, database.now);
    let Some(hash) = database.existing::<Hash>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let is_hidden = |hash: &Hash, field: &Word| version.is_valkey() && hash.is_due(field, now);
    let removed = words[2..]
        .iter()
        .filter(|field| !is_hidden(hash, field) && hash.take(field))
        .count();
    database.drop_if_empty(db, &words[1]);
    counted(removed)
}

/// What a field holds for an increment, with its time; and whether any field of its hash has one.
type Found = (Option<(Word, Option<u64>)>, bool);

fn found(database: &mut Database, db: usize, words: &Words) -> Result<Found, String> {
    let (key, field) = (word(words, 1)?, word(words, 2)?);
    let is_timed = database.looks_at(db, key, field)?;
    let now = database.now;
    let Some(hash) = database.existing::<Hash>(db, key)? else {
        return Ok((None, is_timed));
    };
    let time = hash.times.get(field).copied();
    let value = hash.values.get(field).filter(|_| !hash.is_due(field, now));
    Ok((value.cloned().map(|value| (value, time)), is_timed))
}

/// Puts what came of an increment; how Valkey sends it where a field has a time.
fn put(
    database: &mut Database,
    db: usize,
    words: &Words,
    sum: &[u8],
    time: Option<u64>,
) -> Result<Words, String> {
    let hash = database.or_new::<Hash>(db, &words[1])?;
    hash.put(&words[2], sum);
    hash.times.extend(time.map(|at| (words[2].clone(), at)));
    let (key, field) = (&words[1], &words[2]);
    Ok(match time {
        None => made(&[b"HSET", key, field, sum]),
        Some(at) => {
            let at = at.to_string();
            made(&[
                b"HSETEX",
                key,
                b"PXAT",
                at.as_bytes(),
                b"FIELDS",
                b"1",
                field,
                sum,
            ])
        }
    })
}

pub fn hincrby(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = integer(word(words, 3)?)?;
    let (field, is_timed) = found(database, db, words)?;
    let (text, time) = field.unzip();
    let old = match text {
        Some(text) => integer(&text).map_err(|_| "ERR hash value is not an integer".to_owned())?,
        None => 0,
    };
    let sum = old
        .checked_add(delta)
        .ok_or("ERR increment or decrement would overflow")?;
    let result = put(database, db, words, sum.to_string().as_bytes(), time.flatten())?;
    let sent = match is_timed && database.version.is_valkey() {
        true => Sent::As(vec![result]),
        false => Sent::Verbatim,
    };
    Ok((Reply::Int(sum), sent))
}

pub fn hincrbyfloat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = float(word(words, 3)?)?;
    let (field, _) = found(database, db, words)?;
    let (text, time) = field.unzip();
    let old = match text {
        Some(text) => float(&text).map_err(|_| "ERR hash value is not a float".to_owned())?,
        None => 0.0,
    };
    let text = (old + delta).to_string().into_bytes();
    let result = put(database, db, words, &text, time.flatten())?;
    let sent = match database.version {
        Version::Redis80 => made(&[
            b"HSETEX", &words[1], b"KEEPTTL", b"FIELDS", b"1", &words[2], &text,
        ]),
        _ => result,
    };
    Ok((Reply::Bulk(text), Sent::As(vec![sent])))
}

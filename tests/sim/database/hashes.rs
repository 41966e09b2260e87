//! Hashes.

use std::collections::BTreeMap;

use super::{Database, Outcome, Sent, counted, float, integer, made, ok, word};
use crate::resp::{Reply, Word, Words};

type Hash = BTreeMap<Word, Word>;

pub fn hset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let hash = database.or_new::<Hash>(db, word(words, 1)?)?;
    let mut added = 0;
    for pair in words[2..].chunks_exact(2) {
        added += i64::from(hash.insert(pair[0].clone(), pair[1].clone()).is_none());
    }
    Ok((Reply::Int(added), Sent::Verbatim))
}

pub fn hmset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    hset(database, db, words)?;
    ok(Sent::Verbatim)
}

pub fn hsetnx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    if database
        .existing::<Hash>(db, word(words, 1)?)?
        .is_some_and(|hash| hash.contains_key(&words[2]))
    {
        return counted(0);
    }
    database
        .or_new::<Hash>(db, &words[1])?
        .insert(words[2].clone(), word(words, 3)?.clone());
    counted(1)
}

pub fn hdel(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(hash) = database.existing::<Hash>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let removed = words[2..]
        .iter()
        .filter(|field| hash.remove(*field).is_some())
        .count();
    database.drop_if_empty(db, &words[1]);
    counted(removed)
}

pub fn hincrby(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = integer(word(words, 3)?)?;
    let field = database
        .existing::<Hash>(db, &words[1])?
        .and_then(|hash| hash.get(&words[2]).cloned());
    let old = match field {
        Some(text) => integer(&text).map_err(|_| "ERR hash value is not an integer".to_owned())?,
        None => 0,
    };
    let sum = old
        .checked_add(delta)
        .ok_or("ERR increment or decrement would overflow")?;
    let text = sum.to_string().into_bytes();
    database
        .or_new::<Hash>(db, &words[1])?
        .insert(words[2].clone(), text);
    Ok((Reply::Int(sum), Sent::Verbatim))
}

pub fn hincrbyfloat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = float(word(words, 3)?)?;
    let field = database
        .existing::<Hash>(db, &words[1])?
        .and_then(|hash| hash.get(&words[2]).cloned());
    let old = match field {
        Some(text) => float(&text).map_err(|_| "ERR hash value is not a float".to_owned())?,
        None => 0.0,
    };
    let text = (old + delta).to_string().into_bytes();
    database
        .or_new::<Hash>(db, &words[1])?
        .insert(words[2].clone(), text.clone());
    Ok((
        Reply::Bulk(text.clone()),
        Sent::As(vec![made(&[b"HSET", &words[1], &words[2], &text])]),
    ))
}

//! Sets.

use std::collections::BTreeSet;

use super::{Database, Outcome, Sent, Value, counted, integer, made, word};
use crate::resp::{Reply, Word, Words};

type Set = BTreeSet<Word>;

pub fn sadd(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let set = database.or_new::<Set>(db, word(words, 1)?)?;
    let added = words[2..]
        .iter()
        .filter(|member| set.insert((*member).clone()))
        .count();
    counted(added)
}

pub fn srem(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(set) = database.existing::<Set>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let removed = words[2..].iter().filter(|member| set.remove(*member)).count();
    database.drop_if_empty(db, &words[1]);
    counted(removed)
}

pub fn spop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let key = word(words, 1)?;
    let count = words.get(2).map_or(Ok(1), |count| integer(count))? as usize;
    let Some(set) = database.existing::<Set>(db, key)?.cloned() else {
        return Ok((Reply::Null, Sent::Nothing));
    };
    if words.len() > 2 && count >= set.len() {
        database.dbs[db].remove(key);
        return Ok((
            Reply::Array(set.into_iter().map(Reply::Bulk).collect()),
            Sent::As(vec![made(&[b"DEL", key])]),
        ));
    }
    let mut popped = Vec::new();
    let mut left: Vec<Word> = set.into_iter().collect();
    for _ in 0..count.min(left.len()) {
        let at = database.roll(left.len());
        popped.push(left.remove(at));
    }
    *database.or_new::<Set>(db, key)? = left.into_iter().collect();
    database.drop_if_empty(db, key);
    let sent = match database.version {
        super::Version::Redis70 => popped
            .iter()
            .map(|member| made(&[b"SREM", key, member]))
            .collect(),
        _ => {
            let mut all = made(&[b"SREM", key]);
            all.extend(popped.iter().cloned());
            vec![all]
        }
    };
    Ok((
        Reply::Array(popped.into_iter().map(Reply::Bulk).collect()),
        Sent::As(sent),
    ))
}

pub fn smove(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to, member) = (word(words, 1)?, word(words, 2)?, word(words, 3)?);
    let Some(has) = database
        .existing::<Set>(db, from)?
        .map(|set| set.contains(member))
    else {
        return counted(0);
    };
    database.existing::<Set>(db, to)?;
    if from == to {
        return Ok((Reply::Int(i64::from(has)), Sent::Nothing));
    }
    if !has {
        return counted(0);
    }
    if let Some(set) = database.existing::<Set>(db, from)? {
        set.remove(member);
    }
    database.drop_if_empty(db, from);
    database.or_new::<Set>(db, to)?.insert(member.clone());
    counted(1)
}

fn combine(database: &mut Database, db: usize, words: &Words, with: fn(Set, &Set) -> Set) -> Outcome {
    let mut sources = Vec::new();
    for key in &words[2..] {
        sources.push(database.existing::<Set>(db, key)?.cloned().unwrap_or_default());
    }
    let mut sources = sources.into_iter();
    let first = sources.next().unwrap_or_default();
    let result = sources.fold(first, |all, next| with(all, &next));
    let count = result.len() as i64;
    let changed = database.store(db, &words[1], Value::Set(result));
    Ok((
        Reply::Int(count),
        if changed { Sent::Verbatim } else { Sent::Nothing },
    ))
}

pub fn sunionstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |all, next| &all | next)
}

pub fn sinterstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |all, next| &all & next)
}

pub fn sdiffstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |all, next| &all - next)
}

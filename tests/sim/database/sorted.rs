//! Sorted sets and positions on the earth.

use std::collections::BTreeSet;

use super::{Database, Outcome, Sent, Sorted, Value, counted, float, integer, is, made, word};
use crate::resp::{Reply, Word, Words};

#[derive(Default)]
struct Options {
    only_new: bool,
    only_old: bool,
    greater: bool,
    less: bool,
    changed: bool,
    incr: bool,
    rest: usize,
}

fn options(words: &Words, from: usize) -> Options {
    let mut found = Options {
        rest: from,
        ..Options::default()
    };
    for option in &words[from..] {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => found.only_new = true,
            b"XX" => found.only_old = true,
            b"GT" => found.greater = true,
            b"LT" => found.less = true,
            b"CH" => found.changed = true,
            b"INCR" => found.incr = true,
            _ => break,
        }
        found.rest += 1;
    }
    found
}

pub fn zadd(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let options = options(words, 2);
    let mut pairs = Vec::new();
    for pair in words[options.rest..].chunks_exact(2) {
        pairs.push((float(&pair[0])?, pair[1].clone()));
    }
    add_all(database, db, word(words, 1)?, &options, &pairs)
}

fn add_all(
    database: &mut Database,
    db: usize,
    key: &Word,
    options: &Options,
    pairs: &[(f64, Word)],
) -> Outcome {
    if options.only_old && database.existing::<Sorted>(db, key)?.is_none() {
        return counted(0);
    }
    let sorted = database.or_new::<Sorted>(db, key)?;
    let (mut added, mut updated) = (0, 0);
    for (score, member) in pairs {
        let old = sorted.get(member).copied();
        let score = if options.incr {
            old.unwrap_or(0.0) + score
        } else {
            *score
        };
        let allowed = match old {
            None => !options.only_old,
            Some(old) => {
                let held_back = (options.greater && score <= old) || (options.less && score >= old);
                !options.only_new && !held_back
            }
        };
        if allowed {
            added += usize::from(old.is_none());
            updated += usize::from(old.is_some_and(|old| old != score));
            sorted.insert(member.clone(), score);
        }
    }
    database.drop_if_empty(db, key);
    let sent = if added + updated > 0 {
        Sent::Verbatim
    } else {
        Sent::Nothing
    };
    let count = if options.changed { added + updated } else { added };
    Ok((Reply::Int(count as i64), sent))
}

pub fn zincrby(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = float(word(words, 2)?)?;
    let sorted = database.or_new::<Sorted>(db, &words[1])?;
    let old = sorted.get(word(words, 3)?).copied();
    let sum = old.unwrap_or(0.0) + delta;
    if sum.is_nan() {
        return Err("ERR resulting score is not a number (NaN)".to_owned());
    }
    sorted.insert(words[3].clone(), sum);
    let sent = if old == Some(sum) {
        Sent::Nothing
    } else {
        Sent::Verbatim
    };
    Ok((Reply::Bulk(sum.to_string().into_bytes()), sent))
}

pub fn zrem(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(sorted) = database.existing::<Sorted>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let removed = words[2..]
        .iter()
        .filter(|member| sorted.remove(*member).is_some())
        .count();
    database.drop_if_empty(db, &words[1]);
    counted(removed)
}

/// The members in order of score, then name.
fn ranked(sorted: &Sorted) -> Vec<(f64, Word)> {
    let mut all: Vec<(f64, Word)> = sorted
        .iter()
        .map(|(member, score)| (*score, member.clone()))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    all
}

fn remove_ranked(
    database: &mut Database,
    db: usize,
    key: &Word,
    pick: impl Fn(&[(f64, Word)]) -> Vec<Word>,
) -> Outcome {
    let Some(sorted) = database.existing::<Sorted>(db, key)? else {
        return counted(0);
    };
    let gone = pick(&ranked(sorted));
    for member in &gone {
        sorted.remove(member);
    }
    database.drop_if_empty(db, key);
    counted(gone.len())
}

fn pop(database: &mut Database, db: usize, words: &Words, low: bool) -> Outcome {
    let count = words.get(2).map_or(Ok(1), |count| integer(count))? as usize;
    remove_ranked(database, db, word(words, 1)?, |ranked| {
        let members = ranked.iter().map(|(_, member)| member.clone());
        if low {
            members.take(count).collect()
        } else {
            members.rev().take(count).collect()
        }
    })
}

pub fn zpopmin(database: &mut Database, db: usize, words: &Words) -> Outcome {
    pop(database, db, words, true)
}

pub fn zpopmax(database: &mut Database, db: usize, words: &Words) -> Outcome {
    pop(database, db, words, false)
}

pub fn zremrangebyrank(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (integer(word(words, 2)?)?, integer(word(words, 3)?)?);
    remove_ranked(database, db, &words[1], |ranked| {
        let len = ranked.len() as i64;
        let from = if from < 0 { (from + len).max(0) } else { from };
        let to = if to < 0 { to + len } else { to };
        let members = ranked.iter().enumerate();
        let inside = members.filter(|(at, _)| (from..=to).contains(&(*at as i64)));
        inside.map(|(_, (_, member))| member.clone()).collect()
    })
}

pub fn zremrangebyscore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (float(word(words, 2)?)?, float(word(words, 3)?)?);
    remove_ranked(database, db, &words[1], |ranked| {
        let inside = ranked.iter().filter(|(score, _)| (from..=to).contains(score));
        inside.map(|(_, member)| member.clone()).collect()
    })
}

/// `[a` bounds only.
pub fn zremrangebylex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (word(words, 2)?[1..].to_vec(), word(words, 3)?[1..].to_vec());
    remove_ranked(database, db, &words[1], |ranked| {
        let inside = ranked
            .iter()
            .filter(|(_, member)| (&from..=&to).contains(&member));
        inside.map(|(_, member)| member.clone()).collect()
    })
}

/// A source of a Z*STORE: a sorted set, or a set with scores of one.
fn source(database: &mut Database, db: usize, key: &Word) -> Result<Sorted, String> {
    match database.entry(db, key).map(|entry| entry.value.clone()) {
        None => Ok(Sorted::new()),
        Some(Value::Sorted(sorted)) => Ok(sorted),
        Some(Value::Set(set)) => Ok(set.into_iter().map(|member| (member, 1.0)).collect()),
        Some(_) => Err(super::wrong_type()),
    }
}

fn combine(database: &mut Database, db: usize, words: &Words, with: fn(Vec<Sorted>) -> Sorted) -> Outcome {
    let count = integer(word(words, 2)?)? as usize;
    let mut sources = Vec::new();
    for key in words[3..].iter().take(count) {
        sources.push(source(database, db, key)?);
    }
    let result = with(sources);
    let count = result.len() as i64;
    let changed = database.store(db, &words[1], Value::Sorted(result));
    Ok((
        Reply::Int(count),
        if changed { Sent::Verbatim } else { Sent::Nothing },
    ))
}

pub fn zunionstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |sources| {
        let mut all = Sorted::new();
        for (member, score) in sources.into_iter().flatten() {
            *all.entry(member).or_insert(0.0) += score;
        }
        all
    })
}

pub fn zinterstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |sources| {
        let Some((first, rest)) = sources.split_first() else {
            return Sorted::new();
        };
        let sum = |(member, score): (&Word, &f64)| {
            let others: Option<Vec<f64>> = rest.iter().map(|other| other.get(member).copied()).collect();
            Some((
                member.clone(),
                others?.into_iter().fold(*score, |all, next| all + next),
            ))
        };
        first.iter().filter_map(sum).collect()
    })
}

pub fn zdiffstore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    combine(database, db, words, |sources| {
        let Some((first, rest)) = sources.split_first() else {
            return Sorted::new();
        };
        let gone: BTreeSet<&Word> = rest.iter().flat_map(|other| other.keys()).collect();
        let left = first.iter().filter(|(member, _)| !gone.contains(member));
        left.map(|(member, score)| (member.clone(), *score)).collect()
    })
}

/// By rank only.
pub fn zrangestore(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let from_key = word(words, 2)?;
    let (from, to) = (integer(word(words, 3)?)?, integer(word(words, 4)?)?);
    let all = database
        .existing::<Sorted>(db, from_key)?
        .map(|sorted| ranked(sorted))
        .unwrap_or_default();
    let len = all.len() as i64;
    let (from, to) = (
        if from < 0 { from + len } else { from },
        if to < 0 { to + len } else { to },
    );
    let inside = all
        .into_iter()
        .enumerate()
        .filter(|(at, _)| (from..=to).contains(&(*at as i64)));
    let result: Sorted = inside.map(|(_, (score, member))| (member, score)).collect();
    let count = result.len() as i64;
    let changed = database.store(db, &words[1], Value::Sorted(result));
    Ok((
        Reply::Int(count),
        if changed { Sent::Verbatim } else { Sent::Nothing },
    ))
}

/// The 52 bits of a position: 26 of each coordinate, interleaved, longitude first.
fn geohash(lon: f64, lat: f64) -> u64 {
    let part = |value: f64, max: f64| ((value + max) / (2.0 * max) * f64::from(1u32 << 26)) as u64;
    let (lat, lon) = (part(lat, 85.051_128_78), part(lon, 180.0));
    (0..26).fold(0, |bits, at| {
        bits | ((lat >> at & 1) << (2 * at)) | ((lon >> at & 1) << (2 * at + 1))
    })
}

pub fn geoadd(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let options = options(words, 2);
    let key = word(words, 1)?;
    let mut sent = made(&[b"zadd", key]);
    sent.extend(words[2..options.rest].iter().cloned());
    let mut pairs = Vec::new();
    for place in words[options.rest..].chunks_exact(3) {
        let score = geohash(float(&place[0])?, float(&place[1])?);
        pairs.push((score as f64, place[2].clone()));
        sent.push(score.to_string().into_bytes());
        sent.push(place[2].clone());
    }
    let (reply, effect) = add_all(database, db, key, &options, &pairs)?;
    Ok((
        reply,
        if matches!(effect, Sent::Nothing) {
            Sent::Nothing
        } else {
            Sent::As(vec![sent])
        },
    ))
}

/// ZMPOP 1 key MIN|MAX [COUNT n]
pub fn zmpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let low = is(word(words, 3)?, "MIN");
    let count = words.get(5).map_or(Ok(1), |count| integer(count))? as usize;
    let len = database
        .existing::<Sorted>(db, word(words, 2)?)?
        .map_or(0, |sorted| sorted.len());
    if len == 0 {
        return Ok((Reply::Null, Sent::Nothing));
    }
    let count = count.min(len).to_string();
    let name: &[u8] = if low { b"ZPOPMIN" } else { b"ZPOPMAX" };
    let popped = made(&[name, &words[2], count.as_bytes()]);
    let (reply, _) = pop(database, db, &popped, low)?;
    Ok((reply, Sent::As(vec![popped])))
}

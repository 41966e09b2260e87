//! Strings, counters, bitmaps, HyperLogLog.

use super::{
    Database, Outcome, Sent, Value, counted, float, integer, is, made, ok, syntax, word, wrong_type,
};
use crate::resp::{Reply, Word, Words};

/// What a SET says beside its value.
#[derive(Default)]
struct Options {
    expires: Option<u64>,
    rewritten: bool,
    keep: bool,
    condition: Option<bool>,
    get: bool,
}

fn options(database: &Database, words: &Words) -> Result<Options, String> {
    let mut found = Options::default();
    let mut at = 3;
    while let Some(option) = words.get(at) {
        let time = || integer(word(words, at + 1)?).map(|time| time as u64);
        match String::from_utf8_lossy(option).to_ascii_uppercase().as_str() {
            "KEEPTTL" => found.keep = true,
            "NX" => found.condition = Some(false),
            "XX" => found.condition = Some(true),
            "GET" => found.get = true,
            "EX" => found.expires = Some(database.now + time()? * 1000),
            "PX" => found.expires = Some(database.now + time()?),
            "EXAT" => found.expires = Some(time()? * 1000),
            "PXAT" => found.expires = Some(time()?),
            _ => return Err(syntax()),
        }
        if matches!(
            option.to_ascii_uppercase().as_slice(),
            b"EX" | b"PX" | b"EXAT" | b"PXAT"
        ) {
            found.rewritten |= !is(option, "PXAT");
            at += 1;
        }
        at += 1;
    }
    Ok(found)
}

pub fn set(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (key, value) = (word(words, 1)?.clone(), word(words, 2)?.clone());
    let options = options(database, words)?;
    let found = database.entry(db, &key).map(|entry| entry.clone());
    let old = match found.as_ref().map(|entry| &entry.value) {
        Some(Value::Text(old)) => Reply::Bulk(old.clone()),
        Some(_) if options.get => return Err(wrong_type()),
        _ => Reply::Null,
    };
    let reply = if options.get { old } else { Reply::Simple("OK") };
    if options
        .condition
        .is_some_and(|must_exist| must_exist != found.is_some())
    {
        return Ok((if options.get { reply } else { Reply::Null }, Sent::Nothing));
    }
    let kept = found.and_then(|entry| entry.expires).filter(|_| options.keep);
    database.put_text(db, &key, value.clone(), options.expires.or(kept));
    let sent = match options.expires {
        Some(at) if options.rewritten => Sent::As(vec![made(&[
            b"SET",
            &key,
            &value,
            b"PXAT",
            at.to_string().as_bytes(),
        ])]),
        _ if options.get => {
            let rest = words.iter().filter(|word| !is(word, "GET")).cloned().collect();
            Sent::As(vec![rest])
        }
        _ => Sent::Verbatim,
    };
    Ok((reply, sent))
}

impl Database {
    fn put_text(&mut self, db: usize, key: &[u8], value: Word, expires: Option<u64>) {
        let value = Value::Text(value);
        self.dbs[db].insert(key.to_vec(), super::Entry { value, expires });
    }
}

pub fn setnx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    if database.entry(db, word(words, 1)?).is_some() {
        return counted(0);
    }
    database.put_text(db, &words[1], word(words, 2)?.clone(), None);
    counted(1)
}

fn set_for(database: &mut Database, db: usize, words: &Words, unit_ms: u64) -> Outcome {
    let at = database.now + integer(word(words, 2)?)? as u64 * unit_ms;
    database.entry(db, &words[1]);
    database.put_text(db, &words[1], word(words, 3)?.clone(), Some(at));
    let at = at.to_string();
    ok(Sent::As(vec![made(&[
        b"SET",
        &words[1],
        &words[3],
        b"PXAT",
        at.as_bytes(),
    ])]))
}

pub fn setex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    set_for(database, db, words, 1000)
}

pub fn psetex(database: &mut Database, db: usize, words: &Words) -> Outcome {
    set_for(database, db, words, 1)
}

pub fn getset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let old = database.existing::<Word>(db, word(words, 1)?)?.cloned();
    database.put_text(db, &words[1], word(words, 2)?.clone(), None);
    let reply = old.map_or(Reply::Null, Reply::Bulk);
    Ok((reply, Sent::As(vec![made(&[b"SET", &words[1], &words[2]])])))
}

pub fn get(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let value = database.existing::<Word>(db, word(words, 1)?)?.cloned();
    Ok((value.map_or(Reply::Null, Reply::Bulk), Sent::Nothing))
}

pub fn getdel(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(value) = database.existing::<Word>(db, word(words, 1)?)?.cloned() else {
        return Ok((Reply::Null, Sent::Nothing));
    };
    database.dbs[db].remove(&words[1]);
    Ok((Reply::Bulk(value), Sent::As(vec![made(&[b"DEL", &words[1]])])))
}

pub fn mset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    for pair in words[1..].chunks_exact(2) {
        database.entry(db, &pair[0]);
        database.put_text(db, &pair[0], pair[1].clone(), None);
    }
    ok(Sent::Verbatim)
}

pub fn msetnx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    for pair in words[1..].chunks_exact(2) {
        if database.entry(db, &pair[0]).is_some() {
            return counted(0);
        }
    }
    mset(database, db, words)?;
    counted(1)
}

fn add(database: &mut Database, db: usize, words: &Words, delta: i64) -> Outcome {
    let old = database.existing::<Word>(db, word(words, 1)?)?.cloned();
    let old = old.map_or(Ok(0), |text| integer(&text))?;
    let sum = old
        .checked_add(delta)
        .ok_or("ERR increment or decrement would overflow")?;
    *database.or_new::<Word>(db, &words[1])? = sum.to_string().into_bytes();
    Ok((Reply::Int(sum), Sent::Verbatim))
}

pub fn incr(database: &mut Database, db: usize, words: &Words) -> Outcome {
    add(database, db, words, 1)
}

pub fn decr(database: &mut Database, db: usize, words: &Words) -> Outcome {
    add(database, db, words, -1)
}

pub fn incrby(database: &mut Database, db: usize, words: &Words) -> Outcome {
    add(database, db, words, integer(word(words, 2)?)?)
}

pub fn decrby(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let delta = integer(word(words, 2)?)?;
    add(
        database,
        db,
        words,
        delta.checked_neg().ok_or("ERR decrement would overflow")?,
    )
}

pub fn incrbyfloat(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let old = database.existing::<Word>(db, word(words, 1)?)?.cloned();
    let sum = old.map_or(Ok(0.0), |text| float(&text))? + float(word(words, 2)?)?;
    let text = sum.to_string().into_bytes();
    *database.or_new::<Word>(db, &words[1])? = text.clone();
    Ok((
        Reply::Bulk(text.clone()),
        Sent::As(vec![made(&[b"SET", &words[1], &text, b"KEEPTTL"])]),
    ))
}

pub fn append(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let more = word(words, 2)?.clone();
    let text = database.or_new::<Word>(db, &words[1])?;
    text.extend_from_slice(&more);
    Ok((Reply::Int(text.len() as i64), Sent::Verbatim))
}

pub fn setrange(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)? as usize;
    let part = word(words, 3)?.clone();
    if part.is_empty() {
        let len = database
            .existing::<Word>(db, &words[1])?
            .map_or(0, |text| text.len());
        return Ok((Reply::Int(len as i64), Sent::Nothing));
    }
    let text = database.or_new::<Word>(db, &words[1])?;
    text.resize(text.len().max(at + part.len()), 0);
    text[at..at + part.len()].copy_from_slice(&part);
    Ok((Reply::Int(text.len() as i64), Sent::Verbatim))
}

pub fn setbit(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let at = integer(word(words, 2)?)? as usize;
    let on = integer(word(words, 3)?)? != 0;
    let text = database.or_new::<Word>(db, &words[1])?;
    let grows = text.len() <= at / 8;
    text.resize(text.len().max(at / 8 + 1), 0);
    let mask = 0x80 >> (at % 8);
    let old = text[at / 8] & mask != 0;
    text[at / 8] = if on {
        text[at / 8] | mask
    } else {
        text[at / 8] & !mask
    };
    let sent = if grows || old != on {
        Sent::Verbatim
    } else {
        Sent::Nothing
    };
    Ok((Reply::Int(i64::from(old)), sent))
}

/// `SET <type> <bit> <value>` and `INCRBY <type> <bit> <delta>`, wrapping; types of up to 63 bits.
pub fn bitfield(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let text = database.or_new::<Word>(db, word(words, 1)?)?;
    let mut changed = false;
    let mut replies = Vec::new();
    for op in words[2..].chunks_exact(4) {
        let (signed, width) = (op[1][0] == b'i', integer(&op[1][1..])? as usize);
        let (first, number) = (integer(&op[2])? as usize, integer(&op[3])?);
        let len = (first + width).div_ceil(8);
        changed |= text.len() < len;
        text.resize(text.len().max(len), 0);
        let places = (0..width).map(|bit| ((first + bit) / 8, 0x80u8 >> ((first + bit) % 8)));
        let raw = places.clone().fold(0u64, |raw, (byte, mask)| {
            raw << 1 | u64::from(text[byte] & mask != 0)
        });
        let as_number = |raw: u64| {
            let spare = 64 - width;
            let shifted = raw << spare;
            if signed {
                shifted as i64 >> spare
            } else {
                (shifted >> spare) as i64
            }
        };
        let old = as_number(raw);
        let new = match is(&op[0], "SET") {
            true => number,
            false => old.wrapping_add(number),
        };
        for (at, (byte, mask)) in places.enumerate() {
            let on = (new >> (width - 1 - at)) & 1 == 1;
            text[byte] = if on { text[byte] | mask } else { text[byte] & !mask };
        }
        let new = as_number(new as u64);
        changed |= new != old;
        replies.push(Reply::Int(if is(&op[0], "SET") { old } else { new }));
    }
    let sent = if changed { Sent::Verbatim } else { Sent::Nothing };
    Ok((Reply::Array(replies), sent))
}

pub fn bitop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let op = word(words, 1)?.to_ascii_uppercase();
    let mut sources = Vec::new();
    for key in &words[3..] {
        sources.push(database.existing::<Word>(db, key)?.cloned().unwrap_or_default());
    }
    let len = sources.iter().map(Vec::len).max().unwrap_or(0);
    let byte = |source: &Word, at: usize| source.get(at).copied().unwrap_or(0);
    let fold = |at: usize| {
        let mut bytes = sources.iter().map(|source| byte(source, at));
        let first = bytes.next().unwrap_or(0);
        match op.as_slice() {
            b"AND" => bytes.fold(first, |all, next| all & next),
            b"OR" => bytes.fold(first, |all, next| all | next),
            b"XOR" => bytes.fold(first, |all, next| all ^ next),
            _ => !first,
        }
    };
    let result: Word = (0..len).map(fold).collect();
    database.entry(db, &words[2]);
    let sent = if result.is_empty() {
        database.dbs[db].remove(&words[2]).is_some()
    } else {
        database.put_text(db, &words[2], result, None);
        true
    };
    Ok((
        Reply::Int(len as i64),
        if sent { Sent::Verbatim } else { Sent::Nothing },
    ))
}

/// A HyperLogLog stands here as the sorted list of its elements: a union like the real one.
const HLL: &[u8] = b"HYLL";

fn elements(text: &Word) -> Result<std::collections::BTreeSet<Word>, String> {
    let rest = text
        .strip_prefix(HLL)
        .ok_or("WRONGTYPE Key is not a valid HyperLogLog string value.")?;
    Ok(rest
        .split(|&byte| byte == b'\n')
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

fn hll(elements: &std::collections::BTreeSet<Word>) -> Word {
    let mut text = HLL.to_vec();
    for element in elements {
        text.push(b'\n');
        text.extend_from_slice(element);
    }
    text
}

pub fn pfadd(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let old = database.existing::<Word>(db, word(words, 1)?)?.cloned();
    let mut all = old.as_ref().map_or(Ok(Default::default()), elements)?;
    let before = all.len();
    all.extend(words[2..].iter().cloned());
    let changed = old.is_none() || all.len() > before;
    *database.or_new::<Word>(db, &words[1])? = hll(&all);
    counted(usize::from(changed))
}

pub fn pfmerge(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let mut all = std::collections::BTreeSet::new();
    for key in &words[1..] {
        if let Some(text) = database.existing::<Word>(db, key)? {
            all.extend(elements(text)?);
        }
    }
    *database.or_new::<Word>(db, &words[1])? = hll(&all);
    ok(Sent::Verbatim)
}

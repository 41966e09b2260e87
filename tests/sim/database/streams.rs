//! Streams, and their groups as a replica sees them.

use super::value::{EntryId, Pending, Stream};
use super::{Database, Outcome, Sent, Version, counted, integer, is, made, ok, syntax, word};
use crate::resp::{Reply, Word, Words};

const ZERO: EntryId = (0, 0);
const LOW: &str = "ERR The ID specified in XADD is equal or smaller than the target stream top item";

pub fn id(word: &[u8], default_seq: u64) -> Result<EntryId, String> {
    let text = std::str::from_utf8(word).map_err(|_| syntax())?;
    let bad = |_| "ERR Invalid stream ID specified as stream command argument".to_owned();
    match text.split_once('-') {
        None => Ok((text.parse().map_err(bad)?, default_seq)),
        Some((ms, seq)) => Ok((ms.parse().map_err(bad)?, seq.parse().map_err(bad)?)),
    }
}

pub fn text(id: EntryId) -> Word {
    format!("{}-{}", id.0, id.1).into_bytes()
}

/// MAXLEN or MINID, as it stands in the command.
struct Trim {
    at: usize,
    approximate: bool,
    threshold_at: usize,
}

fn find_trim(words: &Words, from: usize) -> Option<Trim> {
    let at = (from..words.len()).find(|&at| is(&words[at], "MAXLEN") || is(&words[at], "MINID"))?;
    let sign = words.get(at + 1)?;
    let has_sign = is(sign, "~") || is(sign, "=");
    Some(Trim {
        at,
        approximate: is(sign, "~"),
        threshold_at: at + 1 + usize::from(has_sign),
    })
}

/// Trims; an approximate one takes whole nodes away, and streams as short as those of the model have but one.
fn trim(stream: &mut Stream, words: &Words, trim: &Trim) -> Result<usize, String> {
    let threshold = word(words, trim.threshold_at)?;
    let is_to_length = is(&words[trim.at], "MAXLEN");
    if trim.approximate && !(is_to_length && integer(threshold)? == 0) {
        return Ok(0);
    }
    let before = stream.entries.len();
    if is_to_length {
        let most = integer(threshold)? as usize;
        while stream.entries.len() > most {
            stream.entries.pop_first();
        }
    } else {
        let least = id(threshold, 0)?;
        stream.entries.retain(|entry, _| *entry >= least);
    }
    Ok(before - stream.entries.len())
}

/// The trim as it is sent: an approximate one as what came of it.
fn sent_trim(words: &mut Words, trim: &Trim, stream: &Stream) {
    if trim.approximate {
        words[trim.at + 1] = b"=".to_vec();
        words[trim.threshold_at] = if is(&words[trim.at], "MAXLEN") {
            stream.entries.len().to_string().into_bytes()
        } else {
            text(stream.entries.keys().next().copied().unwrap_or(ZERO))
        };
    }
}

pub fn xadd(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let key = word(words, 1)?.clone();
    let mut at = 2;
    let no_make = is(word(words, at)?, "NOMKSTREAM");
    at += usize::from(no_make);
    let cut = find_trim(words, at).filter(|cut| cut.at == at);
    if let Some(cut) = &cut {
        at = cut.threshold_at + 1;
    }
    let now = database.now;
    let is_new = database.existing::<Stream>(db, &key)?.is_none();
    if no_make && is_new {
        return Ok((Reply::Null, Sent::Nothing));
    }
    let last = database
        .existing::<Stream>(db, &key)?
        .map_or(ZERO, |stream| stream.last);
    let wanted = word(words, at)?;
    let entry = if is(wanted, "*") {
        if now > last.0 {
            (now, 0)
        } else {
            (last.0, last.1 + 1)
        }
    } else {
        id(wanted, 0)?
    };
    if entry <= last {
        return Err(LOW.to_owned());
    }
    let stream = database.or_new::<Stream>(db, &key)?;
    stream.entries.insert(entry, words[at + 1..].to_vec());
    stream.last = entry;
    stream.added += 1;
    let mut sent = words.clone();
    sent[at] = text(entry);
    if let Some(cut) = &cut {
        trim(stream, words, cut)?;
        sent_trim(&mut sent, cut, stream);
    }
    Ok((Reply::Bulk(text(entry)), Sent::As(vec![sent])))
}

pub fn xdel(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(stream) = database.existing::<Stream>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let mut removed = 0;
    for entry in &words[2..] {
        let entry = id(entry, 0)?;
        if stream.entries.remove(&entry).is_some() {
            stream.max_deleted = stream.max_deleted.max(entry);
            removed += 1;
        }
    }
    counted(removed)
}

pub fn xtrim(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let cut = find_trim(words, 2).ok_or_else(syntax)?;
    let Some(stream) = database.existing::<Stream>(db, &words[1])? else {
        return counted(0);
    };
    let removed = trim(stream, words, &cut)?;
    let mut sent = words.clone();
    sent_trim(&mut sent, &cut, stream);
    let sent = if removed > 0 {
        Sent::As(vec![sent])
    } else {
        Sent::Nothing
    };
    Ok((Reply::Int(removed as i64), sent))
}

pub fn xsetid(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let wanted = id(word(words, 2)?, 0)?;
    let option = |name| words.iter().position(|word| is(word, name)).map(|at| at + 1);
    let added = option("ENTRIESADDED")
        .map(|at| integer(word(words, at)?))
        .transpose()?;
    let deleted = option("MAXDELETEDID")
        .map(|at| id(word(words, at)?, 0))
        .transpose()?;
    let strict = database.version != Version::Redis70;
    let stream = database
        .existing::<Stream>(db, &words[1])?
        .ok_or("ERR no such key")?;
    if stream
        .entries
        .last_key_value()
        .is_some_and(|(top, _)| wanted < *top)
    {
        return Err("ERR The ID specified in XSETID is smaller than the target stream top item".to_owned());
    }
    if added.is_some_and(|added| (added as usize) < stream.entries.len()) {
        return Err(
            "ERR The entries_added specified in XSETID is smaller than the target stream length".to_owned(),
        );
    }
    let highest = match deleted {
        Some(deleted) if deleted != ZERO => deleted,
        _ if strict => stream.max_deleted,
        _ => ZERO,
    };
    if wanted < highest {
        return Err("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id".to_owned());
    }
    stream.last = wanted;
    stream.added = added.map_or(stream.added, |added| added as u64);
    if let Some(deleted) = deleted.filter(|deleted| *deleted != ZERO) {
        stream.max_deleted = deleted;
    }
    ok(Sent::Verbatim)
}

pub fn xgroup(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (what, key, name) = (
        word(words, 1)?.to_ascii_uppercase(),
        word(words, 2)?,
        word(words, 3)?,
    );
    let make = words.iter().any(|word| is(word, "MKSTREAM"));
    if database.existing::<Stream>(db, key)?.is_none() {
        if what != b"CREATE" || !make {
            return Err("ERR The XGROUP subcommand requires the key to exist.".to_owned());
        }
        database.or_new::<Stream>(db, key)?;
    }
    let stream = database.or_new::<Stream>(db, key)?;
    let known = stream.groups.contains_key(name);
    let missing = || Err("NOGROUP No such consumer group".to_owned());
    match what.as_slice() {
        b"CREATE" if known => Err("BUSYGROUP Consumer Group name already exists".to_owned()),
        b"CREATE" | b"SETID" => {
            if what == b"SETID" && !known {
                return missing();
            }
            let from = word(words, 4)?;
            let last = if is(from, "$") { stream.last } else { id(from, 0)? };
            stream.groups.entry(name.clone()).or_default().last = last;
            ok(Sent::Verbatim)
        }
        b"DESTROY" => counted(usize::from(stream.groups.remove(name).is_some())),
        b"CREATECONSUMER" => match stream.groups.get_mut(name) {
            None => missing(),
            Some(group) => counted(usize::from(group.consumers.insert(word(words, 4)?.clone()))),
        },
        b"DELCONSUMER" => match stream.groups.get_mut(name) {
            None => missing(),
            Some(group) => {
                let consumer = word(words, 4)?;
                group.pending.retain(|_, pending| pending.consumer != *consumer);
                counted(usize::from(group.consumers.remove(consumer)))
            }
        },
        _ => Err(syntax()),
    }
}

pub fn xack(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let Some(stream) = database.existing::<Stream>(db, word(words, 1)?)? else {
        return counted(0);
    };
    let Some(group) = stream.groups.get_mut(word(words, 2)?) else {
        return counted(0);
    };
    let mut removed = 0;
    for entry in &words[3..] {
        removed += usize::from(group.pending.remove(&id(entry, 0)?).is_some());
    }
    counted(removed)
}

/// A delivery as a replica is told it.
fn claim(key: &Word, group: &Word, entry: EntryId, pending: &Pending, last: EntryId) -> Words {
    let (delivered, count) = (pending.delivered_ms.to_string(), pending.count.to_string());
    let mut words = made(&[b"XCLAIM", key, group, &pending.consumer, b"0", &text(entry)]);
    words.extend(made(&[
        b"TIME",
        delivered.as_bytes(),
        b"RETRYCOUNT",
        count.as_bytes(),
    ]));
    words.extend(made(&[b"FORCE", b"JUSTID", b"LASTID", &text(last)]));
    words
}

/// XREADGROUP GROUP group consumer COUNT n STREAMS key >
pub fn xreadgroup(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (name, consumer, key) = (word(words, 2)?, word(words, 3)?, word(words, 7)?);
    let count = integer(word(words, 5)?)? as usize;
    let (now, version) = (database.now, database.version);
    let none = "NOGROUP No such key or consumer group";
    let stream = database.existing::<Stream>(db, key)?.ok_or(none)?;
    let group = stream.groups.get_mut(name).ok_or(none)?;
    let next: Vec<EntryId> = stream
        .entries
        .keys()
        .copied()
        .filter(|entry| *entry > group.last)
        .take(count)
        .collect();
    group.consumers.insert(consumer.clone());
    let mut sent = Vec::new();
    for entry in &next {
        group.last = *entry;
        let pending = Pending {
            consumer: consumer.clone(),
            delivered_ms: now,
            count: 1,
        };
        sent.push(claim(key, name, *entry, &pending, *entry));
        group.pending.insert(*entry, pending);
    }
    if version == Version::Valkey8 && !next.is_empty() {
        let read = stream
            .entries
            .keys()
            .filter(|entry| **entry <= group.last)
            .count()
            .to_string();
        sent.push(made(&[
            b"XGROUP",
            b"SETID",
            key,
            name,
            &text(group.last),
            b"ENTRIESREAD",
            read.as_bytes(),
        ]));
    }
    let reply = Reply::Array(next.into_iter().map(|entry| Reply::Bulk(text(entry))).collect());
    Ok((
        reply,
        if sent.is_empty() {
            Sent::Nothing
        } else {
            Sent::As(sent)
        },
    ))
}

pub fn xclaim(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (key, name, consumer) = (word(words, 1)?, word(words, 2)?, word(words, 3)?);
    let now = database.now;
    let ids: Vec<EntryId> = words[5..].iter().map_while(|word| id(word, 0).ok()).collect();
    let rest = &words[5 + ids.len()..];
    let option = |name| {
        rest.iter()
            .position(|word| is(word, name))
            .and_then(|at| rest.get(at + 1))
    };
    let has = |name| rest.iter().any(|word| is(word, name));
    let delivered = option("TIME")
        .map(|time| integer(time))
        .transpose()?
        .map_or(now, |time| (time as u64).min(now));
    let count = option("RETRYCOUNT").map(|count| integer(count)).transpose()?;
    let last = option("LASTID").map(|last| id(last, 0)).transpose()?;
    let none = "NOGROUP No such key or consumer group";
    let stream = database.existing::<Stream>(db, key)?.ok_or(none)?;
    let group = stream.groups.get_mut(name).ok_or(none)?;
    let moves = last.is_some_and(|last| last > group.last);
    group.last = group.last.max(last.unwrap_or(ZERO));
    let mut sent = Vec::new();
    let mut claimed = Vec::new();
    for entry in ids {
        let known = group.pending.get(&entry).cloned();
        if !stream.entries.contains_key(&entry) {
            if let Some(known) = known {
                sent.push(claim(key, name, entry, &known, group.last));
                group.pending.remove(&entry);
            }
            continue;
        }
        if known.is_none() && !has("FORCE") {
            continue;
        }
        let before = known.map_or(1, |known| known.count + u64::from(!has("JUSTID")));
        let pending = Pending {
            consumer: consumer.clone(),
            delivered_ms: delivered,
            count: count.map_or(before, |count| count as u64),
        };
        group.consumers.insert(consumer.clone());
        sent.push(claim(key, name, entry, &pending, group.last));
        group.pending.insert(entry, pending);
        claimed.push(Reply::Bulk(text(entry)));
    }
    if sent.is_empty() && moves {
        sent.push(made(&[b"XGROUP", b"SETID", key, name, &text(group.last)]));
    }
    Ok((
        Reply::Array(claimed),
        if sent.is_empty() {
            Sent::Nothing
        } else {
            Sent::As(sent)
        },
    ))
}

//! The one script that the engine sends, as a server executes it: a stream's entries are put in their places.

use std::collections::BTreeSet;

use super::streams::{id, text, xadd, xdel, xsetid, xtrim};
use super::table::Run;
use super::value::{EntryId, Stream};
use super::{Database, Outcome, Sent, integer, is, made, word};
use crate::resp::{Reply, Word, Words};

const LOWEST: EntryId = (0, 1);

/// A script that runs: what it calls is sent.
struct Script<'a> {
    database: &'a mut Database,
    db: usize,
    key: Word,
    sent: Vec<Words>,
}

impl Script<'_> {
    fn call(&mut self, run: Run, name: &str, rest: &[&[u8]]) {
        let mut words = made(&[name.as_bytes(), &self.key]);
        words.extend(made(rest));
        match run(self.database, self.db, &words) {
            Err(error) => panic!("a script failed half way: {} {error}", crate::resp::show(&words)),
            Ok((_, Sent::Nothing)) => {}
            Ok(_) => self.sent.push(words),
        }
    }

    fn stream(&mut self) -> Option<Stream> {
        let found = self.database.existing::<Stream>(self.db, &self.key);
        found.expect("a stream or nothing").cloned()
    }

    fn delete(&mut self, ids: &[EntryId]) {
        let ids: Vec<Word> = ids.iter().map(|id| text(*id)).collect();
        let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        if !ids.is_empty() {
            self.call(xdel, "xdel", &ids);
        }
    }

    fn set_id(&mut self, name: &str, last: EntryId, rest: Option<(u64, EntryId)>) {
        let (last, added) = (text(last), rest.map(|(added, _)| added.to_string()));
        let deleted = rest.map(|(_, deleted)| text(deleted));
        let mut words: Vec<&[u8]> = vec![&last];
        if let (Some(added), Some(deleted)) = (&added, &deleted) {
            words.extend([
                b"ENTRIESADDED".as_slice(),
                added.as_bytes(),
                b"MAXDELETEDID",
                deleted,
            ]);
        }
        self.call(xsetid, name, &words);
    }

    /// Puts in what is missing; gives the last id, and whether anything was taken away for it.
    fn splice(&mut self, missing: &[Asked], before: Option<&Stream>, added: u64) -> (EntryId, bool) {
        let mut put: Vec<(EntryId, Vec<Word>)> = Vec::new();
        let mut raised = false;
        let first = &missing[0];
        if let Some(stream) = before.filter(|stream| stream.last >= first.id) {
            put.extend(
                stream
                    .entries
                    .range(first.id..)
                    .map(|(id, fields)| (*id, fields.clone())),
            );
            let ids: Vec<EntryId> = put.iter().map(|(id, _)| *id).collect();
            raised = !ids.is_empty();
            self.delete(&ids);
            self.set_id("xsetid", stream.last, Some((added, LOWEST)));
            self.set_id("xsetid", first.lower, None);
        }
        put.retain(|(id, _)| missing.iter().all(|asked| asked.id != *id));
        put.extend(missing.iter().map(|asked| (asked.id, asked.fields.clone())));
        put.sort();
        for (id, fields) in &put {
            let id = text(*id);
            let mut words: Vec<&[u8]> = vec![&id];
            words.extend(fields.iter().map(Vec::as_slice));
            self.call(xadd, "xadd", &words);
        }
        let top = put.last().expect("something missing").0;
        (before.map_or(top, |stream| stream.last.max(top)), raised)
    }

    /// Trims what is under the first of these ids. The others, the newest first, count as if they were there.
    fn trim_rest(&mut self, most: &Word, ids: &[EntryId]) {
        let (under, gone) = ids.split_first().expect("an id");
        let stream = self.stream().unwrap_or_default();
        let mut most = integer(most).expect("a number") as usize;
        for id in gone {
            let newer = stream.entries.range(*id..*under).filter(|(at, _)| *at != id);
            if newer.count() < most {
                most -= 1;
            }
        }
        let all = stream.entries.range(*under..).count() + most;
        self.call(xtrim, "xtrim", &[b"MAXLEN", all.to_string().as_bytes()]);
    }

    /// Trims what it sees; whether that was entry by entry.
    fn trim(&mut self, kind: &Word, threshold: &Word, keep: &BTreeSet<EntryId>) -> bool {
        let stream = self.stream().unwrap_or_default();
        let kept = keep.iter().filter(|id| stream.entries.contains_key(id)).count();
        if kept == 0 {
            self.call(xtrim, "xtrim", &[kind, threshold]);
            return false;
        }
        let seen = stream.entries.keys().copied().filter(|id| !keep.contains(id));
        let gone: Vec<EntryId> = if is(kind, "MINID") {
            let least = id(threshold, 0).expect("an id");
            seen.take_while(|id| *id < least).collect()
        } else {
            let most = integer(threshold).expect("a number") as usize;
            seen.take((stream.entries.len() - kept).saturating_sub(most))
                .collect()
        };
        self.delete(&gone);
        !gone.is_empty()
    }
}

/// An entry that is to be there.
struct Asked {
    id: EntryId,
    lower: EntryId,
    fields: Vec<Word>,
}

/// EVAL script 1 key trim threshold last count id... (id id-before count word...)...
pub fn eval(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let key = word(words, 3)?.clone();
    let Ok(before) = database.existing::<Stream>(db, &key).map(|found| found.cloned()) else {
        return Ok((Reply::Int(0), Sent::Nothing));
    };
    let args = &words[4..];
    let entry_id = |at: usize| id(&args[at], 0);
    let count = |at: usize| integer(&args[at]).map(|count| count as usize);
    let mut at = 4 + count(3)?;
    let ids: Vec<EntryId> = (4..at).map(entry_id).collect::<Result<_, _>>()?;
    let mut missing = Vec::new();
    let mut added = before.as_ref().map_or(0, |stream| stream.added);
    while at < args.len() {
        let words = count(at + 2)?;
        let asked = Asked {
            id: entry_id(at)?,
            lower: entry_id(at + 1)?,
            fields: args[at + 3..at + 3 + words].to_vec(),
        };
        at += 3 + words;
        let found = before.as_ref().and_then(|stream| stream.entries.get(&asked.id));
        if found != Some(&asked.fields) {
            added += u64::from(found.is_none());
            missing.push(asked);
        }
    }
    let mut script = Script {
        database,
        db,
        key,
        sent: Vec::new(),
    };
    let mut raised = false;
    let mut last = before.as_ref().map(|stream| stream.last);
    if !missing.is_empty() {
        let (top, deleted) = script.splice(&missing, before.as_ref(), added);
        (last, raised) = (Some(top), deleted);
    }
    let Some(mut last) = last else {
        return Ok((Reply::Int(0), Sent::Nothing));
    };
    if !args[2].is_empty() {
        last = last.max(entry_id(2)?);
    }
    if is(&args[0], "REST") {
        script.trim_rest(&args[1], &ids);
    } else if !args[0].is_empty() {
        raised |= script.trim(&args[0], &args[1], &ids.into_iter().collect());
    }
    let rest = before.map(|stream| match stream.max_deleted {
        (0, 0) if raised => (added, LOWEST),
        deleted => (added, deleted),
    });
    script.set_id("XSETID", last, rest);
    Ok((Reply::Int(1), Sent::As(script.sent)))
}

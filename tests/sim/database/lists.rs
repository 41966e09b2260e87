//! Lists.

use std::collections::VecDeque;

use super::{Database, Outcome, Sent, counted, integer, is, made, ok, word};
use crate::resp::{Reply, Word, Words};

type List = VecDeque<Word>;

fn push(list: &mut List, element: &Word, left: bool) {
    if left {
        list.push_front(element.clone());
    } else {
        list.push_back(element.clone());
    }
}

fn take(list: &mut List, left: bool) -> Option<Word> {
    if left { list.pop_front() } else { list.pop_back() }
}

fn push_all(database: &mut Database, db: usize, words: &Words, left: bool) -> Outcome {
    let list = database.or_new::<List>(db, word(words, 1)?)?;
    words[2..].iter().for_each(|element| push(list, element, left));
    Ok((Reply::Int(list.len() as i64), Sent::Verbatim))
}

pub fn lpush(database: &mut Database, db: usize, words: &Words) -> Outcome {
    push_all(database, db, words, true)
}

pub fn rpush(database: &mut Database, db: usize, words: &Words) -> Outcome {
    push_all(database, db, words, false)
}

fn push_existing(database: &mut Database, db: usize, words: &Words, left: bool) -> Outcome {
    match database.existing::<List>(db, word(words, 1)?)? {
        Some(_) => push_all(database, db, words, left),
        None => counted(0),
    }
}

pub fn lpushx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    push_existing(database, db, words, true)
}

pub fn rpushx(database: &mut Database, db: usize, words: &Words) -> Outcome {
    push_existing(database, db, words, false)
}

fn pop(database: &mut Database, db: usize, words: &Words, left: bool) -> Outcome {
    let count = words.get(2).map_or(Ok(1), |count| integer(count))?;
    let Some(list) = database.existing::<List>(db, word(words, 1)?)? else {
        return Ok((Reply::Null, Sent::Nothing));
    };
    let popped: Vec<Word> = (0..count).map_while(|_| take(list, left)).collect();
    database.drop_if_empty(db, &words[1]);
    database.popped = (!popped.is_empty()).then(|| (db, words[1].clone(), popped.clone()));
    let popped: Vec<Reply> = popped.into_iter().map(Reply::Bulk).collect();
    let sent = if popped.is_empty() {
        Sent::Nothing
    } else {
        Sent::Verbatim
    };
    Ok((Reply::Array(popped), sent))
}

pub fn lpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    pop(database, db, words, true)
}

pub fn rpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    pop(database, db, words, false)
}

/// LMPOP 1 key LEFT|RIGHT [COUNT n]
pub fn lmpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let left = is(word(words, 3)?, "LEFT");
    let count = words.get(5).map_or(Ok(1), |count| integer(count))? as usize;
    let len = database
        .existing::<List>(db, word(words, 2)?)?
        .map_or(0, |list| list.len());
    if len == 0 {
        return Ok((Reply::Null, Sent::Nothing));
    }
    let count = count.min(len).to_string();
    let name: &[u8] = if left { b"LPOP" } else { b"RPOP" };
    let popped = made(&[name, &words[2], count.as_bytes()]);
    let (reply, _) = pop(database, db, &popped, left)?;
    Ok((reply, Sent::As(vec![popped])))
}

/// BLPOP and BRPOP on one key that is not empty, and so do not block.
pub fn blpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let popped = made(&[b"LPOP", word(words, 1)?]);
    let (reply, sent) = pop(database, db, &popped, true)?;
    Ok((reply, rewritten(sent, popped)))
}

pub fn brpop(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let popped = made(&[b"RPOP", word(words, 1)?]);
    let (reply, sent) = pop(database, db, &popped, false)?;
    Ok((reply, rewritten(sent, popped)))
}

fn rewritten(sent: Sent, words: Words) -> Sent {
    match sent {
        Sent::Nothing => Sent::Nothing,
        _ => Sent::As(vec![words]),
    }
}

/// The place of an index, negative ones from the end.
fn place(index: i64, len: usize) -> i64 {
    if index < 0 { index + len as i64 } else { index }
}

pub fn lset(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let index = integer(word(words, 2)?)?;
    let list = database
        .existing::<List>(db, &words[1])?
        .ok_or("ERR no such key")?;
    let at = place(index, list.len());
    let slot = usize::try_from(at).ok().and_then(|at| list.get_mut(at));
    *slot.ok_or("ERR index out of range")? = word(words, 3)?.clone();
    ok(Sent::Verbatim)
}

pub fn linsert(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let before = is(word(words, 2)?, "BEFORE");
    let Some(list) = database.existing::<List>(db, &words[1])? else {
        return counted(0);
    };
    let Some(at) = list.iter().position(|element| *element == words[3]) else {
        return Ok((Reply::Int(-1), Sent::Nothing));
    };
    list.insert(if before { at } else { at + 1 }, word(words, 4)?.clone());
    Ok((Reply::Int(list.len() as i64), Sent::Verbatim))
}

pub fn lrem(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let count = integer(word(words, 2)?)?;
    let Some(list) = database.existing::<List>(db, &words[1])? else {
        return counted(0);
    };
    let mut left = if count == 0 {
        usize::MAX
    } else {
        count.unsigned_abs() as usize
    };
    let mut removed = 0;
    let mut keep = |element: &Word| {
        let goes = left > 0 && *element == words[3];
        left -= usize::from(goes);
        removed += usize::from(goes);
        !goes
    };
    let kept: List = if count < 0 {
        let mut kept: List = list
            .iter()
            .rev()
            .filter(|element| keep(element))
            .cloned()
            .collect();
        kept.make_contiguous().reverse();
        kept
    } else {
        list.iter().filter(|element| keep(element)).cloned().collect()
    };
    *list = kept;
    database.drop_if_empty(db, &words[1]);
    counted(removed)
}

pub fn ltrim(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from, to) = (integer(word(words, 2)?)?, integer(word(words, 3)?)?);
    let Some(list) = database.existing::<List>(db, &words[1])? else {
        return ok(Sent::Nothing);
    };
    let len = list.len();
    let from = place(from, len).max(0) as usize;
    let to = (place(to, len) + 1).clamp(0, len as i64) as usize;
    let kept: List = if from < to {
        list.range(from..to).cloned().collect()
    } else {
        List::new()
    };
    let changed = kept.len() < len;
    *list = kept;
    database.drop_if_empty(db, &words[1]);
    ok(if changed { Sent::Verbatim } else { Sent::Nothing })
}

fn shift(database: &mut Database, db: usize, words: &Words, from_left: bool, to_left: bool) -> Outcome {
    let (from, to) = (word(words, 1)?, word(words, 2)?);
    if database.existing::<List>(db, from)?.is_none() {
        return Ok((Reply::Null, Sent::Nothing));
    }
    database.existing::<List>(db, to)?;
    let Some(element) = database
        .existing::<List>(db, from)?
        .and_then(|list| take(list, from_left))
    else {
        return Ok((Reply::Null, Sent::Nothing));
    };
    if from == to {
        push(database.or_new::<List>(db, to)?, &element, to_left);
    } else {
        database.drop_if_empty(db, from);
        push(database.or_new::<List>(db, to)?, &element, to_left);
    }
    Ok((Reply::Bulk(element), Sent::Verbatim))
}

pub fn rpoplpush(database: &mut Database, db: usize, words: &Words) -> Outcome {
    shift(database, db, words, false, true)
}

pub fn lmove(database: &mut Database, db: usize, words: &Words) -> Outcome {
    let (from_left, to_left) = (is(word(words, 3)?, "LEFT"), is(word(words, 4)?, "LEFT"));
    shift(database, db, words, from_left, to_left)
}

//! What must hold of lists.

use super::evaluate::count;
use super::lists;
use super::operation::{Effect, Op};
use crate::database::{Entry, Value};
use crate::resp::{Word, words};

const PUSHES: &[&[u8]] = &[b"LPUSH", b"RPUSH", b"LPUSHX", b"RPUSHX"];

fn is(name: &Word, all: &[&[u8]]) -> bool {
    all.contains(&name.as_slice())
}

/// Judges a list: what was pushed once is there at most once; if it was only pushed to and popped from, all of it is
/// as the rules say; if it was only pushed to and deleted, exactly what no delete saw is there.
///
/// Of pops it is known what their sites told of them, and what each site's clients were given.
pub fn judge(
    ops: &[&Op],
    (told, given): (&[Op], &[Vec<Vec<Word>>]),
    held: Option<&Entry>,
) -> Result<(), String> {
    let names: Vec<Word> = ops
        .iter()
        .map(|op| words(&op.text)[0].to_ascii_uppercase())
        .collect();
    let others: &[&[u8]] = &[
        b"DEL",
        b"UNLINK",
        b"PEXPIREAT",
        b"PERSIST",
        b"FLUSHALL",
        b"FLUSHDB",
        b"RESTORE",
    ];
    let edits: &[&[u8]] = &[b"LPOP", b"RPOP", b"LSET", b"LINSERT", b"LREM", b"LTRIM"];
    if !names
        .iter()
        .all(|name| is(name, PUSHES) || is(name, others) || is(name, edits))
    {
        return Ok(());
    }
    let list: Vec<Word> = match held.map(|entry| &entry.value) {
        None => Vec::new(),
        Some(Value::List(list)) => list.iter().cloned().collect(),
        // The value in a snapshot may be of any type.
        Some(_) if ops.iter().any(|op| op.is_state) => return Ok(()),
        Some(other) => return Err(format!("{other:?} is no list")),
    };
    if let Some((twice, _)) = count(list.iter()).into_iter().find(|(_, times)| *times > 1) {
        return Err(format!("{} is in the list twice", String::from_utf8_lossy(twice)));
    }
    if lists::are_pushes_and_pops(&names) {
        let ideal = lists::evaluate(ops, told, given)?;
        if ideal != list {
            let show = |list: &[Word]| -> Vec<String> {
                let text = |word: &Word| String::from_utf8_lossy(word).into_owned();
                list.iter().map(text).collect()
            };
            return Err(format!("should be {:?}, is {:?}", show(&ideal), show(&list)));
        }
        return Ok(());
    }
    match names.iter().any(|name| is(name, edits)) {
        true => Ok(()),
        false => judge_pushes(ops, &names, &list),
    }
}

/// Whether a list that was only pushed to and deleted holds what no delete saw.
fn judge_pushes(ops: &[&Op], names: &[Word], list: &[Word]) -> Result<(), String> {
    // A DEL that is concurrent with a value shipped for the others takes more than it saw (docs/testing.md).
    let shipped = ops.iter().zip(names).filter(|(_, name)| is(name, &[b"RESTORE"]));
    let mut shipped = shipped.map(|(op, _)| op);
    if shipped.any(|value| {
        ops.iter()
            .any(|op| op.effect == Effect::Del && !op.sees(value) && !value.sees(op))
    }) {
        return Ok(());
    }
    let deletes: Vec<&&Op> = ops.iter().filter(|op| op.effect == Effect::Del).collect();
    for (op, _) in ops.iter().zip(names).filter(|(_, name)| is(name, PUSHES)) {
        if ops.iter().any(|state| state.is_state && state.has_met(op)) {
            // A snapshot tells whether it was still there.
            continue;
        }
        let gone = deletes.iter().any(|delete| delete.sees(op));
        for element in &words(&op.text)[2..] {
            if list.contains(element) == gone {
                let what = if gone {
                    "was deleted and is there"
                } else {
                    "was pushed and is missing"
                };
                return Err(format!("{} {what}", String::from_utf8_lossy(element)));
            }
        }
    }
    Ok(())
}

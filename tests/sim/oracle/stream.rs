//! What must hold of streams with groups, and where a value was shipped.

use super::operation::{Effect, Op, id};
use crate::database::{Entry, Value};
use crate::resp::{Words, words};

const ALL: [&[u8]; 13] = [
    b"XADD",
    b"XDEL",
    b"XTRIM",
    b"XGROUP",
    b"XACK",
    b"XCLAIM",
    b"DEL",
    b"UNLINK",
    b"PEXPIREAT",
    b"PERSIST",
    b"FLUSHALL",
    b"FLUSHDB",
    b"RESTORE",
];

/// Judges a stream: an entry that nothing saw which removes any is there.
pub fn judge(ops: &[&Op], held: Option<&Entry>) -> Result<(), String> {
    let commands: Vec<Words> = ops.iter().map(|op| words(&op.text)).collect();
    let name = |words: &Words| words[0].to_ascii_uppercase();
    if !commands.iter().all(|words| ALL.contains(&name(words).as_slice())) {
        return Ok(());
    }
    // A DEL that is concurrent with a value shipped for the others takes more than it saw (docs/testing.md).
    let is_shipped = |at: &usize| name(&commands[*at]) == b"RESTORE";
    let mut shipped = (0..ops.len()).filter(is_shipped).map(|at| ops[at]);
    let is_beside = |value: &Op, op: &&Op| op.effect == Effect::Del && !op.sees(value) && !value.sees(op);
    if shipped.any(|value| ops.iter().any(|op| is_beside(value, op))) {
        return Ok(());
    }
    let is_trim = |words: &Words| {
        let mut options = words.iter().skip(2).take(2);
        options.any(|word| word.eq_ignore_ascii_case(b"MAXLEN") || word.eq_ignore_ascii_case(b"MINID"))
    };
    let removes = |at: usize| {
        let is_entry = name(&commands[at]) == b"XADD";
        ops[at].effect == Effect::Del || name(&commands[at]) == b"XDEL" || is_trim(&commands[at]) && !is_entry
    };
    let entries = match held.map(|entry| &entry.value) {
        Some(Value::Stream(stream)) => Some(&stream.entries),
        None => None,
        // The value in a snapshot may be of any type.
        Some(_) if ops.iter().any(|op| op.is_state) => return Ok(()),
        Some(other) => return Err(format!("{other:?} is no stream")),
    };
    for (op, command) in ops.iter().zip(&commands) {
        if name(command) != b"XADD" {
            continue;
        }
        let may_go = |at: usize| {
            let trims = is_trim(&commands[at]) && (ops[at].site, ops[at].seq) == (op.site, op.seq);
            ops[at].sees(op) && (removes(at) || is_trim(&commands[at])) || trims
        };
        let at = 2 + 2 * usize::from(is_trim(command));
        let at = at + usize::from(command[at - 1] == b"=");
        let entry = id(&command[at]);
        let is_there = entries.is_some_and(|entries| entries.contains_key(&entry));
        if !is_there && !(0..ops.len()).any(may_go) {
            return Err(format!(
                "the entry {entry:?} was seen by no removal and is missing"
            ));
        }
    }
    Ok(())
}

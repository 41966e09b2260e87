//! Effects as commands in RESP.

use bytes::{Bytes, BytesMut};

use crate::command::effect::{Effect, SetExpiry, Splice};
use crate::command::entries::{self, Trim};
use crate::command::pieces::Piece;
use crate::command::took;
use crate::resp::encode;

/// A command as it is executed again: that it stands in a stream tells that its condition held.
pub fn unconditional(raw: &Bytes) -> Bytes {
    let name_at = raw
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    let rest = raw.get(name_at..).unwrap_or_default();
    let is_push = |name: &[u8]| name.eq_ignore_ascii_case(b"LPUSHX") || name.eq_ignore_ascii_case(b"RPUSHX");
    match rest
        .strip_prefix(b"$6\r\n")
        .and_then(|rest| rest.split_at_checked(6))
    {
        Some((name, args)) if is_push(name) => {
            let head = raw.get(..name_at).unwrap_or_default();
            [head, b"$5\r\n", name.get(..5).unwrap_or_default(), args]
                .concat()
                .into()
        }
        _ => raw.clone(),
    }
}

/// The command that has this effect on a key, or tells of it. Opaque and derived effects have none: they are replayed as they came.
pub fn render(key: &[u8], effect: &Effect) -> Bytes {
    let mut owned: Vec<Vec<u8>> = Vec::new();
    let (name, args): (&[u8], Vec<&[u8]>) = match effect {
        Effect::Del | Effect::Opaque | Effect::Derived => (b"DEL", Vec::new()),
        Effect::Set { value, expiry } => {
            let mut args: Vec<&[u8]> = vec![value];
            match expiry {
                SetExpiry::Clear => {}
                SetExpiry::Keep => args.push(b"KEEPTTL"),
                SetExpiry::At(ms) => {
                    owned.push(ms.to_string().into_bytes());
                    args.push(b"PXAT");
                }
            }
            (b"SET", args)
        }
        Effect::Count { delta } => {
            owned.push(delta.to_string().into_bytes());
            (b"INCRBY", Vec::new())
        }
        Effect::SetAdd(names) => (b"SADD", names.iter().map(AsRef::as_ref).collect()),
        Effect::Bits(bits) => return set_bits(key, bits),
        Effect::Union(names) => (b"PFADD", names.iter().filter_map(element).collect()),
        Effect::SetRemove(names) => (b"SREM", names.iter().map(AsRef::as_ref).collect()),
        Effect::HashRemove(names) => (b"HDEL", names.iter().map(AsRef::as_ref).collect()),
        Effect::SortedRemove(names) => (b"ZREM", names.iter().map(AsRef::as_ref).collect()),
        Effect::HashSet(pairs) => (
            b"HSET",
            pairs.iter().flat_map(|(f, v)| [f.as_ref(), v.as_ref()]).collect(),
        ),
        Effect::HashSetTimed { .. } | Effect::FieldExpire { .. } => return of_fields(key, effect),
        Effect::HashCount { field, delta } => {
            owned.push(delta.to_string().into_bytes());
            (b"HINCRBY", vec![field])
        }
        Effect::SortedAdd(pairs) => return sorted(b"ZADD", key, pairs.iter().map(|(s, m)| (*s, m))),
        Effect::SortedCount { member, delta } => {
            return sorted(b"ZINCRBY", key, std::iter::once((*delta, member)));
        }
        Effect::StreamAdd { .. }
        | Effect::StreamRemove(_)
        | Effect::StreamTrim(_)
        | Effect::StreamSplice(_) => return of_stream(key, effect),
        Effect::ListPush { .. }
        | Effect::ListPop { .. }
        | Effect::ListInsert { .. }
        | Effect::ListRemove { .. } => return of_list(key, effect),
        Effect::ListTook { pop, took } => return took::encode(key, *pop, took),
        Effect::Expire { at_unix_ms: None } => (b"PERSIST", Vec::new()),
        Effect::Expire { at_unix_ms: Some(ms) } => {
            owned.push(ms.to_string().into_bytes());
            (b"PEXPIREAT", Vec::new())
        }
        Effect::Restore {
            payload, ttl_unix_ms, ..
        } => {
            owned.push(ttl_unix_ms.unwrap_or(0).to_string().into_bytes());
            let ttl = owned[0].clone();
            return command(&[b"RESTORE", key, &ttl, payload, b"REPLACE", b"ABSTTL"]);
        }
    };
    let mut all: Vec<&[u8]> = vec![name, key];
    all.extend(args);
    all.extend(owned.iter().map(Vec::as_slice));
    command(&all)
}

fn of_fields(key: &[u8], effect: &Effect) -> Bytes {
    let mut words: Vec<Vec<u8>> = Vec::new();
    match effect {
        Effect::HashSetTimed { pairs, expiry } => {
            words.extend([b"HSETEX".to_vec(), key.to_vec()]);
            match expiry {
                SetExpiry::Clear => {}
                SetExpiry::Keep => words.push(b"KEEPTTL".to_vec()),
                SetExpiry::At(ms) => words.extend([b"PXAT".to_vec(), ms.to_string().into_bytes()]),
            }
            words.extend([b"FIELDS".to_vec(), pairs.len().to_string().into_bytes()]);
            words.extend(pairs.iter().flat_map(|(f, v)| [f.to_vec(), v.to_vec()]));
        }
        Effect::FieldExpire { fields, at_unix_ms } => {
            match at_unix_ms {
                None => words.extend([b"HPERSIST".to_vec(), key.to_vec()]),
                Some(ms) => words.extend([b"HPEXPIREAT".to_vec(), key.to_vec(), ms.to_string().into_bytes()]),
            }
            words.extend([b"FIELDS".to_vec(), fields.len().to_string().into_bytes()]);
            words.extend(fields.iter().map(|field| field.to_vec()));
        }
        _ => {}
    }
    command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn of_list(key: &[u8], effect: &Effect) -> Bytes {
    let count;
    let words: Vec<&[u8]> = match effect {
        Effect::ListPush { left, elements } => {
            let name: &[u8] = if *left { b"LPUSH" } else { b"RPUSH" };
            let values = elements.iter().map(|(_, value)| value.as_ref());
            [name, key].into_iter().chain(values).collect()
        }
        Effect::ListPop {
            left, count: many, ..
        } => {
            count = many.to_string();
            vec![if *left { b"LPOP" } else { b"RPOP" }, key, count.as_bytes()]
        }
        Effect::ListInsert {
            before,
            pivot,
            element,
        } => {
            let side: &[u8] = if *before { b"BEFORE" } else { b"AFTER" };
            vec![b"LINSERT", key, side, pivot, &element.1]
        }
        Effect::ListRemove { left, element } => {
            vec![b"LREM", key, if *left { b"1" } else { b"-1" }, &element.1]
        }
        _ => Vec::new(),
    };
    command(&words)
}

/// An element of a HyperLogLog behind its name.
fn element(name: &Bytes) -> Option<&[u8]> {
    match Piece::of(name) {
        Some(Piece::Element(element)) => Some(element),
        _ => None,
    }
}

/// One command, whatever the number of bits: neighbours go as one number, of 63 bits at most (BITFIELD's unsigned).
fn set_bits(key: &[u8], bits: &[(Bytes, bool)]) -> Bytes {
    let offsets = bits.iter().filter_map(|(name, bit)| match Piece::of(name) {
        Some(Piece::Bit(offset)) => Some((offset, *bit)),
        _ => None,
    });
    let mut runs: Vec<(u64, u32, u64)> = Vec::new();
    for (offset, bit) in offsets {
        match runs.last_mut() {
            Some((first, width, value)) if *first + u64::from(*width) == offset && *width < 63 => {
                *width += 1;
                *value = *value << 1 | u64::from(bit);
            }
            _ => runs.push((offset, 1, u64::from(bit))),
        }
    }
    if let [(offset, 1, bit)] = runs[..] {
        return command(&[
            b"SETBIT",
            key,
            offset.to_string().as_bytes(),
            bit.to_string().as_bytes(),
        ]);
    }
    let words = |(offset, width, value): (u64, u32, u64)| {
        [
            "SET".to_owned(),
            format!("u{width}"),
            offset.to_string(),
            value.to_string(),
        ]
    };
    let words: Vec<String> = runs.into_iter().flat_map(words).collect();
    let mut args: Vec<&[u8]> = vec![b"BITFIELD", key];
    args.extend(words.iter().map(String::as_bytes));
    command(&args)
}

/// Puts entries in their places, whatever the stream holds when it is executed.
const SPLICE: &str = include_str!("splice.lua");

fn of_stream(key: &[u8], effect: &Effect) -> Bytes {
    let mut words: Vec<Vec<u8>> = Vec::new();
    match effect {
        Effect::StreamAdd { id, fields, trim } => {
            words.extend([b"XADD".to_vec(), key.to_vec()]);
            words.extend(trim.iter().flat_map(trim_words));
            words.push(id_text(id));
            words.extend(fields.iter().map(|word| word.to_vec()));
        }
        Effect::StreamTrim(trim) => {
            words.extend([b"XTRIM".to_vec(), key.to_vec()]);
            words.extend(trim_words(trim));
        }
        Effect::StreamRemove(ids) => {
            words.extend([b"XDEL".to_vec(), key.to_vec()]);
            words.extend(ids.iter().map(id_text));
            if ids.is_empty() {
                // The command takes one at least, and no entry has this one.
                words.push(text_of((0, 0)));
            }
        }
        Effect::StreamSplice(splice) => {
            let script = SPLICE.trim_end().as_bytes().to_vec();
            words.extend([b"EVAL".to_vec(), script, b"1".to_vec(), key.to_vec()]);
            words.extend(splice_words(splice));
        }
        _ => {}
    }
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    command(&words)
}

/// What the script takes: trim, last id, ids that the trim does not see, and entries, each with the id before its own.
/// For a trim of the rest the ids are the one that the rest is under, and those that count, the newest first.
fn splice_words(splice: &Splice) -> Vec<Vec<u8>> {
    let count = |count: usize| count.to_string().into_bytes();
    let mut words = match &splice.trim {
        Some(trim) => trim_words(trim),
        None => vec![Vec::new(), Vec::new()],
    };
    words.push(splice.last.as_ref().map(id_text).unwrap_or_default());
    let ids: Vec<&Bytes> = match &splice.trim {
        Some(Trim::Rest { under, gone, .. }) => [under].into_iter().chain(gone.iter().rev()).collect(),
        _ => splice.kept.iter().collect(),
    };
    words.push(count(ids.len()));
    words.extend(ids.into_iter().map(id_text));
    for (id, fields) in &splice.entries {
        let lower = entries::id_of(id).map(entries::before).unwrap_or_default();
        words.extend([id_text(id), text_of(lower), count(fields.len())]);
        words.extend(fields.iter().map(|word| word.to_vec()));
    }
    words
}

fn trim_words(trim: &Trim) -> Vec<Vec<u8>> {
    match trim {
        Trim::Below(id) => vec![b"MINID".to_vec(), id_text(id)],
        Trim::Longest { most, .. } => vec![b"MAXLEN".to_vec(), most.to_string().into_bytes()],
        Trim::Rest { most, .. } => vec![b"REST".to_vec(), most.to_string().into_bytes()],
    }
}

fn id_text(name: &Bytes) -> Vec<u8> {
    text_of(entries::id_of(name).unwrap_or_default())
}

fn text_of((ms, seq): (u64, u64)) -> Vec<u8> {
    format!("{ms}-{seq}").into_bytes()
}

fn sorted<'a>(name: &[u8], key: &[u8], pairs: impl Iterator<Item = (f64, &'a Bytes)>) -> Bytes {
    let pairs: Vec<(Vec<u8>, &Bytes)> = pairs.map(|(score, member)| (score_text(score), member)).collect();
    let mut args: Vec<&[u8]> = vec![name, key];
    for (score, member) in &pairs {
        args.extend([score.as_slice(), member.as_ref()]);
    }
    command(&args)
}

/// A score so that the database reads the same number back; Rust's shortest form does, infinities by name.
fn score_text(score: f64) -> Vec<u8> {
    if score.is_infinite() {
        return if score > 0.0 {
            b"inf".to_vec()
        } else {
            b"-inf".to_vec()
        };
    }
    format!("{score:?}").into_bytes()
}

/// A command in RESP.
pub fn command(args: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    encode::command(&mut out, args);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_took_effect_needs_no_list() {
        let raw = |text: &'static [u8]| unconditional(&Bytes::from_static(text));
        assert_eq!(
            raw(b"*3\r\n$6\r\nRPUSHX\r\n$1\r\nk\r\n"),
            &b"*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n"[..]
        );
        assert_eq!(raw(b"*3\r\n$6\r\nlpushx\r\n"), &b"*3\r\n$5\r\nlpush\r\n"[..]);
        assert_eq!(raw(b"*3\r\n$6\r\nAPPEND\r\n"), &b"*3\r\n$6\r\nAPPEND\r\n"[..]);
        assert_eq!(raw(b"*3\r\n$6\r\nRPU"), &b"*3\r\n$6\r\nRPU"[..]);
    }
}

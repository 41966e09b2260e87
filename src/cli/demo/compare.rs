//! Reads whole databases and tells where they differ.

use super::client::{Batch, Client};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use syncer::resp::reply::Value;

/// Keys that belong to the syncer and are not data.
const OWN_KEYS: &[u8] = b"{syncer}:";
/// Keys read in one round trip.
const KEYS_PER_BATCH: usize = 500;
/// Differences shown in full.
const SHOWN_MAX: usize = 5;

/// A key's value in one canonical form, and when it expires (Unix time in milliseconds; -1 never).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: Bytes,
    expires_ms: i64,
    parts: Vec<Bytes>,
}

/// All data of a database.
pub type Contents = BTreeMap<Bytes, Entry>;

/// Reads everything. Nobody should write meanwhile.
pub fn contents(client: &mut Client) -> io::Result<Contents> {
    let mut keys = scan(client)?;
    keys.sort_unstable();
    keys.dedup();
    let mut all = Contents::new();
    for keys in keys.chunks(KEYS_PER_BATCH) {
        let mut kinds = Batch::default();
        keys.iter().for_each(|key| kinds.push(&[b"TYPE", key]));
        let kinds: Vec<Bytes> = client.send(&kinds)?.iter().map(text).collect();
        let mut reads = Batch::default();
        for (key, kind) in keys.iter().zip(&kinds) {
            reads.push(&[b"PEXPIRETIME", key]);
            read(&mut reads, kind, key);
        }
        let mut values = client.send(&reads)?.into_iter();
        for (key, kind) in keys.iter().zip(kinds) {
            let (Some(expires), Some(value)) = (values.next(), values.next()) else {
                break;
            };
            // The key expired between the scan and now.
            if matches!(value, Value::Null) || kind.as_ref() == b"none" {
                continue;
            }
            // Servers before 7.0 have no PEXPIRETIME; their expiry is not compared.
            let expires_ms = if let Value::Integer(ms) = expires { ms } else { -1 };
            let parts = canonical(&kind, value);
            all.insert(
                key.clone(),
                Entry {
                    kind,
                    expires_ms,
                    parts,
                },
            );
        }
    }
    Ok(all)
}

fn scan(client: &mut Client) -> io::Result<Vec<Bytes>> {
    let mut keys = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let Value::Array(mut reply) = client.call(&["SCAN", &cursor, "COUNT", "1000"])? else {
            return Err(io::Error::other("SCAN is refused"));
        };
        if let Some(Value::Array(found)) = reply.pop() {
            keys.extend(found.iter().map(text).filter(|key| !key.starts_with(OWN_KEYS)));
        }
        cursor = reply
            .first()
            .map(|next| String::from_utf8_lossy(&text(next)).into_owned())
            .unwrap_or_default();
        if matches!(cursor.as_str(), "0" | "") {
            return Ok(keys);
        }
    }
}

/// The command that reads a value of a type whole.
fn read(batch: &mut Batch, kind: &[u8], key: &[u8]) {
    match kind {
        b"string" => batch.push(&[b"GET", key]),
        b"set" => batch.push(&[b"SMEMBERS", key]),
        b"hash" => batch.push(&[b"HGETALL", key]),
        b"zset" => batch.push(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
        b"list" => batch.push(&[b"LRANGE", key, b"0", b"-1"]),
        _ => batch.push(&[b"DUMP", key]),
    }
}

/// Sets and hashes come in any order; equal ones must compare equal.
fn canonical(kind: &[u8], value: Value) -> Vec<Bytes> {
    let Value::Array(items) = value else {
        return vec![text(&value)];
    };
    let mut parts: Vec<Bytes> = items.iter().map(text).collect();
    match kind {
        b"set" => parts.sort_unstable(),
        b"hash" => {
            let mut pairs: Vec<Vec<Bytes>> = parts.chunks(2).map(<[Bytes]>::to_vec).collect();
            pairs.sort_unstable();
            parts = pairs.concat();
        }
        _ => {}
    }
    parts
}

/// A reply's bytes; numbers as text.
pub fn text(value: &Value) -> Bytes {
    match value {
        Value::BulkString(bytes) | Value::SimpleString(bytes) => bytes.clone(),
        Value::Error(words) => Bytes::copy_from_slice(words.as_bytes()),
        Value::Integer(number) => Bytes::from(number.to_string()),
        Value::Array(_) | Value::Null => Bytes::new(),
    }
}

/// Where two databases differ.
pub struct Differences {
    /// Keys compared: those that at least one of them has.
    pub keys: usize,
    /// Keys that differ.
    pub differing: usize,
    shown: Vec<String>,
}

/// Compares two databases, key by key.
pub fn compare(a: &Contents, b: &Contents) -> Differences {
    let only_b = b.keys().filter(|key| !a.contains_key(*key)).count();
    let mut found = Differences {
        keys: a.len() + only_b,
        differing: 0,
        shown: Vec::new(),
    };
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        let (at_a, at_b) = (a.get(key), b.get(key));
        if at_a != at_b {
            found.differing += 1;
            if found.shown.len() < SHOWN_MAX {
                let key = String::from_utf8_lossy(key);
                found
                    .shown
                    .push(format!("{key}: at a {}, at b {}", say(at_a), say(at_b)));
            }
        }
    }
    found
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        let more = self.differing - self.shown.len();
        if more > 0 {
            writeln!(f, "  and {more} more")
        } else {
            Ok(())
        }
    }
}

fn say(entry: Option<&Entry>) -> String {
    let Some(entry) = entry else {
        return "missing".into();
    };
    let parts: Vec<_> = entry
        .parts
        .iter()
        .take(8)
        .map(|part| String::from_utf8_lossy(part))
        .collect();
    let more = if entry.parts.len() > parts.len() {
        " ..."
    } else {
        ""
    };
    let expires = if entry.expires_ms < 0 {
        String::new()
    } else {
        format!(" expiring at {}", entry.expires_ms)
    };
    format!(
        "{} [{}{more}]{expires}",
        String::from_utf8_lossy(&entry.kind),
        parts.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &'static str, parts: &[&'static str]) -> Entry {
        let parts = parts.iter().map(|part| Bytes::from_static(part.as_bytes()));
        Entry {
            kind: Bytes::from_static(kind.as_bytes()),
            expires_ms: -1,
            parts: parts.collect(),
        }
    }

    #[test]
    fn differences_are_counted_and_shown() {
        let a: Contents = [
            ("same".into(), entry("string", &["1"])),
            ("x".into(), entry("string", &["1"])),
        ]
        .into();
        let mut b = a.clone();
        assert_eq!(compare(&a, &b).differing, 0);
        b.insert("x".into(), entry("string", &["2"]));
        b.insert("y".into(), entry("set", &["m"]));
        let found = compare(&a, &b);
        assert_eq!((found.keys, found.differing), (3, 2));
        let shown = found.to_string();
        assert!(shown.contains("x: at a string [1], at b string [2]"), "{shown}");
        assert!(shown.contains("y: at a missing, at b set [m]"), "{shown}");
    }

    #[test]
    fn a_time_to_live_counts() {
        let a: Contents = [("k".into(), entry("string", &["1"]))].into();
        let mut b = a.clone();
        if let Some(entry) = b.get_mut("k".as_bytes()) {
            entry.expires_ms = 5;
        }
        assert_eq!(compare(&a, &b).differing, 1);
    }

    #[test]
    fn order_is_kept_where_it_means_something() {
        let items = |words: &[&'static str]| {
            Value::Array(
                words
                    .iter()
                    .map(|w| Value::BulkString(Bytes::from_static(w.as_bytes())))
                    .collect(),
            )
        };
        assert_eq!(canonical(b"set", items(&["b", "a"])), ["a", "b"]);
        assert_eq!(
            canonical(b"hash", items(&["f", "2", "e", "9"])),
            ["e", "9", "f", "2"]
        );
        assert_eq!(canonical(b"list", items(&["b", "a"])), ["b", "a"]);
    }
}

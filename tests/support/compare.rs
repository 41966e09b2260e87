//! The data of all sites, key by key.
//!
//! Equal means: the same keys, types and expiry times, and the same DUMP. Where only the payload differs the
//! values are compared by type, because a set's order, a sorted set's encoding or a consumer's idle time are
//! not data. The syncer's own marker keys are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::MARKER_PREFIX;
use super::client::{Client, Reply};
use super::cluster::Cluster;

const DATABASES: usize = 16;
const DIFFERENCES_SHOWN: usize = 12;

/// One key as a server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: String,
    payload: Option<Vec<u8>>,
    expiry: i64,
}

type Keys = BTreeMap<(usize, Vec<u8>), Entry>;

/// Panics, showing the first differences, unless all sites of the cluster hold the same data.
#[track_caller]
pub fn compare(cluster: &Cluster) {
    let mut clients: Vec<_> = cluster
        .sites
        .iter()
        .map(|s| (s.name.as_str(), s.server.client()))
        .collect();
    let found = differences(&mut clients);
    assert!(found.is_empty(), "the sites' data differ:\n{}", found.join("\n"));
}

/// The first differences between the first server and each other one, as readable lines.
pub fn differences(servers: &mut [(&str, Client)]) -> Vec<String> {
    let all: Vec<_> = servers.iter_mut().map(|(_, client)| read_all(client)).collect();
    let mut found = Vec::new();
    for other in 1..servers.len() {
        let (left, right) = servers.split_at_mut(other);
        let (one, two) = (&mut left[0], &mut right[0]);
        let mut keys: Vec<_> = all[0].keys().chain(all[other].keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let entries = (all[0].get(key), all[other].get(key));
            if entries.0 == entries.1 {
                continue;
            }
            if let Some(line) = describe(key, entries, one, two) {
                found.push(line);
            }
            if found.len() >= DIFFERENCES_SHOWN {
                found.push("... and perhaps more".into());
                return found;
            }
        }
    }
    found
}

/// What differs in one key; nothing if only the encoding does.
fn describe(
    (db, key): &(usize, Vec<u8>),
    entries: (Option<&Entry>, Option<&Entry>),
    one: &mut (&str, Client),
    two: &mut (&str, Client),
) -> Option<String> {
    let mut line = format!("db {db} {:?}:", show(key));
    let (Some(left), Some(right)) = entries else {
        let (here, entry, client, missing) = match entries {
            (Some(entry), _) => (one.0, entry, &mut one.1, two.0),
            (_, entry) => (two.0, entry?, &mut two.1, one.0),
        };
        let value = brief(&value(client, *db, key, &entry.kind));
        let _ = write!(line, " {} {value} at {here}, missing at {missing}", entry.kind);
        return Some(line);
    };
    if left.kind != right.kind {
        let _ = write!(line, " {} at {}, {} at {}", left.kind, one.0, right.kind, two.0);
        return Some(line);
    }
    if left.expiry != right.expiry {
        let _ = write!(
            line,
            " expires {} at {}, {} at {};",
            left.expiry, one.0, right.expiry, two.0
        );
    }
    let values = (
        value(&mut one.1, *db, key, &left.kind),
        value(&mut two.1, *db, key, &right.kind),
    );
    if left.payload != right.payload && values.0 != values.1 {
        let (left_text, right_text) = (brief(&values.0), brief(&values.1));
        let _ = write!(
            line,
            " {} {left_text} at {}, {right_text} at {}",
            left.kind, one.0, two.0
        );
    } else if left.expiry == right.expiry {
        return None;
    }
    Some(line)
}

/// Every key of every database that is data.
fn read_all(client: &mut Client) -> Keys {
    let mut all = Keys::new();
    for db in 0..DATABASES {
        if client.run(&format!("SELECT {db}")).is_error() {
            break;
        }
        let mut names = scan(client);
        names.retain(|name| !name.starts_with(MARKER_PREFIX));
        for piece in names.chunks(300) {
            let commands: Vec<Vec<&[u8]>> = piece
                .iter()
                .flat_map(|name| [&b"TYPE"[..], b"DUMP", b"PEXPIRETIME"].map(|command| vec![command, name]))
                .collect();
            let replies = client.pipeline(&commands);
            for (name, replies) in piece.iter().zip(replies.chunks(3)) {
                let entry = Entry {
                    kind: replies[0].text(),
                    payload: replies[1].bytes().map(<[u8]>::to_vec),
                    expiry: replies[2].int(),
                };
                // A key that expired between SCAN and here is no data any more.
                if entry.payload.is_some() {
                    all.insert((db, name.clone()), entry);
                }
            }
        }
    }
    all
}

fn scan(client: &mut Client) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut cursor = "0".to_string();
    loop {
        let reply = client.ok(&format!("SCAN {cursor} COUNT 1000"));
        let [next, page] = reply.array() else {
            panic!("SCAN answered {reply:?}")
        };
        names.extend(
            page.array()
                .iter()
                .filter_map(|name| name.bytes().map(<[u8]>::to_vec)),
        );
        cursor = next.text();
        if cursor == "0" {
            names.sort();
            names.dedup();
            return names;
        }
    }
}

/// A value by its type, in an order that does not depend on the encoding.
fn value(client: &mut Client, db: usize, key: &[u8], kind: &str) -> Vec<Reply> {
    client.ok(&format!("SELECT {db}"));
    let read = |client: &mut Client, parts: &[&str]| {
        let args: Vec<&[u8]> = parts
            .iter()
            .map(|p| if *p == "KEY" { key } else { p.as_bytes() })
            .collect();
        client.args(&args)
    };
    match kind {
        "string" => vec![without_cache(read(client, &["GET", "KEY"]))],
        "list" => vec![read(client, &["LRANGE", "KEY", "0", "-1"])],
        "set" => sorted(read(client, &["SMEMBERS", "KEY"]), 1),
        "hash" => sorted(read(client, &["HGETALL", "KEY"]), 2),
        "zset" => sorted(read(client, &["ZRANGE", "KEY", "0", "-1", "WITHSCORES"]), 2),
        "stream" => stream(client, &read),
        _ => vec![read(client, &["DUMP", "KEY"])],
    }
}

/// Entries, last id, groups with their positions, and who holds which pending entry how often.
fn stream(client: &mut Client, read: &dyn Fn(&mut Client, &[&str]) -> Reply) -> Vec<Reply> {
    let mut parts = vec![read(client, &["XRANGE", "KEY", "-", "+"])];
    let info = read(client, &["XINFO", "STREAM", "KEY"]);
    parts.extend(fields(&info, &["last-generated-id"]));
    let groups = read(client, &["XINFO", "GROUPS", "KEY"]);
    for group in groups.array() {
        // Not the number of consumers: one that never got an entry is not told to replicas.
        parts.extend(fields(group, &["name", "pending", "last-delivered-id"]));
        let name = fields(group, &["name"])
            .first()
            .map(Reply::text)
            .unwrap_or_default();
        let pending = read(client, &["XPENDING", "KEY", &name, "-", "+", "100000"]);
        for entry in pending.array() {
            let [id, consumer, _idle, deliveries] = entry.array() else {
                panic!("XPENDING: {entry:?}")
            };
            parts.extend([id.clone(), consumer.clone(), deliveries.clone()]);
        }
    }
    parts
}

/// The values of these fields of a flat map reply.
fn fields(map: &Reply, names: &[&str]) -> Vec<Reply> {
    let pairs = map.array().chunks(2);
    pairs
        .filter(|p| names.contains(&p[0].text().as_str()))
        .map(|p| p[1].clone())
        .collect()
}

/// A flat reply cut into rows, sorted.
fn sorted(reply: Reply, width: usize) -> Vec<Reply> {
    let mut rows: Vec<_> = reply
        .array()
        .chunks(width)
        .map(|row| Reply::Array(row.to_vec()))
        .collect();
    rows.sort();
    rows
}

/// A HyperLogLog caches its count in bytes 8 to 15; they say nothing about what was added.
fn without_cache(reply: Reply) -> Reply {
    match reply {
        Reply::Bulk(mut bytes) if bytes.starts_with(b"HYLL") && bytes.len() > 16 => {
            bytes[8..16].fill(0);
            Reply::Bulk(bytes)
        }
        other => other,
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn brief(value: &[Reply]) -> String {
    fn write(out: &mut String, reply: &Reply) {
        match reply {
            Reply::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(' ');
                    }
                    write(out, item);
                }
                out.push(']');
            }
            Reply::Bulk(bytes) => {
                let _ = write!(out, "{:?}", show(bytes));
            }
            other => out.push_str(&other.text()),
        }
    }
    let mut text = String::new();
    for part in value {
        write(&mut text, part);
        text.push(' ');
    }
    if text.chars().count() > 300 {
        text = text.chars().take(300).collect::<String>() + "...";
    }
    text.trim_end().into()
}

//! Snapshots of real data, from a file and over the link.

use std::collections::BTreeSet;

use syncer::capture::Error;
use syncer::capture::io::Lost;
use syncer::capture::rdb::{Item, Limits, Reader};

use super::link::{Link, SeenKey, type_name, wait_for_same_offset};
use super::server::{Client, Server, wait_until};

/// Every type in every encoding of a 7.0 server.
fn load(client: &mut Client) {
    for words in [
        "SET plain hello",
        "SET small -100",
        "SET middle 30000",
        "SET large 2000000000",
        "SET beyond 20000000000",
        "SET soon v PX 10000000",
        "RPUSH list a b c",
        "SADD ints 1 2 3 70000 5000000000",
        "SADD names a b c",
        "ZADD scores 1 a 2.5 b inf c -inf d",
        "HSET hash f v g w",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f v g w",
        "XADD stream 3-1 f v",
        "XDEL stream 2-1",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
        "XREADGROUP GROUP group bob STREAMS stream >",
        "XGROUP CREATECONSUMER stream group carol",
        "XGROUP CREATE stream idle $",
        "XADD emptied 1-1 f v",
        "XDEL emptied 1-1",
        "PFADD loglog a b c",
        "SETBIT bits 100000 1",
        "SET {syncer}:a marker",
        "SADD {syncer}:odd no string",
    ] {
        let reply = client.call(words);
        assert!(!reply.starts_with('-'), "{words}: {reply}");
    }
    client.call_args(&[b"SET", b"compressed", &[b'x'; 5000]]);
    client.call_args(&[b"SET", &[b'k'; 300], b"long key, compressed"]);
    client.call_args(&[b"SET", b"binary\0\r\n\xff", &(0..=255).collect::<Vec<u8>>()]);
    let noise: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    client.call_args(&[b"SET", b"noise", &noise]);
    client.call_args(&[
        b"RPUSH",
        b"plain nodes",
        &noise[..20_000],
        b"small",
        &noise[..9_000],
    ]);
    for n in 0..1000 {
        let member = format!("member {n}").into_bytes();
        client.call_args(&[b"SADD", b"large set", &member]);
        client.call_args(&[b"ZADD", b"large zset", n.to_string().as_bytes(), &member]);
        client.call_args(&[b"HSET", b"large hash", &member, b"value"]);
        client.call_args(&[b"RPUSH", b"large list", &member]);
        client.call_args(&[b"XADD", b"large stream", b"*", b"field", &member]);
    }
    client.call("SELECT 3");
    client.call("SET elsewhere 1 EX 5000");
    client.call("SELECT 0");
    client.call_args(&[
        b"FUNCTION",
        b"LOAD",
        b"#!lua name=lib\nredis.register_function('f', function() return 1 end)",
    ]);
}

/// What the server says it holds.
fn truth(client: &mut Client) -> BTreeSet<SeenKey> {
    let mut keys = BTreeSet::new();
    for db in [0, 3] {
        client.call(&format!("SELECT {db}"));
        for key in client
            .call("KEYS *")
            .split('\n')
            .filter(|key| !key.starts_with("binary") && !key.is_empty())
        {
            let kind = client.call_args(&[b"TYPE", key.as_bytes()]);
            let expire_at_ms = client
                .call_args(&[b"PEXPIRETIME", key.as_bytes()])
                .parse()
                .unwrap();
            let key = key.to_owned();
            keys.insert(SeenKey {
                db,
                key,
                kind,
                expire_at_ms,
            });
        }
    }
    keys
}

fn compare(mut seen: Vec<SeenKey>, truth: &BTreeSet<SeenKey>) {
    let all = seen.len();
    seen.retain(|key| !key.key.starts_with("binary"));
    // The one key that is no text; KEYS shows it on two lines.
    assert_eq!(seen.len(), all - 1);
    let seen: BTreeSet<SeenKey> = seen.into_iter().collect();
    let truth: BTreeSet<SeenKey> = truth.iter().filter(|key| key.kind != "none").cloned().collect();
    assert_eq!(seen, truth);
    assert!(seen.len() > 25, "{} keys", seen.len());
}

#[test]
fn a_saved_file_reads_whole_and_in_pieces() {
    let server = Server::start(&[]);
    let mut client = server.client();
    load(&mut client);
    let truth = truth(&mut client);
    assert_eq!(client.call("SAVE"), "OK");
    let file = std::fs::read(server.dir.path().join("dump.rdb")).unwrap();
    for piece in [file.len(), 1, 7, 4096] {
        let mut reader = Reader::new(Limits::default());
        let (mut keys, mut ended, mut functions) = (Vec::new(), false, 0);
        for bytes in file.chunks(piece) {
            let mut rest = bytes;
            loop {
                let read = reader.next(rest).unwrap();
                rest = &rest[read.consumed..];
                match read.item {
                    None => break,
                    Some(Item::Key {
                        db,
                        key,
                        kind,
                        expire_at_ms,
                    }) => keys.push(SeenKey {
                        db,
                        key: key.escape_ascii().to_string(),
                        kind: type_name(kind).to_owned(),
                        expire_at_ms: expire_at_ms.unwrap_or(-1),
                    }),
                    Some(Item::Function) => functions += 1,
                    Some(Item::End { checksummed }) => ended = checksummed,
                    Some(_) => {}
                }
            }
        }
        reader.finish().unwrap();
        assert!(ended);
        assert_eq!(functions, 1);
        compare(keys, &truth);
    }
}

/// A full resynchronisation of this kind, and the stream behind it.
fn full_resync(diskless: &str) {
    let server = Server::start(&["--repl-diskless-sync", diskless]);
    let mut client = server.client();
    load(&mut client);
    let truth = truth(&mut client);
    client.call("SELECT 0");
    let link = Link::to(server.port);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    client.call("SET after sync");
    link.wait_for(b"after");
    wait_for_same_offset(&server, &link);
    let heard = link.heard();
    compare(heard.keys.clone(), &truth);
    let mut values = heard.values.clone();
    values.sort();
    let marker = ("{syncer}:a".to_owned(), Some("marker".to_owned()));
    assert_eq!(values, [marker, ("{syncer}:odd".to_owned(), None)]);
    let full = heard.full.unwrap();
    let aux = |name: &str| heard.aux.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    assert_eq!(aux("repl-id"), Some(full.replid.to_string()));
    assert_eq!(aux("repl-offset"), Some(full.offset.to_string()));
    assert!(aux("repl-stream-db").is_some());
    assert_eq!(heard.offset - full.offset, heard.stream.len() as u64);
}

#[test]
fn a_diskless_resync() {
    full_resync("yes");
}

#[test]
fn a_resync_from_disk() {
    full_resync("no");
}

#[test]
fn a_sink_may_refuse_a_snapshot() {
    let server = Server::start(&[]);
    server.client().call("SET refuse me");
    let link = Link::to(server.port);
    assert_eq!(link.lost(), Lost::Sink("not empty".to_owned()));
    assert!(!link.heard().snapshot_ended);
}

#[test]
fn a_snapshot_cut_short_is_never_complete() {
    let server = Server::start(&["--repl-diskless-sync", "yes"]);
    let mut client = server.client();
    client.call("DEBUG POPULATE 5000 key 500");
    client.call("CONFIG SET rdb-key-save-delay 1000");
    for round in 0..5 {
        let link = Link::to(server.port);
        link.wait("some keys came", |heard| heard.keys.len() > 200 + 300 * round);
        client.call("CLIENT KILL TYPE replica");
        match link.lost() {
            Lost::Link(error @ (Error::Closed(_) | Error::Socket { .. })) => assert!(error.is_retryable()),
            other => panic!("{other}"),
        }
        assert!(!link.heard().snapshot_ended);
        wait_until("the child is gone", || {
            server.info("rdb_bgsave_in_progress") == "0"
        });
    }
    client.call("CONFIG SET rdb-key-save-delay 0");
    let link = Link::to(server.port);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    assert_eq!(link.heard().keys.len(), 5000);
}

//! Dumps of real servers are read and written anew without loss; those that lie reach no other database.

use bytes::Bytes;
use syncer::value::{self, Value};

use crate::support::{Client, Cluster, Random, RedisServer, ServerOptions, wait_until};

/// A payload with a right footer, as any client can make one.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend(9_u16.to_le_bytes());
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &out);
    out.extend(checksum.to_le_bytes());
    out
}

fn dump(client: &mut Client, key: &str) -> Bytes {
    let reply = client.ok(&format!("DUMP {key}"));
    Bytes::copy_from_slice(reply.bytes().expect("a payload"))
}

fn restore(client: &mut Client, key: &str, payload: &[u8]) {
    let reply = client.args(&[b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"]);
    assert!(!reply.is_error(), "{key}: {}", reply.text());
}

fn digest(client: &mut Client, key: &str) -> String {
    client.ok(&format!("DEBUG DIGEST-VALUE {key}")).array()[0].text()
}

/// The newest format that the server under test reads.
fn format_of(server: &RedisServer) -> u16 {
    let info = server.info("server");
    let (is_valkey, version) = match info.get("valkey_version") {
        Some(version) => (true, version),
        None => (false, &info["redis_version"]),
    };
    let mut numbers = version.split('.').map(|part| part.parse().expect("a number"));
    value::newest_version(is_valkey, (numbers.next().unwrap(), numbers.next().unwrap()))
}

/// Decodes the key's dump, writes it anew, restores that, and finds the same. Gives the type of the dump.
#[track_caller]
fn there_and_back(client: &mut Client, key: &str, format: u16) -> u8 {
    let payload = dump(client, key);
    let value = value::decode(&payload).unwrap_or_else(|why| panic!("{key}: {why}"));
    for format in [9, format] {
        let again = match value::encode(&value, format) {
            Ok(again) => again,
            Err(value::EncodeError::TooOld { .. }) if format == 9 => continue,
            Err(why) => panic!("{key}: {why}"),
        };
        restore(client, "again", &again);
        assert_eq!(digest(client, "again"), digest(client, key), "{key}");
        if format > 9 || !matches!(value, Value::Stream(_)) {
            assert_eq!(
                value::decode(&dump(client, "again")).as_ref(),
                Ok(&value),
                "{key}"
            );
        }
    }
    payload[0]
}

/// Values that come in every encoding, whatever the limits.
const FILL: &[&str] = &[
    "SET string hello",
    "SET number -70000",
    "SET small 12",
    "SETRANGE zeros 5000 x",
    "RPUSH list a 1 -1 300 -70000 5000000000 -9223372036854775808 \"\" 007",
    "SADD numbers 1 -5 70000",
    "SADD wide 1 5000000000",
    "SADD set a b 3",
    "HSET hash f v g 12 \"\" -4097",
    "ZADD sorted 1 a 2.5 b -inf c +inf d 1e300 e 3 7",
    "XADD stream 5-1 f v g 1",
    "XADD stream 5-2 f w g 2",
    "XADD stream 6-0 other name",
    "XADD stream 7-3 f x g 3",
    "XDEL stream 5-2 7-3",
    "XGROUP CREATE stream G 0",
    "XGROUP CREATE stream H 5-1",
    "XGROUP CREATECONSUMER stream G idle",
    "XREADGROUP GROUP G alice COUNT 1 STREAMS stream >",
    "XREADGROUP GROUP G bob COUNT 1 STREAMS stream >",
    "XDEL stream 5-1",
    "XADD emptied 1-1 a b",
    "XDEL emptied 1-1",
];
const KEYS: &[&str] = &[
    "string", "number", "small", "zeros", "list", "long", "numbers", "wide", "set", "hash", "sorted",
    "stream", "emptied",
];

#[test]
fn every_encoding_of_a_server_comes_back() {
    Random::announced("encodings");
    let limits = [("128", "64"), ("0", "0")];
    let mut types = std::collections::BTreeSet::new();
    for (entries, bytes) in limits {
        let mut options = ServerOptions::default();
        for (name, value) in [
            ("hash-max-listpack-entries", entries),
            ("hash-max-listpack-value", bytes),
            ("zset-max-listpack-entries", entries),
            ("set-max-intset-entries", entries),
            ("list-compress-depth", "1"),
            ("stream-node-max-entries", "3"),
        ] {
            options = options.with(name, value);
        }
        let server = RedisServer::start(options);
        let mut client = server.client();
        client.load(FILL);
        let long: Vec<String> = (0..400)
            .map(|n| format!("RPUSH long element:{n} {n} {}", "z".repeat(60)))
            .collect();
        client.load(&long);
        client.args(&[&b"RPUSH"[..], b"long", &vec![b'p'; 20_000]]);
        let long: Vec<String> = (10..400)
            .map(|n| format!("XADD stream {n}-0 f {n} g same"))
            .collect();
        client.load(&long);
        let format = format_of(&server);
        types.extend(KEYS.iter().map(|key| there_and_back(&mut client, key, format)));
    }
    println!("types of this server: {types:?}");
    assert!(types.len() >= 9, "{types:?}");
}

/// Where the server knows expiry times of fields.
#[test]
fn expiry_times_of_fields_come_back() {
    Random::announced("expiry times of fields");
    let server = RedisServer::start(ServerOptions::default());
    let mut client = server.client();
    client.load(&["HSET h f 1 g 2 h 3"]);
    if client.run("HPEXPIREAT h 4102444800000 FIELDS 1 f").is_error() {
        return;
    }
    let format = format_of(&server);
    let small = there_and_back(&mut client, "h", format);
    client.args(&[&b"HSET"[..], b"h", b"long", &vec![b'x'; 1000]]);
    client.ok("HPEXPIREAT h 4102444900000 FIELDS 1 long");
    let large = there_and_back(&mut client, "h", format);
    assert!(small >= 22 && large >= 22, "{small} {large}");
}

/// The encodings of older servers: the database reads them, and so do we, to the same value.
#[test]
fn encodings_of_older_servers_read_alike() {
    Random::announced("older encodings");
    let server = RedisServer::start(ServerOptions::default());
    let mut client = server.client();
    let format = format_of(&server);
    let ziplist: &[u8] = b"\x13\0\0\0\x0f\0\0\0\x04\0\0\x01f\x03\xf2\x02\x01g\x03";
    let mut pairs = ziplist.to_vec();
    pairs.extend(b"\xfe\x80\xff");
    pairs[0] = pairs.len() as u8;
    pairs[4] = pairs.len() as u8 - 4;
    let quicklist: Vec<u8> = [&[14, 1, pairs.len() as u8], &pairs[..]].concat();
    let blob = |code: u8| [&[code, pairs.len() as u8], &pairs[..]].concat();
    let payloads = [
        ("list", blob(10)),
        ("sorted", blob(12)),
        ("hash", blob(13)),
        ("quicklist", quicklist),
        ("zipmap", b"\x09\x0c\x02\x01g\x01\x002\x01f\x01\x001\xff".to_vec()),
        ("old scores", b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff".to_vec()),
        ("plain", b"\x01\x02\x01a\xc0\x05".to_vec()),
    ];
    for (name, body) in payloads {
        let payload = sealed(&body);
        restore(&mut client, "theirs", &payload);
        let value = value::decode(&Bytes::from(payload)).unwrap_or_else(|why| panic!("{name}: {why}"));
        restore(&mut client, "ours", &value::encode(&value, format).unwrap());
        assert_eq!(
            digest(&mut client, "ours"),
            digest(&mut client, "theirs"),
            "{name}"
        );
        assert_eq!(value::decode(&dump(&mut client, "theirs")), Ok(value), "{name}");
    }
}

/// Damage under a right checksum: what we take, a server that looks at everything takes as the same value.
#[test]
fn damaged_payloads_are_refused_or_equal_in_value() {
    let mut random = Random::announced("damaged payloads");
    let server = RedisServer::start(ServerOptions::default().with("sanitize-dump-payload", "yes"));
    let mut client = server.client();
    client.load(FILL);
    let format = format_of(&server);
    let keys = KEYS.iter().filter(|key| **key != "long");
    let payloads: Vec<Bytes> = keys.map(|key| dump(&mut client, key)).collect();
    let (mut taken, mut equal) = (0, 0);
    for _ in 0..20_000 {
        let payload = &payloads[random.below(payloads.len() as u64) as usize];
        let mut body = payload[..payload.len() - 10].to_vec();
        for _ in 0..1 + random.below(2) {
            let at = random.below(body.len() as u64) as usize;
            body[at] ^= 1 << random.below(8);
        }
        let damaged = sealed(&body);
        let Ok(value) = value::decode(&Bytes::from(damaged.clone())) else {
            continue;
        };
        taken += 1;
        restore(&mut client, "ours", &value::encode(&value, format).unwrap());
        let reply = client.args(&[b"RESTORE", &b"theirs"[..], b"0", &damaged, b"REPLACE"]);
        if !reply.is_error() {
            equal += 1;
            assert_eq!(
                digest(&mut client, "ours"),
                digest(&mut client, "theirs"),
                "{body:?}"
            );
        }
    }
    println!("{taken} of 20000 damaged payloads are values, {equal} also for the server");
    assert!(equal > 0);
}

/// A hash in a listpack whose back length is a lie: a server takes it, since it looks at the head alone, and
/// reads beyond its bytes when a client walks it backwards.
fn malicious() -> Vec<u8> {
    let mut body = b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff".to_vec();
    let at = body.len() - 2;
    body[at] = 0x7f;
    sealed(&body)
}

#[test]
fn a_malicious_value_never_reaches_another_database() {
    Random::announced("a malicious value");
    let cluster = Cluster::new(2);
    let (mut a, mut b) = (cluster.client(0), cluster.client(1));
    let witness: [&[u8]; 4] = [b"RESTORE", b"witness", b"0", &malicious()];
    if b.args(&witness).is_error() {
        // Valkey 9 looks at it by itself.
        return;
    }
    b.ok("DEL witness");
    cluster.converge();

    restore(&mut a, "bad", &malicious());
    a.ok("SET after 1");
    cluster.wait_value(1, "GET after", "1");
    cluster.sites[1].wait_log(&["refused", "bad", "origin=a", "back length"]);
    assert_eq!(b.ok("EXISTS bad").int(), 0);
    let status = cluster.sites[1].status().expect("status");
    assert_eq!(status.number("totals.values_refused"), 1, "{}", status.0);

    // In one unit with others, it alone is left out.
    a.pipeline(&[
        vec![b"MULTI".to_vec()],
        vec![b"SET".to_vec(), b"before".to_vec(), b"1".to_vec()],
        vec![b"RESTORE".to_vec(), b"worse".to_vec(), b"0".to_vec(), malicious()],
        vec![b"SET".to_vec(), b"behind".to_vec(), b"1".to_vec()],
        vec![b"EXEC".to_vec()],
    ]);
    cluster.wait_value(1, "GET behind", "1");
    assert_eq!(b.ok("GET before").text(), "1");
    assert_eq!(b.ok("EXISTS worse").int(), 0);

    // And in conflict: whatever becomes of the key, the payload is no part of it.
    cluster.cut(0, 1);
    b.ok("SADD fought member");
    restore(&mut a, "fought", &malicious());
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.sites[1].wait_log(&["refused", "fought", "origin=a"]);
    a.ok("SET last 1");
    cluster.wait_value(1, "GET last", "1");
    assert_ne!(b.ok("TYPE fought").text(), "hash");

    // Away with it, and the sites are alike again.
    a.ok("DEL bad worse fought");
    b.ok("DEL fought");
    wait_until("it is gone everywhere", crate::support::LONG, || {
        a.ok("EXISTS bad worse fought").int() + b.ok("EXISTS bad worse fought").int() == 0
    });
}

/// What is well made arrives whole, and the echo is known for what was sent.
#[test]
fn values_are_written_anew_and_arrive() {
    Random::announced("values arrive");
    let cluster = Cluster::new(2);
    let mut a = cluster.client(0);
    a.load(FILL);
    cluster.converge();
    let payloads: Vec<(&str, Bytes)> = KEYS
        .iter()
        .filter(|key| **key != "long")
        .map(|key| (*key, dump(&mut a, key)))
        .collect();
    let applied = cluster.sites[1]
        .status()
        .expect("status")
        .number("totals.remote_operations_applied");
    for (key, payload) in &payloads {
        restore(&mut a, &format!("copy:{key}"), payload);
    }
    a.args(&[
        &b"RESTORE"[..],
        b"timed",
        b"4102444800000",
        &payloads[0].1,
        b"ABSTTL",
        b"IDLETIME",
        b"7",
    ]);
    cluster.converge();
    let status = cluster.sites[1].status().expect("status");
    let now = status.number("totals.remote_operations_applied");
    assert_eq!(now - applied, payloads.len() as u64 + 1);
    assert_eq!(status.number("totals.values_refused"), 0);
    assert_eq!(
        status.number("totals.local_operations_captured"),
        0,
        "an echo is no local write"
    );
}

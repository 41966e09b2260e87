//! Whether the simulated database does what a real one does: the same commands on both give the same replication
//! stream and the same data.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod applier;
mod clients;
mod database;
mod disk;
mod host;
mod journal;
mod judge;
mod known;
mod net;
mod oracle;
mod plan;
mod random;
mod resp;
mod run;
mod scenes;
mod shrink;
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
mod tallies;
mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use clients::{Mix, write};
use database::{Cause, Database, Hash, Value, Version};
use plan::What;
use resp::{Reply, Words};
use support::{Client, RedisServer, ServerOptions};

/// Commands of a sequence.
const WRITES: u64 = 200;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The server's choice, or over before it can be compared.
fn is_fickle(words: &Words) -> bool {
    let soon = words.iter().any(|word| {
        let number = String::from_utf8_lossy(word).parse::<u64>();
        number.is_ok_and(|number| number < 1_000_000)
    });
    let name = words[0].as_slice();
    if matches!(name, b"HSETEX" | b"HGETEX" | b"HPEXPIRE") {
        return false;
    }
    name == b"SPOP" || ((name == b"PEXPIRE" || words.contains(&b"PX".to_vec())) && soon)
}

/// Where a time of fields stands that is over before the next command can be compared.
fn field_time(words: &Words) -> Option<usize> {
    let at = match words[0].as_slice() {
        b"HPEXPIRE" => 2,
        b"HSETEX" | b"HGETEX" => words.iter().position(|word| word == b"PX")? + 1,
        _ => return None,
    };
    let number: u64 = String::from_utf8_lossy(&words[at]).parse().ok()?;
    (1..1_000_000).contains(&number).then_some(at)
}

/// Commands that the clients of the simulation do not send.
fn more(n: u64) -> Words {
    let lines = [
        "GEOADD sorted0 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "GEOADD sorted0 XX CH 14 38.115556 Palermo",
        "ZPOPMIN sorted0",
        "ZPOPMAX sorted0 2",
        "ZMPOP 1 sorted0 MIN COUNT 2",
        "ZRANGESTORE sorted1 sorted0 0 1",
        "ZREMRANGEBYRANK sorted0 0 0",
        "ZREMRANGEBYSCORE sorted0 -inf 3",
        "ZINTERSTORE sorted1 2 sorted0 sorted1",
        "ZDIFFSTORE sorted1 2 sorted0 sorted1",
        "SINTERSTORE set1 set0 set1",
        "SDIFFSTORE set1 set0 set2",
        "SPOP set0 100",
        "INCRBYFLOAT count0 1.5",
        "HINCRBYFLOAT hash0 f9 0.25",
        "GETEX text0 PERSIST",
        "GETEX text0 EX 100000",
        "RENAMENX text0 text9",
        "MSETNX text7 1 text8 2",
        "BITOP AND bytes2 bytes0 bytes1",
        "BITOP NOT bytes2 bytes0",
        "PFMERGE union2 union0 union1",
        "RPOPLPUSH list0 list1",
        "BRPOP list0 1",
        "LPUSHX list5 a",
        "XGROUP CREATECONSUMER stream0 g0 c9",
        "XGROUP DELCONSUMER stream0 g0 c0",
        "XGROUP SETID stream0 g0 0",
        "EXPIREAT hash0 4102444800",
        "HSETNX hash0 f0 x",
    ];
    resp::words(lines[n as usize % lines.len()])
}

/// A replica that only reads.
struct Replica {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Replica {
    fn attach(port: u16) -> Replica {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(b"PSYNC ? -1\r\n").unwrap();
        let mut replica = Replica {
            socket,
            buffer: Vec::new(),
        };
        while !replica.line().starts_with(b"+FULLRESYNC") {}
        let length = loop {
            let line = replica.line();
            if let Some(digits) = line.strip_prefix(b"$") {
                break String::from_utf8_lossy(digits).parse::<usize>().unwrap();
            }
        };
        while replica.buffer.len() < length {
            replica.more();
        }
        replica.buffer.drain(..length);
        replica
    }

    fn more(&mut self) {
        let mut chunk = [0; 65536];
        let len = self.socket.read(&mut chunk).unwrap();
        assert!(len > 0, "the server closed the link");
        self.buffer.extend_from_slice(&chunk[..len]);
    }

    fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return line.strip_suffix(b"\r\n").unwrap_or_default().to_vec();
            }
            self.more();
        }
    }

    fn next(&mut self) -> Words {
        loop {
            if let Some((words, len)) = resp::parse(&self.buffer) {
                self.buffer.drain(..len);
                if !words[0].eq_ignore_ascii_case(b"PING") {
                    return words;
                }
            } else {
                self.more();
            }
        }
    }
}

/// A command without what the clock decides.
fn timeless(words: &Words) -> String {
    let mut text = resp::show(words);
    let mut at = 0;
    while at + 13 <= text.len() {
        let is_time = text.is_char_boundary(at) && text.is_char_boundary(at + 13) && {
            let digits = &text[at..at + 13];
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.starts_with('1') || digits.starts_with('2'))
        };
        if is_time {
            let tail = text[at + 13..].trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
            text = format!("{}<ms>{tail}", &text[..at]);
        }
        at += 1;
    }
    text
}

fn send(client: &mut Client, commands: &[Words], block: bool) -> Vec<bool> {
    if !block {
        return commands
            .iter()
            .map(|words| client.args(words).is_error())
            .collect();
    }
    client.ok("MULTI");
    commands.iter().for_each(|words| drop(client.args(words)));
    client
        .run("EXEC")
        .array()
        .iter()
        .map(support::Reply::is_error)
        .collect()
}

/// The version that is simulated of this server's.
fn version_of(server: &RedisServer) -> Version {
    let info = server.info("server");
    let major = |version: &str| version.split('.').next().unwrap().parse::<u32>().unwrap();
    if let Some(version) = info.get("valkey_version") {
        return match major(version) {
            9.. => Version::Valkey91,
            _ => Version::Valkey8,
        };
    }
    match info["redis_version"].as_str() {
        version if version.starts_with("7.0") => Version::Redis70,
        version if major(version) > 7 => Version::Redis80,
        _ => Version::Redis72,
    }
}

/// Which commands a sequence is made of: where fields can have expiry times, every other one is about them.
fn mix(seed: u64, version: Version, random: &mut random::Random) -> Mix {
    match version.has_field_times() && seed % 2 == 1 {
        true => Mix::of_fields(random, true),
        false => Mix::of(random, false),
    }
}

fn sequence(seed: u64, version: Version, client: &mut Client, replica: &mut Replica) {
    let mut random = random::Random::new(seed);
    let mut model = Database::new(version, 0);
    // The real one's link has chosen database 0 or another before; the model's sends SELECT like a new one.
    let mix = mix(seed, version, &mut random);
    for n in 0..WRITES {
        let (db, mut commands, block) = match write(&mut random, &mix, n) {
            What::Write { db, commands, block } => (db, commands, block),
            _ => continue,
        };
        let block = block && n % 5 != 4;
        if n % 5 == 4 {
            commands = vec![more(random.next())];
        }
        // It sends ZADD in place of GEOADD.
        let is_other = |words: &Words| version == Version::Valkey91 && words[0] == b"GEOADD";
        if commands.iter().any(is_fickle) || commands.iter().any(is_other) {
            continue;
        }
        let is_soon = (commands.iter_mut()).fold(false, |is_soon, words| match field_time(words) {
            Some(at) => {
                words[at] = b"1".to_vec();
                true
            }
            None => is_soon,
        });
        if is_soon && block {
            continue;
        }
        client.ok(&format!("SELECT {db}"));
        let (before, _) = (now_ms(), ());
        let failed = send(client, &commands, block);
        model.now = before;
        let replies = model.run(db, &commands, block, Cause::Client(0));
        let same: Vec<bool> = replies
            .iter()
            .map(|reply| matches!(reply, Reply::Error(_)))
            .collect();
        assert_eq!(same, failed, "seed {seed}: {commands:?}: {replies:?}");
        if is_soon {
            // Both servers' clocks go on; nothing else is waited for.
            std::thread::sleep(std::time::Duration::from_millis(4));
        }
    }
    model.now = now_ms();
    compare_streams(seed, client, replica, &mut model);
    compare_data(seed, client, &model);
}

fn compare_streams(seed: u64, client: &mut Client, replica: &mut Replica, model: &mut Database) {
    client.ok("SELECT 3");
    client.ok("SET the-end 1");
    model.run(3, &[resp::words("SET the-end 1")], false, Cause::Client(0));
    let mut rest = model.stream.as_slice();
    let mut before = Vec::new();
    while let Some((expected, len)) = resp::parse(rest) {
        rest = &rest[len..];
        let found = replica.next();
        before.push(timeless(&found));
        let tail = before.len().saturating_sub(6);
        assert_eq!(
            timeless(&expected),
            timeless(&found),
            "seed {seed} behind {:?}",
            &before[tail..]
        );
    }
}

/// What a command says of a key, whose name stands as KEY.
fn read(client: &mut Client, key: &[u8], line: &str) -> Vec<Vec<u8>> {
    let word = |word: &str| {
        if word == "KEY" {
            key.to_vec()
        } else {
            word.as_bytes().to_vec()
        }
    };
    let reply = client.args(&line.split(' ').map(word).collect::<Vec<_>>());
    match &reply {
        support::Reply::Array(all) => all
            .iter()
            .filter_map(|one| one.bytes().map(<[u8]>::to_vec))
            .collect(),
        one => vec![one.bytes().unwrap_or_default().to_vec()],
    }
}

/// What clients see of a hash.
fn without_due(hash: &Hash, now: u64) -> Hash {
    let mut hash = hash.clone();
    let is_due = |field: &&Vec<u8>| hash.is_due(field, now);
    let due: Vec<Vec<u8>> = hash.values.keys().filter(is_due).cloned().collect();
    hash.take_all(&due);
    hash
}

/// The times of fields; a command was executed a little later than its model.
fn compare_times(seed: u64, client: &mut Client, key: &[u8], hash: &Hash) {
    for (field, at) in &hash.times {
        let words: [&[u8]; 5] = [b"HPEXPIRETIME", key, b"FIELDS", b"1", field];
        let found = match client.args(&words) {
            support::Reply::Array(found) => found[0].int(),
            other => panic!("{other:?}"),
        };
        let late_ms = found - *at as i64;
        assert!(
            (0..5_000).contains(&late_ms),
            "seed {seed}: {} expires {found} instead of {at}",
            String::from_utf8_lossy(field)
        );
    }
}

fn compare_data(seed: u64, client: &mut Client, model: &Database) {
    for (db, keys) in model.dbs.iter().enumerate() {
        client.ok(&format!("SELECT {db}"));
        assert_eq!(
            client.run("DBSIZE").int() as usize,
            keys.len(),
            "seed {seed} database {db}"
        );
        for (key, entry) in keys {
            let mut read = |line: &str| read(client, key, line);
            let (found, expected) = match &entry.value {
                Value::Text(text) if text.starts_with(b"HYLL") => continue,
                Value::Text(text) => (read("GET KEY"), vec![text.clone()]),
                Value::List(list) => (read("LRANGE KEY 0 -1"), list.iter().cloned().collect()),
                Value::Set(set) => {
                    let mut found = read("SMEMBERS KEY");
                    found.sort();
                    (found, set.iter().cloned().collect())
                }
                Value::Hash(hash) => {
                    let mut pairs: Vec<Vec<Vec<u8>>> =
                        read("HGETALL KEY").chunks(2).map(<[_]>::to_vec).collect();
                    pairs.sort();
                    let hash = without_due(hash, model.now);
                    compare_times(seed, client, key, &hash);
                    let expected = hash
                        .values
                        .iter()
                        .flat_map(|(field, value)| [field.clone(), value.clone()])
                        .collect();
                    (pairs.concat(), expected)
                }
                Value::Sorted(sorted) => {
                    let mut found: Vec<Vec<Vec<u8>>> = read("ZRANGE KEY 0 -1 WITHSCORES")
                        .chunks(2)
                        .map(<[_]>::to_vec)
                        .collect();
                    found.sort();
                    let score =
                        |pair: &Vec<Vec<u8>>| String::from_utf8_lossy(&pair[1]).parse::<f64>().unwrap();
                    assert!(
                        found.iter().map(score).eq(sorted.values().copied()),
                        "seed {seed}: {found:?}"
                    );
                    let members = found.into_iter().map(|pair| pair[0].clone()).collect();
                    (members, sorted.keys().cloned().collect())
                }
                Value::Stream(stream) => {
                    let length = client.args(&[b"XLEN".as_slice(), key]).int() as usize;
                    assert_eq!(
                        length,
                        stream.entries.len(),
                        "seed {seed}: {}",
                        String::from_utf8_lossy(key)
                    );
                    continue;
                }
            };
            assert_eq!(
                found,
                expected,
                "seed {seed}: {} of database {db}",
                String::from_utf8_lossy(key)
            );
        }
    }
}

#[test]
fn the_simulated_database_does_what_a_real_one_does() {
    let server = RedisServer::start(ServerOptions::default());
    let mut client = server.client();
    let version = version_of(&server);
    // A field that is over stays until a command meets it.
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    for seed in 0..60 {
        client.ok("FLUSHALL");
        // A new replica is sent SELECT first, as the model sends it.
        let mut replica = Replica::attach(server.port);
        sequence(seed, version, &mut client, &mut replica);
    }
    if version.has_field_times() {
        client.ok("DEBUG SET-ACTIVE-EXPIRE 1");
        fields_lapse(version, &server, &mut client);
    }
}

/// Fields that nobody asks for go one after the other, and with the last the key.
fn fields_lapse(version: Version, server: &RedisServer, client: &mut Client) {
    client.ok("FLUSHALL");
    client.ok("SELECT 0");
    let mut replica = Replica::attach(server.port);
    let mut model = Database::new(version, 0);
    for line in [
        "HSET life f 1 g 2",
        "HPEXPIRE life 1 FIELDS 1 g",
        "HPEXPIRE life 1 FIELDS 1 f",
    ] {
        client.run(line);
        let before = model.stream.len();
        model.now = now_ms();
        model.run(0, &[resp::words(line)], false, Cause::Client(0));
        model.now += 10;
        model.expire_cycle(usize::MAX);
        let mut rest = &model.stream[before..];
        while let Some((expected, len)) = resp::parse(rest) {
            rest = &rest[len..];
            assert_eq!(timeless(&expected), timeless(&replica.next()));
        }
    }
}

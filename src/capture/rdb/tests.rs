#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

/// Builds snapshots by hand.
struct Rdb(Vec<u8>);

impl Rdb {
    fn new() -> Rdb {
        Rdb(b"REDIS0011".to_vec())
    }

    fn valkey() -> Rdb {
        Rdb(b"VALKEY080".to_vec())
    }

    fn raw(mut self, bytes: &[u8]) -> Rdb {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &[u8]) -> Rdb {
        assert!(text.len() < 64);
        self.raw(&[text.len() as u8]).raw(text)
    }

    fn key(self, code: u8, key: &[u8]) -> Rdb {
        self.raw(&[code]).text(key)
    }

    /// `count` texts.
    fn texts(self, count: usize) -> Rdb {
        (0..count).fold(self, |rdb, n| rdb.text(format!("text {n}").as_bytes()))
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(255);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &self.0);
        self.0.extend_from_slice(&crc.to_le_bytes());
        self.0
    }
}

/// Reads `bytes` in the given pieces and writes down the items; values of keys that begin with `want` are
/// asked for.
fn read(pieces: &[&[u8]], limits: Limits) -> Result<Vec<String>, Error> {
    let mut reader = Reader::new(limits);
    let mut items = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let Read { consumed, item } = reader.next(rest)?;
            rest = &rest[consumed..];
            let Some(item) = item else {
                assert!(rest.is_empty());
                break;
            };
            items.push(show(item));
            let asks = |name: &[u8]| matches!(item, Item::Key { key, .. } if key.starts_with(name));
            let (wanted, raw) = (asks(b"want"), asks(b"raw"));
            if wanted {
                reader.want_value();
            }
            if raw {
                reader.want_raw();
            }
        }
    }
    reader.finish()?;
    assert_eq!(
        reader.offset(),
        pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    );
    Ok(items)
}

fn show(item: Item<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match item {
        Item::Header { flavour, version } => format!("{flavour:?} {version}"),
        Item::Aux { name, value } => format!("aux {}={}", text(name), text(value)),
        Item::Function => "function".to_owned(),
        Item::ModuleAux => "module aux".to_owned(),
        Item::Key {
            db,
            key,
            kind,
            expire_at_ms,
        } => format!("key {db} {} {kind:?} {expire_at_ms:?}", text(key)),
        Item::Value { text: value } => format!("value {:?}", value.map(text)),
        Item::Raw { code, bytes } => format!("raw {code} {:?}", bytes.map(text)),
        Item::End { checksummed } => format!("end {checksummed}"),
    }
}

/// One read, byte by byte, and two reads split at every place give the same.
fn every_split(bytes: &[u8]) -> Vec<String> {
    let whole = read(&[bytes], Limits::default()).unwrap();
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single, Limits::default()).unwrap(), whole, "byte by byte");
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(
            read(&[left, right], Limits::default()).unwrap(),
            whole,
            "split at {at}"
        );
        // Cut there, it is not a snapshot.
        if at < bytes.len() {
            let cut = read(&[left], Limits::default());
            assert_eq!(cut, Err(Error::Truncated { offset: at as u64 }), "cut at {at}");
        }
    }
    whole
}

fn stream(rdb: Rdb, version: u8) -> Rdb {
    let lengths = if version == 1 { 3 } else { 8 };
    let rdb = rdb.raw(&[2]).texts(4).raw(&vec![7; lengths]);
    // Two groups: name, last id, (entries read), one pending entry, two consumers with one entry each.
    let rdb = rdb.raw(&[2]);
    (0..2).fold(rdb, |rdb, _| {
        let rdb = rdb
            .text(b"group")
            .raw(&[1, 2])
            .raw(if version == 1 { &[] } else { &[3] });
        let rdb = rdb.raw(&[1]).raw(&[9; 24]).raw(&[1]).raw(&[2]);
        (0..2).fold(rdb, |rdb, _| {
            let seen = if version == 3 { 16 } else { 8 };
            rdb.text(b"consumer").raw(&vec![5; seen]).raw(&[1]).raw(&[9; 16])
        })
    })
}

fn all_types() -> Vec<u8> {
    let rdb = Rdb::new()
        .raw(&[250])
        .text(b"redis-ver")
        .text(b"7.2.6")
        .raw(&[250])
        .text(b"redis-bits")
        .raw(&[0xc0, 64])
        .raw(&[247, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 2, 1, 5])
        .text(b"module text")
        .raw(&[0])
        .raw(&[245])
        .text(b"#!lua name=l")
        .raw(&[254, 0, 251, 20, 2])
        .raw(&[252])
        .raw(&1_700_000_000_123_i64.to_le_bytes())
        .raw(&[248, 0x40, 200])
        .key(0, b"want plain")
        .text(b"a value")
        .raw(&[249, 255])
        .key(0, b"want int8")
        .raw(&[0xc0, 0x80])
        .key(0, b"want int16")
        .raw(&[0xc1, 0x34, 0x12])
        .key(0, b"want int32")
        .raw(&[0xc2, 0xff, 0xff, 0xff, 0x7f])
        .key(0, b"want lzf")
        .raw(&[0xc3, 5, 13, 0, b'x', 7 << 5, 3, 0])
        .key(0, b"skip lzf")
        .raw(&[0xc3, 0x40, 5, 0x80, 0, 0, 0, 13, 0, b'x', 7 << 5, 3, 0]);
    let rdb = rdb.raw(&[253]).raw(&60_i32.to_le_bytes());
    let rdb = rdb.key(1, b"list").raw(&[3]).texts(3);
    let rdb = rdb.key(2, b"want set").raw(&[0x40, 2]).texts(2);
    let rdb = rdb
        .key(3, b"zset")
        .raw(&[4])
        .texts(1)
        .raw(&[253])
        .texts(1)
        .raw(&[254]);
    let rdb = rdb.texts(1).raw(&[255]).texts(1).text(b"1.5");
    let rdb = rdb.key(4, b"hash").raw(&[2]).texts(4);
    let rdb = rdb
        .key(5, b"zset 2")
        .raw(&[2])
        .texts(1)
        .raw(&[0; 8])
        .texts(1)
        .raw(&[0; 8]);
    let rdb = rdb.key(7, b"module").raw(&[0x81, 8, 7, 6, 5, 4, 3, 2, 1]);
    let rdb = rdb.raw(&[
        1, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 2, 9, 3, 1, 2, 3, 4,
    ]);
    let rdb = rdb.raw(&[4, 1, 2, 3, 4, 5, 6, 7, 8, 5]).text(b"part").raw(&[0]);
    let rdb = [9, 10, 11, 12, 13, 16, 17, 20]
        .into_iter()
        .fold(rdb, |rdb, code| {
            rdb.key(code, format!("packed {code}").as_bytes()).text(b"blob")
        });
    let rdb = rdb.key(14, b"quicklist").raw(&[2]).texts(2);
    let rdb = rdb
        .key(18, b"quicklist 2")
        .raw(&[2, 1])
        .texts(1)
        .raw(&[2])
        .texts(1);
    let rdb = rdb.raw(&[254, 0x80, 0, 0, 1, 0, 244, 1, 2, 3]);
    let rdb = stream(rdb.key(15, b"stream"), 1);
    let rdb = stream(rdb.key(19, b"stream 2"), 2);
    let rdb = stream(rdb.key(21, b"stream 3"), 3);
    let rdb = rdb.key(22, b"hash 22").raw(&[1, 0x40, 9]).texts(2);
    let rdb = rdb.key(23, b"hash 23").text(b"blob");
    let rdb = rdb.key(24, b"hash 24").raw(&[1; 8]).raw(&[1, 9]).texts(2);
    let rdb = rdb.key(25, b"hash 25").raw(&[1; 8]).text(b"blob");
    rdb.key(1, b"no elements").raw(&[0]).end()
}

#[test]
fn every_type_at_every_split() {
    let items = every_split(&all_types());
    let expected = "Redis 11|aux redis-ver=7.2.6|aux redis-bits=64|module aux|function|\
        key 0 want plain String Some(1700000000123)|value Some(\"a value\")|\
        key 0 want int8 String None|value Some(\"-128\")|key 0 want int16 String None|value Some(\"4660\")|\
        key 0 want int32 String None|value Some(\"2147483647\")|\
        key 0 want lzf String None|value Some(\"xxxxxxxxxxxxx\")|key 0 skip lzf String None|\
        key 0 list List Some(60000)|key 0 want set Set None|value None|key 0 zset SortedSet None|\
        key 0 hash Hash None|key 0 zset 2 SortedSet None|key 0 module Module None|\
        key 0 packed 9 Hash None|key 0 packed 10 List None|key 0 packed 11 Set None|\
        key 0 packed 12 SortedSet None|key 0 packed 13 Hash None|key 0 packed 16 Hash None|\
        key 0 packed 17 SortedSet None|key 0 packed 20 Set None|key 0 quicklist List None|\
        key 0 quicklist 2 List None|key 256 stream Stream None|key 256 stream 2 Stream None|\
        key 256 stream 3 Stream None|key 256 hash 22 Hash None|key 256 hash 23 Hash None|\
        key 256 hash 24 Hash None|key 256 hash 25 Hash None|key 256 no elements List None|end true";
    assert_eq!(items.join("|"), expected);
}

#[test]
fn valkey_has_numbers_of_its_own() {
    let rdb = Rdb::valkey().raw(&[243]).text(b"job").raw(&[1, 0, 0x40, 99]);
    let items = every_split(&rdb.key(22, b"hash").raw(&[1]).texts(2).raw(&[0; 8]).end());
    assert_eq!(items, ["Valkey 80", "key 0 hash Hash None", "end true"]);
    let unknown = read(&[&Rdb::valkey().key(24, b"hash").end()], Limits::default()).unwrap_err();
    assert!(matches!(
        unknown,
        Error::Unknown {
            what: "type",
            code: 24,
            offset: 9,
            ..
        }
    ));
    assert!(!unknown.is_retryable());
}

#[test]
fn an_empty_snapshot() {
    assert_eq!(every_split(&Rdb::new().end()), ["Redis 11", "end true"]);
}

#[test]
fn a_checksum_may_be_missing_or_wrong() {
    let mut bytes = all_types();
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    assert!(matches!(
        read(&[&bytes], Limits::default()),
        Err(Error::Checksum { .. })
    ));
    bytes[crc..].fill(0);
    assert_eq!(
        read(&[&bytes], Limits::default()).unwrap().last().unwrap(),
        "end false"
    );
    bytes.push(b'\n');
    let offset = bytes.len() as u64 - 1;
    assert_eq!(
        read(&[&bytes], Limits::default()),
        Err(Error::Trailing { offset })
    );
    // A damaged byte inside a value is found by the checksum alone.
    let mut bytes = all_types();
    let at = bytes.windows(7).position(|w| w == b"a value").unwrap();
    bytes[at] ^= 1;
    assert!(matches!(
        read(&[&bytes], Limits::default()),
        Err(Error::Checksum { .. })
    ));
}

/// A key whose name arrives in pieces is not taken for the long text before it, and where a long one begins is the
/// same however it is cut.
#[test]
fn a_long_text_says_nothing_of_the_key_behind_it() {
    let limits = Limits {
        key_bytes_max: 10,
        aux_bytes_max: 4,
        value_bytes_max: 5,
    };
    let long = Rdb::new().raw(&[250]).text(b"a long name").text(b"v");
    let sound = long.key(0, b"key").text(b"v").end();
    let single: Vec<&[u8]> = sound.chunks(1).collect();
    assert_eq!(read(&single, limits), read(&[&sound], limits));
    assert_eq!(read(&single, limits).unwrap().len(), 3);
    let bad = Rdb::new().key(0, b"eleven bytes").text(b"v").end();
    let single: Vec<&[u8]> = bad.chunks(1).collect();
    assert_eq!(read(&single, limits), read(&[&bad], limits));
}

#[test]
fn limits_hold() {
    let limits = Limits {
        key_bytes_max: 10,
        aux_bytes_max: 4,
        value_bytes_max: 5,
    };
    let rdb = Rdb::new()
        .raw(&[250])
        .text(b"long name")
        .text(b"v")
        .raw(&[250])
        .text(b"name")
        .text(b"long value");
    let rdb = rdb.raw(&[250]).text(b"name").text(b"v");
    let rdb = rdb.key(0, b"want").text(b"123456").key(0, b"want").text(b"12345");
    // Four bytes that claim to become a gigabyte.
    let bomb = rdb
        .key(0, b"want")
        .raw(&[0xc3, 2, 0x80, 0x40, 0, 0, 0, 0, b'x'])
        .end();
    let items = read(&[&bomb], limits).unwrap();
    assert_eq!(
        items,
        [
            "Redis 11",
            "aux name=v",
            "key 0 want String None",
            "value None",
            "key 0 want String None",
            "value Some(\"12345\")",
            "key 0 want String None",
            "value None",
            "end true"
        ]
    );
    let key = Rdb::new().raw(&[0, 0x80, 0xff, 0xff, 0xff, 0xff]).raw(b"k");
    let error = read(&[&key.0], limits).unwrap_err();
    assert!(matches!(
        error,
        Error::KeyTooLong {
            bytes: 0xffff_ffff,
            max: 10,
            ..
        }
    ));
}

#[test]
fn what_is_no_snapshot_is_named() {
    let error = |bytes: &[u8]| read(&[bytes], Limits::default()).unwrap_err();
    assert_eq!(error(b"HTTP/1.1 400"), Error::Magic("HTTP/1.1 ".to_owned()));
    assert!(matches!(error(b"REDIS00x1"), Error::Magic(_)));
    assert_eq!(
        error(&Rdb::new().raw(&[6, 1, b'k']).0),
        Error::OldModule { offset: 9 }
    );
    assert!(matches!(
        error(&Rdb::new().raw(&[243]).0),
        Error::Unknown {
            what: "section",
            code: 243,
            offset: 9,
            ..
        }
    ));
    assert_eq!(
        error(&Rdb::new().key(1, b"k").raw(&[0x82]).0),
        Error::Length {
            byte: 0x82,
            offset: 12
        }
    );
    assert_eq!(
        error(&Rdb::new().key(0, b"k").raw(&[0xc4]).0),
        Error::Length {
            byte: 0xc4,
            offset: 12
        }
    );
    assert!(matches!(
        error(&Rdb::new().key(7, b"k").raw(&[1, 6]).0),
        Error::Unknown {
            what: "module part",
            code: 6,
            offset: 13,
            ..
        }
    ));
    assert!(matches!(
        error(&Rdb::new().raw(&[254, 0x81, 1, 0, 0, 0, 0, 0, 0, 0]).0),
        Error::Database { offset: 9, .. }
    ));
    assert!(matches!(
        error(&Rdb::new().raw(&[250, 0xc3, 1, 4, 0x20, 1, b'v']).0),
        Error::Lzf {
            reason: LzfError::Truncated,
            ..
        }
    ));
}

proptest! {
    /// Damage and chance end in an answer, the same for every way to cut the bytes.
    #[test]
    fn damaged_snapshots_end_in_an_answer(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        piece in 1_usize..64,
    ) {
        let mut bytes = all_types();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // The checksum must not hide what the machine does.
        let crc = bytes.len() - 8;
        bytes[crc..].fill(0);
        let whole = read(&[&bytes], Limits::default());
        let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
        prop_assert_eq!(read(&pieces, Limits::default()), whole);
    }
}

#[test]
fn raw_values_are_the_bytes_behind_the_key() {
    let rdb = Rdb::new()
        .key(0, b"raw text")
        .text(b"hello")
        .key(2, b"set")
        .raw(&[2])
        .texts(2)
        .key(4, b"raw hash")
        .raw(&[1])
        .text(b"f")
        .text(b"v")
        .key(0, b"raw integer")
        .raw(&[0xc0, 42])
        .end();
    let items = every_split(&rdb);
    let raw: Vec<&String> = items.iter().filter(|item| item.starts_with("raw")).collect();
    let expected = [
        r#"raw 0 Some("\\x05hello")"#,
        r#"raw 4 Some("\\x01\\x01f\\x01v")"#,
        r#"raw 0 Some("\\xc0*")"#,
    ];
    assert_eq!(raw, expected);
    assert_eq!(text(b"\x05hello"), Some(b"hello".to_vec()));
    assert_eq!(text(&[0xc0, 42]), Some(b"42".to_vec()));
    assert_eq!(text(b"\x05hello "), None);
    assert_eq!(text(b"\x05hell"), None);
}

#[test]
fn a_raw_value_over_the_limit_is_passed_over() {
    let rdb = Rdb::new()
        .key(0, b"raw long")
        .text(b"more than eight bytes")
        .key(0, b"raw short")
        .text(b"few")
        .end();
    let limits = Limits {
        value_bytes_max: 8,
        ..Limits::default()
    };
    let items = read(&[&rdb], limits).unwrap();
    assert!(items.contains(&"raw 0 None".to_owned()), "{items:?}");
    assert!(
        items.contains(&r#"raw 0 Some("\\x03few")"#.to_owned()),
        "{items:?}"
    );
}

/// `DUMP` of a string `v` on Redis 7.0.15.
#[test]
fn a_dump_is_what_the_server_makes() {
    let dumped = b"\x00\x01v\x0a\x00\x91\x08\xce\xb2\x19\x38\x8a\xce";
    assert_eq!(dump(0, b"\x01v", 10), dumped);
}

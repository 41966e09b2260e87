//! Each encoding, its bytes by hand.

use super::*;

/// A text as it stands in a payload.
fn put(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..64 => out.push(len as u8),
        len => out.extend([0x40 | (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(text);
}

/// The type and one text.
fn blob(code: u8, blob: &[u8]) -> Vec<u8> {
    let mut out = vec![code];
    put(&mut out, blob);
    out
}

pub(super) fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 10];
    let (mut tail, mut before) = (10, 0);
    for element in elements {
        tail = out.len();
        out.push(before);
        out.extend_from_slice(element);
        before = (out.len() - tail) as u8;
    }
    out.push(255);
    let len = out.len() as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(elements.len() as u16).to_le_bytes());
    out
}

fn listpack(texts: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new();
    texts.iter().for_each(|text| writer.text(text.as_bytes()));
    writer.finish().to_vec()
}

fn value_of(body: &[u8], version: u16) -> Value {
    let value = decode(&sealed(body, version)).unwrap();
    let again = encode(&value, 80).unwrap();
    assert_eq!(decode(&again).unwrap(), value);
    value
}

#[test]
fn strings() {
    assert_eq!(value_of(&[0, 2, b'h', b'i'], 9), Value::String(text("hi")));
    assert_eq!(value_of(&[0, 0xc0, 0xff], 9), Value::String(text("-1")));
    assert_eq!(value_of(&[0, 0xc1, 0, 1], 9), Value::String(text("256")));
    assert_eq!(value_of(&[0, 0xc2, 0, 0, 1, 0], 9), Value::String(text("65536")));
    let packed = [0, 0xc3, 5, 13, 0, b'x', 7 << 5, 3, 0];
    assert_eq!(value_of(&packed, 9), Value::String(text("xxxxxxxxxxxxx")));
}

#[test]
fn ziplists_of_every_number() {
    let elements: [&[u8]; 9] = [
        b"\x02hi",
        b"\x40\x02ho",
        b"\x80\0\0\0\x02hu",
        b"\xc0\xfe\xff",
        b"\xd0\0\0\x01\0",
        b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xf0\0\0\x80",
        b"\xfe\x80",
        b"\xfd",
    ];
    let want = Value::list(texts("hi ho hu -2 65536 9223372036854775807 -8388608 -128 12")).unwrap();
    let packed = ziplist(&elements);
    assert_eq!(value_of(&blob(10, &packed), 9), want);
    let mut quicklist = vec![14, 1];
    put(&mut quicklist, &packed);
    assert_eq!(value_of(&quicklist, 9), want);
    // A back length may take five bytes where one would do.
    let wide = b"\x11\0\0\0\x0c\0\0\0\x02\0\0\xf1\xfe\x02\0\0\0\xf2\xff";
    let mut wide = wide.to_vec();
    wide[0] = wide.len() as u8;
    assert_eq!(value_of(&blob(10, &wide), 9), Value::list(texts("0 1")).unwrap());
}

#[test]
fn lists() {
    let plain = [1, 2, 1, b'b', 1, b'a'];
    assert_eq!(value_of(&plain, 9), Value::list(texts("b a")).unwrap());
    let mut quicklist = vec![18, 3, 2];
    put(&mut quicklist, &listpack(&["b", "300"]));
    quicklist.extend([1, 1, b'a', 2]);
    put(&mut quicklist, &listpack(&[]));
    assert_eq!(value_of(&quicklist, 10), Value::list(texts("b 300 a")).unwrap());
}

#[test]
fn sets() {
    let want = Value::set(texts("1 300 -2")).unwrap();
    assert_eq!(value_of(b"\x02\x03\x011\x03300\x02-2", 9), want);
    assert_eq!(value_of(&blob(20, &listpack(&["300", "1", "-2"])), 11), want);
    let intset = b"\x02\0\0\0\x03\0\0\0\xfe\xff\x01\0\x2c\x01";
    assert_eq!(value_of(&blob(11, intset), 9), want);
    let wide = b"\x08\0\0\0\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f";
    assert_eq!(
        value_of(&blob(11, wide), 9),
        Value::set(texts("9223372036854775807")).unwrap()
    );
}

#[test]
fn sorted_sets() {
    let want = Value::sorted_set(vec![
        (f64::INFINITY, text("c")),
        (1.5, text("b")),
        (1.5, text("a")),
        (f64::NEG_INFINITY, text("d")),
    ])
    .unwrap();
    let old = b"\x03\x04\x01a\x031.5\x01b\x031.5\x01c\xfe\x01d\xff";
    assert_eq!(value_of(old, 9), want);
    let mut doubles = vec![5, 4];
    for (member, score) in [
        (b'a', 1.5),
        (b'c', f64::INFINITY),
        (b'd', f64::NEG_INFINITY),
        (b'b', 1.5),
    ] {
        doubles.extend([1, member]);
        doubles.extend(f64::to_le_bytes(score));
    }
    assert_eq!(value_of(&doubles, 9), want);
    let packed = listpack(&["d", "-inf", "a", "1.5", "b", "1.5", "c", "inf"]);
    assert_eq!(value_of(&blob(17, &packed), 10), want);
    let packed = ziplist(&[
        b"\x01d",
        b"\x04-inf",
        b"\x01a",
        b"\x031.5",
        b"\x01b",
        b"\x031.5",
        b"\x01c",
        b"\x03inf",
    ]);
    assert_eq!(value_of(&blob(12, &packed), 9), want);
    let Value::SortedSet(members) = want else {
        unreachable!()
    };
    let order: Vec<&[u8]> = members.iter().map(|(_, member)| member.as_ref()).collect();
    assert_eq!(order, [b"d", b"a", b"b", b"c"]);
}

#[test]
fn hashes() {
    let want = Value::hash(vec![field("f", "1", None), field("g", "2", None)]).unwrap();
    assert_eq!(value_of(b"\x04\x02\x01g\x012\x01f\xc0\x01", 9), want);
    assert_eq!(
        value_of(&blob(13, &ziplist(&[b"\x01g", b"\xf3", b"\x01f", b"\xf2"])), 9),
        want
    );
    assert_eq!(value_of(&blob(16, &listpack(&["g", "2", "f", "1"])), 10), want);
    let zipmap = b"\x02\x01g\x01\x002\x01f\x01\x031...\xff";
    assert_eq!(value_of(&blob(9, zipmap), 9), want);
    let long = b"\x02\xfe\x01\0\0\0g\x01\x002\x01f\x01\x001\xff";
    assert_eq!(value_of(&blob(9, long), 9), want);
}

#[test]
fn hashes_whose_fields_expire() {
    let want = Value::hash(vec![
        field("f", "1", Some(1000)),
        field("g", "2", None),
        field("h", "3", Some(1005)),
    ])
    .unwrap();
    // Redis, released: counted from the earliest, plus one.
    let mut body = b"\x18\xe8\x03\0\0\0\0\0\0\x03".to_vec();
    body.extend(b"\x00\x01g\x012\x01\x01f\x011\x06\x01h\x013");
    assert_eq!(value_of(&body, 12), want);
    // A pre-release: the moment itself.
    let body = b"\x16\x03\x00\x01g\x012\x43\xe8\x01f\x011\x43\xed\x01h\x013";
    assert_eq!(value_of(body, 12), want);
    let packed = listpack(&["f", "1", "1000", "h", "3", "1005", "g", "2", "0"]);
    assert_eq!(value_of(&blob(23, &packed), 12), want);
    let mut body = b"\x19\xe8\x03\0\0\0\0\0\0".to_vec();
    put(&mut body, &packed);
    assert_eq!(value_of(&body, 12), want);
    // Valkey: behind the value, -1 for never. The same number as the pre-release's.
    let mut body = b"\x16\x03".to_vec();
    for (pair, at) in [
        (b"\x01h\x013", 1005),
        (b"\x01g\x012", -1),
        (b"\x01f\x011", 1000_i64),
    ] {
        body.extend(pair);
        body.extend(at.to_le_bytes());
    }
    assert_eq!(value_of(&body, 80), want);
    assert!(decode(&sealed(&body, 12)).is_err());
}

/// A node of two entries with the same names, a deleted one, and one with names of its own.
pub(super) fn stream_node() -> Vec<u8> {
    let mut writer = Writer::new();
    [3, 1, 1].into_iter().for_each(|number| writer.number(number));
    writer.text(b"f");
    writer.number(0);
    for (flags, ms, seq, value) in [(2, 0, 0, "a"), (3, 0, 1, "b"), (2, 5, -1, "c")] {
        [flags, ms, seq]
            .into_iter()
            .for_each(|number| writer.number(number));
        writer.text(value.as_bytes());
        writer.number(4);
    }
    [0, 6, 0, 1].into_iter().for_each(|number| writer.number(number));
    writer.text(b"g");
    writer.text(b"d");
    writer.number(6);
    writer.finish().to_vec()
}

pub(super) fn stream_body(code: u8) -> Vec<u8> {
    let mut body = vec![code, 1];
    put(&mut body, &id(7, 1).to_bytes());
    put(&mut body, &stream_node());
    body.extend([3, 13, 1]);
    if code > 15 {
        body.extend([7, 1, 7, 2, 9]);
    }
    body.extend([1, 1, b'G', 12, 0]);
    if code > 15 {
        body.push(2);
    }
    body.push(2);
    for pending in [id(7, 1), id(12, 0)] {
        body.extend(pending.to_bytes());
        body.extend(50_i64.to_le_bytes());
        body.push(3);
    }
    body.push(2);
    for (name, owned) in [(b'y', Some(id(12, 0))), (b'x', Some(id(7, 1)))] {
        body.extend([1, name]);
        body.extend(60_i64.to_le_bytes());
        if code > 19 {
            body.extend(55_i64.to_le_bytes());
        }
        body.push(u8::from(owned.is_some()));
        owned.iter().for_each(|id| body.extend(id.to_bytes()));
    }
    body
}

fn stream_value(code: u8) -> Stream {
    let entry = |ms, seq, name, value| Entry {
        id: id(ms, seq),
        fields: vec![(text(name), text(value))],
    };
    let pending = |ms, seq, consumer| Pending {
        id: id(ms, seq),
        consumer: text(consumer),
        delivered_unix_ms: 50,
        deliveries: 3,
    };
    let consumer = |name| Consumer {
        name: text(name),
        seen_unix_ms: 60,
        active_unix_ms: if code > 19 { 55 } else { 60 },
    };
    Stream {
        entries: vec![
            entry(7, 1, "f", "a"),
            entry(12, 0, "f", "c"),
            entry(13, 1, "g", "d"),
        ],
        last_id: id(13, 1),
        max_deleted_id: if code > 15 { id(7, 2) } else { id(0, 0) },
        entries_added: if code > 15 { 9 } else { 3 },
        groups: vec![Group {
            name: text("G"),
            last_id: id(12, 0),
            entries_read: (code > 15).then_some(2),
            pending: vec![pending(7, 1, "x"), pending(12, 0, "y")],
            consumers: vec![consumer("x"), consumer("y")],
        }],
    }
}

#[test]
fn streams() {
    for code in [15, 19, 21] {
        let found = decode(&sealed(&stream_body(code), 11)).unwrap();
        assert_eq!(found, Value::Stream(stream_value(code)), "type {code}");
    }
}

#[test]
fn modules_are_told_apart() {
    for code in [6, 7] {
        let payload = sealed(&[code, 0x81, 0, 0, 0, 0, 0, 0, 0, 1, 0], 11);
        assert_eq!(decode(&payload), Err(DecodeError::Module));
        assert!(is_module(&payload));
    }
    assert!(!is_module(&sealed(&[0, 0], 9)));
}

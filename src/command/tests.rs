#![allow(clippy::unwrap_used)]
use bytes::Bytes;

use super::effect::{Effect, KeyEffect, SetExpiry, parse};
use super::*;

fn words(text: &str) -> Vec<Bytes> {
    text.split(' ').map(|word| Bytes::from(word.to_owned())).collect()
}

fn effects(text: &str) -> Vec<(String, Option<Effect>)> {
    let args = words(text);
    let shares: Vec<KeyEffect> = parse(spec(&args[0]).unwrap(), &args).unwrap();
    shares
        .into_iter()
        .map(|s| (String::from_utf8(s.key.to_vec()).unwrap(), s.effect))
        .collect()
}

#[test]
fn every_name_is_found_in_any_case_and_stands_once() {
    for row in rows() {
        assert_eq!(spec(row.name.as_bytes()).unwrap().name, row.name);
        assert_eq!(spec(row.name.to_lowercase().as_bytes()).unwrap().name, row.name);
        assert_eq!(
            rows().iter().filter(|other| other.name == row.name).count(),
            1,
            "{}",
            row.name
        );
    }
    for name in [&b""[..], b"GET", b"SETS", b"ZRANGESTORE2"] {
        assert_eq!(spec(name), None);
    }
}

#[test]
fn conditions_are_dropped() {
    let set = |value: &str, expiry| {
        Some(Effect::Set {
            value: Bytes::from(value.to_owned()),
            expiry,
        })
    };
    assert_eq!(effects("SET k v NX"), [("k".into(), set("v", SetExpiry::Clear))]);
    assert_eq!(
        effects("set k v XX PXAT 5"),
        [("k".into(), set("v", SetExpiry::At(5)))]
    );
    assert_eq!(effects("SETNX k v"), [("k".into(), set("v", SetExpiry::Clear))]);
    let both = [
        ("a".into(), set("1", SetExpiry::Clear)),
        ("b".into(), set("2", SetExpiry::Clear)),
    ];
    assert_eq!(effects("MSETNX a 1 b 2"), both);
    assert_eq!(
        effects("PEXPIREAT k 9 GT"),
        [("k".into(), Some(Effect::Expire { at_unix_ms: Some(9) }))]
    );
    assert_eq!(effects("zadd z NX CH 2 a"), effects("ZADD z 2 a"));
    assert_eq!(effects("ZADD z NX 2 a 3 b"), [("z".into(), Some(Effect::Opaque))]);
}

#[test]
fn several_keys_are_split() {
    assert_eq!(
        effects("DEL a b"),
        [("a".into(), Some(Effect::Del)), ("b".into(), Some(Effect::Del))]
    );
    assert_eq!(
        effects("RENAME a b"),
        [
            ("a".into(), Some(Effect::Del)),
            ("b".into(), Some(Effect::Derived))
        ]
    );
    let union = effects("ZUNIONSTORE d 2 x y WEIGHTS 2 3");
    assert_eq!(
        union,
        [
            ("d".into(), Some(Effect::Derived)),
            ("x".into(), None),
            ("y".into(), None)
        ]
    );
    assert_eq!(effects("BITOP AND d a b")[0].0, "d");
    let sort = effects("SORT l BY nosort STORE d");
    assert_eq!(sort, [("l".into(), None), ("d".into(), Some(Effect::Derived))]);
    let args = words("COPY a b DB 3");
    assert_eq!(parse(spec(b"COPY").unwrap(), &args).unwrap()[1].db, Some(3));
}

#[test]
fn relative_times_become_absolute_and_conditions_that_held_go() {
    let rewrite = |text: &str| {
        let args = words(text);
        let all = absolute(spec(&args[0]).unwrap(), &args[..], FieldTimes::None, 1000)?;
        Some(
            all.iter()
                .map(|word| String::from_utf8(word.clone()).unwrap())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    assert_eq!(rewrite("EXPIRE k 2").unwrap(), "PEXPIREAT k 3000");
    assert_eq!(rewrite("SET k v PX 5").unwrap(), "SET k v PXAT 1005");
    assert_eq!(
        rewrite("RESTORE k 7 xx REPLACE").unwrap(),
        "RESTORE k 1007 xx REPLACE ABSTTL"
    );
    assert_eq!(rewrite("RESTORE k 7 xx ABSTTL"), None);
    assert_eq!(rewrite("SET k v PXAT 5"), None);
    assert_eq!(rewrite("SET k v"), None);
    assert_eq!(rewrite("zadd z XX CH 2 a").unwrap(), "zadd z 2 a");
    for text in [
        "ZADD z 2 a",
        "ZADD z CH 2 a",
        "ZADD z NX 2 a 3 b",
        "ZADD z 2 XX 3 b",
        "ZADD z XX INCR 2 a",
    ] {
        assert_eq!(rewrite(text), None, "{text}");
    }
}

#[test]
fn wrong_arguments_are_an_error() {
    for text in [
        "INCRBY k x",
        "HSET h f",
        "ZADD z a b",
        "SET k",
        "PEXPIREAT k",
        "HINCRBY h f",
    ] {
        let args = words(text);
        assert!(parse(spec(&args[0]).unwrap(), &args).is_err(), "{text}");
    }
}

#![allow(clippy::unwrap_used)]
use std::rc::Rc;

use super::*;
use crate::causality::{Dot, Hlc, SiteIx, Vector};
use crate::command::effect::{SetExpiry, parse};
use crate::command::spec;
use crate::converge::difference::difference;
use crate::converge::life::Life;
use crate::converge::render::render;

fn effect(text: &str) -> Effect {
    let words: Vec<Bytes> = text.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
    let shares = parse(spec(&words[0]).unwrap(), &words).unwrap();
    shares[0].effect.clone().unwrap()
}

/// What these operations, in an order that causality allows, leave on the base.
fn evaluate(base: &Content, operations: &[Operation]) -> Content {
    let mut life = Life::new();
    for (at, op) in operations.iter().enumerate() {
        life.add(op, &operations[..at]);
    }
    crate::converge::evaluate::evaluate(base, operations, life.enders())
}

/// The first write of a site at this time, which has seen nothing.
fn write(site: u8, time: u64, text: &str) -> Operation {
    Operation {
        dot: Dot {
            site: SiteIx(site),
            seq: 1,
        },
        past: Rc::new(Vector::zero(3)),
        time: Hlc(time),
        effect: effect(text),
        raw: Bytes::new(),
        contested: false,
        joint: false,
    }
}

fn after(content: Content, text: &str) -> Content {
    content.after(&effect(text))
}

/// What is submitted, command by command.
fn missing(want: &Content, have: &Content) -> Vec<String> {
    let shown = |effect: &Effect| {
        let raw = String::from_utf8(render(b"k", effect).to_vec()).unwrap();
        raw.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")
    };
    difference(want, have).unwrap().iter().map(shown).collect()
}

#[test]
fn of_concurrent_bits_the_latest_stays_and_others_are_not_touched() {
    let ours = "BITFIELD k SET u1 3 1 SET u1 8 1";
    let theirs = "BITFIELD k SET u1 3 0 SET u1 5 1";
    let want = evaluate(&Content::unknown(), &[write(0, 1, ours), write(1, 2, theirs)]);
    let here = after(Content::unknown(), ours);
    assert_eq!(missing(&want, &here), ["BITFIELD k SET u1 3 0 SET u1 5 1"]);
    let there = after(Content::unknown(), theirs);
    assert_eq!(missing(&want, &there), ["SETBIT k 8 1"]);
    let neither: [&str; 0] = [];
    assert_eq!(missing(&want, &after(there, "SETBIT k 8 1")), neither);
}

#[test]
fn bits_stand_on_a_concurrent_set_and_survive_a_concurrent_del_alone() {
    let want = evaluate(
        &Content::unknown(),
        &[write(0, 2, "SET k a"), write(1, 1, "SETBIT k 15 1")],
    );
    let here = Content::text(Bytes::from_static(b"a"));
    assert_eq!(missing(&want, &here), ["SETBIT k 15 1"]);
    let there = after(Content::unknown(), "SETBIT k 15 1");
    assert_eq!(missing(&want, &there), ["SET k a", "SETBIT k 15 1"]);
    let want = evaluate(
        &Content::unknown(),
        &[write(0, 2, "DEL k"), write(1, 1, "SETBIT k 15 1")],
    );
    assert_eq!(missing(&want, &there), ["DEL k", "SETBIT k 15 1"]);
    assert_eq!(missing(&want, &Content::absent()), ["SETBIT k 15 1"]);
}

#[test]
fn lengths_are_equal_too() {
    let base = Content::text(Bytes::from_static(b"a"));
    let want = evaluate(&base, &[write(0, 1, "SETBIT k 100 0")]);
    assert_eq!(missing(&want, &base), ["SETBIT k 100 0"], "it grows the string");
    let longer = after(base.clone(), "SETBIT k 100 0");
    assert_eq!(missing(&base, &longer), ["SET k a"], "no bit shortens one");
    let unknown = evaluate(&Content::unknown(), &[write(0, 1, "SETBIT k 100 0")]);
    assert_eq!(missing(&unknown, &Content::unknown()), ["SETBIT k 100 0"]);
}

#[test]
fn ranges_and_fields_are_bits() {
    let Effect::Bits(range) = effect("SETRANGE k 2 ab") else {
        panic!("not by bit");
    };
    assert_eq!(range.len(), 16);
    assert_eq!(effect("BITFIELD k SET u16 16 24930"), effect("SETRANGE k 2 ab"));
    assert_eq!(
        effect("BITFIELD k GET u8 0 SET i16 #1 -40606"),
        effect("SETRANGE k 2 ab")
    );
    assert_eq!(
        effect("BITFIELD k SET u8 16 353 SET u8 24 98"),
        effect("SETRANGE k 2 ab"),
        "it wraps"
    );
    let long = format!("SETRANGE k 0 {}", "x".repeat(65));
    let opaque = [
        "BITFIELD k INCRBY u8 0 1",
        "BITFIELD k OVERFLOW FAIL SET u8 0 1",
        &long,
        "BITFIELD k GET u8 0",
    ];
    for text in opaque {
        assert_eq!(effect(text), Effect::Opaque, "{text}");
    }
    for text in [
        "SETRANGE k 0 abcdefghijkl",
        "BITFIELD k SET u3 7 5 SET u64 100 -3 SET u1 2 0",
    ] {
        let raw = String::from_utf8(render(b"k", &effect(text)).to_vec()).unwrap();
        let words: Vec<&str> = raw.split("\r\n").skip(2).step_by(2).collect();
        assert_eq!(effect(&words.join(" ")), effect(text), "{words:?}");
    }
}

#[test]
fn a_hyperloglog_takes_in_what_no_delete_saw() {
    let want = evaluate(
        &Content::unknown(),
        &[write(0, 2, "DEL k"), write(1, 1, "PFADD k a b")],
    );
    let there = after(Content::unknown(), "PFADD k a b");
    assert_eq!(missing(&want, &there), ["DEL k", "PFADD k a b"]);
    assert_eq!(missing(&want, &Content::absent()), ["PFADD k a b"]);
    let both = [write(0, 2, "PFADD k c"), write(1, 1, "PFADD k a b")];
    assert_eq!(
        missing(&evaluate(&Content::unknown(), &both), &there),
        ["PFADD k c"]
    );
    assert_eq!(effect("PFADD k"), Effect::Opaque);
}

#[test]
fn what_pieces_cannot_be_joined_with_is_replayed() {
    let needs = |base: &Content, texts: &[&str]| {
        let writes: Vec<Operation> = (1..)
            .zip(texts)
            .map(|(at, text)| write(at as u8, at, text))
            .collect();
        needs_replay(base, &writes)
    };
    let unknown = Content::unknown();
    assert!(!needs(
        &unknown,
        &["SETBIT k 1 1", "SET k a", "DEL k", "PEXPIREAT k 9"]
    ));
    assert!(!needs(&unknown, &["PFADD k a", "DEL k", "PEXPIREAT k 9"]));
    assert!(!needs(&unknown, &["SET k a", "INCR k", "SADD k a"]));
    for other in ["INCR k", "PFADD k a", "SADD k a"] {
        assert!(needs(&unknown, &["SETBIT k 1 1", other]), "{other}");
    }
    for other in ["INCR k", "SET k a", "HSET k f v"] {
        assert!(needs(&unknown, &["PFADD k a", other]), "{other}");
    }
    let counted = after(after(Content::unknown(), "INCR k"), "PERSIST k");
    assert!(needs(&counted, &["SETBIT k 1 1"]));
    assert!(needs(&after(Content::unknown(), "SETBIT k 1 1"), &["INCR k"]));
    assert!(!needs(
        &Content::text(Bytes::from_static(b"7")),
        &["SETBIT k 1 1"]
    ));
}

#[test]
fn a_set_keeps_its_time_under_bits() {
    let set = Operation {
        effect: Effect::Set {
            value: Bytes::from_static(b"a"),
            expiry: SetExpiry::At(77),
        },
        ..write(0, 2, "SET k a")
    };
    let want = evaluate(&Content::unknown(), &[set, write(1, 1, "SETBIT k 15 1")]);
    let there = after(Content::unknown(), "SETBIT k 15 1");
    assert_eq!(missing(&want, &there), ["SET k a PXAT 77", "SETBIT k 15 1"]);
}

#[test]
fn what_was_overwritten_calls_for_no_replay() {
    let saw = |mut op: Operation, seq: u64, past: u64| {
        op.dot.seq = seq;
        let mut vector = Vector::zero(3);
        vector.advance(op.dot.site, past);
        op.past = Rc::new(vector);
        op
    };
    let bits = saw(write(0, 2, "SETBIT k 25 1"), 1, 0);
    let hash = write(1, 4, "HSET k f v");
    let both = [bits.clone(), hash.clone()];
    assert!(needs_replay(&Content::unknown(), &both));
    let set = saw(write(0, 3, "SET k v KEEPTTL"), 2, 1);
    let all = [bits, set, hash];
    assert!(!needs_replay(&Content::unknown(), &all));
    assert_eq!(evaluate(&Content::unknown(), &all).kind, Kind::Hash);
}

#[test]
fn a_counter_counts_what_was_set_in_the_text() {
    let content = after(Content::unknown(), "SET k 720");
    let content = after(content, "SETRANGE k 2 490");
    let content = after(content, "INCRBY k 50");
    assert_eq!(content.get(&TEXT), Value::Bytes(Bytes::from_static(b"72540")));
    assert!(!has_pieces(&content));
    let bits = after(Content::unknown(), "SETBIT k 3 1");
    assert_eq!(after(bits, "INCR k").kind, Kind::Other);
    let text = after(after(Content::unknown(), "SET k ab"), "SETBIT k 3 1");
    assert_eq!(text.clone().after_if_possible(&effect("INCR k")), text);
}

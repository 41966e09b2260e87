#![allow(clippy::unwrap_used)]
//! The rules on times of fields, on histories of three sites.

use super::*;
use crate::converge::content::Kind;
use crate::converge::difference::difference;
use crate::converge::evaluate::evaluate;
use crate::converge::key;
use crate::converge::life::Life;
use crate::converge::render::render;

fn field(name: &str) -> Bytes {
    Bytes::from(name.to_owned())
}

/// An operation of a site: its number, its past, its command; later ones are younger.
fn op(site: u8, seq: u64, past: [u64; 3], text: &str) -> Operation {
    key::tests::op(site, seq, past, 100 * seq + u64::from(site), text)
}

/// Value and time of f, whatever the order in which they come.
fn of_f(base: &Content, operations: &[Operation]) -> (Value, Expiry) {
    let mut life = Life::new();
    for (at, op) in operations.iter().enumerate() {
        life.add(op, &operations[..at]);
    }
    let give = |operations: &[Operation]| {
        let content = evaluate(base, operations, life.enders()).normal();
        (content.get(&field("f")), content.time(&field("f")))
    };
    let found = give(operations);
    let mut other = operations.to_vec();
    other.reverse();
    assert_eq!(give(&other), found);
    found
}

fn bytes(text: &str) -> Value {
    Value::Bytes(field(text))
}

#[test]
fn the_longest_wins_and_none_is_longest() {
    let unknown = Content::unknown();
    let short = op(0, 1, [0, 0, 0], "HPEXPIREAT h 10 FIELDS 1 f");
    let long = op(1, 1, [0, 0, 0], "HPEXPIREAT h 20 FIELDS 2 g f");
    let none = op(2, 1, [0, 0, 0], "HPERSIST h FIELDS 1 f");
    let both = [short.clone(), long.clone()];
    assert_eq!(of_f(&unknown, &both).1, Expiry::At(20));
    assert_eq!(of_f(&unknown, &[short, long, none]).1, Expiry::Never);
    let short = op(0, 1, [0, 1, 0], "HPEXPIREAT h 10 FIELDS 1 f");
    let long = op(1, 1, [0, 0, 0], "HPEXPIREAT h 20 FIELDS 1 f");
    assert_eq!(
        of_f(&unknown, &[short, long]).1,
        Expiry::At(10),
        "it saw the other"
    );
}

#[test]
fn value_and_time_are_decided_apart() {
    let unknown = Content::unknown();
    let timed = op(0, 1, [0, 0, 0], "HSETEX h PXAT 20 FIELDS 1 f old");
    let later = op(1, 2, [0, 0, 0], "HSETEX h PXAT 10 FIELDS 1 f new");
    assert_eq!(
        of_f(&unknown, &[timed.clone(), later]),
        (bytes("new"), Expiry::At(20))
    );
    let kept = op(1, 2, [0, 0, 0], "HSETEX h KEEPTTL FIELDS 1 f new");
    assert_eq!(
        of_f(&unknown, &[timed.clone(), kept]),
        (bytes("new"), Expiry::At(20))
    );
    let plain = op(1, 2, [0, 0, 0], "HSET h f new");
    assert_eq!(
        of_f(&unknown, &[timed.clone(), plain]),
        (bytes("new"), Expiry::Never)
    );
    let seen = op(1, 2, [1, 0, 0], "HSETEX h KEEPTTL FIELDS 1 f new");
    assert_eq!(
        of_f(&unknown, &[timed.clone(), seen]),
        (bytes("new"), Expiry::At(20))
    );
    let count = op(1, 2, [1, 0, 0], "HINCRBY h f 1");
    assert_eq!(of_f(&unknown, &[timed, count]).1, Expiry::At(20));
}

#[test]
fn a_removal_ends_what_it_saw() {
    let unknown = Content::unknown();
    let time = op(0, 1, [0, 0, 0], "HPEXPIREAT h 10 FIELDS 1 f");
    let unseen = op(1, 1, [0, 0, 0], "HDEL h f");
    assert_eq!(
        of_f(&unknown, &[time.clone(), unseen.clone()]),
        (Value::Absent, Expiry::Never)
    );
    let seen = op(1, 1, [1, 0, 0], "HGETDEL h FIELDS 1 f");
    let write = op(2, 1, [0, 0, 0], "HSETEX h PXAT 5 FIELDS 1 f v");
    assert_eq!(
        of_f(&unknown, &[time.clone(), seen, write]),
        (bytes("v"), Expiry::At(5))
    );
    let key = op(1, 1, [1, 0, 0], "DEL h");
    let write = op(2, 1, [0, 0, 0], "HSETEX h PXAT 5 FIELDS 1 f v");
    assert_eq!(
        of_f(&unknown, &[time.clone(), key, write]),
        (bytes("v"), Expiry::At(5))
    );
    // It found no field, and makes one without the time that it saw.
    let anew = op(2, 1, [1, 1, 0], "HINCRBY h f 1");
    assert_eq!(of_f(&unknown, &[time, unseen, anew]), (bytes("1"), Expiry::Never));
}

#[test]
fn a_base_is_what_nothing_covers() {
    let mut base = Content::unknown().after(&Effect::HashSetTimed {
        pairs: vec![(field("f"), field("v")), (field("g"), field("w"))],
        expiry: SetExpiry::At(7),
    });
    assert_eq!(base.time(&field("x")), Expiry::Unknown);
    let count = op(0, 1, [0, 0, 0], "HSETEX h KEEPTTL FIELDS 1 f 2");
    assert_eq!(of_f(&base, &[count]), (bytes("2"), Expiry::At(7)));
    let set = op(0, 1, [0, 0, 0], "HSET h f 2");
    assert_eq!(of_f(&base, &[set]), (bytes("2"), Expiry::Never));
    base = base.after(&Effect::HashRemove(vec![field("f")]));
    assert_eq!(base.time(&field("f")), Expiry::Never);
    assert_eq!(base.time(&field("g")), Expiry::At(7));
    assert_eq!(Content::empty(Kind::Hash).time(&field("f")), Expiry::Never);
}

/// The commands that lead from one content to another.
fn between(want: &Content, have: &Content) -> Vec<String> {
    let mut reached = have.clone();
    let mut commands = Vec::new();
    for effect in difference(want, have).unwrap() {
        let resp = String::from_utf8(render(b"h", &effect).to_vec()).unwrap();
        let words: Vec<&str> = resp.split("\r\n").skip(2).step_by(2).collect();
        commands.push(words.join(" "));
        reached = reached.after(&effect);
    }
    assert_eq!(difference(want, &reached), Ok(Vec::new()));
    commands
}

fn hash(commands: &[&str]) -> Content {
    commands.iter().fold(Content::unknown(), |content, text| {
        content.after(&op(0, 1, [0, 0, 0], text).effect)
    })
}

#[test]
fn what_differs_is_sent_and_no_more() {
    let timed = hash(&["HSETEX h PXAT 7 FIELDS 2 f v g w"]);
    assert_eq!(between(&timed, &timed), Vec::<String>::new());
    let longer = hash(&["HSETEX h PXAT 7 FIELDS 2 f v g w", "HPEXPIREAT h 9 FIELDS 1 f"]);
    assert_eq!(between(&longer, &timed), ["HPEXPIREAT h 9 FIELDS 1 f"]);
    let none = hash(&["HSETEX h PXAT 7 FIELDS 1 g w", "HSET h f v"]);
    assert_eq!(between(&none, &timed), ["HPERSIST h FIELDS 1 f"]);
    // HSET takes the time away.
    let other = hash(&["HSETEX h PXAT 7 FIELDS 2 f x g w"]);
    assert_eq!(
        between(&other, &timed),
        ["HSET h f x", "HPEXPIREAT h 7 FIELDS 1 f"]
    );
    assert_eq!(
        between(&timed, &Content::unknown()),
        [
            "HSET h f v g w",
            "HPEXPIREAT h 7 FIELDS 1 f",
            "HPEXPIREAT h 7 FIELDS 1 g"
        ]
    );
    // What is not known stays.
    let kept = hash(&["HSETEX h KEEPTTL FIELDS 1 f x"]);
    assert_eq!(
        between(&kept, &hash(&["HPEXPIREAT h 5 FIELDS 1 g"])),
        ["HSETEX h KEEPTTL FIELDS 1 f x"]
    );
}

#[test]
fn a_database_without_times_gets_values() {
    let all = |known| {
        let want = hash(&["HSETEX h PXAT 7 FIELDS 1 f v", "HSETEX h KEEPTTL FIELDS 1 g w"]);
        let mut effects = difference(&want, &Content::unknown()).unwrap();
        within(known, &mut effects);
        effects
    };
    let is_time = |effect: &Effect| matches!(effect, Effect::FieldExpire { .. });
    let is_timed = |effect: &Effect| matches!(effect, Effect::HashSetTimed { .. });
    let counted = [FieldTimes::None, FieldTimes::Apart, FieldTimes::Whole].map(|known| {
        let effects = all(known);
        let times = effects.iter().filter(|effect| is_time(effect)).count();
        (
            effects.len(),
            times,
            effects.iter().filter(|effect| is_timed(effect)).count(),
        )
    });
    assert_eq!(counted, [(2, 0, 0), (3, 1, 0), (3, 1, 1)]);
}

#[test]
fn what_had_no_effect_tells_of_one_field() {
    let known = hash(&["HSETEX h PXAT 7 FIELDS 2 f v g w"]);
    let after = |text: &str| known.clone().after_no_effect(&op(0, 1, [0, 0, 0], text).effect);
    assert_eq!(after("HPEXPIREAT h 9 FIELDS 1 f").get(&field("f")), Value::Absent);
    assert_eq!(after("HPERSIST h FIELDS 1 f").time(&field("f")), Expiry::Never);
    let several = after("HPEXPIREAT h 9 FIELDS 2 f g");
    assert_eq!(
        (several.get(&field("f")), several.time(&field("f"))),
        (bytes("v"), Expiry::Unknown)
    );
    assert_eq!(after("HPERSIST h FIELDS 2 f g").time(&field("f")), Expiry::Never);
    assert_eq!(
        after("HSETEX h PXAT 1 FIELDS 1 f v").get(&field("f")),
        Value::Absent
    );
}

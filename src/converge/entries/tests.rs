#![allow(clippy::unwrap_used)]
use std::rc::Rc;

use super::*;
use crate::causality::{Dot, Hlc, SiteIx, Vector};
use crate::converge::difference::difference;
use crate::converge::evaluate::evaluate;

/// An operation of a site, later the higher its number, that saw so much of sites 0 and 1.
fn op(site: u8, seq: u64, past: [u64; 2], effect: Effect) -> Operation {
    let mut seen = Vector::zero(2);
    seen.advance(SiteIx(0), past[0]);
    seen.advance(SiteIx(1), past[1]);
    Operation {
        dot: Dot {
            site: SiteIx(site),
            seq,
        },
        past: Rc::new(seen),
        time: Hlc(10 * seq + u64::from(site)),
        effect,
        raw: Bytes::new(),
        contested: false,
        joint: false,
    }
}

fn id(ms: u64) -> Bytes {
    name_of(ms, 0)
}

fn fields(value: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(b"f"), Bytes::from_static(value.as_bytes())]
}

fn add(ms: u64, value: &'static str) -> Effect {
    Effect::StreamAdd {
        id: id(ms),
        fields: fields(value),
        trim: None,
    }
}

fn remove(ms: u64) -> Effect {
    Effect::StreamRemove(vec![id(ms)])
}

fn longest(most: u64) -> Effect {
    Effect::StreamTrim(Trim::Longest { most, below: None })
}

fn below(ms: u64) -> Effect {
    Effect::StreamTrim(Trim::Below(id(ms)))
}

/// The entries that the rules prescribe, as milliseconds of their ids with their values.
fn told(content: &Content) -> Vec<(u64, String)> {
    let entry = |(name, value): (&Bytes, &Value)| match value {
        Value::Entry(fields) => {
            let value = String::from_utf8(fields[1].to_vec()).unwrap();
            Some((u64::from_be_bytes(name[..8].try_into().unwrap()), value))
        }
        _ => None,
    };
    content.elements.iter().filter_map(entry).collect()
}

fn ideal(operations: &[Operation]) -> Content {
    evaluate(&Content::unknown(), operations, &[])
}

fn entries_of(operations: &[Operation]) -> Vec<u64> {
    told(&ideal(operations)).into_iter().map(|(ms, _)| ms).collect()
}

#[test]
fn entries_unite_and_a_removal_takes_what_it_saw() {
    let all = [
        op(0, 1, [0, 0], add(5, "a")),
        op(1, 1, [0, 0], add(3, "b")),
        op(1, 2, [0, 1], remove(3)),
        op(0, 2, [1, 0], remove(7)),
        op(1, 3, [0, 2], add(7, "c")),
    ];
    assert_eq!(entries_of(&all), [5, 7]);
}

#[test]
fn of_one_id_the_latest_entry_stays() {
    let (one, other) = (op(0, 1, [0, 0], add(5, "a")), op(1, 1, [0, 0], add(5, "b")));
    let wanted = [(5, "b".to_owned())];
    assert_eq!(told(&ideal(&[one.clone(), other.clone()])), wanted);
    assert_eq!(told(&ideal(&[other, one])), wanted);
}

#[test]
fn a_trim_takes_what_it_saw() {
    let all = [
        op(0, 1, [0, 0], add(5, "a")),
        op(0, 2, [1, 0], add(6, "a")),
        op(1, 1, [0, 0], add(4, "b")),
        op(0, 3, [2, 0], below(6)),
    ];
    let content = ideal(&all);
    assert_eq!(entries_of(&all), [4, 6]);
    assert_eq!(
        mark(&content, &TEXT),
        Some(&id(6)),
        "of the base nothing is left below"
    );
    assert_eq!(mark(&content, &LAST), Some(&id(6)));
}

#[test]
fn a_trim_to_a_length_is_known_where_so_many_entries_are() {
    let seen = [op(0, 1, [0, 0], add(5, "a")), op(0, 2, [1, 0], add(6, "a"))];
    let unseen = op(1, 1, [0, 0], add(4, "b"));
    let known = [seen.to_vec(), vec![unseen]].concat();
    let find = |most| threshold(&Content::unknown(), &known, &op(0, 3, [2, 0], longest(most)));
    assert_eq!(find(0), Some(ABOVE));
    assert_eq!(find(1), Some(id(6)));
    assert_eq!(find(2), Some(id(5)));
    assert_eq!(find(3), None, "the third is one that only a database has");
    assert_eq!(find(1_000), None);
    let whole = Content::empty(Kind::Stream);
    let find = |most| threshold(&whole, &known, &op(0, 3, [2, 0], longest(most)));
    assert_eq!([3, 1_000].map(find), [Some(name_of(0, 0)), Some(name_of(0, 0))]);
    // Once a trim has taken all that nobody has named, the rest is known.
    let mut trim = op(0, 3, [2, 0], longest(1));
    trim.effect.learn(threshold(&Content::unknown(), &known, &trim));
    let known = [known, vec![trim]].concat();
    let find = |most| threshold(&Content::unknown(), &known, &op(0, 4, [3, 0], longest(most)));
    assert_eq!([1, 2].map(find), [Some(id(6)), Some(name_of(0, 0))]);
}

#[test]
fn a_newer_entry_is_added_and_an_older_one_put_in_its_place() {
    let (mine, newer, older) = (
        op(0, 1, [0, 0], add(5, "a")),
        op(1, 1, [0, 0], add(7, "b")),
        op(1, 1, [0, 0], add(3, "b")),
    );
    let have = Content::unknown().after(&mine.effect);
    let repair = |other: Operation| difference(&ideal(&[mine.clone(), other]), &have).unwrap();
    assert_eq!(repair(newer), [add(7, "b")]);
    let placed = repair(older);
    let [Effect::StreamSplice(splice)] = placed.as_slice() else {
        panic!("{placed:?}")
    };
    assert_eq!(splice.entries, [(id(3), fields("b"))]);
    assert_eq!((&splice.trim, &splice.last), (&None, &None));
    let held = have.after(&placed[0]);
    assert_eq!(told(&held), [(3, "b".to_owned()), (5, "a".to_owned())]);
}

#[test]
fn an_entry_that_was_refused_is_put_in_its_place() {
    let (mine, other) = (op(0, 1, [0, 0], add(5, "a")), op(1, 1, [0, 0], add(7, "b")));
    let have = Content::unknown()
        .after(&mine.effect)
        .after_no_effect(&other.effect);
    let repair = difference(&ideal(&[mine, other]), &have).unwrap();
    assert!(
        matches!(repair.as_slice(), [Effect::StreamSplice(_)]),
        "{repair:?}"
    );
}

#[test]
fn a_cut_keeps_what_it_did_not_see() {
    let all = [
        op(1, 1, [0, 0], add(4, "b")),
        op(0, 1, [0, 0], add(6, "a")),
        op(0, 2, [1, 0], below(6)),
    ];
    let have = Content::unknown().after(&all[0].effect);
    let repair = difference(&ideal(&all), &have).unwrap();
    let [Effect::StreamSplice(splice)] = repair.as_slice() else {
        panic!("{repair:?}")
    };
    assert_eq!(splice.kept, [id(4)]);
    assert_eq!(splice.trim, Some(Trim::Below(id(6))));
    let held = have.after(&repair[0]);
    assert_eq!(difference(&ideal(&all), &held).unwrap(), []);
}

#[test]
fn a_stream_without_entries_is_a_key_with_a_last_id() {
    let all = [
        op(0, 1, [0, 0], add(5, "a")),
        op(0, 2, [1, 0], remove(5)),
        op(1, 1, [0, 0], Effect::Del),
    ];
    let have = Content::absent();
    let mut held = have.clone();
    let repair = difference(&ideal(&all), &have).unwrap();
    for effect in &repair {
        held = held.after(effect);
    }
    assert_eq!((held.kind, told(&held)), (Kind::Stream, vec![]));
    assert_eq!(difference(&ideal(&all), &held).unwrap(), []);
    assert_eq!(mark(&held, &LAST), Some(&id(5)));
}

#[test]
fn a_replayed_trim_leaves_what_it_did_not_see() {
    let other = op(1, 1, [0, 0], add(4, "b"));
    let trim = op(0, 1, [0, 0], longest(2));
    let all = [other, trim.clone()];
    let Some(Effect::StreamSplice(splice)) = replayed(&trim, || unseen(&trim, all.iter())) else {
        panic!("no splice")
    };
    assert_eq!(splice.kept, [id(4)]);
}

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
    Effect::StreamTrim(Trim::Longest { most, left: None })
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

/// What a trim to so many leaves: the id, or the number of the rest.
fn left(base: &Content, known: &[Operation], trim: &Operation) -> Result<Bytes, u64> {
    match left_by(base, known, trim).unwrap() {
        Left::From(id) => Ok(id),
        Left::OfRest { most, .. } => Err(most),
    }
}

#[test]
fn what_a_trim_to_a_length_leaves_is_known_by_id_or_by_number() {
    let seen = [op(0, 1, [0, 0], add(5, "a")), op(0, 2, [1, 0], add(6, "a"))];
    let unseen = op(1, 1, [0, 0], add(4, "b"));
    let known = [seen.to_vec(), vec![unseen]].concat();
    let find = |most| left(&Content::unknown(), &known, &op(0, 3, [2, 0], longest(most)));
    assert_eq!([0, 1, 2].map(find), [Ok(ABOVE), Ok(id(6)), Ok(id(5))]);
    assert_eq!([3, 1_000].map(find), [Err(1), Err(998)]);
    let whole = Content::empty(Kind::Stream);
    let find = |most| left(&whole, &known, &op(0, 3, [2, 0], longest(most)));
    assert_eq!([3, 1_000].map(find), [Ok(name_of(0, 0)), Ok(name_of(0, 0))]);
    // Once a trim has taken all that nobody has named, the rest is known.
    let mut trim = op(0, 3, [2, 0], longest(1));
    trim.effect.learn(left_by(&Content::unknown(), &known, &trim));
    let known = [known, vec![trim]].concat();
    let find = |most| left(&Content::unknown(), &known, &op(0, 4, [3, 0], longest(most)));
    assert_eq!([1, 2].map(find), [Ok(id(6)), Ok(name_of(0, 0))]);
    let opaque = op(0, 3, [2, 0], Effect::Opaque);
    let known = [seen.to_vec(), vec![opaque]].concat();
    let trim = op(0, 4, [3, 0], longest(1));
    assert_eq!(left_by(&Content::unknown(), &known, &trim), None);
}

/// Operations with what their trims left.
fn learned(operations: &[Operation]) -> Vec<Operation> {
    let mut known: Vec<Operation> = Vec::new();
    for op in operations {
        let mut op = op.clone();
        op.effect.learn(left_by(&Content::unknown(), &known, &op));
        known.push(op);
    }
    known
}

/// The only trim of the rest that a site submits which has executed the first so many of these.
fn rest_trim(operations: &[Operation], executed: usize) -> Option<Trim> {
    let mut have = Content::unknown();
    for op in &operations[..executed] {
        have = have.after(&op.effect);
    }
    let effects = difference(&ideal(operations), &have).unwrap();
    for effect in &effects {
        have = have.after(effect);
    }
    assert_eq!(difference(&ideal(operations), &have), Ok(Vec::new()));
    effects.into_iter().find_map(|effect| match effect {
        Effect::StreamSplice(splice) => splice.trim,
        _ => None,
    })
}

#[test]
fn a_trim_of_entries_that_nobody_named_counts_them() {
    let all = learned(&[
        op(1, 1, [0, 0], add(4, "b")),
        op(0, 1, [0, 0], add(6, "a")),
        op(0, 2, [1, 0], longest(5)),
    ]);
    let trim = |most, gone: &[u64]| {
        Some(Trim::Rest {
            most,
            under: id(4),
            gone: gone.iter().map(|ms| id(*ms)).collect(),
        })
    };
    // It saw one entry of those that are named; the other one is none of the newest five that it left.
    assert_eq!(rest_trim(&all, 1), trim(4, &[]));
    // Of a removed entry that it saw nothing is left; one that it had not seen was among those five.
    let known = [op(1, 1, [0, 0], remove(2)), op(1, 2, [0, 1], add(7, "b"))];
    let unseen = learned(&[&known[..], &[op(0, 1, [0, 0], longest(5))]].concat());
    assert_eq!(
        rest_trim(&unseen, 2),
        Some(Trim::Rest {
            most: 5,
            under: id(7),
            gone: vec![id(2)]
        })
    );
    let seen = learned(&[&known[..], &[op(0, 1, [0, 2], longest(5))]].concat());
    assert_eq!(
        rest_trim(&seen, 2),
        Some(Trim::Rest {
            most: 4,
            under: id(7),
            gone: vec![]
        })
    );
}

#[test]
fn a_database_that_trimmed_too_much_of_the_rest_needs_the_value() {
    let all = learned(&[op(1, 1, [0, 0], add(4, "b")), op(0, 1, [0, 0], longest(5))]);
    // The trim was executed as it came behind the entry, which it had not seen.
    let have = all
        .iter()
        .fold(Content::unknown(), |have, op| have.after(&op.effect));
    assert_eq!(difference(&ideal(&all), &have), Err(OutOfReach));
    // Which of two entries was there is not known either, unless the trim came first.
    let removal = op(1, 1, [0, 0], Effect::StreamRemove(vec![id(1), id(2)]));
    let all = learned(&[removal, op(0, 1, [0, 0], longest(5))]);
    let have = |op: &Operation| Content::unknown().after(&op.effect);
    assert_eq!(difference(&ideal(&all), &have(&all[0])), Err(OutOfReach));
    assert_eq!(difference(&ideal(&all), &have(&all[1])).unwrap().len(), 1);
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
    let Some(Effect::StreamSplice(splice)) = replayed(&trim, || unseen(&trim, all.iter(), &all)) else {
        panic!("no splice")
    };
    assert_eq!(splice.kept, [id(4)]);
}

#[test]
fn a_replayed_removal_takes_nothing_that_it_did_not_see() {
    let own = op(0, 1, [0, 0], add(4, "a"));
    let other = op(1, 1, [0, 0], add(4, "b"));
    let removal = op(0, 2, [1, 0], Effect::StreamRemove(vec![id(4), id(3)]));
    let left = |beside: &[Operation]| replayed(&removal, || unseen(&removal, beside.iter(), beside));
    let alone = [own.clone(), removal.clone()];
    assert_eq!(left(&alone), Some(removal.effect.clone()));
    let with = [own.clone(), other.clone(), removal.clone()];
    assert_eq!(left(&with), Some(remove(3)));
    // Somebody else took that one, and what is there by its id was seen.
    let taken = [own, other, removal.clone(), op(1, 2, [0, 1], remove(4))];
    assert_eq!(left(&taken), Some(removal.effect.clone()));
}

/// Which of these are base once so much is stable at both sites.
fn settled_of(operations: &[Operation], stable: u64) -> Vec<(u8, u64)> {
    let mut all = Vector::zero(2);
    for site in [SiteIx(0), SiteIx(1)] {
        all.advance(site, stable);
    }
    let gone = settled(&Content::unknown(), operations, &all, |_| false);
    gone.into_iter().map(|dot| (dot.site.0, dot.seq)).collect()
}

#[test]
fn an_entry_is_base_once_all_that_could_take_it_has_seen_it() {
    let adds = [op(0, 1, [0, 0], add(5, "a")), op(1, 1, [0, 0], add(6, "b"))];
    assert_eq!(settled_of(&adds, 1), [(0, 1), (1, 1)]);
    assert_eq!(settled_of(&adds, 0), []);
    let all = [&adds[..], &[op(0, 2, [1, 0], below(5))]].concat();
    assert_eq!(settled_of(&all, 1), [(0, 1)], "the trim has not seen the other");
    let removal = op(0, 2, [1, 0], remove(5));
    let all = [&adds[..], &[removal]].concat();
    assert_eq!(settled_of(&all, 1), [(0, 1), (1, 1)]);
    assert_eq!(settled_of(&all, 2), [(0, 1), (0, 2), (1, 1)]);
    let all = [&adds[..], &[op(0, 2, [1, 0], Effect::Del)]].concat();
    assert_eq!(settled_of(&all, 2), []);
    let twice = [op(0, 1, [0, 0], add(5, "a")), op(1, 1, [0, 0], add(5, "b"))];
    assert_eq!(settled_of(&twice, 1), [], "which of both counts is their matter");
}

/// Base and content when these are settled, and the oldest entries of the base forgotten.
fn forgotten(gone: &[Operation], kept: &[Operation]) -> (Content, Content) {
    let all = gone.iter().chain(kept);
    let mut have = all.fold(Content::unknown(), |have, op| have.after(&op.effect));
    let mut base = Content::unknown();
    settle(&mut base, gone);
    forget_oldest(&mut base, kept, &mut have);
    (base, have)
}

#[test]
fn the_oldest_entries_of_the_base_are_forgotten() {
    let gone = [op(0, 1, [0, 0], add(5, "a")), op(0, 2, [1, 0], add(8, "a"))];
    let kept = [op(1, 1, [0, 0], add(6, "b"))];
    let (base, have) = forgotten(&gone, &kept);
    let want = evaluate(&base, &kept, &[]);
    assert_eq!(told(&want), [(6, "b".to_owned()), (8, "a".to_owned())]);
    assert_eq!(difference(&want, &have), Ok(Vec::new()));
    // A trim to a length counts it among those that nobody named.
    let trim = op(0, 3, [2, 1], longest(5));
    assert_eq!(left(&base, &kept, &trim), Err(3));
}

#[test]
fn what_is_forgotten_is_older_than_all_that_is_known() {
    let gone = [op(0, 1, [0, 0], add(5, "a")), op(0, 2, [1, 0], add(8, "a"))];
    let kept = [op(1, 1, [2, 0], below(6)), op(1, 2, [2, 1], add(9, "b"))];
    let (base, have) = forgotten(&gone, &kept);
    assert_eq!(difference(&evaluate(&base, &kept, &[]), &have), Ok(Vec::new()));
    // The base still has the first, which the other trim took: the second is not among those that nobody named.
    let trim = op(0, 3, [2, 2], longest(2));
    assert_eq!(left(&base, &kept, &trim), Ok(id(8)));
}

#[test]
fn what_is_forgotten_was_added_behind_a_trim_of_higher_ids() {
    let older = op(0, 1, [0, 0], below(9));
    let mut have = Content::unknown().after(&older.effect);
    let mut base = evaluate(&Content::unknown(), &[older], &[]);
    let gone = [op(0, 2, [1, 0], add(5, "a"))];
    let mut kept = vec![op(1, 1, [2, 0], add(8, "b"))];
    for op in gone.iter().chain(&kept) {
        have = have.after(&op.effect);
    }
    settle(&mut base, &gone);
    forget_oldest(&mut base, &kept, &mut have);
    assert_eq!(difference(&evaluate(&base, &kept, &[]), &have), Ok(Vec::new()));
    // Another site takes it by its id.
    kept.push(op(1, 2, [2, 1], below(8)));
    let trims = difference(&evaluate(&base, &kept, &[]), &have).unwrap();
    let [Effect::StreamSplice(splice)] = trims.as_slice() else {
        panic!("it is executed: {trims:?}");
    };
    assert_eq!(splice.trim, Some(Trim::Below(id(8))));
}

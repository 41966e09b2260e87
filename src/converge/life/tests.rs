use proptest::prelude::*;

use super::*;
use crate::causality::{Dot, SiteIx};
use crate::converge::content::Expiry;
use crate::converge::evaluate::evaluate;
use crate::converge::key::seen_by_rest;
use crate::converge::key::tests::of_snapshot;

fn op((site, seq): (u8, u64), past: [u64; 3], effect: Effect) -> Operation {
    let mut vector = Vector::zero(3);
    for (at, upto) in (0..).zip(past) {
        vector.advance(SiteIx(at), upto);
    }
    let dot = Dot {
        site: SiteIx(site),
        seq,
    };
    Operation {
        dot,
        past: Rc::new(vector),
        time: Hlc(past.iter().sum::<u64>() + 1),
        effect,
        raw: Bytes::new(),
        contested: false,
        joint: false,
    }
}

fn put(score: f64) -> Effect {
    Effect::SortedAdd(vec![(score, Bytes::from_static(b"a"))])
}

const AT: Effect = Effect::Expire {
    at_unix_ms: Some(1_000),
};

/// A life and what is not superseded of these operations, added in this order.
fn lived(operations: &[Operation]) -> (Life, Vec<Operation>) {
    let (mut life, mut kept) = (Life::new(), Vec::new());
    for op in operations {
        life.add(op, &kept);
        kept.extract_if(.., |older| op.supersedes(older))
            .for_each(|older| life.bury(&older));
        kept.push(op.clone());
    }
    (life, kept)
}

fn expiry(operations: &[Operation]) -> Expiry {
    let (life, kept) = lived(operations);
    evaluate(&Content::unknown(), &kept, life.enders()).expiry
}

/// `ZADD` at c; concurrently `FLUSHDB` at b, then, having seen both, `PEXPIREAT` and another `ZADD`.
fn history() -> Vec<Operation> {
    vec![
        op((2, 1), [0, 0, 0], put(17.0)),
        op((1, 1), [0, 0, 0], Effect::Del),
        op((1, 2), [0, 1, 1], AT),
        op((1, 3), [0, 2, 1], put(16.0)),
    ]
}

#[test]
fn a_write_that_supersedes_what_it_found_does_not_end_the_time() {
    assert_eq!(expiry(&history()), Expiry::At(1_000));
}

#[test]
fn what_another_write_superseded_was_there_for_those_that_did_not_see_it() {
    // The ZADD of a supersedes the first, and arrives before those of b.
    let mut operations = history();
    operations.insert(2, op((0, 1), [0, 0, 1], put(18.0)));
    assert_eq!(expiry(&operations), Expiry::At(1_000));
}

#[test]
fn a_write_on_nothing_ends_the_time() {
    let operations = [
        op((1, 1), [0, 0, 0], AT),
        op((0, 1), [0, 0, 0], Effect::Del),
        op((0, 2), [1, 1, 0], put(1.0)),
        op((0, 3), [2, 1, 0], put(2.0)),
    ];
    assert_eq!(expiry(&operations), Expiry::Never);
}

#[test]
fn a_delete_that_comes_late_is_in_the_past_of_what_saw_it() {
    let set = op((1, 1), [0, 0, 0], AT);
    let late = op((0, 1), [0, 0, 0], Effect::Del);
    let write = op((0, 2), [1, 1, 0], put(1.0));
    let again = op((0, 3), [2, 1, 0], put(2.0));
    assert_eq!(expiry(&[set, write, again, late]), Expiry::Never);
}

/// A snapshot of a, whose key expires, and beside it what b did on nothing that it knew of.
fn beside_a_snapshot(effect: Effect) -> [Expiry; 2] {
    let snapshot = [
        of_snapshot(op((0, 1), [0; 3], Effect::Del)),
        of_snapshot(op((0, 2), [1, 0, 0], put(17.0))),
        of_snapshot(op((0, 3), [2, 0, 0], AT)),
    ];
    let other = [op((1, 1), [0; 3], effect)];
    let expiry = |first: &[Operation], then: &[Operation]| expiry(&[first, then].concat());
    [expiry(&snapshot, &other), expiry(&other, &snapshot)]
}

#[test]
fn the_time_in_a_snapshot_yields_to_another_one_and_to_no_write() {
    assert_eq!(beside_a_snapshot(put(16.0)), [Expiry::At(1_000); 2]);
    let shorter = Effect::Expire {
        at_unix_ms: Some(500),
    };
    assert_eq!(beside_a_snapshot(shorter), [Expiry::At(500); 2]);
}

#[test]
fn a_command_on_the_whole_of_nothing_ends_the_time() {
    let set = Effect::Set {
        value: Bytes::new(),
        expiry: SetExpiry::At(900),
    };
    let mut operations = vec![
        op((0, 1), [0, 0, 0], set),
        op((0, 2), [1, 0, 0], AT),
        op((1, 1), [1, 0, 0], Effect::Del),
        op((0, 3), [2, 1, 0], Effect::Opaque),
        op((0, 4), [3, 1, 0], Effect::Opaque),
    ];
    let enders = |operations: &[Operation]| -> Vec<Dot> {
        let (life, _) = lived(operations);
        life.enders().iter().map(|op| op.dot).collect()
    };
    assert_eq!(enders(&operations), [operations[3].dot]);
    // What another one left, which was not deleted, is not known.
    operations[0].effect = Effect::Opaque;
    operations[2].past = op((1, 1), [0, 0, 0], Effect::Del).past;
    assert_eq!(enders(&operations), [operations[2].dot]);
}

#[test]
fn what_is_done_within_a_list_does_not_end_its_time() {
    let push = |name: &'static [u8]| Effect::ListPush {
        left: false,
        elements: vec![(Bytes::from_static(name), Bytes::new())],
    };
    let text = Effect::Set {
        value: Bytes::new(),
        expiry: SetExpiry::Keep,
    };
    let operations = [
        op((0, 1), [0, 0, 0], text),
        op((0, 2), [1, 0, 0], Effect::Del),
        op((1, 1), [2, 0, 0], push(b"a")),
        op((0, 3), [2, 1, 0], Effect::Opaque),
        op((0, 4), [3, 1, 0], AT),
        op((0, 5), [4, 1, 0], push(b"b")),
    ];
    let (life, _) = lived(&operations);
    // The push found a string that was gone; nobody else found nothing.
    let enders: Vec<Dot> = life.enders().iter().map(|op| op.dot).collect();
    assert_eq!(enders, [operations[2].dot]);
}

#[test]
fn where_types_fight_beside_a_command_on_the_whole_the_replay_tells_what_was_there() {
    let set = Effect::Set {
        value: Bytes::new(),
        expiry: SetExpiry::At(900),
    };
    let push = Effect::ListPush {
        left: true,
        elements: vec![(Bytes::from_static(b"e"), Bytes::new())],
    };
    let bit = Effect::Bits(vec![(Bytes::from_static(b"b"), true)]);
    // The push is the later one, but behind the SET it has no effect.
    let operations = |last: Effect| {
        let push = Operation {
            time: Hlc(2),
            ..op((0, 1), [0, 0, 0], push.clone())
        };
        vec![
            op((1, 1), [0, 0, 0], set.clone()),
            push,
            op((1, 2), [0, 1, 0], Effect::Opaque),
            op((0, 2), [1, 2, 0], last),
        ]
    };
    let enders = |operations: &[Operation]| {
        let (life, _) = lived(operations);
        life.enders().iter().map(|op| op.dot).collect::<Vec<Dot>>()
    };
    assert_eq!(enders(&operations(bit.clone())), []);
    let member = Effect::SetAdd(vec![Bytes::from_static(b"m")]);
    let gone = operations(member);
    assert_eq!(enders(&gone), [gone[3].dot]);
    // Bits call for a replay, too.
    let mut of_bits = operations(bit.clone());
    of_bits[0].effect = bit;
    of_bits.remove(2);
    of_bits[2].past = op((0, 2), [1, 1, 0], Effect::Del).past;
    assert_eq!(enders(&of_bits), []);
}

#[test]
fn a_value_that_was_sent_leaves_a_key_there() {
    let value = Effect::Restore {
        payload: Bytes::new(),
        ttl_unix_ms: Some(1),
    };
    let count = Effect::HashCount {
        field: Bytes::from_static(b"f"),
        delta: 1,
    };
    let gone = Effect::HashRemove(vec![Bytes::from_static(b"g")]);
    let mut operations = vec![
        op((0, 1), [0, 0, 0], value),
        op((0, 2), [1, 0, 0], gone),
        op((1, 1), [2, 0, 0], count.clone()),
    ];
    assert!(lived(&operations).0.enders().is_empty());
    operations.push(op((0, 3), [2, 1, 0], Effect::Del));
    operations.push(op((1, 2), [3, 1, 0], count));
    let (life, _) = lived(&operations);
    let enders: Vec<Dot> = life.enders().iter().map(|op| op.dot).collect();
    assert_eq!(enders, [operations[4].dot]);
}

#[test]
fn a_value_that_was_sent_beside_a_del_leaves_nothing() {
    let value = Effect::Restore {
        payload: Bytes::new(),
        ttl_unix_ms: Some(1),
    };
    let opaque = Effect::Opaque;
    for (effect, ends) in [(value, true), (opaque, false)] {
        let operations = [
            op((1, 1), [0, 0, 0], put(1.0)),
            op((0, 1), [0, 1, 0], Effect::Del),
            op((1, 2), [0, 1, 0], AT),
            op((1, 3), [0, 2, 0], effect),
            op((0, 2), [1, 3, 0], put(2.0)),
        ];
        assert_eq!(lived(&operations).0.has_ended(operations[4].dot), ends);
    }
}

#[test]
fn ghosts_that_differ_in_their_numbers_alone_are_one() {
    let writes = |past| (1..=1_000).map(move |seq| op((0, seq), [seq - 1, past, 0], put(seq as f64)));
    let (life, kept) = lived(&writes(0).collect::<Vec<_>>());
    assert_eq!((life.ghosts.len(), kept.len()), (1, 1));
    // One that saw the 500th, and a DEL that saw the 499th.
    let mut operations: Vec<Operation> = writes(0).collect();
    operations.push(op((1, 1), [499, 0, 0], Effect::Del));
    operations.push(op((2, 1), [500, 0, 0], AT));
    operations.push(op((2, 2), [500, 1, 1], put(0.0)));
    assert_eq!(expiry(&operations), Expiry::At(1_000));
    // None is left of those that a DEL saw.
    operations.truncate(1_002);
    operations.push(op((2, 2), [499, 1, 1], put(0.0)));
    let (life, _) = lived(&operations);
    let enders: Vec<Dot> = life.enders().iter().map(|op| op.dot).collect();
    assert_eq!(enders, [operations[1_002].dot]);
}

#[test]
fn what_all_have_seen_becomes_base() {
    let operations = history();
    let (mut life, kept) = lived(&operations);
    let mut seen = Vector::zero(3);
    seen.advance(SiteIx(1), 2);
    seen.advance(SiteIx(2), 1);
    let (folded, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|op| seen.includes(op.dot));
    life.fold(&seen, &folded, &kept);
    assert!(life.ghosts.is_empty());
    let next = op(
        (1, 4),
        [0, 3, 1],
        Effect::SortedRemove(vec![Bytes::from_static(b"a")]),
    );
    life.add(&next, &kept);
    assert_eq!(
        life.enders().iter().map(|op| op.dot).collect::<Vec<_>>(),
        [next.dot]
    );
}

/// One step of a random history: a site, which other site it has just heard of and how much (in eighths), and what it does.
type Step = (u8, u8, u64, u8);

/// What a site does, by its number. With `fights`, two types are among it.
fn random_effect(number: u8, fights: bool) -> Effect {
    let member = |number: u8| Bytes::from(vec![b'a' + number % 3]);
    match number % 16 {
        0 => Effect::Del,
        1 => Effect::Derived,
        2..=6 => Effect::SortedRemove(vec![member(number)]),
        7 => Effect::SortedRemove(vec![member(0), member(1)]),
        8..=9 => Effect::SortedCount {
            member: member(number),
            delta: 1.0,
        },
        10 if fights => Effect::SetAdd(vec![member(number)]),
        _ => Effect::SortedAdd(vec![(f64::from(number), member(number))]),
    }
}

/// The same to a string.
fn random_text_effect(number: u8) -> Effect {
    let bit = Bytes::from(vec![b'b', number % 2]);
    match number % 8 {
        0 => Effect::Del,
        1 | 2 => Effect::Opaque,
        3 => Effect::Set {
            value: Bytes::new(),
            expiry: SetExpiry::Keep,
        },
        4 => Effect::Count { delta: 1 },
        _ => Effect::Bits(vec![(bit, true)]),
    }
}

/// Folds what everybody has seen, as [`KeyState`](crate::converge::KeyState) does.
fn fold(life: &mut Life, kept: &mut Vec<Operation>, stable: &Vector) {
    let seen = seen_by_rest(stable, kept.iter().chain(life.latest_ghosts()));
    let (folded, left) = std::mem::take(kept)
        .into_iter()
        .partition::<Vec<_>, _>(|op| seen.includes(op.dot));
    life.fold(&seen, &folded, &left);
    *kept = left;
}

/// Lives through a random history, and compares what is said of each operation with a look at all of its past.
fn compare(steps: Vec<Step>, effect: impl Fn(u8) -> Effect) {
    let mut observed = [const { [0_u64; 3] }; 3].to_vec();
    let (mut life, mut kept): (Life, Vec<Operation>) = (Life::new(), Vec::new());
    let mut made: Vec<Operation> = Vec::new();
    for (at, (site, from, eighths, number)) in steps.into_iter().enumerate() {
        let (me, from) = (usize::from(site % 3), usize::from(from % 3));
        // It hears of some of that site's operations, and of all that those had seen.
        let upto = observed[me][from].max(observed[from][from] * eighths.min(8) / 8);
        let heard = made
            .iter()
            .find(|op| op.dot.site.at() == from && op.dot.seq == upto);
        let past: Vec<u64> = heard.map_or(vec![0; 3], |op| op.past.entries().map(|(_, seq)| seq).collect());
        (0..3).for_each(|of| observed[me][of] = observed[me][of].max(past[of]));
        observed[me][from] = observed[me][from].max(upto);
        let op = op((me as u8, observed[me][me] + 1), observed[me], effect(number));
        observed[me][me] += 1;
        let looks_gone = life.looks_gone(&op, &kept);
        life.add(&op, &kept);
        let said = life.enders().iter().any(|ender| ender.dot == op.dot);
        let is_asked = op.is_elementwise() && op.effect != Effect::Del;
        assert!(!is_asked || said == looks_gone, "{op:?} after {made:?}");
        if op.may_supersede() {
            kept.extract_if(.., |older| op.supersedes(older))
                .for_each(|older| life.bury(&older));
        }
        made.push(op.clone());
        kept.push(op);
        if at % 5 == 4 {
            let mut stable = Vector::zero(3);
            for of in 0..3 {
                let lowest = observed.iter().map(|seen| seen[of]).min().unwrap_or_default();
                stable.advance(SiteIx(of as u8), lowest);
            }
            fold(&mut life, &mut kept, &stable);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn presence_is_what_a_look_at_all_of_the_past_gives(
        steps in prop::collection::vec((0..3_u8, 0..3_u8, 0..9_u64, any::<u8>()), 1..40),
        fights in any::<bool>(),
    ) {
        compare(steps, |number| random_effect(number, fights));
    }

    #[test]
    fn a_string_is_there_behind_a_command_on_it_as_a_whole(
        steps in prop::collection::vec((0..3_u8, 0..3_u8, 0..9_u64, any::<u8>()), 1..40),
    ) {
        compare(steps, random_text_effect);
    }
}

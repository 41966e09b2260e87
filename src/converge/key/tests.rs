#![allow(clippy::unwrap_used)]
mod flushed;
mod shipped;
mod times;

use std::rc::Rc;

use super::*;
use crate::causality::{Hlc, Vector};
use crate::command::effect::parse;
use crate::command::spec;
use crate::converge::replay::canonical;
use crate::resp::encode;

pub const ME: SiteIx = SiteIx(0);

pub const MEANS: Means = Means {
    replay_max: 256,
    may_script: true,
    field_times: FieldTimes::Whole,
};

pub fn vector(seqs: [u64; 3]) -> Vector {
    let mut vector = Vector::zero(3);
    (0..)
        .zip(seqs)
        .for_each(|(at, upto)| vector.advance(SiteIx(at), upto));
    vector
}

/// The same as a part of a snapshot.
pub fn of_snapshot(mut op: Operation) -> Operation {
    op.time = op.time.of_state();
    op
}

/// An operation of a site: its number, its past, its time, its command.
pub fn op(site: u8, seq: u64, past: [u64; 3], time: u64, text: &str) -> Operation {
    let words: Vec<Bytes> = text.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
    let mut raw = bytes::BytesMut::new();
    let args: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    encode::command(&mut raw, &args);
    let shares = parse(spec(&words[0]).unwrap(), &words).unwrap();
    Operation {
        dot: Dot {
            site: SiteIx(site),
            seq,
        },
        past: Rc::new(vector(past)),
        time: Hlc(time),
        effect: shares[0].effect.clone().unwrap(),
        raw: raw.freeze(),
        contested: false,
        joint: false,
    }
}

pub fn key() -> KeyState {
    KeyState::new(0, Bytes::from_static(b"k"))
}

/// What is submitted, command by command.
pub fn commands(repair: &Repair) -> Vec<String> {
    let words = |raw: &Bytes| {
        let text = String::from_utf8(raw.to_vec()).unwrap();
        text.split("\r\n")
            .skip(2)
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    repair.commands.iter().map(words).collect()
}

pub fn took(effects: &[bool]) -> Vec<Took> {
    let each = effects.iter().map(|&effect| Took {
        effect,
        removed: None,
    });
    each.collect()
}

#[test]
fn a_set_whose_condition_did_not_hold_resets_nothing() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "RPUSH k a"));
    key.submitted(op(1, 1, [0; 3], 2, "SETNX k v"), 1);
    assert!(
        key.reconcile(ME, 2, 0, MEANS).is_empty(),
        "the string's is the latest"
    );
    key.echoed(1, &took(&[false]));
    // The list was there, and no string.
    assert_eq!(commands(&key.reconcile(ME, 3, 0, MEANS)), ["SET k v"]);
}

#[test]
fn a_push_whose_condition_did_not_hold_is_pushed_yet() {
    let mut key = key();
    key.executed(op(1, 1, [0; 3], 1, "LPUSH k a"));
    key.executed(op(0, 1, [0, 1, 0], 3, "DEL k"));
    key.submitted(op(1, 2, [0, 1, 0], 2, "RPUSHX k b"), 1);
    assert!(
        key.reconcile(ME, 2, 0, MEANS)
            .commands
            .iter()
            .all(|command| !command.ends_with(b"b\r\n"))
    );
    key.echoed(1, &took(&[false]));
    assert_eq!(commands(&key.reconcile(ME, 3, 0, MEANS))[0], "RPUSH k b");
}

/// A repair that had no effect is not tried for ever: the member was there, or the key would be known to be of another type.
#[test]
fn a_member_that_was_not_added_is_there() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "PEXPIREAT k 1000"));
    key.submitted(op(1, 1, [0; 3], 2, "SADD k m n"), 1);
    key.submitted(op(1, 2, [1, 1, 0], 3, "SREM k m"), 1);
    key.echoed(1, &took(&[false, false]));
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), [""; 0]);
}

#[test]
fn a_site_that_may_have_passed_operations_over_does_not_ship_its_value() {
    let mut key = key();
    key.executed(op(1, 1, [0; 3], 3, "RPUSH k b"));
    key.executed(op(2, 1, [0; 3], 1, "LPUSH k c"));
    key.executed(op(0, 1, [0, 1, 1], 9, "RPUSHX k a"));
    key.doubt();
    assert!(key.reconcile(ME, 1, 0, MEANS).is_empty());
    assert_eq!(key.waiting_for(), Some(SiteIx(1)));
    assert_eq!(key.is_due(0, 1_000), Some(SiteIx(1)));
    // A new session with another site changes nothing; one with that site, and the question may have been lost.
    key.ask_again(SiteIx(2));
    assert_eq!(key.is_due(0, 1_000), None);
    key.ask_again(SiteIx(1));
    assert_eq!(key.is_due(0, 1_000), Some(SiteIx(1)));
    // Asked itself by a third site, it goes on asking; by that one, it gives what it has.
    key.demand_state(Some(SiteIx(2)));
    assert!(key.reconcile(ME, 2, 0, MEANS).is_empty());
    assert_eq!(key.waiting_for(), Some(SiteIx(1)));
    key.demand_state(Some(SiteIx(1)));
    assert!(key.reconcile(ME, 2, 0, MEANS).ship_state);
}

/// The operations that are kept: number, and by how much they count.
fn counts(key: &KeyState) -> Vec<(u8, u64, Option<i64>)> {
    let told = |op: &Operation| match op.effect {
        Effect::Count { delta } => (op.dot.site.0, op.dot.seq, Some(delta)),
        _ => (op.dot.site.0, op.dot.seq, None),
    };
    let mut all: Vec<_> = key.operations().iter().map(told).collect();
    all.sort_unstable();
    all
}

#[test]
fn increments_count_as_one_where_nothing_can_come_between() {
    let mut key = key();
    // Neither site is ever at rest: there is no point that all that follows has seen.
    for at in 1..=40 {
        let late = at - 1 - (at - 1) % 4;
        key.executed(op(0, at, [at - 1, late, 0], 2 * at, "INCRBY k 1"));
        key.executed(op(1, at, [late, at - 1, 0], 2 * at + 1, "INCRBY k 100"));
    }
    // This one has seen ten of the first site's, and none of the other's.
    key.executed(op(2, 1, [10, 0, 0], 90, "PEXPIREAT k 99999999999999"));
    assert!(!key.prune(&vector([30, 20, 1])));
    let counts = counts(&key);
    let sum = |site, delta: i64| {
        let of_site = counts.iter().filter(|(of, ..)| *of == site);
        assert_eq!(of_site.map(|(_, _, by)| by.unwrap()).sum::<i64>(), 40 * delta);
    };
    sum(0, 1);
    sum(1, 100);
    // What those that are not stable have all seen, ten and what follows apart.
    assert!(counts.contains(&(0, 10, Some(10))), "{counts:?}");
    assert!(counts.contains(&(0, 20, Some(10))), "{counts:?}");
    assert!(counts.contains(&(1, 20, Some(2_000))), "{counts:?}");
    assert_eq!(counts.len(), 2 + 20 + 1 + 20 + 1, "{counts:?}");
}

/// What is submitted once the list has been read.
fn after_reading(key: &mut KeyState, found: &[&'static str]) -> Vec<String> {
    assert!(key.reconcile(ME, 1, 0, MEANS).read, "the list is read first");
    key.echoed(1, &[]);
    let found: Vec<Bytes> = found
        .iter()
        .map(|value| Bytes::from_static(value.as_bytes()))
        .collect();
    key.read(Some(&found));
    commands(&key.reconcile(ME, 2, 0, MEANS))
}

#[test]
fn what_two_sites_pop_is_popped_once() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "LPOP k"));
    key.delivered(op(1, 1, [0; 3], 2, "LPOP k"));
    key.delivered(op(1, 2, [0, 1, 0], 3, "RPOP k"));
    assert_eq!(after_reading(&mut key, &["b", "c", "d"]), ["LREM k 1 d"]);
}

#[test]
fn pushes_stand_in_the_order_of_their_times() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 5, "LPUSH k mine"));
    key.delivered(op(1, 1, [0; 3], 4, "LPUSH k earlier"));
    key.delivered(op(2, 1, [0; 3], 6, "LPUSH k later"));
    let want = ["LINSERT k BEFORE mine later", "LINSERT k AFTER mine earlier"];
    assert_eq!(after_reading(&mut key, &["mine", "base"]), want);
}

/// Whoever goes on from here takes what was delivered for executed.
#[test]
fn what_a_list_has_to_be_read_for_waits() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 5, "LPUSH k mine"));
    let earlier = op(1, 1, [0; 3], 4, "LPUSH k earlier");
    assert!(key.waits_to_be_read(&earlier, ME, MEANS));
    assert_eq!(after_reading(&mut key, &["mine", "base"]), Vec::<String>::new());
    assert!(!key.waits_to_be_read(&earlier, ME, MEANS));
    key.delivered(earlier);
    let want = ["LINSERT k AFTER mine earlier"];
    assert_eq!(commands(&key.reconcile(ME, 3, 0, MEANS)), want);
}

#[test]
fn a_long_list_is_edited_at_its_ends() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 5, "LPUSH k mine"));
    key.delivered(op(1, 1, [0; 3], 4, "LPUSH k earlier"));
    key.delivered(op(1, 2, [0, 1, 0], 7, "RPOP k"));
    let base = |at: u64| Bytes::from(format!("b{at}"));
    let found: Vec<Bytes> = std::iter::once(Bytes::from_static(b"mine"))
        .chain((0..10_000).map(base))
        .collect();
    assert!(key.reconcile(ME, 1, 0, MEANS).read);
    key.echoed(1, &[]);
    key.read(Some(&found));
    let want = ["LPOP k 1", "LPUSH k earlier mine", "LREM k -1 b9999"];
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), want);
}

#[test]
fn a_pop_that_has_not_seen_a_del_takes_nothing_that_survives_it() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 3, "DEL k"));
    key.delivered(op(1, 1, [0; 3], 1, "LPUSH k a"));
    key.delivered(op(1, 2, [0, 1, 0], 2, "RPOP k"));
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS))[0], "RPUSH k a");
}

#[test]
fn a_pop_behind_a_del_is_replayed_whatever_comes_behind_it() {
    let mut key = key();
    key.delivered(op(0, 1, [0; 3], 1, "DEL k"));
    key.delivered(op(0, 2, [1, 0, 0], 2, "RPUSH k e"));
    key.delivered(op(0, 3, [2, 0, 0], 3, "LPOP k"));
    key.delivered(op(0, 4, [3, 0, 0], 4, "APPEND k x"));
    key.delivered(op(0, 5, [4, 0, 0], 5, "SETBIT k 67 1"));
    let want = ["DEL k", "RPUSH k e", "LPOP k 1", "APPEND k x", "SETBIT k 67 1"];
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS))[..5], want);
}

#[test]
fn a_list_that_does_not_tell_its_base_is_shipped() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 3, "LPOP k 2"));
    key.delivered(op(1, 1, [0; 3], 1, "RPUSH k a"));
    assert!(key.reconcile(ME, 1, 0, MEANS).read);
    key.echoed(1, &[]);
    key.read(Some(&[]));
    // One element went, or two.
    assert!(key.reconcile(ME, 2, 0, MEANS).ship_state);
}

/// What the DEL did not see survives, and the value that was shipped without it holds what it saw.
#[test]
fn a_value_that_has_not_seen_a_delete_is_no_root() {
    let operations = |state_sees: u64| {
        [
            op(1, 1, [0, 0, 0], 5, "APPEND k b"),
            op(0, 1, [0, 0, 0], 6, "DEL k"),
            op(1, 2, [state_sees, 1, 0], 7, "RESTORE k 0 payload"),
            op(2, 1, [1, 2, 0], 8, "APPEND k c"),
        ]
    };
    let found = canonical(&operations(0));
    assert_eq!((found.root, found.order), (Root::Empty, vec![0, 3]));
    let seen = operations(1);
    let found = canonical(&seen);
    assert_eq!((found.root, found.order), (Root::State(seen[2].dot), vec![3]));
}

/// Of the snapshots of two sites that did not see each other the later one counts; what its reset saw is not asked.
#[test]
fn the_value_in_a_snapshot_is_a_root_beside_the_reset_of_another_one() {
    let operations = [
        of_snapshot(op(1, 1, [0; 3], 5, "DEL k")),
        of_snapshot(op(1, 2, [0, 1, 0], 6, "RESTORE k 0 payload")),
        of_snapshot(op(0, 1, [0; 3], 9, "DEL k")),
        op(1, 3, [0, 2, 0], 7, "APPEND k b"),
    ];
    let found = canonical(&operations);
    assert_eq!(
        (found.root, found.order),
        (Root::State(operations[1].dot), vec![3])
    );
}

#[test]
fn a_replayed_trim_takes_an_entry_whose_id_another_one_had_that_is_gone() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "XADD k 6-0 f a"));
    key.executed(op(0, 2, [1, 0, 0], 2, "XADD k 7-0 f a"));
    key.delivered(op(1, 1, [0; 3], 1, "XADD k 6-0 f b"));
    key.delivered(op(1, 2, [0, 1, 0], 2, "DEL k"));
    key.delivered(op(2, 1, [2, 0, 0], 3, "XGROUP CREATE k g 0"));
    key.delivered(op(2, 2, [2, 0, 1], 4, "XADD k MAXLEN = 2 8-0 f a"));
    key.reconcile(ME, 1, 0, MEANS);
    let steps = &key.held.in_flight()[0].steps;
    let Some(Effect::StreamSplice(splice)) = steps.last().map(|step| &step.effect) else {
        panic!("a trim is put in its place: {steps:?}");
    };
    assert_eq!((splice.entries.len(), splice.kept.len()), (1, 0));
}

#[test]
fn a_trim_is_asked_again_once_what_it_could_not_be_asked_beside_is_gone() {
    let seen = [
        op(0, 1, [0; 3], 1, "XADD k 5-0 f a"),
        op(0, 2, [1, 0, 0], 2, "XGROUP CREATE k g 0"),
    ];
    let trim = op(0, 3, [2, 0, 0], 3, "XADD k MAXLEN = 1 6-0 f a");
    let del = op(1, 1, [2, 0, 0], 4, "DEL k");
    let effects = |last: [&Operation; 2]| {
        let mut key = key();
        let all = seen.iter().chain(last);
        all.for_each(|op| key.executed(op.clone()));
        key.operations.sort_by_key(|op| op.dot);
        let effects = key.operations.iter().map(|op| op.effect.clone());
        effects.collect::<Vec<Effect>>()
    };
    let first = effects([&del, &trim]);
    assert!(first.iter().filter_map(entries::trim_of).all(Trim::is_known));
    assert_eq!(effects([&trim, &del]), first);
}

#[test]
fn an_entry_that_was_refused_as_it_came_is_put_in_its_place_before_the_value_is_read() {
    let mut key = key();
    key.submitted(op(1, 1, [0; 3], 1, "XTRIM k MAXLEN 3"), 1);
    key.submitted(op(1, 2, [0, 1, 0], 2, "XADD k 5-0 f b"), 2);
    key.executed(op(0, 1, [0; 3], 3, "XADD k 9-0 f a"));
    key.echoed(1, &took(&[true]));
    key.echoed(2, &took(&[false]));
    // Of what the trim took there one had no name and should be there, so the stream is sent.
    let repair = key.reconcile(ME, 3, 0, MEANS);
    assert!(repair.ship_state);
    let put = commands(&repair);
    assert!(put.len() == 1 && put[0].starts_with("EVAL"), "{put:?}");
}

/// What another site's trim left of the list is not known, but the own database had nothing that it could trim.
#[test]
fn a_pop_that_emptied_a_list_which_began_here_is_told_of() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 2, "DEL k"));
    key.submitted(op(1, 1, [0; 3], 1, "LTRIM k 1 -1"), 1);
    key.echoed(1, &took(&[false]));
    key.executed(op(1, 2, [1, 1, 0], 3, "RPUSH k x"));
    key.executed_here(op(0, 2, [1, 2, 0], 4, "RPOP k 2"));
    let told = key.take_told();
    let values: Vec<_> = told
        .iter()
        .flat_map(|(_, told)| told.iter().map(|told| told.value.clone()))
        .collect();
    assert_eq!(values, [Some(Bytes::from_static(b"x"))]);
}

/// What every site replays: a value of one element, and behind it what these did.
fn replay_of(operations: &[Operation]) -> Vec<String> {
    let mut key = key();
    let mut value = op(0, 1, [0; 3], 2, "RESTORE k 0 payload");
    value.effect = Effect::Restore {
        payload: Bytes::from_static(b"\x01\x01\x04e500\t\0\xce\x1e\xf1F(N\xff^"),
        ttl_unix_ms: None,
    };
    key.delivered(value);
    operations.iter().for_each(|op| key.delivered(op.clone()));
    commands(&key.reconcile(ME, 1, 0, MEANS))
}

#[test]
fn a_value_on_which_a_trim_is_executed_again_does_not_tell_what_a_pop_took() {
    let trim = op(1, 1, [0; 3], 1, "LTRIM k 0 -2");
    let push = op(0, 2, [1, 1, 0], 3, "RPUSH k x");
    let pop = op(2, 1, [2, 1, 0], 4, "LPOP k");
    let beside = op(0, 3, [2, 1, 0], 5, "LPUSH k y");
    let want = ["LTRIM k 0 -2", "RPUSH k x", "LPOP k 1", "LPUSH k y"];
    assert_eq!(replay_of(&[trim, push, pop, beside])[1..5], want);
}

#[test]
fn a_pop_of_several_that_is_told_of_takes_each_where_it_is_executed_again() {
    let mut push = op(1, 1, [1, 0, 0], 3, "LPUSH k x");
    list::name_elements(&mut push);
    let pop = op(1, 2, [1, 1, 0], 5, "LPOP k 2");
    let beside = op(2, 1, [1, 0, 0], 4, "LPUSH k y");
    let mut told = op(1, 3, [1, 2, 0], 6, "SYNCER.TOOK k 2");
    let element = |name: Bytes, place: i64, value: &'static [u8]| crate::command::took::Told {
        name,
        place: Some(place),
        value: Some(Bytes::from_static(value)),
    };
    let first = push.elements().next().unwrap().clone();
    told.effect = Effect::ListTook {
        pop: 2,
        took: vec![element(first, 0, b"x"), element(Bytes::new(), 1, b"e500")],
    };
    let want = ["LPUSH k x", "LPUSH k y", "LREM k 1 x", "LREM k 1 e500"];
    assert_eq!(replay_of(&[push, pop, beside, told])[1..5], want);
}

/// The pop had not seen the `DEL`, and the value that was sent hides what it took; its site tells that it was the push.
#[test]
fn a_pop_that_is_told_of_takes_a_push_that_is_hidden_by_what_comes_first_or_last() {
    let mut push = op(1, 1, [0; 3], 1, "RPUSH k b");
    list::name_elements(&mut push);
    let mut told = op(1, 4, [0, 3, 0], 4, "SYNCER.TOOK k 3");
    let took = crate::command::took::Told {
        name: push.elements().next().unwrap().clone(),
        place: None,
        value: Some(Bytes::from_static(b"b")),
    };
    told.effect = Effect::ListTook {
        pop: 3,
        took: vec![took],
    };
    let value = op(1, 2, [0, 1, 0], 2, "RESTORE k 0 payload");
    let pop = op(1, 3, [0, 2, 0], 3, "RPOP k");
    let del = op(0, 1, [0; 3], 5, "DEL k");
    let taken = |order: [&Operation; 5]| {
        let mut key = key();
        order.into_iter().for_each(|op| key.delivered(op.clone()));
        key.learn_what_was_told();
        let is_pop = |other: &&Operation| other.dot == pop.dot;
        let name = key
            .operations
            .iter()
            .find(is_pop)
            .and_then(|op| op.elements().next());
        name.cloned()
    };
    let name = push.elements().next();
    assert_eq!(taken([&push, &value, &pop, &told, &del]).as_ref(), name);
    assert_eq!(taken([&del, &push, &value, &pop, &told]).as_ref(), name);
}

/// A value that was sent, and two writes that have seen it and not each other.
#[test]
fn what_follows_a_value_is_settled_by_element_whether_the_value_is_remembered_or_not() {
    let value = op(1, 1, [0; 3], 1, "RESTORE k 0 payload");
    let count = op(0, 1, [0, 1, 0], 2, "HINCRBY k f 2");
    let write = op(1, 2, [0, 1, 0], 3, "HSET k f 10");
    let mut early = key();
    [&value, &count]
        .into_iter()
        .for_each(|op| early.executed(op.clone()));
    assert!(!early.prune(&vector([0, 1, 0])));
    early.delivered(write.clone());
    assert_eq!(commands(&early.reconcile(ME, 1, 0, MEANS)), ["HSET k f 12"]);
    let mut late = key();
    [&value, &count]
        .into_iter()
        .for_each(|op| late.executed(op.clone()));
    late.delivered(write);
    assert_eq!(commands(&late.reconcile(ME, 1, 0, MEANS)), ["HSET k f 10"]);
    late.echoed(1, &took(&[true]));
    assert!(!late.prune(&vector([1, 2, 0])));
    assert_eq!(commands(&late.reconcile(ME, 2, 0, MEANS)), ["HINCRBY k f 2"]);
    late.echoed(2, &took(&[true]));
    assert!(late.prune(&vector([1, 2, 0])));
}

//! Expiry times, of the key and of its fields.

use super::*;
use crate::converge::content::Expiry;

/// The element of what is folded stands in what superseded it, so the key never went.
#[test]
fn a_time_stays_where_what_is_folded_is_empty_because_it_was_superseded() {
    let mut key = key();
    let history = [
        op(1, 1, [0; 3], 1, "DEL k"),
        op(1, 2, [0, 1, 0], 2, "HSET k f old"),
        op(0, 1, [0, 2, 0], 3, "PEXPIREAT k 99999999999999"),
        op(0, 2, [1, 2, 0], 4, "HSET k f new"),
        op(1, 3, [1, 2, 0], 5, "HSET k g new"),
    ];
    history.into_iter().for_each(|op| key.executed(op));
    assert!(key.reconcile(ME, 1, 0, MEANS).is_empty());
    assert!(!key.prune(&vector([1, 2, 0])));
    assert_eq!(key.operations().len(), 2, "the rest is folded");
    key.delivered(op(2, 1, [1, 2, 0], 6, "HSET k h new"));
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), ["HSET k h new"]);
}

/// Of a snapshot that has f, and what another site did that had not seen it.
#[test]
fn a_replay_sets_no_time_that_is_none_in_the_end() {
    let set = op(1, 1, [0; 3], 3, "HSETEX k PXAT 230 FIELDS 2 f v g v");
    let longer = op(1, 2, [0, 1, 0], 4, "HPEXPIREAT k 900 FIELDS 1 f");
    let beside = op(2, 1, [1, 0, 0], 5, "HPEXPIREAT k 700 FIELDS 2 f g");
    let found = replay_of(&[set, longer, beside]);
    let want = [
        "HSET k f v g v",
        "HPEXPIREAT k 900 FIELDS 1 f",
        "HPERSIST k FIELDS 2 f g",
        "HPEXPIREAT k 900 FIELDS 1 f",
        "HPEXPIREAT k 700 FIELDS 1 g",
    ];
    assert_eq!(found[1..], want);
}

/// One site has settled all that stands before it, so that it finds times by the rules; another comes to it in one replay.
#[test]
fn what_may_read_times_finds_those_of_the_rules() {
    let none = op(2, 1, [1, 0, 0], 3, "HPERSIST k FIELDS 1 f");
    let set = op(1, 1, [1, 0, 0], 4, "HSETEX k PXAT 230 FIELDS 2 f v g v");
    let reads = op(1, 2, [1, 1, 0], 5, "HPEXPIREAT k 900 XX FIELDS 2 f g");
    let found = replay_of(&[none.clone(), set.clone(), reads.clone()]);
    let want = [
        "HPERSIST k FIELDS 1 f",
        "HSET k f v g v",
        "HPEXPIREAT k 230 FIELDS 1 g",
        "HPEXPIREAT k 900 XX FIELDS 2 f g",
    ];
    assert_eq!(found[1..5], want);
    // Where a client wrote both at once, before it was known of the other, all is executed again.
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "DEL k"));
    key.executed(none);
    key.executed(set);
    key.executed(reads);
    let repair = key.reconcile(ME, 1, 0, MEANS);
    assert_eq!(commands(&repair)[..5], [&["DEL k"], &want[..]].concat());
    key.echoed(1, &took(&vec![true; repair.commands.len()]));
    assert!(key.reconcile(ME, 2, 0, MEANS).is_empty());
}

/// Another site has removed f since: its time is not set again, for it may be over.
#[test]
fn before_what_may_read_times_none_is_set_of_what_is_removed() {
    let set = op(1, 1, [1, 0, 0], 4, "HSETEX k PXAT 230 FIELDS 2 f v g v");
    let reads = op(1, 2, [1, 1, 0], 5, "HPEXPIREAT k 900 XX FIELDS 2 f g");
    let beside = op(2, 1, [1, 0, 0], 3, "HSET k h v");
    let gone = op(2, 2, [1, 2, 1], 6, "HDEL k f");
    let want = [
        "HSET k h v",
        "HSET k f v g v",
        "HPEXPIREAT k 230 FIELDS 1 g",
        "HPEXPIREAT k 900 XX FIELDS 2 f g",
        "HDEL k f",
    ];
    assert_eq!(replay_of(&[beside, set, reads, gone])[1..6], want);
}

/// The time of f is over when it is set, and the hash held nothing but f when the transaction began.
#[test]
fn what_the_server_removes_within_a_transaction_goes_where_it_stands_in_it() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "DEL k"));
    key.executed(op(0, 2, [1, 0, 0], 2, "HSET k f v"));
    key.executed(op(0, 3, [2, 0, 0], 3, "PEXPIREAT k 99999999999999"));
    key.delivered(op(1, 1, [2, 0, 0], 4, "HSETEX k PXAT 5 FIELDS 1 f w"));
    key.delivered(op(1, 2, [2, 1, 0], 5, "HSET k g w"));
    let sent = commands(&key.reconcile(ME, 1, 0, MEANS));
    assert_eq!(sent, ["HSET k f w g w", "HPEXPIREAT k 5 FIELDS 1 f"]);
    let removal = op(0, 4, [3, 0, 0], 6, "HDEL k f");
    key.executed_within(removal.clone());
    let mut back = took(&vec![true; sent.len()]);
    let last = back.last_mut().unwrap();
    (last.effect, last.removed) = (false, Some(removal.effect));
    key.echoed(1, &back);
    assert_eq!(key.held.actual().content.expiry, Expiry::At(99_999_999_999_999));
    // And before its first command it is like any other write.
    key.executed_within(op(0, 5, [4, 2, 0], 7, "HDEL k g"));
    key.echoed(2, &[]);
    assert_eq!(key.held.actual().content.kind, Kind::Absent);
}

/// Which of the fields took the time is not told. It stood behind a write that is left out since, and elsewhere on nothing.
#[test]
fn a_site_that_executed_what_is_left_out_sends_its_value() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "HSET k f v"));
    key.executed(op(1, 1, [0; 3], 2, "HPEXPIREAT k 99999999999999 NX FIELDS 2 f g"));
    key.executed(op(0, 2, [1, 1, 0], 3, "HDEL k f"));
    assert!(key.reconcile(ME, 1, 0, MEANS).ship_state);
}

/// Redis 8 names the fields that took the time, so what came back is not what was sent. Then the command is taken by a removal.
#[test]
fn a_time_that_was_perhaps_set_is_taken_away() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "DEL k"));
    key.executed(op(0, 2, [1, 0, 0], 2, "HSET k f v"));
    let sets = op(1, 1, [0; 3], 3, "HPEXPIREAT k 99999999999999 NX FIELDS 2 f g");
    key.delivered(sets);
    let sent = commands(&key.reconcile(ME, 1, 0, MEANS));
    assert_eq!(sent, ["HPEXPIREAT k 99999999999999 NX FIELDS 2 f g", "PERSIST k"]);
    key.echoed(1, &took(&[false, false]));
    key.delivered(op(1, 2, [0, 1, 0], 4, "DEL k"));
    assert_eq!(
        commands(&key.reconcile(ME, 2, 0, MEANS)),
        ["HPERSIST k FIELDS 1 f"]
    );
}

/// The removal took the last member, which only the database knows; the others find no key, and may have forgotten why.
#[test]
fn a_time_that_is_given_anew_is_told() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "PEXPIREAT k 99999999999999"));
    key.delivered(op(1, 1, [0; 3], 2, "ZREM k m"));
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), ["ZREM k m"]);
    key.echoed(1, &took(&[true]));
    assert_eq!(
        commands(&key.reconcile(ME, 2, 0, MEANS)),
        ["PEXPIREAT k 99999999999999"]
    );
    key.echoed(2, &took(&[false]));
    assert!(key.reconcile(ME, 3, 0, MEANS).is_empty());
    key.delivered(op(1, 2, [1, 1, 0], 3, "ZADD k 7 n"));
    let repair = key.reconcile(ME, 3, 0, MEANS);
    assert_eq!(commands(&repair), ["ZADD k 7.0 n", "PEXPIREAT k 99999999999999"]);
    assert!(repair.tells_time);
}

//! Keys that meet what emptied the whole database.

use super::*;

/// The reset of a snapshot, the key in it, and a client's increment; another site's increment has seen none of them.
#[test]
fn a_key_that_began_behind_a_flush_is_known_and_never_built_anew() {
    let mut key = key();
    key.executed(of_snapshot(op(0, 2, [1, 0, 0], 2, "HSET k f 1 g 2")));
    key.executed(op(0, 3, [2, 0, 0], 3, "HINCRBY k f 1"));
    let arrived = op(1, 1, [0; 3], 1, "HINCRBY k g 5");
    let dot = arrived.dot;
    key.delivered(arrived);
    key.flushed_before(of_snapshot(op(0, 1, [0; 3], 1, "DEL k")), dot);
    // DEL and HSET would take a client's next increment with them until the echo.
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), ["HINCRBY k g 5"]);
}

#[test]
fn a_flush_that_meets_a_key_stands_before_what_was_submitted_behind_it() {
    let mut key = key();
    let flush = op(1, 1, [0; 3], 3, "DEL k");
    // Both travel in one transaction; the key comes into conflict only by what arrives then.
    key.submitted(op(1, 2, [0, 1, 0], 4, "SADD k m"), 7);
    key.submitted(flush, 7);
    key.delivered(op(2, 1, [0; 3], 1, "SADD k m"));
    assert!(key.reconcile(ME, 8, 0, MEANS).is_empty());
    key.echoed(7, &took(&[true, true]));
    assert!(key.reconcile(ME, 9, 0, MEANS).is_empty());
}

/// After a restart, too: the increment is not put on the number that the flush took.
#[test]
fn what_a_flush_took_is_gone_whatever_an_earlier_run_did() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "DECRBY k 21"));
    key.doubt();
    key.executed(op(0, 2, [1, 0, 0], 2, "SET k 110000"));
    let arrived = op(1, 1, [0; 3], 3, "INCRBY k 1");
    let dot = arrived.dot;
    key.delivered(arrived);
    key.flushed_before(op(0, 3, [2, 0, 0], 4, "DEL k"), dot);
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), ["SET k 1"]);
}

/// What an earlier run did, this run's deletion took: from there on all is known, and what the flush took as well.
#[test]
fn what_began_anew_behind_a_restart_is_known_behind_a_flush() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 1, "SET k 320000"));
    key.doubt();
    key.executed(op(0, 2, [1, 0, 0], 2, "UNLINK k"));
    key.executed(op(0, 3, [2, 0, 0], 3, "INCRBY k 1"));
    key.executed(op(0, 5, [4, 0, 0], 5, "INCRBY k 32"));
    let arrived = op(1, 1, [0; 3], 6, "INCRBY k 1");
    let flush = op(0, 4, [3, 0, 0], 4, "DEL k");
    key.flushed_before(flush.clone(), flush.dot);
    key.delivered(arrived);
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), ["INCRBY k 1"]);
}

/// Two flushes of this site, seen by its push, that another site's push has not seen; and one of that site, which took
/// the first push, so that it was put back.
#[test]
fn flushes_that_meet_a_key_late_undo_no_repair() {
    let mut key = key();
    key.executed(op(0, 3, [2, 0, 0], 3, "LPUSH k a"));
    key.submitted(op(1, 1, [0; 3], 2, "DEL k"), 1);
    key.echoed(1, &took(&[true]));
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), ["RPUSH k a"]);
    key.echoed(2, &took(&[true]));
    let arrived = op(1, 2, [0, 1, 0], 4, "LPUSH k b");
    let dot = arrived.dot;
    key.delivered(arrived);
    key.flushed_before(op(0, 1, [0; 3], 1, "DEL k"), dot);
    key.flushed_before(op(0, 2, [1, 0, 0], 2, "DEL k"), dot);
    let want = ["LINSERT k BEFORE a b"];
    assert_eq!(commands(&key.reconcile(ME, 3, 0, MEANS)), want);
}

/// The pop is in hand while the list is read, and a push comes that has not seen the flush before the list's first.
#[test]
fn a_flush_that_meets_a_key_late_makes_nothing_executed_that_is_still_in_hand() {
    let mut key = key();
    key.executed(op(1, 2, [0, 1, 0], 2, "LPUSH k a"));
    key.executed(op(0, 1, [0, 2, 0], 4, "LPUSH k b"));
    key.delivered(op(1, 3, [0, 2, 0], 3, "RPOP k"));
    assert!(key.reconcile(ME, 1, 0, MEANS).read);
    let arrived = op(2, 1, [0; 3], 3, "LPUSH k c");
    let dot = arrived.dot;
    key.delivered(arrived);
    key.flushed_before(op(1, 1, [0; 3], 1, "DEL k"), dot);
    key.echoed(1, &[]);
    key.read(Some(&[Bytes::from_static(b"b"), Bytes::from_static(b"a")]));
    let want = ["LINSERT k AFTER b c", "LREM k 1 a"];
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), want);
}

#[test]
fn a_flush_that_a_key_recalls_leaves_what_had_not_seen_it() {
    let mut key = key();
    let flush = op(0, 2, [1, 0, 0], 2, "DEL k");
    key.executed(op(0, 1, [0; 3], 1, "SADD k gone"));
    key.executed(op(0, 3, [2, 0, 0], 3, "SADD k new"));
    key.executed(op(1, 1, [0; 3], 1, "SADD k other"));
    assert!(key.was_emptied_by(&flush) && !key.knows_flush(&flush));
    key.flushed_before(flush.clone(), flush.dot);
    assert!(key.knows_flush(&flush));
    key.lose_actual();
    let want = ["DEL k", "SADD k new other"];
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), want);
}

/// The trim of another site saw the flush, and not the deletion behind it: of the entries it saw, the flush took one.
#[test]
fn a_stream_recalls_a_flush_although_a_deletion_followed_it() {
    let mut key = key();
    let flush = op(0, 2, [1, 0, 0], 2, "DEL k");
    key.executed(op(0, 1, [0; 3], 1, "XADD k 9-0 f v"));
    key.executed(op(0, 3, [2, 0, 0], 3, "XADD k 2-0 f v"));
    key.executed(op(0, 4, [3, 0, 0], 4, "UNLINK k"));
    assert!(key.was_emptied_by(&flush) && !key.knows_flush(&flush));
    key.flushed_before(flush.clone(), flush.dot);
    key.delivered(op(1, 1, [0; 3], 1, "XADD k 3-0 f v"));
    assert_eq!(commands(&key.reconcile(ME, 1, 0, MEANS)), ["XADD k 3-0 f v"]);
    key.delivered(op(1, 2, [2, 1, 0], 5, "XADD k MAXLEN = 2 10-0 f v"));
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), ["XADD k 10-0 f v"]);
}

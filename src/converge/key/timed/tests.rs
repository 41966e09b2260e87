use super::super::tests::{ME, MEANS, commands, key, of_snapshot, op, took, vector};

/// The key's last member went at one site, and with it the time; another had added one by then.
#[test]
fn a_time_that_a_removal_may_have_taken_is_told_by_who_has_it() {
    let removal = op(1, 1, [0; 3], 1, "SREM k a");
    let add = op(0, 1, [0; 3], 2, "SADD k b");
    let mut key = key();
    key.executed(add.clone());
    key.delivered(removal.clone());
    let repair = key.reconcile(ME, 1, 0, MEANS);
    assert!(repair.tells_time);
    key.echoed(1, &took(&[true]));
    assert!(!key.prune(&vector([1, 1, 0])), "it is being read");
    key.delivered(op(1, 2, [0, 1, 0], 1, "SREM k c"));
    assert_eq!(commands(&key.reconcile(ME, 2, 0, MEANS)), ["SREM k c"]);
    key.echoed(2, &took(&[true]));
    let told = of_snapshot(op(0, 2, [1, 2, 0], 3, "PEXPIREAT k 99999999999999"));
    key.shipped(told.clone());
    let repair = key.reconcile(ME, 3, 0, MEANS);
    assert_eq!(commands(&repair), ["PEXPIREAT k 99999999999999"]);
    assert!(!repair.tells_time);
    // Where it went it is set, unless something has been written since.
    let persist = op(2, 1, [1, 1, 0], 4, "PERSIST k");
    let mut other = super::super::tests::key();
    [removal, persist, add]
        .into_iter()
        .for_each(|op| other.executed(op));
    other.delivered(told);
    assert!(other.reconcile(ME, 1, 0, MEANS).is_empty());
}

#[test]
fn a_site_without_a_time_has_nothing_to_tell() {
    let mut key = key();
    key.executed(op(1, 1, [0; 3], 1, "SREM k a"));
    key.delivered(op(0, 1, [0; 3], 2, "SADD k b"));
    assert!(key.reconcile(ME, 1, 0, MEANS).tells_time);
    key.echoed(1, &took(&[true]));
    key.no_time();
    key.delivered(op(2, 1, [0; 3], 2, "SREM k b"));
    assert!(!key.reconcile(ME, 2, 0, MEANS).tells_time);
    // What has seen each other meets nowhere.
    let mut key = super::super::tests::key();
    key.executed(op(1, 1, [0; 3], 1, "SREM k a"));
    key.executed(op(0, 1, [0, 1, 0], 2, "SADD k b"));
    key.delivered(op(2, 1, [0; 3], 2, "PEXPIREAT k 99999999999999"));
    assert!(!key.reconcile(ME, 1, 0, MEANS).tells_time);
}

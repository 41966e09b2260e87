//! Values that are sent.

use super::*;

/// A push of another site was executed behind one of a client, before which it belongs; while that is put in order the client
/// pushes once more, and another site writes what has no rules by element.
#[test]
fn what_a_repair_undid_of_a_client_is_put_back_before_the_value_is_sent() {
    let mut key = key();
    key.executed(op(0, 1, [0; 3], 4, "RPUSH k b"));
    key.executed(op(0, 2, [1, 0, 0], 5, "LPUSH k l"));
    key.submitted(op(1, 1, [0; 3], 3, "RPUSH k a"), 1);
    key.echoed(1, &took(&[true]));
    assert!(key.reconcile(ME, 2, 0, MEANS).read);
    key.echoed(2, &[]);
    key.read(Some(&[
        Bytes::from_static(b"l"),
        Bytes::from_static(b"b"),
        Bytes::from_static(b"a"),
    ]));
    let repair = key.reconcile(ME, 3, 0, MEANS);
    assert_eq!(commands(&repair)[..2], ["RPOP k 2", "RPUSH k a b"]);
    // The client's next push is taken, and the b stays.
    key.executed(op(0, 3, [2, 1, 0], 7, "RPUSH k c"));
    key.delivered(op(1, 2, [1, 1, 0], 6, "LSET k 0 z"));
    key.echoed(3, &took(&vec![true; repair.commands.len()]));
    let repair = key.reconcile(ME, 4, 0, MEANS);
    assert!(!repair.ship_state);
    assert_eq!(commands(&repair), ["LPOP k 2", "LPUSH k l", "RPUSH k c"]);
    key.echoed(4, &took(&[true; 3]));
    let repair = key.reconcile(ME, 5, 0, MEANS);
    assert!(repair.ship_state);
    assert_eq!(commands(&repair), ["LSET k 0 z"]);
}

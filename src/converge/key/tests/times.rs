//! Expiry times, of the key and of its fields.

use super::*;

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

use super::*;
use crate::causality::SiteIx;
use crate::converge::content::Expiry;
use crate::converge::evaluate::evaluate;

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
    assert!(life.ghosts.is_empty() && life.deletes.is_empty());
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

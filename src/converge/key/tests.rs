#![allow(clippy::unwrap_used)]
use std::rc::Rc;

use super::*;
use crate::causality::{Hlc, Vector};
use crate::command::effect::parse;
use crate::command::spec;
use crate::resp::encode;

const ME: SiteIx = SiteIx(0);

/// An operation of a site: its number, its past, its time, its command.
fn op(site: u8, seq: u64, past: [u64; 3], time: u64, text: &str) -> Operation {
    let mut vector = Vector::zero(3);
    (0..)
        .zip(past)
        .for_each(|(at, upto)| vector.advance(SiteIx(at), upto));
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
        past: Rc::new(vector),
        time: Hlc(time),
        effect: shares[0].effect.clone().unwrap(),
        raw: raw.freeze(),
        contested: false,
        joint: false,
    }
}

fn key() -> KeyState {
    KeyState::new(0, Bytes::from_static(b"k"))
}

/// What is submitted, command by command.
fn commands(repair: &Repair) -> Vec<String> {
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

fn took(effects: &[bool]) -> Vec<Took> {
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
    assert_eq!(
        commands(&key.reconcile(ME, 2, 0, true)),
        ["RPUSH k a", "PERSIST k"]
    );
    key.echoed(1, &took(&[false]));
    // The list was there; the RPUSH that is on its way stands on it and not on the string.
    let whole = ["DEL k", "SET k v", "RPUSH k a", "PERSIST k"];
    assert_eq!(commands(&key.reconcile(ME, 3, 0, true)), whole);
}

#[test]
fn a_push_whose_condition_did_not_hold_is_pushed_yet() {
    let mut key = key();
    key.executed(op(1, 1, [0; 3], 1, "LPUSH k a"));
    key.executed(op(0, 1, [0, 1, 0], 3, "DEL k"));
    key.submitted(op(1, 2, [0, 1, 0], 2, "RPUSHX k b"), 1);
    assert!(
        key.reconcile(ME, 2, 0, true)
            .commands
            .iter()
            .all(|command| !command.ends_with(b"b\r\n"))
    );
    key.echoed(1, &took(&[false]));
    assert_eq!(commands(&key.reconcile(ME, 3, 0, true))[0], "RPUSH k b");
}

#[test]
fn a_flush_that_meets_a_key_stands_before_what_was_submitted_behind_it() {
    let mut key = key();
    let flush = op(1, 1, [0; 3], 3, "DEL k");
    // Both travel in one transaction; the key comes into conflict only by what arrives then.
    key.submitted(op(1, 2, [0, 1, 0], 4, "SADD k m"), 7);
    key.submitted(flush, 7);
    key.delivered(op(2, 1, [0; 3], 1, "SADD k m"));
    assert!(key.reconcile(ME, 8, 0, true).is_empty());
    key.echoed(7, &took(&[true, true]));
    assert!(key.reconcile(ME, 9, 0, true).is_empty());
}

#[test]
fn a_site_that_may_have_passed_operations_over_does_not_ship_its_value() {
    let mut key = key();
    key.executed(op(1, 1, [0; 3], 3, "RPUSH k b"));
    key.executed(op(2, 1, [0; 3], 1, "LPUSH k c"));
    key.executed(op(0, 1, [0, 1, 1], 9, "RPUSHX k a"));
    key.doubt();
    assert!(key.reconcile(ME, 1, 0, true).is_empty());
    assert_eq!(key.waiting_for(), Some(SiteIx(1)));
    assert_eq!(key.is_due(0, 1_000), Some(SiteIx(1)));
    // Asked itself, it gives what it has.
    key.demand_state();
    assert!(key.reconcile(ME, 2, 0, true).ship_state);
}

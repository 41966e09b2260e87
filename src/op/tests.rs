#![allow(clippy::unwrap_used)]
use bytes::{Bytes, BytesMut};

use super::batch::{FLAG_CONTINUES, Row, Source};
use super::*;
use crate::causality::{Hlc, Roster, SiteId, SiteIx, Vector};
use crate::command::EffectClass;

fn roster(me: &str) -> Roster {
    let all = ["a", "b", "c"].map(|name| SiteId::new(name.as_bytes()).unwrap());
    let me = SiteId::new(me.as_bytes()).unwrap();
    let peers: Vec<SiteId> = all.into_iter().filter(|name| *name != me).collect();
    Roster::new(me, &peers).unwrap()
}

fn row(flags: u8, fingerprint: u64) -> Row {
    Row {
        end: 0,
        flags,
        class: EffectClass::Set,
        db: 3,
        fingerprint,
    }
}

fn source() -> Source {
    Source {
        replication_id: [b'f'; 40],
        offset: 99,
        db: 3,
    }
}

fn sample() -> Batch {
    let mut builder = Builder::default();
    let block = Bytes::from_static(b"onetwo--three");
    builder.push(0..3, row(0, 1), &block);
    builder.push(3..6, row(FLAG_CONTINUES, 2), &block);
    builder.mark(Hlc(500), SiteIx(1), 7);
    builder.push(8..13, row(0, 3), &block);
    builder.end_block(&block);
    let mut observed = Vector::zero(3);
    observed.advance(SiteIx(1), 5);
    let place = builder.place();
    builder
        .finish(place, SiteIx(0), (11, Hlc(100)), observed, source())
        .unwrap()
}

fn joined(parts: &[Bytes]) -> Vec<Bytes> {
    let mut all = BytesMut::new();
    parts.iter().for_each(|part| all.extend_from_slice(part));
    vec![all.freeze()]
}

#[test]
fn survives_the_wire() {
    let batch = sample();
    for parts in [
        batch.encode(&roster("a")).to_vec(),
        joined(batch.encode(&roster("a"))),
    ] {
        let back = Batch::decode(parts, &roster("b")).unwrap();
        assert_eq!((back.first_seq, back.last_seq(), back.count()), (11, 13, 3));
        assert_eq!(back.command(0), "one");
        assert_eq!(back.command(2), "three");
        assert_eq!(back.row(1), batch.row(1));
        assert_eq!(back.time_of(1), Hlc(101));
        assert_eq!(back.time_of(2), Hlc(500));
        assert_eq!(back.past_of(1).get(SiteIx(1)), 5);
        assert_eq!(back.past_of(2).get(SiteIx(1)), 7);
        assert_eq!(back.past_of(2).get(SiteIx(0)), 12);
        assert_eq!(back.source, source());
    }
}

#[test]
fn every_shortening_is_refused() {
    let whole = joined(sample().encode(&roster("a")));
    for len in 0..whole[0].len() {
        assert!(
            Batch::decode(vec![whole[0].slice(..len)], &roster("a")).is_err(),
            "{len}"
        );
    }
    assert!(Batch::decode(Vec::new(), &roster("a")).is_err());
}

#[test]
fn an_incomplete_unit_stays_for_the_next_batch() {
    let mut builder = Builder::default();
    let block = Bytes::from_static(b"onetwo");
    builder.push(0..3, row(0, 1), &block);
    let place = builder.place();
    builder.push(3..6, row(FLAG_CONTINUES, 2), &block);
    builder.end_block(&block);
    let zero = || Vector::zero(3);
    let batch = builder
        .finish(place, SiteIx(0), (1, Hlc(1)), zero(), source())
        .unwrap();
    assert_eq!((batch.count(), &batch.command(0)[..]), (1, &b"one"[..]));
    assert!(Batch::decode(batch.encode(&roster("a")).to_vec(), &roster("a")).is_ok());
    let block = Bytes::from_static(b"three");
    builder.push(0..5, row(0, 3), &block);
    builder.end_block(&block);
    let place = builder.place();
    let batch = builder
        .finish(place, SiteIx(0), (2, Hlc(2)), zero(), source())
        .unwrap();
    assert_eq!(
        (&batch.command(0)[..], &batch.command(1)[..]),
        (&b"two"[..], &b"three"[..])
    );
    assert!(Batch::decode(batch.encode(&roster("a")).to_vec(), &roster("a")).is_ok());
}

/// Whoever goes on behind a batch does not read again what stood between its last row and its offset.
#[test]
fn an_echo_behind_the_last_row_is_in_the_batch() {
    let roster = roster("a");
    let mut builder = Builder::default();
    builder.push_owned(Bytes::from_static(b"one"), row(0, 1), &[]);
    builder.mark(Hlc(9), SiteIx(1), 7);
    let place = builder.place();
    builder.push_owned(Bytes::from_static(b"two"), row(FLAG_CONTINUES, 1), &[]);
    let batch = builder
        .finish(place, SiteIx(0), (1, Hlc(1)), Vector::zero(3), source())
        .unwrap();
    assert_eq!(batch.observed_after().get(SiteIx(1)), 7);
    let back = Batch::decode(joined(batch.encode(&roster)), &roster).unwrap();
    assert_eq!(back.observed_after().get(SiteIx(1)), 7);
}

#[test]
fn a_command_of_no_block_stands_behind_those_of_the_block_being_read() {
    let block = Bytes::from_static(b"onetwothree");
    let mut builder = Builder::default();
    builder.push(0..3, row(0, 1), &block);
    builder.push(3..6, row(0, 2), &block);
    builder.push_owned(Bytes::from_static(b"shipped"), row(0, 3), &block);
    builder.push(6..11, row(0, 4), &block);
    builder.end_block(&block);
    let place = builder.place();
    let batch = builder
        .finish(place, SiteIx(0), (1, Hlc(1)), Vector::zero(2), source())
        .unwrap();
    let commands: Vec<Bytes> = (0..4).map(|at| batch.command(at)).collect();
    assert_eq!(
        commands,
        ["one", "two", "shipped", "three"].map(|text| Bytes::from_static(text.as_bytes()))
    );
}

/// What is counted on from here cannot overflow, and nobody is in its own past.
#[test]
fn numbers_that_cannot_be_are_refused() {
    let whole = joined(sample().encode(&roster("a")));
    let with = |at: usize, number: u64| {
        let mut bytes = whole[0].to_vec();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        Batch::decode(vec![bytes.into()], &roster("a"))
    };
    let (first_seq, time, observed_of_a) = (10, 18, 79 + 2);
    assert!(with(first_seq, crate::causality::SEQ_MAX - 3).is_ok());
    assert!(with(first_seq, crate::causality::SEQ_MAX - 2).is_err());
    assert!(with(first_seq, u64::MAX).is_err());
    assert!(with(time, Hlc::MAX.0).is_ok());
    assert!(with(time, Hlc::MAX.0 + 1).is_err());
    assert!(with(observed_of_a, 10).is_ok());
    assert!(with(observed_of_a, 11).is_err());
}

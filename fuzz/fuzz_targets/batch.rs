//! The batch: what is built comes back from its bytes; any bytes are refused or a batch whose every accessor is safe.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use syncer::causality::{Hlc, Roster, SiteId, SiteIx, Vector};
use syncer::command::EffectClass;
use syncer::op::{Batch, Builder, FLAG_CONTINUES, FLAG_KEYS_INSIDE, REPLICATION_ID_BYTES, Row, Source};

fn roster(me: &[u8], peers: &[&[u8]]) -> Roster {
    let site = |name: &[u8]| SiteId::new(name).expect("a name");
    let peers: Vec<SiteId> = peers.iter().map(|peer| site(peer)).collect();
    Roster::new(site(me), &peers).expect("a roster")
}

/// Everything that can be asked of a batch.
fn ask(batch: &Batch) {
    let count = batch.count();
    assert!(count > 0);
    assert_eq!(batch.last_seq(), batch.first_seq + count as u64 - 1);
    assert!(batch.row(count).is_none() && batch.row(usize::MAX / 32).is_none());
    let mut payload = 0;
    for at in 0..count {
        let row = batch.row(at).expect("a row");
        let command = batch.command(at);
        assert_eq!(batch.start_of(at) as usize, payload);
        payload += command.len();
        assert_eq!(row.end as usize, payload);
        let past = batch.past_of(at);
        assert_eq!(past.get(batch.origin), batch.first_seq + at as u64 - 1);
        assert!(batch.time_of(at).0 <= Hlc::MAX.0 + count as u64);
    }
    assert_eq!(payload, batch.payload_len());
    assert!(batch.observed_after().covers(&batch.past_of(count - 1)));
    let mut all = 0;
    batch.bytes_of(0, count, |bytes| all += bytes.len());
    assert_eq!(all, payload);
}

fn same(left: &Batch, right: &Batch) {
    assert_eq!(
        (left.first_seq, left.time, left.source),
        (right.first_seq, right.time, right.source)
    );
    assert_eq!((left.origin, left.count()), (right.origin, right.count()));
    assert_eq!((&left.observed, &left.marks), (&right.observed, &right.marks));
    for at in 0..left.count() {
        assert_eq!(left.row(at), right.row(at));
        assert_eq!(left.command(at), right.command(at));
        assert_eq!(left.time_of(at), right.time_of(at));
        assert_eq!(left.past_of(at), right.past_of(at));
    }
}

/// A batch as a stream's reader builds it: `plan` tells each command's length, flags and class, and where echoes
/// stand.
fn built(plan: &[[u8; 3]], first_seq: u64, time: u64) -> Option<Batch> {
    let mut builder = Builder::default();
    let block: Vec<u8> = (0..plan.len() * 257).map(|at| at as u8).collect();
    let (mut at, mut last_time, mut seen) = (0, time, [0; 3]);
    for &[len, flags, class] in plan {
        let len = 1 + usize::from(len);
        let row = Row {
            end: 0,
            flags: flags & (FLAG_CONTINUES | FLAG_KEYS_INSIDE),
            class: EffectClass::from_code(class % 18)?,
            db: u16::from(class),
            fingerprint: u64::from(flags) << 32,
        };
        last_time += 1;
        if flags & 4 != 0 && builder.count() > 0 {
            let site = if flags & 8 == 0 { SiteIx(1) } else { SiteIx(2) };
            last_time += u64::from(class);
            seen[site.at()] += u64::from(len as u8);
            builder.mark(Hlc(last_time), site, seen[site.at()]);
        }
        if flags & 16 == 0 {
            builder.push(at..at + len, row, &block);
        } else {
            builder.push_owned(Bytes::copy_from_slice(&block[at..at + len]), row, &block);
        }
        at += len + usize::from(flags >> 7);
    }
    builder.end_unit();
    builder.end_block(&Bytes::from(block));
    let source = Source {
        replication_id: [b'f'; REPLICATION_ID_BYTES],
        offset: first_seq,
        db: 3,
    };
    let place = builder.place();
    let mut observed = Vector::zero(3);
    observed.advance(SiteIx(0), first_seq - 1);
    builder.finish(place, SiteIx(0), (first_seq, Hlc(time)), observed, source)
}

fuzz_target!(|input: (Vec<[u8; 3]>, u32, u32, u16, Vec<u8>)| {
    let (plan, first_seq, time, at, data) = input;
    let here = roster(b"a", &[b"b", b"c"]);
    let there = roster(b"b", &[b"a", b"c", b"d"]);
    // As bytes of any kind, and with a first byte that lets them in.
    for bytes in [data.clone(), [&[1, 2], &data[..]].concat()] {
        if let Ok(batch) = Batch::decode(vec![Bytes::from(bytes)], &here) {
            ask(&batch);
        }
    }
    let Some(batch) = built(&plan, 1 + u64::from(first_seq), u64::from(time)) else {
        return;
    };
    ask(&batch);
    let whole = Bytes::from(batch.encode(&here).concat());
    let back = Batch::decode(vec![whole.clone()], &here).expect("what was encoded is decoded");
    same(&batch, &back);
    same(
        &batch,
        &Batch::decode(batch.encode(&here).to_vec(), &here).expect("in parts"),
    );
    ask(&Batch::decode(vec![whole.clone()], &there).expect("at another site"));
    // Changed in one place.
    let mut changed = whole.to_vec();
    let place = usize::from(at) % changed.len();
    for (byte, new) in changed[place..].iter_mut().zip(&data) {
        *byte = *new;
    }
    if let Ok(batch) = Batch::decode(vec![Bytes::from(changed)], &here) {
        ask(&batch);
    }
    assert!(
        Batch::decode(vec![whole.slice(..place)], &here).is_err(),
        "a short batch was taken"
    );
});

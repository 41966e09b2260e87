//! Replies: whole values against `redis-protocol`, however they are cut; and the answers to pipelined transactions,
//! which any bytes, cut anywhere, give the same way.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::decode::decode_bytes;
use syncer::apply::{Answer, Pending, Replies, ReplyError};
use syncer::resp::reply::{Extent, Value, value};
use syncer::resp::{FrameError, Limits, encode};

const LIMITS: Limits = Limits {
    args_max: 64,
    bulk_bytes_max: 512,
    inline_bytes_max: 128,
    command_bytes_max: 4096,
    reply_line_bytes_max: 128,
    reply_elements_max: 64,
    reply_depth_max: 4,
};

/// `data` in pieces of the lengths that `cuts` says, and the rest.
fn pieces<'a>(data: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (data, Vec::new());
    for &cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

fn values(pieces: &[&[u8]]) -> (Vec<Value>, Result<usize, FrameError>) {
    let (mut buf, mut extent, mut values) = (BytesMut::new(), Extent::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match value(&mut buf, &mut extent, &LIMITS) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => return (values, Err(error)),
            }
        }
    }
    (values, Ok(buf.len()))
}

/// Values as the oracle sees them, one behind the other.
fn oracle_agrees(data: &[u8], values: &[Value]) {
    let mut rest = Bytes::copy_from_slice(data);
    for value in values {
        // An error that is not UTF-8 is shown with replacement characters; the oracle refuses it.
        let oracle = decode_bytes(&rest);
        let Ok(Some((theirs, len))) = oracle else {
            assert!(
                matches!(value, Value::Error(_)),
                "the oracle sees no value where there is {value:?}"
            );
            return;
        };
        assert_eq!(*value, theirs);
        rest = rest.slice(len..);
    }
}

/// What a connection hears, in the database's words: OK, QUEUED, numbers, errors, aborted transactions.
fn heard(plan: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &word in plan {
        match word % 12 {
            0 | 1 => encode::simple(&mut out, b"OK"),
            2..=5 => encode::simple(&mut out, b"QUEUED"),
            6 => encode::array_header(&mut out, usize::from(word >> 4)),
            7 => encode::integer(&mut out, i64::from(word) - 100),
            8 => encode::error(&mut out, b"OOM command not allowed"),
            9 => encode::error(&mut out, b"EXECABORT Transaction discarded"),
            10 => encode::bulk(&mut out, &plan[..usize::from(word >> 4).min(plan.len())]),
            _ => encode::null(&mut out),
        }
    }
    out
}

/// Commands before MULTI.
fn before(choice: u8) -> usize {
    usize::from(choice >> 4 & 3)
}

fn answers(pending: &[u8], pieces: &[&[u8]]) -> (Vec<Answer>, Result<usize, ReplyError>) {
    let mut replies = Replies::default();
    for (txn, &choice) in pending.iter().enumerate() {
        replies.sent(Pending {
            txn: txn as u64,
            before: before(choice),
            queued: usize::from(choice & 7),
            reads: choice & 8 != 0,
        });
    }
    let (mut buf, mut answers) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match replies.next(&mut buf) {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break,
                Err(error) => return (answers, Err(error)),
            }
        }
        assert_eq!(replies.unanswered(), pending.len() - answers.len());
    }
    (answers, Ok(buf.len()))
}

/// A sound conversation for these transactions: all is queued and executed.
fn sound(pending: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &choice) in pending.iter().enumerate() {
        let queued = usize::from(choice & 7);
        (0..before(choice)).for_each(|n| match n {
            0 => encode::simple(&mut out, b"OK"),
            1 => encode::integer(&mut out, 1),
            _ => encode::error(&mut out, b"OOM command not allowed"),
        });
        encode::simple(&mut out, b"OK");
        (0..queued).for_each(|_| encode::simple(&mut out, b"QUEUED"));
        encode::array_header(&mut out, queued);
        (0..queued).for_each(|n| match (at + n) % 4 {
            0 => encode::simple(&mut out, b"OK"),
            1 => encode::error(&mut out, b"WRONGTYPE of a key"),
            2 => encode::bulk(&mut out, b"value"),
            _ => encode::integer(&mut out, n as i64),
        });
    }
    out
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (data, cuts, pending) = input;
    for stream in [&data, &heard(&data)] {
        let whole = values(&[stream]);
        assert_eq!(values(&pieces(stream, &cuts)), whole);
        oracle_agrees(stream, &whole.0);
        let whole = answers(&pending, &[stream]);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(answers(&pending, &single), whole, "byte by byte");
        assert_eq!(answers(&pending, &pieces(stream, &cuts)), whole);
    }
    let stream = sound(&pending);
    let (all, end) = answers(&pending, &pieces(&stream, &cuts));
    assert_eq!((all.len(), end), (pending.len(), Ok(0)));
    assert!(all.iter().all(|answer| matches!(answer, Answer::Executed { .. })));
});

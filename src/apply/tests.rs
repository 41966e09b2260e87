#![allow(clippy::unwrap_used)]
use bytes::{Bytes, BytesMut};

use super::*;

fn replies(queued: usize, reads: bool) -> Replies {
    let mut replies = Replies::default();
    replies.sent(Pending {
        txn: 7,
        before: 0,
        queued,
        reads,
    });
    replies
}

/// The answer, whatever the split.
fn answer(queued: usize, reads: bool, wire: &str) -> Answer {
    let mut all = Vec::new();
    for split in 0..wire.len() {
        let mut replies = replies(queued, reads);
        let mut buf = BytesMut::from(&wire.as_bytes()[..split]);
        assert_eq!(replies.next(&mut buf).unwrap(), None);
        buf.extend_from_slice(&wire.as_bytes()[split..]);
        all.push(replies.next(&mut buf).unwrap().unwrap());
        assert!(buf.is_empty());
    }
    all.dedup();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn an_executed_transaction_tells_its_failed_commands() {
    let wire = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n-WRONGTYPE no\r\n";
    let errors = vec![CommandError {
        at: 1,
        text: Bytes::from_static(b"WRONGTYPE no"),
    }];
    assert_eq!(
        answer(2, false, wire),
        Answer::Executed {
            txn: 7,
            errors,
            values: Vec::new()
        }
    );
}

#[test]
fn an_array_is_one_element() {
    let wire = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n:5\r\n";
    let inner = vec![
        Value::Bytes(Bytes::from_static(b"a")),
        Value::Bytes(Bytes::from_static(b"b")),
    ];
    let values = vec![Value::Array(inner), Value::Int(5)];
    assert_eq!(
        answer(2, true, wire),
        Answer::Executed {
            txn: 7,
            errors: Vec::new(),
            values
        }
    );
}

#[test]
fn a_refused_transaction_names_the_first_command_refused() {
    let wire = "+OK\r\n+QUEUED\r\n-OOM full\r\n-OOM full\r\n-EXECABORT gone\r\n";
    let error = CommandError {
        at: 1,
        text: Bytes::from_static(b"OOM full"),
    };
    assert_eq!(answer(3, false, wire), Answer::Refused { txn: 7, error });
    assert_eq!(Fault::of(b"OOM full"), Fault::Later);
    assert_eq!(Fault::of(b"ERR unknown command"), Fault::Never);
}

#[test]
fn a_refused_multi_ends_the_connection() {
    let mut buf = BytesMut::from(&b"-NOPERM no\r\n"[..]);
    assert!(replies(1, false).next(&mut buf).is_err());
    let mut buf = BytesMut::from(&b"+OK\r\n"[..]);
    assert!(Replies::default().next(&mut buf).is_err());
}

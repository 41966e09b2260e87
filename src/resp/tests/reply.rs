//! Replies: every type, every refusal, and that reads do not matter.

use bytes::BytesMut;

use crate::resp::reply::{Extent, Next, Span, Token, Value, token, value};
use crate::resp::{Fault, FrameError, Limits};

const LIMITS: Limits = Limits {
    args_max: 12,
    bulk_bytes_max: 300,
    inline_bytes_max: 20,
    command_bytes_max: 400,
    reply_line_bytes_max: 40,
    reply_elements_max: 12,
    reply_depth_max: 3,
};

/// Every type, by the bytes of its first element.
const SOUND: &[(&[u8], Token<'static>)] = &[
    (b"+OK\r\n", Token::Simple(b"OK")),
    (b"+QUEUED\r\n", Token::Simple(b"QUEUED")),
    (b"+QUEUE\r\n", Token::Simple(b"QUEUE")),
    (b"+\r\n", Token::Simple(b"")),
    (b"+FULLRESYNC 0123 17\r\n", Token::Simple(b"FULLRESYNC 0123 17")),
    (b"-ERR no\xff\r\n", Token::Error(b"ERR no\xff")),
    (b":1\r\n", Token::Int(1)),
    (b":-9223372036854775808\r\n", Token::Int(i64::MIN)),
    (b":9223372036854775807\r\n", Token::Int(i64::MAX)),
    (b":+12\r\n", Token::Int(12)),
    (b"$0\r\n\r\n", Token::Bulk(b"")),
    (b"$5\r\na\r\nb\0\r\n", Token::Bulk(b"a\r\nb\0")),
    (b"$-1\r\n", Token::Null),
    (b"*-1\r\n", Token::Null),
    (b"_\r\n", Token::Null),
    (b"*0\r\n", Token::Array(0)),
    (b"*12\r\n", Token::Array(12)),
    (b"%2\r\n", Token::Map(2)),
    (b"~3\r\n", Token::Set(3)),
    (b">2\r\n", Token::Push(2)),
    (b"|1\r\n", Token::Attribute(1)),
    (b"#t\r\n", Token::Bool(true)),
    (b"#f\r\n", Token::Bool(false)),
    (b",1.5e2\r\n", Token::Double(150.0)),
    (b",inf\r\n", Token::Double(f64::INFINITY)),
    (b",-inf\r\n", Token::Double(f64::NEG_INFINITY)),
    (
        b"(-123456789012345678901234567890\r\n",
        Token::BigNumber(b"-123456789012345678901234567890"),
    ),
    (b"!5\r\nERR x\r\n", Token::Error(b"ERR x")),
    (
        b"=7\r\ntxt:a\r\n\r\n",
        Token::Verbatim {
            format: b"txt",
            text: b"a\r\n",
        },
    ),
];

#[test]
fn every_type_is_read_and_every_prefix_waits() {
    for (bytes, expected) in SOUND {
        let name = bytes.escape_ascii();
        let with_more = [*bytes, b"+next"].concat();
        let len = bytes.len();
        assert_eq!(
            token(&with_more, &LIMITS),
            Ok(Next::Token {
                token: *expected,
                len
            }),
            "{name}"
        );
        for cut in 0..len {
            match token(&bytes[..cut], &LIMITS) {
                Ok(Next::NeedMore { missing }) => {
                    assert!(missing > 0 && cut + missing <= len, "{name} {cut}")
                }
                other => panic!("{name} cut at {cut}: {other:?}"),
            }
        }
    }
    let Ok(Next::Token {
        token: Token::Double(nan),
        ..
    }) = token(b",nan\r\n", &LIMITS)
    else {
        panic!()
    };
    assert!(nan.is_nan());
}

#[test]
fn refusals_name_the_byte() {
    let malformed = |kind| Fault::MalformedReply { kind };
    let cases: &[(&[u8], u64, Fault)] = &[
        (b"PONG\r\n", 0, Fault::UnknownType { found: b'P' }),
        (b"\n", 0, Fault::UnknownType { found: b'\n' }),
        (b"+OK\n", 3, Fault::LineEnd { found: b'\n' }),
        (b"+\n", 1, Fault::LineEnd { found: b'\n' }),
        (b":1x\r\n", 1, malformed(b':')),
        (b":\r\n", 1, malformed(b':')),
        (b":9223372036854775808\r\n", 1, malformed(b':')),
        (b"#x\r\n", 1, malformed(b'#')),
        (b"_x\r\n", 1, malformed(b'_')),
        (b",infinity\r\n", 1, malformed(b',')),
        (b",1.2.3\r\n", 1, malformed(b',')),
        (b"(12a\r\n", 1, malformed(b'(')),
        (b"(\r\n", 1, malformed(b'(')),
        (b"=2\r\ntx\r\n", 4, malformed(b'=')),
        (b"$-2\r\n", 2, Fault::LengthNegative),
        (b"$-1\n", 3, Fault::LineEnd { found: b'\n' }),
        (b"!-1\r\n", 1, Fault::LengthNegative),
        (b"%-1\r\n", 1, Fault::LengthNegative),
        (b"$?\r\n", 1, Fault::LengthDigit { found: b'?' }),
        (
            b"$301\r\n",
            3,
            Fault::BulkTooLong {
                at_least: 301,
                max: 300,
            },
        ),
        (b"$3\r\nabcd\r\n", 7, Fault::BulkEnd { found: b'd' }),
        (
            b"*13\r\n",
            2,
            Fault::TooManyElements {
                at_least: 13,
                max: 12,
            },
        ),
        (b"*00\r\n", 2, Fault::LengthZero),
        (
            b"+01234567890123456789012345678901234567\r\n",
            40,
            Fault::LineTooLong { max: 40 },
        ),
        (
            b"+0123456789012345678901234567890123456789",
            40,
            Fault::LineTooLong { max: 40 },
        ),
    ];
    for &(bytes, offset, fault) in cases {
        assert_eq!(
            token(bytes, &LIMITS),
            Err(FrameError { offset, fault }),
            "{}",
            bytes.escape_ascii()
        );
    }
}

/// The length of the reply at the start of `stream`, which arrives in reads of `step` bytes.
fn extent(stream: &[u8], step: usize, limits: &Limits) -> Result<Option<usize>, FrameError> {
    let mut extent = Extent::new();
    let mut not_before = 0;
    for have in (0..stream.len()).step_by(step).chain([stream.len()]) {
        match extent.next(&stream[..have], limits)? {
            Span::Whole { len } => {
                assert!(have >= not_before, "waited for too much");
                return Ok(Some(len));
            }
            Span::NeedMore { missing } => not_before = have + missing,
        }
    }
    Ok(None)
}

#[test]
fn an_extent_spans_nested_replies() {
    let replies: &[&[u8]] = &[
        b"+OK\r\n",
        b"*0\r\n",
        b"*2\r\n*2\r\n:1\r\n*1\r\n$1\r\na\r\n-x\r\n",
        b"%2\r\n+a\r\n*0\r\n+b\r\n~1\r\n_\r\n",
        b"|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n",
        b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n|0\r\n:2\r\n",
        b">2\r\n+invalidate\r\n*-1\r\n",
    ];
    for reply in replies {
        let stream = [*reply, b"+next\r\n"].concat();
        for step in 1..stream.len() {
            assert_eq!(
                extent(&stream, step, &LIMITS),
                Ok(Some(reply.len())),
                "{}",
                reply.escape_ascii()
            );
        }
        for cut in 0..reply.len() {
            assert_eq!(extent(&reply[..cut], 1, &LIMITS), Ok(None));
        }
    }
}

#[test]
fn nesting_ends_at_its_limit() {
    assert_eq!(extent(b"*1\r\n*1\r\n*1\r\n+a\r\n", 1, &LIMITS), Ok(Some(16)));
    let fault = Fault::TooDeep { max: 3 };
    assert_eq!(
        extent(&b"*1\r\n".repeat(50_000), 4096, &LIMITS),
        Err(FrameError { offset: 12, fault })
    );
}

#[test]
fn an_extent_starts_again_after_a_reply_and_a_reset() {
    let mut extent = Extent::new();
    assert_eq!(extent.next(b"*1\r\n", &LIMITS), Ok(Span::NeedMore { missing: 1 }));
    extent.reset();
    for _ in 0..2 {
        assert_eq!(extent.next(b"+a\r\n", &LIMITS), Ok(Span::Whole { len: 4 }));
    }
}

#[test]
fn a_value_is_taken_out_whole() {
    let mut extent = Extent::new();
    let mut buf = BytesMut::new();
    let stream = b"*3\r\n$1\r\na\r\n:2\r\n*-1\r\n-ERR \xff\r\n*1\r\n_\r\n";
    let mut values = Vec::new();
    let mut error = None;
    for &byte in stream {
        buf.extend_from_slice(&[byte]);
        match value(&mut buf, &mut extent, &LIMITS) {
            Ok(found) => values.extend(found),
            Err(e) => error = Some(e),
        }
    }
    let array = vec![Value::BulkString("a".into()), Value::Integer(2), Value::Null];
    assert_eq!(values, [Value::Array(array), Value::Error("ERR \u{fffd}".into())]);
    assert_eq!(
        error,
        Some(FrameError {
            offset: 4,
            fault: Fault::Resp3 { kind: b'_' }
        })
    );
    assert_eq!(buf, &b"*1\r\n_\r\n"[..], "tokens can still read it");
    let mut buf = BytesMut::from(&b"*1\r\n-\xff\r\n"[..]);
    assert_eq!(
        value(&mut buf, &mut extent, &LIMITS),
        Err(FrameError {
            offset: 4,
            fault: Fault::ErrorText
        })
    );
}

//! The scanner: what it accepts, what it refuses and where, and that reads do not matter.

use super::{Heard, hear};
use crate::resp::{Fault, FrameError, Limits, Scan, Scanner, encode, inline};

fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

fn whole(stream: &[u8]) -> Vec<Heard> {
    hear(stream, [], Limits::default())
}

/// Everything a master or an old tool may send, in one stream.
fn corpus() -> Vec<u8> {
    let mut stream = Vec::new();
    stream.extend_from_slice(b"\n*1\r\n$4\r\nPING\r\n\n\r\n");
    encode::command(&mut stream, &[b"SELECT", b"0"]);
    encode::command(&mut stream, &[b"SET", b"", &[b'v'; 120]]);
    encode::command(&mut stream, &[b"SET", b"\r\n$3\r\n", b"*1\r\n\0\xff"]);
    stream.extend_from_slice(b"*0\r\n*-1\r\n*-77\r\n");
    encode::command(&mut stream, &vec![&b"0123456789"[..]; 105]);
    stream.extend_from_slice(b"  \t \r\nset  \"a \\x62\" 'c\\'d' e\n   ping\r\n");
    encode::command(&mut stream, &[b"REPLCONF", b"GETACK", b"*"]);
    stream
}

#[test]
fn corpus_is_heard_as_sent() {
    let heard = whole(&corpus());
    let expected = vec![
        Heard::Newline(1),
        Heard::Command(words(&[b"PING"])),
        Heard::Newline(1),
        Heard::Newline(2),
        Heard::Command(words(&[b"SELECT", b"0"])),
        Heard::Command(words(&[b"SET", b"", &[b'v'; 120]])),
        Heard::Command(words(&[b"SET", b"\r\n$3\r\n", b"*1\r\n\0\xff"])),
        Heard::Empty(4),
        Heard::Empty(5),
        Heard::Empty(6),
        Heard::Command(vec![b"0123456789".to_vec(); 105]),
        Heard::Empty(6),
        Heard::Inline(words(&[b"set", b"\"a \\x62\"", b"'c\\'d'", b"e"])),
        Heard::Inline(words(&[b"ping"])),
        Heard::Command(words(&[b"REPLCONF", b"GETACK", b"*"])),
    ];
    assert_eq!(heard, expected);
}

#[test]
fn every_split_gives_the_same_frames() {
    let stream = corpus();
    let expected = whole(&stream);
    for split in 0..=stream.len() {
        assert_eq!(
            hear(&stream, [split], Limits::default()),
            expected,
            "split at {split}"
        );
    }
    for step in 1..40 {
        assert_eq!(
            hear(&stream, (0..stream.len()).step_by(step), Limits::default()),
            expected
        );
    }
}

#[test]
fn every_cut_waits() {
    let stream = corpus();
    for cut in 0..stream.len() {
        let heard = whole(&stream[..cut]);
        assert!(
            !heard.iter().any(|h| matches!(h, Heard::Refused(_))),
            "cut at {cut}"
        );
    }
}

/// Small limits, so that the refusals of size are short.
const SMALL: Limits = Limits {
    args_max: 12,
    bulk_bytes_max: 300,
    inline_bytes_max: 20,
    command_bytes_max: 400,
    reply_line_bytes_max: 20,
    reply_elements_max: 12,
    reply_depth_max: 3,
};

#[test]
fn refusals_name_the_byte_whatever_the_reads() {
    let mut too_long = b"*2\r\n$300\r\n".to_vec();
    too_long.extend([b'x'; 300]);
    too_long.extend(b"\r\n$80\r\n");
    let cases: &[(&[u8], u64, Fault)] = &[
        (b"*x\r\n", 1, Fault::LengthDigit { found: b'x' }),
        (b"*\r\n", 1, Fault::LengthDigit { found: b'\r' }),
        (b"*1 \r\n", 2, Fault::LengthDigit { found: b' ' }),
        (b"*+1\r\n", 1, Fault::LengthDigit { found: b'+' }),
        (b"*1\n", 2, Fault::LengthDigit { found: b'\n' }),
        (b"*1\r$", 3, Fault::LineEnd { found: b'$' }),
        (b"*01\r\n", 2, Fault::LengthZero),
        (b"*00\r\n", 2, Fault::LengthZero),
        (b"*-0\r\n", 2, Fault::LengthZero),
        (b"*--1\r\n", 2, Fault::LengthNegative),
        (b"*-x\r\n", 2, Fault::LengthDigit { found: b'x' }),
        (b"*-4294967296\r\n", 11, Fault::LengthNegative),
        (b"*-99999999999\r\n", 11, Fault::LengthNegative),
        (
            b"*13\r\n",
            2,
            Fault::TooManyArgs {
                at_least: 13,
                max: 12,
            },
        ),
        (
            b"*99999999999999999999999\r\n",
            2,
            Fault::TooManyArgs {
                at_least: 99,
                max: 12,
            },
        ),
        (b"*1\r\n:5\r\n", 4, Fault::NotBulk { found: b':' }),
        (b"*1\r\n*1\r\n", 4, Fault::NotBulk { found: b'*' }),
        (b"*1\r\n\r\n", 4, Fault::NotBulk { found: b'\r' }),
        (b"*2\r\n$1\r\na\r\n+", 11, Fault::NotBulk { found: b'+' }),
        (b"*1\r\n$-1\r\n", 5, Fault::LengthNegative),
        (b"*1\r\n$\r\n", 5, Fault::LengthDigit { found: b'\r' }),
        (b"*1\r\n$1a\r\n", 6, Fault::LengthDigit { found: b'a' }),
        (b"*1\r\n$01\r\na\r\n", 6, Fault::LengthZero),
        (
            b"*1\r\n$301\r\n",
            7,
            Fault::BulkTooLong {
                at_least: 301,
                max: 300,
            },
        ),
        (
            b"*1\r\n$99999999999\r\n",
            7,
            Fault::BulkTooLong {
                at_least: 999,
                max: 300,
            },
        ),
        (b"*1\r\n$3\r\rabc\r\n", 7, Fault::LineEnd { found: b'\r' }),
        (b"*1\r\n$3\r\nabcd\r\n", 11, Fault::BulkEnd { found: b'd' }),
        (b"*1\r\n$3\r\nabc\n", 11, Fault::BulkEnd { found: b'\n' }),
        (b"*1\r\n$3\r\nabc\r*", 12, Fault::BulkEnd { found: b'*' }),
        (
            &too_long,
            312,
            Fault::CommandTooLong {
                at_least: 399,
                max: 398,
            },
        ),
        (b"ping 'it\n", 5, Fault::InlineQuotes),
        (b"ping \"a\"b\r\n", 8, Fault::InlineQuotes),
        (b"ping \0\r\n", 5, Fault::InlineNul),
        (
            b"123456789012345678901234567890",
            20,
            Fault::InlineTooLong { max: 20 },
        ),
        (b"12345678901234567890\n", 20, Fault::InlineTooLong { max: 20 }),
    ];
    for (bytes, offset, fault) in cases {
        let limits = match fault {
            Fault::CommandTooLong { max, .. } => Limits {
                command_bytes_max: *max,
                ..SMALL
            },
            _ => SMALL,
        };
        // A frame in front shows that offsets count from the start of the stream.
        let stream = [b"*1\r\n$4\r\nPING\r\n", *bytes].concat();
        let expected = vec![Heard::Command(words(&[b"PING"])), refused(14 + offset, *fault)];
        let name = bytes.escape_ascii();
        assert_eq!(hear(&stream, [], limits), expected, "{name}");
        assert_eq!(
            hear(&stream, 0..stream.len(), limits),
            expected,
            "{name}, byte by byte"
        );
        for split in 0..stream.len() {
            assert_eq!(
                hear(&stream, [split], limits),
                expected,
                "{name}, split at {split}"
            );
        }
    }
}

fn refused(offset: u64, fault: Fault) -> Heard {
    Heard::Refused(FrameError { offset, fault })
}

#[test]
fn limits_are_inclusive() {
    let long = [b'x'; 300];
    let mut stream = Vec::new();
    encode::command(&mut stream, &[&b"a"[..]; 12]);
    encode::command(&mut stream, &[&long]);
    stream.extend(b"1234567890123456789\n");
    let heard = hear(&stream, [], SMALL);
    assert_eq!(heard.len(), 3, "{heard:?}");
    let exact = Limits {
        command_bytes_max: encode::encoded_len(&[&long]) as u32,
        ..SMALL
    };
    assert_eq!(hear(&stream, [], exact).len(), 3);
}

#[test]
fn the_widest_limits_do_not_overflow() {
    let limits = Limits {
        args_max: u32::MAX,
        bulk_bytes_max: u32::MAX,
        command_bytes_max: u32::MAX,
        ..SMALL
    };
    let mut scanner = Scanner::new(limits);
    let len = u64::from(u32::MAX) - 20;
    let stream = format!("*1\r\n${len}\r\n");
    let missing = len as usize + 2;
    assert_eq!(scanner.next(stream.as_bytes()), Ok(Scan::NeedMore { missing }));
    scanner.reset();
    let error = scanner.next(b"*4294967295\r\n$4294967295\r\n").unwrap_err();
    assert!(matches!(error.fault, Fault::CommandTooLong { .. }) && error.is_limit());
}

#[test]
fn a_large_argument_is_waited_for_at_once() {
    let mut scanner = Scanner::new(Limits::default());
    let head = b"*2\r\n$3\r\nSET\r\n$536870912\r\nabc";
    let missing = 536_870_912 + 2 - 3;
    assert_eq!(scanner.next(head), Ok(Scan::NeedMore { missing }));
    assert_eq!(scanner.args().len(), 1);
    scanner.reset();
    assert_eq!(scanner.next(b"\n"), Ok(Scan::Newline { len: 1 }));
}

#[test]
fn what_was_scanned_is_not_scanned_again() {
    let mut stream = Vec::new();
    encode::command(&mut stream, &vec![&b"0123456789abcdef"[..]; 160_000]);
    let mut scanner = Scanner::new(Limits::default());
    for have in (0..stream.len()).step_by(16 << 10) {
        assert!(matches!(scanner.next(&stream[..have]), Ok(Scan::NeedMore { .. })));
        // Whole arguments lie behind; nobody looks at them again.
        let done = scanner.args().last().map_or(0, |arg| arg.range().end);
        stream[..done].fill(0);
    }
    assert_eq!(scanner.next(&stream), Ok(Scan::Command { len: stream.len() }));
    assert_eq!(scanner.args().len(), 160_000);
}

#[test]
fn room_is_reused_and_a_giant_gives_its_share_back() {
    let mut scanner = Scanner::new(Limits::default());
    let mut set = Vec::new();
    encode::command(&mut set, &[b"SET", b"k", b"v"]);
    scanner.next(&set).unwrap();
    let room = scanner.args().as_ptr();
    for _ in 0..100 {
        scanner.next(&set).unwrap();
        assert_eq!(scanner.args().as_ptr(), room);
    }
    let mut giant = Vec::new();
    encode::command(&mut giant, &vec![&b"x"[..]; 100_000]);
    scanner.next(&giant).unwrap();
    assert_eq!(scanner.args().len(), 100_000);
    scanner.next(b"").unwrap();
    assert_eq!(scanner.room(), 0);
}

#[test]
fn inline_values() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"plain", b"plain"),
        (b"\"\"", b""),
        (b"''", b""),
        (b"key:\"a b\"", b"key:a b"),
        (
            b"\"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\\x4g\"",
            b"A\n\r\t\x08\x07\\\"qx4g",
        ),
        (b"\"\\xfF\"", b"\xff"),
        (b"'a\\'b\\n'", b"a'b\\n"),
    ];
    for (typed, value) in cases {
        let line = [b"echo ", *typed, b"\r\n"].concat();
        assert_eq!(whole(&line), [Heard::Inline(words(&[b"echo", typed]))]);
        assert_eq!(inline::unquote(typed), *value, "{}", typed.escape_ascii());
    }
    // What is no quotation is left alone.
    assert_eq!(&*inline::unquote(b"\"open"), b"\"open");
    assert_eq!(&*inline::unquote(b"'"), b"'");
}

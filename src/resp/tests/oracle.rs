//! The room against other readings of the protocol: `redis-protocol`, and itself fed in other portions.
//!
//! `redis-protocol` does not look at the CR LF behind a bulk string and takes lengths such as `+3` and `007`.
//! What it decodes is therefore written again: equal bytes mean that the frame was canonical, and then the
//! scanner must read the same; other bytes mean that the scanner must refuse.

use proptest::prelude::*;
use redis_protocol::resp2::decode::{decode, decode_range};
use redis_protocol::resp2::types::{OwnedFrame, RangeFrame};

use super::{Heard, hear};
use crate::resp::reply::{Extent, Next, Span, Token, token};
use crate::resp::{Limits, Scan, Scanner, encode};

/// Arguments short and long, and bytes that look like the protocol.
fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..12),
        2 => prop::collection::vec(prop::sample::select(&b"*$0123456789\r\n-+:"[..]), 0..20),
        1 => prop::collection::vec(any::<u8>(), 90..1200),
    ]
}

/// A command, or what stands between commands.
fn frame() -> impl Strategy<Value = Heard> {
    prop_oneof![
        8 => prop::collection::vec(argument(), 1..20).prop_map(Heard::Command),
        1 => prop::collection::vec("[a-z:]{1,9}".prop_map(String::into_bytes), 1..4).prop_map(Heard::Inline),
        1 => (1usize..3).prop_map(Heard::Newline),
        1 => (4usize..6).prop_map(Heard::Empty),
    ]
}

fn write(frames: &[Heard]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        match frame {
            Heard::Command(args) => {
                encode::command(&mut out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            Heard::Inline(args) => {
                out.extend(args.join(&b' '));
                out.push(b'\n');
            }
            Heard::Newline(len) => out.extend(&b"\r\n"[2 - len..]),
            Heard::Empty(len) => out.extend([&b"*0\r\n"[..], b"*-1\r\n"][len - 4]),
            Heard::Refused(_) | Heard::Cut(_) => {}
        }
    }
    out
}

/// Portions of a stream: where reads end, in per mille of its length.
fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..1000, 0..30).prop_map(|mut ends| {
        ends.sort_unstable();
        ends
    })
}

fn at(reads: &[usize], len: usize) -> impl Iterator<Item = usize> {
    reads.iter().map(move |end| end * len / 1000)
}

/// Streams that nearly follow the protocol.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        prop::sample::select(&b"*$0123456789\r\n-+:x\0\"'"[..]),
        0..3,
    );
    (
        prop::collection::vec(frame(), 1..6),
        prop::collection::vec(edit, 0..3),
    )
        .prop_map(|(frames, edits)| {
            let mut stream = write(&frames);
            for (index, byte, what) in edits {
                let i = index.index(stream.len().max(1));
                match what {
                    _ if stream.is_empty() => {}
                    0 => stream[i] = byte,
                    1 => stream.insert(i, byte),
                    _ => drop(stream.remove(i)),
                }
            }
            stream
        })
}

/// The bytes the frame has when written in its only sound form.
fn canonical(frame: &OwnedFrame, out: &mut Vec<u8>) {
    match frame {
        OwnedFrame::SimpleString(text) => encode::simple(out, text),
        OwnedFrame::Error(text) => encode::error(out, text.as_bytes()),
        OwnedFrame::Integer(number) => encode::integer(out, *number),
        OwnedFrame::BulkString(bytes) => encode::bulk(out, bytes),
        OwnedFrame::Array(frames) => {
            encode::array_header(out, frames.len());
            frames.iter().for_each(|frame| canonical(frame, out));
        }
        OwnedFrame::Null => encode::null(out),
    }
}

fn tokens<'a>(frame: &'a OwnedFrame, out: &mut Vec<Token<'a>>) {
    out.push(match frame {
        OwnedFrame::SimpleString(text) => Token::Simple(text),
        OwnedFrame::Error(text) => Token::Error(text.as_bytes()),
        OwnedFrame::Integer(number) => Token::Int(*number),
        OwnedFrame::BulkString(bytes) => Token::Bulk(bytes),
        OwnedFrame::Array(frames) => Token::Array(frames.len() as u32),
        OwnedFrame::Null => Token::Null,
    });
    if let OwnedFrame::Array(frames) = frame {
        frames.iter().for_each(|frame| tokens(frame, out));
    }
}

/// Holds the scanner's reading of the first command in `buf` against the oracle's.
fn compare_command(buf: &[u8]) {
    let mut scanner = Scanner::new(Limits::default());
    let scan = scanner.next(buf);
    if buf.first() != Some(&b'*') {
        return;
    }
    let oracle = decode_range(buf);
    match scan {
        Ok(Scan::Command { len }) => {
            let ranges = scanner.args().iter().map(|arg| arg.range());
            let frames = ranges.map(|r| RangeFrame::BulkString((r.start, r.end))).collect();
            assert_eq!(oracle.unwrap(), Some((RangeFrame::Array(frames), len)));
        }
        Ok(Scan::NeedMore { .. }) => assert_eq!(oracle.unwrap_or(None), None),
        Ok(scan) => assert!(matches!(scan, Scan::Empty { .. }), "{scan:?}"),
        Err(_) => {
            let Ok(Some((frame @ OwnedFrame::Array(_), len))) = decode(buf) else {
                return;
            };
            let OwnedFrame::Array(frames) = &frame else { return };
            let bulks_only = frames
                .iter()
                .all(|frame| matches!(frame, OwnedFrame::BulkString(_)));
            let mut sound = Vec::new();
            canonical(&frame, &mut sound);
            assert!(!bulks_only || sound != buf[..len], "refused a sound command");
        }
    }
}

/// Holds the token reader's reading of the first reply in `buf` against the oracle's.
fn compare_reply(buf: &[u8]) {
    let limits = Limits {
        reply_depth_max: u8::MAX,
        ..Limits::default()
    };
    let span = Extent::new().next(buf, &limits);
    let oracle = decode(buf);
    match span {
        Ok(Span::Whole { len }) => {
            let (mut at, mut ours) = (0, Vec::new());
            while let Ok(Next::Token { token, len: more }) = token(&buf[at..len], &limits) {
                // RESP3 and error texts that are not UTF-8 are beyond the oracle.
                let text_ok = !matches!(token, Token::Error(text) if std::str::from_utf8(text).is_err());
                if !text_ok || !b"+-:$*".contains(&buf[at]) {
                    return;
                }
                ours.push(token);
                at += more;
            }
            let (frame, oracle_len) = oracle.unwrap().unwrap();
            let mut theirs = Vec::new();
            tokens(&frame, &mut theirs);
            assert_eq!((ours, len), (theirs, oracle_len));
        }
        Ok(Span::NeedMore { .. }) => assert_eq!(oracle.unwrap_or(None), None),
        Err(_) => {
            let Ok(Some((frame, len))) = oracle else { return };
            let mut sound = Vec::new();
            canonical(&frame, &mut sound);
            assert_ne!(sound, buf[..len], "refused a sound reply");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames_are_heard_as_written_in_any_portions(frames in prop::collection::vec(frame(), 0..12), reads in reads()) {
        let stream = write(&frames);
        prop_assert_eq!(hear(&stream, at(&reads, stream.len()), Limits::default()), frames);
    }

    #[test]
    fn portions_do_not_matter_to_a_damaged_stream(stream in damaged(), reads in reads()) {
        let whole = hear(&stream, [], Limits::default());
        prop_assert_eq!(&hear(&stream, at(&reads, stream.len()), Limits::default()), &whole);
        prop_assert_eq!(&hear(&stream, 0..stream.len(), Limits::default()), &whole);
    }

    #[test]
    fn commands_agree_with_the_oracle(stream in damaged(), cut in 0usize..=1000) {
        compare_command(&stream);
        compare_command(&stream[..cut * stream.len() / 1000]);
    }

    #[test]
    fn replies_agree_with_the_oracle(stream in damaged(), cut in 0usize..=1000) {
        compare_reply(&stream);
        compare_reply(&stream[..cut * stream.len() / 1000]);
    }

    #[test]
    fn replies_agree_on_random_types(
        lines in prop::collection::vec("[+:$*%~>|_#,(!=-][0-9a-z-]{0,3}\r\n", 0..12)
    ) {
        compare_reply(lines.concat().as_bytes());
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        hear(&bytes, 0..bytes.len(), Limits::default());
        compare_reply(&bytes);
    }
}

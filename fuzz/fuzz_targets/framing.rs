//! The scanner and the reply reader on any bytes: no panic, the same frames however the bytes are cut into
//! reads, and the frames that `redis-protocol` sees wherever the bytes are canonical.
//!
//! Input: one byte n, n bytes of read lengths, then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::decode::{decode, decode_range};
use redis_protocol::resp2::types::{OwnedFrame, RangeFrame};
use syncer::resp::reply::{Extent, Next, Span, Token, token};
use syncer::resp::{FrameError, Limits, Scan, Scanner, encode, inline};

/// The oracle recurses; longer inputs could nest deeper than its stack.
const STREAM_MAX: usize = 8192;

/// One limit of every kind within reach of a short input.
const LIMITS: Limits = Limits {
    args_max: 99,
    bulk_bytes_max: 4000,
    inline_bytes_max: 100,
    command_bytes_max: 6000,
    reply_line_bytes_max: 1000,
    reply_elements_max: 99,
    reply_depth_max: 32,
};

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let (reads, stream) = rest.split_at(usize::from(count % 32).min(rest.len()));
    if stream.len() > STREAM_MAX {
        return;
    }
    let whole = frames(stream, &[]);
    assert_eq!(frames(stream, reads), whole, "reads matter to commands");
    assert_eq!(
        extents(stream, reads),
        extents(stream, &[]),
        "reads matter to replies"
    );
    command_agrees(stream);
    reply_agrees(stream);
});

/// Where each read ends; the lengths repeat to the end of the stream.
fn ends(len: usize, reads: &[u8]) -> Vec<usize> {
    let mut ends = vec![len];
    if !reads.is_empty() {
        let mut at = 0;
        let mut lengths = reads.iter().cycle();
        ends.clear();
        while at < len {
            at = len.min(at + 1 + usize::from(lengths.next().copied().unwrap_or(0)));
            ends.push(at);
        }
    }
    ends
}

/// What was framed, with the arguments' bytes, and where it ended or why it was refused.
type Frames = (Vec<(Scan, Vec<Vec<u8>>)>, Result<usize, FrameError>);

fn frames(stream: &[u8], reads: &[u8]) -> Frames {
    let mut scanner = Scanner::new(LIMITS);
    let (mut frames, mut start, mut not_before) = (Vec::new(), 0, 0);
    for have in ends(stream.len(), reads) {
        loop {
            let buf = &stream[start..have];
            let scan = match scanner.next(buf) {
                Ok(scan) => scan,
                Err(error) => return (frames, Err(error.after(start as u64))),
            };
            let len = match scan {
                Scan::Command { len }
                | Scan::Inline { len }
                | Scan::Newline { len }
                | Scan::Empty { len } => len,
                Scan::NeedMore { missing } => {
                    assert!(missing > 0);
                    not_before = have + missing;
                    break;
                }
            };
            assert!(len > 0 && have >= not_before, "waited for too much");
            let args: Vec<_> = scanner.args().iter().map(|arg| arg.of(buf).to_vec()).collect();
            match scan {
                Scan::Command { .. } => {
                    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    let mut written = Vec::new();
                    encode::command(&mut written, &args);
                    assert_eq!(written, buf[..len], "a frame that is not canonical");
                }
                Scan::Inline { .. } => args.iter().for_each(|arg| drop(inline::unquote(arg))),
                _ => assert!(args.is_empty()),
            }
            frames.push((scan, args));
            start += len;
        }
    }
    (frames, Ok(start))
}

/// The lengths of the replies, and why they stopped.
fn extents(stream: &[u8], reads: &[u8]) -> (Vec<usize>, Option<FrameError>) {
    let mut extent = Extent::new();
    let (mut lens, mut start, mut not_before) = (Vec::new(), 0, 0);
    for have in ends(stream.len(), reads) {
        loop {
            match extent.next(&stream[start..have], &LIMITS) {
                Ok(Span::Whole { len }) => {
                    assert!(len > 0 && have >= not_before, "waited for too much");
                    lens.push(len);
                    start += len;
                }
                Ok(Span::NeedMore { missing }) => {
                    assert!(missing > 0);
                    not_before = have + missing;
                    break;
                }
                Err(error) => return (lens, Some(error.after(start as u64))),
            }
        }
    }
    (lens, None)
}

/// The first command as the oracle sees it, which checks neither CR LF behind a bulk nor forms of lengths.
fn command_agrees(stream: &[u8]) {
    if stream.first() != Some(&b'*') {
        return;
    }
    let mut scanner = Scanner::new(LIMITS);
    match scanner.next(stream) {
        Ok(Scan::Command { len }) => {
            let ranges = scanner.args().iter().map(|arg| arg.range());
            let args = ranges
                .map(|range| RangeFrame::BulkString((range.start, range.end)))
                .collect();
            assert_eq!(
                decode_range(stream).ok().flatten(),
                Some((RangeFrame::Array(args), len))
            );
        }
        Ok(Scan::NeedMore { .. }) => assert_eq!(decode_range(stream).ok().flatten(), None),
        Ok(_) => {}
        Err(error) if error.is_limit() => {}
        Err(_) => {
            let Ok(Some((frame @ OwnedFrame::Array(_), len))) = decode(stream) else {
                return;
            };
            let OwnedFrame::Array(args) = &frame else { return };
            let bulks_only = args.iter().all(|arg| matches!(arg, OwnedFrame::BulkString(_)));
            assert!(
                !bulks_only || canonical(&frame) != stream[..len],
                "refused a sound command"
            );
        }
    }
}

/// The first reply as the oracle sees it, as far as it is RESP2.
fn reply_agrees(stream: &[u8]) {
    match Extent::new().next(stream, &LIMITS) {
        Ok(Span::Whole { len }) => {
            let (mut ours, mut at) = (Vec::new(), 0);
            while let Ok(Next::Token { token, len: more }) = token(&stream[at..len], &LIMITS) {
                let is_text = !matches!(token, Token::Error(text) if std::str::from_utf8(text).is_err());
                if !is_text || !b"+-:$*".contains(&stream[at]) {
                    return;
                }
                ours.push(token);
                at += more;
            }
            assert_eq!(at, len);
            let (frame, oracle_len) = decode(stream).ok().flatten().expect("the oracle sees the reply");
            let mut theirs = Vec::new();
            tokens(&frame, &mut theirs);
            assert_eq!((ours, len), (theirs, oracle_len));
        }
        Ok(Span::NeedMore { .. }) => assert_eq!(decode(stream).ok().flatten(), None),
        Err(error) if error.is_limit() => {}
        Err(_) => {
            let Ok(Some((frame, len))) = decode(stream) else {
                return;
            };
            assert_ne!(canonical(&frame), stream[..len], "refused a sound reply");
        }
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

/// The bytes the frame has in its only sound form.
fn canonical(frame: &OwnedFrame) -> Vec<u8> {
    fn write(frame: &OwnedFrame, out: &mut Vec<u8>) {
        match frame {
            OwnedFrame::SimpleString(text) => encode::simple(out, text),
            OwnedFrame::Error(text) => encode::error(out, text.as_bytes()),
            OwnedFrame::Integer(number) => encode::integer(out, *number),
            OwnedFrame::BulkString(bytes) => encode::bulk(out, bytes),
            OwnedFrame::Array(frames) => {
                encode::array_header(out, frames.len());
                frames.iter().for_each(|frame| write(frame, out));
            }
            OwnedFrame::Null => encode::null(out),
        }
    }
    let mut out = Vec::new();
    write(frame, &mut out);
    out
}

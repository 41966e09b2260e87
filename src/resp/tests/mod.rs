//! Tests of the room as a whole; `Feed` plays the part of a connection.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod encode;
mod oracle;
mod reply;
mod scanner;

use super::{FrameError, Limits, Scan, Scanner};

/// What a connection heard, with the bytes copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Command(Vec<Vec<u8>>),
    Inline(Vec<Vec<u8>>),
    Newline(usize),
    Empty(usize),
    /// The stream was refused; the offset counts from its start.
    Refused(FrameError),
    /// The stream ended inside a command, with so many bytes unread.
    Cut(usize),
}

/// A connection over which `stream` arrives in reads that end at `reads`, in rising order, and at its end.
///
/// Holds the scanner to its word: `missing` is never zero and never more than what completes the command.
fn hear(stream: &[u8], reads: impl IntoIterator<Item = usize>, limits: Limits) -> Vec<Heard> {
    let mut scanner = Scanner::new(limits);
    let (mut heard, mut start) = (Vec::new(), 0);
    let mut not_before = 0;
    for have in reads.into_iter().chain([stream.len()]) {
        loop {
            let buf = &stream[start..have];
            let scan = match scanner.next(buf) {
                Ok(scan) => scan,
                Err(error) => {
                    assert_eq!(
                        scanner.next(buf),
                        Err(error),
                        "the same call gives the same error"
                    );
                    heard.push(Heard::Refused(error.after(start as u64)));
                    return heard;
                }
            };
            let args = || scanner.args().iter().map(|arg| arg.of(buf).to_vec()).collect();
            let len = match scan {
                Scan::NeedMore { missing } => {
                    assert!(missing > 0);
                    not_before = have + missing;
                    break;
                }
                Scan::Command { len } => (Heard::Command(args()), len),
                Scan::Inline { len } => (Heard::Inline(args()), len),
                Scan::Newline { len } => (Heard::Newline(len), len),
                Scan::Empty { len } => (Heard::Empty(len), len),
            };
            assert!(len.1 > 0 && !scanner.is_inside());
            assert!(have >= not_before, "waited for too much");
            heard.push(len.0);
            start += len.1;
        }
    }
    if start < stream.len() {
        heard.push(Heard::Cut(stream.len() - start));
    }
    heard
}

//! Commands written on a line, for people and for very old tools; words are parted by blanks, may be quoted.
//!
//! ```text
//! SET  greeting  "good \x6dorning\n"  'it''s'   refused: a quote ends a word
//! └┬┘  └──┬───┘  └────────┬────────┘
//!  each an argument as typed, quotes and escapes included; `unquote` gives its value
//! ```

use std::borrow::Cow;

use super::error::{Fault, FrameError};
use super::scanner::ArgRange;

/// Blanks between words.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// Whether a bare word stops here. Servers let the two rarest blanks stand inside a word.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits a line without its end into the ranges of its words, which replace what `args` held.
pub(super) fn split(line: &[u8], args: &mut Vec<ArgRange>) -> Result<(), FrameError> {
    args.clear();
    if let Some(at) = memchr::memchr(0, line) {
        return Err(FrameError::new(at, Fault::InlineNul));
    }
    let mut at = 0;
    while let Some(skip) = line
        .get(at..)
        .and_then(|rest| rest.iter().position(|&b| !is_blank(b)))
    {
        let start = at + skip;
        at = word_end(line, start)?;
        // Both fit: a line is shorter than `inline_bytes_max`.
        args.push(ArgRange {
            start: start as u32,
            len: (at - start) as u32,
        });
    }
    Ok(())
}

/// The end of the word that starts at `start`.
fn word_end(line: &[u8], start: usize) -> Result<usize, FrameError> {
    let unbalanced = |at| FrameError::new(at, Fault::InlineQuotes);
    let mut at = start;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                let close = closing_quote(line, at).ok_or(unbalanced(at))?;
                return match line.get(close + 1) {
                    Some(&next) if !is_blank(next) => Err(unbalanced(close + 1)),
                    _ => Ok(close + 1),
                };
            }
            byte if ends_word(byte) => break,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// Where the quotation that opens at `open` closes.
fn closing_quote(line: &[u8], open: usize) -> Option<usize> {
    let quote = *line.get(open)?;
    let mut at = open + 1;
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            // In single quotes a backslash escapes nothing but the quote.
            (b'\\', Some(&next)) if quote == b'"' || next == quote => at += 2,
            (byte, _) if byte == quote => return Some(at),
            _ => at += 1,
        }
    }
}

/// The value of an argument as typed: without its quotes, with its escapes resolved. Borrows what has none.
pub fn unquote(typed: &[u8]) -> Cow<'_, [u8]> {
    let Some(open) = memchr::memchr2(b'"', b'\'', typed) else {
        return Cow::Borrowed(typed);
    };
    let (bare, quoted) = typed.split_at(open);
    let mut value = bare.to_vec();
    match quoted {
        [b'"', text @ .., b'"'] => unescape(text, &mut value),
        [b'\'', text @ .., b'\''] => {
            let mut rest = text;
            while let [first, tail @ ..] = rest {
                rest = tail;
                match (first, tail) {
                    (b'\\', [b'\'', tail @ ..]) => {
                        value.push(b'\'');
                        rest = tail;
                    }
                    _ => value.push(*first),
                }
            }
        }
        other => value.extend_from_slice(other),
    }
    Cow::Owned(value)
}

/// Resolves the escapes of a text in double quotes.
fn unescape(mut text: &[u8], value: &mut Vec<u8>) {
    while let [first, tail @ ..] = text {
        text = tail;
        let byte = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text = tail;
                hex(*high) << 4 | hex(*low)
            }
            (b'\\', [escape, tail @ ..]) => {
                text = tail;
                match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                }
            }
            _ => *first,
        };
        value.push(byte);
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

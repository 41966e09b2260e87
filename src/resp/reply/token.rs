//! The flat stream of reply elements.

use crate::resp::error::{Fault, FrameError};
use crate::resp::{Limits, length};

/// One element of a reply. The text of an element is borrowed from the buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// A status: `+OK`, `+QUEUED`.
    Simple(&'a [u8]),
    /// An error; its first word is its code. RESP3's long errors too.
    Error(&'a [u8]),
    /// A whole number.
    Int(i64),
    /// A string.
    Bulk(&'a [u8]),
    /// Nothing: `$-1`, `*-1` (an aborted EXEC), RESP3 `_`.
    Null,
    /// The header of so many elements, which follow.
    Array(u32),
    /// RESP3: truth.
    Bool(bool),
    /// RESP3: a floating-point number.
    Double(f64),
    /// RESP3: a whole number of any size, as text.
    BigNumber(&'a [u8]),
    /// RESP3: a string with the three letters of its format.
    Verbatim {
        /// `txt` or `mkd`.
        format: &'a [u8],
        /// The string.
        text: &'a [u8],
    },
    /// RESP3: the header of so many pairs.
    Map(u32),
    /// RESP3: the header of so many elements without order.
    Set(u32),
    /// RESP3: the header of a message nobody asked for.
    Push(u32),
    /// RESP3: the header of so many pairs about the element that follows them.
    Attribute(u32),
}

impl Token<'_> {
    /// How many elements follow and belong to this one.
    pub fn children(&self) -> u64 {
        match *self {
            Token::Array(count) | Token::Set(count) | Token::Push(count) => u64::from(count),
            Token::Map(pairs) | Token::Attribute(pairs) => u64::from(pairs) * 2,
            _ => 0,
        }
    }
}

/// What stands at the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next<'a> {
    /// An element.
    Token {
        /// The element.
        token: Token<'a>,
        /// Its bytes, more than zero; the header alone for an aggregate.
        len: usize,
    },
    /// The element is not whole. The caller may wait for so many bytes before it asks again.
    NeedMore {
        /// At least so many bytes are missing, more than zero.
        missing: usize,
    },
}

/// Reads the element at the start of `buf`.
///
/// It remembers nothing: an incomplete element is read again from its first byte, which for a string is its
/// header and for a line at most `reply_line_bytes_max`.
///
/// # Errors
/// What is wrong, and at which byte counted from `buf[0]`.
#[inline]
pub fn token<'a>(buf: &'a [u8], limits: &Limits) -> Result<Next<'a>, FrameError> {
    // What a pipelined connection hears all day.
    if buf.starts_with(b"+QUEUED\r\n") {
        return Ok(Next::Token {
            token: Token::Simple(b"QUEUED"),
            len: 9,
        });
    }
    match buf {
        [b':', digit @ b'0'..=b'9', b'\r', b'\n', ..] => Ok(Next::Token {
            token: Token::Int(i64::from(digit - b'0')),
            len: 4,
        }),
        [b'+', b'O', b'K', b'\r', b'\n', ..] => Ok(Next::Token {
            token: Token::Simple(b"OK"),
            len: 5,
        }),
        _ => any(buf, limits),
    }
}

/// An element of any type.
#[inline(never)]
fn any<'a>(buf: &'a [u8], limits: &Limits) -> Result<Next<'a>, FrameError> {
    let Some(&kind) = buf.first() else {
        return Ok(Next::NeedMore { missing: 1 });
    };
    match kind {
        b'$' | b'!' | b'=' => string(buf, kind, limits),
        b'*' | b'~' | b'>' | b'%' | b'|' => aggregate(buf, kind, limits),
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => line(buf, kind, limits),
        found => Err(FrameError::new(0, Fault::UnknownType { found })),
    }
}

/// The number behind the type: `Ok(Ok(..))` the number and where the next line starts, `Ok(Err(..))` the
/// bytes missing.
type Header = Result<(u64, usize), usize>;

fn header(buf: &[u8], max: u32, too_big: impl Fn(u64, u32) -> Fault) -> Result<Header, FrameError> {
    match length::read(buf, 1) {
        Some((number, at)) if number <= u64::from(max) => Ok(Ok((number, at))),
        _ => length::stall(buf, 1, max, too_big).map(Err),
    }
}

/// RESP2's way to say that there is none: `$-1` and `*-1`. `None` if this is not the beginning of that.
fn null(buf: &[u8]) -> Result<Option<Next<'static>>, FrameError> {
    let Some(rest) = buf.get(1..).and_then(|rest| rest.strip_prefix(b"-")) else {
        return Ok(None);
    };
    for (i, (&found, &expected)) in rest.iter().zip(b"1\r\n").enumerate() {
        if found != expected {
            let fault = if i == 0 {
                Fault::LengthNegative
            } else {
                Fault::LineEnd { found }
            };
            return Err(FrameError::new(i + 2, fault));
        }
    }
    Ok(Some(match 5usize.checked_sub(buf.len()) {
        None | Some(0) => Next::Token {
            token: Token::Null,
            len: 5,
        },
        Some(missing) => Next::NeedMore { missing },
    }))
}

/// A string whose length goes before it.
fn string<'a>(buf: &'a [u8], kind: u8, limits: &Limits) -> Result<Next<'a>, FrameError> {
    if kind == b'$'
        && let Some(next) = null(buf)?
    {
        return Ok(next);
    }
    let too_long = |at_least, max| Fault::BulkTooLong { at_least, max };
    let (len, start) = match header(buf, limits.bulk_bytes_max, too_long)? {
        Ok(header) => header,
        Err(missing) => return Ok(Next::NeedMore { missing }),
    };
    let end = start + len as usize;
    let missing = length::bulk_missing(buf, end)?;
    if missing > 0 {
        return Ok(Next::NeedMore { missing });
    }
    let text = buf.get(start..end).unwrap_or_default();
    let token = match (kind, text) {
        (b'$', _) => Token::Bulk(text),
        (b'!', _) => Token::Error(text),
        (_, [_, _, _, b':', body @ ..]) => Token::Verbatim {
            format: text.get(..3).unwrap_or_default(),
            text: body,
        },
        _ => return Err(FrameError::new(start, Fault::MalformedReply { kind })),
    };
    Ok(Next::Token { token, len: end + 2 })
}

/// The header of an aggregate.
fn aggregate<'a>(buf: &'a [u8], kind: u8, limits: &Limits) -> Result<Next<'a>, FrameError> {
    if kind == b'*'
        && let Some(next) = null(buf)?
    {
        return Ok(next);
    }
    let too_many = |at_least, max| Fault::TooManyElements { at_least, max };
    let (count, len) = match header(buf, limits.reply_elements_max, too_many)? {
        Ok(header) => header,
        Err(missing) => return Ok(Next::NeedMore { missing }),
    };
    // Fits: it is within `reply_elements_max`.
    let count = count as u32;
    let token = match kind {
        b'*' => Token::Array(count),
        b'~' => Token::Set(count),
        b'>' => Token::Push(count),
        b'%' => Token::Map(count),
        _ => Token::Attribute(count),
    };
    Ok(Next::Token { token, len })
}

/// A reply that is one line.
fn line<'a>(buf: &'a [u8], kind: u8, limits: &Limits) -> Result<Next<'a>, FrameError> {
    let max = limits.reply_line_bytes_max;
    let lf = memchr::memchr(b'\n', buf);
    let len = lf.map_or(buf.len(), |lf| lf + 1);
    if len > max as usize {
        return Err(FrameError::new(max as usize, Fault::LineTooLong { max }));
    }
    let Some(lf) = lf else {
        let missing = if buf.last() == Some(&b'\r') { 1 } else { 2 };
        return Ok(Next::NeedMore { missing });
    };
    let text = match buf.get(1..lf) {
        Some([text @ .., b'\r']) => text,
        _ => return Err(FrameError::new(lf, Fault::LineEnd { found: b'\n' })),
    };
    let malformed = FrameError::new(1, Fault::MalformedReply { kind });
    let token = match (kind, text) {
        (b'+', _) => Token::Simple(text),
        (b'-', _) => Token::Error(text),
        (b':', _) => Token::Int(number(text).ok_or(malformed)?),
        (b',', _) => Token::Double(double(text).ok_or(malformed)?),
        (b'(', _) if is_whole_number(text) => Token::BigNumber(text),
        (b'_', []) => Token::Null,
        (b'#', b"t") => Token::Bool(true),
        (b'#', b"f") => Token::Bool(false),
        _ => return Err(malformed),
    };
    Ok(Next::Token { token, len })
}

/// An optional sign and at least one digit.
fn is_whole_number(text: &[u8]) -> bool {
    let digits = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn double(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" | b"+inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        b"nan" | b"-nan" => Some(f64::NAN),
        _ if text
            .iter()
            .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) =>
        {
            std::str::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

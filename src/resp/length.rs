//! The number in a header line: an argument count, a bulk's length, the size of a reply.

use super::error::{Fault, FrameError};

/// More digits than any limit has; a longer number needs no further reading.
const DIGITS_MAX: usize = 10;

/// Reads the digits at `at` and the CR LF behind them: the number, and where the next line starts.
///
/// `None` for everything out of the ordinary, incomplete included; [`stall`] then says what it is. Plain
/// branches on purpose: lengths are short and repeat, so the processor predicts them, and every cleverer way
/// measured slower.
#[inline(always)]
pub(super) fn read(buf: &[u8], at: usize) -> Option<(u64, usize)> {
    let line = buf.get(at..)?;
    let mut number = u64::from(line.first()?.wrapping_sub(b'0'));
    if number > 9 {
        return None;
    }
    let mut i = 1;
    loop {
        let byte = *line.get(i)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if number == 0 || i == DIGITS_MAX {
            return None;
        }
        number = number * 10 + u64::from(digit);
        i += 1;
    }
    if line.get(i..i + 2)? == b"\r\n" {
        Some((number, at + i + 2))
    } else {
        None
    }
}

/// Bytes that [`short`] looks at.
const WORD_BYTES: usize = 8;

/// The number of up to four digits in the line at the start of `buf`, whose first byte is `KIND`, and the line's
/// length with its end; `None` if there is no such line, or fewer than [`WORD_BYTES`] are there.
///
/// One load serves all comparisons. What is left of the word after the expected bytes are taken out of it are the
/// digits; any other difference makes the last of them larger than nine.
#[inline(always)]
pub(super) fn short<const KIND: u8>(buf: &[u8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(*buf.first_chunk::<WORD_BYTES>()?);
    let kind = u64::from(KIND);
    let digit = |rest: u64, at: u32| (rest >> (8 * at)) & 0xff;
    // The shift cuts off what lies behind the line; turned, the first digit is lowest, and the kind highest, as zero.
    let one = ((word ^ (kind | 0x0a0d_3000)) << 32).rotate_right(40);
    if one <= 9 {
        return Some((one, 4));
    }
    let two = ((word ^ (kind | 0x0a_0d30_3000)) << 24).rotate_right(32);
    if digit(two, 0).wrapping_sub(1) <= 8 && two >> 8 <= 9 {
        return Some((digit(two, 0) * 10 + (two >> 8), 5));
    }
    let three = ((word ^ (kind | 0x0a0d_3030_3000)) << 16).rotate_right(24);
    if digit(three, 0).wrapping_sub(1) <= 8 && digit(three, 1) <= 9 && three >> 16 <= 9 {
        let number = digit(three, 0) * 100 + digit(three, 1) * 10 + (three >> 16);
        return Some((number, 6));
    }
    let four = ((word ^ (kind | 0x0a_0d30_3030_3000)) << 8).rotate_right(16);
    if digit(four, 0).wrapping_sub(1) <= 8 && digit(four, 1) <= 9 && digit(four, 2) <= 9 && four >> 24 <= 9 {
        let high = digit(four, 0) * 1000 + digit(four, 1) * 100;
        return Some((high + digit(four, 2) * 10 + (four >> 24), 7));
    }
    None
}

/// Why [`read`] found no number up to `max` at `at`: how many bytes are missing at least, or the fault.
///
/// `too_big` makes the fault for a number beyond `max`.
#[cold]
pub(super) fn stall(
    buf: &[u8],
    at: usize,
    max: u32,
    too_big: impl Fn(u64, u32) -> Fault,
) -> Result<usize, FrameError> {
    let digits = buf.get(at..).unwrap_or_default();
    let mut number = 0u64;
    for (i, &byte) in digits.iter().enumerate() {
        let here = at + i;
        match byte {
            b'0'..=b'9' if i == 1 && number == 0 => return Err(FrameError::new(here, Fault::LengthZero)),
            b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
            b'-' if i == 0 => return Err(FrameError::new(here, Fault::LengthNegative)),
            b'\r' if i > 0 => return line_end(buf, here).map(|complete| usize::from(!complete)),
            found => return Err(FrameError::new(here, Fault::LengthDigit { found })),
        }
        if number > u64::from(max) {
            return Err(FrameError::new(here, too_big(number, max)));
        }
    }
    Ok(if digits.is_empty() { 3 } else { 2 })
}

/// Whether the CR at `at` is followed by its LF; false if that byte has not come yet.
pub(super) fn line_end(buf: &[u8], at: usize) -> Result<bool, FrameError> {
    match buf.get(at + 1) {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(&found) => Err(FrameError::new(at + 1, Fault::LineEnd { found })),
    }
}

/// How many of the two bytes CR LF are missing at `end`, behind a bulk string; `end` may lie beyond `buf`.
///
/// The bytes of the string that have not come are counted too; zero if the bulk is whole.
pub(super) fn bulk_missing(buf: &[u8], end: usize) -> Result<usize, FrameError> {
    for (i, expected) in b"\r\n".iter().enumerate() {
        match buf.get(end + i) {
            Some(found) if found != expected => {
                return Err(FrameError::new(end + i, Fault::BulkEnd { found: *found }));
            }
            _ => {}
        }
    }
    Ok((end + 2).saturating_sub(buf.len()))
}

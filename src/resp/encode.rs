//! Writing commands, and the few replies a model or a proxy gives.
//!
//! Everything is appended; nothing is formatted through `core::fmt`. A growing buffer (`Vec<u8>`, `BytesMut`)
//! is best given room for [`encoded_len`] bytes first; a fixed one must have it, or `bytes` panics.

use bytes::BufMut;

/// Digits of the longest 64-bit number, sign included.
const DECIMAL_MAX: usize = 20;

/// A whole number as decimal text, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    text: [u8; DECIMAL_MAX],
    start: u8,
}

impl Decimal {
    /// The text of `number`.
    #[inline]
    pub fn new(number: u64) -> Decimal {
        Decimal::signed(number, false)
    }

    #[inline]
    fn signed(mut magnitude: u64, negative: bool) -> Decimal {
        let mut text = [0; DECIMAL_MAX];
        let mut start = DECIMAL_MAX;
        for (i, place) in text.iter_mut().enumerate().rev() {
            *place = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
            start = i;
            if magnitude == 0 {
                break;
            }
        }
        if negative && let Some(place) = start.checked_sub(1).and_then(|i| text.get_mut(i)) {
            *place = b'-';
            start -= 1;
        }
        Decimal {
            text,
            start: start as u8,
        }
    }

    /// The digits, a minus sign in front of a negative number.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(usize::from(self.start)..).unwrap_or_default()
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Decimal {
        Decimal::signed(number.unsigned_abs(), number < 0)
    }
}

/// How many digits `number` has.
#[inline]
fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Bytes of a header line: a type, a number, CR LF.
#[inline]
fn header_len(number: usize) -> usize {
    digits(number) + 3
}

/// Bytes of a bulk string that holds `len` bytes.
#[inline]
pub fn bulk_len(len: usize) -> usize {
    header_len(len) + len + 2
}

/// Bytes that [`command`] writes for `args`.
#[inline]
pub fn encoded_len(args: &[&[u8]]) -> usize {
    header_len(args.len()) + args.iter().map(|arg| bulk_len(arg.len())).sum::<usize>()
}

/// A header line. Copies of a constant length, which nearly all lengths and counts allow, cost no call.
#[inline]
fn header(out: &mut impl BufMut, kind: u8, number: u64) {
    let digit = |number: u64| b'0' + (number % 10) as u8;
    match number {
        0..=9 => out.put_slice(&[kind, digit(number), b'\r', b'\n']),
        10..=99 => out.put_slice(&[kind, digit(number / 10), digit(number), b'\r', b'\n']),
        _ => {
            out.put_u8(kind);
            out.put_slice(Decimal::new(number).as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}

/// Announces `count` elements or arguments.
#[inline]
pub fn array_header(out: &mut impl BufMut, count: usize) {
    header(out, b'*', count as u64);
}

/// A bulk string: an argument, or a reply.
#[inline]
pub fn bulk(out: &mut impl BufMut, bytes: &[u8]) {
    header(out, b'$', bytes.len() as u64);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// A whole number as an argument.
#[inline]
pub fn bulk_number(out: &mut impl BufMut, number: i64) {
    bulk(out, Decimal::from(number).as_bytes());
}

/// A command of `args`, its name first.
#[inline]
pub fn command(out: &mut impl BufMut, args: &[&[u8]]) {
    array_header(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// A status reply. CR and LF in `text` would end it early, so they become blanks.
pub fn simple(out: &mut impl BufMut, text: &[u8]) {
    line(out, b'+', text);
}

/// An error reply; its first word is its code. CR and LF become blanks.
pub fn error(out: &mut impl BufMut, text: &[u8]) {
    line(out, b'-', text);
}

fn line(out: &mut impl BufMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    for &byte in text {
        out.put_u8(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
    }
    out.put_slice(b"\r\n");
}

/// A number reply.
#[inline]
pub fn integer(out: &mut impl BufMut, number: i64) {
    out.put_u8(b':');
    out.put_slice(Decimal::from(number).as_bytes());
    out.put_slice(b"\r\n");
}

/// The RESP2 reply for "there is none".
#[inline]
pub fn null(out: &mut impl BufMut) {
    out.put_slice(b"$-1\r\n");
}

//! Whole replies, owned: for the control connections, where convenience counts more than nanoseconds.

use bytes::{Buf, BytesMut};
use redis_protocol::resp2::decode::decode_bytes;

use super::extent::{Extent, Span};
use super::token::{Next, Token, token};
use crate::resp::Limits;
use crate::resp::error::{Fault, FrameError};

/// A whole RESP2 reply. Its strings share the memory of the buffer they came in.
pub use redis_protocol::resp2::types::BytesFrame as Value;

/// Takes the reply at the start of `buf` out of it; `None` and an untouched buffer while it is not whole.
///
/// `extent` belongs to the connection: it remembers how much of the reply was looked at, and makes sure that
/// the recursive decoder sees whole replies within the limits only. An error text that is not UTF-8 is shown
/// with replacement characters.
///
/// # Errors
/// What is wrong, and at which byte of the reply. After [`Fault::Resp3`] and [`Fault::ErrorText`] the reply is
/// still in `buf`, and [`token`] can read it.
pub fn value(buf: &mut BytesMut, extent: &mut Extent, limits: &Limits) -> Result<Option<Value>, FrameError> {
    let len = match extent.next(buf, limits)? {
        Span::Whole { len } => len,
        Span::NeedMore { .. } => return Ok(None),
    };
    let whole = buf.get(..len).unwrap_or_default();
    if let Some(text) = whole
        .strip_prefix(b"-")
        .and_then(|line| line.strip_suffix(b"\r\n"))
    {
        let text = String::from_utf8_lossy(text).into_owned();
        buf.advance(len);
        return Ok(Some(Value::Error(text.into())));
    }
    decodable(whole, limits)?;
    let whole = buf.split_to(len).freeze();
    match decode_bytes(&whole) {
        Ok(Some((value, used))) if used == len => Ok(Some(value)),
        _ => Err(FrameError::new(0, Fault::Undecodable)),
    }
}

/// Whether a whole reply holds only what a [`Value`] can.
fn decodable(whole: &[u8], limits: &Limits) -> Result<(), FrameError> {
    let mut at = 0;
    while let Some(rest @ [kind, ..]) = whole.get(at..) {
        let Next::Token { token, len } = token(rest, limits)? else {
            break;
        };
        match (kind, token) {
            (b'-', Token::Error(text)) if std::str::from_utf8(text).is_err() => {
                return Err(FrameError::new(at, Fault::ErrorText));
            }
            (b'+' | b'-' | b':' | b'$' | b'*', _) => {}
            (&kind, _) => return Err(FrameError::new(at, Fault::Resp3 { kind })),
        }
        at += len;
    }
    Ok(())
}

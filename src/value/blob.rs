//! Packed collections: one element after the other in one run of bytes.

use bytes::Bytes;

use super::DecodeError;
use super::cursor::Budget;

/// An element of a packed collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Element {
    Number(i64),
    Text(Bytes),
}

impl Element {
    /// As a client sees it.
    pub fn into_text(self) -> Bytes {
        match self {
            Element::Number(number) => Bytes::from(number.to_string()),
            Element::Text(text) => text,
        }
    }

    pub fn number(self, what: &'static str) -> Result<i64, DecodeError> {
        match self {
            Element::Number(number) => Ok(number),
            Element::Text(_) => Err(DecodeError::Malformed(what)),
        }
    }
}

/// Every element as text.
pub(super) fn texts(
    elements: impl Iterator<Item = Result<Element, DecodeError>>,
    budget: &mut Budget,
) -> Result<Vec<Bytes>, DecodeError> {
    let mut texts = Vec::new();
    for element in elements {
        budget.element()?;
        texts.push(element?.into_text());
    }
    Ok(texts)
}

/// The bytes of `blob` at `at`, without copying.
pub(super) fn piece(blob: &Bytes, at: usize, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
    match at.checked_add(len) {
        Some(end) if end <= blob.len() => Ok(blob.slice(at..end)),
        _ => Err(DecodeError::Truncated(what)),
    }
}

/// `N` bytes of `blob` at `at`.
pub(super) fn fixed<const N: usize>(
    blob: &[u8],
    at: usize,
    what: &'static str,
) -> Result<[u8; N], DecodeError> {
    let found = blob.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(DecodeError::Truncated(what))
}

/// The number that `text` is the one decimal form of, as the servers judge it before they pack it
/// (`lpStringToInt64`).
pub(super) fn canonical_number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 20 || !(text[0] == b'-' || text[0].is_ascii_digit()) {
        return None;
    }
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let padded = digits.first() == Some(&b'0') && text.len() > 1;
    (!padded).then_some(number)
}

/// Sign-extends a little-endian number of fewer than eight bytes.
pub(super) fn signed(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    let unused = 8 * (8 - bytes.len().min(8)) as u32;
    i64::from_le_bytes(wide).checked_shr(unused).unwrap_or(0)
}

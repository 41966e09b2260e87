//! From a payload to its value.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

use super::cursor::{Budget, Cursor};
use super::{DecodeError, Field, VALKEY_VERSION_MIN, Value, blob, listpack, stream, types, ziplist};

/// Version and checksum.
pub(super) const FOOTER_BYTES: usize = 10;

/// The checksum at the end of a payload, over everything before it.
pub(super) fn checksum_of(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Redis, bytes)
}

/// Compares the checksum; gives the format version.
///
/// # Errors
/// No payload, or a damaged one.
pub fn check_footer(payload: &[u8]) -> Result<u16, DecodeError> {
    let (bytes, found) = payload.split_last_chunk::<8>().ok_or(DecodeError::Short)?;
    let (body, version) = bytes.split_last_chunk::<2>().ok_or(DecodeError::Short)?;
    if body.is_empty() {
        return Err(DecodeError::Short);
    }
    let (found, computed) = (u64::from_le_bytes(*found), checksum_of(bytes));
    if found != computed {
        return Err(DecodeError::Checksum { found, computed });
    }
    Ok(u16::from_le_bytes(*version))
}

/// Whether the payload is a module's own, by its first byte.
pub fn is_module(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(&(types::MODULE_OLD | types::MODULE)))
}

/// Reads a payload as DUMP gives it. Nothing is copied that stands there as it is.
///
/// # Errors
/// Anything that no server writes, or a type that this program cannot read.
pub fn decode(payload: &Bytes) -> Result<Value, DecodeError> {
    let version = check_footer(payload)?;
    let body = payload.slice(..payload.len() - FOOTER_BYTES);
    let mut cursor = Cursor::new(body, Budget::of(payload.len()));
    let [code] = cursor.fixed("its type")?;
    let value = value(code, version, &mut cursor)?;
    cursor.finish()?;
    Ok(value)
}

fn value(code: u8, version: u16, cursor: &mut Cursor) -> Result<Value, DecodeError> {
    let is_valkey = version >= VALKEY_VERSION_MIN;
    match code {
        types::STRING => Ok(Value::String(cursor.text()?)),
        types::LIST | types::LIST_ZIPLIST | types::LIST_QUICKLIST | types::LIST_QUICKLIST_2 => {
            Ok(Value::list(list(code, cursor)?)?)
        }
        types::SET | types::SET_INTSET | types::SET_LISTPACK => Ok(Value::set(set(code, cursor)?)?),
        types::SORTED_SET_TEXT
        | types::SORTED_SET
        | types::SORTED_SET_ZIPLIST
        | types::SORTED_SET_LISTPACK => Ok(Value::sorted_set(sorted_set(code, cursor)?)?),
        types::HASH | types::HASH_ZIPMAP | types::HASH_ZIPLIST | types::HASH_LISTPACK => {
            Ok(Value::hash(plain_hash(code, cursor)?)?)
        }
        types::HASH_22 if is_valkey => Ok(Value::hash(valkey_hash(cursor)?)?),
        types::HASH_22 | types::HASH_METADATA if !is_valkey => {
            Ok(Value::hash(redis_hash(code == types::HASH_METADATA, cursor)?)?)
        }
        types::HASH_LISTPACK_EX_EARLY | types::HASH_LISTPACK_EX if !is_valkey => Ok(Value::hash(
            listpack_ex(code == types::HASH_LISTPACK_EX, cursor)?,
        )?),
        types::STREAM_1 => Ok(Value::Stream(stream::decode(1, cursor)?)),
        types::STREAM_2 => Ok(Value::Stream(stream::decode(2, cursor)?)),
        types::STREAM_3 => Ok(Value::Stream(stream::decode(3, cursor)?)),
        types::MODULE_OLD | types::MODULE => Err(DecodeError::Module),
        code => Err(DecodeError::UnknownType { code, version }),
    }
}

/// A count and then so many texts, or as many as a multiple of it says.
fn plain_texts(per_item: u64, cursor: &mut Cursor) -> Result<Vec<Bytes>, DecodeError> {
    let count = cursor.length()?;
    let mut texts = Vec::new();
    for _ in 0..count.saturating_mul(per_item) {
        texts.push(cursor.text()?);
    }
    Ok(texts)
}

fn listpack_texts(cursor: &mut Cursor) -> Result<Vec<Bytes>, DecodeError> {
    let blob = cursor.text()?;
    blob::texts(listpack::Elements::new(blob)?, &mut cursor.budget)
}

fn ziplist_texts(cursor: &mut Cursor) -> Result<Vec<Bytes>, DecodeError> {
    let blob = cursor.text()?;
    blob::texts(ziplist::Elements::new(blob)?, &mut cursor.budget)
}

fn list(code: u8, cursor: &mut Cursor) -> Result<Vec<Bytes>, DecodeError> {
    match code {
        types::LIST => return plain_texts(1, cursor),
        types::LIST_ZIPLIST => return ziplist_texts(cursor),
        _ => {}
    }
    let nodes = cursor.length()?;
    let mut elements = Vec::new();
    for _ in 0..nodes {
        if code == types::LIST_QUICKLIST {
            elements.append(&mut ziplist_texts(cursor)?);
            continue;
        }
        match cursor.length()? {
            1 => elements.push(cursor.text()?),
            2 => elements.append(&mut listpack_texts(cursor)?),
            _ => return Err(DecodeError::Malformed("a quicklist's node is of no known kind")),
        }
    }
    Ok(elements)
}

fn set(code: u8, cursor: &mut Cursor) -> Result<Vec<Bytes>, DecodeError> {
    match code {
        types::SET => plain_texts(1, cursor),
        types::SET_LISTPACK => listpack_texts(cursor),
        _ => {
            let blob = cursor.text()?;
            ziplist::intset(&blob, &mut cursor.budget)
        }
    }
}

fn sorted_set(code: u8, cursor: &mut Cursor) -> Result<Vec<(f64, Bytes)>, DecodeError> {
    let mut members = Vec::new();
    if matches!(code, types::SORTED_SET_TEXT | types::SORTED_SET) {
        for _ in 0..cursor.length()? {
            let member = cursor.text()?;
            let score = if code == types::SORTED_SET {
                f64::from_le_bytes(cursor.fixed("a score")?)
            } else {
                text_score(cursor)?
            };
            members.push((score, member));
        }
        return Ok(members);
    }
    let texts = if code == types::SORTED_SET_ZIPLIST {
        ziplist_texts(cursor)?
    } else {
        listpack_texts(cursor)?
    };
    for (member, score) in pairs(&texts)? {
        members.push((score_of(score)?, member.clone()));
    }
    Ok(members)
}

/// A score behind one byte of length; 253 to 255 are not-a-number and the infinities.
fn text_score(cursor: &mut Cursor) -> Result<f64, DecodeError> {
    let [len] = cursor.fixed("a score")?;
    match len {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        len => {
            let text = cursor.take(len.into(), "a score")?;
            score_of(&text)
        }
    }
}

fn score_of(text: &[u8]) -> Result<f64, DecodeError> {
    let score = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    score.ok_or(DecodeError::Malformed("a score that is no number"))
}

fn pairs(texts: &[Bytes]) -> Result<impl Iterator<Item = (&Bytes, &Bytes)>, DecodeError> {
    if !texts.len().is_multiple_of(2) {
        return Err(DecodeError::Malformed("a member or field without a value"));
    }
    Ok(texts.chunks_exact(2).map(|pair| (&pair[0], &pair[1])))
}

fn plain_hash(code: u8, cursor: &mut Cursor) -> Result<Vec<Field>, DecodeError> {
    let texts = match code {
        types::HASH => plain_texts(2, cursor)?,
        types::HASH_ZIPLIST => ziplist_texts(cursor)?,
        types::HASH_LISTPACK => listpack_texts(cursor)?,
        _ => {
            let blob = cursor.text()?;
            ziplist::zipmap(&blob, &mut cursor.budget)?
        }
    };
    let field = |(name, value): (&Bytes, &Bytes)| Field {
        name: name.clone(),
        value: value.clone(),
        expires_unix_ms: None,
    };
    Ok(pairs(&texts)?.map(field).collect())
}

/// Valkey 9: name, value, and when it expires or -1.
fn valkey_hash(cursor: &mut Cursor) -> Result<Vec<Field>, DecodeError> {
    let mut fields = Vec::new();
    for _ in 0..cursor.length()? {
        let (name, value) = (cursor.text()?, cursor.text()?);
        let expires_unix_ms = match cursor.time()? {
            -1 => None,
            at => Some(u64::try_from(at).map_err(|_| NO_EXPIRY)?),
        };
        fields.push(Field {
            name,
            value,
            expires_unix_ms,
        });
    }
    Ok(fields)
}

/// Redis 7.4 and later: when it expires, name, value. 0 is never; released versions count from the earliest
/// one, which stands first, and add one.
fn redis_hash(is_relative: bool, cursor: &mut Cursor) -> Result<Vec<Field>, DecodeError> {
    let earliest = if is_relative { cursor.time()? } else { 1 };
    let mut fields = Vec::new();
    for _ in 0..cursor.length()? {
        let expires_unix_ms = match cursor.length()? {
            0 => None,
            after => {
                let from = u64::try_from(earliest).map_err(|_| NO_EXPIRY)?;
                Some(from.checked_add(after - 1).ok_or(NO_EXPIRY)?)
            }
        };
        fields.push(Field {
            name: cursor.text()?,
            value: cursor.text()?,
            expires_unix_ms,
        });
    }
    Ok(fields)
}

/// The same in a listpack of name, value, and the moment itself.
fn listpack_ex(has_earliest: bool, cursor: &mut Cursor) -> Result<Vec<Field>, DecodeError> {
    if has_earliest {
        cursor.time()?;
    }
    let blob = cursor.text()?;
    let mut elements = listpack::Elements::new(blob)?;
    let mut fields = Vec::new();
    while let Some(name) = elements.next() {
        cursor.budget.element()?;
        cursor.budget.element()?;
        let mut more = || {
            let missing = DecodeError::Malformed("a field without a value or an expiry time");
            elements.next().ok_or(missing)?
        };
        let (name, value) = (name?.into_text(), more()?.into_text());
        let at = more()?.number("an expiry time that is no number")?;
        fields.push(Field {
            name,
            value,
            expires_unix_ms: match u64::try_from(at).map_err(|_| NO_EXPIRY)? {
                0 => None,
                at => Some(at),
            },
        });
    }
    Ok(fields)
}

const NO_EXPIRY: DecodeError = DecodeError::Malformed("a field with an impossible expiry time");

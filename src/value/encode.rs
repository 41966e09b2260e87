//! From a value to the payload that every server reads.

use bytes::{BufMut, Bytes, BytesMut};

use super::decode::{FOOTER_BYTES, checksum_of};
use super::{EncodeError, Field, Impossible, PAYLOAD_BYTES_MAX, VALKEY_VERSION_MIN, Value, stream, types};

/// What Redis 6.2 reads, and every later server. Valkey refuses the versions of later Redis, but not this.
const PLAIN_VERSION: u16 = 9;
/// Redis 7.0: streams know how many entries there were.
const STREAM_2_VERSION: u16 = 10;
/// Redis 7.2: consumers know when they were last active.
const STREAM_3_VERSION: u16 = 11;
/// Redis 7.4: fields of hashes expire.
const FIELD_EXPIRY_VERSION: u16 = 12;

/// The newest format version (`RDB_VERSION`) that a server of this version reads; of later ones at least this.
pub fn newest_version(is_valkey: bool, (major, minor): (u32, u32)) -> u16 {
    match (is_valkey, major, minor) {
        (true, 9.., _) => VALKEY_VERSION_MIN,
        (true, ..) => STREAM_3_VERSION,
        (false, ..=6, _) => PLAIN_VERSION,
        (false, 7, ..=1) => STREAM_2_VERSION,
        (false, 7, ..=3) => STREAM_3_VERSION,
        (false, ..) => FIELD_EXPIRY_VERSION,
    }
}

/// Writes a value in the plainest types that hold it, for a database that reads up to `rdb_version`. The same
/// value gives the same bytes.
///
/// # Errors
/// The database is too old for it, it would be too long, or it is no value.
pub fn encode(value: &Value, rdb_version: u16) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    let version = match value {
        Value::String(text) => {
            out.put_u8(types::STRING);
            put_text(&mut out, text);
            PLAIN_VERSION
        }
        Value::List(texts) => put_texts(&mut out, types::LIST, texts)?,
        Value::Set(texts) => put_texts(&mut out, types::SET, texts)?,
        Value::SortedSet(members) => {
            begin(&mut out, types::SORTED_SET, members.len())?;
            // The highest first, like the servers: each then goes to the front of what is there.
            for (score, member) in members.iter().rev() {
                put_text(&mut out, member);
                out.put_f64_le(*score);
            }
            PLAIN_VERSION
        }
        Value::Hash(fields) => put_hash(&mut out, fields, rdb_version)?,
        Value::Stream(of) => {
            let (code, format, version) = match rdb_version {
                ..STREAM_2_VERSION => (types::STREAM_1, 1, PLAIN_VERSION),
                STREAM_2_VERSION => (types::STREAM_2, 2, STREAM_2_VERSION),
                _ => (types::STREAM_3, 3, STREAM_3_VERSION),
            };
            out.put_u8(code);
            stream::encode(of, format, &mut out)?;
            version
        }
    };
    out.put_u16_le(version);
    let checksum = checksum_of(&out);
    out.put_u64_le(checksum);
    if out.len() > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::TooLong);
    }
    Ok(out.freeze())
}

fn begin(out: &mut BytesMut, code: u8, count: usize) -> Result<(), EncodeError> {
    if count == 0 {
        return Err(Impossible("nothing").into());
    }
    out.put_u8(code);
    put_length(out, count as u64);
    Ok(())
}

fn put_texts(out: &mut BytesMut, code: u8, texts: &[Bytes]) -> Result<u16, EncodeError> {
    let bytes: usize = texts.iter().map(|text| text.len() + 2).sum();
    out.reserve(bytes + FOOTER_BYTES);
    begin(out, code, texts.len())?;
    texts.iter().for_each(|text| put_text(out, text));
    Ok(PLAIN_VERSION)
}

fn put_hash(out: &mut BytesMut, fields: &[Field], rdb_version: u16) -> Result<u16, EncodeError> {
    let Some(earliest) = fields.iter().filter_map(|field| field.expires_unix_ms).min() else {
        begin(out, types::HASH, fields.len())?;
        for field in fields {
            put_text(out, &field.name);
            put_text(out, &field.value);
        }
        return Ok(PLAIN_VERSION);
    };
    if rdb_version >= VALKEY_VERSION_MIN {
        begin(out, types::HASH_22, fields.len())?;
        for field in fields {
            put_text(out, &field.name);
            put_text(out, &field.value);
            out.put_i64_le(field.expires_unix_ms.map_or(-1, |at| at as i64));
        }
        return Ok(VALKEY_VERSION_MIN);
    }
    if rdb_version < FIELD_EXPIRY_VERSION {
        return Err(EncodeError::TooOld {
            what: "expiry times of a hash's fields",
            version: rdb_version,
        });
    }
    out.put_u8(types::HASH_METADATA);
    out.put_u64_le(earliest);
    put_length(out, fields.len() as u64);
    for field in fields {
        put_length(out, field.expires_unix_ms.map_or(0, |at| at - earliest + 1));
        put_text(out, &field.name);
        put_text(out, &field.value);
    }
    Ok(FIELD_EXPIRY_VERSION)
}

/// A length in its shortest form.
pub(super) fn put_length(out: &mut BytesMut, length: u64) {
    match length {
        0..64 => out.put_u8(length as u8),
        64..0x4000 => out.put_u16(0x4000 | length as u16),
        0x4000..=0xffff_ffff => {
            out.put_u8(0x80);
            out.put_u32(length as u32);
        }
        _ => {
            out.put_u8(0x81);
            out.put_u64(length);
        }
    }
}

/// A plain text.
pub(super) fn put_text(out: &mut BytesMut, text: &[u8]) {
    put_length(out, text.len() as u64);
    out.put_slice(text);
}

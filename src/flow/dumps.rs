//! Values of other sites on their way to the database: read, judged, and written anew.
//!
//! A RESTORE hands its payload to the database's own loader, which was never made for input from strangers. So
//! none reaches the database as it came: [`Dumps::rewrite`] decodes it and puts a payload of our own making in
//! its place. What does not decode is refused and told, and the key is left as it is. The result depends on
//! nothing but the command, the policy and the database's version, so a key in conflict finds the same again.

use bytes::{Bytes, BytesMut};

use crate::command::effect::Effect;
use crate::command::{Class, EffectClass, FieldTimes, Spec, plain};
use crate::resp::encode;
use crate::value::{self, DecodeError, EncodeError};

/// How values of other sites are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dumps {
    /// Whether modules' own types pass as they came; nobody here can read them.
    pub allow_modules: bool,
    /// The newest format that the database reads; until that is known, the oldest.
    pub rdb_version: u16,
    /// What it knows of the expiry times of fields.
    pub field_times: FieldTimes,
}

/// Why a value is not handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DumpError {
    #[error("it stands in no RESTORE that can be read")]
    NoRestore,
    #[error("its payload does not read: {0}")]
    Decode(#[from] DecodeError),
    #[error("{0}, and restore.modules = \"refuse\"")]
    Module(DecodeError),
    #[error("it cannot be written for this database: {0}")]
    Encode(#[from] EncodeError),
}

/// A RESTORE with a payload of our own making.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// In RESP.
    pub command: Bytes,
    /// What it does to its key.
    pub effect: Effect,
}

/// Where the payload stands among a RESTORE's arguments: name, key, time, payload.
const PAYLOAD_AT: usize = 3;

/// Whether the command hands a payload to the database.
pub(super) fn is_restore(spec: &Spec) -> bool {
    spec.class == Class::Write(EffectClass::Restore)
}

impl Dumps {
    /// The same RESTORE with a payload that this program has written.
    pub fn rewrite(self, args: &[Bytes], effect: Option<&Effect>) -> Result<Rewritten, DumpError> {
        let Some(Effect::Restore { payload, ttl_unix_ms }) = effect else {
            return Err(DumpError::NoRestore);
        };
        let payload = self.payload(payload)?;
        let mut words: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
        *words.get_mut(PAYLOAD_AT).ok_or(DumpError::NoRestore)? = &payload;
        let mut command = BytesMut::new();
        encode::command(&mut command, &words);
        Ok(Rewritten {
            command: command.freeze(),
            effect: Effect::Restore {
                payload: payload.clone(),
                ttl_unix_ms: *ttl_unix_ms,
            },
        })
    }

    /// Fields that another site wrote with their expiry time, for a database that has no such command: their values
    /// alone, and whether a time is left out. `None` where the command is executed as it came.
    pub fn plain(self, args: &[Bytes]) -> Option<(Bytes, bool)> {
        if self.field_times >= FieldTimes::Whole {
            return None;
        }
        let (words, is_short) = plain(args)?;
        let mut command = BytesMut::new();
        encode::command(&mut command, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Some((command.freeze(), is_short))
    }

    fn payload(self, payload: &Bytes) -> Result<Bytes, DumpError> {
        if value::is_module(payload) {
            value::check_footer(payload)?;
            if self.allow_modules {
                return Ok(payload.clone());
            }
            return Err(DumpError::Module(DecodeError::Module));
        }
        Ok(value::encode(&value::decode(payload)?, self.rdb_version)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::value::{Field, Value, decode};

    const REFUSING: Dumps = Dumps {
        allow_modules: false,
        rdb_version: 11,
        field_times: FieldTimes::None,
    };

    fn sealed(body: &[u8]) -> Bytes {
        let mut out = body.to_vec();
        out.extend(11_u16.to_le_bytes());
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &out);
        out.extend(checksum.to_le_bytes());
        Bytes::from(out)
    }

    fn restore(payload: &Bytes) -> (Vec<Bytes>, Effect) {
        let words: [&'static [u8]; 3] = [b"RESTORE", b"k", b"99"];
        let mut args: Vec<Bytes> = words.map(Bytes::from_static).into();
        args.push(payload.clone());
        args.extend([&b"ABSTTL"[..], b"FREQ", b"5"].map(Bytes::from_static));
        let effect = Effect::Restore {
            payload: payload.clone(),
            ttl_unix_ms: Some(99),
        };
        (args, effect)
    }

    fn rewritten(dumps: Dumps, payload: &Bytes) -> Result<Rewritten, DumpError> {
        let (args, effect) = restore(payload);
        dumps.rewrite(&args, Some(&effect))
    }

    #[test]
    fn the_payload_alone_changes() {
        // A set of 1 and 2 as an intset becomes one of texts.
        let payload = sealed(b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0");
        let found = rewritten(REFUSING, &payload).unwrap();
        let plain = value::encode(&decode(&payload).unwrap(), 9).unwrap();
        assert!(plain.starts_with(b"\x02\x02\x011\x012"));
        let mut expected = BytesMut::new();
        let words: [&[u8]; 7] = [b"RESTORE", b"k", b"99", &plain, b"ABSTTL", b"FREQ", b"5"];
        encode::command(&mut expected, &words);
        assert_eq!(found.command, expected.freeze());
        let effect = Effect::Restore {
            payload: plain,
            ttl_unix_ms: Some(99),
        };
        assert_eq!(found.effect, effect);
    }

    #[test]
    fn what_does_not_read_is_refused() {
        let bad = sealed(b"\x02\x02\x011\x011");
        let why = rewritten(REFUSING, &bad).unwrap_err().to_string();
        assert_eq!(why, "its payload does not read: a member stands in a set twice");
        assert!(matches!(REFUSING.rewrite(&[], None), Err(DumpError::NoRestore)));
        let (args, _) = restore(&bad);
        assert!(matches!(
            REFUSING.rewrite(&args, Some(&Effect::Del)),
            Err(DumpError::NoRestore)
        ));
    }

    #[test]
    fn what_the_database_cannot_know_is_refused() {
        let field = Field {
            name: Bytes::from_static(b"f"),
            value: Bytes::from_static(b"v"),
            expires_unix_ms: Some(5),
        };
        let payload = value::encode(&Value::hash(vec![field]).unwrap(), 12).unwrap();
        assert!(matches!(rewritten(REFUSING, &payload), Err(DumpError::Encode(_))));
        let newer = Dumps {
            rdb_version: 12,
            ..REFUSING
        };
        assert_eq!(rewritten(newer, &payload).unwrap().command, {
            let (args, _) = restore(&payload);
            let mut command = BytesMut::new();
            encode::command(&mut command, &args.iter().map(AsRef::as_ref).collect::<Vec<_>>());
            command.freeze()
        });
    }

    #[test]
    fn modules_go_by_policy() {
        let module = sealed(&[7, 0x81, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let why = rewritten(REFUSING, &module).unwrap_err().to_string();
        assert_eq!(why, "it is a module's own type, and restore.modules = \"refuse\"");
        let allowing = Dumps {
            allow_modules: true,
            ..REFUSING
        };
        let found = rewritten(allowing, &module).unwrap();
        assert!(matches!(found.effect, Effect::Restore { payload, .. } if payload == module));
        let mut damaged = module.to_vec();
        damaged[3] ^= 1;
        assert!(rewritten(allowing, &Bytes::from(damaged)).is_err());
    }
}

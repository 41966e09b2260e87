//! A value of the snapshot by itself: as text, or as a dump that RESTORE takes.

use crc_fast::{CrcAlgorithm, checksum};

use super::input::{Carry, Input};
use super::text::{Outcome, Text};

/// The string that these bytes of a snapshot hold; `None` if they hold something else or more.
pub fn text(raw: &[u8]) -> Option<Vec<u8>> {
    let mut carry = Carry::default();
    let mut input = Input::new(raw, 0, &mut carry);
    let mut text = Text::default();
    match text.read(&mut input, u64::MAX) {
        Ok(Outcome::Done) if input.is_empty() => Some(text.bytes().to_vec()),
        _ => None,
    }
}

/// What DUMP would give for a value: its type's number, its bytes, the format's version, and the checksum of
/// all three (`createDumpPayload` in Redis' `cluster.c`).
pub fn dump(code: u8, raw: &[u8], version: u16) -> Vec<u8> {
    let mut dump = Vec::with_capacity(1 + raw.len() + 10);
    dump.push(code);
    dump.extend_from_slice(raw);
    dump.extend_from_slice(&version.to_le_bytes());
    let sum = checksum(CrcAlgorithm::Crc64Redis, &dump);
    dump.extend_from_slice(&sum.to_le_bytes());
    dump
}

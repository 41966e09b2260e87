//! Pieces of a string: the bits of a bitmap, and the elements that a HyperLogLog took in.
//!
//! A piece has a name, so that the rules by element hold for it. Names begin with a letter for the kind of piece and
//! sort as offsets do; the empty name is left to the string's own value.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::effect::{Effect, number};

const BIT: u8 = b'b';
const ELEMENT: u8 = b'e';
const BIT_NAME_BYTES: usize = 9;
/// Longer ones are replayed: each bit is an element of its own.
const SETRANGE_BYTES_MAX: usize = 64;

/// A piece, read back from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The bit at this offset.
    Bit(u64),
    /// An element of a HyperLogLog.
    Element(&'a [u8]),
}

impl Piece<'_> {
    /// The piece that a name stands for; `None` for the string's own value.
    pub fn of(name: &[u8]) -> Option<Piece<'_>> {
        match name.split_first()? {
            (&BIT, rest) => Some(Piece::Bit(u64::from_be_bytes(rest.try_into().ok()?))),
            (_, rest) => Some(Piece::Element(rest)),
        }
    }
}

/// Bits by name, in the order of their offsets.
pub fn name_bits(bits: BTreeMap<u64, bool>) -> Vec<(Bytes, bool)> {
    let mut names = BytesMut::with_capacity(bits.len() * BIT_NAME_BYTES);
    for &offset in bits.keys() {
        names.put_u8(BIT);
        names.put_u64(offset);
    }
    let mut names = names.freeze();
    let mut name = |bit| (names.split_to(BIT_NAME_BYTES), bit);
    bits.into_values().map(&mut name).collect()
}

/// SETBIT.
pub(super) fn bit(args: &[Bytes]) -> Result<Effect, &'static str> {
    let offset = args.get(2).and_then(|word| unsigned(word));
    let offset = offset.ok_or("the offset is no integer")?;
    let bit = match args.get(3).map(AsRef::as_ref) {
        Some(b"0") => false,
        Some(b"1") => true,
        _ => return Err("the bit is neither 0 nor 1"),
    };
    Ok(Effect::Bits(name_bits(BTreeMap::from([(offset, bit)]))))
}

/// BITFIELD as far as it only sets: an increment depends on what it finds.
pub(super) fn fields(args: &[Bytes]) -> Effect {
    match set_fields(args) {
        Some(bits) if !bits.is_empty() => Effect::Bits(name_bits(bits)),
        _ => Effect::Opaque,
    }
}

fn set_fields(args: &[Bytes]) -> Option<BTreeMap<u64, bool>> {
    let mut bits = BTreeMap::new();
    let mut rest = args.get(2..)?;
    while let Some(word) = rest.first() {
        if word.eq_ignore_ascii_case(b"GET") {
            rest = rest.get(3..)?;
            continue;
        }
        if !word.eq_ignore_ascii_case(b"SET") {
            return None;
        }
        let width = rest.get(1)?.get(1..).and_then(unsigned)?;
        let width = (1..=64).contains(&width).then_some(width)?;
        let place = rest.get(2)?;
        let first = match place.strip_prefix(b"#") {
            Some(index) => unsigned(index)?.checked_mul(width)?,
            None => unsigned(place)?,
        };
        // What does not fit wraps around (`bitops.c`, BFOVERFLOW_WRAP), so the low bits are what is stored.
        let value = number(rest.get(3)?)?;
        for bit in 0..width {
            bits.insert(first.checked_add(bit)?, value >> (width - 1 - bit) & 1 == 1);
        }
        rest = rest.get(4..)?;
    }
    Some(bits)
}

/// SETRANGE, if it is short.
pub(super) fn range(args: &[Bytes]) -> Effect {
    let first = args
        .get(2)
        .and_then(|word| unsigned(word))
        .and_then(|at| at.checked_mul(8));
    match (first, args.get(3)) {
        (Some(first), Some(part)) if (1..=SETRANGE_BYTES_MAX).contains(&part.len()) => {
            let bits = part
                .iter()
                .flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1 == 1));
            Effect::Bits(name_bits((first..).zip(bits).collect()))
        }
        _ => Effect::Opaque,
    }
}

/// PFADD. Without elements it only makes the key, which no element could stand for.
pub(super) fn union(args: &[Bytes]) -> Effect {
    match args.get(2..) {
        Some(elements) if !elements.is_empty() => {
            let name = |element: &Bytes| [&[ELEMENT], element.as_ref()].concat().into();
            Effect::Union(elements.iter().map(name).collect())
        }
        _ => Effect::Opaque,
    }
}

fn unsigned(word: &[u8]) -> Option<u64> {
    u64::try_from(number(word)?).ok()
}

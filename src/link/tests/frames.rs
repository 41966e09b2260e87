use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{batch, samples, site};
use crate::link::frames::{
    CLOSE_TEXT_BYTES_MAX, CONTROL_BYTES_MAX, Decoder, Frame, FrameError, HEADER_BYTES, encode,
    encode_batch_head,
};

const BATCH_BYTES_MAX: usize = 1 << 20;

fn bytes_of(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| encode(frame, &mut out));
    out
}

fn decoder() -> Decoder {
    Decoder::new(BATCH_BYTES_MAX)
}

/// The bytes of this version of the wire format. A change here is a new version.
#[test]
fn the_bytes_on_the_wire() {
    let found: Vec<String> = samples()
        .iter()
        .map(|frame| {
            let bytes = bytes_of(std::slice::from_ref(frame));
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        })
        .collect();
    let golden = include_str!("golden.txt");
    let golden: Vec<&str> = golden.lines().collect();
    assert_eq!(found, golden, "\n{}", found.join("\n"));
}

#[test]
fn every_split_gives_the_same_frames() {
    let frames = samples();
    let bytes = bytes_of(&frames);
    for split in 0..=bytes.len() {
        let mut input = BytesMut::new();
        let mut found = Vec::new();
        for part in [&bytes[..split], &bytes[split..]] {
            input.extend_from_slice(part);
            while let Some(frame) = decoder().next(&mut input).unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, frames, "split at {split}");
        assert!(input.is_empty());
    }
}

#[test]
fn a_batch_in_parts_is_a_batch() {
    let whole = bytes_of(&[Frame::Batch(batch(1, 3))]);
    let parts = [Bytes::from_static(b"opera"), Bytes::from_static(b"tions")];
    let mut out = BytesMut::new();
    encode_batch_head(site("b"), 1, 3, &parts, &mut out);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    assert_eq!(out, whole);
}

#[test]
fn every_flipped_bit_is_noticed() {
    for frame in samples() {
        let bytes = bytes_of(std::slice::from_ref(&frame));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = BytesMut::from(&bytes[..]);
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that do not come.
            if let Ok(Some(found)) = decoder().next(&mut damaged) {
                panic!("bit {bit} of {frame:?} gave {found:?}");
            }
        }
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    let mut header = [0u8; HEADER_BYTES];
    header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for (kind, max) in [(1, CONTROL_BYTES_MAX), (3, BATCH_BYTES_MAX)] {
        header[4] = kind;
        let refused = decoder().next(&mut BytesMut::from(&header[..])).unwrap_err();
        let claimed = u32::MAX as usize;
        assert_eq!(refused, FrameError::Oversize { kind, claimed, max });
    }
    header[4] = 8;
    let refused = decoder().next(&mut BytesMut::from(&header[..])).unwrap_err();
    assert_eq!(
        (refused, refused.label()),
        (FrameError::UnknownType(8), "unknown_type")
    );
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let text = "ü".repeat(CLOSE_TEXT_BYTES_MAX);
    let mut bytes = bytes_of(&[Frame::Close { text }]);
    let Some(Frame::Close { text }) = decoder().next(&mut bytes).unwrap() else {
        panic!("no close");
    };
    assert_eq!(text, "ü".repeat(CLOSE_TEXT_BYTES_MAX / 2));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decoder().next(&mut input) {}
    }
}

//! Link frames: any bytes, cut anywhere, give the same frames or the same error; what is decoded encodes to the
//! bytes it came from.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use syncer::link::frames::{Decoder, Frame, FrameError, encode};

const BATCH_BYTES_MAX: usize = 1 << 16;

fn all(parts: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>, usize) {
    let decoder = Decoder::new(BATCH_BYTES_MAX);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for part in parts {
        input.extend_from_slice(part);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), 0),
            }
        }
    }
    (frames, None, input.len())
}

/// Right checksums, so that bodies are reached.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((&[kind, len], body)) = rest.split_first_chunk::<2>() {
        let len = usize::from(len).min(body.len());
        let mut frame = vec![0; 10];
        frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
        frame[4] = kind % 10;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&frame[..6]);
        digest.update(&body[..len]);
        frame[6..].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
        out.extend(frame);
        out.extend(&body[..len]);
        rest = &body[len..];
    }
    out
}

fn check(data: &[u8], cut: usize) {
    let whole = all(&[data]);
    let cut = cut.min(data.len());
    assert_eq!(whole, all(&[&data[..cut], &data[cut..]]));
    let mut again = BytesMut::new();
    whole.0.iter().for_each(|frame| encode(frame, &mut again));
    assert_eq!(&data[..again.len()], &again[..]);
}

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, data) = input;
    check(&data, usize::from(cut));
    check(&sealed(&data), usize::from(cut));
});

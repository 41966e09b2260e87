//! The snapshot reader: any bytes, cut anywhere, give the same items and the same end or error, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncer::capture::rdb::{Error, Item, Limits, Read, Reader};

/// Small, so that the limits themselves are met.
const LIMITS: Limits = Limits {
    key_bytes_max: 512,
    aux_bytes_max: 128,
    value_bytes_max: 256,
};

/// The items as text and how it ended; every `asked`-th key's value is asked for.
fn read(pieces: &[&[u8]], asked: usize) -> (Vec<String>, Result<(), Error>) {
    let mut reader = Reader::new(LIMITS);
    let (mut items, mut keys) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let Read { consumed, item } = match reader.next(rest) {
                Ok(read) => read,
                Err(error) => return (items, Err(error)),
            };
            rest = &rest[consumed..];
            let Some(item) = item else { break };
            check(&item);
            items.push(format!("{item:?}"));
            if matches!(item, Item::Key { .. }) {
                keys += 1;
                if asked > 0 && keys % asked == 0 {
                    reader.want_value();
                }
            }
        }
        assert!(rest.is_empty(), "bytes are left although more was asked for");
    }
    assert_eq!(
        reader.offset(),
        pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    );
    (items, reader.finish())
}

fn check(item: &Item<'_>) {
    match item {
        Item::Aux { name, value } => assert!(name.len() <= 128 && value.len() <= 128),
        Item::Key { key, .. } => assert!(key.len() <= 512),
        Item::Value { text: Some(text) } => assert!(text.len() <= 256),
        _ => {}
    }
}

fn splits(bytes: &[u8], cuts: &[u8], asked: usize) {
    let whole = read(&[bytes], asked);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single, asked), whole, "byte by byte");
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for &cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    assert_eq!(read(&pieces, asked), whole, "cut at {cuts:?}");
}

// One byte for what is asked and which head is put before, eight for where it is cut, then the snapshot.
fuzz_target!(|input: &[u8]| {
    let Some((&[choice], rest)) = input.split_first_chunk() else {
        return;
    };
    let Some((cuts, data)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let asked = usize::from(choice >> 4);
    let magic: &[u8] = match choice % 4 {
        0 => b"",
        1 => b"REDIS0009",
        2 => b"REDIS0012",
        _ => b"VALKEY080",
    };
    splits(&[magic, data].concat(), cuts, asked);
});

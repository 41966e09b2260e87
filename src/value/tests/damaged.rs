//! Payloads that are not what they say: refused, or a value; never a panic.

use super::encodings::{stream_body, ziplist};
use super::*;

fn refused(body: &[u8], why: &str) {
    let error = decode(&sealed(body, 11)).unwrap_err().to_string();
    assert!(error.contains(why), "{error} instead of {why}");
}

fn packed(code: u8, blob: &[u8]) -> Vec<u8> {
    let mut out = vec![code, blob.len() as u8];
    out.extend_from_slice(blob);
    out
}

#[test]
fn a_footer_must_be_right() {
    let good = sealed(&[0, 1, b'x'], 9);
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        assert!(matches!(
            decode(&Bytes::from(bad)),
            Err(DecodeError::Checksum { .. })
        ));
        assert!(decode(&good.slice(..at)).is_err());
    }
    assert_eq!(decode(&sealed(&[], 9)), Err(DecodeError::Short));
}

#[test]
fn lengths_that_lie() {
    refused(&[0, 5, b'x'], "it ends in a text");
    refused(&[0, 1, b'x', b'y'], "1 bytes follow");
    refused(&[0, 0x82], "begins no length");
    refused(
        &[1, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 1, b'a'],
        "it ends in a text",
    );
    refused(
        &[4, 0x81, 128, 0, 0, 0, 0, 0, 0, 1, 1, b'a', 1, b'b'],
        "it ends in a text",
    );
    refused(&[0, 0xc3, 2, 0x80, 255, 255, 255, 255, 0, b'x'], "more memory");
    refused(&[0, 0xc3, 2, 5, 0, b'x'], "fewer bytes");
    refused(&[0, 0xc3, 2, 0, 0, b'x'], "more bytes");
    refused(&[99], "type 99");
}

#[test]
fn collections_that_cannot_be() {
    refused(&[1, 0], "a list without elements");
    refused(&[2, 0], "a set without members");
    refused(&[5, 0], "a sorted set without members");
    refused(&[4, 0], "a hash without fields");
    refused(b"\x02\x02\x01a\x01a", "in a set twice");
    refused(b"\x04\x02\x01a\x011\x01a\x012", "in a hash twice");
    refused(b"\x03\x02\x01a\x011\x01a\x012", "in a sorted set twice");
    refused(b"\x03\x01\x01a\xfd", "not a number");
    refused(b"\x03\x01\x01a\x01z", "no number");
    let mut nan = b"\x05\x01\x01a".to_vec();
    nan.extend(f64::NAN.to_le_bytes());
    refused(&nan, "not a number");
    refused(b"\x12\x01\x03\x01a", "no known kind");
    let late = b"\x18\0\0\0\0\0\0\x01\0\x01\x02\x01f\x01v";
    refused(late, "impossible expiry");
    let early = b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01f\x01v";
    refused(early, "impossible expiry");
}

#[test]
fn intsets_that_lie() {
    refused(&packed(11, b"\x03\0\0\0\x01\0\0\0\x01\0\0"), "width");
    refused(&packed(11, b"\x02\0\0\0\xff\xff\xff\x7f\x01\0"), "count");
    refused(&packed(11, b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0"), "do not rise");
    refused(&packed(11, b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0"), "do not rise");
}

/// A ziplist of `hi` and 1 with one byte changed.
fn ziplist_with(at: usize, byte: u8) -> Vec<u8> {
    let mut list = ziplist(&[b"\x02hi", b"\xf2"]);
    list[at] = byte;
    packed(10, &list)
}

#[test]
fn ziplists_that_lie() {
    refused(&ziplist_with(0, 9), "length is not its own");
    refused(&ziplist_with(4, 10), "tail");
    refused(&ziplist_with(8, 1), "count");
    refused(&ziplist_with(10, 4), "back length");
    refused(&ziplist_with(14, 254), "a ziplist");
    refused(&ziplist_with(11, 0x3f), "a ziplist's text");
    refused(&ziplist_with(11, 0xff), "begins so");
    refused(&ziplist_with(16, 0), "a ziplist");
    refused(&packed(13, &ziplist(&[b"\x01f"])), "without a value");
    refused(&packed(9, b"\x01\x01f\x01\xff1\xff"), "a zipmap");
    refused(&packed(9, b"\x02\x01f\x01\x001\xff"), "count");
    refused(&packed(9, b"\x01\x01f\xff"), "behind a name");
}

/// A listpack of `hi` and 300 with one byte changed.
fn listpack_with(at: usize, byte: u8) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.text(b"hi");
    writer.number(300);
    let mut list = writer.finish().to_vec();
    list[at] = byte;
    packed(20, &list)
}

#[test]
fn listpacks_that_lie() {
    refused(&listpack_with(0, 9), "length is not its own");
    refused(&listpack_with(4, 3), "count");
    refused(&listpack_with(6, 0xbf), "a listpack's text");
    refused(&listpack_with(6, 0xf5), "begins so");
    refused(&listpack_with(6, 0xff), "before its length");
    refused(&listpack_with(9, 4), "back length");
    refused(&listpack_with(13, 1), "a listpack");
}

#[test]
fn streams_that_cannot_be() {
    let good = stream_body(21);
    let find = |part: &[u8]| {
        good.windows(part.len())
            .rposition(|window| window == part)
            .unwrap()
    };
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    // Key of the node, and its head: count, deleted.
    refused(&with(10, 9), "a stream's");
    let head = 2 + 17 + 2 + 6;
    refused(&with(head, 2), "counts");
    refused(&with(head + 2, 0), "counts");
    let x = find(b"\x01x");
    refused(&with(x + 18 + 16, 9), "not its group's");
    let y = find(b"\x01y");
    let mut twice = good.clone();
    let one: Vec<u8> = good[y + 19..y + 35].to_vec();
    twice[x + 19..x + 35].copy_from_slice(&one);
    refused(&twice, "two consumers");
    refused(&with(x + 1, b'y'), "consumer that stands in a group twice");
    let mut unowned = good.clone();
    unowned.truncate(x + 18);
    unowned.push(0);
    refused(&unowned, "belongs to no consumer");
}

#[test]
fn a_bomb_is_refused_by_its_claim() {
    let claiming = |bytes: u64| {
        let mut body = vec![0, 0xc3, 3, 0x81];
        body.extend(bytes.to_be_bytes());
        body.extend([1, b'x', b'y']);
        decode(&sealed(&body, 11))
    };
    let too_short = Err(DecodeError::Lzf(LzfError::TooShort));
    assert_eq!(claiming(MEMORY_BYTES_MIN), too_short);
    assert_eq!(
        claiming(MEMORY_BYTES_MIN + 64 * 25 + 1),
        Err(DecodeError::TooLarge)
    );
    assert_eq!(claiming(u64::MAX), Err(DecodeError::TooLarge));
}

/// Damage of every kind at every place: refused, or a value that comes back as itself.
fn survives(body: &[u8], version: u16) {
    let payload = sealed(body, version);
    if let Ok(value) = decode(&payload) {
        let again = encode(&value, 80).unwrap();
        assert_eq!(decode(&again).unwrap(), value);
    }
}

#[test]
fn every_byte_of_a_stream_changed() {
    for code in [15, 19, 21] {
        let good = stream_body(code);
        for at in 0..good.len() {
            survives(&good[..at], 11);
            for byte in [
                0,
                1,
                0x3f,
                0x7f,
                0x80,
                0x81,
                0xc3,
                0xf0,
                0xfe,
                0xff,
                good[at] ^ 1,
                good[at].wrapping_add(1),
            ] {
                let mut bad = good.clone();
                bad[at] = byte;
                survives(&bad, 11);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_damage_ends_in_an_answer(
        value in any_value(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        code in proptest::option::of(0_u8..28),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let payload = encode(&value, 80).unwrap();
        let mut body = payload[..payload.len() - 10].to_vec();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(code) = code {
            body[0] = code;
        }
        if let Some(cut) = cut {
            body.truncate(1 + cut.index(body.len()));
        }
        for version in [9, 80] {
            survives(&body, version);
        }
    }

    #[test]
    fn any_packed_bytes_end_in_an_answer(
        code in prop::sample::select(vec![9_u8, 10, 11, 12, 13, 16, 17, 20, 23]),
        bytes in vec(prop_oneof![any::<u8>(), Just(255), 0_u8..12], 0..60),
    ) {
        survives(&packed(code, &bytes), 12);
        let mut body = bytes;
        body.insert(0, code);
        survives(&body, 12);
    }
}

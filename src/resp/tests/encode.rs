//! Writing: the bytes, their number, and numbers at their edges.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::resp::encode::{self, Decimal};

#[test]
fn a_command_is_written_as_announced() {
    let args: [&[u8]; 4] = [b"SET", b"", &[b'v'; 10], &[b'w'; 1000]];
    let mut out = Vec::new();
    encode::command(&mut out, &args);
    assert!(out.starts_with(b"*4\r\n$3\r\nSET\r\n$0\r\n\r\n$10\r\nvvvvvvvvvv\r\n$1000\r\nwww"));
    assert!(out.ends_with(b"w\r\n"));
    assert_eq!(out.len(), encode::encoded_len(&args));
}

#[test]
fn replies_stay_one_line() {
    let mut out = BytesMut::new();
    encode::simple(&mut out, b"OK");
    encode::error(&mut out, b"ERR a\r\nb");
    encode::integer(&mut out, i64::MIN);
    encode::null(&mut out);
    encode::bulk_number(&mut out, -7);
    assert_eq!(
        out,
        &b"+OK\r\n-ERR a  b\r\n:-9223372036854775808\r\n$-1\r\n$2\r\n-7\r\n"[..]
    );
}

proptest! {
    #[test]
    fn decimals_are_those_of_the_standard_library(shift in 0u32..64, bits: u64) {
        let number = bits >> shift;
        let signed = number as i64;
        let (ours, theirs) = (Decimal::new(number), number.to_string());
        prop_assert_eq!(ours.as_bytes(), theirs.as_bytes());
        let (ours, theirs) = (Decimal::from(signed), signed.to_string());
        prop_assert_eq!(ours.as_bytes(), theirs.as_bytes());
    }

    #[test]
    fn lengths_are_right(lens in prop::collection::vec(0usize..12_000, 0..14)) {
        let text = vec![b'x'; 12_000];
        let args: Vec<&[u8]> = lens.iter().map(|&len| &text[..len]).collect();
        let mut out = Vec::new();
        encode::command(&mut out, &args);
        prop_assert_eq!(out.len(), encode::encoded_len(&args));
    }
}

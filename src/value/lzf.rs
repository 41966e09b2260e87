//! LZF decompression: literal runs and back references of at most 264 bytes.
//!
//! ```text
//! 000lllll                     l + 1 literal bytes follow
//! llloooooo oooooooo            l + 2 bytes from o + 1 back (l 1 to 6)
//! 111ooooo llllllll oooooooo   l + 9 bytes from o + 1 back
//! ```

/// Why compressed bytes are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LzfError {
    /// The input ends inside a run.
    #[error("it ends inside a run")]
    Truncated,
    /// A reference to before the beginning.
    #[error("it refers to bytes before its beginning")]
    Reference,
    /// More bytes than announced.
    #[error("it gives more bytes than announced")]
    TooLong,
    /// Fewer bytes than announced.
    #[error("it gives fewer bytes than announced")]
    TooShort,
}

/// Appends exactly `len` bytes, decompressed from `input`, to `output`. Memory grows with what is really
/// there, never with `len` alone.
///
/// # Errors
/// The input is not LZF of that length; `output` may then hold a part.
pub fn decompress(input: &[u8], len: usize, output: &mut Vec<u8>) -> Result<(), LzfError> {
    let start = output.len();
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = if control < 0x20 {
            literals(usize::from(control) + 1, tail, output)?
        } else {
            reference(control, tail, start, len, output)?
        };
        if output.len() - start > len {
            return Err(LzfError::TooLong);
        }
    }
    if output.len() - start < len {
        return Err(LzfError::TooShort);
    }
    Ok(())
}

fn literals<'a>(count: usize, input: &'a [u8], output: &mut Vec<u8>) -> Result<&'a [u8], LzfError> {
    let (run, rest) = input.split_at_checked(count).ok_or(LzfError::Truncated)?;
    output.extend_from_slice(run);
    Ok(rest)
}

fn reference<'a>(
    control: u8,
    input: &'a [u8],
    start: usize,
    len: usize,
    output: &mut Vec<u8>,
) -> Result<&'a [u8], LzfError> {
    let (count, input) = match control >> 5 {
        7 => {
            let (&more, rest) = input.split_first().ok_or(LzfError::Truncated)?;
            (usize::from(more) + 9, rest)
        }
        short => (usize::from(short) + 2, input),
    };
    let (&low, rest) = input.split_first().ok_or(LzfError::Truncated)?;
    let back = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
    let have = output.len() - start;
    let from = have.checked_sub(back).ok_or(LzfError::Reference)? + start;
    if count > len - have {
        return Err(LzfError::TooLong);
    }
    // A reference may overlap what it writes: the bytes then repeat with a period of `back`.
    let mut left = count;
    while left > 0 {
        let run = left.min(output.len() - from);
        output.extend_from_within(from..from + run);
        left -= run;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, LzfError> {
        let mut output = b"before".to_vec();
        decompress(input, len, &mut output)?;
        Ok(output.split_off(6))
    }

    #[test]
    fn literals_and_references() {
        assert_eq!(run(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        // "ab", then 6 bytes from 2 back; then 12 bytes from 1 back in the long form.
        assert_eq!(run(&[1, b'a', b'b', 4 << 5, 1], 8).unwrap(), b"abababab");
        assert_eq!(run(&[0, b'x', 7 << 5, 3, 0], 13).unwrap(), b"xxxxxxxxxxxxx");
        assert_eq!(run(&[], 0).unwrap(), b"");
    }

    #[test]
    fn bad_input_is_named() {
        assert_eq!(run(&[2, b'a'], 3), Err(LzfError::Truncated));
        assert_eq!(run(&[0, b'a', 7 << 5], 9), Err(LzfError::Truncated));
        assert_eq!(run(&[0, b'a', 1 << 5, 1], 9), Err(LzfError::Reference));
        assert_eq!(run(&[0, b'a', 1 << 5, 0], 3), Err(LzfError::TooLong));
        assert_eq!(run(&[1, b'a', b'b'], 1), Err(LzfError::TooLong));
        assert_eq!(run(&[1, b'a', b'b'], 3), Err(LzfError::TooShort));
    }

    /// The plainest compressor: any match of three bytes or more in the last 8 KiB, else a literal.
    fn compress(text: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let best = (1..=at.min(8192))
                .map(|back| {
                    let len =
                        (0..264).take_while(|&n| at + n < text.len() && text[at + n] == text[at + n - back]);
                    (len.count(), back)
                })
                .max_by_key(|&(len, back)| (len, std::cmp::Reverse(back)));
            match best {
                Some((len @ 3.., back)) => {
                    let (high, low) = (((back - 1) >> 8) as u8, (back - 1) as u8);
                    match len {
                        3..=8 => out.extend([((len - 2) as u8) << 5 | high, low]),
                        _ => out.extend([7 << 5 | high, (len - 9) as u8, low]),
                    }
                    at += len;
                }
                _ => {
                    out.extend([0, text[at]]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(text in proptest::collection::vec(0_u8..3, 0..400)) {
            prop_assert_eq!(run(&compress(&text), text.len()).unwrap(), text);
        }

        #[test]
        fn any_bytes_end_in_an_answer(input in proptest::collection::vec(any::<u8>(), 0..200), len in 0_usize..4096) {
            if let Ok(output) = run(&input, len) {
                prop_assert_eq!(output.len(), len);
            }
        }
    }
}

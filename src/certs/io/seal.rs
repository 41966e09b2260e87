//! Encryption of what leaves this machine for a store that others keep.
//!
//! A sealed value is a fixed word, a random nonce, and the text under AES-256-GCM. The word and the name under which
//! the value is stored are bound to it: a value of another name, site or format does not open. So whoever may write to
//! the store can put back an older value or take one away, and cannot make one.
//!
//! The keys stand in a file, one a line: the first seals, all of them open, so that one can follow another.

use super::super::StoreFault;
use super::PEM_BYTES_MAX;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a sealed value begins with.
const WORD: &[u8] = b"syncer1\0";
const KEY_BYTES: usize = 32;
/// Bytes of the tag at the end.
const TAG_BYTES: usize = 16;
const KEYS_MAX: usize = 8;
/// Longest file of keys.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// Longest text: a certificate and a key.
const TEXT_BYTES_MAX: usize = 2 * PEM_BYTES_MAX + 64;

/// The keys.
pub struct Seals {
    path: PathBuf,
    keys: Vec<RandomizedNonceKey>,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seals(***)")
    }
}

impl Seals {
    /// Reads the file of keys.
    ///
    /// # Errors
    /// It cannot be read, or a line is no key.
    pub fn read(path: &Path) -> Result<Seals, StoreFault> {
        let wrong = |why: String| StoreFault::SealFile {
            path: path.to_owned(),
            why,
        };
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        let file = std::fs::File::open(path).map_err(|why| wrong(why.to_string()))?;
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|why| wrong(why.to_string()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut keys = Vec::new();
        for (at, line) in lines.enumerate() {
            let bytes = key(line).ok_or_else(|| wrong(format!("line {} is no key", at + 1)))?;
            let key = RandomizedNonceKey::new(&AES_256_GCM, &*bytes);
            keys.push(key.map_err(|_| wrong(format!("the key of line {} is refused", at + 1)))?);
        }
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(wrong(format!("{} keys in it", keys.len())));
        }
        Ok(Seals {
            path: path.to_owned(),
            keys,
        })
    }

    /// Seals a text for the name it is stored under.
    ///
    /// # Errors
    /// It is too long.
    pub fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>, StoreFault> {
        let failed = || StoreFault::NotSealed(name.to_owned());
        let key = self.keys.first().filter(|_| text.len() <= TEXT_BYTES_MAX);
        let key = key.ok_or_else(failed)?;
        // Large enough from the start: one that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(text.len() + TAG_BYTES));
        body.extend_from_slice(text);
        let nonce = key.seal_in_place_append_tag(Aad::from(bound(name)), &mut *body);
        let nonce = nonce.map_err(|_| failed())?;
        Ok([WORD, nonce.as_ref(), body.as_slice()].concat())
    }

    /// Opens a value that was found under a name.
    ///
    /// # Errors
    /// None of our keys sealed it for this name.
    pub fn open(&self, name: &str, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreFault> {
        let failed = || StoreFault::Sealed {
            name: name.to_owned(),
            path: self.path.clone(),
        };
        let value = value.strip_prefix(WORD).ok_or_else(failed)?;
        let (nonce, body) = value.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        if body.len() > TEXT_BYTES_MAX + TAG_BYTES {
            return Err(failed());
        }
        for key in &self.keys {
            let mut text = Zeroizing::new(body.to_vec());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = key.open_in_place(nonce, Aad::from(bound(name)), &mut text);
            if let Ok(length) = opened.map(|text| text.len()) {
                text.truncate(length);
                return Ok(text);
            }
        }
        Err(failed())
    }
}

fn bound(name: &str) -> Vec<u8> {
    [WORD, name.as_bytes()].concat()
}

/// 64 hexadecimal digits.
fn key(line: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let (pairs, rest) = line.as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(key)
}

//! The invitation as one line, for the administrator to carry to the new site.

use super::proof::{SECRET_BYTES, Secret};
use crate::causality::SiteId;
use std::fmt;
use zeroize::Zeroizing;

const SCHEME: &str = "syncer-join://";
/// Bytes of a SHA-256.
const FINGERPRINT_BYTES: usize = 32;
/// Longest line; every part is bounded, and their sum is below.
const LINE_BYTES_MAX: usize = 600;
/// Longest address: a DNS name, and a port.
const ADDRESS_BYTES_MAX: usize = 262;
const DATABASE_ID_BYTES_MAX: usize = 64;
/// Parts of a line: address, database id, site, fingerprint, secret, end.
const PARTS: usize = 6;

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Reads it as people compare it, `SHA256:AB:CD:...`; `None` if it is none.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        Fingerprint::from_hex(&text.strip_prefix("SHA256:")?.replace(':', ""))
    }

    fn from_hex(text: &str) -> Option<Fingerprint> {
        let mut bytes = [0; FINGERPRINT_BYTES];
        unhex(text, &mut bytes).then_some(Fingerprint(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SHA256")?;
        self.0.iter().try_for_each(|byte| write!(f, ":{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What one site gives another one, so that it can come in.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Where the site that invites is reached.
    pub address: String,
    /// The shared database's id.
    pub database_id: String,
    /// Who invites.
    pub site: SiteId,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Proves that the invitation is known.
    pub secret: Secret,
    /// Until when it is good, Unix seconds.
    pub until_unix_s: u64,
}

/// Why a line is no invitation. None of it is quoted, for the secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Something else.
    #[error("this is no invitation: `syncer invite` prints one line that begins with {SCHEME}")]
    Form,
    /// A part is missing or too many.
    #[error("the invitation is not whole: it has {found} of {PARTS} parts; copy the whole line")]
    Parts {
        /// How many there are.
        found: usize,
    },
    /// A part is damaged.
    #[error("the invitation is damaged: {what} cannot be read; copy the whole line")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
}

impl Invitation {
    /// The line, with the secret in it.
    pub fn line(&self) -> Zeroizing<String> {
        // Large enough from the start: a text that grows leaves copies of the secret behind.
        let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
        for part in [
            SCHEME,
            &self.address,
            "/",
            &self.database_id,
            "/",
            self.site.as_str(),
            "/",
        ] {
            line.push_str(part);
        }
        hex(&mut line, self.fingerprint.as_bytes());
        line.push('/');
        hex(&mut line, self.secret.expose());
        line.push('/');
        line.push_str(&self.until_unix_s.to_string());
        line
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(line: &str) -> Result<Invitation, LineError> {
        let line = line.trim();
        let rest = line.strip_prefix(SCHEME).ok_or(LineError::Form)?;
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::Form);
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let [address, database_id, site, fingerprint, secret, until] = parts[..] else {
            return Err(LineError::Parts { found: parts.len() });
        };
        let damaged = |what| LineError::Damaged { what };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=DATABASE_ID_BYTES_MAX).contains(&database_id.len()) || !database_id.bytes().all(allowed) {
            return Err(damaged("the database id"));
        }
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        if !unhex(secret, &mut bytes[..]) {
            return Err(damaged("the secret"));
        }
        let is_number = !until.is_empty() && until.bytes().all(|b| b.is_ascii_digit());
        Ok(Invitation {
            address: check_address(address).map_err(|_| damaged("the address"))?.into(),
            database_id: database_id.into(),
            site: site.parse().map_err(|_| damaged("the site"))?,
            fingerprint: Fingerprint::from_hex(fingerprint).ok_or(damaged("the fingerprint"))?,
            secret: Secret::new(bytes),
            until_unix_s: until
                .parse()
                .ok()
                .filter(|_| is_number)
                .ok_or(damaged("the end"))?,
        })
    }
}

/// An address that another site is told: `host:port`.
///
/// # Errors
/// What is wrong with it.
pub fn check_address(address: &str) -> Result<&str, &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("the port is missing")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    if !is_host {
        return Err("the host is neither a name nor an address (IPv6 stands in brackets)");
    }
    if address.len() > ADDRESS_BYTES_MAX {
        return Err("the host's name is too long");
    }
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(address),
        _ => Err("the port is not from 1 to 65535"),
    }
}

pub(super) fn hex(to: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            to.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
}

/// Fills `bytes` from text; whether the text was exactly that.
pub(super) fn unhex(text: &str, bytes: &mut [u8]) -> bool {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    if text.len() != bytes.len() * 2 {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        match pair {
            [high, low] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return false,
            },
            _ => return false,
        }
    }
    true
}

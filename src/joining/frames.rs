//! The words of the conversation: one JSON object on one line each.

use super::line::{hex, unhex};
use super::proof::{NAME_BYTES, PROOF_BYTES};
use crate::causality::SiteId;
use serde::{Deserialize, Serialize};

/// Longest frame, its newline included.
pub const FRAME_BYTES_MAX: usize = 16 << 10;

/// What the new site asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Which invitation it has.
    pub(super) invitation: Hex<NAME_BYTES>,
    /// The database that it wants to share.
    pub database_id: String,
    /// Its name.
    pub site: Name,
    /// Where the other sites reach it.
    pub address: String,
    /// Whether its database is empty.
    pub is_empty: bool,
    /// Whether its administrator says that its database holds what the others began with.
    pub is_agreed: bool,
    /// That it knows the secret.
    pub(super) proof: Hex<PROOF_BYTES>,
}

/// One word of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Frame {
    /// Let me in.
    Ask(Ask),
    /// Come in.
    Welcome {
        /// That the inviter knows the secret, too.
        proof: Hex<PROOF_BYTES>,
        /// The sites that the new one has to join as well.
        others: Vec<Name>,
    },
    /// The new site has kept the inviter as a peer.
    Kept {},
    /// The inviter has kept the new site as a peer.
    Done {},
    /// No, and why.
    Refused {
        /// For people.
        why: String,
    },
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what the other side says is not understood ({0}); are both of the same version?")]
pub struct FrameError(String);

impl Frame {
    /// Its line.
    ///
    /// # Errors
    /// It would be too long.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut line = serde_json::to_vec(self).map_err(|why| FrameError(why.to_string()))?;
        line.push(b'\n');
        match line.len() {
            0..=FRAME_BYTES_MAX => Ok(line),
            _ => Err(FrameError("too long".into())),
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is no frame.
    pub fn decode(line: &[u8]) -> Result<Frame, FrameError> {
        match line.len() {
            0..=FRAME_BYTES_MAX => serde_json::from_slice(line).map_err(|why| FrameError(why.to_string())),
            _ => Err(FrameError("too long".into())),
        }
    }
}

/// A site's name, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(pub SiteId);

impl TryFrom<String> for Name {
    type Error = crate::causality::SiteIdError;
    fn try_from(text: String) -> Result<Name, Self::Error> {
        text.parse().map(Name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.to_string()
    }
}

/// Bytes of a fixed number, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> TryFrom<String> for Hex<N> {
    type Error = String;
    fn try_from(text: String) -> Result<Hex<N>, String> {
        let mut bytes = [0; N];
        match unhex(&text, &mut bytes) {
            true => Ok(Hex(bytes)),
            false => Err(format!("not {N} bytes in hexadecimal digits")),
        }
    }
}

impl<const N: usize> From<Hex<N>> for String {
    fn from(bytes: Hex<N>) -> String {
        let mut text = String::new();
        hex(&mut text, &bytes.0);
        text
    }
}

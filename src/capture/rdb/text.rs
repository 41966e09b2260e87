//! One text of the snapshot: plain, a small integer, or compressed.

use super::Error;
use super::input::Input;
use crate::value::atom::{Head, head};
use crate::value::lzf;

/// Collects one text; the buffers are kept from text to text.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    packed: Vec<u8>,
    /// The text being collected and how much of its body is still to come.
    open: Option<(Head, u64)>,
    claimed_bytes: u64,
    too_long: bool,
}

/// What [`Text::read`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    NeedMore,
    Done,
    /// Longer than allowed, by its head; its body was passed over.
    TooLong,
}

impl Text {
    /// The text collected last; empty if it was too long.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length that the newest text claims, once its head showed that it is longer than
    /// allowed.
    pub fn excess_bytes(&self) -> Option<u64> {
        self.too_long.then_some(self.claimed_bytes)
    }

    /// Reads on; a text that takes more than `bytes_max` of memory is passed over.
    pub fn read(&mut self, input: &mut Input<'_>, bytes_max: u64) -> Result<Outcome, Error> {
        let (head, mut left) = match self.open {
            Some(open) => open,
            None => {
                // Whatever the text before it was.
                self.too_long = false;
                let Some(head) = input.atom(head)? else {
                    return Ok(Outcome::NeedMore);
                };
                self.bytes.clear();
                self.packed.clear();
                self.claimed_bytes = head.memory_bytes();
                self.too_long = self.claimed_bytes > bytes_max;
                (head, head.body_bytes())
            }
        };
        let body = input.take(left);
        left -= body.len() as u64;
        match head {
            _ if self.too_long => {}
            Head::Plain { .. } => self.bytes.extend_from_slice(body),
            Head::Integer(n) => self.bytes.extend_from_slice(n.to_string().as_bytes()),
            Head::Lzf { .. } => self.packed.extend_from_slice(body),
        }
        if left > 0 {
            self.open = Some((head, left));
            return Ok(Outcome::NeedMore);
        }
        self.open = None;
        if self.too_long {
            return Ok(Outcome::TooLong);
        }
        if let Head::Lzf { bytes, .. } = head {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            lzf::decompress(&self.packed, bytes, &mut self.bytes).map_err(|reason| Error::Lzf {
                reason,
                offset: input.offset(),
            })?;
        }
        Ok(Outcome::Done)
    }
}

//! How far a whole reply reaches.

use super::token::{Next, Token, token};
use crate::resp::Limits;
use crate::resp::error::{Fault, FrameError};

/// Where the reply at the start of the buffer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The reply and all it holds is there.
    Whole {
        /// Its bytes, more than zero.
        len: usize,
    },
    /// The reply is not whole. The caller may wait for so many bytes before it asks again.
    NeedMore {
        /// At least so many bytes are missing, more than zero.
        missing: usize,
    },
}

/// Finds the end of a reply with all its elements, resumable at any byte.
///
/// A stack of counts instead of recursion: nesting costs eight bytes a level and stops at
/// `reply_depth_max`. Elements that were read are not read again.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// Bytes read of the current reply.
    at: usize,
    /// How many elements are to come, one entry per open aggregate below the outermost entry, the reply
    /// itself. Empty between replies.
    open: Vec<u64>,
}

impl Extent {
    /// At the start of a reply. Allocates with the first one.
    pub fn new() -> Extent {
        Extent::default()
    }

    /// Forgets a reply half read.
    pub fn reset(&mut self) {
        self.at = 0;
        self.open.clear();
    }

    /// Looks for the end of the reply that starts at `buf[0]`.
    ///
    /// After [`Span::NeedMore`] the same bytes come again with more behind them; after [`Span::Whole`] the
    /// caller first drops the `len` bytes.
    ///
    /// # Errors
    /// What is wrong, and at which byte counted from `buf[0]`. The same call gives the same error.
    pub fn next(&mut self, buf: &[u8], limits: &Limits) -> Result<Span, FrameError> {
        if self.open.is_empty() {
            self.at = 0;
            self.open.push(1);
        }
        while let Some(left) = self.open.last_mut() {
            if *left == 0 {
                self.open.pop();
                continue;
            }
            let rest = buf.get(self.at..).unwrap_or_default();
            let (token, len) = match token(rest, limits).map_err(|e| e.after(self.at as u64))? {
                Next::Token { token, len } => (token, len),
                Next::NeedMore { missing } => return Ok(Span::NeedMore { missing }),
            };
            let children = token.children();
            // The outermost entry stands for the reply itself and is no level.
            let max = limits.reply_depth_max;
            if children > 0 && self.open.len() > usize::from(max) {
                return Err(FrameError::new(self.at, Fault::TooDeep { max }));
            }
            // Attributes go before the element they are about and do not count as one.
            if let (false, Some(left)) = (matches!(token, Token::Attribute(_)), self.open.last_mut()) {
                *left -= 1;
            }
            if children > 0 {
                self.open.push(children);
            }
            self.at += len;
        }
        Ok(Span::Whole { len: self.at })
    }
}

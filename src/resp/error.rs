//! Why a stream was refused.

use std::fmt;

/// A stream that is not the Redis protocol, or goes beyond a limit. The connection cannot be read further.
///
/// The fault is the sender's, unless [`FrameError::is_limit`]; then a larger limit mends it. Trying again on
/// the same bytes gives the same error; a new connection starts from a known offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at byte {offset}")]
pub struct FrameError {
    /// Where the offending byte is: counted from the start of the frame, or of the stream after
    /// [`FrameError::after`].
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

impl FrameError {
    pub(super) fn new(offset: usize, fault: Fault) -> FrameError {
        FrameError {
            offset: offset as u64,
            fault,
        }
    }

    /// The same error seen from the start of a stream in which `base` bytes precede the frame.
    #[must_use]
    pub fn after(self, base: u64) -> FrameError {
        FrameError {
            offset: base.saturating_add(self.offset),
            fault: self.fault,
        }
    }

    /// Whether the stream may be sound and only one of the [`Limits`](super::Limits) is too small for it.
    pub fn is_limit(&self) -> bool {
        use Fault::*;
        matches!(
            self.fault,
            TooManyArgs { .. }
                | BulkTooLong { .. }
                | CommandTooLong { .. }
                | InlineTooLong { .. }
                | LineTooLong { .. }
                | TooManyElements { .. }
                | TooDeep { .. }
        )
    }
}

/// What is wrong with a frame.
///
/// A number named `at_least` was given up on as soon as it passed the limit; more digits may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An argument that is not a bulk string.
    #[error("an argument starts with '$', found {}; is this a command stream?", Byte(*.found))]
    NotBulk {
        /// The byte in the place of `$`.
        found: u8,
    },
    /// A reply of a type that does not exist.
    #[error("no reply type starts with {}; is this a Redis or Valkey server?", Byte(*.found))]
    UnknownType {
        /// The byte in the place of the type.
        found: u8,
    },
    /// A length that holds something else than digits.
    #[error("a length holds digits and ends in CR LF, found {}", Byte(*.found))]
    LengthDigit {
        /// The byte in the place of a digit.
        found: u8,
    },
    /// A length with a zero in front, which no server writes.
    #[error("a length starts with a zero")]
    LengthZero,
    /// A negative length where none is allowed.
    #[error("a length is negative")]
    LengthNegative,
    /// A line that does not end in CR LF.
    #[error("a line ends in CR LF, found {}", Byte(*.found))]
    LineEnd {
        /// The byte in the place of CR or LF.
        found: u8,
    },
    /// A bulk string that is not followed by CR LF: its length was wrong, or bytes were lost.
    #[error("a bulk string of the length announced ends in CR LF, found {}", Byte(*.found))]
    BulkEnd {
        /// The byte in the place of CR or LF.
        found: u8,
    },
    /// More arguments than [`Limits::args_max`](super::Limits::args_max).
    #[error("a command has {at_least} arguments or more, the limit is {max}; raise args_max")]
    TooManyArgs {
        /// The number announced, or its first digits.
        at_least: u64,
        /// The limit.
        max: u32,
    },
    /// A longer string than [`Limits::bulk_bytes_max`](super::Limits::bulk_bytes_max).
    #[error("a bulk string has {at_least} bytes or more, the limit is {max}; raise bulk_bytes_max")]
    BulkTooLong {
        /// The length announced, or its first digits.
        at_least: u64,
        /// The limit in bytes.
        max: u32,
    },
    /// A longer command than [`Limits::command_bytes_max`](super::Limits::command_bytes_max).
    #[error("a command has {at_least} bytes or more, the limit is {max}; raise command_bytes_max")]
    CommandTooLong {
        /// The length up to and with the argument announced.
        at_least: u64,
        /// The limit in bytes.
        max: u32,
    },
    /// A longer line than [`Limits::inline_bytes_max`](super::Limits::inline_bytes_max).
    #[error("an inline command is longer than {max} bytes; is this a command stream?")]
    InlineTooLong {
        /// The limit in bytes.
        max: u32,
    },
    /// An inline command with a quotation that does not end, or ends inside a word.
    #[error("an inline command has unbalanced quotes")]
    InlineQuotes,
    /// An inline command with a zero byte, at which servers silently stop reading.
    #[error("an inline command holds a zero byte")]
    InlineNul,
    /// A longer reply line than [`Limits::reply_line_bytes_max`](super::Limits::reply_line_bytes_max).
    #[error("a reply line is longer than {max} bytes; raise reply_line_bytes_max")]
    LineTooLong {
        /// The limit in bytes.
        max: u32,
    },
    /// More elements than [`Limits::reply_elements_max`](super::Limits::reply_elements_max).
    #[error("a reply announces {at_least} elements or more, the limit is {max}; raise reply_elements_max")]
    TooManyElements {
        /// The number announced, or its first digits.
        at_least: u64,
        /// The limit.
        max: u32,
    },
    /// Deeper nesting than [`Limits::reply_depth_max`](super::Limits::reply_depth_max).
    #[error("a reply nests deeper than {max} levels; raise reply_depth_max")]
    TooDeep {
        /// The limit.
        max: u8,
    },
    /// A number, double, boolean or verbatim string that does not follow its type's form.
    #[error("a reply of type {} is malformed", Byte(*.kind))]
    MalformedReply {
        /// The type's first byte.
        kind: u8,
    },
    /// A RESP3 reply where RESP2 was asked for.
    #[error("a RESP3 reply of type {} on a RESP2 connection; do not send HELLO 3 there", Byte(*.kind))]
    Resp3 {
        /// The type's first byte.
        kind: u8,
    },
    /// An error text inside an array that is not UTF-8, which an owned value cannot hold; tokens can.
    #[error("an error text inside an array is not UTF-8; read this reply as tokens")]
    ErrorText,
    /// The decoder of owned values refused what the token reader accepted.
    #[error("a reply cannot be decoded to a value; read it as tokens, and report it")]
    Undecodable,
}

/// A byte of the stream, shown so that a log line stays one line.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

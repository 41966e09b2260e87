//! What the room accepts from outside.

/// Bounds on what a stream may claim or hold. Beyond any of them the stream is refused, never truncated.
///
/// All are 32 bits wide on purpose: whatever an operator sets, an offset inside a frame fits [`ArgRange`].
///
/// [`ArgRange`]: super::ArgRange
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments of one command, its name included.
    pub args_max: u32,
    /// Longest argument or bulk reply, in bytes. Not below the database's `proto-max-bulk-len`.
    pub bulk_bytes_max: u32,
    /// Longest inline command, in bytes, its line end included.
    pub inline_bytes_max: u32,
    /// Longest command, in bytes, headers included.
    pub command_bytes_max: u32,
    /// Longest one-line reply (status, error, number), in bytes, type and line end included.
    pub reply_line_bytes_max: u32,
    /// Most elements one aggregate reply may announce (pairs, for maps and attributes).
    pub reply_elements_max: u32,
    /// Deepest nesting of aggregate replies.
    pub reply_depth_max: u8,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            args_max: 1 << 20,
            bulk_bytes_max: 512 << 20,
            inline_bytes_max: 64 << 10,
            command_bytes_max: 1 << 30,
            reply_line_bytes_max: 64 << 10,
            reply_elements_max: 1 << 20,
            reply_depth_max: 32,
        }
    }
}

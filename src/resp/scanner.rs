//! Framing of a command stream.

use std::ops::Range;

use super::error::{Fault, FrameError};
use super::{Limits, inline, length};

/// Argument ranges the scanner keeps room for between commands (512 KiB); a larger command gives its share
/// back.
const ARGS_KEPT_MAX: usize = 1 << 16;

/// Argument ranges the scanner has room for at first.
const ARGS_ROOM_MIN: usize = 64;

/// The largest negative count that is passed over, without its sign.
const NEGATIVE_MAX: u64 = u32::MAX as u64;

/// Where an argument stands in the buffer that was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArgRange {
    /// Its first byte, counted from the first byte of the command.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
}

impl ArgRange {
    /// The range, for slicing.
    #[inline]
    pub fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    /// The argument's bytes in `buf`, the buffer that was scanned. Of any other buffer that is too short:
    /// nothing.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        debug_assert!(self.range().end <= buf.len(), "not the buffer that was scanned");
        buf.get(self.range()).unwrap_or_default()
    }
}

/// What stands at the start of the buffer.
///
/// Every `len` is in bytes, more than zero, and counts towards the replication offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// A command; its arguments, at least one, are in [`Scanner::args`].
    Command {
        /// Length of the frame.
        len: usize,
    },
    /// A command written on a line. The ranges in [`Scanner::args`] are as typed, see [`inline::unquote`].
    Inline {
        /// Length of the line with its end.
        len: usize,
    },
    /// An empty line: the other end is alive and has nothing to say.
    Newline {
        /// 1 for LF, 2 for CR LF.
        len: usize,
    },
    /// A command without arguments (`*0`, `*-1`, a line of blanks), which a server passes over in silence.
    Empty {
        /// Length of the frame.
        len: usize,
    },
    /// The command is not whole. The caller may wait for so many bytes before it asks again.
    NeedMore {
        /// At least so many bytes are missing, more than zero.
        missing: usize,
    },
}

/// Frames a command stream, resumable at any byte.
///
/// It holds ranges only, never bytes. Between calls it remembers how far it came inside an incomplete
/// command, so a command of many arguments that arrives in many reads is scanned once.
///
/// ```text
///           '*n'            last argument
///  Start ─────────▶ Args ───────────────────▶ Command
///    │ other byte           LF, words
///    └───────────▶ Line ────────────────────▶ Inline, Newline, Empty
/// ```
#[derive(Debug, Clone)]
pub struct Scanner {
    limits: Limits,
    state: State,
    /// Room for arguments; the first `filled` are those of the current command.
    args: Vec<ArgRange>,
    filled: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the first byte of a command.
    Start,
    /// `left` arguments to come, the next one at `at`.
    Args { at: usize, left: usize },
    /// In a line, whose first `seen` bytes hold no LF.
    Line { seen: usize },
}

impl Scanner {
    /// A scanner at the start of a stream. Allocates with the first command.
    pub fn new(limits: Limits) -> Scanner {
        Scanner {
            limits,
            state: State::Start,
            args: Vec::new(),
            filled: 0,
        }
    }

    /// Forgets an incomplete command; the next buffer starts a new stream.
    pub fn reset(&mut self) {
        self.state = State::Start;
        self.filled = 0;
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The arguments of the command that the last call of [`Scanner::next`] returned; empty after any other
    /// outcome but [`Scan::NeedMore`] and an error, when they are the arguments so far.
    #[inline]
    pub fn args(&self) -> &[ArgRange] {
        self.args.get(..self.filled).unwrap_or_default()
    }

    /// Whether the last call left a command half read.
    pub fn is_inside(&self) -> bool {
        !matches!(self.state, State::Start)
    }

    /// Argument ranges there is room for now.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.args.capacity()
    }

    /// Frames the command at the start of `buf`.
    ///
    /// `buf[0]` is the first byte of the current command: after [`Scan::NeedMore`] the same bytes come again
    /// with more behind them, after anything else the caller first drops the `len` bytes.
    ///
    /// # Errors
    /// What is wrong, and at which byte counted from `buf[0]`. The same call gives the same error.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Scan, FrameError> {
        let (mut at, mut left) = match self.state {
            State::Start => {
                self.filled = 0;
                match count(buf) {
                    Some((count, at)) if count.wrapping_sub(1) < u64::from(self.limits.args_max) => {
                        (at, count as usize)
                    }
                    _ => return self.odd_start(buf),
                }
            }
            State::Args { at, left } => (at, left),
            State::Line { seen } => return self.line(buf, seen),
        };
        loop {
            let room = self.args.get_mut(self.filled..).unwrap_or_default();
            for slot in room.iter_mut().take(left) {
                let Some((arg, next)) = argument(buf, at, &self.limits) else {
                    self.state = State::Args { at, left };
                    return self.stall(buf, at);
                };
                *slot = arg;
                at = next;
                left -= 1;
                self.filled += 1;
            }
            if left == 0 {
                self.state = State::Start;
                return Ok(Scan::Command { len: at });
            }
            self.grow();
        }
    }

    /// Makes room for more arguments: as many again as have really come.
    #[cold]
    fn grow(&mut self) {
        let len = (self.args.len() * 2).max(ARGS_ROOM_MIN);
        self.args.resize(len, ArgRange::default());
    }

    /// Why there is no argument at `at`.
    #[cold]
    fn stall(&self, buf: &[u8], at: usize) -> Result<Scan, FrameError> {
        match buf.get(at) {
            None => {
                return Ok(Scan::NeedMore {
                    missing: (at + 1).saturating_sub(buf.len()),
                });
            }
            Some(b'$') => {}
            Some(&found) => return Err(FrameError::new(at, Fault::NotBulk { found })),
        }
        let max = self.limits.bulk_bytes_max;
        let too_long = |at_least, max| Fault::BulkTooLong { at_least, max };
        let (len, start) = match length::read(buf, at + 1) {
            Some((len, start)) if len <= u64::from(max) => (len, start),
            _ => {
                let missing = length::stall(buf, at + 1, max, too_long)?;
                return Ok(Scan::NeedMore { missing });
            }
        };
        let end = start + len as usize;
        let max = self.limits.command_bytes_max;
        if end + 2 > max as usize {
            return Err(FrameError::new(
                at,
                Fault::CommandTooLong {
                    at_least: end as u64 + 2,
                    max,
                },
            ));
        }
        Ok(Scan::NeedMore {
            missing: length::bulk_missing(buf, end)?,
        })
    }

    /// A count that is incomplete, zero, negative, too big or no number.
    #[cold]
    fn odd_count(&self, buf: &[u8]) -> Result<Scan, FrameError> {
        let too_many = |at_least, max| Fault::TooManyArgs { at_least, max };
        let missing = match (buf.get(1), length::read(buf, 1)) {
            (_, Some((0, len))) => return Ok(Scan::Empty { len }),
            // Servers pass over any negative count.
            (Some(b'-'), _) => match length::read(buf, 2) {
                Some((0, _)) => return Err(FrameError::new(2, Fault::LengthZero)),
                Some((1..=NEGATIVE_MAX, len)) => return Ok(Scan::Empty { len }),
                _ => length::stall(buf, 2, NEGATIVE_MAX as u32, |_, _| Fault::LengthNegative)?,
            },
            _ => length::stall(buf, 1, self.limits.args_max, too_many)?,
        };
        Ok(Scan::NeedMore { missing })
    }

    /// The start of anything but a command with a sound count.
    #[cold]
    fn odd_start(&mut self, buf: &[u8]) -> Result<Scan, FrameError> {
        if self.args.len() > ARGS_KEPT_MAX {
            self.args = Vec::new();
        }
        match buf.first() {
            Some(b'*') => self.odd_count(buf),
            Some(_) => self.line(buf, 0),
            None => Ok(Scan::NeedMore { missing: 1 }),
        }
    }

    /// A line, whose first `seen` bytes hold no LF.
    #[cold]
    fn line(&mut self, buf: &[u8], seen: usize) -> Result<Scan, FrameError> {
        let max = self.limits.inline_bytes_max;
        let found = memchr::memchr(b'\n', buf.get(seen..).unwrap_or_default());
        let len = found.map_or(buf.len(), |i| seen + i + 1);
        if len > max as usize {
            self.state = State::Line { seen };
            return Err(FrameError::new(max as usize, Fault::InlineTooLong { max }));
        }
        if found.is_none() {
            self.state = State::Line { seen: len };
            return Ok(Scan::NeedMore { missing: 1 });
        }
        let line = buf.get(..len - 1).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, &mut self.args)?;
        self.filled = self.args.len();
        self.state = State::Start;
        Ok(match (line.is_empty(), self.args.is_empty()) {
            (true, _) => Scan::Newline { len },
            (_, true) => Scan::Empty { len },
            _ => Scan::Inline { len },
        })
    }
}

/// The number of arguments at the start of `buf` and where the first one starts; `None` if anything is
/// missing or out of the ordinary.
#[inline(always)]
fn count(buf: &[u8]) -> Option<(u64, usize)> {
    match length::short::<b'*'>(buf) {
        Some(short) => Some(short),
        None if buf.first() == Some(&b'*') => length::read(buf, 1),
        None => None,
    }
}

/// The argument at `at` and where the next one starts; `None` if anything is missing or wrong.
#[inline(always)]
fn argument(buf: &[u8], at: usize, limits: &Limits) -> Option<(ArgRange, usize)> {
    let rest = buf.get(at..)?;
    let (len, start) = match length::short::<b'$'>(rest) {
        Some((len, line)) => (len, at + line),
        None if rest.first() == Some(&b'$') => length::read(buf, at + 1)?,
        None => return None,
    };
    let end = start + len as usize;
    let next = end + 2;
    if len > u64::from(limits.bulk_bytes_max)
        || next > limits.command_bytes_max as usize
        || buf.get(end..next)? != b"\r\n"
    {
        return None;
    }
    // Both fit: `next` is within `command_bytes_max`.
    Some((
        ArgRange {
            start: start as u32,
            len: len as u32,
        },
        next,
    ))
}

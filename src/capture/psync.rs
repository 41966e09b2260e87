//! The replica's side of the replication handshake, without a socket.
//!
//! ```text
//!              +OK/-ERR               +CONTINUE [id]
//! Capabilities ────────▶ Position ──────────────────────────────────────────────▶ Streaming
//!     ▲ │                  ▲ │ │                                                      ▲
//!  resume│busy        resume│busy └─+FULLRESYNC id off─▶ Header ─$n──▶ Sized ─────┐    │ first byte that
//!     │ ▼                  │ ▼                            │                      ▼    │ is no newline
//!     Paused               Paused                         └──$EOF:──▶ Marked ─▶ Edge ─┘
//! ```
//!
//! Bytes go in by [`Psync::handle`], events come out, bytes to send are taken with
//! [`Psync::output`] after every call. Bare
//! newlines (the database is alive, a snapshot is being made) are dropped wherever they may stand: before
//! any answer, before the snapshot's header, behind the snapshot. A second of silence means nothing here;
//! the caller has the clock.

use std::ops::ControlFlow;

use memchr::{memchr, memmem};

use super::{Busy, Error, Position, ReplId};
use crate::resp::encode::{Decimal, command};

/// Longest answer line in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How much of an answer is quoted in an error, bytes.
const QUOTE_BYTES_MAX: usize = 200;
/// Length of the mark that ends a diskless snapshot, bytes.
const MARK_BYTES: usize = 40;

/// What the database did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stream goes on behind this position; its bytes follow at once.
    Continue(Position),
    /// A snapshot follows, and behind it the stream from this position on.
    FullResync(Position),
    /// The snapshot begins behind the consumed bytes.
    SnapshotBegin {
        /// Its length in bytes, if the database knows it.
        bytes: Option<u64>,
    },
    /// The consumed bytes are the next piece of the snapshot.
    Snapshot,
    /// The snapshot is over. The database waits for the first acknowledgement before it sends the stream.
    SnapshotEnd,
    /// The stream begins with the byte behind the consumed ones; from here on bytes are not for this machine.
    Stream,
    /// The step is put off: wait, then call [`Psync::resume`].
    Retry {
        /// Why.
        busy: Busy,
        /// How long to wait, milliseconds.
        after_ms: u64,
    },
}

/// What [`Psync::handle`] made of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes that are done with; the caller drops them and shows the rest again.
    pub consumed: usize,
    /// What they meant; `None` asks for more bytes.
    pub event: Option<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Capabilities,
    Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked(Ask),
    Paused(Ask),
    Header,
    Sized { left: u64 },
    Marked { mark: [u8; MARK_BYTES] },
    Edge,
    Streaming,
}

/// The handshake of one connection that has already logged in.
#[derive(Debug, Clone)]
pub struct Psync {
    state: State,
    start: Option<Position>,
    attempt: u32,
    retry_ms_min: u64,
    retry_ms_max: u64,
    output: Vec<u8>,
}

impl Psync {
    /// Begins: `start` is where the stream was left, if it ever was; the retry pauses are milliseconds.
    pub fn new(start: Option<Position>, retry_ms_min: u64, retry_ms_max: u64) -> Psync {
        let mut psync = Psync {
            state: State::Asked(Ask::Capabilities),
            start,
            attempt: 0,
            retry_ms_min,
            retry_ms_max,
            output: Vec::new(),
        };
        psync.ask(Ask::Capabilities);
        psync
    }

    /// Bytes to send now; empty if there are none.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Asks again what was put off with [`Event::Retry`].
    pub fn resume(&mut self) {
        if let State::Paused(ask) = self.state {
            self.ask(ask);
        }
    }

    /// True once every further byte belongs to the stream.
    pub fn is_streaming(&self) -> bool {
        self.state == State::Streaming
    }

    /// True while acknowledgements make sense: the snapshot, if there was one, is through.
    pub fn accepts_acks(&self) -> bool {
        matches!(self.state, State::Edge | State::Streaming)
    }

    /// Reads on. `input` begins with the first byte not consumed before.
    ///
    /// # Errors
    /// The database refused or answered what no database answers; the connection is of no further use.
    pub fn handle(&mut self, input: &[u8]) -> Result<Step, Error> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            match self.advance(rest)? {
                ControlFlow::Continue(bytes) => consumed += bytes,
                ControlFlow::Break(Step {
                    consumed: bytes,
                    event,
                }) => {
                    return Ok(Step {
                        consumed: consumed + bytes,
                        event,
                    });
                }
            }
        }
    }

    /// One move: `Continue(n)` consumed `n` bytes without an event.
    fn advance(&mut self, input: &[u8]) -> Result<ControlFlow<Step, usize>, Error> {
        match self.state {
            State::Sized { left } => Ok(ControlFlow::Break(self.sized(left, input))),
            State::Marked { mark } => Ok(ControlFlow::Break(self.marked(&mark, input))),
            State::Streaming => Ok(ControlFlow::Break(more(0))),
            State::Edge => Ok(self.edge(input)),
            State::Asked(_) | State::Paused(_) | State::Header => self.line(input),
        }
    }

    fn sized(&mut self, left: u64, input: &[u8]) -> Step {
        if left == 0 {
            self.state = State::Edge;
            return step(0, Event::SnapshotEnd);
        }
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        self.state = State::Sized {
            left: left - bytes as u64,
        };
        if bytes == 0 {
            more(0)
        } else {
            step(bytes, Event::Snapshot)
        }
    }

    /// The mark is random and only it tells the end, so its first 39 bytes may already be here: as many
    /// bytes stay with the caller until the next ones show what they are.
    fn marked(&mut self, mark: &[u8; MARK_BYTES], input: &[u8]) -> Step {
        match memmem::find(input, mark) {
            Some(0) => {
                self.state = State::Edge;
                step(MARK_BYTES, Event::SnapshotEnd)
            }
            Some(at) => step(at, Event::Snapshot),
            None if input.len() < MARK_BYTES => more(0),
            None => step(input.len() - (MARK_BYTES - 1), Event::Snapshot),
        }
    }

    fn edge(&mut self, input: &[u8]) -> ControlFlow<Step, usize> {
        match input.first() {
            None => ControlFlow::Break(more(0)),
            Some(b'\n' | b'\r') => ControlFlow::Continue(1),
            Some(_) => {
                self.state = State::Streaming;
                ControlFlow::Break(step(0, Event::Stream))
            }
        }
    }

    fn line(&mut self, input: &[u8]) -> Result<ControlFlow<Step, usize>, Error> {
        let Some(end) = memchr(b'\n', input.get(..LINE_BYTES_MAX).unwrap_or(input)) else {
            if input.len() >= LINE_BYTES_MAX {
                return Err(self.unexpected(input));
            }
            return Ok(ControlFlow::Break(more(0)));
        };
        let line = input.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(ControlFlow::Continue(end + 1));
        }
        let event = match self.state {
            State::Asked(Ask::Capabilities) => self.on_capabilities(line)?,
            State::Asked(Ask::Position) => self.on_position(line)?,
            State::Header => self.on_header(line)?,
            _ => return Err(self.unexpected(line)),
        };
        Ok(match event {
            Some(event) => ControlFlow::Break(step(end + 1, event)),
            None => ControlFlow::Continue(end + 1),
        })
    }

    fn on_capabilities(&mut self, line: &[u8]) -> Result<Option<Event>, Error> {
        match line.first() {
            Some(b'+') => {}
            Some(b'-') => match judge(line, "REPLCONF")? {
                // A server that knows no capabilities gets along without ours.
                Busy::Other(_) => {}
                busy => return Ok(Some(self.pause(busy))),
            },
            _ => return Err(self.unexpected(line)),
        }
        self.ask(Ask::Position);
        Ok(None)
    }

    fn on_position(&mut self, line: &[u8]) -> Result<Option<Event>, Error> {
        if line.first() == Some(&b'-') {
            return judge(line, "PSYNC").map(|busy| Some(self.pause(busy)));
        }
        let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next(), self.start) {
            (Some(b"+CONTINUE"), id, None, Some(start)) => {
                let replid = match id {
                    Some(id) => ReplId::new(id).ok_or_else(|| self.unexpected(line))?,
                    None => start.replid,
                };
                self.state = State::Streaming;
                Ok(Some(Event::Continue(Position { replid, ..start })))
            }
            (Some(b"+FULLRESYNC"), Some(id), Some(offset), _) => {
                let position = ReplId::new(id).zip(decimal(offset));
                let (replid, offset) = position.ok_or_else(|| self.unexpected(line))?;
                self.state = State::Header;
                Ok(Some(Event::FullResync(Position { replid, offset })))
            }
            _ => Err(self.unexpected(line)),
        }
    }

    fn on_header(&mut self, line: &[u8]) -> Result<Option<Event>, Error> {
        if line.first() == Some(&b'-') {
            return Err(Error::SnapshotFailed { answer: quote(line) });
        }
        let Some(size) = line.strip_prefix(b"$") else {
            return Err(self.unexpected(line));
        };
        let state = match size.strip_prefix(b"EOF:") {
            Some(mark) => mark.try_into().ok().map(|mark| State::Marked { mark }),
            None => decimal(size).map(|left| State::Sized { left }),
        };
        self.state = state.ok_or_else(|| self.unexpected(line))?;
        let bytes = match self.state {
            State::Sized { left } => Some(left),
            _ => None,
        };
        Ok(Some(Event::SnapshotBegin { bytes }))
    }

    fn pause(&mut self, busy: Busy) -> Event {
        let after_ms = backoff_ms(self.attempt, self.retry_ms_min, self.retry_ms_max);
        self.attempt = self.attempt.saturating_add(1);
        if let State::Asked(ask) = self.state {
            self.state = State::Paused(ask);
        }
        Event::Retry { busy, after_ms }
    }

    fn ask(&mut self, ask: Ask) {
        match (ask, self.start) {
            (Ask::Capabilities, _) => {
                command(
                    &mut self.output,
                    &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"],
                );
            }
            (Ask::Position, Some(Position { replid, offset })) => {
                let next = Decimal::new(offset.saturating_add(1));
                command(&mut self.output, &[b"PSYNC", replid.as_bytes(), next.as_bytes()]);
            }
            (Ask::Position, None) => command(&mut self.output, &[b"PSYNC", b"?", b"-1"]),
        }
        self.state = State::Asked(ask);
    }

    fn unexpected(&self, answer: &[u8]) -> Error {
        let step = match self.state {
            State::Asked(Ask::Capabilities) | State::Paused(Ask::Capabilities) => "REPLCONF",
            State::Asked(Ask::Position) | State::Paused(Ask::Position) => "PSYNC",
            State::Header | State::Sized { .. } | State::Marked { .. } => "the snapshot's header",
            State::Edge | State::Streaming => "the stream",
        };
        Error::Unexpected {
            step,
            answer: quote(answer),
        }
    }
}

/// Pause before try number `attempt` (from 0): `min_ms` doubling up to `max_ms`, never 0.
pub fn backoff_ms(attempt: u32, min_ms: u64, max_ms: u64) -> u64 {
    let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
    min_ms.max(1).saturating_mul(factor).min(max_ms.max(1))
}

/// Tells a passing error (`Ok`) from one that somebody must mend.
fn judge(line: &[u8], step: &'static str) -> Result<Busy, Error> {
    let answer = quote(line);
    let code = line.split(|&b| b == b' ').next().unwrap_or_default();
    match code {
        b"-LOADING" => Ok(Busy::Loading),
        b"-NOMASTERLINK" | b"-MASTERDOWN" => Ok(Busy::NoMaster),
        b"-BUSY" => Ok(Busy::Script),
        b"-NOAUTH" => Err(Error::NoAuth { step, answer }),
        b"-NOPERM" => Err(Error::NoPermission { step, answer }),
        b"-DENIED" => Err(Error::Denied { answer }),
        _ if line.starts_with(b"-ERR unknown command") => Err(Error::UnknownCommand { step, answer }),
        _ => Ok(Busy::Other(answer)),
    }
}

fn quote(line: &[u8]) -> String {
    String::from_utf8_lossy(line.get(..QUOTE_BYTES_MAX).unwrap_or(line)).into_owned()
}

/// A plain decimal number that fits a signed 64-bit offset.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (n <= i64::MAX as u64).then_some(n)
}

fn step(consumed: usize, event: Event) -> Step {
    Step {
        consumed,
        event: Some(event),
    }
}

fn more(consumed: usize) -> Step {
    Step {
        consumed,
        event: None,
    }
}

#[cfg(test)]
mod tests;

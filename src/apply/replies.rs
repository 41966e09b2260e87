//! The replies of pipelined transactions.
//!
//! ```text
//!  Before ──(one per command before MULTI)──+OK──▶ Queued
//!  Queued ──(one per command)──▶ Exec ──array──▶ Elements ──▶ done: executed
//!     │ error: remembered            └──EXECABORT, nothing──▶ done: refused
//! ```

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::fault::OUT_OF_ORDER;
use crate::resp::reply::{Next, Token, token};
use crate::resp::{FrameError, Limits};

/// A transaction that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number.
    pub txn: u64,
    /// Commands before MULTI.
    pub before: usize,
    /// Commands between MULTI and EXEC.
    pub queued: usize,
    /// Whether values are read in it, so that elements are kept.
    pub reads: bool,
}

/// An element of EXEC's reply, kept where values are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// A string or status.
    Bytes(Bytes),
    /// An error.
    Error(Bytes),
    /// Elements of one level.
    Array(Vec<Value>),
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// Its place between MULTI and EXEC.
    pub at: usize,
    /// What the database said.
    pub text: Bytes,
}

/// What the database did with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Executed; some commands may have failed for themselves.
    Executed {
        /// The transaction.
        txn: u64,
        /// Failed commands.
        errors: Vec<CommandError>,
        /// All elements, if values are read in it.
        values: Vec<Value>,
    },
    /// Nothing of it was executed.
    Refused {
        /// The transaction.
        txn: u64,
        /// The first command that was refused, or EXEC itself (then `at` is the number of commands).
        error: CommandError,
    },
}

/// The connection cannot be understood any more; nothing more can be known from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No RESP.
    #[error("the database's replies are damaged: {0}")]
    Frame(#[from] FrameError),
    /// A reply that does not belong where it stands.
    #[error("the database answered {found:?} to {to}")]
    Unexpected {
        /// What was asked.
        to: &'static str,
        /// What came.
        found: String,
    },
}

/// Reads replies in order.
#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    pending: VecDeque<Pending>,
    state: State,
    refused: Option<CommandError>,
    errors: Vec<CommandError>,
    values: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many of what stands before MULTI are answered.
    Before {
        at: usize,
    },
    Queued {
        at: usize,
    },
    Exec,
    Elements {
        at: usize,
        nested: u64,
        left: usize,
    },
}

impl Default for Replies {
    fn default() -> Replies {
        Replies {
            limits: Limits::default(),
            pending: VecDeque::new(),
            state: State::Before { at: 0 },
            refused: None,
            errors: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Replies {
    /// A transaction was sent.
    pub fn sent(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// Transactions that have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Reads up to the next whole answer.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Answer>, ReplyError> {
        let mut used = 0;
        let found = self.read(buf, &mut used);
        buf.advance(used);
        Ok(if found? { self.finish() } else { None })
    }

    /// Takes elements up to the end of an answer, which is true, or of what is whole.
    fn read(&mut self, buf: &[u8], used: &mut usize) -> Result<bool, ReplyError> {
        loop {
            let rest = buf.get(*used..).unwrap_or_default();
            let passed = self.pass_over(rest);
            let rest = rest.get(passed..).unwrap_or_default();
            *used += passed;
            let found = match token(rest, &self.limits)? {
                Next::NeedMore { .. } => return Ok(false),
                Next::Token { token, len } => {
                    let found = self.step(token)?;
                    *used += len;
                    found
                }
            };
            if found {
                return Ok(true);
            }
        }
    }

    /// Takes what nearly every element is, as far as another of the same answer follows: a queued command, a
    /// command without an error. Gives the bytes.
    fn pass_over(&mut self, buf: &[u8]) -> usize {
        let Some(pending) = self.pending.front() else {
            return 0;
        };
        let mut rest = buf;
        match &mut self.state {
            State::Queued { at } => {
                while *at + 1 < pending.queued
                    && let Some(behind) = rest.strip_prefix(b"+QUEUED\r\n")
                {
                    rest = behind;
                    *at += 1;
                }
            }
            State::Elements { at, nested: 0, left } if !pending.reads => {
                while *left > 1
                    && let [b'+', b'O', b'K', b'\r', b'\n', behind @ ..]
                    | [b':', b'0'..=b'9', b'\r', b'\n', behind @ ..] = rest
                {
                    rest = behind;
                    *at += 1;
                    *left -= 1;
                }
            }
            State::Before { .. } | State::Exec | State::Elements { .. } => {}
        }
        buf.len() - rest.len()
    }

    /// Takes one element; true when the transaction is answered.
    fn step(&mut self, token: Token<'_>) -> Result<bool, ReplyError> {
        let Some(pending) = self.pending.front() else {
            return unexpected("nothing", token);
        };
        let queued = pending.queued;
        match (self.state, token) {
            (State::Before { at }, token) if at < pending.before => return self.step_before(at, token),
            (State::Before { .. }, Token::Simple(b"OK")) => {
                self.state = if queued == 0 {
                    State::Exec
                } else {
                    State::Queued { at: 0 }
                };
            }
            (State::Before { .. }, token) => return unexpected("MULTI", token),
            (State::Queued { at }, token) => {
                match token {
                    Token::Simple(b"QUEUED") => {}
                    Token::Error(text) => self.refuse(at, text),
                    token => return unexpected("a queued command", token),
                }
                self.state = if at + 1 == queued {
                    State::Exec
                } else {
                    State::Queued { at: at + 1 }
                };
            }
            (State::Exec, Token::Array(count)) if count as usize == queued => {
                self.state = State::Elements {
                    at: 0,
                    nested: 0,
                    left: queued,
                };
                return Ok(queued == 0);
            }
            (State::Exec, Token::Error(text)) => {
                self.refuse(queued, text);
                return Ok(true);
            }
            (State::Exec, Token::Null) => {
                self.refuse(queued, OUT_OF_ORDER);
                return Ok(true);
            }
            (State::Exec, token) => return unexpected("EXEC", token),
            (State::Elements { at, nested, left }, token) => return Ok(self.element(at, nested, left, token)),
        }
        Ok(false)
    }

    /// What is before MULTI only decides whether EXEC executes; an error of it says nothing more.
    fn step_before(&mut self, at: usize, token: Token<'_>) -> Result<bool, ReplyError> {
        match token {
            Token::Simple(b"OK") | Token::Int(_) | Token::Error(_) => {
                self.state = State::Before { at: at + 1 };
                Ok(false)
            }
            token => unexpected("a watch", token),
        }
    }

    fn refuse(&mut self, at: usize, text: &[u8]) {
        if self.refused.is_none() {
            self.refused = Some(CommandError {
                at,
                text: Bytes::copy_from_slice(text),
            });
        }
    }

    #[inline]
    fn element(&mut self, at: usize, nested: u64, left: usize, token: Token<'_>) -> bool {
        let reads = self.pending.front().is_some_and(|pending| pending.reads);
        if let Token::Error(text) = token
            && nested == 0
        {
            self.errors.push(CommandError {
                at,
                text: Bytes::copy_from_slice(text),
            });
        }
        if reads {
            self.keep(nested, token);
        }
        let nested = nested.saturating_sub(1) + token.children();
        let left = left - usize::from(nested == 0);
        self.state = State::Elements {
            at: at + usize::from(nested == 0),
            nested,
            left,
        };
        left == 0
    }

    fn keep(&mut self, nested: u64, token: Token<'_>) {
        let value = match token {
            Token::Int(number) => Value::Int(number),
            Token::Bulk(text) | Token::Simple(text) => Value::Bytes(Bytes::copy_from_slice(text)),
            Token::Error(text) => Value::Error(Bytes::copy_from_slice(text)),
            token if token.children() > 0 => Value::Array(Vec::new()),
            _ => Value::Null,
        };
        match self.values.last_mut() {
            Some(Value::Array(inner)) if nested > 0 => inner.push(value),
            _ => self.values.push(value),
        }
    }

    fn finish(&mut self) -> Option<Answer> {
        let pending = self.pending.pop_front()?;
        self.state = State::Before { at: 0 };
        let errors = std::mem::take(&mut self.errors);
        let values = std::mem::take(&mut self.values);
        Some(match self.refused.take() {
            Some(error) => Answer::Refused {
                txn: pending.txn,
                error,
            },
            None => Answer::Executed {
                txn: pending.txn,
                errors,
                values,
            },
        })
    }
}

fn unexpected<T>(to: &'static str, token: Token<'_>) -> Result<T, ReplyError> {
    let found = match token {
        Token::Error(text) | Token::Simple(text) => String::from_utf8_lossy(text).into_owned(),
        token => format!("{token:?}").chars().take(80).collect(),
    };
    Err(ReplyError::Unexpected { to, found })
}

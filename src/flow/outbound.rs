//! Outbound: the stream of the own database becomes rows of a batch and events.
//!
//! ```text
//!             MULTI            first command
//!  Between ───────────▶ Opened ─────────────▶ Local ──EXEC──▶ Between
//!     │ marker                    │ marker
//!     │ (alone: an echo           └─────────▶ Echo ──EXEC──▶ Between
//!     ▼  without effects)
//!  Between
//! ```

use bytes::BytesMut;

use super::echoes::{Echo, Whole, compare_whole};
use super::journal::{Journal, JournalError};
use super::site::Site;
use crate::causality::{Hlc, SiteIx, Vector};
use crate::command::{Access, Args, Class, Control, EffectClass, KeyRule, Spec, absolute, keys, spec};
use crate::echo::is_ours;
use crate::op::{FLAG_CONTINUES, FLAG_KEYS_INSIDE, Place, REPLICATION_ID_BYTES, Row, Source};
use crate::resp::{ArgRange, FrameError, Limits, Scan, Scanner, encode};

/// Why the stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is not a command stream.
    #[error("the replication stream is damaged behind offset {offset}: {error}; the link is made anew")]
    Frame {
        /// Offset of the last whole command.
        offset: u64,
        /// What was found.
        error: FrameError,
    },
    /// A server that replicates scripts instead of effects.
    #[error(
        "the database replicates {0} as a script, not its effects; set lua-replicate-commands yes (Redis 6.2)"
    )]
    Script(String),
    /// EXEC without MULTI and the like.
    #[error("the replication stream has {0} where it cannot stand; the link is made anew")]
    Disorder(&'static str),
    /// The log refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything whole has been read.
    Drained,
    /// A transaction's replies are needed first; read again when they are in.
    Replies,
    /// Two databases have changed places: a snapshot takes the place of the stream (`swap.rs`).
    Swapped,
}

/// Where reading stands.
#[derive(Debug)]
pub(super) struct Reading {
    pub scanner: Scanner,
    pub state: State,
    /// Offset of the last byte read.
    pub offset: u64,
    /// Selected database.
    pub db: u32,
    /// Newest GETACK, by the offset of its last byte.
    pub getack: Option<u64>,
    replication_id: [u8; REPLICATION_ID_BYTES],
    /// Echoes since the last row: they are in the past of the next.
    pub marks: Vec<(SiteIx, u64)>,
    /// Timestamps of the batch's first row and of its last.
    pub first_time: Option<Hlc>,
    pub last_time: Hlc,
    /// What had been observed before the batch's first row.
    observed_before: Option<Vector>,
    pub rows_seen: usize,
}

#[derive(Debug)]
pub(super) enum State {
    Between,
    Opened { at: Boundary },
    Local { at: Boundary },
    Echo(Echo),
}

/// The begin of a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    pub place: Place,
    pub offset: u64,
    pub db: u32,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            scanner: Scanner::new(Limits::default()),
            state: State::Between,
            offset: 0,
            db: 0,
            getack: None,
            replication_id: [b'0'; REPLICATION_ID_BYTES],
            marks: Vec::new(),
            first_time: None,
            last_time: Hlc(0),
            observed_before: None,
            rows_seen: 0,
        }
    }
}

impl<J: Journal> Site<J> {
    /// The stream goes on behind this offset of this history.
    pub fn stream_begins(&mut self, replication_id: [u8; REPLICATION_ID_BYTES], offset: u64, db: u32) {
        self.is_streaming = true;
        self.reading.scanner.reset();
        self.reading.state = State::Between;
        self.reading.offset = offset;
        self.reading.db = db;
        self.reading.getack = None;
        self.reading.replication_id = replication_id;
        self.source = Some(Source {
            replication_id,
            offset,
            db,
        });
    }

    /// The stream broke off: what was not complete comes again.
    pub fn stream_lost(&mut self) {
        self.is_streaming = false;
        self.builder.clear();
        self.events.clear();
        self.observed = self.past.observed.clone();
        self.reading.marks.clear();
        self.reading.first_time = None;
        self.reading.observed_before = None;
        self.reading.rows_seen = 0;
        self.reading.state = State::Between;
        self.reading.scanner.reset();
        if let Some(source) = self.source {
            self.reading.offset = source.offset;
            self.reading.db = source.db;
        }
    }

    /// Offset of the last GETACK's last byte.
    pub fn getack(&self) -> Option<u64> {
        self.reading.getack
    }

    /// Reads what is whole at the start of `stream`, takes it off, appends it to the log, and handles it.
    ///
    /// # Errors
    /// The stream is no command stream, or the log refuses. What was read before is kept.
    pub fn read_stream(&mut self, stream: &mut BytesMut) -> Result<Stop, StreamError> {
        let (used, stop) = self.scan(stream);
        let block = stream.split_to(used).freeze();
        self.builder.end_block(&block);
        let stop = stop?;
        self.close_batch()?;
        if stop == Stop::Swapped {
            self.end_history();
        }
        Ok(stop)
    }

    /// Scans whole commands; gives how many bytes were used.
    fn scan(&mut self, buf: &[u8]) -> (usize, Result<Stop, StreamError>) {
        let mut pos = 0;
        loop {
            match self.scan_one(buf, pos) {
                Ok(Progress::Used(len)) => {
                    pos += len;
                    self.reading.offset += len as u64;
                }
                Ok(Progress::Stop(stop)) => return (pos, Ok(stop)),
                Err(error) => return (pos, Err(error)),
            }
        }
    }

    #[inline]
    fn scan_one(&mut self, buf: &[u8], pos: usize) -> Result<Progress, StreamError> {
        let rest = &buf[pos..];
        if let State::Echo(echo) = &mut self.reading.state
            && !echo.whole.is_empty()
        {
            match compare_whole(&echo.whole, rest) {
                Whole::Equal(len) => {
                    return self.end_echo(true, buf).map(|()| Progress::Used(len));
                }
                Whole::NotYet => return Ok(Progress::Stop(Stop::Drained)),
                Whole::Different => echo.whole = Vec::new(),
            }
        }
        let scan = self.reading.scanner.next(rest);
        let offset = self.reading.offset;
        match scan.map_err(|error| StreamError::Frame { offset, error })? {
            Scan::Command { len } => self.command(buf, pos, len),
            Scan::Inline { .. } => Err(StreamError::Disorder("an inline command")),
            Scan::Newline { len } | Scan::Empty { len } => Ok(Progress::Used(len)),
            Scan::NeedMore { .. } => Ok(Progress::Stop(Stop::Drained)),
        }
    }

    fn command(&mut self, buf: &[u8], pos: usize, len: usize) -> Result<Progress, StreamError> {
        let frame = &buf[pos..pos + len];
        let name = arg(self.reading.scanner.args(), frame, 0);
        let Some(spec) = self.past.learned.spec(name).copied() else {
            self.counters.unknown += 1;
            tracing::error!(
                command = %String::from_utf8_lossy(name),
                "unknown command in the stream; it was not sent to the other sites"
            );
            return Ok(Progress::Used(len));
        };
        if let State::Echo(_) = self.reading.state {
            return self.in_echo(&spec, buf, pos, len);
        }
        match spec.class {
            Class::Write(class) => self.write(&spec, class, buf, pos, len),
            Class::Control(control) => self.control(control, frame, len),
            Class::Read => Ok(Progress::Used(len)),
        }
    }

    pub(super) fn boundary(&self) -> Boundary {
        Boundary {
            place: self.builder.place(),
            offset: self.reading.offset,
            db: self.reading.db,
        }
    }

    pub(super) fn control(
        &mut self,
        control: Control,
        frame: &[u8],
        len: usize,
    ) -> Result<Progress, StreamError> {
        match control {
            Control::Select => {
                let number = std::str::from_utf8(arg(self.reading.scanner.args(), frame, 1)).ok();
                let db = number.and_then(|text| text.parse().ok());
                self.reading.db = db.ok_or(StreamError::Disorder("SELECT without a number"))?;
            }
            Control::Multi => {
                let State::Between = self.reading.state else {
                    return Err(StreamError::Disorder("MULTI inside MULTI"));
                };
                self.reading.state = State::Opened { at: self.boundary() };
            }
            Control::Exec => match self.reading.state {
                State::Local { .. } => {
                    self.builder.end_unit();
                    self.reading.state = State::Between;
                }
                State::Opened { .. } => self.reading.state = State::Between,
                _ => return Err(StreamError::Disorder("EXEC without MULTI")),
            },
            Control::ReplConf => self.reading.getack = Some(self.reading.offset + len as u64),
            Control::Eval => {
                let name = arg(self.reading.scanner.args(), frame, 0);
                return Err(StreamError::Script(String::from_utf8_lossy(name).into_owned()));
            }
            Control::Ping | Control::Publish | Control::Script => {}
        }
        Ok(Progress::Used(len))
    }

    #[inline]
    fn write(
        &mut self,
        spec: &Spec,
        class: EffectClass,
        buf: &[u8],
        pos: usize,
        len: usize,
    ) -> Result<Progress, StreamError> {
        let frame = &buf[pos..pos + len];
        let first = arg(self.reading.scanner.args(), frame, 1);
        if is_ours(first) {
            return self.own_key(spec, buf, pos, len);
        }
        if class == EffectClass::SwapDb && self.settings.swap_by_snapshot {
            return Ok(self.swapped(frame, len));
        }
        let flags = match self.reading.state {
            State::Between => 0,
            State::Opened { at } | State::Local { at } => {
                self.reading.state = State::Local { at };
                FLAG_CONTINUES
            }
            State::Echo(_) => FLAG_CONTINUES,
        };
        self.marks.lost |= class.is_of_databases();
        if class == EffectClass::Flush && !self.settings.propagate_flush {
            return Ok(Progress::Used(len));
        }
        self.push_row(spec, class, flags, buf, pos, len);
        Ok(Progress::Used(len))
    }

    /// Timestamps the next row.
    #[inline]
    pub(super) fn stamp(&mut self) {
        // A unit is never cut, so nothing in it may ask for a mark of its own.
        let time = match self.reading.state {
            State::Local { .. } if self.reading.first_time.is_some() => {
                // Behind what an echo told since the last row, too.
                let next = self.clock.last().plus(1);
                self.clock.absorb(next);
                next
            }
            _ => self.clock.tick(self.now_unix_ms),
        };
        if self.reading.first_time.is_none() {
            self.reading.first_time = Some(time);
            self.reading.observed_before = Some(self.observed.clone());
            self.reading.marks.clear();
        } else if !self.reading.marks.is_empty() {
            for (site, seq) in self.reading.marks.drain(..) {
                self.builder.mark(time, site, seq);
            }
        } else if time != self.reading.last_time.plus(1) {
            self.builder.mark(time, self.me, 0);
        }
        self.reading.last_time = time;
    }

    #[inline]
    pub(super) fn push_row(
        &mut self,
        spec: &Spec,
        class: EffectClass,
        flags: u8,
        buf: &[u8],
        pos: usize,
        len: usize,
    ) {
        let frame = &buf[pos..pos + len];
        let db = self.reading.db;
        let args = self.reading.scanner.args();
        let (fingerprint, inside) = match spec.keys {
            KeyRule::One(at) if spec.name != "MOVE" => (
                self.past.fingerprints.of(db, arg(args, frame, usize::from(at))),
                0,
            ),
            _ => (self.first_key(spec, frame), FLAG_KEYS_INSIDE),
        };
        self.counters.captured += 1;
        let rewritten = match class {
            EffectClass::Expire
            | EffectClass::Set
            | EffectClass::Restore
            | EffectClass::SortedAdd
            | EffectClass::Opaque => absolute(
                spec,
                &Arguments(self.reading.scanner.args(), frame),
                self.past.dumps.field_times,
                self.now_unix_ms,
            ),
            _ => None,
        };
        self.stamp();
        let row = Row {
            end: 0,
            flags: flags | inside,
            class: rewritten.as_ref().map_or(class, |args| class_of(args, class)),
            db: db as u16,
            fingerprint,
        };
        match rewritten {
            None => self.builder.push(pos..pos + len, row, buf),
            Some(args) => {
                let mut command = BytesMut::new();
                encode::command(&mut command, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
                self.builder.push_owned(command.freeze(), row, buf);
            }
        }
        self.reading.rows_seen += 1;
    }

    fn first_key(&self, spec: &Spec, frame: &[u8]) -> u64 {
        let args = Arguments(self.reading.scanner.args(), frame);
        let mut first = None;
        keys(spec, &args, |key| {
            if first.is_none() || key.access == Access::Write {
                first = Some(key.at);
            }
        });
        first.map_or(0, |at| self.past.fingerprints.of(self.reading.db, args.arg(at)))
    }

    /// Closes what is complete into a batch, appends it to the log, and handles the events in it.
    pub(super) fn close_batch(&mut self) -> Result<(), StreamError> {
        let at = match &self.reading.state {
            State::Between => self.boundary(),
            State::Opened { at } | State::Local { at } => *at,
            State::Echo(echo) => echo.at,
        };
        let source = Source {
            replication_id: self.reading.replication_id,
            offset: at.offset,
            db: at.db,
        };
        let first_seq = self.past.journal.last(self.me) + 1;
        let time = self.reading.first_time.unwrap_or_default();
        let observed = self
            .reading
            .observed_before
            .clone()
            .unwrap_or_else(|| self.observed.clone());
        let left = self.builder.place() != at.place;
        if self.builder.count() > 0 && !left {
            // Echoes behind the last row: whoever goes on behind this batch does not read them again.
            let time = self.reading.last_time.plus(1);
            for (site, seq) in self.reading.marks.drain(..) {
                self.builder.mark(time, site, seq);
            }
        }
        if let Some(batch) = self
            .builder
            .finish(at.place, self.me, (first_seq, time), observed, source)
        {
            let batch = std::rc::Rc::new(batch);
            self.past.journal.append(&batch)?;
            self.source = Some(source);
            self.begin_next_batch(left, batch.count());
            self.handle_events(Some(&batch));
        } else {
            self.source = Some(source);
            self.handle_events(None);
        }
        Ok(())
    }

    /// Rows of an incomplete unit that stay are the first of the next batch.
    fn begin_next_batch(&mut self, left: bool, closed: usize) {
        self.reading.rows_seen -= closed;
        match &mut self.reading.state {
            State::Between => {}
            State::Opened { at } | State::Local { at } | State::Echo(Echo { at, .. }) => {
                at.place = Place::default()
            }
        }
        self.reading.first_time = None;
        self.reading.observed_before = None;
        if left {
            self.reading.first_time = Some(Hlc(self.reading.last_time.0 + 1 - self.builder.count() as u64));
            self.reading.observed_before = Some(self.observed.clone());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Used(usize),
    /// Here, and not further for now.
    Stop(Stop),
}

#[inline]
pub(super) fn arg<'a>(args: &[ArgRange], frame: &'a [u8], at: usize) -> &'a [u8] {
    args.get(at).map_or(&[], |range| range.of(frame))
}

/// The class of a command that was written anew, perhaps as another one.
fn class_of(args: &[Vec<u8>], before: EffectClass) -> EffectClass {
    match args.first().and_then(|name| spec(name)).map(|spec| spec.class) {
        Some(Class::Write(class)) => class,
        _ => before,
    }
}

struct Arguments<'a>(&'a [ArgRange], &'a [u8]);

impl Args for Arguments<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn arg(&self, at: usize) -> &[u8] {
        arg(self.0, self.1, at)
    }
}

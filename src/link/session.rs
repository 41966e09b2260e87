//! The order of a session, without a socket.
//!
//! ```text
//!  both send Hello          both send Resume
//!  Hello ──────────────────▶ Resume ──────────────────▶ Streaming ──Close──▶ over
//!    │ wrong version, site,     │                         batches, acks, pings, both ways
//!    ▼ database: Close          ▼
//! ```
//!
//! A connection that *takes over* (its dialer's `Hello` says so) is opened beside the one before it. Once both `Resume`s
//! are through, each side ends what it sends on the older one with `Moved` and goes on over the newer one, whose frames
//! are read only behind the peer's `Moved`. So the two are one sequence of frames, without a gap and without a
//! repetition. Whoever has sent and received `Moved` sends `Close`, and ends when it has received it.

use bytes::Bytes;

use super::frames::{BatchFrame, Frame, FrameError, Hello, Positions, TAKES_OVER};
use crate::causality::{Seq, SiteId};

/// The version of the session spoken here.
pub const PROTOCOL: u16 = 1;
/// How long a peer may take to come as far as streaming, milliseconds.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;

/// What we say of ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The database whose copies are kept equal.
    pub database_id: String,
    /// Our site.
    pub site: SiteId,
    /// Which run of this site.
    pub incarnation: u64,
    /// Whether this connection is to take over from one that is up.
    pub takes_over: bool,
    /// After so many silent milliseconds the peer is asked whether it is there.
    pub heartbeat_ms: u64,
    /// After so many it is taken to be gone.
    pub timeout_ms: u64,
}

/// Why a session ends that should not have begun, or cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No version in common.
    #[error(
        "the peer speaks versions {min} to {max} of the link, we speak {PROTOCOL}; upgrade the older syncer"
    )]
    Protocol {
        /// Its oldest.
        min: u16,
        /// Its newest.
        max: u16,
    },
    /// Another database.
    #[error(
        "the peer replicates database_id \"{theirs}\", we replicate \"{ours}\"; the same value is needed at every site"
    )]
    Database {
        /// What it says.
        theirs: String,
        /// What is configured here.
        ours: String,
    },
    /// It is us.
    #[error("the peer says that it is site {0}, which is us; site names must be unique")]
    Ourselves(SiteId),
    /// It says to be another one than its certificate.
    #[error("the peer says that it is site {said}, its certificate is that of site {proven}")]
    Site {
        /// What it says.
        said: SiteId,
        /// What its certificate says.
        proven: SiteId,
    },
    /// A frame that does not belong where it stands.
    #[error("the peer sent a {0} frame out of order")]
    Order(&'static str),
    /// Bytes.
    #[error("the peer sent {0}")]
    Frame(#[from] FrameError),
    /// Operations are missing between two batches.
    #[error("the peer sent operations of site {origin} from {first} on where {expected} was due")]
    Gap {
        /// Whose.
        origin: SiteId,
        /// What came.
        first: Seq,
        /// What was due.
        expected: Seq,
    },
    /// Operations of its own that it has sent before.
    #[error("the peer sent operations of site {origin} from {first} on again, {expected} was due")]
    Repeated {
        /// Whose.
        origin: SiteId,
        /// What came.
        first: Seq,
        /// What was due.
        expected: Seq,
    },
    /// Silence.
    #[error("the peer was silent for {0} ms")]
    Silent(u64),
    /// Too slow to begin.
    #[error("the peer did not finish its greeting within {HELLO_TIMEOUT_MS} ms")]
    Slow,
}

impl Refused {
    /// A fixed word for metrics and scripts.
    pub fn label(&self) -> &'static str {
        match self {
            Refused::Protocol { .. } => "link_version",
            Refused::Database { .. } => "hello_database",
            Refused::Ourselves(_) | Refused::Site { .. } => "hello_site",
            Refused::Order(_) => "frame_order",
            Refused::Frame(error) => error.label(),
            Refused::Gap { .. } => "batch_gap",
            Refused::Repeated { .. } => "batch_repeated",
            Refused::Silent(_) => "silent",
            Refused::Slow => "slow",
        }
    }
}

/// What a frame meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer is who it should be: tell it where to go on.
    SendResume,
    /// Both know where to go on: operations may flow.
    Established(Positions),
    /// Operations, next to those before.
    Batch(BatchFrame),
    /// How far the peer is.
    Ack(Positions),
    /// The peer waits for our value of a key.
    Pull {
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
    },
    /// The peer has sent its last on this connection.
    Moved,
    /// The peer wants to be dialed anew.
    Redial,
    /// Send this back.
    Reply(Frame),
    /// Nothing to do.
    Nothing,
    /// The peer ends the session, and why.
    Closed(String),
}

/// What the clock demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Quiet,
    /// Ask whether the peer is there.
    Ping(Frame),
    /// It is gone.
    Gone(Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hello,
    Resume,
    Streaming,
    /// The peer's `Moved` has come; this side may still send.
    Moved,
}

/// One session with a peer whose certificate has been judged.
#[derive(Debug, Clone)]
pub struct Session {
    local: Local,
    peer: SiteId,
    state: State,
    is_successor: bool,
    began_ms: u64,
    heard_ms: u64,
    pinged_ms: u64,
    nonce: u64,
    expected: Vec<(SiteId, Seq)>,
}

impl Session {
    /// A session that begins now, with the site that the peer's certificate proves.
    pub fn new(local: Local, peer: SiteId, now_ms: u64) -> Session {
        Session {
            is_successor: local.takes_over,
            local,
            peer,
            state: State::Hello,
            began_ms: now_ms,
            heard_ms: now_ms,
            pinged_ms: now_ms,
            nonce: 0,
            expected: Vec::new(),
        }
    }

    /// The first frame to send.
    pub fn hello(&self) -> Frame {
        Frame::Hello(Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            database_id: self.local.database_id.clone(),
            site: self.local.site,
            incarnation: self.local.incarnation,
            features: if self.local.takes_over { TAKES_OVER } else { 0 },
        })
    }

    /// The answer to [`Event::SendResume`]: from behind these positions on batches are expected.
    pub fn resume(&mut self, positions: Positions) -> Frame {
        self.expected.clone_from(&positions.held);
        Frame::Resume(positions)
    }

    /// The connection before this one has been drained: batches are expected from behind these positions on.
    pub fn go_on(&mut self, positions: &Positions) {
        self.expected.clone_from(&positions.held);
    }

    /// Whether operations may be sent.
    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming | State::Moved)
    }

    /// Whether this connection takes over from one before it; known when the peer's `Hello` has come.
    pub fn is_successor(&self) -> bool {
        self.is_successor
    }

    /// Whether the peer has sent its last on this connection.
    pub fn has_moved(&self) -> bool {
        self.state == State::Moved
    }

    /// Bytes came.
    pub fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// A frame came.
    ///
    /// # Errors
    /// Why the session must end.
    pub fn handle(&mut self, frame: Frame) -> Result<Event, Refused> {
        if let Frame::Close { text } = frame {
            return Ok(Event::Closed(text));
        }
        match (self.state, frame) {
            (State::Hello, Frame::Hello(hello)) => {
                self.check(&hello)?;
                self.is_successor |= hello.features & TAKES_OVER != 0;
                self.state = State::Resume;
                Ok(Event::SendResume)
            }
            (State::Resume, Frame::Resume(positions)) => {
                self.state = State::Streaming;
                Ok(Event::Established(positions))
            }
            (State::Streaming, Frame::Batch(batch)) => self.batch(batch),
            (State::Streaming, Frame::Ack(positions)) => Ok(Event::Ack(positions)),
            (State::Streaming, Frame::Pull { db, key }) => Ok(Event::Pull { db, key }),
            (State::Streaming, Frame::Redial) => Ok(Event::Redial),
            (State::Streaming, Frame::Moved) => {
                self.state = State::Moved;
                Ok(Event::Moved)
            }
            (_, Frame::Ping { nonce }) => Ok(Event::Reply(Frame::Pong { nonce })),
            (_, Frame::Pong { .. }) => Ok(Event::Nothing),
            (_, frame) => Err(Refused::Order(label(&frame))),
        }
    }

    fn check(&self, hello: &Hello) -> Result<(), Refused> {
        if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
            return Err(Refused::Protocol {
                min: hello.protocol_min,
                max: hello.protocol_max,
            });
        }
        if hello.database_id != self.local.database_id {
            return Err(Refused::Database {
                theirs: hello.database_id.clone(),
                ours: self.local.database_id.clone(),
            });
        }
        if hello.site == self.local.site {
            return Err(Refused::Ourselves(hello.site));
        }
        if hello.site != self.peer {
            return Err(Refused::Site {
                said: hello.site,
                proven: self.peer,
            });
        }
        Ok(())
    }

    /// The peer's own operations follow each other exactly. What it passes on for a site that is away may come from
    /// elsewhere, too: known ones are passed over.
    fn batch(&mut self, batch: BatchFrame) -> Result<Event, Refused> {
        let known = self.expected.iter_mut().find(|(site, _)| *site == batch.origin);
        let Some((_, last)) = known else {
            return Err(Refused::Order("batch of an unknown site's"));
        };
        let (origin, first, expected) = (batch.origin, batch.first_seq, last.saturating_add(1));
        if origin == self.peer && first < expected {
            return Err(Refused::Repeated {
                origin,
                first,
                expected,
            });
        }
        if origin == self.peer && first > expected {
            return Err(Refused::Gap {
                origin,
                first,
                expected,
            });
        }
        if batch.last_seq <= *last {
            return Ok(Event::Nothing);
        }
        *last = batch.last_seq;
        Ok(Event::Batch(batch))
    }

    /// Looks at the clock; a few times in a heartbeat is often enough.
    pub fn tick(&mut self, now_ms: u64) -> Tick {
        if !self.is_streaming() && now_ms.saturating_sub(self.began_ms) >= HELLO_TIMEOUT_MS {
            return Tick::Gone(Refused::Slow);
        }
        let silent = now_ms.saturating_sub(self.heard_ms);
        if silent >= self.local.timeout_ms {
            return Tick::Gone(Refused::Silent(silent));
        }
        let asked = now_ms.saturating_sub(self.pinged_ms);
        if silent < self.local.heartbeat_ms || asked < self.local.heartbeat_ms {
            return Tick::Quiet;
        }
        self.pinged_ms = now_ms;
        self.nonce += 1;
        Tick::Ping(Frame::Ping { nonce: self.nonce })
    }
}

fn label(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::Resume(_) => "resume",
        Frame::Batch(_) => "batch",
        Frame::Ack(_) => "ack",
        Frame::Pull { .. } => "pull",
        Frame::Ping { .. } => "ping",
        Frame::Pong { .. } => "pong",
        Frame::Moved => "moved",
        Frame::Redial => "redial",
        Frame::Close { .. } => "close",
    }
}

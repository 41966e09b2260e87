//! The task that moves a session's bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

pub use super::frames::Positions;
use super::frames::{CONTROL_BYTES_MAX, Decoder, Frame, encode, encode_batch_head};
use super::{Counters, Event, Refused, Session, Tick};
use crate::capture::Blocks;
use crate::causality::{Seq, SiteId};

/// Bytes of a read block, and how many are kept for when nothing of them is held any more.
const BLOCK_BYTES: usize = 256 * 1024;
const BLOCKS_SPARE_MAX: usize = 24;
/// Gathered for one flush.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Most parts of one write; the kernel takes up to 1024.
const PARTS_MAX: usize = 64;
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long the last words may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest batch taken: one Redis command can be 512 MiB and more.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// What is to be sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Operations.
    Batch {
        /// Whose.
        origin: SiteId,
        /// The first one.
        first_seq: Seq,
        /// The last one.
        last_seq: Seq,
        /// The batch's bytes.
        parts: Vec<Bytes>,
    },
    /// How far we are.
    Ack(Positions),
    /// We wait for the peer's value of a key.
    Pull {
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
    },
    /// Nothing more on this connection: a newer one has taken over.
    Moved,
    /// The peer is asked to dial anew.
    Redial,
}

/// The engine's side of a session. All calls come from the one task that runs it.
pub trait Flow {
    /// How far we are, before anything flows.
    fn resume(&mut self) -> Positions;
    /// Operations may flow; the peer is so far. If this connection takes over, what the peer says here is older than
    /// what still comes over the one before.
    ///
    /// # Errors
    /// Why they must not.
    fn on_established(&mut self, peer: Positions, takes_over: bool) -> Result<(), String>;
    /// Whether the connection before this one still has to be read to its end. Asked again after every wake.
    fn is_held(&self) -> bool;
    /// Operations came.
    ///
    /// # Errors
    /// Why the session must end.
    fn on_batch(&mut self, origin: SiteId, first_seq: Seq, last_seq: Seq, body: Bytes) -> Result<(), String>;
    /// The peer is so far.
    fn on_ack(&mut self, peer: Positions);
    /// The peer waits for our value of a key.
    fn on_pull(&mut self, db: u32, key: Bytes);
    /// The peer has sent its last on this connection.
    fn on_moved(&mut self);
    /// The peer wants to be dialed anew.
    fn on_redial(&mut self);
    /// Why the session has to end now, if it has to. Asked again after every wake.
    fn ending(&self) -> Option<String>;
    /// What to send next, if anything.
    fn poll_send(&mut self) -> Option<Outgoing>;
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// By us.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// By us: the engine refuses.
    #[error("{0}")]
    Engine(String),
    /// By the peer.
    #[error("the peer ended the link: {0}")]
    ByPeer(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
    /// Nothing was lost: a newer connection goes on where this one ended.
    #[error("a newer connection took over")]
    Moved,
    /// End of stream without a word.
    #[error("the peer closed the connection")]
    End,
}

/// Runs a session until it is over. `wake` is notified when there may be something to send.
pub async fn run<S, F>(
    stream: S,
    session: Session,
    flow: &RefCell<F>,
    wake: &Notify,
    counters: &mut Counters,
) -> Closed
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Flow,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut blocks = Blocks::new(BLOCK_BYTES, BLOCKS_SPARE_MAX);
    let mut driver = Driver {
        reader,
        writer,
        session,
        flow,
        counters,
        // Until it is known who is there, no long frame is kept.
        decoder: Decoder::new(CONTROL_BYTES_MAX),
        input: blocks.take(),
        blocks,
        out: VecDeque::new(),
        out_bytes: 0,
        unflushed: false,
        is_held: false,
        sent_last: false,
        sent_close: false,
        got_close: false,
        began: Instant::now(),
        now_ms: 0,
    };
    let why = match driver.drive(wake).await {
        Ok(never) => match never {},
        Err(why) => why,
    };
    if let Closed::Refused(_) | Closed::Engine(_) = &why {
        driver.last_words(&why.to_string()).await;
    }
    why
}

enum Never {}

struct Driver<'a, S, F> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    session: Session,
    flow: &'a RefCell<F>,
    counters: &'a mut Counters,
    decoder: Decoder,
    input: BytesMut,
    blocks: Blocks,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    /// Whether something may stand in the stream's own buffers.
    unflushed: bool,
    /// Nothing more is read until the connection before this one is drained.
    is_held: bool,
    /// `Moved` is on its way.
    sent_last: bool,
    /// So is the `Close` behind it: the peer's `Moved` has come, too.
    sent_close: bool,
    /// The peer has everything.
    got_close: bool,
    began: Instant,
    /// Since the session was made.
    now_ms: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin, F: Flow> Driver<'_, S, F> {
    async fn drive(&mut self, wake: &Notify) -> Result<Never, Closed> {
        let hello = self.session.hello();
        self.push(&hello);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(why) = self.flow.borrow().ending() {
                return Err(Closed::Engine(why));
            }
            self.go_on()?;
            self.gather();
            self.close_when_moved()?;
            // Grown by what has arrived, never by what is claimed alone.
            self.blocks.make_room(&mut self.input);
            let slices: Vec<IoSlice<'_>> = self.out.iter().take(PARTS_MAX).map(|p| IoSlice::new(p)).collect();
            let has_output = !slices.is_empty();
            let writer = &mut self.writer;
            let sending = async {
                if slices.is_empty() {
                    writer.flush().await.map(|()| None)
                } else {
                    writer.write_vectored(&slices).await.map(Some)
                }
            };
            tokio::select! {
                read = self.reader.read_buf(&mut self.input), if !self.is_held => self.received(read)?,
                sent = sending, if has_output || self.unflushed => {
                    let written = sent.map_err(Closed::Broken)?;
                    self.unflushed = written.is_some();
                    if let Some(count) = written {
                        self.written(count)?;
                    }
                }
                () = wake.notified() => {}
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    fn push(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::with_capacity(128);
        encode(frame, &mut bytes);
        self.push_bytes(bytes.freeze());
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out_bytes += bytes.len();
            self.out.push_back(bytes);
        }
    }

    /// Takes from the engine as much as one flush carries.
    fn gather(&mut self) {
        if !self.session.is_streaming() || self.sent_last {
            return;
        }
        while self.out_bytes < WRITE_BYTES_MAX {
            let next = self.flow.borrow_mut().poll_send();
            match next {
                None => break,
                Some(Outgoing::Moved) => {
                    self.push(&Frame::Moved);
                    self.sent_last = true;
                    break;
                }
                Some(Outgoing::Redial) => self.push(&Frame::Redial),
                Some(Outgoing::Ack(positions)) => self.push(&Frame::Ack(positions)),
                Some(Outgoing::Pull { db, key }) => self.push(&Frame::Pull { db, key }),
                Some(Outgoing::Batch {
                    origin,
                    first_seq,
                    last_seq,
                    parts,
                }) => {
                    let mut head = BytesMut::with_capacity(64);
                    encode_batch_head(origin, first_seq, last_seq, &parts, &mut head);
                    self.counters.batches_sent += 1;
                    self.push_bytes(head.freeze());
                    parts.into_iter().for_each(|part| self.push_bytes(part));
                }
            }
        }
    }

    fn written(&mut self, mut count: usize) -> Result<(), Closed> {
        if count == 0 {
            return Err(Closed::End);
        }
        self.counters.bytes_sent += count as u64;
        self.out_bytes -= count;
        while count > 0 {
            let Some(part) = self.out.front_mut() else { break };
            let taken = part.len().min(count);
            part.advance(taken);
            count -= taken;
            if part.is_empty() {
                self.out.pop_front();
            }
        }
        Ok(())
    }

    fn received(&mut self, read: std::io::Result<usize>) -> Result<(), Closed> {
        let count = match read {
            Ok(count) => count,
            // TLS cut off without its farewell: the process was killed, or the network was cut.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(Closed::Broken(error)),
        };
        if count == 0 {
            let is_drained = self.sent_close && self.session.has_moved();
            return Err(if is_drained { Closed::Moved } else { Closed::End });
        }
        self.counters.bytes_received += count as u64;
        self.session.heard(self.now_ms);
        self.take_frames()
    }

    fn take_frames(&mut self) -> Result<(), Closed> {
        while !self.is_held
            && let Some(frame) = self.decoder.next(&mut self.input).map_err(Refused::from)?
        {
            let event = self.session.handle(frame)?;
            self.handle(event)?;
        }
        Ok(())
    }

    /// The connection before this one may be drained now: everything that the peer sent on it is here.
    fn go_on(&mut self) -> Result<(), Closed> {
        if !self.is_held || self.flow.borrow().is_held() {
            return Ok(());
        }
        self.is_held = false;
        let positions = self.flow.borrow_mut().resume();
        self.session.go_on(&positions);
        self.take_frames()
    }

    /// Closing at once could cost the peer what it has not read yet: each side first says that it has everything.
    fn close_when_moved(&mut self) -> Result<(), Closed> {
        if self.sent_last && self.session.has_moved() && !self.sent_close {
            self.sent_close = true;
            let text = Closed::Moved.to_string();
            self.push(&Frame::Close { text });
        }
        if self.sent_close && self.got_close && self.out.is_empty() && !self.unflushed {
            return Err(Closed::Moved);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Closed> {
        match event {
            Event::Nothing => {}
            Event::SendResume => {
                let positions = self.flow.borrow_mut().resume();
                let resume = self.session.resume(positions);
                self.push(&resume);
            }
            Event::Established(peer) => {
                self.decoder = Decoder::new(BATCH_BYTES_MAX);
                self.is_held = self.session.is_successor();
                let done = self.flow.borrow_mut().on_established(peer, self.is_held);
                done.map_err(Closed::Engine)?;
            }
            Event::Batch(batch) => {
                self.counters.batches_received += 1;
                let mut flow = self.flow.borrow_mut();
                let done = flow.on_batch(batch.origin, batch.first_seq, batch.last_seq, batch.body);
                done.map_err(Closed::Engine)?;
            }
            Event::Ack(peer) => self.flow.borrow_mut().on_ack(peer),
            Event::Pull { db, key } => self.flow.borrow_mut().on_pull(db, key),
            Event::Moved => self.flow.borrow_mut().on_moved(),
            Event::Redial => self.flow.borrow_mut().on_redial(),
            Event::Reply(frame) if self.sent_close => drop(frame),
            Event::Reply(frame) => self.push(&frame),
            Event::Closed(_) if self.sent_last && self.session.has_moved() => self.got_close = true,
            Event::Closed(text) => return Err(Closed::ByPeer(text)),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Closed> {
        self.now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.is_held {
            self.session.heard(self.now_ms);
        }
        match self.session.tick(self.now_ms) {
            Tick::Quiet => Ok(()),
            Tick::Ping(_) if self.sent_close => Ok(()),
            Tick::Ping(ping) => {
                self.push(&ping);
                Ok(())
            }
            Tick::Gone(why) => Err(why.into()),
        }
    }

    /// Tells the peer why, if it still listens.
    async fn last_words(&mut self, text: &str) {
        self.push(&Frame::Close {
            text: text.to_owned(),
        });
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            while let Some(mut part) = self.out.pop_front() {
                self.writer.write_all_buf(&mut part).await?;
            }
            self.writer.shutdown().await
        })
        .await;
    }
}

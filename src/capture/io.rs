//! The task that holds the replication link: reads, feeds the machines, acknowledges.
//!
//! Everything runs on one task and needs no `Send`. Dropping the future of [`Capture::run`] ends the link.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use super::rdb::{Item, Reader};
use super::{
    AckPolicy, Blocks, Counters, Error, Event, Pace, Position, Psync, REST_MS, Settings, Sink, Step, Want,
    replconf_ack,
};

/// Behind a diskless snapshot the stream begins with the first acknowledgement that the database reads after it
/// has noticed the snapshot's end, which takes it a moment (`replicaStartCommandStream`): so the first word is
/// repeated for two seconds, instead of once a second.
const FIRST_WORD_INTERVAL: Duration = Duration::from_millis(20);
const FIRST_WORDS: u32 = 100;

/// Why the link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost<E> {
    /// The database or the way to it.
    #[error(transparent)]
    Link(#[from] Error),
    /// The sink refused.
    #[error("{0}")]
    Sink(E),
}

/// One replication link over a connection that has logged in and on which nothing is under way.
pub struct Capture<'a, S> {
    socket: S,
    settings: &'a Settings,
    counters: &'a mut Counters,
    psync: Psync,
    reader: Option<Reader>,
    acks: AckPolicy,
    blocks: Blocks,
    buffer: BytesMut,
    heard: Instant,
    first_words: u32,
    began: Instant,
    pace: Pace,
    /// A rest is due before the next read.
    rests: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Capture<'a, S> {
    /// A link that asks to go on behind `start`, or for a snapshot if there is none.
    pub fn new(
        socket: S,
        start: Option<Position>,
        settings: &'a Settings,
        counters: &'a mut Counters,
    ) -> Self {
        let mut blocks = Blocks::new(settings.block_bytes, settings.blocks_spare_max);
        Capture {
            socket,
            settings,
            counters,
            psync: Psync::new(start, settings.retry_ms_min, settings.retry_ms_max),
            reader: None,
            acks: AckPolicy::default(),
            buffer: blocks.take(),
            blocks,
            heard: Instant::now(),
            first_words: FIRST_WORDS,
            began: Instant::now(),
            pace: Pace::default(),
            rests: false,
        }
    }

    /// Runs the link until it ends and says why. `moved` is notified by whoever moves the sink's progress
    /// outside of its calls: what became durable, a GETACK found.
    pub async fn run<K: Sink>(mut self, sink: &mut K, moved: &Notify) -> Lost<K::Error> {
        match self.drive(sink, moved).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn drive<K: Sink>(
        &mut self,
        sink: &mut K,
        moved: &Notify,
    ) -> Result<std::convert::Infallible, Lost<K::Error>> {
        let mut ticks = interval(Duration::from_millis(self.settings.ack_interval_ms.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.understand(sink).await?;
        loop {
            if self.psync.accepts_acks()
                && let Some(offset) = self.acks.on_progress(sink.progress())
            {
                self.acknowledge(offset).await?;
            }
            if self.wait(&mut ticks, moved, sink).await? {
                self.understand(sink).await?;
                if std::mem::take(&mut self.rests) && self.psync.is_streaming() {
                    sleep(Duration::from_millis(REST_MS)).await;
                }
            }
        }
    }

    /// Waits for bytes, the interval, or a move of the sink; true if there are new bytes.
    async fn wait<K: Sink>(
        &mut self,
        ticks: &mut Interval,
        moved: &Notify,
        sink: &mut K,
    ) -> Result<bool, Lost<K::Error>> {
        self.blocks.make_room(&mut self.buffer);
        tokio::select! {
            read = self.socket.read_buf(&mut self.buffer) => {
                self.received(read.map_err(socket)?)?;
                return Ok(true);
            }
            _ = ticks.tick() => {
                self.check_silence()?;
                if self.psync.accepts_acks() {
                    let offset = self.acks.on_interval(sink.progress());
                    self.acknowledge(offset).await?;
                }
            }
            () = sleep(FIRST_WORD_INTERVAL), if self.first_words > 0 && self.awaits_first_byte() => {
                self.first_words -= 1;
                let offset = self.acks.on_interval(sink.progress());
                self.acknowledge(offset).await?;
            }
            // The sink may have waited for this: it is shown again what it has not taken.
            () = moved.notified() => return Ok(true),
        }
        Ok(false)
    }

    /// Between the snapshot and the first byte of the stream.
    fn awaits_first_byte(&self) -> bool {
        self.psync.accepts_acks() && !self.psync.is_streaming()
    }

    fn received(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Err(Error::Closed(match (self.psync.is_streaming(), &self.reader) {
                (true, _) => "while streaming",
                (false, Some(_)) => "during the snapshot",
                (false, None) => "during the handshake",
            }));
        }
        self.heard = Instant::now();
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.rests = self.pace.is_flood(now_ms, bytes);
        if self.psync.is_streaming() {
            self.counters.stream_bytes += bytes as u64;
        }
        Ok(())
    }

    fn check_silence(&self) -> Result<(), Error> {
        let silent_ms = u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(u64::MAX);
        if silent_ms > self.settings.silence_ms_max {
            return Err(Error::Silent { silent_ms });
        }
        Ok(())
    }

    /// Takes in what the buffer holds, as far as it can be understood.
    async fn understand<K: Sink>(&mut self, sink: &mut K) -> Result<(), Lost<K::Error>> {
        while !self.psync.is_streaming() {
            let Step { consumed, event } = self.psync.handle(&self.buffer)?;
            self.say().await?;
            let bytes = self.buffer.split_to(consumed);
            match event {
                None => return Ok(()),
                Some(Event::Snapshot) => self.snapshot(&bytes, sink)?,
                Some(Event::Retry { busy, after_ms }) => {
                    sink.on_wait(&busy, after_ms);
                    self.counters.retries += 1;
                    self.pause(after_ms).await?;
                }
                Some(Event::SnapshotEnd) => {
                    self.event(Event::SnapshotEnd, sink)?;
                    // A diskless snapshot's stream begins with our first word, not before.
                    let offset = self.acks.on_interval(sink.progress());
                    self.acknowledge(offset).await?;
                }
                Some(event) => self.event(event, sink)?,
            }
            if self.psync.is_streaming() {
                self.counters.stream_bytes += self.buffer.len() as u64;
            }
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        sink.on_stream(&mut self.buffer).map_err(Lost::Sink)
    }

    fn event<K: Sink>(&mut self, event: Event, sink: &mut K) -> Result<(), Lost<K::Error>> {
        match event {
            Event::Continue(position) => {
                self.counters.continues += 1;
                sink.on_continue(position).map_err(Lost::Sink)
            }
            Event::FullResync(position) => {
                self.counters.full_resyncs += 1;
                self.reader = Some(Reader::new(self.settings.rdb));
                sink.on_full_resync(position).map_err(Lost::Sink)
            }
            Event::SnapshotEnd => {
                if let Some(reader) = self.reader.take() {
                    reader.finish().map_err(Error::from)?;
                }
                self.counters.snapshots += 1;
                sink.on_snapshot_end().map_err(Lost::Sink)
            }
            Event::SnapshotBegin { .. } | Event::Snapshot | Event::Stream | Event::Retry { .. } => Ok(()),
        }
    }

    fn snapshot<K: Sink>(&mut self, bytes: &[u8], sink: &mut K) -> Result<(), Lost<K::Error>> {
        self.counters.snapshot_bytes += bytes.len() as u64;
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        let mut rest = bytes;
        loop {
            let read = reader.next(rest).map_err(Error::from)?;
            rest = rest.get(read.consumed..).unwrap_or_default();
            let Some(item) = read.item else {
                return Ok(());
            };
            let is_key = matches!(item, Item::Key { .. });
            match sink.on_snapshot_item(item).map_err(Lost::Sink)? {
                Want::Value if is_key => reader.want_value(),
                Want::Raw if is_key => reader.want_raw(),
                _ => {}
            }
        }
    }

    /// Waits before a step is repeated. The database may go away meanwhile: that is seen at the next read.
    async fn pause(&mut self, after_ms: u64) -> Result<(), Error> {
        sleep(Duration::from_millis(after_ms)).await;
        self.heard = Instant::now();
        self.psync.resume();
        self.say().await
    }

    /// Sends what the handshake has to say.
    async fn say(&mut self) -> Result<(), Error> {
        let output = self.psync.output();
        self.send(&output).await
    }

    async fn acknowledge(&mut self, offset: u64) -> Result<(), Error> {
        let mut command = Vec::with_capacity(64);
        replconf_ack(&mut command, offset);
        self.counters.acks += 1;
        self.send(&command).await
    }

    /// Writes a few bytes. They fit the socket's buffer, so this waits only on a link that is dead.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let silent_ms = self.settings.silence_ms_max;
        let write = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        match timeout(Duration::from_millis(silent_ms), write).await {
            Ok(written) => written.map_err(socket),
            Err(_) => Err(Error::Silent { silent_ms }),
        }
    }
}

fn socket(error: std::io::Error) -> Error {
    Error::Socket { kind: error.kind() }
}

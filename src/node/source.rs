//! The task that reads the database's replication stream.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::healing::{self, Met};
use super::shared::{Shared, now_unix_ms};
use crate::capture::io::{Capture, Lost};
use crate::capture::rdb::{Item, Kind};
use crate::capture::{Busy, Position, Progress, ReplId, Sink, Want, backoff_ms};
use crate::command::{Learned, ServerCommand};
use crate::control::DatabaseLink;
use crate::database::io::{command, connect, greet};
use crate::echo::{captured_key_of, is_ours};
use crate::flow::{Journal, Snapshot, SnapshotError, Stop, StreamError};
use crate::op::Source;
use crate::resp::reply::Value;

/// Why the stream is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A database with data that nobody has agreed on.
    #[error(
        "the database holds data ({keys} keys at least) that the other sites do not know of; start with an empty \
         database, or, if all sites' databases hold the same data now, with --agreed"
    )]
    Data {
        /// Keys seen.
        keys: u64,
    },
    /// The log may have lost its end.
    #[error(
        "the end of this site's own log may be lost (the machine went down, or an older copy of the data directory was \
         put back): nothing is captured until every peer has said what it holds of it"
    )]
    Restoring,
    /// The snapshot that would bridge a gap is not taken.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The stream cannot be continued where it was left, and a snapshot will bridge the gap once nothing that was
    /// sent on an older connection can be executed behind it.
    #[error(
        "the database cannot continue its stream where this site left it (a crash, or the backlog is too short: \
         raise repl-backlog-size); a snapshot of it will bridge the gap"
    )]
    Gap,
    /// A snapshot takes the place of a SWAPDB.
    #[error(
        "a client swapped two databases (SWAPDB): a snapshot of the whole content is sent to the other sites in its \
         place"
    )]
    Swapped,
}

impl Refusal {
    fn is_final(&self) -> bool {
        !matches!(
            self,
            Refusal::Stream(_) | Refusal::Gap | Refusal::Swapped | Refusal::Restoring
        )
    }
}

struct StreamSink<'a> {
    shared: &'a Shared,
    resync: Option<Position>,
    db: u32,
    keys: u64,
    /// What bridges a gap, while it is read.
    snapshot: Option<Snapshot>,
    /// The database, expiry and type of the key whose value comes next.
    key: Option<(u32, Bytes, Kind, Option<i64>)>,
    /// The newest GETACK for which the position was kept.
    getack: Option<u64>,
}

pub(super) fn id_bytes(id: ReplId) -> [u8; ReplId::BYTES] {
    let mut bytes = [0; ReplId::BYTES];
    bytes.copy_from_slice(id.as_bytes());
    bytes
}

impl StreamSink<'_> {
    fn is_new_site(&self) -> bool {
        let node = self.shared.node.borrow();
        let site = &node.site;
        !site.has_swapped() && (site.source().is_none() || site.observed().entries().all(|(_, seq)| seq == 0))
    }

    /// The value of a key of the snapshot that bridges a gap.
    fn value(&mut self, code: u8, bytes: Option<&[u8]>) -> Result<Want, Refusal> {
        let (Some(snapshot), Some((db, key, kind, expires))) = (&mut self.snapshot, self.key.take()) else {
            return Ok(Want::Skip);
        };
        let raw = bytes.ok_or_else(|| snapshot.too_large())?;
        if is_ours(&key) {
            snapshot.own_key(&key, raw);
        } else {
            let expires = expires.and_then(|ms| u64::try_from(ms).ok());
            snapshot.key((db, &key), kind, (code, raw), expires)?;
        }
        Ok(Want::Skip)
    }

    fn streaming(&self) {
        let mut node = self.shared.node.borrow_mut();
        node.database.link = DatabaseLink::Streaming;
        node.database.last_error = None;
        drop(node);
        self.shared.keep_position();
    }
}

impl Sink for StreamSink<'_> {
    type Error = Refusal;

    fn on_continue(&mut self, position: Position) -> Result<(), Refusal> {
        let mut node = self.shared.node.borrow_mut();
        let db = node.site.source().map_or(0, |source| source.db);
        node.site
            .stream_begins(id_bytes(position.replid), position.offset, db);
        node.captured.continues += 1;
        drop(node);
        self.shared.unfence();
        self.streaming();
        tracing::info!(replication_id = %position.replid, offset = position.offset, "the stream goes on");
        Ok(())
    }

    fn on_full_resync(&mut self, position: Position) -> Result<(), Refusal> {
        let is_gap = !self.is_new_site() && !self.shared.agreed.get();
        if is_gap && !self.shared.is_fenced() {
            self.shared.fence();
            return Err(Refusal::Gap);
        }
        self.resync = Some(position);
        let bytes_max = self.shared.settings.snapshot_bytes_max;
        self.snapshot = is_gap.then(|| self.shared.node.borrow().site.snapshot(bytes_max));
        let mut node = self.shared.node.borrow_mut();
        node.database.link = DatabaseLink::Snapshot;
        node.captured.full_resyncs += 1;
        Ok(())
    }

    fn on_snapshot_item(&mut self, item: Item<'_>) -> Result<Want, Refusal> {
        match item {
            Item::Aux {
                name: b"repl-stream-db",
                value,
            } => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.db = number.unwrap_or(0);
            }
            Item::Header { version, .. } => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.version(version);
                }
            }
            Item::Key {
                db,
                key,
                kind,
                expire_at_ms,
            } if self.snapshot.is_some() => {
                self.key = Some((db, Bytes::copy_from_slice(key), kind, expire_at_ms));
                return Ok(Want::Raw);
            }
            Item::Raw { code, bytes } => return self.value(code, bytes),
            Item::Key { key, .. } if !is_ours(key) => {
                self.keys += 1;
                if !self.shared.agreed.get() {
                    return Err(Refusal::Data { keys: self.keys });
                }
            }
            _ => {}
        }
        Ok(Want::Skip)
    }

    fn on_snapshot_end(&mut self) -> Result<(), Refusal> {
        let Some(position) = self.resync.take() else {
            return Ok(());
        };
        if self.shared.node.borrow().site.is_restoring() {
            return Err(Refusal::Restoring);
        }
        let source = Source {
            replication_id: id_bytes(position.replid),
            offset: position.offset,
            db: self.db,
        };
        let was_new = self.is_new_site();
        let mut node = self.shared.node.borrow_mut();
        match self.snapshot.take() {
            None => {
                super::began::note(&self.shared.settings.data_dir, was_new && self.keys == 0);
                node.site
                    .stream_begins(source.replication_id, source.offset, source.db);
            }
            Some(snapshot) => {
                self.keys = snapshot.keys();
                node.site.set_time(now_unix_ms());
                node.site.adopt(snapshot, source)?;
                tracing::warn!(
                    keys = self.keys,
                    "a snapshot of the database bridges the gap in its stream"
                );
            }
        }
        drop(node);
        self.shared.unfence();
        self.streaming();
        self.shared.agreed.set(false);
        self.shared.apply.notify_one();
        self.shared.moved.notify_one();
        self.shared.wake_links();
        tracing::info!(replication_id = %position.replid, offset = position.offset, keys = self.keys, "the stream begins");
        Ok(())
    }

    fn on_stream(&mut self, stream: &mut BytesMut) -> Result<(), Refusal> {
        let mut node = self.shared.node.borrow_mut();
        if node.site.is_restoring() {
            return Err(Refusal::Restoring);
        }
        node.site.set_time(now_unix_ms());
        let me = node.site.roster().me();
        let before = crate::flow::Journal::last(node.site.journal(), me);
        let stop = node.site.read_stream(stream)?;
        let has_more = node.site.deliver();
        let new = crate::flow::Journal::last(node.site.journal(), me) > before;
        let getack = node.site.getack();
        drop(node);
        if getack != self.getack {
            // The database waits for our word and may end on it (WAIT, SHUTDOWN): what we say must be kept.
            self.getack = getack;
            self.shared.promise_position();
        }
        self.shared.delivered(has_more);
        if new {
            self.shared.wake_links();
        }
        self.shared.moved.notify_one();
        if stop == Stop::Swapped {
            self.shared.keep_position();
            return Err(Refusal::Swapped);
        }
        Ok(())
    }

    fn on_wait(&mut self, busy: &Busy, after_ms: u64) {
        tracing::info!(%busy, after_ms, "the database puts us off");
        self.shared.node.borrow_mut().database.last_error = Some(busy.to_string());
    }

    fn progress(&mut self) -> Progress {
        let node = self.shared.node.borrow();
        Progress {
            durable: node.site.source().map_or(0, |source| source.offset),
            getack: node.site.getack(),
        }
    }
}

/// Holds the replication link for ever, made anew whenever it is lost.
pub(super) async fn run(shared: Rc<Shared>) {
    let mut attempt = 0;
    loop {
        let (why, last) = once(&shared, &mut attempt).await;
        let is_news = {
            let mut node = shared.node.borrow_mut();
            node.site.stream_lost();
            node.database.link = if last {
                DatabaseLink::Refused
            } else {
                DatabaseLink::Connecting
            };
            node.database.last_error.replace(why.clone()).as_ref() != Some(&why)
        };
        let pause = backoff_ms(attempt, 100, 5_000);
        attempt += 1;
        if !is_news {
            tracing::debug!(error = %why, "the database's stream is still not there");
        } else if last {
            tracing::error!(error = %why, "the database's stream is refused");
        } else {
            tracing::warn!(error = %why, retry_ms = pause, "the database's stream is lost");
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// One link, until it is lost; whether somebody must act.
async fn once(shared: &Shared, attempt: &mut u32) -> (String, bool) {
    let mut stream = match dial(shared).await {
        Ok(stream) => stream,
        Err(error) => return (error, false),
    };
    if shared.node.borrow().site.is_restoring() {
        return (Refusal::Restoring.to_string(), false);
    }
    match healing::meet(shared, &mut stream).await {
        Met::Whole => {}
        Met::Prepared(why) => return (why, false),
        Met::Lost(why) => return (why, true),
    }
    let start = shared.node.borrow().site.source();
    let start = start.and_then(|source| {
        Some(Position {
            replid: ReplId::new(&source.replication_id)?,
            offset: source.offset,
        })
    });
    let mut sink = StreamSink {
        shared,
        resync: None,
        db: 0,
        keys: 0,
        snapshot: None,
        key: None,
        getack: None,
    };
    let mut settings = crate::capture::Settings::default();
    settings.rdb.value_bytes_max = shared.settings.snapshot_bytes_max;
    let mut counters = crate::capture::Counters::default();
    let lost = Capture::new(stream, start, &settings, &mut counters)
        .run(&mut sink, &shared.stream)
        .await;
    if shared.node.borrow().database.link == DatabaseLink::Streaming {
        *attempt = 0;
    }
    match lost {
        Lost::Link(error) => (error.to_string(), !error.is_retryable()),
        Lost::Sink(refusal) => (refusal.to_string(), refusal.is_final()),
    }
}

async fn dial(shared: &Shared) -> Result<crate::database::io::Stream, String> {
    let say = |error: crate::database::io::ConnectError| error.to_string();
    let timeout = shared.settings.link.connect_timeout;
    let mut stream = connect(
        &shared.url,
        super::start::database_tls(&shared.settings).as_ref(),
        timeout,
    )
    .await
    .map_err(say)?;
    let name = format!("syncer-{}-stream", shared.settings.site);
    let info = greet(&mut stream, &shared.url, &name).await.map_err(say)?;
    let learned = learn(&mut stream).await;
    let captured = captured(shared, &mut stream).await;
    let mut node = shared.node.borrow_mut();
    let me = node.site.roster().me();
    let log = Journal::last(node.site.journal(), me);
    if captured.is_some_and(|captured| captured > log) && !shared.agreed.get() {
        node.site.begin_restore();
        drop(node);
        shared.finish_restore();
        node = shared.node.borrow_mut();
    }
    let (major, minor, patch) = info.version;
    node.database.server_version = format!("{} {major}.{minor}.{patch}", info.product);
    let is_valkey = info.product == "valkey";
    node.site
        .set_rdb_version(crate::value::newest_version(is_valkey, (major, minor)));
    node.site
        .set_field_times(crate::command::FieldTimes::of(is_valkey, (major, minor)));
    if let Some(learned) = learned {
        node.site.learn(learned);
    }
    Ok(stream)
}

/// The mark that the database holds of this site's own operations.
async fn captured(shared: &Shared, stream: &mut crate::database::io::Stream) -> Option<u64> {
    let key = captured_key_of(shared.settings.site);
    match command(stream, &[b"GET", &key]).await.ok()? {
        Value::BulkString(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
        _ => None,
    }
}

/// Asks the server which commands it knows. A user that may not ask gets the built-in table.
async fn learn(stream: &mut crate::database::io::Stream) -> Option<Learned> {
    let Value::Array(rows) = command(stream, &[b"COMMAND"]).await.ok()? else {
        return None;
    };
    let text = |value: &Value| match value {
        Value::SimpleString(text) | Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    let number = |value: Option<&Value>| match value {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    };
    let row = |row: &Value| {
        let Value::Array(fields) = row else { return None };
        let Value::Array(flags) = fields.get(2)? else {
            return None;
        };
        Some(ServerCommand {
            name: text(fields.first()?),
            flags: flags.iter().map(text).collect(),
            first: number(fields.get(3)),
            last: number(fields.get(4)),
            step: number(fields.get(5)),
        })
    };
    let commands: Vec<ServerCommand> = rows.iter().filter_map(row).collect();
    Some(Learned::new(&commands))
}

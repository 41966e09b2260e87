//! A capture link in a thread of its own, with a sink that writes everything down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::BytesMut;
use syncer::capture::io::{Capture, Lost};
use syncer::capture::rdb::{Item, Kind};
use syncer::capture::{Busy, Counters, Position, Progress, Settings, Sink, Want};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::server::{encode, wait_until};

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub continued: Option<Position>,
    pub full: Option<Position>,
    pub keys: Vec<SeenKey>,
    pub values: Vec<(String, Option<String>)>,
    pub aux: Vec<(String, String)>,
    pub snapshot_ended: bool,
    pub stream: Vec<u8>,
    pub waits: Vec<Busy>,
    /// Offset of the last stream byte received.
    pub offset: u64,
    pub durable: u64,
    pub durable_is_late: bool,
    pub getack: Option<u64>,
    pub lost: Option<Lost<String>>,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenKey {
    pub db: u32,
    pub key: String,
    pub kind: String,
    pub expire_at_ms: i64,
}

/// The bytes of the server's request for an acknowledgement.
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

struct Recorder(Arc<Mutex<Heard>>);

impl Sink for Recorder {
    type Error = String;

    fn on_continue(&mut self, position: Position) -> Result<(), String> {
        let mut heard = self.0.lock().unwrap();
        heard.continued = Some(position);
        (heard.offset, heard.durable) = (position.offset, position.offset);
        Ok(())
    }

    fn on_full_resync(&mut self, position: Position) -> Result<(), String> {
        let mut heard = self.0.lock().unwrap();
        heard.full = Some(position);
        (heard.offset, heard.durable) = (position.offset, position.offset);
        Ok(())
    }

    fn on_snapshot_item(&mut self, item: Item<'_>) -> Result<Want, String> {
        let mut heard = self.0.lock().unwrap();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match item {
            Item::Aux { name, value } => heard.aux.push((text(name), text(value))),
            Item::Value { text: value } => {
                let key = heard.keys.last().unwrap().key.clone();
                heard.values.push((key, value.map(text)));
            }
            Item::Key {
                db,
                key,
                kind,
                expire_at_ms,
            } => {
                heard.keys.push(SeenKey {
                    db,
                    key: text(key),
                    kind: type_name(kind).to_owned(),
                    expire_at_ms: expire_at_ms.unwrap_or(-1),
                });
                if key.starts_with(b"{syncer}:") {
                    return Ok(Want::Value);
                }
                if key == b"refuse" {
                    return Err("not empty".to_owned());
                }
            }
            _ => {}
        }
        Ok(Want::Skip)
    }

    fn on_snapshot_end(&mut self) -> Result<(), String> {
        self.0.lock().unwrap().snapshot_ended = true;
        Ok(())
    }

    fn on_stream(&mut self, stream: &mut BytesMut) -> Result<(), String> {
        let bytes = stream.split().freeze();
        let mut heard = self.0.lock().unwrap();
        heard.stream.extend_from_slice(&bytes);
        heard.offset += bytes.len() as u64;
        if let Some(at) = heard.stream.windows(GETACK.len()).rposition(|w| w == GETACK) {
            let behind = heard.stream.len() - at - GETACK.len();
            heard.getack = Some(heard.offset - behind as u64);
        }
        if !heard.durable_is_late {
            heard.durable = heard.offset;
        }
        Ok(())
    }

    fn on_wait(&mut self, busy: &Busy, _after_ms: u64) {
        self.0.lock().unwrap().waits.push(busy.clone());
    }

    fn progress(&mut self) -> Progress {
        let heard = self.0.lock().unwrap();
        Progress {
            durable: heard.durable,
            getack: heard.getack,
        }
    }
}

pub fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::List => "list",
        Kind::Set => "set",
        Kind::SortedSet => "zset",
        Kind::Hash => "hash",
        Kind::Stream => "stream",
        Kind::Module => "module",
    }
}

/// A running link; stopped when dropped.
pub struct Link {
    heard: Arc<Mutex<Heard>>,
    pub moved: Arc<Notify>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// How to begin a link.
#[derive(Default)]
pub struct Begin<'a> {
    pub start: Option<Position>,
    pub login: &'a [&'a [u8]],
    pub settings: Settings,
    pub durable_is_late: bool,
}

impl Link {
    pub fn to(port: u16) -> Link {
        Link::begin(port, Begin::default())
    }

    pub fn from(port: u16, start: Position) -> Link {
        Link::begin(
            port,
            Begin {
                start: Some(start),
                ..Begin::default()
            },
        )
    }

    pub fn begin(port: u16, begin: Begin<'_>) -> Link {
        let heard = Arc::new(Mutex::new(Heard {
            durable_is_late: begin.durable_is_late,
            ..Heard::default()
        }));
        let (moved, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (shared, told, stopped) = (heard.clone(), moved.clone(), stop.clone());
        let login = if begin.login.is_empty() {
            Vec::new()
        } else {
            encode(begin.login)
        };
        let (start, settings) = (begin.start, begin.settings);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                if !login.is_empty() {
                    socket.write_all(&login).await.unwrap();
                    let mut answer = [0; 5];
                    socket.read_exact(&mut answer).await.unwrap();
                    assert_eq!(&answer, b"+OK\r\n");
                }
                let mut sink = Recorder(shared.clone());
                let mut counters = Counters::default();
                let capture = Capture::new(socket, start, &settings, &mut counters);
                let lost = tokio::select! {
                    lost = capture.run(&mut sink, &told) => Some(lost),
                    () = stopped.notified() => None,
                };
                let mut heard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                heard.lost = lost;
                heard.counters = counters;
            });
        });
        Link {
            heard,
            moved,
            stop,
            thread: Some(thread),
        }
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    pub fn wait(&self, what: &str, mut happened: impl FnMut(&Heard) -> bool) {
        let start = std::time::Instant::now();
        while !happened(&self.heard()) {
            if start.elapsed().as_secs() > 25 {
                let heard = format!("{:?}", self.heard());
                panic!("waited too long until {what}; heard {heard}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until these bytes stand in the stream.
    pub fn wait_for(&self, bytes: &[u8]) {
        let what = format!("the stream holds {}", bytes.escape_ascii());
        self.wait(&what, |heard| {
            heard.stream.windows(bytes.len()).any(|w| w == bytes)
        });
    }

    /// Waits for the end of the link and says why.
    pub fn lost(&self) -> Lost<String> {
        self.wait("the link ends", |heard| heard.lost.is_some());
        self.heard().lost.clone().unwrap()
    }

    /// Stops the link and says where it stood.
    pub fn stop(mut self) -> Position {
        self.end();
        let heard = self.heard();
        let begun = heard.continued.or(heard.full).unwrap();
        Position {
            offset: heard.offset,
            ..begun
        }
    }

    fn end(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until the server's offset is the link's.
pub fn wait_for_same_offset(server: &super::server::Server, link: &Link) {
    wait_until("both offsets are equal", || {
        let offset: u64 = server.info("master_repl_offset").parse().unwrap();
        link.heard().offset == offset
    });
}

//! The connection on which a syncer applies, both ends: the order of `node/applier.rs`, without its sockets.

use bytes::{Bytes, BytesMut};
use syncer::apply::{Answer, CommandError, Fault, Pending, Replies, Value};
use syncer::echo::Chain;
use syncer::flow::{Dump, Outcome, Site};

use crate::database::{Cause, Database, Entry};
use crate::journal::Logs;
use crate::resp::{self, Reply, Words};

const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// A connection as the database sees it.
#[derive(Debug, Default)]
pub struct Connection {
    /// Sent by the syncer, not read yet.
    pub input: Vec<u8>,
    /// Replies, not read yet.
    pub output: Vec<u8>,
    db: usize,
    queued: Option<Vec<Words>>,
    failed: bool,
    /// A watched key, and what it held.
    watched: Option<(Vec<u8>, Option<Entry>)>,
    /// Whether this connection itself changed it since.
    touched: bool,
}

impl Connection {
    /// Executes the next command; false when there is none. While `refusing`, whatever writes is refused.
    pub fn serve(&mut self, database: &mut Database, refusing: bool) -> bool {
        let Some((words, len)) = resp::parse(&self.input) else {
            return false;
        };
        self.input.drain(..len);
        let reply = self.command(database, words, refusing);
        reply.encode(&mut self.output);
        true
    }

    /// If the next command executes a transaction that carries data: its words, and whether it only repairs.
    pub fn about_to_execute(&self, site: usize) -> Option<(Vec<Vec<u8>>, bool)> {
        let queued = self
            .queued
            .as_ref()
            .filter(|_| !self.failed && self.input.starts_with(EXEC))?;
        let key = |words: &Words| words.get(1).cloned().unwrap_or_default();
        let is_data = |words: &Words| words[0] != b"SELECT" && !key(words).starts_with(b"{syncer}:");
        let own = crate::host::name(site);
        let marker = [b"{syncer}:", own.as_bytes()].concat();
        let is_repair = queued.iter().any(|words| key(words) == marker);
        let data: Vec<Vec<u8>> = queued
            .iter()
            .filter(|words| is_data(words))
            .flatten()
            .cloned()
            .collect();
        (!data.is_empty()).then_some((data, is_repair))
    }

    fn command(&mut self, database: &mut Database, words: Words, refusing: bool) -> Reply {
        match (words[0].as_slice(), &mut self.queued) {
            (b"MULTI", queued) => {
                *queued = Some(Vec::new());
                self.failed = false;
                Reply::Simple("OK")
            }
            (b"EXEC", _) => self.exec(database),
            (_, Some(queued)) => {
                if refusing && words[0] != b"SELECT" {
                    self.failed = true;
                    return Reply::Error(OOM.to_owned());
                }
                if words[0] != b"SELECT" && !database.knows(&words) {
                    self.failed = true;
                    return Reply::Error(format!("ERR unknown command {:?}", words[0]));
                }
                queued.push(words);
                Reply::Simple("QUEUED")
            }
            (b"WATCH", None) => {
                let held = database.dbs[self.db].get(&words[1]).cloned();
                self.watched = Some((words[1].clone(), held));
                self.touched = false;
                Reply::Simple("OK")
            }
            (b"ZADD", None) if refusing => Reply::Error(OOM.to_owned()),
            (b"ZREMRANGEBYSCORE" | b"ZADD", None) if words[1].starts_with(b"{syncer}:") => {
                let before = database.dbs[self.db].get(&words[1]).cloned();
                let reply = database.call(self.db, &words, Cause::Applied);
                database.end_unit();
                self.touched |= database.dbs[self.db].get(&words[1]) != before.as_ref();
                reply
            }
            (_, None) => Reply::Error("ERR the syncer writes outside of a transaction".to_owned()),
        }
    }

    fn exec(&mut self, database: &mut Database) -> Reply {
        let queued = self.queued.take().unwrap_or_default();
        let watched = self.watched.take();
        if self.failed {
            return Reply::Error("EXECABORT Transaction discarded because of previous errors.".to_owned());
        }
        let differs =
            |(key, held): (Vec<u8>, Option<Entry>)| database.dbs[self.db].get(&key) != held.as_ref();
        if watched.is_some_and(|watched| self.touched || differs(watched)) {
            return Reply::Null;
        }
        let mut replies = Vec::new();
        for words in queued {
            if words[0] == b"SELECT" {
                self.db = String::from_utf8_lossy(&words[1]).parse().expect("a database");
                replies.push(Reply::Simple("OK"));
            } else {
                replies.push(database.call(self.db, &words, Cause::Applied));
            }
        }
        database.end_unit();
        Reply::Array(replies)
    }
}

/// The syncer's end.
#[derive(Default)]
pub struct Applier {
    replies: Replies,
    input: BytesMut,
    chain: Chain,
    paused: Option<Fault>,
    /// Commands that the database refused for good.
    pub refused: Vec<String>,
}

impl Applier {
    /// Takes transactions from the engine and writes them; `most` of them at once.
    pub fn gather(&mut self, site: &mut Site<Logs>, connection: &mut Connection, most: usize) -> bool {
        if self.paused.is_some() && self.replies.unanswered() == 0 {
            self.paused = None;
            site.count_retried();
            site.apply_lost();
            site.apply_connected();
            self.chain.begin_anew();
        }
        let mut done = false;
        for _ in 0..most {
            if self.paused.is_some() || !Chain::has_room(self.replies.unanswered()) {
                break;
            }
            let Some(id) = site.next_txn().map(|txn| txn.id) else {
                break;
            };
            let Some(txn) = site.txn(id) else { break };
            let marker = site.marker(txn);
            let link = self.chain.link(self.replies.unanswered());
            let encoded = txn.encode(&marker, &link);
            let reads = txn.reads().next().is_some();
            self.replies.sent(Pending {
                txn: id,
                before: link.before(),
                queued: encoded.queued,
                reads,
            });
            encoded
                .parts
                .iter()
                .for_each(|part| connection.input.extend_from_slice(part));
            done = true;
        }
        done
    }

    /// Reads replies.
    pub fn receive(&mut self, site: &mut Site<Logs>, connection: &mut Connection, most: usize) {
        let len = most.min(connection.output.len());
        self.input.extend_from_slice(&connection.output[..len]);
        connection.output.drain(..len);
        while let Some(answer) = self.replies.next(&mut self.input).expect("replies are whole") {
            match answer {
                Answer::Executed { txn, errors, values } => self.executed(site, txn, &errors, &values),
                Answer::Refused { txn, error } => self.refused(site, txn, &error),
            }
        }
    }

    fn executed(&mut self, site: &mut Site<Logs>, id: u64, errors: &[CommandError], values: &[Value]) {
        let Some(txn) = site.txn(id) else { return };
        let places = txn.reads_queued_at();
        let dumps: Vec<Dump> = places.iter().filter_map(|&at| dump(values, at)).collect();
        for error in errors {
            match txn.command_queued_at(error.at) {
                Some(queued) if queued.is_repair => {}
                queued => {
                    let command = queued.map(|queued| queued.command).unwrap_or_default();
                    let words = resp::parse(&command)
                        .map(|(words, _)| resp::show(&words))
                        .unwrap_or_default();
                    self.refused
                        .push(format!("{words}: {}", String::from_utf8_lossy(&error.text)));
                }
            }
        }
        site.replied(id, Outcome::Executed(dumps));
    }

    fn refused(&mut self, site: &mut Site<Logs>, id: u64, error: &CommandError) {
        let found = site.txn(id).and_then(|txn| txn.command_queued_at(error.at));
        let fault = match (Fault::of(&error.text), found) {
            (Fault::Never, Some(queued)) => {
                site.leave_out(id, &queued);
                if !queued.is_merged {
                    let text = String::from_utf8_lossy(&error.text);
                    self.refused.push(text.into_owned());
                }
                Fault::Never
            }
            (Fault::Order, _) => Fault::Order,
            _ => Fault::Later,
        };
        site.replied(id, Outcome::Refused);
        if self.paused != Some(Fault::Later) {
            self.paused = Some(fault);
        }
    }
}

/// DUMP, PTTL and TIME, from their places in EXEC's reply.
fn dump(values: &[Value], at: usize) -> Option<Dump> {
    let payload = match values.get(at)? {
        Value::Bytes(payload) => Some(Bytes::copy_from_slice(payload)),
        _ => None,
    };
    let (Value::Int(left_ms), Value::Array(time)) = (values.get(at + 1)?, values.get(at + 2)?) else {
        return None;
    };
    let number = |at: usize| match time.get(at) {
        Some(Value::Bytes(text)) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let now = number(0)? * 1000 + number(1)? / 1000;
    Some(Dump {
        payload,
        expires_unix_ms: u64::try_from(*left_ms).ok().map(|left| now + left),
    })
}

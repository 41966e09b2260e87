//! The task that writes marked transactions to the database, pipelined, and reads what came of them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::shared::{Node, Shared};
use crate::apply::{Answer, CommandError, Fault, Pending, Replies, Value};
use crate::capture::backoff_ms;
use crate::converge::TxnId;
use crate::database::io::{Stream, command, connect, greet};
use crate::echo::{CHAIN_KEY, Chain};
use crate::flow::{Dump, Outcome, Queued};
use crate::resp::reply::Value as Reply;

/// Most bytes gathered for one write.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Most parts of one write; the kernel takes up to 1024.
const PARTS_MAX: usize = 64;

/// Applies for ever, on a new connection whenever one is lost.
pub(super) async fn run(shared: Rc<Shared>) {
    let mut attempt = 0;
    loop {
        let why = match connection(&shared).await {
            Ok(stream) => {
                attempt = 0;
                let why = Applier::new(&shared, stream).run().await;
                shared.applying.set(None);
                shared.node.borrow_mut().site.apply_lost();
                why
            }
            Err(why) => why,
        };
        let pause = backoff_ms(attempt, 100, 5_000);
        attempt += 1;
        let known = shared.node.borrow_mut().database.apply_error.replace(why.clone());
        if known.as_ref() != Some(&why) {
            tracing::warn!(error = %why, "the connection to apply on is lost; it is made anew");
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// A connection on which nothing that an earlier one sent can be executed behind our back. Made only when the
/// stream has a beginning: what is executed before it never comes back.
async fn connection(shared: &Shared) -> Result<Stream, String> {
    while shared.node.borrow().site.source().is_none() {
        shared.apply.notified().await;
    }
    let say = |error: crate::database::io::ConnectError| error.to_string();
    let timeout = shared.settings.link.connect_timeout;
    let mut stream = connect(
        &shared.url,
        super::start::database_tls(&shared.settings).as_ref(),
        timeout,
    )
    .await
    .map_err(say)?;
    let name = format!("syncer-{}-apply", shared.settings.site);
    greet(&mut stream, &shared.url, &name).await.map_err(say)?;
    let list = command(&mut stream, &[b"CLIENT", b"LIST"]).await.map_err(say)?;
    let Reply::BulkString(list) = list else {
        return Err(format!(
            "CLIENT LIST was refused: {list:?}; the user needs +client|list and +client|kill"
        ));
    };
    let own = command(&mut stream, &[b"CLIENT", b"ID"]).await.map_err(say)?;
    for words in [&[&b"WATCH"[..], CHAIN_KEY][..], &[b"UNWATCH"]] {
        let answer = command(&mut stream, words).await.map_err(say)?;
        if let Reply::Error(error) = answer {
            return Err(format!(
                "WATCH was refused: {error}; the user needs +watch and +unwatch"
            ));
        }
    }
    let asked = command(&mut stream, &[b"EVAL", b"return 0", b"0"])
        .await
        .map_err(say)?;
    let is_refused = matches!(&asked, Reply::Error(error) if error.starts_with("NOPERM"));
    note_scripts(&mut shared.node.borrow_mut(), !is_refused);
    for id in others(&String::from_utf8_lossy(&list), &name, &own) {
        let killed = command(&mut stream, &[b"CLIENT", b"KILL", b"ID", id.as_bytes()])
            .await
            .map_err(say)?;
        if let Reply::Error(error) = killed {
            return Err(format!("CLIENT KILL was refused: {error}"));
        }
    }
    Ok(stream)
}

/// Keeps whether the database's user may run scripts.
fn note_scripts(node: &mut Node, may_now: bool) {
    let may_script = node.site.set_may_script(may_now);
    if !may_now && may_script {
        tracing::warn!(
            "the database's user may not run EVAL: a stream that is written at several sites at once waits for it; \
             grant it: ACL SETUSER <user> +eval"
        );
    } else if may_now && !may_script {
        tracing::info!("the database's user may run EVAL now: streams that waited for it go on");
    }
}

fn is_script(queued: &Queued) -> bool {
    queued.is_repair && queued.command.split(|&byte| byte == b'\n').nth(2) == Some(b"EVAL\r".as_slice())
}

/// The ids of connections of this name but our own.
fn others(list: &str, name: &str, own: &Reply) -> Vec<String> {
    let own = match own {
        Reply::Integer(id) => id.to_string(),
        _ => String::new(),
    };
    let field = |line: &str, key: &str| {
        line.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
    };
    list.lines()
        .filter(|line| field(line, "name").as_deref() == Some(name))
        .filter_map(|line| field(line, "id"))
        .filter(|id| *id != own)
        .collect()
}

struct Applier<'a> {
    shared: &'a Shared,
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    replies: Replies,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    input: BytesMut,
    chain: Chain,
    /// Why nothing is sent for now.
    paused: Option<Fault>,
    refusals: u32,
    /// Which beginning of the stream the connection belongs to.
    resyncs: u64,
}

impl<'a> Applier<'a> {
    fn new(shared: &'a Shared, stream: Stream) -> Applier<'a> {
        let (reader, writer) = tokio::io::split(stream);
        let resyncs = shared.node.borrow().captured.full_resyncs;
        shared.applying.set(Some(resyncs));
        Applier {
            shared,
            reader,
            writer,
            replies: Replies::default(),
            out: VecDeque::new(),
            out_bytes: 0,
            input: BytesMut::with_capacity(64 * 1024),
            chain: Chain::default(),
            paused: None,
            refusals: 0,
            resyncs,
        }
    }

    async fn run(mut self) -> String {
        self.shared.node.borrow_mut().site.apply_connected();
        loop {
            if self.shared.node.borrow().captured.full_resyncs != self.resyncs {
                return "the stream began anew".to_owned();
            }
            if self.shared.asks_again.take() {
                return "streams wait for the right to run EVAL; the database is asked for it again"
                    .to_owned();
            }
            if self.paused.is_some() && self.replies.unanswered() == 0 && self.out.is_empty() {
                self.resume().await;
            }
            self.gather();
            let step = if self.out.is_empty() {
                self.wait().await
            } else {
                self.write().await
            };
            if let Err(why) = step {
                return why;
            }
        }
    }

    /// Everything sent has its answer: after a pause, what was not executed goes out again.
    async fn resume(&mut self) {
        if self.paused.take() == Some(Fault::Later) {
            let pause = backoff_ms(self.refusals, 20, 1_000);
            self.refusals += 1;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let mut node = self.shared.node.borrow_mut();
        node.site.count_retried();
        node.site.apply_lost();
        node.site.apply_connected();
        self.chain.begin_anew();
    }

    /// Takes transactions from the engine as far as one write goes.
    fn gather(&mut self) {
        let mut node = self.shared.node.borrow_mut();
        while self.paused.is_none()
            && self.out_bytes < WRITE_BYTES_MAX
            && Chain::has_room(self.replies.unanswered())
        {
            let Some(id) = node.site.next_txn().map(|txn| txn.id) else {
                break;
            };
            let Some(txn) = node.site.txn(id) else { break };
            let marker = node.site.marker(txn);
            let link = self.chain.link(self.replies.unanswered());
            let encoded = txn.encode(&marker, &link);
            let reads = txn.reads().next().is_some();
            self.replies.sent(Pending {
                txn: id,
                before: link.before(),
                queued: encoded.queued,
                reads,
            });
            self.out_bytes += encoded.parts.iter().map(Bytes::len).sum::<usize>();
            self.out.extend(encoded.parts);
        }
    }

    async fn wait(&mut self) -> Result<(), String> {
        tokio::select! {
            read = self.reader.read_buf(&mut self.input) => self.received(read),
            () = self.shared.apply.notified() => Ok(()),
        }
    }

    async fn write(&mut self) -> Result<(), String> {
        let slices: Vec<IoSlice<'_>> = self
            .out
            .iter()
            .take(PARTS_MAX)
            .map(|part| IoSlice::new(part))
            .collect();
        let done = tokio::select! {
            biased;
            written = self.writer.write_vectored(&slices) => written,
            read = self.reader.read_buf(&mut self.input) => return self.received(read),
        };
        let mut written = done.map_err(|error| format!("the database's socket: {error}"))?;
        self.out_bytes -= written;
        while written > 0 {
            let Some(part) = self.out.front_mut() else { break };
            let taken = part.len().min(written);
            part.advance(taken);
            written -= taken;
            if part.is_empty() {
                self.out.pop_front();
            }
        }
        if self.out.is_empty() {
            self.writer
                .flush()
                .await
                .map_err(|error| format!("the database's socket: {error}"))?;
        }
        Ok(())
    }

    fn received(&mut self, read: std::io::Result<usize>) -> Result<(), String> {
        match read {
            Ok(0) => return Err("the database closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(format!("the database's socket: {error}")),
        }
        while let Some(answer) = self
            .replies
            .next(&mut self.input)
            .map_err(|error| error.to_string())?
        {
            self.answered(answer);
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Executed { txn, errors, values } => self.executed(txn, &errors, &values),
            Answer::Refused { txn, error } => self.refused(txn, &error),
        }
    }

    fn executed(&mut self, id: TxnId, errors: &[CommandError], values: &[Value]) {
        let mut node = self.shared.node.borrow_mut();
        let Some(txn) = node.site.txn(id) else {
            return;
        };
        // A barrier carries nothing: that it was executed says nothing of what is refused.
        let carries = !txn.pieces.is_empty();
        if carries {
            self.refusals = 0;
        }
        let places = txn.reads_queued_at();
        let dumps: Vec<Dump> = places.iter().filter_map(|&at| dump(values, at)).collect();
        let mut refused = 0;
        for error in errors {
            match txn.command_queued_at(error.at) {
                // It raced with a client's write; the echo tells, and the key is compared again.
                Some(queued) if queued.is_repair => {}
                queued => {
                    record(&error.text, queued.map(|queued| queued.command));
                    refused += 1;
                }
            }
        }
        (0..refused).for_each(|_| node.site.count_refused());
        if carries || self.refusals == 0 {
            node.database.apply_error = None;
        }
        node.site.replied(id, Outcome::Executed(dumps));
        drop(node);
        if !places.is_empty() {
            self.shared.stream.notify_one();
        }
    }

    /// Nothing of the transaction was executed.
    fn refused(&mut self, id: TxnId, error: &CommandError) {
        let text = String::from_utf8_lossy(&error.text).into_owned();
        let mut node = self.shared.node.borrow_mut();
        let found = node.site.txn(id).and_then(|txn| txn.command_queued_at(error.at));
        let is_no_script = error.text.starts_with(b"NOPERM") && found.as_ref().is_some_and(is_script);
        let fault = match (Fault::of(&error.text), found) {
            // Its key waits for the right, and nothing else does.
            (_, Some(queued)) if is_no_script => {
                node.site.leave_out_script(id, &queued);
                note_scripts(&mut node, false);
                Fault::Never
            }
            (Fault::Never, Some(queued)) => {
                node.site.leave_out(id, &queued);
                if !queued.is_merged {
                    record(&error.text, Some(queued.command));
                }
                Fault::Never
            }
            (Fault::Order, _) => Fault::Order,
            _ => Fault::Later,
        };
        node.site.replied(id, Outcome::Refused);
        if fault == Fault::Later && node.database.apply_error.as_deref() != Some(&text) {
            tracing::warn!(error = %text, "the database takes no writes now; they are kept and tried again");
            node.database.apply_error = Some(text);
        }
        if self.paused != Some(Fault::Later) {
            self.paused = Some(fault);
        }
    }
}

/// A command that the database refuses for good is never skipped in silence.
fn record(error: &[u8], command: Option<Bytes>) {
    let words: Vec<String> = command
        .iter()
        .flat_map(|command| command.split(|&byte| byte == b'\n'))
        .filter(|line| !matches!(line.first(), None | Some(b'*' | b'$')))
        .take(2)
        .map(|line| {
            String::from_utf8_lossy(line)
                .trim_end()
                .chars()
                .take(100)
                .collect()
        })
        .collect();
    tracing::warn!(
        target: "syncer::refused",
        command = words.first().map_or("?", String::as_str),
        key = words.get(1).map_or("?", String::as_str),
        error = %String::from_utf8_lossy(error),
        "the database refused a command for good"
    );
}

/// DUMP, PTTL and TIME, from their places in EXEC's reply.
fn dump(values: &[Value], at: usize) -> Option<Dump> {
    let payload = match values.get(at)? {
        Value::Bytes(payload) => Some(payload.clone()),
        _ => None,
    };
    let Value::Int(left_ms) = values.get(at + 1)? else {
        return None;
    };
    let Value::Array(time) = values.get(at + 2)? else {
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

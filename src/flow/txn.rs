//! Marked transactions: what they carry, and their bytes.

use std::ops::Range;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::causality::{Dot, Hlc, Seq, SiteIx};
use crate::command::EffectClass;
use crate::converge::TxnId;
use crate::echo::{Link, Marker, key_of};
use crate::op::Batch;
use crate::resp::encode;

/// Commands behind MULTI before those that the transaction carries: of the chain, and the marker.
const LEAD: usize = 2;
/// Commands that read a value: DUMP, PTTL and TIME.
const READS: usize = 3;

/// A part of a transaction, in one database.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Rows of a batch as they came.
    Rows {
        /// The batch.
        batch: Rc<Batch>,
        /// First row.
        from: usize,
        /// Behind the last row.
        to: usize,
        /// Database number.
        db: u32,
    },
    /// Rows that set plain strings, as one command.
    Merged {
        /// The batch.
        batch: Rc<Batch>,
        /// First row.
        from: usize,
        /// Behind the last row.
        to: usize,
        /// Database number.
        db: u32,
        /// The `MSET`, in RESP.
        command: Bytes,
    },
    /// A row that carries a value, with a payload of our own making.
    Rewritten {
        /// Its number.
        seq: Seq,
        /// Database number.
        db: u32,
        /// In RESP.
        command: Bytes,
    },
    /// Commands of ours for one key.
    Repair {
        /// Fingerprint of (db, key).
        fingerprint: u64,
        /// Database number.
        db: u32,
        /// The key.
        key: Bytes,
        /// In RESP.
        commands: Vec<Bytes>,
        /// Whether the value is read behind them: PEXPIRETIME is not in Redis 6.2, so PTTL and TIME stand for it.
        reads: Option<Reader>,
    },
}

/// For whom a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// It becomes an operation of this site.
    All,
    /// For this site alone.
    Me,
    /// Its expiry time alone, which becomes an operation of this site if there is one.
    Time,
}

impl Piece {
    fn db(&self) -> u32 {
        match self {
            Piece::Rows { db, .. }
            | Piece::Merged { db, .. }
            | Piece::Rewritten { db, .. }
            | Piece::Repair { db, .. } => *db,
        }
    }

    /// How many commands it stands for among those that the transaction carries.
    fn places(&self) -> usize {
        match self {
            Piece::Rows { from, to, .. } => to - from,
            Piece::Merged { .. } | Piece::Rewritten { .. } => 1,
            Piece::Repair { commands, .. } => commands.len(),
        }
    }

    /// Each of them.
    fn each(&self) -> Vec<Bytes> {
        match self {
            Piece::Rows { batch, from, to, .. } => (*from..*to).map(|at| batch.command(at)).collect(),
            Piece::Merged { command, .. } | Piece::Rewritten { command, .. } => vec![command.clone()],
            Piece::Repair { commands, .. } => commands.clone(),
        }
    }

    /// The key whose value is read behind it, and for whom.
    fn read(&self) -> Option<(&Bytes, Reader)> {
        match self {
            Piece::Repair {
                key,
                reads: Some(reader),
                ..
            } => Some((key, *reader)),
            _ => None,
        }
    }
}

/// A key's share in a transaction that became interesting after it was submitted.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub fingerprint: u64,
    pub db: u32,
    pub key: Bytes,
    pub seq: Seq,
}

/// What came of a transaction, told by its replies.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Executed; the values read for each key that was to be read, in order.
    Executed(Vec<Dump>),
    /// Nothing of it was executed, and it can be tried again.
    Refused,
}

/// A value that was read: the dump and the remaining time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// As DUMP gives it; `None` without a key.
    pub payload: Option<Bytes>,
    /// When the key expires, Unix milliseconds.
    pub expires_unix_ms: Option<u64>,
}

/// A command as it was queued in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its place among the commands that the transaction carries.
    pub place: usize,
    /// The command in RESP.
    pub command: Bytes,
    /// Whether it repairs a key in conflict, and is no operation itself.
    pub is_repair: bool,
    /// Whether it stands for several operations: which of them is to blame for a refusal is not known.
    pub is_merged: bool,
}

/// A marked transaction.
#[derive(Debug, Clone)]
pub struct Txn {
    /// Its number in this run.
    pub id: TxnId,
    /// Whose operations it carries; this site itself for repairs alone.
    pub origin: SiteIx,
    /// The first of them.
    pub from: Seq,
    /// The last of them; 0 for repairs alone.
    pub to: Seq,
    /// Timestamp of the last.
    pub time: Hlc,
    /// What it carries, in order.
    pub pieces: Vec<Piece>,
    /// Commands, and bytes, that it carries.
    pub commands: usize,
    /// Bytes that it carries, and of operations that its repairs stand for.
    pub bytes: usize,
    /// The mark that it puts behind this site's own operations; 0 for none.
    pub(super) captured: Seq,
    /// Whether it empties the database that holds the markers.
    pub(super) flushes: bool,
    pub(super) watches: Vec<Watch>,
    pub(super) outcome: Option<Outcome>,
    /// Places of commands that the database will never queue; they are left out.
    pub(super) left_out: Vec<usize>,
}

impl Txn {
    pub(super) fn new(id: TxnId, origin: SiteIx) -> Txn {
        Txn {
            id,
            origin,
            from: 0,
            to: 0,
            time: Hlc(0),
            pieces: Vec::new(),
            commands: 0,
            bytes: 0,
            captured: 0,
            flushes: false,
            watches: Vec::new(),
            outcome: None,
            left_out: Vec::new(),
        }
    }

    /// The values that are to be read in it, and for whom.
    pub fn reads(&self) -> impl Iterator<Item = ((u64, u32, &Bytes), Reader)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Repair {
                fingerprint,
                db,
                key,
                reads: Some(reader),
                ..
            } => Some(((*fingerprint, *db, key), *reader)),
            _ => None,
        })
    }

    /// A key of one of its rows becomes interesting.
    pub(super) fn watch(&mut self, fingerprint: u64, db: u32, key: Bytes, seq: Seq) {
        self.watches.push(Watch {
            fingerprint,
            db,
            key,
            seq,
        });
    }

    /// Adds a row, to the last piece if it goes on there.
    pub(super) fn push_row(&mut self, batch: &Rc<Batch>, at: usize, db: u32, bytes: usize) {
        self.commands += 1;
        self.bytes += bytes;
        if let Some(Piece::Rows {
            batch: last,
            to,
            db: last_db,
            ..
        }) = self.pieces.last_mut()
            && Rc::ptr_eq(last, batch)
            && *to == at
            && *last_db == db
        {
            *to += 1;
            return;
        }
        self.pieces.push(Piece::Rows {
            batch: Rc::clone(batch),
            from: at,
            to: at + 1,
            db,
        });
    }

    /// Adds a row whose payload was written anew.
    pub(super) fn push_rewritten(&mut self, seq: Seq, db: u32, command: Bytes) {
        self.commands += 1;
        self.bytes += command.len();
        self.pieces.push(Piece::Rewritten { seq, db, command });
    }

    /// The commands in order, without what selects databases: how the transaction should come back.
    pub(super) fn expected(&self) -> Vec<Bytes> {
        if !self.left_out.is_empty() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Rows { batch, from, to, .. } => batch.bytes_of(*from, *to, |bytes| all.push(bytes)),
                _ => all.extend(piece.each()),
            }
        }
        all
    }

    /// Each command by itself with its database, in order.
    pub(super) fn each_command(&self) -> Vec<(u32, Bytes)> {
        let each = |piece: &Piece| {
            let db = piece.db();
            piece.each().into_iter().map(move |command| (db, command))
        };
        self.pieces.iter().flat_map(each).collect()
    }

    /// The place among the commands of each command that touches a watched or repaired key.
    pub(super) fn shares(&self) -> Vec<(u64, u32, Bytes, usize)> {
        let mut shares = Vec::new();
        let mut at = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Rows { batch, from, to, .. } => {
                    let rows = batch.first_seq + *from as Seq..batch.first_seq + *to as Seq;
                    let first = rows.start;
                    self.share(rows, |seq| at + (seq - first) as usize, &mut shares);
                }
                Piece::Merged { batch, from, to, .. } => {
                    let rows = batch.first_seq + *from as Seq..batch.first_seq + *to as Seq;
                    self.share(rows, |_| at, &mut shares);
                }
                Piece::Rewritten { seq, .. } => self.share(*seq..*seq + 1, |_| at, &mut shares),
                Piece::Repair {
                    fingerprint,
                    db,
                    key,
                    commands,
                    ..
                } => {
                    let repairs = 0..commands.len();
                    shares.extend(repairs.map(|repair| (*fingerprint, *db, key.clone(), at + repair)));
                }
            }
            at += piece.places();
        }
        shares
    }

    /// Operations that it carries as they came, whose results depend on other keys, and that had no effect.
    pub(super) fn derived_without(&self, effects: &[bool]) -> Vec<Dot> {
        let mut found = Vec::new();
        let mut place = 0;
        for piece in &self.pieces {
            if let Piece::Rows { batch, from, to, .. } = piece {
                let is_derived = |at: &usize| {
                    batch
                        .row(*at)
                        .is_some_and(|row| row.class == EffectClass::Derived)
                };
                let is_void = |at: &usize| !effects.get(place + at - from).copied().unwrap_or(false);
                let void = (*from..*to).filter(is_derived).filter(is_void);
                found.extend(void.map(|at| Dot {
                    site: self.origin,
                    seq: batch.first_seq + at as Seq,
                }));
            }
            place += piece.places();
        }
        found
    }

    /// What is watched of some rows, in their order.
    fn share(
        &self,
        rows: Range<Seq>,
        place: impl Fn(Seq) -> usize,
        shares: &mut Vec<(u64, u32, Bytes, usize)>,
    ) {
        let mut watches: Vec<&Watch> = self
            .watches
            .iter()
            .filter(|watch| rows.contains(&watch.seq))
            .collect();
        watches.sort_by_key(|watch| watch.seq);
        let share = |watch: &Watch| (watch.fingerprint, watch.db, watch.key.clone(), place(watch.seq));
        shares.extend(watches.into_iter().map(share));
    }

    /// The places among those queued of each DUMP, with its key's piece in order; PTTL and TIME stand behind it.
    pub fn reads_queued_at(&self) -> Vec<usize> {
        let mut db = 0;
        let mut at = LEAD;
        let mut places = Vec::new();
        for piece in &self.pieces {
            at += usize::from(std::mem::replace(&mut db, piece.db()) != piece.db()) + piece.places();
            if piece.read().is_some() {
                places.push(at);
                at += READS;
            }
        }
        places
    }

    /// The command at a place among those queued, counted with what stands before it and what selects databases.
    pub fn command_queued_at(&self, queued: usize) -> Option<Queued> {
        let mut db = 0;
        let mut at = LEAD;
        let mut place = 0;
        for piece in &self.pieces {
            at += usize::from(std::mem::replace(&mut db, piece.db()) != piece.db());
            for command in piece.each() {
                if !self.left_out.contains(&place) {
                    if at == queued {
                        return Some(Queued {
                            place,
                            command,
                            is_repair: matches!(piece, Piece::Repair { .. }),
                            is_merged: matches!(piece, Piece::Merged { .. }),
                        });
                    }
                    at += 1;
                }
                place += 1;
            }
            at += piece.read().map_or(0, |_| READS);
        }
        None
    }

    /// A command that the database will never queue is left out. One that stands for several operations is sent as
    /// these, instead.
    pub(super) fn leave_out(&mut self, place: usize) {
        let mut at = 0;
        for piece in &mut self.pieces {
            if let Piece::Merged {
                batch, from, to, db, ..
            } = piece
                && at == place
            {
                let (batch, from, to, db) = (Rc::clone(batch), *from, *to, *db);
                *piece = Piece::Rows { batch, from, to, db };
                let behind = self.left_out.iter_mut().filter(|left_out| **left_out > place);
                behind.for_each(|left_out| *left_out += to - from - 1);
                return;
            }
            at += piece.places();
        }
        self.left_out.push(place);
    }

    /// The bytes for a connection, which has database 0 selected before and behind it: a transaction that is refused
    /// selects nothing, and the next one has been sent.
    pub fn encode(&self, marker: &Marker, link: &Link) -> Encoded {
        let mut parts = Vec::with_capacity(3);
        let mut head = BytesMut::with_capacity(256);
        let db = &mut 0;
        link.encode_before(&mut head);
        encode::command(&mut head, &[b"MULTI"]);
        link.encode_within(&mut head);
        encode::command(
            &mut head,
            &[b"SET", &key_of(marker.origin), marker.value().as_bytes()],
        );
        let mut queued = LEAD;
        let mut place = 0;
        for piece in &self.pieces {
            queued += select(&mut head, db, piece.db());
            if let Piece::Rows { batch, from, to, .. } = piece
                && self.left_out.is_empty()
            {
                parts.push(head.split().freeze());
                batch.bytes_of(*from, *to, |bytes| parts.push(bytes));
                queued += to - from;
                continue;
            }
            for command in piece.each() {
                if !self.left_out.contains(&place) {
                    parts.push(head.split().freeze());
                    parts.push(command);
                    queued += 1;
                }
                place += 1;
            }
            if let Some((key, reader)) = piece.read() {
                // What is no payload is none.
                let value: &[u8] = if reader == Reader::Time { b"PTTL" } else { b"DUMP" };
                encode::command(&mut head, &[value, key]);
                encode::command(&mut head, &[b"PTTL", key]);
                encode::command(&mut head, &[b"TIME"]);
                queued += READS;
            }
        }
        queued += select(&mut head, db, 0);
        if self.flushes {
            link.encode_anew(&mut head);
            queued += 1;
        }
        encode::command(&mut head, &[b"EXEC"]);
        parts.push(head.freeze());
        parts.retain(|part| !part.is_empty());
        Encoded { parts, queued }
    }
}

/// A transaction as it is sent.
#[derive(Debug)]
pub struct Encoded {
    /// Its bytes.
    pub parts: Vec<Bytes>,
    /// Commands between MULTI and EXEC.
    pub queued: usize,
}

fn select(out: &mut BytesMut, selected: &mut u32, wanted: u32) -> usize {
    if *selected == wanted {
        return 0;
    }
    *selected = wanted;
    encode::command(
        out,
        &[b"SELECT", encode::Decimal::new(u64::from(wanted)).as_bytes()],
    );
    1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::causality::{Roster, SiteId};
    use crate::echo::Place;

    fn rewritten() -> Txn {
        let me = SiteId::new(b"a").unwrap();
        let roster = Roster::new(me, &[SiteId::new(b"b").unwrap()]).unwrap();
        let mut txn = Txn::new(7, roster.me());
        txn.push_rewritten(5, 0, Bytes::from_static(b"*1\r\n$5\r\nfirst\r\n"));
        txn.push_rewritten(6, 1, Bytes::from_static(b"*1\r\n$6\r\nsecond\r\n"));
        txn.watch(9, 1, Bytes::from_static(b"k"), 6);
        txn
    }

    fn bytes_of(txn: &Txn) -> (String, usize) {
        let marker = Marker {
            origin: SiteId::new(b"a").unwrap(),
            seq: 6,
            time: Hlc(0),
            writer: 1,
            txn: 7,
        };
        let link = Link {
            number: 3,
            place: Place::Alone,
        };
        let encoded = txn.encode(&marker, &link);
        (String::from_utf8(encoded.parts.concat()).unwrap(), encoded.queued)
    }

    #[test]
    fn rows_written_anew_are_sent_and_expected_as_they_are() {
        let txn = rewritten();
        let commands: Vec<Bytes> = txn.expected();
        let each: Vec<Bytes> = txn
            .each_command()
            .into_iter()
            .map(|(_, command)| command)
            .collect();
        assert_eq!(commands, each);
        let (sent, queued) = bytes_of(&txn);
        assert!(sent.contains("first\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n*1\r\n$6\r\nsecond"));
        assert!(sent.ends_with("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nEXEC\r\n"));
        // Chain, marker, first, SELECT, second, SELECT.
        assert_eq!(queued, 6);
        assert_eq!(txn.shares(), [(9, 1, Bytes::from_static(b"k"), 1)]);
        let places = [2, 4].map(|at| txn.command_queued_at(at).unwrap());
        assert_eq!(places.clone().map(|queued| queued.place), [0, 1]);
        assert_eq!(places.map(|queued| queued.command).to_vec(), commands);
    }

    #[test]
    fn what_is_left_out_is_not_sent() {
        let mut txn = rewritten();
        txn.left_out.push(0);
        let (sent, queued) = bytes_of(&txn);
        assert!(!sent.contains("first") && sent.contains("second"));
        assert_eq!(queued, 5);
    }
}

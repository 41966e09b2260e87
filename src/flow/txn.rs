//! Marked transactions: what they carry, and their bytes.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::causality::{Hlc, Seq, SiteIx};
use crate::converge::TxnId;
use crate::echo::{Link, Marker, key_of};
use crate::op::Batch;
use crate::resp::encode;

/// Commands behind MULTI before those that the transaction carries: of the chain, and the marker.
const LEAD: usize = 2;

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
        /// Read the value behind them: PEXPIRETIME is not in Redis 6.2, so PTTL and TIME stand for it.
        ship_state: bool,
    },
}

impl Piece {
    fn db(&self) -> u32 {
        match self {
            Piece::Rows { db, .. } | Piece::Rewritten { db, .. } | Piece::Repair { db, .. } => *db,
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
    /// Executed; the values read for each key that was to be shipped, in order.
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

    /// Whether values are to be read in it.
    pub fn ships(&self) -> impl Iterator<Item = (u64, u32, &Bytes)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Repair {
                fingerprint,
                db,
                key,
                ship_state: true,
                ..
            } => Some((*fingerprint, *db, key)),
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
                Piece::Rewritten { command, .. } => all.push(command.clone()),
                Piece::Repair { commands, .. } => all.extend(commands.iter().cloned()),
            }
        }
        all
    }

    /// Each command by itself with its database, in order.
    pub(super) fn each_command(&self) -> Vec<(u32, Bytes)> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Rows { batch, from, to, db } => {
                    all.extend((*from..*to).map(|at| (*db, batch.command(at))));
                }
                Piece::Rewritten { command, db, .. } => all.push((*db, command.clone())),
                Piece::Repair { commands, db, .. } => {
                    all.extend(commands.iter().map(|command| (*db, command.clone())));
                }
            }
        }
        all
    }

    /// The place among the commands of each command that touches a watched or repaired key.
    pub(super) fn shares(&self) -> Vec<(u64, u32, Bytes, usize)> {
        let mut shares = Vec::new();
        let mut at = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Rows { batch, from, to, .. } => {
                    for watch in &self.watches {
                        let row = watch.seq.wrapping_sub(batch.first_seq) as usize;
                        if (*from..*to).contains(&row) {
                            let place = at + row - from;
                            shares.push((watch.fingerprint, watch.db, watch.key.clone(), place));
                        }
                    }
                    at += to - from;
                }
                Piece::Rewritten { seq, .. } => {
                    for watch in self.watches.iter().filter(|watch| watch.seq == *seq) {
                        shares.push((watch.fingerprint, watch.db, watch.key.clone(), at));
                    }
                    at += 1;
                }
                Piece::Repair {
                    fingerprint,
                    db,
                    key,
                    commands,
                    ..
                } => {
                    for _ in commands {
                        shares.push((*fingerprint, *db, key.clone(), at));
                        at += 1;
                    }
                }
            }
        }
        shares.sort_by_key(|share| share.3);
        shares
    }

    /// The places among those queued of each DUMP, with its key's piece in order; PTTL and TIME stand behind it.
    pub fn reads_queued_at(&self) -> Vec<usize> {
        let mut db = 0;
        let mut at = LEAD;
        let mut places = Vec::new();
        for piece in &self.pieces {
            let (wanted, commands, reads) = match piece {
                Piece::Rows { from, to, db, .. } => (*db, to - from, false),
                Piece::Rewritten { db, .. } => (*db, 1, false),
                Piece::Repair {
                    db,
                    commands,
                    ship_state,
                    ..
                } => (*db, commands.len(), *ship_state),
            };
            at += usize::from(std::mem::replace(&mut db, wanted) != wanted) + commands;
            if reads {
                places.push(at);
                at += 3;
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
            let is_repair = matches!(piece, Piece::Repair { .. });
            let (wanted, commands, reads) = match piece {
                Piece::Rows { batch, from, to, db } => (
                    *db,
                    (*from..*to).map(|at| batch.command(at)).collect::<Vec<_>>(),
                    0,
                ),
                Piece::Rewritten { db, command, .. } => (*db, vec![command.clone()], 0),
                Piece::Repair {
                    db,
                    commands,
                    ship_state,
                    ..
                } => (*db, commands.clone(), if *ship_state { 3 } else { 0 }),
            };
            at += usize::from(std::mem::replace(&mut db, wanted) != wanted);
            for command in commands {
                if !self.left_out.contains(&place) {
                    if at == queued {
                        return Some(Queued {
                            place,
                            command,
                            is_repair,
                        });
                    }
                    at += 1;
                }
                place += 1;
            }
            at += reads;
        }
        None
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
            let commands = match piece {
                Piece::Rows { batch, from, to, .. } if self.left_out.is_empty() => {
                    parts.push(head.split().freeze());
                    batch.bytes_of(*from, *to, |bytes| parts.push(bytes));
                    queued += to - from;
                    continue;
                }
                Piece::Rows { batch, from, to, .. } => (*from..*to).map(|at| batch.command(at)).collect(),
                Piece::Rewritten { command, .. } => vec![command.clone()],
                Piece::Repair {
                    key,
                    commands,
                    ship_state,
                    ..
                } => {
                    commands
                        .iter()
                        .for_each(|command| head.extend_from_slice(command));
                    queued += commands.len();
                    if *ship_state {
                        encode::command(&mut head, &[b"DUMP", key]);
                        encode::command(&mut head, &[b"PTTL", key]);
                        encode::command(&mut head, &[b"TIME"]);
                        queued += 3;
                    }
                    continue;
                }
            };
            for command in commands {
                if !self.left_out.contains(&place) {
                    parts.push(head.split().freeze());
                    parts.push(command);
                    queued += 1;
                }
                place += 1;
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

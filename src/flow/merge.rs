//! Runs of plain `SET`s as one `MSET` each.
//!
//! Most of what a database spends on a transaction is not the writes: it queues every command by itself, answers it
//! twice, and sends it on by itself. An `MSET` of as many keys costs it two thirds (`benches/README.md`), does the
//! same to every key, and takes effect as a whole, always.
//!
//! Invariant: what is merged was adjacent, so the order of the rows is kept.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::txn::Piece;
use crate::op::Batch;
use crate::resp::encode::Decimal;

/// What a plain `SET` begins with: neither a condition nor an expiry time has room behind it.
const PLAIN: &[u8] = b"*3\r\n$3\r\nSET\r\n";
/// Longer commands gain nothing, and would be copied.
const COMMAND_BYTES_MAX: usize = 512;

/// The pieces with their runs of plain `SET`s merged.
pub(super) fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Rows { batch, from, to, db } => split(&batch, from..to, db, &mut all),
            piece => all.push(piece),
        }
    }
    all
}

fn split(batch: &Rc<Batch>, rows: std::ops::Range<usize>, db: u32, all: &mut Vec<Piece>) {
    let mut commands = batch.commands(rows.start, rows.end).map(|(_, command)| command);
    let mut at = rows.start;
    // Behind the last row that stands in a piece.
    let mut done = rows.start;
    while at < rows.end {
        let run = commands.by_ref().take_while(|command| is_plain(command)).count();
        if run > 1 {
            push_rows(batch, done..at, db, all);
            let (from, to) = (at, at + run);
            let command = mset(batch, from, to);
            let batch = Rc::clone(batch);
            all.push(Piece::Merged {
                batch,
                from,
                to,
                db,
                command,
            });
            done = to;
        }
        // The one that ended the run is passed, too.
        at += run + 1;
    }
    push_rows(batch, done..rows.end, db, all);
}

fn push_rows(batch: &Rc<Batch>, rows: std::ops::Range<usize>, db: u32, all: &mut Vec<Piece>) {
    if !rows.is_empty() {
        let batch = Rc::clone(batch);
        let (from, to) = (rows.start, rows.end);
        all.push(Piece::Rows { batch, from, to, db });
    }
}

fn is_plain(command: &[u8]) -> bool {
    let name = command.get(..PLAIN.len());
    command.len() <= COMMAND_BYTES_MAX && name.is_some_and(|name| name.eq_ignore_ascii_case(PLAIN))
}

/// The rows as one command: what stands behind the name of each stands behind its name.
fn mset(batch: &Batch, from: usize, to: usize) -> Bytes {
    let payload = batch.start_of(to) - batch.start_of(from);
    let mut out = BytesMut::with_capacity(payload as usize + 32);
    out.extend_from_slice(b"*");
    out.extend_from_slice(Decimal::new(2 * (to - from) as u64 + 1).as_bytes());
    out.extend_from_slice(b"\r\n$4\r\nMSET\r\n");
    for (_, command) in batch.commands(from, to) {
        out.extend_from_slice(command.get(PLAIN.len()..).unwrap_or_default());
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::causality::{Hlc, Roster, SiteId, SiteIx, Vector};
    use crate::command::EffectClass;
    use crate::flow::txn::Txn;
    use crate::op::{Builder, REPLICATION_ID_BYTES, Row, Source};
    use crate::resp::encode;

    fn command(words: &[&[u8]]) -> Bytes {
        let mut bytes = BytesMut::new();
        encode::command(&mut bytes, words);
        bytes.freeze()
    }

    /// A transaction with these rows of database 3, each in a part of its own.
    fn txn(commands: &[&[&[u8]]]) -> Txn {
        let mut builder = Builder::default();
        for words in commands {
            let row = Row {
                end: 0,
                flags: 0,
                class: EffectClass::Set,
                db: 3,
                fingerprint: 7,
            };
            builder.push_owned(command(words), row, &[]);
        }
        let source = Source {
            replication_id: [b'1'; REPLICATION_ID_BYTES],
            offset: 1,
            db: 0,
        };
        let (place, first) = (builder.place(), (11, Hlc(9)));
        let batch = builder.finish(place, SiteIx(1), first, Vector::zero(2), source);
        let batch = Rc::new(batch.unwrap());
        let roster = Roster::new(SiteId::new(b"a").unwrap(), &[SiteId::new(b"b").unwrap()]).unwrap();
        let mut txn = Txn::new(1, roster.me());
        for at in 0..commands.len() {
            txn.push_row(&batch, at, 3, 1);
        }
        txn.pieces = merged(txn.pieces);
        txn
    }

    const A: &[&[u8]] = &[b"SET", b"a", b"1"];
    const B: &[&[u8]] = &[b"set", b"b", b"2"];
    const TIMED: &[&[u8]] = &[b"SET", b"a", b"1", b"PXAT", b"99"];

    #[test]
    fn runs_are_merged_and_the_order_is_kept() {
        let both = command(&[b"MSET", b"a", b"1", b"b", b"2"]);
        for (rows, expected) in [
            (vec![A, B], vec![both.clone()]),
            (vec![A], vec![command(A)]),
            (vec![A, TIMED, B], vec![command(A), command(TIMED), command(B)]),
            (
                vec![TIMED, A, B, TIMED],
                vec![command(TIMED), both.clone(), command(TIMED)],
            ),
            (
                vec![A, B, TIMED, A, B],
                vec![both.clone(), command(TIMED), both.clone()],
            ),
            (
                vec![A, TIMED, A, B],
                vec![command(A), command(TIMED), both.clone()],
            ),
        ] {
            let txn = txn(&rows);
            let each: Vec<Bytes> = txn
                .each_command()
                .into_iter()
                .map(|(_, command)| command)
                .collect();
            assert_eq!(each, expected);
            assert_eq!(txn.expected().concat(), expected.concat());
        }
    }

    #[test]
    fn a_long_value_is_not_copied() {
        let long = [b'x'; COMMAND_BYTES_MAX];
        let txn = txn(&[A, &[b"SET", b"l", &long], B]);
        assert!(txn.pieces.iter().all(|piece| matches!(piece, Piece::Rows { .. })));
    }

    #[test]
    fn keys_are_watched_within_what_is_merged() {
        let mut txn = txn(&[TIMED, A, B, A, TIMED]);
        // Rows have the numbers 11 to 15; the key came to be watched out of order.
        for seq in [14, 12, 15, 11] {
            txn.watch(9, 3, Bytes::from_static(b"a"), seq);
        }
        let places: Vec<usize> = txn.shares().into_iter().map(|share| share.3).collect();
        assert_eq!(places, [0, 1, 1, 2]);
    }

    #[test]
    fn what_is_refused_as_a_whole_is_taken_apart() {
        let mut txn = txn(&[A, B, TIMED, A, B]);
        // The second MSET, then the command before it, then the first MSET, which moves that one on.
        txn.leave_out(2);
        txn.leave_out(1);
        txn.leave_out(0);
        let each: Vec<Bytes> = txn
            .each_command()
            .into_iter()
            .map(|(_, command)| command)
            .collect();
        assert_eq!(each, [A, B, TIMED, A, B].map(command));
        assert_eq!(txn.left_out, [2]);
    }
}

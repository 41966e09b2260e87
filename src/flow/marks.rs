//! Marks: what the database itself tells of how much it holds.
//!
//! The marker of each other site comes with its operations. Behind its own operations the site puts a marker at a
//! low rate: whoever finds it in a snapshot knows that the operations up to there are in it. FLUSHALL takes the
//! markers with it, so all are put again: by this site behind a flush of a client, and inside the transaction
//! that carries the flush of another site.
//!
//! Invariant: a mark is composed when the stream is read on from a passed barrier, and sent behind everything that
//! it counts; so it never says more than the database holds.

use bytes::{Bytes, BytesMut};

use super::journal::Journal;
use super::site::{Barrier, Site};
use super::txn::{Piece, Txn};
use crate::causality::{Hlc, Seq, SiteIx};
use crate::echo::{Marker, captured_key_of, key_of};
use crate::resp::encode;

/// What is known of this site's own mark.
#[derive(Debug)]
pub(super) struct Marks {
    /// The newest that came back: the database held so many of this site's operations.
    pub seen: Seq,
    /// The newest that was submitted.
    submitted: Seq,
    /// The database may have lost its markers.
    pub lost: bool,
}

impl Default for Marks {
    /// A database may have markers of another life, from before the sites were started anew: all are put at first.
    fn default() -> Marks {
        Marks {
            seen: 0,
            submitted: 0,
            lost: true,
        }
    }
}

impl Marks {
    /// What was submitted may be gone.
    pub fn forget(&mut self) {
        *self = Marks {
            seen: self.seen,
            ..Marks::default()
        };
    }
}

impl<J: Journal> Site<J> {
    /// Puts a mark behind what was captured since the last one; to be called at the marks' rate. True if there is
    /// something to send.
    pub fn mark(&mut self) -> bool {
        let captured = self.past.journal.last(self.me);
        let is_due = captured > self.marks.submitted || self.marks.lost;
        if self.barrier != Barrier::Passed || !is_due {
            return false;
        }
        let mut txn = Txn::new(self.next_txn, self.me);
        self.next_txn += 1;
        let all = std::mem::take(&mut self.marks.lost);
        self.push_marks(&mut txn, all);
        self.enqueue(txn);
        true
    }

    /// The newest own operation that the database is known to have held.
    pub fn marked(&self) -> Seq {
        self.marks.seen
    }

    /// What an earlier run knew of it.
    pub fn recover_marked(&mut self, seq: Seq) {
        self.marks.seen = self.marks.seen.max(seq);
    }

    /// A flush takes the markers with it: they follow in the same transaction.
    pub(super) fn push_marks(&mut self, txn: &mut Txn, of_all_sites: bool) {
        let captured = self.past.journal.last(self.me);
        self.marks.submitted = captured;
        txn.captured = captured;
        let mut commands = Vec::new();
        let mut set = |key: Vec<u8>, value: &[u8]| {
            let mut command = BytesMut::new();
            encode::command(&mut command, &[b"SET", &key, value]);
            commands.push(command.freeze());
        };
        let me = self.roster.name(self.me);
        set(captured_key_of(me), encode::Decimal::new(captured).as_bytes());
        let time = self.latest_with(txn);
        let sites = self.roster.peers().filter(|_| of_all_sites);
        for site in sites {
            let seq = self.submitted_with(txn, site);
            let marker = Marker {
                origin: self.roster.name(site),
                seq,
                time,
                writer: self.writer,
                txn: txn.id,
            };
            set(key_of(marker.origin), marker.value().as_bytes());
        }
        txn.commands += commands.len();
        txn.bytes += commands.iter().map(Bytes::len).sum::<usize>();
        txn.pieces.push(Piece::Repair {
            fingerprint: 0,
            db: 0,
            key: Bytes::new(),
            commands,
            reads: None,
        });
    }

    /// The highest timestamp of what the database has executed when it has executed this transaction: whoever finds its
    /// marker in a snapshot has to stamp behind it, and what is on its way has not come back yet.
    fn latest_with(&self, txn: &Txn) -> Hlc {
        let sent = self.past.in_flight.iter().map(|txn| txn.time);
        sent.fold(self.clock.last().max(txn.time), Hlc::max)
    }

    /// How much of a site's operations the database has executed when it has executed this transaction.
    fn submitted_with(&self, txn: &Txn, site: SiteIx) -> Seq {
        let own = if txn.origin == site { txn.to } else { 0 };
        own.max(self.submitted.get(site))
    }
}

//! Looking back: the operations behind dots, from the journal and the transactions in flight.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::dumps::{DumpError, Dumps, Rewritten, is_restore};
use super::journal::Journal;
use super::txn::{Txn, Watch};
use crate::causality::{Dot, Hlc, SiteIx, Vector};
use crate::command::effect::{Effect, KeyEffect, SetExpiry, parse};
use crate::command::{Class, EffectClass, Learned, Spec};
use crate::converge::{History, KeyOperation, Operation, TxnId};
use crate::op::{Batch, Fingerprinter, Row};
use crate::resp::{Limits, Scan, Scanner};

/// Everything that happened and is still in reach.
#[derive(Debug)]
pub(super) struct Past<J> {
    pub journal: J,
    pub learned: Learned,
    pub fingerprints: Fingerprinter,
    pub me: SiteIx,
    pub dumps: Dumps,
    /// What has been observed as far as events have been handled.
    pub observed: Vector,
    /// Submitted or waiting to be, in order; those that came back are gone.
    pub in_flight: VecDeque<Txn>,
    /// The transaction that is being put together.
    pub building: Option<Txn>,
    pub scanner: Scanner,
}

/// A row of a batch taken apart.
pub(super) struct Parsed {
    pub args: Vec<Bytes>,
    pub shares: Vec<KeyEffect>,
    pub has_derived: bool,
    pub is_restore: bool,
}

impl<J: Journal> Past<J> {
    pub fn new(journal: J, fingerprints: Fingerprinter, me: SiteIx, sites: usize, dumps: Dumps) -> Past<J> {
        Past {
            journal,
            dumps,
            learned: Learned::default(),
            fingerprints,
            me,
            observed: Vector::zero(sites),
            in_flight: VecDeque::new(),
            building: None,
            scanner: Scanner::new(Limits::default()),
        }
    }

    /// The batch and row of an operation.
    pub fn row_of(&mut self, dot: Dot) -> Option<(Rc<Batch>, usize)> {
        let batch = self.journal.batch(dot.site, dot.seq)?;
        let at = (dot.seq - batch.first_seq) as usize;
        Some((batch, at))
    }

    /// Takes a command apart into one effect per key.
    pub fn parse(&mut self, command: &Bytes) -> Option<Parsed> {
        self.scanner.reset();
        let Ok(Scan::Command { .. }) = self.scanner.next(command) else {
            return None;
        };
        let args: Vec<Bytes> = self
            .scanner
            .args()
            .iter()
            .map(|arg| command.slice(arg.range()))
            .collect();
        let spec: &Spec = self.learned.spec(&args[0])?;
        let shares = match spec.class {
            // What cannot be understood is replayed as it came.
            Class::Write(_) => parse(spec, &args).unwrap_or_default(),
            Class::Control(_) | Class::Read => Vec::new(),
        };
        let is_restore = is_restore(spec);
        let has_derived = shares.iter().any(|share| share.effect == Some(Effect::Derived));
        Some(Parsed {
            args,
            shares,
            has_derived,
            is_restore,
        })
    }

    /// The value that another site's RESTORE carries, written anew.
    pub fn restored(&mut self, command: &Bytes) -> Result<Rewritten, DumpError> {
        let parsed = self.parse(command).ok_or(DumpError::NoRestore)?;
        let effect = parsed.shares.first().and_then(|share| share.effect.as_ref());
        self.dumps.rewrite(&parsed.args, effect)
    }

    /// A command that writes fields with their expiry time, without it, if the database has no such command; and
    /// whether a time is left out.
    pub fn plain(&mut self, batch: &Batch, at: usize) -> Option<(Bytes, bool)> {
        let parsed = self.timed(batch, at)?;
        self.dumps.plain(&parsed.args)
    }

    /// When the fields expire that an HSETEX writes, Unix milliseconds.
    pub fn fields_expire(&mut self, batch: &Batch, at: usize) -> Option<u64> {
        let parsed = self.timed(batch, at)?;
        match parsed.shares.first()?.effect {
            Some(Effect::HashSetTimed {
                expiry: SetExpiry::At(at_unix_ms),
                ..
            }) => Some(at_unix_ms),
            _ => None,
        }
    }

    /// An HSETEX, taken apart.
    fn timed(&mut self, batch: &Batch, at: usize) -> Option<Parsed> {
        let (_, command) = batch.commands(at, at + 1).next()?;
        let name = command.splitn(4, |&byte| byte == b'\n').nth(2)?;
        match name.eq_ignore_ascii_case(b"HSETEX\r") {
            true => self.parse(&batch.command(at)),
            false => None,
        }
    }

    /// An operation as each of its keys sees it, with the fingerprints of the keys.
    pub fn shares_of(&mut self, dot: Dot) -> Vec<(u64, KeyOperation)> {
        let Some((batch, at)) = self.row_of(dot) else {
            return Vec::new();
        };
        let Some(row) = batch.row(at) else {
            return Vec::new();
        };
        let mut raw = batch.command(at);
        let Some(mut parsed) = self.parse(&raw) else {
            return Vec::new();
        };
        if parsed.is_restore && dot.site != self.me {
            raw = self.rewrite(raw, &mut parsed);
        } else if dot.site != self.me
            && let Some((plain, _)) = self.dumps.plain(&parsed.args)
        {
            raw = plain;
        }
        let past = Rc::new(batch.past_of(at));
        let time = time_of(&batch, at, row);
        let has_derived = parsed.has_derived;
        let fingerprints = self.fingerprints;
        let share = |share: KeyEffect| {
            let db = share.db.unwrap_or(u32::from(row.db));
            let operation = share.effect.map(|effect| Operation {
                dot,
                past: Rc::clone(&past),
                time,
                effect,
                raw: raw.clone(),
                contested: false,
                joint: has_derived,
            });
            let fingerprint = fingerprints.of(db, &share.key);
            (
                fingerprint,
                KeyOperation {
                    db,
                    key: share.key,
                    operation,
                    has_derived,
                },
            )
        };
        parsed.shares.into_iter().map(share).collect()
    }

    /// Puts our own payload in another site's RESTORE. One that was refused at its delivery is no operation
    /// here.
    fn rewrite(&self, raw: Bytes, parsed: &mut Parsed) -> Bytes {
        let Some(share) = parsed.shares.first_mut() else {
            return raw;
        };
        match self.dumps.rewrite(&parsed.args, share.effect.as_ref()) {
            Ok(rewritten) => {
                share.effect = Some(rewritten.effect);
                rewritten.command
            }
            Err(_) => {
                share.effect = None;
                raw
            }
        }
    }

    /// The fingerprints of an operation's keys, each once.
    pub fn fingerprints_of(&mut self, dot: Dot) -> Vec<u64> {
        let mut fingerprints: Vec<u64> = self.shares_of(dot).iter().map(|share| share.0).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        fingerprints
    }

    /// An operation that empties whole databases, and which one if it is one.
    pub fn flush_of(&mut self, dot: Dot) -> Option<(Operation, Option<u32>)> {
        let (batch, at) = self.row_of(dot)?;
        let row = batch.row(at)?;
        let raw = batch.command(at);
        let args = self.parse(&raw)?.args;
        let only_db = args[0]
            .eq_ignore_ascii_case(b"FLUSHDB")
            .then_some(u32::from(row.db));
        let past = Rc::new(batch.past_of(at));
        let time = time_of(&batch, at, row);
        let operation = Operation {
            dot,
            past,
            time,
            effect: Effect::Del,
            raw,
            contested: false,
            joint: false,
        };
        (row.class == EffectClass::Flush).then_some((operation, only_db))
    }
}

fn time_of(batch: &Batch, at: usize, row: Row) -> Hlc {
    let time = batch.time_of(at);
    if row.is_state() { time.of_state() } else { time }
}

impl<J: Journal> History for Past<J> {
    fn operations(&mut self, dot: Dot, fingerprint: u64) -> Vec<KeyOperation> {
        let shares = self.shares_of(dot);
        shares
            .into_iter()
            .filter(|(of, _)| *of == fingerprint)
            .map(|(_, share)| share)
            .collect()
    }

    fn in_flight(&mut self, dot: Dot, fingerprint: u64, db: u32, key: &Bytes) -> Option<TxnId> {
        if dot.site == self.me || self.observed.includes(dot) {
            return None;
        }
        let carries = |txn: &&mut Txn| txn.origin == dot.site && (txn.from..=txn.to).contains(&dot.seq);
        let txn = self
            .in_flight
            .iter_mut()
            .chain(self.building.as_mut())
            .find(carries)?;
        txn.watches.push(Watch {
            fingerprint,
            db,
            key: key.clone(),
            seq: dot.seq,
        });
        Some(txn.id)
    }
}

//! Echoes: our own marked transactions as they come back in the stream.
//!
//! An echo that equals what was sent is compared as a whole. Any other is compared command by command: a
//! command that is missing was without effect, one that was not sent is the server's own (a key had expired).

use bytes::{Bytes, BytesMut};

use super::align::{Alignment, Removal};
use super::events::{Effects, Event, Removed};
use super::journal::Journal;
use super::outbound::{Boundary, Progress, State, Stop, StreamError, arg};
use super::site::Site;
use super::txn::{Outcome, Reader};
use crate::command::{Class, Control, EffectClass, KeyRule, Spec};
use crate::converge::TxnId;
use crate::converge::mutation::{Mutation, off};
use crate::echo::Marker;
use crate::op::{FLAG_KEYS_INSIDE, FLAG_STATE, Row};
use crate::resp::encode;
use crate::value::{self, Value};

#[derive(Debug)]
pub(super) struct Echo {
    pub marker: Marker,
    pub txn: Option<TxnId>,
    /// Whole transaction as it should come back; empty once it is compared command by command.
    pub whole: Vec<Bytes>,
    /// Once it is compared command by command.
    each: Option<Box<Alignment>>,
    pub at: Boundary,
}

/// A larger transaction is compared command by command, as its echo arrives.
const WHOLE_BYTES_MAX: usize = 4 << 20;

const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

impl<J: Journal> Site<J> {
    /// A write to one of our own keys: a marker, or what became of one.
    pub(super) fn own_key(
        &mut self,
        spec: &Spec,
        buf: &[u8],
        pos: usize,
        len: usize,
    ) -> Result<Progress, StreamError> {
        let frame = &buf[pos..pos + len];
        let args = self.reading.scanner.args();
        let marker = match spec.name {
            "SET" => Marker::parse(arg(args, frame, 1), arg(args, frame, 2)),
            _ => None,
        };
        let Some(marker) = marker else {
            return Ok(Progress::Used(len));
        };
        let (inside, at) = match self.reading.state {
            State::Between => (false, self.boundary()),
            State::Opened { at } => (true, at),
            State::Local { .. } | State::Echo(_) => return Ok(Progress::Used(len)),
        };
        let ours = marker.writer == self.writer;
        let found = self
            .past
            .in_flight
            .iter()
            .enumerate()
            .find(|(_, txn)| ours && txn.id == marker.txn);
        // Replies of a connection that is lost never come, and the present one's barrier stands behind this.
        let will_answer = found.is_some_and(|(place, _)| place < self.unsent);
        let txn = found.map(|(_, txn)| txn);
        if let Some(txn) = txn
            && will_answer
            && txn.outcome.is_none()
            && txn.reads().next().is_some()
        {
            return Ok(Progress::Stop(Stop::Replies));
        }
        let whole = txn
            .filter(|txn| inside && txn.bytes <= WHOLE_BYTES_MAX)
            .map(|txn| txn.expected())
            .unwrap_or_default();
        let id = txn.map(|txn| txn.id);
        self.reading.state = State::Echo(Echo {
            marker,
            txn: id,
            whole,
            each: None,
            at,
        });
        if !inside {
            // All of it was without effect: 7.0 and later send the marker alone.
            self.begin_each();
            self.end_echo(false, buf)?;
        }
        Ok(Progress::Used(len))
    }

    /// From here on the echo is compared command by command.
    pub(super) fn begin_each(&mut self) {
        let State::Echo(echo) = &mut self.reading.state else {
            return;
        };
        if let Some(id) = echo.txn
            && echo.each.is_none()
            && let Some(txn) = self.past.in_flight.iter().find(|txn| txn.id == id)
        {
            echo.each = Some(Box::new(Alignment::of(txn)));
        }
    }

    pub(super) fn in_echo(
        &mut self,
        spec: &Spec,
        buf: &[u8],
        pos: usize,
        len: usize,
    ) -> Result<Progress, StreamError> {
        match spec.class {
            Class::Control(Control::Exec) => {
                self.begin_each();
                self.end_echo(false, buf)?;
                return Ok(Progress::Used(len));
            }
            Class::Control(control) => return self.control(control, &buf[pos..pos + len], len),
            Class::Read => return Ok(Progress::Used(len)),
            Class::Write(_) => {}
        }
        self.begin_each();
        let db = self.reading.db;
        let State::Echo(Echo { each: Some(each), .. }) = &mut self.reading.state else {
            return Ok(Progress::Used(len));
        };
        let removes = match spec.class {
            Class::Write(class @ (EffectClass::Delete | EffectClass::HashRemove)) => Some((*spec, class)),
            _ => None,
        };
        each.find(db, &buf[pos..pos + len], removes);
        Ok(Progress::Used(len))
    }

    /// The server's own removal: a key of ours had expired. For the others that is a local write, before ours.
    fn push_removal(&mut self, removal: Removal, buf: &[u8]) -> Option<Removed> {
        let parsed = self.past.parse(&removal.command)?;
        let key = parsed.args.get(1)?.clone();
        let effect = parsed.shares.into_iter().find_map(|share| share.effect)?;
        let row = Row {
            end: 0,
            flags: match removal.spec.keys {
                KeyRule::One(_) => 0,
                _ => FLAG_KEYS_INSIDE,
            },
            class: removal.class,
            db: removal.db as u16,
            fingerprint: self.past.fingerprints.of(removal.db, &key),
        };
        self.counters.captured += 1;
        self.stamp();
        self.builder.push_owned(removal.command, row, buf);
        let row = self.reading.rows_seen;
        self.events.push_back(Event::Rows(row));
        self.events.push_back(Event::Removal { row });
        self.reading.rows_seen += 1;
        Some(Removed {
            behind: removal.behind,
            db: removal.db,
            key,
            effect,
        })
    }

    /// The transaction that came back is over; `buf` is the block that is being read.
    pub(super) fn end_echo(&mut self, all: bool, buf: &[u8]) -> Result<(), StreamError> {
        let State::Echo(echo) = std::mem::replace(&mut self.reading.state, State::Between) else {
            return Ok(());
        };
        let effects = match (echo.txn, echo.each) {
            (None, _) => Effects::Unknown,
            (Some(_), _) if all => Effects::All,
            (Some(_), None) => Effects::Each(Vec::new(), Vec::new()),
            (Some(_), Some(each)) => {
                let (effective, own) = each.finish();
                let own = own.into_iter();
                let removed = own
                    .filter_map(|removal| self.push_removal(removal, buf))
                    .collect();
                Effects::Each(effective, removed)
            }
        };
        let site = self
            .roster
            .find(echo.marker.origin)
            .filter(|site| *site != self.me);
        let seq = echo.marker.seq;
        if let Some(site) = site
            && seq > self.observed.get(site)
        {
            self.observed.advance(site, seq);
            if !off(Mutation::ClockAbsorbs) {
                self.clock.absorb(echo.marker.time);
            }
            if self.builder.count() > 0 {
                self.reading.marks.push((site, seq));
            }
        }
        tracing::debug!(origin = %echo.marker.origin, seq, txn = ?echo.txn, begins = echo.at.offset, "echo");
        self.events.push_back(Event::Rows(self.reading.rows_seen));
        let seq = site.map_or(0, |_| seq);
        self.events.push_back(Event::Echo {
            site: site.unwrap_or(self.me),
            seq,
            txn: echo.txn,
            effects,
        });
        self.ship_values(echo.txn, buf);
        Ok(())
    }

    /// Values that were read in the transaction become operations, right behind it, or stay here.
    fn ship_values(&mut self, txn: Option<TxnId>, buf: &[u8]) {
        let Some(txn) = self.past.in_flight.iter().find(|known| Some(known.id) == txn) else {
            return;
        };
        let id = txn.id;
        let Some(Outcome::Executed(dumps)) = txn.outcome.clone() else {
            return;
        };
        let reads: Vec<(u64, u32, Bytes, Reader)> = txn
            .reads()
            .map(|((fingerprint, db, key), reader)| (fingerprint, db, key.clone(), reader))
            .collect();
        for ((fingerprint, db, key, reader), dump) in reads.into_iter().zip(dumps) {
            if reader == Reader::Me {
                let found = list_in(dump.payload.as_ref());
                self.events.push_back(Event::Read {
                    fingerprint,
                    db,
                    key,
                    txn: id,
                    found,
                });
                continue;
            }
            let mut command = BytesMut::new();
            let class = match &dump.payload {
                None if reader == Reader::Time => {
                    let Some(at_ms) = dump.expires_unix_ms else {
                        self.events.push_back(Event::NoTime { fingerprint, db, key });
                        continue;
                    };
                    let at_ms = encode::Decimal::new(at_ms);
                    encode::command(&mut command, &[b"PEXPIREAT", &key, at_ms.as_bytes()]);
                    EffectClass::Expire
                }
                None => {
                    encode::command(&mut command, &[b"DEL", &key]);
                    EffectClass::Delete
                }
                Some(payload) => {
                    let ttl = encode::Decimal::new(dump.expires_unix_ms.unwrap_or(0));
                    let args: [&[u8]; 6] = [b"RESTORE", &key, ttl.as_bytes(), payload, b"REPLACE", b"ABSTTL"];
                    encode::command(&mut command, &args);
                    EffectClass::Restore
                }
            };
            let row = Row {
                end: 0,
                flags: if reader == Reader::Time { FLAG_STATE } else { 0 },
                class,
                db: db as u16,
                fingerprint,
            };
            self.stamp();
            self.builder.push_owned(command.freeze(), row, buf);
            self.events.push_back(Event::Shipped {
                row: self.reading.rows_seen,
            });
            self.reading.rows_seen += 1;
        }
    }
}

/// The elements of a list that was read; no key is an empty one.
fn list_in(payload: Option<&Bytes>) -> Option<Vec<Bytes>> {
    let Some(payload) = payload else {
        return Some(Vec::new());
    };
    match value::decode(payload) {
        Ok(Value::List(elements)) => Some(elements),
        _ => None,
    }
}

pub(super) enum Whole {
    Equal(usize),
    NotYet,
    Different,
}

pub(super) fn compare_whole(expected: &[Bytes], stream: &[u8]) -> Whole {
    let mut rest = stream;
    for part in expected {
        let len = part.len().min(rest.len());
        if rest[..len] != part[..len] {
            return Whole::Different;
        }
        if len < part.len() {
            return Whole::NotYet;
        }
        rest = &rest[len..];
    }
    let len = EXEC.len().min(rest.len());
    if rest[..len] != EXEC[..len] {
        return Whole::Different;
    }
    if len < EXEC.len() {
        Whole::NotYet
    } else {
        Whole::Equal(stream.len() - rest.len() + EXEC.len())
    }
}

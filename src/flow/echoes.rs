//! Echoes: our own marked transactions as they come back in the stream.
//!
//! An echo that equals what was sent is compared as a whole. Any other is compared command by command: a
//! command that is missing was without effect, one that was not sent is the server's own (a key had expired).

use bytes::{Bytes, BytesMut};

use super::events::{Effects, Event};
use super::journal::Journal;
use super::outbound::{Boundary, Progress, State, StreamError, arg};
use super::site::Site;
use super::txn::Outcome;
use crate::command::{Class, Control, EffectClass, Spec};
use crate::converge::TxnId;
use crate::converge::mutation::{Mutation, off};
use crate::echo::Marker;
use crate::op::Row;
use crate::resp::encode;

#[derive(Debug)]
pub(super) struct Echo {
    pub marker: Marker,
    pub txn: Option<TxnId>,
    /// Whole transaction as it should come back; empty once it is compared command by command.
    pub whole: Vec<Bytes>,
    /// Commands still expected, the next one last.
    each: Vec<(u32, Bytes)>,
    one_by_one: bool,
    /// Removals that were taken for ours although commands on their key stood before ours. If they were the
    /// server's own, ours is still to come, and is no client's.
    spare: Vec<(u32, Bytes)>,
    pub effective: Vec<bool>,
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
            && txn.ships().next().is_some()
        {
            self.reading.state = State::Between;
            self.reading.db = at.db;
            return Ok(Progress::Back(at.offset));
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
            each: Vec::new(),
            one_by_one: false,
            spare: Vec::new(),
            effective: Vec::new(),
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
            && !echo.one_by_one
            && let Some(txn) = self.past.in_flight.iter().find(|txn| txn.id == id)
        {
            echo.each = txn.each_command();
            echo.effective = vec![false; echo.each.len()];
            echo.each.reverse();
            echo.one_by_one = true;
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
        let frame = &buf[pos..pos + len];
        let State::Echo(echo) = &mut self.reading.state else {
            return Ok(Progress::Used(len));
        };
        if echo.txn.is_none() {
            return Ok(Progress::Used(len));
        }
        let deletes = matches!(
            spec.class,
            Class::Write(EffectClass::Delete | EffectClass::HashRemove)
        );
        let skipped = expected_at(&echo.each, (self.reading.db, frame), deletes);
        if let Some((skipped, passes_its_key)) = skipped {
            if passes_its_key {
                echo.spare.push((self.reading.db, Bytes::copy_from_slice(frame)));
            }
            let done = echo.effective.len() - echo.each.len() + skipped;
            echo.effective[done] = true;
            let left = echo.each.len() - skipped - 1;
            echo.each.truncate(left);
            return Ok(Progress::Used(len));
        }
        if let Some(at) = echo
            .spare
            .iter()
            .position(|(db, spare)| *db == self.reading.db && spare == frame)
        {
            echo.spare.remove(at);
            return Ok(Progress::Used(len));
        }
        // The server's own: a key of ours had expired. That is a local write, before ours.
        if let Class::Write(class) = spec.class
            && deletes
        {
            self.push_row(spec, class, 0, buf, pos, len);
        }
        Ok(Progress::Used(len))
    }

    /// The transaction that came back is over; `buf` is the block that is being read.
    pub(super) fn end_echo(&mut self, all: bool, buf: &[u8]) -> Result<(), StreamError> {
        let State::Echo(echo) = std::mem::replace(&mut self.reading.state, State::Between) else {
            return Ok(());
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
        let effects = match echo.txn {
            None => Effects::Unknown,
            Some(_) if all => Effects::All,
            Some(_) => Effects::Each(echo.effective),
        };
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

    /// Values that were read in the transaction become operations, right behind it.
    fn ship_values(&mut self, txn: Option<TxnId>, buf: &[u8]) {
        let Some(txn) = self.past.in_flight.iter().find(|known| Some(known.id) == txn) else {
            return;
        };
        let Some(Outcome::Executed(dumps)) = txn.outcome.clone() else {
            return;
        };
        let ships: Vec<(u64, u32, Bytes)> = txn.ships().map(|(f, db, key)| (f, db, key.clone())).collect();
        for ((fingerprint, db, key), dump) in ships.into_iter().zip(dumps) {
            let mut command = BytesMut::new();
            let class = match &dump.payload {
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
                flags: 0,
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

/// Whether a command of the stream is one that we sent: the same bytes, or, where the server writes it anew
/// (XCLAIM), the same command on the same key.
fn same_command(expected: &[u8], found: &[u8]) -> bool {
    expected == found
        || (head(expected) == head(found) && head(found).is_some_and(|(name, _)| name == b"XCLAIM"))
}

/// How many of the commands still expected, the last one first, stand before the one that this is, and whether
/// others on its key are among them.
///
/// A removal may be the server's own: an expired key goes when a command touches it. But commands of ours before
/// our own removal may have been without effect, and a removal by nobody would take clients' writes away at the
/// other sites. So it is ours if it is next on its key, or if nothing but commands on its key stands before it.
fn expected_at(each: &[(u32, Bytes)], (db, found): (u32, &[u8]), deletes: bool) -> Option<(usize, bool)> {
    let expected = || each.iter().rev();
    if !deletes {
        let same = |(of, expected): &(u32, Bytes)| *of == db && same_command(expected, found);
        return Some((expected().position(same)?, false));
    }
    let key = head(found)?.1;
    let of_its_key =
        |(of, expected): &(u32, Bytes)| *of == db && head(expected).is_some_and(|(_, first)| first == key);
    let at = expected().position(|(of, expected)| *of == db && expected == found)?;
    let before = expected().take(at);
    let next = before.clone().all(|expected| !of_its_key(expected));
    let alone = before.clone().all(of_its_key);
    (next || alone).then_some((at, !next))
}

/// Name and first argument of a command in RESP.
fn head(command: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut lines = command
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next()?;
    lines.next()?;
    let name = lines.next()?;
    lines.next()?;
    Some((name, lines.next()?))
}

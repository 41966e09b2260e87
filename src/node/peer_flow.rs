//! The engine's side of a session.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connections::{Connection, Connections};
use super::doorway::Guest;
use super::shared::{Shared, now_unix_ms};
use crate::causality::{Seq, SiteId, SiteIx};
use crate::control::PeerState;
use crate::flow::{Ack, Journal};
use crate::link::io::{Flow, Outgoing, Positions};
use crate::op::Batch;

/// An acknowledgement waits so long for others to join it.
pub(super) const ACK_PAUSE: Duration = Duration::from_millis(2);

/// One session's side of the engine.
pub(super) struct PeerFlow {
    shared: Rc<Shared>,
    connections: Rc<Connections>,
    connection: Rc<Connection>,
    peer: SiteIx,
    told: Option<Ack>,
    told_at: Instant,
    /// What was told last was told because of a value that is asked for next.
    asks_next: bool,
    /// The generation for which the peer has been asked to dial anew.
    asked: u64,
    /// It stands in the door until the greeting is through.
    guest: Option<Guest>,
    /// Why the engine refused to go on, as a fixed word.
    refused: Option<&'static str>,
}

impl PeerFlow {
    /// A session's beginning, over this connection.
    pub fn new(
        shared: Rc<Shared>,
        connections: Rc<Connections>,
        connection: Rc<Connection>,
        guest: Option<Guest>,
    ) -> PeerFlow {
        PeerFlow {
            asked: connection.generation,
            peer: connection.peer,
            shared,
            connections,
            connection,
            told: None,
            told_at: Instant::now(),
            asks_next: false,
            guest,
            refused: None,
        }
    }

    /// Why the engine refused to go on, for metrics.
    pub fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    fn positions(&self, ack: &Ack) -> Positions {
        ack.positions(self.shared.node.borrow().site.roster())
    }

    fn ack(&self, positions: &Positions) -> Ack {
        Ack::of(positions, self.shared.node.borrow().site.roster())
    }

    fn take(&mut self, origin: SiteId, first_seq: Seq, last_seq: Seq, body: Bytes) -> Result<(), String> {
        let bytes = body.len() as u64;
        let mut node = self.shared.node.borrow_mut();
        let batch = Batch::decode(vec![body], node.site.roster()).map_err(|error| error.to_string())?;
        // The session has compared the frame's numbers with what was due; they must be the batch's, too.
        let told = (node.site.roster().find(origin), first_seq, last_seq);
        if told != (Some(batch.origin), batch.first_seq, batch.last_seq()) {
            return Err(format!(
                "the peer sent operations {first_seq} to {last_seq} of site {origin} which are others"
            ));
        }
        node.site.check(&batch).map_err(|error| error.to_string())?;
        let batch = Rc::new(batch);
        node.site.received(&batch).map_err(|error| error.to_string())?;
        let ahead = batch
            .time_of(batch.count() - 1)
            .unix_ms()
            .saturating_sub(now_unix_ms());
        let link = &mut node.peers[self.peer.at()];
        link.received.0 += batch.count() as u64;
        link.received.1 += bytes;
        let before = std::mem::replace(&mut link.clock_ahead_ms, ahead);
        let max = super::start::millis(self.shared.settings.link.clock_drift_max);
        if ahead > max && before <= max {
            tracing::warn!(peer = %node.site.roster().name(self.peer), ahead_ms = ahead,
                "the peer's clock is ahead of ours: its writes win where ours are later; check NTP at both");
        }
        drop(node);
        self.shared.finish_restore();
        self.shared.advance();
        Ok(())
    }
}

/// A peer was away until what it lacks was cut from our log.
const CUT: &str = "our log does not reach back to what the peer has, so nothing more can be sent to it: the sites drift \
                   apart. Start the set anew (docs/runbook.md), and raise log.bytes_max";

/// Our log ends before what a peer has of it: operations would be numbered twice.
fn lost_tail(me: SiteId, own: Seq, told: Seq) -> String {
    format!(
        "the peer holds {told} operations of site {me}, our own log ends at {own}: its end was lost (a crash of the \
         machine, or an older copy of the data directory was put back), and it has captured since. This syncer ends, \
         so that no operation is numbered twice; put the newest copy of the data directory back, or start the set anew \
         (docs/runbook.md)"
    )
}

impl Flow for PeerFlow {
    fn resume(&mut self) -> Positions {
        let ack = self.shared.node.borrow().site.ack();
        self.positions(&ack)
    }

    fn on_established(&mut self, resume: Positions, takes_over: bool) -> Result<(), String> {
        let established = self.connections.establish(&self.connection, takes_over);
        if established.is_err() {
            self.refused = Some("not_established");
        }
        established?;
        self.guest = None;
        if takes_over {
            tracing::info!(peer = %self.connection.site, "the link moves to a new connection");
            self.shared.node.borrow_mut().peers[self.peer.at()].last_error = None;
            return Ok(());
        }
        let ack = self.ack(&resume);
        let mut node = self.shared.node.borrow_mut();
        let me = node.site.roster().me();
        let (told, own) = (ack.held.get(me), node.site.journal().last(me));
        if told > own && node.site.counters().captured == 0 {
            node.site.begin_restore();
        }
        if told > own && !node.site.is_restoring() {
            let why = lost_tail(node.site.roster().name(me), own, told);
            drop(node);
            self.shared.end(&why);
            return Err(why);
        }
        node.site.peer_connected(self.peer, &ack);
        let link = &mut node.peers[self.peer.at()];
        link.state = PeerState::Connected;
        link.last_error = None;
        tracing::info!(peer = %node.site.roster().name(self.peer), "link up");
        drop(node);
        self.shared.finish_restore();
        self.shared.advance();
        Ok(())
    }

    fn is_held(&self) -> bool {
        self.connection.is_held()
    }

    fn on_batch(&mut self, origin: SiteId, first_seq: Seq, last_seq: Seq, body: Bytes) -> Result<(), String> {
        let taken = self.take(origin, first_seq, last_seq, body);
        if taken.is_err() {
            self.refused = Some("batch");
        }
        taken
    }

    fn on_ack(&mut self, positions: Positions) {
        let ack = self.ack(&positions);
        self.shared.node.borrow_mut().site.acknowledged(self.peer, &ack);
        self.shared.apply.notify_one();
    }

    fn on_pull(&mut self, db: u32, key: Bytes) {
        let mut node = self.shared.node.borrow_mut();
        tracing::info!(peer = %node.site.roster().name(self.peer), db, key = %key.escape_ascii(),
            "a peer waits for our value of a key; it is sent");
        node.site.pulled(self.peer, db, &key);
        drop(node);
        self.shared.apply.notify_one();
    }

    fn on_moved(&mut self) {
        self.connection.drained();
    }

    fn on_redial(&mut self) {
        self.connections.redial(&self.connection);
    }

    fn ending(&self) -> Option<String> {
        self.connection.ending()
    }

    fn poll_send(&mut self) -> Option<Outgoing> {
        if self.connection.is_superseded() {
            return Some(Outgoing::Moved);
        }
        let wanted = self.connections.board.number();
        if !self.connection.dialed && self.asked < wanted {
            self.asked = wanted;
            return Some(Outgoing::Redial);
        }
        let mut node = self.shared.node.borrow_mut();
        if let Some(batch) = node.site.next_batch_for(self.peer) {
            let roster = node.site.roster().clone();
            let parts = batch.encode(&roster).to_vec();
            let sent = &mut node.peers[self.peer.at()].sent;
            sent.0 += batch.count() as u64;
            sent.1 += parts.iter().map(Bytes::len).sum::<usize>() as u64;
            let origin = roster.name(batch.origin);
            return Some(Outgoing::Batch {
                origin,
                first_seq: batch.first_seq,
                last_seq: batch.last_seq(),
                parts,
            });
        }
        if node.site.peer(self.peer).needs_snapshot {
            // An acknowledgement promises that everything before it has been sent.
            let name = node.site.roster().name(self.peer);
            let link = &mut node.peers[self.peer.at()];
            if link.state != PeerState::NeedsSnapshot {
                tracing::error!(peer = %name, "{CUT}");
                link.state = PeerState::NeedsSnapshot;
                link.last_error = Some(CUT.to_owned());
            }
            return None;
        }
        let ack = node.site.ack();
        let is_told = self.told.as_ref() == Some(&ack);
        // Whoever is asked for a value goes by what we hold: an old one that we have must not seem to be on its way.
        let reminders = &mut node.peers[self.peer.at()].reminders;
        if (is_told || std::mem::take(&mut self.asks_next))
            && let Some((db, key)) = reminders.pop_front()
        {
            return Some(Outgoing::Pull { db, key });
        }
        self.asks_next = !reminders.is_empty();
        drop(node);
        if is_told || !self.asks_next && self.told_at.elapsed() < ACK_PAUSE {
            return None;
        }
        let positions = self.positions(&ack);
        self.told = Some(ack);
        self.told_at = Instant::now();
        Some(Outgoing::Ack(positions))
    }
}

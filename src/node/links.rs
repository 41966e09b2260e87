//! The tasks that hold the links to the other sites.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use super::shared::{Shared, now_unix_ms};
use crate::causality::{Seq, SiteId, SiteIx, Vector};
use crate::certs::LinkTls;
use crate::certs::io as handshake;
use crate::control::PeerState;
use crate::flow::{Ack, Journal};
use crate::link::io::{Flow, Outgoing, Positions};
use crate::op::Batch;

/// Both sites dialed, or a new connection came before the old one was known to be dead.
const REPLACED: &str = "another connection took its place";
/// Read from the socket at once. TLS by itself asks for 4 KiB, a quarter of one of its records.
const READ_BYTES: usize = 64 * 1024;
/// An acknowledgement waits so long for others to join it.
pub(super) const ACK_PAUSE: Duration = Duration::from_millis(2);

/// One session's side of the engine.
struct PeerFlow {
    shared: Rc<Shared>,
    peer: SiteIx,
    told: Option<Ack>,
    told_at: Instant,
}

impl PeerFlow {
    fn positions(&self, ack: &Ack) -> Positions {
        let node = self.shared.node.borrow();
        let roster = node.site.roster();
        let named = |vector: &Vector| {
            vector
                .entries()
                .map(|(site, seq)| (roster.name(site), seq))
                .collect()
        };
        Positions {
            held: named(&ack.held),
            settled: named(&ack.settled),
        }
    }

    fn ack(&self, positions: &Positions) -> Ack {
        let node = self.shared.node.borrow();
        let roster = node.site.roster();
        let vector = |named: &[(SiteId, Seq)]| {
            let mut vector = Vector::zero(roster.count());
            for (name, seq) in named {
                if let Some(site) = roster.find(*name) {
                    vector.advance(site, (*seq).max(vector.get(site)));
                }
            }
            vector
        };
        Ack {
            held: vector(&positions.held),
            settled: vector(&positions.settled),
        }
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

    fn on_established(&mut self, resume: Positions) -> Result<(), String> {
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

    fn on_batch(&mut self, origin: SiteId, first_seq: Seq, last_seq: Seq, body: Bytes) -> Result<(), String> {
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

    fn on_ack(&mut self, positions: Positions) {
        let ack = self.ack(&positions);
        self.shared.node.borrow_mut().site.acknowledged(self.peer, &ack);
        self.shared.apply.notify_one();
    }

    fn on_pull(&mut self, db: u32, key: Bytes) {
        let mut node = self.shared.node.borrow_mut();
        tracing::info!(peer = %node.site.roster().name(self.peer), db, key = %key.escape_ascii(),
            "a peer waits for our value of a key; it is sent");
        node.site.pulled(db, &key);
        drop(node);
        self.shared.apply.notify_one();
    }

    fn poll_send(&mut self) -> Option<Outgoing> {
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
        if let Some((db, key)) = node.peers[self.peer.at()].reminders.pop_front() {
            return Some(Outgoing::Pull { db, key });
        }
        let ack = node.site.ack();
        drop(node);
        if self.told.as_ref() == Some(&ack) || self.told_at.elapsed() < ACK_PAUSE {
            return None;
        }
        let positions = self.positions(&ack);
        self.told = Some(ack);
        self.told_at = Instant::now();
        Some(Outgoing::Ack(positions))
    }
}

/// Everything the link tasks need.
pub(super) struct Links {
    pub shared: Rc<Shared>,
    pub tls: Rc<LinkTls>,
    /// Which session each peer has: a number that rises.
    pub sessions: RefCell<Vec<Option<Session>>>,
    pub incarnation: u64,
}

/// A session that is up.
pub(super) struct Session {
    number: u64,
    dialed: bool,
    end: Rc<tokio::sync::Notify>,
}

impl Links {
    /// Accepts peers for ever.
    pub async fn accept(self: Rc<Self>, listener: TcpListener) {
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let links = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                if let Err(why) = links.accepted(socket).await {
                    tracing::warn!(error = %why, "a connection to the link port was refused");
                }
            });
        }
    }

    async fn accepted(self: &Rc<Self>, socket: TcpStream) -> Result<(), String> {
        let _ = socket.set_nodelay(true);
        let timeout = self.shared.settings.link.connect_timeout;
        let socket = BufReader::with_capacity(READ_BYTES, socket);
        let (stream, site) = handshake::accept(&self.tls, socket, timeout)
            .await
            .map_err(|why| why.to_string())?;
        let peer = self.find(site)?;
        if let Err(why) = self.hold(stream, peer, false).await {
            self.failed(peer, &why);
        }
        Ok(())
    }

    fn find(&self, site: SiteId) -> Result<SiteIx, String> {
        let node = self.shared.node.borrow();
        node.site
            .roster()
            .find(site)
            .ok_or_else(|| format!("site {site} is not configured here"))
    }

    /// Dials one peer for ever, whenever there is no session with it.
    pub async fn dial(self: Rc<Self>, peer: SiteIx, address: String) {
        let mut attempt = 0;
        loop {
            if self.sessions.borrow()[peer.at()].is_some() {
                attempt = 0;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let before = Instant::now();
            if let Err(why) = self.dial_once(peer, &address).await {
                self.failed(peer, &why);
            }
            if before.elapsed() > Duration::from_secs(5) {
                attempt = 0;
            }
            // The site's name spreads the attempts of two sites that dial each other.
            let spread = u64::from(peer.0) * 7 % 50;
            let pause = crate::capture::backoff_ms(attempt, 100, 5_000) + spread;
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn failed(&self, peer: SiteIx, why: &str) {
        let mut node = self.shared.node.borrow_mut();
        let name = node.site.roster().name(peer);
        let link = &mut node.peers[peer.at()];
        if why == REPLACED {
            return;
        }
        if link.last_error.as_deref() != Some(why) {
            tracing::warn!(peer = %name, error = %why, "link down");
        }
        link.last_error = Some(why.to_owned());
    }

    async fn dial_once(self: &Rc<Self>, peer: SiteIx, address: &str) -> Result<(), String> {
        let timeout = self.shared.settings.link.connect_timeout;
        let socket = tokio::time::timeout(timeout, TcpStream::connect(address))
            .await
            .map_err(|_| format!("{address} does not answer"))?
            .map_err(|error| format!("{address}: {error}"))?;
        let _ = socket.set_nodelay(true);
        let socket = BufReader::with_capacity(READ_BYTES, socket);
        let site = self.shared.node.borrow().site.roster().name(peer);
        let stream = handshake::dial(&self.tls, site, socket, timeout)
            .await
            .map_err(|why| format!("{address}: {why}"))?;
        self.hold(stream, peer, true).await
    }

    /// Holds a session until it ends. Where both sides dialed, the one of the smaller name stays.
    async fn hold<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        self: &Rc<Self>,
        stream: S,
        peer: SiteIx,
        dialed: bool,
    ) -> Result<(), String> {
        let (me, site, number) = {
            let node = self.shared.node.borrow();
            let me = node.site.roster().me();
            (me, node.site.roster().name(peer), now_unix_ms())
        };
        let end = Rc::new(tokio::sync::Notify::new());
        if let Some(existing) = &self.sessions.borrow()[peer.at()] {
            if existing.dialed && !dialed && me < peer {
                return Ok(());
            }
            existing.end.notify_one();
        }
        let number = self.sessions.borrow()[peer.at()]
            .as_ref()
            .map_or(number, |old| old.number.max(number) + 1);
        self.sessions.borrow_mut()[peer.at()] = Some(Session {
            number,
            dialed,
            end: Rc::clone(&end),
        });
        let session = super::start::session(&self.shared, site, self.incarnation);
        let told_at = Instant::now();
        let flow = RefCell::new(PeerFlow {
            shared: Rc::clone(&self.shared),
            peer,
            told: None,
            told_at,
        });
        let mut counters = crate::link::Counters::default();
        let wake = &self.shared.links[peer.at()];
        let why = tokio::select! {
            closed = crate::link::io::run(stream, session, &flow, wake, &mut counters) => closed.to_string(),
            () = end.notified() => REPLACED.to_owned(),
        };
        self.ended(peer, number);
        Err(why)
    }

    fn ended(&self, peer: SiteIx, number: u64) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions[peer.at()]
            .as_ref()
            .is_none_or(|session| session.number != number)
        {
            return;
        }
        sessions[peer.at()] = None;
        let mut node = self.shared.node.borrow_mut();
        node.site.peer_disconnected(peer);
        node.peers[peer.at()].reminders.clear();
        node.peers[peer.at()].state = PeerState::Connecting;
    }
}

//! The links between syncers: the real sessions, their frames in two queues that can be cut or stalled.

use std::collections::VecDeque;
use std::rc::Rc;

use syncer::causality::SiteIx;
use syncer::flow::{Ack, Journal, Site};
use syncer::link::frames::{BatchFrame, Frame};
use syncer::link::{Event, Local, Session};
use syncer::op::Batch;

use crate::host::{Host, name};
use crate::journal::{DATABASE_ID, Logs};

struct End {
    peer: usize,
    session: Session,
    told: Option<Ack>,
    /// Frames on their way to this end, and when each can be there.
    input: VecDeque<(u64, Frame)>,
}

/// The link between two sites.
#[derive(Default)]
pub struct Link {
    ends: Option<[End; 2]>,
    /// No connection can be made.
    pub cut: bool,
    /// Nothing reaches this end.
    pub stalled: [bool; 2],
}

impl Link {
    /// Makes a connection if there is none; true if it did.
    pub fn connect(&mut self, sites: [&mut Host; 2], now: u64) -> bool {
        if self.ends.is_some() || self.cut || sites.iter().any(|site| site.running.is_none()) {
            return false;
        }
        let end = |me: usize, peer: usize| End {
            peer,
            session: Session::new(local(me), name(peer), now),
            told: None,
            input: VecDeque::new(),
        };
        let [a, b] = sites.map(|site| site.at);
        let mut ends = [end(a, b), end(b, a)];
        for at in [0, 1] {
            let hello = ends[at].session.hello();
            ends[1 - at].input.push_back((now, hello));
        }
        self.ends = Some(ends);
        true
    }

    /// The connection breaks; what is on its way is lost.
    pub fn drop(&mut self, sites: [&mut Host; 2]) {
        if self.ends.take().is_none() {
            return;
        }
        let [a, b] = sites;
        let (a_at, b_at) = (a.at, b.at);
        for (site, peer) in [(a, b_at), (b, a_at)] {
            if let Some(running) = &mut site.running {
                running.site.peer_disconnected(SiteIx(peer as u8));
            }
        }
    }

    /// Sends what the engine of one end has to say; true if it was something. It arrives at `arrives`.
    pub fn send(&mut self, end: usize, from: &mut Host, arrives: u64) -> bool {
        let (Some(ends), Some(running)) = (&mut self.ends, &mut from.running) else {
            return false;
        };
        if !ends[end].session.is_streaming() {
            return false;
        }
        let frame = next_frame(&mut running.site, &mut ends[end]).or_else(|| {
            let (db, key) = running.reminders[ends[end].peer].pop_front()?;
            Some(Frame::Pull { db, key })
        });
        let sent = frame.is_some();
        if let Some(frame) = frame {
            push(&mut ends[1 - end], arrives, frame);
        }
        sent
    }

    /// Receives the next frame at one end; true if there was one.
    pub fn receive(&mut self, end: usize, to: &mut Host, now: u64, arrives: u64) -> Result<bool, Broken> {
        let (Some(ends), Some(running)) = (&mut self.ends, &mut to.running) else {
            return Ok(false);
        };
        if self.stalled[end] || ends[end].input.front().is_none_or(|(at, _)| *at > now) {
            return Ok(false);
        }
        let Some((_, frame)) = ends[end].input.pop_front() else {
            return Ok(false);
        };
        running.site.set_time(to.now);
        let event = ends[end]
            .session
            .handle(frame)
            .map_err(|error| Broken::Bug(error.to_string()))?;
        let reply = take(&mut running.site, &mut ends[end], event)?;
        if let Some(frame) = reply {
            push(&mut ends[1 - end], arrives, frame);
        }
        while running.site.deliver() {}
        Ok(true)
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.ends.as_ref().is_some_and(|ends| {
            ends.iter()
                .all(|end| end.input.is_empty() && end.session.is_streaming())
        })
    }
}

/// Why a link breaks off.
#[derive(Debug)]
pub enum Broken {
    /// Something that must never be.
    Bug(String),
    /// The log refuses; the link is made anew.
    Log,
}

/// TCP keeps the order.
fn push(to: &mut End, arrives: u64, frame: Frame) {
    let before = to.input.back().map_or(0, |(at, _)| *at);
    to.input.push_back((arrives.max(before), frame));
}

fn local(me: usize) -> Local {
    Local {
        database_id: DATABASE_ID.to_owned(),
        site: name(me),
        incarnation: 1,
        takes_over: false,
        heartbeat_ms: 1_000_000,
        timeout_ms: 10_000_000,
    }
}

fn next_frame(site: &mut Site<Logs>, end: &mut End) -> Option<Frame> {
    let roster = site.roster().clone();
    let peer = SiteIx(end.peer as u8);
    if let Some(batch) = site.next_batch_for(peer) {
        let body = batch.encode(&roster).concat().into();
        return Some(Frame::Batch(BatchFrame {
            origin: roster.name(batch.origin),
            first_seq: batch.first_seq,
            last_seq: batch.last_seq(),
            body,
        }));
    }
    if site.peer(peer).needs_snapshot {
        return None;
    }
    let ack = site.ack();
    if end.told.as_ref() == Some(&ack) {
        return None;
    }
    let positions = ack.positions(&roster);
    end.told = Some(ack);
    Some(Frame::Ack(positions))
}

fn take(site: &mut Site<Logs>, end: &mut End, event: Event) -> Result<Option<Frame>, Broken> {
    let roster = site.roster().clone();
    let peer = SiteIx(end.peer as u8);
    match event {
        Event::SendResume => {
            let positions = site.ack().positions(&roster);
            return Ok(Some(end.session.resume(positions)));
        }
        Event::Established(positions) => {
            let ack = Ack::of(&positions, &roster);
            let me = roster.me();
            if ack.held.get(me) > site.journal().last(me) {
                return Err(Broken::Bug(format!(
                    "site {}: its log lost its end",
                    roster.name(me)
                )));
            }
            site.peer_connected(peer, &ack);
        }
        Event::Batch(frame) => {
            let batch =
                Batch::decode(vec![frame.body], &roster).map_err(|error| Broken::Bug(error.to_string()))?;
            site.check(&batch)
                .map_err(|error| Broken::Bug(error.to_string()))?;
            site.received(&Rc::new(batch)).map_err(|_| Broken::Log)?;
        }
        Event::Ack(positions) => site.acknowledged(peer, &Ack::of(&positions, &roster)),
        Event::Pull { db, key } => site.pulled(peer, db, &key),
        Event::Reply(frame) => return Ok(Some(frame)),
        // Certificates are not simulated: nobody moves.
        Event::Moved | Event::Redial | Event::Nothing => {}
        Event::Closed(text) => return Err(Broken::Bug(text)),
    }
    Ok(None)
}

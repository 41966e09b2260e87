//! The own log's end, given back by whoever holds it.
//!
//! A site whose log lost its end (a power cut, an older copy of the data directory) must not number operations anew
//! that somebody holds: it waits until every peer has said what it holds of this site, and takes it from them, before
//! it captures. And what a site told only some peers before it went is passed on by them to the others.
//!
//! Invariant: own operations are taken from others only while nothing has been captured in this run.

use std::rc::Rc;

use super::journal::Journal;
use super::site::Site;
use crate::causality::{Hlc, Seq, SiteIx, Vector};
use crate::op::{Batch, Source};

/// What is known of the own log's end.
#[derive(Debug)]
pub(super) struct Restore {
    state: State,
    /// Which sites have said since the start what they hold of this site.
    heard: Vec<bool>,
    /// The most that any of them holds.
    told: Seq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing says that the end was lost.
    Whole,
    /// It may have been; nothing is captured.
    Waiting,
    /// Nobody holds more than this site.
    Restored,
}

impl Restore {
    pub fn new(sites: usize) -> Restore {
        Restore {
            state: State::Whole,
            heard: vec![false; sites],
            told: 0,
        }
    }

    /// A site holds so many of this site's operations.
    pub fn hear(&mut self, site: SiteIx, told: Seq) {
        self.heard[site.at()] = true;
        self.told = self.told.max(told);
    }
}

impl<J: Journal> Site<J> {
    /// The own log may have lost its end: nothing is to be captured until [`Site::restored`]. Without effect once it
    /// is known that nobody holds more.
    pub fn begin_restore(&mut self) {
        if self.restore.state == State::Whole {
            self.restore.state = State::Waiting;
        }
    }

    /// Whether capturing has to wait.
    pub fn is_restoring(&self) -> bool {
        self.restore.state == State::Waiting
    }

    /// Whether it is known that nobody holds more of this site's operations than its own log.
    pub(super) fn is_restored(&self) -> bool {
        self.restore.state == State::Restored
    }

    /// Whether everybody has been heard, and everything that they hold of this site is here, with all that it had
    /// `observed` behind it.
    pub fn has_own_end(&self, observed: &Vector) -> bool {
        let everybody = self.roster.peers().all(|site| self.restore.heard[site.at()]);
        let here = |(site, seq)| self.past.journal.last(site) >= seq;
        everybody && self.past.journal.last(self.me) >= self.restore.told && observed.entries().all(here)
    }

    /// The log is whole, and this is where it ends: as after a start with it.
    pub fn restored(&mut self, end: Option<(Source, Vector, Vector, Hlc)>) {
        self.restore.state = State::Restored;
        let Some((source, observed, stable, time)) = end else {
            return;
        };
        let nothing = Vector::zero(self.roster.count());
        self.forget(nothing);
        self.recover(Some(source), &observed, &stable, time);
        self.stream_lost();
        if self.barrier != super::site::Barrier::Down {
            self.apply_connected();
        }
    }

    /// The next batch that a peer lacks of itself, or of a site that is not connected with this one.
    pub(super) fn relay(&mut self, site: SiteIx) -> Option<Rc<Batch>> {
        for at in 0..self.roster.count() {
            let origin = SiteIx(at as u8);
            if origin == self.me {
                continue;
            }
            let peer = self.peers.get(site);
            let (next, held) = (peer.next.get(origin), peer.held.get(origin));
            let lacks = if origin == site {
                next < peer.owed
            } else {
                !self.peers.get(origin).connected && next.max(held) < self.past.journal.last(origin)
            };
            if !lacks {
                continue;
            }
            let from = if origin == site { next } else { next.max(held) };
            let Some(batch) = self.past.journal.batch(origin, from + 1) else {
                continue;
            };
            self.peers.get_mut(site).next.advance(origin, batch.last_seq());
            return Some(batch);
        }
        None
    }
}

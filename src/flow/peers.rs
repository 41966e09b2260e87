//! What the other sites hold and have seen.

use std::collections::VecDeque;

use crate::causality::{Roster, Seq, SiteId, SiteIx, Stability, Vector};
use crate::link::frames::Positions;

/// What a site says of itself, in order with its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The last operation of each origin in its log.
    pub held: Vector,
    /// How far its database has executed everything, repairs included.
    pub settled: Vector,
}

impl Ack {
    /// As the link carries it: sites by name.
    pub fn positions(&self, roster: &Roster) -> Positions {
        let named = |vector: &Vector| {
            vector
                .entries()
                .map(|(site, seq)| (roster.name(site), seq))
                .collect()
        };
        Positions {
            held: named(&self.held),
            settled: named(&self.settled),
        }
    }

    /// What came over the link; sites that are not configured here are left out.
    pub fn of(positions: &Positions, roster: &Roster) -> Ack {
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

/// Another site, as known here.
#[derive(Debug, Clone)]
pub struct PeerState {
    /// What it holds, as far as it has said.
    pub held: Vector,
    /// The next operation of each origin to send on the present session.
    pub next: Vector,
    /// What of its own operations we held when the session began: if it lacks them, it gets them back.
    pub owed: Seq,
    /// Whether a session is up.
    pub connected: bool,
    /// Whether it wants more than our log still has.
    pub needs_snapshot: bool,
    /// What it has settled, as said behind this one of its operations, which has not come back here yet. The
    /// oldest such word, and the newest.
    settled: VecDeque<(Seq, Vector)>,
}

/// All other sites.
#[derive(Debug)]
pub(super) struct Peers {
    states: Vec<PeerState>,
    pub stability: Stability,
}

impl Peers {
    pub fn new(sites: usize) -> Peers {
        let zero = Vector::zero(sites);
        let state = PeerState {
            held: zero.clone(),
            next: zero,
            owed: 0,
            connected: false,
            needs_snapshot: false,
            settled: VecDeque::new(),
        };
        Peers {
            states: vec![state; sites],
            stability: Stability::new(sites),
        }
    }

    pub fn get(&self, site: SiteIx) -> &PeerState {
        &self.states[site.at()]
    }

    pub fn get_mut(&mut self, site: SiteIx) -> &mut PeerState {
        &mut self.states[site.at()]
    }

    /// A session is up; the peer holds this. What it has settled counts only when it is said behind its
    /// batches: those that are still to come may hold operations concurrent with what it has seen.
    pub fn connected(&mut self, site: SiteIx, ack: &Ack, owed: Seq) {
        let state = &mut self.states[site.at()];
        state.owed = owed;
        state.connected = true;
        state.held.join(&ack.held);
        state.next = ack.held.clone();
    }

    pub fn disconnected(&mut self, site: SiteIx) {
        self.states[site.at()].connected = false;
    }

    /// An acknowledgement. What the peer has settled counts once everything that it sent before saying so has
    /// come back here: until then, something of it may be concurrent with what the peer has seen. Where one connection
    /// takes the other's place, an older word can come behind a newer one, which is never said again.
    pub fn acknowledged(&mut self, site: SiteIx, ack: &Ack) {
        let state = &mut self.states[site.at()];
        state.held.join(&ack.held);
        let (mut behind, mut settled) = (ack.held.get(site), ack.settled.clone());
        if state.settled.len() > 1
            && let Some((newest_behind, newest)) = state.settled.pop_back()
        {
            behind = behind.max(newest_behind);
            settled.join(&newest);
        }
        state.settled.push_back((behind, settled));
    }

    /// Takes over what the peers have settled, as far as it counts now; true if the stable point moved.
    pub fn take_settled(&mut self, observed: &Vector) -> bool {
        let mut moved = false;
        for (at, state) in self.states.iter_mut().enumerate() {
            let site = SiteIx(at as u8);
            while let Some((behind, settled)) = state.settled.front()
                && *behind <= observed.get(site)
            {
                moved |= self.stability.observe(site, settled);
                state.settled.pop_front();
            }
        }
        moved
    }

    /// The least that all other sites hold of an origin.
    pub fn held_by_all(&self, me: SiteIx, origin: SiteIx) -> Seq {
        let others = self.states.iter().enumerate().filter(|(at, _)| *at != me.at());
        others.map(|(_, state)| state.held.get(origin)).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(a: Seq, b: Seq) -> Vector {
        let mut vector = Vector::zero(2);
        vector.advance(SiteIx(0), a);
        vector.advance(SiteIx(1), b);
        vector
    }

    #[test]
    fn an_older_word_behind_a_newer_one_takes_nothing_back() {
        let (me, peer) = (SiteIx(0), SiteIx(1));
        let mut peers = Peers::new(2);
        let word = |held: Vector, settled: Vector| Ack { held, settled };
        peers.acknowledged(peer, &word(vector(5, 8), vector(2, 8)));
        peers.acknowledged(peer, &word(vector(5, 9), vector(5, 9)));
        // What was written to an earlier connection is read last.
        peers.acknowledged(peer, &word(vector(5, 8), vector(3, 8)));
        peers.stability.observe(me, &vector(5, 9));
        assert!(peers.take_settled(&vector(5, 8)));
        assert_eq!(peers.stability.stable(), &vector(2, 8));
        assert!(peers.take_settled(&vector(5, 9)));
        assert_eq!(peers.stability.stable(), &vector(5, 9));
    }
}

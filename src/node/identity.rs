//! What the links prove themselves with, and how it is replaced while they are up.
//!
//! [`LinkIdentity`] is the sender's side, for whoever watches certificates; the links hold a receiver of [`Generation`]s
//! and report on the [`Board`]. A replacement is a trial: the new generation is in force at once for whatever connects,
//! and every link that is up opens a second connection with it (`links.rs`), to which it moves. A trial that no link
//! passed, though some were up, is taken back.
//!
//! Everything here lives on the one thread of the node; nothing is `Send`.
//!
//! Invariants:
//! - Numbers of generations rise, and none is used twice, also not after one was taken back.
//! - While a trial is undecided, the links that are up go on with what they have.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use crate::causality::SiteId;
use crate::certs::{LinkTls, PeerRefused, Role};

/// One set of certificate, key and trust.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Rises with every replacement; the first is 0.
    pub number: u64,
    /// The links' settings made from it.
    pub tls: LinkTls,
}

/// What a replacement came to at one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The peer.
    pub site: SiteId,
    /// What came of it.
    pub outcome: MoveOutcome,
}

/// See [`Moved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveOutcome {
    /// Its link goes over a connection that was made with the new generation.
    Moved,
    /// No link was up; the next one is made with the new generation.
    NotConnected,
    /// Its link stays on the older connection, and why. It is tried again.
    Failed(String),
    /// What the peer shows is not accepted any more, and why: its link is not asked, and ends in time.
    Dropped(PeerRefused),
}

/// A replacement that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no link could be established with it, so the one before stays in force: {}", reasons(.failures))]
pub struct ReplaceError {
    /// Every peer whose link was up, and what went wrong.
    pub failures: Vec<(SiteId, String)>,
}

fn reasons(failures: &[(SiteId, String)]) -> String {
    let one = |(site, why): &(SiteId, String)| format!("{site}: {why}");
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The sender's side.
#[derive(Debug)]
pub struct LinkIdentity {
    current: watch::Sender<Generation>,
    board: Rc<Board>,
    /// The newest number that was ever in force.
    used: Cell<u64>,
    turn: Mutex<()>,
    patience: Duration,
}

impl LinkIdentity {
    /// What the links begin with. A trial waits for the links that are up, but no longer than `patience`.
    pub fn new(tls: LinkTls, patience: Duration) -> (LinkIdentity, watch::Receiver<Generation>) {
        let (current, receiver) = watch::channel(Generation { number: 0, tls });
        let identity = LinkIdentity {
            current,
            board: Rc::default(),
            used: Cell::new(0),
            turn: Mutex::new(()),
            patience,
        };
        (identity, receiver)
    }

    /// Where the links tell how they stand.
    pub(super) fn board(&self) -> Rc<Board> {
        Rc::clone(&self.board)
    }

    /// Tries a new set: every link that is up opens a second connection with it, completes the greeting, and moves over.
    /// Gives what came of it, for each peer. One replacement waits for the one before. A link whose peer shows what
    /// the new set does not accept has no say, and a set that first takes somebody's trust away is not taken back: else
    /// whoever is to be kept out would stay, because he cannot come in.
    ///
    /// # Errors
    /// Links were up, and none could be established with it: what was in force before is again.
    pub async fn replace(&self, tls: LinkTls) -> Result<Vec<Moved>, ReplaceError> {
        let _turn = self.turn.lock().await;
        let before = self.current.borrow().clone();
        let number = self.used.get() + 1;
        self.used.set(number);
        let sites: Vec<SiteId> = tls.trust().sites().collect();
        let dropped = self.board.dropped(&tls);
        let refused_before = self.board.dropped(&before.tls);
        let is_shrinking = dropped.keys().any(|site| !refused_before.contains_key(site));
        let mut up = self.board.begin(number);
        up.retain(|site| !dropped.contains_key(site));
        self.current.send_replace(Generation { number, tls });
        self.decided(&up, number).await;
        let outcome = |site| match dropped.get(&site) {
            Some(why) => MoveOutcome::Dropped(why.clone()),
            None => self.board.outcome(site, number, up.contains(&site)),
        };
        let moved: Vec<Moved> = sites
            .into_iter()
            .map(|site| Moved {
                site,
                outcome: outcome(site),
            })
            .collect();
        if is_shrinking || up.is_empty() || moved.iter().any(|peer| peer.outcome == MoveOutcome::Moved) {
            return Ok(moved);
        }
        self.board.number.set(before.number);
        self.current.send_replace(before);
        let why = |site| match self.board.outcome(site, number, true) {
            MoveOutcome::Failed(why) => (site, why),
            MoveOutcome::Moved | MoveOutcome::NotConnected | MoveOutcome::Dropped(_) => {
                (site, NOT_UP.to_owned())
            }
        };
        Err(ReplaceError {
            failures: up.into_iter().map(why).collect(),
        })
    }

    /// Waits until every link that was up has moved or failed.
    async fn decided(&self, up: &[SiteId], number: u64) {
        let deadline = Instant::now() + self.patience;
        while !up.iter().all(|site| self.board.is_decided(*site, number)) {
            tokio::select! {
                () = self.board.changed.notified() => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }
}

const NOT_UP: &str = "the link went down meanwhile";
const TOO_LATE: &str = "no connection came about with it in time";

/// How the links stand, by peer.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// The number of the generation that is in force.
    number: Cell<u64>,
    peers: RefCell<BTreeMap<SiteId, Standing>>,
    /// The last connection to the link port that was refused during a trial: it may be a peer that refuses us.
    refused: RefCell<Option<String>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Standing {
    /// What its link was made with, if it is up.
    up: Option<u64>,
    /// With which generation it could not be made last, and why.
    failed: Option<(u64, String)>,
    /// What the peer showed on its link, and as which side.
    shown: Option<(Vec<CertificateDer<'static>>, Role)>,
}

impl Board {
    /// The number of the generation that is in force.
    pub fn number(&self) -> u64 {
        self.number.get()
    }

    /// A link is up over a connection made with this generation, or is down.
    pub fn stands(&self, site: SiteId, up: Option<u64>) {
        self.peers.borrow_mut().entry(site).or_default().up = up;
        self.changed.notify_one();
    }

    /// What the peer showed on the link that is up.
    pub fn shown(&self, site: SiteId, chain: &[CertificateDer<'static>], role: Role) {
        self.peers.borrow_mut().entry(site).or_default().shown = Some((chain.to_vec(), role));
    }

    /// The peers with links that are up whose certificates these settings do not accept, and why.
    fn dropped(&self, tls: &LinkTls) -> BTreeMap<SiteId, PeerRefused> {
        let peers = self.peers.borrow();
        let refusal = |site: SiteId, standing: &Standing| {
            let (chain, role) = standing.shown.as_ref().filter(|_| standing.up.is_some())?;
            let (leaf, others) = chain.split_first()?;
            let trust = tls.trust();
            let judged = trust.verify(leaf, others, *role, Some(site), UnixTime::now());
            Some((site, judged.err()?))
        };
        let all = peers.iter();
        all.filter_map(|(site, standing)| refusal(*site, standing))
            .collect()
    }

    /// A link could not be made with this generation.
    pub fn failed(&self, site: SiteId, number: u64, why: &str) {
        self.peers.borrow_mut().entry(site).or_default().failed = Some((number, why.to_owned()));
        self.changed.notify_one();
    }

    /// Somebody who connected was refused, or refused us.
    pub fn refused(&self, why: &str) {
        *self.refused.borrow_mut() = Some(why.to_owned());
    }

    /// A trial begins; gives the peers whose links are up.
    fn begin(&self, number: u64) -> Vec<SiteId> {
        self.number.set(number);
        *self.refused.borrow_mut() = None;
        let peers = self.peers.borrow();
        let up = peers.iter().filter(|(_, peer)| peer.up.is_some());
        up.map(|(site, _)| *site).collect()
    }

    fn is_decided(&self, site: SiteId, number: u64) -> bool {
        let peers = self.peers.borrow();
        let Some(peer) = peers.get(&site) else { return true };
        peer.up.is_some_and(|at| at >= number) || peer.failed.as_ref().is_some_and(|(at, _)| *at >= number)
    }

    fn outcome(&self, site: SiteId, number: u64, was_up: bool) -> MoveOutcome {
        let peers = self.peers.borrow();
        let peer = peers.get(&site);
        if peer.and_then(|peer| peer.up).is_some_and(|at| at >= number) {
            return MoveOutcome::Moved;
        }
        if !was_up {
            return MoveOutcome::NotConnected;
        }
        match peer.and_then(|peer| peer.failed.as_ref()) {
            Some((at, why)) if *at >= number => MoveOutcome::Failed(why.clone()),
            _ => MoveOutcome::Failed(match &*self.refused.borrow() {
                Some(why) => format!("{TOO_LATE}; the last connection to the link port: {why}"),
                None => TOO_LATE.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::certs::{Identity, io};

    fn site(name: &str) -> SiteId {
        SiteId::new(name.as_bytes()).unwrap()
    }

    /// The settings of site a, which trusts b and c.
    fn tls() -> LinkTls {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let identity = Identity::new("orders", site(name)).unwrap();
            let loaded = io::ensure(
                &dir.path().join(name),
                crate::certs::CertificateName::Syncer,
                &identity,
                &[],
            );
            (identity, loaded.unwrap())
        };
        let (me, _) = of("a");
        let peers = ["b", "c"].map(|name| (site(name), of(name).1.paths.certificate));
        let sources = io::Sources {
            store: io::Store::new(&dir.path().join("a")),
            identity: me,
            peers: peers.to_vec(),
            tls_version_min: crate::certs::TlsVersion::V1_3,
        };
        sources.judge(&sources.read(None).unwrap()).unwrap().tls
    }

    fn outcomes(moved: Vec<Moved>) -> Vec<MoveOutcome> {
        moved.into_iter().map(|peer| peer.outcome).collect()
    }

    /// Replaces while links do what a test says.
    async fn replace(
        identity: &LinkIdentity,
        links: impl AsyncFnOnce(u64, &Board),
    ) -> Result<Vec<MoveOutcome>, ReplaceError> {
        let mut receiver = identity.current.subscribe();
        let tried = async {
            receiver.changed().await.unwrap();
            let number = receiver.borrow().number;
            links(number, &identity.board).await;
        };
        let (replaced, ()) = tokio::join!(identity.replace(tls()), tried);
        replaced.map(outcomes)
    }

    #[tokio::test]
    async fn one_link_that_moves_is_enough() {
        let (identity, receiver) = LinkIdentity::new(tls(), Duration::from_secs(5));
        let nobody = replace(&identity, async |_, _| {}).await.unwrap();
        assert_eq!(nobody, [MoveOutcome::NotConnected, MoveOutcome::NotConnected]);
        identity.board.stands(site("b"), Some(1));
        identity.board.stands(site("c"), Some(1));
        let moved = replace(&identity, async |number, board| {
            board.stands(site("b"), Some(number));
            board.failed(site("c"), number, "expired");
        });
        assert_eq!(
            moved.await.unwrap(),
            [MoveOutcome::Moved, MoveOutcome::Failed("expired".to_owned())]
        );
        assert_eq!(receiver.borrow().number, 2);
    }

    #[tokio::test]
    async fn without_any_link_it_is_taken_back_and_its_number_is_not_used_again() {
        let (identity, receiver) = LinkIdentity::new(tls(), Duration::from_millis(20));
        identity.board.stands(site("b"), Some(0));
        identity.board.stands(site("c"), Some(0));
        let failed = replace(&identity, async |number, board| {
            board.failed(site("b"), number, "not trusted");
            board.refused("alert from somebody");
        });
        let why = failed.await.unwrap_err();
        assert_eq!(why.failures.len(), 2);
        let text = why.to_string();
        assert!(
            text.contains("b: not trusted") && text.contains("alert from somebody"),
            "{text}"
        );
        assert_eq!((receiver.borrow().number, identity.board.number()), (0, 0));
        // A failure of the earlier trial decides nothing about the next.
        let moved = replace(&identity, async |number, board| {
            assert_eq!(number, 2);
            board.stands(site("b"), Some(number));
            board.stands(site("c"), Some(number));
        });
        assert_eq!(moved.await.unwrap(), [MoveOutcome::Moved, MoveOutcome::Moved]);
    }
}

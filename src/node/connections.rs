//! The connections behind each link, and how a newer one takes the place of an older one.
//!
//! ```text
//!   greeting ──established──▶ in force ──superseded──▶ draining ──Moved both ways──▶ over
//!                                │ cut, refused, replaced by one that does not take over
//!                                ▼
//!                               over, and what took over from it with it
//! ```
//!
//! Invariants:
//! - The engine knows of one connection per peer, the one in force. It does not notice that one took over: what was sent
//!   on the older one counts as sent.
//! - So an older one that ends before the peer's `Moved` ends the newer one, too, and the next begins with `Resume`.
//! - A connection whose greeting is not through changes nothing.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, watch};

use super::identity::Board;
use super::shared::Shared;
use crate::causality::{SiteId, SiteIx};
use crate::certs::Role;
use crate::control::PeerState;

/// Both sites dialed, or a new connection came before the old one was known to be dead.
pub(super) const REPLACED: &str = "another connection took its place";
const NOTHING_THERE: &str = "the connection was to take over from one that is not there any more";
const STILL_MOVING: &str = "the link is still moving to the connection before this one";
const WITHDRAWN: &str = "the certificate that this connection was made with was taken back";
const NOT_DRAINED: &str = "the connection before it ended before everything of it had come";

/// One connection whose peer has proven who it is.
#[derive(Debug)]
pub(super) struct Connection {
    pub peer: SiteIx,
    pub site: SiteId,
    pub dialed: bool,
    /// With which of our identities it was made.
    pub generation: u64,
    /// What the peer proved itself with.
    pub chain: Vec<CertificateDer<'static>>,
    /// There may be something to send, or to read at last.
    pub wake: Rc<Notify>,
    why: RefCell<Option<String>>,
    /// Which one it is to take over from, if we dialed it for that.
    target: Option<Weak<Connection>>,
    older: RefCell<Option<Rc<Connection>>>,
    newer: RefCell<Option<Weak<Connection>>>,
    /// Everything that the peer sent on it has come.
    is_drained: Cell<bool>,
    /// Whether the greeting is through, once it is decided.
    established: watch::Sender<Option<bool>>,
    /// The peer asked to be dialed anew.
    redial: Cell<bool>,
    /// Since when the peer's certificate is not accepted any more.
    unacceptable: Cell<Option<Instant>>,
}

impl Connection {
    /// A connection that has just been authenticated.
    pub fn new(
        (peer, site): (SiteIx, SiteId),
        dialed: bool,
        generation: u64,
        chain: Vec<CertificateDer<'static>>,
        target: Option<&Rc<Connection>>,
    ) -> Connection {
        Connection {
            peer,
            site,
            dialed,
            generation,
            chain,
            wake: Rc::default(),
            why: RefCell::default(),
            target: target.map(Rc::downgrade),
            older: RefCell::default(),
            newer: RefCell::default(),
            is_drained: Cell::new(false),
            established: watch::Sender::new(None),
            redial: Cell::new(false),
            unacceptable: Cell::new(None),
        }
    }

    /// Which side of the handshake the peer was.
    pub fn role(&self) -> Role {
        if self.dialed { Role::Server } else { Role::Client }
    }

    /// Whether it was dialed to take over from another one.
    pub fn takes_over(&self) -> bool {
        self.target.is_some()
    }

    /// Waits until it is decided whether the greeting goes through; whether it did.
    pub async fn greeted(&self) -> bool {
        let mut established = self.established.subscribe();
        let decided = established.wait_for(Option::is_some).await;
        decided.is_ok_and(|decided| *decided == Some(true))
    }

    /// Whether its greeting went through.
    pub fn is_established(&self) -> bool {
        *self.established.borrow() == Some(true)
    }

    /// Ends it.
    pub fn finish(&self, why: &str) {
        self.why.borrow_mut().get_or_insert_with(|| why.to_owned());
        self.wake.notify_one();
    }

    /// Why it has to end, if it has to.
    pub fn ending(&self) -> Option<String> {
        self.why.borrow().clone()
    }

    /// Whether a newer one has taken over.
    pub fn is_superseded(&self) -> bool {
        self.newer.borrow().is_some()
    }

    /// Whether the one before it still has to be read to its end.
    pub fn is_held(&self) -> bool {
        self.older
            .borrow()
            .as_ref()
            .is_some_and(|older| !older.is_drained.get())
    }

    /// Whether the one before it is not over yet.
    pub fn is_settling(&self) -> bool {
        self.older.borrow().is_some()
    }

    /// The peer's `Moved` has come: the newer one may be read.
    pub fn drained(&self) {
        self.is_drained.set(true);
        if let Some(newer) = self.newer() {
            newer.wake.notify_one();
        }
    }

    fn newer(&self) -> Option<Rc<Connection>> {
        self.newer.borrow().as_ref().and_then(Weak::upgrade)
    }

    /// Since when the peer's certificate has not been accepted; noted at the first refusal, forgotten when it is again.
    pub fn unacceptable_since(&self, is_refused: bool) -> Option<Instant> {
        let since = is_refused.then(|| self.unacceptable.get().unwrap_or_else(Instant::now));
        self.unacceptable.set(since);
        since
    }
}

/// Every link's connection in force.
pub(super) struct Connections {
    shared: Rc<Shared>,
    pub board: Rc<Board>,
    in_force: RefCell<Vec<Option<Rc<Connection>>>>,
    /// There is a reason to dial each site.
    pub dial: Vec<Notify>,
}

impl Connections {
    /// None yet.
    pub fn new(shared: Rc<Shared>, board: Rc<Board>) -> Connections {
        let sites = shared.links.len();
        Connections {
            shared,
            board,
            in_force: RefCell::new(vec![None; sites]),
            dial: (0..sites).map(|_| Notify::new()).collect(),
        }
    }

    /// The one in force.
    pub fn of(&self, peer: SiteIx) -> Option<Rc<Connection>> {
        self.in_force.borrow()[peer.at()].clone()
    }

    /// All that are in force.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        self.in_force.borrow().iter().flatten().cloned().collect()
    }

    /// The connection in force that we should dial anew, if nothing stands against it.
    pub fn to_move(&self, peer: SiteIx) -> Option<Rc<Connection>> {
        let current = self.of(peer)?;
        let is_old = current.generation < self.board.number() || current.redial.get();
        (current.dialed && is_old && !current.is_settling()).then_some(current)
    }

    /// The peer of this connection wants to be dialed anew.
    pub fn redial(&self, connection: &Connection) {
        connection.redial.set(true);
        self.dial[connection.peer.at()].notify_one();
    }

    /// A greeting is through: from now on this connection is in force.
    ///
    /// # Errors
    /// Why it must not be.
    pub fn establish(&self, connection: &Rc<Connection>, takes_over: bool) -> Result<(), String> {
        if connection.generation > self.board.number() {
            return Err(WITHDRAWN.to_owned());
        }
        let current = self.of(connection.peer);
        match (current, takes_over) {
            (Some(current), true) => self.supersede(&current, connection)?,
            (None, true) => return Err(NOTHING_THERE.to_owned()),
            (Some(current), false) => self.replace(&current, connection)?,
            (None, false) => {}
        }
        *self.shared.links[connection.peer.at()].borrow_mut() = Rc::clone(&connection.wake);
        self.in_force.borrow_mut()[connection.peer.at()] = Some(Rc::clone(connection));
        self.board
            .shown(connection.site, &connection.chain, connection.role());
        self.board.stands(connection.site, Some(connection.generation));
        connection.established.send_replace(Some(true));
        Ok(())
    }

    fn supersede(&self, current: &Rc<Connection>, connection: &Rc<Connection>) -> Result<(), String> {
        let target = connection.target.as_ref().map(Weak::upgrade);
        if target.is_some_and(|target| !target.is_some_and(|target| Rc::ptr_eq(&target, current))) {
            return Err(NOTHING_THERE.to_owned());
        }
        if current.is_settling() {
            return Err(STILL_MOVING.to_owned());
        }
        *connection.older.borrow_mut() = Some(Rc::clone(current));
        *current.newer.borrow_mut() = Some(Rc::downgrade(connection));
        // Its last frame goes out at once.
        current.wake.notify_one();
        Ok(())
    }

    /// Where both sides dialed, the one that the smaller name dialed stays, whichever came first.
    fn replace(&self, current: &Connection, connection: &Connection) -> Result<(), String> {
        let me = self.shared.node.borrow().site.roster().me();
        let is_preferred = |of: &Connection| of.dialed == (me < of.peer);
        if is_preferred(current) && !is_preferred(connection) {
            return Err(REPLACED.to_owned());
        }
        current.finish(REPLACED);
        if let Some(older) = &*current.older.borrow() {
            older.finish(REPLACED);
        }
        Ok(())
    }

    /// A connection is over.
    pub fn ended(&self, connection: &Rc<Connection>) {
        connection.established.send_if_modified(|established| {
            let is_undecided = established.is_none();
            established.get_or_insert(false);
            is_undecided
        });
        if let Some(newer) = connection.newer() {
            *newer.older.borrow_mut() = None;
            if !connection.is_drained.get() {
                newer.finish(NOT_DRAINED);
            }
            self.dial[connection.peer.at()].notify_one();
        }
        let peer = connection.peer;
        if !self
            .of(peer)
            .is_some_and(|current| Rc::ptr_eq(&current, connection))
        {
            return;
        }
        if let Some(older) = connection.older.borrow_mut().take() {
            older.finish(REPLACED);
        }
        self.in_force.borrow_mut()[peer.at()] = None;
        self.board.stands(connection.site, None);
        let mut node = self.shared.node.borrow_mut();
        node.site.peer_disconnected(peer);
        node.peers[peer.at()].reminders.clear();
        node.peers[peer.at()].state = PeerState::Connecting;
    }
}

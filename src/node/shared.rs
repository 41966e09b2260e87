//! What the tasks share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;

use super::doorway::Doorway;
use super::logs::Logs;
use super::position::Position;
use crate::causality::Vector;
use crate::config::Settings;
use crate::control::{DatabaseLink, PeerState};
use crate::database::Url;
use crate::flow::{Journal, Site};

/// How a peer's link stands, for the status.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerLink {
    pub state: PeerState,
    pub last_error: Option<String>,
    pub sent: (u64, u64),
    pub received: (u64, u64),
    /// How far the peer's clock was ahead of ours at the last batch, milliseconds.
    pub clock_ahead_ms: u64,
    /// Keys, with their database, whose value this site still has to be reminded of.
    pub reminders: VecDeque<(u32, Bytes)>,
}

/// How the link to the database stands, for the status.
#[derive(Debug, Clone, Default)]
pub(super) struct DatabaseState {
    pub link: DatabaseLink,
    pub server_version: String,
    pub last_error: Option<String>,
    pub apply_error: Option<String>,
}

/// The engine and what is known of its links.
pub(super) struct Node {
    pub site: Site<Logs>,
    pub database: DatabaseState,
    pub peers: Vec<PeerLink>,
    pub captured: crate::capture::Counters,
}

/// Shared by all tasks of the one thread.
pub(super) struct Shared {
    /// With the peers that joined.
    pub settings: Settings,
    /// As the configuration file has them.
    pub configured: Settings,
    pub url: Url,
    /// The operator's word that all databases hold the same data: it counts for one snapshot.
    pub agreed: Cell<bool>,
    pub started: Instant,
    pub node: RefCell<Node>,
    /// There may be something to send to the database.
    pub apply: Notify,
    /// The stream has a gap: which connection to apply on is the first that was made behind it, by its number.
    pub fence: Cell<Option<u64>>,
    /// The database is getting back what it lost.
    pub heals: Cell<bool>,
    /// Whether the database is to be asked again if it lets us run scripts.
    pub asks_again: Cell<bool>,
    /// The number of the connection to apply on that is up.
    pub applying: Cell<Option<u64>>,
    /// Replies came for which the stream waits.
    pub stream: Notify,
    /// There may be something to send to each site: wakes the connection in force.
    pub links: Vec<RefCell<Rc<Notify>>>,
    /// Who wants to become a link.
    pub doorway: Rc<Doorway>,
    /// The conflict log's measure.
    pub conflicts: RefCell<super::conflicts::Written>,
    /// Why the syncer must end, if it must.
    pub fatal: RefCell<Option<String>>,
    /// Tells that it must.
    pub ending: Notify,
    /// The peers are others now, or the database is: the syncer goes on with them as after a restart.
    pub again: Notify,
    /// Something was observed that the others should hear of.
    pub moved: Notify,
    /// More is ready to be delivered than is done at once.
    pub ready: Notify,
}

/// Unix milliseconds.
pub(super) fn now_unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// The own log may have lost its end: once every peer has given back what it holds of it, the site goes on as
    /// after a start.
    pub fn finish_restore(&self) {
        let mut node = self.node.borrow_mut();
        if !node.site.is_restoring() {
            return;
        }
        let end = node.site.journal_mut().position();
        let observed = match &end {
            Some(end) => end.observed.clone(),
            None => Vector::zero(node.site.roster().count()),
        };
        if !node.site.has_own_end(&observed) {
            return;
        }
        let me = node.site.roster().me();
        tracing::warn!(
            last_seq = node.site.journal().last(me),
            "the own log is whole: nobody holds more of it"
        );
        let marked = end.as_ref().map_or(0, |end| end.marked);
        let end = end.map(|end| (end.source, end.observed, end.stable, end.time));
        node.site.set_time(now_unix_ms());
        node.site.restored(end);
        node.site.recover_marked(marked);
    }

    /// The stream has a gap: the connection to apply on is made anew, so that nothing that was sent on it can be
    /// executed behind the snapshot that will bridge the gap.
    pub fn fence(&self) {
        let mut node = self.node.borrow_mut();
        if self.fence.get().is_none() {
            node.captured.full_resyncs += 1;
            self.fence.set(Some(node.captured.full_resyncs));
        }
        drop(node);
        self.apply.notify_one();
    }

    /// Whether it has been made anew.
    pub fn is_fenced(&self) -> bool {
        let numbers = self.applying.get().zip(self.fence.get());
        numbers.is_some_and(|(applying, fence)| applying >= fence)
    }

    /// The gap is bridged.
    pub fn unfence(&self) {
        self.fence.set(None);
    }

    /// Lets the engine submit what is ready, and wakes who has something to send.
    pub fn advance(&self) {
        let mut node = self.node.borrow_mut();
        node.site.set_time(now_unix_ms());
        let has_more = node.site.deliver();
        drop(node);
        self.delivered(has_more);
        self.moved.notify_one();
    }

    /// Something may be there to send to the database, and more that is ready to be delivered.
    pub fn delivered(&self, has_more: bool) {
        self.apply.notify_one();
        if has_more {
            self.ready.notify_one();
        }
    }

    /// Ends the syncer: going on would do harm.
    pub fn end(&self, why: &str) {
        self.fatal.borrow_mut().get_or_insert_with(|| why.to_owned());
        self.ending.notify_one();
    }

    /// Ends the syncer if it does not know any more what conflicts. The next start makes the window anew from the
    /// logs, in which everything is.
    pub fn end_at_fault(&self) {
        let fault = self.node.borrow().site.fault().map(ToString::to_string);
        if let Some(fault) = fault {
            self.end(&format!(
                "{fault}; what conflicts is not known any more, so this syncer ends and has to be \
                started again"
            ));
        }
    }

    /// Wakes every link.
    pub fn wake_links(&self) {
        self.links.iter().for_each(|link| link.borrow().notify_one());
    }

    /// Keeps the present position.
    pub fn keep_position(&self) {
        let mut node = self.node.borrow_mut();
        let Some(source) = node.site.source() else { return };
        let position = Position {
            source,
            time: node.site.time(),
            observed: node.site.observed().clone(),
            stable: node.site.stable().clone(),
            marked: node.site.marked(),
            names_all: true,
        };
        if let Err(error) = node.site.journal_mut().append_position(&position) {
            tracing::error!(%error, "the position cannot be kept; a restart reads more of the stream again");
        }
    }

    /// Keeps the present position, which the database is about to be told, as safely as operations are kept: one that
    /// ends on our word and starts anew has no stream from before.
    pub fn promise_position(&self) {
        self.keep_position();
        if let Err(error) = self.node.borrow_mut().site.journal_mut().secure_position() {
            tracing::error!(%error, "the position cannot be forced to disk; after a power cut it may be an earlier one");
        }
    }
}

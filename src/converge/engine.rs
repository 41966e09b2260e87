//! The window and the keys in conflict, together.

mod flushes;
mod values;

use bytes::Bytes;

use super::contested::Contested;
use super::key::{KeyState, Means, Repair, Took, TxnId};
use super::losses::{Loss, Rule};
use super::mutation::{Mutation, off};
use super::operation::Operation;
use super::window::{Spill, Touch, Window, WindowError, WindowSize};
use crate::causality::{Dot, SiteIx, Vector};
use crate::command::{EffectClass, FieldTimes};

/// Losses kept for whoever writes them down.
const LOSSES_MAX: usize = 1024;

/// So many operations of one key are replayed, unless something else is set. A replay of as many takes a database about
/// as long as a value of a hundred elements that is sent and taken in.
pub const REPLAY_MAX: usize = 256;

/// One key's share of an operation, as it is found in the history.
#[derive(Debug, Clone)]
pub struct KeyOperation {
    /// Database number.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// The operation; `None` if it only read this key.
    pub operation: Option<Operation>,
    /// Whether a key that it wrote depends on keys that it read or on other keys' state.
    pub has_derived: bool,
}

/// What the engine has to look up when a key turns out to be in conflict.
pub trait History {
    /// An operation's shares on keys with this fingerprint.
    fn operations(&mut self, dot: Dot, fingerprint: u64) -> Vec<KeyOperation>;
    /// The transaction in which a remote operation is on its way to the database, if its echo has not come.
    /// From then on the key's share in that transaction is watched.
    fn in_flight(&mut self, dot: Dot, fingerprint: u64, db: u32, key: &Bytes) -> Option<TxnId>;
}

/// An operation on one of its keys, before anything is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Fingerprint of (db, key).
    pub fingerprint: u64,
    /// Its identity.
    pub dot: Dot,
    /// What kind of effect it has.
    pub class: EffectClass,
    /// Its causal past.
    pub past: &'a Vector,
}

/// The repair of one key, to be submitted in the transaction that was named.
#[derive(Debug)]
pub struct KeyRepair {
    /// Fingerprint of (db, key).
    pub fingerprint: u64,
    /// Database number.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// What to submit.
    pub repair: Repair,
}

/// What becomes of a remote operation on one of its keys.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing conflicts: it is applied as the bytes that arrived.
    Verbatim,
    /// The key is in conflict: what [`Converge::settle`] gives takes its place.
    InConflict,
    /// Its list has to be read first, which the next [`Converge::settle`] begins: it is asked again then.
    Waits,
    /// The window's disk failed: nothing may be submitted, see [`Converge::fault`].
    Unknown,
}

/// Counters since the start.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    /// Keys that came into conflict.
    pub conflicts: u64,
    /// Repairs submitted after a race with a local write.
    pub repairs: u64,
    /// Values shipped for others.
    pub states: u64,
    /// Conflicts resolved against somebody, by [`Rule::at`].
    pub losses: [u64; Rule::ALL.len()],
}

/// The window and the keys in conflict.
#[derive(Debug)]
pub struct Converge {
    me: SiteIx,
    now_ms: u64,
    window: Window,
    conflicts: Contested,
    counters: Counters,
    contested: Vec<Dot>,
    /// Keys to be compared by the next [`Converge::settle`].
    dirty: Vec<(u64, u32, Bytes)>,
    /// Transactions that keys wait for before more is submitted for them.
    deferred: Vec<TxnId>,
    /// Told to nobody yet; the newest are left out when nobody asks.
    losses: Vec<Loss>,
    /// What the database lets us use.
    means: Means,
    /// Whether the other sites can be told what pops took.
    tells: bool,
    /// What emptied whole databases and is not stable, or one of them.
    flushes: Vec<(Operation, Option<u32>)>,
    /// What had been executed when this run took over from an earlier one.
    taken_over: Option<Vector>,
}

impl Converge {
    /// An empty window at site `me`.
    pub fn new(me: SiteIx) -> Converge {
        Converge {
            me,
            now_ms: 0,
            window: Window::default(),
            conflicts: Contested::default(),
            counters: Counters::default(),
            contested: Vec::new(),
            dirty: Vec::new(),
            deferred: Vec::new(),
            losses: Vec::new(),
            means: Means {
                may_script: true,
                field_times: FieldTimes::None,
                replay_max: REPLAY_MAX,
            },
            tells: false,
            flushes: Vec::new(),
            taken_over: None,
        }
    }

    /// From here on this run alone writes, and it knows what it does. What an earlier one did to the keys of these
    /// operations is not known: it may have passed over operations of a key that waited for a value, and what it had
    /// submitted for them later may have been lost. All keys are compared anew.
    pub fn take_over(&mut self, executed: &Vector) {
        self.taken_over = Some(executed.clone());
        self.compare_all(KeyState::doubt);
    }

    /// Keeps at most about `memory_max` bytes of the window in memory, the rest on `disk`.
    pub fn spill_to(&mut self, disk: Box<dyn Spill>, memory_max: usize) {
        self.window.spill_to(disk, memory_max);
    }

    /// Puts old parts of the window on disk if memory calls for it; to be called beside the way of a write.
    ///
    /// # Errors
    /// The disk's. Nothing is lost, and it is tried again.
    pub fn relieve(&mut self, now_unix_ms: u64) -> Result<(), WindowError> {
        self.window.relieve(now_unix_ms)
    }

    /// Whether the window takes more memory than it may because the disk refuses.
    pub fn is_refused(&self) -> bool {
        self.window.is_refused()
    }

    /// The window's disk failed a look-up: it is not known what conflicts, and nothing may be submitted.
    pub fn fault(&self) -> Option<&WindowError> {
        self.window.fault()
    }

    /// What the window takes, without the keys in conflict.
    pub fn window_size(&self) -> WindowSize {
        self.window.size()
    }

    /// The time, Unix milliseconds; it tells for how long keys have been waiting, and decides nothing.
    pub fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Unstable operations in the window, one per key that they touch.
    pub fn unstable(&self) -> usize {
        self.window.len() + self.conflicts.operations()
    }

    /// Keys in conflict.
    pub fn keys_in_conflict(&self) -> usize {
        self.conflicts.len()
    }

    /// Keys that wait for another site to ship their value.
    pub fn keys_waiting(&self) -> usize {
        self.conflicts.waiting()
    }

    /// Keys whose value is older here than it was, and which are not whole again.
    pub fn keys_healing(&self) -> usize {
        self.conflicts.healing()
    }

    /// Since when the key has been waiting that waits longest, Unix milliseconds.
    pub fn waiting_since_ms(&self) -> Option<u64> {
        self.conflicts.waiting_since_ms()
    }

    /// Keys that have waited for another site's value for so long that it should be reminded, with that site; so many at
    /// most, the others are due still.
    pub fn reminders(&mut self, after_ms: u64, most: usize) -> Vec<(SiteIx, u32, Bytes)> {
        let now_ms = self.now_ms;
        let mut due = Vec::new();
        self.conflicts.change_waiting(|_, key| {
            if due.len() < most {
                let site = key.is_due(now_ms, after_ms);
                due.extend(site.map(|site| (site, key.db(), key.key().clone())));
            }
        });
        due
    }

    /// So many operations of one key are replayed at most, where its value can be sent instead.
    pub fn set_replay_max(&mut self, replay_max: usize) {
        self.means.replay_max = replay_max;
    }

    /// Whether the database lets us run scripts, without which streams may have to wait; gives what was so before.
    pub fn set_may_script(&mut self, may_script: bool) -> bool {
        let dirty = &mut self.dirty;
        self.conflicts
            .change_waiting(|fingerprint, key| compare_later(dirty, fingerprint, key));
        std::mem::replace(&mut self.means.may_script, may_script)
    }

    /// What the database knows of the expiry times of fields.
    pub fn set_field_times(&mut self, field_times: FieldTimes) {
        self.means.field_times = field_times;
    }

    /// Whether some key waits because it does not.
    pub fn waits_to_script(&self) -> bool {
        let waits = |key: &KeyState| key.waiting_for() == Some(self.me);
        !self.means.may_script && self.keys_waiting() > 0 && self.keys().any(waits)
    }

    /// The values of all keys that wait for a site are shipped by the next [`Converge::settle`]; gives how many.
    pub fn overrule(&mut self, site: SiteIx) -> usize {
        let mut count = 0;
        let dirty = &mut self.dirty;
        self.conflicts.change_waiting(|fingerprint, key| {
            if key.waiting_for() != Some(site) {
                return;
            }
            count += 1;
            key.demand_state(None);
            compare_later(dirty, fingerprint, key);
        });
        count
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The keys in conflict.
    pub fn keys(&self) -> impl Iterator<Item = &KeyState> {
        self.conflicts.iter()
    }

    /// A local operation was read from the stream; or, `within`, what the database removed by itself within the transaction of
    /// ours that comes back next. True if its key is in conflict. The caller looks at
    /// [`Converge::fault`] before it goes on to anything that others can see.
    #[inline]
    pub fn local(&mut self, arrival: Arrival<'_>, within: bool, history: &mut impl History) -> bool {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast | Touch::Unknown => false,
            touch => {
                self.local_in_conflict((arrival, within), touch, history);
                true
            }
        }
    }

    #[cold]
    fn local_in_conflict(
        &mut self,
        (arrival, within): (Arrival<'_>, bool),
        touch: Touch,
        history: &mut impl History,
    ) {
        if touch == Touch::Conflict {
            self.materialise(arrival.fingerprint, history);
        }
        for share in history.operations(arrival.dot, arrival.fingerprint) {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            let place = (arrival.fingerprint, share.db, &share.key);
            let tells = self.tells;
            self.conflicts.enter_key(place, |key| match tells {
                _ if within => key.executed_within(operation),
                true => key.executed_here(operation),
                false => key.executed(operation),
            });
            // Also with nothing in flight: an expiry time that had lost its key may have found a new one.
            self.compare(arrival.fingerprint, share.db, &share.key);
        }
    }

    /// A remote operation is to be submitted: as it came, or, in the same transaction, as what is settled; or later, if it
    /// `may_wait`.
    #[inline]
    pub fn remote(&mut self, arrival: Arrival<'_>, may_wait: bool, history: &mut impl History) -> Verdict {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast => Verdict::Verbatim,
            Touch::Unknown => Verdict::Unknown,
            touch => self.remote_in_conflict(arrival, touch, may_wait, history),
        }
    }

    #[cold]
    fn remote_in_conflict(
        &mut self,
        arrival: Arrival<'_>,
        touch: Touch,
        may_wait: bool,
        history: &mut impl History,
    ) -> Verdict {
        if touch == Touch::Conflict {
            self.materialise(arrival.fingerprint, history);
        }
        let shares = history.operations(arrival.dot, arrival.fingerprint);
        if may_wait && self.waits_to_be_read(arrival.fingerprint, &shares) {
            return Verdict::Waits;
        }
        for share in shares {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            let place = (arrival.fingerprint, share.db, &share.key);
            self.conflicts.enter_key(place, |key| key.delivered(operation));
            self.compare(arrival.fingerprint, share.db, &share.key);
        }
        Verdict::InConflict
    }

    /// Like [`Converge::remote`] for a key that has to take the slow path because another key of the same
    /// command does.
    pub fn remote_slowly(&mut self, arrival: Arrival<'_>, history: &mut impl History) {
        let touch = if self.conflicts.contains(arrival.fingerprint) {
            Touch::InConflict
        } else {
            Touch::Conflict
        };
        self.remote_in_conflict(arrival, touch, false, history);
    }

    /// An operation was executed while nobody looked (before a restart).
    pub fn executed(&mut self, arrival: Arrival<'_>, history: &mut impl History) {
        match self
            .window
            .touch(arrival.fingerprint, arrival.dot, arrival.class, arrival.past)
        {
            Touch::Fast | Touch::Unknown => return,
            Touch::Conflict => self.materialise(arrival.fingerprint, history),
            Touch::InConflict => {}
        }
        for share in history.operations(arrival.dot, arrival.fingerprint) {
            self.contest(arrival.dot, share.has_derived);
            let Some(operation) = share.operation else {
                continue;
            };
            let place = (arrival.fingerprint, share.db, &share.key);
            self.conflicts.enter_key(place, |key| key.executed(operation));
        }
    }

    fn contest(&mut self, dot: Dot, has_derived: bool) {
        if has_derived && !self.contested.contains(&dot) {
            self.contested.push(dot);
        }
    }

    /// Whether [`Converge::take_contested`] has something to give.
    pub fn has_contested(&self) -> bool {
        !self.contested.is_empty()
    }

    /// Derived operations one of whose keys came into conflict since this was last asked: the keys that they
    /// wrote have to be put in conflict too, with [`Converge::contest_key`].
    pub fn take_contested(&mut self) -> Vec<Dot> {
        std::mem::take(&mut self.contested)
    }

    /// The value that a derived operation left in this key can only come from its origin.
    pub fn contest_key(&mut self, fingerprint: u64, dot: Dot, history: &mut impl History) {
        if !self.conflicts.contains(fingerprint) {
            self.materialise(fingerprint, history);
        }
        let dirty = &mut self.dirty;
        self.conflicts.change(fingerprint, |keys| {
            for key in keys {
                if key.contest(dot) {
                    compare_later(dirty, fingerprint, key);
                }
            }
        });
    }

    /// What [`Converge::remote`] would find on this key.
    pub fn look(&mut self, arrival: Arrival<'_>) -> Touch {
        self.window
            .look(arrival.fingerprint, arrival.dot.site, arrival.class, arrival.past)
    }

    /// Puts a key in conflict, with everything unstable on it.
    pub fn materialise(&mut self, fingerprint: u64, history: &mut impl History) {
        self.counters.conflicts += 1;
        self.conflicts.begin(fingerprint);
        // Without an answer the fault is kept, and nothing is submitted.
        let mut found = Vec::new();
        for dot in self.window.take(fingerprint).unwrap_or_default() {
            for share in history.operations(dot, fingerprint) {
                self.contest(dot, share.has_derived);
                if let Some(operation) = share.operation {
                    let in_flight = history.in_flight(dot, fingerprint, share.db, &share.key);
                    found.push((in_flight, share.db, share.key, operation));
                }
            }
        }
        // As they were and will be executed. What was executed and is concurrent commutes, so time will do.
        let place = |operation: &Operation| (operation.time.written(), operation.dot.site);
        found.sort_by_key(|(in_flight, _, _, operation)| (*in_flight, place(operation)));
        let taken_over = self.taken_over.as_ref();
        let is_earlier = |dot| taken_over.is_some_and(|executed| executed.includes(dot));
        let (earlier, later): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_, _, _, operation)| is_earlier(operation.dot));
        let is_lost = !earlier.is_empty();
        self.enter(fingerprint, earlier);
        if is_lost {
            let doubt = |states: &mut Vec<KeyState>| states.iter_mut().for_each(KeyState::doubt);
            self.conflicts.change(fingerprint, doubt);
        }
        self.enter(fingerprint, later);
        self.recall_flushes(fingerprint, history);
    }

    fn enter(&mut self, fingerprint: u64, found: Vec<(Option<TxnId>, u32, Bytes, Operation)>) {
        for (in_flight, db, key, operation) in found {
            self.conflicts
                .enter_key((fingerprint, db, &key), |key| match in_flight {
                    Some(txn) => key.submitted(operation, txn),
                    None => key.executed(operation),
                });
        }
    }

    /// A transaction came back with what came of each of this key's commands in it.
    pub fn echoed(&mut self, (fingerprint, db, key): (u64, u32, &Bytes), txn: TxnId, took: &[Took]) {
        let place = (fingerprint, db, key);
        let known = self.conflicts.change_key(place, |state| state.echoed(txn, took));
        if known.is_some() && !off(Mutation::CompareAtEcho) {
            self.compare(fingerprint, db, key);
        }
    }

    /// Ideal and actual of a key are compared by the next [`Converge::settle`].
    pub fn compare(&mut self, fingerprint: u64, db: u32, key: &Bytes) {
        let dirty = &mut self.dirty;
        self.conflicts.change_key((fingerprint, db, key), |state| {
            compare_later(dirty, fingerprint, state);
        });
    }

    /// Whether [`Converge::settle`] has something to compare.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Compares ideal and actual of every key that something happened to since the last call: however much
    /// that was, it is one comparison. What is missing goes into transaction `txn`.
    pub fn settle(&mut self, txn: TxnId) -> Vec<KeyRepair> {
        let (me, now_ms, means) = (self.me, self.now_ms, self.means);
        let mut repairs = Vec::new();
        for (fingerprint, db, key) in std::mem::take(&mut self.dirty) {
            let place = (fingerprint, db, &key);
            let reconcile = |it: &mut KeyState| (it.reconcile(me, txn, now_ms, means), it.take_losses());
            let Some((repair, losses)) = self.conflicts.change_key(place, reconcile) else {
                continue;
            };
            self.note(losses);
            self.deferred.extend(repair.behind);
            if repair.is_empty() {
                continue;
            }
            self.counters.repairs += 1;
            self.counters.states += u64::from(repair.ship_state);
            repairs.push(KeyRepair {
                fingerprint,
                db,
                key,
                repair,
            });
        }
        repairs
    }

    /// Transactions behind which keys were put off by the last [`Converge::settle`]: what called for it is settled when
    /// more is submitted for them, once these have come back.
    pub fn take_deferred(&mut self) -> Vec<TxnId> {
        std::mem::take(&mut self.deferred)
    }

    fn note(&mut self, losses: Vec<Loss>) {
        for loss in losses {
            self.counters.losses[loss.rule.at()] += 1;
            if self.losses.len() < LOSSES_MAX {
                self.losses.push(loss);
            }
        }
    }

    /// Conflicts that were resolved against somebody since this was last asked, as far as they were kept.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Forgets what the database holds under the keys in conflict; all are compared anew.
    pub fn lose_actual(&mut self) {
        self.compare_all(KeyState::lose_actual);
    }

    fn compare_all(&mut self, mut change: impl FnMut(&mut KeyState)) {
        let dirty = &mut self.dirty;
        dirty.clear();
        self.conflicts.change_each(|fingerprint, state| {
            change(state);
            state.mark_dirty();
            dirty.push((fingerprint, state.db(), state.key().clone()));
        });
    }

    /// Forgets all operations: a value that has seen them takes their place. Counters stay.
    pub fn forget(&mut self) {
        self.window.clear();
        self.conflicts = Contested::default();
        self.contested.clear();
        self.dirty.clear();
        self.flushes.clear();
    }

    /// Lets go of what is stable and settled. What is left of a key may have to be compared.
    pub fn prune(&mut self, stable: &Vector) {
        self.window.trim(stable);
        for fingerprint in self.conflicts.prune(stable) {
            self.window.release(fingerprint);
        }
        self.dirty.extend(self.conflicts.take_dirty());
        let losses = self.conflicts.take_losses();
        self.note(losses);
    }
}

/// A key is compared by the next [`Converge::settle`], once.
fn compare_later(dirty: &mut Vec<(u64, u32, Bytes)>, fingerprint: u64, key: &mut KeyState) {
    if !key.is_dirty() {
        key.mark_dirty();
        dirty.push((fingerprint, key.db(), key.key().clone()));
    }
}

//! One key in conflict: what it should hold, what it holds, and what is on its way.
//!
//! Level-triggered: after every event that touches the key, [`KeyState::reconcile`] compares ideal and actual
//! and gives the difference. A write that raced with ours is found at the echo and repaired; a repair that
//! raced is repaired again.

mod flushed;
mod fold;
mod found;
mod healing;
mod held;
mod listed;
mod owed;
mod popped;
mod replayed;
mod timed;

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

#[cfg(test)]
pub(super) use self::fold::seen_by_rest;
use self::healing::Healing;
pub use self::held::Took;
use self::held::{Actual, Flight, Held, Restart, Step};
use self::listed::Listed;
pub use self::owed::Owed;
use self::timed::Timed;
use super::content::{Content, Kind, kind_of};
use super::difference::difference;
use super::entries;
use super::evaluate::{evaluate, is_reset};
use super::fields;
use super::life::Life;
use super::list;
use super::losses::{Loss, judge};
use super::operation::Operation;
use super::pieces::needs_replay;
use super::render::{render, unconditional};
use super::replay::Root;
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::FieldTimes;
use crate::command::effect::Effect;
use crate::command::entries::Trim;

/// An operation's losses are told as far as its key's newest operations go: it has met those before by then.
const JUDGED_MAX: usize = 64;

/// Identifies a marked transaction of this engine.
pub type TxnId = u64;

/// A key whose operations in the window are, or were, concurrent.
#[derive(Debug, Clone)]
pub struct KeyState {
    db: u32,
    key: Bytes,
    operations: Vec<Operation>,
    base: Content,
    life: Life,
    listed: Listed,
    timed: Timed,
    held: Held,
    snapshot: bool,
    /// The value is to be shipped whatever the rules say of whose turn it is.
    demanded: bool,
    /// The site that demanded it; none if an operator did.
    demanded_by: Option<SiteIx>,
    /// Whose value it waits for.
    waiting_for: Option<SiteIx>,
    /// Since when, and when that site was last reminded; Unix milliseconds.
    waiting_since_ms: u64,
    reminded_ms: u64,
    /// That site may not know that anybody waits: it is asked at once.
    asks: bool,
    dirty: bool,
    /// How many operations and ghosts there are when it is next tried to fold some.
    fold_at: usize,
    /// What was stable when something was on its way, so that nothing could be folded.
    fold_next: Option<Vector>,
    /// An earlier run may have passed over operations of others, because the key waited for a value.
    doubtful: bool,
    /// The database came back older than it was.
    healing: Option<Healing>,
    /// Delivered, and neither submitted nor made up for by a repair.
    pending: BTreeSet<Dot>,
    losses: Vec<Loss>,
}

/// What the database lets a repair use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Scripts.
    pub may_script: bool,
    /// Expiry times of hash fields.
    pub field_times: FieldTimes,
    /// So many operations of one key are replayed at most, where its value can be sent instead.
    pub replay_max: usize,
}

/// What to submit for a key, in one marked transaction.
#[derive(Debug, Default, PartialEq)]
pub struct Repair {
    /// Commands in RESP.
    pub commands: Vec<Bytes>,
    /// The value is to be read behind them and shipped to everybody as an operation of this site.
    pub ship_state: bool,
    /// The value is to be read behind them, for this site alone.
    pub read: bool,
    /// The key's expiry time is to be read behind them, and told to everybody if it has one.
    pub tells_time: bool,
    /// More is to be done once this transaction, which begins the key anew, has come back.
    pub behind: Option<TxnId>,
}

impl Repair {
    /// Whether there is nothing to submit.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && !self.ship_state && !self.read && !self.tells_time
    }
}

impl KeyState {
    /// A key about which nothing is known yet.
    pub fn new(db: u32, key: Bytes) -> KeyState {
        KeyState {
            db,
            key,
            operations: Vec::new(),
            base: Content::unknown(),
            life: Life::new(),
            listed: Listed::default(),
            timed: Timed::default(),
            held: Held::new(),
            snapshot: false,
            demanded: false,
            demanded_by: None,
            waiting_for: None,
            waiting_since_ms: 0,
            reminded_ms: 0,
            asks: false,
            dirty: false,
            fold_at: 0,
            fold_next: None,
            doubtful: false,
            healing: None,
            pending: BTreeSet::new(),
            losses: Vec::new(),
        }
    }

    /// The database number.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// The key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The operations that are still needed.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The site whose value it waits for, if it does.
    pub fn waiting_for(&self) -> Option<SiteIx> {
        self.waiting_for
    }

    /// Since when it waits, Unix milliseconds.
    pub fn waiting_since_ms(&self) -> Option<u64> {
        self.waiting_for.map(|_| self.waiting_since_ms)
    }

    /// Whether the site that it waits for should be reminded now: it has waited for so many milliseconds, and
    /// as long since it was last reminded. It counts as reminded. A site that knows nothing of it is asked at once.
    pub fn is_due(&mut self, now_ms: u64, after_ms: u64) -> Option<SiteIx> {
        let site = self.waiting_for?;
        let last = self.waiting_since_ms.max(self.reminded_ms);
        if !std::mem::take(&mut self.asks) && now_ms.saturating_sub(last) < after_ms {
            return None;
        }
        self.reminded_ms = now_ms;
        Some(site)
    }

    /// What this site was told of it before may have been lost on the way: it is asked at once.
    pub fn ask_again(&mut self, site: SiteIx) {
        self.asks |= self.waiting_for == Some(site);
    }

    /// The value is shipped by this site at the next reconcile, whoever's turn it is: any site may, for of several
    /// values the latest counts, and what it has not seen is replayed on it. A site that cannot tell what is in its own
    /// value asks for another one's instead, unless that is the one `by` which it was demanded, or an operator wants it.
    pub fn demand_state(&mut self, by: Option<SiteIx>) {
        if by.is_none() {
            self.end_healing();
        }
        self.demanded = true;
        self.demanded_by = by;
    }

    /// Whether a value has been sent by this site, or is about to be, that somebody has yet to receive who holds so many
    /// of its operations.
    pub fn has_sent(&self, me: SiteIx, holds: Seq) -> bool {
        let is_new = |op: &Operation| {
            matches!(op.effect, Effect::Restore { .. }) && op.dot.site == me && op.dot.seq > holds
        };
        self.snapshot || self.operations.iter().any(is_new)
    }

    /// Whether something happened to it since it was compared.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What was resolved against somebody since this was last asked.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Something happened to it.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Forgets what the database holds: after a restart, what was in flight is not known. Everything the rules
    /// prescribe absolutely is submitted again; relative commands were counted by their markers.
    pub fn lose_actual(&mut self) {
        let executed = evaluate(&self.base, &self.elementwise_executed(), self.life.enders());
        let mut content = Content::unknown();
        entries::forget_rest(&executed, &mut content);
        let counts = executed.elements.into_iter().filter(|(_, value)| {
            use super::content::Value;
            matches!(value, Value::Plus(_) | Value::ScorePlus(_))
        });
        content.elements.extend(counts);
        // That there should be no key does not mean that there is none.
        if executed.kind != Kind::Absent {
            content.kind = executed.kind;
        }
        *self.held.actual_mut() = Actual {
            content,
            trace: None,
            ..Actual::base()
        };
        self.held.forget_flights();
        self.snapshot = false;
        self.timed.is_reading = false;
    }

    /// What an earlier run executed is in the markers, and of what it did to the key is nothing known: while it waited
    /// for a value, it passed operations over.
    pub fn doubt(&mut self) {
        self.lose_actual();
        self.doubtful = true;
    }

    fn elementwise_executed(&self) -> Vec<Operation> {
        self.operations
            .iter()
            .filter(|op| op.is_elementwise())
            .cloned()
            .collect()
    }

    /// Adds an operation that the database has executed, at this point of the stream.
    pub fn executed(&mut self, mut op: Operation) {
        list::name_elements(&mut op);
        self.held.actual_mut().execute(&op);
        self.add(op);
    }

    /// Adds what the database removed by itself within a transaction that comes back next. Where it stands among the
    /// commands of that is known then.
    pub fn executed_within(&mut self, op: Operation) {
        self.held.removed_within(op.clone());
        self.add(op);
    }

    /// Adds an operation that was submitted verbatim in this transaction and has not come back.
    pub fn submitted(&mut self, mut op: Operation, txn: TxnId) {
        list::name_elements(&mut op);
        let step = Step {
            is_mute: op.joint || op.is_conditional(),
            as_it_came: true,
            spares: entries::trim_of(&op.effect).map(|_| (Rc::clone(&op.past), Vec::new())),
            // No other SET is ever without effect.
            is_conditional: op.is_conditional()
                || matches!(op.effect, Effect::Set { .. })
                || unconditional(&op.raw) != op.raw,
            ..Step::of(&op)
        };
        let flight = Flight {
            txn,
            restart: None,
            steps: vec![step],
        };
        self.held.submit_in_place(&op, flight);
        self.add(op);
    }

    /// Adds an operation that has been delivered and not submitted; [`KeyState::reconcile`] follows.
    pub fn delivered(&mut self, mut op: Operation) {
        list::name_elements(&mut op);
        self.pending.insert(op.dot);
        self.heal_with(&op);
        self.add(op);
    }

    fn add(&mut self, mut op: Operation) {
        let is_late = op.effect == Effect::Del && self.operations.iter().any(|other| other.sees(op.dot));
        let mut frees_trims = false;
        if entries::trim_of(&op.effect).is_some() {
            let left = entries::left_by(&self.base, &self.operations, &op);
            op.effect.learn(left);
        }
        let learns = is_late || self.calls_for_learning(&op);
        self.learn_pop(&mut op);
        for older in self.operations.iter().rev().take(JUDGED_MAX) {
            if let Some((rule, winner, loser)) = judge(&op, older) {
                self.losses.push(Loss {
                    rule,
                    db: self.db,
                    key: self.key.clone(),
                    kind: kind_of(&winner.effect),
                    winner: winner.dot.site,
                    loser: loser.dot.site,
                    entry: None,
                });
            }
        }
        self.life.add(&op, &self.operations);
        self.timed.note(&op);
        if op.may_supersede() {
            let needs_resets = self.needs_resets();
            let is_needed = |older: &Operation| needs_resets && is_reset(&older.effect);
            let is_over = |older: &mut Operation| op.supersedes(older) && !is_needed(older);
            let superseded = self.operations.extract_if(.., is_over);
            superseded.for_each(|older| {
                frees_trims |= !older.is_elementwise();
                if let (Effect::HashRemove(_), Effect::HashRemove(_)) = (&older.effect, &op.effect) {
                    self.held.actual_mut().forget_removal(older.dot);
                }
                self.life.bury(&older);
            });
        }
        let past = learns.then(|| Rc::clone(&op.past));
        self.retell(&op);
        self.operations.push(op);
        if is_late {
            self.learn_again(|_| true);
        } else if frees_trims {
            // Where this one came first, they were asked without what it has replaced.
            self.learn_again(|trim| !trim.is_known());
        }
        self.learn_pops_later(past);
    }

    /// Whether a reset is needed although a later one has seen it: a trim that has not seen that one still has to know what
    /// the earlier one took.
    fn needs_resets(&self) -> bool {
        let is_stream = |op: &Operation| kind_of(&op.effect) == Kind::Stream;
        self.base.kind == Kind::Stream || self.operations.iter().any(is_stream)
    }

    /// What these trims left is asked again: what they have seen is known in another way.
    fn learn_again(&mut self, which: impl Fn(&Trim) -> bool) {
        for at in 0..self.operations.len() {
            if !entries::trim_of(&self.operations[at].effect).is_some_and(&which) {
                continue;
            }
            let left = entries::left_by(&self.base, &self.operations, &self.operations[at]);
            self.operations[at].effect.learn(left);
        }
    }

    /// The value that this derived operation left depends on keys in conflict; true if it is one of ours.
    pub fn contest(&mut self, dot: Dot) -> bool {
        let derived = |op: &&mut Operation| op.dot == dot && matches!(op.effect, Effect::Derived);
        let found = self.operations.iter_mut().find(derived);
        found.map(|op| op.contested = true).is_some()
    }

    /// Whether something of ours is on its way to the key.
    pub fn is_in_flight(&self) -> bool {
        !self.held.in_flight().is_empty()
    }

    /// A transaction has come back with what came of each of this key's commands in it.
    pub fn echoed(&mut self, txn: TxnId, took: &[Took]) {
        // A client's entry or another type came in between: the repair that these stood in did nothing.
        let refused = self.held.refused(txn, took);
        let is_refused =
            |op: &&Operation| matches!(&op.effect, Effect::StreamAdd { id, .. } if refused.contains(id));
        let ops = self.operations.iter().filter(is_refused);
        self.pending.extend(ops.map(|op| op.dot));
        self.pending.extend(self.held.left(txn, took));
        self.healed_in(txn);
        self.held.echoed(txn, took);
    }

    /// A transaction will not be executed any more: the operations in it are missing.
    pub fn passed_over(&mut self, txn: TxnId) {
        self.pending.extend(self.held.passed_over(txn));
    }

    /// The value that was read in a transaction of ours has become this operation.
    pub fn shipped(&mut self, op: Operation) {
        match op.tells_time() {
            true => self.timed.read(),
            false => self.snapshot = false,
        }
        self.held.shipped(&op);
        self.add(op);
    }

    /// The value could not be read after all; the next reconcile tries again.
    pub fn snapshot_failed(&mut self) {
        self.snapshot = false;
        self.listed.is_reading = false;
        self.timed.is_reading = false;
    }

    /// Compares ideal and actual and gives what is missing, to be submitted in transaction `txn`. A key that has
    /// to wait does so since `now_ms`, if it did not before. It waits for this site itself where a script is needed and
    /// none may be run.
    pub fn reconcile(&mut self, me: SiteIx, txn: TxnId, now_ms: u64, means: Means) -> Repair {
        let before = self.waiting_for.take();
        self.dirty = false;
        if self.snapshot || self.listed.is_reading {
            return Repair::default();
        }
        let repair = self.compare(me, txn, means);
        if before.is_none() {
            self.waiting_since_ms = now_ms;
        }
        if before != self.waiting_for {
            // It may not see for itself that the value has to be sent: it still goes by what is forgotten here.
            self.asks = self.waiting_for.is_some();
        }
        self.snapshot = repair.ship_state;
        self.timed.is_reading |= repair.tells_time;
        repair
    }

    fn compare(&mut self, me: SiteIx, txn: TxnId, means: Means) -> Repair {
        let behind = self.held.restarts_in();
        if behind.is_some() {
            // However much arrives meanwhile is looked at once, and is one more replay at most.
            return Repair {
                behind,
                ..Repair::default()
            };
        }
        if let Some(site) = self.heals_by() {
            self.waiting_for = Some(site);
            return Repair::default();
        }
        if let Some(repair) = self.read_ahead() {
            return repair;
        }
        let Some(begun) = self.begin_healed(txn) else {
            return self.compare_whole(me, txn, means);
        };
        let mut repair = self.compare_whole(me, txn, means);
        repair.commands.splice(0..0, begun.commands);
        repair
    }

    fn compare_whole(&mut self, me: SiteIx, txn: TxnId, means: Means) -> Repair {
        let may_script = means.may_script;
        self.learn_what_was_told();
        self.fold_as_put_off();
        let demanded = std::mem::take(&mut self.demanded);
        let needs_script = |effect: &Effect| matches!(effect, Effect::StreamSplice(_));
        let by_element = self.is_elementwise();
        if by_element {
            let want = evaluate(&self.base, &self.operations, self.life.enders());
            let is_reading = self.timed.is_reading;
            let have = &self.held.expected().content;
            let revives = !is_reading && timed::gives_anew(&want, have);
            if let Ok(mut effects) = difference(&want, have) {
                fields::within(means.field_times, &mut effects);
                if !may_script && effects.iter().any(needs_script) {
                    (self.waiting_for, self.demanded) = (Some(me), demanded);
                    return Repair::default();
                }
                self.pending.clear();
                // A client's write that a repair meets may be undone by it: what is read then is not what it claims.
                let is_calm = effects.is_empty() && !self.is_in_flight();
                self.demanded = demanded && !is_calm;
                let revives = revives && !effects.is_empty();
                let repair = self.submit_effects(effects, Step::repair, txn);
                let ship_state = demanded && is_calm;
                return Repair {
                    ship_state,
                    tells_time: !ship_state && (revives || self.timed.calls_for_reading(&want)),
                    ..repair
                };
            }
        }
        if let Some(repair) = self.read_list(demanded) {
            return repair;
        }
        let is_placed = |op: &Operation| entries::replayed(op, Vec::new).as_ref().is_some_and(needs_script);
        if !may_script && self.operations.iter().any(is_placed) {
            (self.waiting_for, self.demanded) = (Some(me), demanded);
            return Repair::default();
        }
        self.replay((me, means), txn, by_element, demanded)
    }

    /// Whether the rules by element give what it should hold.
    fn is_elementwise(&self) -> bool {
        self.operations.iter().all(Operation::is_elementwise) && !needs_replay(&self.base, &self.operations)
    }

    fn submit_effects(&mut self, effects: Vec<Effect>, step: fn(Effect) -> Step, txn: TxnId) -> Repair {
        if effects.is_empty() {
            return Repair::default();
        }
        let commands = effects.iter().map(|effect| render(&self.key, effect)).collect();
        let steps = effects.into_iter().map(step).collect();
        self.submit(txn, None, commands, steps)
    }

    fn submit(
        &mut self,
        txn: TxnId,
        restart: Option<Restart>,
        commands: Vec<Bytes>,
        steps: Vec<Step>,
    ) -> Repair {
        self.held.submit(Flight { txn, restart, steps });
        Repair {
            commands,
            ..Repair::default()
        }
    }

    /// The expiry time is a register of its own, whatever the value needs.
    fn repair_expiry(&mut self, txn: TxnId, repair: &mut Repair) {
        use super::content::Expiry;
        let operations: Vec<&Operation> = self.operations.iter().collect();
        let want = super::expiry::register(&self.base, &operations, self.life.enders());
        let have = &self.held.expected().content;
        let at_unix_ms = match want {
            Expiry::Unknown => return,
            Expiry::Never => None,
            Expiry::At(ms) => Some(ms),
        };
        if have.expiry == want || have.kind == super::content::Kind::Absent {
            return;
        }
        let expiry = self.submit_effects(vec![Effect::Expire { at_unix_ms }], Step::repair, txn);
        repair.commands.extend(expiry.commands);
    }
}

#[cfg(test)]
pub(super) mod tests;

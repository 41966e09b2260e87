//! A key that holds a list: what its pops took, and how many elements lay below all of its operations.
//!
//! Of this site's own pops it is noted which elements the database gave out. Where the rules think of others, the
//! others are told ([`KeyState::take_told`]). A pop may be folded by somebody who has not been told, so nothing is told that
//! could come too late: this site has not said yet that it has seen the pop, or somebody who has seen what calls for
//! it has not.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use super::held::Actual;
use super::{KeyState, Means, Repair, Root, TxnId};
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::effect::Effect;
use crate::command::took::Told;
use crate::converge::content::{Kind, kind_of};
use crate::converge::list::{Retold, Views, base_of, reaches_beyond};
use crate::converge::mutation::{Mutation, off};
use crate::converge::operation::Operation;

/// With more operations than this it is not found out beforehand whether a list has to be read.
const AHEAD_MAX: usize = 64;

/// What is known of the list below all operations.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    pub views: Views,
    /// It is being read.
    pub is_reading: bool,
    /// It is to be read, for what is about to be delivered.
    is_ahead: bool,
    /// What was read told nothing, and it would not if it was read again.
    is_unreadable: bool,
    /// Pops of this site of which it will be known what they gave when the list is read.
    unread: BTreeSet<Dot>,
    /// Pasts of what was told, and changes what others took: all pops learn anew before they are asked.
    causes: Vec<Rc<Vector>>,
}

impl KeyState {
    /// An operation is about to be added: if it is a pop, it learns what it took.
    pub(super) fn learn_pop(&mut self, op: &mut Operation) {
        if kind_of(&op.effect) != Kind::List && !self.listed.views.is_open() {
            return;
        }
        let found = match self.listed.views.is_open() {
            true => self.listed.views.add(op),
            false => {
                let mut all = self.all_operations();
                all.push(op.clone());
                let base = (&self.base, self.life.folded());
                let mut took = self.listed.views.open(base, &all, |_| true);
                took.remove(&op.dot).flatten()
            }
        };
        if let Effect::ListPop { took, .. } = &mut op.effect {
            *took = found;
        }
    }

    /// Adds an operation of this site that the database has executed, at this point of the stream, just now.
    pub fn executed_here(&mut self, op: Operation) {
        if matches!(op.effect, Effect::ListPop { .. }) {
            let actual = self.held.actual();
            match actual.popped.next(&actual.content, &op.effect) {
                Some(given) => self.listed.views.give(op.dot, given),
                None => drop(self.listed.unread.insert(op.dot)),
            }
        }
        self.executed(op);
    }

    /// What the others are to be told of pops of this site since this was last asked.
    pub fn take_told(&mut self) -> Vec<(Seq, Vec<Told>)> {
        self.learn_what_was_told();
        let untold = self.listed.views.take_untold().into_iter();
        let told = untold.filter(|_| !off(Mutation::ToldPops));
        told.map(|(pop, told)| (pop.seq, told)).collect()
    }

    /// The site of a pop has told what that took.
    pub(super) fn retell(&mut self, op: &Operation) {
        let Effect::ListTook { pop, .. } = op.effect else {
            return;
        };
        match self.listed.views.retell(op) {
            Retold::Known => {}
            Retold::All => self.listed.causes.push(Rc::clone(&op.past)),
            Retold::Took(before, now) => {
                let is_pop = |other: &&mut Operation| other.dot.site == op.dot.site && other.dot.seq == pop;
                if let Some(pop) = self.operations.iter_mut().rev().find(is_pop)
                    && let Effect::ListPop { took, .. } = &mut pop.effect
                {
                    *took = Some(now.clone());
                    self.life.retake(pop, &before, &now);
                }
            }
        }
    }

    /// An operation with this past changes what pops took: all learn anew, once, before anybody asks.
    pub(super) fn learn_pops_later(&mut self, cause: Option<Rc<Vector>>) {
        self.listed.causes.extend(cause);
    }

    /// However much was told, all pops learn anew once.
    pub(super) fn learn_what_was_told(&mut self) {
        let causes = std::mem::take(&mut self.listed.causes);
        if !causes.is_empty() && self.listed.views.is_open() {
            // It is not too late to tell of a pop that one of them did not see: nobody has folded it yet.
            self.learn_all(false, |pop| causes.iter().any(|past| !past.includes(pop)));
        }
    }

    /// What is folded is not told of any more.
    pub(super) fn forget_unread(&mut self, seen: &Vector) {
        self.listed.unread.retain(|pop| !seen.includes(*pop));
    }

    /// Whether this operation changes what others took that are known already.
    pub(super) fn calls_for_learning(&self, op: &Operation) -> bool {
        // Where something hides the base already, only pops that reached beyond their end took something else.
        let changes = || !self.listed.views.is_blind() || self.operations.iter().any(reaches_beyond);
        self.listed.views.is_open() && Views::hides_base(op) && changes()
    }

    /// All pops learn what they took.
    pub(super) fn open_list(&mut self) {
        self.learn_all(true, |_| true);
    }

    /// `is_read`, the base is known better than before.
    fn learn_all(&mut self, is_read: bool, may_tell: impl Fn(Dot) -> bool) {
        let all = self.all_operations();
        let base = (&self.base, self.life.folded());
        let mut took = self.listed.views.open(base, &all, may_tell);
        let is_blind = self.listed.views.is_blind();
        let is_news = |op: &Operation| match &op.effect {
            Effect::ListPop { took: known, .. } => took.get(&op.dot).is_none_or(|found| found != known),
            _ => false,
        };
        if is_read || self.life.is_hidden() != is_blind || all.iter().any(is_news) {
            self.life.learn(&took, &self.operations, is_blind);
        }
        for op in &mut self.operations {
            if let Effect::ListPop { took: found, .. } = &mut op.effect {
                *found = took.remove(&op.dot).flatten();
            }
        }
    }

    /// With those that were superseded, in an order that causality allows.
    fn all_operations(&self) -> Vec<Operation> {
        let ghosts = self.life.all_ghosts().map(std::borrow::Cow::into_owned);
        let mut all: Vec<Operation> = ghosts.chain(self.operations.iter().cloned()).collect();
        all.sort_by_key(|op| (op.time.written(), op.dot.site));
        all
    }

    /// The list has to be read to know what it should hold, and can be.
    pub(super) fn read_list(&mut self, demanded: bool) -> Option<Repair> {
        let listed = &self.listed;
        let is_asked = listed.views.is_open() && !listed.views.is_blind() && self.base.rest_unknown;
        if !is_asked || listed.is_unreadable {
            return None;
        }
        let repair = self.begin_reading()?;
        self.demanded = demanded;
        Some(repair)
    }

    /// Unless what the database has executed would not be told apart from what it finds.
    fn begin_reading(&mut self) -> Option<Repair> {
        let trace = self.held.expected().trace.clone();
        self.executed_on_base(trace.as_ref())?;
        self.listed.is_reading = true;
        Some(Repair {
            read: true,
            ..Repair::default()
        })
    }

    /// Whether this operation, which is about to be delivered, has to wait until the list has been read: it is being read, or
    /// would be for it. What is delivered counts as executed for whoever goes on from here, also in a later run, so nothing is
    /// delivered that a reading would hold up.
    pub fn waits_to_be_read(&mut self, op: &Operation, me: SiteIx, means: Means) -> bool {
        if self.listed.is_reading || self.listed.is_ahead {
            return true;
        }
        let listed = &self.listed;
        // Where something hides the base, nobody reads it.
        let is_out =
            listed.is_unreadable || listed.views.is_blind() || !self.base.rest_unknown || self.is_healing();
        let is_busy = self.operations.len() > AHEAD_MAX || self.demanded;
        if is_out || is_busy || kind_of(&op.effect) != Kind::List || !op.is_elementwise() {
            return false;
        }
        let mut trial = self.clone();
        trial.delivered(op.clone());
        self.listed.is_ahead = trial.reconcile(me, TxnId::MAX, 0, means).read;
        self.listed.is_ahead
    }

    /// The list is read before what waits for it is delivered.
    pub(super) fn read_ahead(&mut self) -> Option<Repair> {
        match std::mem::take(&mut self.listed.is_ahead) {
            true => self.begin_reading(),
            false => None,
        }
    }

    /// What the database has executed since the base, if that was on a list alone.
    fn executed_on_base(&self, trace: Option<&(Root, Vec<Dot>)>) -> Option<Vec<&Operation>> {
        let (_, done) = trace.filter(|(root, _)| *root == Root::Base)?;
        let known: BTreeMap<Dot, &Operation> = self.operations.iter().map(|op| (op.dot, op)).collect();
        let void = &self.held.actual().void;
        let effective = done.iter().filter(|dot| !void.contains(dot));
        let executed = effective.map(|dot| known.get(dot).copied());
        let is_of_list = |op: &&Operation| kind_of(&op.effect) == Kind::List;
        executed.map(|op| op.filter(is_of_list)).collect()
    }

    /// What was read is here; `None` if it is no list.
    pub fn read(&mut self, found: Option<&[Bytes]>) {
        if !std::mem::take(&mut self.listed.is_reading) {
            return;
        }
        self.listed.is_unreadable = true;
        let trace = self.held.actual().trace.clone();
        let executed = self.executed_on_base(trace.as_ref());
        let base = found
            .zip(executed.as_deref())
            .and_then(|(found, executed)| undo(found, executed))
            .map(base_of);
        let (Some(base), Some(found), Some(executed)) = (base, found, executed) else {
            // Others know it, and this site does not.
            self.held.actual_mut().trace = None;
            return;
        };
        let mut actual = Actual {
            content: base.clone(),
            ..self.held.actual().clone()
        };
        let mut given = Vec::new();
        for op in executed {
            let popped = &mut actual.popped;
            let found = popped.next(&actual.content, &op.effect);
            given.extend(
                found
                    .filter(|_| self.listed.unread.contains(&op.dot))
                    .map(|found| (op.dot, found)),
            );
            let form = popped.form(&actual.content, &op.effect, Some(op.dot));
            popped.executed(&op.effect, Some(op.dot), form, true);
            actual.content = actual.content.after(&op.effect);
        }
        let list = actual.content.list.as_deref();
        let is_right = list.map_or(found.is_empty(), |list| list.is(found));
        if !is_right {
            self.held.actual_mut().trace = None;
            return;
        }
        self.listed.unread.clear();
        for (pop, given) in given {
            self.listed.views.give(pop, given);
        }
        if actual.content.kind != Kind::Absent {
            actual.content.expiry = self.held.actual().content.expiry;
        }
        *self.held.actual_mut() = actual;
        let expiry = self.base.expiry;
        self.base = base;
        if self.base.kind != Kind::Absent {
            self.base.expiry = expiry;
        }
        self.life.learn_base(&self.base);
        if self.listed.views.is_open() {
            self.open_list();
        }
    }
}

/// A pop of more is not undone: its count is somebody's word.
const UNDONE_MAX: u64 = 1 << 20;

/// The base below what was found, given what was executed on it: what was popped is there, and nobody knows what.
fn undo(found: &[Bytes], executed: &[&Operation]) -> Option<Vec<Option<Bytes>>> {
    let mut cells: std::collections::VecDeque<Option<Bytes>> = found.iter().cloned().map(Some).collect();
    for (op, least) in executed.iter().zip(least_lengths(executed)).rev() {
        match &op.effect {
            Effect::ListPush { left, elements } => {
                let rest = cells.len().checked_sub(elements.len())?;
                match left {
                    true => drop(cells.drain(..elements.len())),
                    false => cells.truncate(rest),
                }
            }
            // It may have found fewer than it asked for.
            Effect::ListPop { count, .. } if cells.is_empty() && *count > least.max(1) => return None,
            Effect::ListPop { count, .. } if *count > UNDONE_MAX => return None,
            Effect::ListPop { left, count, .. } => {
                for _ in 0..*count {
                    match left {
                        true => cells.push_front(None),
                        false => cells.push_back(None),
                    }
                }
            }
            _ => return None,
        }
    }
    Some(cells.into())
}

/// How many elements each of these found at least: those that the ones before it had pushed, on no base at all.
fn least_lengths(executed: &[&Operation]) -> Vec<u64> {
    let mut len = 0_u64;
    let before = executed.iter().map(|op| {
        let before = len;
        len = match &op.effect {
            Effect::ListPush { elements, .. } => len + elements.len() as u64,
            Effect::ListPop { count, .. } => len.saturating_sub(*count),
            _ => len,
        };
        before
    });
    before.collect()
}

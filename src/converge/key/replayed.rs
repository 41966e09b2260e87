//! A key whose value depends on the order of its operations: they are executed again, in the one that is the same
//! everywhere, or the value is shipped.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

use super::fold::seen_by_rest;
use super::held::{Flight, Restart, Step};
use super::popped::Popped;
use super::{KeyState, Means, Repair, TxnId};
use crate::causality::{Dot, SiteIx};
use crate::command::FieldTimes;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Expiry, Kind, kind_of};
use crate::converge::difference::difference;
use crate::converge::evaluate::{evaluate, evaluate_value};
use crate::converge::fields::Again;
use crate::converge::operation::Operation;
use crate::converge::pieces::needs_replay;
use crate::converge::render::{render, unconditional};
use crate::converge::replay::{Canonical, Root, any_concurrent, arbiter, canonical};
use crate::converge::{entries, fields, list};

/// The beginning of a replay that is not executed command by command.
#[derive(Debug, Default)]
struct Begun {
    /// How many operations of the order.
    count: usize,
    /// What brings them about on nothing.
    effects: Vec<Effect>,
}

impl KeyState {
    pub(super) fn replay(
        &mut self,
        (me, means): (SiteIx, Means),
        txn: TxnId,
        out_of_reach: bool,
        demanded: bool,
    ) -> Repair {
        let how = (means.field_times, txn);
        let canonical = canonical(&self.operations);
        let trace = self.held.expected().trace.clone();
        let order = self.dots(&canonical.order);
        let unknown_root = canonical.root == Root::Base;
        let contested = canonical.order.iter().any(|&at| self.operations[at].contested);
        let is_derived = |&at: &usize| matches!(self.operations[at].effect, Effect::Derived);
        let derived = canonical.order.iter().any(is_derived);
        let decided = any_concurrent(&self.operations, &canonical.order) || out_of_reach;
        let tainted = contested || (decided && (unknown_root || derived));
        let arbiter = arbiter(&self.operations, &canonical.order);
        let follows = |(root, done): &(Root, Vec<Dot>)| *root == canonical.root && order.starts_with(done);
        // Repairs by element have brought the database to where no order of operations tells how, or what it executed before
        // another one is left out since.
        let lost = unknown_root && !trace.as_ref().is_some_and(&follows) && !self.is_in_flight();
        let is_long = canonical.order.len() > means.replay_max && trace.is_some() && self.may_begin_anew();
        if demanded || arbiter == Some(me) && (tainted || lost || is_long) {
            if self.held.adds_entries() || self.held.repairs() {
                self.demanded = demanded;
                return Repair::default();
            }
            let can_tell = contested || derived || trace.is_some();
            let insists = |other| demanded && self.demanded_by.is_none_or(|by| by == other);
            let other = self.who_can_tell(me, &canonical.order).filter(|_| !can_tell);
            if let Some(other) = other.filter(|other| !insists(*other)) {
                self.waiting_for = Some(other);
                return Repair::default();
            }
            if let Some(repair) = self.finish_repairs(demanded, trace.is_none(), means, txn) {
                return repair;
            }
            return self.ship(&canonical, trace, (derived, demanded), how);
        }
        let begun = self.begin_by_rules(&canonical);
        let settled = self.held.expected().settled;
        // What is in it by the rules has to be what they give now; in a chain they give what the commands do.
        let is_begun = settled == begun.count
            || settled > begun.count
                && (canonical.order.get(..settled))
                    .is_some_and(|order| !any_concurrent(&self.operations, order));
        if let Some((_, done)) = trace.as_ref().filter(|trace| follows(trace))
            && is_begun
            && !contested
            && (unknown_root && !decided
                || self.has_popped_as_replayed(&canonical, settled)
                    && self.has_found_as_replayed(&canonical, means.field_times))
        {
            let missing = canonical.order[done.len()..].to_vec();
            let mut repair = self.submit_verbatim(&missing, &canonical, true, how);
            self.repair_times(&canonical, how, &mut repair);
            self.repair_expiry(txn, &mut repair);
            return repair;
        }
        if unknown_root || tainted {
            self.waiting_for = arbiter;
            return Repair::default();
        }
        let mut repair = self.submit_restart(&canonical, begun, how);
        self.repair_times(&canonical, how, &mut repair);
        self.repair_expiry(txn, &mut repair);
        repair
    }

    /// The times that fields have in the end.
    fn repair_times(&mut self, canonical: &Canonical, how: (FieldTimes, TxnId), repair: &mut Repair) {
        if self.held.expected().content.kind != Kind::Hash {
            return;
        }
        let times = self.times_again(canonical);
        self.give_times((&times, None), how, &mut repair.commands);
    }

    /// Those that are missing in the end, or before this reader of times.
    fn give_times(
        &mut self,
        (times, reader): (&Again, Option<Dot>),
        (known, txn): (FieldTimes, TxnId),
        commands: &mut Vec<Bytes>,
    ) {
        let mut missing = times.missing(reader, &self.held.expected().content);
        fields::within(known, &mut missing);
        commands.extend(self.submit_effects(missing, Step::beside, txn).commands);
    }

    fn times_again(&self, canonical: &Canonical) -> Again {
        let order = canonical.order.iter().map(|&at| &self.operations[at]);
        Again::of(order, &self.operations, self.life.enders())
    }

    /// A key that is never at rest would be replayed from ever further back, unless its value is sent anew. Where a
    /// stream's entry stands is told by what the value had.
    fn may_begin_anew(&self) -> bool {
        let is_of_stream = |op: &Operation| kind_of(&op.effect) == Kind::Stream;
        !self.is_in_flight() && !self.operations.iter().any(is_of_stream)
    }

    /// A repair by element that met a client's write may have undone it, or done a part. What is shipped would claim that
    /// write, so where all that was executed has rules by element, it is brought to what these give first. None if nothing is
    /// left to do.
    fn finish_repairs(
        &mut self,
        demanded: bool,
        has_repaired: bool,
        means: Means,
        txn: TxnId,
    ) -> Option<Repair> {
        let is_executed = |op: &&Operation| !self.pending.contains(&op.dot);
        let executed = || self.operations.iter().filter(is_executed);
        if !has_repaired || !executed().all(Operation::is_elementwise) {
            return None;
        }
        let executed: Vec<Operation> = executed().cloned().collect();
        if needs_replay(&self.base, &executed) {
            return None;
        }
        let want = evaluate(&self.base, &executed, self.life.enders());
        let mut effects = difference(&want, &self.held.expected().content).ok()?;
        fields::within(means.field_times, &mut effects);
        if effects.is_empty() {
            return None;
        }
        self.demanded = demanded;
        Some(self.submit_effects(effects, Step::repair, txn))
    }

    /// What is shipped claims all that is known, so it is brought about first where that can be done.
    fn ship(
        &mut self,
        canonical: &Canonical,
        trace: Option<(Root, Vec<Dot>)>,
        (derived, demanded): (bool, bool),
        how: (FieldTimes, TxnId),
    ) -> Repair {
        let done: Option<BTreeSet<Dot>> = trace.as_ref().map(|(_, done)| done.iter().copied().collect());
        // What a value that stands at the trace's root had in it has been executed, too.
        let root = trace.as_ref().and_then(|(root, _)| self.state_at(*root));
        let is_missing = |&at: &usize| {
            let op = &self.operations[at];
            // Executed for one of its keys, it would change the others, too: its origin has it.
            let is_its = op.effect != Effect::Derived && !root.is_some_and(|root| root.sees(op.dot));
            is_its
                && match &done {
                    Some(done) => !done.contains(&op.dot),
                    None => self.pending.contains(&op.dot),
                }
        };
        let missing: Vec<usize> = canonical.order.iter().copied().filter(is_missing).collect();
        // A DEL of a client that a replay met: what that had seen stands behind it.
        let deletes = || self.operations.iter().filter(|op| op.effect == Effect::Del);
        let is_undone = |dot: &Dot| deletes().any(|op| op.sees(*dot));
        let stands = trace
            .as_ref()
            .is_some_and(|(root, done)| *root == canonical.root && !done.iter().any(is_undone));
        if canonical.root != Root::Base && !stands && !derived {
            // It undoes a client's write that it meets: what is read right behind it is not what it would claim.
            self.demanded = demanded;
            let begun = self.begin_by_rules(canonical);
            let mut repair = self.submit_restart(canonical, begun, how);
            self.repair_times(canonical, how, &mut repair);
            return repair;
        }
        // What is executed once more may meet a client's removal that had seen it, and what is read right behind it would
        // claim that removal.
        let is_again = missing
            .iter()
            .any(|&at| !self.pending.contains(&self.operations[at].dot));
        // What stands behind it in the order may have been executed already.
        let mut repair = self.submit_verbatim(&missing, canonical, false, how);
        self.repair_times(canonical, how, &mut repair);
        if is_again {
            self.demanded = demanded;
            return repair;
        }
        Repair {
            ship_state: true,
            ..repair
        }
    }

    /// The site that is asked for the value in place of this one, which cannot tell what of the others' operations is
    /// in its own: that of the latest of them.
    fn who_can_tell(&self, me: SiteIx, order: &[usize]) -> Option<SiteIx> {
        let ops = order.iter().map(|&at| &self.operations[at]);
        let passed_over = ops.filter(|op| op.dot.site != me && !self.pending.contains(&op.dot));
        let latest = passed_over.max_by_key(|op| op.order()).filter(|_| self.doubtful);
        latest.map(|op| op.dot.site)
    }

    /// The operation that carries the value at this root.
    fn state_at(&self, root: Root) -> Option<&Operation> {
        match root {
            Root::State(dot) => self.operations.iter().find(|op| op.dot == dot),
            Root::Base | Root::Empty => None,
        }
    }

    fn submit_verbatim(
        &mut self,
        missing: &[usize],
        canonical: &Canonical,
        in_order: bool,
        how: (FieldTimes, TxnId),
    ) -> Repair {
        if missing.is_empty() {
            return Repair::default();
        }
        for &at in missing {
            self.pending.remove(&self.operations[at].dot);
        }
        self.submit_again(
            Flight::of(how.1),
            Vec::new(),
            (missing, in_order),
            canonical,
            how.0,
        )
    }

    /// Executes these behind what is to be submitted with them. `in_order`, what may read times of fields finds those that the
    /// rules prescribe for what stands before it.
    fn submit_again(
        &mut self,
        mut flight: Flight,
        mut commands: Vec<Bytes>,
        (operations, in_order): (&[usize], bool),
        canonical: &Canonical,
        known: FieldTimes,
    ) -> Repair {
        let txn = flight.txn;
        let times = self.times_again(canonical);
        let mut all = Vec::new();
        for &at in operations {
            let op = &self.operations[at];
            if in_order && !op.is_elementwise() && times.has_any() {
                let dot = op.dot;
                all.append(&mut commands);
                self.held.submit(std::mem::replace(&mut flight, Flight::of(txn)));
                self.give_times((&times, Some(dot)), (known, txn), &mut all);
            }
            for (command, step) in self.again(at, canonical, &times, in_order) {
                commands.push(command);
                flight.steps.push(step);
            }
        }
        all.append(&mut commands);
        self.held.submit(flight);
        Repair {
            commands: all,
            ..Repair::default()
        }
    }

    /// An operation as it is executed for this key alone: a command on several keys must not touch the others.
    /// `in_order`, nothing of what stands behind it has been executed. A pop of several elements is several commands.
    fn again(&self, at: usize, canonical: &Canonical, times: &Again, in_order: bool) -> Vec<(Bytes, Step)> {
        let op = &self.operations[at];
        let beside = || {
            let others = canonical.order.iter();
            let others = others.take_while(move |&&other| !in_order || other != at);
            others.map(|&other| &self.operations[other])
        };
        // What a reset took is not there, though an entry with its id may be that is to go.
        let kept = || {
            let state = self.state_at(canonical.root);
            let shipped = |other: &&Operation| state.is_some_and(|state| state.sees(other.dot));
            let beside = beside().chain(self.operations.iter().filter(shipped));
            entries::unseen(op, beside, &self.operations)
        };
        let spared = |_| (Rc::clone(&op.past), beside().map(|other| other.dot).collect());
        let step = Step {
            spares: entries::trim_of(&op.effect).map(spared),
            ..Step::of(op)
        };
        let placed = || {
            let placed = entries::replayed(op, kept);
            let placed = placed.or_else(|| times.effect(op, &self.operations, in_order));
            placed.map(|effect| vec![effect])
        };
        let popped = self.popped_again(at, canonical, in_order);
        match popped.or_else(placed) {
            Some(effects) => {
                let steps = effects.into_iter().map(|effect| Step {
                    effect,
                    ..step.clone()
                });
                steps
                    .map(|step| (render(&self.key, &step.effect), step))
                    .collect()
            }
            None if op.is_elementwise() => vec![(render(&self.key, &op.effect), step)],
            None => vec![(unconditional(&op.raw), step)],
        }
    }

    /// Whether the pops that were executed in this order, but for the first that are as the rules by element prescribe,
    /// took what they take in a replay.
    fn has_popped_as_replayed(&mut self, canonical: &Canonical, settled: usize) -> bool {
        let expected = self.held.expected().clone();
        let Some((_, done)) = &expected.trace else {
            return true;
        };
        let forms = expected.popped.forms();
        let mut executed = canonical.order.iter().take(done.len()).skip(settled);
        executed.all(|&at| {
            let op = &self.operations[at];
            let is_pop = matches!(op.effect, Effect::ListPop { .. });
            let again = || self.popped_again(at, canonical, true);
            let form = forms.get(&op.dot).map(Vec::as_slice).unwrap_or_default();
            !is_pop || Popped::took_as(form, again().as_deref())
        })
    }

    /// Whether what may read times of fields found those that it finds in a replay. A database that knows no such times has none.
    fn has_found_as_replayed(&mut self, canonical: &Canonical, known: FieldTimes) -> bool {
        let found = self.held.expected().found.clone();
        let mut readers = found.times().peekable();
        if known == FieldTimes::None || readers.peek().is_none() {
            return true;
        }
        let times = self.times_again(canonical);
        readers.all(|(reader, found)| times.are_found(reader, found))
    }

    /// What a pop is executed as, if it is not executed as it came. Where it has seen all that stands before it, others
    /// may have executed it as it came, with nothing in conflict any more.
    fn popped_again(&self, at: usize, canonical: &Canonical, in_order: bool) -> Option<Vec<Effect>> {
        let op = &self.operations[at];
        if !matches!(op.effect, Effect::ListPop { .. }) {
            return None;
        }
        let is_told = self.listed.views.is_told(op.dot);
        let state = self.state_at(canonical.root);
        let again = list::replayed(op, state.map(|op| op.past.as_ref()), is_told)?;
        let mut ahead = canonical.order.iter().take_while(|&&other| other != at);
        let has_seen_all = in_order
            && state.is_none_or(|state| op.sees(state.dot))
            && ahead.all(|&other| op.sees(self.operations[other].dot));
        (is_told || !has_seen_all).then_some(again)
    }

    /// What stands first in the order, all by element and seen by all that comes behind it, is what the rules by
    /// element prescribe: another site may have folded it before it knew of the rest.
    fn begin_by_rules(&self, canonical: &Canonical) -> Begun {
        let is_whole = |op: &&Operation| !op.is_elementwise();
        let mut wholes = self.operations.iter().filter(is_whole);
        let Some(first) = wholes.next().filter(|_| canonical.root == Root::Empty) else {
            return Begun::default();
        };
        let mut seen = (*first.past).clone();
        wholes.for_each(|op| seen.meet(&op.past));
        let seen = seen_by_rest(&seen, self.operations.iter());
        let is_first = |at: &&usize| seen.includes(self.operations[**at].dot);
        let count = canonical.order.iter().take_while(is_first).count();
        if !any_concurrent(&self.operations, &canonical.order[..count]) {
            return Begun::default();
        }
        let part: Vec<Operation> = (self.operations.iter())
            .filter(|op| seen.includes(op.dot) && !matches!(op.effect, Effect::Expire { .. }))
            .cloned()
            .collect();
        let parts: Vec<&Operation> = part.iter().collect();
        let mut want = evaluate_value(&Content::unknown(), &parts);
        want.expiry = Expiry::Never;
        want.times.clear();
        match difference(&want, &Content::absent()) {
            Ok(effects) if !want.rest_unknown && !needs_replay(&Content::unknown(), &part) => {
                Begun { count, effects }
            }
            _ => Begun::default(),
        }
    }

    fn submit_restart(
        &mut self,
        canonical: &Canonical,
        begun: Begun,
        (known, txn): (FieldTimes, TxnId),
    ) -> Repair {
        self.pending.clear();
        let state = self.state_at(canonical.root);
        let first = state.map_or(Effect::Del, |op| op.effect.clone());
        let mut commands = vec![state.map_or_else(|| render(&self.key, &Effect::Del), |op| op.raw.clone())];
        commands.extend(begun.effects.iter().map(|effect| render(&self.key, effect)));
        let mut steps = vec![Step::repair(first)];
        steps.extend(begun.effects.into_iter().map(Step::repair));
        let (ahead, behind) = canonical.order.split_at(begun.count);
        let restart = Restart {
            root: canonical.root,
            steps: steps.len(),
            done: ahead.iter().map(|&at| self.operations[at].dot).collect(),
        };
        let flight = Flight {
            txn,
            restart: Some(restart),
            steps,
        };
        self.submit_again(flight, commands, (behind, true), canonical, known)
    }
}

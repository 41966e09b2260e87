//! What leaves a key in conflict: operations that nothing can conflict with any more become its base.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::KeyState;
use super::held::Actual;
use super::listed::Listed;
use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::effect::Effect;
use crate::converge::content::{Content, Kind, kind_of};
use crate::converge::difference::difference;
use crate::converge::entries;
use crate::converge::evaluate::{evaluate, evaluate_base};
use crate::converge::losses::{Loss, Rule};
use crate::converge::mutation::{Mutation, off};
use crate::converge::operation::Operation;
use crate::converge::pieces::needs_replay;
use crate::converge::replay::{Root, any_concurrent, canonical, root_state};

/// A key with fewer operations is folded whenever it can be.
const FOLD_ALWAYS: usize = 32;

/// A key with as many is folded at the next moment without anything on its way.
const PUT_OFF: usize = 8;

/// From so many pushes and pops on, some are folded although others have not seen them.
const BUSY_LIST: usize = 256;

impl KeyState {
    /// Drops operations that nothing can conflict with any more; true when the whole key is settled.
    pub fn prune(&mut self, stable: &Vector) -> bool {
        if self.is_in_flight() {
            self.put_off_fold(stable);
            return false;
        }
        let is_read = self.snapshot || self.listed.is_reading || self.timed.is_reading;
        if is_read || self.waiting_for.is_some() || self.dirty || self.is_healing() {
            return false;
        }
        self.learn_what_was_told();
        if self.operations.iter().all(|op| stable.includes(op.dot)) {
            if !self.is_elementwise() && self.fold_replayed(stable) && self.dirty {
                return false;
            }
            self.tell_passed(stable);
            return true;
        }
        // What nothing can be folded of is looked at again when there is twice as much: a key that is written all the
        // time costs each operation the same, however many are unstable.
        if self.size() >= self.fold_at {
            if self.is_elementwise() {
                self.fold_stable(stable);
                self.merge_counts(stable);
                self.settle_entries(stable);
            } else {
                self.fold_into_values(stable);
                self.fold_replayed(stable);
            }
            self.fold_at = match self.size() {
                0..FOLD_ALWAYS => 0,
                size => 2 * size,
            };
        }
        false
    }

    fn size(&self) -> usize {
        self.operations.len() + self.life.ghosts()
    }

    /// Once the database holds what the canonical order gives, what stands first in it is base where all that is left
    /// has rules by element and has seen it: a busy key does not stay with a replay for ever. What is left is settled by
    /// these rules from then on, also where the order had it otherwise: every site comes to that, one when it still has
    /// to meet a part of it, another when it has all of it. True if something was folded.
    fn fold_replayed(&mut self, stable: &Vector) -> bool {
        let order = canonical(&self.operations);
        let done = self.dots(&order.order);
        let settled = self.held.actual().trace.as_ref();
        if settled.is_none_or(|(root, executed)| *root != order.root || *executed != done) {
            return false;
        }
        let Some((seen, kept)) = self.split_by_order(stable) else {
            return false;
        };
        self.tell_passed(&seen);
        self.life.restart(&seen, &kept);
        self.operations = kept;
        let order = canonical(&self.operations).order;
        let are_plain = self.operations.iter().all(is_plain);
        self.dirty = are_plain && any_concurrent(&self.operations, &order);
        self.base = Content::unknown();
        self.timed.forget();
        self.listed = Listed::default();
        if self.operations.iter().any(|op| kind_of(&op.effect) == Kind::List) {
            self.open_list();
        }
        // What trims saw is the base now.
        self.learn_again(|_| true);
        let mut content = Content::unknown();
        if are_plain {
            content.expiry = self.held.actual().content.expiry;
            let executed = order.iter().map(|&at| &self.operations[at].effect);
            content = executed.fold(content, Content::after);
        } else {
            let effects = self.operations.iter().map(|op| &op.effect);
            content = effects.fold(content, Content::after);
        }
        let want = evaluate(&self.base, &self.operations, self.life.enders());
        entries::same_rest(&want, &mut content);
        let done = self.dots(&order);
        *self.held.actual_mut() = Actual {
            content,
            trace: Some((Root::Base, done)),
            ..Actual::base()
        };
        true
    }

    pub(super) fn dots(&self, order: &[usize]) -> Vec<Dot> {
        order.iter().map(|&at| self.operations[at].dot).collect()
    }

    /// How far the order goes that is settled and stable, and the operations that are left; none if that is of no use.
    fn split_by_order(&self, stable: &Vector) -> Option<(Vector, Vec<Operation>)> {
        let ordered = self.settled_by_order();
        let operations = || self.operations.iter();
        let are_plain = operations().all(|op| ordered.includes(op.dot) || is_plain(op));
        // What has its elements in an order of their own is left as far as others may not have seen it.
        let seen = if are_plain { ordered } else { stable.clone() };
        let (first, left): (Vec<&Operation>, Vec<&Operation>) =
            operations().partition(|op| seen.includes(op.dot));
        let is_over = left.is_empty() && operations().all(|op| stable.includes(op.dot));
        let sees_rest = |op: &&Operation| is_simple(op) && first.iter().all(|other| op.sees(other.dot));
        if is_over || !stable.covers(&seen) || !left.iter().all(sees_rest) {
            return None;
        }
        let left: Vec<Operation> = left.into_iter().cloned().collect();
        (!needs_replay(&Content::unknown(), &left)).then_some((seen, left))
    }

    /// How far what has no rules by element goes, with all that something behind it has not seen.
    fn settled_by_order(&self) -> Vector {
        let sites = self.operations.first().map_or(0, |op| op.past.entries().count());
        let mut by_site: Vec<Vec<&Operation>> = vec![Vec::new(); sites];
        for op in &self.operations {
            by_site[op.dot.site.at()].push(op);
        }
        let mut seen = Vector::zero(sites);
        for ops in &mut by_site {
            ops.sort_unstable_by_key(|op| std::cmp::Reverse(op.dot.seq));
            if let Some(last) = ops.iter().find(|op| !is_simple(op)) {
                seen.advance(last.dot.site, last.dot.seq);
            }
        }
        let mut has_grown = true;
        while std::mem::take(&mut has_grown) {
            for ops in &mut by_site {
                while let Some(op) = ops.pop_if(|op| seen.includes(op.dot) || !op.past.covers(&seen)) {
                    has_grown |= !seen.includes(op.dot);
                    seen.advance(op.dot.site, op.dot.seq.max(seen.get(op.dot.site)));
                }
            }
        }
        seen
    }

    /// A key that is written all the time always has something on its way when others have seen more.
    fn put_off_fold(&mut self, stable: &Vector) {
        if let Some(next) = &mut self.fold_next {
            next.clone_from(stable);
        } else if self.size() >= PUT_OFF {
            self.fold_next = Some(stable.clone());
        }
    }

    /// What could not be folded while something was on its way.
    pub(super) fn fold_as_put_off(&mut self) {
        if !self.is_in_flight()
            && let Some(stable) = self.fold_next.take()
        {
            self.fold_into_values(&stable);
        }
    }

    /// What is stable and in all values that were sent is replayed no more: one of these, or of those still to come, is
    /// where a replay begins, and they have it. What a pop took is told by all that it has seen, and where a stream's
    /// entry stands by what the value had, so those stay.
    fn fold_into_values(&mut self, stable: &Vector) {
        let is_told_by_all = |op: &Operation| {
            matches!(op.effect, Effect::ListPop { .. } | Effect::ListTook { .. })
                || kind_of(&op.effect) == Kind::Stream
        };
        if off(Mutation::FoldStable)
            || root_state(&self.operations).is_none()
            || self.operations.iter().any(is_told_by_all)
        {
            return;
        }
        let mut seen = stable.clone();
        // A value that has not seen a removal is none: then what the removal has not seen stays.
        let may_begin = |op: &&Operation| match op.effect {
            Effect::Restore { .. } => true,
            Effect::Del => !stable.includes(op.dot),
            _ => false,
        };
        self.operations.iter().filter(may_begin).for_each(|op| {
            seen.meet(&op.past);
        });
        let (folded, kept): (Vec<Operation>, Vec<Operation>) = std::mem::take(&mut self.operations)
            .into_iter()
            .partition(|op| seen.includes(op.dot));
        self.operations = kept;
        if folded.is_empty() {
            return;
        }
        self.life.fold(&seen, &folded, &self.operations);
        self.base = Content::unknown();
        self.timed.forget();
        self.listed.views.forget(&seen);
        self.forget_unread(&seen);
        self.pending.retain(|dot| !seen.includes(*dot));
        self.forget_in_trace();
    }

    /// Tells the entries that groups have passed among what leaves.
    fn tell_passed(&mut self, stable: &Vector) {
        let leaves: Vec<&Operation> = (self.operations.iter())
            .filter(|op| stable.includes(op.dot))
            .collect();
        let passed = entries::passed(&leaves);
        let told = passed.into_iter().map(|(entry, site, passer)| Loss {
            rule: Rule::EntryPassed,
            db: self.db,
            key: self.key.clone(),
            kind: Kind::Stream,
            winner: passer,
            loser: site,
            entry: Some(entry),
        });
        self.losses.extend(told);
    }

    /// Whether nothing but pushes and pops is there, and many. What each pop took it has learnt, so one that is folded
    /// takes the same whether it saw what is folded beside it or not.
    fn is_busy_list(&self) -> bool {
        let is_of_list = |op: &Operation| {
            kind_of(&op.effect) == Kind::List || matches!(op.effect, Effect::ListTook { .. })
        };
        let is_alone = self.life.ghosts() == 0 && !self.listed.views.is_blind();
        self.operations.len() >= BUSY_LIST && is_alone && self.operations.iter().all(is_of_list)
    }

    /// The part of `stable` that everything else, and what is still to come, has seen.
    fn seen_by_unstable(&self, stable: &Vector) -> Vector {
        let mut seen = stable.clone();
        let unstable = self.operations.iter().filter(|op| !stable.includes(op.dot));
        unstable.for_each(|op| {
            seen.meet(&op.past);
        });
        seen
    }

    /// Folds into the base what is stable and in the past of everything that stays.
    fn fold_stable(&mut self, stable: &Vector) {
        let seen = match off(Mutation::FoldStable) {
            true => stable.clone(),
            false if self.is_busy_list() => self.seen_by_unstable(stable),
            false => seen_by_rest(stable, self.operations.iter().chain(self.life.latest_ghosts())),
        };
        let (folded, kept): (Vec<Operation>, Vec<Operation>) = std::mem::take(&mut self.operations)
            .into_iter()
            .partition(|op| seen.includes(op.dot));
        let ended = self.life.enders_in(&seen);
        self.life.fold(&seen, &folded, &kept);
        self.operations = kept;
        if folded.is_empty() {
            return;
        }
        self.base = evaluate_base(&self.base, &folded, &ended);
        self.listed.views.forget(&seen);
        self.forget_unread(&seen);
        if let Some((root, _)) = &mut self.held.actual_mut().trace {
            // What is folded is base now, for the trace as well.
            *root = Root::Base;
            self.forget_in_trace();
        } else if difference(
            &evaluate(&self.base, &self.operations, self.life.enders()),
            &self.held.actual().content,
        ) == Ok(Vec::new())
        {
            let order = canonical(&self.operations).order;
            let order: Vec<Dot> = order.iter().map(|&at| self.operations[at].dot).collect();
            let actual = self.held.actual_mut();
            actual.settled = order.len();
            actual.trace = Some((Root::Base, order));
        }
    }

    /// The trace tells of the operations that are kept.
    fn forget_in_trace(&mut self) {
        let kept: BTreeSet<Dot> = self.operations.iter().map(|op| op.dot).collect();
        let actual = self.held.actual_mut();
        if let Some((_, done)) = &mut actual.trace {
            let settled = &done[..actual.settled.min(done.len())];
            actual.settled = settled.iter().filter(|dot| kept.contains(dot)).count();
            done.retain(|dot| kept.contains(dot));
            actual.popped.retain(|dot| kept.contains(&dot));
            actual.found.retain(|dot| kept.contains(&dot));
        }
    }
}

impl KeyState {
    /// A stream that is never at rest has no operation that all others have seen. But an entry is base where everything
    /// that could take it has seen it: what is there, and what is still to come, which has seen all that is stable. Of
    /// the base the oldest entries need not be known: nothing will be put before them.
    fn settle_entries(&mut self, stable: &Vector) {
        if off(Mutation::FoldStable)
            || self.life.needs_all()
            || self.held.actual().content.kind != Kind::Stream
        {
            return;
        }
        let life = &self.life;
        let settled = entries::settled(&self.base, &self.operations, stable, |dot| life.has_ended(dot));
        if settled.is_empty() {
            return;
        }
        let (gone, kept): (Vec<Operation>, Vec<Operation>) = std::mem::take(&mut self.operations)
            .into_iter()
            .partition(|op| settled.contains(&op.dot));
        self.operations = kept;
        entries::settle(&mut self.base, &gone);
        entries::forget_oldest(
            &mut self.base,
            &self.operations,
            &mut self.held.actual_mut().content,
        );
        self.forget_in_trace();
    }

    /// A counter that is never at rest has no operation that all others have seen, so nothing of it becomes base. But
    /// increments of one site count as one where everything that could cover one of them has seen both or neither:
    /// what is there, and what is still to come, which has seen all that is stable.
    ///
    /// Of one that found no key its own place in causality counts, and where types fight or a part of a snapshot is
    /// met all are looked at: those stay.
    fn merge_counts(&mut self, stable: &Vector) {
        // And which increment found no field tells which times are over.
        let is_time = |op: &Operation| matches!(op.effect, Effect::FieldExpire { .. });
        if off(Mutation::FoldStable) || self.life.needs_all() || self.operations.iter().any(is_time) {
            return;
        }
        let seen = self.seen_by_unstable(stable);
        let cuts = cuts(&self.operations);
        let mut counts: Vec<usize> = (0..self.operations.len())
            .filter(|&at| counted(&self.operations[at].effect).is_some())
            .filter(|&at| seen.includes(self.operations[at].dot))
            .collect();
        counts.sort_unstable_by_key(|&at| self.operations[at].dot);
        let mut latest: BTreeMap<(SiteIx, Option<Bytes>), usize> = BTreeMap::new();
        let mut merged = BTreeSet::new();
        for at in counts {
            let dot = self.operations[at].dot;
            let Some((name, _)) = counted(&self.operations[at].effect) else {
                continue;
            };
            let Some(before) = latest.insert((dot.site, name.cloned()), at) else {
                continue;
            };
            let earlier = self.operations[before].dot;
            let site = &cuts[dot.site.at()];
            let is_cut =
                site.partition_point(|&cut| cut < earlier.seq) != site.partition_point(|&cut| cut < dot.seq);
            if !is_cut && !self.life.has_ended(earlier) && self.take_in(at, before) {
                merged.insert(earlier);
            }
        }
        if !merged.is_empty() {
            self.operations.retain(|op| !merged.contains(&op.dot));
            self.forget_in_trace();
        }
    }

    /// The later of two increments takes the earlier one in, if their sum is a number.
    fn take_in(&mut self, later: usize, earlier: usize) -> bool {
        let Some((_, more)) = counted(&self.operations[earlier].effect) else {
            return false;
        };
        match &mut self.operations[later].effect {
            Effect::Count { delta } | Effect::HashCount { delta, .. } => match delta.checked_add(more) {
                Some(sum) => {
                    *delta = sum;
                    true
                }
                None => false,
            },
            _ => false,
        }
    }
}

/// Whether it has rules by element, and puts nothing in the place of all that it saw.
fn is_simple(op: &Operation) -> bool {
    (op.is_elementwise() || matches!(op.effect, Effect::ListPop { .. })) && !op.is_reset()
}

/// Whether the rules by element need no more than the elements that it names.
fn is_plain(op: &Operation) -> bool {
    is_simple(op)
        && !matches!(kind_of(&op.effect), Kind::List | Kind::Stream)
        && !matches!(op.effect, Effect::ListTook { .. })
}

/// What an increment counts in, a field or the key itself, and by how much.
fn counted(effect: &Effect) -> Option<(Option<&Bytes>, i64)> {
    match effect {
        Effect::Count { delta } => Some((None, *delta)),
        Effect::HashCount { field, delta } => Some((Some(field), *delta)),
        _ => None,
    }
}

/// By site, in order: how far something that is no increment has seen it.
fn cuts(operations: &[Operation]) -> Vec<Vec<Seq>> {
    let sites = operations.first().map_or(0, |op| op.past.entries().count());
    let mut cuts = vec![Vec::new(); sites];
    let others = operations.iter().filter(|op| counted(&op.effect).is_none());
    for (site, seq) in others.flat_map(|op| op.past.entries()) {
        cuts[site.at()].push(seq);
    }
    cuts.iter_mut().for_each(|site| site.sort_unstable());
    cuts
}

/// The largest part of `stable` that everything outside of it has seen. Each operation is looked at once.
pub(in crate::converge) fn seen_by_rest<'a>(
    stable: &Vector,
    all: impl Iterator<Item = &'a Operation>,
) -> Vector {
    let mut by_site: Vec<Vec<&Operation>> = vec![Vec::new(); stable.entries().count()];
    all.for_each(|op| by_site[op.dot.site.at()].push(op));
    by_site
        .iter_mut()
        .for_each(|ops| ops.sort_unstable_by_key(|op| op.dot.seq));
    let mut seen = stable.clone();
    let mut has_fallen = true;
    while std::mem::take(&mut has_fallen) {
        for ops in &mut by_site {
            while let Some(op) = ops.pop_if(|op| !seen.includes(op.dot)) {
                seen.meet(&op.past);
                has_fallen = true;
            }
        }
    }
    seen
}

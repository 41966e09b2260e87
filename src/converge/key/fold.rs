//! What leaves a key in conflict: operations that nothing can conflict with any more become its base.

use std::collections::BTreeSet;

use super::KeyState;
use super::held::Actual;
use crate::causality::{Dot, Vector};
use crate::converge::content::Content;
use crate::converge::difference::difference;
use crate::converge::evaluate::evaluate;
use crate::converge::mutation::{Mutation, off};
use crate::converge::operation::Operation;
use crate::converge::pieces::needs_replay;
use crate::converge::replay::{Root, canonical};

/// A key with fewer operations is folded whenever it can be.
const FOLD_ALWAYS: usize = 32;

impl KeyState {
    /// Drops operations that nothing can conflict with any more; true when the whole key is settled.
    pub fn prune(&mut self, stable: &Vector) -> bool {
        if self.is_in_flight() || self.snapshot || self.waiting_for.is_some() || self.dirty {
            return false;
        }
        if self.operations.iter().all(|op| stable.includes(op.dot)) {
            return true;
        }
        // What nothing can be folded of is looked at again when there is twice as much: a key that is written all the
        // time costs each operation the same, however many are unstable.
        if self.size() >= self.fold_at {
            if self.is_elementwise() {
                self.fold_stable(stable);
            } else {
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

    /// Once the database holds what the canonical order gives, and all that stays has rules by element and has
    /// seen the rest, the rest is base: a busy key does not stay with a replay for ever.
    fn fold_replayed(&mut self, stable: &Vector) {
        let order = canonical(&self.operations);
        let is_kept = |op: &Operation| !stable.includes(op.dot);
        let dots = order.order.iter().map(|&at| self.operations[at].dot);
        let has_settled = match &self.held.actual().trace {
            Some((root, done)) => *root == order.root && dots.eq(done.iter().copied()),
            None => false,
        };
        let are_simple = |kept: &Operation| {
            let sees_rest = (self.operations.iter()).all(|op| is_kept(op) || kept.sees(op.dot));
            kept.is_elementwise() && !kept.is_reset() && sees_rest
        };
        let kept: Vec<Operation> = self.operations.iter().filter(|op| is_kept(op)).cloned().collect();
        if !has_settled || !kept.iter().all(are_simple) || needs_replay(&Content::unknown(), &kept) {
            return;
        }
        self.operations = kept;
        self.life.restart(stable, &self.operations);
        let done: Vec<Dot> = canonical(&self.operations)
            .order
            .iter()
            .map(|&at| self.operations[at].dot)
            .collect();
        self.base = Content::unknown();
        let mut content = Content::unknown();
        for op in &self.operations {
            content = content.after(&op.effect);
        }
        *self.held.actual_mut() = Actual {
            content,
            trace: Some((Root::Base, done)),
        };
    }

    /// Folds into the base what is stable and in the past of everything that stays.
    fn fold_stable(&mut self, stable: &Vector) {
        let seen = match off(Mutation::FoldStable) {
            true => stable.clone(),
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
        self.base = evaluate(&self.base, &folded, &ended);
        if let Some((root, done)) = &mut self.held.actual_mut().trace {
            // What is folded is base now, for the trace as well.
            *root = Root::Base;
            let kept: BTreeSet<Dot> = self.operations.iter().map(|op| op.dot).collect();
            done.retain(|dot| kept.contains(dot));
        } else if difference(
            &evaluate(&self.base, &self.operations, self.life.enders()),
            &self.held.actual().content,
        ) == Ok(Vec::new())
        {
            let order = canonical(&self.operations).order;
            let order = order.iter().map(|&at| self.operations[at].dot).collect();
            self.held.actual_mut().trace = Some((Root::Base, order));
        }
    }
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

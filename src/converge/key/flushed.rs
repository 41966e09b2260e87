//! A key and what emptied the whole database before it came into conflict.

use std::collections::BTreeSet;

use super::KeyState;
use super::held::Actual;
use crate::causality::Dot;
use crate::command::effect::Effect;
use crate::converge::content::Content;
use crate::converge::operation::Operation;
use crate::converge::replay::Root;

impl KeyState {
    /// Adds an operation that emptied the whole database before this key came into conflict by what `arrived`.
    /// What it saw of the key went then; what followed it stands on nothing.
    pub fn flushed_before(&mut self, flush: Operation, arrived: Dot) {
        let flying: Vec<Dot> = self
            .held
            .in_flight()
            .iter()
            .flat_map(|flight| flight.steps.iter().filter_map(|step| step.dot))
            .collect();
        let trace = self.held.actual().trace.as_ref();
        let told = trace.map(|(root, done)| (root.state(), done.iter().copied().collect::<BTreeSet<Dot>>()));
        // What a repair on its way stands for has not been executed, and a trace tells of no removal and no time.
        let is_told = |op: &Operation| {
            told.as_ref().is_none_or(|(root, done)| {
                matches!(op.effect, Effect::Del | Effect::Expire { .. })
                    || *root == Some(op.dot)
                    || done.contains(&op.dot)
            })
        };
        let is_missing = |dot: &Dot| *dot == arrived || flying.contains(dot) || self.pending.contains(dot);
        let executed = |op: &&Operation| !is_missing(&op.dot) && is_told(op);
        let mut known = self.operations.iter().filter(executed).peekable();
        // Where all that is known followed the flush, and no repair of ours did, the key began with the first of them.
        let follows = known.peek().is_some()
            && matches!(self.held.actual().trace, Some((Root::Base, _)))
            && known.clone().all(|op| op.sees(flush.dot));
        // What a DEL took was gone before, and what came behind it need not be told in operations alone: repairs may.
        let has_taken = known.any(|op| op.effect != Effect::Del && flush.sees(op.dot));
        let stay = || {
            self.operations
                .iter()
                .filter(executed)
                .filter(|op| !flush.sees(op.dot))
        };
        // Of what an earlier run executed it is not known whether it did; what was taken is gone all the same. What began
        // with nothing, or with a value, this run has seen.
        let has_begun = trace.is_some_and(|(root, _)| *root != Root::Base);
        let is_known = !self.doubtful || has_begun || has_taken && stay().next().is_none();
        if (follows || has_taken) && is_known {
            let mut actual = Actual {
                content: Content::absent(),
                trace: Some((Root::Empty, Vec::new())),
                ..Actual::base()
            };
            stay().for_each(|op| actual.execute(op));
            *self.held.actual_mut() = actual;
        }
        self.add(flush);
    }

    /// Whether this operation, which emptied the whole database, has seen more of the key than that it was deleted.
    pub fn was_emptied_by(&self, flush: &Operation) -> bool {
        let mut operations = self.operations.iter();
        operations.any(|op| op.effect != Effect::Del && flush.sees(op.dot))
    }

    /// Whether it is among the operations, or what takes its place.
    pub fn knows_flush(&self, flush: &Operation) -> bool {
        let is_replaced = !self.needs_resets();
        let is_known = |op: &Operation| op.dot == flush.dot || is_replaced && op.supersedes(flush);
        self.operations.iter().any(is_known)
    }
}

//! What the database holds of a key at the stream position read so far, and what it will hold once everything that
//! is in flight has been executed.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use crate::causality::{Dot, Vector};
use crate::command::effect::Effect;
use crate::converge::content::Content;
use crate::converge::entries;
use crate::converge::operation::Operation;
use crate::converge::replay::Root;

use super::TxnId;
use super::found::Found;
use super::popped::{Form, Popped};

/// A key's content as far as it is known, and how it came to be.
#[derive(Debug, Clone)]
pub(super) struct Actual {
    pub content: Content,
    /// The root and the operations executed since, verbatim; `None` after a repair that was not one of them.
    pub trace: Option<(Root, Vec<Dot>)>,
    /// So many of the first in the trace are as the rules by element prescribe, concurrent or not.
    pub settled: usize,
    /// Pops in the trace that found no list.
    pub void: BTreeSet<Dot>,
    /// What the pops in the trace took.
    pub popped: Popped,
    /// What in the trace may have read times of fields found.
    pub found: Found,
}

/// Commands that were submitted and have not been seen in the stream.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub txn: TxnId,
    pub restart: Option<Restart>,
    pub steps: Vec<Step>,
}

impl Flight {
    /// Nothing yet.
    pub fn of(txn: TxnId) -> Flight {
        Flight {
            txn,
            restart: None,
            steps: Vec::new(),
        }
    }
}

/// The beginning of a replay.
#[derive(Debug, Clone)]
pub(super) struct Restart {
    pub root: Root,
    /// What the first steps bring about.
    pub done: Vec<Dot>,
    /// So many.
    pub steps: usize,
}

/// One submitted command.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub effect: Effect,
    /// The operation, when the command is one of them, verbatim.
    pub dot: Option<Dot>,
    /// That it has no effect tells nothing of the key: it is [joint](Operation::joint), or stands under a condition.
    pub is_mute: bool,
    /// It is an operation as it came: the database may refuse it.
    pub as_it_came: bool,
    /// Of a trim: what it saw, and the others that it is told to leave. The database may take more than that.
    pub spares: Option<(Rc<Vector>, Vec<Dot>)>,
    /// Without effect it has yet to be executed: a condition stands in it, and none does in a replay.
    pub is_conditional: bool,
    /// It gives a field the time that it has at the end of a replay, which is no part of the trace.
    pub is_beside: bool,
}

impl Step {
    /// A command of ours that is no operation.
    pub fn repair(effect: Effect) -> Step {
        Step {
            effect,
            dot: None,
            is_mute: false,
            as_it_came: false,
            spares: None,
            is_conditional: false,
            is_beside: false,
        }
    }

    /// A time of a field at the end of a replay.
    pub fn beside(effect: Effect) -> Step {
        Step {
            is_beside: true,
            ..Step::repair(effect)
        }
    }

    /// Whether it has yet to be executed where it had no effect: under no condition, or by a script that puts an entry in
    /// its place.
    fn may_be_left(&self) -> bool {
        self.is_conditional || self.as_it_came && matches!(self.effect, Effect::StreamAdd { .. })
    }

    /// An operation, executed for its key alone.
    pub fn of(op: &Operation) -> Step {
        Step {
            effect: op.effect.clone(),
            dot: Some(op.dot),
            is_mute: false,
            as_it_came: false,
            spares: None,
            is_conditional: false,
            is_beside: false,
        }
    }
}

/// What came of a command of ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Took {
    /// Whether it took effect.
    pub effect: bool,
    /// What the server itself removed right behind it, because it had expired.
    pub removed: Option<Effect>,
}

impl Took {
    /// As it was meant.
    pub fn whole() -> Took {
        Took {
            effect: true,
            removed: None,
        }
    }

    fn has_removed(&self, effect: &Effect) -> bool {
        match (&self.removed, effect) {
            (Some(Effect::HashRemove(all)), Effect::HashRemove(fields)) => {
                fields.iter().all(|field| all.contains(field))
            }
            (removed, effect) => removed.as_ref() == Some(effect),
        }
    }
}

impl Actual {
    /// Nothing is known, and nothing happened yet.
    pub fn base() -> Actual {
        Actual {
            content: Content::unknown(),
            trace: Some((Root::Base, Vec::new())),
            settled: 0,
            void: BTreeSet::new(),
            popped: Popped::default(),
            found: Found::default(),
        }
    }

    /// An operation took effect.
    pub fn execute(&mut self, op: &Operation) {
        let form = self.form(&op.effect, Some(op.dot));
        self.popped.executed(&op.effect, Some(op.dot), form, true);
        self.content = std::mem::replace(&mut self.content, Content::unknown()).after(&op.effect);
        self.extend(&op.effect, op.dot);
    }

    /// How a command takes something of a list, where a trace is to tell of it, and of what it found.
    fn form(&mut self, effect: &Effect, dot: Option<Dot>) -> Option<Form> {
        if self.trace.is_none() {
            self.forget_forms();
            return None;
        }
        self.found.executes(&self.content, effect, dot);
        self.popped.form(&self.content, effect, dot)
    }

    /// The trace after one more operation: a reset starts it anew, an expiry time is not part of it.
    fn extend(&mut self, effect: &Effect, dot: Dot) {
        match effect {
            Effect::Expire { .. } | Effect::ListTook { .. } => {}
            Effect::Del => self.begin(Root::Empty, Vec::new()),
            Effect::Set { .. } => self.begin(Root::Empty, vec![dot]),
            Effect::Restore { .. } => self.begin(Root::State(dot), Vec::new()),
            _ => {
                // A pop of several elements may have been several removals.
                if let Some((_, done)) = self.trace.as_mut().filter(|(_, done)| done.last() != Some(&dot)) {
                    done.push(dot);
                }
            }
        }
    }

    /// A removal was executed, and another one that saw it takes the same: it makes no difference any more. A database
    /// whose value holds a field that is over removes that each time that the value is put there, and the value is not
    /// put there anew for that.
    pub fn forget_removal(&mut self, dot: Dot) {
        let place = |(_, done): &(Root, Vec<Dot>)| done.iter().position(|done| *done == dot);
        if let Some(at) = self.trace.as_ref().and_then(place)
            && let Some((_, done)) = &mut self.trace
        {
            done.remove(at);
            self.settled -= usize::from(at < self.settled);
        }
    }

    fn begin(&mut self, root: Root, done: Vec<Dot>) {
        self.trace = Some((root, done));
        self.settled = 0;
        self.forget_forms();
    }

    fn forget_forms(&mut self) {
        self.popped.forget();
        self.found.forget();
    }

    /// The trace after an operation of ours. A trim may have taken what it had neither seen nor been told to leave.
    fn extend_by(&mut self, step: &Step, dot: Dot) {
        let meets = |(past, spared): &(Rc<Vector>, Vec<Dot>)| {
            let is_met = |dot: &Dot| !past.includes(*dot) && !spared.contains(dot);
            let trace = self.trace.as_ref();
            trace.is_some_and(|(_, done)| done.iter().any(is_met))
        };
        match step.spares.as_ref().is_some_and(meets) {
            true => self.trace = None,
            false => self.extend(&step.effect, dot),
        }
    }

    /// After the commands of a transaction; `next` gives the content after each, whether it took effect, and what was
    /// removed behind it.
    fn take<'a>(
        &mut self,
        flight: &Flight,
        mut next: impl FnMut(Content, &Step) -> (Content, bool, Option<&'a Effect>),
    ) {
        if let Some(restart) = &flight.restart {
            self.trace = Some((restart.root, restart.done.clone()));
            self.forget_forms();
            self.settled = restart.done.len();
        }
        for (at, step) in flight.steps.iter().enumerate() {
            // The first command of a replay brings the root about.
            let root = flight.restart.as_ref().and_then(|restart| restart.root.state());
            let dot = step.dot.or(root.filter(|_| at == 0));
            let form = self.form(&step.effect, step.dot);
            let content = std::mem::replace(&mut self.content, Content::unknown());
            let (content, took, removed) = next(content, step);
            self.popped.executed(&step.effect, dot, form, took);
            self.content = content;
            match step.dot {
                Some(_) if !took && step.may_be_left() => {}
                Some(dot) => {
                    if !took && matches!(step.effect, Effect::ListPop { .. }) {
                        self.void.insert(dot);
                    }
                    self.extend_by(step, dot);
                }
                None if (flight.restart.as_ref()).is_some_and(|restart| at < restart.steps) => {}
                None if step.is_beside || matches!(step.effect, Effect::Expire { .. }) => {}
                None => self.trace = None,
            }
            if let Some(removed) = removed {
                let content = std::mem::replace(&mut self.content, Content::unknown());
                self.content = content.after(removed);
                self.popped.executed(removed, None, None, true);
                self.trace = (*removed == Effect::Del).then(|| (Root::Empty, Vec::new()));
            }
        }
    }

    fn foresee(&mut self, flight: &Flight) {
        self.take(flight, |content, step| {
            let refused =
                matches!(&step.effect, Effect::StreamAdd { id, .. } if entries::refuses(&content, id));
            (content.after_if_possible(&step.effect), !refused, None)
        });
    }
}

/// What the database holds, what is on its way, and what both give together.
#[derive(Debug, Clone)]
pub(super) struct Held {
    actual: Actual,
    in_flight: VecDeque<Flight>,
    /// What the database removed within the transaction that comes back next.
    removed: Vec<Operation>,
    /// Kept for as long as nothing but submissions happen: however many are in flight, the next costs only itself.
    expected: Option<Actual>,
}

impl Held {
    pub fn new() -> Held {
        Held {
            actual: Actual::base(),
            in_flight: VecDeque::new(),
            removed: Vec::new(),
            expected: None,
        }
    }

    pub fn actual(&self) -> &Actual {
        &self.actual
    }

    /// To change what is known of the database.
    pub fn actual_mut(&mut self) -> &mut Actual {
        self.expected = None;
        &mut self.actual
    }

    pub fn in_flight(&self) -> &VecDeque<Flight> {
        &self.in_flight
    }

    /// Nothing is on its way any more, as far as is known.
    pub fn forget_flights(&mut self) {
        self.expected = None;
        self.in_flight.clear();
        self.removed.clear();
    }

    pub fn submit(&mut self, flight: Flight) {
        if flight.steps.is_empty() {
            return;
        }
        if let Some(expected) = &mut self.expected {
            expected.foresee(&flight);
        }
        self.in_flight.push_back(flight);
    }

    /// An operation that was submitted verbatim and becomes known only now takes the place that it has among those
    /// that were submitted: the transactions in their order, in each the operations in theirs, then repairs.
    pub fn submit_in_place(&mut self, op: &Operation, flight: Flight) {
        let is_behind = |other: &Flight| {
            let dot = other.steps.first().and_then(|step| step.dot);
            let is_earlier = dot.is_some_and(|dot| dot.site == op.dot.site && dot.seq < op.dot.seq);
            other.txn > flight.txn || other.txn == flight.txn && !is_earlier
        };
        match self.in_flight.iter().position(is_behind) {
            None => self.submit(flight),
            Some(at) => {
                self.expected = None;
                self.in_flight.insert(at, flight);
            }
        }
    }

    /// The database removed this within the transaction that comes back next.
    pub fn removed_within(&mut self, op: Operation) {
        self.removed.push(op);
    }

    /// A transaction has come back with what came of each of its commands.
    pub fn echoed(&mut self, txn: TxnId, took: &[Took]) {
        // What was not removed behind a command on this key was gone before the first one.
        let is_behind = |op: &Operation| took.iter().any(|took| took.has_removed(&op.effect));
        for op in std::mem::take(&mut self.removed)
            .into_iter()
            .filter(|op| !is_behind(op))
        {
            self.actual_mut().execute(&op);
        }
        let mut took = took.iter();
        // Nearly always at the front; behind it only if the database refused one and took the next.
        while let Some(at) = self.in_flight.iter().position(|flight| flight.txn == txn) {
            let Some(flight) = self.in_flight.remove(at) else {
                return;
            };
            self.actual_mut()
                .take(&flight, |content, step| match took.next() {
                    None => (content.after(&step.effect), true, None),
                    Some(took) => {
                        let content = match took.effect {
                            true => content.after(&step.effect),
                            false if step.is_mute => content,
                            false => content.after_no_effect(&step.effect),
                        };
                        (content, took.effect, took.removed.as_ref())
                    }
                });
        }
    }

    /// A transaction will not be executed any more; the operations in it.
    pub fn passed_over(&mut self, txn: TxnId) -> Vec<Dot> {
        self.expected = None;
        let (gone, left) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition::<VecDeque<_>, _>(|flight| flight.txn == txn);
        self.in_flight = left;
        let steps = gone.into_iter().flat_map(|flight| flight.steps);
        steps.filter_map(|step| step.dot).collect()
    }

    /// Operations in this transaction that came back without effect and have yet to be executed.
    pub fn left(&self, txn: TxnId, took: &[Took]) -> Vec<Dot> {
        let flights = self.in_flight.iter().filter(|flight| flight.txn == txn);
        let steps = flights.flat_map(|flight| &flight.steps).zip(took);
        let left = steps.filter(|(step, took)| !took.effect && step.may_be_left());
        left.filter_map(|(step, _)| step.dot).collect()
    }

    /// Entries that repairs in this transaction were to put in a stream, and did not.
    pub fn refused(&self, txn: TxnId, took: &[Took]) -> BTreeSet<Bytes> {
        let flights = self.in_flight.iter().filter(|flight| flight.txn == txn);
        let steps = flights.flat_map(|flight| &flight.steps).zip(took);
        let failed = steps.filter(|(step, took)| !took.effect && step.dot.is_none());
        failed
            .flat_map(|(step, _)| entries::put_by(&step.effect).cloned())
            .collect()
    }

    /// Whether entries are on their way that a client's newer one can keep out of a stream. A value that is read behind
    /// them may be without them.
    pub fn adds_entries(&self) -> bool {
        let mut steps = self.in_flight.iter().flat_map(|flight| &flight.steps);
        steps.any(|step| matches!(step.effect, Effect::StreamAdd { .. }))
    }

    /// The last transaction on its way that begins the key anew.
    pub fn restarts_in(&self) -> Option<TxnId> {
        let mut flights = self.in_flight.iter().rev();
        flights
            .find(|flight| flight.restart.is_some())
            .map(|flight| flight.txn)
    }

    /// Whether something is on its way that can undo a client's write.
    pub fn repairs(&self) -> bool {
        let is_repair =
            |flight: &Flight| flight.restart.is_some() || flight.steps.iter().any(|step| step.dot.is_none());
        self.in_flight.iter().any(is_repair)
    }

    /// A value that was read has become an operation: the trace starts with it.
    pub fn shipped(&mut self, op: &Operation) {
        let actual = self.actual_mut();
        actual.popped.executed(&op.effect, Some(op.dot), None, true);
        actual.extend(&op.effect, op.dot);
    }

    /// What the database will hold once everything in flight has been executed.
    pub fn expected(&mut self) -> &Actual {
        let (actual, in_flight) = (&self.actual, &self.in_flight);
        self.expected.get_or_insert_with(|| {
            let mut expected = actual.clone();
            in_flight.iter().for_each(|flight| expected.foresee(flight));
            expected
        })
    }
}

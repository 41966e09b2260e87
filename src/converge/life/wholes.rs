//! What a command on the value as a whole found, and what it left: `APPEND`, `BITFIELD` and the like make a key where
//! there is none, and where types fight beside one, the order of the replay decides which of them was there.

use std::collections::BTreeSet;

use super::{Life, kind_left};
use crate::command::effect::Effect;
use crate::converge::content::{Content, Kind, kind_of};
use crate::converge::evaluate::is_write;
use crate::converge::operation::Operation;
use crate::converge::pieces::needs_replay;
use crate::converge::replay::{Root, canonical};

impl Life {
    /// Whether it found no key. What others of its kind leave is not known, so all of them have to have been deleted.
    pub(super) fn found_no_value(&self, op: &Operation, operations: &[Operation]) -> bool {
        if self.presence.has_whole(&op.past) {
            return false;
        }
        let past = self.past_of(op, operations);
        let is_named = |other: &&Operation| kind_of(&other.effect) != Kind::Other;
        let named: Vec<&Operation> = past.iter().map(AsRef::as_ref).filter(is_named).collect();
        kind_left(self.base(), &named, Kind::Other) == Kind::Absent
    }
}

/// Whether an operation that saw these found the key gone, or one of another type, as their replay leaves it; none where
/// they are settled by element, or are of one type.
pub(super) fn is_gone_in_replay(base: &Content, operations: &[&Operation], op: &Operation) -> Option<bool> {
    let mut named = operations
        .iter()
        .map(|op| kind_of(&op.effect))
        .filter(has_elements);
    let first = named.next()?;
    if named.all(|kind| kind == first) {
        return None;
    }
    let operations: Vec<Operation> = operations.iter().map(|op| (*op).clone()).collect();
    let canonical = canonical(&operations);
    let is_whole = |at: &usize| kind_of(&operations[*at].effect) == Kind::Other;
    let is_replayed = canonical.root.state().is_some() || canonical.order.iter().any(is_whole);
    if !is_replayed && !needs_replay(base, &operations) {
        return None;
    }
    let mut left = BTreeSet::from([match canonical.root {
        Root::Empty => Kind::Absent,
        Root::Base if base.kind != Kind::Other => base.kind,
        Root::Base | Root::State(_) => Kind::Unknown,
    }]);
    for (at, &place) in canonical.order.iter().enumerate() {
        let op = &operations[place];
        let has_seen = |before: &usize| op.sees(operations[*before].dot);
        if !is_whole(&place) && canonical.order[..at].iter().all(has_seen) {
            // It took effect at its site, on what they left.
            left = BTreeSet::from([kind_of(&op.effect)]);
        }
        left = left.into_iter().flat_map(|found| behind(op, found)).collect();
    }
    let is_kept =
        |found: &Kind| *found == Kind::Unknown || *found == kind_of(&op.effect) || keeps(op, *found);
    Some(!left.iter().any(is_kept))
}

/// Whether it takes the place of a key of any type, whose time stays.
fn keeps(op: &Operation, found: Kind) -> bool {
    matches!(op.effect, Effect::Set { .. }) && found != Kind::Absent
}

/// What may be there once this has been executed on a key of a type, on which it has no effect if it is for another.
fn behind(op: &Operation, found: Kind) -> BTreeSet<Kind> {
    let own = kind_of(&op.effect);
    let is_set = matches!(op.effect, Effect::Set { .. });
    let is_made = is_set || found == Kind::Absent && is_write(&op.effect);
    match own {
        Kind::Other if found == Kind::Absent => BTreeSet::from([Kind::Unknown]),
        // Nothing that is done to a string takes it away.
        Kind::Other if found == Kind::Text => BTreeSet::from([Kind::Text]),
        Kind::Other => BTreeSet::from([found, Kind::Absent]),
        _ if is_made => BTreeSet::from([own]),
        _ if !is_write(&op.effect) && (found == own || found == Kind::Unknown) => {
            BTreeSet::from([found, Kind::Absent])
        }
        _ => BTreeSet::from([found]),
    }
}

fn has_elements(kind: &Kind) -> bool {
    !matches!(kind, Kind::Unknown | Kind::Other)
}

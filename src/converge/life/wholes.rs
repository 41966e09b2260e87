//! What a command on the value as a whole found: `APPEND`, `BITFIELD` and the like make a key where there is none.

use super::{Life, kind_left, seen_by};
use crate::command::effect::Effect;
use crate::converge::content::{Kind, kind_of};
use crate::converge::operation::Operation;

impl Life {
    /// Whether it found no key. What others of its kind leave is not known, so all of them have to have been deleted.
    pub(super) fn found_no_value(&self, op: &Operation, operations: &[Operation]) -> bool {
        let ghosts = self.ghosts_seen_by(op);
        let (wholes, named): (Vec<&Operation>, Vec<&Operation>) = seen_by(op, &ghosts, operations)
            .into_iter()
            .partition(|other| kind_of(&other.effect) == Kind::Other);
        let is_deleted =
            |whole: &&Operation| (named.iter()).any(|op| op.effect == Effect::Del && op.sees(whole.dot));
        wholes.iter().all(is_deleted) && kind_left(self.base(), &named, Kind::Other) == Kind::Absent
    }
}

//! The rest of a stream: the entries of its base that nobody has named, which are older than all that are named.
//!
//! What trims to a length left of it cannot be said by id. It is said by number: of the rest, without those entries that
//! the trim saw removed, the newest so many stay. Of several such bounds the entries stay that are within all of them.
//! Like ids, bounds are compared: what should be against what the database holds.
//!
//! An entry that was removed and counts all the same is known by its id. One removal of several entries does not tell
//! which of them were there, so what it did to a trim that had not seen it is only known to a database.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

use super::{ABOVE, FLOOR, REST, is_id, mark};
use crate::command::entries::Trim;
use crate::converge::content::{Content, TEXT, Value};
use crate::converge::difference::OutOfReach;

/// How much a trim left of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// So many, the newest.
    pub most: u64,
    /// Removed entries that are not among them.
    pub without: Rc<BTreeSet<Bytes>>,
    /// Which removed entries are among them is not known.
    pub is_open: bool,
}

impl Bound {
    /// Whether nothing is within this one that is not within the other. The rest is under this id: what is not, and has
    /// come and gone, is none of it.
    fn is_within(&self, other: &Bound, under: &Bytes) -> bool {
        let mut without = self.without.range(..under.clone());
        self.most <= other.most && without.all(|id| other.without.contains(id))
    }
}

/// What no entry of the rest reaches.
pub(super) fn floor(content: &Content) -> Bytes {
    mark(content, &FLOOR).cloned().unwrap_or(ABOVE)
}

fn bounds(content: &Content) -> &[Bound] {
    match content.elements.get(&REST) {
        Some(Value::Rest(bounds)) => bounds,
        _ => &[],
    }
}

/// Whether trims by id left nothing of the rest.
fn is_cut(content: &Content) -> bool {
    !content.rest_unknown || mark(content, &TEXT).is_some_and(|below| *below >= floor(content))
}

/// Whether it is known that there is no rest.
pub(super) fn is_gone(content: &Content) -> bool {
    is_cut(content) || bounds(content).iter().any(|bound| bound.most == 0)
}

/// Removed entries that were of the rest.
pub(super) fn removed(content: &Content) -> impl DoubleEndedIterator<Item = &Bytes> {
    let elements = content.elements.range(..floor(content));
    elements.filter_map(|(name, value)| (is_id(name) && *value == Value::Absent).then_some(name))
}

/// Whether trims to a length bound it.
pub(super) fn is_bound(content: &Content) -> bool {
    !bounds(content).is_empty()
}

/// One bound more.
pub(super) fn bind(content: &mut Content, bound: Bound) {
    let (known, under) = (bounds(content), floor(content));
    if is_gone(content) || known.iter().any(|known| known.is_within(&bound, &under)) {
        return;
    }
    let kept = known
        .iter()
        .filter(|known| !bound.is_within(known, &under))
        .cloned();
    let all = kept.chain([bound.clone()]).collect();
    content.put(&REST, Value::Rest(Rc::new(all)));
}

/// So many of the rest stay, whatever was removed of it before.
pub(super) fn keep_newest(content: &mut Content, most: u64, counted: &[Bytes]) {
    let without = removed(content).filter(|id| !counted.contains(id));
    let bound = Bound {
        most,
        without: Rc::new(without.cloned().collect()),
        is_open: false,
    };
    bind(content, bound);
}

/// What is left of the rest is not known any more, where it should be less than all.
pub(in crate::converge) fn forget_rest(want: &Content, have: &mut Content) {
    if !bounds(want).is_empty() {
        keep_newest(have, 0, &[]);
    }
}

/// The database holds what it should of the rest.
pub(in crate::converge) fn same_rest(want: &Content, have: &mut Content) {
    match want.elements.get(&REST) {
        Some(bounds) => have.put(&REST, bounds.clone()),
        None => {
            have.elements.remove(&REST);
        }
    }
}

/// The trims that bring the rest to what it should be, once all that should be removed is.
///
/// # Errors
/// [`OutOfReach`] when the database may hold less than it should, or cannot be told what to remove.
pub(super) fn rest_difference(want: &Content, have: &Content) -> Result<Vec<Trim>, OutOfReach> {
    if !want.rest_unknown || !have.rest_unknown {
        return Ok(Vec::new());
    }
    let (wanted, held) = (bounds(want), bounds(have));
    let under = floor(want).min(floor(have));
    let is_met = |bound: &Bound| held.iter().any(|held| held.is_within(bound, &under));
    let is_meant = |held: &Bound| wanted.iter().any(|bound| bound.is_within(held, &under));
    let is_short = mark(have, &TEXT) > mark(want, &TEXT) || !held.iter().all(is_meant);
    if !is_gone(want) && is_short {
        return Err(OutOfReach);
    }
    if is_cut(want) || is_cut(have) {
        return Ok(Vec::new());
    }
    let names: BTreeSet<&Bytes> = removed(want).chain(removed(have)).collect();
    let trims = wanted.iter().filter(|bound| !is_met(bound)).map(|bound| {
        let counts = |id: &&&Bytes| !bound.without.contains(**id) && ***id < under;
        let gone: Vec<Bytes> = names.iter().filter(counts).map(|id| (*id).clone()).collect();
        if bound.is_open && !gone.is_empty() {
            return Err(OutOfReach);
        }
        Ok(Trim::Rest {
            most: bound.most,
            under: under.clone(),
            gone,
        })
    });
    trims.collect()
}

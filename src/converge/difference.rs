//! The commands that turn what a database holds into what it should hold.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::content::{Content, Expiry, Kind, TEXT, Value, integer};
use super::entries::entry_difference;
use super::fields::time_difference;
use super::list::list_difference;
use super::pieces::{has_pieces, piece_difference};
use crate::command::effect::{Effect, SetExpiry};

/// What is wanted cannot be reached from what is known: somebody who holds the value has to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfReach;

/// The effects that turn `have` into `want`, in order. Numbers move by relative commands, so that an
/// increment that raced with us is never overwritten.
///
/// # Errors
/// [`OutOfReach`] when the wanted value is relative to a base that `have` no longer has.
pub fn difference(want: &Content, have: &Content) -> Result<Vec<Effect>, OutOfReach> {
    let (want, have) = (want.normal(), have.normal());
    if want.kind == Kind::List && want.list.is_none() {
        return Err(OutOfReach);
    }
    if want == have || want.kind == Kind::Unknown && want.expiry == Expiry::Unknown {
        return Ok(Vec::new());
    }
    if want.kind == Kind::Absent {
        return Ok(if have.kind == Kind::Absent {
            Vec::new()
        } else {
            vec![Effect::Del]
        });
    }
    let mut effects = Vec::new();
    let mut expiry = have.expiry;
    match want.kind {
        Kind::Text if has_pieces(&want) || has_pieces(&have) => {
            piece_difference(&want, &have, &mut effects, &mut expiry)?;
        }
        Kind::Text => text_difference(&want, &have, &mut effects, &mut expiry)?,
        Kind::Set | Kind::Hash | Kind::Sorted => {
            element_difference(&want, &have, &mut effects, &mut expiry)?;
        }
        Kind::Stream => entry_difference(&want, &have, &mut effects, &mut expiry)?,
        Kind::List => list_difference(&want, &have, &mut effects, &mut expiry)?,
        Kind::Unknown | Kind::Absent | Kind::Other => {}
    }
    let gone = have.kind == Kind::Absent && effects.is_empty();
    if want.expiry != Expiry::Unknown && want.expiry != expiry && !gone {
        effects.push(Effect::Expire {
            at_unix_ms: unix_ms(want.expiry),
        });
    }
    Ok(effects)
}

pub(super) fn unix_ms(expiry: Expiry) -> Option<u64> {
    match expiry {
        Expiry::At(ms) => Some(ms),
        Expiry::Never | Expiry::Unknown => None,
    }
}

/// What the effects begin with: what there is, or nothing, where it has to be built anew.
pub(super) fn begun<'a>(
    want: &Content,
    (have, rebuild, absent): (&'a Content, bool, &'a Content),
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<&'a Content, OutOfReach> {
    if rebuild && want.rest_unknown {
        return Err(OutOfReach);
    }
    if rebuild {
        effects.push(Effect::Del);
    }
    let current = if rebuild { absent } else { have };
    if current.kind == Kind::Absent {
        *expiry = Expiry::Never;
    }
    Ok(current)
}

/// How a SET leaves this expiry time behind.
pub(super) fn set_expiry(wanted: Expiry) -> SetExpiry {
    match wanted {
        Expiry::Never => SetExpiry::Clear,
        Expiry::At(ms) => SetExpiry::At(ms),
        Expiry::Unknown => SetExpiry::Keep,
    }
}

fn text_difference(
    want: &Content,
    have: &Content,
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<(), OutOfReach> {
    let (wanted, held) = (want.get(&TEXT), have.get(&TEXT));
    let comparable = matches!(have.kind, Kind::Text | Kind::Unknown | Kind::Other);
    if comparable && wanted == held && (have.kind == Kind::Text || matches!(wanted, Value::Plus(_))) {
        return Ok(());
    }
    if comparable && let Some(delta) = distance(&wanted, &held) {
        effects.push(Effect::Count { delta });
        return Ok(());
    }
    let Value::Bytes(value) = wanted else {
        return Err(OutOfReach);
    };
    effects.push(Effect::Set {
        value,
        expiry: set_expiry(want.expiry),
    });
    *expiry = want.expiry;
    Ok(())
}

/// The increment between two numbers that are both known, or both relative to the same base.
fn distance(wanted: &Value, held: &Value) -> Option<i64> {
    match (wanted, held) {
        (Value::Plus(wanted), Value::Plus(held)) => wanted.checked_sub(*held),
        (Value::Bytes(wanted), Value::Bytes(held)) => integer(wanted)?.checked_sub(integer(held)?),
        _ => None,
    }
}

fn element_difference(
    want: &Content,
    have: &Content,
    effects: &mut Vec<Effect>,
    expiry: &mut Expiry,
) -> Result<(), OutOfReach> {
    let same_kind = have.kind == want.kind;
    let open_kind = same_kind || matches!(have.kind, Kind::Unknown | Kind::Absent | Kind::Other);
    let rebuild = (!want.rest_unknown && have.rest_unknown) || !open_kind;
    let absent = Content::absent();
    let current = begun(want, (have, rebuild, &absent), effects, expiry)?;
    let mut changes = Changes::default();
    let untouched_are_equal = want.rest_unknown && !current.rest_unknown;
    let mut elements: BTreeSet<&Bytes> = want.elements.keys().collect();
    if !untouched_are_equal {
        elements.extend(current.elements.keys());
    }
    for element in elements {
        changes.add(
            element,
            want.get(element),
            current.get(element),
            same_kind && !rebuild,
        )?;
    }
    let has_times = !want.times.is_empty() || !current.times.is_empty();
    changes.keep_times(want);
    changes.give(want.kind, effects);
    if has_times {
        let reached = effects.iter().fold(have.clone(), Content::after);
        time_difference(want, &reached, effects);
    }
    Ok(())
}

/// Changes of elements, gathered so that each kind of change is one command.
#[derive(Default)]
struct Changes {
    members: Vec<Bytes>,
    fields: Vec<(Bytes, Bytes)>,
    /// Fields whose expiry times are not known, and stay.
    kept: Vec<(Bytes, Bytes)>,
    counts: Vec<(Bytes, i64)>,
    scores: Vec<(f64, Bytes)>,
    score_counts: Vec<(Bytes, f64)>,
    removed: Vec<Bytes>,
}

impl Changes {
    fn add(&mut self, element: &Bytes, want: Value, have: Value, counts: bool) -> Result<(), OutOfReach> {
        if want == have {
            return Ok(());
        }
        match (want, have) {
            (Value::Absent, _) => self.removed.push(element.clone()),
            (Value::Member, _) => self.members.push(element.clone()),
            (want @ Value::Bytes(_), have) if counts && distance(&want, &have).is_some() => {
                self.counts
                    .push((element.clone(), distance(&want, &have).unwrap_or(0)));
            }
            (Value::Bytes(value), _) => self.fields.push((element.clone(), value)),
            (Value::Score(score), _) => self.scores.push((score, element.clone())),
            (want @ Value::Plus(_), have) => {
                let delta = distance(&want, &have).ok_or(OutOfReach)?;
                self.counts.push((element.clone(), delta));
            }
            (Value::ScorePlus(want), Value::ScorePlus(have)) => {
                self.score_counts.push((element.clone(), want - have));
            }
            (Value::ScorePlus(_) | Value::Bit(_) | Value::Entry(_) | Value::Rest(_), _) => {
                return Err(OutOfReach);
            }
        }
        Ok(())
    }

    fn keep_times(&mut self, want: &Content) {
        let is_kept = |(field, _): &mut (Bytes, Bytes)| want.time(field) == Expiry::Unknown;
        self.kept = self.fields.extract_if(.., is_kept).collect();
    }

    /// Adds stand before removals, so that the key is never empty in between.
    fn give(self, kind: Kind, effects: &mut Vec<Effect>) {
        if !self.members.is_empty() {
            effects.push(Effect::SetAdd(self.members));
        }
        if !self.fields.is_empty() {
            effects.push(Effect::HashSet(self.fields));
        }
        if !self.kept.is_empty() {
            effects.push(Effect::HashSetTimed {
                pairs: self.kept,
                expiry: SetExpiry::Keep,
            });
        }
        effects.extend(
            self.counts
                .into_iter()
                .map(|(field, delta)| Effect::HashCount { field, delta }),
        );
        if !self.scores.is_empty() {
            effects.push(Effect::SortedAdd(self.scores));
        }
        let counts = self.score_counts.into_iter();
        effects.extend(counts.map(|(member, delta)| Effect::SortedCount { member, delta }));
        if self.removed.is_empty() {
            return;
        }
        effects.push(match kind {
            Kind::Hash => Effect::HashRemove(self.removed),
            Kind::Sorted => Effect::SortedRemove(self.removed),
            _ => Effect::SetRemove(self.removed),
        });
    }
}

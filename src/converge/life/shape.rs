//! What is left of an operation that was superseded: its place in causality and the elements that it names.

use std::rc::Rc;

use bytes::Bytes;

use crate::command::effect::{Effect, SetExpiry};
use crate::converge::operation::Operation;

/// The operation with another effect, and without the command.
pub(super) fn stripped(op: &Operation, effect: Effect) -> Operation {
    Operation {
        dot: op.dot,
        past: Rc::clone(&op.past),
        time: op.time,
        effect,
        raw: Bytes::new(),
        contested: op.contested,
        joint: op.joint,
    }
}

/// An effect without values. Names are copied, so that they do not hold the batch that they came in.
pub(super) fn shape(effect: &Effect) -> Effect {
    let copy = |name: &Bytes| Bytes::copy_from_slice(name);
    let all = |names: &[Bytes]| names.iter().map(copy).collect();
    match effect {
        Effect::Set { .. } => Effect::Set {
            value: Bytes::new(),
            expiry: SetExpiry::Keep,
        },
        Effect::Count { .. } => Effect::Count { delta: 0 },
        Effect::Bits(bits) => Effect::Bits(bits.iter().map(|(name, _)| (copy(name), false)).collect()),
        Effect::Union(names) => Effect::Union(all(names)),
        Effect::SetAdd(names) => Effect::SetAdd(all(names)),
        Effect::SetRemove(names) => Effect::SetRemove(all(names)),
        // What becomes of the fields' times is asked of operations alone.
        Effect::HashSet(pairs) | Effect::HashSetTimed { pairs, .. } => Effect::HashSet(
            pairs
                .iter()
                .map(|(field, _)| (copy(field), Bytes::new()))
                .collect(),
        ),
        Effect::HashRemove(names) => Effect::HashRemove(all(names)),
        Effect::HashCount { field, .. } => Effect::HashCount {
            field: copy(field),
            delta: 0,
        },
        Effect::SortedAdd(pairs) => {
            Effect::SortedAdd(pairs.iter().map(|(_, member)| (0.0, copy(member))).collect())
        }
        Effect::SortedRemove(names) => Effect::SortedRemove(all(names)),
        Effect::StreamAdd { id, .. } => Effect::StreamAdd {
            id: copy(id),
            fields: Vec::new(),
            trim: None,
        },
        Effect::StreamRemove(names) => Effect::StreamRemove(all(names)),
        Effect::StreamTrim(_) | Effect::StreamSplice(_) => Effect::StreamRemove(Vec::new()),
        Effect::SortedCount { member, .. } => Effect::SortedCount {
            member: copy(member),
            delta: 0.0,
        },
        Effect::ListPush { left, elements } => Effect::ListPush {
            left: *left,
            elements: elements
                .iter()
                .map(|(name, _)| (copy(name), Bytes::new()))
                .collect(),
        },
        Effect::ListPop { left, count, took } => Effect::ListPop {
            left: *left,
            count: *count,
            took: took
                .as_ref()
                .map(|took| took.iter().map(|(name, _)| (copy(name), None)).collect()),
        },
        // What others' pops took may be asked again.
        Effect::ListTook { .. } => effect.clone(),
        Effect::Restore { .. }
        | Effect::ListInsert { .. }
        | Effect::ListRemove { .. }
        | Effect::Opaque
        | Effect::Derived => Effect::Opaque,
        Effect::FieldExpire { .. } => Effect::HashRemove(Vec::new()),
        Effect::Del => Effect::Del,
        Effect::Expire { at_unix_ms } => Effect::Expire {
            at_unix_ms: *at_unix_ms,
        },
    }
}

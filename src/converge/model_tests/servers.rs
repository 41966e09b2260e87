//! What two servers that know expiry times of fields tell of commands on them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::database::Command;
use crate::command::effect::{Effect, SetExpiry};

/// Values and times.
type Fields = BTreeMap<Bytes, (Bytes, Option<u64>)>;

/// What the stream tells of a command that took effect: one server names the fields that it found, the other sends what
/// came of an increment where a field has a time.
pub(super) fn told(at: usize, command: Command, before: &Fields, after: &Fields) -> Command {
    let is_redis = at % 2 == 1;
    match command {
        Command::Effect(Effect::FieldExpire { fields, at_unix_ms }) if is_redis && at_unix_ms.is_some() => {
            let fields = fields.into_iter().filter(|field| before.contains_key(field));
            Command::Effect(Effect::FieldExpire {
                fields: fields.collect(),
                at_unix_ms,
            })
        }
        Command::Effect(Effect::HashCount { field, .. })
            if !is_redis && before.values().any(|(_, time)| time.is_some()) =>
        {
            let (sum, time) = after[&field].clone();
            let pairs = vec![(field, sum)];
            Command::Effect(match time {
                None => Effect::HashSet(pairs),
                Some(ms) => Effect::HashSetTimed {
                    pairs,
                    expiry: SetExpiry::At(ms),
                },
            })
        }
        command => command,
    }
}

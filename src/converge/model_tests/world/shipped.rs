//! What was read from a database becomes an operation of its site.

use bytes::Bytes;

use super::{World, name};
use crate::causality::Dot;
use crate::command::effect::Effect;
use crate::converge::KeyOperation;
use crate::converge::model_tests::database::{Command, Value};
use crate::converge::render::render;

impl World {
    pub(super) fn ship(&mut self, at: usize, key: u64, value: Value) {
        let ttl_unix_ms = value.as_ref().and_then(|(_, expiry)| *expiry);
        let payload = Bytes::from(format!("state {}", self.book.values.len()));
        self.book.values.push(value.clone());
        let effect = Effect::Restore { payload, ttl_unix_ms };
        let raw = render(&name(key), &effect);
        self.book.commands.insert(raw.clone(), Command::Load(value));
        let dot = self.stamp(at, key, effect, raw);
        self.shipped(at, key, dot);
    }

    /// It yields to whatever it has not seen.
    pub(super) fn tell_time(&mut self, at: usize, key: u64, at_ms: u64) {
        let effect = Effect::Expire {
            at_unix_ms: Some(at_ms),
        };
        let raw = render(&name(key), &effect);
        let command = Command::Effect(effect.clone());
        self.book.commands.insert(raw.clone(), command);
        let dot = self.stamp(at, key, effect, raw);
        if let Some((_, operation)) = self.book.operations.get_mut(&dot) {
            operation.time = operation.time.of_state();
        }
        self.shipped(at, key, dot);
    }

    fn shipped(&mut self, at: usize, key: u64, dot: Dot) {
        let operation = self.book.operations[&dot].1.clone();
        let share = KeyOperation {
            db: 0,
            key: name(key),
            operation: Some(operation),
            has_derived: false,
        };
        let repairs = self.with_converge(at, None, |converge, _, next| {
            converge.shipped(key, share);
            converge.settle(next)
        });
        self.submit(at, None, repairs);
    }
}

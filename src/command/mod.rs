//! Command: what every command does: its keys, its type, its effect.
//!
//! Owns the table (data, one row per command), the fast look-up by name, the positions of keys, and the split
//! of a command into one effect per key. Depends on nothing but byte slices. Facts are those of the
//! replication stream as measured on Redis 6.2 to 8 and Valkey 8 to 9: a command stands there only if it took effect,
//! so a condition in its text has held and is dropped.
//!
//! Invariant: [`EffectClass`] numbers stand on the wire and in the log and never change their meaning.

mod absolute;
mod class;
pub mod effect;
pub mod entries;
mod fields;
mod keys;
mod learned;
pub mod pieces;
mod table;
pub mod took;

pub use absolute::absolute;
pub use class::{Class, Control, EffectClass};
pub use fields::{FieldTimes, plain};
pub use keys::{Access, Args, KeyAt, KeyRule, keys};
pub use learned::{Learned, ServerCommand};
pub use table::{Spec, rows, spec};

#[cfg(test)]
mod tests;

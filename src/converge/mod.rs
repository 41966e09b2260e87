//! Converge: which operations conflict, and what a key should hold when they do.
//!
//! Owns the window of unstable operations and the keys in conflict. Depends on the ground only: operations
//! come in as values, repairs go out as commands in RESP. The rules are those of the protocol page
//! (`docs/conflicts.md` for users).
//!
//! Invariants: the same set of operations gives the same value at every site, in whatever order they came; a
//! key whose operations are ordered by causality costs one look-up and nothing else; a key that waits for
//! another site is counted.

pub mod content;
mod contested;
mod cover;
pub mod difference;
mod engine;
mod entries;
pub mod evaluate;
mod expiry;
mod fields;
#[cfg(feature = "io")]
pub mod io;
mod key;
mod life;
mod list;
mod losses;
pub mod mutation;
mod operation;
mod pieces;
pub mod render;
pub mod replay;
mod settled;
mod window;

pub use engine::{Arrival, Converge, Counters, History, KeyOperation, KeyRepair, REPLAY_MAX, Verdict};
pub use key::{KeyState, Means, Owed, Repair, Took, TxnId};
pub use losses::{Loss, Rule};
pub use operation::Operation;
pub use settled::Settled;
pub use window::{Spill, Touch, Window, WindowError, WindowSize};

#[cfg(test)]
mod model_tests;

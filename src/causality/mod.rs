//! Causality: who wrote what, in which order, and when nothing can conflict with it any more.
//!
//! Owns site names, their order inside one engine (the roster), dots, version vectors, the hybrid logical
//! clock and stability. Depends on nothing. Time enters as an argument, in Unix milliseconds.
//!
//! Invariants: a version vector never falls; a clock never returns the same timestamp twice; what is
//! stable is in the past of every operation still to come.

mod clock;
mod site;
mod stability;
mod vector;

pub use clock::{Clock, Hlc};
pub use site::{Roster, RosterError, SiteId, SiteIdError, SiteIx};
pub use stability::Stability;
pub use vector::{Dot, SEQ_MAX, Seq, Vector};

//! Joining: how a site invites another one, and how the other one comes in.
//!
//! Owns the invitation as one line ([`Invitation`]), the words of the conversation ([`Frame`]), and both sides of it
//! as state machines: [`Desk`] where the invitations were given out, [`Visit`] where one is used. Depends on
//! `causality` for site names. Pure: the time, the random secret and the certificates' fingerprints are arguments;
//! `node` holds the connection.
//!
//! ```text
//!   the new site                                the site that invites
//!   TLS, both sides with their certificates; the invitation tells the inviter's fingerprint
//!   Ask { invitation, who, proof }  ──────────▶ Desk::judge
//!   Visit::handle  ◀────────── Welcome { proof, others }, or Refused { why }
//!   keeps the inviter as a peer; Kept  ───────▶ keeps the new site as a peer
//!   over           ◀────────── Done
//! ```
//!
//! Invariants:
//! - The secret is never sent. Both sides prove that they know it, over what both say of themselves and over the
//!   fingerprints of both certificates of the very connection: a proof is of no use to anybody else.
//! - An invitation is good once, for a time, and for few wrong proofs.
//! - No secret is shown by `Debug` or an error, and none stays in memory that was given back.

mod desk;
mod frames;
mod line;
mod proof;
mod visit;

#[cfg(test)]
mod tests;

pub use desk::{Desk, DeskError, INVITATIONS_MAX, JoinRefused, Standing, WRONG_PROOFS_MAX};
pub use frames::{Ask, FRAME_BYTES_MAX, Frame, FrameError};
pub use line::{Fingerprint, Invitation, LineError, check_address};
pub use proof::{Bound, SECRET_BYTES, Secret};
pub use visit::{Step, Visit, VisitError};

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"syncer-join/1";

//! The new site's side of the conversation.

use super::frames::{Ask, Frame, Hex, Name};
use super::proof::{Bound, Prover, Secret};
use crate::causality::SiteId;

/// One attempt to come in.
#[derive(Debug)]
pub struct Visit {
    secret: Secret,
    bound: Bound,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Keeping,
    Over,
}

/// What the other side's word asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Keep the inviter as a peer, then say [`Frame::Kept`].
    Keep {
        /// The sites that have to be joined as well.
        others: Vec<SiteId>,
    },
    /// Both sides have kept each other.
    Joined,
}

/// Why a visit is over without success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VisitError {
    /// The inviter says no.
    #[error("site {site} refuses: {why}")]
    Refused {
        /// Who.
        site: SiteId,
        /// Why, without control characters.
        why: String,
    },
    /// The inviter does not know the secret.
    #[error("whoever answers does not know the invitation's secret; nothing was changed")]
    WrongProof,
    /// A word that does not belong there.
    #[error("the other side does not keep to the protocol; are both of the same version?")]
    Order,
}

impl Visit {
    /// A visit over a connection on which both certificates have been shown.
    pub fn new(secret: Secret, bound: Bound) -> Visit {
        Visit {
            secret,
            bound,
            state: State::Asked,
        }
    }

    /// The first word.
    pub fn ask(&self) -> Frame {
        Frame::Ask(Ask {
            invitation: Hex(self.secret.name()),
            database_id: self.bound.database_id.clone(),
            site: Name(self.bound.guest.0),
            address: self.bound.address.clone(),
            is_empty: self.bound.is_empty,
            is_agreed: self.bound.is_agreed,
            proof: Hex(self.secret.prove(Prover::Guest, &self.bound)),
        })
    }

    /// The other side's word.
    ///
    /// # Errors
    /// The visit is over.
    pub fn handle(&mut self, frame: Frame) -> Result<Step, VisitError> {
        match (self.state, frame) {
            (State::Asked, Frame::Welcome { proof, others }) => {
                if !self.secret.accepts(Prover::Inviter, &self.bound, &proof.0) {
                    return Err(VisitError::WrongProof);
                }
                self.state = State::Keeping;
                let others = others.into_iter().map(|name| name.0).collect();
                Ok(Step::Keep { others })
            }
            (State::Keeping, Frame::Done {}) => {
                self.state = State::Over;
                Ok(Step::Joined)
            }
            (State::Asked | State::Keeping, Frame::Refused { why }) => Err(VisitError::Refused {
                site: self.bound.inviter.0,
                why: why.chars().filter(|c| !c.is_control()).collect(),
            }),
            _ => Err(VisitError::Order),
        }
    }
}

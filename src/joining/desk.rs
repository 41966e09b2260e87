//! The inviter's side: the invitations that are open, and who may come in with one.

use super::Fingerprint;
use super::frames::{Ask, Frame, Hex, Name};
use super::line::check_address;
use super::proof::{Bound, Prover, Secret};
use crate::causality::{Roster, SiteId};

/// Most invitations that are open at a time.
pub const INVITATIONS_MAX: usize = 16;
/// After so many wrong proofs an invitation is withdrawn.
pub const WRONG_PROOFS_MAX: u8 = 3;

#[derive(Debug)]
struct Open {
    secret: Secret,
    until_unix_s: u64,
    wrong: u8,
}

/// Everything that was given out and not used yet.
#[derive(Debug, Default)]
pub struct Desk {
    open: Vec<Open>,
}

/// No more invitations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// Too many are open.
    #[error(
        "{INVITATIONS_MAX} invitations are open; withdraw them first: syncer admin cluster invitation withdraw"
    )]
    TooMany,
}

/// How the site that invites stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The shared database's id.
    pub database_id: String,
    /// This site and its certificate.
    pub me: (SiteId, Fingerprint),
    /// Its peers.
    pub peers: Vec<SiteId>,
    /// Of these, the one whose file the new site's certificate already stands in.
    pub known_as: Option<SiteId>,
    /// Whether the site that asks has taken part before, so that its name is worn.
    pub is_former: bool,
    /// Whether every log still has its first operation.
    pub has_whole_logs: bool,
    /// Whether this site's database is known to have been empty at its first start.
    pub began_empty: bool,
}

/// Why a site may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// No invitation of this name is open.
    #[error(
        "no such invitation is open: it was used, withdrawn or has expired, or this syncer was started again since"
    )]
    NoInvitation,
    /// The proof is wrong.
    #[error("the proof of the invitation's secret is wrong")]
    WrongProof,
    /// Another database.
    #[error("this is database {ours}, not {theirs}")]
    Database {
        /// This site's.
        ours: String,
        /// The new site's, as it said.
        theirs: String,
    },
    /// The name is taken.
    #[error("site {0} is a peer already; remove it first: syncer admin cluster peer remove {0}")]
    Known(SiteId),
    /// The name was another one's.
    #[error(
        "site {0} has taken part before, and its operations are in the logs; a new site needs a new name"
    )]
    Former(SiteId),
    /// The name is our own.
    #[error("site {0} is the site that invites; every site needs a name of its own")]
    Ourselves(SiteId),
    /// The certificate is another peer's.
    #[error("its certificate is that of peer {0}; every site needs one of its own")]
    Certificate(SiteId),
    /// No room.
    #[error("{max} sites share the database already", max = Roster::SITES_MAX)]
    TooMany,
    /// No address.
    #[error("its address cannot be used: {0}")]
    Address(&'static str),
    /// The new site would not get everything.
    #[error(
        "the logs here do not reach back to the first operation any more, so a new site would not get everything, and \
         snapshots are not transferred; start the set anew with the new site among the others (docs/runbook.md)"
    )]
    Trimmed,
    /// The new site holds what nobody knows of.
    #[error(
        "the new site's database is not empty, and the other sites began with empty ones; empty it, or start the set anew \
         with the data you want (docs/runbook.md)"
    )]
    NotEmpty,
    /// The new site lacks what the others began with.
    #[error(
        "the database here may have held data before its syncer ran first, which no log has; fill the new site's with the \
         same data (if there were none, leave it empty), and join with --agreed"
    )]
    NotAgreed,
}

impl JoinRefused {
    /// A fixed word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            JoinRefused::NoInvitation => "join_no_invitation",
            JoinRefused::WrongProof => "join_wrong_proof",
            _ => "join_refused",
        }
    }
}

impl Desk {
    /// Gives out an invitation.
    ///
    /// # Errors
    /// Too many are open.
    pub fn open(&mut self, secret: Secret, until_unix_s: u64, now_unix_s: u64) -> Result<(), DeskError> {
        self.expire(now_unix_s);
        if self.open.len() >= INVITATIONS_MAX {
            return Err(DeskError::TooMany);
        }
        self.open.push(Open {
            secret,
            until_unix_s,
            wrong: 0,
        });
        Ok(())
    }

    /// Whether anybody may come in at all.
    pub fn is_open(&mut self, now_unix_s: u64) -> bool {
        self.expire(now_unix_s);
        !self.open.is_empty()
    }

    /// Takes all back; how many there were.
    pub fn withdraw(&mut self) -> usize {
        std::mem::take(&mut self.open).len()
    }

    fn expire(&mut self, now_unix_s: u64) {
        self.open.retain(|open| now_unix_s < open.until_unix_s);
    }

    /// Judges who asks, over a connection on which it has shown this certificate. With the answer the invitation is
    /// used up; with a refusal it is not, unless the proof was wrong too often.
    ///
    /// # Errors
    /// Why it may not come in.
    pub fn judge(
        &mut self,
        ask: &Ask,
        guest: Fingerprint,
        standing: &Standing,
        now_unix_s: u64,
    ) -> Result<Frame, JoinRefused> {
        self.expire(now_unix_s);
        let named = |open: &Open| open.secret.name() == ask.invitation.0;
        let at = self
            .open
            .iter()
            .position(named)
            .ok_or(JoinRefused::NoInvitation)?;
        let open = self.open.get_mut(at).ok_or(JoinRefused::NoInvitation)?;
        let bound = Bound {
            database_id: ask.database_id.clone(),
            inviter: standing.me,
            guest: (ask.site.0, guest),
            address: ask.address.clone(),
            is_empty: ask.is_empty,
            is_agreed: ask.is_agreed,
        };
        if !open.secret.accepts(Prover::Guest, &bound, &ask.proof.0) {
            open.wrong += 1;
            if open.wrong >= WRONG_PROOFS_MAX {
                self.open.remove(at);
            }
            return Err(JoinRefused::WrongProof);
        }
        admit(&bound, standing)?;
        let proof = self.open.remove(at).secret.prove(Prover::Inviter, &bound);
        Ok(Frame::Welcome {
            proof: Hex(proof),
            others: standing.peers.iter().map(|site| Name(*site)).collect(),
        })
    }
}

fn admit(bound: &Bound, standing: &Standing) -> Result<(), JoinRefused> {
    let site = bound.guest.0;
    if bound.database_id != standing.database_id {
        return Err(JoinRefused::Database {
            ours: standing.database_id.clone(),
            theirs: bound.database_id.clone(),
        });
    }
    if site == standing.me.0 || bound.guest.1 == standing.me.1 {
        return Err(JoinRefused::Ourselves(site));
    }
    if standing.peers.contains(&site) {
        return Err(JoinRefused::Known(site));
    }
    if standing.is_former {
        return Err(JoinRefused::Former(site));
    }
    if let Some(peer) = standing.known_as {
        return Err(JoinRefused::Certificate(peer));
    }
    if standing.peers.len() + 2 > Roster::SITES_MAX {
        return Err(JoinRefused::TooMany);
    }
    check_address(&bound.address).map_err(JoinRefused::Address)?;
    if !standing.has_whole_logs {
        return Err(JoinRefused::Trimmed);
    }
    match (standing.began_empty, bound.is_empty, bound.is_agreed) {
        (true, false, _) => Err(JoinRefused::NotEmpty),
        (false, _, false) => Err(JoinRefused::NotAgreed),
        _ => Ok(()),
    }
}

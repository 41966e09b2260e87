//! The secret of an invitation, and what is proven with it.

use super::Fingerprint;
use crate::causality::SiteId;
use aws_lc_rs::hmac;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a secret: nobody guesses 128 bits.
pub const SECRET_BYTES: usize = 16;
/// Bytes of an invitation's name.
pub(super) const NAME_BYTES: usize = 8;
/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;

/// What only the two sites know. Wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything that a proof holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The shared database's id.
    pub database_id: String,
    /// Who invites, with the fingerprint of its certificate.
    pub inviter: (SiteId, Fingerprint),
    /// Who comes, likewise.
    pub guest: (SiteId, Fingerprint),
    /// Where the other sites reach the one that comes.
    pub address: String,
    /// Whether its database is empty.
    pub is_empty: bool,
    /// Whether its administrator says that its database holds what the others began with.
    pub is_agreed: bool,
}

/// Whose proof it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prover {
    Inviter,
    Guest,
}

impl Secret {
    /// Takes random bytes.
    pub fn new(bytes: Zeroizing<[u8; SECRET_BYTES]>) -> Secret {
        Secret(bytes)
    }

    /// For the invitation's line. Never hand it to a log or an error.
    pub(super) fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0[..])
    }

    /// What the invitation is called without telling the secret.
    pub(super) fn name(&self) -> [u8; NAME_BYTES] {
        let tag = hmac::sign(&self.key(), b"syncer-join/1 name");
        let mut name = [0; NAME_BYTES];
        name.iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        name
    }

    /// Proves that its holder says so.
    pub(super) fn prove(&self, prover: Prover, bound: &Bound) -> [u8; PROOF_BYTES] {
        let tag = hmac::sign(&self.key(), &message(prover, bound));
        let mut proof = [0; PROOF_BYTES];
        proof
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        proof
    }

    /// Whether a proof is right. Takes the same time for every wrong one.
    pub(super) fn accepts(&self, prover: Prover, bound: &Bound, proof: &[u8]) -> bool {
        hmac::verify(&self.key(), &message(prover, bound), proof).is_ok()
    }
}

/// What is signed: every part with its length, so that none can be taken for another's end.
fn message(prover: Prover, bound: &Bound) -> Vec<u8> {
    let who: &[u8] = match prover {
        Prover::Inviter => b"inviter",
        Prover::Guest => b"guest",
    };
    let flags = [u8::from(bound.is_empty), u8::from(bound.is_agreed)];
    let parts = [
        &b"syncer-join/1"[..],
        who,
        bound.database_id.as_bytes(),
        bound.inviter.0.as_bytes(),
        bound.inviter.1.as_bytes(),
        bound.guest.0.as_bytes(),
        bound.guest.1.as_bytes(),
        bound.address.as_bytes(),
        &flags,
    ];
    let mut message = Vec::new();
    for part in parts {
        message.extend((part.len() as u64).to_le_bytes());
        message.extend(part);
    }
    message
}

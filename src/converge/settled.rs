//! How far this site's database is not only informed but repaired.
//!
//! A site may have observed concurrent operations while the repair of the key is still on its way. A client's
//! write in between works on a value that the rules do not prescribe, so until the repair has come back the
//! site must not let the others forget those operations: what it announces for stability is this point, not
//! what it has observed.

use std::collections::VecDeque;

use super::key::TxnId;
use super::mutation::{Mutation, off};
use crate::causality::Vector;

/// Repairs on their way, each with what had been observed before its cause.
#[derive(Debug, Default)]
pub struct Settled {
    outstanding: VecDeque<(TxnId, Vector)>,
}

impl Settled {
    /// A repair goes out in this transaction; `before` is what had been observed before the event that
    /// called for it.
    pub fn hold(&mut self, txn: TxnId, before: &Vector) {
        if off(Mutation::SettledHold) {
            return;
        }
        self.hold_open(txn, before);
    }

    /// Something is not repaired, and no transaction will until somebody else has done something.
    pub fn hold_open(&mut self, what: TxnId, before: &Vector) {
        if self.outstanding.iter().all(|(held, _)| *held != what) {
            self.outstanding.push_back((what, before.clone()));
        }
    }

    /// The transaction has come back, or will never be executed; what was held for it.
    pub fn release(&mut self, txn: TxnId) -> Option<Vector> {
        let at = self.outstanding.iter().position(|(held, _)| *held == txn)?;
        self.outstanding.remove(at).map(|(_, before)| before)
    }

    /// What may be announced, given what has been observed.
    pub fn point(&self, observed: &Vector) -> Vector {
        let mut point = observed.clone();
        for (_, before) in &self.outstanding {
            point.meet(before);
        }
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::SiteIx;

    fn vector(seq: u64) -> Vector {
        let mut vector = Vector::zero(1);
        vector.advance(SiteIx(0), seq);
        vector
    }

    #[test]
    fn what_is_held_twice_is_released_once() {
        let mut settled = Settled::default();
        settled.hold(1, &vector(3));
        settled.hold_open(2, &vector(4));
        settled.hold(1, &vector(5));
        assert_eq!(settled.point(&vector(9)), vector(3));
        assert_eq!(settled.release(1), Some(vector(3)));
        assert_eq!(settled.release(2), Some(vector(4)));
        assert_eq!(settled.point(&vector(9)), vector(9));
    }
}

//! A key of a database that came back older than it was: what it holds is worth nothing, and another site's value takes its
//! place.
//!
//! Whatever the value has not seen is among the key's operations and is replayed on it; what clients have done to the key
//! since is an operation like any other. Nothing is submitted for it before the value is there, and then it begins anew.
//!
//! Invariant: a key is whole again when what it begins anew with has come back.

use super::held::{Restart, Step};
use super::{KeyState, Repair, TxnId};
use crate::causality::SiteIx;
use crate::command::effect::Effect;
use crate::converge::operation::Operation;
use crate::converge::render::render;
use crate::converge::replay::Root;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Healing {
    /// This site is asked for the value.
    Asks(SiteIx),
    /// The value is there.
    Told,
}

impl KeyState {
    /// What the database holds of it is older than it was; this site is asked for its value.
    pub fn heal(&mut self, by: SiteIx) {
        self.lose_actual();
        self.healing = Some(Healing::Asks(by));
    }

    /// Whether it is not whole again.
    pub fn is_healing(&self) -> bool {
        self.healing.is_some()
    }

    /// The site that is asked for its value.
    pub fn heals_by(&self) -> Option<SiteIx> {
        match self.healing {
            Some(Healing::Asks(site)) => Some(site),
            _ => None,
        }
    }

    /// Another site is asked; true if it was not.
    pub fn heal_by(&mut self, site: SiteIx) -> bool {
        let is_other = self.heals_by().is_some_and(|asked| asked != site);
        if is_other {
            self.healing = Some(Healing::Asks(site));
        }
        is_other
    }

    /// It waits no more: what the database holds has to do.
    pub fn end_healing(&mut self) {
        self.healing = None;
    }

    /// What another site sends from here on has seen everything that is not among the operations: as a value, or as the
    /// word that there is none, it says all of the rest.
    pub(super) fn heal_with(&mut self, op: &Operation) {
        let is_whole = matches!(op.effect, Effect::Restore { .. } | Effect::Del);
        if is_whole && self.heals_by().is_some() {
            self.healing = Some(Healing::Told);
        }
    }

    /// It begins anew, with nothing, in the transaction that brings the value.
    pub(super) fn begin_healed(&mut self, txn: TxnId) -> Option<Repair> {
        if self.healing != Some(Healing::Told) {
            return None;
        }
        let restart = Restart {
            root: Root::Empty,
            steps: 1,
            done: Vec::new(),
        };
        let command = render(&self.key, &Effect::Del);
        let steps = vec![Step::repair(Effect::Del)];
        Some(self.submit(txn, Some(restart), vec![command], steps))
    }

    /// The transaction has come back.
    pub(super) fn healed_in(&mut self, txn: TxnId) {
        if self.healing == Some(Healing::Told) && self.held.restarts_in() == Some(txn) {
            self.healing = None;
        }
    }
}

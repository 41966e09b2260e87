//! Who stands in the door: connections to the link port that have not completed their greeting.
//!
//! Invariant: at most [`TOTAL_MAX`] at a time, and [`PER_ADDRESS_MAX`] of one address. Each has a bounded time, and
//! keeps a few ten kilobytes at most, so strangers cost a bounded amount of memory. Links that are up are not counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Most of all.
pub(super) const TOTAL_MAX: usize = 128;
/// Most from one address. Peers may share one.
pub(super) const PER_ADDRESS_MAX: usize = 24;
/// A reason is logged at most so often.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// The door.
#[derive(Debug, Default)]
pub(super) struct Doorway {
    inside: RefCell<BTreeMap<IpAddr, usize>>,
    reasons: RefCell<BTreeMap<&'static str, Reason>>,
}

/// One reason to refuse.
#[derive(Debug, Default)]
struct Reason {
    count: u64,
    logged: Option<Instant>,
    /// What was not logged since.
    silent: u64,
}

/// Somebody in the door, until dropped.
#[derive(Debug)]
pub(super) struct Guest {
    doorway: Rc<Doorway>,
    address: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.doorway.inside.borrow_mut();
        if let Some(count) = inside.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.address);
            }
        }
    }
}

impl Doorway {
    /// Lets somebody in, if there is room.
    pub fn enter(self: &Rc<Self>, address: IpAddr) -> Option<Guest> {
        let mut inside = self.inside.borrow_mut();
        let total: usize = inside.values().sum();
        let count = inside.get(&address).copied().unwrap_or(0);
        if total >= TOTAL_MAX || count >= PER_ADDRESS_MAX {
            return None;
        }
        inside.insert(address, count + 1);
        Some(Guest {
            doorway: Rc::clone(self),
            address,
        })
    }

    /// How many are in.
    pub fn guests(&self) -> u64 {
        self.inside.borrow().values().sum::<usize>() as u64
    }

    /// Counts a refusal that is logged elsewhere.
    pub fn count(&self, reason: &'static str) {
        self.reasons.borrow_mut().entry(reason).or_default().count += 1;
    }

    /// Counts a refusal, and logs it unless its reason has just been logged.
    pub fn refuse(&self, reason: &'static str, who: &str, why: &str) {
        let mut reasons = self.reasons.borrow_mut();
        let known = reasons.entry(reason).or_default();
        known.count += 1;
        if known.logged.is_some_and(|at| at.elapsed() < LOG_PAUSE) {
            known.silent += 1;
            return;
        }
        let more = std::mem::take(&mut known.silent);
        known.logged = Some(Instant::now());
        tracing::warn!(from = %who, reason, error = %why, more, "a connection to the link port was refused");
    }

    /// Refusals since start, by reason.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let reasons = self.reasons.borrow();
        let named = reasons
            .iter()
            .map(|(name, reason)| ((*name).to_owned(), reason.count));
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn neither_one_address_nor_all_together_fill_the_door() {
        let doorway = Rc::new(Doorway::default());
        let address = |last: usize| IpAddr::from([10, 0, 0, last as u8]);
        let mut guests: Vec<Guest> = (0..PER_ADDRESS_MAX)
            .map(|_| doorway.enter(address(0)).unwrap())
            .collect();
        assert!(doorway.enter(address(0)).is_none());
        for other in 1.. {
            let Some(guest) = doorway.enter(address(other)) else {
                break;
            };
            guests.push(guest);
        }
        assert_eq!((guests.len(), doorway.guests()), (TOTAL_MAX, TOTAL_MAX as u64));
        guests.remove(0);
        assert!(doorway.enter(address(0)).is_some(), "who leaves makes room");
        guests.clear();
        assert_eq!(doorway.guests(), 0);
        assert!(
            doorway.inside.borrow().is_empty(),
            "nothing is kept of who is gone"
        );
    }
}

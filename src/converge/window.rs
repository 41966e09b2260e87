//! The window's index: which unstable operations touch a key.
//!
//! Open addressing on 64-bit fingerprints of (db, key); a slot points at the newest operation of its key in a
//! ring of unstable operations, and each of those at the one before it. Operations leave at the front of the
//! ring when they are stable; a slot that points behind the front is dead and swept when the table is full, so
//! that leaving costs no look-up.
//!
//! Invariant: while a slot is `ordered`, its newest operation has all the others in its past, so one
//! comparison decides whether an operation is concurrent with any of them.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::causality::{Dot, SiteIx, Vector};
use crate::command::EffectClass;

/// What the index says of an operation that was just entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Nothing in the window conflicts with it.
    Fast,
    /// Something in the window is concurrent with it; the key has to be materialised.
    Conflict,
    /// The key is in conflict already.
    InConflict,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    fingerprint: u64,
    /// Ring number of the newest operation.
    newest: u64,
    classes: u32,
    ordered: bool,
    in_conflict: bool,
}

#[derive(Debug, Clone, Copy)]
struct Unstable {
    /// Site in the upper 8 bits, sequence number below.
    dot: u64,
    /// Ring number of the operation before it on the same key plus one; 0 for none.
    before: u64,
}

const SEQ_BITS: u32 = 56;

impl Unstable {
    fn dot(self) -> Dot {
        Dot {
            site: SiteIx((self.dot >> SEQ_BITS) as u8),
            seq: self.dot & ((1 << SEQ_BITS) - 1),
        }
    }
}

/// The index.
#[derive(Debug, Default)]
pub struct Window {
    table: HashTable<Slot>,
    ring: VecDeque<Unstable>,
    /// Ring number of the ring's front.
    front: u64,
}

impl Window {
    /// Unstable operations held, one per key that they touch.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing is unstable.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Enters an operation on a key and says whether it conflicts. When it does, it is not entered: the caller
    /// materialises the key and keeps its operations from then on.
    #[inline]
    pub fn touch(&mut self, fingerprint: u64, dot: Dot, class: EffectClass, past: &Vector) -> Touch {
        let number = self.front + self.ring.len() as u64;
        let front = self.front;
        let bit = class.bit();
        let Some(slot) = self
            .table
            .find_mut(fingerprint, |slot| slot.fingerprint == fingerprint)
        else {
            self.add_slot(fingerprint, number, bit);
            self.push(dot, 0);
            return Touch::Fast;
        };
        if slot.in_conflict {
            return Touch::InConflict;
        }
        if slot.newest < front {
            *slot = Slot {
                fingerprint,
                newest: number,
                classes: bit,
                ordered: true,
                in_conflict: false,
            };
            self.push(dot, 0);
            return Touch::Fast;
        }
        let newest = self.ring[(slot.newest - front) as usize];
        let saw_newest = past.includes(newest.dot());
        let saw_all = saw_newest && (slot.ordered || saw_chain(&self.ring, front, newest, past));
        if !(saw_all || slot.classes == bit && class.commutes(class)) {
            return Touch::Conflict;
        }
        let before = slot.newest + 1;
        slot.newest = number;
        slot.classes |= bit;
        slot.ordered = saw_all;
        self.push(dot, before);
        Touch::Fast
    }

    /// Whether [`Window::touch`] would find a conflict.
    pub fn would_conflict(&self, fingerprint: u64, class: EffectClass, past: &Vector) -> bool {
        let Some(slot) = self
            .table
            .find(fingerprint, |slot| slot.fingerprint == fingerprint)
        else {
            return false;
        };
        if slot.in_conflict || slot.newest < self.front {
            return slot.in_conflict;
        }
        let newest = self.ring[(slot.newest - self.front) as usize];
        let commutes = slot.classes == class.bit() && class.commutes(class);
        !commutes && !saw_chain(&self.ring, self.front, newest, past)
    }

    fn push(&mut self, dot: Dot, before: u64) {
        self.ring.push_back(Unstable {
            dot: (u64::from(dot.site.0) << SEQ_BITS) | dot.seq,
            before,
        });
    }

    fn add_slot(&mut self, fingerprint: u64, newest: u64, classes: u32) {
        if self.table.len() == self.table.capacity() {
            self.sweep();
        }
        let slot = Slot {
            fingerprint,
            newest,
            classes,
            ordered: true,
            in_conflict: false,
        };
        self.table
            .insert_unique(fingerprint, slot, |slot| slot.fingerprint);
    }

    /// Removes dead slots; if few were dead the table grows at the next insertion.
    fn sweep(&mut self) {
        let front = self.front;
        self.table.retain(|slot| slot.in_conflict || slot.newest >= front);
    }

    /// The unstable operations on a key, oldest first; the key counts as in conflict from now on.
    pub fn take(&mut self, fingerprint: u64) -> Vec<Dot> {
        let mut dots = Vec::new();
        let front = self.front;
        match self
            .table
            .find_mut(fingerprint, |slot| slot.fingerprint == fingerprint)
        {
            None => {
                let number = self.front + self.ring.len() as u64;
                self.add_slot(fingerprint, number, 0);
                if let Some(slot) = self
                    .table
                    .find_mut(fingerprint, |slot| slot.fingerprint == fingerprint)
                {
                    slot.in_conflict = true;
                }
            }
            Some(slot) => {
                slot.in_conflict = true;
                let mut next = slot.newest + 1;
                while next > front {
                    let Some(op) = self.ring.get((next - 1 - front) as usize) else {
                        break;
                    };
                    dots.push(op.dot());
                    next = op.before;
                }
            }
        }
        dots.reverse();
        dots
    }

    /// The key is no longer in conflict.
    pub fn release(&mut self, fingerprint: u64) {
        if let Ok(slot) = self
            .table
            .find_entry(fingerprint, |slot| slot.fingerprint == fingerprint)
        {
            slot.remove();
        }
    }

    /// Lets everything go that is stable at the front; gives how many operations left.
    pub fn trim(&mut self, stable: &Vector) -> usize {
        let before = self.ring.len();
        while self.ring.front().is_some_and(|op| stable.includes(op.dot())) {
            self.ring.pop_front();
            self.front += 1;
        }
        if self.ring.is_empty() && self.ring.capacity() > RING_IDLE_MAX {
            self.ring.shrink_to(RING_IDLE_MAX);
        }
        before - self.ring.len()
    }

    /// The fingerprints of all keys that have an operation which this past does not include.
    pub fn keys_concurrent_with(&self, past: &Vector) -> Vec<u64> {
        let live = self
            .table
            .iter()
            .filter(|slot| !slot.in_conflict && slot.newest >= self.front);
        let mut keys: Vec<u64> = live
            .filter(|slot| {
                let newest = self.ring[(slot.newest - self.front) as usize];
                !saw_chain(&self.ring, self.front, newest, past)
            })
            .map(|slot| slot.fingerprint)
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// Ring slots kept when nothing is unstable.
const RING_IDLE_MAX: usize = 1 << 16;

fn saw_chain(ring: &VecDeque<Unstable>, front: u64, newest: Unstable, past: &Vector) -> bool {
    let mut op = newest;
    loop {
        if !past.includes(op.dot()) {
            return false;
        }
        if op.before <= front {
            return true;
        }
        op = ring[(op.before - 1 - front) as usize];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: SiteIx = SiteIx(0);
    const B: SiteIx = SiteIx(1);

    fn dot(site: SiteIx, seq: u64) -> Dot {
        Dot { site, seq }
    }

    fn past(a: u64, b: u64) -> Vector {
        let mut past = Vector::zero(2);
        past.advance(A, a);
        past.advance(B, b);
        past
    }

    #[test]
    fn a_chain_is_fast_and_a_fork_is_not() {
        let mut window = Window::default();
        assert_eq!(
            window.touch(9, dot(A, 1), EffectClass::Set, &past(0, 0)),
            Touch::Fast
        );
        assert_eq!(
            window.touch(9, dot(B, 1), EffectClass::Set, &past(1, 0)),
            Touch::Fast
        );
        assert_eq!(
            window.touch(9, dot(A, 2), EffectClass::Set, &past(1, 0)),
            Touch::Conflict
        );
        assert_eq!(window.take(9), [dot(A, 1), dot(B, 1)]);
        assert_eq!(
            window.touch(9, dot(A, 2), EffectClass::Set, &past(1, 0)),
            Touch::InConflict
        );
        window.release(9);
        assert_eq!(
            window.touch(9, dot(A, 3), EffectClass::Set, &past(2, 1)),
            Touch::Fast
        );
    }

    #[test]
    fn what_commutes_needs_no_order_until_something_else_comes() {
        let mut window = Window::default();
        for seq in 1..=3 {
            assert_eq!(
                window.touch(9, dot(A, seq), EffectClass::Count, &past(seq - 1, 0)),
                Touch::Fast
            );
            assert_eq!(
                window.touch(9, dot(B, seq), EffectClass::Count, &past(0, seq - 1)),
                Touch::Fast
            );
        }
        // Saw the newest of B only: the chain is not ordered, so all of it is compared.
        assert_eq!(
            window.touch(9, dot(B, 4), EffectClass::Set, &past(0, 3)),
            Touch::Conflict
        );
        assert_eq!(
            window.touch(9, dot(B, 4), EffectClass::Set, &past(3, 3)),
            Touch::Fast
        );
        assert_eq!(
            window.touch(9, dot(B, 5), EffectClass::Set, &past(0, 4)),
            Touch::Fast
        );
    }

    #[test]
    fn what_is_stable_leaves_and_its_slots_die() {
        let mut window = Window::default();
        for seq in 1..=100 {
            window.touch(seq, dot(A, seq), EffectClass::Set, &past(seq - 1, 0));
        }
        assert_eq!(window.trim(&past(99, 0)), 99);
        assert_eq!(window.len(), 1);
        assert_eq!(
            window.touch(5, dot(B, 1), EffectClass::Set, &past(0, 0)),
            Touch::Fast
        );
        assert_eq!(window.take(5), [dot(B, 1)]);
        assert_eq!(window.keys_concurrent_with(&past(0, 1)), [100]);
    }
}

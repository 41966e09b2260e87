//! Echo: how our own writes are marked, and how they look when they come back.
//!
//! Owns the marker: the key under which, and the value with which, every transaction of a syncer begins; and the chain
//! that keeps transactions in their order. Depends on causality and resp. A marker is stored atomically with the data,
//! so whatever dies, the database itself tells what has been applied.
//!
//! Invariant: a unit of the stream that begins with a marker is never a local write.

mod chain;

pub use chain::{CHAIN_KEY, Chain, Link, Place};

use crate::causality::{Hlc, Seq, SiteId};

/// Every key that begins so belongs to the syncer and is not data.
pub const KEY_PREFIX: &[u8] = b"{syncer}:";

/// The marker key of an origin.
pub fn key_of(origin: SiteId) -> Vec<u8> {
    [KEY_PREFIX, origin.as_bytes()].concat()
}

/// The key under which a site keeps how many of its own operations it has captured. Written in a marked
/// transaction of its own, so the stream and every snapshot tell whether what was captured is still there.
pub fn captured_key_of(site: SiteId) -> Vec<u8> {
    [KEY_PREFIX, site.as_bytes(), b":captured"].concat()
}

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose operations the transaction carries; the syncer's own site when it only repairs.
    pub origin: SiteId,
    /// The last of them; 0 when it only repairs.
    pub seq: Seq,
    /// Timestamp of that operation.
    pub time: Hlc,
    /// Which run of which syncer wrote it.
    pub writer: u64,
    /// Number of the transaction in that run.
    pub txn: u64,
}

impl Marker {
    /// The marker's value, decimal numbers separated by spaces.
    pub fn value(&self) -> String {
        format!("{} {} {} {}", self.seq, self.time.0, self.writer, self.txn)
    }

    /// Reads a marker from its key and value; `None` if it is not one.
    pub fn parse(key: &[u8], value: &[u8]) -> Option<Marker> {
        let origin = SiteId::new(key.strip_prefix(KEY_PREFIX)?).ok()?;
        let mut numbers = std::str::from_utf8(value).ok()?.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Marker {
            origin,
            seq: next()?,
            time: Hlc(next()?),
            writer: next()?,
            txn: next()?,
        })
    }
}

/// Whether a key belongs to the syncer.
#[inline]
pub fn is_ours(key: &[u8]) -> bool {
    key.starts_with(KEY_PREFIX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_marker_comes_back_as_it_went() {
        let origin = SiteId::new(b"eu-1").unwrap();
        let marker = Marker {
            origin,
            seq: 7,
            time: Hlc(9),
            writer: u64::MAX,
            txn: 3,
        };
        assert_eq!(
            Marker::parse(&key_of(origin), marker.value().as_bytes()),
            Some(marker)
        );
        assert_eq!(Marker::parse(b"{syncer}:eu-1", b"7 9 x 3"), None);
        assert_eq!(Marker::parse(b"{syncer}:", b"7 9 1 3"), None);
        assert_eq!(Marker::parse(b"other", b"7 9 1 3"), None);
    }
}

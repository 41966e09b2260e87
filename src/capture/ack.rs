//! What we acknowledge, and when.
//!
//! Every interval the link says `durable - 1`, idle or not. A replica that is one byte short is alive, but
//! never the one that a `FAILOVER` without a target chooses: that would make the database a replica of this
//! process. The true offset is said only when the database asks (`REPLCONF GETACK`: WAIT, SHUTDOWN): at
//! once, and again when the GETACK itself is durable, because SHUTDOWN waits for just that byte.

use crate::resp::encode::{Decimal, command};

/// What the sink has and what the database asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to this offset is safe with us.
    pub durable: u64,
    /// Offset of the last byte of the newest GETACK seen on this link, if there was one.
    pub getack: Option<u64>,
}

/// Decides the offset of each acknowledgement. One per link.
#[derive(Debug, Clone, Default)]
pub struct AckPolicy {
    /// The newest GETACK that got its first answer.
    heard: Option<u64>,
    /// True while that answer did not yet cover it.
    owed: bool,
}

impl AckPolicy {
    /// The periodic acknowledgement.
    pub fn on_interval(&self, progress: Progress) -> u64 {
        progress.durable.saturating_sub(1)
    }

    /// The acknowledgement due after the sink moved, if one is.
    pub fn on_progress(&mut self, progress: Progress) -> Option<u64> {
        let asked = progress.getack?;
        if self.heard.is_none_or(|heard| heard < asked) {
            self.heard = Some(asked);
            self.owed = progress.durable < asked;
            return Some(progress.durable);
        }
        if self.owed && progress.durable >= asked {
            self.owed = false;
            return Some(progress.durable);
        }
        None
    }
}

/// Appends `REPLCONF ACK offset`. The database never answers it.
pub fn replconf_ack(out: &mut Vec<u8>, offset: u64) {
    command(out, &[b"REPLCONF", b"ACK", Decimal::new(offset).as_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(durable: u64, getack: Option<u64>) -> Progress {
        Progress { durable, getack }
    }

    #[test]
    fn the_interval_stays_one_short() {
        let policy = AckPolicy::default();
        assert_eq!(policy.on_interval(at(100, None)), 99);
        assert_eq!(policy.on_interval(at(0, None)), 0);
    }

    #[test]
    fn a_getack_is_answered_at_once_and_when_it_is_durable() {
        let mut policy = AckPolicy::default();
        assert_eq!(policy.on_progress(at(100, None)), None);
        assert_eq!(policy.on_progress(at(100, Some(137))), Some(100));
        assert_eq!(policy.on_progress(at(120, Some(137))), None);
        assert_eq!(policy.on_progress(at(150, Some(137))), Some(150));
        assert_eq!(policy.on_progress(at(160, Some(137))), None);
        assert_eq!(policy.on_progress(at(200, Some(200))), Some(200));
        assert_eq!(policy.on_progress(at(300, Some(200))), None);
    }

    #[test]
    fn an_ack_is_a_command() {
        let mut out = Vec::new();
        replconf_ack(&mut out, 1234);
        assert_eq!(out, b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$4\r\n1234\r\n");
    }
}

//! The chain: what keeps a pipelined transaction from being executed when the one sent before it was refused.
//!
//! A database may refuse one transaction (out of memory, for instance) and be able to take the next an instant later.
//! The next was meant to follow, and its marker would claim what was never executed. So every transaction moves its
//! own member of a sorted set, and what stands in front of the next one removes the member that was not moved:
//!
//! ```text
//! MULTI; ZADD chain <n + 256> <n % 256>; ...; EXEC
//! WATCH chain; ZREMRANGEBYSCORE chain <n> <n>; ZADD chain <n + 256> <n % 256>     change nothing if n was executed
//! MULTI; ZADD chain <n + 257> <(n + 1) % 256>; ...; EXEC      answered with nothing if they did
//! ```
//!
//! The removal is no command that needs memory, so it works where a transaction is refused for want of it. The second
//! command tells a chain that somebody took away with all the data. As the next member is not moved either, all that
//! follow are stopped, too, until the chain begins anew. Both commands can be refused themselves: where the database has
//! just lost all data and refuses to write, and takes the next command. Then one is passed over, which the order of the
//! echoes shows (`flow/passed_over.rs`).

use bytes::BytesMut;

use crate::resp::encode;

/// Transactions that may be on their way at once.
const LINKS: u64 = 256;

/// Where a transaction stands on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Counts the transactions of a connection, from 1.
    pub number: u64,
    /// What stands before it.
    pub place: Place,
}

/// What stands before a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It begins the chain anew; nothing follows it before it is answered.
    First,
    /// Everything before it has been answered.
    Alone,
    /// The one before it has no answer yet.
    Behind,
}

/// The transactions of one connection.
#[derive(Debug, Default)]
pub struct Chain {
    number: u64,
    begun: bool,
}

impl Chain {
    /// The next transaction's link, while so many have no answer yet.
    pub fn link(&mut self, unanswered: usize) -> Link {
        let place = match unanswered {
            _ if !self.begun => Place::First,
            0 => Place::Alone,
            _ => Place::Behind,
        };
        self.begun = true;
        self.number += 1;
        Link {
            number: self.number,
            place,
        }
    }

    /// Whether another transaction may be sent, while so many have no answer yet.
    pub fn has_room(unanswered: usize) -> bool {
        (unanswered as u64) < LINKS
    }

    /// The next transaction begins it anew.
    pub fn begin_anew(&mut self) {
        self.begun = false;
    }
}

/// The key of the chain. No site has an empty name, so it is no marker.
pub const CHAIN_KEY: &[u8] = b"{syncer}::chain";

impl Link {
    /// Commands before MULTI.
    pub fn before(&self) -> usize {
        match self.place {
            Place::First | Place::Alone => 0,
            Place::Behind => 3,
        }
    }

    /// Writes what stands before MULTI.
    pub fn encode_before(&self, out: &mut BytesMut) {
        if self.place == Place::Behind {
            let last = self.number - 1;
            let score = encode::Decimal::new(last);
            encode::command(out, &[b"WATCH", CHAIN_KEY]);
            encode::command(
                out,
                &[b"ZREMRANGEBYSCORE", CHAIN_KEY, score.as_bytes(), score.as_bytes()],
            );
            encode_members(out, last, last);
        }
    }

    /// Writes the one command that stands behind MULTI, in database 0.
    pub fn encode_within(&self, out: &mut BytesMut) {
        match self.place {
            Place::First => self.encode_anew(out),
            Place::Alone | Place::Behind => encode_members(out, self.number, self.number),
        }
    }

    /// Writes the one command that sets all of the chain as it is behind this transaction.
    pub fn encode_anew(&self, out: &mut BytesMut) {
        encode_members(out, self.number, self.number + LINKS - 1);
    }
}

/// The members of these transactions: the first of them was executed, the others are to come.
fn encode_members(out: &mut BytesMut, executed: u64, last: u64) {
    let member = |number: u64| {
        let score = if number == executed {
            number + LINKS
        } else {
            number
        };
        [score, number % LINKS].map(encode::Decimal::new)
    };
    if executed == last {
        let [score, name] = member(last);
        return encode::command(out, &[b"ZADD", CHAIN_KEY, score.as_bytes(), name.as_bytes()]);
    }
    let members: Vec<[encode::Decimal; 2]> = (executed..=last).map(member).collect();
    let mut args: Vec<&[u8]> = vec![b"ZADD", CHAIN_KEY];
    args.extend(members.iter().flatten().map(|number| number.as_bytes()));
    encode::command(out, &args);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::echo::KEY_PREFIX;

    fn text(number: u64, place: Place) -> (String, String) {
        let link = Link { number, place };
        let (mut before, mut within) = (BytesMut::new(), BytesMut::new());
        link.encode_before(&mut before);
        link.encode_within(&mut within);
        let words = |bytes: &BytesMut| {
            let text = std::str::from_utf8(bytes).unwrap();
            let words = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(before.iter().filter(|byte| **byte == b'*').count(), link.before());
        assert_eq!(within.iter().filter(|byte| **byte == b'*').count(), 1);
        (words(&before), words(&within))
    }

    #[test]
    fn the_key_is_ours() {
        assert!(CHAIN_KEY.starts_with(KEY_PREFIX));
    }

    #[test]
    fn each_moves_its_member_and_looks_at_the_one_before() {
        let (before, within) = text(258, Place::Behind);
        assert_eq!(
            before,
            "WATCH {syncer}::chain ZREMRANGEBYSCORE {syncer}::chain 257 257 ZADD {syncer}::chain 513 1 "
        );
        assert_eq!(within, "ZADD {syncer}::chain 514 2 ");
        assert_eq!(
            text(257, Place::Alone),
            (String::new(), "ZADD {syncer}::chain 513 1 ".into())
        );
    }

    #[test]
    fn the_first_sets_all_members() {
        let (before, within) = text(1, Place::First);
        assert!(before.is_empty());
        assert!(within.starts_with("ZADD {syncer}::chain 257 1 2 2 3 3 "));
        assert!(within.ends_with(" 255 255 256 0 "), "{within}");
    }
}

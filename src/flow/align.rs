//! Which commands of a transaction came back, and which removals among them are the server's own.
//!
//! The server leaves out what had no effect, and adds the removal of a key, or of a field, that had expired. That
//! removal may look like one of ours. A longest common subsequence of what was sent and what was found decides: so
//! many commands as can be ours in their order are ours, and what is left is the server's. Going by the next equal
//! command instead would pass over commands of ours that took effect, and nobody would ever know.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use similar::algorithms::{DiffHook, myers};

use super::txn::Txn;
use crate::command::{EffectClass, Spec};
use crate::resp::encode;

/// Pairs that are weighed at most: more is not worth the time.
const CELLS_MAX: usize = 1 << 20;

/// Database, key and field.
type Count = (u32, Vec<u8>, Vec<u8>);

/// A command in its database; equal commands are equal numbers.
type Symbol = (u32, u32);

/// An echo that is compared command by command.
#[derive(Debug, Default)]
pub(super) struct Alignment {
    symbols: BTreeMap<Bytes, u32>,
    /// Increments by database, key and field, in order: a server can send what came of one in its place.
    counts: BTreeMap<Count, VecDeque<(u32, Bytes)>>,
    sent: Vec<Symbol>,
    /// Scripts among those, in order.
    scripts: Vec<usize>,
    found: Vec<Symbol>,
    /// Those of `found` that may be the server's own.
    removals: Vec<(usize, Removal)>,
}

/// A removal that may be, and in the end is, the server's own.
#[derive(Debug)]
pub(super) struct Removal {
    /// How many commands were sent before the first one that came back behind it: what lies between had no effect,
    /// so the key has gone when it is over.
    pub behind: usize,
    pub spec: Spec,
    pub class: EffectClass,
    pub db: u32,
    pub command: Bytes,
}

impl Alignment {
    /// An echo of this transaction of which nothing has come yet.
    pub fn of(txn: &Txn) -> Alignment {
        let mut alignment = Alignment::default();
        for (db, command) in txn.each_command() {
            let next = alignment.symbols.len() as u32;
            let symbol = *alignment.symbols.entry(essence(&command)).or_insert(next);
            if let Some(count) = count_of(db, &command, &[b"HINCRBY"]) {
                let delta = Bytes::copy_from_slice(word(&command, 3).unwrap_or_default());
                let waiting = alignment.counts.entry(count).or_default();
                waiting.push_back((symbol, delta));
            }
            if is_script(&command) {
                alignment.scripts.push(alignment.sent.len());
            }
            alignment.sent.push((db, symbol));
        }
        alignment
    }

    /// A command came; `removes` if it is one that the server may send by itself.
    pub fn find(&mut self, db: u32, command: &[u8], removes: Option<(Spec, EffectClass)>) {
        let symbol = match is_claim(command) || is_set_id(command) || is_set_new(command) {
            true => self.symbols.get(&essence(&Bytes::copy_from_slice(command))),
            false => self.symbols.get(command),
        };
        let symbol = symbol.copied().or_else(|| self.counted(db, command));
        // What is none of ours equals nothing.
        let symbol = symbol.unwrap_or(u32::MAX);
        self.forget_count(db, command, symbol);
        if let Some((spec, class)) = removes {
            let command = Bytes::copy_from_slice(command);
            let removal = Removal {
                behind: 0,
                spec,
                class,
                db,
                command,
            };
            self.removals.push((self.found.len(), removal));
        }
        self.found.push((db, symbol));
    }

    /// Valkey 9 sends the sum, where fields of the hash have expiry times. One that is no more than the increment found
    /// no field, or one that was over: of that no HDEL tells, as Redis sends it.
    fn counted(&mut self, db: u32, command: &[u8]) -> Option<u32> {
        if self.counts.is_empty() {
            return None;
        }
        let count = count_of(db, command, &[b"HSET", b"HSETEX"])?;
        let (symbol, delta) = self.counts.get_mut(&count)?.pop_front()?;
        let found_none = word(command, 0)?.len() == 4 && word(command, 3)? == delta;
        if found_none {
            self.removals.push((self.found.len(), of_field(&count)?));
            self.found.push((db, u32::MAX));
        }
        Some(symbol)
    }

    /// An increment that came as it was sent is not waited for any more.
    fn forget_count(&mut self, db: u32, command: &[u8], symbol: u32) {
        if self.counts.is_empty() {
            return;
        }
        let count = count_of(db, command, &[b"HINCRBY"]);
        if let Some(waiting) = count.and_then(|count| self.counts.get_mut(&count))
            && let Some(at) = waiting.iter().position(|(other, _)| *other == symbol)
        {
            waiting.remove(at);
        }
    }

    /// All has come: for each command that was sent, whether it took effect; and the server's own removals.
    pub fn finish(self) -> (Vec<bool>, Vec<Removal>) {
        let mut matched = Matched {
            sent: vec![false; self.sent.len()],
            found: vec![None; self.found.len()],
        };
        let (sent, found) = (self.sent.as_slice(), self.found.as_slice());
        let done = myers::diff_deadline_raw(&mut matched, sent, 0..sent.len(), found, 0..found.len(), None);
        let Ok(()) = done;
        let is_own = |at: &usize| {
            self.removals
                .binary_search_by_key(at, |(place, _)| *place)
                .is_ok()
        };
        let is_passed_over =
            |at: usize| found[at].1 != u32::MAX && matched.found[at].is_none() && !is_own(&at);
        if (0..found.len()).any(is_passed_over) && sent.len().saturating_mul(found.len()) <= CELLS_MAX {
            matched = weighed(sent, found, is_own);
        }
        matched.put_back(sent, &self.scripts);
        let (found, all) = (&matched.found, self.sent.len());
        let own = self.removals.into_iter().filter(|(at, _)| found[*at].is_none());
        let place = |(at, removal): (usize, Removal)| Removal {
            behind: found[at..].iter().find_map(|sent| *sent).unwrap_or(all),
            ..removal
        };
        (matched.sent, own.map(place).collect())
    }
}

fn of_field((db, key, field): &Count) -> Option<Removal> {
    let mut command = BytesMut::new();
    encode::command(&mut command, &[b"HDEL", key, field]);
    Some(Removal {
        behind: 0,
        spec: *crate::command::spec(b"HDEL")?,
        class: EffectClass::HashRemove,
        db: *db,
        command: command.freeze(),
    })
}

/// As many as can be ours in their order; first those that only we can have sent. A `DEL` that a server makes of a time
/// that is over looks like one of ours, and may stand behind what ours stood before.
fn weighed(sent: &[Symbol], found: &[Symbol], is_own: impl Fn(&usize) -> bool) -> Matched {
    let all = found.len() as u64 + 1;
    let weights: Vec<u64> = (0..found.len())
        .map(|at| if is_own(&at) { 1 } else { all })
        .collect();
    // The most that can be had from each place on, row by row from the end.
    let width = found.len() + 1;
    let mut most = vec![0_u64; (sent.len() + 1) * width];
    for (one, symbol) in sent.iter().enumerate().rev() {
        for (other, weight) in weights.iter().enumerate().rev() {
            let rest = most[(one + 1) * width + other].max(most[one * width + other + 1]);
            let both = most[(one + 1) * width + other + 1] + weight;
            most[one * width + other] = if *symbol == found[other] {
                rest.max(both)
            } else {
                rest
            };
        }
    }
    let mut matched = Matched {
        sent: vec![false; sent.len()],
        found: vec![None; found.len()],
    };
    let (mut one, mut other) = (0, 0);
    while one < sent.len() && other < found.len() {
        let here = most[one * width + other];
        if sent[one] == found[other] && here == most[(one + 1) * width + other + 1] + weights[other] {
            matched.sent[one] = true;
            matched.found[other] = Some(one);
            (one, other) = (one + 1, other + 1);
        } else if here == most[(one + 1) * width + other] {
            one += 1;
        } else {
            other += 1;
        }
    }
    matched
}

struct Matched {
    sent: Vec<bool>,
    /// Which that was sent each is.
    found: Vec<Option<usize>>,
}

impl Matched {
    /// A script has no effect where it finds no key. So of equal ones, which are those on one key, with nothing that
    /// took effect in between, it is the first that had none.
    fn put_back(&mut self, sent: &[Symbol], scripts: &[usize]) {
        if scripts.iter().all(|&at| self.sent[at]) {
            return;
        }
        // From the end: those without effect before the next one that had one.
        let mut open: Vec<usize> = Vec::new();
        for at in (0..sent.len()).rev() {
            if !self.sent[at] {
                open.extend(scripts.binary_search(&at).ok().map(|_| at));
                continue;
            }
            let Some(last) = open.iter().position(|&other| sent[other] == sent[at]) else {
                open.clear();
                continue;
            };
            let place = open[last];
            if let Some(found) = self.found.iter_mut().find(|found| **found == Some(at)) {
                *found = Some(place);
            }
            (self.sent[place], self.sent[at]) = (true, false);
            open.drain(..=last);
            open.push(at);
        }
    }
}

impl DiffHook for Matched {
    type Error = Infallible;

    fn equal(&mut self, sent: usize, found: usize, len: usize) -> Result<(), Infallible> {
        self.sent[sent..sent + len].fill(true);
        for at in 0..len {
            self.found[found + at] = Some(sent + at);
        }
        Ok(())
    }
}

/// What tells a command from others: all of it, or, where the server writes it anew (XCLAIM), its name and key. Of a
/// script come the commands that it calls, the last of which is an XSETID of its key. A HSETNX is a HSET: Valkey 9 sends
/// that, where fields of the hash have expiry times.
fn essence(command: &Bytes) -> Bytes {
    if is_set_new(command) {
        let mut plain = BytesMut::new();
        let words: Option<Vec<&[u8]>> = (1..4).map(|at| word(command, at)).collect();
        let words = words.unwrap_or_default();
        encode::command(&mut plain, &[&[&b"HSET"[..]], &words[..]].concat());
        return plain.freeze();
    }
    let named = |name: &[u8], key: Option<&[u8]>| key.map(|key| [name, b" ", key].concat().into());
    let short = if is_claim(command) {
        named(b"XCLAIM", word(command, 1))
    } else if is_script(command) {
        named(b"XSETID", word(command, 3))
    } else if is_set_id(command) {
        named(b"XSETID", word(command, 1))
    } else {
        None
    };
    short.unwrap_or_else(|| command.clone())
}

fn is_claim(command: &[u8]) -> bool {
    is_named(command, b"XCLAIM\r")
}

fn is_script(command: &[u8]) -> bool {
    is_named(command, b"EVAL\r")
}

fn is_set_new(command: &[u8]) -> bool {
    is_named(command, b"HSETNX\r")
}

/// Other calls of a script are in lower case.
fn is_set_id(command: &[u8]) -> bool {
    is_named(command, b"XSETID\r")
}

/// The field that a command of one of these names counts in, or writes alone.
fn count_of(db: u32, command: &[u8], names: &[&[u8]]) -> Option<Count> {
    let name = word(command, 0)?;
    if !names.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return None;
    }
    // HSETEX key PXAT ms FIELDS 1 field value
    let field = word(command, if name.len() == 6 { 6 } else { 2 })?;
    Some((db, word(command, 1)?.to_vec(), field.to_vec()))
}

fn is_named(command: &[u8], name: &[u8]) -> bool {
    let found = command.splitn(4, |&byte| byte == b'\n').nth(2);
    found.is_some_and(|found| found.starts_with(name))
}

/// A word of a command in RESP.
fn word(command: &[u8], at: usize) -> Option<&[u8]> {
    let line_end = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b'\n').map(|end| end + 1);
    let mut rest = command.get(line_end(command)?..)?;
    for passed in 0.. {
        let end = line_end(rest)?;
        let digits = rest.get(1..end.checked_sub(2)?)?;
        let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let behind = end.checked_add(len)?;
        if passed == at {
            return rest.get(end..behind);
        }
        rest = rest.get(behind.checked_add(2)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::causality::{Roster, SiteId};
    use crate::command::{Class, Learned};
    use crate::resp::encode;

    fn resp(text: &str) -> Bytes {
        let mut command = bytes::BytesMut::new();
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        encode::command(&mut command, &words);
        command.freeze()
    }

    /// Whether each of `sent` took effect, and behind how many of them the server's own of `found` stand.
    fn align(sent: &[&str], found: &[&str]) -> (Vec<bool>, Vec<usize>) {
        let me = SiteId::new(b"a").unwrap();
        let roster = Roster::new(me, &[SiteId::new(b"b").unwrap()]).unwrap();
        let mut txn = Txn::new(7, roster.me());
        for (at, command) in sent.iter().enumerate() {
            txn.push_rewritten(at as u64, 0, resp(command));
        }
        let mut alignment = Alignment::of(&txn);
        for command in found {
            let name = command.split(' ').next().unwrap();
            let spec = *Learned::default().spec(name.as_bytes()).unwrap();
            let Class::Write(class) = spec.class else {
                panic!("{name}")
            };
            let removes = matches!(class, EffectClass::Delete | EffectClass::HashRemove);
            alignment.find(0, &resp(command), removes.then_some((spec, class)));
        }
        let (effective, own) = alignment.finish();
        (effective, own.iter().map(|removal| removal.behind).collect())
    }

    #[test]
    fn what_had_no_effect_is_missing() {
        let (effective, own) = align(
            &["SREM s a", "SADD s b", "DEL k", "SADD s c"],
            &["SADD s b", "SADD s c"],
        );
        assert_eq!((effective, own), (vec![false, true, false, true], vec![]));
    }

    #[test]
    fn the_removal_of_an_expired_key_is_the_servers() {
        let (effective, own) = align(&["INCRBY c 5", "DEL c"], &["DEL c", "INCRBY c 5", "DEL c"]);
        assert_eq!((effective, own), (vec![true, true], vec![0]));
        let (effective, own) = align(&["SADD s a"], &["DEL s", "SADD s a"]);
        assert_eq!((effective, own), (vec![true], vec![0]));
        let sent = ["SET t v PXAT 1", "DEL k", "INCRBY t 5", "SADD s a"];
        let found = ["SET t v PXAT 1", "DEL t", "INCRBY t 5", "DEL s", "SADD s a"];
        let (effective, own) = align(&sent, &found);
        assert_eq!((effective, own), (vec![true, false, true, true], vec![2, 3]));
    }

    #[test]
    fn what_only_we_can_have_sent_is_ours_before_a_removal_is() {
        let sent = ["DEL k", "LPUSH k a", "PEXPIREAT k 1"];
        assert_eq!(
            align(&sent, &["LPUSH k a", "DEL k"]),
            (vec![false, true, false], vec![3])
        );
    }

    #[test]
    fn a_removal_stands_behind_what_had_no_effect() {
        // The time is over: the server makes a DEL of it.
        let sent = ["SET x 1", "APPEND k a", "PEXPIREAT k 1"];
        assert_eq!(
            align(&sent, &["SET x 1", "DEL k"]),
            (vec![true, false, false], vec![3])
        );
    }

    #[test]
    fn a_removal_behind_others_without_effect_is_ours() {
        let sent = ["SREM k a", "SREM x a", "DEL k", "SADD k b"];
        assert_eq!(
            align(&sent, &["DEL k", "SADD k b"]),
            (vec![false, false, true, true], vec![])
        );
        let sent = ["HDEL h a", "HSET g f 1", "HDEL h b", "DEL q"];
        assert_eq!(
            align(&sent, &["HDEL h b"]),
            (vec![false, false, true, false], vec![])
        );
    }

    #[test]
    fn a_sum_in_place_of_an_increment_is_ours() {
        let sent = ["HINCRBY h f 2", "HINCRBY h g 1", "HINCRBY h f 3", "HSET h x 1"];
        let found = [
            "HSETEX h PXAT 7 FIELDS 1 f 4",
            "HSET h g 3",
            "HSETEX h PXAT 7 FIELDS 1 f 7",
            "HSET h x 1",
        ];
        assert_eq!(align(&sent, &found), (vec![true; 4], vec![]));
        let found = ["HINCRBY h f 2", "HSETEX h PXAT 7 FIELDS 1 f 7"];
        assert_eq!(align(&sent, &found), (vec![true, false, true, false], vec![]));
        assert_eq!(align(&sent, &["HSET h q 1"]), (vec![false; 4], vec![]));
    }

    #[test]
    fn a_sum_of_one_increment_found_no_field() {
        let sent = ["HSET h x 1", "HINCRBY h f 2", "HINCRBY h f 3"];
        let found = ["HSET h x 1", "HSET h f 2", "HSET h f 5"];
        assert_eq!(align(&sent, &found), (vec![true; 3], vec![1]));
        let found = ["HSETEX h PXAT 7 FIELDS 1 f 2", "HSETEX h PXAT 7 FIELDS 1 f 5"];
        assert_eq!(align(&sent, &found), (vec![false, true, true], vec![]));
    }

    #[test]
    fn a_new_field_may_come_back_as_a_field() {
        let sent = ["HSETNX h f 2", "HSETNX h g 2", "HSETNX h q 2"];
        assert_eq!(
            align(&sent, &["HSET h f 2", "HSETNX h q 2"]),
            (vec![true, false, true], vec![])
        );
    }

    #[test]
    fn equal_commands_are_told_apart_by_what_stands_around_them() {
        let sent = ["SADD m a", "DEL m", "SADD m a"];
        assert_eq!(
            align(&sent, &["DEL m", "SADD m a"]),
            (vec![false, true, true], vec![])
        );
    }

    #[test]
    fn a_script_took_effect_when_its_last_call_is_there() {
        let sent = ["EVAL script 1 x 9-1", "SET k 1", "EVAL script 1 y 9-1"];
        let found = [
            "xdel x 9-1",
            "xsetid x 5-1",
            "xadd x 6-1 f v",
            "XSETID x 9-1",
            "SET k 1",
            "xadd y 9-1 f v",
        ];
        assert_eq!(align(&sent, &found), (vec![true, true, false], vec![]));
    }

    #[test]
    fn of_scripts_on_one_key_the_first_found_none() {
        let sent = ["DEL x", "EVAL s 1 x 1", "EVAL s 1 x 2", "EVAL s 1 x 3"];
        let found = [
            "DEL x",
            "xadd x 2-0 f v",
            "XSETID x 2-0",
            "xadd x 3-0 f v",
            "XSETID x 3-0",
        ];
        assert_eq!(align(&sent, &found), (vec![true, false, true, true], vec![]));
        // What had an effect in between tells where the first ones stood.
        let sent = ["EVAL s 1 x 1", "EVAL s 1 y 2", "DEL x", "EVAL s 1 x 3"];
        let found = ["XSETID x 1-0", "DEL x"];
        assert_eq!(align(&sent, &found), (vec![true, false, true, false], vec![]));
    }

    #[test]
    fn a_claim_that_the_server_wrote_anew_is_ours() {
        let sent = ["XCLAIM x g c 0 1-1", "SET k 1"];
        let found = [
            "XCLAIM x g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1",
            "SET k 1",
        ];
        assert_eq!(align(&sent, &found), (vec![true, true], vec![]));
    }
}

//! The table of commands, and the look-up by name.

use super::class::{Class, Control, EffectClass};
use super::keys::KeyRule;
use super::took::TOOK;

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Its name in capitals.
    pub name: &'static str,
    /// What it is for.
    pub class: Class,
    /// Where its keys stand.
    pub keys: KeyRule,
}

const fn write(name: &'static str, class: EffectClass, keys: KeyRule) -> Spec {
    Spec {
        name,
        class: Class::Write(class),
        keys,
    }
}

const fn control(name: &'static str, control: Control) -> Spec {
    Spec {
        name,
        class: Class::Control(control),
        keys: KeyRule::None,
    }
}

const ONE: KeyRule = KeyRule::One(1);
const EACH: KeyRule = KeyRule::Every { step: 1 };
const PAIRS: KeyRule = KeyRule::Every { step: 2 };

use EffectClass as E;

/// Name, class of effect, keys. Commands that never arrive as such (a server rewrites SPOP to SREM) stand here
/// too, as what they would be, so that nothing that writes is unknown.
static ROWS: &[Spec] = &[
    // The link and the server.
    control("PING", Control::Ping),
    control("REPLCONF", Control::ReplConf),
    control("SELECT", Control::Select),
    control("MULTI", Control::Multi),
    control("EXEC", Control::Exec),
    control("PUBLISH", Control::Publish),
    control("SPUBLISH", Control::Publish),
    control("SCRIPT", Control::Script),
    control("EVAL", Control::Eval),
    control("EVALSHA", Control::Eval),
    control("FCALL", Control::Eval),
    // Any key.
    write("DEL", E::Delete, EACH),
    write("UNLINK", E::Delete, EACH),
    write("EXPIRE", E::Expire, ONE),
    write("PEXPIRE", E::Expire, ONE),
    write("EXPIREAT", E::Expire, ONE),
    write("PEXPIREAT", E::Expire, ONE),
    write("PERSIST", E::Expire, ONE),
    write("RENAME", E::Derived, KeyRule::Two),
    write("RENAMENX", E::Derived, KeyRule::Two),
    write("COPY", E::Derived, KeyRule::Copy),
    write("MOVE", E::Derived, ONE),
    write("SORT", E::Derived, KeyRule::Store),
    write("RESTORE", E::Restore, ONE),
    write("RESTORE-ASKING", E::Restore, ONE),
    write("MIGRATE", E::Opaque, KeyRule::One(3)),
    write("FLUSHDB", E::Flush, KeyRule::None),
    write("FLUSHALL", E::Flush, KeyRule::None),
    write("SWAPDB", E::SwapDb, KeyRule::None),
    write("FUNCTION", E::Opaque, KeyRule::None),
    // Of a syncer alone: what a pop took.
    write(TOOK, E::Took, ONE),
    // Strings, counters, bitmaps.
    write("SET", E::Set, ONE),
    write("SETNX", E::Set, ONE),
    write("SETEX", E::Set, ONE),
    write("PSETEX", E::Set, ONE),
    write("GETSET", E::Set, ONE),
    write("GETDEL", E::Delete, ONE),
    write("GETEX", E::Expire, ONE),
    write("MSET", E::Set, PAIRS),
    write("MSETNX", E::Set, PAIRS),
    write("INCR", E::Count, ONE),
    write("DECR", E::Count, ONE),
    write("INCRBY", E::Count, ONE),
    write("DECRBY", E::Count, ONE),
    write("INCRBYFLOAT", E::Opaque, ONE),
    write("APPEND", E::Opaque, ONE),
    write("SETRANGE", E::Bits, ONE),
    write("SETBIT", E::Bits, ONE),
    write("BITFIELD", E::Bits, ONE),
    write("BITOP", E::Derived, KeyRule::BitOp),
    write("DELIFEQ", E::Delete, ONE),
    // Hashes.
    write("HSET", E::HashSet, ONE),
    write("HMSET", E::HashSet, ONE),
    write("HSETNX", E::HashSet, ONE),
    write("HDEL", E::HashRemove, ONE),
    write("HINCRBY", E::HashCount, ONE),
    write("HINCRBYFLOAT", E::Opaque, ONE),
    write("HEXPIRE", E::Opaque, ONE),
    write("HPEXPIRE", E::Opaque, ONE),
    write("HEXPIREAT", E::Opaque, ONE),
    write("HPEXPIREAT", E::Opaque, ONE),
    write("HPERSIST", E::Opaque, ONE),
    write("HSETEX", E::Opaque, ONE),
    write("HGETEX", E::Opaque, ONE),
    write("HGETDEL", E::Opaque, ONE),
    // Sets.
    write("SADD", E::SetAdd, ONE),
    write("SREM", E::SetRemove, ONE),
    write("SPOP", E::Opaque, ONE),
    write("SMOVE", E::Derived, KeyRule::Two),
    write("SINTERSTORE", E::Derived, KeyRule::FirstFromRest),
    write("SUNIONSTORE", E::Derived, KeyRule::FirstFromRest),
    write("SDIFFSTORE", E::Derived, KeyRule::FirstFromRest),
    // Sorted sets and geo.
    write("ZADD", E::SortedAdd, ONE),
    write("ZINCRBY", E::SortedCount, ONE),
    write("ZREM", E::SortedRemove, ONE),
    write("ZPOPMIN", E::Opaque, ONE),
    write("ZPOPMAX", E::Opaque, ONE),
    write(
        "BZPOPMIN",
        E::Opaque,
        KeyRule::Told {
            first: 1,
            last: -2,
            step: 1,
        },
    ),
    write(
        "BZPOPMAX",
        E::Opaque,
        KeyRule::Told {
            first: 1,
            last: -2,
            step: 1,
        },
    ),
    write("ZMPOP", E::Opaque, KeyRule::None),
    write("BZMPOP", E::Opaque, KeyRule::None),
    write("ZREMRANGEBYRANK", E::Opaque, ONE),
    write("ZREMRANGEBYSCORE", E::Opaque, ONE),
    write("ZREMRANGEBYLEX", E::Opaque, ONE),
    write("ZUNIONSTORE", E::Derived, KeyRule::FirstFromCounted),
    write("ZINTERSTORE", E::Derived, KeyRule::FirstFromCounted),
    write("ZDIFFSTORE", E::Derived, KeyRule::FirstFromCounted),
    write("ZRANGESTORE", E::Derived, KeyRule::FirstFromSecond),
    write("GEOADD", E::Opaque, ONE),
    write("GEOSEARCHSTORE", E::Derived, KeyRule::FirstFromSecond),
    write("GEORADIUS", E::Derived, KeyRule::Store),
    write("GEORADIUSBYMEMBER", E::Derived, KeyRule::Store),
    // Lists.
    write("LPUSH", E::Opaque, ONE),
    write("RPUSH", E::Opaque, ONE),
    write("LPUSHX", E::Opaque, ONE),
    write("RPUSHX", E::Opaque, ONE),
    write("LPOP", E::Opaque, ONE),
    write("RPOP", E::Opaque, ONE),
    write("LMPOP", E::Opaque, KeyRule::None),
    write("BLMPOP", E::Opaque, KeyRule::None),
    write("LSET", E::Opaque, ONE),
    write("LINSERT", E::Opaque, ONE),
    write("LREM", E::Opaque, ONE),
    write("LTRIM", E::Opaque, ONE),
    write("RPOPLPUSH", E::Derived, KeyRule::Two),
    write("LMOVE", E::Derived, KeyRule::Two),
    write(
        "BLPOP",
        E::Opaque,
        KeyRule::Told {
            first: 1,
            last: -2,
            step: 1,
        },
    ),
    write(
        "BRPOP",
        E::Opaque,
        KeyRule::Told {
            first: 1,
            last: -2,
            step: 1,
        },
    ),
    write("BRPOPLPUSH", E::Derived, KeyRule::Two),
    write("BLMOVE", E::Derived, KeyRule::Two),
    // Streams.
    write("XADD", E::Opaque, ONE),
    write("XDEL", E::Opaque, ONE),
    write("XTRIM", E::Opaque, ONE),
    write("XSETID", E::Opaque, ONE),
    write("XGROUP", E::Opaque, KeyRule::One(2)),
    write("XREADGROUP", E::Opaque, KeyRule::None),
    write("XACK", E::Opaque, ONE),
    write("XCLAIM", E::Opaque, ONE),
    write("XAUTOCLAIM", E::Opaque, ONE),
    // HyperLogLog. PFCOUNT refreshes a cache and may stand in the stream for it.
    write("PFADD", E::Union, ONE),
    write("PFMERGE", E::Derived, KeyRule::FirstFromRest),
    Spec {
        name: "PFCOUNT",
        class: Class::Read,
        keys: KeyRule::None,
    },
    write("PFDEBUG", E::Opaque, KeyRule::One(2)),
    Spec {
        name: "DEBUG",
        class: Class::Read,
        keys: KeyRule::None,
    },
];

/// All rows.
pub fn rows() -> &'static [Spec] {
    ROWS
}

const SLOTS: usize = 1024;

/// Open addressing on the first eight letters and the length.
struct Index([u8; SLOTS]);

static INDEX: Index = {
    let mut slots = [0u8; SLOTS];
    let mut at = 0;
    while at < ROWS.len() {
        let mut slot = slot_of(ROWS[at].name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8 + 1;
        at += 1;
    }
    Index(slots)
};

/// Letters are folded by one bit, which leaves digits and '-' alone.
const FOLD: u64 = 0x2020_2020_2020_2020;

#[inline]
const fn slot_of(name: &[u8]) -> usize {
    // Byte by byte: names are short, and a copy of unknown length costs more than all the rest.
    let mut word = 0u64;
    let mut at = 0;
    while at < name.len() && at < 8 {
        word = word << 8 | name[at] as u64;
        at += 1;
    }
    let word = (word | FOLD) ^ name.len() as u64;
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
}

/// The row of a command, whatever the case of its name.
#[inline]
pub fn spec(name: &[u8]) -> Option<&'static Spec> {
    let slots = &INDEX.0;
    let mut slot = slot_of(name);
    while slots[slot] != 0 {
        let row = &ROWS[usize::from(slots[slot]) - 1];
        if row.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(row);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

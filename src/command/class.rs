//! Classes of commands.

/// What a command in the stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It changes data.
    Write(EffectClass),
    /// It belongs to the link or the server, not to the data.
    Control(Control),
    /// It changes nothing; some reads stand in the stream because they refresh a cache (PFCOUNT).
    Read,
}

/// Commands of the stream that are not writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The server's heartbeat.
    Ping,
    /// REPLCONF GETACK.
    ReplConf,
    /// The database of what follows.
    Select,
    /// Begin of a unit.
    Multi,
    /// End of a unit.
    Exec,
    /// PUBLISH and SPUBLISH.
    Publish,
    /// SCRIPT of Redis 6.2.
    Script,
    /// EVAL and EVALSHA: only a 6.2 server with `lua-replicate-commands no` sends them.
    Eval,
}

/// What kind of change a write makes; the number is its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EffectClass {
    /// The whole key goes.
    Delete = 0,
    /// A string is set.
    Set = 1,
    /// An integer is added to a string.
    Count = 2,
    /// Members join a set.
    SetAdd = 3,
    /// Members leave a set.
    SetRemove = 4,
    /// Fields of a hash are set.
    HashSet = 5,
    /// Fields leave a hash.
    HashRemove = 6,
    /// An integer is added to a field.
    HashCount = 7,
    /// Members of a sorted set get a score.
    SortedAdd = 8,
    /// Members leave a sorted set.
    SortedRemove = 9,
    /// A number is added to a score.
    SortedCount = 10,
    /// A HyperLogLog takes elements in.
    Union = 11,
    /// The expiry time changes.
    Expire = 12,
    /// The result depends on the key's own state.
    Opaque = 13,
    /// The value stands in the command as a dump.
    Restore = 14,
    /// The result depends on other keys.
    Derived = 15,
    /// Every key of one or all databases goes.
    Flush = 16,
    /// Two databases change places.
    SwapDb = 17,
    /// Bits of a string are set.
    Bits = 18,
    /// It tells what another command took; no database executes it.
    Took = 19,
}

impl EffectClass {
    const ALL: [EffectClass; 20] = {
        use EffectClass as E;
        [
            E::Delete,
            E::Set,
            E::Count,
            E::SetAdd,
            E::SetRemove,
            E::HashSet,
            E::HashRemove,
            E::HashCount,
            E::SortedAdd,
            E::SortedRemove,
            E::SortedCount,
            E::Union,
            E::Expire,
            E::Opaque,
            E::Restore,
            E::Derived,
            E::Flush,
            E::SwapDb,
            E::Bits,
            E::Took,
        ]
    };

    /// The class of a code, if there is one.
    pub fn from_code(code: u8) -> Option<EffectClass> {
        EffectClass::ALL.get(usize::from(code)).copied()
    }

    /// Whether it concerns whole databases and names no key.
    #[inline]
    pub fn is_of_databases(self) -> bool {
        matches!(self, EffectClass::Flush | EffectClass::SwapDb)
    }

    /// The class as one bit of a set of classes.
    pub fn bit(self) -> u32 {
        1 << (self as u32)
    }

    /// Whether two concurrent commands of these classes on one key give the same in either order, and both
    /// count. Sums of scores are left out: floating point addition depends on the order.
    pub fn commutes(self, other: EffectClass) -> bool {
        use EffectClass::{Count, HashCount, SetAdd, Union};
        self == other && matches!(self, Count | SetAdd | Union | HashCount)
    }
}

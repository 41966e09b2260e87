//! Rules that can be switched off, so that the simulator can show that it would miss them.
//!
//! Without the feature `mutations` every question here is a constant `false`, and nothing is left of it.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// Of concurrent SETs the latest wins.
    SetLatestWins = 1,
    /// Increments add up.
    CountersAddUp,
    /// An add survives a concurrent remove.
    AddWins,
    /// A DEL removes only what it saw.
    ObservedRemove,
    /// Of concurrent writes to an element the latest wins.
    ElementLatestWins,
    /// The longest expiry time wins.
    LongestExpiry,
    /// The latest write's type wins.
    TypeConflict,
    /// What repairs hold back is not announced as settled.
    SettledHold,
    /// An operation waits for its past.
    CausalOrder,
    /// What a marker of an earlier run covers is not submitted again.
    ExactlyOnce,
    /// A new connection waits until it is known what the old one executed.
    Barrier,
    /// One canonical order of a replay.
    ReplayOrder,
    /// One site ships the value.
    Arbiter,
    /// A FLUSH meets operations that are concurrent with it.
    FlushMeets,
    /// Only what is in everything's past is folded into the base.
    FoldStable,
    /// The clock is behind nothing that it has seen.
    ClockAbsorbs,
    /// Keys are compared again when something comes back.
    CompareAtEcho,
    /// A pop counts for what its client was given.
    ToldPops,
    /// The longest expiry time of a field wins.
    LongestFieldExpiry,
    /// What a snapshot holds yields to what it has not seen.
    SnapshotsYield,
    /// A database that came back older than it was gets back what it lost.
    Heals,
    /// What a repair had undone when the database crashed is done again behind its snapshot.
    Owed,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 22] = {
        use Mutation as M;
        [
            M::SetLatestWins,
            M::CountersAddUp,
            M::AddWins,
            M::ObservedRemove,
            M::ElementLatestWins,
            M::LongestExpiry,
            M::TypeConflict,
            M::SettledHold,
            M::CausalOrder,
            M::ExactlyOnce,
            M::Barrier,
            M::ReplayOrder,
            M::Arbiter,
            M::FlushMeets,
            M::FoldStable,
            M::ClockAbsorbs,
            M::CompareAtEcho,
            M::ToldPops,
            M::LongestFieldExpiry,
            M::SnapshotsYield,
            M::Heals,
            M::Owed,
        ]
    };
}

#[cfg(feature = "mutations")]
static OFF: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Switches a rule off, and all others on.
#[cfg(feature = "mutations")]
pub fn switch_off(rule: Option<Mutation>) {
    OFF.store(
        rule.map_or(0, |rule| rule as u8),
        std::sync::atomic::Ordering::Relaxed,
    );
}

/// Whether a rule is switched off.
#[cfg(feature = "mutations")]
#[inline]
pub fn off(rule: Mutation) -> bool {
    OFF.load(std::sync::atomic::Ordering::Relaxed) == rule as u8
}

/// Whether a rule is switched off: never.
#[cfg(not(feature = "mutations"))]
#[inline]
pub const fn off(_: Mutation) -> bool {
    false
}

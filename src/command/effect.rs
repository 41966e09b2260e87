//! What a command does to each of its keys.

use bytes::Bytes;

use super::class::{Class, EffectClass};
use super::entries::{self, Left, Trim};
use super::fields;
use super::keys::{Access, keys};
use super::pieces;
use super::table::Spec;
use super::took::{self, Told};

/// What a SET does to the key's expiry time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetExpiry {
    /// The key no longer expires.
    Clear,
    /// Unix milliseconds.
    At(u64),
    /// As it was.
    Keep,
}

/// The effect of a command on one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The key goes.
    Del,
    /// The key becomes this string.
    Set {
        /// The string.
        value: Bytes,
        /// What becomes of the expiry time.
        expiry: SetExpiry,
    },
    /// Adds to an integer.
    Count {
        /// What is added.
        delta: i64,
    },
    /// Bits of a string, by their [names](super::pieces), in the order of their offsets.
    Bits(Vec<(Bytes, bool)>),
    /// Elements that a HyperLogLog takes in, by their [names](super::pieces).
    Union(Vec<Bytes>),
    /// Members join a set.
    SetAdd(Vec<Bytes>),
    /// Members leave a set.
    SetRemove(Vec<Bytes>),
    /// Fields and values of a hash.
    HashSet(Vec<(Bytes, Bytes)>),
    /// Fields and values of a hash, which are given an expiry time or keep it.
    HashSetTimed {
        /// Fields and values.
        pairs: Vec<(Bytes, Bytes)>,
        /// What becomes of the fields' expiry times.
        expiry: SetExpiry,
    },
    /// The expiry time of fields of a hash.
    FieldExpire {
        /// The fields.
        fields: Vec<Bytes>,
        /// Unix milliseconds; `None` means never (HPERSIST).
        at_unix_ms: Option<u64>,
    },
    /// Fields leave a hash.
    HashRemove(Vec<Bytes>),
    /// Adds to an integer in a hash.
    HashCount {
        /// The field.
        field: Bytes,
        /// What is added.
        delta: i64,
    },
    /// Scores and members of a sorted set.
    SortedAdd(Vec<(f64, Bytes)>),
    /// Members leave a sorted set.
    SortedRemove(Vec<Bytes>),
    /// Adds to a score.
    SortedCount {
        /// The member.
        member: Bytes,
        /// What is added.
        delta: f64,
    },
    /// An entry joins a stream, and others may go for it.
    StreamAdd {
        /// Its id, by its [name](super::entries).
        id: Bytes,
        /// Its fields and values.
        fields: Vec<Bytes>,
        /// What is taken away then.
        trim: Option<Trim>,
    },
    /// Entries leave a stream, by the names of their ids.
    StreamRemove(Vec<Bytes>),
    /// The oldest entries leave a stream.
    StreamTrim(Trim),
    /// Entries are put in their places among those of a stream. No command of a client's does that.
    StreamSplice(Splice),
    /// The expiry time.
    Expire {
        /// Unix milliseconds; `None` means never (PERSIST).
        at_unix_ms: Option<u64>,
    },
    /// The key becomes what the dump holds.
    Restore {
        /// The dump, as DUMP gives it.
        payload: Bytes,
        /// Unix milliseconds; `None` means never.
        ttl_unix_ms: Option<u64>,
    },
    /// Elements join a list at one end, one after the other.
    ListPush {
        /// At its head.
        left: bool,
        /// The elements, each with its name, which is empty until it is given one.
        elements: Vec<(Bytes, Bytes)>,
    },
    /// So many elements leave a list at one end, or all that there are.
    ListPop {
        /// At its head.
        left: bool,
        /// How many at most.
        count: u64,
        /// Those that left, once they are known: their names, and their values as far as they are known.
        took: Option<Vec<(Bytes, Option<Bytes>)>>,
    },
    /// An element joins a list beside another one. No command of a client's is read as that.
    ListInsert {
        /// Before it, or behind.
        before: bool,
        /// The other one's value; the first that has it.
        pivot: Bytes,
        /// Name and value.
        element: (Bytes, Bytes),
    },
    /// An element leaves a list: the first of its value, or the last. No command of a client's is read as that.
    ListRemove {
        /// The first.
        left: bool,
        /// Name and value.
        element: (Bytes, Bytes),
    },
    /// What a pop of the same site took, where that is something else than what its past tells. It does nothing itself.
    ListTook {
        /// The pop's number.
        pop: u64,
        /// Its elements.
        took: Vec<Told>,
    },
    /// Known only by executing it on the key.
    Opaque,
    /// Known only by executing it where the keys that it read were as they were.
    Derived,
}

/// What is done to a stream at once, whatever it holds; nothing happens if the key is of another type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Splice {
    /// Entries that it holds then, by the names of their ids, with their fields and values; in their order.
    pub entries: Vec<(Bytes, Vec<Bytes>)>,
    /// What is taken away then.
    pub trim: Option<Trim>,
    /// Entries that the trim does not see.
    pub kept: Vec<Bytes>,
    /// The last id given out is at least this one.
    pub last: Option<Bytes>,
}

impl Effect {
    /// If it trims a stream to the newest so many: what it left, if that is known.
    pub fn learn(&mut self, found: Option<Left>) {
        if let Effect::StreamAdd { trim: Some(trim), .. } | Effect::StreamTrim(trim) = self
            && let Trim::Longest { left, .. } = trim
        {
            *left = found;
        }
    }
}

/// A key's share of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEffect {
    /// Another database than the selected one (COPY .. DB, MOVE).
    pub db: Option<u32>,
    /// The key.
    pub key: Bytes,
    /// What happens to it; `None` if it is only read.
    pub effect: Option<Effect>,
}

/// A command whose arguments do not fit its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{command} arrived with arguments that it cannot have ({what}); is this a Redis or Valkey stream?")]
pub struct EffectError {
    /// The command.
    pub command: &'static str,
    /// What did not fit.
    pub what: &'static str,
}

/// Splits a command, as it arrives in a stream, into one effect per key.
///
/// # Errors
/// Arguments that the server would have refused.
pub fn parse(spec: &Spec, args: &[Bytes]) -> Result<Vec<KeyEffect>, EffectError> {
    let fail = |what| EffectError {
        command: spec.name,
        what,
    };
    let Class::Write(class) = spec.class else {
        return Ok(Vec::new());
    };
    if spec.name == "MOVE" || spec.name == "COPY" {
        return Ok(between_databases(spec, args));
    }
    let mut shares = Vec::new();
    let mut error = None;
    keys(spec, args, |place| {
        let Some(key) = args.get(place.at).cloned() else {
            error = Some(fail("a key is missing"));
            return;
        };
        let effect = match place.access {
            Access::Read => Ok(None),
            Access::Write => on_key(spec, class, args, place.at).map(Some),
        };
        match effect {
            Ok(effect) => shares.push(KeyEffect {
                db: None,
                key,
                effect,
            }),
            Err(what) => error = Some(fail(what)),
        }
    });
    error.map_or(Ok(shares), Err)
}

fn between_databases(spec: &Spec, args: &[Bytes]) -> Vec<KeyEffect> {
    let db = |at: usize| {
        args.get(at)
            .and_then(|word| number(word))
            .and_then(|db| u32::try_from(db).ok())
    };
    let share = |db, at: usize, effect| KeyEffect {
        db,
        key: args.get(at).cloned().unwrap_or_default(),
        effect,
    };
    if spec.name == "MOVE" {
        return vec![
            share(None, 1, Some(Effect::Del)),
            share(db(2), 1, Some(Effect::Derived)),
        ];
    }
    let other = (3..args.len())
        .find(|&at| args[at].eq_ignore_ascii_case(b"DB"))
        .and_then(|at| db(at + 1));
    vec![share(None, 1, None), share(other, 2, Some(Effect::Derived))]
}

fn on_key(spec: &Spec, class: EffectClass, args: &[Bytes], at: usize) -> Result<Effect, &'static str> {
    let rest = || args.get(at + 1..).unwrap_or_default().to_vec();
    let word = |at: usize| args.get(at).cloned().ok_or("an argument is missing");
    Ok(match class {
        EffectClass::Delete => Effect::Del,
        EffectClass::Set => set(spec, args, at)?,
        EffectClass::Count => Effect::Count {
            delta: count(spec, args)?,
        },
        EffectClass::SetAdd => Effect::SetAdd(rest()),
        EffectClass::SetRemove => Effect::SetRemove(rest()),
        EffectClass::HashSet => Effect::HashSet(pairs(args)?),
        EffectClass::HashRemove => Effect::HashRemove(rest()),
        EffectClass::HashCount => {
            let delta = number(&word(3)?).ok_or("the increment is no integer")?;
            Effect::HashCount {
                field: word(2)?,
                delta,
            }
        }
        EffectClass::SortedAdd => return sorted_add(args),
        EffectClass::SortedRemove => Effect::SortedRemove(rest()),
        EffectClass::SortedCount => Effect::SortedCount {
            delta: score(&word(2)?).ok_or("the increment is no number")?,
            member: word(3)?,
        },
        EffectClass::Expire => expire(spec, args)?,
        EffectClass::Restore => restore(args)?,
        EffectClass::Took => took::parse(args)?,
        EffectClass::Derived => derived(spec, args, at),
        EffectClass::Union => pieces::union(args),
        EffectClass::Bits => match spec.name {
            "BITFIELD" => pieces::fields(args),
            "SETRANGE" => pieces::range(args),
            _ => pieces::bit(args)?,
        },
        EffectClass::Opaque if spec.name == "XADD" => entries::add(args),
        EffectClass::Opaque if spec.name == "XDEL" => entries::remove(args),
        EffectClass::Opaque if spec.name == "XTRIM" => entries::trim(args),
        EffectClass::Opaque if spec.name.starts_with('H') => fields::effect(spec.name, args),
        EffectClass::Opaque => list(spec, args),
        EffectClass::Flush | EffectClass::SwapDb => Effect::Opaque,
    })
}

/// Work at the ends of a list; what else there is of this class is executed as it came.
fn list(spec: &Spec, args: &[Bytes]) -> Effect {
    let left = spec.name.starts_with('L');
    match (spec.name, args) {
        ("LPUSH" | "LPUSHX" | "RPUSH" | "RPUSHX", [_, _, elements @ ..]) if !elements.is_empty() => {
            let elements = elements.iter().map(|value| (Bytes::new(), value.clone()));
            Effect::ListPush {
                left,
                elements: elements.collect(),
            }
        }
        ("LPOP" | "RPOP", [_, _]) => pop(left, 1),
        ("LPOP" | "RPOP", [_, _, count]) => {
            let count = number(count).and_then(|count| u64::try_from(count).ok());
            count.map_or(Effect::Opaque, |count| pop(left, count))
        }
        _ => Effect::Opaque,
    }
}

fn pop(left: bool, count: u64) -> Effect {
    Effect::ListPop {
        left,
        count,
        took: None,
    }
}

fn derived(spec: &Spec, args: &[Bytes], at: usize) -> Effect {
    match (spec.name, at) {
        ("RENAME" | "RENAMENX", 1) => Effect::Del,
        ("SMOVE", 1) => Effect::SetRemove(args.get(3).cloned().into_iter().collect()),
        ("SMOVE", 2) => Effect::SetAdd(args.get(3).cloned().into_iter().collect()),
        _ => Effect::Derived,
    }
}

fn set(spec: &Spec, args: &[Bytes], at: usize) -> Result<Effect, &'static str> {
    let word = |at: usize| args.get(at).cloned().ok_or("the value is missing");
    if matches!(spec.name, "MSET" | "MSETNX" | "SETNX" | "GETSET") {
        return Ok(Effect::Set {
            value: word(at + 1)?,
            expiry: SetExpiry::Clear,
        });
    }
    if matches!(spec.name, "SETEX" | "PSETEX") {
        return Err("a relative time");
    }
    let mut expiry = SetExpiry::Clear;
    let mut options = args.iter().skip(3);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"KEEPTTL") {
            expiry = SetExpiry::Keep;
        } else if option.eq_ignore_ascii_case(b"PXAT") {
            expiry = SetExpiry::At(
                options
                    .next()
                    .and_then(|ms| moment(ms, 1))
                    .ok_or("PXAT without a time")?,
            );
        } else if option.eq_ignore_ascii_case(b"EXAT") {
            expiry = SetExpiry::At(
                options
                    .next()
                    .and_then(|s| moment(s, 1000))
                    .ok_or("EXAT without a time")?,
            );
        }
    }
    Ok(Effect::Set {
        value: word(2)?,
        expiry,
    })
}

fn count(spec: &Spec, args: &[Bytes]) -> Result<i64, &'static str> {
    let given = || {
        args.get(2)
            .and_then(|word| number(word))
            .ok_or("the increment is no integer")
    };
    match spec.name {
        "INCR" => Ok(1),
        "DECR" => Ok(-1),
        "DECRBY" => given()?.checked_neg().ok_or("the decrement is too large"),
        _ => given(),
    }
}

fn pairs(args: &[Bytes]) -> Result<Vec<(Bytes, Bytes)>, &'static str> {
    let rest = args.get(2..).unwrap_or_default();
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        return Err("fields and values do not pair");
    }
    Ok(rest
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect())
}

/// A conditional ZADD of several members does not tell which of them took effect.
fn sorted_add(args: &[Bytes]) -> Result<Effect, &'static str> {
    let is_option = |word: &Bytes| {
        [&b"NX"[..], b"XX", b"GT", b"LT", b"CH", b"INCR"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
    };
    let options = args.iter().skip(2).take_while(|word| is_option(word)).count();
    let given = &args[2..2 + options];
    let rest = args.get(2 + options..).unwrap_or_default();
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        return Err("scores and members do not pair");
    }
    let has = |name: &[u8]| given.iter().any(|word| word.eq_ignore_ascii_case(name));
    let conditional = has(b"NX") || has(b"XX") || has(b"GT") || has(b"LT");
    if has(b"INCR") || (conditional && rest.len() > 2) {
        return Ok(Effect::Opaque);
    }
    let pair = |pair: &[Bytes]| score(&pair[0]).map(|score| (score, pair[1].clone()));
    let pairs: Option<Vec<(f64, Bytes)>> = rest.chunks_exact(2).map(pair).collect();
    Ok(Effect::SortedAdd(pairs.ok_or("a score is no number")?))
}

fn expire(spec: &Spec, args: &[Bytes]) -> Result<Effect, &'static str> {
    let time = |unit_ms| {
        args.get(2)
            .and_then(|word| moment(word, unit_ms))
            .ok_or("the time is no integer")
    };
    let at_unix_ms = match spec.name {
        "PERSIST" => None,
        "PEXPIREAT" => Some(time(1)?),
        "EXPIREAT" => Some(time(1000)?),
        _ => return Err("a relative time"),
    };
    Ok(Effect::Expire { at_unix_ms })
}

fn restore(args: &[Bytes]) -> Result<Effect, &'static str> {
    let ttl = args
        .get(2)
        .and_then(|word| moment(word, 1))
        .ok_or("the time is no integer")?;
    let payload = args.get(3).cloned().ok_or("the dump is missing")?;
    Ok(Effect::Restore {
        payload,
        ttl_unix_ms: (ttl != 0).then_some(ttl),
    })
}

pub(super) fn number(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

pub(super) fn moment(word: &[u8], unit_ms: u64) -> Option<u64> {
    u64::try_from(number(word)?).ok()?.checked_mul(unit_ms)
}

/// A score as the server reads it; it knows `inf` in any case and hexadecimal, which no stream carries.
fn score(word: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

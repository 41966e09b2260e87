//! Operations as the rules see them, read from their commands.

use crate::resp::{Word, Words};

/// What a SET makes of the expiry time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Time {
    /// The key does not expire any more.
    Never,
    /// Unix milliseconds.
    At(u64),
    /// As it was.
    Kept,
}

/// The id of an entry.
pub type Id = (u64, u64);

/// What a trim takes away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// What is below this id.
    Below(Id),
    /// All but the newest so many of what it saw.
    Longest(u64),
}

/// What an operation does to one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// It goes.
    Del,
    /// It becomes a string.
    Set(Word, Time),
    /// A number is added.
    Add(i64),
    /// Bits are set.
    Bits(Vec<(u64, bool)>),
    /// A HyperLogLog takes elements in.
    Take(Vec<Word>),
    /// Members join.
    Join(Vec<Word>),
    /// Members leave.
    Leave(Vec<Word>),
    /// Fields are set, and their times.
    Fields(Vec<(Word, Word)>, Time),
    /// Fields go.
    Unset(Vec<Word>),
    /// The expiry time of fields is set, or taken away.
    FieldTimes(Vec<Word>, Option<u64>),
    /// A number is added to a field.
    AddField(Word, i64),
    /// Members get scores.
    Scores(Vec<(Word, f64)>),
    /// Members go.
    Unscore(Vec<Word>),
    /// A number is added to a score.
    AddScore(Word, f64),
    /// An entry joins a stream: its id, its fields, and what goes for it.
    Enter(Id, Vec<Word>, Option<Cut>),
    /// Entries leave a stream.
    Strike(Vec<Id>),
    /// The oldest entries leave a stream.
    Trim(Cut),
    /// The expiry time is set, or taken away.
    Expire(Option<u64>),
    /// It tells what a pop of its site took: that one's number, and the elements.
    Told(u64, Vec<Word>),
    /// Judged by its properties only.
    Whole,
}

/// The types that have rules by element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Strings and counters.
    Text,
    /// Sets.
    Set,
    /// Hashes.
    Hash,
    /// Sorted sets.
    Sorted,
    /// Streams.
    Stream,
}

/// One operation on one key.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its site.
    pub site: usize,
    /// Its number there.
    pub seq: u64,
    /// What it saw.
    pub past: Vec<u64>,
    /// When it was written.
    pub time: u64,
    /// It is a part of a snapshot, which yields to whatever it has not seen.
    pub is_state: bool,
    /// Some snapshot has met it: it is a part of that, and decides nothing about another one.
    pub is_inside: bool,
    /// What it does.
    pub effect: Effect,
    /// The command, for a human.
    pub text: String,
}

impl Op {
    /// Whether the other is in its past, or is a part of a snapshot and has not seen this one.
    pub fn sees(&self, other: &Op) -> bool {
        let is_beside = !self.is_state && !self.is_inside && !other.has_met(self);
        self.has_met(other) || other.is_state && is_beside
    }

    /// Whether the other is in its past.
    pub fn has_met(&self, other: &Op) -> bool {
        self.past[other.site] >= other.seq
    }

    /// The order of operations that did not see each other.
    pub fn order(&self) -> (bool, u64, usize) {
        (!self.is_state, self.time, self.site)
    }

    /// The type that it needs or makes.
    pub fn kind(&self) -> Option<Kind> {
        match self.effect {
            Effect::Set(..) | Effect::Add(_) | Effect::Bits(_) | Effect::Take(_) => Some(Kind::Text),
            Effect::Join(_) | Effect::Leave(_) => Some(Kind::Set),
            Effect::Fields(..) | Effect::Unset(_) | Effect::AddField(..) | Effect::FieldTimes(..) => {
                Some(Kind::Hash)
            }
            Effect::Scores(_) | Effect::Unscore(_) | Effect::AddScore(..) => Some(Kind::Sorted),
            Effect::Enter(..) | Effect::Strike(_) | Effect::Trim(_) => Some(Kind::Stream),
            Effect::Del | Effect::Expire(_) | Effect::Told(..) | Effect::Whole => None,
        }
    }
}

fn number(word: &Word) -> i64 {
    String::from_utf8_lossy(word)
        .parse()
        .expect("an integer in the stream")
}

fn float(word: &Word) -> f64 {
    String::from_utf8_lossy(word)
        .parse()
        .expect("a number in the stream")
}

fn pairs(words: &[Word]) -> Vec<(Word, Word)> {
    words
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// A command's effect on each of its keys.
pub fn effects(db: usize, words: &Words) -> Vec<(usize, Word, Effect)> {
    let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
    let one = |effect| vec![(db, words[1].clone(), effect)];
    let rest = || words[2..].to_vec();
    let whole = |keys: &[usize]| {
        keys.iter()
            .map(|at| (db, words[*at].clone(), Effect::Whole))
            .collect()
    };
    match name.as_str() {
        "DEL" | "UNLINK" => words[1..]
            .iter()
            .map(|key| (db, key.clone(), Effect::Del))
            .collect(),
        "SET" => one(Effect::Set(words[2].clone(), set_time(words))),
        "SETNX" => one(Effect::Set(words[2].clone(), Time::Never)),
        "MSET" | "MSETNX" => pairs(&words[1..])
            .into_iter()
            .map(|(key, value)| (db, key, Effect::Set(value, Time::Never)))
            .collect(),
        "INCR" => one(Effect::Add(1)),
        "DECR" => one(Effect::Add(-1)),
        "INCRBY" => one(Effect::Add(number(&words[2]))),
        "DECRBY" => one(Effect::Add(-number(&words[2]))),
        "SETBIT" | "SETRANGE" | "BITFIELD" => one(bits(&name, words)),
        "PFADD" if words.len() > 2 => one(Effect::Take(rest())),
        "SADD" => one(Effect::Join(rest())),
        "SREM" => one(Effect::Leave(rest())),
        "HSET" | "HMSET" | "HSETNX" => one(Effect::Fields(pairs(&words[2..]), Time::Never)),
        "HSETEX" => {
            let (options, given) = of_fields(words, 2);
            one(Effect::Fields(pairs(given), time(options)))
        }
        "HGETDEL" => one(Effect::Unset(of_fields(words, 2).1.to_vec())),
        "HPERSIST" => one(Effect::FieldTimes(of_fields(words, 2).1.to_vec(), None)),
        "HPEXPIREAT" => {
            let (options, fields) = of_fields(words, 3);
            let is_told = options.is_empty() || fields.len() == 1;
            let at = Some(number(&words[2]) as u64);
            one(match is_told {
                true => Effect::FieldTimes(fields.to_vec(), at),
                false => Effect::Whole,
            })
        }
        "HDEL" => one(Effect::Unset(rest())),
        "HINCRBY" => one(Effect::AddField(words[2].clone(), number(&words[3]))),
        "ZADD" => one(scores(words)),
        "ZREM" => one(Effect::Unscore(rest())),
        "ZINCRBY" => one(Effect::AddScore(words[3].clone(), float(&words[2]))),
        "XADD" | "XDEL" | "XTRIM" => one(entries(&name, words)),
        "SYNCER.TOOK" => one(told(words)),
        "PEXPIREAT" => one(Effect::Expire(Some(number(&words[2]) as u64))),
        "PERSIST" => one(Effect::Expire(None)),
        "RENAME" | "RENAMENX" | "SMOVE" | "LMOVE" | "RPOPLPUSH" => whole(&[1, 2]),
        "COPY" | "BITOP" => whole(&[2]),
        "SORT" => whole(&[4]),
        "XGROUP" => whole(&[2]),
        "MOVE" => {
            let to = number(&words[2]) as usize;
            vec![
                (db, words[1].clone(), Effect::Whole),
                (to, words[1].clone(), Effect::Whole),
            ]
        }
        "SWAPDB" => Vec::new(),
        _ => whole(&[1]),
    }
}

/// No two elements are equal here, so their values tell them.
fn told(words: &Words) -> Effect {
    let values = words[3..].chunks_exact(3).map(|told| told[2][1..].to_vec());
    Effect::Told(number(&words[2]) as u64, values.collect())
}

fn set_time(words: &Words) -> Time {
    time(&words[3..])
}

fn time(options: &[Word]) -> Time {
    let mut time = Time::Never;
    for (at, option) in options.iter().enumerate() {
        match option.to_ascii_uppercase().as_slice() {
            b"KEEPTTL" => time = Time::Kept,
            b"PXAT" => time = Time::At(number(&options[at + 1]) as u64),
            _ => {}
        }
    }
    time
}

/// The options before FIELDS, and what follows its number.
pub fn of_fields(words: &Words, from: usize) -> (&[Word], &[Word]) {
    let is_fields = |word: &Word| word.eq_ignore_ascii_case(b"FIELDS");
    let at = from + words[from..].iter().position(is_fields).expect("FIELDS");
    (&words[from..at], &words[at + 2..])
}

/// What is stored, bit by bit. Increments, and long ranges, go by the whole value.
fn bits(name: &str, words: &Words) -> Effect {
    let mut bits = Vec::new();
    match name {
        "SETBIT" => bits.push((number(&words[2]) as u64, words[3] == b"1")),
        "SETRANGE" if words[3].len() <= 64 => {
            for (at, byte) in words[3].iter().enumerate() {
                let first = (number(&words[2]) as u64 + at as u64) * 8;
                bits.extend((0..8).map(|bit| (first + bit, byte & (0x80 >> bit) != 0)));
            }
        }
        "SETRANGE" => return Effect::Whole,
        _ => {
            for op in words[2..].chunks(4) {
                if op[0] != b"SET" {
                    return Effect::Whole;
                }
                let width: u64 = String::from_utf8_lossy(&op[1][1..]).parse().expect("a width");
                let (first, value) = (number(&op[2]) as u64, number(&op[3]));
                bits.extend((0..width).map(|bit| (first + bit, (value >> (width - 1 - bit)) & 1 != 0)));
            }
        }
    }
    Effect::Bits(bits)
}

/// An id in a stream.
pub fn id(word: &Word) -> Id {
    let text = String::from_utf8_lossy(word);
    let (ms, seq) = text.split_once('-').unwrap_or((&text, "0"));
    let number = |text: &str| text.parse().expect("an id in the stream");
    (number(ms), number(seq))
}

fn entries(name: &str, words: &Words) -> Effect {
    let is = |at: usize, name: &[u8]| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name));
    if name == "XDEL" {
        return Effect::Strike(words[2..].iter().map(id).collect());
    }
    let at = 2 + usize::from(is(2, b"NOMKSTREAM"));
    let threshold = at + 1 + usize::from(is(at + 1, b"="));
    let (cut, behind) = match (is(at, b"MINID"), is(at, b"MAXLEN")) {
        (true, _) => (Some(Cut::Below(id(&words[threshold]))), threshold + 1),
        (_, true) => (
            Some(Cut::Longest(number(&words[threshold]) as u64)),
            threshold + 1,
        ),
        _ => (None, at),
    };
    match cut {
        Some(cut) if name == "XTRIM" => Effect::Trim(cut),
        _ => Effect::Enter(id(&words[behind]), words[behind + 1..].to_vec(), cut),
    }
}

fn scores(words: &Words) -> Effect {
    let is_option = |word: &&Word| {
        matches!(
            word.to_ascii_uppercase().as_slice(),
            b"NX" | b"XX" | b"GT" | b"LT" | b"CH"
        )
    };
    let options = words[2..].iter().take_while(is_option).count();
    let conditional = words[2..2 + options]
        .iter()
        .any(|word| !word.eq_ignore_ascii_case(b"CH"));
    let pairs = &words[2 + options..];
    if conditional && pairs.len() > 2 {
        return Effect::Whole;
    }
    Effect::Scores(
        pairs
            .chunks_exact(2)
            .map(|pair| (pair[1].clone(), float(&pair[0])))
            .collect(),
    )
}

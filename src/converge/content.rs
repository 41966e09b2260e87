//! What is known of a key's content: all of it, some elements, or nothing.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::entries::{self, Bound};
use super::evaluate::is_write;
use super::fields;
use super::list::{self, Sequence};
use super::pieces::counted;
use crate::command::effect::{Effect, SetExpiry};

/// The type of a key's content, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whatever lay before the window.
    Unknown,
    /// There is no such key.
    Absent,
    /// A string; its value is the element with the empty name, others are [pieces](crate::command::pieces) of it.
    Text,
    /// A set; elements are its members.
    Set,
    /// A hash; elements are its fields.
    Hash,
    /// A sorted set; elements are its members.
    Sorted,
    /// A stream; elements are its entries, by the names of their ids, and what [`entries`](super::entries) adds. It may
    /// be empty.
    Stream,
    /// A list; it has its elements in [`Content::list`].
    List,
    /// Something whose elements this room does not follow.
    Other,
}

/// What is known of one element.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// It is not there.
    Absent,
    /// It is there; sets and HyperLogLogs have no more to say.
    Member,
    /// The bit of a string.
    Bit(bool),
    /// It holds these bytes.
    Bytes(Bytes),
    /// The entry has these fields and values.
    Entry(Vec<Bytes>),
    /// The unknown number of the base, plus this.
    Plus(i64),
    /// What trims to a length left of a stream's entries that nobody has named.
    Rest(Rc<Vec<Bound>>),
    /// It has this score.
    Score(f64),
    /// The unknown score of the base, plus this.
    ScorePlus(f64),
}

/// The key's expiry time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Whatever the base had.
    Unknown,
    /// The key does not expire.
    Never,
    /// Unix milliseconds.
    At(u64),
}

impl Expiry {
    /// The register's order: the longest wins, never is longest.
    fn rank(self) -> u64 {
        match self {
            Expiry::Unknown => 0,
            Expiry::At(ms) => ms,
            Expiry::Never => u64::MAX,
        }
    }

    /// The longer of two.
    pub fn longest(self, other: Expiry) -> Expiry {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// A key's content as far as it is known: elements not listed are unknown while `rest_unknown` holds,
/// absent otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The type.
    pub kind: Kind,
    /// Elements that are known.
    pub elements: BTreeMap<Bytes, Value>,
    /// Whether elements not listed may exist.
    pub rest_unknown: bool,
    /// The expiry register.
    pub expiry: Expiry,
    /// Expiry times of a hash's fields, as far as they say something.
    pub times: BTreeMap<Bytes, Expiry>,
    /// What a list holds, if that is known.
    pub list: Option<Box<Sequence>>,
}

/// The element under which a string keeps its value.
pub const TEXT: Bytes = Bytes::new();

impl Content {
    /// Nothing is known.
    pub fn unknown() -> Content {
        Content {
            kind: Kind::Unknown,
            elements: BTreeMap::new(),
            rest_unknown: true,
            expiry: Expiry::Unknown,
            times: BTreeMap::new(),
            list: None,
        }
    }

    /// The key does not exist.
    pub fn absent() -> Content {
        Content::empty(Kind::Absent)
    }

    /// A key of this type without elements, wholly known.
    pub fn empty(kind: Kind) -> Content {
        Content {
            kind,
            elements: BTreeMap::new(),
            rest_unknown: false,
            expiry: Expiry::Never,
            times: BTreeMap::new(),
            list: (kind == Kind::List).then(Box::default),
        }
    }

    /// A string of this value, wholly known.
    pub fn text(value: Bytes) -> Content {
        let mut content = Content::empty(Kind::Text);
        content.elements.insert(TEXT, Value::Bytes(value));
        content
    }

    /// What is known of one element.
    pub fn get(&self, element: &Bytes) -> Value {
        match self.elements.get(element) {
            Some(value) => value.clone(),
            None if !self.rest_unknown => Value::Absent,
            None if self.kind == Kind::Sorted => Value::ScorePlus(0.0),
            None => Value::Plus(0),
        }
    }

    /// Whether nothing is left, which a database shows as no key.
    pub fn is_empty(&self) -> bool {
        self.kind != Kind::Stream
            && !self.rest_unknown
            && self.elements.values().all(|value| *value == Value::Absent)
            && self.list.as_ref().is_none_or(|list| list.is_empty())
    }

    /// Drops what says nothing, so that equal knowledge compares equal.
    pub fn normal(&self) -> Content {
        let says_nothing = |value: &Value| match value {
            Value::Absent => !self.rest_unknown,
            Value::Plus(0) => self.rest_unknown,
            Value::ScorePlus(plus) => self.rest_unknown && *plus == 0.0,
            _ => false,
        };
        let mut content = self.clone();
        content.times.retain(|field, time| {
            let says_nothing = if self.rest_unknown {
                Expiry::Unknown
            } else {
                Expiry::Never
            };
            *time != says_nothing && self.get(field) != Value::Absent
        });
        if self.kind != Kind::Stream {
            content.elements.retain(|_, value| !says_nothing(value));
        }
        if content.is_empty() && content.kind != Kind::Other {
            Content::absent()
        } else {
            content
        }
    }

    /// The content after a command that took effect.
    pub fn after(mut self, effect: &Effect) -> Content {
        match effect {
            Effect::Del => return Content::absent(),
            Effect::Set { value, expiry } => {
                let kept = if self.kind == Kind::Absent {
                    Expiry::Never
                } else {
                    self.expiry
                };
                let mut content = Content::text(value.clone());
                content.expiry = match expiry {
                    SetExpiry::Clear => Expiry::Never,
                    SetExpiry::At(ms) => Expiry::At(*ms),
                    SetExpiry::Keep => kept,
                };
                return content;
            }
            Effect::Expire { at_unix_ms } => {
                self.expiry = at_unix_ms.map_or(Expiry::Never, Expiry::At);
                return self;
            }
            Effect::Restore { ttl_unix_ms, .. } => {
                let mut content = Content::unknown();
                content.kind = Kind::Other;
                content.expiry = ttl_unix_ms.map_or(Expiry::Never, Expiry::At);
                return content;
            }
            Effect::ListTook { .. } => return self,
            // It may have taken the last element, and the key with its expiry time gone for a moment.
            Effect::Opaque | Effect::Derived => {
                return Content {
                    kind: Kind::Other,
                    ..Content::unknown()
                };
            }
            _ => {}
        }
        self.prepare(kind_of(effect));
        self.apply_elements(effect);
        if self.is_empty() { Content::absent() } else { self }
    }

    /// Makes room for elements of a type: a command of another type that took effect found no key.
    fn prepare(&mut self, kind: Kind) {
        if self.kind == Kind::Unknown {
            self.kind = kind;
        } else if self.kind == Kind::Other {
            *self = Content {
                kind,
                expiry: self.expiry,
                ..Content::unknown()
            };
        } else if self.kind != kind {
            *self = Content::empty(kind);
        }
    }

    fn apply_elements(&mut self, effect: &Effect) {
        match effect {
            Effect::Count { delta } => self.count(*delta),
            Effect::HashCount { field, delta } => {
                self.keep_time(field);
                self.add(field, *delta);
            }
            Effect::HashSetTimed { .. } | Effect::FieldExpire { .. } => fields::apply(self, effect),
            Effect::Bits(bits) => bits
                .iter()
                .for_each(|(name, bit)| self.put(name, Value::Bit(*bit))),
            Effect::SetAdd(names) | Effect::Union(names) => {
                names.iter().for_each(|name| self.put(name, Value::Member));
            }
            Effect::SetRemove(names) | Effect::HashRemove(names) | Effect::SortedRemove(names) => {
                names.iter().for_each(|name| self.put(name, Value::Absent));
                if self.rest_unknown {
                    // It may have been the last element, and the key with its expiry time gone for a moment.
                    self.expiry = Expiry::Unknown;
                }
            }
            Effect::HashSet(pairs) => {
                for (field, value) in pairs {
                    self.set_time(field, Expiry::Never);
                    self.put(field, Value::Bytes(value.clone()));
                }
            }
            Effect::SortedAdd(pairs) => {
                pairs
                    .iter()
                    .for_each(|(score, member)| self.put(member, Value::Score(*score)));
            }
            Effect::SortedCount { member, delta } => {
                if let Some(sum) = add_score(&self.get(member), *delta) {
                    self.put(member, sum);
                }
            }
            Effect::StreamAdd { .. }
            | Effect::StreamRemove(_)
            | Effect::StreamTrim(_)
            | Effect::StreamSplice(_) => entries::apply(self, effect),
            Effect::ListPush { .. }
            | Effect::ListPop { .. }
            | Effect::ListInsert { .. }
            | Effect::ListRemove { .. } => {
                list::apply(self, effect);
                if self.rest_unknown && !is_write(effect) {
                    // As above.
                    self.expiry = Expiry::Unknown;
                }
            }
            _ => {}
        }
    }

    pub(super) fn put(&mut self, element: &Bytes, value: Value) {
        self.elements.insert(element.clone(), value);
    }

    /// A counter counts what the text is with all that was set in it.
    fn count(&mut self, delta: i64) {
        match counted(self) {
            None => {
                *self = Content {
                    kind: Kind::Other,
                    expiry: self.expiry,
                    ..Content::unknown()
                };
            }
            Some(value) => {
                if let Some(sum) = add(&value, delta) {
                    self.elements.clear();
                    self.put(&TEXT, sum);
                }
            }
        }
    }

    fn add(&mut self, element: &Bytes, delta: i64) {
        if let Some(sum) = add(&self.get(element), delta) {
            self.put(element, sum);
        }
    }

    /// The content after a command of ours that may find nothing to do when it is executed.
    pub fn after_if_possible(self, effect: &Effect) -> Content {
        match effect {
            Effect::Del | Effect::Set { .. } | Effect::Restore { .. } => return self.after(effect),
            Effect::Opaque | Effect::Derived | Effect::ListTook { .. } => return self.after(effect),
            Effect::Expire { .. } if self.kind == Kind::Absent => return self,
            Effect::Expire { .. } => return self.after(effect),
            _ => {}
        }
        let kind = kind_of(effect);
        let fits = matches!(self.kind, Kind::Unknown | Kind::Absent | Kind::Other) || self.kind == kind;
        let removes = matches!(
            effect,
            Effect::SetRemove(_)
                | Effect::HashRemove(_)
                | Effect::FieldExpire { .. }
                | Effect::SortedRemove(_)
                | Effect::StreamRemove(_)
                | Effect::StreamTrim(_)
                | Effect::ListPop { .. }
                | Effect::ListInsert { .. }
                | Effect::ListRemove { .. }
        );
        let finds = self.list.as_ref().is_none_or(|list| list.has(effect));
        if !finds || !fits || (removes && self.kind == Kind::Absent) {
            return self;
        }
        match effect {
            Effect::StreamAdd { id, .. } if entries::refuses(&self, id) => self,
            Effect::Count { delta } if counted(&self).is_some_and(|value| add(&value, *delta).is_none()) => {
                self
            }
            Effect::HashCount { field, delta } if add(&self.get(field), *delta).is_none() => self,
            _ => self.after(effect),
        }
    }

    /// What is known once a command turned out to have had no effect.
    pub fn after_no_effect(mut self, effect: &Effect) -> Content {
        let fits = self.kind == Kind::Unknown || self.kind == kind_of(effect);
        match effect {
            // An expiry time is refused only where there is no key, PERSIST also where there is no time.
            Effect::Del | Effect::Expire { at_unix_ms: Some(_) } => return Content::absent(),
            Effect::Expire { at_unix_ms: None } => self.expiry = Expiry::Never,
            Effect::SetRemove(names) | Effect::HashRemove(names) | Effect::SortedRemove(names) if fits => {
                names.iter().for_each(|name| self.put(name, Value::Absent));
            }
            Effect::HashSetTimed { .. } | Effect::FieldExpire { .. } if fits => {
                fields::had_no_effect(&mut self, effect);
            }
            // It may have come back otherwise than it was sent, and what it did to times with it.
            Effect::Opaque if self.kind == Kind::Hash => fields::forget_times(&mut self),
            // It had been there: what it holds now was known to whoever wrote the piece.
            Effect::Bits(_) | Effect::Union(_) if fits => {
                self.kind = Kind::Text;
                self.apply_elements(effect);
            }
            // Of another type the key can only be where its operations tell so.
            Effect::SetAdd(members) if fits => {
                self.kind = Kind::Set;
                members.iter().for_each(|m| self.put(m, Value::Member));
            }
            Effect::SortedAdd(pairs) if fits => {
                self.kind = Kind::Sorted;
                let scores = pairs.iter();
                scores.for_each(|(score, member)| self.put(member, Value::Score(*score)));
            }
            Effect::StreamAdd { .. } | Effect::StreamRemove(_) | Effect::StreamSplice(_) if fits => {
                return entries::had_no_effect(self, effect);
            }
            Effect::ListPop { .. } if fits => return Content::absent(),
            Effect::ListRemove { .. } | Effect::ListInsert { .. } => {
                // It was thought to find something.
                if self.list.take_if(|list| list.has(effect)).is_some() {
                    self.rest_unknown = true;
                }
            }
            _ => return self,
        }
        if self.is_empty() { Content::absent() } else { self }
    }
}

/// The type that an effect makes or needs; `Unknown` for those that fit every type.
pub fn kind_of(effect: &Effect) -> Kind {
    match effect {
        Effect::Set { .. } | Effect::Count { .. } | Effect::Bits(_) | Effect::Union(_) => Kind::Text,
        Effect::SetAdd(_) | Effect::SetRemove(_) => Kind::Set,
        Effect::HashSet(_)
        | Effect::HashRemove(_)
        | Effect::HashCount { .. }
        | Effect::HashSetTimed { .. }
        | Effect::FieldExpire { .. } => Kind::Hash,
        Effect::SortedAdd(_) | Effect::SortedRemove(_) | Effect::SortedCount { .. } => Kind::Sorted,
        Effect::StreamAdd { .. }
        | Effect::StreamRemove(_)
        | Effect::StreamTrim(_)
        | Effect::StreamSplice(_) => Kind::Stream,
        Effect::ListPush { .. }
        | Effect::ListPop { .. }
        | Effect::ListInsert { .. }
        | Effect::ListRemove { .. } => Kind::List,
        Effect::Restore { .. } | Effect::Opaque | Effect::Derived => Kind::Other,
        Effect::Del | Effect::Expire { .. } | Effect::ListTook { .. } => Kind::Unknown,
    }
}

/// Adds to a counter; `None` where the database would refuse (not an integer, or overflow).
pub fn add(value: &Value, delta: i64) -> Option<Value> {
    match value {
        Value::Absent => Some(Value::Bytes(Bytes::from(delta.to_string()))),
        Value::Plus(sum) => sum.checked_add(delta).map(Value::Plus),
        Value::Bytes(text) => {
            let sum = integer(text)?.checked_add(delta)?;
            Some(Value::Bytes(Bytes::from(sum.to_string())))
        }
        Value::Member
        | Value::Bit(_)
        | Value::Entry(_)
        | Value::Rest(_)
        | Value::Score(_)
        | Value::ScorePlus(_) => None,
    }
}

/// The sum, if it is the same in whatever order these are added: on the way there no sum can overflow.
pub fn add_in_any_order(value: &Value, deltas: impl Iterator<Item = i64>) -> Option<Value> {
    let number = match value {
        Value::Absent => 0,
        Value::Plus(number) => *number,
        Value::Bytes(text) => integer(text)?,
        Value::Member
        | Value::Bit(_)
        | Value::Entry(_)
        | Value::Rest(_)
        | Value::Score(_)
        | Value::ScorePlus(_) => {
            return None;
        }
    };
    let (mut up, mut down, mut any) = (0_i64, 0_i64, false);
    for delta in deltas {
        any = true;
        up = up.checked_add(delta.max(0))?;
        down = down.checked_add(delta.min(0))?;
    }
    number.checked_add(up)?;
    let sum = number.checked_add(down)? + up;
    Some(match value {
        _ if !any => value.clone(),
        Value::Plus(_) => Value::Plus(sum),
        _ => Value::Bytes(Bytes::from(sum.to_string())),
    })
}

/// Adds to a score; `None` where the database would refuse (the sum is not a number).
pub fn add_score(value: &Value, delta: f64) -> Option<Value> {
    let (sum, make): (f64, fn(f64) -> Value) = match value {
        Value::Absent => (delta, Value::Score),
        Value::Score(score) => (score + delta, Value::Score),
        Value::ScorePlus(plus) => (plus + delta, Value::ScorePlus),
        Value::Plus(0) => (delta, Value::ScorePlus),
        _ => return None,
    };
    (!sum.is_nan()).then(|| make(sum))
}

/// The integer that a counter command would read: the canonical decimal form only (Redis
/// `string2ll`).
pub fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

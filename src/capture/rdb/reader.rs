//! The snapshot's outer machine: header, sections, keys, end.
//!
//! ```text
//! Magic ─▶ Section ─┬─ aux ──▶ AuxName ─▶ AuxValue ──────────┐
//!            ▲      ├─ key ──▶ Key ─┬─▶ Value ──────────────▶│
//!            │      │               └─▶ Wanted (a string) ──▶│
//!            │      ├─ others ─────▶ Value ─────────────────▶│
//!            └──────┼──────────────────────────────────────◀─┘
//!                   └─ 255 ──▶ Checksum ─▶ Over
//! ```

use crc_fast::{CrcAlgorithm, Digest};

use super::input::{Carry, Input};
use super::layout::{Kind, Part, layout};
use super::text::{Outcome, Text};
use super::walk::{Stop, Walk};
use super::{Error, Flavour, Item, Limits};
use crate::value::atom::{Atom, fixed, length, tail};

/// The first version that ends in a checksum.
const CHECKSUM_VERSION_MIN: u16 = 5;
const MAGIC_BYTES: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Section,
    AuxName,
    AuxValue {
        named: bool,
    },
    Key {
        code: u8,
    },
    /// The key was told; what becomes of its value is decided at the next call.
    Named {
        code: u8,
        kind: Kind,
        parts: &'static [Part],
    },
    Wanted,
    Value {
        then: Then,
    },
    Checksum,
    Over,
}

/// What to say when a value is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Function,
    ModuleAux,
    /// A value that was asked for and is no string.
    NoText,
    /// A value whose bytes are kept, of this type number.
    Raw {
        code: u8,
    },
}

/// What happened, without the bytes.
enum Met {
    NeedMore,
    Nothing,
    Header,
    Aux,
    Function,
    ModuleAux,
    Key { kind: Kind },
    Value { text: bool },
    Raw { code: u8 },
    End { checksummed: bool },
}

/// Reads one snapshot.
#[derive(Debug, Clone)]
pub struct Reader {
    limits: Limits,
    state: State,
    carry: Carry,
    walk: Walk,
    name: Text,
    text: Text,
    wanted: bool,
    raw_wanted: bool,
    /// The bytes of the value that is being read, if they are kept; `None` once they are too many.
    raw: Option<Vec<u8>>,
    digest: Digest,
    offset: u64,
    flavour: Flavour,
    version: u16,
    db: u32,
    expire_at_ms: Option<i64>,
}

/// What [`Reader::next`] made of its input.
#[derive(Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// Bytes read; all of them if there is no item.
    pub consumed: usize,
    /// What was met; `None` asks for more bytes.
    pub item: Option<Item<'a>>,
}

impl Reader {
    /// A reader before the first byte.
    pub fn new(limits: Limits) -> Reader {
        Reader {
            limits,
            state: State::Magic,
            carry: Carry::default(),
            walk: Walk::default(),
            name: Text::default(),
            text: Text::default(),
            wanted: false,
            raw_wanted: false,
            raw: None,
            digest: Digest::new(CrcAlgorithm::Crc64Redis),
            offset: 0,
            flavour: Flavour::Redis,
            version: 0,
            db: 0,
            expire_at_ms: None,
        }
    }

    /// After [`Item::Key`]: the next item shall be its value.
    pub fn want_value(&mut self) {
        self.wanted = true;
    }

    /// After [`Item::Key`]: the next item shall be its value, as the bytes that stand in the snapshot.
    pub fn want_raw(&mut self) {
        self.raw_wanted = true;
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// To be asked when no byte follows.
    ///
    /// # Errors
    /// The snapshot is not over.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Over => Ok(()),
            _ => Err(Error::Truncated { offset: self.offset }),
        }
    }

    /// Reads on up to the next item or the end of `bytes`.
    ///
    /// # Errors
    /// The snapshot does not read; nothing can follow.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Read<'_>, Error> {
        // A value begins and ends with a call, so its bytes are those that the calls in between consume.
        let keeps = match self.state {
            State::Named { .. } if self.raw_wanted => {
                self.raw.get_or_insert_default().clear();
                true
            }
            State::Value {
                then: Then::Raw { .. },
            } => true,
            _ => false,
        };
        let mut carry = std::mem::take(&mut self.carry);
        let mut input = Input::new(bytes, self.offset, &mut carry);
        let met = loop {
            match self.advance(bytes, &mut input)? {
                Met::Nothing => {}
                met => break met,
            }
        };
        let consumed = input.consumed();
        self.carry = carry;
        self.offset += consumed as u64;
        if keeps {
            self.keep_raw(bytes.get(..consumed).unwrap_or_default());
        }
        if !matches!(self.state, State::Checksum | State::Over) {
            self.digest.update(bytes.get(..consumed).unwrap_or_default());
        }
        Ok(Read {
            consumed,
            item: self.item(met),
        })
    }

    fn keep_raw(&mut self, bytes: &[u8]) {
        let max = self.limits.value_bytes_max;
        if let Some(raw) = &mut self.raw {
            if (raw.len() + bytes.len()) as u64 > max {
                self.raw = None;
            } else {
                raw.extend_from_slice(bytes);
            }
        }
    }

    /// One move.
    fn advance(&mut self, bytes: &[u8], input: &mut Input<'_>) -> Result<Met, Error> {
        match self.state {
            State::Magic => self.magic(input),
            State::Section => self.section(bytes, input),
            State::AuxName => Ok(match self.name.read(input, self.limits.aux_bytes_max)? {
                Outcome::NeedMore => Met::NeedMore,
                outcome => self.go(State::AuxValue {
                    named: outcome == Outcome::Done,
                }),
            }),
            State::AuxValue { named } => Ok(match self.text.read(input, self.limits.aux_bytes_max)? {
                Outcome::NeedMore => Met::NeedMore,
                outcome => {
                    self.state = State::Section;
                    if named && outcome == Outcome::Done {
                        Met::Aux
                    } else {
                        Met::Nothing
                    }
                }
            }),
            State::Key { code } => self.key(code, input),
            State::Named { code, kind, parts } => {
                self.expire_at_ms = None;
                if std::mem::take(&mut self.raw_wanted) {
                    return Ok(self.pass_over(parts, Then::Raw { code }));
                }
                let wanted = std::mem::take(&mut self.wanted);
                if wanted && kind == Kind::String {
                    return Ok(self.go(State::Wanted));
                }
                let then = if wanted { Then::NoText } else { Then::Nothing };
                Ok(self.pass_over(parts, then))
            }
            State::Wanted => Ok(match self.text.read(input, self.limits.value_bytes_max)? {
                Outcome::NeedMore => Met::NeedMore,
                outcome => {
                    self.state = State::Section;
                    Met::Value {
                        text: outcome == Outcome::Done,
                    }
                }
            }),
            State::Value { then } => self.value(then, input),
            State::Checksum => self.checksum(input),
            State::Over if input.is_empty() => Ok(Met::NeedMore),
            State::Over => Err(Error::Trailing {
                offset: input.offset(),
            }),
        }
    }

    fn go(&mut self, state: State) -> Met {
        self.state = state;
        Met::Nothing
    }

    fn pass_over(&mut self, parts: &'static [Part], then: Then) -> Met {
        self.walk.begin(parts);
        self.go(State::Value { then })
    }

    fn magic(&mut self, input: &mut Input<'_>) -> Result<Met, Error> {
        let Some(magic) = input.atom(fixed::<MAGIC_BYTES>)? else {
            return Ok(Met::NeedMore);
        };
        let found = if let Some(version) = magic.strip_prefix(b"REDIS") {
            number(version).map(|version| (Flavour::Redis, version))
        } else if let Some(version) = magic.strip_prefix(b"VALKEY") {
            number(version).map(|version| (Flavour::Valkey, version))
        } else {
            None
        };
        let bad = || Error::Magic(magic.escape_ascii().to_string());
        (self.flavour, self.version) = found.ok_or_else(bad)?;
        self.state = State::Section;
        Ok(Met::Header)
    }

    fn section(&mut self, bytes: &[u8], input: &mut Input<'_>) -> Result<Met, Error> {
        let offset = input.offset();
        let Some(section) = input.atom(section)? else {
            return Ok(Met::NeedMore);
        };
        Ok(match section {
            Section::Aux => self.go(State::AuxName),
            Section::Database(number) => {
                self.db = u32::try_from(number).map_err(|_| Error::Database { number, offset })?;
                Met::Nothing
            }
            Section::ExpireAt { unix_ms } => {
                self.expire_at_ms = Some(unix_ms);
                Met::Nothing
            }
            Section::End => {
                self.digest
                    .update(bytes.get(..input.consumed()).unwrap_or_default());
                if self.version < CHECKSUM_VERSION_MIN {
                    self.state = State::Over;
                    return Ok(Met::End { checksummed: false });
                }
                self.go(State::Checksum)
            }
            Section::Other(FUNCTION) => self.pass_over(&[Part::Text], Then::Function),
            Section::Other(MODULE_AUX) => self.pass_over(MODULE_AUX_PARTS, Then::ModuleAux),
            Section::Other(IDLE) => self.pass_over(&[Part::Length], Then::Nothing),
            Section::Other(FREQUENCY) => self.pass_over(&[Part::Bytes(1)], Then::Nothing),
            Section::Other(SIZES) => self.pass_over(&[Part::Length, Part::Length], Then::Nothing),
            Section::Other(SLOT_INFO) => {
                self.pass_over(&[Part::Length, Part::Length, Part::Length], Then::Nothing)
            }
            Section::Other(SLOT_IMPORT) if self.flavour == Flavour::Valkey => {
                self.pass_over(SLOT_IMPORT_PARTS, Then::Nothing)
            }
            Section::Other(OLD_MODULE) => return Err(Error::OldModule { offset }),
            Section::Other(code) if layout(self.flavour, code).is_some() => self.go(State::Key { code }),
            Section::Other(code) if code >= SECTION_MIN => {
                return Err(self.unknown("section", code.into(), offset));
            }
            Section::Other(code) => return Err(self.unknown("type", code.into(), offset)),
        })
    }

    fn key(&mut self, code: u8, input: &mut Input<'_>) -> Result<Met, Error> {
        let max = self.limits.key_bytes_max;
        let offset = input.offset();
        let outcome = self.name.read(input, max)?;
        if let Some(bytes) = self.name.excess_bytes() {
            return Err(Error::KeyTooLong { bytes, max, offset });
        }
        if outcome == Outcome::NeedMore {
            return Ok(Met::NeedMore);
        }
        let (kind, parts) = layout(self.flavour, code).unwrap_or((Kind::String, &[]));
        self.wanted = false;
        self.raw_wanted = false;
        self.state = State::Named { code, kind, parts };
        Ok(Met::Key { kind })
    }

    fn value(&mut self, then: Then, input: &mut Input<'_>) -> Result<Met, Error> {
        match self.walk.run(input) {
            Ok(false) => return Ok(Met::NeedMore),
            Ok(true) => self.state = State::Section,
            Err(Stop::ModulePart { code, offset }) => return Err(self.unknown("module part", code, offset)),
            Err(Stop::Bytes(error)) => return Err(error),
        }
        Ok(match then {
            Then::Nothing => Met::Nothing,
            Then::Function => Met::Function,
            Then::ModuleAux => Met::ModuleAux,
            Then::NoText => Met::Value { text: false },
            Then::Raw { code } => Met::Raw { code },
        })
    }

    fn checksum(&mut self, input: &mut Input<'_>) -> Result<Met, Error> {
        let Some(found) = input.atom(fixed::<8>)? else {
            return Ok(Met::NeedMore);
        };
        let (found, computed) = (u64::from_le_bytes(found), self.digest.finalize());
        if found != 0 && found != computed {
            return Err(Error::Checksum { found, computed });
        }
        self.state = State::Over;
        Ok(Met::End {
            checksummed: found != 0,
        })
    }

    fn unknown(&self, what: &'static str, code: u64, offset: u64) -> Error {
        Error::Unknown {
            what,
            code,
            offset,
            flavour: self.flavour,
            version: self.version,
        }
    }

    fn item(&self, met: Met) -> Option<Item<'_>> {
        Some(match met {
            Met::NeedMore | Met::Nothing => return None,
            Met::Header => Item::Header {
                flavour: self.flavour,
                version: self.version,
            },
            Met::Aux => Item::Aux {
                name: self.name.bytes(),
                value: self.text.bytes(),
            },
            Met::Function => Item::Function,
            Met::ModuleAux => Item::ModuleAux,
            Met::Key { kind } => Item::Key {
                db: self.db,
                key: self.name.bytes(),
                kind,
                expire_at_ms: self.expire_at_ms,
            },
            Met::Value { text } => Item::Value {
                text: text.then(|| self.text.bytes()),
            },
            Met::Raw { code } => Item::Raw {
                code,
                bytes: self.raw.as_deref(),
            },
            Met::End { checksummed } => Item::End { checksummed },
        })
    }
}

/// A section's first byte, with what must be known at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Aux,
    Database(u64),
    ExpireAt { unix_ms: i64 },
    End,
    Other(u8),
}

// Section numbers; smaller ones are object types.
const SECTION_MIN: u8 = 240;
const SLOT_IMPORT: u8 = 243;
const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
const AUX: u8 = 250;
const SIZES: u8 = 251;
const EXPIRE_MS: u8 = 252;
const EXPIRE_S: u8 = 253;
const DATABASE: u8 = 254;
const END: u8 = 255;
/// The object type without a layout.
const OLD_MODULE: u8 = 6;

/// Module id, when it was saved (a number and its own number before), data.
const MODULE_AUX_PARTS: &[Part] = &[Part::Length, Part::Length, Part::Length, Part::Module];
/// The job's name and its slot ranges.
const SLOT_IMPORT_PARTS: &[Part] = &[Part::Text, Part::Each(&[Part::Length, Part::Length])];

fn section(bytes: &[u8]) -> Atom<Section> {
    let Some((&code, operand)) = bytes.split_first() else {
        return Ok(None);
    };
    Ok(match code {
        AUX => Some((Section::Aux, 1)),
        DATABASE => length(operand)?.map(|(number, len)| (Section::Database(number), 1 + len)),
        EXPIRE_MS => tail(bytes)
            .map(i64::from_le_bytes)
            .map(|unix_ms| (Section::ExpireAt { unix_ms }, 9)),
        EXPIRE_S => tail(bytes).map(i32::from_le_bytes).map(|unix_s| {
            let unix_ms = i64::from(unix_s) * 1_000;
            (Section::ExpireAt { unix_ms }, 5)
        }),
        END => Some((Section::End, 1)),
        code => Some((Section::Other(code), 1)),
    })
}

fn number(digits: &[u8]) -> Option<u16> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

//! What was said: keys and values as text, each with its place, before anybody asks what they mean.

use super::{Mistakes, Place, ROWS, Row, Secret, peer_rows};
use crate::suggest;
use std::collections::{BTreeMap, BTreeSet};
use toml::de::{DeTable, DeValue};

/// Longest configuration text.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// One value as it was written. The text is hidden from `Debug`, for it may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The value, numbers in their decimal notation.
    pub text: Secret,
    /// Where it stands.
    pub place: Place,
}

/// One `[[peer]]` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidPeer {
    /// The line on which the block begins.
    pub place: Place,
    /// Its keys.
    pub values: BTreeMap<&'static str, Said>,
    /// Keys whose value was refused; they are not missing as well.
    pub(super) refused: BTreeSet<&'static str>,
}

/// A whole configuration as it was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    values: BTreeMap<&'static str, Said>,
    refused: BTreeSet<&'static str>,
    /// The peers, in the order of the file.
    pub peers: Vec<SaidPeer>,
}

impl Config {
    /// Reads a text and lays the environment over it. What cannot be understood is left out and noted.
    pub fn said(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> (Config, Mistakes) {
        let mut reader = Reader {
            lines: Lines::of(text),
            config: Config::default(),
            mistakes: Mistakes::default(),
        };
        if text.len() > TEXT_BYTES_MAX {
            let what = format!("longer than {TEXT_BYTES_MAX} bytes; this is no configuration");
            reader.mistakes.note(&Place::File, "", what);
            return (reader.config, reader.mistakes);
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = error
                .span()
                .map_or(Place::File, |span| reader.lines.place(span.start));
            reader
                .mistakes
                .note(&place, "", format!("not valid TOML: {}", error.message()));
        }
        reader.root(root.get_ref());
        let Reader {
            mut config, mistakes, ..
        } = reader;
        for row in ROWS {
            let name = row.variable();
            if let Some(text) = variable(&name) {
                config.values.insert(
                    row.key,
                    Said {
                        text: Secret::new(text),
                        place: Place::Variable(name),
                    },
                );
            }
        }
        (config, mistakes)
    }

    /// What was said of a key.
    pub fn said_of(&self, key: &str) -> Option<&Said> {
        self.values.get(key)
    }

    /// Whether the key was there with a value of a wrong kind, which has been noted already.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.refused.contains(key)
    }
}

/// Line numbers of byte offsets.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(at, _)| at)
                .collect(),
        )
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line(self.0.partition_point(|&newline| newline < offset) + 1)
    }
}

struct Reader {
    lines: Lines,
    config: Config,
    mistakes: Mistakes,
}

impl Reader {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            let place = self.lines.place(key.span().start);
            let is_section = sections().any(|section| section == name);
            match value.get_ref() {
                DeValue::Array(blocks) if name == "peer" => {
                    for block in blocks.iter() {
                        let place = self.lines.place(block.span().start);
                        match block.get_ref() {
                            DeValue::Table(block) => self.peer(place, block),
                            _ => self.mistakes.note(&place, "peer", "not a [[peer]] block"),
                        }
                    }
                }
                _ if name == "peer" => {
                    self.mistakes
                        .note(&place, "peer", "write [[peer]] in double brackets, once per peer");
                }
                DeValue::Table(section) if is_section => self.section(name, section),
                DeValue::Table(_) => self.unknown_section(&place, name),
                _ if is_section => {
                    self.mistakes.note(
                        &place,
                        name,
                        format!("a section; write [{name}] and its keys below"),
                    );
                }
                value => self.value(&place, "", name, value),
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let place = self.lines.place(key.span().start);
            self.value(&place, section, key.get_ref(), value.get_ref());
        }
    }

    fn value(&mut self, place: &Place, section: &str, name: &str, value: &DeValue<'_>) {
        let Some(row) = ROWS.iter().find(|row| row.parts() == (section, name)) else {
            let key = if section.is_empty() {
                name.to_owned()
            } else {
                format!("{section}.{name}")
            };
            self.mistakes
                .note(place, key, format!("unknown key{}", meant_key(section, name)));
            return;
        };
        match scalar(value, row.takes_number()) {
            Ok(text) => {
                self.config.values.insert(
                    row.key,
                    Said {
                        text: Secret::new(text),
                        place: place.clone(),
                    },
                );
            }
            Err(what) => {
                self.config.refused.insert(row.key);
                self.mistakes.note(place, row.key, what);
            }
        }
    }

    fn peer(&mut self, place: Place, block: &DeTable<'_>) {
        let mut peer = SaidPeer {
            place,
            values: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        for (key, value) in block {
            let place = self.lines.place(key.span().start);
            let name = key.get_ref().as_ref();
            let Some(row) = peer_rows().iter().find(|row| row.key == name) else {
                let near = suggest::nearest(name, peer_rows().iter().map(|row| row.key));
                let near = near.map(|near| format!("; did you mean `{near}`?"));
                let near = near.unwrap_or_else(|| meant_elsewhere(name));
                self.mistakes
                    .note(&place, format!("peer.{name}"), format!("unknown key{near}"));
                continue;
            };
            match scalar(value.get_ref(), false) {
                Ok(text) => drop(peer.values.insert(
                    row.key,
                    Said {
                        text: Secret::new(text),
                        place,
                    },
                )),
                Err(what) => {
                    peer.refused.insert(row.key);
                    self.mistakes.note(&place, format!("peer.{name}"), what);
                }
            }
        }
        self.config.peers.push(peer);
    }

    fn unknown_section(&mut self, place: &Place, name: &str) {
        let near = suggest::nearest(name, sections().chain(["peer"]));
        let near = near.map(|near| match near {
            "peer" => "; did you mean [[peer]]?".to_owned(),
            near => format!("; did you mean [{near}]?"),
        });
        self.mistakes.note(
            place,
            name,
            format!("unknown section{}", near.unwrap_or_default()),
        );
    }
}

/// The names of the sections.
fn sections() -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .map(|row| row.parts().0)
        .filter(|section| !section.is_empty())
}

/// The end of a sentence about an unknown key: what was probably meant.
fn meant_key(section: &str, name: &str) -> String {
    let here = ROWS
        .iter()
        .map(Row::parts)
        .filter(|parts| parts.0 == section)
        .map(|parts| parts.1);
    match suggest::nearest(name, here) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => meant_elsewhere(name),
    }
}

fn meant_elsewhere(name: &str) -> String {
    let Some(near) = suggest::nearest(name, ROWS.iter().map(|row| row.parts().1)) else {
        return String::new();
    };
    match ROWS.iter().map(Row::parts).find(|parts| parts.1 == near) {
        Some(("", key)) => format!("; `{key}` stands at the top of the file, before every [section]"),
        Some((section, key)) => format!("; did you mean `{key}` in [{section}]?"),
        None => String::new(),
    }
}

/// A single value as text.
fn scalar(value: &DeValue<'_>, takes_number: bool) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if takes_number && number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) if takes_number => Err(format!("write {} in decimal", number.as_str())),
        DeValue::Array(_) | DeValue::Table(_) => Err("one value is expected, not several".into()),
        _ => Err("a text in quotes is expected".into()),
    }
}

//! Commands that only the running server knows: those of its modules.

use super::class::{Class, EffectClass};
use super::keys::KeyRule;
use super::table::{Spec, spec};

/// A row of the server's own COMMAND reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Its name.
    pub name: String,
    /// Its flags (`write`, `readonly`, ...).
    pub flags: Vec<String>,
    /// Place of the first key, 0 for none.
    pub first: i64,
    /// Place of the last key, negative from the end.
    pub last: i64,
    /// Step between keys.
    pub step: i64,
}

impl ServerCommand {
    fn writes(&self) -> bool {
        self.flags.iter().any(|flag| flag == "write")
    }
}

/// Write commands learned from a server, with their keys; their effect is opaque.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    rows: Vec<(String, Spec)>,
    /// What else the server has, in order: commands that do not write.
    others: Vec<String>,
}

impl Learned {
    /// Keeps those that write and that the table does not have.
    pub fn new(commands: &[ServerCommand]) -> Learned {
        let unknown = commands
            .iter()
            .filter(|command| command.writes() && spec(command.name.as_bytes()).is_none());
        let rows = unknown.map(|command| {
            let place = |at: i64| u16::try_from(at).unwrap_or(0);
            let keys = if command.first < 1 {
                KeyRule::None
            } else {
                let last = i16::try_from(command.last).unwrap_or(-1);
                KeyRule::Told {
                    first: place(command.first),
                    last,
                    step: place(command.step),
                }
            };
            let row = Spec {
                name: "(learned)",
                class: Class::Write(EffectClass::Opaque),
                keys,
            };
            (command.name.to_ascii_lowercase(), row)
        });
        let mut rows: Vec<(String, Spec)> = rows.collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let others = commands.iter().filter(|command| !command.writes());
        let mut others: Vec<String> = others.map(|command| command.name.to_ascii_lowercase()).collect();
        others.sort_unstable();
        Learned { rows, others }
    }

    /// Whether the server would take this name for something that is no write. A server that told nothing of itself
    /// may, unless it is a module's: their names have a dot.
    pub fn is_no_write(&self, name: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match self.others.is_empty() {
            true => !name.contains('.'),
            false => self.others.binary_search(&name).is_ok(),
        }
    }

    /// The row of a command, from the table or learned.
    #[inline]
    pub fn spec(&self, name: &[u8]) -> Option<&Spec> {
        spec(name).or_else(|| self.unknown(name))
    }

    #[cold]
    fn unknown(&self, name: &[u8]) -> Option<&Spec> {
        let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
        let at = self.rows.binary_search_by(|row| row.0.cmp(&name)).ok()?;
        Some(&self.rows[at].1)
    }
}

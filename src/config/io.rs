//! Reading the configuration file, the process's environment and the password's file.

use super::{Database, Mistakes, Secret, Settings};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest password file.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file was read and is wrong.
    #[error("{path} has mistakes:\n{mistakes}", path = path.display())]
    Mistaken {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Mistakes,
    },
    /// The variable that should hold the database password is not set.
    #[error("variable {0} (database_password_env) is not set or not UTF-8")]
    NoPassword(String),
}

/// Reads a configuration file and the environment.
///
/// # Errors
/// The file cannot be read, or something in it or in the environment is wrong.
pub fn load(path: &Path) -> Result<Settings, Error> {
    let unreadable = |why| Error::Unreadable {
        path: path.into(),
        why,
    };
    let text = read(path, super::said::TEXT_BYTES_MAX as u64 + 1).map_err(unreadable)?;
    let settings = super::settings(&text, &|name| std::env::var(name).ok());
    let mut settings = settings.map_err(|mistakes| Error::Mistaken {
        path: path.into(),
        mistakes,
    })?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    settings.anchor(absolute.parent().unwrap_or(Path::new("/")));
    Ok(settings)
}

/// The database password that stands outside the URL, if the configuration names a place for it.
///
/// # Errors
/// The file cannot be read, or the variable is not set.
pub fn password(database: &Database) -> Result<Option<Secret>, Error> {
    if let Some(path) = &database.password_file {
        let text = read(path, PASSWORD_BYTES_MAX);
        let text = text.map_err(|why| Error::Unreadable {
            path: path.clone(),
            why,
        })?;
        return Ok(Some(Secret::new(text.lines().next().unwrap_or_default())));
    }
    let Some(name) = &database.password_variable else {
        return Ok(None);
    };
    let value = std::env::var(name).map_err(|_| Error::NoPassword(name.clone()))?;
    Ok(Some(Secret::new(value)))
}

/// At most so many bytes of a file: a path that names an endless device must not fill the memory.
fn read(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(bytes_max)
        .read_to_string(&mut text)?;
    Ok(text)
}

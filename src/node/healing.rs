//! A database that came back older than it was, at a place of its stream that it names itself: a replica that was behind
//! took over, or it was started from an older file.
//!
//! What it lost is made good by the engine (`flow/healing.rs`) in a round of its own, which begins as a restart does: at
//! that place, with what had settled there. Until all is whole again the file `healing` in the data directory keeps what
//! had, for whatever begins meanwhile: a line for each site with its name and its last such operation.

use std::path::{Path, PathBuf};

use super::logs::Logs;
use super::shared::{Shared, now_unix_ms};
use super::source::id_bytes;
use crate::capture::ReplId;
use crate::causality::{Roster, SiteId, Vector};
use crate::config::Settings;
use crate::database::Lineage;
use crate::database::io::{Stream, command};
use crate::flow::{HealError, Site};
use crate::resp::reply::Value;

const FILE: &str = "healing";

/// What the database is found to be.
pub(super) enum Met {
    /// It goes on from where it was left, as far as can be told.
    Whole,
    /// It is older. The next round goes on from there.
    Prepared(String),
    /// It is older, and somebody has to act.
    Lost(String),
}

/// Why what it lost cannot be made good now.
#[derive(Debug, thiserror::Error)]
enum HealingError {
    /// The engine cannot.
    #[error(transparent)]
    Heal(#[from] HealError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    /// The file.
    #[error("{0}")]
    File(#[from] std::io::Error),
}

/// Looks whether the database's history left ours before the place where it was left.
pub(super) async fn meet(shared: &Shared, stream: &mut Stream) -> Met {
    let source = shared.node.borrow().site.source();
    let (Some(source), Ok(Value::BulkString(info))) =
        (source, command(stream, &[b"INFO", b"replication"]).await)
    else {
        return Met::Whole;
    };
    let lineage = Lineage::parse(&String::from_utf8_lossy(&info));
    let is_ours = |lineage: &Lineage| lineage.before.as_bytes() == source.replication_id;
    let Some(lineage) = lineage.filter(|it| is_ours(it) && it.end < source.offset) else {
        return Met::Whole;
    };
    if shared.agreed.get() {
        return Met::Whole;
    }
    let (end, offset) = (lineage.end, source.offset);
    match prepare(shared, &lineage) {
        Ok(keys) => {
            tracing::warn!(
                offset = end,
                read = offset,
                keys,
                "the database came back older than it was; what it lost is made good with the other sites' values"
            );
            shared.again.notify_one();
            Met::Prepared(format!(
                "the database came back older than it was: it goes on from offset {end}, and {offset} had been read"
            ))
        }
        Err(error) => Met::Lost(format!(
            "the database came back older than it was: it goes on from offset {end}, and {offset} had been read. It \
             cannot be made good key by key: {error}. Nothing was changed, and its lack is not sent to anybody. See \
             \"A database that lost writes\" in docs/runbook.md"
        )),
    }
}

fn prepare(shared: &Shared, lineage: &Lineage) -> Result<usize, HealingError> {
    let mut node = shared.node.borrow_mut();
    let site = &mut node.site;
    let before = lineage.before.as_bytes();
    let stable = site.journal_mut().stable_at(before, lineage.end)?;
    let mut stable = stable.ok_or(HealError::NoRecord)?;
    if let Some(earlier) = site.healing() {
        stable.meet(earlier);
    }
    let keys = site.lost_keys(&stable)?.len();
    let id = ReplId::new(lineage.id.as_bytes()).ok_or(HealError::NoRecord)?;
    keep(&shared.settings.data_dir, site.roster(), &stable)?;
    // The new history selects a database before anything else.
    site.set_time(now_unix_ms());
    site.stream_begins(id_bytes(id), lineage.end, 0);
    drop(node);
    shared.promise_position();
    Ok(keys)
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

fn keep(data_dir: &Path, roster: &Roster, stable: &Vector) -> std::io::Result<()> {
    let lines = stable
        .entries()
        .map(|(site, seq)| format!("{} {seq}\n", roster.name(site)));
    let text: String = lines.collect();
    crate::certs::io::write(data_dir, &path(data_dir), text.as_bytes(), 0o600)
}

/// Goes on with making good what the database lost, if an earlier round was not done with it. The operator's word that
/// all databases hold the same ends it.
///
/// # Errors
/// What to tell the operator: the file cannot be read or understood, or it cannot be made good any more.
pub(super) fn go_on(site: &mut Site<Logs>, settings: &Settings, agreed: bool) -> Result<(), String> {
    if agreed {
        forget(&settings.data_dir);
    }
    let Some(stable) = kept(&settings.data_dir, site.roster())? else {
        return Ok(());
    };
    let keys = site.heal(&stable).map_err(|error| {
        format!(
            "the database had come back older than it was, and what it lost cannot be made good any more: {error}. See \
             \"A database that lost writes\" in docs/runbook.md"
        )
    })?;
    tracing::warn!(
        keys,
        "the database had come back older than it was: these keys wait for other sites' values"
    );
    Ok(())
}

/// What had settled where the database's history goes on. A site that has come since has nothing in it.
fn kept(data_dir: &Path, roster: &Roster) -> Result<Option<Vector>, String> {
    let path = path(data_dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut stable = Vector::zero(roster.count());
    for line in text.lines() {
        let entry = line.split_once(' ').and_then(|(name, seq)| {
            let name = SiteId::new(name.as_bytes()).ok()?;
            Some((name, seq.parse().ok()?))
        });
        let Some((name, seq)) = entry else {
            return Err(format!("{}: {line:?} is no site and a number", path.display()));
        };
        if let Some(site) = roster.find(name) {
            stable.advance(site, seq);
        }
    }
    Ok(Some(stable))
}

/// All is whole again, or the operator takes the database as it is.
pub(super) fn forget(data_dir: &Path) {
    if let Err(error) = std::fs::remove_file(path(data_dir))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the file {FILE} cannot be removed; the next start asks for the same values again");
    }
}

/// Notes when all is whole again.
pub(super) fn finish(shared: &Shared) {
    if shared.heals.get() && shared.node.borrow().site.healing().is_none() {
        shared.heals.set(false);
        forget(&shared.settings.data_dir);
        tracing::info!("the database has got back what it lost");
    }
}

//! A gap in a database's stream: its whole content is read, as a full resynchronisation sends it, and the engine makes
//! operations of it.

use bytes::Bytes;
use syncer::capture::rdb::Kind;
use syncer::echo::is_ours;
use syncer::flow::{Site, Snapshot, SnapshotError};
use syncer::op::Source;

use crate::database::{Database, Entry, Value, dump, newest};
use crate::journal::Logs;

/// Larger than any run's data.
const BYTES_MAX: u64 = 1 << 30;
/// The format's version and the checksum, behind a value's bytes.
const FOOTER_BYTES: usize = 10;

fn kind(value: &Value) -> Kind {
    match value {
        Value::Text(_) => Kind::String,
        Value::List(_) => Kind::List,
        Value::Set(_) => Kind::Set,
        Value::Hash(_) => Kind::Hash,
        Value::Sorted(_) => Kind::SortedSet,
        Value::Stream(_) => Kind::Stream,
    }
}

fn put(
    snapshot: &mut Snapshot,
    place: (u32, &[u8]),
    entry: &Entry,
    database: &Database,
) -> Result<(), SnapshotError> {
    let payload = dump(&entry.value, database.version);
    let (code, rest) = payload.split_first().expect("a type");
    let raw = &rest[..rest.len() - FOOTER_BYTES];
    if is_ours(place.1) {
        snapshot.own_key(place.1, raw);
        return Ok(());
    }
    snapshot.key(place, kind(&entry.value), (*code, raw), entry.expires)
}

/// Gives the engine the whole content of the database, as it is now.
///
/// # Errors
/// The engine does not take it; nothing was changed.
pub fn bridge(site: &mut Site<Logs>, database: &mut Database) -> Result<(), SnapshotError> {
    database.full_resync();
    let mut snapshot = site.snapshot(BYTES_MAX);
    snapshot.version(newest(database.version));
    for (db, keys) in database.dbs.iter().enumerate() {
        for (key, entry) in keys {
            let key = Bytes::copy_from_slice(key);
            put(&mut snapshot, (db as u32, &key), entry, database)?;
        }
    }
    let source = Source {
        replication_id: database.id,
        offset: database.offset(),
        db: 0,
    };
    site.adopt(snapshot, source)
}

//! The position record of a site's own log: where the stream stood, what had been observed there, and what was
//! stable.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::causality::{Hlc, Roster, Seq, SiteId, Vector};
use crate::op::{REPLICATION_ID_BYTES, Source};

/// Everything a restart goes on from.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub source: Source,
    pub time: Hlc,
    pub observed: Vector,
    pub stable: Vector,
    /// The newest own operation that the database is known to have held.
    pub marked: Seq,
    /// Whether every site of the roster is named in the record. What was stable without a site that has come since is
    /// not stable with it.
    pub names_all: bool,
}

const VERSION: u8 = 2;
/// Without the mark.
const VERSION_1: u8 = 1;

impl Position {
    /// The record's bytes; sites stand in it by name.
    pub fn encode(&self, roster: &Roster) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u8(roster.count() as u8);
        out.put_slice(&self.source.replication_id);
        out.put_u64_le(self.source.offset);
        out.put_u32_le(self.source.db);
        out.put_u64_le(self.time.0);
        out.put_u64_le(self.marked);
        for site in roster.all() {
            let name = roster.name(site);
            out.put_u8(name.as_bytes().len() as u8);
            out.put_slice(name.as_bytes());
            out.put_u64_le(self.observed.get(site));
            out.put_u64_le(self.stable.get(site));
        }
        out.freeze()
    }

    /// Reads a record; `None` if it is none of ours. Sites that are not configured any more are left out.
    pub fn decode(mut bytes: Bytes, roster: &Roster) -> Option<Position> {
        let version = bytes.try_get_u8().ok()?;
        if !matches!(version, VERSION | VERSION_1) || bytes.remaining() < 1 + REPLICATION_ID_BYTES + 8 + 4 + 8
        {
            return None;
        }
        let sites = bytes.get_u8();
        let mut replication_id = [0; REPLICATION_ID_BYTES];
        bytes.copy_to_slice(&mut replication_id);
        let source = Source {
            replication_id,
            offset: bytes.get_u64_le(),
            db: bytes.get_u32_le(),
        };
        let time = Hlc(bytes.get_u64_le());
        let marked = match version {
            VERSION => bytes.try_get_u64_le().ok()?,
            _ => 0,
        };
        let (mut observed, mut stable) = (Vector::zero(roster.count()), Vector::zero(roster.count()));
        let mut named = 0;
        for _ in 0..sites {
            let len = usize::from(bytes.try_get_u8().ok()?);
            if bytes.remaining() < len + 16 {
                return None;
            }
            let name = SiteId::new(&bytes.split_to(len)).ok()?;
            let (seen, settled) = (bytes.get_u64_le(), bytes.get_u64_le());
            if let Some(site) = roster.find(name) {
                named += 1;
                observed.advance(site, seen);
                stable.advance(site, settled);
            }
        }
        Some(Position {
            source,
            time,
            observed,
            stable,
            marked,
            names_all: named == roster.count(),
        })
    }
}

//! Site names and their order inside one engine.

use std::fmt;
use std::str::FromStr;

/// Longest site name in bytes.
pub const SITE_ID_BYTES_MAX: usize = 32;

/// The name of a site: 1 to 32 characters of `[a-z0-9-]`, unique among the sites that share a database id.
///
/// Kept inline and padded with zeros, so it is `Copy` and its byte order is the order of the names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId([u8; SITE_ID_BYTES_MAX]);

/// Why a site name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteIdError {
    /// The name is empty or longer than 32 bytes.
    #[error("a site name has 1 to {SITE_ID_BYTES_MAX} characters, this one has {0}")]
    Length(usize),
    /// A byte outside `[a-z0-9-]`.
    #[error("a site name holds only a-z, 0-9 and '-', this one holds {0:?}")]
    Character(char),
}

impl SiteId {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// The length or the first character that is not allowed.
    pub fn new(name: &[u8]) -> Result<SiteId, SiteIdError> {
        if name.is_empty() || name.len() > SITE_ID_BYTES_MAX {
            return Err(SiteIdError::Length(name.len()));
        }
        if let Some(&bad) = name
            .iter()
            .find(|&&b| !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        {
            return Err(SiteIdError::Character(bad as char));
        }
        let mut bytes = [0; SITE_ID_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Ok(SiteId(bytes))
    }

    /// The name's bytes, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(SITE_ID_BYTES_MAX);
        &self.0[..len]
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII passes `new`, so the fallback is never taken.
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl FromStr for SiteId {
    type Err = SiteIdError;
    fn from_str(name: &str) -> Result<SiteId, SiteIdError> {
        SiteId::new(name.as_bytes())
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A site's ordinal in the [`Roster`]: the order of ordinals is the order of names.
///
/// Valid inside one engine run only; on disk and on the wire stand names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteIx(pub u8);

impl SiteIx {
    /// The ordinal as an index.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// All sites that share the database, sorted by name, and which of them is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    names: Vec<SiteId>,
    me: SiteIx,
}

/// Why a set of sites was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Two sites of one name.
    #[error("site {0} is named twice; every site needs a name of its own")]
    Twice(SiteId),
    /// More sites than an ordinal can tell apart.
    #[error("{0} sites; at most {max} can share a database", max = Roster::SITES_MAX)]
    TooMany(usize),
}

impl Roster {
    /// Most sites that can share a database.
    pub const SITES_MAX: usize = 64;

    /// Sorts this site and its peers.
    ///
    /// # Errors
    /// A name that stands twice, or too many sites.
    pub fn new(me: SiteId, peers: &[SiteId]) -> Result<Roster, RosterError> {
        let mut names = peers.to_vec();
        names.push(me);
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RosterError::Twice(pair[0]));
        }
        if names.len() > Roster::SITES_MAX {
            return Err(RosterError::TooMany(names.len()));
        }
        let me = names.iter().position(|&name| name == me).unwrap_or(0);
        Ok(Roster {
            me: SiteIx(me as u8),
            names,
        })
    }

    /// This site.
    pub fn me(&self) -> SiteIx {
        self.me
    }

    /// How many sites there are, this one included.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name behind an ordinal of this roster.
    pub fn name(&self, ix: SiteIx) -> SiteId {
        self.names[ix.at()]
    }

    /// The ordinal of a name, if the site is known here.
    pub fn find(&self, name: SiteId) -> Option<SiteIx> {
        self.names.binary_search(&name).ok().map(|at| SiteIx(at as u8))
    }

    /// Every site, in order.
    pub fn all(&self) -> impl Iterator<Item = SiteIx> + use<> {
        (0..self.names.len() as u8).map(SiteIx)
    }

    /// Every site but this one, in order.
    pub fn peers(&self) -> impl Iterator<Item = SiteIx> + use<> {
        let me = self.me;
        self.all().filter(move |&ix| ix != me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked() {
        assert_eq!(SiteId::new(b""), Err(SiteIdError::Length(0)));
        assert_eq!(SiteId::new(&[b'a'; 33]), Err(SiteIdError::Length(33)));
        assert_eq!(SiteId::new(b"eu_1"), Err(SiteIdError::Character('_')));
        assert_eq!(
            SiteId::new(b"eu-1").map(|id| id.to_string()),
            Ok("eu-1".to_owned())
        );
        assert_eq!(SiteId::new(&[b'a'; 32]).map(|id| id.as_bytes().len()), Ok(32));
    }

    #[test]
    fn ordinals_follow_names() -> Result<(), Box<dyn std::error::Error>> {
        let [a, b, c] = ["a", "b", "c"].map(|name| SiteId::new(name.as_bytes()));
        let roster = Roster::new(b.clone()?, &[c.clone()?, a.clone()?])?;
        assert_eq!(roster.me(), SiteIx(1));
        assert_eq!(roster.find(c?), Some(SiteIx(2)));
        assert_eq!(roster.peers().collect::<Vec<_>>(), [SiteIx(0), SiteIx(2)]);
        assert!(Roster::new(a.clone()?, &[a?]).is_err());
        Ok(())
    }
}

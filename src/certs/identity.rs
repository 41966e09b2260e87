//! The identity that a syncer's certificate carries.

use crate::causality::{SiteId, SiteIdError};
use std::fmt;

/// Longest database id in bytes.
pub const DATABASE_ID_BYTES_MAX: usize = 64;

const SCHEME: &str = "syncer://";

/// One site of one database. In a certificate it is the URI `syncer://<database_id>/<site>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    database_id: String,
    site: SiteId,
}

/// Why an identity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a database id.
    #[error("a database id has 1 to {DATABASE_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, '.', '_', '-'")]
    DatabaseId,
    /// Not a site name.
    #[error(transparent)]
    Site(#[from] SiteIdError),
    /// The part behind the scheme is not two names.
    #[error("a syncer URI is {SCHEME}<database_id>/<site>")]
    Form,
}

impl Identity {
    /// Checks the database id.
    ///
    /// # Errors
    /// The id has another form.
    pub fn new(database_id: &str, site: SiteId) -> Result<Identity, IdentityError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if database_id.is_empty()
            || database_id.len() > DATABASE_ID_BYTES_MAX
            || !database_id.bytes().all(allowed)
        {
            return Err(IdentityError::DatabaseId);
        }
        Ok(Identity {
            database_id: database_id.into(),
            site,
        })
    }

    /// Reads a URI of a certificate; `None` if it is not one of ours at all.
    ///
    /// # Errors
    /// It begins like one of ours and goes on otherwise.
    pub fn from_uri(uri: &str) -> Option<Result<Identity, IdentityError>> {
        let path = uri.strip_prefix(SCHEME)?;
        let (database_id, site) = path.split_once('/').unwrap_or((path, ""));
        if site.contains('/') {
            return Some(Err(IdentityError::Form));
        }
        let site = site.parse::<SiteId>().map_err(IdentityError::Site);
        Some(site.and_then(|site| Identity::new(database_id, site)))
    }

    /// The database's id.
    pub fn database_id(&self) -> &str {
        &self.database_id
    }

    /// The site.
    pub fn site(&self) -> SiteId {
        self.site
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.database_id, self.site)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_uri_is_read_back() {
        let me = Identity::new("orders.v2", "eu-1".parse().unwrap()).unwrap();
        assert_eq!(me.to_string(), "syncer://orders.v2/eu-1");
        assert_eq!(Identity::from_uri(&me.to_string()), Some(Ok(me)));
    }

    #[test]
    fn other_uris() {
        assert_eq!(Identity::from_uri("spiffe://orders/eu-1"), None);
        for bad in [
            "",
            "orders",
            "orders/",
            "/a",
            "orders/a/b",
            "orders/A",
            "or ders/a",
        ] {
            let read = Identity::from_uri(&format!("syncer://{bad}"));
            assert!(matches!(read, Some(Err(_))), "{bad:?}: {read:?}");
        }
        assert!(Identity::new(&"d".repeat(65), "a".parse().unwrap()).is_err());
    }
}

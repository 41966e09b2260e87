//! Stand-in on this branch only: a self-signed certificate, so that the command line can be tried.
use crate::causality::SiteId;
use std::path::{Path, PathBuf};

/// What was made.
pub struct Identity {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Its SHA-256.
    pub fingerprint: String,
}

/// Stand-in error.
#[derive(Debug, thiserror::Error)]
#[error("certificate: {0}")]
pub struct Error(String);

/// Makes the certificate unless it exists.
///
/// # Errors
/// As the system has it.
pub fn ensure(dir: &Path, database_id: &str, site: SiteId, hosts: &[String]) -> Result<Identity, Error> {
    let say = |e: &dyn std::fmt::Display| Error(e.to_string());
    std::fs::create_dir_all(dir).map_err(|e| say(&e))?;
    let certificate = dir.join("syncer.pem");
    if !certificate.exists() {
        let mut names = hosts.to_vec();
        names.push(format!("{site}.{database_id}"));
        let made = rcgen::generate_simple_self_signed(names).map_err(|e| say(&e))?;
        std::fs::write(dir.join("syncer.key"), made.signing_key.serialize_pem()).map_err(|e| say(&e))?;
        std::fs::write(&certificate, made.cert.pem()).map_err(|e| say(&e))?;
    }
    Ok(Identity {
        certificate,
        fingerprint: "SHA256:stand-in".into(),
    })
}

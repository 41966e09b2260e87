//! Certificates for databases that speak TLS.

use std::path::{Path, PathBuf};

/// A self-signed server certificate for loopback, which is its own trust anchor.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Makes a new pair of files in `dir`, named by `name`.
pub fn make(dir: &Path, name: &str) -> TlsFiles {
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let made = rcgen::generate_simple_self_signed(names).expect("a self-signed certificate");
    let files = TlsFiles {
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    };
    std::fs::write(&files.certificate, made.cert.pem()).expect("certificate written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("key written");
    files
}

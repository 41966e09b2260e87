//! What `cluster config` sets: one policy for all services of a site, kept beside the certificates.
//!
//! It is stored in the administrator's own words, one setting to a line, so that one reader serves both.

use super::{CipherError, CipherList, Settings, TlsVersion};
use crate::suggest;
use std::fmt;

/// The settings, by the words that set them.
pub const CLUSTER_SETTINGS: [&str; 4] = [
    "min_control_TLS_version",
    "min_data_TLS_version",
    "cipher_suites",
    "http_support",
];

/// The policy. What nobody has set is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// The oldest TLS version for API, console and metrics.
    pub min_control: Option<TlsVersion>,
    /// The oldest TLS version for links and the proxy.
    pub min_data: Option<TlsVersion>,
    /// For all services.
    pub cipher_suites: Option<CipherList>,
    /// Whether the API answers without TLS as well.
    pub http_support: Option<bool>,
}

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No such setting.
    #[error("{0:?} is no setting of the cluster{meant}; there are {known}", meant = meant(.0),
            known = CLUSTER_SETTINGS.join(", "))]
    Setting(String),
    /// A version that is never accepted.
    #[error(
        "{setting} {said} is refused: TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996), and no code for them is here; 1.2 and 1.3 are possible"
    )]
    OldVersion {
        /// The setting.
        setting: &'static str,
        /// What was said.
        said: String,
    },
    /// No version.
    #[error("{setting}: {said:?} is no TLS version; 1.2 and 1.3 are possible")]
    Version {
        /// The setting.
        setting: &'static str,
        /// What was said.
        said: String,
    },
    /// Neither on nor off.
    #[error("http_support: {0:?} is neither enabled nor disabled")]
    Switch(String),
    /// A list of cipher suites.
    #[error("cipher_suites: {0}")]
    Ciphers(#[from] CipherError),
    /// The file is damaged.
    #[error("line {number}: {why}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// Why.
        why: Box<ClusterError>,
    },
}

fn meant(word: &str) -> String {
    suggest::nearest(word, CLUSTER_SETTINGS)
        .map(|near| format!(", did you mean {near}?"))
        .unwrap_or_default()
}

fn version(setting: &'static str, said: &str) -> Result<TlsVersion, ClusterError> {
    let said = said.to_owned();
    match said.as_str() {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        "1" | "1.0" | "1.1" => Err(ClusterError::OldVersion { setting, said }),
        _ => Err(ClusterError::Version { setting, said }),
    }
}

impl Cluster {
    /// Sets one setting, as the administrator says it.
    ///
    /// # Errors
    /// There is no such setting, or it cannot have this value.
    pub fn set(&mut self, setting: &str, said: &str) -> Result<(), ClusterError> {
        match setting {
            "min_control_TLS_version" => self.min_control = Some(version("min_control_TLS_version", said)?),
            "min_data_TLS_version" => self.min_data = Some(version("min_data_TLS_version", said)?),
            "cipher_suites" => self.cipher_suites = Some(CipherList::parse(said)?),
            "http_support" => {
                self.http_support = Some(match said {
                    "enabled" => true,
                    "disabled" => false,
                    _ => return Err(ClusterError::Switch(said.to_owned())),
                });
            }
            _ => return Err(ClusterError::Setting(setting.to_owned())),
        }
        Ok(())
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// The first line that sets nothing.
    pub fn parse(text: &str) -> Result<Cluster, ClusterError> {
        let mut cluster = Cluster::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (setting, said) = line.split_once(' ').unwrap_or((line, ""));
            cluster
                .set(setting, said.trim())
                .map_err(|why| ClusterError::Line {
                    number: at + 1,
                    why: Box::new(why),
                })?;
        }
        Ok(cluster)
    }

    /// What the links obey; `configured` is the oldest version that the configuration file allows, which holds
    /// until the cluster's setting says otherwise.
    pub fn links(&self, configured: TlsVersion) -> Settings {
        Settings {
            tls_version_min: self.min_data.unwrap_or(configured),
            cipher_suites: self.cipher_suites.clone().unwrap_or_default(),
        }
    }

    /// Every setting and its value, as [`Cluster::set`] takes it; nothing where nobody has set it.
    pub fn settings(&self) -> [(&'static str, Option<String>); 4] {
        let [control, data, ciphers, http] = CLUSTER_SETTINGS;
        let switch = |is_on: bool| if is_on { "enabled" } else { "disabled" };
        [
            (control, self.min_control.map(|version| version.to_string())),
            (data, self.min_data.map(|version| version.to_string())),
            (ciphers, self.cipher_suites.as_ref().map(|list| list.to_string())),
            (http, self.http_support.map(|is_on| switch(is_on).to_owned())),
        ]
    }
}

/// The settings that are set, one to a line.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (setting, said) in self.settings() {
            if let Some(said) = said {
                writeln!(f, "{setting} {said}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_set_is_written_and_read_back() {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.to_string(), "");
        cluster.set("min_control_TLS_version", "1.2").unwrap();
        cluster.set("min_data_TLS_version", "1.3").unwrap();
        cluster.set("cipher_suites", "HIGH !aNULL").unwrap();
        cluster.set("http_support", "disabled").unwrap();
        let text = cluster.to_string();
        assert!(text.contains("cipher_suites HIGH:!aNULL\n"), "{text}");
        assert_eq!(Cluster::parse(&text).unwrap(), cluster);
        assert_eq!(
            Cluster::parse("# by hand\n\nhttp_support enabled\n")
                .unwrap()
                .http_support,
            Some(true)
        );
    }

    #[test]
    fn what_the_links_obey() {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.links(TlsVersion::V1_2).tls_version_min, TlsVersion::V1_2);
        cluster.set("min_data_TLS_version", "1.3").unwrap();
        cluster.set("min_control_TLS_version", "1.2").unwrap();
        assert_eq!(cluster.links(TlsVersion::V1_2).tls_version_min, TlsVersion::V1_3);
    }

    #[test]
    fn refusals() {
        for (setting, said, part) in [
            ("min_data_TLS_version", "1.1", "RFC 8996"),
            (
                "min_control_TLS_version",
                "1.0",
                "min_control_TLS_version 1.0 is refused",
            ),
            ("min_control_TLS_version", "1.4", "no TLS version"),
            ("http_support", "off", "neither enabled nor disabled"),
            ("cipher_suites", "RC4", "\"RC4\""),
            ("http", "disabled", "there are min_control_TLS_version"),
        ] {
            let shown = Cluster::default().set(setting, said).unwrap_err().to_string();
            assert!(shown.contains(part), "{setting} {said}: {shown}");
        }
        let shown = Cluster::parse("http_support enabled\nx y")
            .unwrap_err()
            .to_string();
        assert!(shown.starts_with("line 2: \"x\""), "{shown}");
    }
}

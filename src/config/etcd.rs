//! Section `[etcd]`: where the syncers of a site share their certificates without a shared volume.

use super::value;
use crate::causality::SiteId;
use std::path::{Path, PathBuf};

/// Longest prefix.
const PREFIX_BYTES_MAX: usize = 256;

/// See the rows `etcd.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Where it answers, each `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    /// What the names of the site's values begin with.
    pub prefix: String,
    /// The keys that values are encrypted with.
    pub seal_file: PathBuf,
    /// The CA that signed its certificates.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, if it asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The user, and the file with the password.
    pub user: Option<(String, PathBuf)>,
}

impl Etcd {
    /// Makes relative paths count from `base`.
    pub(super) fn anchor(&mut self, base: &Path) {
        let client = self.client.iter_mut().flat_map(|(cert, key)| [cert, key]);
        let password = self.user.iter_mut().map(|(_, path)| path);
        let all = self.ca_file.iter_mut().chain(client).chain(password);
        for path in all.chain([&mut self.seal_file]) {
            *path = base.join(&*path);
        }
    }
}

/// What was said of it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct EtcdDraft {
    pub is_chosen: bool,
    pub endpoints: Vec<String>,
    pub prefix: Option<String>,
    pub seal_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

impl EtcdDraft {
    /// Conditions over several keys.
    pub fn agree(&self, must: &mut impl FnMut(bool, &str, &str)) {
        let chosen = self.is_chosen;
        must(
            !chosen || cfg!(feature = "etcd"),
            "certificates.store",
            "this program was built without etcd; build it with `cargo build --release --features etcd`",
        );
        must(
            chosen || self.endpoints.is_empty(),
            "etcd.endpoints",
            "has no effect without certificates.store = \"etcd\"",
        );
        must(
            !chosen || !self.endpoints.is_empty(),
            "etcd.endpoints",
            "missing; where etcd answers clients, for instance \"https://10.0.0.5:2379\"",
        );
        must(
            !chosen || self.seal_file.is_some(),
            "etcd.seal_file",
            "missing; keys are only put into etcd encrypted. Make one: openssl rand -hex 32",
        );
        let is_tls = |endpoint: &String| endpoint.starts_with("https://");
        must(
            self.ca_file.is_some() || !self.endpoints.iter().any(is_tls),
            "etcd.ca_file",
            "missing; an https:// etcd is verified against the CA that signed its certificate",
        );
        must(
            self.user.is_none() || self.endpoints.iter().all(is_tls),
            "etcd.user",
            "the password would be readable on the way; write https:// for every endpoint",
        );
        pair(
            must,
            ("etcd.cert_file", &self.cert_file),
            ("etcd.key_file", &self.key_file),
        );
        pair(
            must,
            ("etcd.user", &self.user),
            ("etcd.password_file", &self.password_file),
        );
    }

    /// The settings, if it is chosen and what was said agrees.
    pub fn finish(self, database_id: &str, site: SiteId) -> Option<Etcd> {
        if !self.is_chosen {
            return None;
        }
        let prefix = self
            .prefix
            .unwrap_or_else(|| format!("/syncer/{database_id}/{site}"));
        Some(Etcd {
            endpoints: self.endpoints,
            prefix,
            seal_file: self.seal_file?,
            ca_file: self.ca_file,
            client: self.cert_file.zip(self.key_file),
            user: self.user.zip(self.password_file),
        })
    }
}

/// Two keys that are given together or not at all.
fn pair<A, B>(
    must: &mut impl FnMut(bool, &str, &str),
    (one, first): (&str, &Option<A>),
    (other, second): (&str, &Option<B>),
) {
    let (given, missing) = if first.is_some() {
        (one, other)
    } else {
        (other, one)
    };
    let what = format!("given together with {missing} or not at all");
    must(first.is_some() == second.is_some(), given, &what);
}

/// `http(s)://host:port`, separated by commas.
pub(super) fn endpoints(text: &str) -> Result<Vec<String>, String> {
    let one = |part: &str| {
        let part = part.trim().trim_end_matches('/');
        let address = part.strip_prefix("https://").or(part.strip_prefix("http://"));
        let address = address.ok_or_else(|| {
            format!("{part:?} is not an endpoint; write one such as \"https://10.0.0.5:2379\"")
        })?;
        value::address(address)?;
        Ok(part.to_owned())
    };
    text.split(',').map(one).collect()
}

/// The beginning of the values' names, without a slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('/');
    let is_plain = prefix.bytes().all(|b| b.is_ascii_graphic());
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !is_plain {
        return Err(format!(
            "{text:?} is no prefix; 1 to {PREFIX_BYTES_MAX} printable ASCII characters without spaces"
        ));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_are_addresses_with_a_scheme() {
        let two = endpoints("https://a.example.net:2379, http://[::1]:2379/").unwrap();
        assert_eq!(two, ["https://a.example.net:2379", "http://[::1]:2379"]);
        for wrong in [
            "a:2379",
            "https://a",
            "https://a:0",
            "",
            "https://u:p@a:1",
            "https://a:1,",
        ] {
            assert!(endpoints(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_has_no_slash_at_its_end() {
        assert_eq!(prefix("/orders/a//").unwrap(), "/orders/a");
        assert!(prefix("/").is_err() && prefix("a b").is_err() && prefix("").is_err());
    }

    fn mistakes(etcd: EtcdDraft) -> Vec<String> {
        let mut all = Vec::new();
        etcd.agree(&mut |holds: bool, key: &str, _: &str| {
            if !holds && key != "certificates.store" {
                all.push(key.to_owned());
            }
        });
        all
    }

    #[test]
    fn what_belongs_together_is_asked_for() {
        let path = || Some(PathBuf::from("f"));
        let whole = EtcdDraft {
            is_chosen: true,
            endpoints: vec!["https://a:1".to_owned()],
            seal_file: path(),
            ca_file: path(),
            ..EtcdDraft::default()
        };
        assert!(mistakes(EtcdDraft::default()).is_empty() && mistakes(whole.clone()).is_empty());
        let chosen = EtcdDraft {
            is_chosen: true,
            ..EtcdDraft::default()
        };
        assert_eq!(mistakes(chosen), ["etcd.endpoints", "etcd.seal_file"]);
        let idle = EtcdDraft {
            is_chosen: false,
            ..whole.clone()
        };
        assert_eq!(mistakes(idle), ["etcd.endpoints"]);
        let bare = EtcdDraft {
            ca_file: None,
            key_file: path(),
            ..whole.clone()
        };
        assert_eq!(mistakes(bare), ["etcd.ca_file", "etcd.key_file"]);
        let open = EtcdDraft {
            endpoints: vec!["https://a:1".to_owned(), "http://b:1".to_owned()],
            user: Some("u".to_owned()),
            ..whole.clone()
        };
        assert_eq!(mistakes(open), ["etcd.user", "etcd.user"]);
        let site = "a".parse().unwrap();
        assert_eq!(whole.finish("orders", site).unwrap().prefix, "/syncer/orders/a");
    }
}

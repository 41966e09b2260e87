//! The administrator's grammar: words to orders.

use super::request::ClusterRequest;
use crate::suggest;
use std::fmt;

/// What is asked for. Names and values are as said; whoever carries it out judges them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A site is gone for good: keys that wait for its value get this site's.
    Overrule {
        /// The site.
        site: String,
    },
    /// A certificate and its key take the place of another.
    CertificateSet {
        /// Which one.
        name: String,
        /// The file of the certificate and its chain.
        certificate_file: String,
        /// The file of the key.
        key_file: String,
    },
    /// What needs no file.
    Cluster(ClusterRequest),
}

/// One form: its words, where `<...>` stands for what is said in its place; and what it does.
type Form = (
    &'static [&'static str],
    &'static str,
    fn(&[&str]) -> Option<Order>,
);

const FORMS: &[Form] = &[
    (
        &["conflicts", "overrule", "site", "<name>"],
        "keys that wait for the value of a site that is gone for good get this site's",
        |said| match said {
            [site] => Some(Order::Overrule { site: own(site) }),
            _ => None,
        },
    ),
    (
        &[
            "cluster",
            "certificate",
            "set",
            "<name>",
            "certificate_file",
            "<file>",
            "key_file",
            "<file>",
        ],
        "replace a certificate (cm, api, proxy, syncer, metrics_exporter) and its key",
        |said| match said {
            [name, certificate, key] => Some(Order::CertificateSet {
                name: own(name),
                certificate_file: own(certificate),
                key_file: own(key),
            }),
            _ => None,
        },
    ),
    (
        &["cluster", "certificate", "show"],
        "all certificates in full",
        |_| about(ClusterRequest::CertificateShow { name: None }),
    ),
    (
        &["cluster", "certificate", "show", "<name>"],
        "one certificate in full",
        |said| {
            let name = Some(own(said.first()?));
            about(ClusterRequest::CertificateShow { name })
        },
    ),
    (
        &["cluster", "certificate", "list"],
        "one line for each certificate",
        |_| about(ClusterRequest::CertificateList),
    ),
    (
        &["cluster", "certificate", "reload"],
        "look at the files now, and tell what came of it",
        |_| about(ClusterRequest::CertificateReload),
    ),
    (
        &["cluster", "peer", "list"],
        "the other sites, with where each is known from",
        |_| about(ClusterRequest::PeerList),
    ),
    (
        &["cluster", "peer", "remove", "<site>"],
        "a site that joined by an invitation is no peer any more",
        |said| {
            let site = own(said.first()?);
            about(ClusterRequest::PeerRemove { site })
        },
    ),
    (
        &["cluster", "invitation", "withdraw"],
        "all invitations that nobody has used yet are void",
        |_| about(ClusterRequest::InvitationWithdraw),
    ),
    (&["cluster", "config"], "the cluster's settings", |_| {
        about(ClusterRequest::ClusterShow)
    }),
    (
        &["cluster", "config", "min_control_TLS_version", "<version>"],
        "the oldest TLS version of API, console and metrics: 1.2 or 1.3",
        |said| set("min_control_TLS_version", said),
    ),
    (
        &["cluster", "config", "min_data_TLS_version", "<version>"],
        "the oldest TLS version of links and proxy: 1.2 or 1.3",
        |said| set("min_data_TLS_version", said),
    ),
    (
        &["cluster", "config", "cipher_suites", "<list>"],
        "an OpenSSL list, such as 'HIGH:!aNULL:!MD5'",
        |said| set("cipher_suites", said),
    ),
    (
        &["cluster", "config", "http_support", "<switch>"],
        "whether the API answers without TLS as well: enabled or disabled",
        |said| set("http_support", said),
    ),
];

fn about(request: ClusterRequest) -> Option<Order> {
    Some(Order::Cluster(request))
}

fn own(word: &str) -> String {
    word.to_owned()
}

fn set(setting: &str, said: &[&str]) -> Option<Order> {
    let (setting, value) = (own(setting), own(said.first()?));
    about(ClusterRequest::ClusterSet { setting, value })
}

/// Every form with what it does, for help and errors.
pub fn forms() -> String {
    let mut text = String::new();
    for (words, does, _) in FORMS {
        text.push_str(&format!("  {}\n      {does}\n", words.join(" ")));
    }
    text
}

/// Words that are no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordsError {
    /// The words that are understood.
    pub understood: String,
    /// The first that is not; nothing if words are missing.
    pub word: Option<String>,
    /// What could stand there.
    pub expected: Vec<&'static str>,
    /// What was probably meant.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some(word) => write!(f, "{word:?} is not understood")?,
            None => f.write_str("something is missing")?,
        }
        if !self.understood.is_empty() {
            write!(f, " after \"{}\"", self.understood)?;
        }
        if let Some(nearest) = self.nearest {
            write!(f, "; did you mean {nearest}?")?;
        }
        match self.expected[..] {
            [] => f.write_str("; nothing more belongs there"),
            _ => write!(f, "; possible there: {}", self.expected.join(", ")),
        }
    }
}

impl std::error::Error for WordsError {}

/// The order that these words make.
///
/// # Errors
/// They make none; the error names the first word that does not fit.
pub fn parse(words: &[String]) -> Result<Order, WordsError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let fitting = |(form, ..): &Form| {
        let pairs = words.iter().zip(*form);
        pairs
            .take_while(|(said, word)| is_open(word) || said == word)
            .count()
    };
    for form in FORMS {
        let (expected, _, order) = form;
        if expected.len() == words.len() && fitting(form) == words.len() {
            let said = words.iter().zip(*expected).filter(|(_, word)| is_open(word));
            let said: Vec<&str> = said.map(|(said, _)| *said).collect();
            if let Some(order) = order(&said) {
                return Ok(order);
            }
        }
    }
    let longest = FORMS.iter().map(fitting).max().unwrap_or(0);
    let mut expected: Vec<&'static str> = Vec::new();
    for form in FORMS.iter().filter(|form| fitting(form) == longest) {
        if let Some(word) = form.0.get(longest).filter(|word| !expected.contains(word)) {
            expected.push(word);
        }
    }
    let word = words.get(longest).map(|word| own(word));
    let closed = expected.iter().copied().filter(|word| !is_open(word));
    Err(WordsError {
        understood: words.get(..longest).unwrap_or_default().join(" "),
        nearest: word.as_ref().and_then(|word| suggest::nearest(word, closed)),
        word,
        expected,
    })
}

/// Whether anything may stand in a word's place.
fn is_open(word: &str) -> bool {
    word.starts_with('<')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(text: &str) -> Result<Order, WordsError> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_make_orders() {
        for (text, order) in [
            ("conflicts overrule site b", Order::Overrule { site: own("b") }),
            (
                "cluster certificate set syncer certificate_file a.pem key_file a.key",
                Order::CertificateSet {
                    name: own("syncer"),
                    certificate_file: own("a.pem"),
                    key_file: own("a.key"),
                },
            ),
            (
                "cluster certificate show",
                Order::Cluster(ClusterRequest::CertificateShow { name: None }),
            ),
            (
                "cluster certificate show cm",
                Order::Cluster(ClusterRequest::CertificateShow {
                    name: Some(own("cm")),
                }),
            ),
            (
                "cluster certificate list",
                Order::Cluster(ClusterRequest::CertificateList),
            ),
            ("cluster peer list", Order::Cluster(ClusterRequest::PeerList)),
            (
                "cluster peer remove b",
                Order::Cluster(ClusterRequest::PeerRemove { site: own("b") }),
            ),
            (
                "cluster invitation withdraw",
                Order::Cluster(ClusterRequest::InvitationWithdraw),
            ),
            ("cluster config", Order::Cluster(ClusterRequest::ClusterShow)),
            (
                "cluster config min_control_TLS_version 1.2",
                Order::Cluster(ClusterRequest::ClusterSet {
                    setting: own("min_control_TLS_version"),
                    value: own("1.2"),
                }),
            ),
        ] {
            assert_eq!(said(text), Ok(order), "{text}");
        }
        assert!(forms().contains("cluster config http_support <switch>"));
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_would() {
        for (text, parts) in [
            (
                "",
                &["something is missing", "possible there: conflicts, cluster"][..],
            ),
            (
                "conflicts overrule",
                &["something is missing after \"conflicts overrule\"", "site"],
            ),
            (
                "clutser config",
                &["\"clutser\" is not understood", "did you mean cluster?"],
            ),
            (
                "cluster certificate sett syncer",
                &["\"sett\"", "did you mean set?", "set, show, list, reload"],
            ),
            (
                "cluster certificate set syncer cert_file x",
                &["\"cert_file\"", "certificate_file"],
            ),
            (
                "cluster certificate set syncer certificate_file x",
                &["something is missing", "key_file"],
            ),
            (
                "cluster config min_data_tls_version 1.2",
                &["did you mean min_data_TLS_version?"],
            ),
            (
                "cluster config http_support",
                &["something is missing", "<switch>"],
            ),
            (
                "cluster certificate list all",
                &["\"all\" is not understood", "nothing more belongs there"],
            ),
        ] {
            let shown = said(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| shown.contains(part)), "{text}: {shown}");
        }
    }
}

//! What the administrator asks about certificates and the cluster's settings, answered from the store. A running
//! syncer adds to it what concerns its links (`certificates.rs`).

use std::fmt::Write;

use zeroize::Zeroizing;

use super::certificates::{Refused, Seen, sources};
use super::{joining, peers};
use crate::certs::io::{Pair, Sources, Store, judge_own, now};
use crate::certs::{CertificateName, Cluster, Expiry, Facts, TlsVersion, leaf};
use crate::config::Settings;
use crate::control::{ClusterRequest, KeyText, Response};

/// Carries out a request on the store, while no syncer runs with these settings.
pub fn offline(settings: &Settings, request: &ClusterRequest) -> Response {
    let done = match request {
        ClusterRequest::PeerList | ClusterRequest::PeerRemove { .. } | ClusterRequest::InvitationWithdraw => {
            on_peers(settings, request).map_err(|why| Refused { label: "peers", why })
        }
        _ => match sources(settings) {
            Ok(sources) => on_store(&sources, request),
            Err(why) => Err(Refused {
                label: "store",
                why: why.to_string(),
            }),
        },
    };
    match done {
        Ok(words) => Response::Done(words),
        Err(refused) => Response::Error(refused.why),
    }
}

fn on_peers(settings: &Settings, request: &ClusterRequest) -> Result<String, String> {
    match request {
        ClusterRequest::PeerList => peers::list(settings).map_err(|error| error.to_string()),
        ClusterRequest::PeerRemove { site } => {
            // One that is just about to answer would not notice.
            let _lock = crate::log::io::lock(&settings.data_dir).map_err(|error| error.to_string())?;
            peers::remove(settings, site).map(joining::removed)
        }
        _ => Err("no syncer runs with this configuration; its invitations ended with it".to_owned()),
    }
}

fn on_store(sources: &Sources, request: &ClusterRequest) -> Result<String, Refused> {
    const LATER: &str = "\nno syncer runs with this configuration; it counts from its next start";
    match request {
        ClusterRequest::CertificateSet {
            name,
            certificate,
            key,
        } => {
            let words = set_words(name, certificate.clone(), key);
            let (name, pair) = words.map_err(|why| Refused { label: "words", why })?;
            sources.store.sync()?;
            if name == CertificateName::Syncer {
                fits(
                    sources,
                    &pair,
                    &sources.store.read_cluster(&sources.store.cluster_text()?)?,
                )?;
            }
            Ok(set_other(sources, name, &pair)? + LATER)
        }
        ClusterRequest::ClusterSet { setting, value } => {
            sources.store.sync()?;
            let before = sources.store.cluster_text()?;
            let mut policy = sources.store.read_cluster(&before)?;
            policy.set(setting, value).map_err(|why| Refused {
                label: "policy",
                why: why.to_string(),
            })?;
            if let Some(pair) = sources.store.pair(CertificateName::Syncer)? {
                fits(sources, &pair, &policy)?;
            }
            sources.store.set_cluster(&policy, &before)?;
            Ok(config_done(&policy, setting) + LATER)
        }
        ClusterRequest::CertificateReload => {
            let why = "no syncer runs with this configuration; it reads the files when it starts".to_owned();
            Err(Refused { label: "words", why })
        }
        request => {
            let synced = sources.store.sync();
            let words = show(sources, request)?;
            Ok(match synced {
                Ok(()) => words,
                Err(why) => format!(
                    "{words}\nthis is the copy in {}: {why}",
                    sources.store.dir().display()
                ),
            })
        }
    }
}

/// Whether the links could use a pair with a policy.
fn fits(sources: &Sources, pair: &Pair, policy: &Cluster) -> Result<(), Refused> {
    let name = CertificateName::Syncer;
    let own = judge_own(pair, &sources.store.paths(name), name, &sources.identity)?;
    let fits = own.fits(&policy.links(sources.tls_version_min));
    fits.map_err(|fault| Refused {
        label: "policy",
        why: fault.to_string(),
    })
}

/// The certificate's name and the pair of a request.
pub(super) fn set_words(
    name: &str,
    certificate: String,
    key: &KeyText,
) -> Result<(CertificateName, Pair), String> {
    let name: CertificateName = name
        .parse()
        .map_err(|why: crate::certs::NameError| why.to_string())?;
    let pair = Pair {
        certificate: certificate.into_bytes(),
        key: Zeroizing::new(key.expose().as_bytes().to_vec()),
    };
    Ok((name, pair))
}

/// Judges a pair that no link uses, and writes it.
pub(super) fn set_other(sources: &Sources, name: CertificateName, pair: &Pair) -> Result<String, Refused> {
    let own = judge_own(pair, &sources.store.paths(name), name, &sources.identity)?;
    sources.store.replace(name, pair)?;
    Ok(set_done(name, own.facts(), &own.fingerprint()))
}

/// What was set, and until when it is valid.
pub(super) fn set_done(name: CertificateName, facts: &Facts, fingerprint: &str) -> String {
    format!(
        "certificate {name} is set: {fingerprint}\nvalid until {}",
        facts.not_after
    )
}

/// What a setting is now.
pub(super) fn config_done(policy: &Cluster, setting: &str) -> String {
    let settings = policy.settings();
    let value = settings.into_iter().find(|(name, _)| *name == setting);
    let value = value.and_then(|(_, value)| value).unwrap_or_default();
    let mut words = format!("{setting} is {value}");
    if setting == "cipher_suites" {
        words.push_str(&suites(policy));
    }
    if setting == "min_control_TLS_version" || setting == "http_support" {
        words.push_str(NO_API);
    }
    words
}

const NO_API: &str = "\nit is kept for the API, which this version does not have";

/// Everything that is only shown.
pub(super) fn show(sources: &Sources, request: &ClusterRequest) -> Result<String, Refused> {
    match request {
        ClusterRequest::CertificateShow { name: None } => {
            let all = CertificateName::ALL.map(|name| in_full(sources, name));
            Ok(all.join("\n"))
        }
        ClusterRequest::CertificateShow { name: Some(name) } => {
            let name: CertificateName = name.parse().map_err(|why: crate::certs::NameError| Refused {
                label: "words",
                why: why.to_string(),
            })?;
            Ok(in_full(sources, name))
        }
        ClusterRequest::CertificateList => Ok(CertificateName::ALL
            .map(|name| in_short(sources, name))
            .join("\n")),
        _ => Ok(config(
            &sources.store.read_cluster(&sources.store.cluster_text()?)?,
            sources.tls_version_min,
        )),
    }
}

fn facts(store: &Store, name: CertificateName) -> Result<(Facts, String), String> {
    let pair = store.pair(name).map_err(|why| why.to_string())?;
    let pair = pair.ok_or("none; the syncer makes one when it starts")?;
    leaf(&pair.certificate).map_err(|why| why.to_string())
}

fn in_short(sources: &Sources, name: CertificateName) -> String {
    match facts(&sources.store, name) {
        Ok((facts, fingerprint)) => {
            let state = Expiry::at(facts.not_after, now());
            format!(
                "{:<17}{state:<22}{}  {fingerprint}",
                name.as_str(),
                facts.not_after
            )
        }
        Err(why) => format!("{:<17}{why}", name.as_str()),
    }
}

fn in_full(sources: &Sources, name: CertificateName) -> String {
    let mut words = format!("{name}\n");
    let mut line = |what: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(words, "  {what:<13}{value}");
    };
    line(
        "file",
        &sources.store.paths(name).certificate.display().to_string(),
    );
    match facts(&sources.store, name) {
        Ok((facts, fingerprint)) => {
            line("fingerprint", &fingerprint);
            line("valid from", &facts.not_before.to_string());
            line("valid until", &facts.not_after.to_string());
            line("state", &Expiry::at(facts.not_after, now()).to_string());
            if let Some(identity) = &facts.identity {
                line("identity", &identity.to_string());
            }
            if !facts.names.is_empty() {
                line("names", &facts.names.join(", "));
            }
        }
        Err(why) => line("certificate", &why),
    }
    words
}

fn config(policy: &Cluster, configured: TlsVersion) -> String {
    let mut words = String::new();
    for (setting, value) in policy.settings() {
        let value = value.unwrap_or_else(|| match setting {
            "min_control_TLS_version" => "1.2 (default)".to_owned(),
            "min_data_TLS_version" => format!("{configured} (certificates.tls_version_min)"),
            "cipher_suites" => "all (default)".to_owned(),
            _ => "enabled (default)".to_owned(),
        });
        let _ = write!(words, "{setting:<25}{value}");
        if setting == "cipher_suites" {
            words.push_str(&suites(policy));
        }
        words.push('\n');
    }
    words.push_str(
        "min_control_TLS_version and http_support are kept for the API, which this version does not have",
    );
    words
}

/// The suites that the policy's list means, the preferred one first.
fn suites(policy: &Cluster) -> String {
    let list = policy.cipher_suites.clone().unwrap_or_default();
    list.suites()
        .iter()
        .map(|suite| format!("\n  {}", suite.name()))
        .collect()
}

/// The certificates that no link uses, as far as they are there.
pub(super) fn others(sources: &Sources) -> Vec<Seen> {
    let others = CertificateName::ALL
        .into_iter()
        .filter(|name| *name != CertificateName::Syncer);
    let seen = others.filter_map(|name| {
        let (facts, fingerprint) = facts(&sources.store, name).ok()?;
        Some(Seen {
            name,
            fingerprint,
            end: facts.not_after,
        })
    });
    seen.collect()
}

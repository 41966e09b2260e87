//! What a configuration means: typed, checked, with the defaults filled in.

use super::etcd::{Etcd, EtcdDraft};
use super::value::UrlTraits;
use super::{Config, Mistakes, Place, ROWS, Secret, value};
use crate::causality::{Roster, SiteId};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything a syncer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This site.
    pub site: SiteId,
    /// The shared database's id.
    pub database_id: String,
    /// The site's own database.
    pub database: Database,
    /// Where the site's state lives.
    pub data_dir: PathBuf,
    /// The links to the peers.
    pub link: Link,
    /// The peers, in the order of the file.
    pub peers: Vec<Peer>,
    /// The log on disk.
    pub log: Log,
    /// The index of unstable operations.
    pub window: Window,
    /// Writing to the database.
    pub apply: Apply,
    /// The conflict log.
    pub conflicts: Conflicts,
    /// What a flush does elsewhere.
    pub flush: FlushPolicy,
    /// How a SWAPDB reaches the other sites.
    pub swapdb: SwapPolicy,
    /// See the row `snapshot.bytes_max`.
    pub snapshot_bytes_max: u64,
    /// What becomes of other sites' dumps that only a module can read.
    pub restore_modules: ModulePolicy,
    /// This syncer's certificate and the policy of its links.
    pub certificates: Certificates,
    /// The syncer's own log lines.
    pub tracing: Tracing,
}

/// How to reach the site's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `redis://` or `rediss://`; may hold a password.
    pub url: Secret,
    /// A file whose first line is the password, instead of one in the URL.
    pub password_file: Option<PathBuf>,
    /// A variable that holds the password, instead of one in the URL.
    pub password_variable: Option<String>,
    /// For `rediss://`.
    pub tls: Option<DatabaseTls>,
}

/// TLS to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseTls {
    /// The CA that signed its certificate.
    pub ca_file: PathBuf,
    /// Our certificate and its key, if it asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name its certificate carries, if it is not the URL's host.
    pub server_name: Option<String>,
}

/// Another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub site: SiteId,
    /// Where its syncer listens, `host:port`.
    pub address: String,
    /// Its certificate, or the CA that signed it.
    pub certificate: PathBuf,
}

/// See the rows `link.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Link {
    pub listen: String,
    pub heartbeat: Duration,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub certificate_timeout: Duration,
    pub clock_drift_max: Duration,
}

/// See the rows `log.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Log {
    pub bytes_max: u64,
    pub segment_bytes: u64,
    pub slack_bytes: u64,
    pub sync: LogSync,
}

/// See the rows `window.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Window {
    pub memory_max: u64,
}

/// When the log is forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogSync {
    /// After every batch.
    Always,
    /// Once a second.
    #[default]
    EverySecond,
    /// When the system likes.
    Never,
}

/// See the rows `apply.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Apply {
    pub transaction_commands_max: u64,
    pub transaction_bytes_max: u64,
    pub in_flight_bytes_max: u64,
}

/// See the rows `conflicts.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Conflicts {
    pub log: ConflictLog,
    pub sample_per_second: u64,
}

/// Which conflicts are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictLog {
    /// None.
    Off,
    /// At most so many per second.
    #[default]
    Sampled,
    /// All.
    All,
}

/// How a client's SWAPDB reaches the other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwapPolicy {
    /// As a snapshot of the whole content, which converges whatever else is written.
    #[default]
    Snapshot,
    /// As it came: right only while nobody writes.
    Verbatim,
}

/// What a client's flush does at the other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushPolicy {
    /// The same.
    #[default]
    Propagate,
    /// Nothing.
    Ignore,
}

/// What becomes of a dump of a module's own type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModulePolicy {
    /// It is refused and told.
    #[default]
    Refuse,
    /// The database gets it as it came.
    Allow,
}

/// See the rows `certificates.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Certificates {
    pub dir: PathBuf,
    pub tls_version_min: TlsVersion,
    /// Where the syncers of the site share the directory's contents, if not through the directory itself.
    pub etcd: Option<Etcd>,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum TlsVersion {
    V1_2,
    #[default]
    V1_3,
}

/// See the rows `tracing.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Tracing {
    pub format: TraceFormat,
    /// A filter in the notation of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// The settings while the rows fill them in, one value at a time.
#[derive(Default)]
pub(super) struct Draft {
    pub site: Option<SiteId>,
    pub database_id: Option<String>,
    pub database_url: Option<Secret>,
    pub url_traits: UrlTraits,
    pub password_file: Option<PathBuf>,
    pub password_variable: Option<String>,
    pub tls_ca_file: Option<PathBuf>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub tls_server_name: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub link: Link,
    pub log: Log,
    pub window: Window,
    pub apply: Apply,
    pub conflicts: Conflicts,
    pub flush: FlushPolicy,
    pub swapdb: SwapPolicy,
    pub snapshot_bytes_max: u64,
    pub restore_modules: ModulePolicy,
    pub certificates_dir: Option<PathBuf>,
    pub tls_version_min: TlsVersion,
    pub etcd: EtcdDraft,
    pub tracing: Tracing,
}

/// A filter of log lines that the subscriber understands.
pub(super) fn trace_level(text: &str) -> Result<String, String> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    // The filter's notation takes any other bare word for the name of a target: a mistyped level would
    // silence every line.
    let mut bare = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains(['=', ':', '[']));
    let known = bare.all(|word| levels.iter().any(|level| level.eq_ignore_ascii_case(word)));
    // The subscriber's parser panics on some text outside ASCII (0.3.23), which no target's name has.
    let parses = text.is_ascii() && tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
    match known && parses {
        true => Ok(text.into()),
        false => Err(format!(
            "{text:?} is neither a level (error, warn, info, debug, trace, off) nor a filter"
        )),
    }
}

impl Settings {
    /// Fills a draft from the rows, then checks what several keys say together. `None` where something
    /// required is missing; the mistakes tell.
    pub(super) fn meant(config: &Config, mistakes: &mut Mistakes) -> Option<Settings> {
        let mut draft = Draft::default();
        for row in ROWS {
            match (config.said_of(row.key), row.default) {
                (Some(said), _) => {
                    if let Err(what) = row.mean(&mut draft, said.text.expose()) {
                        mistakes.note(&said.place, row.key, what);
                    }
                }
                (None, Some(default)) => {
                    if let Err(what) = row.mean(&mut draft, default) {
                        mistakes.note(&Place::Default, row.key, what);
                    }
                }
                (None, None) if row.required && !config.is_refused(row.key) => {
                    mistakes.note(&Place::File, row.key, format!("missing; {}", row.values()));
                }
                (None, None) => {}
            }
        }
        let peers = peers(config, draft.site, mistakes);
        // What a key means together with others is only asked when each alone is right.
        if mistakes.is_empty() {
            agree(&draft, config, mistakes);
        }
        draft.finish(peers)
    }

    /// Makes relative paths count from `base`, the folder of the configuration file.
    pub(super) fn anchor(&mut self, base: &Path) {
        let paths = [&mut self.data_dir, &mut self.certificates.dir];
        let of_database = self.database.password_file.iter_mut();
        let of_tls = self.database.tls.iter_mut().flat_map(|tls| {
            let client = tls.client.iter_mut().flat_map(|(cert, key)| [cert, key]);
            std::iter::once(&mut tls.ca_file).chain(client)
        });
        let of_peers = self.peers.iter_mut().map(|peer| &mut peer.certificate);
        for path in paths.into_iter().chain(of_database).chain(of_tls).chain(of_peers) {
            *path = base.join(&*path);
        }
        if let Some(etcd) = &mut self.certificates.etcd {
            etcd.anchor(base);
        }
    }

    /// The host names that our certificates carry: where this syncer listens, if that is one place.
    pub fn hosts(&self) -> Vec<String> {
        let host = self.link.listen.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let anywhere = matches!(host, "" | "0.0.0.0" | "::");
        if anywhere {
            Vec::new()
        } else {
            vec![host.to_owned()]
        }
    }

    /// Where a running syncer answers `syncer status`.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

impl Draft {
    fn finish(self, peers: Vec<Peer>) -> Option<Settings> {
        let client = self.tls_cert_file.zip(self.tls_key_file);
        let server_name = self.tls_server_name;
        let (data_dir, site, database_id) = (self.data_dir?, self.site?, self.database_id?);
        let etcd = self.etcd.finish(&database_id, site);
        Some(Settings {
            site,
            database_id,
            database: Database {
                url: self.database_url?,
                password_file: self.password_file,
                password_variable: self.password_variable,
                tls: self.tls_ca_file.map(|ca_file| DatabaseTls {
                    ca_file,
                    client,
                    server_name,
                }),
            },
            link: self.link,
            peers,
            log: self.log,
            window: self.window,
            apply: self.apply,
            conflicts: self.conflicts,
            flush: self.flush,
            swapdb: self.swapdb,
            snapshot_bytes_max: self.snapshot_bytes_max,
            restore_modules: self.restore_modules,
            certificates: Certificates {
                dir: self.certificates_dir.unwrap_or_else(|| data_dir.join("certs")),
                tls_version_min: self.tls_version_min,
                etcd,
            },
            tracing: self.tracing,
            data_dir,
        })
    }
}

/// Checks the `[[peer]]` blocks, each alone and against the others.
fn peers(config: &Config, site: Option<SiteId>, mistakes: &mut Mistakes) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for (at, said) in config.peers.iter().enumerate() {
        let key = |key: &str| format!("peer {}: {key}", at + 1);
        let mut part = |name: &str, said: &super::SaidPeer| match said.values.get(name) {
            Some(value) => Some((value.text.expose().to_owned(), value.place.clone())),
            None => {
                if !said.refused.contains(name) {
                    mistakes.note(&said.place, key(name), "missing");
                }
                None
            }
        };
        let (name, address) = (part("site", said), part("address", said));
        let certificate = part("certificate", said);
        let name = name.and_then(|(text, place)| {
            let name = text
                .parse::<SiteId>()
                .map_err(|e| mistakes.note(&place, key("site"), e.to_string()));
            let name = name.ok()?;
            if Some(name) == site {
                mistakes.note(
                    &place,
                    key("site"),
                    format!("{name} is this site itself; list only the others"),
                );
            } else if peers.iter().any(|peer| peer.site == name) {
                mistakes.note(&place, key("site"), format!("{name} is listed twice"));
            }
            Some(name)
        });
        let address = address.and_then(|(text, place)| {
            let address = value::address(&text);
            address
                .map_err(|what| mistakes.note(&place, key("address"), what))
                .ok()
        });
        let certificate = certificate.and_then(|(text, place)| {
            value::path(&text)
                .map_err(|what| mistakes.note(&place, key("certificate"), what))
                .ok()
        });
        if let (Some(site), Some(address), Some(certificate)) = (name, address, certificate) {
            peers.push(Peer {
                site,
                address,
                certificate,
            });
        }
    }
    if let Some(surplus) = config.peers.get(Roster::SITES_MAX - 1) {
        let what = format!(
            "too many peers; at most {} sites can share a database",
            Roster::SITES_MAX
        );
        mistakes.note(&surplus.place, "peer", what);
    }
    peers
}

/// Conditions over several keys.
fn agree(draft: &Draft, config: &Config, mistakes: &mut Mistakes) {
    let mut must = |holds: bool, key: &str, what: &str| {
        if !holds {
            let place = config.said_of(key).map_or(Place::File, |said| said.place.clone());
            mistakes.note(&place, key, what);
        }
    };
    let (link, log, apply) = (&draft.link, &draft.log, &draft.apply);
    must(
        link.timeout >= link.heartbeat * 2,
        "link.timeout",
        "shorter than two heartbeats; a quiet link would be taken for a dead one",
    );
    must(
        log.bytes_max >= log.segment_bytes.saturating_mul(4),
        "log.segment_bytes",
        "log.bytes_max holds fewer than four such segments; make it larger or the segments smaller",
    );
    must(
        log.slack_bytes <= log.bytes_max / 2,
        "log.slack_bytes",
        "more than half of log.bytes_max",
    );
    must(
        apply.in_flight_bytes_max >= apply.transaction_bytes_max,
        "apply.in_flight_bytes_max",
        "smaller than apply.transaction_bytes_max; not one transaction would fit",
    );
    let passwords = [
        draft.url_traits.password,
        draft.password_file.is_some(),
        draft.password_variable.is_some(),
    ];
    must(
        passwords.iter().filter(|given| **given).count() <= 1,
        if passwords[1] {
            "database_password_file"
        } else {
            "database_password_env"
        },
        "the password is given more than once; keep one of the URL's, the file's and the variable's",
    );
    must(
        draft.tls_cert_file.is_some() == draft.tls_key_file.is_some(),
        if draft.tls_cert_file.is_some() {
            "database_tls.cert_file"
        } else {
            "database_tls.key_file"
        },
        "cert_file and key_file are given together or not at all",
    );
    draft.etcd.agree(&mut must);
    let tls = draft.url_traits.tls;
    must(
        !tls || draft.tls_ca_file.is_some(),
        "database_tls.ca_file",
        "missing; a rediss:// database is verified against the CA that signed its certificate",
    );
    let sections = ["ca_file", "cert_file", "key_file", "server_name"];
    let given = sections.map(|name| format!("database_tls.{name}"));
    if let Some(key) = given.iter().find(|key| config.said_of(key).is_some()) {
        must(
            tls,
            key,
            "has no effect with a redis:// database; write rediss:// for TLS",
        );
    }
}

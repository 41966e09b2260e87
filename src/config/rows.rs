//! Every option, one row each.

use super::etcd;
use super::settings::{
    ConflictLog, Draft, FlushPolicy, LogSync, ModulePolicy, SwapPolicy, TlsVersion, TraceFormat,
};
use super::value::{self, GIB, KIB, MIB, TIB};
use std::time::Duration;

/// What an environment override's name begins with.
pub const ENVIRONMENT_PREFIX: &str = "SYNCER_";

/// One option: everything that is known of it stands here and nowhere else.
pub struct Row {
    /// Its key with its section: `link.listen`.
    pub key: &'static str,
    /// What holds when nobody says otherwise, in the notation of the file; an option without one is either
    /// required or off.
    pub default: Option<&'static str>,
    /// Whether a configuration without it is refused.
    pub required: bool,
    /// Whether its value is kept out of every message.
    pub secret: bool,
    /// Whether a running syncer takes a new value; otherwise it counts from the next start.
    pub reloadable: bool,
    /// What it is for, for the operator.
    pub doc: &'static str,
    pub(super) kind: Kind,
}

/// How a value is checked, and where it goes. Sizes, times and counts carry their range once, for the check
/// and for the documentation.
pub(super) enum Kind {
    Text {
        values: &'static str,
        mean: fn(&mut Draft, &str) -> Result<(), String>,
    },
    Size {
        min: u64,
        max: u64,
        mean: fn(&mut Draft, u64),
    },
    Time {
        min_ms: u64,
        max_ms: u64,
        mean: fn(&mut Draft, Duration),
    },
    Count {
        min: u64,
        max: u64,
        mean: fn(&mut Draft, u64),
    },
}

impl Row {
    /// The section and the key inside it; an empty section is the top of the file.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    /// The environment variable that overrides it: `SYNCER_LINK_LISTEN`.
    pub fn variable(&self) -> String {
        format!(
            "{ENVIRONMENT_PREFIX}{}",
            self.key.replace('.', "_").to_uppercase()
        )
    }

    /// The values it takes, in words.
    pub fn values(&self) -> String {
        match self.kind {
            Kind::Text { values, .. } => values.into(),
            Kind::Size { min, max, .. } => {
                format!("size, {} to {}", value::say_size(min), value::say_size(max))
            }
            Kind::Time { min_ms, max_ms, .. } => {
                let say = |ms| value::say_time(Duration::from_millis(ms));
                format!("time, {} to {}", say(min_ms), say(max_ms))
            }
            Kind::Count { min, max, .. } => format!("number, {min} to {max}"),
        }
    }

    /// Whether the file may give it as a bare number.
    pub(super) fn takes_number(&self) -> bool {
        matches!(self.kind, Kind::Size { .. } | Kind::Count { .. })
    }

    /// Checks a value and puts its meaning in place.
    pub(super) fn mean(&self, draft: &mut Draft, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text { mean, .. } => mean(draft, text)?,
            Kind::Size { min, max, mean } => mean(draft, value::size(text, min..=max)?),
            Kind::Time { min_ms, max_ms, mean } => {
                let range = Duration::from_millis(min_ms)..=Duration::from_millis(max_ms);
                mean(draft, value::time(text, range)?);
            }
            Kind::Count { min, max, mean } => mean(draft, value::count(text, min..=max)?),
        }
        Ok(())
    }
}

/// A key of a `[[peer]]` block.
pub struct PeerRow {
    /// Its name inside the block.
    pub key: &'static str,
    /// The values it takes, in words.
    pub values: &'static str,
    /// What it is for.
    pub doc: &'static str,
}

/// The keys of a `[[peer]]` block, all required.
pub fn peer_rows() -> &'static [PeerRow; 3] {
    &PEER_ROWS
}

static PEER_ROWS: [PeerRow; 3] = [
    PeerRow {
        key: "site",
        values: "1 to 32 characters of a-z, 0-9, '-'",
        doc: "The other site's name, as in its own file.",
    },
    PeerRow {
        key: "address",
        values: "host:port",
        doc: "Where its syncer listens for links.",
    },
    PeerRow {
        key: "certificate",
        values: "path",
        doc: "The other syncer's certificate (PEM), pinned, or the CA that signed it. `syncer init` at the \
              other site prints which file to fetch.",
    },
];

const fn row(key: &'static str, default: Option<&'static str>, kind: Kind, doc: &'static str) -> Row {
    Row {
        key,
        default,
        required: false,
        secret: false,
        reloadable: false,
        doc,
        kind,
    }
}

const fn required(row: Row) -> Row {
    Row {
        required: true,
        ..row
    }
}

const fn secret(row: Row) -> Row {
    Row { secret: true, ..row }
}

const fn text(values: &'static str, mean: fn(&mut Draft, &str) -> Result<(), String>) -> Kind {
    Kind::Text { values, mean }
}

const fn size(min: u64, max: u64, mean: fn(&mut Draft, u64)) -> Kind {
    Kind::Size { min, max, mean }
}

const fn time(min_ms: u64, max_ms: u64, mean: fn(&mut Draft, Duration)) -> Kind {
    Kind::Time { min_ms, max_ms, mean }
}

const fn count(min: u64, max: u64, mean: fn(&mut Draft, u64)) -> Kind {
    Kind::Count { min, max, mean }
}

const SYNC: &[(&str, LogSync)] = &[
    ("always", LogSync::Always),
    ("every 1s", LogSync::EverySecond),
    ("never", LogSync::Never),
];
const CONFLICT_LOG: &[(&str, ConflictLog)] = &[
    ("off", ConflictLog::Off),
    ("sampled", ConflictLog::Sampled),
    ("all", ConflictLog::All),
];
const SWAPDB: &[(&str, SwapPolicy)] = &[
    ("snapshot", SwapPolicy::Snapshot),
    ("verbatim", SwapPolicy::Verbatim),
];
const FLUSH: &[(&str, FlushPolicy)] = &[
    ("propagate", FlushPolicy::Propagate),
    ("ignore", FlushPolicy::Ignore),
];
const MODULES: &[(&str, ModulePolicy)] = &[("refuse", ModulePolicy::Refuse), ("allow", ModulePolicy::Allow)];
const FORMAT: &[(&str, TraceFormat)] = &[("human", TraceFormat::Human), ("json", TraceFormat::Json)];
/// Whether it is etcd.
const STORE: &[(&str, bool)] = &[("directory", false), ("etcd", true)];
const TLS_VERSION: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

/// All options but the `[[peer]]` blocks, in the order of the reference page.
pub static ROWS: &[Row] = &[
    required(row(
        "site",
        None,
        text("1 to 32 characters of a-z, 0-9, '-'", |d, t| {
            d.site = Some(
                t.parse()
                    .map_err(|e: crate::causality::SiteIdError| format!("{t:?}: {e}"))?,
            );
            Ok(())
        }),
        "The name of this site. Every site that shares the database has its own, and keeps it for ever.",
    )),
    required(row(
        "database_id",
        None,
        text("1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '-'", |d, t| {
            d.database_id = Some(value::database_id(t)?);
            Ok(())
        }),
        "The name of the shared database, the same at every site. A peer with another one is refused.",
    )),
    secret(required(row(
        "database",
        None,
        text(
            "redis://[user[:password]@]host[:port], rediss:// for TLS",
            |d, t| {
                d.url_traits = value::database_url(t)?;
                d.database_url = Some(super::Secret::new(t));
                Ok(())
            },
        ),
        "This site's own Redis or Valkey. Special characters in a user name or password are \
         percent-encoded. The syncer attaches to it as a replica and writes to it as a client.",
    ))),
    row(
        "database_password_file",
        None,
        text("path", |d, t| {
            d.password_file = Some(value::path(t)?);
            Ok(())
        }),
        "A file that holds the database password (its first line), instead of a password in the URL.",
    ),
    row(
        "database_password_env",
        None,
        text("name of a variable", |d, t| {
            d.password_variable = Some(value::variable_name(t)?);
            Ok(())
        }),
        "The environment variable that holds the database password, instead of a password in the URL.",
    ),
    required(row(
        "data_dir",
        None,
        text("path", |d, t| {
            d.data_dir = Some(value::path(t)?);
            Ok(())
        }),
        "Where this site keeps its log, its certificate and its control socket. On a local disk, used by \
         this syncer alone. The path to the control socket in it has at most 107 bytes.",
    )),
    row(
        "database_tls.ca_file",
        None,
        text("path", |d, t| {
            d.tls_ca_file = Some(value::path(t)?);
            Ok(())
        }),
        "The CA (PEM) that signed the database's certificate. Required with rediss://.",
    ),
    row(
        "database_tls.cert_file",
        None,
        text("path", |d, t| {
            d.tls_cert_file = Some(value::path(t)?);
            Ok(())
        }),
        "The client certificate (PEM) to show to the database, together with `key_file`.",
    ),
    row(
        "database_tls.key_file",
        None,
        text("path", |d, t| {
            d.tls_key_file = Some(value::path(t)?);
            Ok(())
        }),
        "The key (PEM) of `cert_file`.",
    ),
    row(
        "database_tls.server_name",
        None,
        text("host name", |d, t| {
            d.tls_server_name = Some(value::host(t)?);
            Ok(())
        }),
        "The name that the database's certificate must carry, if it is not the host of the URL.",
    ),
    row(
        "link.listen",
        Some("0.0.0.0:9400"),
        text("host:port", |d, t| {
            d.link.listen = value::address(t)?;
            Ok(())
        }),
        "Where this syncer listens for its peers. Only holders of a peer's certificate get in.",
    ),
    row(
        "link.heartbeat",
        Some("5 s"),
        time(100, 60_000, |d, v| d.link.heartbeat = v),
        "A link on which nothing was sent for so long sends a ping.",
    ),
    row(
        "link.timeout",
        Some("15 s"),
        time(300, 600_000, |d, v| d.link.timeout = v),
        "A link on which nothing arrived for so long is dead: it is closed and dialed anew. At least twice \
         `heartbeat`.",
    ),
    row(
        "link.connect_timeout",
        Some("10 s"),
        time(100, 60_000, |d, v| d.link.connect_timeout = v),
        "How long dialing, TLS and the first exchange with a peer may take; so long, too, new certificates are tried.",
    ),
    row(
        "link.certificate_timeout",
        Some("30 s"),
        time(1_000, 86_400_000, |d, v| d.link.certificate_timeout = v),
        "A link whose peer's certificate is not accepted any more (expired, revoked, out of the trusted ones) is ended \
         after so long, unless the peer shows another one meanwhile.",
    ),
    row(
        "link.clock_drift_max",
        Some("5 s"),
        time(10, 3_600_000, |d, v| d.link.clock_drift_max = v),
        "A peer whose clock is ahead of ours by more than this is reported. Clocks decide which of two \
         concurrent writes wins: keep them in step (NTP).",
    ),
    row(
        "log.bytes_max",
        Some("8 GiB"),
        size(64 * MIB, 64 * TIB, |d, v| d.log.bytes_max = v),
        "How much disk the logs of all origins may take together. When they are full, the slowest peer \
         loses its place and needs a snapshot; the database is never held up.",
    ),
    row(
        "log.segment_bytes",
        Some("64 MiB"),
        size(MIB, 4 * GIB, |d, v| d.log.segment_bytes = v),
        "The size of one log file. Space is given back file by file. `bytes_max` holds at least four.",
    ),
    row(
        "log.slack_bytes",
        Some("256 MiB"),
        size(0, TIB, |d, v| d.log.slack_bytes = v),
        "How much is kept behind the point that every site has passed, so that a site whose log lost its end, \
         or was put back from an older copy, gets it from there, and a database that came back older than it was what \
         it lost.",
    ),
    row(
        "log.sync",
        Some("every 1s"),
        text("\"always\", \"every 1s\", \"never\"", |d, t| {
            d.log.sync = value::choice(t, SYNC)?;
            Ok(())
        }),
        "When the log is forced to disk: after every batch, once a second, or when the system likes. What \
         is lost in a power cut comes back from the database and the peers, if they still have it.",
    ),
    row(
        "window.memory_max",
        Some("64 MiB"),
        size(MIB, TIB, |d, v| d.window.memory_max = v),
        "How much memory the index of writes that can still conflict may take: about 2 million writes in 64 MiB. \
         While a site is away it grows with every write; beyond this the older part goes to `window` in \
         `data_dir`, 16 bytes per write, and stays there until the site is back.",
    ),
    row(
        "apply.transaction_commands_max",
        Some("512"),
        count(1, 65_536, |d, v| d.apply.transaction_commands_max = v),
        "Most remote commands in one transaction. Larger ones cost less per command and hold the database \
         for longer. A client's own MULTI block is never split.",
    ),
    row(
        "apply.transaction_bytes_max",
        Some("256 KiB"),
        size(KIB, 64 * MIB, |d, v| d.apply.transaction_bytes_max = v),
        "Most bytes of remote commands in one transaction.",
    ),
    row(
        "apply.in_flight_bytes_max",
        Some("8 MiB"),
        size(64 * KIB, GIB, |d, v| d.apply.in_flight_bytes_max = v),
        "How much may be on its way to the database without an answer. At least `transaction_bytes_max`.",
    ),
    row(
        "conflicts.log",
        Some("sampled"),
        text("\"off\", \"sampled\", \"all\"", |d, t| {
            d.conflicts.log = value::choice(t, CONFLICT_LOG)?;
            Ok(())
        }),
        "Which conflicts, resolved against somebody, are written to the log target `syncer::conflict`. They are \
         always counted.",
    ),
    row(
        "conflicts.sample_per_second",
        Some("10"),
        count(1, 100_000, |d, v| d.conflicts.sample_per_second = v),
        "Most conflicts written per second with \"sampled\".",
    ),
    row(
        "flush.policy",
        Some("propagate"),
        text("\"propagate\", \"ignore\"", |d, t| {
            d.flush = value::choice(t, FLUSH)?;
            Ok(())
        }),
        "What a FLUSHDB or FLUSHALL of a client here does at the other sites: the same, or nothing (the \
         sites then differ until the keys are written again).",
    ),
    row(
        "swapdb.policy",
        Some("snapshot"),
        text("\"snapshot\", \"verbatim\"", |d, t| {
            d.swapdb = value::choice(t, SWAPDB)?;
            Ok(())
        }),
        "How a SWAPDB of a client here reaches the other sites: in its place the whole data set of this site, in one \
         transaction, under the limit below; or as it came, which is right only while nobody writes anywhere. With \
         `flush.policy` \"ignore\" no data set can be sent: then a SWAPDB ends replication unless this is \
         \"verbatim\".",
    ),
    row(
        "snapshot.bytes_max",
        Some("256 MiB"),
        size(MIB, 768 * MIB, |d, v| d.snapshot_bytes_max = v),
        "When the database's stream has a gap (a crash of the database, a `SWAPDB`), its whole data set goes to the other sites \
         in one transaction, during which their databases serve nobody. A larger one is refused.",
    ),
    row(
        "restore.modules",
        Some("refuse"),
        text("\"refuse\", \"allow\"", |d, t| {
            d.restore_modules = value::choice(t, MODULES)?;
            Ok(())
        }),
        "What becomes of a value of a module's own type that another site sends as a dump. Every other dump is \
         read and written anew before the database gets it; these can be read by the module alone. \"allow\" \
         hands them to the database as they came: then a site that was broken into can attack the module here.",
    ),
    row(
        "certificates.dir",
        None,
        text("path", |d, t| {
            d.certificates_dir = Some(value::path(t)?);
            Ok(())
        }),
        "Where this site's certificates, keys and TLS policy are; syncers of one site may share it. `certs` in `data_dir`, if not given.",
    ),
    row(
        "certificates.store",
        Some("directory"),
        text("\"directory\", \"etcd\"", |d, t| {
            d.etcd.is_chosen = value::choice(t, STORE)?;
            Ok(())
        }),
        "Where the syncers of this site share what `dir` holds: \"directory\" in `dir` itself, a shared volume or a mounted \
         secret; \"etcd\" in etcd, with `dir` as this syncer's own copy (a build with the feature `etcd`).",
    ),
    row(
        "certificates.tls_version_min",
        Some("1.3"),
        text("\"1.2\", \"1.3\"", |d, t| {
            d.tls_version_min = value::choice(t, TLS_VERSION)?;
            Ok(())
        }),
        "The oldest TLS version that a link to a peer may use, until `cluster config min_data_TLS_version` sets one.",
    ),
    row(
        "etcd.endpoints",
        None,
        text("http(s)://host:port, ...", |d, t| {
            d.etcd.endpoints = etcd::endpoints(t)?;
            Ok(())
        }),
        "Where etcd answers clients, separated by commas; they are tried in turn. Required with `certificates.store = \"etcd\"`.",
    ),
    row(
        "etcd.prefix",
        None,
        text("text", |d, t| {
            d.etcd.prefix = Some(etcd::prefix(t)?);
            Ok(())
        }),
        "What the names of this site's values begin with, the same at all its syncers. `/syncer/<database_id>/<site>`, if not given.",
    ),
    row(
        "etcd.seal_file",
        None,
        text("path", |d, t| {
            d.etcd.seal_file = Some(value::path(t)?);
            Ok(())
        }),
        "The key that everything in etcd is encrypted with, the same at all syncers of the site: 64 hexadecimal digits \
         (`openssl rand -hex 32`). More lines may follow with older keys, which only open. Required with etcd.",
    ),
    row(
        "etcd.ca_file",
        None,
        text("path", |d, t| {
            d.etcd.ca_file = Some(value::path(t)?);
            Ok(())
        }),
        "The CA (PEM) that signed etcd's certificates. Required with https://.",
    ),
    row(
        "etcd.cert_file",
        None,
        text("path", |d, t| {
            d.etcd.cert_file = Some(value::path(t)?);
            Ok(())
        }),
        "The client certificate (PEM) to show to etcd, together with `key_file`.",
    ),
    row(
        "etcd.key_file",
        None,
        text("path", |d, t| {
            d.etcd.key_file = Some(value::path(t)?);
            Ok(())
        }),
        "The key (PEM) of `cert_file`.",
    ),
    row(
        "etcd.user",
        None,
        text("text", |d, t| {
            d.etcd.user = Some(t.into());
            Ok(())
        }),
        "The user of etcd's own authentication, together with `password_file`; with https:// only.",
    ),
    row(
        "etcd.password_file",
        None,
        text("path", |d, t| {
            d.etcd.password_file = Some(value::path(t)?);
            Ok(())
        }),
        "A file that holds the user's password (its first line).",
    ),
    row(
        "tracing.format",
        Some("human"),
        text("\"human\", \"json\"", |d, t| {
            d.tracing.format = value::choice(t, FORMAT)?;
            Ok(())
        }),
        "How log lines are written to standard error.",
    ),
    row(
        "tracing.level",
        Some("info"),
        text(
            "error, warn, info, debug, trace, or filters such as \"info,syncer::link=debug\"",
            |d, t| {
                d.tracing.level = super::settings::trace_level(t)?;
                Ok(())
            },
        ),
        "Which log lines are written.",
    ),
];

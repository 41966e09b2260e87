//! The status as samples for a collector: name, help, labels, value.

use super::view::{DatabaseLink, PeerState, PeerView, StatusView};

/// Whether a sample only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises, and starts at zero with the process.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One figure. Samples of one name stand together and share help and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its name, units last: `syncer_peer_lag_bytes`; counters end in `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
    /// What it is about.
    pub labels: Labels,
    /// The figure; no metric here has fractions.
    pub value: i64,
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

type Row<T> = (&'static str, &'static str, Kind, fn(&T) -> u64);

const ENGINE: &[Row<StatusView>] = &[
    (
        "syncer_uptime_milliseconds",
        "Time since the process started.",
        Kind::Gauge,
        |v| v.uptime_ms,
    ),
    (
        "syncer_database_up",
        "1 while the database's stream is read.",
        Kind::Gauge,
        |v| u64::from(v.database.link_state == DatabaseLink::Streaming),
    ),
    (
        "syncer_database_offset_bytes",
        "Replication offset read.",
        Kind::Gauge,
        |v| v.database.offset,
    ),
    (
        "syncer_database_offset_durable_bytes",
        "Replication offset safe in the log.",
        Kind::Gauge,
        |v| v.database.offset_durable,
    ),
    (
        "syncer_link_greeting",
        "Connections to the link port whose greeting is not through.",
        Kind::Gauge,
        |v| v.links.greeting,
    ),
    (
        "syncer_window_operations",
        "Operations that some site may not have seen.",
        Kind::Gauge,
        |v| v.window.operations,
    ),
    (
        "syncer_window_memory_bytes",
        "What the window's index takes in memory.",
        Kind::Gauge,
        |v| v.window.memory_bytes,
    ),
    (
        "syncer_window_disk_bytes",
        "What of the window's index lies on disk.",
        Kind::Gauge,
        |v| v.window.disk_bytes,
    ),
    (
        "syncer_keys_in_conflict",
        "Keys with concurrent operations.",
        Kind::Gauge,
        |v| v.window.keys_in_conflict,
    ),
    (
        "syncer_keys_waiting",
        "Keys in conflict that wait for another site.",
        Kind::Gauge,
        |v| v.window.keys_waiting,
    ),
    (
        "syncer_keys_waiting_milliseconds_max",
        "The longest wait of such a key.",
        Kind::Gauge,
        |v| v.window.waiting_ms_max,
    ),
    (
        "syncer_keys_healing",
        "Keys that the database lost writes to, and that get another site's value.",
        Kind::Gauge,
        |v| v.window.keys_healing,
    ),
    (
        "syncer_log_bytes",
        "What the logs take on disk.",
        Kind::Gauge,
        |v| v.log.bytes,
    ),
    (
        "syncer_log_bytes_max",
        "What the logs may take on disk.",
        Kind::Gauge,
        |v| v.log.bytes_max,
    ),
    (
        "syncer_local_operations_total",
        "Local operations captured.",
        Kind::Counter,
        |v| v.totals.local_operations_captured,
    ),
    (
        "syncer_remote_operations_total",
        "Remote operations applied.",
        Kind::Counter,
        |v| v.totals.remote_operations_applied,
    ),
    (
        "syncer_remote_operations_fast_total",
        "Remote operations applied unchanged.",
        Kind::Counter,
        |v| v.totals.remote_operations_fast,
    ),
    (
        "syncer_keys_reconciled_total",
        "Corrections written after a conflict.",
        Kind::Counter,
        |v| v.totals.keys_reconciled,
    ),
    (
        "syncer_commands_refused_total",
        "Remote commands that the database refused.",
        Kind::Counter,
        |v| v.totals.commands_refused,
    ),
    (
        "syncer_values_refused_total",
        "Values of other sites that were not handed to the database.",
        Kind::Counter,
        |v| v.totals.values_refused,
    ),
    (
        "syncer_apply_retries_total",
        "Transactions tried again.",
        Kind::Counter,
        |v| v.totals.apply_retries,
    ),
    (
        "syncer_partial_resyncs_total",
        "Times the stream was continued.",
        Kind::Counter,
        |v| v.totals.partial_resyncs,
    ),
    (
        "syncer_full_resyncs_total",
        "Times the database sent a snapshot.",
        Kind::Counter,
        |v| v.totals.full_resyncs,
    ),
];

const PEER: &[Row<PeerView>] = &[
    (
        "syncer_peer_up",
        "1 while the link to the peer is up.",
        Kind::Gauge,
        |p| u64::from(p.state == PeerState::Connected),
    ),
    (
        "syncer_peer_lag_operations",
        "Operations that the peer has not executed.",
        Kind::Gauge,
        |p| p.lag_operations,
    ),
    ("syncer_peer_lag_bytes", "Their bytes.", Kind::Gauge, |p| {
        p.lag_bytes
    }),
    (
        "syncer_peer_lag_milliseconds",
        "The age of the oldest of them.",
        Kind::Gauge,
        |p| p.lag_ms,
    ),
    (
        "syncer_peer_sent_operations_total",
        "Operations sent.",
        Kind::Counter,
        |p| p.sent.operations,
    ),
    (
        "syncer_peer_sent_bytes_total",
        "Bytes sent, before TLS.",
        Kind::Counter,
        |p| p.sent.bytes,
    ),
    (
        "syncer_peer_received_operations_total",
        "Operations received.",
        Kind::Counter,
        |p| p.received.operations,
    ),
    (
        "syncer_peer_received_bytes_total",
        "Bytes received, after TLS.",
        Kind::Counter,
        |p| p.received.bytes,
    ),
];

/// The samples of a status. Every one carries the labels `site` and `database_id`.
pub fn metrics(view: &StatusView) -> Vec<Sample> {
    let whose = || {
        vec![
            ("site", view.site.clone()),
            ("database_id", view.database_id.clone()),
        ]
    };
    let with = |label, value: &str| {
        let mut labels = whose();
        labels.push((label, value.to_owned()));
        labels
    };
    let engine = ENGINE.iter().map(|&(name, help, kind, of)| Sample {
        name,
        help,
        kind,
        labels: whose(),
        value: signed(of(view)),
    });
    let mut samples: Vec<Sample> = engine.collect();
    for &(name, help, kind, of) in PEER {
        samples.extend(view.peers.iter().map(|peer| Sample {
            name,
            help,
            kind,
            labels: with("peer", &peer.site),
            value: signed(of(peer)),
        }));
    }
    samples.extend(view.peers.iter().map(|peer| Sample {
        name: "syncer_peer_clock_ahead_milliseconds",
        help: "How far the peer's clock was ahead of ours when last seen.",
        kind: Kind::Gauge,
        labels: with("peer", &peer.site),
        value: peer.clock_ahead_ms,
    }));
    samples.extend(certificates(view, &with, whose()));
    samples.extend(view.links.refused.iter().map(|(reason, &count)| Sample {
        name: "syncer_link_refused_total",
        help: "Connections and links refused, by reason.",
        kind: Kind::Counter,
        labels: with("reason", reason),
        value: signed(count),
    }));
    samples.extend(view.conflicts.iter().map(|(rule, &count)| Sample {
        name: "syncer_conflicts_total",
        help: "Conflicts resolved against somebody, by rule.",
        kind: Kind::Counter,
        labels: with("rule", rule),
        value: signed(count),
    }));
    samples
}

fn certificates(
    view: &StatusView,
    with: &dyn Fn(&'static str, &str) -> Labels,
    whose: Labels,
) -> Vec<Sample> {
    let (mut samples, of_store) = (Vec::new(), whose.clone());
    samples.extend(view.certificates.held.iter().map(|held| Sample {
        name: "syncer_certificate_expires_in_seconds",
        help: "Time until the end of a certificate's validity; negative once it is over.",
        kind: Kind::Gauge,
        labels: with("certificate", &held.name),
        value: held.expires_in_s,
    }));
    samples.push(Sample {
        name: "syncer_certificate_replaced_total",
        help: "Times that the links' certificate, policy or trust was replaced.",
        kind: Kind::Counter,
        labels: whose,
        value: signed(view.certificates.replaced),
    });
    samples.extend(view.certificates.refused.iter().map(|(reason, &count)| Sample {
        name: "syncer_certificate_refused_total",
        help: "Replacements of certificates, policy or trust that were refused, by reason.",
        kind: Kind::Counter,
        labels: with("reason", reason),
        value: signed(count),
    }));
    samples.extend(view.certificates.store.iter().map(|store| Sample {
        name: "syncer_certificate_store_reached",
        help: "1 if the copy of the certificates' shared store is up to date, 0 if it may be behind.",
        kind: Kind::Gauge,
        labels: of_store.clone(),
        value: store.is_reached.into(),
    }));
    samples
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! The status of the running syncer.

use std::collections::BTreeMap;

use super::shared::{Node, Shared, now_unix_ms};
use crate::causality::{SiteIx, Vector};
use crate::control::{
    CertificatesView, DatabaseView, LinksView, LogView, OriginView, PeerView, StatusView, TotalsView,
    TrafficView, WindowView,
};
use crate::converge::Rule;
use crate::flow::Journal;

/// The view for `syncer status`.
pub(super) fn view(shared: &Shared, certificates: CertificatesView) -> StatusView {
    let mut node = shared.node.borrow_mut();
    let peers = peers(shared, &mut node);
    let node = &*node;
    let site = &node.site;
    let counters = site.counters();
    let converge = site.converge();
    let conflicts = converge.counters();
    let offset = site.source().map_or(0, |source| source.offset);
    let replication_id = site
        .source()
        .map(|source| String::from_utf8_lossy(&source.replication_id).into_owned());
    StatusView {
        site: shared.settings.site.to_string(),
        database_id: shared.settings.database_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        database: DatabaseView {
            address: format!("{}:{}", shared.url.host, shared.url.port),
            server_version: node.database.server_version.clone(),
            link_state: node.database.link,
            replication_id: replication_id.unwrap_or_default(),
            offset,
            offset_durable: offset,
            last_error: node
                .database
                .last_error
                .clone()
                .or_else(|| node.database.apply_error.clone()),
        },
        peers,
        links: LinksView {
            greeting: shared.doorway.guests(),
            refused: shared.doorway.refused(),
        },
        window: WindowView {
            operations: converge.unstable() as u64,
            memory_bytes: converge.window_size().memory_bytes as u64,
            disk_bytes: converge.window_size().disk_bytes,
            keys_in_conflict: converge.keys_in_conflict() as u64,
            keys_waiting: converge.keys_waiting() as u64,
            waiting_ms_max: converge
                .waiting_since_ms()
                .map_or(0, |since| now_unix_ms().saturating_sub(since)),
            keys_healing: converge.keys_healing() as u64,
        },
        log: logs(shared, node),
        certificates,
        conflicts: by_rule(&conflicts),
        totals: TotalsView {
            local_operations_captured: counters.captured,
            remote_operations_applied: counters.applied,
            remote_operations_fast: counters.fast,
            keys_reconciled: conflicts.repairs,
            commands_refused: counters.refused,
            values_refused: counters.values_refused,
            apply_retries: counters.retried,
            partial_resyncs: node.captured.continues,
            full_resyncs: node.captured.full_resyncs,
        },
    }
}

/// Rules that decided something, with how often; keys that came into conflict and values shipped for others.
fn by_rule(counters: &crate::converge::Counters) -> BTreeMap<String, u64> {
    let rules = Rule::ALL.map(|rule| (rule.label(), counters.losses[rule.at()]));
    let all = rules
        .into_iter()
        .chain([("keys", counters.conflicts), ("states_shipped", counters.states)]);
    all.filter(|(name, count)| *count > 0 || *name == "keys")
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

fn logs(shared: &Shared, node: &Node) -> LogView {
    let logs = node.site.journal();
    let all: Vec<SiteIx> = node.site.roster().all().collect();
    LogView {
        bytes: all.iter().map(|&origin| logs.bytes(origin)).sum(),
        bytes_max: shared.settings.log.bytes_max,
        origins: all
            .iter()
            .map(|&origin| OriginView {
                site: node.site.roster().name(origin).to_string(),
                first_seq: logs.first(origin),
                last_seq: logs.last(origin),
            })
            .collect(),
    }
}

fn peers(shared: &Shared, node: &mut Node) -> Vec<PeerView> {
    let me = node.site.roster().me();
    let peers: Vec<SiteIx> = node.site.roster().peers().collect();
    peers
        .into_iter()
        .map(|peer| {
            let name = node.site.roster().name(peer);
            let settled: &Vector = node.site.settled_at(peer);
            let seen = settled.get(me);
            let lag = node.site.journal().last(me).saturating_sub(seen);
            let oldest = if lag > 0 {
                node.site.journal_mut().batch(me, seen + 1)
            } else {
                None
            };
            let lag_ms = oldest.as_ref().map_or(0, |batch| {
                now_unix_ms().saturating_sub(batch.time_of((seen + 1 - batch.first_seq) as usize).unix_ms())
            });
            let link = &node.peers[peer.at()];
            PeerView {
                site: name.to_string(),
                address: address_of(shared, name),
                state: link.state,
                lag_operations: lag,
                lag_bytes: node.site.journal().bytes_behind(me, seen),
                lag_ms,
                clock_ahead_ms: i64::try_from(link.clock_ahead_ms).unwrap_or(i64::MAX),
                sent: TrafficView {
                    operations: link.sent.0,
                    bytes: link.sent.1,
                },
                received: TrafficView {
                    operations: link.received.0,
                    bytes: link.received.1,
                },
                last_error: link.last_error.clone(),
            }
        })
        .collect()
}

fn address_of(shared: &Shared, site: crate::causality::SiteId) -> String {
    let peer = shared.settings.peers.iter().find(|peer| peer.site == site);
    peer.map(|peer| peer.address.clone()).unwrap_or_default()
}

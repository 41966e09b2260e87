//! Views, renderings and the socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn view() -> StatusView {
    StatusView {
        site: "a".into(),
        database_id: "orders".into(),
        version: "0.1.0".into(),
        uptime_ms: 61_000,
        database: DatabaseView {
            address: "127.0.0.1:6379".into(),
            server_version: "Redis 7.0.15".into(),
            link_state: DatabaseLink::Streaming,
            replication_id: "0123abcd".into(),
            offset: 1_234_567,
            offset_durable: 1_234_000,
            last_error: None,
        },
        peers: vec![
            PeerView {
                site: "b".into(),
                address: "127.0.0.1:9401".into(),
                state: PeerState::Connected,
                lag_operations: 12,
                lag_bytes: 2048,
                lag_ms: 3,
                sent: TrafficView {
                    operations: 5000,
                    bytes: 1 << 20,
                },
                received: TrafficView {
                    operations: 70,
                    bytes: 900,
                },
                ..PeerView::default()
            },
            PeerView {
                site: "c-long-name".into(),
                address: "c:9400".into(),
                clock_ahead_ms: -5,
                last_error: Some("refused\x1b[31m\nby\tc".into()),
                ..PeerView::default()
            },
        ],
        links: LinksView {
            greeting: 1,
            refused: [("expired".to_owned(), 2)].into(),
        },
        window: WindowView {
            operations: 40,
            memory_bytes: 64 << 10,
            disk_bytes: 3 << 20,
            keys_in_conflict: 2,
            keys_waiting: 1,
            waiting_ms_max: 1500,
            keys_healing: 0,
        },
        log: LogView {
            bytes: 3 << 19,
            bytes_max: 8 << 30,
            origins: vec![OriginView {
                site: "a".into(),
                first_seq: 1,
                last_seq: 5000,
            }],
        },
        certificates: CertificatesView {
            held: vec![
                CertificateView {
                    name: "syncer".into(),
                    fingerprint: "SHA256:AA".into(),
                    until: "2036-11-23 08:00:00 UTC".into(),
                    expires_in_s: 86_000,
                    state: "ends within 1 day".into(),
                },
                CertificateView {
                    name: "peer:b".into(),
                    expires_in_s: -5,
                    state: "valid".into(),
                    ..CertificateView::default()
                },
            ],
            replaced: 3,
            refused: [("key_mismatch".to_owned(), 2)].into(),
            last_error: Some("the key\nis another's".into()),
            store: Some(StoreView {
                is_reached: false,
                behind_s: 12,
                error: Some("nobody answers".into()),
            }),
        },
        conflicts: [("set_lost".to_owned(), 4)].into(),
        totals: TotalsView {
            local_operations_captured: 5000,
            ..TotalsView::default()
        },
    }
}

#[test]
fn the_table_reads_well() {
    let expected = "\
site a   database id orders   syncer 0.1.0   up 1 min 1 s
database  127.0.0.1:6379  Redis 7.0.15  streaming  id 0123abcd  offset 1,234,567

PEER         ADDRESS         STATE       LAG ops    bytes  time  SENT ops  RECEIVED ops
b            127.0.0.1:9401  connected        12  2.0 KiB  3 ms     5,000            70
c-long-name  c:9400          connecting        0      0 B  0 ms         0             0
c-long-name: refused [31m by c

window    40 operations in 64.0 KiB and 3.0 MiB on disk, 2 keys in conflict, 1 waiting (longest 1.5 s)
log       1.5 MiB of 8.0 GiB   a 1..5,000
writes    5,000 local captured, 0 remote applied, 0 keys reconciled
conflicts set_lost 4
CERTIFICATE syncer ends within 1 day (2036-11-23 08:00:00 UTC)
CERTIFICATE not replaced: the key is another's
CERTIFICATE store not reached for 12.0 s: nobody answers
";
    assert_eq!(table(&view(), None), expected);
}

#[test]
fn rates_come_from_two_views() {
    let (before, mut now) = (view(), view());
    now.uptime_ms += 2000;
    now.peers[0].sent.operations += 3000;
    now.totals.local_operations_captured += 3000;
    let text = table(&now, Some(&before));
    assert!(text.contains("8,000  1,500"), "{text}");
    assert!(text.contains("8,000 local captured (1,500/s)"), "{text}");
    // A restarted syncer has no rates with its former self.
    assert_eq!(table(&before, Some(&now)), table(&before, None));
}

#[test]
fn an_empty_view_renders() {
    let text = table(&StatusView::default(), None);
    assert!(
        text.contains("no peers are configured") && text.contains("conflicts none"),
        "{text}"
    );
}

#[test]
fn samples_are_well_named_and_grouped() {
    let samples = metrics(&view());
    let mut names: Vec<_> = samples.iter().map(|s| s.name).collect();
    names.dedup();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "samples of one name stand together");
    for sample in &samples {
        assert!(
            sample.name.starts_with("syncer_") && sample.help.ends_with('.'),
            "{sample:?}"
        );
        assert_eq!(
            sample.name.ends_with("_total"),
            sample.kind == Kind::Counter,
            "{sample:?}"
        );
    }
    let expires = samples
        .iter()
        .filter(|s| s.name == "syncer_certificate_expires_in_seconds");
    let expires: Vec<_> = expires
        .map(|s| (s.labels.last().unwrap().1.as_str(), s.value))
        .collect();
    assert_eq!(expires, [("syncer", 86_000), ("peer:b", -5)]);
    let refused = samples
        .iter()
        .find(|s| s.name == "syncer_certificate_refused_total")
        .unwrap();
    assert_eq!(
        (refused.labels.last().unwrap().1.as_str(), refused.value),
        ("key_mismatch", 2)
    );
    let lag = samples
        .iter()
        .find(|s| s.name == "syncer_peer_lag_bytes")
        .unwrap();
    assert_eq!(lag.value, 2048);
    assert_eq!(lag.labels.last(), Some(&("peer", "b".to_owned())));
}

#[cfg(feature = "io")]
mod socket {
    use super::super::io::{Error, Server, ask};
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn json_names_are_the_contract() {
        let json = serde_json::to_value(view()).unwrap();
        assert_eq!(json["database"]["link_state"], "streaming");
        assert_eq!(json["peers"][0]["state"], "connected");
        assert_eq!(json["peers"][0]["lag_operations"], 12);
        assert_eq!(json["window"]["keys_waiting"], 1);
        assert_eq!(json["totals"]["remote_operations_applied"], 0);
        assert_eq!(serde_json::from_value::<StatusView>(json).unwrap(), view());
        assert_eq!(
            serde_json::to_string(&Request::Status).unwrap(),
            r#"{"request":"status"}"#
        );
    }

    /// Runs a server on a thread of its own while `test` asks it.
    fn served(path: &std::path::Path, test: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::scope(|scope| {
            let server = {
                let _in = runtime.enter();
                Server::bind(path).unwrap()
            };
            scope.spawn(move || {
                tokio::task::LocalSet::new().block_on(&runtime, async {
                    tokio::select! {
                        () = server.serve(Rc::default(), async |_| Response::Status(Box::new(view()))) => {}
                        _ = stopped => {}
                    }
                });
            });
            test();
            drop(stop);
        });
    }

    #[test]
    fn asked_and_answered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        assert!(matches!(
            ask(&path, &Request::Status, SOON),
            Err(Error::NotRunning(_))
        ));
        served(&path, || {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // An idle client must not keep the next one out.
            let _idle = UnixStream::connect(&path).unwrap();
            assert_eq!(
                ask(&path, &Request::Status, SOON).unwrap(),
                Response::Status(Box::new(view()))
            );
            let mut raw = UnixStream::connect(&path).unwrap();
            raw.write_all(b"{\"request\":\"dance\"}\n").unwrap();
            let mut text = String::new();
            raw.read_to_string(&mut text).unwrap();
            assert!(
                text.starts_with(r#"{"error":"the request is not understood"#),
                "{text}"
            );
        });
        assert!(!path.exists(), "removed at the end");
    }

    #[test]
    fn places_are_taken_or_freed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        served(&path, || {
            assert!(matches!(Server::bind(&path), Err(Error::Taken(_))));
        });
        // Left behind by a dead process.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        served(&path, || assert!(ask(&path, &Request::Status, SOON).is_ok()));
        std::fs::write(&path, "data").unwrap();
        assert!(matches!(Server::bind(&path), Err(Error::NotASocket(_))));
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(Server::bind(&long), Err(Error::PathTooLong(_))));
    }
}

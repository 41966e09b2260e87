//! Links move to new certificates while both sites write; a bad certificate changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Cluster, LONG, wait_until};
use crate::trust::{Ca, Yard, count, expired, params, self_signed};

pub const REPLACED: &str = "the certificates are replaced";
const KEPT: &str = "the certificates are not replaced";

/// Every site counts, each on a counter of its own and on a common one, until told to stop; gives how often each has.
fn writing<T>(cluster: &Cluster, body: impl FnOnce() -> T) -> (T, Vec<u64>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..cluster.sites.len())
            .map(|site| {
                let (stop, mut client) = (&stop, cluster.client(site));
                scope.spawn(move || {
                    let mut rounds = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let lines: Vec<Vec<String>> = (0..200)
                            .map(|n| match n % 4 {
                                0 => vec!["INCR".into(), "common".into()],
                                1 => vec!["INCR".into(), format!("of:{site}")],
                                2 => vec!["RPUSH".into(), format!("list:{site}"), rounds.to_string()],
                                _ => vec!["SET".into(), format!("key:{site}:{n}"), rounds.to_string()],
                            })
                            .collect();
                        client.pipeline(&lines);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let done = body();
        stop.store(true, Ordering::Relaxed);
        (
            done,
            writers.into_iter().map(|writer| writer.join().unwrap()).collect(),
        )
    })
}

/// All sites hold the same, every write once, in order, and no link was ever down.
#[track_caller]
fn check(yard: &Yard, rounds: &[u64]) {
    yard.cluster.converge();
    let mut client = yard.cluster.client(0);
    let all: u64 = rounds.iter().sum();
    assert_eq!(client.ok("GET common").text(), (all * 50).to_string());
    for (site, rounds) in rounds.iter().enumerate() {
        assert_eq!(
            client.ok(&format!("GET of:{site}")).text(),
            (rounds * 50).to_string()
        );
        let list = client.ok(&format!("LRANGE list:{site} 0 -1"));
        let found: Vec<String> = list.array().iter().map(|item| item.text()).collect();
        let expected: Vec<String> = (0..rounds * 50).map(|n| (n / 50).to_string()).collect();
        assert_eq!(found, expected, "pushes of site {site}, in order");
    }
    for site in &yard.cluster.sites {
        // Who was started first finds nobody.
        let log = site.log();
        let down: Vec<_> = log.lines().filter(|line| line.contains("link down")).collect();
        assert!(
            down.iter().all(|line| line.contains("Connection refused")),
            "{down:?}"
        );
    }
}

#[test]
fn every_certificate_is_replaced_twice_under_load() {
    let yard = Yard::start(Cluster::build(3).direct_links());
    let ((), rounds) = writing(&yard.cluster, || {
        for _ in 0..2 {
            for site in 0..3 {
                let new = self_signed(params("orders", &yard.cluster.sites[site].name));
                yard.trust(site, &[&new.certificate, &yard.certificate(site)]);
                for other in (0..3).filter(|&other| other != site) {
                    yard.reloaded(other, REPLACED);
                }
                yard.own(site, &new);
                yard.reloaded(site, REPLACED);
                yard.trust(site, &[&new.certificate]);
                for other in (0..3).filter(|&other| other != site) {
                    yard.reloaded(other, REPLACED);
                }
            }
        }
    });
    check(&yard, &rounds);
    for site in &yard.cluster.sites {
        assert_eq!(count(&site.log(), "Failed"), 0, "{}", site.log());
    }
}

/// A certificate that no peer trusts, and those that do not even read: the link stays, and the reason is told.
#[test]
fn a_bad_certificate_changes_nothing() {
    let yard = Yard::start(Cluster::build(2).direct_links().link("connect_timeout = \"1 s\""));
    let old = yard.certificate(0);
    let key =
        std::fs::read_to_string(yard.cluster.sites[0].certificate_path().with_extension("key")).unwrap();
    let ((), rounds) = writing(&yard.cluster, || {
        for site in 0..2 {
            let name = &yard.cluster.sites[site].name;
            let good = crate::trust::Made {
                certificate: yard.certificate(site),
                key: std::fs::read_to_string(
                    yard.cluster.sites[site].certificate_path().with_extension("key"),
                )
                .unwrap(),
            };
            let unknown = self_signed(params("orders", name));
            let other_key = crate::trust::Made {
                key: unknown.key.clone(),
                ..good.clone()
            };
            let late = self_signed(expired(params("orders", name)));
            let foreign = self_signed(params("invoices", name));
            for (bad, why) in [
                (&unknown, "no link could be established with it"),
                (&other_key, "not that of the certificate"),
                (&late, "expired at"),
                (&foreign, "invoices"),
            ] {
                yard.own(site, bad);
                yard.reload(site);
                yard.cluster.sites[site].wait_log(&[KEPT, why]);
            }
            yard.own(site, &good);
            yard.reloaded(site, REPLACED);
        }
    });
    check(&yard, &rounds);
    assert_eq!(old, yard.certificate(0));
    assert!(
        !yard
            .cluster
            .sites
            .iter()
            .any(|site| site.log().contains(key.lines().nth(1).unwrap()))
    );
}

/// Self-signed certificates give way to those of a CA, at all sites.
#[test]
fn from_self_signed_to_a_ca() {
    let yard = Yard::start(Cluster::build(2).direct_links());
    let ca = Ca::new();
    let ((), rounds) = writing(&yard.cluster, || {
        for site in 0..2 {
            yard.trust(site, &[&yard.certificate(site), &ca.pem()]);
        }
        (0..2).for_each(|site| yard.reloaded(site, REPLACED));
        for site in 0..2 {
            yard.own(site, &ca.sign(params("orders", &yard.cluster.sites[site].name)));
            yard.reloaded(site, REPLACED);
        }
        for site in 0..2 {
            yard.trust(site, &[&ca.pem()]);
        }
        (0..2).for_each(|site| yard.reloaded(site, REPLACED));
    });
    check(&yard, &rounds);
}

/// A certificate that is taken out of the trust ends its link within the configured time, and only that.
#[test]
fn a_peer_that_is_not_trusted_any_more_is_cut() {
    let extra = "connect_timeout = \"1 s\"\ncertificate_timeout = \"2 s\"";
    let yard = Yard::start(Cluster::build(3).direct_links().link(extra));
    let (a, b) = (&yard.cluster.sites[0], &yard.cluster.sites[1]);
    std::fs::write(
        yard.trusted(0, "b"),
        self_signed(params("orders", "b")).certificate,
    )
    .unwrap();
    yard.reloaded(0, REPLACED);
    a.wait_status("b is cut", |status| {
        !status.peer_is_up("b") && status.peer_is_up("c")
    });
    a.wait_log(&["the peer's certificate is not accepted any more"]);
    b.wait_status("a is gone, c is not", |status| {
        !status.peer_is_up("a") && status.peer_is_up("c")
    });
    // Its operations still go over c, and the link comes back with the trust.
    std::fs::write(yard.trusted(0, "b"), yard.certificate(1)).unwrap();
    yard.reloaded(0, REPLACED);
    wait_until("the link is back", LONG, || {
        a.status().is_some_and(|status| status.peer_is_up("b"))
    });
    yard.cluster.converge();
}

/// A revoked certificate ends its link within the configured time, though it is the only link, and comes in no more.
#[test]
fn a_peer_that_is_revoked_is_cut() {
    let extra = "connect_timeout = \"1 s\"\ncertificate_timeout = \"1 s\"";
    let mut yard = Yard::prepare(Cluster::build(2).direct_links().link(extra));
    let ca = Ca::new();
    let mut of_a = params("orders", "a");
    of_a.serial_number = Some(77_u64.into());
    yard.own(0, &ca.sign(of_a));
    yard.trust(0, &[&ca.pem()]);
    yard.start_sites();
    let begin = std::time::Instant::now();
    yard.trust(0, &[&ca.pem(), &ca.revokes(77)]);
    yard.reloaded(1, REPLACED);
    let b = &yard.cluster.sites[1];
    b.wait_log(&["outcome: Dropped(Revoked)"]);
    b.wait_status("a is cut and refused", |status| {
        let refused = status.0.pointer("/links/refused/revoked");
        !status.peer_is_up("a") && refused.and_then(serde_json::Value::as_u64).unwrap_or(0) > 1
    });
    // A second of patience, one between two looks; the rest is the test's own.
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
    b.wait_log(&["the peer's certificate is not accepted any more", "revoked"]);
    // A new certificate of the same authority lets it in again.
    yard.own(0, &ca.sign(params("orders", "a")));
    yard.reloaded(0, REPLACED);
    yard.cluster.wait_connected();
    // The authority is taken out of the file: no link can be made with that, and it counts all the same.
    yard.trust(0, &[&self_signed(params("orders", "a")).certificate]);
    yard.reloaded(1, REPLACED);
    b.wait_log(&["outcome: Dropped(UnknownCertificate"]);
    b.wait_status("a is cut", |status| !status.peer_is_up("a"));
    assert_eq!(count(&b.log(), KEPT), 0, "{}", b.log());
    yard.trust(0, &[&ca.pem()]);
    yard.reloaded(1, REPLACED);
    yard.cluster.wait_connected();
    yard.cluster.converge();
}

/// A site whose peers cannot be reached from it: its new certificate is shown because they are asked to dial anew.
#[test]
fn a_site_that_cannot_dial_asks_to_be_dialed() {
    let mut yard = Yard::prepare(Cluster::build(3).direct_links());
    let mut peers = yard.peers(0);
    peers
        .iter_mut()
        .for_each(|peer| peer.address = "127.0.0.1:1".into());
    yard.cluster.sites[0].write_config(&peers);
    yard.start_sites();
    let new = self_signed(params("orders", "a"));
    let ((), rounds) = writing(&yard.cluster, || {
        yard.trust(0, &[&yard.certificate(0), &new.certificate]);
        (1..3).for_each(|site| yard.reloaded(site, REPLACED));
        yard.own(0, &new);
        yard.reloaded(0, REPLACED);
        yard.trust(0, &[&new.certificate]);
        (1..3).for_each(|site| yard.reloaded(site, REPLACED));
    });
    check(&yard, &rounds);
    for site in &yard.cluster.sites {
        assert_eq!(count(&site.log(), "Failed"), 0, "{}", site.log());
    }
}

/// While a connection is cut in the middle of moving, again and again, nothing is lost and nothing counts twice.
#[test]
fn links_that_break_while_they_move() {
    let yard = Yard::start(Cluster::build(2).link("connect_timeout = \"1 s\""));
    let ((), rounds) = writing(&yard.cluster, || {
        for round in 0..25_u64 {
            yard.reload((round % 2) as usize);
            // Somewhere between the first byte of the new connection and the last of the old one.
            std::thread::sleep(std::time::Duration::from_millis(round % 13));
            yard.cluster.drop_connections(0, 1);
        }
    });
    yard.cluster.wait_connected();
    yard.cluster.converge();
    let mut client = yard.cluster.client(0);
    let all: u64 = rounds.iter().sum();
    assert_eq!(client.ok("GET common").text(), (all * 50).to_string());
}

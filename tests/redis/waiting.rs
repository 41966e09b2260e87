//! Keys that wait for a value that another site has to send: told, reminded, overruled.

use crate::support::site::say;
use crate::support::{Cluster, LONG, Random, wait_until};

/// Site b stored a union of sets, one of which site a changed meanwhile: only b knows what it stored. b hears nothing
/// of a, and so does not know that the value is wanted.
fn waiting_for_b() -> Cluster {
    let cluster = Cluster::new(3);
    cluster.client(0).load(&["SADD one 1", "SADD two 2"]);
    cluster.converge();
    cluster.stall_one_way(0, 1);
    cluster.client(0).load(&["SADD one 3"]);
    cluster.wait_read();
    cluster.client(1).load(&["SUNIONSTORE both one two"]);
    cluster.sites[0].wait_status("the key waits", |status| {
        status.number("window.keys_waiting") == 1
    });
    cluster
}

#[test]
fn a_wait_is_told_and_ends_with_the_cut() {
    Random::announced("a wait ends");
    let cluster = waiting_for_b();
    cluster.sites[0].wait_status("the wait is told", |status| {
        status.number("window.waiting_ms_max") > 0
    });
    cluster.heal_all();
    cluster.converge();
    assert_eq!(cluster.client(0).run("SCARD both").int(), 2);
}

#[test]
fn a_site_that_is_gone_for_good_is_overruled() {
    Random::announced("overruled");
    let mut cluster = waiting_for_b();
    let words = ["conflicts", "overrule", "site", "b"];
    let output = cluster.sites[0].command("admin", &["conflicts", "overrule", "site", "d"]);
    let said = say(&output);
    assert!(
        !output.status.success() && said.contains("its peers are b, c"),
        "{said}"
    );
    let output = cluster.sites[0].command("admin", &words);
    let said = say(&output);
    assert!(
        !output.status.success() && said.contains("is connected"),
        "{said}"
    );

    cluster.sites[1].kill();
    cluster.sites[0].wait_status("b is gone", |status| !status.peer_is_up("b"));
    let output = cluster.sites[0].command("admin", &words);
    let said = say(&output);
    assert!(output.status.success() && said.contains("1 keys"), "{said}");
    for site in [0, 2] {
        cluster.sites[site].wait_status("nothing waits", |status| {
            status.number("window.keys_waiting") == 0
        });
    }
    let value = |site: usize| cluster.client(site).run("SCARD both").int();
    wait_until("the value is everywhere", LONG, || value(0) == value(2));
    // It was not gone for good after all.
    cluster.heal_all();
    cluster.sites[1].start();
    cluster.wait_connected();
    cluster.converge();
}

/// What a store read at its site has expired where it arrives late: that site alone cannot tell what was stored.
#[test]
fn a_store_that_arrives_when_a_source_has_expired_gives_what_its_site_gave() {
    Random::announced("a source has expired");
    let cluster = Cluster::new(2);
    cluster.client(0).load(&["SADD stays 1"]);
    cluster.converge();
    cluster.stall_one_way(0, 1);
    cluster.client(0).load(&[
        "SADD goes 2",
        "PEXPIRE goes 50",
        "SUNIONSTORE both goes stays",
        "SADD went 3",
        "PEXPIRE went 50",
        "SUNIONSTORE also stays went",
    ]);
    wait_until("the sources have expired", LONG, || {
        cluster.client(0).run("EXISTS goes went").int() == 0
    });
    cluster.heal_all();
    cluster.converge();
    for site in [0, 1] {
        assert_eq!(cluster.client(site).run("SCARD both").int(), 2);
        assert_eq!(cluster.client(site).run("SCARD also").int(), 2);
    }
}

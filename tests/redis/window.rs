//! A long cut: the window of writes that can still conflict outgrows its memory and goes to disk.

use std::time::Duration;

use crate::support::{Cluster, LONG};

/// Writes at each site during the cut.
const WRITES: u64 = 100_000;
const CONFLICTS: u64 = 500;

/// Keys of the site's own, and `CONFLICTS` that the other site writes as well: strings, counters and sets.
fn writes(site: &str) -> Vec<String> {
    let mut lines: Vec<String> = (0..WRITES - 3 * CONFLICTS)
        .map(|key| format!("SET {site}:{key} {key}"))
        .collect();
    for key in 0..CONFLICTS {
        // Spread over the whole cut, so that they are found in every part of the window.
        let at = (key * (WRITES / CONFLICTS)) as usize;
        let both = [
            format!("SET both:{key} {site}"),
            format!("INCRBY counter:{} 2", key % 50),
            format!("SADD set:{} {site}:{key}", key % 50),
        ];
        lines.splice(at..at, both);
    }
    lines
}

#[test]
fn a_long_cut_goes_to_disk_and_comes_back_with_every_conflict() {
    let mut cluster = Cluster::build(2)
        .config("[window]\nmemory_max = \"1 MiB\"\n")
        .start();
    cluster.cut(0, 1);
    for site in 0..2 {
        cluster.client(site).load(&writes(["a", "b"][site]));
    }
    cluster.wait_read();
    for site in &cluster.sites {
        let status = site.wait_status("the window holds the cut's writes", |status| {
            status.number("window.operations") >= WRITES
        });
        assert!(status.number("window.disk_bytes") > 1 << 20, "{}", status.0);
        assert!(status.number("window.memory_bytes") < 1 << 20, "{}", status.0);
    }
    // One of them starts again in between, and makes its window anew from the log.
    cluster.sites[0].kill();
    cluster.sites[0].start();
    cluster.sites[0].wait_status("the window is there again", |status| {
        status.number("window.operations") >= WRITES && status.number("window.disk_bytes") > 1 << 20
    });
    cluster.heal(0, 1);
    cluster.wait_connected();
    cluster.quiet_within(LONG + Duration::from_secs(120));
    cluster.converge();
    for counter in 0..50 {
        let expected = (2 * 2 * CONFLICTS / 50).to_string();
        cluster.wait_value(0, &format!("GET counter:{counter}"), &expected);
        let members = (2 * CONFLICTS / 50).to_string();
        cluster.wait_value(1, &format!("SCARD set:{counter}"), &members);
    }
    for site in &cluster.sites {
        let status = site.wait_status("the window is empty", |status| {
            status.number("window.operations") == 0 && status.number("window.disk_bytes") == 0
        });
        assert!(status.number("conflicts.keys") >= CONFLICTS, "{}", status.0);
        assert_eq!(status.number("window.keys_in_conflict"), 0);
    }
}

//! Sites that join by an invitation, and leave again.

use std::process::Output;

use crate::support::site::{Site, say};
use crate::support::status::Status;
use crate::support::{Cluster, LONG, wait_until};

/// Three sites that do not know each other.
fn strangers() -> Cluster {
    let cluster = Cluster::build(3).direct_links().prepare();
    for site in &cluster.sites {
        site.write_config(&[]);
    }
    cluster
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", say(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was refused, and why.
#[track_caller]
fn refused(output: &Output, why: &str) {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains(why),
        "{why:?}: {}",
        say(output)
    );
}

#[track_caller]
fn invite(site: &Site) -> String {
    let line = done(&site.command("invite", &[]));
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim().to_owned()
}

fn join(site: &Site, line: &str) -> Output {
    site.command("join", &[line, "--yes"])
}

fn admin(site: &Site, words: &str) -> Output {
    site.command("admin", &words.split(' ').collect::<Vec<_>>())
}

#[track_caller]
fn wait_peers(site: &Site, names: &[&str]) {
    wait_until(&format!("{} knows {names:?}", site.name), LONG, || {
        let Some(status) = site.status() else { return false };
        let peers = status.0["peers"].as_array().unwrap();
        peers.len() == names.len()
            && names
                .iter()
                .all(|name| peers.iter().any(|peer| peer["site"] == *name))
    });
}

/// One after the other, with everything that must not get in between; the first sites go on in the same process.
#[test]
fn sites_join_and_leave() {
    let mut cluster = strangers();
    cluster.sites[0].start();
    cluster.sites[0].wait_status("the database is up", |s| s.database_is_up());
    let mut client = cluster.client(0);
    client.ok("SADD s x");
    client.ok("INCR n");
    cluster.sites[0].wait_read();
    cluster.sites[0].wait_status("everything is stable", |s| s.is_quiet());
    let line = nobody_comes_uninvited(&cluster);
    a_second_joins(&mut cluster, &line);
    a_third_joins_both(&mut cluster);
    it_leaves(&mut cluster);
    let secret = secret(&line);
    for site in &cluster.sites {
        assert!(
            !site.log().contains(secret),
            "a secret in the log of {}",
            site.name
        );
    }
}

fn secret(line: &str) -> &str {
    line.split('/').nth(6).unwrap()
}

/// What is no invitation any more, and who may not come; gives an invitation that is still good.
fn nobody_comes_uninvited(cluster: &Cluster) -> String {
    let (a, b) = (&cluster.sites[0], &cluster.sites[1]);
    let withdrawn = invite(a);
    assert_eq!(done(&admin(a, "cluster invitation withdraw")), "1 withdrawn\n");
    refused(&join(b, &withdrawn), "no invitation is open there");
    let line = invite(a);
    refused(&b.command("join", &[&line]), "compare the fingerprints");
    refused(&join(b, &line[..line.len() - 20]), "the invitation");
    refused(&join(a, &line), "given this invitation out itself");
    b.server.client().ok("SET k v");
    refused(&join(b, &line), "not empty");
    refused(
        &b.command("join", &[&line, "--yes", "--agreed"]),
        "the other sites began with empty ones",
    );
    b.server.client().ok("FLUSHALL");
    let wrong = line.replace(secret(&line), &"0".repeat(32));
    refused(&join(b, &wrong), "no such invitation is open");
    line
}

/// What was stable without the second site is not stable any more: what it writes before it has heard of anything
/// conflicts with that.
fn a_second_joins(cluster: &mut Cluster, line: &str) {
    let (a, b, c) = (&cluster.sites[0], &cluster.sites[1], &cluster.sites[2]);
    let pid = a.pid();
    let words = done(&join(b, line));
    assert!(words.contains("start it: syncer run"), "{words}");
    wait_peers(a, &["b"]);
    assert_eq!(a.pid(), pid);
    assert!(done(&admin(a, "cluster peer list")).contains("joined"));
    refused(&join(c, line), "no invitation is open there");
    cluster.sites[0].stop();
    cluster.sites[1].start();
    cluster.sites[1].wait_status("the database is up", |s| s.database_is_up());
    cluster.client(1).ok("HSET s f 1");
    cluster.sites[1].wait_read();
    cluster.sites[0].start();
    for (site, peer) in [(0, "b"), (1, "a")] {
        let is_up = |s: &Status| s.database_is_up() && s.peer_is_up(peer);
        cluster.sites[site].wait_status("the sites are connected", is_up);
    }
    cluster.wait_value(1, "GET n", "1");
    cluster.client(1).ok("INCR n");
    cluster.wait_value(0, "GET n", "2");
}

/// Or does not start.
fn a_third_joins_both(cluster: &mut Cluster) {
    let (a, b, c) = (&cluster.sites[0], &cluster.sites[1], &cluster.sites[2]);
    refused(&join(b, &invite(a)), "is a peer already");
    assert!(done(&join(c, &invite(a))).contains("join site b as well"));
    cluster.sites[2].start();
    assert_eq!(cluster.sites[2].wait_for_end(), Some(1));
    let (b, c) = (&cluster.sites[1], &cluster.sites[2]);
    c.wait_log(&["site b shares the database, too"]);
    assert!(done(&join(c, &invite(b))).contains("start it"));
    cluster.sites[2].start();
    cluster.wait_connected();
    cluster.client(2).ok("INCR n");
    cluster.wait_value(0, "GET n", "3");
    cluster.converge();
}

/// And does not come back as a new one.
fn it_leaves(cluster: &mut Cluster) {
    for site in &cluster.sites[..2] {
        assert!(done(&admin(site, "cluster peer remove c")).contains("site c is removed here"));
    }
    let (a, b) = (&cluster.sites[0], &cluster.sites[1]);
    wait_peers(a, &["b"]);
    wait_peers(b, &["a"]);
    assert!(!done(&admin(b, "cluster peer list")).contains("\nc"));
    refused(&admin(a, "cluster peer remove c"), "is no peer");
    a.wait_status("the others are connected", |s| s.peer_is_up("b"));
    cluster.client(0).ok("INCR n");
    cluster.wait_value(1, "GET n", "4");
    cluster.sites[2].stop();
    // Its own list is changed without a running syncer, too.
    let (a, c) = (&cluster.sites[0], &cluster.sites[2]);
    refused(&join(c, &invite(a)), "is a peer already");
    assert!(done(&admin(c, "cluster peer remove a")).contains("site a is removed here"));
    refused(&join(c, &invite(a)), "has taken part already");
}

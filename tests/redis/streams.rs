//! Streams that are written at several sites at once: entry by entry, on real servers.

use crate::conflicts::{Conflict, later, play};
use crate::support::{Cluster, Random};

const SEED: &str = "XADD #x 1-1 f a ; XADD #x 2-1 f b ; XADD #x 3-1 f c";

const ORDERED: &[Conflict] = &[
    later(
        "XADD #x 5-1 f a",
        "XADD #x 5-1 g b",
        "XRANGE #x - +",
        "[[5-1 [g b]]]",
    ),
    later(
        "XADD #x 9-1 f a ; XADD #x 9-2 f a ; XDEL #x 9-2",
        "XADD #x 4-1 f b",
        "XRANGE #x - +",
        "[[4-1 [f b]] [9-1 [f a]]]",
    ),
];

const EITHER: &[Conflict] = &[
    later(
        "XADD #x 6-1 f a ; XADD #x 8-1 f a",
        "XADD #x 5-1 f b ; XADD #x 7-1 f b h i",
        "XRANGE #x - +",
        "[[5-1 [f b]] [6-1 [f a]] [7-1 [f b h i]] [8-1 [f a]]]",
    ),
    later("XADD #x 6-1 f a", "XADD #x 5-1 f b", "XLEN #x", "5").on(SEED),
    later(
        "XDEL #x 1-1 3-1",
        "XADD #x 5-1 f b",
        "XRANGE #x - +",
        "[[2-1 [f b]] [5-1 [f b]]]",
    )
    .on(SEED),
    later("DEL #x ; XADD #x 9-1 f a", "XADD #x 5-1 f b", "XLEN #x", "2").on(SEED),
    later(
        "XADD #x 9-1 f a ; XTRIM #x MINID 9",
        "XADD #x 5-1 f b",
        "XRANGE #x - +",
        "[[5-1 [f b]] [9-1 [f a]]]",
    )
    .on(SEED),
    later(
        "XADD #x 9-1 f a ; XTRIM #x MAXLEN 1",
        "XADD #x 5-1 f b",
        "XRANGE #x - +",
        "[[5-1 [f b]] [9-1 [f a]]]",
    )
    .on(SEED),
    later(
        "XADD #x MAXLEN = 3 9-1 f a",
        "XADD #x 5-1 f b",
        "XRANGE #x - +",
        "[[2-1 [f b]] [3-1 [f c]] [5-1 [f b]] [9-1 [f a]]]",
    )
    .on(SEED),
    // The removed entry was among the three that the trim left.
    later(
        "XADD #x MAXLEN = 3 9-1 f a",
        "XDEL #x 2-1",
        "XRANGE #x - +",
        "[[3-1 [f c]] [9-1 [f a]]]",
    )
    .on(SEED),
    later("XADD #x 9-1 f a ; XDEL #x 9-1", "DEL #x", "XLEN #x", "0").on(SEED),
    later(
        "XGROUP CREATE #x g 0 ; XADD #x 9-1 f a",
        "XADD #x 5-1 f b",
        "XRANGE #x - +",
        "[[5-1 [f b]] [9-1 [f a]]]",
    )
    .on("XADD #x 1-1 f a ; XDEL #x 1-1"),
    later(
        "XADD #x 9-1 f a",
        "XADD #x 5-1 f b",
        "XPENDING #x g",
        "[1 1-1 1-1 [[one 1]]]",
    )
    .on("XADD #x 1-1 f a ; XGROUP CREATE #x g 0 ; XREADGROUP GROUP g one STREAMS #x >"),
];

#[test]
fn entries_unite_and_removals_take_what_they_saw() {
    play("conflicts of streams", ORDERED, EITHER);
}

/// Everything else goes on meanwhile, and nothing is lost.
#[test]
fn a_stream_waits_for_the_right_to_run_scripts() {
    Random::announced("streams without scripts");
    let cluster = Cluster::new(2);
    let (mut a, mut b) = (cluster.client(0), cluster.client(1));
    a.ok("ACL SETUSER default -eval");
    cluster.cut(0, 1);
    a.ok("XADD x 9-1 f a");
    b.ok("XADD x 5-1 f b");
    cluster.wait_read();
    cluster.heal(0, 1);
    b.ok("SET k 1");
    cluster.wait_value(0, "GET k", "1");
    cluster.wait_value(1, "XLEN x", "2");
    cluster.sites[0].wait_log(&["may not run EVAL"]);
    cluster.sites[0].wait_status("the stream waits", |status| {
        status.number("window.keys_waiting") == 1
    });
    assert_eq!(a.ok("XLEN x").text(), "1");
    // It is asked again in a while, and on a new connection.
    a.load(&["ACL SETUSER default +eval", "CLIENT KILL TYPE normal"]);
    cluster.converge();
    assert_eq!(a.ok("XLEN x").text(), "2");

    // What comes below what a group was delivered elsewhere is told.
    a.ok("XGROUP CREATE x g 0");
    cluster.converge();
    cluster.cut(0, 1);
    b.ok("XADD x 15-1 f b");
    a.load(&["XADD x 20-1 f a", "XREADGROUP GROUP g one STREAMS x >"]);
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.converge();
    assert_eq!(b.ok("XLEN x").text(), "4");
    assert_eq!(a.ok("XREADGROUP GROUP g one STREAMS x >").text(), "(nil)");
    for site in &cluster.sites {
        site.wait_status("the entry is counted", |status| {
            status.0["conflicts"]["entry_passed"] == 1
        });
        site.wait_log(&["entry_passed", "15-1", "groups"]);
    }
}

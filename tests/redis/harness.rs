//! The alarm is tested: the forms, the comparison and the forwarder, without the product.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::forms::{explained, run_all};
use crate::support::{Proxy, RedisServer, SHORT, ServerOptions, Way, differences, wait_until};

/// A native replica of the database must be found equal after all forms: then a difference between two sites
/// is a fault of theirs.
#[test]
fn every_form_reads_back_equal_at_a_native_replica() {
    let source = RedisServer::start(ServerOptions::default());
    let replica = RedisServer::start(ServerOptions::default());
    replica
        .client()
        .ok(&format!("REPLICAOF 127.0.0.1 {}", source.port));
    wait_until("the replica is in step", SHORT, || {
        replica
            .info("replication")
            .get("master_link_status")
            .is_some_and(|s| s == "up")
    });
    run_all(&[&source], &mut |group| {
        let end = source.offset();
        wait_until("the replica has read everything", SHORT, || {
            replica.info_number("replication", "slave_repl_offset") >= end
        });
        let mut clients = [("source", source.client()), ("replica", replica.client())];
        let found = differences(&mut clients);
        assert!(
            found.is_empty(),
            "after the forms of {group}:\n{}",
            explained(&found)
        );
    });
}

#[test]
fn the_comparison_finds_every_kind_of_difference() {
    let servers = [(); 2].map(|()| RedisServer::start(ServerOptions::default()));
    let mut clients = [("one", servers[0].client()), ("two", servers[1].client())];
    let same = [
        "SET s 1",
        "HSET h a 1 b 2",
        "RPUSH l x y",
        "SADD m p q",
        "ZADD z 1 a 2 b",
        "XADD x 1-1 f v",
        "XGROUP CREATE x g 0",
        "SET t 1 PXAT 4102444800000",
    ];
    for (_, client) in &mut clients {
        client.load(&same);
    }
    // The same value in another encoding, another order of insertion, and a marker: no difference.
    clients[0].1.load(&[
        "SADD n 1 2 3",
        "HSET o a 1 b 2",
        "PFADD p a b",
        "SET {syncer}:a 1",
    ]);
    clients[1].1.load(&[
        "SADD n x 3 2 1",
        "SREM n x",
        "HSET o b 2 a 1",
        "PFADD p b",
        "PFADD p a",
        "PFCOUNT p",
    ]);
    assert_eq!(differences(&mut clients), Vec::<String>::new());

    let planted = [
        ("SET s 2", "SET s 1", "\"s\""),
        ("SET new 1", "DEL new", "\"new\""),
        ("DEL l", "RPUSH l x y", "\"l\""),
        ("HSET h a 3", "HSET h a 1", "\"h\""),
        ("LSET l 0 y", "LSET l 0 x", "\"l\""),
        ("SREM m p", "SADD m p", "\"m\""),
        ("ZINCRBY z 1 a", "ZINCRBY z -1 a", "\"z\""),
        ("XGROUP SETID x g 1-1", "XGROUP SETID x g 0", "\"x\""),
        (
            "PEXPIREAT t 4102444800001",
            "PEXPIREAT t 4102444800000",
            "expires 4102444800000",
        ),
        ("PERSIST t", "PEXPIREAT t 4102444800000", "\"t\""),
        ("MOVE s 3", "DEL s", "db 3"),
    ];
    for (change, undo, expected) in planted {
        clients[1].1.ok(change);
        let found = differences(&mut clients).join("\n");
        assert!(found.contains(expected), "after {change}: {found:?}");
        clients[1].1.ok(undo);
        if change == "MOVE s 3" {
            clients[1].1.load(&["SELECT 3", "DEL s", "SELECT 0", "SET s 1"]);
        }
    }
    assert_eq!(differences(&mut clients), Vec::<String>::new());
}

/// A server that sends back every byte.
fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut copy)
            });
        }
    });
    port
}

fn dial(proxy: &Proxy, patience_ms: u64) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(patience_ms)))
        .unwrap();
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

#[test]
fn the_forwarder_cuts_stalls_delays_and_heals() {
    let proxy = Proxy::start(echo_server());
    let mut open = dial(&proxy, 5_000);
    assert!(echoes(&mut open));

    proxy.cut();
    assert!(!echoes(&mut open), "a cut ends open connections");
    assert!(!echoes(&mut dial(&proxy, 5_000)), "and refuses new ones");
    proxy.heal();
    let mut open = dial(&proxy, 5_000);
    assert!(echoes(&mut open));

    for way in [Way::There, Way::Back] {
        let mut stalled = dial(&proxy, 100);
        assert!(echoes(&mut stalled));
        proxy.stall(way);
        assert!(!echoes(&mut stalled), "nothing passes {way:?}");
        proxy.heal();
        stalled.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stalled.read_exact(&mut [0]).expect("what was held back arrives");
        assert!(echoes(&mut stalled), "and the connection lives on");
    }

    proxy.delay(Way::Back, Duration::from_millis(60));
    let start = Instant::now();
    assert!(echoes(&mut open));
    assert!(start.elapsed() >= Duration::from_millis(60), "late by the delay");
    proxy.drop_connections();
    assert!(!echoes(&mut open));
    assert!(
        echoes(&mut dial(&proxy, 5_000)),
        "but a new connection is let through"
    );
}

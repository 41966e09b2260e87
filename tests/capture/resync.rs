//! Going on where a link was left.

use std::time::Duration;

use syncer::capture::Position;

use super::link::{Link, wait_for_same_offset};
use super::server::{Server, wait_until};

/// A link up to date with what was just written, stopped.
fn leave(server: &Server) -> Position {
    let link = Link::to(server.port);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    server.client().call("SET before cut");
    link.wait_for(b"before");
    wait_for_same_offset(server, &link);
    link.stop()
}

fn replica_of(server: &Server) -> Server {
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", server.port)]);
    wait_until("the replica is up", || replica.info("master_link_status") == "up");
    replica
}

#[test]
fn a_partial_resync_loses_and_repeats_nothing() {
    let server = Server::start(&[]);
    let mut position = leave(&server);
    for round in 0..20 {
        let key = format!("away-{round}");
        server.client().call(&format!("SET {key} 1"));
        let link = Link::from(server.port, position);
        link.wait_for(key.as_bytes());
        wait_for_same_offset(&server, &link);
        let heard = link.heard();
        assert_eq!(heard.continued, Some(position));
        assert_eq!(heard.full, None);
        // SELECT stands in the stream only once; the bytes begin exactly behind the position.
        assert!(heard.stream.starts_with(b"*3\r\n$3\r\nSET") || heard.stream.starts_with(b"*"));
        drop(heard);
        position = link.stop();
    }
    assert_eq!(server.info("sync_full"), "1");
    assert_eq!(server.info("sync_partial_ok"), "20");
}

#[test]
fn an_unknown_or_impossible_position_is_a_full_resync() {
    let server = Server::start(&[]);
    let position = leave(&server);
    let beyond = Position {
        offset: position.offset + 1_000_000,
        ..position
    };
    let link = Link::from(server.port, beyond);
    link.wait("a snapshot came", |heard| heard.snapshot_ended);
    assert_eq!(link.heard().full.unwrap().replid, position.replid);
    drop(link);

    let other = Server::start(&[]);
    let link = Link::from(other.port, position);
    link.wait("a snapshot came", |heard| heard.snapshot_ended);
    assert_ne!(link.heard().full.unwrap().replid, position.replid);
}

#[test]
fn a_promotion_goes_on_with_a_new_id() {
    let server = Server::start(&[]);
    let replica = replica_of(&server);
    let position = leave(&server);
    wait_until("the replica has it all", || {
        replica.info("slave_repl_offset").parse::<u64>().unwrap_or(0) >= position.offset
    });
    drop(server);
    replica.client().call("REPLICAOF NO ONE");
    replica.client().call("SET after promotion");
    let link = Link::from(replica.port, position);
    link.wait_for(b"promotion");
    let heard = link.heard();
    let continued = heard.continued.unwrap();
    assert_eq!(heard.full, None);
    assert_eq!(continued.offset, position.offset);
    assert_ne!(continued.replid, position.replid);
    assert_eq!(continued.replid.to_string(), replica.info("master_replid"));
    drop(heard);
    // And on again under the new name.
    let position = link.stop();
    assert_eq!(position.replid, continued.replid);
    let link = Link::from(replica.port, position);
    link.wait("it goes on", |heard| heard.continued == Some(position));
}

#[test]
fn a_replica_is_captured_too() {
    let server = Server::start(&[]);
    server.client().call("SELECT 5");
    let replica = replica_of(&server);
    let link = Link::to(replica.port);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    server.client().call("SET through replica");
    link.wait_for(b"through");
}

#[test]
fn a_frozen_database_is_noticed() {
    let server = Server::start(&[]);
    let mut begin = super::link::Begin::default();
    begin.settings.silence_ms_max = 2_500;
    let link = Link::begin(server.port, begin);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    // Pings every second keep it alive.
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(link.heard().lost, None);
    signal(&server, "-STOP");
    let lost = link.lost();
    signal(&server, "-CONT");
    assert!(lost.to_string().contains("no byte"), "{lost}");
}

fn signal(server: &Server, signal: &str) {
    let status = std::process::Command::new("kill")
        .args([signal, &server.pid().to_string()])
        .status();
    assert!(status.unwrap().success());
}

//! Databases that are not ready, and those that refuse.

use syncer::capture::io::Lost;
use syncer::capture::{Busy, Error};

use super::link::{Begin, Link};
use super::ports::free_port;
use super::server::Server;

#[test]
fn a_replica_without_master_is_asked_again() {
    let server = Server::start(&["--replicaof", &format!("127.0.0.1 {}", free_port())]);
    let link = Link::to(server.port);
    link.wait("it waits", |heard| heard.waits.len() >= 2);
    assert!(link.heard().waits.iter().all(|busy| *busy == Busy::NoMaster));
    server.client().call("REPLICAOF NO ONE");
    link.wait("a snapshot came", |heard| heard.snapshot_ended);
    // Asked with pauses that grow, not in a busy loop.
    assert!(link.heard().waits.len() < 10);
}

#[test]
fn a_loading_database_is_asked_again() {
    let server = Server::start(&[]);
    server.client().call("DEBUG POPULATE 20000 key 100");
    server.client().call("SAVE");
    let options = [
        "--key-load-delay",
        "100",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let server = Server::launch(server.into_dir(), &options);
    super::server::wait_until("the port is open", || {
        std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok()
    });
    let link = Link::to(server.port);
    link.wait("it waits", |heard| heard.waits.contains(&Busy::Loading));
    link.wait("a snapshot came", |heard| heard.snapshot_ended);
    assert_eq!(link.heard().keys.len(), 20_000);
}

#[test]
fn the_least_rights_are_enough_and_less_is_named() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut admin = server.client();
    admin.call("AUTH secret");
    admin.call("ACL SETUSER enough on >pw resetchannels -@all +psync +replconf +ping");
    admin.call("ACL SETUSER less on >pw -@all +replconf");
    let login = |user: &'static [u8]| {
        Link::begin(
            server.port,
            Begin {
                login: &[b"AUTH", user, b"pw"],
                ..Begin::default()
            },
        )
    };
    let link = login(b"enough");
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    admin.call("SET seen 1");
    link.wait_for(b"seen");

    match login(b"less").lost() {
        Lost::Link(error @ Error::NoPermission { step: "PSYNC", .. }) => {
            assert!(!error.is_retryable());
            assert!(error.to_string().contains("+psync +replconf +ping"));
        }
        other => panic!("{other}"),
    }
    match Link::to(server.port).lost() {
        Lost::Link(Error::NoAuth { .. }) => {}
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_no_database_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 100]);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    match Link::to(port).lost() {
        Lost::Link(error @ Error::Unexpected { .. }) => assert!(error.to_string().contains("HTTP/1.1 400")),
        other => panic!("{other}"),
    }
    web.join().unwrap();
}

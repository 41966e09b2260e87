//! What our acknowledgements do to the database.

use std::time::{Duration, Instant};

use super::link::{Begin, Link, wait_for_same_offset};
use super::server::{Client, Server, wait_until};

fn attached(durable_is_late: bool) -> (Server, Link) {
    let server = Server::start(&["--repl-ping-replica-period", "10"]);
    let begin = Begin {
        durable_is_late,
        ..Begin::default()
    };
    let link = Link::begin(server.port, begin);
    link.wait("the snapshot ends", |heard| heard.snapshot_ended);
    (server, link)
}

#[test]
fn we_stay_one_byte_short_until_asked() {
    let (server, link) = attached(false);
    server.client().call("SET a 1");
    link.wait_for(b"SET");
    wait_for_same_offset(&server, &link);
    let offset: u64 = server.info("master_repl_offset").parse().unwrap();
    wait_until("the acknowledgement came", || {
        server.info("slave0").contains(&format!("offset={},", offset - 1))
    });
    let replica = server.info("slave0");
    assert!(replica.contains("port=0,state=online"), "{replica}");

    let mut client = server.client();
    client.call("SET b 2");
    assert_eq!(client.call("WAIT 1 30000"), "1");
}

#[test]
fn wait_is_answered_when_it_is_durable_and_not_before() {
    let (server, link) = attached(true);
    let mut client = server.client();
    client.call("SET b 2");
    assert_eq!(client.call("WAIT 1 300"), "0");
    client.send("WAIT 1 30000");
    link.wait("the second request came", |heard| {
        heard.getack.is_some_and(|at| at == heard.offset)
    });
    {
        let mut heard = link.heard();
        heard.durable = heard.offset;
    }
    link.moved.notify_one();
    let mut line = String::new();
    client.read_line(&mut line);
    assert_eq!(line.trim_end(), ":1");
}

#[test]
fn a_failover_does_not_choose_us() {
    let (server, link) = attached(false);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", server.port)]);
    wait_until("the replica is up", || replica.info("master_link_status") == "up");
    for n in 0..100 {
        server.client().call(&format!("SET key{n} {n}"));
    }
    // Both have said their newest word; with the true offset the first in the list, this link, is chosen.
    wait_until("both are up to date", || {
        let offset: u64 = server.info("master_repl_offset").parse().unwrap();
        acked(&server, "slave0") + 1 >= offset && acked(&server, "slave1") == offset
    });
    assert_eq!(server.client().call("FAILOVER TIMEOUT 20000"), "OK");
    wait_until("the replica took over", || replica.info("role") == "master");
    wait_until("the old one follows", || {
        server.info("master_port") == replica.port.to_string()
    });
    link.lost();
    let position = link.stop();
    // Both nodes know the history.
    let link = Link::from(replica.port, position);
    link.wait("it goes on", |heard| heard.continued.is_some());
}

/// The offset that the database has on record for a replica.
fn acked(server: &Server, replica: &str) -> u64 {
    let line = server.info(replica);
    let offset = line.split(',').find_map(|field| field.strip_prefix("offset="));
    offset.map_or(0, |offset| offset.parse().unwrap())
}

/// How long a server waits for a replica that is behind (`shutdown-timeout`).
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

fn time_of_shutdown(server: &mut Server) -> Duration {
    let start = Instant::now();
    Client::open(server.port).send("SHUTDOWN NOSAVE");
    server.wait_for_exit();
    start.elapsed()
}

#[test]
fn a_shutdown_is_not_delayed() {
    let (mut server, link) = attached(false);
    server.client().call("SET a 1");
    link.wait_for(b"SET");
    let elapsed = time_of_shutdown(&mut server);
    assert!(elapsed < SHUTDOWN_TIMEOUT, "{elapsed:?}");
    link.lost();
}

#[test]
fn a_shutdown_waits_for_a_late_disk_only() {
    let (mut server, link) = attached(true);
    server.client().call("SET a 1");
    link.wait_for(b"SET");
    let late = std::thread::scope(|scope| {
        scope.spawn(|| {
            link.wait("it is asked", |heard| heard.getack.is_some());
            std::thread::sleep(Duration::from_millis(300));
            let mut heard = link.heard();
            heard.durable = heard.offset;
            drop(heard);
            link.moved.notify_one();
        });
        time_of_shutdown(&mut server)
    });
    assert!(
        late > Duration::from_millis(250) && late < SHUTDOWN_TIMEOUT,
        "{late:?}"
    );
}

//! The chain on a real server: what follows a refused transaction is not executed, whatever the database would say to
//! it by then.

use bytes::BytesMut;
use syncer::echo::{Link, Place};

use crate::support::client::{Reply, encode};
use crate::support::{Client, RedisServer, ServerOptions, words};

/// One connection, and how many transactions it has sent.
struct Sender {
    client: Client,
    number: u64,
}

impl Sender {
    /// A transaction of one command, which is no command if the database is to refuse it; gives EXEC's answer.
    fn transaction(&mut self, place: Place, command: &str) -> Reply {
        self.with_between(place, command, || ())
    }

    /// The same, with something that happens between what stands before MULTI and the rest.
    fn with_between(&mut self, place: Place, command: &str, between: impl FnOnce()) -> Reply {
        self.number += 1;
        let link = Link {
            number: self.number,
            place,
        };
        let mut before = BytesMut::new();
        link.encode_before(&mut before);
        self.client.send_raw(&before).unwrap();
        (0..link.before()).for_each(|_| drop(self.client.try_read().unwrap()));
        between();
        let mut bytes = Vec::new();
        encode(&mut bytes, &words("MULTI"));
        let mut within = BytesMut::new();
        link.encode_within(&mut within);
        bytes.extend_from_slice(&within);
        encode(&mut bytes, &words(command));
        encode(&mut bytes, &words("EXEC"));
        self.client.send_raw(&bytes).unwrap();
        let replies: Vec<Reply> = (0..4).map(|_| self.client.try_read().unwrap()).collect();
        replies.into_iter().next_back().unwrap()
    }
}

fn sender() -> (RedisServer, Sender) {
    let server = RedisServer::start(ServerOptions::default());
    let client = server.client();
    let mut sender = Sender { client, number: 0 };
    executed(&sender.transaction(Place::First, "SET k first"));
    (server, sender)
}

#[track_caller]
fn executed(answer: &Reply) {
    assert!(matches!(answer, Reply::Array(_)), "{answer:?}");
}

#[test]
fn transactions_in_their_order_are_executed() {
    let (server, mut sender) = sender();
    for n in 0..600 {
        let place = if n % 3 == 0 { Place::Alone } else { Place::Behind };
        executed(&sender.transaction(place, &format!("SET k {n}")));
    }
    assert_eq!(server.client().run("GET k").text(), "599");
}

#[test]
fn what_follows_a_refused_one_is_not_executed_until_the_chain_begins_anew() {
    let (server, mut sender) = sender();
    assert!(sender.transaction(Place::Alone, "NOSUCHCOMMAND").is_error());
    for _ in 0..300 {
        assert_eq!(sender.transaction(Place::Behind, "SET k behind"), Reply::Nil);
    }
    executed(&sender.transaction(Place::First, "SET k again"));
    executed(&sender.transaction(Place::Behind, "APPEND k -on"));
    assert_eq!(server.client().run("GET k").text(), "again-on");
}

#[test]
fn memory_that_comes_back_does_not_change_the_order() {
    let (server, mut sender) = sender();
    let mut operator = server.client();
    operator.ok("CONFIG SET maxmemory-policy noeviction");
    operator.ok("CONFIG SET maxmemory 1");
    assert!(sender.transaction(Place::Alone, "SET k refused").is_error());
    let relief = || drop(operator.run("CONFIG SET maxmemory 0"));
    assert_eq!(sender.with_between(Place::Behind, "DEL k", relief), Reply::Nil);
    assert_eq!(server.client().run("GET k").text(), "first");
}

#[test]
fn a_chain_that_was_flushed_stops_what_is_on_its_way() {
    let (server, mut sender) = sender();
    server.client().ok("FLUSHALL");
    assert_eq!(sender.transaction(Place::Behind, "SET k behind"), Reply::Nil);
    assert_eq!(sender.transaction(Place::Behind, "SET k behind"), Reply::Nil);
    executed(&sender.transaction(Place::First, "SET k again"));
    let flush = || server.client().ok("FLUSHALL");
    assert_eq!(
        sender.with_between(Place::Behind, "SET k late", || drop(flush())),
        Reply::Nil
    );
    assert_eq!(sender.transaction(Place::Behind, "SET k later"), Reply::Nil);
}

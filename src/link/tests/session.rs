use super::{batch, hello, positions, site};
use crate::link::frames::{Frame, Positions, TAKES_OVER};
use crate::link::{Event, Local, Refused, Session, Tick};

fn local() -> Local {
    Local {
        database_id: "orders".to_owned(),
        site: site("a"),
        incarnation: 1,
        takes_over: false,
        heartbeat_ms: 5_000,
        timeout_ms: 15_000,
    }
}

/// A session at which `b` has greeted, and which streams.
fn streaming() -> Session {
    let mut session = Session::new(local(), site("b"), 0);
    assert_eq!(session.handle(Frame::Hello(hello())), Ok(Event::SendResume));
    let held = Positions {
        held: vec![(site("a"), 0), (site("b"), 3)],
        settled: Vec::new(),
    };
    session.resume(held);
    assert_eq!(
        session.handle(Frame::Resume(positions())),
        Ok(Event::Established(positions()))
    );
    session
}

#[test]
fn whoever_is_not_expected_is_refused() {
    let refused = |change: &dyn Fn(&mut crate::link::frames::Hello)| {
        let mut hello = hello();
        change(&mut hello);
        Session::new(local(), site("b"), 0)
            .handle(Frame::Hello(hello))
            .unwrap_err()
    };
    assert_eq!(
        refused(&|hello| (hello.protocol_min, hello.protocol_max) = (2, 3)),
        Refused::Protocol { min: 2, max: 3 }
    );
    assert_eq!(
        refused(&|hello| hello.database_id = "invoices".to_owned()),
        Refused::Database {
            theirs: "invoices".to_owned(),
            ours: "orders".to_owned()
        }
    );
    assert_eq!(
        refused(&|hello| hello.site = site("a")),
        Refused::Ourselves(site("a"))
    );
    assert_eq!(
        refused(&|hello| hello.site = site("c")),
        Refused::Site {
            said: site("c"),
            proven: site("b")
        }
    );
}

#[test]
fn nothing_is_taken_before_its_time() {
    let mut session = Session::new(local(), site("b"), 0);
    for frame in [
        Frame::Batch(batch(1, 1)),
        Frame::Ack(positions()),
        Frame::Resume(positions()),
    ] {
        assert!(matches!(session.handle(frame), Err(Refused::Order(_))));
    }
    let mut session = streaming();
    assert_eq!(
        session.handle(Frame::Hello(hello())),
        Err(Refused::Order("hello"))
    );
}

#[test]
fn batches_follow_each_other() {
    let mut session = streaming();
    assert_eq!(
        session.handle(Frame::Batch(batch(4, 6))),
        Ok(Event::Batch(batch(4, 6)))
    );
    let gap = Refused::Gap {
        origin: site("b"),
        first: 8,
        expected: 7,
    };
    assert_eq!(session.handle(Frame::Batch(batch(8, 9))), Err(gap));
    for first in [4, 5] {
        let repeated = Refused::Repeated {
            origin: site("b"),
            first,
            expected: 7,
        };
        assert_eq!(session.handle(Frame::Batch(batch(first, 9))), Err(repeated));
    }
    let mut unknown = batch(1, 1);
    unknown.origin = site("x");
    assert!(session.handle(Frame::Batch(unknown)).is_err());
}

#[test]
fn pings_are_answered_and_a_close_is_told() {
    let mut session = streaming();
    assert_eq!(
        session.handle(Frame::Ping { nonce: 9 }),
        Ok(Event::Reply(Frame::Pong { nonce: 9 }))
    );
    assert_eq!(session.handle(Frame::Pong { nonce: 9 }), Ok(Event::Nothing));
    let text = "why".to_owned();
    assert_eq!(
        session.handle(Frame::Close { text }),
        Ok(Event::Closed("why".to_owned()))
    );
}

#[test]
fn silence_is_asked_about_and_then_ends_it() {
    let mut session = streaming();
    assert_eq!(session.tick(4_999), Tick::Quiet);
    assert_eq!(session.tick(5_000), Tick::Ping(Frame::Ping { nonce: 1 }));
    assert_eq!(session.tick(6_000), Tick::Quiet, "one ping per heartbeat");
    session.heard(9_000);
    assert_eq!(session.tick(10_000), Tick::Quiet);
    assert_eq!(session.tick(14_000), Tick::Ping(Frame::Ping { nonce: 2 }));
    assert_eq!(session.tick(24_000), Tick::Gone(Refused::Silent(15_000)));
    let mut slow = Session::new(local(), site("b"), 0);
    slow.heard(9_999);
    assert_eq!(slow.tick(10_000), Tick::Gone(Refused::Slow));
}

/// A connection that takes over says so; one that does not is none.
#[test]
fn taking_over_is_said_in_the_greeting() {
    let mut dialing = Session::new(
        Local {
            takes_over: true,
            ..local()
        },
        site("b"),
        0,
    );
    let Frame::Hello(said) = dialing.hello() else {
        panic!("no hello")
    };
    assert_eq!(said.features, TAKES_OVER);
    assert_eq!(dialing.handle(Frame::Hello(hello())), Ok(Event::SendResume));
    assert!(dialing.is_successor());
    let mut dialed = Session::new(local(), site("b"), 0);
    assert!(!dialed.is_successor());
    let mut hello = hello();
    hello.features = TAKES_OVER;
    assert_eq!(dialed.handle(Frame::Hello(hello)), Ok(Event::SendResume));
    assert!(dialed.is_successor());
    assert!(!streaming().is_successor());
}

/// Behind the peer's `Moved` nothing of its comes on this connection, but we may still send; on the newer one batches are
/// expected from where the older one ended.
#[test]
fn what_follows_moved() {
    let mut older = streaming();
    assert_eq!(older.handle(Frame::Redial), Ok(Event::Redial));
    assert_eq!(older.handle(Frame::Moved), Ok(Event::Moved));
    assert!(older.has_moved() && older.is_streaming());
    for frame in [
        Frame::Batch(batch(4, 6)),
        Frame::Ack(positions()),
        Frame::Moved,
        Frame::Redial,
    ] {
        assert!(matches!(older.handle(frame), Err(Refused::Order(_))));
    }
    assert_eq!(
        older.handle(Frame::Ping { nonce: 1 }),
        Ok(Event::Reply(Frame::Pong { nonce: 1 }))
    );
    assert_eq!(older.tick(15_000), Tick::Gone(Refused::Silent(15_000)));
    let mut newer = streaming();
    newer.go_on(&Positions {
        held: vec![(site("b"), 9)],
        settled: Vec::new(),
    });
    assert!(matches!(
        newer.handle(Frame::Batch(batch(4, 6))),
        Err(Refused::Repeated { expected: 10, .. })
    ));
    assert_eq!(
        newer.handle(Frame::Batch(batch(10, 12))),
        Ok(Event::Batch(batch(10, 12)))
    );
}

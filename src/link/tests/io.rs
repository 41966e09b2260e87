use std::cell::RefCell;

use bytes::Bytes;
use tokio::sync::Notify;

use super::site;
use crate::causality::{Seq, SiteId};
use crate::link::io::{Closed, Flow, Outgoing, Positions, run};
use crate::link::{Counters, Local, Session};

/// Sends so many batches of one operation each, and keeps what arrives.
struct Side {
    me: SiteId,
    peer: SiteId,
    left: u64,
    sent: u64,
    bytes: usize,
    arrived: Vec<(Seq, usize)>,
    wanted: u64,
    pulls: Vec<(u32, Bytes)>,
}

impl Side {
    fn new(me: &str, peer: &str, count: u64, bytes: usize) -> RefCell<Side> {
        RefCell::new(Side {
            me: site(me),
            peer: site(peer),
            left: count,
            sent: 0,
            bytes,
            arrived: Vec::new(),
            wanted: count,
            pulls: Vec::new(),
        })
    }
}

impl Flow for Side {
    fn resume(&mut self) -> Positions {
        Positions {
            held: vec![(self.me, 0), (self.peer, 0)],
            settled: Vec::new(),
        }
    }
    fn on_established(&mut self, _: Positions, _: bool) -> Result<(), String> {
        Ok(())
    }
    fn on_batch(&mut self, _: SiteId, first_seq: Seq, _: Seq, body: Bytes) -> Result<(), String> {
        self.arrived.push((first_seq, body.len()));
        if self.arrived.len() as u64 == self.wanted {
            return Err("enough".to_owned());
        }
        Ok(())
    }
    fn is_held(&self) -> bool {
        false
    }
    fn on_ack(&mut self, _: Positions) {}
    fn on_moved(&mut self) {}
    fn ending(&self) -> Option<String> {
        None
    }
    fn on_redial(&mut self) {}
    fn on_pull(&mut self, db: u32, key: Bytes) {
        self.pulls.push((db, key));
    }
    fn poll_send(&mut self) -> Option<Outgoing> {
        self.left = self.left.checked_sub(1)?;
        self.sent += 1;
        let half = Bytes::from(vec![7; self.bytes / 2]);
        Some(Outgoing::Batch {
            origin: self.me,
            first_seq: self.sent,
            last_seq: self.sent,
            parts: vec![half.clone(), half],
        })
    }
}

fn session(me: &str, database_id: &str, peer: &str) -> Session {
    let local = Local {
        database_id: database_id.to_owned(),
        site: site(me),
        incarnation: 1,
        takes_over: false,
        heartbeat_ms: 5_000,
        timeout_ms: 15_000,
    };
    Session::new(local, site(peer), 0)
}

/// Both sides send much more than fits into the pipe: neither waits for the other to read first.
#[tokio::test]
async fn both_directions_at_once_through_a_narrow_pipe() {
    let (left, right) = tokio::io::duplex(1_000);
    let (a, b) = (Side::new("a", "b", 200, 10_000), Side::new("b", "a", 199, 30_000));
    let (wake_a, wake_b) = (Notify::new(), Notify::new());
    let (mut counted_a, mut counted_b) = (Counters::default(), Counters::default());
    let run_a = run(left, session("a", "o", "b"), &a, &wake_a, &mut counted_a);
    let run_b = run(right, session("b", "o", "a"), &b, &wake_b, &mut counted_b);
    // Each ends the session when it has everything; the first to do so tells the other.
    a.borrow_mut().wanted = 199;
    b.borrow_mut().wanted = 200;
    let _ = tokio::join!(run_a, run_b);
    let done = |side: &RefCell<Side>| side.borrow().arrived.len() as u64 == side.borrow().wanted;
    assert!(
        done(&a) || done(&b),
        "{} {}",
        a.borrow().arrived.len(),
        b.borrow().arrived.len()
    );
    for (side, bytes) in [(&a, 30_000), (&b, 10_000)] {
        let arrived = side.borrow().arrived.clone();
        let expected: Vec<_> = (1..=arrived.len() as u64).map(|seq| (seq, bytes)).collect();
        assert_eq!(arrived, expected);
    }
    assert!(counted_a.bytes_received > 0 && counted_b.bytes_received > 0);
}

#[tokio::test]
async fn the_reason_reaches_both_sides() {
    let (left, right) = tokio::io::duplex(1_000);
    let (a, b) = (Side::new("a", "b", 0, 2), Side::new("b", "a", 0, 2));
    let (wake_a, wake_b) = (Notify::new(), Notify::new());
    let (mut counted_a, mut counted_b) = (Counters::default(), Counters::default());
    let (why_a, why_b) = tokio::join!(
        run(left, session("a", "orders", "b"), &a, &wake_a, &mut counted_a),
        run(right, session("b", "invoices", "a"), &b, &wake_b, &mut counted_b),
    );
    for why in [why_a, why_b] {
        let text = why.to_string();
        assert!(text.contains("orders") && text.contains("invoices"), "{text}");
    }
}

#[tokio::test]
async fn garbage_ends_the_session() {
    use tokio::io::AsyncWriteExt;
    let (left, mut right) = tokio::io::duplex(1_000);
    right.write_all(&[0xff; 64]).await.unwrap();
    let a = Side::new("a", "b", 0, 2);
    let (wake, mut counted) = (Notify::new(), Counters::default());
    let why = run(left, session("a", "o", "b"), &a, &wake, &mut counted).await;
    assert!(matches!(why, Closed::Refused(_)), "{why}");
}

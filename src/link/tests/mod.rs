#![allow(clippy::unwrap_used)]
mod frames;
#[cfg(feature = "io")]
mod io;
mod session;

use super::frames::{BatchFrame, Frame, Hello, Positions};
use crate::causality::SiteId;
use bytes::Bytes;

fn site(name: &str) -> SiteId {
    SiteId::new(name.as_bytes()).unwrap()
}

fn positions() -> Positions {
    Positions {
        held: vec![(site("a"), 7), (site("b"), u64::MAX)],
        settled: vec![(site("a"), 3)],
    }
}

fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 2,
        database_id: "orders".to_owned(),
        site: site("b"),
        incarnation: 42,
        features: 0,
    }
}

fn batch(first_seq: u64, last_seq: u64) -> BatchFrame {
    BatchFrame {
        origin: site("b"),
        first_seq,
        last_seq,
        body: Bytes::from_static(b"operations"),
    }
}

/// One of each type.
fn samples() -> Vec<Frame> {
    vec![
        Frame::Hello(hello()),
        Frame::Resume(positions()),
        Frame::Batch(batch(1, 3)),
        Frame::Ack(positions()),
        Frame::Pull {
            db: 3,
            key: Bytes::from_static(b"queue"),
        },
        Frame::Ping { nonce: 5 },
        Frame::Pong { nonce: 5 },
        Frame::Moved,
        Frame::Redial,
        Frame::Close {
            text: "stopping".to_owned(),
        },
    ]
}

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const ID: &[u8; 40] = b"0123456789abcdef0123456789abcdef01234567";
const OTHER: &[u8; 40] = b"ffffffffffffffffffffffffffffffffffffffff";
const MARK: &[u8; 40] = b"aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb";

fn position(id: &[u8], offset: u64) -> Position {
    let replid = ReplId::new(id).unwrap();
    Position { replid, offset }
}

/// What a whole conversation came to.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<Event>,
    snapshot: Vec<u8>,
    stream: Vec<u8>,
    sent: Vec<u8>,
}

/// Plays `pieces` as separate reads; retries resume at once.
fn play(start: Option<Position>, pieces: &[&[u8]]) -> Result<Seen, Error> {
    let mut psync = Psync::new(start, 100, 5_000);
    let mut seen = Seen::default();
    let mut held: Vec<u8> = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            seen.sent.extend(psync.output());
            if psync.is_streaming() {
                seen.stream.append(&mut held);
                break;
            }
            let Step { consumed, event } = psync.handle(&held)?;
            let bytes: Vec<u8> = held.drain(..consumed).collect();
            match event {
                None => break,
                Some(Event::Snapshot) => seen.snapshot.extend(bytes),
                Some(Event::Retry { busy, after_ms }) => {
                    seen.events.push(Event::Retry { busy, after_ms });
                    psync.resume();
                }
                Some(event) => seen.events.push(event),
            }
        }
    }
    seen.sent.extend(psync.output());
    assert!(
        held.len() < MARK_BYTES || psync.is_streaming(),
        "{} bytes held",
        held.len()
    );
    Ok(seen)
}

/// The same conversation in one read, byte by byte, and in two reads split at every place.
fn every_split(start: Option<Position>, talk: &[u8]) -> Seen {
    let whole = play(start, &[talk]).unwrap();
    let bytes: Vec<&[u8]> = talk.chunks(1).collect();
    assert_eq!(play(start, &bytes).unwrap(), whole, "byte by byte");
    for at in 0..=talk.len() {
        let (left, right) = talk.split_at(at);
        assert_eq!(play(start, &[left, right]).unwrap(), whole, "split at {at}");
    }
    whole
}

#[test]
fn a_sized_snapshot_at_every_split() {
    let mut talk = b"\n\n+OK\r\n\n\n+FULLRESYNC ".to_vec();
    talk.extend_from_slice(ID);
    talk.extend_from_slice(b" 41\r\n\n\n$7\r\nSNAP\r\nX*1\r\n$4\r\nPING\r\n");
    let seen = every_split(None, &talk);
    assert_eq!(
        seen.events,
        [
            Event::FullResync(position(ID, 41)),
            Event::SnapshotBegin { bytes: Some(7) },
            Event::SnapshotEnd,
            Event::Stream
        ]
    );
    assert_eq!(seen.snapshot, b"SNAP\r\nX");
    assert_eq!(seen.stream, b"*1\r\n$4\r\nPING\r\n");
    assert!(
        seen.sent
            .ends_with(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
    );
    assert!(!seen.sent.windows(4).any(|w| w == b"port"));
}

#[test]
fn a_marked_snapshot_at_every_split() {
    let mut talk = b"+OK\r\n\n+FULLRESYNC ".to_vec();
    talk.extend_from_slice(ID);
    talk.extend_from_slice(b" 0\r\n\n$EOF:");
    talk.extend_from_slice(MARK);
    talk.extend_from_slice(b"\r\n");
    // The snapshot ends in what looks like the beginning of the mark, several times.
    let mut snapshot = b"REDIS".to_vec();
    snapshot.extend_from_slice(&MARK[..39]);
    snapshot.extend_from_slice(&MARK[..20]);
    talk.extend_from_slice(&snapshot);
    talk.extend_from_slice(MARK);
    talk.extend_from_slice(b"\n\r\n\n*1\r\n");
    let seen = every_split(None, &talk);
    assert_eq!(seen.snapshot, snapshot);
    assert_eq!(seen.stream, b"*1\r\n");
    assert_eq!(seen.events[1], Event::SnapshotBegin { bytes: None });
    assert_eq!(seen.events.len(), 4);
}

#[test]
fn an_empty_marked_snapshot_ends_at_once() {
    let mut talk = b"+OK\r\n+FULLRESYNC ".to_vec();
    talk.extend_from_slice(ID);
    talk.extend_from_slice(b" 7\r\n$EOF:");
    talk.extend_from_slice(MARK);
    talk.extend_from_slice(b"\r\n");
    talk.extend_from_slice(MARK);
    let seen = every_split(None, &talk);
    assert!(seen.snapshot.is_empty());
    assert_eq!(seen.events.last(), Some(&Event::SnapshotEnd));
}

#[test]
fn a_stream_goes_on_with_the_old_or_a_new_id() {
    let start = Some(position(ID, 99));
    let seen = every_split(start, b"+OK\r\n+CONTINUE\r\n*1\r\n");
    assert_eq!(seen.events, [Event::Continue(position(ID, 99))]);
    assert_eq!(seen.stream, b"*1\r\n");
    assert!(seen.sent.ends_with(b"$3\r\n100\r\n"));

    let mut talk = b"+OK\r\n+CONTINUE ".to_vec();
    talk.extend_from_slice(OTHER);
    // Behind +CONTINUE every byte counts, a newline too.
    talk.extend_from_slice(b"\r\n\n*1");
    let seen = every_split(start, &talk);
    assert_eq!(seen.events, [Event::Continue(position(OTHER, 99))]);
    assert_eq!(seen.stream, b"\n*1");
}

#[test]
fn a_lost_history_is_a_full_resync() {
    let mut talk = b"+OK\r\n+FULLRESYNC ".to_vec();
    talk.extend_from_slice(OTHER);
    talk.extend_from_slice(b" 5\r\n");
    let seen = every_split(Some(position(ID, 99)), &talk);
    assert_eq!(seen.events, [Event::FullResync(position(OTHER, 5))]);
}

#[test]
fn a_busy_database_is_asked_again() {
    let talk = b"-LOADING Redis is loading the dataset in memory\r\n+OK\r\n\
        -NOMASTERLINK Can't SYNC while not connected with my master\r\n\n\
        -MASTERDOWN Link with MASTER is down\r\n-BUSY Redis is busy\r\n-ERR no fork\r\n\n";
    let seen = every_split(None, talk);
    let waits: Vec<(Busy, u64)> = seen
        .events
        .into_iter()
        .map(|event| match event {
            Event::Retry { busy, after_ms } => (busy, after_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        waits,
        [
            (Busy::Loading, 100),
            (Busy::NoMaster, 200),
            (Busy::NoMaster, 400),
            (Busy::Script, 800),
            (Busy::Other("-ERR no fork".to_owned()), 1_600)
        ]
    );
    let count = |what: &[u8]| seen.sent.windows(what.len()).filter(|w| *w == what).count();
    assert_eq!((count(b"REPLCONF"), count(b"PSYNC")), (2, 5));
}

#[test]
fn a_server_without_capabilities_is_served() {
    let seen = play(None, &[b"-ERR Unrecognized REPLCONF option: capa\r\n"]).unwrap();
    assert!(seen.events.is_empty());
    assert!(seen.sent.ends_with(b"-1\r\n"));
}

#[test]
fn refusals_name_their_mend() {
    let error = |talk: &[u8]| play(None, &[talk]).unwrap_err();
    let noperm = error(b"-NOPERM this user has no permissions to run the 'replconf' command\r\n");
    assert!(noperm.to_string().contains("+psync +replconf +ping"), "{noperm}");
    assert!(!noperm.is_retryable());
    assert!(matches!(
        error(b"+OK\r\n-NOAUTH Authentication required.\r\n"),
        Error::NoAuth { step: "PSYNC", .. }
    ));
    assert!(matches!(
        error(b"-DENIED Redis is running in protected mode\r\n"),
        Error::Denied { .. }
    ));
    let unknown = error(b"+OK\r\n-ERR unknown command 'PSYNC'\r\n");
    assert!(matches!(unknown, Error::UnknownCommand { step: "PSYNC", .. }));
}

#[test]
fn nonsense_is_refused() {
    let error = |talk: &[u8]| play(Some(position(ID, 1)), &[talk]).unwrap_err();
    let full = |rest: &[u8]| [b"+OK\r\n+FULLRESYNC ".as_slice(), ID, rest].concat();
    assert!(matches!(
        error(b":1\r\n"),
        Error::Unexpected { step: "REPLCONF", .. }
    ));
    assert!(matches!(
        error(b"+OK\r\n+FULLRESYNC\r\n"),
        Error::Unexpected { step: "PSYNC", .. }
    ));
    assert!(matches!(
        error(b"+OK\r\n+FULLRESYNC abc 1\r\n"),
        Error::Unexpected { .. }
    ));
    assert!(matches!(
        error(b"+OK\r\n+CONTINUE abc\r\n"),
        Error::Unexpected { .. }
    ));
    assert!(matches!(error(&full(b" -1\r\n")), Error::Unexpected { .. }));
    assert!(matches!(
        error(&full(b" 1\r\n$99999999999999999999\r\n")),
        Error::Unexpected { .. }
    ));
    assert!(matches!(
        error(&full(b" 1\r\n$EOF:short\r\n")),
        Error::Unexpected { .. }
    ));
    assert!(matches!(error(&full(b" 1\r\n*1\r\n")), Error::Unexpected { .. }));
    assert!(matches!(
        error(&full(b" 1\r\n-ERR fork\r\n")),
        Error::SnapshotFailed { .. }
    ));
    assert!(matches!(error(&[b'+'; 5000]), Error::Unexpected { .. }));
    // Nobody offered to continue a stream that never began.
    assert!(play(None, &[b"+OK\r\n+CONTINUE\r\n"]).is_err());
}

#[test]
fn the_pause_doubles_and_is_never_nothing() {
    let pauses: Vec<u64> = (0..8).map(|n| backoff_ms(n, 100, 5_000)).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    assert_eq!(backoff_ms(200, 100, 5_000), 5_000);
    assert_eq!(backoff_ms(0, 0, 0), 1);
}

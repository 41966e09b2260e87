#![allow(clippy::unwrap_used)]
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::causality::SiteId;

/// A disk in memory whose calls can fail.
#[derive(Debug, Clone, Default)]
struct Memory {
    segments: Rc<RefCell<BTreeMap<u64, Vec<u8>>>>,
    /// Bytes that may still be written.
    room: Rc<RefCell<Option<usize>>>,
    /// Bytes of each segment that a power cut leaves.
    forced: Rc<RefCell<BTreeMap<u64, usize>>>,
    /// Nothing gets forced.
    slow: Rc<Cell<bool>>,
}

impl Disk for Memory {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.segments.borrow().keys().copied().collect())
    }
    fn create(&mut self, segment: u64) -> io::Result<()> {
        self.segments.borrow_mut().insert(segment, Vec::new());
        Ok(())
    }
    fn len(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.segments.borrow()[&segment].len() as u64)
    }
    fn read_at(&mut self, segment: u64, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let segments = self.segments.borrow();
        let all = &segments[&segment];
        let from = (offset as usize).min(all.len());
        Ok(Bytes::copy_from_slice(&all[from..(from + bytes).min(all.len())]))
    }
    fn append(&mut self, segment: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut segments = self.segments.borrow_mut();
        let all = segments.get_mut(&segment).unwrap();
        for &byte in parts.iter().copied().flatten() {
            if let Some(room) = self.room.borrow_mut().as_mut() {
                if *room == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                *room -= 1;
            }
            all.push(byte);
        }
        Ok(())
    }
    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.segments
            .borrow_mut()
            .get_mut(&segment)
            .unwrap()
            .truncate(bytes as usize);
        Ok(())
    }
    fn force_soon(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn is_forced(&mut self, segment: u64) -> io::Result<bool> {
        if self.slow.get() {
            return Ok(false);
        }
        let len = self.segments.borrow()[&segment].len();
        self.forced.borrow_mut().insert(segment, len);
        Ok(true)
    }
    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.segments.borrow_mut().remove(&segment);
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 400,
        index_step_bytes: 60,
    }
}

fn open(disk: &Memory) -> Result<(OriginLog<Memory>, Recovery), LogError> {
    OriginLog::open(disk.clone(), "orders", SiteId::new(b"a").unwrap(), settings())
}

fn body(seq: u64) -> Bytes {
    Bytes::from(format!("operation {seq} {}", "x".repeat(seq as usize % 30)))
}

fn filled(last: u64) -> Memory {
    let disk = Memory::default();
    let (mut log, _) = open(&disk).unwrap();
    for seq in 1..=last {
        log.append_batch(seq, seq, &[body(seq)]).unwrap();
        if seq % 3 == 0 {
            log.append_position(format!("at {seq}").as_bytes()).unwrap();
        }
    }
    disk
}

fn check(log: &mut OriginLog<Memory>, first: u64, last: u64) {
    for seq in first..=last {
        assert_eq!(log.read_batch(seq).unwrap().unwrap().parts, [body(seq)], "{seq}");
    }
    assert_eq!(log.read_batch(last + 1).unwrap(), None);
    assert_eq!(log.read_batch(0).unwrap(), None);
}

/// A database that came back older than it was goes on from a place that the last position is behind.
#[test]
fn an_earlier_position_is_found() {
    let disk = filled(40);
    let (mut log, _) = open(&disk).unwrap();
    let before = |seq: u64| {
        move |body: Bytes| {
            let text = std::str::from_utf8(&body).unwrap();
            let at = text.strip_prefix("at ").unwrap().parse::<u64>().unwrap();
            (at <= seq).then_some(body)
        }
    };
    for (seq, found) in [(40, "at 39"), (39, "at 39"), (38, "at 36"), (5, "at 3")] {
        assert_eq!(log.newest_position(before(seq)).unwrap().unwrap(), found);
    }
    assert_eq!(log.newest_position(before(2)).unwrap(), None);
    log.trim(20).unwrap();
    assert_eq!(log.newest_position(before(3)).unwrap(), None);
    check(&mut log, 30, 40);
}

#[test]
fn what_was_appended_is_found_after_reopening() {
    let disk = filled(40);
    assert!(disk.segments.borrow().len() > 3);
    let (mut log, recovery) = open(&disk).unwrap();
    let last_position = Some(Bytes::from_static(b"at 39"));
    assert_eq!(
        recovery,
        Recovery {
            first_seq: 1,
            last_seq: 40,
            last_position,
            torn_bytes: 0
        }
    );
    check(&mut log, 1, 40);
}

/// Of the two newest segments, for all others were forced before the newest was made.
#[test]
fn every_torn_end_is_cut_and_the_log_goes_on() {
    let whole = filled(25);
    let newest: Vec<u64> = whole.segments.borrow().keys().copied().rev().take(2).collect();
    for segment in newest {
        for cut in 0..whole.segments.borrow()[&segment].len() {
            let disk = Memory::default();
            *disk.segments.borrow_mut() = whole.segments.borrow().clone();
            disk.segments
                .borrow_mut()
                .get_mut(&segment)
                .unwrap()
                .truncate(cut);
            let (mut log, recovery) = open(&disk).unwrap();
            let next = recovery.last_seq + 1;
            assert!(next > 8 && next <= 26, "{segment} {cut} {next}");
            log.append_batch(next, next, &[body(next)]).unwrap();
            drop(log);
            let (mut log, recovery) = open(&disk).unwrap();
            assert_eq!((recovery.last_seq, recovery.torn_bytes), (next, 0));
            check(&mut log, 1, next);
        }
    }
}

/// With every batch forced, but not the positions: nothing of the segment behind a torn position is lost.
#[test]
fn a_torn_position_ends_no_log() {
    let disk = Memory::default();
    let (mut log, _) = open(&disk).unwrap();
    let mut seq = 0;
    while disk.segments.borrow().len() < 3 {
        seq += 1;
        log.append_batch(seq, seq, &[body(seq)]).unwrap();
        log.append_position(b"where the stream stood").unwrap();
    }
    let before = *disk.segments.borrow().keys().rev().nth(1).unwrap();
    disk.segments
        .borrow_mut()
        .entry(before)
        .and_modify(|bytes| bytes.truncate(bytes.len() - 1));
    let (mut log, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.last_seq, seq);
    assert!(recovery.torn_bytes > 0);
    check(&mut log, 1, seq);
}

#[test]
fn a_slow_disk_lets_the_log_go_on_in_one_segment() {
    let disk = filled(12);
    let (mut log, _) = open(&disk).unwrap();
    let count = disk.segments.borrow().len();
    disk.slow.set(true);
    for seq in 13..=60 {
        log.append_batch(seq, seq, &[body(seq)]).unwrap();
    }
    assert_eq!(disk.segments.borrow().len(), count);
    disk.slow.set(false);
    log.append_batch(61, 61, &[body(61)]).unwrap();
    assert_eq!(disk.segments.borrow().len(), count + 1);
    check(&mut log, 1, 61);
}

#[test]
fn damage_before_the_end_is_refused() {
    let disk = filled(40);
    disk.segments.borrow_mut().get_mut(&2).unwrap()[200] ^= 1;
    assert!(matches!(open(&disk), Err(LogError::Damaged { segment: 2, .. })));
}

#[test]
fn a_log_of_somebody_else_is_refused() {
    let disk = filled(3);
    let other = OriginLog::open(disk.clone(), "orders", SiteId::new(b"b").unwrap(), settings());
    assert!(matches!(other, Err(LogError::Foreign { .. })));
    let other = OriginLog::open(disk, "stock", SiteId::new(b"a").unwrap(), settings());
    assert!(other.unwrap_err().to_string().contains("orders"));
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    for room in 0..300 {
        let disk = filled(5);
        let (mut log, _) = open(&disk).unwrap();
        *disk.room.borrow_mut() = Some(room);
        let mut last = 5;
        while log.append_batch(last + 1, last + 1, &[body(last + 1)]).is_ok() {
            last += 1;
        }
        check(&mut log, 1, last);
        *disk.room.borrow_mut() = None;
        log.append_batch(last + 1, last + 1, &[body(last + 1)]).unwrap();
        check(&mut log, 1, last + 1);
        drop(log);
        assert_eq!(open(&disk).unwrap().1.last_seq, last + 1);
    }
}

#[test]
fn a_gap_is_refused_and_trimming_keeps_what_is_asked_for() {
    let disk = filled(40);
    let (mut log, _) = open(&disk).unwrap();
    assert!(matches!(
        log.append_batch(42, 42, &[body(42)]),
        Err(LogError::Gap {
            last: 40,
            found: 42,
            ..
        })
    ));
    assert!(log.trim(20).unwrap() > 0);
    assert!(log.first_seq() <= 20 && log.first_seq() > 1);
    let first = log.first_seq();
    check(&mut log, first, 40);
    drop(log);
    let (log, recovery) = open(&disk).unwrap();
    assert_eq!((recovery.first_seq, log.first_seq()), (first, first));
}

/// Reading on, reading anywhere, and reading what was appended after something near it had been read.
#[test]
fn every_way_of_reading_gives_the_same() {
    let disk = filled(60);
    let (mut log, _) = open(&disk).unwrap();
    for last in 60..90 {
        check(&mut log, 1, last);
        for step in [7, 11, 59] {
            for at in 0..last {
                let seq = at * step % last + 1;
                assert_eq!(log.read_batch(seq).unwrap().unwrap().parts, [body(seq)], "{seq}");
            }
        }
        log.append_batch(last + 1, last + 1, &[body(last + 1)]).unwrap();
    }
}

proptest! {
    #[test]
    fn bit_flips_never_change_what_is_read(at in 0usize..2000, bit in 0u8..8) {
        let disk = filled(30);
        {
            let mut segments = disk.segments.borrow_mut();
            let count = segments.len();
            let segment = segments.values_mut().nth(at % count).unwrap();
            let place = at % segment.len();
            segment[place] ^= 1 << bit;
        }
        if let Ok((mut log, recovery)) = open(&disk) {
            check(&mut log, 1, recovery.last_seq);
        }
    }
}

/// Positions are forced by nobody. One that ended a full segment was lost in a power cut that left the segments behind
/// it, and the log was refused as damaged in its middle.
#[test]
fn all_but_the_two_newest_segments_are_on_disk() {
    let disk = Memory::default();
    let (mut log, _) = open(&disk).unwrap();
    (0..40).for_each(|_| log.append_position(b"where the stream stood").unwrap());
    let segments = disk.segments.borrow();
    let older = segments.len().checked_sub(2).unwrap();
    assert!(older > 1);
    for (segment, bytes) in segments.iter().take(older) {
        assert_eq!(
            disk.forced.borrow().get(segment),
            Some(&bytes.len()),
            "segment {segment}"
        );
    }
}

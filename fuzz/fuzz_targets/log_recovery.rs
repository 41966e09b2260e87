//! The log's recovery: any bytes as segments are recovered or refused, without a panic; of a valid log that was torn
//! or flipped, a prefix of what was appended is recovered or it is refused; and what was recovered can be appended to
//! and recovered again.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use syncer::causality::{SEQ_MAX, SiteId};
use syncer::log::{Disk, OriginLog, RECORD_HEADER_BYTES, Recovery, Settings};

const SEGMENT_HEADER_BYTES: usize = 124;
const DATABASE: &str = "orders";

/// A disk in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<u64, Vec<u8>>>>);

fn lost() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Memory {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.0.borrow().keys().copied().collect())
    }
    fn create(&mut self, segment: u64) -> io::Result<()> {
        let before = self.0.borrow_mut().insert(segment, Vec::new());
        assert!(before.is_none(), "segment {segment} was overwritten");
        Ok(())
    }
    fn len(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.0.borrow().get(&segment).ok_or_else(lost)?.len() as u64)
    }
    fn read_at(&mut self, segment: u64, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let segments = self.0.borrow();
        let all = segments.get(&segment).ok_or_else(lost)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        Ok(Bytes::copy_from_slice(&all[from..(from + bytes).min(all.len())]))
    }
    fn append(&mut self, segment: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut segments = self.0.borrow_mut();
        let all = segments.get_mut(&segment).ok_or_else(lost)?;
        parts.iter().for_each(|part| all.extend_from_slice(part));
        Ok(())
    }
    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let mut segments = self.0.borrow_mut();
        segments
            .get_mut(&segment)
            .ok_or_else(lost)?
            .truncate(bytes as usize);
        Ok(())
    }
    fn force_soon(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn is_forced(&mut self, _: u64) -> io::Result<bool> {
        Ok(true)
    }
    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.0.borrow_mut().remove(&segment).map(drop).ok_or_else(lost)
    }
}

fn open(disk: &Memory) -> Option<(OriginLog<Memory>, Recovery)> {
    let settings = Settings {
        segment_bytes: 600,
        index_step_bytes: 100,
    };
    let site = SiteId::new(b"a").expect("a name");
    OriginLog::open(disk.clone(), DATABASE, site, settings).ok()
}

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    (digest.finalize() as u32).to_le_bytes()
}

/// A sound header before the bytes, and right checksums for what looks like records, so that what is in them is
/// reached.
fn sealed(number: u64, first_seq: u64, data: &[u8]) -> Vec<u8> {
    let mut out = b"SYNCLOG\x01".to_vec();
    out.push(b'a');
    out.resize(8 + 32, 0);
    out.extend(DATABASE.as_bytes());
    out.resize(8 + 32 + 64, 0);
    out.extend(number.to_le_bytes());
    out.extend(first_seq.to_le_bytes());
    let sum = checksum(&[&out]);
    out.extend(sum);
    assert_eq!(out.len(), SEGMENT_HEADER_BYTES);
    let mut rest = data;
    while let Some((head, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) {
        let mut head = head.to_vec();
        let body = usize::from(head[5]).min(behind.len());
        head[4] = 1 + head[4] % 3;
        head[5..9].copy_from_slice(&(body as u32).to_le_bytes());
        // Small numbers follow each other now and then; of large ones all are tried.
        if head[0] % 4 != 0 {
            head[10..17].fill(0);
            head[18..].fill(0);
        }
        let sum = checksum(&[&head[4..], &behind[..body]]);
        head[..4].copy_from_slice(&sum);
        out.extend(head);
        out.extend(&behind[..body]);
        rest = &behind[body..];
    }
    out.extend(rest);
    out
}

/// Everything that the log says it holds can be asked for, and it goes on.
fn goes_on(disk: &Memory) {
    let Some((mut log, recovery)) = open(disk) else {
        return;
    };
    assert_eq!(
        (log.first_seq(), log.last_seq()),
        (recovery.first_seq, recovery.last_seq)
    );
    let around = |seq: u64| seq.saturating_sub(3)..seq.saturating_add(3);
    for seq in around(recovery.first_seq).chain(around(recovery.last_seq)) {
        if let Some(entry) = log.read_batch(seq).expect("what was recovered is read") {
            assert!((entry.first_seq..=entry.last_seq).contains(&seq));
        }
    }
    if recovery.last_seq == SEQ_MAX {
        return;
    }
    let (next, body) = (recovery.last_seq + 1, Bytes::from_static(b"next"));
    log.append_batch(next, next, std::slice::from_ref(&body))
        .expect("it goes on");
    log.append_position(b"here").expect("it goes on");
    drop(log);
    let (mut log, again) = open(disk).expect("it is recovered again");
    assert_eq!((again.last_seq, again.torn_bytes), (next, 0));
    assert_eq!(again.last_position.as_deref(), Some(&b"here"[..]));
    let entry = log.read_batch(next).expect("it is read").expect("it is there");
    assert_eq!(entry.parts.concat(), body);
}

/// One or two parts, whose bytes tell their number.
fn parts_of(at: usize, choice: u8) -> Vec<Bytes> {
    let text = format!("batch {at} ");
    let more = vec![choice; usize::from(choice) % 97];
    vec![Bytes::from(text), Bytes::from(more)]
}

/// Appends as `plan` says, damages one place, and recovers.
fn damaged(plan: &[u8], cut: u16, flip: Option<u16>) {
    let disk = Memory::default();
    let (mut log, _) = open(&disk).expect("an empty disk");
    let mut batches = Vec::new();
    for (at, &choice) in plan.iter().enumerate() {
        let first = log.last_seq() + 1;
        let last = first + u64::from(choice) % 5;
        let parts = parts_of(at, choice);
        log.append_batch(first, last, &parts).expect("room");
        batches.push((first, last, parts.concat()));
        if choice % 7 == 0 {
            log.append_position(format!("position {at}").as_bytes())
                .expect("room");
        }
    }
    drop(log);
    {
        let mut segments = disk.0.borrow_mut();
        match flip {
            Some(bit) => {
                let count = segments.len().max(1);
                let segment = segments.values_mut().nth(usize::from(cut) % count);
                if let Some(segment) = segment.filter(|segment| !segment.is_empty()) {
                    let place = usize::from(bit >> 3) % segment.len();
                    segment[place] ^= 1 << (bit & 7);
                }
            }
            None => {
                // One of the two newest: older ones are on disk.
                if let Some(segment) = segments.values_mut().rev().take(2).nth(usize::from(cut >> 15)) {
                    let len = usize::from(cut) % (segment.len() + 1);
                    segment.truncate(len);
                }
            }
        }
    }
    let Some((mut log, recovery)) = open(&disk) else {
        assert!(flip.is_some(), "a torn end was refused");
        return;
    };
    assert!(
        batches
            .last()
            .is_none_or(|(_, last, _)| recovery.last_seq <= *last)
    );
    let held = batches
        .iter()
        .take_while(|(_, last, _)| *last <= recovery.last_seq);
    for (first, last, body) in held {
        for seq in *first..=*last {
            let entry = log.read_batch(seq).expect("it is read").expect("it is there");
            assert_eq!((entry.first_seq, entry.last_seq), (*first, *last));
            assert_eq!(entry.parts.concat(), *body);
        }
    }
    drop(log);
    goes_on(&disk);
}

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>, u16, u16)| {
    let (choice, plan, data, cut, bit) = input;
    damaged(&plan, cut, None);
    damaged(&plan, cut, Some(bit));
    let raw = Memory::default();
    let whole = Memory::default();
    let count = 1 + usize::from(choice % 4);
    for (at, piece) in data.chunks(data.len().div_ceil(count).max(1)).enumerate() {
        let number = at as u64 + 1;
        raw.0.borrow_mut().insert(number, piece.to_vec());
        let first_seq = u64::from(piece.first().copied().unwrap_or(1) % 8);
        whole
            .0
            .borrow_mut()
            .insert(number, sealed(number, first_seq, piece));
    }
    goes_on(&raw);
    goes_on(&whole);
});

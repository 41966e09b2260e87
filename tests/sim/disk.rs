//! Disks that forget what was not forced to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use syncer::log::Disk;

use crate::random::Random;

#[derive(Debug, Default, Clone)]
struct File {
    bytes: Vec<u8>,
    forced: usize,
    /// Forcing it has begun.
    asked: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    /// Appends fail, half written.
    full: bool,
}

/// The disk under one origin's log; it outlives the syncer.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Rc<RefCell<State>>);

impl SimDisk {
    /// Forces what was written, as the program does.
    pub fn force(&self) {
        for file in self.0.borrow_mut().files.values_mut() {
            file.forced = file.bytes.len();
        }
    }

    /// Whether appends fail.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// The machine stops: of what was not forced some is lost, and its end may be torn.
    pub fn power_cut(&self, random: &mut Random) {
        for file in self.0.borrow_mut().files.values_mut() {
            let loose = file.bytes.len() - file.forced;
            if loose == 0 {
                continue;
            }
            let kept = random.below(loose as u64 + 1) as usize;
            file.bytes.truncate(file.forced + kept);
            if kept > 0 && random.chance(30) {
                let at = file.bytes.len() - 1 - random.below(kept as u64) as usize;
                file.bytes[at] ^= 0x55;
            }
            file.forced = file.bytes.len();
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.0.borrow().files.keys().copied().collect())
    }

    fn create(&mut self, segment: u64) -> io::Result<()> {
        self.0.borrow_mut().files.insert(segment, File::default());
        Ok(())
    }

    fn len(&mut self, segment: u64) -> io::Result<u64> {
        let state = self.0.borrow();
        state
            .files
            .get(&segment)
            .map(|file| file.bytes.len() as u64)
            .ok_or_else(missing)
    }

    fn read_at(&mut self, segment: u64, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let state = self.0.borrow();
        let file = state.files.get(&segment).ok_or_else(missing)?;
        let from = (offset as usize).min(file.bytes.len());
        let to = (from + bytes).min(file.bytes.len());
        Ok(Bytes::copy_from_slice(&file.bytes[from..to]))
    }

    fn append(&mut self, segment: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let full = state.full;
        let file = state.files.get_mut(&segment).ok_or_else(missing)?;
        for part in parts {
            let len = if full { part.len() / 2 } else { part.len() };
            file.bytes.extend_from_slice(&part[..len]);
        }
        if full {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let file = state.files.get_mut(&segment).ok_or_else(missing)?;
        file.bytes.truncate(bytes as usize);
        file.forced = file.forced.min(bytes as usize);
        Ok(())
    }

    fn force_soon(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.files.get_mut(&segment).ok_or_else(missing)?.asked = true;
        Ok(())
    }

    /// It takes until it is asked for the second time.
    fn is_forced(&mut self, segment: u64) -> io::Result<bool> {
        let mut state = self.0.borrow_mut();
        let file = state.files.get_mut(&segment).ok_or_else(missing)?;
        if std::mem::take(&mut file.asked) {
            return Ok(false);
        }
        file.forced = file.bytes.len();
        Ok(true)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.0
            .borrow_mut()
            .files
            .remove(&segment)
            .map(|_| ())
            .ok_or_else(missing)
    }
}

//! The window: which unstable operations touch a key.
//!
//! Operations are kept by origin, in the order of their numbers, in segments (`window/table.rs`). So what an
//! operation has not seen is a tail of each other origin's operations, and mostly an empty one: a site whose
//! peers are silent, and a site that only receives, never look anything up. Entering an operation appends it;
//! a segment is indexed only when something is looked up in it.
//!
//! Over a limit of memory the oldest segments go to disk (`window/run.rs`), each with a filter that tells
//! nearly always that a key is not in it. What is stable leaves at the front, segment by segment.
//!
//! Invariants: of two concurrent operations on a key that do not commute, the one that comes later finds the
//! other; an operation's past includes all of its own origin before it; a look-up that the disk fails is
//! answered by [`Touch::Unknown`], never by [`Touch::Fast`].

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::causality::{Dot, Seq, SiteIx, Vector};
use crate::command::EffectClass;

mod filter;
mod run;
mod spill;
mod table;
#[cfg(test)]
mod tests;

use filter::Probe;
use run::Run;
use spill::SpillState;
pub use spill::{Spill, WindowError};
use table::Table;

/// What the window says of an operation that was just entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Nothing in the window conflicts with it.
    Fast,
    /// Something in the window is concurrent with it and does not commute; the key has to be materialised.
    Conflict,
    /// The key is in conflict already.
    InConflict,
    /// The disk did not answer. Nothing may be concluded; [`Window::fault`] tells more.
    Unknown,
}

/// What a segment holds on a key that an operation has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unseen {
    /// Nothing at all on this key.
    Absent,
    /// Nothing unseen here, nor in any older segment.
    Nothing,
    /// Something, and all of it commutes with the operation.
    Commutes,
    /// Something that does not.
    Conflicts,
}

/// What an operation looks for.
#[derive(Debug, Clone, Copy)]
struct Question {
    fingerprint: u64,
    class: EffectClass,
    /// The last of the origin's operations that it has seen.
    seen: Seq,
}

/// Some consecutive operations of one origin.
#[derive(Debug)]
enum Segment {
    Memory(Table),
    Disk(Run),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Segment::Memory(table) => table.len(),
            Segment::Disk(run) => run.len(),
        }
    }

    fn is_in_memory(&self) -> bool {
        matches!(self, Segment::Memory(_))
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Segment::Memory(table) => table.memory_bytes(),
            Segment::Disk(run) => run.memory_bytes(),
        }
    }

    fn last(&self) -> Seq {
        match self {
            Segment::Memory(table) => table.last(),
            Segment::Disk(run) => run.last(),
        }
    }
}

/// The unstable operations of one origin.
#[derive(Debug, Default)]
struct Origin {
    /// Oldest first; the last one takes what comes, unless it is on disk.
    segments: VecDeque<Segment>,
    /// The highest number entered.
    newest: Seq,
    /// Everything up to here is stable.
    front: Seq,
    /// Entries in the segments.
    entries: usize,
    /// The last segment that was let go of, for the next one.
    spare: Option<Table>,
}

/// What the window takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Unstable operations, one per key that they touch. Operations in a file on disk that is still needed
    /// count until the whole file is stable.
    pub operations: usize,
    /// Bytes in memory.
    pub memory_bytes: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// The index of unstable operations.
#[derive(Debug, Default)]
pub struct Window {
    /// By site.
    origins: Vec<Origin>,
    /// The keys in conflict.
    contested: HashTable<u64>,
    spill: SpillState,
    fault: Option<WindowError>,
}

impl Window {
    /// Keeps at most about `memory_max` bytes in memory, the rest on `disk`.
    pub fn spill_to(&mut self, disk: Box<dyn Spill>, memory_max: usize) {
        self.spill.begin(disk, memory_max);
    }

    /// Unstable operations held, as [`WindowSize::operations`].
    pub fn len(&self) -> usize {
        self.origins.iter().map(|origin| origin.entries).sum()
    }

    /// Whether nothing is unstable.
    pub fn is_empty(&self) -> bool {
        self.origins.iter().all(|origin| origin.entries == 0)
    }

    /// What it takes.
    pub fn size(&self) -> WindowSize {
        WindowSize {
            operations: self.len(),
            memory_bytes: self.memory_bytes(),
            disk_bytes: self.spill.disk_bytes(),
        }
    }

    /// Why a look-up was answered by [`Touch::Unknown`]. Nothing may be submitted from then on: the window is
    /// to be made anew from the logs.
    pub fn fault(&self) -> Option<&WindowError> {
        self.fault.as_ref()
    }

    /// Enters an operation on a key and says whether it conflicts. When it does, it is not entered: the caller
    /// materialises the key and keeps its operations from then on.
    ///
    /// An origin's operations come in the order of their numbers; one that comes again is not entered twice.
    #[inline]
    pub fn touch(&mut self, fingerprint: u64, dot: Dot, class: EffectClass, past: &Vector) -> Touch {
        let touch = self.look(fingerprint, dot.site, class, past);
        if touch == Touch::Fast {
            self.enter(fingerprint, dot, class);
        }
        touch
    }

    /// What [`Window::touch`] would say.
    #[inline]
    pub fn look(&mut self, fingerprint: u64, from: SiteIx, class: EffectClass, past: &Vector) -> Touch {
        if !self.contested.is_empty() && self.is_contested(fingerprint) {
            return Touch::InConflict;
        }
        for at in 0..self.origins.len() {
            let seen = past.get(SiteIx(at as u8));
            if self.origins[at].newest > seen && at != from.at() {
                let question = Question {
                    fingerprint,
                    class,
                    seen,
                };
                match self.ask(at, question) {
                    Touch::Fast => {}
                    touch => return touch,
                }
            }
        }
        Touch::Fast
    }

    fn is_contested(&self, fingerprint: u64) -> bool {
        self.contested
            .find(fingerprint, |&key| key == fingerprint)
            .is_some()
    }

    /// Whether something unseen of one origin conflicts.
    fn ask(&mut self, at: usize, mut question: Question) -> Touch {
        let origin = &mut self.origins[at];
        question.seen = question.seen.max(origin.front);
        // Made once, for there may be many runs.
        let mut probe = None;
        for segment in origin.segments.iter_mut().rev() {
            if segment.last() <= question.seen {
                break;
            }
            let unseen = match segment {
                Segment::Memory(table) => table.unseen(question),
                Segment::Disk(run)
                    if !run.may_hold(probe.get_or_insert_with(|| Probe::new(question.fingerprint))) =>
                {
                    Unseen::Absent
                }
                Segment::Disk(run) => match run.unseen(question, &mut self.spill) {
                    Ok(unseen) => unseen,
                    Err(error) => {
                        self.fault.get_or_insert(error);
                        return Touch::Unknown;
                    }
                },
            };
            match unseen {
                Unseen::Absent | Unseen::Commutes => {}
                Unseen::Nothing => break,
                Unseen::Conflicts => return Touch::Conflict,
            }
        }
        Touch::Fast
    }

    #[inline]
    fn enter(&mut self, fingerprint: u64, dot: Dot, class: EffectClass) {
        if let Some(origin) = self.origins.get_mut(dot.site.at())
            && dot.seq >= origin.newest
            && let Some(Segment::Memory(table)) = origin.segments.back_mut()
            && table.push(fingerprint, dot.seq, class)
        {
            origin.newest = dot.seq;
            origin.entries += 1;
            return;
        }
        self.enter_slowly(fingerprint, dot, class);
    }

    /// The first operation of an origin, or of a segment.
    #[cold]
    fn enter_slowly(&mut self, fingerprint: u64, dot: Dot, class: EffectClass) {
        let at = dot.site.at();
        if self.origins.len() <= at {
            self.origins.resize_with(at + 1, Origin::default);
        }
        let sites = self.origins.len();
        let origin = &mut self.origins[at];
        if dot.seq < origin.newest || dot.seq <= origin.front {
            return;
        }
        let limit = self.spill.segment_limit(sites, origin.entries);
        let mut table = Table::new(dot.seq, limit, self.spill.next_age(), origin.spare.take());
        table.push(fingerprint, dot.seq, class);
        origin.segments.push_back(Segment::Memory(table));
        origin.newest = dot.seq;
        origin.entries += 1;
    }

    /// The unstable operations on a key, by origin, oldest first; the key counts as in conflict from now on.
    ///
    /// # Errors
    /// The disk's; [`Window::fault`] keeps it.
    pub fn take(&mut self, fingerprint: u64) -> Result<Vec<Dot>, WindowError> {
        let mut dots = Vec::new();
        if !self.is_contested(fingerprint) {
            self.contested.insert_unique(fingerprint, fingerprint, |&key| key);
        }
        let probe = Probe::new(fingerprint);
        for (at, origin) in self.origins.iter_mut().enumerate() {
            let site = SiteIx(at as u8);
            let begin = dots.len();
            for segment in origin.segments.iter_mut().rev() {
                let mut give = |seq| dots.push(Dot { site, seq });
                match segment {
                    Segment::Memory(table) => table.operations(fingerprint, origin.front, give),
                    Segment::Disk(run) if !run.may_hold(&probe) => {}
                    Segment::Disk(run) => {
                        let found = run.operations(fingerprint, origin.front, &mut self.spill);
                        let found = found.inspect_err(|error| {
                            self.fault.get_or_insert(error.clone());
                        })?;
                        found.into_iter().rev().for_each(&mut give);
                    }
                }
            }
            dots[begin..].reverse();
        }
        dots.dedup();
        Ok(dots)
    }

    /// The key is no longer in conflict.
    pub fn release(&mut self, fingerprint: u64) {
        if let Ok(key) = self.contested.find_entry(fingerprint, |&key| key == fingerprint) {
            key.remove();
        }
    }

    /// Lets go of everything, and begins anew.
    pub fn clear(&mut self) {
        for origin in self.origins.drain(..) {
            for segment in origin.segments {
                if let Segment::Disk(run) = segment {
                    self.spill.remove(&run);
                }
            }
        }
        self.contested.clear();
    }

    /// Lets go of everything that is stable; gives how many operations left.
    pub fn trim(&mut self, stable: &Vector) -> usize {
        let mut left = 0;
        for (at, origin) in self.origins.iter_mut().enumerate() {
            let front = stable.get(SiteIx(at as u8));
            if front <= origin.front {
                continue;
            }
            origin.front = front;
            while origin
                .segments
                .front()
                .is_some_and(|oldest| oldest.last() <= front)
            {
                match origin.segments.pop_front() {
                    Some(Segment::Memory(table)) => {
                        left += table.len();
                        origin.spare = Some(table);
                    }
                    Some(Segment::Disk(run)) => {
                        left += run.len();
                        self.spill.remove(&run);
                    }
                    None => {}
                }
            }
            if let Some(Segment::Memory(table)) = origin.segments.front_mut() {
                left += table.trim(front);
            }
        }
        for origin in &mut self.origins {
            origin.entries = origin.segments.iter().map(Segment::len).sum();
        }
        left
    }

    /// The fingerprints of all keys, but those in conflict, that have an operation which this past does not
    /// include.
    ///
    /// # Errors
    /// The disk's; [`Window::fault`] keeps it.
    pub fn keys_concurrent_with(&mut self, past: &Vector) -> Result<Vec<u64>, WindowError> {
        let mut keys = Vec::new();
        for (at, origin) in self.origins.iter_mut().enumerate() {
            let seen = past.get(SiteIx(at as u8)).max(origin.front);
            for segment in &mut origin.segments {
                if segment.last() <= seen {
                    continue;
                }
                match segment {
                    Segment::Memory(table) => table.keys_behind(seen, &mut keys),
                    Segment::Disk(run) => {
                        let read = run.keys_behind(seen, &mut self.spill, &mut keys);
                        read.inspect_err(|error| {
                            self.fault.get_or_insert(error.clone());
                        })?;
                    }
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|&key| !self.is_contested(key));
        Ok(keys)
    }

    /// Puts the oldest segments on disk while more is in memory than may be. To be called now and then, beside
    /// the way of a write; what it does not manage stays in memory.
    ///
    /// # Errors
    /// The disk's. Nothing is lost; it is tried again after a second.
    pub fn relieve(&mut self, now_unix_ms: u64) -> Result<(), WindowError> {
        if !self.spill.is_due(now_unix_ms) {
            return Ok(());
        }
        let Some(memory_max) = self.spill.memory_max() else {
            return Ok(());
        };
        let mut memory = self.memory_bytes();
        // The open segments grow until the next time.
        while memory > memory_max - memory_max / 4 {
            let Some((origin, at)) = self.oldest_closed() else {
                break;
            };
            let segment = &mut self.origins[origin].segments[at];
            let Segment::Memory(table) = segment else { break };
            let laid = Run::lay(self.spill.next_file(), table);
            self.spill.write(&laid.run, &laid.bytes, now_unix_ms)?;
            memory -= table.memory_bytes();
            memory += laid.run.memory_bytes();
            *segment = Segment::Disk(laid.run);
        }
        self.spill.relieved();
        self.drop_filters(memory_max / 2);
        Ok(())
    }

    /// Whether more is in memory than may be because the disk refuses.
    pub fn is_refused(&self) -> bool {
        self.spill.is_refused()
    }

    /// The oldest segment in memory that takes no more operations: its origin, and its place there.
    fn oldest_closed(&self) -> Option<(usize, usize)> {
        let closed = |(origin, of): (usize, &Origin)| {
            let open = of.segments.len().saturating_sub(1);
            let at = of.segments.iter().take(open).position(Segment::is_in_memory)?;
            let Segment::Memory(table) = &of.segments[at] else {
                return None;
            };
            Some((table.age(), (origin, at)))
        };
        let ages = self.origins.iter().enumerate().filter_map(closed);
        ages.min().map(|(_, place)| place)
    }

    /// Gives filters up, the oldest first, until they take no more than this.
    fn drop_filters(&mut self, bytes_max: usize) {
        let mut runs: Vec<&mut Run> = Vec::new();
        for segment in self.origins.iter_mut().flat_map(|origin| &mut origin.segments) {
            if let Segment::Disk(run) = segment {
                runs.push(run);
            }
        }
        let mut bytes: usize = runs.iter().map(|run| run.filter_bytes()).sum();
        runs.sort_unstable_by_key(|run| run.id());
        for run in runs {
            if bytes <= bytes_max {
                return;
            }
            bytes -= run.filter_bytes();
            run.drop_filter();
        }
    }

    fn memory_bytes(&self) -> usize {
        let segments = self.origins.iter().flat_map(|origin| &origin.segments);
        let spare = self.origins.iter().filter_map(|origin| origin.spare.as_ref());
        let room = segments
            .map(Segment::memory_bytes)
            .chain(spare.map(Table::memory_bytes));
        room.sum::<usize>() + self.contested.capacity() * 8
    }
}

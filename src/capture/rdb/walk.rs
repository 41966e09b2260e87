//! Passes over one value, part by part, resumable at any byte.

use super::Error;
use super::input::Input;
use super::layout::{Part, module_part};
use crate::value::atom::{fixed, head, length};

/// A list of parts under way.
#[derive(Debug, Clone, Copy)]
struct Frame {
    parts: &'static [Part],
    at: usize,
    /// How many times more, this time included.
    left: u64,
}

/// The machine. Its stack is as deep as the layouts nest, a handful, whatever the snapshot says.
#[derive(Debug, Clone, Default)]
pub(super) struct Walk {
    stack: Vec<Frame>,
    skip: u64,
}

/// Why a walk stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A part of a module's data with an unknown number.
    ModulePart { code: u64, offset: u64 },
    /// Bytes that do not read.
    Bytes(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Bytes(error)
    }
}

impl Walk {
    /// Sets out over these parts, once.
    pub fn begin(&mut self, parts: &'static [Part]) {
        self.stack.clear();
        self.skip = 0;
        self.push(parts, 1);
    }

    fn push(&mut self, parts: &'static [Part], left: u64) {
        self.stack.push(Frame { parts, at: 0, left });
    }

    /// Goes on; true at the end of the value, false when bytes are missing.
    pub fn run(&mut self, input: &mut Input<'_>) -> Result<bool, Stop> {
        loop {
            if !input.skip(&mut self.skip) {
                return Ok(false);
            }
            let Some(frame) = self.stack.last_mut() else {
                return Ok(true);
            };
            let Some(&part) = frame.parts.get(frame.at) else {
                frame.at = 0;
                frame.left -= 1;
                if frame.left == 0 {
                    self.stack.pop();
                }
                continue;
            };
            if !self.step(part, input)? {
                return Ok(false);
            }
        }
    }

    /// One part; false when bytes are missing.
    fn step(&mut self, part: Part, input: &mut Input<'_>) -> Result<bool, Stop> {
        let offset = input.offset();
        let mut inner = None;
        match part {
            Part::Bytes(count) => self.skip = u64::from(count),
            Part::Text => match input.atom(head)? {
                Some(head) => self.skip = head.body_bytes(),
                None => return Ok(false),
            },
            Part::Length => {
                if input.atom(length)?.is_none() {
                    return Ok(false);
                }
            }
            Part::Score => match input.atom(fixed::<1>)? {
                Some([253..=255]) => {}
                Some([bytes]) => self.skip = u64::from(bytes),
                None => return Ok(false),
            },
            Part::Each(parts) => match input.atom(length)? {
                Some(0) => {}
                Some(count) => inner = Some((parts, count)),
                None => return Ok(false),
            },
            Part::Module => match input.atom(length)? {
                Some(0) => {}
                Some(code) => {
                    // Not over yet: this part comes again behind the one inside.
                    self.push(module_part(code).ok_or(Stop::ModulePart { code, offset })?, 1);
                    return Ok(true);
                }
                None => return Ok(false),
            },
        }
        if let Some(frame) = self.stack.last_mut() {
            frame.at += 1;
        }
        if let Some((parts, count)) = inner {
            self.push(parts, count);
        }
        Ok(true)
    }
}

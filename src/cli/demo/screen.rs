//! What the demo shows: lines that stay, and a live block below them that is redrawn in place.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines when the output is not a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// Standard output.
pub struct Screen {
    terminal: bool,
    /// Lines of the live block on the screen now.
    live: usize,
    plain: Option<Instant>,
}

impl Screen {
    /// Looks whether somebody is watching.
    pub fn new() -> Screen {
        Screen {
            terminal: io::stdout().is_terminal(),
            live: 0,
            plain: None,
        }
    }

    /// A line that stays. The live block, if any, stays above it as it was.
    pub fn say(&mut self, words: impl AsRef<str>) -> io::Result<()> {
        self.live = 0;
        writeln!(io::stdout(), "{}", words.as_ref())
    }

    /// Redraws the live block. Where nothing can be redrawn, its rows stay once a second.
    pub fn show(&mut self, block: &[String]) -> io::Result<()> {
        let mut out = io::stdout();
        if self.terminal {
            if self.live > 0 {
                write!(out, "\x1b[{}A", self.live)?;
            }
            block.iter().try_for_each(|line| writeln!(out, "\x1b[2K{line}"))?;
            self.live = block.len();
        } else if self.plain.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            self.plain = Some(Instant::now());
            block.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        out.flush()
    }
}

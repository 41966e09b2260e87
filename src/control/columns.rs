//! Aligned columns and readable figures for a terminal.

/// Rows of cells; the first row is the heading. Figures stand right, words left.
#[derive(Default)]
pub(super) struct Columns {
    rows: Vec<Vec<Cell>>,
}

/// One cell.
pub(super) enum Cell {
    Word(String),
    Figure(String),
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Cell::Word(text) | Cell::Figure(text) => text,
        }
    }
}

pub(super) fn word(text: impl AsRef<str>) -> Cell {
    Cell::Word(printable(text.as_ref()))
}

pub(super) fn figure(number: u64) -> Cell {
    Cell::Figure(grouped(number))
}

pub(super) fn right(text: impl Into<String>) -> Cell {
    Cell::Figure(text.into())
}

impl Columns {
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The rows with two spaces between columns and none at a line's end.
    pub(super) fn render(&self, out: &mut String) {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.text().chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                match cell {
                    Cell::Word(text) => line.push_str(&format!("{text:<width$}  ")),
                    Cell::Figure(text) => line.push_str(&format!("{text:>width$}  ")),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// Text without control characters: what a server or a peer says must not drive the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes with a unit and three digits or fewer before it.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut name = "B";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if name == "B" || value >= 100.0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// A time in the two largest units that matter.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

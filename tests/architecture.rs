//! The shape of `src/`, kept by force: floors, purity, sizes. `ARCHITECTURE.md` explains the rules.
//!
//! Data travels sideways, imports travel down. Every path into a room, grouped imports included, is compared
//! with the floors below; what is wrong is named with file and line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "architecture/source.rs"]
mod source;

use source::{Path, Source};
use std::collections::BTreeSet;

/// Shared and pure. Each room imports from those before it only.
const GROUND: &[&str] = &[
    "suggest",
    "causality",
    "resp",
    "value",
    "command",
    "op",
    "echo",
    "database",
];
/// One step of the way each. They know the ground and never a neighbour.
const STATIONS: &[&str] = &[
    "apply", "capture", "certs", "control", "converge", "joining", "link", "log",
];
/// Both journeys, over the stations.
const FLOW: &[&str] = &["flow"];
/// What was said and what it means.
const SHORE: &[&str] = &["config"];
/// Knows every room.
const NODE: &[&str] = &["node"];
/// The binary's words, beside `main.rs`.
const TOP: &[&str] = &["cli"];
/// Rooms whose `io.rs` opens connections that the other rooms' `io.rs` then use.
const DIAL: &[&str] = &["certs", "database"];

/// What only the shore may touch, and what to use instead.
const OUTSIDE: &[(&str, &str)] = &[
    ("std::fs", "files belong into io.rs"),
    (
        "std::net",
        "sockets belong into io.rs; address types are in core::net",
    ),
    ("std::os", "the system belongs into io.rs"),
    ("std::env", "the environment belongs into config"),
    ("std::process", "processes belong into cli and node"),
    ("std::thread", "threads belong into io.rs and node"),
    ("std::time::Instant", "time is an argument, in milliseconds"),
    (
        "std::time::SystemTime",
        "time is an argument, in Unix milliseconds",
    ),
    (
        "std::collections::HashMap",
        "its seed is random; BTreeMap, or hashbrown with a fixed hasher",
    ),
    (
        "std::collections::HashSet",
        "its seed is random; BTreeSet, or hashbrown with a fixed hasher",
    ),
    ("tokio", "tasks and sockets belong into io.rs"),
    ("tokio_rustls", "TLS streams belong into io.rs"),
    ("rustix", "the system belongs into io.rs"),
    ("crossbeam", "queues between threads belong into io.rs and node"),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Files over the limit, with the lines they have. The number may only fall; a file within the limit leaves
/// the list.
const FILES_OVER: &[(&str, usize)] = &[];
/// Functions over the limit, with the lines they have, likewise.
const FUNCTIONS_OVER: &[(&str, &str, usize)] = &[];

/// Where a file stands. Later is higher, and imports go from higher to lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Ground(usize),
    Station,
    Flow,
    Dial,
    Shore,
    Node,
    Top,
}

/// The floor of a room's files but its `io.rs`.
fn floor_of_room(room: &str) -> Option<Floor> {
    if let Some(at) = GROUND.iter().position(|name| *name == room) {
        return Some(Floor::Ground(at));
    }
    let floors = [
        (STATIONS, Floor::Station),
        (FLOW, Floor::Flow),
        (SHORE, Floor::Shore),
        (NODE, Floor::Node),
        (TOP, Floor::Top),
    ];
    floors
        .iter()
        .find(|(rooms, _)| rooms.contains(&room))
        .map(|(_, floor)| *floor)
}

/// The floor of a room's `io.rs`.
fn floor_of_io(room: &str) -> Floor {
    match floor_of_room(room) {
        Some(floor @ (Floor::Node | Floor::Top)) => floor,
        _ if DIAL.contains(&room) => Floor::Dial,
        _ => Floor::Shore,
    }
}

fn floor(source: &Source) -> Option<Floor> {
    match source.room() {
        None => Some(Floor::Top),
        Some(room) if source.is_io() => Some(floor_of_io(room)),
        Some(room) => floor_of_room(room),
    }
}

/// Why a path from one file into a room is not allowed.
fn refusal(source: &Source, from: Floor, path: &Path) -> Option<String> {
    let (first, rest) = path.parts.split_first()?;
    if first != "crate" && !(first == "syncer" && source.in_binary()) {
        return None;
    }
    let room = rest.first()?;
    let Some(to) = floor_of_room(room) else {
        // `crate::{...}` of main.rs itself, or a name that no room has.
        let named = source
            .room()
            .is_some()
            .then(|| format!("no room is called {room}"));
        return named.filter(|_| !source.in_binary());
    };
    let to_io = rest.get(1).is_some_and(|part| part == "io");
    if source.room() == Some(room) {
        let climbs = to_io && !source.is_io() && from <= Floor::Shore;
        return climbs.then(|| format!("{room} imports its own io; only node and above may"));
    }
    let to = if to_io { floor_of_io(room) } else { to };
    if to < from {
        return None;
    }
    let kind = if to_io {
        format!("{room}::io")
    } else {
        room.clone()
    };
    Some(format!(
        "imports {kind} ({to:?}) from {from:?}; imports travel down"
    ))
}

fn sources() -> Vec<Source> {
    let sources = source::read_all("src");
    assert!(sources.len() > 20, "src/ was not found");
    sources
}

fn report(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn imports_travel_down() {
    let mut faults = Vec::new();
    for source in sources().iter() {
        let Some(from) = floor(source) else { continue };
        for path in source.paths() {
            if let Some(why) = refusal(source, from, &path) {
                faults.push(format!(
                    "{}:{}: {}: {why}",
                    source.name,
                    path.line,
                    path.parts.join("::")
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn only_the_shore_touches_the_outside() {
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| floor(s).is_some_and(|floor| floor < Floor::Dial) && !s.is_test())
    {
        for path in source.paths() {
            let text = path.parts.join("::");
            let hit = OUTSIDE.iter().find(|(banned, _)| {
                text.strip_prefix(banned)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            if let Some((_, why)) = hit {
                faults.push(format!("{}:{}: {text}: {why}", source.name, path.line));
            }
        }
    }
    report(&faults);
}

#[test]
fn nothing_climbs_out_of_its_room() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.room().is_some()) {
        for path in source.paths() {
            let up = path.parts.iter().take_while(|part| *part == "super").count();
            if up >= source.depth() {
                faults.push(format!(
                    "{}:{}: {}",
                    source.name,
                    path.line,
                    path.parts.join("::")
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_room_has_its_floor() {
    let named: Vec<&str> = [GROUND, STATIONS, FLOW, SHORE, NODE, TOP].concat();
    let unique: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(unique.len(), named.len(), "a room stands on two floors");
    let found: BTreeSet<String> = sources()
        .iter()
        .filter_map(|s| s.room().map(str::to_owned))
        .collect();
    let named: BTreeSet<String> = unique.iter().map(|room| (*room).to_owned()).collect();
    assert_eq!(
        found, named,
        "rooms in src/ (left) and floors in tests/architecture.rs (right) disagree"
    );
    assert!(DIAL.iter().all(|room| unique.contains(room)));
}

#[test]
fn files_and_functions_stay_small() {
    let mut faults = Vec::new();
    let folders = ["src", "tests", "benches", "fuzz/fuzz_targets"];
    for source in folders.iter().flat_map(|folder| source::read_all(folder)) {
        let allowed = FILES_OVER
            .iter()
            .find(|(name, _)| *name == source.name)
            .map(|(_, lines)| *lines);
        let lines = source.lines();
        if lines > allowed.unwrap_or(FILE_LINES_MAX) {
            faults.push(format!("{}: {lines} lines; split it by ideas", source.name));
        }
        if allowed.is_some() && lines <= FILE_LINES_MAX {
            faults.push(format!(
                "{}: within the limit now; take it off FILES_OVER",
                source.name
            ));
        }
        for function in source.functions() {
            let allowed = FUNCTIONS_OVER
                .iter()
                .find(|(file, name, _)| *file == source.name && *name == function.name);
            if function.lines > allowed.map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines) {
                let (name, lines) = (&function.name, function.lines);
                faults.push(format!(
                    "{}:{}: fn {name} has {lines} lines",
                    source.name, function.line
                ));
            }
        }
    }
    report(&faults);
}

/// The alarm is tested: what must be refused is refused.
#[test]
fn the_rules_bite() {
    let cases = [
        ("src/log/mod.rs", "use crate::link::Frame;", 1),
        (
            "src/log/mod.rs",
            "use crate::{causality::Seq, link::{self, io}};",
            2,
        ),
        ("src/log/mod.rs", "fn f() -> crate::flow::Site { todo!() }", 1),
        ("src/log/mod.rs", "use crate::log::io::Files;", 1),
        (
            "src/log/mod.rs",
            "use crate::causality::Seq; use crate::log::index; // crate::link::X",
            0,
        ),
        (
            "src/log/io.rs",
            "use crate::log::Log; use crate::database::io::connect;",
            0,
        ),
        ("src/log/io.rs", "use crate::link::io::run;", 1),
        ("src/log/io.rs", "use crate::config::Settings;", 1),
        (
            "src/command/mod.rs",
            "use crate::resp::Scanner; const S: &str = \"crate::link::X\";",
            0,
        ),
        ("src/command/mod.rs", "use crate::op::Batch;", 1),
        (
            "src/node/mod.rs",
            "use crate::{log::io, link::io as l, config};",
            0,
        ),
        ("src/config/mod.rs", "use crate::node::run;", 1),
        ("src/config/mod.rs", "use crate::tools::x;", 1),
        (
            "src/log/mod.rs",
            "#[cfg(test)] mod tests { use crate::link::X; } use crate::link::Y;",
            1,
        ),
        ("src/cli/run.rs", "use syncer::{node, config, log::io};", 0),
    ];
    for (name, text, expected) in cases {
        let source = Source::new(name, text);
        let from = floor(&source).unwrap();
        let found: Vec<String> = source
            .paths()
            .iter()
            .filter_map(|path| refusal(&source, from, path))
            .collect();
        assert_eq!(found.len(), expected, "{name}: {text}: {found:?}");
    }
    let deep = Source::new("src/capture/rdb/reader.rs", "");
    assert_eq!(
        (deep.depth(), Source::new("src/capture/rdb/mod.rs", "").depth()),
        (3, 2)
    );
    assert_eq!(Source::new("src/log/mod.rs", "").depth(), 1);
}

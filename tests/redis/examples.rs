//! The examples of `docs/conflicts.md`, played as they stand there.
//!
//! Every table headed `| | site a | site b |` is an example. Its rows: `before` is written at one site and has reached
//! the other; `apart` is written while the sites do not see each other, row by row, so that a later row is later;
//! `together` is what both sites answer in the end. A reply of several values is written with spaces between them,
//! sets and hashes in the order of their names. Each example has a database of its own, so all are played at once, but
//! for those that swap databases: they have the servers to themselves, and begin in database 0. Those with expiry times of
//! fields are left out where the server has none.

use crate::support::{Client, Cluster, Random, Reply, ServerOptions, clock_tick};

const DOCUMENT: &str = include_str!("../../docs/conflicts.md");
const HEAD: &str = "| | site a | site b |";
const PHASES: [&str; 3] = ["before", "apart", "together"];

struct Example {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    phase: &'static str,
    /// Commands, or what they answer, of site a and of site b.
    cells: [String; 2],
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut title = "";
    let mut inside = false;
    for line in DOCUMENT.lines() {
        if line == HEAD {
            inside = true;
            let title = title.to_string();
            examples.push(Example {
                title,
                rows: Vec::new(),
            });
        } else if !line.starts_with('|') {
            inside = false;
            title = if line.is_empty() { title } else { line };
        } else if inside && !line.starts_with("| ---") {
            let example = examples.last_mut().expect("a table");
            example.rows.push(row(line));
        }
    }
    examples
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [phase, a, b] = cells[..] else {
        panic!("an example's row has three cells: {line}");
    };
    let phase = PHASES.into_iter().find(|known| *known == phase);
    let phase = phase.unwrap_or_else(|| panic!("a row is one of {PHASES:?}: {line}"));
    let b = if b == "the same" { a } else { b };
    Row {
        phase,
        cells: [a.to_string(), b.to_string()],
    }
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn run(client: &mut Client, db: usize, cell: &str) {
    client.ok(&format!("SELECT {db}"));
    quoted(cell).for_each(|command| {
        client.ok(command);
    });
}

/// What is wrong with the answers at one site.
fn check(client: &mut Client, db: usize, cell: &str) -> Vec<String> {
    client.ok(&format!("SELECT {db}"));
    let mut wrong = Vec::new();
    for answer in cell.split(", `").map(|answer| answer.trim_matches('`')) {
        let (command, expected) = answer.split_once("` → ").expect("a command → what it answers");
        let expected = expected.trim_matches('`');
        let found = shown(command, &client.run(command));
        if found != expected {
            wrong.push(format!("{command} → {found}, not {expected}"));
        }
    }
    wrong
}

fn shown(command: &str, reply: &Reply) -> String {
    let mut all = Vec::new();
    flatten(reply, &mut all);
    let size = match command.split(' ').next() {
        Some("SMEMBERS") => 1,
        Some("HGETALL") => 2,
        _ => all.len().max(1),
    };
    let mut parts: Vec<&[String]> = all.chunks(size).collect();
    parts.sort();
    parts.concat().join(" ")
}

fn flatten(reply: &Reply, all: &mut Vec<String>) {
    match reply {
        Reply::Array(items) => items.iter().for_each(|item| flatten(item, all)),
        Reply::Nil => all.push("nothing".into()),
        other => all.push(other.text()),
    }
}

impl Example {
    fn rows(&self, phase: &'static str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.phase == phase)
    }

    fn has(&self, name: &str) -> bool {
        let mut cells = self.rows.iter().flat_map(|row| &row.cells);
        cells.any(|cell| cell.contains(name))
    }
}

/// Plays these examples at the same time, each in its database; what is wrong in the end.
fn play(cluster: &Cluster, clients: &mut [Client; 2], examples: &[(usize, &Example)]) -> Vec<String> {
    let mut write = |phase, between: &dyn Fn()| {
        let rows = |(_, example): &(usize, &Example)| example.rows(phase).count();
        for at in 0..examples.iter().map(rows).max().unwrap_or(0) {
            for (db, example) in examples {
                let row = example.rows(phase).nth(at);
                for (client, cell) in clients.iter_mut().zip(row.iter().flat_map(|row| &row.cells)) {
                    run(client, *db, cell);
                }
            }
            between();
        }
    };
    write("before", &|| cluster.converge());
    cluster.cut(0, 1);
    write("apart", &|| {
        cluster.wait_read();
        clock_tick();
    });
    cluster.heal(0, 1);
    cluster.converge();
    let mut wrong = Vec::new();
    for (db, example) in examples {
        let answers: Vec<&Row> = example.rows("together").collect();
        assert!(!answers.is_empty(), "{}: an example ends together", example.title);
        for row in answers {
            for (site, client) in clients.iter_mut().enumerate() {
                let found = check(client, *db, &row.cells[site]);
                let told = |found| format!("{} site {site}: {found}", example.title);
                wrong.extend(found.into_iter().map(told));
            }
        }
    }
    wrong
}

#[test]
fn what_the_document_tells_is_what_happens() {
    Random::announced("examples");
    let examples = examples();
    let databases = (examples.len() + 1).to_string();
    let cluster = Cluster::build(2)
        .servers(&ServerOptions::default().with("databases", &databases))
        .start();
    let mut clients = [cluster.client(0), cluster.client(1)];
    // From Redis 7.4 and Valkey 9 on.
    let has_times = !clients[0].run("HPEXPIRETIME none FIELDS 1 f").is_error();
    let (alone, together): (Vec<&Example>, Vec<&Example>) = examples
        .iter()
        .filter(|example| has_times || !example.has("HPEXPIRE"))
        .partition(|example| example.has("SWAPDB"));
    let together: Vec<(usize, &Example)> = (1..).zip(together).collect();
    let mut wrong = play(&cluster, &mut clients, &together);
    for example in alone {
        clients[0].ok("FLUSHALL");
        cluster.converge();
        wrong.extend(play(&cluster, &mut clients, &[(0, example)]));
    }
    assert!(
        wrong.is_empty(),
        "{} answers differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(examples.len() > 15, "{} examples were found", examples.len());
}

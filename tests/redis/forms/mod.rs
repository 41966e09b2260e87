//! Every effective form of every write command, written at one site, reads back equal at the others.
//!
//! A form is a line of steps joined by ` ; `, all on keys of its own: a word that begins with `#` is a key,
//! and gets the form's prefix. So hundreds of forms are one batch of work.
//!
//! | step | meaning |
//! | --- | --- |
//! | `7.0: ...` | (before the first step) needs this version of the command set |
//! | `SET #k v` | a command on the site's main connection; an error reply fails the test |
//! | `!LPUSH #k a` | a command that must be refused |
//! | `@b1 BLPOP #l 0` | sent by a second client, which must then be blocked |
//! | `?b1` | its reply |
//! | `=c2 SET #k 2` | a second client's command with its reply |
//! | `~5` | let 5 ms of a key's life go by |
//! | `SEED`, `GROUP`, `READ` | a stream of three entries; with a group; read by consumer c1 |
//! | `<#src>`, `<port>` | the DUMP of a key; the port of a server that is no site |

mod collections;
mod streams;
mod values;
mod ways;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{
    Client, Cluster, Random, RedisServer, SHORT, ServerOptions, differences, wait_until, words,
};

/// The groups in the order in which they are run; data is compared after each.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("strings", values::STRINGS),
    ("bits", values::BITS),
    ("keys", values::KEYS),
    ("hyperloglogs", values::HYPERLOGLOGS),
    ("hashes", collections::HASHES),
    ("sets", collections::SETS),
    ("sorted-sets", collections::SORTED_SETS),
    ("lists", collections::LISTS),
    ("blocking", collections::BLOCKING),
    ("streams", streams::STREAMS),
    ("transactions", ways::TRANSACTIONS),
    ("scripts", ways::SCRIPTS),
    ("expiry", ways::EXPIRY),
    ("letter-case", ways::LETTER_CASE),
    ("refused", ways::REFUSED),
];

/// What several forms begin with.
const SHORTHANDS: &[(&str, &str)] = &[
    ("SEED", "XADD #s 1-1 f a ; XADD #s 2-1 f b ; XADD #s 3-1 f c"),
    ("GROUP", "SEED ; XGROUP CREATE #s g 0"),
    ("READ", "GROUP ; XREADGROUP GROUP g c1 STREAMS #s >"),
];

/// The steps of a line, shorthands written out.
fn steps(line: &str) -> Vec<String> {
    let expand = |step: &str| match SHORTHANDS.iter().find(|(name, _)| *name == step) {
        Some((_, meaning)) => steps(meaning),
        None => vec![step.to_string()],
    };
    line.split(" ; ").flat_map(expand).collect()
}

/// The version a form needs, and the rest of its line.
fn split_version(form: &str) -> ((u32, u32), &str) {
    let needed = form.split_once(": ").and_then(|(version, line)| {
        let (major, minor) = version.split_once('.')?;
        Some(((major.parse().ok()?, minor.parse().ok()?), line))
    });
    needed.unwrap_or(((6, 2), form))
}

/// Runs forms at one database.
pub struct Runner<'a> {
    server: &'a RedisServer,
    main: Client,
    side: BTreeMap<String, Client>,
    version: (u32, u32),
    helper_port: u16,
}

impl<'a> Runner<'a> {
    pub fn new(server: &'a RedisServer, helper: &RedisServer) -> Self {
        let (main, version) = (server.client(), server.version());
        Self {
            server,
            main,
            side: BTreeMap::new(),
            version,
            helper_port: helper.port,
        }
    }

    /// Runs one form on keys that begin with `prefix`; false if this server's version does not have it.
    pub fn run(&mut self, prefix: &str, form: &str) -> bool {
        let (needed, line) = split_version(form);
        if self.version < needed {
            return false;
        }
        for step in steps(line) {
            if let Err(refused) = self.step(prefix, &step) {
                panic!("{form}\n  step {step}: {refused}");
            }
        }
        self.side.clear();
        true
    }

    fn step(&mut self, prefix: &str, step: &str) -> Result<(), String> {
        if let Some(millis) = step.strip_prefix('~') {
            std::thread::sleep(Duration::from_millis(millis.parse().expect("milliseconds")));
            return Ok(());
        }
        if let Some(name) = step.strip_prefix('?') {
            let reply = self.side(name).try_read().map_err(|e| e.to_string())?;
            return if reply.is_error() {
                Err(reply.text())
            } else {
                Ok(())
            };
        }
        if let Some((name, line)) = step.strip_prefix('@').and_then(|s| s.split_once(' ')) {
            let args = self.args(prefix, line);
            let before = self.server.info_number("clients", "blocked_clients");
            self.side(name).send(&args).map_err(|e| e.to_string())?;
            wait_until("the client is blocked", SHORT, || {
                self.server.info_number("clients", "blocked_clients") > before
            });
            return Ok(());
        }
        if let Some((name, line)) = step.strip_prefix('=').and_then(|s| s.split_once(' ')) {
            let args = self.args(prefix, line);
            let reply = self.side(name).args(&args);
            return if reply.is_error() {
                Err(reply.text())
            } else {
                Ok(())
            };
        }
        let refused = step.starts_with('!');
        let args = self.args(prefix, step.trim_start_matches('!'));
        let reply = self.main.args(&args);
        match (refused, reply.is_error()) {
            (false, true) => Err(reply.text()),
            (true, false) => Err(format!("not refused, but answered {reply:?}")),
            _ => Ok(()),
        }
    }

    fn side(&mut self, name: &str) -> &mut Client {
        let server = self.server;
        self.side.entry(name.into()).or_insert_with(|| server.client())
    }

    /// The words of a command, with keys and placeholders filled in.
    fn args(&mut self, prefix: &str, line: &str) -> Vec<Vec<u8>> {
        let mut args = words(line);
        for arg in &mut args {
            if arg == b"<#src>" {
                let dumped = self.main.run(&format!("DUMP {prefix}src"));
                *arg = dumped.bytes().expect("a source to dump").to_vec();
            } else if arg == b"<port>" {
                *arg = self.helper_port.to_string().into_bytes();
            } else if arg.starts_with(b"#") && !arg.starts_with(b"#!") {
                *arg = [prefix.as_bytes(), &arg[1..]].concat();
            }
        }
        args
    }
}

/// Writes every form, the next one always at the next database, and lets `after_group` compare.
pub fn run_all(servers: &[&RedisServer], after_group: &mut dyn FnMut(&str)) {
    let helper = RedisServer::start(ServerOptions::default());
    let mut runners: Vec<_> = servers
        .iter()
        .map(|server| Runner::new(server, &helper))
        .collect();
    let (mut run, mut left_out) = (0, 0);
    for (group, forms) in GROUPS {
        for (n, form) in forms.iter().enumerate() {
            let site = n % runners.len();
            if runners[site].run(&format!("{group}-{n}:"), form) {
                run += 1;
            } else {
                left_out += 1;
            }
        }
        after_group(group);
    }
    println!("{run} forms run, {left_out} left out because this server does not have them");
}

/// The differences, each with the form that wrote the key.
pub fn explained(found: &[String]) -> String {
    let explain = |line: &String| {
        let wrote = GROUPS.iter().find_map(|(group, forms)| {
            let rest = line.split_once(&format!("\"{group}-"))?.1;
            let n: usize = rest.split_once(':')?.0.parse().ok()?;
            forms.get(n)
        });
        format!("{line}\n      written by: {}", wrote.unwrap_or(&"?"))
    };
    found.iter().map(explain).collect::<Vec<_>>().join("\n")
}

fn every_form_reads_back_equal(sites: usize) {
    Random::announced(&format!("every form, {sites} sites"));
    let cluster = Cluster::new(sites);
    let servers: Vec<_> = cluster.sites.iter().map(|site| &site.server).collect();
    run_all(&servers, &mut |group| {
        cluster.quiet();
        let mut clients: Vec<_> = cluster
            .sites
            .iter()
            .map(|s| (s.name.as_str(), s.server.client()))
            .collect();
        let found = differences(&mut clients);
        assert!(
            found.is_empty(),
            "after the forms of {group}:\n{}",
            explained(&found)
        );
    });
}

#[test]
fn every_form_reads_back_equal_at_two_sites() {
    every_form_reads_back_equal(2);
}

#[test]
fn every_form_reads_back_equal_at_three_sites() {
    every_form_reads_back_equal(3);
}

/// Whole databases at once: each form alone, because it reaches every key.
#[test]
fn forms_on_whole_databases_read_back_equal() {
    Random::announced("whole databases");
    let cluster = Cluster::new(2);
    let forms = [
        "FLUSHDB",
        "SELECT 2 ; FLUSHDB ASYNC ; SELECT 0",
        "SWAPDB 0 2",
        "SWAPDB 0 0",
        "SWAPDB 4 5",
        "MULTI ; SWAPDB 0 1 ; SET #a 1 ; EXEC",
        "MULTI ; FLUSHALL ; SET #a 1 ; EXEC",
        "FLUSHALL",
        "fLuShAlL",
        "FLUSHALL SYNC ; SET #a 1",
        "SELECT 2 ; FLUSHALL ; SELECT 0 ; SET #after 1",
    ];
    let helper = RedisServer::start(ServerOptions::default());
    for (n, form) in forms.iter().enumerate() {
        for site in &cluster.sites {
            let lines =
                [0, 1, 2].map(|db| format!("SELECT {db} ; SET #{}{db} {n} ; RPUSH #l{db} {}", site.name, n));
            Runner::new(&site.server, &helper).run("", &lines.join(" ; "));
            cluster.converge();
        }
        Runner::new(&cluster.sites[n % 2].server, &helper).run("", form);
        println!("{form}");
        cluster.converge();
        // The way is open for the next write, in both directions.
        for (from, to) in [(0, 1), (1, 0)] {
            cluster.client(from).ok(&format!("SET alive{from} {n}"));
            cluster.wait_value(to, &format!("GET alive{from}"), &n.to_string());
        }
    }
}

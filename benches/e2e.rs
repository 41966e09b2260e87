//! From one database to another: native replication, plain and TLS, beside two syncers, in the same run.
//!
//! ```text
//! cargo bench --bench e2e                 # all ways, three runs each, medians
//! cargo bench --bench e2e -- --way syncer --runs 1 --commands 500000
//! cargo bench --bench e2e -- --test       # a smoke run of a few seconds
//! ```
//!
//! **Throughput.** One client sends pipelined SETs of 32 bytes to random keys out of a million, encoded before
//! the clock starts, while a second thread only counts the bytes of the replies. The last command sets an end
//! key. The time runs until the target has that key; both databases must then hold the same number of keys.
//!
//! **CPU.** User and system time of every process over the same span, from `/proc`, per million commands.
//!
//! **Latency.** 20,000 SETs per second in bursts of 5; the last of every fourth burst is a probe. The target
//! tells by `CLIENT TRACKING ... BCAST PREFIX` when a probe key was written, so nobody polls. A probe's time
//! runs from just before the source's socket is written until the message has been read.
//!
//! **Memory.** The peak (`VmHWM`) of every process that is not a database.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::client::encode;
use support::{Client, Cluster, LONG, Random, RedisServer, Reply, ServerOptions, wait_until};

const KEYS: u64 = 1_000_000;
const RATE_PER_SECOND: u64 = 20_000;
const BURST: u64 = 5;
const PROBE_EVERY_BURSTS: u64 = 4;

/// What is measured: how the writes travel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// No target at all: what the source and the client can do.
    Alone,
    Native,
    NativeTls,
    /// Two syncers with a TLS link, plain connections to the databases.
    Syncer,
}

impl Way {
    const ALL: [(&'static str, Self); 4] = [
        ("alone", Self::Alone),
        ("native", Self::Native),
        ("native-tls", Self::NativeTls),
        ("syncer", Self::Syncer),
    ];
}

/// The command line.
#[derive(Debug)]
struct Options {
    ways: Vec<(&'static str, Way)>,
    runs: usize,
    commands: u64,
    latency_seconds: f64,
}

fn options() -> Options {
    let mut options = Options {
        ways: Vec::new(),
        runs: 3,
        commands: 2_000_000,
        latency_seconds: 5.0,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            // What cargo itself adds.
            "--bench" => {}
            "--test" => (options.runs, options.commands, options.latency_seconds) = (1, 50_000, 0.5),
            "--runs" => options.runs = value().parse().expect("a number of runs"),
            "--commands" => options.commands = value().parse().expect("a number of commands"),
            "--seconds" => options.latency_seconds = value().parse().expect("seconds of latency measurement"),
            "--way" => {
                let name = value();
                let found = Way::ALL.iter().find(|(known, _)| *known == name);
                options
                    .ways
                    .push(*found.unwrap_or_else(|| panic!("no such way: {name}")));
            }
            other => panic!("unknown option {other}; see the head of benches/e2e.rs"),
        }
    }
    if options.ways.is_empty() {
        options.ways = Way::ALL.to_vec();
    }
    options
}

/// The processes of one way, running.
enum Setup {
    Servers {
        source: Box<RedisServer>,
        target: Option<Box<RedisServer>>,
    },
    Cluster(Cluster),
}

impl Setup {
    fn start(way: Way) -> Self {
        let source = |tls| Box::new(RedisServer::start(ServerOptions { tls, ..database() }));
        match way {
            Way::Alone => Self::Servers {
                source: source(false),
                target: None,
            },
            Way::Native => {
                let (source, target) = (source(false), RedisServer::start(database()));
                replicate(&source, source.port, &target);
                Self::Servers {
                    source,
                    target: Some(Box::new(target)),
                }
            }
            Way::NativeTls => {
                let source = source(true);
                let (port, files) = source.tls.clone().expect("a TLS port");
                let trusted = files.certificate.to_str().expect("a path in UTF-8").to_string();
                let options = ServerOptions {
                    tls: true,
                    ..database()
                };
                let options = options
                    .with("tls-replication", "yes")
                    .with("tls-ca-cert-file", &trusted);
                let target = RedisServer::start(options);
                replicate(&source, port, &target);
                Self::Servers {
                    source,
                    target: Some(Box::new(target)),
                }
            }
            Way::Syncer => Self::Cluster(Cluster::build(2).servers(&database()).direct_links().start()),
        }
    }

    fn source(&self) -> &RedisServer {
        match self {
            Self::Servers { source, .. } => source,
            Self::Cluster(cluster) => &cluster.sites[0].server,
        }
    }

    /// Where the writes must arrive; the source itself if there is no target.
    fn target(&self) -> &RedisServer {
        match self {
            Self::Servers { source, target } => target.as_ref().unwrap_or(source),
            Self::Cluster(cluster) => &cluster.sites[1].server,
        }
    }

    /// The processes between the databases.
    fn agents(&self) -> Vec<u32> {
        match self {
            Self::Servers { .. } => Vec::new(),
            Self::Cluster(cluster) => cluster.sites.iter().map(support::Site::pid).collect(),
        }
    }

    /// Source, target, agents.
    fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.source().pid(), self.target().pid()];
        all.extend(self.agents());
        all
    }
}

/// A backlog that a burst cannot overrun, so that no way is measured while it copies a snapshot.
fn database() -> ServerOptions {
    ServerOptions::default()
        .with("repl-backlog-size", "512mb")
        .with("client-output-buffer-limit", "replica 0 0 0")
        .with("io-threads", "1")
}

/// Makes the target a replica over the given port and waits until the stream flows. The source holds it back
/// until the replica's first acknowledgement, which may take a second after it calls the replica online.
fn replicate(source: &RedisServer, port: u16, target: &RedisServer) {
    let mut replica = target.client();
    replica.ok(&format!("REPLICAOF 127.0.0.1 {port}"));
    wait_until("the replica is online", LONG, || {
        source
            .info("replication")
            .get("slave0")
            .is_some_and(|replica| replica.contains("state=online"))
    });
    source.client().ok("SET flows 1");
    wait_until("the stream flows", LONG, || {
        replica.run("GET flows") != Reply::Nil
    });
}

/// Seconds of CPU that a process has used.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may hold spaces; the fields after it are counted from 3.
    let fields: Vec<_> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    // USER_HZ is 100 on every Linux that these databases run on.
    ticks as f64 / 100.0
}

/// Peak resident memory in megabytes.
fn peak_megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<f64>()
        .expect("kilobytes")
        / 1024.0
}

/// The numbers of one run of one way.
#[derive(Debug, Clone, Default)]
struct Numbers {
    commands_per_second: f64,
    /// CPU seconds per million commands: source, target, agents, and last the client.
    cpu: Vec<f64>,
    latency_ms: [f64; 3],
    peak_megabytes: Vec<f64>,
}

/// All commands of the load as they go over the wire.
fn encoded(commands: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..commands {
        let key = format!("key:{:012}", random.below(KEYS));
        encode(&mut bytes, &["SET", &key, &format!("{n:032}")]);
    }
    encode(&mut bytes, &["SET", "end", "1"]);
    bytes
}

fn throughput(setup: &Setup, commands: u64, bytes: &[u8], numbers: &mut Numbers) {
    let pids = setup.processes();
    let own = std::process::id();
    let mut target = setup.target().client();
    let mut socket = TcpStream::connect(("127.0.0.1", setup.source().port)).expect("the source");
    let mut replies = socket.try_clone().expect("a second handle");
    let before: Vec<_> = pids.iter().chain([&own]).map(|&pid| cpu_seconds(pid)).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Every reply is `+OK` and a line end: counting bytes is enough.
            let mut expected = (commands as usize + 1) * 5;
            let mut chunk = vec![0; 1 << 18];
            while expected > 0 {
                let n = replies.read(&mut chunk).expect("replies");
                assert!(
                    n > 0 && !chunk[..n].contains(&b'-'),
                    "the source refused a command"
                );
                expected -= n;
            }
        });
        for piece in bytes.chunks(1 << 18) {
            socket.write_all(piece).expect("the source reads");
        }
    });
    wait_until(
        "the target has the last command",
        Duration::from_secs(300),
        || target.ok("GET end") != Reply::Nil,
    );
    let seconds = start.elapsed().as_secs_f64();
    let after: Vec<_> = pids.iter().chain([&own]).map(|&pid| cpu_seconds(pid)).collect();
    let million = commands as f64 / 1e6;
    numbers.commands_per_second = commands as f64 / seconds;
    numbers.cpu = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) / million)
        .collect();
    let data = |server: &RedisServer| {
        let mut client = server.client();
        client.ok("DBSIZE").int() - client.ok("KEYS {syncer}:*").array().len() as i64
    };
    assert_eq!(
        data(setup.source()),
        data(setup.target()),
        "keys at source and target"
    );
}

/// Reads the target's messages about written probe keys until the last one; arrival times by number.
fn arrivals(
    target: &RedisServer,
    probes: usize,
    ready: &std::sync::mpsc::Sender<()>,
) -> Vec<Option<Instant>> {
    let mut listener = target.client();
    let id = listener.ok("CLIENT ID").int();
    listener.ok("SUBSCRIBE __redis__:invalidate");
    let mut tracker: Client = target.client();
    tracker.ok(&format!("CLIENT TRACKING on REDIRECT {id} BCAST PREFIX probe:"));
    ready.send(()).expect("the writer waits");
    let mut arrived = vec![None; probes];
    let mut missing = probes;
    while missing > 0 {
        let message = listener.try_read().expect("a message about every probe");
        let now = Instant::now();
        for key in message.array()[2].array() {
            let number: usize = key
                .text()
                .trim_start_matches("probe:")
                .parse()
                .expect("a probe's number");
            if arrived[number].replace(now).is_none() {
                missing -= 1;
            }
        }
    }
    arrived
}

fn latency(setup: &Setup, seconds: f64, random: &mut Random, numbers: &mut Numbers) {
    let bursts = (seconds * RATE_PER_SECOND as f64) as u64 / BURST;
    let probes = bursts.div_ceil(PROBE_EVERY_BURSTS) as usize;
    let (ready, wait) = std::sync::mpsc::channel();
    let mut sent = Vec::with_capacity(probes);
    let arrived = std::thread::scope(|scope| {
        let reader = scope.spawn(|| arrivals(setup.target(), probes, &ready));
        wait.recv().expect("the reader is ready");
        let mut socket = TcpStream::connect(("127.0.0.1", setup.source().port)).expect("the source");
        socket.set_nodelay(true).expect("no delay");
        let mut replies = socket.try_clone().expect("a second handle");
        scope.spawn(move || {
            let mut expected = (bursts * BURST) as usize * 5;
            let mut chunk = [0; 4096];
            while expected > 0 {
                expected -= replies.read(&mut chunk).expect("replies");
            }
        });
        let start = Instant::now();
        for burst in 0..bursts {
            let mut bytes = Vec::with_capacity(512);
            let probe = burst.is_multiple_of(PROBE_EVERY_BURSTS);
            for _ in 0..BURST - u64::from(probe) {
                let key = format!("key:{:012}", random.below(KEYS));
                encode(&mut bytes, &["SET", &key, &format!("{burst:032}")]);
            }
            if probe {
                encode(
                    &mut bytes,
                    &[
                        "SET",
                        &format!("probe:{}", burst / PROBE_EVERY_BURSTS),
                        &format!("{burst:032}"),
                    ],
                );
            }
            let due = start + Duration::from_nanos(burst * BURST * 1_000_000_000 / RATE_PER_SECOND);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if probe {
                sent.push(Instant::now());
            }
            socket.write_all(&bytes).expect("the source reads");
        }
        reader.join().expect("the reader")
    });
    let took =
        |(sent, arrived): (&Instant, &Option<Instant>)| arrived.expect("arrived").duration_since(*sent);
    let mut times: Vec<_> = sent.iter().zip(&arrived).map(took).collect();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    numbers.latency_ms = [at(0.5), at(0.99), at(1.0)];
}

fn measure(way: Way, options: &Options, bytes: &[u8], random: &mut Random) -> Numbers {
    let setup = Setup::start(way);
    let mut numbers = Numbers::default();
    // Latency first: on databases without a million keys and syncers without history.
    latency(&setup, options.latency_seconds, random, &mut numbers);
    throughput(&setup, options.commands, bytes, &mut numbers);
    numbers.peak_megabytes = setup.agents().into_iter().map(peak_megabytes).collect();
    numbers
}

/// The middle of some numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// One line of the table: the medians over all runs of a way.
fn print_line(name: &str, way: Way, runs: &[Numbers]) {
    let over = |pick: &dyn Fn(&Numbers) -> f64| median(runs.iter().map(pick).collect());
    let first = &runs[0];
    let cpu = |n: usize| over(&|run: &Numbers| run.cpu[n]);
    let client = first.cpu.len() - 1;
    let agents = (2..client)
        .map(|n| format!("{:.2}", cpu(n)))
        .collect::<Vec<_>>()
        .join(" + ");
    let peaks = (0..first.peak_megabytes.len())
        .map(|n| format!("{:.0}", over(&|run: &Numbers| run.peak_megabytes[n])));
    let peaks = peaks.collect::<Vec<_>>().join(" + ");
    let or_dash = |text: String| if text.is_empty() { "-".to_string() } else { text };
    println!(
        "| {name:<10} | {:>10.0} | {:>6.2} | {:>6} | {:>13} | {:>6.2} | {:>6.3} | {:>6.3} | {:>7.2} | {:>9} |",
        over(&|run: &Numbers| run.commands_per_second),
        cpu(0),
        if way == Way::Alone {
            "-".into()
        } else {
            format!("{:.2}", cpu(1))
        },
        or_dash(agents),
        cpu(client),
        over(&|run: &Numbers| run.latency_ms[0]),
        over(&|run: &Numbers| run.latency_ms[1]),
        over(&|run: &Numbers| run.latency_ms[2]),
        or_dash(peaks),
    );
}

fn main() {
    let options = options();
    let mut random = Random::announced("e2e");
    let bytes = encoded(options.commands, &mut random);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        "{} SETs of 32 bytes, {} runs, all processes on {cores} cores",
        options.commands, options.runs
    );
    println!(
        "latency at {RATE_PER_SECOND}/s over {} s\n",
        options.latency_seconds
    );
    println!(
        "| way        | commands/s | source | target | syncers       | client | p50 ms | p99 ms |  max ms | peak MB   |"
    );
    println!(
        "|            |            |     CPU seconds per million commands     ||||        |        |         |           |"
    );
    println!(
        "| ---------- | ---------- | ------ | ------ | ------------- | ------ | ------ | ------ | ------- | --------- |"
    );
    let mut rates = Vec::new();
    for &(name, way) in &options.ways {
        let runs: Vec<_> = (0..options.runs)
            .map(|_| measure(way, &options, &bytes, &mut random))
            .collect();
        print_line(name, way, &runs);
        rates.push((
            way,
            median(runs.iter().map(|run| run.commands_per_second).collect()),
        ));
    }
    let rate = |wanted: Way| {
        rates
            .iter()
            .find(|(way, _)| *way == wanted)
            .map(|(_, rate)| *rate)
    };
    if let (Some(native), Some(ours)) = (rate(Way::NativeTls), rate(Way::Syncer)) {
        println!(
            "\nthe syncers reach {:.2} of native replication over TLS",
            ours / native
        );
    }
}

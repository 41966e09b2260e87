//! What happens in a run, decided before it begins: sites, pace, clients' writes, faults. Leaving out an event
//! leaves the others as they are, so that a failure can be made small.

use syncer::flow::Settings;

use crate::clients::{Mix, race, write};
use crate::database::Version;
use crate::host::HostSettings;
use crate::random::Random;
use crate::resp::{Words, show};
use crate::{scenes, tallies};

/// What the scheduler can let a site do.
pub const ACTIONS: usize = 9;

/// One seed of so many is a long run at full speed: many operations gather while a site is away.
const LONG_EVERY: u64 = 50;

/// One seed of so many is about expiry times of hash fields, if it is not long.
const FIELDS_EVERY: u64 = 10;

/// In so many runs of a hundred clients also write right beside the syncer's transactions.
const RACING: u64 = 25;

/// In one run of so many a database's stream ends in a gap that only a snapshot bridges.
const CRASHES_EVERY: u64 = 8;

/// Something that happens.
#[derive(Debug, Clone)]
pub enum What {
    /// A client writes; `block` makes one transaction of it.
    Write {
        /// Selected database.
        db: usize,
        /// Its commands.
        commands: Vec<Words>,
        /// MULTI and EXEC around them.
        block: bool,
    },
    /// A client writes as soon as the syncer does.
    Race(Race),
    /// The syncer dies and starts again so many steps later.
    Kill(u64),
    /// The machine under it loses power.
    PowerCut(u64),
    /// The replication link breaks.
    DropStream,
    /// The connection to apply on breaks.
    DropApply,
    /// No link with this site for so long.
    Cut(usize, u64),
    /// Nothing comes from this site for so long.
    Stall(usize, u64),
    /// The syncer does nothing for so long.
    Freeze(u64),
    /// The database executes nothing of the syncer's for so long.
    Busy(u64),
    /// The database refuses writes for so long.
    Refuse(u64),
    /// The log's disk is full for so long.
    DiskFull(u64),
    /// The database is shut down in good order and started again.
    Restart,
    /// The database dies and starts again so many steps later, with all that it held.
    Crash(u64),
    /// The database dies right beside a transaction of its syncer, once another one has come back from a crash.
    CrashBeside(Order),
    /// The database writes a file of all that it holds.
    Save,
    /// The database dies and starts again so many steps later from that file; or, if so said, it is a replica that was so
    /// far behind and takes over.
    FallBack(u64, bool),
    /// The replication link breaks, and the database's backlog does not reach so far back.
    Gap,
    /// A client swaps two databases.
    Swap,
    /// A clock jumps, the database's or the syncer's.
    Jump(i64, bool),
}

/// Where a client's write stands beside a transaction of the syncer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before one.
    Before,
    /// Before one that only repairs.
    BeforeRepair,
    /// Behind one.
    Behind,
}

/// A write of a client right beside a transaction of the syncer.
#[derive(Debug, Clone)]
pub struct Race {
    /// Where it stands.
    pub place: Place,
    /// Selected database.
    pub db: usize,
    /// Its commands.
    pub commands: Vec<Words>,
    /// MULTI and EXEC around them.
    pub block: bool,
    /// The transaction touches this key; without one any will do.
    pub beside: Option<Vec<u8>>,
}

/// A crash right beside a transaction of the syncer.
#[derive(Debug, Clone)]
pub struct Order {
    /// Behind the content of which site's database it stands: one that crashes from now on.
    pub behind: usize,
    /// Where it stands.
    pub place: Place,
    /// The transaction touches one of these keys.
    pub beside: Vec<Vec<u8>>,
    /// So many such transactions are let go.
    pub passes: u64,
    /// The database starts again so many steps later.
    pub away: u64,
}

/// Something that happens at a site, at a step.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub step: u64,
    /// Where.
    pub site: usize,
    /// What.
    pub what: What,
    /// Which of all events it was before any was left out.
    pub number: usize,
}

impl std::fmt::Display for Event {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "step {:>5} site {}: ",
            self.step,
            crate::host::name(self.site)
        )?;
        match &self.what {
            What::Write { db, commands, block } => {
                let all: Vec<String> = commands.iter().map(|words| show(words)).collect();
                let (open, close) = if *block { ("MULTI; ", "; EXEC") } else { ("", "") };
                write!(out, "[{db}] {open}{}{close}", all.join("; "))
            }
            What::Race(race) => {
                let all: Vec<String> = race.commands.iter().map(|words| show(words)).collect();
                write!(
                    out,
                    "[{}] {:?} the syncer's next: {}",
                    race.db,
                    race.place,
                    all.join("; ")
                )
            }
            what => write!(out, "{what:?}"),
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// What each site is made of.
    pub hosts: Vec<HostSettings>,
    /// How many steps clients write for.
    pub steps: u64,
    /// How often each action is chosen, per site.
    pub weights: Vec<[u64; ACTIONS]>,
    /// Longest time on a link, milliseconds.
    pub delay_ms: u64,
    /// Milliseconds that pass in a step, at most.
    pub pace_ms: u64,
    /// What happens.
    pub events: Vec<Event>,
}

impl Plan {
    /// The run of a seed.
    pub fn of(seed: u64) -> Plan {
        if tallies::is_one(seed) {
            return Plan::of_tallies(seed);
        }
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51);
        let sites = [2, 2, 2, 3, 3, 4, 5][random.below(7) as usize];
        let long = seed % LONG_EVERY == LONG_EVERY - 1;
        let timed = seed % FIELDS_EVERY == FIELDS_EVERY - 1 && !long;
        if scenes::is_one(seed) || timed && random.chance(25) {
            return Plan::of_scenes(seed, sites, timed, &mut random);
        }
        let writes = match (long, random.chance(40)) {
            (true, _) => 300 + random.below(1_200),
            (false, true) => 4 + random.below(12),
            (false, false) => 20 + random.below(80),
        };
        let steps = match long {
            true => writes / random.pick(&[1, 2, 4, 8]),
            false => writes * random.pick(&[2, 4, 8, 16, 40]),
        };
        let hosts = (0..sites).map(|_| host(&mut random, timed)).collect::<Vec<_>>();
        let weights = (0..sites).map(|_| pace(&mut random)).collect();
        let mut events = Vec::new();
        let mix = match timed {
            true => Mix::of_fields(&mut random, false),
            false => Mix::of(&mut random, long),
        };
        for number in 0..writes {
            let site = random.below(sites as u64) as usize;
            events.push((random.below(steps), site, write(&mut random, &mix, number)));
        }
        if random.chance(60) {
            let forced = hosts.iter().all(|host| host.force_each);
            for _ in 0..1 + random.below(6) {
                let site = random.below(sites as u64) as usize;
                let fault = fault(&mut random, site, sites, steps, forced);
                events.push((random.below(steps), site, fault));
            }
        }
        // From a sequence of its own, so that runs without races are what they were before there were any.
        let mut racing = Random::new(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0x7a);
        if racing.chance(RACING) && !long {
            let mix = match timed {
                true => Mix::of_fields(&mut racing, false),
                false => Mix::of_races(&mut racing),
            };
            events.extend(races(&mut racing, &mix, sites as u64, (steps, writes)));
        }
        if seed % CRASHES_EVERY == CRASHES_EVERY - 1 {
            events.extend(crashes(seed, sites as u64, steps));
        }
        Plan {
            seed,
            hosts,
            steps,
            weights,
            delay_ms: random.pick(&[0, 2, 10, 50]),
            pace_ms: random.pick(&[1, 2, 5]),
            events: in_order(events),
        }
    }

    fn of_tallies(seed: u64) -> Plan {
        let mut random = tallies::random(seed);
        let sites = random.pick(&[2, 2, 2, 3, 3, 4]);
        let (events, steps) = tallies::events(&mut random, sites);
        Plan {
            seed,
            hosts: (0..sites).map(|_| host(&mut random, false)).collect(),
            steps,
            weights: (0..sites).map(|_| pace(&mut random)).collect(),
            delay_ms: random.pick(&[0, 2, 10]),
            pace_ms: random.pick(&[1, 2]),
            events: in_order(events),
        }
    }

    fn of_scenes(seed: u64, sites: usize, timed: bool, random: &mut Random) -> Plan {
        let late = random.below(sites as u64) as usize;
        let (events, steps) = scenes::scenes(random, (sites as u64, late as u64), timed);
        Plan {
            seed,
            hosts: (0..sites).map(|_| host(random, timed)).collect(),
            steps,
            weights: (0..sites)
                .map(|site| scenes::weights(random, site == late))
                .collect(),
            delay_ms: random.pick(&[0, 2, 10]),
            pace_ms: random.pick(&[1, 2]),
            events: in_order(events),
        }
    }
}

fn in_order(mut events: Vec<(u64, usize, What)>) -> Vec<Event> {
    events.sort_by_key(|(step, site, _)| (*step, *site));
    let event = |(number, (step, site, what))| Event {
        step,
        site,
        what,
        number,
    };
    events.into_iter().enumerate().map(event).collect()
}

/// Writes to a key of their own, some right beside the syncer's transactions, and a database that is late with those.
fn races(random: &mut Random, mix: &Mix, sites: u64, (steps, first): (u64, u64)) -> Vec<(u64, usize, What)> {
    let mut events = Vec::new();
    let mut put = |random: &mut Random, what| {
        events.push((random.below(steps), random.below(sites) as usize, what));
    };
    for number in 0..random.pick(&[3, 6, 12, 30]) {
        let write = match random.chance(40) {
            true => race(random, mix, first + number),
            false => write(random, mix, first + number),
        };
        put(random, write);
    }
    if random.chance(60) {
        let late = What::Busy(1 + random.below(steps.max(2) / 2));
        put(random, late);
    }
    events
}

/// Databases that crash, and come back with all that they held or older than they were; from a sequence of its own.
fn crashes(seed: u64, sites: u64, steps: u64) -> Vec<(u64, usize, What)> {
    let mut random = Random::new(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ 0x33);
    let mut events = Vec::new();
    for _ in 0..random.pick(&[1, 1, 2, 4]) {
        let site = random.below(sites) as usize;
        let step = random.below(steps);
        let away = 1 + random.below(60);
        match random.below(10) {
            0..4 => events.push((step, site, What::Crash(away))),
            4 => events.push((step, site, What::Swap)),
            5..7 => events.push((step, site, What::Gap)),
            _ => {
                events.push((random.below(step + 1), site, What::Save));
                events.push((step, site, What::FallBack(away, random.chance(70))));
            }
        }
    }
    events
}

/// A site; `timed` where the fields of its hashes have to have expiry times.
fn host(random: &mut Random, timed: bool) -> HostSettings {
    let small = random.chance(50);
    let versions: &[Version] = match timed {
        true => &[Version::Redis80, Version::Valkey91],
        false => &[
            Version::Redis70,
            Version::Redis70,
            Version::Redis72,
            Version::Valkey8,
        ],
    };
    HostSettings {
        version: random.pick(versions),
        force_each: random.chance(70),
        remind_ms: random.pick(&[30, 1_000, 1_000_000]),
        segment_bytes: random.pick(&[400, 4_000, 1 << 20]),
        flow: Settings {
            transaction_commands_max: if small { 1 + random.below(4) as usize } else { 512 },
            transaction_bytes_max: if small { 200 } else { 1 << 18 },
            in_flight_bytes_max: random.pick(&[100, 1_000, 1 << 20]),
            replay_max: if small { 3 } else { Settings::default().replay_max },
            ..Settings::default()
        },
        skew_ms: random.pick(&[0, 0, 3, 40, 500]),
        database_skew_ms: random.pick(&[0, 0, 3, 40]),
    }
}

fn pace(random: &mut Random) -> [u64; ACTIONS] {
    let mut weights = [0; ACTIONS];
    for weight in &mut weights {
        *weight = random.pick(&[1, 4, 10, 10, 30]);
    }
    weights
}

pub fn fault(random: &mut Random, site: usize, sites: usize, steps: u64, forced: bool) -> What {
    let mut peer = random.below(sites as u64 - 1) as usize;
    peer += usize::from(peer >= site);
    let long = 1 + random.below(steps.max(2) / 2);
    let short = 1 + random.below(60);
    match random.below(16) {
        0 | 1 => What::Kill(short),
        2 if forced => What::PowerCut(short),
        2 => What::Kill(0),
        3 => What::DropStream,
        4 | 5 => What::DropApply,
        6..=8 => What::Cut(peer, long),
        9 => What::Stall(peer, long),
        10 => What::Freeze(long),
        11 => What::Busy(long),
        12 => What::Refuse(short),
        13 => What::DiskFull(short),
        14 => What::Restart,
        _ => What::Jump(random.below(400) as i64 - 200, random.chance(50)),
    }
}

//! Sites, streams, links and clients under one seed.

mod shipped;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::commands::class_of;
use super::database::{Command, Data, Database, Value};
use super::load::Load;
use super::servers::told;
use crate::causality::{Clock, Dot, SiteIx, Stability, Vector};
use crate::command::FieldTimes;
use crate::command::effect::Effect;
use crate::converge::{
    Arrival, Converge, History, KeyOperation, KeyRepair, Operation, Settled, Took, TxnId, Verdict,
};

/// xorshift64*, enough for a model.
pub(super) struct Random(u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// An operation, and what its site had settled behind it.
type Message = (Option<Dot>, Rc<Vector>);

#[derive(Debug, Clone)]
struct Step {
    fingerprint: u64,
    raw: Bytes,
}

#[derive(Debug, Clone)]
struct Txn {
    id: TxnId,
    marker: Option<Dot>,
    steps: Vec<Step>,
    dump: Vec<u64>,
    read: Vec<u64>,
    times: Vec<u64>,
}

#[derive(Debug)]
enum Entry {
    Local(u64, Bytes),
    Echo {
        txn: Txn,
        effective: Vec<bool>,
        dumps: Vec<(u64, Value)>,
    },
}

struct Site {
    database: Database,
    stream: VecDeque<Entry>,
    queue: VecDeque<Txn>,
    converge: Converge,
    observed: Vector,
    submitted: Vector,
    settled: Settled,
    stability: Stability,
    clock: Clock,
    inbox: Vec<VecDeque<Message>>,
    next_txn: TxnId,
    skew: u64,
    dirty: bool,
}

/// Every operation ever written, and the commands behind raw bytes.
#[derive(Default)]
pub(super) struct Book {
    operations: BTreeMap<Dot, (u64, Operation)>,
    pub commands: BTreeMap<Bytes, Command>,
    values: Vec<Value>,
}

struct Lookup<'a> {
    book: &'a Book,
    observed: Vector,
    me: SiteIx,
    flying: Vec<(Dot, TxnId)>,
}

impl History for Lookup<'_> {
    fn operations(&mut self, dot: Dot, fingerprint: u64) -> Vec<KeyOperation> {
        let (key, operation) = &self.book.operations[&dot];
        assert_eq!(*key, fingerprint);
        vec![KeyOperation {
            db: 0,
            key: name(fingerprint),
            operation: Some(operation.clone()),
            has_derived: false,
        }]
    }

    fn in_flight(&mut self, dot: Dot, _: u64, _: u32, _: &Bytes) -> Option<TxnId> {
        if dot.site == self.me || self.observed.includes(dot) {
            return None;
        }
        Some(self.flying.iter().find(|(flying, _)| *flying == dot).unwrap().1)
    }
}

fn name(fingerprint: u64) -> Bytes {
    Bytes::from(format!("k{fingerprint}"))
}

pub struct World {
    pub(super) random: Random,
    pub(super) load: Load,
    now: u64,
    written: usize,
    pub(super) value: u64,
    sites: Vec<Site>,
    links: Vec<Vec<VecDeque<Message>>>,
    book: Book,
    /// What had been observed before the event that is being handled.
    before: Vector,
}

impl World {
    pub fn new(seed: u64, load: Load) -> World {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let count = usize::from(load.sites);
        let sites = (0..load.sites)
            .map(|at| Site {
                database: Database::default(),
                stream: VecDeque::new(),
                queue: VecDeque::new(),
                converge: {
                    let mut converge = Converge::new(SiteIx(at));
                    converge.set_field_times(FieldTimes::Whole);
                    converge
                },
                observed: Vector::zero(count),
                submitted: Vector::zero(count),
                settled: Settled::default(),
                stability: Stability::new(count),
                clock: Clock::default(),
                inbox: vec![VecDeque::new(); count],
                next_txn: 1,
                skew: random.below(60),
                dirty: false,
            })
            .collect();
        let links = vec![vec![VecDeque::new(); count]; count];
        World {
            random,
            load,
            now: 1000,
            written: 0,
            value: 0,
            sites,
            links,
            book: Book::default(),
            before: Vector::zero(count),
        }
    }

    pub fn run(&mut self) -> Result<(), String> {
        while self.written < self.load.writes {
            self.step(true);
        }
        let mut steps = 0;
        while !self.is_quiet() || (0..self.sites.len()).any(|at| self.ask(at)) {
            self.step(false);
            steps += 1;
            if steps > 300_000 {
                return Err("does not become quiet".to_owned());
            }
        }
        for at in 0..self.sites.len() {
            self.prune(at);
            self.prune(at);
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let first = &self.sites[0].database;
        for site in &self.sites {
            if site.database != *first {
                let all: Vec<_> = self.sites.iter().map(|site| &site.database.keys).collect();
                return Err(format!("diverged: {all:#?}"));
            }
        }
        match self.sites.iter().position(|site| site.converge.unstable() > 0) {
            Some(at) => Err(format!(
                "site {at} has not settled: {:#?}",
                self.sites[at].converge
            )),
            None => Ok(()),
        }
    }

    fn is_quiet(&self) -> bool {
        self.sites
            .iter()
            .all(|site| site.queue.is_empty() && site.stream.is_empty() && !site.dirty)
            && self.links.iter().flatten().all(VecDeque::is_empty)
    }

    fn step(&mut self, writes: bool) {
        self.now += [0, 1, 1, 2][self.random.below(4) as usize];
        let at = self.random.below(self.sites.len() as u64) as usize;
        match self.random.below(100) {
            0..25 if writes => self.write(at),
            0..45 => self.execute(at),
            45..75 => self.read(at),
            75..78 => drop(self.ask(at)),
            _ => self.receive(at),
        }
        for from in 0..self.sites.len() {
            if self.sites[from].dirty && self.random.chance(30) {
                self.sites[from].dirty = false;
                let settled = Rc::new(self.settled(from));
                self.broadcast(from, None, &settled);
            }
        }
    }

    /// Asks for what the site waits for; whether it does.
    fn ask(&mut self, at: usize) -> bool {
        let due = self.sites[at].converge.reminders(1, usize::MAX);
        let any = !due.is_empty();
        for (site, db, key) in due {
            let (_, fingerprint) = std::str::from_utf8(&key).unwrap().split_at(1);
            let fingerprint = fingerprint.parse().unwrap();
            self.before = self.sites[site.at()].observed.clone();
            let repairs = self.with_converge(site.at(), None, |converge, lookup, next| {
                converge.demand_state((fingerprint, db, &key), (SiteIx(at as u8), 0), lookup);
                converge.settle(next)
            });
            self.submit(site.at(), None, repairs);
        }
        any
    }

    fn broadcast(&mut self, from: usize, dot: Option<Dot>, observed: &Rc<Vector>) {
        for to in 0..self.sites.len() {
            if to != from {
                self.links[from][to].push_back((dot, Rc::clone(observed)));
            }
        }
    }

    fn write(&mut self, at: usize) {
        let key = self.random.below(self.load.keys);
        let command = self.command();
        let database = &mut self.sites[at].database;
        let before = database.fields(&name(key));
        if database.execute(&name(key), &command) {
            let command = told(at, command, &before, &database.fields(&name(key)));
            self.written += 1;
            let raw = Bytes::from(format!("local {}", self.book.commands.len()));
            self.book.commands.insert(raw.clone(), command);
            self.sites[at].stream.push_back(Entry::Local(key, raw));
        }
    }

    /// The database executes one transaction of its syncer.
    fn execute(&mut self, at: usize) {
        let Some(txn) = self.sites[at].queue.pop_front() else {
            return;
        };
        let mut effective = Vec::new();
        for step in &txn.steps {
            let command = self.book.command(&step.raw);
            let key = name(step.fingerprint);
            let database = &mut self.sites[at].database;
            let (before, took) = (database.fields(&key), database.execute(&key, &command));
            // What comes back is compared with what was sent.
            let same = told(at, command.clone(), &before, &database.fields(&key)) == command;
            let is_count = matches!(command, Command::Effect(Effect::HashCount { .. }));
            effective.push(took && (same || is_count));
        }
        let database = &self.sites[at].database;
        let dumps = (txn.dump.iter())
            .chain(&txn.read)
            .chain(&txn.times)
            .map(|&key| (key, database.keys.get(&name(key)).cloned()))
            .collect();
        self.sites[at].stream.push_back(Entry::Echo {
            txn,
            effective,
            dumps,
        });
    }

    /// The syncer reads one entry of its stream.
    fn read(&mut self, at: usize) {
        self.before = self.sites[at].observed.clone();
        match self.sites[at].stream.pop_front() {
            None => {}
            Some(Entry::Local(key, raw)) => {
                let effect = match &self.book.commands[&raw] {
                    Command::Effect(effect) => effect.clone(),
                    _ => Effect::Opaque,
                };
                let dot = self.stamp(at, key, effect, raw);
                self.local(at, key, dot);
            }
            Some(Entry::Echo {
                txn,
                effective,
                dumps,
            }) => self.echo(at, txn, &effective, dumps),
        }
    }

    /// Gives a local operation its dot and sends it.
    fn stamp(&mut self, at: usize, key: u64, effect: Effect, raw: Bytes) -> Dot {
        let now = self.now;
        let site = &mut self.sites[at];
        let me = SiteIx(at as u8);
        let past = Rc::new(site.observed.clone());
        let dot = Dot {
            site: me,
            seq: past.get(me) + 1,
        };
        site.observed.advance(me, dot.seq);
        let time = site.clock.tick(now + site.skew);
        self.book.operations.insert(
            dot,
            (
                key,
                Operation {
                    dot,
                    past,
                    time,
                    effect,
                    raw,
                    contested: false,
                    joint: false,
                },
            ),
        );
        let settled = Rc::new(self.settled(at));
        self.broadcast(at, Some(dot), &settled);
        dot
    }

    /// What the site may announce; its own stability follows it.
    fn settled(&mut self, at: usize) -> Vector {
        let site = &mut self.sites[at];
        let settled = site.settled.point(&site.observed);
        site.stability.observe(SiteIx(at as u8), &settled);
        settled
    }

    fn lookup(&self, at: usize, current: Option<(Dot, TxnId)>) -> Lookup<'_> {
        let site = &self.sites[at];
        let mut flying: Vec<(Dot, TxnId)> = current.into_iter().collect();
        let echoes = site.stream.iter().filter_map(|entry| match entry {
            Entry::Echo { txn, .. } => Some(txn),
            Entry::Local(..) => None,
        });
        flying.extend(
            echoes
                .chain(&site.queue)
                .filter_map(|txn| Some((txn.marker?, txn.id))),
        );
        Lookup {
            book: &self.book,
            observed: site.observed.clone(),
            me: SiteIx(at as u8),
            flying,
        }
    }

    fn with_converge<R>(
        &mut self,
        at: usize,
        current: Option<(Dot, TxnId)>,
        run: impl FnOnce(&mut Converge, &mut Lookup<'_>, TxnId) -> R,
    ) -> R {
        let txn = self.sites[at].next_txn;
        let mut converge = std::mem::replace(&mut self.sites[at].converge, Converge::new(SiteIx(0)));
        let result = run(&mut converge, &mut self.lookup(at, current), txn);
        self.sites[at].converge = converge;
        result
    }

    fn local(&mut self, at: usize, key: u64, dot: Dot) {
        let operation = self.book.operations[&dot].1.clone();
        let repairs = self.with_converge(at, None, |converge, lookup, txn| {
            let class = class_of(&operation.effect);
            let arrival = Arrival {
                fingerprint: key,
                dot,
                class,
                past: &operation.past,
            };
            converge.local(arrival, false, lookup);
            converge.settle(txn)
        });
        self.submit(at, None, repairs);
    }

    fn submit(&mut self, at: usize, marker: Option<Dot>, repairs: Vec<KeyRepair>) {
        if marker.is_none() && !repairs.is_empty() {
            let before = self.before.clone();
            let site = &mut self.sites[at];
            site.settled.hold(site.next_txn, &before);
        }
        let mut txn = Txn {
            id: self.sites[at].next_txn,
            marker,
            steps: Vec::new(),
            dump: Vec::new(),
            read: Vec::new(),
            times: Vec::new(),
        };
        for KeyRepair {
            fingerprint, repair, ..
        } in repairs
        {
            txn.steps
                .extend(repair.commands.into_iter().map(|raw| Step { fingerprint, raw }));
            txn.dump.extend(repair.ship_state.then_some(fingerprint));
            txn.read.extend(repair.read.then_some(fingerprint));
            txn.times.extend(repair.tells_time.then_some(fingerprint));
        }
        if marker.is_some()
            || !txn.steps.is_empty()
            || !txn.dump.is_empty()
            || !txn.read.is_empty()
            || !txn.times.is_empty()
        {
            self.sites[at].next_txn += 1;
            self.sites[at].queue.push_back(txn);
        }
    }

    fn echo(&mut self, at: usize, txn: Txn, effective: &[bool], dumps: Vec<(u64, Value)>) {
        let mut keys: Vec<u64> = txn.steps.iter().map(|step| step.fingerprint).collect();
        keys.extend(dumps.iter().map(|(key, _)| *key));
        keys.sort_unstable();
        keys.dedup();
        if let Some(dot) = txn.marker {
            let time = self.book.operations[&dot].1.time.written();
            let site = &mut self.sites[at];
            site.observed.advance(dot.site, dot.seq);
            site.clock.absorb(time);
        }
        let held = self.sites[at].settled.release(txn.id);
        // What was read is not repaired yet.
        if let Some(held) = held.filter(|_| !txn.read.is_empty()) {
            self.before.meet(&held);
        }
        for key in keys {
            let took: Vec<Took> = txn
                .steps
                .iter()
                .zip(effective)
                .filter(|(step, _)| step.fingerprint == key)
                .map(|(_, &effect)| Took {
                    effect,
                    removed: None,
                })
                .collect();
            let state = dumps.iter().find(|(dumped, _)| *dumped == key);
            let place = (key, 0, &name(key));
            let repairs = self.with_converge(at, None, |converge, _, next| {
                converge.echoed(place, txn.id, &took);
                if let Some((_, value)) = state.filter(|_| txn.read.contains(&key)) {
                    match value {
                        None => converge.read(place, Some(&[])),
                        Some((Data::List(list), _)) => converge.read(place, Some(list)),
                        Some(_) => converge.read(place, None),
                    }
                }
                let expires = |value: &Value| value.as_ref().is_some_and(|(_, expiry)| expiry.is_some());
                if state.is_some_and(|(_, value)| txn.times.contains(&key) && !expires(value)) {
                    converge.no_time(place);
                }
                converge.settle(next)
            });
            self.submit(at, None, repairs);
            if let Some((_, value)) = state.filter(|_| txn.dump.contains(&key)) {
                self.ship(at, key, value.clone());
            }
            let expires = state.and_then(|(_, value)| value.as_ref()?.1);
            if let Some(at_ms) = expires.filter(|_| txn.times.contains(&key)) {
                self.tell_time(at, key, at_ms);
            }
        }
        self.sites[at].dirty = true;
    }

    fn receive(&mut self, at: usize) {
        let from = self.random.below(self.sites.len() as u64) as usize;
        let Some(message) = self.links[from][at].pop_front() else {
            return;
        };
        self.sites[at].inbox[from].push_back(message);
        while (0..self.sites.len()).any(|from| self.deliver(at, from)) {}
        self.prune(at);
    }

    /// Takes the next message of one peer if its past has been submitted here.
    fn deliver(&mut self, at: usize, from: usize) -> bool {
        let Some((dot, observed)) = self.sites[at].inbox[from].front().cloned() else {
            return false;
        };
        let origin = SiteIx(from as u8);
        if let Some(dot) = dot {
            let (key, operation) = self.book.operations[&dot].clone();
            let site = &mut self.sites[at];
            let ready = (0..self.load.sites).map(SiteIx).all(|other| {
                other.at() == at || other == origin || operation.past.get(other) <= site.submitted.get(other)
            });
            if !ready {
                return false;
            }
            site.submitted.advance(origin, dot.seq);
            let current = Some((dot, site.next_txn));
            let (verdict, repairs) = self.with_converge(at, current, |converge, lookup, txn| {
                let class = class_of(&operation.effect);
                let arrival = Arrival {
                    fingerprint: key,
                    dot,
                    class,
                    past: &operation.past,
                };
                (converge.remote(arrival, false, lookup), converge.settle(txn))
            });
            match verdict {
                Verdict::Unknown => panic!("there is no disk to fail"),
                Verdict::InConflict | Verdict::Waits => self.submit(at, Some(dot), repairs),
                Verdict::Verbatim => {
                    let steps = vec![Step {
                        fingerprint: key,
                        raw: operation.raw,
                    }];
                    let site = &mut self.sites[at];
                    let txn = Txn {
                        id: site.next_txn,
                        marker: Some(dot),
                        steps,
                        dump: Vec::new(),
                        read: Vec::new(),
                        times: Vec::new(),
                    };
                    site.next_txn += 1;
                    site.queue.push_back(txn);
                }
            }
        }
        self.sites[at].inbox[from].pop_front();
        self.sites[at].stability.observe(origin, &observed);
        true
    }

    fn prune(&mut self, at: usize) {
        self.before = self.sites[at].observed.clone();
        self.settled(at);
        let stable = self.sites[at].stability.stable().clone();
        let repairs = self.with_converge(at, None, |converge, _, next| {
            converge.prune(&stable);
            converge.settle(next)
        });
        self.submit(at, None, repairs);
    }
}

impl World {
    /// Every operation in order of time, for a failure's report.
    pub fn history(&self) -> String {
        let mut operations: Vec<_> = self.book.operations.values().collect();
        operations.sort_by_key(|(_, op)| op.order());
        let lines = operations.iter().map(|(key, op)| {
            let command = self.book.command(&op.raw);
            format!("{} k{key} {:?} {command:?} past {:?}", op.time, op.dot, op.past)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

//! All sites under one seed: at every step, chance decides who does how much of what.

use std::cell::RefCell;
use std::rc::Rc;

use crate::database::Cause;
use crate::host::Host;
use crate::journal::{SharedBook, power_cut};
use crate::net::{Broken, Link};
use crate::plan::{ACTIONS, Event, Order, Plan, What};
use crate::random::Random;

/// Where time begins, Unix milliseconds.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// Rounds in which everything must have come to rest.
const ROUNDS_MAX: u64 = 4_000;
/// Longer than any expiry time that ends within a run, and than any difference of clocks.
const LAST_EXPIRY_MS: u64 = 20_000;

/// What is undone later.
#[derive(Debug, Clone, Copy)]
enum Undo {
    Start,
    Heal(usize),
    Unstall(usize),
    Thaw,
    Idle,
    Accept,
    DiskFree,
    Boot,
}

/// All sites, the links between them, and time.
pub struct World {
    /// What happens.
    pub plan: Plan,
    /// The sites.
    pub hosts: Vec<Host>,
    links: Vec<Vec<Link>>,
    now: u64,
    step: u64,
    undo: Vec<(u64, usize, Undo)>,
    /// Crashes that wait for another one, where, and how often that database had been read as a whole.
    orders: Vec<(usize, u64, Order)>,
    frozen: Vec<bool>,
    busy: Vec<bool>,
    /// Every operation that was logged.
    pub book: SharedBook,
}

impl World {
    /// A run that has not begun.
    pub fn new(plan: Plan) -> World {
        let sites = plan.hosts.len();
        let book = Rc::new(RefCell::default());
        let host = |(at, settings): (usize, &crate::host::HostSettings)| {
            Host::new(at, sites, settings.clone(), &book)
        };
        World {
            hosts: plan.hosts.iter().enumerate().map(host).collect(),
            links: (0..sites)
                .map(|_| (0..sites).map(|_| Link::default()).collect())
                .collect(),
            now: BEGIN_MS,
            step: 0,
            undo: Vec::new(),
            orders: Vec::new(),
            frozen: vec![false; sites],
            busy: vec![false; sites],
            book,
            plan,
        }
    }

    /// Runs to the end and judges.
    pub fn run(&mut self) -> Result<(), String> {
        self.pass(0);
        for at in 0..self.hosts.len() {
            self.hosts[at].start()?;
            self.hosts[at].connect()?;
        }
        let mut events = self.plan.events.clone().into_iter().peekable();
        while self.step < self.plan.steps {
            let mut random = Random::of_step(self.plan.seed, self.step);
            self.pass(random.below(self.plan.pace_ms + 1));
            self.undo_due();
            while let Some(event) = events.next_if(|event| event.step <= self.step) {
                self.happen(&event, &mut random)?;
            }
            for _ in 0..3 {
                self.act(&mut random)?;
            }
            self.step += 1;
        }
        self.rest()?;
        crate::judge::judge(self)
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        for host in &mut self.hosts {
            host.now = self.now + host.settings.skew_ms;
            host.database.now = self.now + host.settings.database_skew_ms;
        }
    }

    /// The link of two sites, and its ends in its order.
    fn link(&mut self, a: usize, b: usize) -> (&mut Link, [&mut Host; 2]) {
        let (low, high) = (a.min(b), a.max(b));
        let (left, right) = self.hosts.split_at_mut(high);
        (&mut self.links[low][high], [&mut left[low], &mut right[0]])
    }

    fn drop_links(&mut self, site: usize) {
        for peer in (0..self.hosts.len()).filter(|peer| *peer != site) {
            let (link, hosts) = self.link(site, peer);
            link.drop(hosts);
        }
    }

    fn later(&mut self, steps: u64, site: usize, undo: Undo) {
        self.undo.push((self.step + steps, site, undo));
    }

    fn happen(&mut self, event: &Event, random: &mut Random) -> Result<(), String> {
        let site = event.site;
        match &event.what {
            What::Write { db, commands, block } => {
                if !self.hosts[site].is_away() {
                    let cause = Cause::Client(event.number);
                    self.hosts[site].database.run(*db, commands, *block, cause);
                }
            }
            What::Race(race) => self.hosts[site].races.push_back((race.clone(), event.number)),
            What::Kill(steps) | What::PowerCut(steps) => {
                self.drop_links(site);
                self.hosts[site].kill();
                if matches!(event.what, What::PowerCut(_)) {
                    power_cut(&self.hosts[site].disks, random);
                }
                self.later(*steps, site, Undo::Start);
            }
            What::DropStream => self.hosts[site].drop_stream(),
            What::DropApply => self.hosts[site].drop_apply(),
            What::Cut(peer, steps) => {
                let (link, hosts) = self.link(site, *peer);
                link.drop(hosts);
                link.cut = true;
                self.later(*steps, site, Undo::Heal(*peer));
            }
            What::Stall(peer, steps) => {
                let end = usize::from(site > *peer);
                self.link(site, *peer).0.stalled[end] = true;
                self.later(*steps, site, Undo::Unstall(*peer));
            }
            What::Freeze(steps) => {
                self.frozen[site] = true;
                self.later(*steps, site, Undo::Thaw);
            }
            What::Busy(steps) => {
                self.busy[site] = true;
                self.later(*steps, site, Undo::Idle);
            }
            What::Refuse(steps) => {
                self.hosts[site].refusing = true;
                self.later(*steps, site, Undo::Accept);
            }
            What::DiskFull(steps) => {
                self.hosts[site].disks.iter().for_each(|disk| disk.set_full(true));
                self.later(*steps, site, Undo::DiskFree);
            }
            What::Restart => self.hosts[site].shut_down(),
            What::Crash(steps) | What::FallBack(steps, _) => {
                let host = &mut self.hosts[site];
                let has_died = match event.what {
                    What::FallBack(_, is_replica) => host.fall_back(is_replica),
                    _ => host.crash(),
                };
                if has_died {
                    self.later(*steps, site, Undo::Boot);
                }
            }
            What::CrashBeside(order) => self.put_order(site, order),
            What::Save => self.hosts[site].save(),
            What::Gap => self.hosts[site].lose_backlog(),
            What::Swap => self.hosts[site].swap(event.number),
            What::Jump(ms, of_database) => {
                self.hosts[site].settings.jump(*ms, *of_database);
                self.pass(0);
            }
        }
        Ok(())
    }

    fn put_order(&mut self, site: usize, order: &Order) {
        let bridged = self.hosts[order.behind].bridged;
        self.orders.push((site, bridged, order.clone()));
    }

    fn undo_due(&mut self) {
        let step = self.step;
        let (due, left) = std::mem::take(&mut self.undo)
            .into_iter()
            .partition(|(at, ..)| *at <= step);
        self.undo = left;
        let due: Vec<(u64, usize, Undo)> = due;
        due.into_iter()
            .for_each(|(_, site, undo)| self.undo_one(site, undo));
    }

    fn undo_one(&mut self, site: usize, undo: Undo) {
        match undo {
            Undo::Start => {}
            Undo::Heal(peer) => self.link(site, peer).0.cut = false,
            Undo::Unstall(peer) => self.link(site, peer).0.stalled = [false; 2],
            Undo::Thaw => self.frozen[site] = false,
            Undo::Idle => self.busy[site] = false,
            Undo::Boot => self.hosts[site].down = false,
            Undo::Accept => self.hosts[site].refusing = false,
            Undo::DiskFree => self.hosts[site]
                .disks
                .iter()
                .for_each(|disk| disk.set_full(false)),
        }
    }

    fn starts_later(&self, site: usize) -> bool {
        self.undo
            .iter()
            .any(|(_, at, undo)| *at == site && matches!(undo, Undo::Start))
    }

    fn act(&mut self, random: &mut Random) -> Result<(), String> {
        let site = random.below(self.hosts.len() as u64) as usize;
        let action = random.weighted(&self.plan.weights[site]);
        if self.frozen[site] && !matches!(action, 2 | 7) {
            return Ok(());
        }
        let most = random.pick(&[1, 2, 5, 40]);
        let bytes = random.pick(&[7, 60, 400, 100_000]);
        match action {
            0 => drop(self.hosts[site].read(bytes)),
            1 => drop(self.hosts[site].gather(most)),
            2 if !self.busy[site] => self.serve(site, most),
            3 => drop(self.hosts[site].receive(bytes)),
            4 => drop(self.receive_links(site, random)?),
            5 => drop(self.send_links(site, random)),
            6 => self.hosts[site].acknowledge(),
            7 if random.chance(30) && !self.hosts[site].down => self.hosts[site].database.expire_cycle(most),
            8 if random.chance(20) => self.hosts[site].keep_house(),
            8 => drop(self.connect(site)?),
            _ => {}
        }
        Ok(())
    }

    /// A database executes what its syncer sends, and dies where it was told to.
    fn serve(&mut self, site: usize, most: usize) {
        let is_due = |(at, bridged, order): &(usize, u64, Order)| {
            *at == site && self.hosts[order.behind].bridged > *bridged
        };
        if let Some(at) = self.orders.iter().position(is_due) {
            self.hosts[site].order = Some(self.orders.remove(at).2);
        }
        self.hosts[site].serve(most);
        if let Some(away) = self.hosts[site].dies_for.take()
            && self.hosts[site].crash()
        {
            self.later(away, site, Undo::Boot);
        }
    }

    fn connect(&mut self, site: usize) -> Result<bool, String> {
        let mut done = false;
        if self.hosts[site].running.is_none() {
            if self.starts_later(site) || self.hosts[site].has_ended {
                return Ok(false);
            }
            self.hosts[site].start()?;
            done = true;
        }
        done |= self.hosts[site].connect()?;
        if self.hosts[site].running.is_none() {
            self.drop_links(site);
            return Ok(done);
        }
        let now = self.now;
        for peer in (0..self.hosts.len()).filter(|peer| *peer != site) {
            let (link, hosts) = self.link(site, peer);
            done |= link.connect(hosts, now);
        }
        Ok(done)
    }

    fn receive_links(&mut self, site: usize, random: &mut Random) -> Result<bool, String> {
        let mut done = false;
        let now = self.now;
        let arrives = now + random.below(self.plan.delay_ms + 1);
        for peer in (0..self.hosts.len()).filter(|peer| *peer != site) {
            if random.chance(30) {
                continue;
            }
            let end = usize::from(site > peer);
            let (link, [low, high]) = self.link(site, peer);
            let received = link.receive(end, if end == 0 { &mut *low } else { &mut *high }, now, arrives);
            match received {
                Ok(some) => done |= some,
                Err(Broken::Log) => {
                    link.drop([low, high]);
                    done = true;
                }
                Err(Broken::Bug(why)) => return Err(format!("link of {site} and {peer}: {why}")),
            }
        }
        Ok(done)
    }

    fn send_links(&mut self, site: usize, random: &mut Random) -> bool {
        let mut done = false;
        for peer in (0..self.hosts.len()).filter(|peer| *peer != site) {
            let arrives = self.now + random.below(self.plan.delay_ms + 1);
            let end = usize::from(site > peer);
            let (link, [low, high]) = self.link(site, peer);
            done |= link.send(end, if end == 0 { low } else { high }, arrives);
        }
        done
    }

    /// Every fault ends; nothing is left to do; what expires soon has expired.
    fn rest(&mut self) -> Result<(), String> {
        self.orders.clear();
        for host in &mut self.hosts {
            host.races.clear();
            host.order = None;
        }
        for (_, site, undo) in std::mem::take(&mut self.undo) {
            self.undo_one(site, undo);
        }
        self.settle()?;
        for _ in 0..3 {
            self.pass(LAST_EXPIRY_MS);
            self.hosts
                .iter_mut()
                .for_each(|host| host.database.expire_cycle(usize::MAX));
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        let mut still = 0;
        for round in 0..ROUNDS_MAX {
            let mut random = Random::of_step(self.plan.seed, self.step + 1_000_000);
            self.step += 1;
            self.pass(1 + random.below(self.plan.delay_ms + 1));
            let done = self.round(&mut random)?;
            let quiet = self.hosts.iter().all(Host::is_quiet) && self.links_are_quiet();
            still = if quiet && !done { still + 1 } else { 0 };
            if still > 3 {
                return Ok(());
            }
            if round % 50 == 49 {
                self.hosts.iter_mut().for_each(Host::keep_house);
            }
        }
        match self.heals_each_other() {
            true => Ok(()),
            false => Err(format!("does not come to rest: {}", self.restless())),
        }
    }

    /// Whether sites whose databases have lost what they held wait for each other's values, as an operator can see.
    pub fn heals_each_other(&self) -> bool {
        let healing = |host: &&Host| {
            host.running
                .as_ref()
                .is_some_and(|it| it.site.healing().is_some())
        };
        self.hosts.iter().filter(healing).count() > 1
    }

    fn restless(&self) -> String {
        let line = |host: &Host| {
            let keys = host.running.as_ref().map(|running| {
                let site = &running.site;
                let names = site.converge().keys();
                let names: Vec<String> = names
                    .map(|key| String::from_utf8_lossy(key.key()).into_owned())
                    .collect();
                (
                    names,
                    site.unanswered(),
                    site.is_applying(),
                    site.converge().keys_in_conflict(),
                    site.counters(),
                )
            });
            format!(
                "site {} quiet {} {keys:?} refused {:?}",
                host.at,
                host.is_quiet(),
                host.refused
            )
        };
        self.hosts.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    fn links_are_quiet(&self) -> bool {
        let sites = self.hosts.len();
        let has_ended = |low: usize, high: usize| self.hosts[low].has_ended || self.hosts[high].has_ended;
        let is_quiet = |low: usize, high: usize| has_ended(low, high) || self.links[low][high].is_quiet();
        (0..sites).all(|low| (low + 1..sites).all(|high| is_quiet(low, high)))
    }

    fn round(&mut self, random: &mut Random) -> Result<bool, String> {
        let mut done = false;
        for site in 0..self.hosts.len() {
            done |= self.connect(site)?;
            for _ in 0..ACTIONS {
                let host = &mut self.hosts[site];
                let (bytes, most) = (random.pick(&[50, 100_000]), random.pick(&[1, 50]));
                done |= match random.below(6) {
                    0 => host.read(bytes),
                    1 => host.gather(most),
                    2 => host.serve(most * 10),
                    3 => host.receive(bytes),
                    4 => self.receive_links(site, random)?,
                    _ => self.send_links(site, random),
                };
            }
            self.hosts[site].acknowledge();
            let host = &mut self.hosts[site];
            done |= host.read(usize::MAX);
            done |= host.gather(usize::MAX);
            done |= host.serve(usize::MAX);
            done |= host.receive(usize::MAX);
            done |= self.receive_links(site, random)?;
            done |= self.send_links(site, random);
        }
        Ok(done)
    }
}

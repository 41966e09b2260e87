//! The demo's acts: warm-up, both sides at once, the cut, the heal, the comparison, the verdict.

use super::super::Failure;
use super::compare::{self, Differences};
use super::screen::Screen;
use super::stop::Stop;
use super::workload::{Load, Tally, Workload, counted};
use super::{DemoArgs, World};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use syncer::control::StatusView;

/// Time for the first connections, caches and batches to settle, shown but not judged.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the sites may take to become equal after the heal.
const CONVERGE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time between two pictures of the live block.
const FRAME: Duration = Duration::from_millis(200);
/// Rates are means over this time.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// Plays all acts. An error if the verdict is bad, or something broke.
pub fn tell(world: &mut World, args: &DemoArgs, stop: &Stop, screen: &mut Screen) -> Result<(), Failure> {
    let mut writers = Vec::new();
    for (site, seed) in world.sites.iter().zip(1..) {
        let load = Load {
            rate: args.rate,
            keys: args.keys,
            seed,
        };
        writers.push(Workload::start(site.server.port, load, stop)?);
    }
    let length = Duration::from_secs(args.seconds);
    let mut stage = Stage {
        writers: &writers,
        rates: Vec::new(),
        stop,
        screen,
    };
    stage.act(world, "warm-up", WARM_UP)?;
    stage.act(world, "both sides write", length)?;
    world.cut();
    stage.act(world, "LINK CUT, both sides write", length)?;
    for writer in &mut writers {
        writer.end()?;
    }
    let apart = differences(world)?;
    screen.say(format!(
        "\nwriting stopped, link still cut: {} of {} keys differ",
        apart.differing, apart.keys
    ))?;
    if apart.differing == 0 {
        screen.say("  (so few writes, or so many keys, that the sites did not collide)")?;
    }
    world.heal();
    let healed = Instant::now();
    let found = stop.wait("the sites are equal", CONVERGE_TIME_MAX, || {
        settled(world).transpose()
    });
    let took = healed.elapsed();
    verdict(world, args, &writers, found, took, screen)
}

/// The live block's surroundings during the acts with writers.
struct Stage<'a> {
    writers: &'a [Workload],
    /// When, and the writes of each site until then; the oldest first.
    rates: Vec<(Instant, Vec<u64>)>,
    stop: &'a Stop,
    screen: &'a mut Screen,
}

impl Stage<'_> {
    /// Shows what happens for so long.
    fn act(&mut self, world: &mut World, name: &str, length: Duration) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < length {
            world.check()?;
            let left = length.saturating_sub(start.elapsed());
            let block = self.block(world, name, left);
            self.screen.show(&block)?;
            self.stop.sleep(FRAME.min(left))?;
        }
        Ok(())
    }

    fn block(&mut self, world: &World, name: &str, left: Duration) -> Vec<String> {
        let now = Instant::now();
        let totals: Vec<u64> = self.writers.iter().map(|w| read(w.tally())).collect();
        self.rates.push((now, totals.clone()));
        // The newest picture that is old enough is what rates are measured against.
        let old = self
            .rates
            .iter()
            .filter(|(at, _)| now.duration_since(*at) >= RATE_SPAN)
            .count();
        self.rates.drain(..old.saturating_sub(1));
        let mut block = vec![
            format!("{name}, {} s left", left.as_secs_f64().ceil()),
            format!(
                "  {:<5}{:>10}{:>12}{:>12}{:>10}{:>12}{:>14}{:>12}",
                "site", "writes/s", "writes", "lag ops", "lag ms", "window ops", "keys at odds", "conflicts"
            ),
        ];
        for (at, site) in world.sites.iter().enumerate() {
            let total = totals.get(at).copied().unwrap_or(0);
            let rate = self.rates.first().map_or(0, |(since, then)| {
                let ms = now.duration_since(*since).as_millis().max(1) as u64;
                total.saturating_sub(then.get(at).copied().unwrap_or(0)) * 1000 / ms
            });
            let status = status_cells(site.status().as_ref());
            block.push(format!("  {:<5}{rate:>10}{total:>12}{status}", site.name));
        }
        block
    }
}

fn read(tally: &Tally) -> u64 {
    tally.writes.load(Ordering::Relaxed)
}

fn status_cells(view: Option<&StatusView>) -> String {
    let Some(view) = view else {
        return "   (no status)".into();
    };
    let operations: u64 = view.peers.iter().map(|peer| peer.lag_operations).sum();
    let ms = view.peers.iter().map(|peer| peer.lag_ms).max().unwrap_or(0);
    let conflicts: u64 = view.conflicts.values().sum();
    let window = view.window;
    format!(
        "{operations:>12}{ms:>10}{:>12}{:>14}{conflicts:>12}",
        window.operations, window.keys_in_conflict
    )
}

fn differences(world: &World) -> Result<Differences, Failure> {
    let [a, b] = &world.sites;
    let (a, b) = (
        compare::contents(&mut a.server.client()?)?,
        compare::contents(&mut b.server.client()?)?,
    );
    Ok(compare::compare(&a, &b))
}

/// The comparison, once the syncers say that nothing is on its way and nothing differs.
fn settled(world: &mut World) -> Result<Option<Differences>, Failure> {
    world.check()?;
    let quiet = |view: StatusView| {
        let window = view.window;
        window.keys_in_conflict + window.keys_waiting == 0 && view.peers.iter().all(|p| p.lag_operations == 0)
    };
    if !world.is_up() || !world.sites.iter().all(|site| site.status().is_some_and(quiet)) {
        return Ok(None);
    }
    let found = differences(world)?;
    Ok((found.differing == 0).then_some(found))
}

/// Says how it went, and fails if it did not go well.
fn verdict(
    world: &World,
    args: &DemoArgs,
    writers: &[Workload],
    settled: Result<Result<Differences, Failure>, Failure>,
    took: Duration,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let converged = matches!(settled, Ok(Ok(_)));
    match settled {
        Ok(Ok(_)) => screen.say(format!(
            "link healed: equal again after {:.2} s\n",
            took.as_secs_f64()
        ))?,
        // An interruption, or a syncer that ended, is its own reason.
        Ok(Err(failure)) => return Err(failure),
        Err(failure) if took < CONVERGE_TIME_MAX => return Err(failure),
        Err(_) => screen.say(format!(
            "link healed: still different after {} s\n",
            took.as_secs()
        ))?,
    }
    let found = differences(world)?;
    screen.say(format!(
        "keys        {} compared, {} differ",
        found.keys, found.differing
    ))?;
    let sum = |of: fn(&Tally) -> i64| writers.iter().map(|writer| of(writer.tally())).sum::<i64>();
    let told = sum(|tally| tally.counted.load(Ordering::Relaxed));
    let refused = sum(|tally| tally.refused.load(Ordering::Relaxed) as i64);
    let [a, b] = &world.sites;
    let a = counted(&mut a.server.client()?, args.keys)?;
    let b = counted(&mut b.server.client()?, args.keys)?;
    screen.say(format!(
        "counters    clients were told {told}; the sum is {a} at a, {b} at b"
    ))?;
    let writes: u64 = writers.iter().map(|writer| read(writer.tally())).sum();
    screen.say(format!("writes      {writes} acknowledged, {refused} refused"))?;
    if converged && found.differing == 0 && a == told && b == told && refused == 0 {
        screen.say("VERDICT     good: both sites hold the same data, every increment counted once")?;
        return Ok(());
    }
    screen.say(format!("VERDICT     BAD\n{found}"))?;
    Err(Failure::new("the sites did not come to hold the same data"))
}

//! `syncer demo`: two sites on this machine, written to on both sides, cut apart, healed and compared.
//!
//! Uses the syncer only as a user would: configuration files, `syncer init`, `syncer run` and the control
//! socket. The databases are ordinary servers; the network between the sites is a forwarder of its own that
//! can be cut. Everything it starts is stopped and removed at its end, whatever the end.

mod client;
mod compare;
mod forwarder;
mod process;
mod screen;
mod server;
mod site;
mod stop;
mod story;
mod workload;

use super::Failure;
use forwarder::Forwarder;
use process::Folder;
use screen::Screen;
use site::Site;
use std::path::Path;
use std::time::Duration;
use stop::Stop;

/// How long the sites may take to find each other.
const JOIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Show two sites converge, on databases of its own
///
/// Starts two databases (redis-server or valkey-server from the PATH) and two syncers on free ports of this
/// machine, with self-signed certificates. Clients write to both sides at once: strings, counters, sets and
/// hashes, on the same keys. Then the link is cut while both sides go on writing; it is healed, and both data
/// sets are compared key by key, and the counters against what the clients were told. The exit code is 0 only
/// if nothing differs.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  syncer demo
  syncer demo --rate 20000 --keys 50       many conflicts
  syncer demo --keep                       afterwards, try it yourself with redis-cli

REDIS_SERVER names the server program, if it is not on the PATH or not the one to be used."
)]
pub struct DemoArgs {
    /// Seconds of writing with the link up, and again with the link cut
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Writes per second at each site
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    rate: u64,

    /// Keys of each type, shared by both sites; fewer keys, more conflicts
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: u64,

    /// Leave both sites running afterwards, until Ctrl-C, and print how to connect
    #[arg(long)]
    keep: bool,
}

/// Two sites and the network between them.
struct World {
    sites: [Site; 2],
    /// What leads to site a and to site b.
    network: [Forwarder; 2],
}

/// Runs the command.
pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let program = server::find()?;
    let mut screen = Screen::new();
    screen.say(format!(
        "databases   two of {} ({})",
        server::version(&program)?,
        program.display()
    ))?;
    let folder = Folder::new()?;
    let mut world = World::build(&program, folder.path(), &stop)?;
    let outcome = world
        .join(&stop, &mut screen)
        .and_then(|()| story::tell(&mut world, args, &stop, &mut screen));
    if outcome.is_err() && !stop.is_set() {
        for site in &world.sites {
            eprint!("{}", site.last_words());
        }
    }
    if args.keep && !stop.is_set() {
        world.keep(&stop, &mut screen)?;
    }
    outcome
}

impl World {
    /// Starts the databases, makes the certificates and exchanges them, and starts the syncers.
    fn build(program: &Path, folder: &Path, stop: &Stop) -> Result<World, Failure> {
        let mut a = Site::prepare("a", program, folder, stop)?;
        let mut b = Site::prepare("b", program, folder, stop)?;
        let network = [
            Forwarder::start(a.link_address())?,
            Forwarder::start(b.link_address())?,
        ];
        a.start(b.name, network[1].address(), &b.certificate())?;
        b.start(a.name, network[0].address(), &a.certificate())?;
        Ok(World {
            sites: [a, b],
            network,
        })
    }

    fn join(&mut self, stop: &Stop, screen: &mut Screen) -> Result<(), Failure> {
        for site in &self.sites {
            let (name, port, link) = (site.name, site.server.port, site.link_address());
            screen.say(format!(
                "site {name}      database 127.0.0.1:{port}, syncer {link}, mutual TLS"
            ))?;
        }
        let up = stop.wait("both sites are connected", JOIN_TIME_MAX, || {
            self.check()
                .map_or_else(|failure| Some(Err(failure)), |()| self.is_up().then_some(Ok(())))
        })?;
        up?;
        screen.say("link        both sites are connected\n")?;
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.sites.iter().all(Site::is_up)
    }

    /// A syncer that ended by itself ends the demo.
    fn check(&mut self) -> Result<(), Failure> {
        match self
            .sites
            .iter_mut()
            .find_map(|site| site.has_ended().then_some(site.name))
        {
            Some(name) => Err(Failure::new(format!("the syncer of site {name} ended by itself"))),
            None => Ok(()),
        }
    }

    fn cut(&self) {
        self.network.iter().for_each(Forwarder::cut);
    }

    fn heal(&self) {
        self.network.iter().for_each(Forwarder::heal);
    }

    /// Waits for Ctrl-C with everything running.
    fn keep(&self, stop: &Stop, screen: &mut Screen) -> Result<(), Failure> {
        screen.say("\nBoth sites go on running. Ctrl-C stops and removes them.")?;
        for site in &self.sites {
            screen.say(format!("  site {}  redis-cli -p {}", site.name, site.server.port))?;
            screen.say(format!("          redis://127.0.0.1:{}", site.server.port))?;
            screen.say(format!(
                "          syncer status --watch --config {}",
                site.config.display()
            ))?;
        }
        while !stop.is_set() {
            // It only fails when the end is asked for.
            let _ = stop.sleep(Duration::from_secs(1));
        }
        Ok(())
    }
}

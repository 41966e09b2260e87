//! Sites in a full mesh, every link through two forwarders (one for each side that dials).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::MARKER_PREFIX;
use super::client::Client;
use super::proxy::{Proxy, Way};
use super::server::{RedisServer, ServerOptions};
use super::site::{PeerEntry, Site};
use super::status::Status;
use super::wait::LONG;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What is decided before the start.
#[derive(Debug)]
pub struct ClusterBuilder {
    servers: Vec<ServerOptions>,
    database_id: String,
    extra: String,
    link: String,
    syncer_user: Option<(String, String)>,
    through_proxy: bool,
    direct_links: bool,
}

impl ClusterBuilder {
    pub fn new(sites: usize) -> Self {
        Self {
            servers: vec![ServerOptions::default(); sites],
            database_id: "orders".into(),
            extra: String::new(),
            link: String::new(),
            syncer_user: None,
            through_proxy: false,
            direct_links: false,
        }
    }

    /// Every database is started like this.
    pub fn servers(mut self, options: &ServerOptions) -> Self {
        self.servers.fill(options.clone());
        self
    }

    /// One database is started like this.
    pub fn server(mut self, site: usize, options: ServerOptions) -> Self {
        self.servers[site] = options;
        self
    }

    /// Sections for the end of every configuration.
    pub fn config(mut self, extra: &str) -> Self {
        self.extra = extra.into();
        self
    }

    /// Lines for the section `[link]` of every configuration.
    pub fn link(mut self, lines: &str) -> Self {
        self.link = lines.into();
        self
    }

    /// The syncers log in as this user, which the servers' options must define.
    pub fn syncer_user(mut self, user: &str, password: &str) -> Self {
        self.syncer_user = Some((user.into(), password.into()));
        self
    }

    /// The syncers reach their databases through forwarders, too.
    pub fn database_proxies(mut self) -> Self {
        self.through_proxy = true;
        self
    }

    /// The links go without forwarders, and cannot be cut: for measurements.
    pub fn direct_links(mut self) -> Self {
        self.direct_links = true;
        self
    }

    /// Databases, certificates and configurations; the syncers are not running yet.
    pub fn prepare(self) -> Cluster {
        let mut sites = Vec::new();
        let mut database_proxies = Vec::new();
        for (options, name) in self.servers.into_iter().zip(NAMES) {
            let mut site = Site::new(name, &self.database_id, RedisServer::start(options));
            site.user = self.syncer_user.clone();
            site.extra = self.extra.clone();
            site.extra_link = self.link.clone();
            if self.through_proxy {
                let proxy = Proxy::start(site.server.port);
                site.database_url = Some(format!("redis://{}", proxy.address()));
                database_proxies.push(proxy);
            }
            site.init();
            sites.push(site);
        }
        let mut links = BTreeMap::new();
        let linked = if self.direct_links { 0 } else { sites.len() };
        for from in 0..linked {
            for to in (0..sites.len()).filter(|&to| to != from) {
                links.insert((from, to), Proxy::start(sites[to].link_port));
            }
        }
        let cluster = Cluster {
            sites,
            database_proxies,
            links,
        };
        for site in 0..cluster.sites.len() {
            cluster.sites[site].write_config(&cluster.peers_of(site));
        }
        cluster
    }

    /// Everything running and connected.
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        for site in &mut cluster.sites {
            site.start();
        }
        cluster.wait_connected();
        cluster
    }
}

/// Sites and the links between them. Sites are numbered from 0 and named a, b, c...
#[derive(Debug)]
pub struct Cluster {
    pub sites: Vec<Site>,
    /// One per site, if the cluster was built with [`ClusterBuilder::database_proxies`].
    pub database_proxies: Vec<Proxy>,
    links: BTreeMap<(usize, usize), Proxy>,
}

impl Cluster {
    /// Sites with databases of the default kind, running and connected.
    pub fn new(sites: usize) -> Self {
        ClusterBuilder::new(sites).start()
    }

    pub fn build(sites: usize) -> ClusterBuilder {
        ClusterBuilder::new(sites)
    }

    /// The peer entries of one site's configuration.
    pub fn peers_of(&self, site: usize) -> Vec<PeerEntry> {
        let others = (0..self.sites.len()).filter(|&other| other != site);
        let entry = |other: usize| PeerEntry {
            site: self.sites[other].name.clone(),
            address: match self.links.get(&(site, other)) {
                Some(proxy) => proxy.address(),
                None => format!("127.0.0.1:{}", self.sites[other].link_port),
            },
            certificate: self.sites[other].certificate_path(),
        };
        others.map(entry).collect()
    }

    pub fn client(&self, site: usize) -> Client {
        self.sites[site].server.client()
    }

    /// Every syncer reads its database and is connected with every peer.
    #[track_caller]
    pub fn wait_connected(&self) {
        for site in &self.sites {
            self.wait_site_connected(site);
        }
    }

    #[track_caller]
    fn wait_site_connected(&self, site: &Site) {
        let others: Vec<_> = self
            .sites
            .iter()
            .filter(|s| s.name != site.name)
            .map(|s| &s.name)
            .collect();
        site.wait_status("database and peers are connected", |status| {
            status.database_is_up() && others.iter().all(|name| status.peer_is_up(name))
        });
    }

    fn pair(&self, one: usize, other: usize) -> [&Proxy; 2] {
        [&self.links[&(one, other)], &self.links[&(other, one)]]
    }

    /// Breaks the link between two sites, whoever dialled it.
    pub fn cut(&self, one: usize, other: usize) {
        self.pair(one, other).into_iter().for_each(Proxy::cut);
    }

    /// Resets the connections between two sites once; they may connect again at once.
    pub fn drop_connections(&self, one: usize, other: usize) {
        self.pair(one, other)
            .into_iter()
            .for_each(Proxy::drop_connections);
    }

    /// A black hole between two sites: connections stay open, nothing passes.
    pub fn stall(&self, one: usize, other: usize) {
        for proxy in self.pair(one, other) {
            proxy.stall(Way::There);
            proxy.stall(Way::Back);
        }
    }

    /// Nothing passes from `from` to `to`; the other direction works.
    pub fn stall_one_way(&self, from: usize, to: usize) {
        self.links[&(from, to)].stall(Way::There);
        self.links[&(to, from)].stall(Way::Back);
    }

    /// Ends [`Cluster::stall_one_way`].
    pub fn release_one_way(&self, from: usize, to: usize) {
        self.links[&(from, to)].release(Way::There);
        self.links[&(to, from)].release(Way::Back);
    }

    pub fn delay(&self, one: usize, other: usize, delay: Duration) {
        for proxy in self.pair(one, other) {
            proxy.delay(Way::There, delay);
            proxy.delay(Way::Back, delay);
        }
    }

    pub fn heal(&self, one: usize, other: usize) {
        self.pair(one, other).into_iter().for_each(Proxy::heal);
    }

    /// Cuts every link.
    pub fn cut_all(&self) {
        self.links.values().for_each(Proxy::cut);
    }

    /// Ends every fault of every link and forwarder.
    pub fn heal_all(&self) {
        self.links
            .values()
            .chain(&self.database_proxies)
            .for_each(Proxy::heal);
    }

    /// Every syncer has read all that its database has executed so far.
    #[track_caller]
    pub fn wait_read(&self) {
        for site in &self.sites {
            site.wait_read();
        }
    }

    /// Waits until nothing is on its way anywhere: every stream read to its end, every window empty, no lag,
    /// and the streams not growing meanwhile.
    #[track_caller]
    pub fn quiet(&self) {
        self.quiet_within(LONG);
    }

    #[track_caller]
    pub fn quiet_within(&self, deadline: Duration) {
        let start = Instant::now();
        let mut seen = Vec::new();
        while !self.is_quiet(&mut seen) {
            assert!(
                start.elapsed() < deadline,
                "not quiet after {deadline:?}:\n{}",
                seen.join("\n")
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// One look at all sites; what was seen is kept for the message.
    fn is_quiet(&self, seen: &mut Vec<String>) -> bool {
        seen.clear();
        let offsets: Vec<_> = self.sites.iter().map(|s| s.server.offset()).collect();
        let mut quiet = true;
        // Twice, because an acknowledgement may be on its way between two sites that were asked in turn.
        for (site, &offset) in self
            .sites
            .iter()
            .zip(&offsets)
            .chain(self.sites.iter().zip(&offsets))
        {
            let status = site.status();
            quiet &= status
                .as_ref()
                .is_some_and(|s| s.number("database.offset") >= offset && s.is_quiet() && is_marked(site, s));
            let status = status.map_or("no status".into(), |s| s.0.to_string());
            seen.push(format!("{} at {offset}: {status}", site.name));
            if !quiet {
                return false;
            }
        }
        let after: Vec<_> = self.sites.iter().map(|s| s.server.offset()).collect();
        seen.push(format!("offsets {offsets:?}, then {after:?}"));
        after
            .iter()
            .zip(&offsets)
            .all(|(after, before)| is_pings(after - before))
    }

    /// Waits for quiet and compares the data of all sites.
    #[track_caller]
    pub fn converge(&self) {
        self.quiet();
        super::compare::compare(self);
    }

    /// Waits until a key reads like this at one site.
    #[track_caller]
    pub fn wait_value(&self, site: usize, line: &str, expected: &str) {
        let mut client = self.client(site);
        let start = Instant::now();
        loop {
            let last = client.run(line).text();
            if last == expected {
                return;
            }
            let name = &self.sites[site].name;
            assert!(
                start.elapsed() < LONG,
                "{line} is {last:?} at {name}, expected {expected:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The mark of what was captured last has been written, which happens at most ten times a second. It is in database 0
/// unless a SWAPDB moved it.
fn is_marked(site: &Site, status: &Status) -> bool {
    let captured = status.last_seq(&site.name);
    let key = [MARKER_PREFIX, site.name.as_bytes(), b":captured"].concat();
    let mut client = site.server.client();
    let mut is_in = |db: u8| {
        client.ok(&format!("SELECT {db}"));
        let mark = client.args(&[b"GET".as_slice(), &key]);
        mark.bytes() == Some(captured.to_string().as_bytes())
    };
    captured == 0 || (0..16).any(&mut is_in)
}

/// A stream grows by PINGs of 14 bytes even when nobody writes.
pub fn is_pings(grown: u64) -> bool {
    grown.is_multiple_of(14) && grown <= 14 * 3
}

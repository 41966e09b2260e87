//! Putting a syncer together, and taking it down.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};

use super::certificates::Keeper;
use super::connections::{Connection, Connections};
use super::identity::LinkIdentity;
use super::joining::Host;
use super::links::Links;
use super::logs::Logs;
use super::peer_flow::ACK_PAUSE;
use super::shared::{DatabaseState, Node, PeerLink, Shared, now_unix_ms};
use super::{applier, certificates, healing, reminders, source, status};
use crate::causality::{Roster, RosterError, SiteId};
use crate::config::{FlushPolicy, LogSync, ModulePolicy, Secret, Settings, SwapPolicy};
use crate::control::{self, ClusterRequest, Request, Response};
use crate::converge::io::FileSpill;
use crate::database::io::DbTls;
use crate::database::{Url, UrlError};
use crate::flow::{Journal, Site};
use crate::joining::Desk;
use crate::link::{Local, Session};

/// Between two marks behind own operations.
const MARK_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// How long answers that are under way may take when a round is over.
const ANSWER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Why a syncer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sites.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The database's address.
    #[error("database: {0}")]
    Url(#[from] UrlError),
    /// The logs.
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    /// The window's files.
    #[error("the window's directory {} cannot be made: {error}", dir.display())]
    Window {
        /// Where.
        dir: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] crate::certs::Error),
    /// The names in the certificates.
    #[error(transparent)]
    Identity(#[from] crate::certs::IdentityError),
    /// The address to listen on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// As configured.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The peers that joined.
    #[error(transparent)]
    Peers(#[from] super::peers::PeersError),
    /// A new site has not joined everybody.
    #[error(
        "site {0} shares the database, too, and has not been joined: get an invitation from it and use it here          (`syncer join`), before the first start"
    )]
    Unjoined(SiteId),
    /// Going on would do harm.
    #[error("{0}")]
    Fatal(String),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] control::io::Error),
    /// The system.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// TLS to the database, as configured.
pub(super) fn database_tls(settings: &Settings) -> Option<DbTls> {
    settings.database.tls.as_ref().map(|tls| DbTls {
        ca_file: tls.ca_file.clone(),
        client: tls.client.clone(),
        server_name: tls.server_name.clone(),
    })
}

/// A session with a peer whose certificate has been judged.
pub(super) fn session(shared: &Shared, connection: &Connection, incarnation: u64) -> Session {
    let local = Local {
        database_id: shared.settings.database_id.clone(),
        site: shared.settings.site,
        incarnation,
        takes_over: connection.takes_over(),
        heartbeat_ms: millis(shared.settings.link.heartbeat),
        timeout_ms: millis(shared.settings.link.timeout),
    };
    Session::new(local, connection.site, 0)
}

/// Runs the syncer of a site until it is told to stop. When a peer has come or gone, or the database has come back older
/// than it was, it ends in order and begins anew, in the same process.
///
/// # Errors
/// It cannot start. Once it runs, everything that fails is tried again.
pub fn run(settings: &Settings, password: Option<&Secret>, agreed: bool) -> Result<(), Error> {
    let _lock = crate::log::io::lock(&settings.data_dir)?;
    // Keys and passwords are in memory: no core file gets them, and no other process of this user reads them there.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "a crash may write keys into a core file");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let desk = Rc::default();
        let mut agreed = agreed;
        loop {
            // With it go all tasks of a round, and everything that they hold.
            let tasks = LocalSet::new();
            let round = serve(settings, password.cloned(), agreed, &desk, &mut stop);
            match tasks.run_until(round).await? {
                Ended::Told => return Ok(()),
                Ended::Again { is_agreed } => agreed = is_agreed,
            }
        }
    })
}

/// Why a round is over.
enum Ended {
    /// The syncer was told to stop.
    Told,
    /// It goes on as after a restart: the peers are others now, or the database is. The operator's word has not been used up.
    Again { is_agreed: bool },
}

/// The signals that end a syncer. They are heard between two rounds, too.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(
    configured: &Settings,
    password: Option<Secret>,
    agreed: bool,
    desk: &Rc<RefCell<Desk>>,
    stop: &mut Stop,
) -> Result<Ended, Error> {
    let Parts {
        shared,
        links,
        certificates,
        listener,
    } = build(configured, password, agreed, desk).await?;
    let (answered, answering) = control_socket(&shared, &certificates, &links.host)?;
    tokio::task::spawn_local(source::run(Rc::clone(&shared)));
    tokio::task::spawn_local(applier::run(Rc::clone(&shared)));
    tokio::task::spawn_local(acknowledge(Rc::clone(&shared)));
    tokio::task::spawn_local(deliver(Rc::clone(&shared)));
    tokio::task::spawn_local(mark(Rc::clone(&shared)));
    tokio::task::spawn_local(housekeeping(Rc::clone(&shared)));
    tokio::task::spawn_local(Rc::clone(&links).accept(listener));
    tokio::task::spawn_local(Rc::clone(&links).review());
    tokio::task::spawn_local(certificates.watch());
    for peer in &shared.settings.peers {
        let site = shared.node.borrow().site.roster().find(peer.site);
        if let Some(site) = site {
            tokio::task::spawn_local(Rc::clone(&links).dial(site, peer.address.clone()));
        }
    }
    let ended = tokio::select! {
        () = stop.told() => Ended::Told,
        () = shared.again.notified() => Ended::Again { is_agreed: shared.agreed.get() },
        () = shared.ending.notified() => {
            return Err(Error::Fatal(shared.fatal.borrow_mut().take().unwrap_or_default()));
        }
    };
    if let Ended::Again { .. } = ended {
        tracing::info!("going on as after a restart");
        // Who asked for it waits for the answer.
        answered.notify_one();
        let _ = tokio::time::timeout(ANSWER_TIME_MAX, answering).await;
    } else {
        tracing::info!("stopping");
    }
    shared.keep_position();
    match shared.node.borrow_mut().site.journal_mut().sync_now() {
        Ok(()) => super::boot::forget(&shared.settings.data_dir),
        Err(error) => tracing::warn!(%error, "the log could not be forced to disk"),
    }
    Ok(ended)
}

/// Answers on the control socket, until told not to; then waits for the answers that are under way.
fn control_socket(
    shared: &Rc<Shared>,
    certificates: &Rc<Keeper>,
    host: &Rc<Host>,
) -> Result<(Rc<Notify>, JoinHandle<()>), Error> {
    let server = control::io::Server::bind(&shared.settings.control_socket())?;
    let (shared, keeper, host) = (Rc::clone(shared), Rc::clone(certificates), Rc::clone(host));
    let answered = Rc::new(Notify::new());
    let answer = async move |request| match request {
        Request::Status => {
            let certificates = keeper.view();
            Response::Status(Box::new(status::view(&shared, certificates)))
        }
        Request::Overrule { site } => reminders::overrule(&shared, &site),
        Request::Invite { address, valid_s } => host.invite(address, valid_s),
        Request::Cluster(
            request @ (ClusterRequest::PeerList
            | ClusterRequest::PeerRemove { .. }
            | ClusterRequest::InvitationWithdraw),
        ) => host.answer(&request),
        Request::Cluster(request) => keeper.answer(request).await,
    };
    let answering = tokio::task::spawn_local(server.serve(Rc::clone(&answered), answer));
    Ok((answered, answering))
}

/// A syncer that is about to run.
struct Parts {
    shared: Rc<Shared>,
    links: Rc<Links>,
    certificates: Rc<Keeper>,
    listener: TcpListener,
}

async fn build(
    configured: &Settings,
    password: Option<Secret>,
    agreed: bool,
    desk: &Rc<RefCell<Desk>>,
) -> Result<Parts, Error> {
    let (settings, unjoined) = super::peers::with_joined(configured)?;
    let peers: Vec<SiteId> = settings.peers.iter().map(|peer| peer.site).collect();
    let roster = Roster::new(settings.site, &peers)?;
    let mut url = Url::parse(settings.database.url.expose())?;
    url.password = password.or(url.password);
    let (sources, material) = certificates::load(&settings)?;
    let address = settings.link.listen.clone();
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| Error::Listen { address, error })?;
    let writer = incarnation();
    let site = open_site(&settings, &roster, writer, agreed)?;
    // Later it could not be made good: what the others have seen of them would be in nobody's past here.
    if let (None, Some(unjoined)) = (site.source(), unjoined.first()) {
        return Err(Error::Unjoined(*unjoined));
    }
    tracing::info!(site = %settings.site, database_id = %settings.database_id, listen = %settings.link.listen,
        fingerprint = %material.own.fingerprint(), "syncer started");
    let node = Node {
        site,
        database: DatabaseState::default(),
        peers: vec![PeerLink::default(); roster.count()],
        captured: crate::capture::Counters::default(),
    };
    let shared = Rc::new(Shared {
        url,
        heals: Cell::new(node.site.healing().is_some()),
        agreed: Cell::new(agreed),
        started: Instant::now(),
        node: RefCell::new(node),
        apply: Notify::new(),
        fence: Cell::default(),
        asks_again: Cell::default(),
        applying: Cell::default(),
        stream: Notify::new(),
        links: roster.all().map(|_| RefCell::default()).collect(),
        moved: Notify::new(),
        ready: Notify::new(),
        doorway: Rc::default(),
        fatal: RefCell::default(),
        ending: Notify::new(),
        again: Notify::new(),
        conflicts: RefCell::default(),
        configured: configured.clone(),
        settings,
    });
    let (identity, receiver) = LinkIdentity::new(material.tls.clone(), shared.settings.link.connect_timeout);
    let connections = Rc::new(Connections::new(Rc::clone(&shared), identity.board()));
    let certificates = Rc::new(Keeper::new(sources, material, identity));
    let host = Host::new(Rc::clone(&shared), Rc::clone(&certificates), Rc::clone(desk));
    let links = Links {
        connections,
        shared: Rc::clone(&shared),
        identity: receiver,
        host: Rc::new(host),
        incarnation: writer,
    };
    Ok(Parts {
        shared,
        links: Rc::new(links),
        certificates,
        listener,
    })
}

pub(super) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number that no earlier run of this site had: when it began, in nanoseconds.
fn incarnation() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn open_site(settings: &Settings, roster: &Roster, writer: u64, agreed: bool) -> Result<Site<Logs>, Error> {
    let log = crate::log::Settings {
        segment_bytes: settings.log.segment_bytes,
        ..crate::log::Settings::default()
    };
    let (logs, position) = Logs::open(
        &settings.data_dir.join("log"),
        &settings.database_id,
        roster,
        &log,
        settings.log.sync == LogSync::Always,
    )?;
    let flow = crate::flow::Settings {
        transaction_commands_max: usize::try_from(settings.apply.transaction_commands_max)
            .unwrap_or(usize::MAX),
        transaction_bytes_max: usize::try_from(settings.apply.transaction_bytes_max).unwrap_or(usize::MAX),
        in_flight_bytes_max: usize::try_from(settings.apply.in_flight_bytes_max).unwrap_or(usize::MAX),
        propagate_flush: settings.flush == FlushPolicy::Propagate,
        swap_by_snapshot: settings.swapdb == SwapPolicy::Snapshot,
        restore_modules: settings.restore_modules == ModulePolicy::Allow,
        ..crate::flow::Settings::default()
    };
    let mut site = Site::new(roster.clone(), &settings.database_id, writer, flow, logs);
    let memory_max = usize::try_from(settings.window.memory_max).unwrap_or(usize::MAX);
    let dir = settings.data_dir.join("window");
    let disk = FileSpill::begin(&dir).map_err(|error| Error::Window { dir, error })?;
    site.spill_to(Box::new(disk), memory_max);
    site.set_time(now_unix_ms());
    if let Some(position) = position {
        let named = |(site, seq)| format!("{} {seq}", roster.name(site));
        let observed: Vec<String> = position.observed.entries().map(named).collect();
        tracing::info!(offset = position.source.offset, observed = %observed.join(", "), "going on from the log");
        site.recover(
            Some(position.source),
            &position.observed,
            &position.stable,
            position.time,
        );
        site.recover_marked(position.marked);
    }
    healing::go_on(&mut site, settings, agreed).map_err(Error::Fatal)?;
    if super::boot::went_down(&settings.data_dir) && settings.log.sync != LogSync::Always {
        tracing::warn!("the machine went down while the syncer ran: the own log's end is asked of the peers");
        site.begin_restore();
    }
    super::boot::note(&settings.data_dir);
    Ok(site)
}

/// Keeps what was observed and tells the others, many observations at a time. A database that ends has no stream
/// from before its start: what it has been told must be there to go on from.
async fn acknowledge(shared: Rc<Shared>) {
    loop {
        shared.moved.notified().await;
        tokio::time::sleep(ACK_PAUSE).await;
        shared.end_at_fault();
        shared.keep_position();
        let losses = shared.node.borrow_mut().site.take_losses();
        super::conflicts::write(&shared, losses);
        shared.node.borrow_mut().site.prune();
        shared.apply.notify_one();
        shared.wake_links();
    }
}

/// Delivers what was left, after everybody else who waits for this thread.
async fn deliver(shared: Rc<Shared>) {
    loop {
        shared.ready.notified().await;
        tokio::task::yield_now().await;
        shared.advance();
    }
}

/// Puts a mark behind what was captured, ten times a second at most.
async fn mark(shared: Rc<Shared>) {
    let mut ticks = tokio::time::interval(MARK_PAUSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_marked = shared.node.borrow_mut().site.mark();
        if is_marked {
            shared.apply.notify_one();
        }
    }
}

/// Once a second: keeps the position, forces the logs to disk, and removes what nobody needs any more.
async fn housekeeping(shared: Rc<Shared>) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut kept = None;
    loop {
        ticks.tick().await;
        shared.end_at_fault();
        let now = {
            let node = shared.node.borrow();
            (node.site.source(), node.site.stable().clone())
        };
        if kept.as_ref() != Some(&now) {
            shared.keep_position();
            kept = Some(now);
        }
        if shared.settings.log.sync != LogSync::Never {
            shared.node.borrow_mut().site.journal_mut().request_sync();
        }
        trim(&shared);
        healing::finish(&shared);
        reminders::remind(&shared);
    }
}

/// Own operations stay until every site holds them, all until they are stable and nothing unstable is concurrent with
/// them, and some slack behind that.
/// A log over its maximum is cut all the same: the site that has not kept up will need a snapshot.
fn trim(shared: &Shared) {
    let mut node = shared.node.borrow_mut();
    let site = &mut node.site;
    // It takes a look into the logs, and most of the time there is nothing to remove.
    let mut needed = None;
    for origin in site.roster().clone().all() {
        let bytes = site.journal().bytes(origin);
        if bytes <= shared.settings.log.slack_bytes {
            continue;
        }
        let over = bytes > shared.settings.log.bytes_max;
        let below = if over {
            let first = site.journal().first(origin);
            first + (site.journal().last(origin).saturating_sub(first)) / 4
        } else {
            let needed = needed.get_or_insert_with(|| site.needed_from());
            needed.get(origin) + 1
        };
        if over {
            tracing::warn!(origin = %site.roster().name(origin), "the log is over its maximum and is cut");
        }
        if let Err(error) = site.journal_mut().trim(origin, below) {
            tracing::error!(%error, "the log cannot be trimmed");
        }
    }
}

//! The tasks that hold the links to the other sites.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::CommonState;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

use super::connections::{Connection, Connections, REPLACED};
use super::doorway::Guest;
use super::identity::Generation;
use super::joining::{Host, TalkError};
use super::peer_flow::PeerFlow;
use super::shared::Shared;
use crate::causality::{SiteId, SiteIx};
use crate::certs::io::{self as handshake, Arrival, HandshakeError};
use crate::certs::{LinkTls, PeerRefused};
use crate::link::io::Closed;

/// Read from the socket at once. TLS by itself asks for 4 KiB, a quarter of one of its records.
const READ_BYTES: usize = 64 * 1024;
/// How often the certificates of the links that are up are looked at again.
const REVIEW_PAUSE: Duration = Duration::from_secs(1);
/// How often a link that is up is looked at by the task that would dial it.
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// A link that was up so long is dialed at once when it goes down.
const STEADY: Duration = Duration::from_secs(5);

/// Everything the link tasks need.
pub(super) struct Links {
    pub shared: Rc<Shared>,
    pub connections: Rc<Connections>,
    pub identity: watch::Receiver<Generation>,
    pub host: Rc<Host>,
    pub incarnation: u64,
}

/// Why no link came about, or why it is over.
struct Down {
    /// A fixed word, if somebody refused somebody.
    reason: Option<&'static str>,
    /// For people.
    why: String,
}

impl From<HandshakeError> for Down {
    fn from(error: HandshakeError) -> Down {
        Down {
            reason: Some(match &error {
                HandshakeError::Refused(refused) => refused.label(),
                HandshakeError::NotAPeer(_) => "unknown_site",
                HandshakeError::Closed => "handshake_closed",
                HandshakeError::TimedOut(_) => "handshake_slow",
                HandshakeError::Socket(_) => "handshake_broken",
            }),
            why: error.to_string(),
        }
    }
}

impl From<TalkError> for Down {
    fn from(error: TalkError) -> Down {
        Down {
            reason: Some(error.label()),
            why: format!("a site with an invitation: {error}"),
        }
    }
}

impl Links {
    /// Accepts peers for ever.
    pub async fn accept(self: Rc<Self>, listener: TcpListener) {
        loop {
            let (socket, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(guest) = self.shared.doorway.enter(address.ip()) else {
                let why = "too many connections that have not proven who they are";
                self.shared.doorway.refuse("too_many", &address.to_string(), why);
                continue;
            };
            let links = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                let Err(down) = links.accepted(socket, guest).await else {
                    return;
                };
                // Both sides dialed: nobody did wrong.
                if !down.why.contains(REPLACED) {
                    let reason = down.reason.unwrap_or("left");
                    links
                        .shared
                        .doorway
                        .refuse(reason, &address.to_string(), &down.why);
                    links.connections.board.refused(&down.why);
                }
            });
        }
    }

    async fn accepted(self: &Rc<Self>, socket: TcpStream, guest: Guest) -> Result<(), Down> {
        let _ = socket.set_nodelay(true);
        let timeout = self.shared.settings.link.connect_timeout;
        let socket = BufReader::with_capacity(READ_BYTES, socket);
        let Generation { number, tls } = self.identity.borrow().clone();
        let (stream, site) = match self.host.door() {
            None => handshake::accept(&tls, socket, timeout).await?,
            Some(door) => match handshake::accept_guests(&tls, door, socket, timeout).await? {
                Arrival::Peer(stream, site) => (stream, site),
                Arrival::Guest(stream) => {
                    let shown = chain(stream.get_ref().1);
                    return self.host.receive(stream, &shown).await.map_err(Down::from);
                }
            },
        };
        let peer = self.shared.node.borrow().site.roster().find(site);
        let peer = peer.ok_or_else(|| HandshakeError::from(PeerRefused::UnknownSite(site)))?;
        let chain = chain(stream.get_ref().1);
        let connection = Connection::new((peer, site), false, number, chain, None);
        let connection = Rc::new(connection);
        let held = self.hold(stream, &connection, Some(guest)).await;
        match held {
            // A link that was up is a matter of its peer, not of the port.
            Err(down) if connection.is_established() => {
                self.failed(peer, number, false, &down);
                Ok(())
            }
            held => held,
        }
    }

    /// Dials one peer for ever: whenever there is no link with it, and anew when our identity or the peer's has changed.
    pub async fn dial(self: Rc<Self>, peer: SiteIx, address: String) {
        let mut identity = self.identity.clone();
        let mut attempt = 0;
        let mut up_since = None;
        loop {
            let target = self.connections.to_move(peer);
            if target.is_none() && self.connections.of(peer).is_some() {
                let since = up_since.get_or_insert_with(Instant::now);
                if since.elapsed() > STEADY {
                    attempt = 0;
                }
                tokio::select! {
                    // Who did not dial asks the peer to dial anew.
                    _ = identity.changed() => self.shared.links[peer.at()].borrow().notify_one(),
                    () = self.connections.dial[peer.at()].notified() => {}
                    () = tokio::time::sleep(DIAL_PAUSE) => {}
                }
                continue;
            }
            if attempt > 0 {
                // The site's name spreads the attempts of two sites that dial each other.
                let spread = u64::from(peer.0) * 7 % 50;
                let pause = crate::capture::backoff_ms(attempt - 1, 100, 5_000) + spread;
                tokio::select! {
                    _ = identity.changed() => attempt = 0,
                    () = tokio::time::sleep(Duration::from_millis(pause)) => {}
                }
                // A peer may have come meanwhile.
                if self.connections.of(peer).is_some() != target.is_some() {
                    continue;
                }
            }
            up_since = None;
            let has_moved = self.dial_once(peer, &address, target.as_ref()).await && target.is_some();
            attempt = if has_moved { 0 } else { attempt + 1 };
        }
    }

    /// Whether the greeting went through; the session then goes on in a task of its own.
    async fn dial_once(
        self: &Rc<Self>,
        peer: SiteIx,
        address: &str,
        target: Option<&Rc<Connection>>,
    ) -> bool {
        let Generation { number, tls } = self.identity.borrow().clone();
        let site = self.shared.node.borrow().site.roster().name(peer);
        let stream = match self.reach(&tls, site, address).await {
            Ok(stream) => stream,
            Err(down) => {
                self.failed(peer, number, target.is_some(), &down);
                return false;
            }
        };
        let chain = chain(stream.get_ref().1);
        let connection = Rc::new(Connection::new((peer, site), true, number, chain, target));
        let (links, held) = (Rc::clone(self), Rc::clone(&connection));
        tokio::task::spawn_local(async move {
            if let Err(down) = links.hold(stream, &held, None).await {
                links.failed(peer, number, held.takes_over() && !held.is_established(), &down);
            }
        });
        connection.greeted().await
    }

    async fn reach(
        &self,
        tls: &LinkTls,
        site: SiteId,
        address: &str,
    ) -> Result<TlsStream<BufReader<TcpStream>>, Down> {
        let timeout = self.shared.settings.link.connect_timeout;
        let unreachable = |why: String| Down { reason: None, why };
        let socket = tokio::time::timeout(timeout, TcpStream::connect(address))
            .await
            .map_err(|_| unreachable(format!("{address} does not answer")))?
            .map_err(|error| unreachable(format!("{address}: {error}")))?;
        let _ = socket.set_nodelay(true);
        let socket = BufReader::with_capacity(READ_BYTES, socket);
        let stream = handshake::dial(tls, site, socket, timeout).await;
        stream.map_err(|error| Down {
            why: format!("{address}: {error}"),
            ..Down::from(error)
        })
    }

    /// A link is down, or could not move.
    fn failed(&self, peer: SiteIx, generation: u64, was_move: bool, down: &Down) {
        let site = self.shared.node.borrow().site.roster().name(peer);
        self.connections.board.failed(site, generation, &down.why);
        if down.why.contains(REPLACED) {
            return;
        }
        if let Some(reason) = down.reason {
            self.shared.doorway.count(reason);
        }
        let mut node = self.shared.node.borrow_mut();
        let link = &mut node.peers[peer.at()];
        if link.last_error.as_deref() != Some(&down.why) {
            match was_move {
                true => {
                    tracing::warn!(peer = %site, error = %down.why, "the link could not move to a new connection")
                }
                false => tracing::warn!(peer = %site, error = %down.why, "link down"),
            }
        }
        link.last_error = Some(down.why.clone());
    }

    /// Holds a connection until it is over. `Ok` if a newer one goes on where it ended.
    async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Rc<Self>,
        stream: S,
        connection: &Rc<Connection>,
        guest: Option<Guest>,
    ) -> Result<(), Down> {
        let session = super::start::session(&self.shared, connection, self.incarnation);
        let flow = PeerFlow::new(
            Rc::clone(&self.shared),
            Rc::clone(&self.connections),
            Rc::clone(connection),
            guest,
        );
        let flow = RefCell::new(flow);
        let mut counters = crate::link::Counters::default();
        let closed = crate::link::io::run(stream, session, &flow, &connection.wake, &mut counters).await;
        self.connections.ended(connection);
        let reason = match &closed {
            Closed::Moved => return Ok(()),
            Closed::Refused(refused) => Some(refused.label()),
            Closed::Engine(_) => flow.borrow().refused(),
            // With TLS 1.3 a peer's refusal of our certificate arrives at the first read.
            Closed::Broken(error) => match handshake::meaning(error) {
                HandshakeError::Refused(refused) => Some(refused.label()),
                _ => None,
            },
            Closed::ByPeer(_) | Closed::End => None,
        };
        Err(Down {
            reason,
            why: closed.to_string(),
        })
    }

    /// Ends, for ever, links whose peer's certificate is not accepted any more, once it has had time to show another one.
    pub async fn review(self: Rc<Self>) {
        let patience = self.shared.settings.link.certificate_timeout;
        loop {
            tokio::time::sleep(REVIEW_PAUSE).await;
            let tls = self.identity.borrow().tls.clone();
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = UnixTime::since_unix_epoch(since);
            for connection in self.connections.all() {
                let Some((leaf, others)) = connection.chain.split_first() else {
                    continue;
                };
                let site = Some(connection.site);
                let refused = tls
                    .trust()
                    .verify(leaf, others, connection.role(), site, now)
                    .err();
                let since = connection.unacceptable_since(refused.is_some());
                let (Some(refused), Some(since)) = (refused, since) else {
                    continue;
                };
                if since.elapsed() >= patience {
                    let why = format!("the peer's certificate is not accepted any more: {refused}");
                    self.shared
                        .doorway
                        .refuse(refused.label(), connection.site.as_str(), &why);
                    connection.finish(&why);
                }
            }
        }
    }
}

fn chain(connection: &CommonState) -> Vec<CertificateDer<'static>> {
    let chain = connection.peer_certificates().unwrap_or_default();
    chain.iter().map(|der| der.clone().into_owned()).collect()
}

//! The inviting side of joining: invitations that are given out, and sites that come in with one over the link port.
//!
//! The peers of a running engine do not change. When one has come or gone, this round of the syncer ends in order and
//! the next begins with the new set (`start.rs`): what a restart goes on from, it goes on from.
//!
//! Invariant: while no invitation is open, nobody but a peer completes a handshake.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

use super::certificates::Keeper;
use super::shared::{Shared, now_unix_ms};
use super::{began, peers};
use crate::causality::SiteId;
use crate::certs::{Moment, fingerprint, stranger_server};
use crate::control::{ClusterRequest, KeyText, Response};
use crate::joining::{
    ALPN, Ask, Desk, FRAME_BYTES_MAX, Fingerprint, Frame, FrameError, Invitation, JoinRefused, SECRET_BYTES,
    Secret, Standing, check_address,
};

/// How long one side waits for the other's word.
pub(super) const WORD_TIME_MAX: Duration = Duration::from_secs(10);

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TalkError {
    /// The desk says no.
    #[error(transparent)]
    Refused(#[from] JoinRefused),
    /// Its certificate cannot be a peer's, or the set cannot be kept.
    #[error("{0}")]
    Unfit(String),
    /// A word that is none, or does not belong there.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It said something else.
    #[error("the new site does not keep to the protocol; are both of the same version?")]
    Order,
    /// It is gone.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
}

impl TalkError {
    pub fn label(&self) -> &'static str {
        match self {
            TalkError::Refused(refused) => refused.label(),
            TalkError::Unfit(_) => "join_refused",
            _ => "join_broken",
        }
    }
}

/// Sends one word.
pub(super) async fn say(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), TalkError> {
    let line = frame.encode()?;
    let written = async {
        stream.write_all(&line).await?;
        stream.flush().await
    };
    Ok(tokio::time::timeout(WORD_TIME_MAX, written)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??)
}

/// Waits for one word.
pub(super) async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, TalkError> {
    let mut line = Vec::new();
    // Nothing follows a word before it has been answered, so nothing is lost with the buffer.
    let mut reader = BufReader::new(stream.take(FRAME_BYTES_MAX as u64));
    let read = tokio::time::timeout(WORD_TIME_MAX, reader.read_until(b'\n', &mut line)).await;
    match read.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?? {
        0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(Frame::decode(&line)?),
    }
}

/// What gives invitations out and lets sites in.
pub(super) struct Host {
    shared: Rc<Shared>,
    keeper: Rc<Keeper>,
    /// Outlives the rounds of a run.
    desk: Rc<RefCell<Desk>>,
}

impl Host {
    pub fn new(shared: Rc<Shared>, keeper: Rc<Keeper>, desk: Rc<RefCell<Desk>>) -> Host {
        Host { shared, keeper, desk }
    }

    /// The protocol of guests and its settings, while an invitation is open.
    pub fn door(&self) -> Option<(&'static [u8], Arc<ServerConfig>)> {
        if !self.desk.borrow_mut().is_open(now_unix_s()) {
            return None;
        }
        match stranger_server(&self.keeper.own(), ALPN) {
            Ok(settings) => Some((ALPN, settings)),
            Err(error) => {
                tracing::error!(%error, "nobody can come in");
                None
            }
        }
    }

    /// Answers what is asked about peers and invitations.
    pub fn answer(&self, request: &ClusterRequest) -> Response {
        let done = match request {
            ClusterRequest::PeerList => {
                peers::list(&self.shared.configured).map_err(|error| error.to_string())
            }
            ClusterRequest::PeerRemove { site } => peers::remove(&self.shared.configured, site).map(|site| {
                tracing::warn!(peer = %site, "the peer is removed");
                self.shared.again.notify_one();
                removed(site)
            }),
            _ => {
                let withdrawn = self.desk.borrow_mut().withdraw();
                tracing::info!(withdrawn, "all invitations are withdrawn");
                Ok(format!("{withdrawn} withdrawn"))
            }
        };
        done.map_or_else(Response::Error, Response::Done)
    }

    /// Gives an invitation out.
    pub fn invite(&self, address: Option<String>, valid_s: u64) -> Response {
        self.invitation(address, valid_s).unwrap_or_else(Response::Error)
    }

    fn invitation(&self, address: Option<String>, valid_s: u64) -> Result<Response, String> {
        let settings = &self.shared.settings;
        let address = match address {
            Some(address) => address,
            None if !settings.hosts().is_empty() => settings.link.listen.clone(),
            None => {
                return Err(format!(
                    "link.listen is {}, which is no place that another site could dial; say where it reaches this one: \
                     --address HOST:PORT",
                    settings.link.listen
                ));
            }
        };
        check_address(&address).map_err(|why| format!("{address:?}: {why}"))?;
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut bytes[..]).map_err(|_| "the system gives no random bytes".to_owned())?;
        let me = self.me().ok_or("the own certificate has no fingerprint")?;
        let until_unix_s = now_unix_s().saturating_add(valid_s);
        let invitation = Invitation {
            address,
            database_id: settings.database_id.clone(),
            site: settings.site,
            fingerprint: me.1,
            secret: Secret::new(bytes),
            until_unix_s,
        };
        let opened = self
            .desk
            .borrow_mut()
            .open(invitation.secret.clone(), until_unix_s, now_unix_s());
        opened.map_err(|error| error.to_string())?;
        let until = Moment(i64::try_from(until_unix_s).unwrap_or(i64::MAX));
        tracing::info!(%until, address = %invitation.address, "an invitation is given out");
        Ok(Response::Invitation {
            line: KeyText::new(invitation.line().to_string()),
            words: format!("good once, until {until}; fingerprint of this site: {}", me.1),
        })
    }

    fn me(&self) -> Option<(SiteId, Fingerprint)> {
        let fingerprint = Fingerprint::parse(&self.keeper.own().fingerprint())?;
        Some((self.shared.settings.site, fingerprint))
    }

    /// Talks with somebody who has shown this chain, until it is a peer or refused.
    ///
    /// # Errors
    /// Why it is none.
    pub async fn receive(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), TalkError> {
        let talked = self.talk(&mut stream, chain).await;
        match &talked {
            Ok(()) => {
                let _ = stream.shutdown().await;
                // The next round begins with the new peer.
                self.shared.again.notify_one();
            }
            Err(TalkError::Broken(_)) => {}
            Err(error) => {
                let why = error.to_string();
                let _ = say(&mut stream, &Frame::Refused { why }).await;
                let _ = stream.shutdown().await;
            }
        }
        talked
    }

    async fn talk(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        chain: &[CertificateDer<'_>],
    ) -> Result<(), TalkError> {
        let Frame::Ask(ask) = hear(stream).await? else {
            return Err(TalkError::Order);
        };
        let leaf = chain.first().ok_or(TalkError::Order)?;
        let guest = Fingerprint::parse(&fingerprint(leaf)).ok_or(TalkError::Order)?;
        let standing = self.standing(ask.site.0, chain)?;
        let welcome = self
            .desk
            .borrow_mut()
            .judge(&ask, guest, &standing, now_unix_s())?;
        let fits = self.keeper.fits(ask.site.0, leaf).await;
        fits.map_err(TalkError::Unfit)?;
        say(stream, &welcome).await?;
        let Frame::Kept {} = hear(stream).await? else {
            return Err(TalkError::Order);
        };
        self.keep(&ask, leaf, guest)?;
        say(stream, &Frame::Done {}).await
    }

    fn keep(&self, ask: &Ask, leaf: &CertificateDer<'_>, guest: Fingerprint) -> Result<(), TalkError> {
        let site = ask.site.0;
        let folder = peers::Folder::of(&self.shared.settings.data_dir);
        // Another one of this name may have come meanwhile, with an invitation of its own.
        let known = folder
            .read()
            .map_err(|error| TalkError::Unfit(error.to_string()))?;
        if known.iter().any(|joined| joined.peer.site == site) {
            return Err(JoinRefused::Known(site).into());
        }
        folder
            .keep(site, &ask.address, leaf, &[])
            .map_err(|error| TalkError::Unfit(error.to_string()))?;
        tracing::warn!(peer = %site, address = %ask.address, fingerprint = %guest, "a new site has joined");
        Ok(())
    }

    fn standing(&self, guest: SiteId, chain: &[CertificateDer<'_>]) -> Result<Standing, TalkError> {
        let node = self.shared.node.borrow();
        let settings = &self.shared.settings;
        let mut origins = node.site.roster().all();
        Ok(Standing {
            database_id: settings.database_id.clone(),
            me: self.me().ok_or(TalkError::Order)?,
            peers: settings.peers.iter().map(|peer| peer.site).collect(),
            known_as: self.keeper.identify(chain),
            is_former: super::logs::has_log(&settings.data_dir, &settings.database_id, guest),
            has_whole_logs: origins.all(|origin| node.site.journal().first(origin) <= 1),
            began_empty: began::was_empty(&settings.data_dir),
        })
    }
}

/// What remains to be done when a peer was removed.
pub(super) fn removed(site: SiteId) -> String {
    format!(
        "site {site} is removed here; remove this site there as well, and at every other site: each has peers of its own"
    )
}

fn now_unix_s() -> u64 {
    now_unix_ms() / 1_000
}

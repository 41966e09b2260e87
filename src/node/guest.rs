//! The new site's side of joining: it looks whether this site may still join, asks the site that invites, and keeps it
//! as a peer. No syncer runs with these settings meanwhile.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::joining::{TalkError, hear, say};
use super::peers::{Folder, PeersError};
use super::start::{Error, database_tls};
use super::{certificates, logs, peers};
use crate::causality::{Roster, SiteId, SiteIx, Vector};
use crate::certs::io::{HandshakeError, Material, Sources, dial_pinned};
use crate::certs::pinned_client;
use crate::config::{Secret, Settings};
use crate::database::Url;
use crate::database::io::{ConnectError, Stream, command, connect, greet};
use crate::echo::is_ours;
use crate::flow::Journal;
use crate::joining::{
    ALPN, Bound, Fingerprint, Frame, Invitation, LineError, Step, Visit, VisitError, check_address,
};
use crate::log::io::Lock;
use crate::resp::reply::Value;

/// How long the database and the other site may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A numbered database with more keys than this holds somebody's data: the syncer has a few keys of its own.
const OWN_KEYS_MAX: u64 = 256;

/// Why a site did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The line.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The invitation is for another database.
    #[error(
        "the invitation is for database {invited}, this site's configuration is for {ours} (database_id)"
    )]
    Database {
        /// As invited.
        invited: String,
        /// As configured.
        ours: String,
    },
    /// A site cannot join itself.
    #[error(
        "site {0} has given this invitation out itself; use it at the new site, which needs a name of its own"
    )]
    Ourselves(SiteId),
    /// It is known already.
    #[error(
        "site {0} is a peer already; `syncer admin cluster peer list` shows it, `... peer remove {0}` forgets it"
    )]
    Known(SiteId),
    /// Nobody could reach this site.
    #[error("say where the other site reaches this one, --address HOST:PORT: {0}")]
    Address(String),
    /// A site joins before it takes part.
    #[error(
        "this site has taken part already: its log holds {0} operations. A site joins before its first start, or before \
         anybody has written at it; otherwise start the set anew with this site among the others (docs/runbook.md)"
    )]
    TakesPart(u64),
    /// Its database holds data.
    #[error(
        "the database of this site is not empty, and snapshots are not transferred: a new site starts with an empty \
         database. If it holds the same data as the others' did when their syncers ran first, say so: --agreed"
    )]
    NotEmpty,
    /// The database.
    #[error("the database of this site cannot be asked whether it is empty: {0}")]
    Unknown(String),
    /// The connection.
    #[error("{address}: {why}")]
    Unreachable {
        /// The inviter's.
        address: String,
        /// What happened.
        why: String,
    },
    /// Somebody else answers.
    #[error(
        "{address}: whoever answers is not the site that gave out this invitation, or it has another certificate since \
         ({why}); compare the fingerprints, or ask for a new invitation"
    )]
    Impostor {
        /// The inviter's.
        address: String,
        /// What the handshake said.
        why: String,
    },
    /// The conversation.
    #[error(transparent)]
    Visit(#[from] VisitError),
    /// It broke off when this side had kept the other one.
    #[error(
        "the connection ended before site {site} confirmed ({why}). Nothing is kept here; if `syncer admin cluster peer \
         list` shows this site there, remove it there, and ask for a new invitation"
    )]
    Unconfirmed {
        /// The inviter.
        site: SiteId,
        /// What happened.
        why: String,
    },
    /// The folder of peers.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The own state.
    #[error(transparent)]
    Own(#[from] Error),
}

/// A site that is about to join.
pub struct Guest {
    settings: Settings,
    invitation: Invitation,
    address: String,
    sources: Sources,
    material: Material,
    _lock: Lock,
}

impl Guest {
    /// Looks whether this site may join with an invitation. Certificates that are not there are made.
    ///
    /// # Errors
    /// Why it may not.
    pub fn new(settings: &Settings, line: &str, address: Option<String>) -> Result<Guest, JoinError> {
        let invitation = Invitation::parse(line)?;
        let (settings, _) = peers::with_joined(settings)?;
        if invitation.database_id != settings.database_id {
            return Err(JoinError::Database {
                invited: invitation.database_id,
                ours: settings.database_id,
            });
        }
        if invitation.site == settings.site {
            return Err(JoinError::Ourselves(invitation.site));
        }
        if settings.peers.iter().any(|peer| peer.site == invitation.site) {
            return Err(JoinError::Known(invitation.site));
        }
        let address = match address {
            Some(address) => address,
            None if !settings.hosts().is_empty() => settings.link.listen.clone(),
            None => {
                return Err(JoinError::Address(format!(
                    "link.listen is {}",
                    settings.link.listen
                )));
            }
        };
        check_address(&address).map_err(|why| JoinError::Address(format!("{address:?}: {why}")))?;
        let lock = crate::log::io::lock(&settings.data_dir).map_err(Error::from)?;
        takes_part(&settings)?;
        let (sources, material) = certificates::load(&settings)?;
        Ok(Guest {
            settings,
            invitation,
            address,
            sources,
            material,
            _lock: lock,
        })
    }

    /// What it was invited with.
    pub fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// Where the other site will reach this one.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The fingerprint of this site's certificate.
    pub fn fingerprint(&self) -> String {
        self.material.own.fingerprint()
    }

    /// Joins. Gives the other sites that have to be joined as well, before the first start.
    ///
    /// # Errors
    /// Why not; nothing is kept here then.
    pub fn join(self, password: Option<Secret>, is_agreed: bool) -> Result<Vec<SiteId>, JoinError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::from)?;
        runtime.block_on(async {
            let is_empty = self.is_empty(password).await?;
            if !is_empty && !is_agreed {
                return Err(JoinError::NotEmpty);
            }
            self.visit(is_empty, is_agreed).await
        })
    }

    async fn is_empty(&self, password: Option<Secret>) -> Result<bool, JoinError> {
        let mut url = Url::parse(self.settings.database.url.expose()).map_err(Error::from)?;
        url.password = password.or(url.password);
        let unknown = |error: ConnectError| JoinError::Unknown(error.to_string());
        let tls = database_tls(&self.settings);
        let mut stream = connect(&url, tls.as_ref(), PATIENCE).await.map_err(unknown)?;
        let name = format!("syncer-{}-join", self.settings.site);
        greet(&mut stream, &url, &name).await.map_err(unknown)?;
        let text = match command(&mut stream, &[b"INFO", b"keyspace"])
            .await
            .map_err(unknown)?
        {
            Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
            _ => return Err(JoinError::Unknown("INFO keyspace gives no text".to_owned())),
        };
        for (db, keys) in text.lines().filter_map(keyspace) {
            if keys > OWN_KEYS_MAX || !holds_own_keys_only(&mut stream, db).await.map_err(unknown)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn visit(&self, is_empty: bool, is_agreed: bool) -> Result<Vec<SiteId>, JoinError> {
        let invitation = &self.invitation;
        let mut stream = self.dial().await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(VisitError::Order)?.clone().into_owned();
        let own = Fingerprint::parse(&self.fingerprint()).ok_or(VisitError::Order)?;
        let bound = Bound {
            database_id: self.settings.database_id.clone(),
            inviter: (invitation.site, invitation.fingerprint),
            guest: (self.settings.site, own),
            address: self.address.clone(),
            is_empty,
            is_agreed,
        };
        let mut visit = Visit::new(invitation.secret.clone(), bound);
        let broken = |error: TalkError| JoinError::Unreachable {
            address: invitation.address.clone(),
            why: error.to_string(),
        };
        say(&mut stream, &visit.ask()).await.map_err(broken)?;
        let Step::Keep { others } = visit.handle(hear(&mut stream).await.map_err(broken)?)? else {
            return Err(VisitError::Order.into());
        };
        let judged = self.sources.judge_with(invitation.site, &leaf);
        judged.map_err(Error::from)?;
        let folder = Folder::of(&self.settings.data_dir);
        folder.keep(invitation.site, &invitation.address, &leaf, &others)?;
        let confirmed = async {
            say(&mut stream, &Frame::Kept {}).await?;
            hear(&mut stream).await
        };
        let confirmed = match confirmed.await {
            Ok(frame) => visit.handle(frame).map_err(JoinError::from),
            Err(error) => Err(JoinError::Unconfirmed {
                site: invitation.site,
                why: error.to_string(),
            }),
        };
        if let Err(error) = confirmed {
            folder.remove(invitation.site)?;
            return Err(error);
        }
        let _ = stream.shutdown().await;
        let is_missing = |site: &SiteId| !self.settings.peers.iter().any(|peer| peer.site == *site);
        Ok(others.into_iter().filter(is_missing).collect())
    }

    async fn dial(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, JoinError> {
        let Invitation {
            address, fingerprint, ..
        } = &self.invitation;
        let unreachable = |why: String| JoinError::Unreachable {
            address: address.clone(),
            why,
        };
        let socket = tokio::time::timeout(PATIENCE, TcpStream::connect(address.as_str())).await;
        let socket = socket.map_err(|_| unreachable("no answer".to_owned()))?;
        let socket = socket.map_err(|error| unreachable(error.to_string()))?;
        let settings =
            pinned_client(&self.material.own, &fingerprint.to_string(), ALPN).map_err(Error::from)?;
        let stream = dial_pinned(settings, socket, PATIENCE).await;
        stream.map_err(|error| match &error {
            // Without an open invitation nobody but a peer is listened to.
            HandshakeError::Refused(crate::certs::PeerRefused::BadAlpn) => unreachable(
                "no invitation is open there: it was used, withdrawn or has expired, or the syncer was started again \
                 since; ask for a new one"
                    .to_owned(),
            ),
            HandshakeError::Refused(refused) => JoinError::Impostor {
                address: address.clone(),
                why: refused.to_string(),
            },
            error => unreachable(error.to_string()),
        })
    }
}

/// A site joins before it has operations of its own, or has taken any of others.
fn takes_part(settings: &Settings) -> Result<(), JoinError> {
    let alone = Roster::new(settings.site, &[]).map_err(Error::from)?;
    let dir = settings.data_dir.join("log");
    let (logs, position) = logs::Logs::open(
        &dir,
        &settings.database_id,
        &alone,
        &crate::log::Settings::default(),
        false,
    )
    .map_err(Error::from)?;
    let me: SiteIx = alone.me();
    let observed = position.map_or(Vector::zero(1), |position| position.observed);
    let own = logs.last(me).max(observed.get(me));
    match own {
        0 => Ok(()),
        _ => Err(JoinError::TakesPart(own)),
    }
}

/// A line of `INFO keyspace`: which database, and how many keys.
fn keyspace(line: &str) -> Option<(u32, u64)> {
    let (db, rest) = line.trim().strip_prefix("db")?.split_once(":keys=")?;
    let keys = rest.split(',').next()?;
    Some((db.parse().ok()?, keys.parse().ok()?))
}

async fn holds_own_keys_only(stream: &mut Stream, db: u32) -> Result<bool, ConnectError> {
    command(stream, &[b"SELECT", db.to_string().as_bytes()]).await?;
    let Value::Array(keys) = command(stream, &[b"KEYS", b"*"]).await? else {
        return Ok(false);
    };
    let is_own = |key: &Value| matches!(key, Value::BulkString(key) if is_ours(key));
    Ok(keys.iter().all(is_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyspace_of_a_server() {
        assert_eq!(keyspace("db0:keys=12,expires=0,avg_ttl=0\r"), Some((0, 12)));
        assert_eq!(
            keyspace("db15:keys=3,expires=0,avg_ttl=0,subexpiry=0"),
            Some((15, 3))
        );
        for text in ["# Keyspace", "", "db:keys=1", "db0:keys=x"] {
            assert_eq!(keyspace(text), None, "{text}");
        }
    }
}

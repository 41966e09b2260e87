//! The certificates of a running syncer: judged, tried on the links, stored, watched.
//!
//! Two may want to replace them: the administrator, whose files are judged and tried on the links before the store
//! changes, and whoever changes the files themselves, which are judged and tried when they have come to rest. Both
//! wait for their turn.
//!
//! Invariants:
//! - What is in use stays in use until its successor was judged whole and some link was established with it.
//! - The administrator's change is in the store if and only if it was answered as done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::{Mutex, Notify};
use tokio::time::MissedTickBehavior;

use super::cluster;
use super::identity::{LinkIdentity, MoveOutcome, Moved};
use super::shared::now_unix_ms;
use super::start::Error;
use crate::causality::SiteId;
use crate::certs::io::{self, Change, Loaded, Material, Pair, Sources, Store, Watch, ensure, now};
#[cfg(feature = "etcd")]
use crate::certs::io::{EtcdAccess, EtcdBackend, Seals, Shared};
use crate::certs::{
    CertificateName, Error as Fault, Expiry, Identity, Moment, Notice, Own, RETRY_MS, Role, StoreFault,
    TlsVersion, Verdict, Watched,
};
use crate::config::{self, Settings};
use crate::control::{CertificateView, CertificatesView, ClusterRequest, Response, StoreView};

/// How often the files are looked at though nothing told of a change.
const POLL_PAUSE: Duration = Duration::from_secs(10);
/// How long a change rests before the files are looked at: they seldom change alone.
const REST: Duration = Duration::from_millis(200);
/// The label of a replacement that no link was established with.
const NO_LINK: &str = "no_link";

/// Why a replacement was refused: a word for the metric, and a sentence.
pub(super) struct Refused {
    pub label: &'static str,
    pub why: String,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused {
            label: fault.label(),
            why: fault.to_string(),
        }
    }
}

/// The store of a site's certificates.
fn store(settings: &Settings) -> Result<Store, Error> {
    let dir = &settings.certificates.dir;
    #[cfg(feature = "etcd")]
    if let Some(etcd) = &settings.certificates.etcd {
        let access = EtcdAccess {
            endpoints: etcd.endpoints.clone(),
            prefix: etcd.prefix.clone(),
            ca_file: etcd.ca_file.clone(),
            client: etcd.client.clone(),
            user: etcd.user.clone(),
        };
        let seals = Seals::read(&etcd.seal_file).map_err(Fault::from)?;
        let backend = EtcdBackend::new(&access).map_err(Fault::from)?;
        return Ok(Store::copy_of(Shared::new(Box::new(backend), seals), dir));
    }
    Ok(Store::new(dir))
}

/// Where the certificates of a site are.
pub(super) fn sources(settings: &Settings) -> Result<Sources, Error> {
    let peers = settings.peers.iter();
    Ok(Sources {
        store: store(settings)?,
        identity: Identity::new(&settings.database_id, settings.site)?,
        peers: peers.map(|peer| (peer.site, peer.certificate.clone())).collect(),
        tls_version_min: match settings.certificates.tls_version_min {
            config::TlsVersion::V1_2 => TlsVersion::V1_2,
            config::TlsVersion::V1_3 => TlsVersion::V1_3,
        },
    })
}

/// The certificate of a site that is about to be set up, made if there is none.
///
/// # Errors
/// What is there is wrong, or it cannot be made.
pub fn prepare(settings: &Settings) -> Result<Loaded, Error> {
    let sources = sources(settings)?;
    let made = make(&sources, settings, &[CertificateName::Syncer])?;
    let loaded = io::load(sources.store.dir(), CertificateName::Syncer, &sources.identity)?;
    Ok(Loaded {
        is_new: made > 0,
        ..loaded
    })
}

/// Makes those of these that are missing, the links' first; gives how many. A shared store that does not answer is no
/// obstacle if its copy holds what the links need.
fn make(sources: &Sources, settings: &Settings, names: &[CertificateName]) -> Result<usize, Error> {
    let store = &sources.store;
    let has_own = store
        .pair(CertificateName::Syncer)
        .is_ok_and(|pair| pair.is_some());
    let sync = || match store.sync() {
        // It is in the log.
        Err(Fault::Store(why)) if why.may_pass() && has_own => Ok(()),
        Err(Fault::Store(why)) if why.may_pass() => Err(Fault::Store(StoreFault::NoCopy {
            dir: store.dir().to_owned(),
            why: Box::new(why),
        })),
        done => done,
    };
    sync()?;
    let mut made = 0;
    for name in names {
        match ensure(store.dir(), *name, &sources.identity, &settings.hosts()) {
            Ok(loaded) => made += usize::from(loaded.is_new),
            Err(error) if *name == CertificateName::Syncer => return Err(error.into()),
            // A store that others fill may hold the links' certificate only.
            Err(error) => {
                tracing::warn!(certificate = %name, %error, "a certificate that only a later version uses is not there");
            }
        }
    }
    if made > 0 {
        sync()?;
    }
    Ok(made)
}

/// What a syncer starts with. Certificates that are not there are made.
pub(super) fn load(settings: &Settings) -> Result<(Sources, Material), Error> {
    let sources = sources(settings)?;
    let others = CertificateName::ALL.into_iter();
    let others = others.filter(|name| *name != CertificateName::Syncer);
    let names: Vec<CertificateName> = [CertificateName::Syncer].into_iter().chain(others).collect();
    make(&sources, settings, &names)?;
    let contents = sources.read(None)?;
    let material = sources.judge(&contents)?;
    Ok((sources, material))
}

/// A certificate of the store.
pub(super) struct Seen {
    pub name: CertificateName,
    pub fingerprint: String,
    pub end: Moment,
}

/// Keeps the certificates of a running syncer.
pub(super) struct Keeper {
    sources: Arc<Sources>,
    links: LinkIdentity,
    /// Held by who is about to replace something.
    turn: Mutex<Watched<u128>>,
    state: RefCell<State>,
}

struct State {
    in_use: Material,
    /// The certificates of the other services, as last seen.
    others: Vec<Seen>,
    view: CertificatesView,
    /// What was told of each certificate's end.
    told: BTreeMap<String, Expiry>,
    is_key_told: bool,
}

impl Keeper {
    /// Keeps what the links begin with.
    pub fn new(sources: Sources, material: Material, links: LinkIdentity) -> Keeper {
        let keeper = Keeper {
            turn: Mutex::new(Watched::new(material.digest)),
            state: RefCell::new(State {
                in_use: material,
                others: cluster::others(&sources),
                view: CertificatesView::default(),
                told: BTreeMap::new(),
                is_key_told: false,
            }),
            sources: Arc::new(sources),
            links,
        };
        keeper.check_times();
        keeper
    }

    /// For the status.
    pub fn view(&self) -> CertificatesView {
        let state = self.state.borrow();
        let mut view = state.view.clone();
        let own = Seen {
            name: CertificateName::Syncer,
            fingerprint: state.in_use.own.fingerprint(),
            end: state.in_use.own.facts().not_after,
        };
        let of_site = std::iter::once(&own).chain(&state.others);
        view.held = of_site
            .map(|seen| held(seen.name.to_string(), &seen.fingerprint, seen.end))
            .collect();
        let peers = state.in_use.tls.trust().expiries();
        view.store = self.sources.store.shared().map(|shared| {
            let trouble = shared.trouble();
            StoreView {
                is_reached: trouble.is_none(),
                behind_s: trouble
                    .as_ref()
                    .map_or(0, |trouble| trouble.since.elapsed().as_secs()),
                error: trouble.map(|trouble| trouble.why),
            }
        });
        view.held
            .extend(peers.map(|(site, end)| held(format!("peer:{site}"), "", end)));
        view
    }

    /// What the links prove themselves with.
    pub fn own(&self) -> Own {
        self.state.borrow().in_use.own.clone()
    }

    /// The peer that a chain speaks for.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Option<SiteId> {
        self.state.borrow().in_use.tls.identify(chain).ok()
    }

    /// Whether a certificate could be that of one more peer.
    pub async fn fits(&self, site: SiteId, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let certificate = certificate.clone().into_owned();
        let judged = self.blocking(move |sources| {
            let material = sources.judge_with(site, &certificate)?;
            let trust = material.tls.trust();
            let now = UnixTime::now();
            let verified = trust.verify(&certificate, &[], Role::Client, Some(site), now);
            verified.map_err(|why| Refused {
                label: why.label(),
                why: why.to_string(),
            })
        });
        judged.await.map(|_| ()).map_err(|refused| refused.why)
    }

    /// Carries out what the administrator asks for.
    pub async fn answer(&self, request: ClusterRequest) -> Response {
        let done = match request {
            ClusterRequest::CertificateSet {
                name,
                certificate,
                key,
            } => match cluster::set_words(&name, certificate, &key) {
                Ok((CertificateName::Syncer, pair)) => self.set_own(pair).await,
                Ok((name, pair)) => {
                    self.blocking(move |sources| {
                        sources.store.sync()?;
                        cluster::set_other(sources, name, &pair)
                    })
                    .await
                }
                Err(why) => return Response::Error(why),
            },
            ClusterRequest::ClusterSet { setting, value } => self.set_cluster(&setting, &value).await,
            ClusterRequest::CertificateReload => self.reload().await,
            request => {
                let shown = self
                    .blocking(move |sources| cluster::show(sources, &request))
                    .await;
                return shown.map_or_else(|refused| Response::Error(refused.why), Response::Done);
            }
        };
        match done {
            Ok(words) => {
                self.state.borrow_mut().view.last_error = None;
                Response::Done(words)
            }
            Err(refused) => {
                let words = refused.why.clone();
                self.note(refused);
                Response::Error(words)
            }
        }
    }

    async fn set_own(&self, pair: Pair) -> Result<String, Refused> {
        let mut turn = self.turn.lock().await;
        self.blocking(|sources| Ok(sources.store.sync()?)).await?;
        let written = pair.clone();
        let (material, moved) = self
            .try_change(&mut turn, Change::Own(pair), move |store| {
                store.replace(CertificateName::Syncer, &written)
            })
            .await?;
        let words = cluster::set_done(
            CertificateName::Syncer,
            material.own.facts(),
            &material.own.fingerprint(),
        );
        Ok(words + &links(&moved))
    }

    async fn set_cluster(&self, setting: &str, value: &str) -> Result<String, Refused> {
        let mut turn = self.turn.lock().await;
        // Another syncer of the site may have set something that has not been noticed here yet.
        let stored = |sources: &Sources| {
            sources.store.sync()?;
            let text = sources.store.cluster_text()?;
            Ok((sources.store.read_cluster(&text)?, text))
        };
        let (mut policy, before) = self.blocking(stored).await?;
        policy.set(setting, value).map_err(|why| Refused {
            label: "policy",
            why: why.to_string(),
        })?;
        let written = policy.clone();
        let (material, moved) = self
            .try_change(&mut turn, Change::Cluster(policy), move |store| {
                store.set_cluster(&written, &before)
            })
            .await?;
        let words = cluster::config_done(&material.cluster, setting);
        Ok(words + &links(&moved))
    }

    /// Judges a change, tries it on the links, and only then has it written. If that fails, the links go back.
    async fn try_change(
        &self,
        turn: &mut Watched<u128>,
        change: Change,
        write: impl FnOnce(&Store) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(Material, Vec<Moved>), Refused> {
        let material = self
            .blocking(move |sources| Ok(sources.judge(&sources.read(Some(change))?)?))
            .await?;
        let moved = self.try_on(&material).await?;
        if let Err(refused) = self.blocking(move |sources| Ok(write(&sources.store)?)).await {
            let before = self.state.borrow().in_use.tls.clone();
            // No link may be up with the old one either; then the next one is made with it.
            let _ = self.links.replace(before).await;
            return Err(Refused {
                label: "store",
                ..refused
            });
        }
        turn.took(material.digest);
        self.took(material.clone(), &moved);
        Ok((material, moved))
    }

    async fn try_on(&self, material: &Material) -> Result<Vec<Moved>, Refused> {
        self.links
            .replace(material.tls.clone())
            .await
            .map_err(|why| Refused {
                label: NO_LINK,
                why: why.to_string(),
            })
    }

    fn took(&self, material: Material, moved: &[Moved]) {
        tracing::info!(fingerprint = %material.own.fingerprint(), until = %material.own.facts().not_after,
            links = ?moved, "the certificates are replaced");
        let mut state = self.state.borrow_mut();
        state.in_use = material;
        state.view.replaced += 1;
        state.view.last_error = None;
        state.is_key_told = false;
        drop(state);
        self.check_times();
    }

    /// Counts a refusal and says why.
    fn note(&self, refused: Refused) {
        tracing::warn!(reason = refused.label, error = %refused.why, "the certificates are not replaced");
        let view = &mut self.state.borrow_mut().view;
        *view.refused.entry(refused.label.to_owned()).or_default() += 1;
        view.last_error = Some(refused.why);
    }

    /// Does what waits for files, beside the way of a write.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sources) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let sources = Arc::clone(&self.sources);
        let done = tokio::task::spawn_blocking(move || work(&sources)).await;
        done.unwrap_or_else(|error| {
            Err(Refused {
                label: "unreadable",
                why: error.to_string(),
            })
        })
    }

    /// Looks at the files for ever: when something tells of a change, at SIGHUP, and every ten seconds.
    pub async fn watch(self: Rc<Self>) {
        let _following = match self.sources.store.follow() {
            Ok(following) => following,
            Err(error) => {
                tracing::error!(%error, "no thread for the shared store, so its changes count from the next start");
                None
            }
        };
        let changed = Arc::new(Notify::new());
        let _watch = Watch::new(&self.sources.directories(), Arc::clone(&changed));
        let mut hangup = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be taken, so certificates are not watched");
                return;
            }
        };
        let mut ticks = tokio::time::interval(POLL_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_settling = self.turn.lock().await.is_settling();
            tokio::select! {
                _ = ticks.tick() => {}
                () = changed.notified() => tokio::time::sleep(REST).await,
                () = tokio::time::sleep(Duration::from_millis(RETRY_MS)), if is_settling => {}
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: the certificates are looked at");
                    self.turn.lock().await.force();
                }
            }
            let mut turn = self.turn.lock().await;
            if let Err(refused) = self.look(&mut turn).await {
                self.note(refused);
            }
            drop(turn);
            if let Ok(others) = self.blocking(|sources| Ok(cluster::others(sources))).await {
                self.state.borrow_mut().others = others;
            }
            self.check_times();
        }
    }

    /// Looks at the files now, and has the links move whatever was seen of them before.
    async fn reload(&self) -> Result<String, Refused> {
        let mut turn = self.turn.lock().await;
        turn.force();
        let moved = self.look(&mut turn).await?;
        Ok("the files are in use".to_owned() + &links(&moved.unwrap_or_default()))
    }

    /// Looks at the files once, and uses them if they are new and whole. A fault that may still pass is silent.
    async fn look(&self, turn: &mut Watched<u128>) -> Result<Option<Vec<Moved>>, Refused> {
        let read = self.blocking(|sources| Ok(sources.read(None)?)).await;
        let judged = match read {
            Ok(contents) if turn.knows(&contents.digest(), now_unix_ms()) => return Ok(None),
            Ok(contents) => self.blocking(move |sources| Ok(sources.judge(&contents)?)).await,
            Err(refused) => Err(refused),
        };
        let material = match judged {
            Ok(material) => material,
            Err(refused) => {
                let verdict = turn.faulty(&refused.why, now_unix_ms());
                return if verdict == Verdict::Report {
                    Err(refused)
                } else {
                    Ok(None)
                };
            }
        };
        match self.try_on(&material).await {
            Ok(moved) => {
                turn.took(material.digest);
                self.took(material, &moved);
                Ok(Some(moved))
            }
            Err(refused) => {
                turn.refused(material.digest, now_unix_ms());
                Err(refused)
            }
        }
    }

    /// Warns of what ends soon, each time that it has come nearer; and of a key that others can read, once.
    fn check_times(&self) {
        let state = &mut *self.state.borrow_mut();
        let of_links = self.sources.expiries(&state.in_use, now());
        let others = state.others.iter().map(|seen| {
            let path = self.sources.store.paths(seen.name).certificate;
            (
                Expiry::at(seen.end, now()),
                Notice::ExpiresSoon { path, at: seen.end },
            )
        });
        for (near, notice) in of_links.into_iter().chain(others) {
            let told = state.told.entry(notice.to_string()).or_default();
            if near > *told {
                tracing::warn!(state = %near, "{notice}");
            }
            *told = near;
        }
        if let Ok(Some(notice)) = self.sources.key_exposed()
            && !state.is_key_told
        {
            state.is_key_told = true;
            tracing::warn!("{notice}");
        }
    }
}

/// What a replacement came to at each peer, a line each.
fn links(moved: &[Moved]) -> String {
    let mut words = String::new();
    for Moved { site, outcome } in moved {
        let what = match outcome {
            MoveOutcome::Moved => "moved".to_owned(),
            MoveOutcome::NotConnected => "not connected; the next connection is made with it".to_owned(),
            MoveOutcome::Dropped(why) => format!(
                "its certificate is not accepted any more; the link ends after link.certificate_timeout: {why}"
            ),
            MoveOutcome::Failed(why) => format!("NOT moved, it is tried again: {why}"),
        };
        words.push_str(&format!("\nlink to {site}: {what}"));
    }
    words
}

/// One certificate for the status.
fn held(name: String, fingerprint: &str, end: Moment) -> CertificateView {
    let now = now();
    CertificateView {
        name,
        fingerprint: fingerprint.to_owned(),
        until: end.to_string(),
        expires_in_s: end.0.saturating_sub(now.0),
        state: Expiry::at(end, now).to_string(),
    }
}

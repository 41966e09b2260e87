//! etcd (from 3.4), over its JSON gateway (`/v3/...`), which every etcd serves at its clients' address: so neither gRPC
//! nor its code generator is needed.
//!
//! A call tries the endpoints in turn and stays at the one that answered. A write goes to that one only, once: sent a
//! second time, it could find itself and take that for somebody else's.

use super::super::StoreFault;
use super::{Backend, Everything, Found, PEM_BYTES_MAX};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};
use zeroize::Zeroizing;

/// How long one call may take, and connecting.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest answer: six values, each a certificate and a key, half as long again in base64.
const ANSWER_BYTES_MAX: u64 = 24 * PEM_BYTES_MAX as u64;
/// Longest refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 4 << 10;
/// Longest password file.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// How etcd is reached.
#[derive(Debug, Clone, Default)]
pub struct EtcdAccess {
    /// `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    /// What the names of the values begin with, without a slash at its end.
    pub prefix: String,
    /// The CA that signed its certificates.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The user, and the file with the password.
    pub user: Option<(String, PathBuf)>,
}

/// Values in etcd.
pub struct EtcdBackend {
    agent: Agent,
    endpoints: Vec<String>,
    /// Which of them answered last.
    at: AtomicUsize,
    prefix: String,
    user: Option<(String, Zeroizing<String>)>,
    token: Mutex<Option<String>>,
}

impl std::fmt::Debug for EtcdBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EtcdBackend({:?}, {:?})", self.endpoints, self.prefix)
    }
}

/// Why a call came to nothing.
enum Failed {
    /// There is no answer.
    Unreachable(String),
    /// It says why it refuses, with the status.
    Refused(u16, String),
}

impl From<Failed> for StoreFault {
    fn from(failed: Failed) -> StoreFault {
        match failed {
            // An etcd that has no leader answers so, too.
            Failed::Refused(500.., why) | Failed::Unreachable(why) => StoreFault::Unreachable(why),
            Failed::Refused(_, why) => StoreFault::Refused(why),
        }
    }
}

impl EtcdBackend {
    /// Reads the files of the access. Nothing is asked yet.
    ///
    /// # Errors
    /// One of them cannot be read, or does not parse.
    pub fn new(access: &EtcdAccess) -> Result<EtcdBackend, StoreFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if let Some(path) = &access.ca_file {
            tls = tls.root_certs(RootCerts::new_with_certs(&pem(path)?.0));
        }
        if let Some((certificate, key)) = &access.client {
            let (chain, _) = pem(certificate)?;
            let found = pem(key)?.1.ok_or_else(|| wrong(key, "no private key in it"))?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, found)));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("syncer")
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .timeout_global(Some(CALL_TIME_MAX))
            .tls_config(tls.build());
        let user = match &access.user {
            Some((name, path)) => Some((name.clone(), password(path)?)),
            None => None,
        };
        Ok(EtcdBackend {
            agent: config.build().new_agent(),
            endpoints: access.endpoints.clone(),
            at: AtomicUsize::new(0),
            prefix: access.prefix.clone(),
            user,
            token: Mutex::default(),
        })
    }

    fn token(&self) -> MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request to one endpoint.
    fn send(&self, at: usize, path: &str, body: &Value, patience: Duration) -> Result<Body, Failed> {
        let endpoint = self.endpoints.get(at).map_or("", String::as_str);
        let token = match (&self.user, path) {
            (Some(_), AUTHENTICATE) | (None, _) => None,
            (Some(user), _) => Some(self.logged_in(at, user)?),
        };
        let mut request = self.agent.post(format!("{endpoint}{path}"));
        if let Some(token) = token {
            request = request.header(http::header::AUTHORIZATION, token);
        }
        let request = request.config().timeout_global(Some(patience)).build();
        let answer = request.send(body.to_string().as_bytes());
        let answer = answer.map_err(|why| Failed::Unreachable(format!("{endpoint}: {why}")))?;
        let status = answer.status();
        let body = answer.into_body();
        if status.is_success() {
            return Ok(body);
        }
        Err(Failed::Refused(
            status.as_u16(),
            format!("{endpoint}: {} ({})", refusal(body), status.as_u16()),
        ))
    }

    /// The token of the present session, or that of a new one.
    fn logged_in(&self, at: usize, (name, password): &(String, Zeroizing<String>)) -> Result<String, Failed> {
        if let Some(token) = &*self.token() {
            return Ok(token.clone());
        }
        let words = json!({"name": name, "password": &**password});
        let answer = self.send(at, AUTHENTICATE, &words, CALL_TIME_MAX)?;
        let answer = limited(answer)?;
        let token = answer.pointer("/token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Failed::Unreachable("it gives no token".to_owned()))?;
        *self.token() = Some(token.to_owned());
        Ok(token.to_owned())
    }

    /// Sends a request to the endpoint that answered last. A session that is over is begun anew.
    fn send_once(&self, path: &str, body: &Value, patience: Duration) -> Result<Body, Failed> {
        let at = self.at.load(Ordering::Relaxed);
        match self.send(at, path, body, patience) {
            Err(Failed::Refused(400..500, _)) if self.token().take().is_some() => {
                self.send(at, path, body, patience)
            }
            done => done,
        }
    }

    /// Sends a request to one endpoint after the other until one answers.
    fn send_anywhere(&self, path: &str, body: &Value, patience: Duration) -> Result<Body, Failed> {
        let mut done = self.send_once(path, body, patience);
        for _ in 1..self.endpoints.len() {
            match &done {
                Ok(_) | Err(Failed::Refused(..500, _)) => break,
                Err(_) => {}
            }
            let next = (self.at.load(Ordering::Relaxed) + 1) % self.endpoints.len();
            self.at.store(next, Ordering::Relaxed);
            done = self.send_once(path, body, patience);
        }
        done
    }

    /// The first name of the site, and the one behind its last.
    fn range(&self) -> (String, String) {
        // '0' follows '/'.
        (
            STANDARD.encode(format!("{}/", self.prefix)),
            STANDARD.encode(format!("{}0", self.prefix)),
        )
    }

    fn found(&self, kv: &Value) -> Option<Found> {
        let text = |name: &str| kv.pointer(name).and_then(Value::as_str);
        let full = STANDARD.decode(text("/key")?).ok()?;
        let name = str::from_utf8(&full)
            .ok()?
            .strip_prefix(&self.prefix)?
            .strip_prefix('/')?;
        Some(Found {
            name: name.to_owned(),
            value: STANDARD.decode(text("/value").unwrap_or_default()).ok()?,
            revision: text("/mod_revision")?.parse().ok()?,
        })
    }
}

const AUTHENTICATE: &str = "/v3/auth/authenticate";

impl Backend for EtcdBackend {
    fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn all(&self) -> Result<Everything, StoreFault> {
        let (key, range_end) = self.range();
        let words = json!({"key": key, "range_end": range_end});
        let answer = limited(self.send_anywhere("/v3/kv/range", &words, CALL_TIME_MAX)?)?;
        let values = answer.pointer("/kvs").and_then(Value::as_array);
        let values = values.into_iter().flatten().map(|kv| self.found(kv));
        Ok(Everything {
            revision: revision(&answer)?,
            values: values
                .collect::<Option<_>>()
                .ok_or_else(|| StoreFault::Unreachable(UNREADABLE.to_owned()))?,
        })
    }

    fn put(&self, name: &str, value: Vec<u8>, before: i64) -> Result<Option<i64>, StoreFault> {
        let key = STANDARD.encode(self.full_name(name));
        let words = json!({
            "compare": [{"target": "MOD", "key": key, "mod_revision": before.to_string()}],
            "success": [{"request_put": {"key": key, "value": STANDARD.encode(value)}}],
        });
        let answer = limited(self.send_once("/v3/kv/txn", &words, CALL_TIME_MAX)?)?;
        let is_done = answer.pointer("/succeeded").and_then(Value::as_bool) == Some(true);
        Ok(is_done.then_some(revision(&answer)?))
    }

    fn wait(&self, after: i64, patience: Duration) -> Result<(), StoreFault> {
        let (key, range_end) = self.range();
        let from = after.saturating_add(1).to_string();
        let words = json!({"create_request": {"key": key, "range_end": range_end, "start_revision": from}});
        let answer = self.send_anywhere("/v3/watch", &words, patience)?;
        let mut lines = BufReader::new(answer.into_reader().take(ANSWER_BYTES_MAX));
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                // Its end, or the end of our patience.
                Ok(0) | Err(_) => return Ok(()),
                // Anything but that it begins: a change, or that it cannot be told of any.
                Ok(_) if !line.contains("\"created\":true") => return Ok(()),
                Ok(_) => {}
            }
        }
    }
}

const UNREADABLE: &str = "its answer does not read; is it an etcd from 3.4?";

impl From<std::io::Error> for Failed {
    fn from(why: std::io::Error) -> Failed {
        Failed::Unreachable(why.to_string())
    }
}

/// An answer that is not longer than ours can be.
fn limited(body: Body) -> Result<Value, Failed> {
    let read = body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let bytes = read.map_err(|why| Failed::Unreachable(why.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|_| Failed::Unreachable(UNREADABLE.to_owned()))
}

/// What etcd says when it refuses, in JSON or plainly.
fn refusal(body: Body) -> String {
    let said = body.into_with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
    let said = said.unwrap_or_default();
    let json: Value = serde_json::from_slice(&said).unwrap_or_default();
    let words = json.pointer("/message").or(json.pointer("/error"));
    match words.and_then(Value::as_str) {
        Some(words) => words.to_owned(),
        None => String::from_utf8_lossy(&said).escape_debug().to_string(),
    }
}

fn revision(answer: &Value) -> Result<i64, StoreFault> {
    let text = answer.pointer("/header/revision").and_then(Value::as_str);
    let revision = text.and_then(|text| text.parse().ok());
    revision.ok_or_else(|| StoreFault::Unreachable(UNREADABLE.to_owned()))
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> StoreFault {
    StoreFault::Access {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// The certificates and the first key of a PEM file.
fn pem(path: &Path) -> Result<(Vec<Certificate<'static>>, Option<PrivateKey<'static>>), StoreFault> {
    let text = Zeroizing::new(super::read(path).map_err(|fault| wrong(path, fault))?);
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&text) {
        match item.map_err(|why| wrong(path, why))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            PemItem::PrivateKey(found) => key = key.or(Some(found)),
            _ => {}
        }
    }
    match certificates.is_empty() && key.is_none() {
        true => Err(wrong(path, "no certificate and no key in it; is it a PEM file?")),
        false => Ok((certificates, key)),
    }
}

fn password(path: &Path) -> Result<Zeroizing<String>, StoreFault> {
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX as usize));
    let file = std::fs::File::open(path).map_err(|why| wrong(path, why))?;
    file.take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|why| wrong(path, why))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

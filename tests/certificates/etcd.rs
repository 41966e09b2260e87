//! Syncers of one site that share their certificates in a real etcd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use syncer::certs::CertificateName;
use syncer::certs::io::{Backend, EtcdAccess, EtcdBackend, Store};

use crate::set::set;
use crate::support::certificate::TlsFiles;
use crate::support::ports::free_port;
use crate::support::site::Site;
use crate::support::{LONG, RedisServer, ServerOptions, wait_until};
use crate::{Two, done, has_no_error, own_file, refusals, refused, wait_replaced};

const PASSWORD: &str = "canary-of-etcd";
const PREFIX: &str = "/syncer/orders/a";

/// An etcd of our own, first without TLS, to set it up, then with certificates from both sides.
struct Etcd {
    dir: tempfile::TempDir,
    port: u16,
    files: TlsFiles,
    child: Option<Child>,
}

impl Etcd {
    fn start() -> Etcd {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate(dir.path());
        let (port, child) = (free_port(), None);
        let mut etcd = Etcd {
            dir,
            port,
            files,
            child,
        };
        etcd.run("http");
        etcd.let_in();
        etcd.stop();
        etcd.run("https");
        std::fs::write(etcd.path("password"), PASSWORD).unwrap();
        std::fs::write(etcd.path("seal"), "5e".repeat(32) + "\n").unwrap();
        etcd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&mut self, scheme: &str) {
        let [ours, peers] = [self.port, free_port()].map(|port| format!("127.0.0.1:{port}"));
        let url = format!("{scheme}://{ours}");
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new(std::env::var("ETCD").unwrap_or_else(|_| "etcd".into()));
        command.arg("--data-dir").arg(self.path("data"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args([
            "--listen-peer-urls",
            &format!("http://{peers}"),
            "--logger",
            "zap",
        ]);
        if scheme == "https" {
            command.arg("--cert-file").arg(&self.files.certificate);
            command.arg("--key-file").arg(&self.files.key);
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(&self.files.certificate);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("etcd starts (package etcd-server)"));
        wait_until("etcd answers", LONG, || TcpStream::connect(&ours).is_ok());
    }

    fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Authentication is on, and a user may read and write the values of site a alone.
    fn let_in(&self) {
        let (from, to) = (
            STANDARD.encode(format!("{PREFIX}/")),
            STANDARD.encode(format!("{PREFIX}0")),
        );
        let perm = json!({"permType": "READWRITE", "key": from, "range_end": to});
        for (path, words) in [
            ("user/add", json!({"name": "root", "password": "another"})),
            ("role/add", json!({"name": "root"})),
            ("user/grant", json!({"user": "root", "role": "root"})),
            ("user/add", json!({"name": "site-a", "password": PASSWORD})),
            ("role/add", json!({"name": "site-a"})),
            ("role/grant", json!({"name": "site-a", "perm": perm})),
            ("user/grant", json!({"user": "site-a", "role": "site-a"})),
            ("enable", json!({})),
        ] {
            let mut answer = String::new();
            wait_until("etcd has a leader", LONG, || {
                answer = self.post(path, &words.to_string());
                answer.starts_with("HTTP/1.1 200") || !answer.contains("leader")
            });
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }

    fn post(&self, path: &str, words: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = words.len();
        write!(
            socket,
            "POST /v3/auth/{path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{words}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The configuration of a syncer of site a; the first endpoint is one where nobody answers.
    fn config(&self, seal: &str) -> String {
        let (pem, key) = (&self.files.certificate, &self.files.key);
        format!(
            "[certificates]\nstore = \"etcd\"\n[etcd]\nendpoints = \"https://127.0.0.1:1, https://127.0.0.1:{}\"\n\
             ca_file = {pem:?}\ncert_file = {pem:?}\nkey_file = {key:?}\nuser = \"site-a\"\npassword_file = {:?}\n\
             seal_file = {:?}\n",
            self.port,
            self.path("password"),
            self.path(seal)
        )
    }

    fn backend(&self) -> EtcdBackend {
        let access = EtcdAccess {
            endpoints: vec![format!("https://127.0.0.1:{}", self.port)],
            prefix: PREFIX.to_owned(),
            ca_file: Some(self.files.certificate.clone()),
            client: Some((self.files.certificate.clone(), self.files.key.clone())),
            user: Some(("site-a".to_owned(), self.path("password"))),
        };
        EtcdBackend::new(&access).unwrap()
    }
}

/// For both sides of the connection. Over the gateway etcd takes no client's certificate with a common name while users
/// log in.
fn certificate(dir: &Path) -> TlsFiles {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "etcd");
    let key = rcgen::KeyPair::generate().unwrap();
    let files = TlsFiles {
        certificate: dir.join("etcd.pem"),
        key: dir.join("etcd.key"),
    };
    std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(10).collect();
            eprintln!(
                "--- etcd, last lines of its log, the newest first\n{}",
                lines.join("\n")
            );
        }
    }
}

/// One more syncer of site a, with a directory of its own.
fn another(config: &str) -> Site {
    let mut other = Site::new("a", "orders", RedisServer::start(ServerOptions::default()));
    other.extra = config.to_owned();
    other.write_config(&[]);
    other
}

fn has(site: &Site, two: &Two, name: &str) {
    let expected = std::fs::read(two.path(name)).unwrap();
    wait_until("the certificate is there", LONG, || {
        std::fs::read(own_file(site, "syncer.pem")).is_ok_and(|found| found == expected)
    });
}

fn is_reached(site: &Site, expected: bool) {
    site.wait_status("it is told whether the store is reached", |s| {
        s.0.pointer("/certificates/store/is_reached")
            .and_then(serde_json::Value::as_bool)
            == Some(expected)
    });
}

/// Nothing of a key in any file below a directory.
fn holds_nothing_of(dir: &Path, key: &str) {
    let secret: Vec<&str> = key.lines().filter(|line| line.len() == 64).collect();
    assert!(!secret.is_empty());
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds_nothing_of(&path, key);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for line in &secret {
            let twice = STANDARD.encode(line);
            assert!(
                !text.contains(line) && !text.contains(&twice),
                "{}",
                path.display()
            );
        }
        assert!(!text.contains("PRIVATE KEY"), "{}", path.display());
    }
}

#[test]
fn the_syncers_of_a_site_share_etcd() {
    let mut etcd = Etcd::start();
    let mut two = Two::prepare();
    for name in ["one", "two", "three", "four"] {
        two.self_signed(name, "syncer://orders/a", "");
    }
    // What stood in the directory fills etcd.
    two.cluster.sites[0].extra = etcd.config("seal");
    two.run();
    for name in ["one.pem", "two.pem", "three.pem", "four.pem"] {
        two.trusted_by_b(name);
    }
    is_reached(two.a(), true);
    let backend = etcd.backend();
    let all = backend.all().unwrap();
    let mut names: Vec<&str> = all.values.iter().map(|found| found.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["api", "cm", "metrics_exporter", "proxy", "syncer"]);
    assert_eq!(backend.put("syncer", b"x".to_vec(), 0).unwrap(), None);
    assert_eq!(backend.put("nobody", b"x".to_vec(), 7).unwrap(), None);

    // A new one starts with what is there.
    let mut other = another(&etcd.config("seal"));
    other.start();
    is_reached(&other, true);
    let begun = std::fs::read(own_file(two.a(), "syncer.pem")).unwrap();
    assert_eq!(std::fs::read(own_file(&other, "syncer.pem")).unwrap(), begun);

    // Set at one, live at the other; a policy, too; and without a running syncer.
    assert!(done(&other, &set(&two, "one")).contains("certificate syncer is set"));
    wait_replaced(two.a(), 1);
    has(two.a(), &two, "one.pem");
    two.writes_arrive("one");
    assert!(done(two.a(), "cluster config min_data_TLS_version 1.2").contains("link to b: moved"));
    wait_replaced(&other, 2);
    assert!(done(&other, "cluster config").contains("min_data_TLS_version     1.2"));
    other.stop();
    assert!(done(&other, &set(&two, "two")).contains("next start"));
    wait_replaced(two.a(), 3);
    two.writes_arrive("two");
    assert!(has_no_error(&two.a().status().unwrap()));
    let key = std::fs::read_to_string(two.path("two.key")).unwrap();
    let kept = Store::new(own_file(two.a(), "").as_path())
        .pair(CertificateName::Syncer)
        .unwrap();
    assert_eq!(&*kept.unwrap().key, key.as_bytes());
    holds_nothing_of(&etcd.path("data"), &key);

    // A syncer with another key is told so, and changes nothing.
    std::fs::write(etcd.path("other-seal"), "77".repeat(32)).unwrap();
    let mut stranger = another(&etcd.config("other-seal"));
    stranger.start();
    assert_eq!(stranger.wait_for_end(), Some(1));
    stranger.wait_log(&["/syncer/orders/a/", "does not open with a key of", "other-seal"]);
    assert!(!own_file(&stranger, "syncer.pem").exists());

    gone_and_back(&mut etcd, &two, &mut other);
    for log in [two.a().log(), other.log(), stranger.log()] {
        assert!(
            !log.contains("canary") && !log.contains("PRIVATE") && !log.contains("5e5e5e"),
            "{log}"
        );
    }
    two.cluster.converge();
}

/// Without etcd, what is here stays in use, also over a start, and nothing is replaced; a new syncer cannot begin.
fn gone_and_back(etcd: &mut Etcd, two: &Two, other: &mut Site) {
    etcd.stop();
    is_reached(two.a(), false);
    two.a().wait_log(&[
        "the shared store of certificates is of no use",
        "etcd is not reached",
    ]);
    let table = String::from_utf8(two.a().command("status", &[]).stdout).unwrap();
    assert!(table.contains("CERTIFICATE store not reached for"), "{table}");
    let refusals_before = refusals(&two.a().status().unwrap(), "store");
    assert!(refused(two.a(), &set(two, "three")).contains("etcd is not reached"));
    assert_eq!(refusals(&two.a().status().unwrap(), "store"), refusals_before + 1);
    two.writes_arrive("gone");
    other.start();
    is_reached(other, false);
    assert!(done(other, "cluster certificate show syncer").contains("SHA256:"));
    let mut late = another(&etcd.config("seal"));
    late.start();
    assert_eq!(late.wait_for_end(), Some(1));
    late.wait_log(&[
        "etcd is not reached",
        "holds no copy of this site's certificate to start with",
    ]);

    etcd.run("https");
    is_reached(two.a(), true);
    is_reached(other, true);
    two.a()
        .wait_log(&["the shared store of certificates is reached again"]);
    done(two.a(), &set(two, "three"));
    has(other, two, "three.pem");
    done(other, &set(two, "four"));
    has(two.a(), two, "four.pem");
    two.writes_arrive("back");
}

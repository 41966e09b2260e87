//! The store, and what is judged before it changes.

use super::super::io::{Change, Pair as Stored, Sources, Store, ensure, judge_own};
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Pairs that are in date today: these tests go by the machine's clock.
pub(super) fn stored(pair: &Pair) -> Stored {
    Stored {
        certificate: pair.certificate.clone().into_bytes(),
        key: pair.key.clone().into_bytes().into(),
    }
}

fn read(store: &Store, name: CertificateName) -> Stored {
    store.pair(name).unwrap().unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn pairs_are_replaced_whole_and_old_sets_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    assert_eq!(store.pair(CertificateName::Api).unwrap(), None);
    let (one, two, three) = (stored(&made("a")), stored(&made("a")), stored(&made("a")));
    store.replace(CertificateName::Api, &one).unwrap();
    assert_eq!(read(&store, CertificateName::Api), one);
    store.replace(CertificateName::Api, &two).unwrap();
    assert_eq!(read(&store, CertificateName::Api), two);
    assert_eq!(
        files(dir.path()),
        [".api.2", ".lock", "api", "api.key", "api.pem"]
    );
    let mode = |name: &str| {
        std::fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("api.key"), mode("api.pem"), mode(".api.2")),
        (0o600, 0o644, 0o700)
    );
    // Somebody puts a file in the place of a link: the pair is what the names give.
    std::fs::remove_file(dir.path().join("api.key")).unwrap();
    std::fs::write(dir.path().join("api.key"), &*two.key).unwrap();
    store.replace(CertificateName::Api, &three).unwrap();
    assert_eq!(read(&store, CertificateName::Api), three);
    assert_eq!(format!("{three:?}"), "Pair(***)");
}

#[test]
fn a_replacement_that_was_cut_short_hinders_nobody() {
    let dir = tempfile::tempdir().unwrap();
    ensure(dir.path(), CertificateName::Syncer, &identity("a"), &[]).unwrap();
    let store = Store::new(dir.path());
    let before = read(&store, CertificateName::Syncer);
    // A set that nothing leads to, half a set, and links that were not put in place.
    std::fs::create_dir(dir.path().join(".syncer.7")).unwrap();
    std::fs::write(dir.path().join(".syncer.7/key.pem"), "half").unwrap();
    std::os::unix::fs::symlink(".syncer.7", dir.path().join("syncer.new")).unwrap();
    std::os::unix::fs::symlink("syncer/key.pem", dir.path().join("syncer.key.new")).unwrap();
    assert_eq!(read(&store, CertificateName::Syncer), before);
    let next = stored(&made("a"));
    store.replace(CertificateName::Syncer, &next).unwrap();
    assert_eq!(read(&store, CertificateName::Syncer), next);
    assert_eq!(
        files(dir.path()),
        [".lock", ".syncer.9", "syncer", "syncer.key", "syncer.pem"]
    );
}

/// Every moment of a replacement, the first one over plain files included, is seen by a reader.
#[test]
fn no_moment_shows_a_certificate_with_anothers_key() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = [stored(&made("a")), stored(&made("a"))];
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..60 {
                let store = Store::new(dir.path());
                if round % 10 == 0 {
                    // Plain files again, as at the first time; whole ones, as by a rename of both.
                    let sub = dir.path().join(format!("{round}"));
                    std::fs::create_dir(&sub).unwrap();
                    std::fs::write(sub.join("syncer.pem"), &pairs[0].certificate).unwrap();
                    std::fs::write(sub.join("syncer.key"), &*pairs[0].key).unwrap();
                    Store::new(&sub)
                        .replace(CertificateName::Syncer, &pairs[1])
                        .unwrap();
                    assert_eq!(read(&Store::new(&sub), CertificateName::Syncer), pairs[1]);
                }
                store.replace(CertificateName::Syncer, &pairs[round % 2]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let store = Store::new(dir.path());
            if let Ok(Some(pair)) = store.pair(CertificateName::Syncer) {
                assert!(pairs.contains(&pair), "a certificate with another's key");
            }
        }
    });
}

#[test]
fn a_store_that_cannot_be_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("file/certs"));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = store
        .replace(CertificateName::Cm, &stored(&made("a")))
        .unwrap_err();
    assert_eq!(refused.label(), "unreadable");
    assert!(store.set_cluster(&Cluster::default(), b"").is_err());
}

#[test]
fn what_does_not_suit_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Store::new(dir.path()).paths(CertificateName::Api);
    let judge = |name, pair: &Pair| judge_own(&stored(pair), &paths, name, &identity("a"));
    let server_only = Says {
        server_only: true,
        ..Says::default()
    }
    .pair();
    assert!(judge(CertificateName::Api, &server_only).is_ok());
    let why = judge(CertificateName::Syncer, &server_only).unwrap_err();
    assert!(
        why.label() == "policy" && why.to_string().contains("clientAuth"),
        "{why}"
    );
    assert_eq!(
        judge(CertificateName::Api, &made("b")).unwrap_err().label(),
        "wrong_identity"
    );
    let forged = by_hand("a", "rsa:2048");
    assert!(judge(CertificateName::Syncer, &forged).is_ok());
}

fn sources(dir: &Path, peer: &Pair) -> Sources {
    let path = dir.join("b.pem");
    std::fs::write(&path, &peer.certificate).unwrap();
    Sources {
        store: Store::new(dir),
        identity: identity("a"),
        peers: vec![(site("b"), path)],
        tls_version_min: TlsVersion::V1_3,
    }
}

#[test]
fn a_change_is_judged_before_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    ensure(dir.path(), CertificateName::Syncer, &identity("a"), &[]).unwrap();
    let sources = sources(dir.path(), &made("b"));
    let in_use = sources.judge(&sources.read(None).unwrap()).unwrap();
    let next = stored(&made("a"));
    let judged = sources
        .judge(&sources.read(Some(Change::Own(next.clone()))).unwrap())
        .unwrap();
    assert_ne!(judged.digest, in_use.digest);
    // Nothing has changed; and once it has, the files are those that were judged.
    assert_eq!(sources.read(None).unwrap().digest(), in_use.digest);
    sources.store.replace(CertificateName::Syncer, &next).unwrap();
    assert_eq!(sources.read(None).unwrap().digest(), judged.digest);
    let mut policy = Cluster::default();
    policy.set("min_data_TLS_version", "1.2").unwrap();
    let contents = sources.read(Some(Change::Cluster(policy.clone()))).unwrap();
    let judged = sources.judge(&contents).unwrap();
    sources.store.set_cluster(&policy, b"").unwrap();
    assert_eq!(sources.read(None).unwrap().digest(), judged.digest);
    // Whoever has seen an older policy changes nothing.
    let late = sources.store.set_cluster(&Cluster::default(), b"").unwrap_err();
    assert!(late.to_string().contains("changed by another syncer"), "{late}");
    // Suites that the ECDSA key cannot be used with.
    policy.set("cipher_suites", "aRSA").unwrap();
    let contents = sources.read(Some(Change::Cluster(policy))).unwrap();
    assert_eq!(sources.judge(&contents).unwrap_err().label(), "policy");
    std::fs::write(dir.path().join("cluster.conf"), "min_data_TLS_version 1.1\n").unwrap();
    let why = sources.judge(&sources.read(None).unwrap()).unwrap_err();
    assert!(why.to_string().contains("cluster.conf: line 1"), "{why}");
}

#[test]
fn every_prefix_of_a_file_is_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Store::new(dir.path()).paths(CertificateName::Syncer);
    let pair = made("a");
    let judge = |certificate: &str, key: &str| {
        let cut = Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        judge_own(&stored(&cut), &paths, CertificateName::Syncer, &identity("a")).is_ok()
    };
    let whole = |text: &str| text.trim_end().len();
    for at in 0..pair.certificate.len() {
        assert_eq!(
            judge(&pair.certificate[..at], &pair.key),
            at >= whole(&pair.certificate),
            "{at}"
        );
    }
    for at in 0..pair.key.len() {
        assert_eq!(
            judge(&pair.certificate, &pair.key[..at]),
            at >= whole(&pair.key),
            "{at}"
        );
    }
}

#[test]
fn what_ends_is_told() {
    let dir = tempfile::tempdir().unwrap();
    ensure(dir.path(), CertificateName::Syncer, &identity("a"), &[]).unwrap();
    let key = dir.path().join("syncer.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    // An expired peer does not keep the others from working.
    let old = Says {
        years: Some((2020, 2021)),
        ..Says::default()
    };
    let sources = sources(dir.path(), &old.pair());
    let material = sources.judge(&sources.read(None).unwrap()).unwrap();
    let all = sources.expiries(&material, NOON);
    let told: Vec<(Expiry, String)> = all
        .into_iter()
        .map(|(near, notice)| (near, notice.to_string()))
        .collect();
    assert_eq!(told[0].0, Expiry::Over, "{told:?}");
    assert!(
        told[1].0 == Expiry::Over && told[1].1.contains("peer b expires or expired at 2021"),
        "{told:?}"
    );
    let shown = sources.key_exposed().unwrap().unwrap().to_string();
    assert!(
        shown.contains("mode 644") && shown.contains("chmod 600"),
        "{shown}"
    );
    let places: Vec<PathBuf> = sources.directories();
    assert_eq!(places, [dir.path()]);
}

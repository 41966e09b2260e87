//! Links that do not come about, by reason.

use super::super::io::{HandshakeError, accept};
use super::handshake::meet;
use super::*;
use rustls::sign::CertifiedKey;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command as AsyncCommand;

const LONG: Duration = Duration::from_secs(20);

/// A dialer that we did not write: `openssl s_client` with the certificate of `pair`.
pub async fn with_openssl(tls: &LinkTls, pair: &Pair, options: &str) -> Result<SiteId, HandshakeError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c"), &pair.certificate).unwrap();
    std::fs::write(dir.path().join("k"), &pair.key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let args = format!("s_client -quiet -connect 127.0.0.1:{port} {options}");
    let mut client = AsyncCommand::new("openssl")
        .args(args.split(' '))
        .current_dir(dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("these tests need the openssl command");
    let (socket, _) = listener.accept().await.unwrap();
    let accepted = accept(tls, socket, LONG).await.map(|(_, site)| site);
    client.kill().await.unwrap();
    accepted
}

#[tokio::test]
async fn other_dialers() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let shown = "-cert c -key k";
    let cases = [
        (format!("{shown} -alpn syncer/1"), "ok"),
        (format!("{shown} -alpn h2"), "bad_alpn"),
        (shown.to_owned(), "bad_alpn"),
        ("-alpn syncer/1".to_owned(), "no_certificate"),
        (format!("{shown} -alpn syncer/1 -tls1_2"), "tls_version"),
    ];
    for (options, expected) in cases {
        let label = match with_openssl(&of_a, &b, &options).await {
            Ok(_) => "ok",
            Err(HandshakeError::Refused(refused)) => refused.label(),
            Err(error) => panic!("{options}: {error}"),
        };
        assert_eq!(label, expected, "{options}");
    }
}

#[tokio::test]
async fn no_tls_at_all() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let (mut here, there) = tokio::io::duplex(1 << 10);
    here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let accepted = accept(&of_a, there, LONG).await.map(drop);
    assert_eq!(accepted, Err(HandshakeError::Refused(PeerRefused::NotTls)));
}

#[tokio::test]
async fn a_server_without_our_protocol() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let of_b = tls("b", &b, &[("a", &a)]);
    let mut silent = rustls::ServerConfig::clone(of_b.server());
    silent.alpn_protocols.clear();
    let (here, there) = tokio::io::duplex(64 << 10);
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(silent));
    let dialing = super::super::io::dial(&of_a, site("b"), here, LONG);
    let (dialed, _accepted) = tokio::join!(dialing, acceptor.accept(there));
    assert_eq!(
        dialed.map(drop),
        Err(HandshakeError::Refused(PeerRefused::BadAlpn))
    );
}

#[tokio::test]
async fn strangers_and_old_certificates() {
    let (a, b, renewed) = (made("a"), made("b"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    // b made a new certificate and told nobody.
    let met = meet(&tls("b", &renewed, &[("a", &a)]), "a", &of_a).await;
    assert_eq!(met.labels(), ("refused_by_peer", "unknown_certificate"));
    let shown = met.accepting.unwrap_err().to_string();
    assert!(
        shown.contains("SHA256:") && shown.contains("names site b"),
        "{shown}"
    );
    let met = meet(&of_a, "b", &tls("b", &renewed, &[("a", &a)])).await;
    assert_eq!(met.labels(), ("unknown_certificate", "refused_by_peer"));
    // A stranger who names a site that nobody configured, and one who names nothing.
    let met = meet(&tls("d", &made("d"), &[("a", &a)]), "a", &of_a).await;
    assert_eq!(met.labels(), ("refused_by_peer", "unknown_site"));
    let met = meet(&tls("d", &Says::default().pair(), &[("a", &a)]), "a", &of_a).await;
    assert_eq!(met.labels(), ("refused_by_peer", "unknown_certificate"));
}

#[tokio::test]
async fn a_certificate_without_its_key() {
    // Certificates are public: whoever saw b's may show it.
    let (a, b, thief) = (made("a"), made("b"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let signer = loaded(&thief);
    let leaf = loaded(&b).certificate().clone();
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(thief.key.as_bytes()).unwrap();
    let signing = policy::provider(&CipherList::default())
        .key_provider
        .load_private_key(key)
        .unwrap();
    let forged = Own::new(
        leaf.clone(),
        signer.facts().clone(),
        CertifiedKey::new(vec![leaf], signing),
    );
    let trust = trust("b", &forged, &[("a", &a)]).unwrap();
    let of_thief = LinkTls::new(&forged, trust, &Settings::default()).unwrap();
    let met = meet(&of_thief, "a", &of_a).await;
    assert_eq!(met.labels(), ("refused_by_peer", "bad_signature"));
    let met = meet(&of_a, "b", &of_thief).await;
    assert_eq!(met.labels(), ("bad_signature", "refused_by_peer"));
}

#[tokio::test]
async fn out_of_time() {
    let a = made("a");
    for (years, expected) in [((2020, 2021), "expired"), ((2080, 2090), "not_yet_valid")] {
        let uri = identity("b").to_string();
        let says = Says {
            uris: &[&uri],
            years: Some(years),
            ..Says::default()
        };
        let ca = authority();
        for (pair, anchor) in [
            (says.pair(), None),
            (Says { is_ca: true, ..says }.pair(), None),
            (says.signed(&ca), Some(&ca)),
        ] {
            // b itself started while its certificate was good, or with a wrong clock.
            let from = Moment(rcgen::date_time_ymd(years.0, 6, 1).unix_timestamp());
            let own_b = own(pair.certificate.as_bytes(), pair.key.as_bytes(), from).unwrap();
            let trust_b = trust("b", &own_b, &[("a", &a)]).unwrap();
            let of_b = LinkTls::new(&own_b, trust_b, &Settings::default()).unwrap();
            let of_a = tls("a", &a, &[("b", anchor.unwrap_or(&pair))]);
            let met = meet(&of_b, "a", &of_a).await;
            assert_eq!(met.labels(), ("refused_by_peer", expected));
            assert!(
                met.dialing
                    .unwrap_err()
                    .to_string()
                    .contains("CertificateExpired")
            );
            assert_eq!(
                meet(&of_a, "b", &of_b).await.labels(),
                (expected, "refused_by_peer")
            );
        }
    }
}

#[tokio::test]
async fn a_site_speaks_for_itself_only() {
    let (a, b, c) = (made("a"), made("b"), made("c"));
    let of_a = tls("a", &a, &[("b", &b), ("c", &c)]);
    let of_c = tls("c", &c, &[("a", &a), ("b", &b)]);
    // b's address leads to c.
    let met = meet(&of_a, "b", &of_c).await;
    assert_eq!(met.labels(), ("wrong_site", "refused_by_peer"));
    let shown = met.dialing.unwrap_err().to_string();
    assert!(shown.contains("site c, not of b"), "{shown}");
    // The CA of b cannot make certificates for c, nor can b itself.
    let (ca_b, ca_c) = (authority(), authority());
    let of_a = tls("a", &a, &[("b", &ca_b), ("c", &ca_c)]);
    let uri = identity("c").to_string();
    let forged = Says {
        uris: &[&uri],
        ..Says::default()
    }
    .signed(&ca_b);
    let met = meet(&tls("c", &forged, &[("a", &a)]), "a", &of_a).await;
    assert_eq!(met.labels(), ("refused_by_peer", "unknown_certificate"));
}

#[tokio::test]
async fn names_that_do_not_fit() {
    let (a, ca) = (made("a"), authority());
    let of_a = tls("a", &a, &[("b", &ca), ("c", &ca)]);
    let says = |uris, dns| Says {
        uris,
        dns,
        ..Says::default()
    };
    let cases = [
        (says(&["syncer://stock/b"], &["b"]), "wrong_database"),
        (says(&["syncer://orders/d"], &["b"]), "unknown_site"),
        (says(&["syncer://orders/a"], &["b"]), "own_site"),
        (
            says(&["syncer://orders/b", "syncer://orders/c"], &[]),
            "ambiguous",
        ),
        (says(&[], &["b", "c"]), "ambiguous"),
        (says(&[], &["b", "a"]), "ambiguous"),
        (says(&[], &["a"]), "own_site"),
        (says(&[], &["b.example"]), "unknown_certificate"),
        (says(&["syncer://orders/B/"], &["b"]), "malformed"),
        (
            Says {
                server_only: true,
                ..says(&[], &["b"])
            },
            "wrong_purpose",
        ),
        (
            Says {
                is_ca: true,
                ..says(&[], &["b"])
            },
            "not_verified",
        ),
    ];
    for (says, expected) in cases {
        // Whoever shows it does not look at it.
        let pair = says.signed(&ca);
        let label = match with_openssl(&of_a, &pair, "-cert c -key k -alpn syncer/1").await {
            Err(HandshakeError::Refused(refused)) => refused.label(),
            other => panic!("{says:?}: {other:?}"),
        };
        assert_eq!(label, expected, "{says:?}");
    }
    let met = with_openssl(&of_a, &a, "-cert c -key k -alpn syncer/1").await;
    assert_eq!(met, Err(HandshakeError::Refused(PeerRefused::OwnSite)));
}

#[test]
fn refusals_are_counted_by_label() {
    let mut counters = Counters::default();
    counters.note(&PeerRefused::BadAlpn);
    counters.note(&PeerRefused::BadAlpn);
    counters.note(&PeerRefused::Expired(NOON));
    let counted: Vec<_> = counters.refused.into_iter().collect();
    assert_eq!(counted, [("bad_alpn", 2), ("expired", 1)]);
}

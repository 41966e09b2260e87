//! Links that come about, and what they are then made of.

use super::super::io::{HandshakeError, accept, dial, meaning};
use super::*;
use rustls::ProtocolVersion;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Duration = Duration::from_secs(20);

/// What both ends made of a handshake. The dialing one reads a byte, for only then it knows whether it was
/// let in.
pub struct Met {
    pub dialing: Result<ProtocolVersion, HandshakeError>,
    pub accepting: Result<SiteId, HandshakeError>,
}

impl Met {
    pub fn labels(&self) -> (&'static str, &'static str) {
        (label(&self.dialing), label(&self.accepting))
    }
}

fn label<T>(result: &Result<T, HandshakeError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(HandshakeError::Refused(refused)) => refused.label(),
        Err(HandshakeError::Closed) => "closed",
        Err(_) => "other",
    }
}

pub async fn meet(dialing: &LinkTls, to: &str, accepting: &LinkTls) -> Met {
    let (here, there) = tokio::io::duplex(64 << 10);
    let dialing = async {
        let mut stream = dial(dialing, site(to), here, LONG).await?;
        let read = stream.read_u8().await.map_err(|error| meaning(&error))?;
        assert_eq!(read, 7);
        Ok(stream.get_ref().1.protocol_version().unwrap())
    };
    let accepting = async {
        let (mut stream, who) = accept(accepting, there, LONG).await?;
        stream.write_u8(7).await.unwrap();
        stream.flush().await.unwrap();
        assert!(stream.get_ref().1.peer_certificates().is_some());
        Ok(who)
    };
    let (dialing, accepting) = tokio::join!(dialing, accepting);
    Met { dialing, accepting }
}

async fn agree(a: &LinkTls, b: &LinkTls) {
    for (one, name, two, other) in [(a, "b", b, "a"), (b, "a", a, "b")] {
        let met = meet(one, name, two).await;
        assert_eq!(met.dialing, Ok(ProtocolVersion::TLSv1_3));
        assert_eq!(met.accepting, Ok(site(other)));
    }
}

#[tokio::test]
async fn pinned_both_ways() {
    let (a, b) = (made("a"), made("b"));
    agree(&tls("a", &a, &[("b", &b)]), &tls("b", &b, &[("a", &a)])).await;
}

#[tokio::test]
async fn pinned_by_hand_with_openssl() {
    let keys = ["ec -pkeyopt ec_paramgen_curve:P-256", "rsa:2048", "ed25519"];
    for key in keys {
        let (a, b) = (by_hand("some-host", key), by_hand("other-host", key));
        agree(&tls("a", &a, &[("b", &b)]), &tls("b", &b, &[("a", &a)])).await;
    }
}

#[tokio::test]
async fn signed_by_a_ca() {
    let ca = authority();
    let uri = |name: &str| identity(name).to_string();
    let by_uri = |name: &str| {
        let says = Says {
            uris: &[&uri(name), "spiffe://x/y"],
            dns: &["host.example"],
            ..Says::default()
        };
        says.signed(&ca)
    };
    let by_dns = |name: &str| {
        let says = Says {
            dns: &[&name.to_uppercase(), "host.example"],
            ..Says::default()
        };
        says.signed(&ca)
    };
    let by_common = |name: &str| {
        let says = Says {
            common: name,
            ..Says::default()
        };
        says.signed(&ca)
    };
    for (a, b) in [
        (by_uri("a"), by_uri("b")),
        (by_dns("a"), by_dns("b")),
        (by_common("a"), by_uri("b")),
    ] {
        let of_a = tls("a", &a, &[("b", &ca), ("c", &ca)]);
        let of_b = tls("b", &b, &[("a", &ca), ("c", &ca)]);
        agree(&of_a, &of_b).await;
    }
}

#[tokio::test]
async fn signed_by_an_intermediate() {
    let root = authority();
    let middle = Says {
        common: "Middle",
        is_ca: true,
        ..Says::default()
    }
    .signed(&root);
    let uri = identity("a").to_string();
    let mut a = Says {
        uris: &[&uri],
        ..Says::default()
    }
    .signed(&middle);
    a.certificate.push_str(&middle.certificate);
    let b = made("b");
    let of_a = tls("a", &a, &[("b", &b)]);
    agree(&of_a, &tls("b", &b, &[("a", &root)])).await;
}

#[tokio::test]
async fn nothing_is_resumed() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let of_b = tls("b", &b, &[("a", &a)]);
    for _ in 0..3 {
        let (here, there) = tokio::io::duplex(64 << 10);
        let (dialed, accepted) = tokio::join!(dial(&of_a, site("b"), here, LONG), accept(&of_b, there, LONG));
        let (mut dialed, (mut accepted, _)) = (dialed.unwrap(), accepted.unwrap());
        accepted.write_all(b"x").await.unwrap();
        accepted.flush().await.unwrap();
        dialed.read_u8().await.unwrap();
        for kind in [
            dialed.get_ref().1.handshake_kind(),
            accepted.get_ref().1.handshake_kind(),
        ] {
            assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn tls_1_2_where_it_is_allowed() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let old = Settings {
        tls_version_min: TlsVersion::V1_2,
        ..Settings::default()
    };
    let own_b = loaded(&b);
    let of_b = LinkTls::new(&own_b, trust("b", &own_b, &[("a", &a)]).unwrap(), &old).unwrap();
    // Both offer 1.3, so that is what they speak.
    agree(&of_a, &of_b).await;

    let own_a = loaded(&a);
    let accepting = LinkTls::new(&own_a, trust("a", &own_a, &[("b", &b)]).unwrap(), &old).unwrap();
    let met = refusals::with_openssl(&accepting, &b, "-cert c -key k -tls1_2 -alpn syncer/1").await;
    assert_eq!(met, Ok(site("b")));
}

#[tokio::test]
async fn a_slow_peer_is_given_up() {
    let (a, b) = (made("a"), made("b"));
    let of_a = tls("a", &a, &[("b", &b)]);
    let (here, _there) = tokio::io::duplex(64);
    let short = Duration::from_millis(20);
    let dialed = dial(&of_a, site("b"), here, short).await.map(drop);
    assert_eq!(dialed, Err(HandshakeError::TimedOut(short)));
    let (here, _) = tokio::io::duplex(64);
    let dialed = dial(&of_a, site("b"), here, LONG).await.map(drop);
    assert_eq!(dialed, Err(HandshakeError::Closed));
    let (here, _) = tokio::io::duplex(64);
    let dialed = dial(&of_a, site("c"), here, LONG).await.map(drop);
    assert_eq!(dialed, Err(HandshakeError::NotAPeer(site("c"))));
}

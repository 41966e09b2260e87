//! Peers that mean harm, at the link port of a running syncer. Each is refused with its reason, in the metric and in the
//! log, and meanwhile the link of two honest sites converges and never goes down.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use syncer::command::EffectClass;
use syncer::link::frames::{Frame, HEADER_BYTES, Positions, TAKES_OVER, encode};

use crate::peer::{Manner, Peer, batch, counted, hello, name, socket};
use crate::support::cluster::ClusterBuilder;
use crate::support::site::PeerEntry;
use crate::support::status::Status;
use crate::support::{Cluster, LONG, wait_until};
use crate::trust::{Ca, Made, Yard, expired, params, self_signed};

/// What a syncer may have resident under attack, KiB. At rest it has about 20 MiB; the longest frame here has 24.
const RESIDENT_MAX: u64 = 192 * 1024;

/// Sites a and b run, and know a peer c, which the test plays.
struct Siege {
    yard: Yard,
    port: u16,
    /// The certificate that a and b trust as c's.
    c: Made,
    rounds: u64,
}

impl Siege {
    fn begin() -> Siege {
        Siege::with(&self_signed(params("orders", "c")), |c| c.certificate.clone())
    }

    fn with(c: &Made, trusted: impl Fn(&Made) -> String) -> Siege {
        let builder: ClusterBuilder = Cluster::build(2).direct_links();
        let mut yard = Yard::prepare(builder.link("connect_timeout = \"1 s\""));
        for site in 0..2 {
            let certificate = yard.trusted(site, "c");
            std::fs::write(&certificate, trusted(c)).unwrap();
            let mut peers = yard.peers(site);
            peers.push(PeerEntry {
                site: "c".into(),
                // Nobody listens there.
                address: "127.0.0.1:1".into(),
                certificate,
            });
            yard.cluster.sites[site].write_config(&peers);
        }
        yard.start_sites();
        Siege {
            port: yard.cluster.sites[0].link_port,
            yard,
            c: c.clone(),
            rounds: 0,
        }
    }

    fn peer(&self) -> Peer {
        Peer::connect(self.port, &Manner::of(&self.c))
    }

    fn status(&self) -> Status {
        self.yard.cluster.sites[0].wait_status("it answers", |_| true)
    }

    fn refused(&self, reason: &str) -> u64 {
        self.status().sum(&format!("links.refused.{reason}"))
    }

    /// An attack is refused for this reason, is told so, and disturbs nobody.
    #[track_caller]
    fn refuses(&mut self, reason: &str, attack: impl FnOnce(&Siege)) {
        let before = self.refused(reason);
        attack(self);
        let site = &self.yard.cluster.sites[0];
        site.wait_status(&format!("{reason} is counted"), |status| {
            status.sum(&format!("links.refused.{reason}")) > before
        });
        self.undisturbed(reason);
    }

    /// A write of each honest site arrives at the other one, over the link that has been up since the beginning.
    #[track_caller]
    fn undisturbed(&mut self, what: &str) {
        self.rounds += 1;
        let cluster = &self.yard.cluster;
        let expected = (2 * self.rounds).to_string();
        (0..2).for_each(|site| drop(cluster.client(site).ok("INCR honest")));
        (0..2).for_each(|site| cluster.wait_value(site, "GET honest", &expected));
        for site in &cluster.sites {
            let log = site.log();
            let down = log.lines().find(|line| {
                line.contains("link down") && !line.contains("refused (os") && !line.contains("peer=c")
            });
            assert_eq!(down, None, "{what}");
        }
        let resident = resident_kib(cluster.sites[0].pid());
        assert!(resident < RESIDENT_MAX, "{what}: {resident} KiB are resident");
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn certificates_that_prove_nothing() {
    let mut siege = Siege::begin();
    let ca = Ca::new();
    let mut two = params("orders", "c");
    two.subject_alt_names
        .extend(params("orders", "b").subject_alt_names);
    let b = Made {
        certificate: siege.yard.certificate(1),
        key: siege.c.key.clone(),
    };
    let cases = [
        ("unknown_certificate", self_signed(params("orders", "c"))),
        ("unknown_certificate", ca.sign(params("orders", "c"))),
        ("wrong_database", self_signed(params("invoices", "c"))),
        ("unknown_site", self_signed(params("orders", "z"))),
        ("own_site", self_signed(params("orders", "a"))),
        ("ambiguous", self_signed(two)),
        // The certificate of b, without its key.
        ("bad_signature", b),
    ];
    for (reason, made) in cases {
        siege.refuses(reason, |siege| {
            let mut peer = Peer::connect(siege.port, &Manner::of(&made));
            peer.send(&Frame::Hello(hello("c")));
            assert_eq!(peer.end(), "", "{reason}: not a word to a stranger");
        });
    }
    siege.refuses("no_certificate", |siege| {
        let manner = Manner {
            own: None,
            ..Manner::of(&siege.c)
        };
        Peer::connect(siege.port, &manner).end();
    });
}

#[test]
fn certificates_whose_time_is_over() {
    let late = self_signed(expired(params("orders", "c")));
    let mut siege = Siege::with(&late, |c| c.certificate.clone());
    siege.refuses("expired", |siege| drop(siege.peer().end()));
    let ca = Ca::new();
    let late = ca.sign(expired(params("orders", "c")));
    let mut siege = Siege::with(&late, |_| ca.pem());
    siege.refuses("expired", |siege| drop(siege.peer().end()));
    // A certificate of another database, from the CA that is trusted.
    siege.refuses("wrong_database", |siege| {
        let made = ca.sign(params("invoices", "c"));
        Peer::connect(siege.port, &Manner::of(&made)).end();
    });
}

#[test]
fn protocols_that_are_not_ours() {
    let mut siege = Siege::begin();
    for alpn in [vec![], vec![b"h2".to_vec()], vec![b"syncer/2".to_vec()]] {
        siege.refuses("bad_alpn", |siege| {
            let manner = Manner {
                alpn,
                ..Manner::of(&siege.c)
            };
            Peer::connect(siege.port, &manner).end();
        });
    }
    siege.refuses("tls_version", |siege| {
        let manner = Manner {
            versions: vec![&rustls::version::TLS12],
            ..Manner::of(&siege.c)
        };
        Peer::connect(siege.port, &manner).end();
    });
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        vec![0xff; 100_000],
    ] {
        siege.refuses("not_tls", |siege| {
            let mut socket = socket(siege.port);
            let _ = socket.write_all(&garbage);
            let _ = socket.read_to_end(&mut Vec::new());
        });
    }
}

/// The whole handshake has one time, however it is spent.
#[test]
fn handshakes_that_take_for_ever() {
    let mut siege = Siege::begin();
    siege.refuses("handshake_slow", |siege| {
        let _ = socket(siege.port).read_to_end(&mut Vec::new());
    });
    siege.refuses("handshake_slow", |siege| {
        let mut socket = socket(siege.port);
        // The beginning of a ClientHello of 512 bytes, a byte at a time; never whole within this test's patience.
        let begun = Instant::now();
        for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]
            .into_iter()
            .chain(std::iter::repeat(0))
        {
            if socket.write_all(&[byte]).is_err() {
                break;
            }
            assert!(begun.elapsed() < LONG, "the syncer goes on waiting");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    siege.refuses("slow", |siege| {
        // TLS is done; then only pings.
        let mut peer = siege.peer();
        peer.send(&Frame::Ping { nonce: 1 });
        assert!(peer.end().contains("greeting"));
    });
}

/// One address does not fill the door for the others, nor memory; what is up is not counted.
#[test]
fn many_at_once() {
    let mut siege = Siege::begin();
    siege.refuses("too_many", |siege| {
        let crowd: Vec<_> = (0..300).map(|_| socket(siege.port)).collect();
        wait_until("most are refused", LONG, || siege.refused("too_many") > 250);
        assert!(siege.status().number("links.greeting") <= 24);
        drop(crowd);
    });
    wait_until("the door is empty", LONG, || {
        siege.status().number("links.greeting") == 0
    });
    let mut peer = siege.peer();
    peer.establish("c");
    assert!(
        matches!(peer.read(), Some(Frame::Ack(_) | Frame::Batch(_))),
        "an honest peer gets in again"
    );
}

#[test]
fn greetings_that_lie() {
    let mut siege = Siege::begin();
    let said = |change: &dyn Fn(&mut syncer::link::frames::Hello)| {
        let mut hello = hello("c");
        change(&mut hello);
        Frame::Hello(hello)
    };
    let cases = [
        ("hello_site", said(&|hello| hello.site = name("b"))),
        ("hello_site", said(&|hello| hello.site = name("a"))),
        (
            "hello_database",
            said(&|hello| hello.database_id = "invoices".into()),
        ),
        (
            "link_version",
            said(&|hello| (hello.protocol_min, hello.protocol_max) = (2, 9)),
        ),
        ("frame_order", Frame::Batch(counted(1))),
        ("frame_order", Frame::Resume(Positions::default())),
        ("frame_order", Frame::Moved),
    ];
    for (reason, frame) in cases {
        siege.refuses(reason, |siege| {
            let mut peer = siege.peer();
            peer.send(&frame);
            assert_ne!(peer.end(), "", "{reason}: an authenticated peer is told");
        });
    }
    // Nothing is there to take over from.
    siege.refuses("not_established", |siege| {
        let mut peer = siege.peer();
        peer.send(&said(&|hello| hello.features = TAKES_OVER));
        peer.send(&Frame::Resume(Positions::default()));
        assert!(peer.end().contains("take over"));
    });
    // The certificate of b, complete, speaking as c: the link of b stays.
    siege.refuses("hello_site", |siege| {
        let key = siege.yard.cluster.sites[1]
            .certificate_path()
            .with_extension("key");
        let b = Made {
            certificate: siege.yard.certificate(1),
            key: std::fs::read_to_string(key).unwrap(),
        };
        let mut peer = Peer::connect(siege.port, &Manner::of(&b));
        peer.send(&Frame::Hello(hello("c")));
        peer.end();
    });
}

/// A header that claims more than is there.
fn header(claimed: u32, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&claimed.to_le_bytes());
    bytes[4] = kind;
    bytes
}

#[test]
fn frames_that_lie() {
    let mut siege = Siege::begin();
    let mut damaged = bytes::BytesMut::new();
    encode(&Frame::Ping { nonce: 5 }, &mut damaged);
    damaged[HEADER_BYTES] ^= 1;
    let before_hello = [("oversize", header(1 << 31, 3)), ("oversize", header(1 << 20, 3))];
    let established = [
        ("oversize", header(1 << 31, 3)),
        ("oversize", header(u32::MAX, 4)),
        ("unknown_type", header(10, 200)),
        ("unknown_type", vec![0xff; 1 << 20]),
        ("checksum", damaged.to_vec()),
    ];
    let all = before_hello
        .map(|case| (false, case))
        .into_iter()
        .chain(established.map(|case| (true, case)));
    for (is_established, (reason, bytes)) in all {
        siege.refuses(reason, |siege| {
            let mut peer = siege.peer();
            if is_established {
                peer.establish("c");
            }
            peer.send_raw(&bytes);
            peer.end();
        });
    }
}

/// What is announced takes no memory before it comes.
#[test]
fn a_long_batch_that_never_comes() {
    let mut siege = Siege::begin();
    let mut peer = siege.peer();
    peer.establish("c");
    peer.send_raw(&header(1 << 30, 3));
    peer.send_raw(&vec![7; 1 << 20]);
    let received = |status: &Status| status.peer("c").number("received.bytes");
    assert_eq!(received(&siege.status()), 0, "nothing of it is a batch");
    siege.undisturbed("a long batch");
    drop(peer);
    siege.undisturbed("half a batch");
}

#[test]
fn batches_that_lie() {
    let mut siege = Siege::begin();
    let cases: [(&str, &dyn Fn() -> syncer::link::frames::BatchFrame); 5] = [
        ("batch", &|| {
            // The numbers of the frame are not those of the batch.
            let mut batch = counted(1);
            batch.last_seq = 1_000;
            batch
        }),
        ("batch", &|| {
            // It announces more rows than it has bytes: any of its bytes set to the highest value must be refused or
            // harmless; the count of rows is among them.
            let mut batch = counted(1);
            batch.body = batch.body.slice(..batch.body.len() / 2);
            batch
        }),
        ("batch", &|| {
            batch(1, &[(EffectClass::Set, words("CONFIG SET dir /"))])
        }),
        ("batch", &|| batch(1, &[(EffectClass::Opaque, words("EVAL x 0"))])),
        ("batch", &|| batch(1, &[(EffectClass::Set, words("INCRBY k 1"))])),
    ];
    for (reason, made) in cases {
        siege.refuses(reason, |siege| {
            let mut peer = siege.peer();
            peer.establish("c");
            peer.send(&Frame::Batch(made()));
            assert_ne!(peer.end(), "");
        });
    }
    // Every four bytes of a batch's head in turn say four thousand million: no memory is taken for it.
    let sound = counted(1);
    for at in 0..sound.body.len().min(120) - 4 {
        let mut body = sound.body.to_vec();
        body[at..at + 4].fill(0xff);
        let mut peer = siege.peer();
        peer.establish("c");
        let mut batch = sound.clone();
        batch.body = body.into();
        peer.send(&Frame::Batch(batch));
        peer.send(&Frame::Hello(hello("c")));
        peer.end();
    }
    siege.undisturbed("rows and bytes");
}

/// What was sent once counts once; what is missing is not passed over.
#[test]
fn batches_again_and_out_of_order() {
    let mut siege = Siege::begin();
    let cases: [(&str, &[u64], u64); 4] = [
        ("batch_repeated", &[1, 1], 1),
        ("batch_gap", &[2, 4], 2),
        ("batch_repeated", &[3, 4, 3], 4),
        ("batch_repeated", &[5, 6, 1], 6),
    ];
    for (reason, seqs, count) in cases {
        siege.refuses(reason, |siege| {
            let mut peer = siege.peer();
            let held = peer.establish("c");
            let own = held
                .held
                .iter()
                .find(|(site, _)| *site == name("c"))
                .map(|(_, seq)| *seq);
            assert_eq!(own, Some(seqs[0] - 1));
            seqs.iter()
                .for_each(|seq| peer.send(&Frame::Batch(counted(*seq))));
            peer.end();
            siege
                .yard
                .cluster
                .wait_value(0, "GET counted", &count.to_string());
        });
    }
    // What it had sent on another connection before.
    siege.refuses("batch_repeated", |siege| {
        let mut peer = siege.peer();
        peer.establish("c");
        peer.send(&Frame::Batch(counted(3)));
        peer.end();
    });
    siege.yard.cluster.wait_value(0, "GET counted", "6");
}

/// A dump of one string in LZF: a literal, and references that give 264 bytes for every 3.
fn bomb(references: u64, claimed: Option<u64>) -> Vec<u8> {
    let mut packed = vec![0, b'x'];
    (0..references).for_each(|_| packed.extend([0xe0, 0xff, 0x00]));
    let len = |len: u64| [&[0x81][..], &len.to_be_bytes()].concat();
    let unpacked = claimed.unwrap_or(1 + references * 264);
    let mut payload = [&[0, 0xc3][..], &len(packed.len() as u64), &len(unpacked), &packed].concat();
    payload.extend(9_u16.to_le_bytes());
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &payload);
    payload.extend(checksum.to_le_bytes());
    payload
}

/// Dumps that would unpack to more than any value has, or claim to.
#[test]
fn decompression_bombs() {
    let mut siege = Siege::begin();
    let mut peer = siege.peer();
    peer.establish("c");
    // 2 GiB in 24 MiB; a claim of a TiB; a claim of a byte.
    let bombs = [
        bomb(8_300_000, None),
        bomb(10_000, Some(1 << 40)),
        bomb(1_000_000, Some(1)),
    ];
    for (at, bomb) in bombs.into_iter().enumerate() {
        let command = [&b"RESTORE"[..], b"bomb", b"0", &bomb, b"REPLACE"].map(<[u8]>::to_vec);
        let restore = (EffectClass::Restore, command.to_vec());
        peer.send(&Frame::Batch(batch(2 * at as u64 + 1, &[restore])));
        peer.send(&Frame::Batch(counted(2 * at as u64 + 2)));
        siege
            .yard
            .cluster
            .wait_value(0, "GET counted", &(at + 1).to_string());
    }
    assert_eq!(siege.yard.cluster.client(0).run("EXISTS bomb").int(), 0);
    siege.yard.cluster.sites[0].wait_status("all are refused", |status| {
        status.number("totals.values_refused") == 3
    });
    siege.undisturbed("bombs");
}

fn words(line: &str) -> Vec<Vec<u8>> {
    crate::support::words(line)
}

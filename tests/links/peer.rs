//! A peer of its own making: it speaks TLS and the link's frames, and says what a test wants.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use syncer::causality::{Hlc, Roster, Seq, SiteId, Vector};
use syncer::command::EffectClass;
use syncer::link::frames::{BatchFrame, Decoder, Frame, Hello, Positions, encode};
use syncer::op::{Builder, Fingerprinter, Row, Source};

use crate::support::client;
use crate::trust::Made;

/// Whatever the syncer does, a test does not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Believes everybody.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How it shakes hands.
#[derive(Debug, Clone)]
pub struct Manner {
    pub own: Option<Made>,
    pub alpn: Vec<Vec<u8>>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl Manner {
    pub fn of(made: &Made) -> Manner {
        Manner {
            own: Some(made.clone()),
            alpn: vec![b"syncer/1".to_vec()],
            versions: vec![&rustls::version::TLS13],
        }
    }
}

/// A connection to a link port.
#[derive(Debug)]
pub struct Peer {
    stream: StreamOwned<ClientConnection, TcpStream>,
    input: BytesMut,
}

pub fn socket(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

impl Peer {
    /// Connects; the handshake is done with the first read or write.
    pub fn connect(port: u16, manner: &Manner) -> Peer {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&manner.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider.clone())));
        let mut config = match &manner.own {
            None => builder.with_no_client_auth(),
            Some(made) => {
                let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
                let key = provider.key_provider.load_private_key(key).unwrap();
                // Whether key and certificate belong together is not asked.
                let key = CertifiedKey::new(chain.map(Result::unwrap).collect(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        config.alpn_protocols.clone_from(&manner.alpn);
        config.enable_sni = false;
        let name = ServerName::try_from("nobody").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Peer {
            stream: StreamOwned::new(connection, socket(port)),
            input: BytesMut::new(),
        }
    }

    /// Sends bytes inside TLS; that the syncer has gone is no failure here.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    pub fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        encode(frame, &mut bytes);
        self.send_raw(&bytes);
    }

    /// The next frame, or nothing when the syncer has closed the connection.
    pub fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Decoder::new(1 << 20).next(&mut self.input).unwrap() {
                return Some(frame);
            }
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("the syncer is silent")
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Reads on until the syncer closes; the reason that it gave.
    pub fn end(&mut self) -> String {
        let mut text = String::new();
        while let Some(frame) = self.read() {
            if let Frame::Close { text: why } = frame {
                text = why;
            }
        }
        text
    }

    /// Says Hello and Resume as an honest peer would, with nothing held; gives what the syncer holds.
    pub fn establish(&mut self, site: &str) -> Positions {
        self.send(&Frame::Hello(hello(site)));
        let Some(Frame::Hello(_)) = self.read() else {
            panic!("no Hello")
        };
        let Some(Frame::Resume(positions)) = self.read() else {
            panic!("no Resume")
        };
        self.send(&Frame::Resume(Positions::default()));
        positions
    }
}

pub fn name(site: &str) -> SiteId {
    SiteId::new(site.as_bytes()).unwrap()
}

pub fn hello(site: &str) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        database_id: "orders".to_owned(),
        site: name(site),
        incarnation: 7,
        features: 0,
    }
}

/// A batch of operations of site c in the cluster of a, b and c.
pub fn batch(first_seq: Seq, commands: &[(EffectClass, Vec<Vec<u8>>)]) -> BatchFrame {
    let roster = Roster::new(name("c"), &[name("a"), name("b")]).unwrap();
    let mut builder = Builder::default();
    for (class, args) in commands {
        let mut command = Vec::new();
        client::encode(&mut command, args);
        let row = Row {
            end: 0,
            flags: 0,
            class: *class,
            db: 0,
            fingerprint: Fingerprinter::new("orders").of(0, &args[1]),
        };
        builder.push_owned(Bytes::from(command), row, &[]);
    }
    let source = Source {
        replication_id: [b'c'; 40],
        offset: first_seq,
        db: 0,
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let time = Hlc::from_unix_ms(now.as_millis() as u64).plus(first_seq);
    let (place, me) = (builder.place(), roster.me());
    let batch = builder
        .finish(place, me, (first_seq, time), Vector::zero(3), source)
        .unwrap();
    BatchFrame {
        origin: name("c"),
        first_seq,
        last_seq: batch.last_seq(),
        body: batch.encode(&roster).concat().into(),
    }
}

/// One `INCR` of a key.
pub fn counted(seq: Seq) -> BatchFrame {
    batch(
        seq,
        &[(
            EffectClass::Count,
            vec![b"INCRBY".to_vec(), b"counted".to_vec(), b"1".to_vec()],
        )],
    )
}

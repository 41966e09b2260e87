//! Certificates: any bytes as PEM, and a sound certificate changed anywhere, are read or refused, without a panic;
//! what is read has facts and a fingerprint; identities come back from their URIs.
#![no_main]

use std::fmt::Write;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use syncer::certs::{Identity, Moment, certificates, fingerprint, own};

/// A time within every certificate's validity that `rcgen` gives by itself.
const NOW: Moment = Moment(1_800_000_000);

struct Sound {
    der: Vec<u8>,
    pem: String,
    key: String,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["db.example".to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, "orders at a");
    let uri = "syncer://orders/a".try_into().expect("a URI");
    params.subject_alt_names.push(SanType::URI(uri));
    let certificate = params.self_signed(&key).expect("a certificate");
    Sound {
        der: certificate.der().to_vec(),
        pem: certificate.pem(),
        key: key.serialize_pem(),
    }
});

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for digit in 0..4 {
            let sign = DIGITS[(word >> (18 - 6 * digit)) as usize & 63];
            out.push(if digit <= chunk.len() {
                char::from(sign)
            } else {
                '='
            });
        }
    }
    out
}

fn pem(kind: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {kind}-----\n");
    for line in base64(der).as_bytes().chunks(64) {
        let _ = writeln!(out, "{}", String::from_utf8_lossy(line));
    }
    let _ = writeln!(out, "-----END {kind}-----");
    out
}

fn read(text: &[u8]) {
    if let Ok(found) = certificates(text) {
        assert!(!found.is_empty());
        found
            .iter()
            .for_each(|der| assert!(fingerprint(der).starts_with("SHA256:")));
    }
    if let Ok(own) = own(text, SOUND.key.as_bytes(), NOW) {
        assert!(own.facts().not_after >= NOW);
    }
    if let Ok(own) = own(SOUND.pem.as_bytes(), text, NOW) {
        assert_eq!(own.certificate().as_ref(), &SOUND.der[..]);
    }
}

fn identity(text: &str) {
    for uri in [text, &format!("syncer://{text}")] {
        if let Some(Ok(identity)) = Identity::from_uri(uri) {
            assert_eq!(identity.to_string(), uri);
            assert_eq!(Identity::from_uri(uri), Some(Ok(identity)));
        }
    }
}

fuzz_target!(|input: (u16, Vec<u8>, String)| {
    let (at, data, text) = input;
    read(&data);
    read(text.as_bytes());
    read(pem("CERTIFICATE", &data).as_bytes());
    read(pem("PRIVATE KEY", &data).as_bytes());
    let mut changed = SOUND.der.clone();
    let place = usize::from(at) % changed.len();
    for (byte, new) in changed[place..].iter_mut().zip(&data) {
        *byte = *new;
    }
    read(pem("CERTIFICATE", &changed).as_bytes());
    // Other sections and text around the certificate are skipped.
    read(format!("{text}\n{}", SOUND.pem).as_bytes());
    identity(&text);
});

//! Cipher lists: OpenSSL itself is the reference.

use super::super::{CipherError, CipherList};
use std::process::Command;

fn names(text: &str) -> Vec<&'static str> {
    let list = CipherList::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    list.suites().iter().map(|suite| suite.name()).collect()
}

fn refused(text: &str) -> String {
    CipherList::parse(text).unwrap_err().to_string()
}

/// What OpenSSL makes of a list, as far as those suites exist here; nothing if it refuses.
fn openssl(text: &str) -> Vec<String> {
    let out = Command::new("openssl")
        .args(["ciphers", "-tls1_2", text])
        .output()
        .expect("these tests need the openssl command");
    let ours = names("ALL");
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    text.split(':')
        .filter(|name| ours.contains(name) && !name.starts_with("TLS_"))
        .map(str::to_owned)
        .collect()
}

fn old(text: &str) -> Vec<&'static str> {
    let names = names(text);
    names
        .into_iter()
        .filter(|name| !name.starts_with("TLS_"))
        .collect()
}

#[test]
fn lists_mean_what_they_mean_to_openssl() {
    for text in [
        "HIGH:!aNULL:!MD5",
        "ECDHE+AESGCM",
        "ECDHE+AESGCM:ECDHE+CHACHA20:!RSA:!3DES",
        "DEFAULT",
        "HIGH",
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256",
        "AES128:HIGH:@STRENGTH",
        "ALL:-AES256:+ECDSA:AES256",
        "EECDH+ECDSA+AESGCM:EECDH+aRSA+AESGCM",
        "CHACHA20, AESGCM; !aRSA",
    ] {
        assert_eq!(old(text), openssl(text), "{text}");
    }
}

/// Random words against OpenSSL; the seed is in the message.
#[test]
fn random_lists_mean_what_they_mean_to_openssl() {
    const WORDS: &[&str] = &[
        "ALL",
        "HIGH",
        "ECDHE",
        "kECDHE",
        "ECDSA",
        "aRSA",
        "AES",
        "AESGCM",
        "AES128",
        "AES256",
        "CHACHA20",
        "TLSv1.2",
        "aNULL",
        "kRSA",
        "MD5",
        "SHA256",
        "CBC",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    let seed = 0x5eed_c1f3_u64;
    let mut state = seed;
    let mut below = |max: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % max
    };
    for round in 0..120 {
        let mut list = String::from("ALL");
        for _ in 0..below(5) + 1 {
            let sign = ["", "", "!", "-", "+"][below(5)];
            let word = WORDS[below(WORDS.len())];
            let more = if below(3) == 0 {
                format!("+{}", WORDS[below(12)])
            } else {
                String::new()
            };
            list.push_str(&format!(":{sign}{word}{more}"));
        }
        match CipherList::parse(&list) {
            Ok(_) => assert_eq!(
                old(&list),
                openssl(&list),
                "seed {seed:#x}, round {round}: {list}"
            ),
            Err(CipherError::None { .. }) => {}
            Err(why) => panic!("seed {seed:#x}, round {round}: {list}: {why}"),
        }
    }
}

#[test]
fn names_of_tls_13() {
    let all = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256",
    ];
    assert_eq!(names("AES128")[..3], all);
    assert_eq!(names("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"]);
    assert_eq!(
        names("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")[1],
        "TLS_AES_256_GCM_SHA384"
    );
    assert_eq!(
        names("HIGH:!TLS_AES_128_GCM_SHA256")[..3],
        ["TLS_AES_256_GCM_SHA384", all[1], old("HIGH")[0]]
    );
    let none = format!("HIGH:!{}", all.join(":!"));
    assert!(refused(&none).contains("no suite of TLS 1.3 is left"));
}

#[test]
fn what_does_not_exist_is_refused_by_name() {
    for (text, parts) in [
        ("DES-CBC3-SHA", &["\"DES-CBC3-SHA\"", "none here"][..]),
        ("HIGH:AES256-SHA256", &["\"AES256-SHA256\"", "none here"]),
        ("HIGH:MEDIUM", &["\"MEDIUM\"", "!MEDIUM"]),
        ("RC4:HIGH", &["\"RC4\""]),
        ("HIGH:kRSA+AESGCM", &["\"kRSA+AESGCM\""]),
        ("HIGH:!FOO", &["\"FOO\" is no cipher suite"]),
        ("high", &["did you mean HIGH?"]),
        (
            "ECDHE-RSA-AES256-GCM-SHA348",
            &["did you mean ECDHE-RSA-AES256-GCM-SHA384?"],
        ),
        (
            "ECDHE-RSA-AES256-GCM-SHA38",
            &["did you mean ECDHE-RSA-AES256-GCM-SHA384?"],
        ),
        (
            "ECDHE_RSA_AES128_GCM_SHA256",
            &["did you mean ECDHE-RSA-AES128-GCM-SHA256?"],
        ),
        (
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            &["did you mean ECDHE-RSA-AES128-GCM-SHA256?"],
        ),
        ("HIGH:@SECLEVEL=2", &["\"@SECLEVEL=2\""]),
        ("ECDHE+", &["\"ECDHE+\" is not understood"]),
        ("!", &["\"!\" is not understood"]),
        (" : ", &["empty"]),
        (&"A".repeat(5_000), &["4096 bytes"]),
    ] {
        let shown = refused(text);
        assert!(parts.iter().all(|part| shown.contains(part)), "{text}: {shown}");
    }
}

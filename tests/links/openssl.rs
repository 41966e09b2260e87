//! The link port as OpenSSL's client sees it: no weak version, no weak suite, whatever a client offers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::Cluster;
use crate::trust::Yard;

/// `openssl s_client` with the certificate of site b; what it says. A config of its own lets it offer what is weak.
fn client(yard: &Yard, args: &[&str]) -> String {
    let b = yard.cluster.sites[1].certificate_path();
    let port = yard.cluster.sites[0].link_port;
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-alpn",
            "syncer/1",
        ])
        .arg("-cert")
        .arg(&b)
        .arg("-key")
        .arg(b.with_extension("key"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    [output.stdout, output.stderr]
        .concat()
        .iter()
        .map(|byte| char::from(*byte))
        .collect()
}

/// The suite that was agreed on, if any.
fn agreed(said: &str) -> Option<&str> {
    let line = said
        .lines()
        .find_map(|line| line.split_once("Cipher is ").map(|(_, suite)| suite.trim()))?;
    (line != "(NONE)").then_some(line)
}

/// A look at the link port by testssl.sh, which goes on beside the test.
struct Look {
    child: Child,
    findings: PathBuf,
}

/// The protocols and the kinds of suites; what follows from them (POODLE, SWEET32, DROWN, ...) is not asked again.
fn begin_look(yard: &Yard) -> Option<Look> {
    let findings = yard.cluster.sites[0].config_path().with_file_name("testssl.json");
    let port = yard.cluster.sites[0].link_port;
    let child = Command::new("testssl")
        .args([
            "--quiet",
            "--warnings",
            "off",
            "--assume-http",
            "--protocols",
            "--std",
        ])
        .args(["--ip", "127.0.0.1", "--jsonfile"])
        .arg(&findings)
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Look { child, findings }),
        Err(error) => {
            eprintln!("testssl ({error}) did not look at the link port; it is in the package testssl.sh");
            None
        }
    }
}

impl Look {
    /// Every finding by its name.
    fn end(mut self) -> BTreeMap<String, String> {
        self.child.wait().unwrap();
        let text = std::fs::read_to_string(&self.findings).unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let word = |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap().to_owned();
        for finding in &found {
            let is_weak =
                ["LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&&*word(finding, "severity"));
            assert!(!is_weak, "{finding}");
        }
        let all = found.iter();
        all.map(|finding| (word(finding, "id"), word(finding, "finding")))
            .collect()
    }
}

#[test]
fn nothing_weak_is_agreed_on() {
    let yard = Yard::start(Cluster::build(2).direct_links());
    for version in ["-tls1", "-tls1_1", "-tls1_2"] {
        let said = client(&yard, &[version, "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]);
        assert_eq!(agreed(&said), None, "{version}: {said}");
        assert!(
            said.contains("alert"),
            "{version} is refused by the syncer, not by the client: {said}"
        );
    }
    for suite in [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let said = client(&yard, &["-tls1_3", "-ciphersuites", suite]);
        assert_eq!(agreed(&said), Some(suite), "{said}");
        assert!(said.contains("ALPN protocol: syncer/1"), "{said}");
        // What was agreed on before is never resumed: a certificate that was taken back would live on in it.
        assert!(!said.contains("New Session Ticket"), "{said}");
    }
    for suite in ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"] {
        assert_eq!(
            agreed(&client(&yard, &["-tls1_3", "-ciphersuites", suite])),
            None,
            "{suite}"
        );
    }
    for group in ["ffdhe2048", "ffdhe8192"] {
        assert_eq!(
            agreed(&client(&yard, &["-tls1_3", "-groups", group])),
            None,
            "{group}"
        );
    }
    // Strangers may write nothing into the log as often as they like.
    client(&yard, &["-servername", "127.0.0.1"]);
    yard.cluster.converge();
    let log = yard.cluster.sites[0].log();
    assert!(!log.contains("rustls"), "{log}");
}

/// With TLS 1.2 allowed: only suites with forward secrecy and authenticated encryption.
#[test]
fn tls_1_2_by_policy_has_strong_suites_only() {
    let yard = Yard::start(
        Cluster::build(2)
            .direct_links()
            .config("[certificates]\ntls_version_min = \"1.2\"\n"),
    );
    let look = begin_look(&yard);
    for version in ["-tls1", "-tls1_1"] {
        let said = client(&yard, &[version, "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]);
        assert_eq!(agreed(&said), None, "{version}: {said}");
    }
    let listed = Command::new("openssl")
        .args(["ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let all: Vec<&str> = listed
        .trim()
        .split(':')
        .filter(|suite| !suite.starts_with("TLS_"))
        .collect();
    assert!(all.len() > 30, "{all:?}");
    let mut taken = Vec::new();
    for suite in all {
        let with = format!("{suite}:@SECLEVEL=0");
        if agreed(&client(&yard, &["-tls1_2", "-cipher", &with])).is_some() {
            taken.push(suite);
        }
    }
    // The certificates made here are ECDSA's.
    taken.sort_unstable();
    let strong = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    assert_eq!(taken, strong);
    let renegotiated = client(&yard, &["-tls1_2"]);
    assert!(
        renegotiated.contains("Secure Renegotiation IS supported"),
        "{renegotiated}"
    );
    if let Some(look) = look {
        let found = look.end();
        let offered = ["TLS1_2", "TLS1_3", "cipherlist_STRONG"];
        let weak = ["SSLv2", "SSLv3", "TLS1", "TLS1_1"].into_iter().chain([
            "cipherlist_NULL",
            "cipherlist_aNULL",
            "cipherlist_EXPORT",
            "cipherlist_LOW",
            "cipherlist_3DES_IDEA",
            "cipherlist_AVERAGE",
        ]);
        for name in offered {
            assert!(found[name].starts_with("offered"), "{name}: {found:?}");
        }
        for name in weak {
            assert_eq!(found[name], "not offered", "{name}: {found:?}");
        }
    }
}

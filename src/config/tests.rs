//! What configurations say and mean.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;
use std::time::Duration;

const FULL: &str = r#"
site = "a"
database_id = "orders"
database = "redis://user:hidden-pass@127.0.0.1:6379"
data_dir = "/var/lib/syncer/a"
[link]
listen = "127.0.0.1:9400"
[[peer]]
site = "b"
address = "127.0.0.1:9401"
certificate = "/etc/syncer/b.pem"
"#;

fn parse(text: &str) -> Result<Settings, Mistakes> {
    settings(text, &|_| None)
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text)
        .expect_err("mistakes")
        .iter()
        .map(Mistake::to_string)
        .collect()
}

/// A correct file with more text at its end.
fn with(more: &str) -> String {
    format!("{FULL}{more}")
}

#[test]
fn the_operators_contract() {
    let settings = parse(FULL).unwrap();
    assert_eq!(settings.site.as_str(), "a");
    assert_eq!(settings.database_id, "orders");
    assert_eq!(
        settings.database.url.expose(),
        "redis://user:hidden-pass@127.0.0.1:6379"
    );
    assert_eq!(settings.link.listen, "127.0.0.1:9400");
    assert_eq!(settings.peers.len(), 1);
    assert_eq!(settings.peers[0].address, "127.0.0.1:9401");
    assert_eq!(settings.log.bytes_max, 8 << 30);
    assert_eq!(settings.log.sync, LogSync::EverySecond);
    assert_eq!(settings.link.clock_drift_max, Duration::from_secs(5));
    assert_eq!(settings.apply.transaction_commands_max, 512);
    assert_eq!(
        settings.certificates.dir,
        std::path::Path::new("/var/lib/syncer/a/certs")
    );
    assert_eq!(
        settings.control_socket(),
        std::path::Path::new("/var/lib/syncer/a/control.sock")
    );
}

#[test]
fn every_mistake_at_once_with_its_line() {
    let text = "site = \"A\"\ndatabase_id = 7\ndatabse = \"redis://h\"\n[link]\nlistne = \"x\"\n\
                heartbeat = \"5\"\n[lgo]\nsync = 1\n[[peer]]\nsite = \"b\"\nadress = \"h:1\"\n";
    let expected = [
        "line 1: site: \"A\": a site name holds only a-z, 0-9 and '-', this one holds 'A'",
        "line 2: database_id: a text in quotes is expected",
        "line 3: databse: unknown key; did you mean `database`?",
        "line 5: link.listne: unknown key; did you mean `listen`?",
        "line 6: link.heartbeat: \"5\" is not a time; write one such as \"500 ms\", \"5 s\" or \"1 min\"",
        "line 7: lgo: unknown section; did you mean [log]?",
        "line 9: peer 1: address: missing",
        "line 9: peer 1: certificate: missing",
        "line 11: peer.adress: unknown key; did you mean `address`?",
        "database: missing; redis://[user[:password]@]host[:port], rediss:// for TLS",
        "data_dir: missing; path",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn misplaced_keys_are_shown_their_place() {
    let cases = [
        ("data_dir = \"/x\"\n", "stands at the top of the file"),
        ("[log]\nlisten = \"h:1\"\n", "did you mean `listen` in [link]?"),
        ("[peer]\nsite = \"c\"\n", "not valid TOML"),
        ("[[link]]\n", "not valid TOML"),
        ("[log]\nbytes_max = 0x10\n", "in decimal"),
        ("[log]\nbytes_max = [1]\n", "one value is expected"),
        ("[log]\nbytes_max = 1.5\n", "a text in quotes"),
        ("[zebra]\nx = 1\n", "unknown section"),
        ("site = [\n", "not valid TOML"),
    ];
    for (more, expected) in cases {
        let found = mistakes(&with(more));
        assert!(found.iter().any(|m| m.contains(expected)), "{more:?}: {found:?}");
    }
    let found = mistakes("link = 1\npeer = 1\n");
    assert!(found[0].contains("a section; write [link]"), "{found:?}");
    assert!(found[1].contains("[[peer]] in double brackets"), "{found:?}");
}

#[test]
fn values_are_checked() {
    let cases = [
        (
            "[log]\nbytes_max = \"1 MiB\"\n",
            "out of range; from 64 MiB to 64 TiB",
        ),
        ("[log]\nbytes_max = \"8 gigs\"\n", "not a size"),
        ("[log]\nsync = \"alwys\"\n", "did you mean \"always\"?"),
        (
            "[log]\nsegment_bytes = \"4 GiB\"\n",
            "fewer than four such segments",
        ),
        (
            "[apply]\ntransaction_commands_max = 0\n",
            "out of range; from 1 to 65536",
        ),
        (
            "[apply]\ntransaction_bytes_max = \"16 MiB\"\n",
            "not one transaction would fit",
        ),
        ("[tracing]\nlevel = \"loud\"\n", "neither a level"),
        (
            "[database_tls]\nca_file = \"/ca.pem\"\n",
            "no effect with a redis:// database",
        ),
        (
            "[[peer]]\nsite = \"b\"\naddress = \"h:1\"\ncertificate = \"c\"\n",
            "b is listed twice",
        ),
        (
            "[[peer]]\nsite = \"a\"\naddress = \"h:1\"\ncertificate = \"c\"\n",
            "this site itself",
        ),
        (
            "[[peer]]\nsite = \"c\"\naddress = \"h\"\ncertificate = \"c\"\n",
            "the port is missing",
        ),
        (
            "[[peer]]\nsite = \"c\"\naddress = \"::1:9\"\ncertificate = \"c\"\n",
            "in brackets",
        ),
    ];
    for (more, expected) in cases {
        let found = mistakes(&with(more));
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{more:?}: {found:?}"
        );
    }
    let found = mistakes(&FULL.replace("[link]", "[link]\nheartbeat = \"10 s\""));
    assert!(found[0].contains("shorter than two heartbeats"), "{found:?}");
}

#[test]
fn database_urls() {
    let good = [
        "redis://h",
        "redis://h:1/0",
        "redis://:p@h:1/",
        "rediss://u:p@[::1]:6380",
        "redis://u@[::1]",
        "redis://u:%40%2F@h",
    ];
    for url in good {
        value::database_url(url).unwrap_or_else(|e| panic!("{url}: {e}"));
    }
    let bad = [
        "h:6379",
        "http://h",
        "redis://",
        "redis://h:0",
        "redis://h:x",
        "redis://h/1",
        "redis://a b",
        "redis://u:p@",
    ];
    for url in bad {
        assert!(value::database_url(url).is_err(), "{url}");
    }
    assert!(
        value::database_url("redis+sentinel://h")
            .unwrap_err()
            .contains("not supported yet")
    );
    assert!(
        value::database_url("redis://u:p/q@h")
            .unwrap_err()
            .contains("%2F")
    );
}

#[test]
fn passwords_have_one_place_and_never_show() {
    let text = FULL.replace("data_dir", "database_password_env = \"PW\"\ndata_dir");
    assert!(mistakes(&text)[0].contains("given more than once"));
    let text = FULL.replace("127.0.0.1:6379", "127.0.0.1:0");
    assert!(!mistakes(&text)[0].contains("hidden-pass"));
    let shown = format!("{:?} {:?}", parse(FULL).unwrap(), Config::said(FULL, &|_| None));
    assert!(!shown.contains("hidden-pass"), "{shown}");
}

#[test]
fn tls_to_the_database_needs_its_ca() {
    let tls = FULL.replace("redis://", "rediss://");
    assert!(mistakes(&tls)[0].contains("verified against the CA"));
    let ca = format!("{tls}[database_tls]\nca_file = \"/ca.pem\"\n");
    assert_eq!(parse(&ca).unwrap().database.tls.unwrap().client, None);
    assert!(mistakes(&format!("{ca}key_file = \"/k.pem\"\n"))[0].contains("given together"));
}

#[test]
fn the_environment_has_the_last_word() {
    let variable = |name: &str| match name {
        "SYNCER_LINK_LISTEN" => Some("0.0.0.0:1".into()),
        "SYNCER_LOG_BYTES_MAX" => Some("1GiB".into()),
        "SYNCER_DATABASE" => Some("redis://other".into()),
        _ => None,
    };
    let settings = settings(FULL, &variable).unwrap();
    assert_eq!(settings.link.listen, "0.0.0.0:1");
    assert_eq!(settings.log.bytes_max, 1 << 30);
    assert_eq!(settings.database.url.expose(), "redis://other");
    let wrong = super::settings(FULL, &|name| (name == "SYNCER_SITE").then(|| "NO".into()));
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .starts_with("variable SYNCER_SITE: site: ")
    );
}

#[test]
fn rows_are_sound() {
    for (at, row) in ROWS.iter().enumerate() {
        assert!(
            ROWS[..at].iter().all(|other| other.variable() != row.variable()),
            "{}",
            row.key
        );
        assert!(!(row.required && row.default.is_some()), "{}", row.key);
        assert!(row.doc.ends_with('.'), "{}", row.key);
    }
    // Sections stand together, so that the page has each once.
    let mut sections: Vec<_> = ROWS.iter().map(|row| row.parts().0).collect();
    sections.dedup();
    let unique: std::collections::BTreeSet<_> = sections.iter().collect();
    assert_eq!(unique.len(), sections.len());
}

/// `SYNCER_WRITE_DOCS=1` writes the page instead.
#[test]
fn the_reference_page_is_the_rows() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("SYNCER_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == reference(),
        "{} is stale: SYNCER_WRITE_DOCS=1 cargo test --lib config::",
        path.display()
    );
}

#[test]
fn a_file_is_read_and_its_paths_anchored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.toml");
    std::fs::write(dir.path().join("pw"), "secret-word\nrest\n").unwrap();
    let text = FULL
        .replace("/var/lib/syncer/a", "state")
        .replace("user:hidden-pass@", "user@");
    std::fs::write(
        &path,
        text.replace("data_dir", "database_password_file = \"pw\"\ndata_dir"),
    )
    .unwrap();
    let settings = io::load(&path).unwrap();
    assert_eq!(settings.data_dir, dir.path().join("state"));
    assert_eq!(settings.certificates.dir, dir.path().join("state/certs"));
    assert_eq!(
        settings.peers[0].certificate,
        std::path::Path::new("/etc/syncer/b.pem")
    );
    assert_eq!(
        io::password(&settings.database).unwrap().unwrap().expose(),
        "secret-word"
    );
    std::fs::write(&path, "sit = 1").unwrap();
    let shown = io::load(&path).unwrap_err().to_string();
    assert!(
        shown.contains("s.toml has mistakes:\nline 1: sit: unknown key"),
        "{shown}"
    );
    assert!(matches!(
        io::load(&dir.path().join("none")),
        Err(io::Error::Unreadable { .. })
    ));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[\\[\\]a-z\"=.\n 0-9_{},\\\\]{0,200}", more in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&more);
        let _ = parse(&with(&text));
        let _ = settings(FULL, &|_| Some(more.clone()));
    }

    #[test]
    fn sizes_and_times_read_back(bytes in 0u64..1 << 50, ms in 0u64..1 << 40) {
        prop_assert_eq!(value::size(&value::say_size(bytes), 0..=u64::MAX), Ok(bytes));
        let time = Duration::from_millis(ms);
        prop_assert_eq!(value::time(&value::say_time(time), Duration::ZERO..=Duration::MAX), Ok(time));
    }

    #[test]
    fn addresses_never_panic(text in any::<String>()) {
        let _ = value::address(&text);
        let _ = value::database_url(&text);
        let _ = value::database_url(&format!("redis://{text}"));
    }
}

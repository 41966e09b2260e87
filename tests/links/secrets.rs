//! Keys and passwords stand nowhere but in their files.

use crate::moving::REPLACED;
use crate::support::{Cluster, ServerOptions};
use crate::trust::{Made, Yard, params, self_signed};

const PASSWORD: &str = "correct-horse-battery-staple";

/// A run with a good and a bad replacement, a refused login and everything that the program prints: no line of any
/// key, and no password.
#[test]
fn nothing_secret_is_ever_printed() {
    let options = ServerOptions::default().with("user", &format!("syncer on >{PASSWORD} ~* &* +@all"));
    let builder = Cluster::build(2)
        .servers(&options)
        .direct_links()
        .link("connect_timeout = \"1 s\"");
    let yard = Yard::start(builder.syncer_user("syncer", PASSWORD));
    let mut keys = vec![key(&yard, 0), key(&yard, 1)];
    let good = Made {
        certificate: yard.certificate(0),
        key: key(&yard, 0),
    };
    let bad = self_signed(params("orders", "a"));
    keys.push(bad.key.clone());
    yard.own(0, &bad);
    yard.reloaded(0, "not replaced");
    // Files in each other's place: a parser that quotes what it reads would quote the key.
    yard.own(
        0,
        &Made {
            certificate: bad.key.clone(),
            key: bad.certificate.clone(),
        },
    );
    yard.reloaded(0, "not replaced");
    yard.own(
        0,
        &Made {
            certificate: bad.certificate.clone(),
            key: bad.key[..bad.key.len() / 2].to_owned(),
        },
    );
    yard.reloaded(0, "not replaced");
    yard.own(0, &good);
    yard.reloaded(0, REPLACED);
    yard.cluster.client(0).ok("SET k v");
    yard.cluster.client(1).ok("ACL SETUSER syncer off");
    yard.cluster.client(1).ok("CLIENT KILL USER syncer");
    yard.cluster.sites[1].wait_status("the database refuses the syncer", |status| {
        !status.database_is_up()
    });
    let mut printed = String::new();
    for site in &yard.cluster.sites {
        printed += &site.log();
        for (command, flags) in [("status", &[][..]), ("status", &["--json"])] {
            let output = site.command(command, flags);
            printed += &String::from_utf8_lossy(&output.stdout);
            printed += &String::from_utf8_lossy(&output.stderr);
        }
    }
    assert!(printed.contains("database_id"), "{printed}");
    assert!(!printed.contains(PASSWORD), "a password was printed");
    for key in keys {
        for line in key.lines().filter(|line| !line.starts_with("---")) {
            assert!(!printed.contains(line), "a key was printed");
            // Nor as the bytes of a debug print or in hexadecimal.
            let bytes = &line.as_bytes()[..8];
            assert!(!printed.contains(&format!("{bytes:?}")[1..]), "a key was printed");
        }
    }
}

fn key(yard: &Yard, site: usize) -> String {
    std::fs::read_to_string(yard.cluster.sites[site].certificate_path().with_extension("key")).unwrap()
}

//! The administrator's words: any text is an order or refused with a reason; a list of cipher suites that is taken is
//! shown and read again as the same one, always with a suite of TLS 1.3; so is the stored policy, and a peer's file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncer::certs::{CipherList, Cluster, peer_file};
use syncer::control::words;

fn list(text: &str) {
    let Ok(list) = CipherList::parse(text) else {
        return;
    };
    let suites = list.suites();
    assert!(suites.first().is_some_and(|suite| suite.is_tls13()), "{text:?}");
    let twice = suites
        .iter()
        .enumerate()
        .any(|(at, suite)| suites[..at].contains(suite));
    assert!(!twice, "{text:?}");
    assert_eq!(
        CipherList::parse(&list.to_string()).as_ref(),
        Ok(&list),
        "{text:?}"
    );
}

fuzz_target!(|data: &str| {
    let said: Vec<String> = data.split(' ').map(str::to_owned).collect();
    if let Err(error) = words::parse(&said) {
        assert!(!error.to_string().is_empty());
    }
    list(data);
    list(&format!("HIGH:{data}"));
    if let Ok(cluster) = Cluster::parse(data) {
        assert_eq!(Cluster::parse(&cluster.to_string()), Ok(cluster));
    }
    let _ = peer_file(data.as_bytes());
});

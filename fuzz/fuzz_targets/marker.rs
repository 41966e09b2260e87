//! Markers: any key and value are a marker or none, without a panic; what was read comes back as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncer::causality::{Hlc, SiteId};
use syncer::echo::{KEY_PREFIX, Marker, is_ours, key_of};

fn comes_back(marker: Marker) {
    let key = key_of(marker.origin);
    assert!(is_ours(&key));
    assert_eq!(Marker::parse(&key, marker.value().as_bytes()), Some(marker));
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, [u64; 4])| {
    let (name, value, [seq, time, writer, txn]) = input;
    let key = [KEY_PREFIX, &name].concat();
    for (key, value) in [(&name, &value), (&key, &value), (&value, &name)] {
        if let Some(marker) = Marker::parse(key, value) {
            assert!(is_ours(key));
            assert_eq!(key_of(marker.origin), *key);
            comes_back(marker);
        }
    }
    let origin = SiteId::new(&name).unwrap_or_else(|_| SiteId::new(b"eu-1").expect("a name"));
    comes_back(Marker {
        origin,
        seq,
        time: Hlc(time),
        writer,
        txn,
    });
});

//! Nothing that was applied comes back: after the last write the streams go quiet.

use std::time::{Duration, Instant};

use crate::support::{Client, Cluster, Random};

/// Commands on keys that all sites write, and on keys of the site's own.
fn write_some(client: &mut Client, site: usize, random: &mut Random, count: usize) {
    let mut lines = Vec::new();
    for n in 0..count {
        let key = random.below(50);
        lines.push(match random.below(8) {
            0 => format!("SET shared:{key} {site}-{n}"),
            1 => format!("INCR count:{key}"),
            2 => format!("SADD set:{key} {site}-{}", random.below(20)),
            3 => format!("SREM set:{key} {site}-{}", random.below(20)),
            4 => format!("HSET hash:{key} f{} {n}", random.below(5)),
            5 => format!("DEL shared:{key}"),
            6 => format!("RPUSH own:{site}:{key} {n}"),
            _ => format!("ZADD zset:{key} {n} m{}", random.below(10)),
        });
    }
    client.load(&lines);
}

/// Looks at the streams for a while in which only PINGs (14 bytes, every 10 s unless configured) may come.
fn assert_silence(cluster: &Cluster, period: Duration) {
    let before: Vec<_> = cluster.sites.iter().map(|s| s.server.offset()).collect();
    let start = Instant::now();
    while start.elapsed() < period {
        std::thread::sleep(Duration::from_millis(100));
        for (site, &before) in cluster.sites.iter().zip(&before) {
            let grown = site.server.offset() - before;
            let pings = 14 * (1 + start.elapsed().as_secs() / 10 + 1);
            assert!(
                grown.is_multiple_of(14) && grown <= pings,
                "the stream of {} grew by {grown}",
                site.name
            );
        }
    }
}

#[test]
fn a_ring_of_three_goes_quiet_after_the_last_write() {
    let mut random = Random::announced("ring of writes");
    let cluster = Cluster::new(3);
    let mut clients: Vec<_> = (0..3).map(|site| cluster.client(site)).collect();
    for _ in 0..20 {
        for (site, client) in clients.iter_mut().enumerate() {
            write_some(client, site, &mut random, 200);
        }
    }
    cluster.converge();
    assert_silence(&cluster, Duration::from_secs(4));
    cluster.converge();
}

/// A write costs the other sites one transaction each, and nobody sends it on.
#[test]
fn a_write_is_applied_once_at_every_other_site() {
    Random::announced("applied once");
    let cluster = Cluster::new(3);
    let calls = |site: usize| {
        let stats = cluster.sites[site].server.info("commandstats");
        let line = stats.get("cmdstat_incrby").map_or("calls=0,", String::as_str);
        let number = line
            .trim_start_matches("calls=")
            .split(',')
            .next()
            .expect("calls");
        number.parse::<u64>().expect("a number of calls")
    };
    let mut client = cluster.client(0);
    for n in 0..500 {
        client.ok(&format!("INCRBY once:{} 1", n % 7));
    }
    cluster.converge();
    assert_eq!(
        [calls(0), calls(1), calls(2)],
        [500, 500, 500],
        "calls of INCRBY at a, b, c"
    );
    assert_silence(&cluster, Duration::from_secs(1));
}

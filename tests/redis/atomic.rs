//! A client's MULTI block is never seen half at another site.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Client, Cluster, LONG, Random, Reply, wait_until};

/// Keys per block, and bytes per value: the last ones exceed what fits into one batch of small commands.
const BLOCKS: [(usize, usize); 5] = [(2, 8), (17, 8), (100, 64), (500, 16), (500, 2_000)];

fn key(block: usize, n: usize) -> String {
    format!("block:{block}:{n}")
}

/// Writes one generation of a block in one transaction.
fn write(client: &mut Client, block: usize, generation: u64) {
    let (keys, bytes) = BLOCKS[block];
    let value = format!("{generation:0bytes$}");
    let mut commands = vec![vec!["MULTI".to_string()]];
    commands.extend((0..keys).map(|n| vec!["SET".into(), key(block, n), value.clone()]));
    commands.push(vec!["EXEC".into()]);
    let last = client.pipeline(&commands).pop().expect("a reply to EXEC");
    assert_eq!(last.array().len(), keys, "EXEC: {last:?}");
}

/// Reads a block in one transaction; its only value, or what is wrong.
fn read(client: &mut Client, block: usize) -> Result<Reply, String> {
    let mut get = vec!["MGET".to_string()];
    get.extend((0..BLOCKS[block].0).map(|n| key(block, n)));
    let replies = client.pipeline(&[vec!["MULTI".to_string()], get, vec!["EXEC".into()]]);
    let values = replies[2].array()[0].array();
    let mut different = values.to_vec();
    different.dedup();
    if different.len() == 1 {
        return Ok(different.swap_remove(0));
    }
    let brief: Vec<_> = different
        .iter()
        .map(|v| v.text().trim_start_matches('0').to_string())
        .collect();
    Err(format!("block {block} was seen half: {brief:?}"))
}

fn blocks_stay_whole(writers: &[usize], readers: &[usize], fault: impl Fn(&Cluster, u64)) {
    let cluster = Cluster::new(2);
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let pollers: Vec<_> = readers
            .iter()
            .map(|&site| {
                let mut client = cluster.client(site);
                let (stop, reads) = (&stop, &reads);
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    while !stop.load(Ordering::Relaxed) && wrong.is_empty() {
                        wrong.extend((0..BLOCKS.len()).filter_map(|block| read(&mut client, block).err()));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    wrong
                })
            })
            .collect();
        let mut clients: Vec<_> = writers.iter().map(|&site| cluster.client(site)).collect();
        for generation in 1..=40 {
            for client in &mut clients {
                for block in 0..BLOCKS.len() {
                    write(client, block, generation);
                }
            }
            fault(&cluster, generation);
        }
        cluster.quiet();
        stop.store(true, Ordering::Relaxed);
        for poller in pollers {
            assert_eq!(poller.join().expect("poller"), Vec::<String>::new());
        }
    });
    assert!(
        reads.load(Ordering::Relaxed) > 10,
        "the pollers looked often enough"
    );
    super::support::compare(&cluster);
    for block in 0..BLOCKS.len() {
        let value = read(&mut cluster.client(1), block).expect("whole").text();
        assert_eq!(
            value.trim_start_matches('0'),
            "40",
            "the last generation of block {block}"
        );
    }
}

#[test]
fn a_block_is_never_seen_half() {
    Random::announced("blocks");
    blocks_stay_whole(&[0], &[1, 1], |_, _| {});
}

#[test]
fn a_block_is_never_seen_half_while_the_link_breaks() {
    Random::announced("blocks and a broken link");
    blocks_stay_whole(&[0], &[1], |cluster, generation| match generation % 8 {
        2 => cluster.drop_connections(0, 1),
        4 => cluster.stall(0, 1),
        5 => cluster.heal(0, 1),
        _ => {}
    });
}

/// The transactions of the other site's clients are blocks, too: a script and a pop are seen whole.
#[test]
fn a_script_is_never_seen_half() {
    Random::announced("scripts as blocks");
    let cluster = Cluster::new(2);
    let (mut writer, mut reader) = (cluster.client(0), cluster.client(1));
    let script = "local n = redis.call('INCR', KEYS[1]); redis.call('SET', KEYS[2], n); redis.call('RPUSH', KEYS[3], n)";
    let start = Instant::now();
    for n in 1..=300 {
        writer.args(&["EVAL", script, "3", "n", "copy", "list"]);
        let replies = reader.pipeline(&[
            vec!["MULTI"],
            vec!["GET", "n"],
            vec!["GET", "copy"],
            vec!["LLEN", "list"],
            vec!["EXEC"],
        ]);
        let seen = replies[4].array();
        if seen[0] != Reply::Nil {
            assert_eq!(seen[0], seen[1], "after {n}");
            assert_eq!(seen[0].int(), seen[2].int(), "after {n}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60));
    wait_until("the last one has arrived", LONG, || {
        reader.ok("GET copy").text() == "300"
    });
    cluster.converge();
}

//! Writes of several sites that have not seen each other: the rules, on real servers.
//!
//! Most tests play a table of conflicts at once: everything is written on keys of its own while the link is
//! cut. The first write of each conflict is read by its syncer, and the clock has moved on, before the second
//! is made at the other site; so it is known which one is later. Every conflict is played with either site
//! first.

use crate::support::{Client, Cluster, Random, Reply, clock_tick, words};

/// Two writes that do not see each other, on keys that begin with `#`.
pub(crate) struct Conflict {
    base: &'static str,
    first: &'static str,
    second: &'static str,
    read: &'static str,
    expected: &'static str,
}

/// Commands on a value as a whole are replayed in one order: which one is not promised, only that it is the same.
pub(crate) const SAME: &str = "the same at both sites";

pub(crate) const fn later(
    first: &'static str,
    second: &'static str,
    read: &'static str,
    expected: &'static str,
) -> Conflict {
    Conflict {
        base: "",
        first,
        second,
        read,
        expected,
    }
}

impl Conflict {
    pub(crate) const fn on(mut self, base: &'static str) -> Self {
        self.base = base;
        self
    }
}

/// A reply as one line: arrays in brackets, `-` for nothing.
fn line(reply: &Reply) -> String {
    match reply {
        Reply::Nil => "-".into(),
        Reply::Array(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(" ")),
        other => other.text(),
    }
}

fn run_steps(client: &mut Client, prefix: &str, steps: &str) {
    for step in steps.split(" ; ").filter(|step| !step.is_empty()) {
        let mut args = words(step);
        for arg in args.iter_mut().filter(|arg| arg.starts_with(b"#")) {
            *arg = [prefix.as_bytes(), &arg[1..]].concat();
        }
        let reply = client.args(&args);
        assert!(!reply.is_error(), "{prefix} {step}: {}", reply.text());
    }
}

/// Plays conflicts whose outcome depends on who was later, and others that must not (`either`): those are
/// also played with their writes exchanged.
pub(crate) fn play(name: &str, ordered: &[Conflict], either: &[Conflict]) {
    Random::announced(name);
    let exchanged = |c: &Conflict| Conflict {
        base: c.base,
        first: c.second,
        second: c.first,
        ..*c
    };
    let mut all = Vec::new();
    for (n, conflict) in ordered.iter().enumerate() {
        all.push((format!("later-{n}:"), Conflict { ..*conflict }));
    }
    for (n, conflict) in either.iter().enumerate() {
        all.push((format!("either-{n}:"), Conflict { ..*conflict }));
        all.push((format!("rehtie-{n}:"), exchanged(conflict)));
    }
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    // Each conflict with site a first, and again with site b first.
    let mut plays: Vec<(String, usize, &Conflict)> = Vec::new();
    for (prefix, conflict) in &all {
        plays.extend([0, 1].map(|site| (format!("{site}-{prefix}"), site, conflict)));
    }
    for (prefix, site, conflict) in &plays {
        run_steps(&mut clients[*site], prefix, conflict.base);
    }
    cluster.converge();
    cluster.cut(0, 1);
    for (prefix, site, conflict) in &plays {
        run_steps(&mut clients[*site], prefix, conflict.first);
    }
    cluster.wait_read();
    clock_tick();
    for (prefix, site, conflict) in &plays {
        run_steps(&mut clients[1 - *site], prefix, conflict.second);
    }
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.converge();

    let mut wrong = Vec::new();
    for (prefix, site, conflict) in &plays {
        for client in &mut clients {
            let mut args = words(conflict.read);
            for arg in args.iter_mut().filter(|arg| arg.starts_with(b"#")) {
                *arg = [prefix.as_bytes(), &arg[1..]].concat();
            }
            let found = line(&client.args(&args));
            if conflict.expected != SAME && found != conflict.expected {
                let (first, second) = (conflict.first, conflict.second);
                let order = format!("[{}] then {first} (site {site}), {second}", conflict.base);
                wrong.push(format!(
                    "{order}: {} is {found}, expected {}",
                    conflict.read, conflict.expected
                ));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} conflicts:\n{}",
        wrong.len(),
        plays.len(),
        wrong.join("\n")
    );
}

#[test]
fn strings_counters_and_deletes_follow_their_rules() {
    play(
        "conflicts of strings",
        &[
            later("SET #k one", "SET #k two", "GET #k", "two"),
            later("SET #k one", "SET #k two", "GET #k", "two").on("SET #k base"),
            later("SET #k x ; SET #k y", "SET #k z", "GET #k", "z"),
            later("SET #k x", "SET #k y ; SET #k z", "GET #k", "z"),
            later("SETNX #k one", "SETNX #k two", "GET #k", "two"),
            later("GETSET #k one", "SET #k two EX 1000", "GET #k", "two").on("SET #k base"),
            later("MSET #a 1 #b 1", "MSET #b 2 #c 2", "MGET #a #b #c", "[1 2 2]"),
            later("INCRBYFLOAT #k 1.5", "INCRBYFLOAT #k 2.5", "GET #k", "12.5").on("SET #k 10"),
        ],
        &[
            Conflict {
                base: "SET #k 10",
                first: "SET #k 100",
                second: "INCRBY #k 5",
                read: "GET #k",
                expected: "105",
            },
            later("INCR #k", "INCRBY #k 2", "GET #k", "3"),
            later("INCR #k", "INCRBY #k 2", "GET #k", "13").on("SET #k 10"),
            later("DECR #k", "INCRBY #k 5 ; DECRBY #k 1", "GET #k", "13").on("SET #k 10"),
            later("SET #k 100 ; INCR #k", "INCRBY #k 5", "GET #k", "106").on("SET #k 10"),
            later("DEL #k", "SET #k new", "GET #k", "new").on("SET #k old"),
            later("UNLINK #k", "SET #k new", "GET #k", "new").on("SET #k old"),
            later("GETDEL #k", "SET #k new", "GET #k", "new").on("SET #k old"),
            later("DEL #k", "INCRBY #k 5", "GET #k", "5").on("SET #k 10"),
            later("DEL #k", "DEL #k", "EXISTS #k", "0").on("SET #k old"),
            later("DEL #k ; SET #k 1", "DEL #k", "GET #k", "1").on("SET #k old"),
            later("SET #k x ; DEL #k", "SET #k y", "GET #k", "y"),
            later("DEL #a #b", "SET #b new", "MGET #a #b", "[- new]").on("MSET #a 1 #b 2"),
        ],
    );
}

#[test]
fn expiry_follows_its_rules() {
    const NEAR: &str = "PEXPIREAT #k 4102444800000";
    const FAR: &str = "PEXPIREAT #k 4102444900000";
    play(
        "conflicts of expiry",
        &[],
        &[
            later(NEAR, FAR, "PEXPIRETIME #k", "4102444900000").on("SET #k v"),
            later(NEAR, FAR, "PEXPIRETIME #k", "4102444900000").on("SET #k v EX 1000"),
            later("PERSIST #k", FAR, "PEXPIRETIME #k", "-1").on("SET #k v EX 1000"),
            later("PERSIST #k", "PERSIST #k", "PEXPIRETIME #k", "-1").on("SET #k v EX 1000"),
            later("DEL #k", FAR, "EXISTS #k", "0").on("SET #k v"),
            later(NEAR, FAR, "PEXPIRETIME #k", "4102444900000").on("HSET #k f v"),
            later("HSET #k g w", FAR, "HGETALL #k", "[f v g w]").on("HSET #k f v"),
        ],
    );
}

#[test]
fn elements_of_sets_hashes_and_sorted_sets_follow_their_rules() {
    play(
        "conflicts of elements",
        &[
            later("HSET #h f one", "HSET #h f two", "HGET #h f", "two"),
            later(
                "HSET #h f one g one",
                "HSET #h f two",
                "HMGET #h f g",
                "[two one]",
            ),
            later("ZADD #z 1 m", "ZADD #z 2 m", "ZSCORE #z m", "2"),
            later("ZADD #z 2 m", "ZADD #z 1 m", "ZSCORE #z m", "1").on("ZADD #z 9 m"),
        ],
        &[
            later("SADD #s a b", "SADD #s b c", "SCARD #s", "3"),
            later("SREM #s a", "SADD #s b", "SMEMBERS #s", "[b]").on("SADD #s a"),
            later("SREM #s a", "SREM #s a ; SADD #s a", "SISMEMBER #s a", "1").on("SADD #s a x"),
            later("DEL #s", "SADD #s b", "SMEMBERS #s", "[b]").on("SADD #s a"),
            later("SPOP #s 2", "SADD #s b", "SMEMBERS #s", "[b]").on("SADD #s a"),
            later("HSET #h f 1", "HSET #h g 2", "HMGET #h f g", "[1 2]"),
            later("HDEL #h f", "HSET #h f new", "HGET #h f", "new").on("HSET #h f old"),
            later("HINCRBY #h f 1", "HINCRBY #h f 2", "HGET #h f", "13").on("HSET #h f 10"),
            later("HINCRBY #h f 1", "HINCRBY #h f 2", "HGET #h f", "3"),
            later("HSET #h f 100", "HINCRBY #h f 5", "HGET #h f", "105").on("HSET #h f 10"),
            later("DEL #h", "HSET #h g new", "HGETALL #h", "[g new]").on("HSET #h f old"),
            later("ZADD #z 1 a", "ZADD #z 2 b", "ZRANGE #z 0 -1", "[a b]"),
            later("ZINCRBY #z 1 m", "ZINCRBY #z 2 m", "ZSCORE #z m", "13").on("ZADD #z 10 m"),
            later("ZREM #z m", "ZADD #z 2 m", "ZSCORE #z m", "2").on("ZADD #z 1 m"),
            later("DEL #z", "ZADD #z 2 n", "ZRANGE #z 0 -1", "[n]").on("ZADD #z 1 m"),
            later("ZPOPMIN #z", "ZADD #z 9 c", "ZRANGE #z 0 -1", "[b c]").on("ZADD #z 1 a 2 b"),
            later("SETBIT #b 1 1", "SETBIT #b 2 1", "BITCOUNT #b", "2"),
            later("PFADD #p a", "PFADD #p b", "PFCOUNT #p", "2"),
            later(
                "SETBIT #b 3 1",
                "SETBIT #b 3 0 ; SETBIT #b 5 1",
                "BITCOUNT #b",
                SAME,
            ),
        ],
    );
}

#[test]
fn two_types_on_one_key_end_as_the_later_one() {
    play(
        "conflicts of types",
        &[
            later("SET #k v", "RPUSH #k a", "TYPE #k", SAME),
            later("RPUSH #k a", "SET #k v", "TYPE #k", SAME),
            later("SADD #k a", "HSET #k f v", "TYPE #k", "hash"),
            later("HSET #k f v", "ZADD #k 1 a", "TYPE #k", "zset"),
            later("DEL #k ; SADD #k a", "SET #k v", "TYPE #k", "string").on("SET #k old"),
            later("SET #k v", "DEL #k ; SADD #k a", "SMEMBERS #k", "[a]").on("SET #k old"),
        ],
        &[],
    );
}

#[test]
fn lists_and_opaque_values_are_the_same_everywhere() {
    play(
        "conflicts of lists",
        &[],
        &[
            later("RPUSH #l a", "RPUSH #l b", "LLEN #l", "2"),
            later("RPUSH #l a", "LPUSH #l b", "LLEN #l", "3").on("RPUSH #l base"),
            later("DEL #l", "RPUSH #l c", "LRANGE #l 0 -1", "[c]").on("RPUSH #l a b"),
            later("LPOP #l", "RPUSH #l d", "LRANGE #l 0 -1", "[b d]").on("RPUSH #l a b"),
            later("LPOP #l", "LPOP #l", "LRANGE #l 0 -1", "[b c]").on("RPUSH #l a b c"),
            later("LPOP #l", "RPOP #l", "LRANGE #l 0 -1", "[b]").on("RPUSH #l a b c"),
            later("LPOP #l 2", "RPOP #l 2", "EXISTS #l", "0").on("RPUSH #l a b c"),
            later("LPOP #l", "LSET #l 0 z", "LRANGE #l 0 -1", SAME).on("RPUSH #l a b c"),
            later("APPEND #k yy", "APPEND #k zzz", "STRLEN #k", "6").on("SET #k x"),
            later("SETRANGE #k 0 AB", "SETRANGE #k 4 EF", "GET #k", "ABcdEF").on("SET #k abcdef"),
        ],
    );
}

/// Derived values: whatever the outcome, it is the same everywhere.
#[test]
fn derived_and_many_key_commands_in_conflict_converge() {
    Random::announced("conflicts of derived values");
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    let base = "MSET #a 1 #b 2 #c 3 ; SADD #s x y ; SADD #t y z ; ZADD #z 1 m ; RPUSH #l 3 1 2 ; PFADD #p a ; SET #e v EX 1000";
    let (left, right) = (
        [
            "RENAME #a #d",
            "COPY #a #b REPLACE",
            "SINTERSTORE #u #s #t",
            "ZUNIONSTORE #v 1 #z",
            "SORT #l STORE #m",
            "BITOP OR #w #a #b",
            "PFMERGE #q #p",
            "SMOVE #s #t x",
            "LMOVE #l #n LEFT RIGHT",
            "RENAMENX #a #new",
            "MOVE #a 4",
            "PERSIST #e",
        ],
        [
            "SET #a new",
            "INCR #b",
            "SREM #s y",
            "ZINCRBY #z 5 m",
            "RPUSH #l 9",
            "SET #b zz",
            "PFADD #p b",
            "SADD #s w ; SREM #t z",
            "LPUSH #l 8",
            "DEL #a",
            "RENAME #b #a",
            "SET #e w",
        ],
    );
    let plays: Vec<_> = (0..left.len())
        .flat_map(|n| [0, 1].map(|site| (format!("{n}-{site}:"), n, site)))
        .collect();
    for (prefix, _, _) in &plays {
        run_steps(&mut clients[0], prefix, base);
    }
    cluster.converge();
    cluster.cut(0, 1);
    for (prefix, n, site) in &plays {
        run_steps(&mut clients[*site], prefix, left[*n]);
        run_steps(&mut clients[1 - *site], prefix, right[*n]);
    }
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.converge();
}

/// The same 1,000 keys from both sides for seconds, over a working link.
#[test]
fn the_same_keys_set_from_both_sides_converge() {
    let mut random = Random::announced("the same keys from both sides");
    let cluster = Cluster::new(2);
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for site in 0..2 {
            let (mut client, mut random) = (cluster.client(site), random.split());
            scope.spawn(move || {
                let mut n = 0;
                while start.elapsed().as_secs() < 3 {
                    let set = |i| format!("SET same:{} {site}-{}", random.below(1_000), n + i);
                    let lines: Vec<_> = (0..100).map(set).collect();
                    client.load(&lines);
                    n += 100;
                }
            });
        }
    });
    cluster.converge();
    let conflicts: u64 = cluster
        .sites
        .iter()
        .filter_map(|s| s.status())
        .map(|s| s.sum("conflicts"))
        .sum();
    assert!(conflicts > 0, "the sites counted their conflicts");
}

/// Both sites push to one queue and one of them consumes it, over a working link.
#[test]
fn a_queue_loses_nothing_and_gives_nothing_out_twice() {
    const ROUNDS: usize = 60;
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    let push = |site: usize, n: usize| words(&format!("LPUSH q {site}-{n}"));
    let first: Vec<_> = (0..2_000).map(|n| push(2, n)).collect();
    clients[0].pipeline(&first);
    cluster.converge();
    let (mut popped, mut pushed) = (Vec::new(), 2_000);
    for round in 0..ROUNDS {
        for (site, client) in clients.iter_mut().enumerate() {
            let mut commands: Vec<_> = (round * 30..(round + 1) * 30).map(|n| push(site, n)).collect();
            pushed += commands.len();
            if site == 0 {
                commands.extend((0..20).map(|_| words("RPOP q")));
            }
            let replies = client.pipeline(&commands);
            popped.extend(replies.iter().skip(30).map(Reply::text));
        }
    }
    cluster.converge();
    let left = clients[1].run("LRANGE q 0 -1");
    let mut all: Vec<String> = left.array().iter().map(Reply::text).chain(popped).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(
        (count, all.len()),
        (pushed, pushed),
        "what is there and given out, and each once"
    );
}

/// One write of random type to one of a few keys.
fn random_write(random: &mut Random, site: usize, n: u64) -> String {
    let key = random.below(40);
    let element = random.below(6);
    match random.below(22) {
        0..3 => format!("SET s:{key} {site}-{n}"),
        3 => format!("SET s:{key} {n} PXAT {}", 4_102_444_800_000 + n),
        4..7 => format!("INCRBY c:{key} {}", random.below(9)),
        7 => format!("SET c:{key} {n}"),
        8 => format!(
            "DEL {}:{key}",
            ["s", "c", "m", "h", "z", "t"][random.below(6) as usize]
        ),
        9 | 10 => format!("SADD m:{key} e{element} f{}", random.below(6)),
        11 => format!("SREM m:{key} e{element} f{}", random.below(6)),
        12 | 13 => format!("HSET h:{key} f{element} {site}-{n}"),
        14 => format!("HINCRBY h:{key} n{element} {n}"),
        15 => format!("HDEL h:{key} f{element} n{element}"),
        16 | 17 => format!("ZADD z:{key} {n} e{element}"),
        18 => format!("ZINCRBY z:{key} 2 e{element}"),
        19 => format!("ZREM z:{key} e{element}"),
        20 => format!("PEXPIREAT s:{key} {}", 4_102_444_800_000 + n),
        // A key on which strings, sets and counters meet.
        _ => match random.below(3) {
            0 => format!("SET t:{key} {n}"),
            1 => format!("DEL t:{key}"),
            _ => format!("INCR t:{key}"),
        },
    }
}

/// Random writes at three sites, the links now whole, now cut, now slow.
#[test]
fn random_writes_at_three_sites_converge() {
    let mut random = Random::announced("random writes at three sites");
    let cluster = Cluster::new(3);
    let mut clients: Vec<_> = (0..3).map(|site| cluster.client(site)).collect();
    for round in 0..6 {
        match round % 3 {
            0 => cluster.heal_all(),
            1 => cluster.cut_all(),
            _ => {
                cluster.heal_all();
                cluster.delay(0, 1, std::time::Duration::from_millis(random.below(40)));
                cluster.stall_one_way(1, 2);
            }
        }
        for burst in 0..10 {
            for (site, client) in clients.iter_mut().enumerate() {
                let numbers = (round * 10 + burst) * 40..(round * 10 + burst) * 40 + 40;
                let lines: Vec<_> = numbers.map(|n| random_write(&mut random, site, n)).collect();
                client.load(&lines);
            }
        }
        if round % 3 == 2 {
            cluster.heal_all();
            cluster.converge();
        }
    }
    cluster.heal_all();
    cluster.converge();
}

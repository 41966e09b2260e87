//! Bitmaps, HyperLogLogs, expiry times of hash fields, SWAPDB and functions: what several sites make of them.

use crate::conflicts::{SAME, later, play};
use crate::support::{Client, Cluster, Random, RedisServer, Reply, ServerOptions};

#[test]
fn bits_follow_their_rule() {
    let fields = "BITFIELD #b SET u8 0 255";
    play(
        "conflicts of bits",
        &[
            later(
                "SETBIT #b 3 1",
                "SETBIT #b 3 0 ; SETBIT #b 5 1",
                "BITCOUNT #b",
                "1",
            ),
            later("SETBIT #b 3 0", "SETBIT #b 3 1", "BITCOUNT #b", "1")
                .on("SETBIT #b 3 1 ; SETBIT #b 3 0 ; SETBIT #b 9 0"),
            later(fields, "SETBIT #b 7 0 ; SETBIT #b 8 1", "BITCOUNT #b", "8").on("SETBIT #b 7 1"),
            later("SETRANGE #k 0 abc", "SETRANGE #k 1 X", "GET #k", "aXc"),
        ],
        &[
            later("SETBIT #b 1 1", "SETBIT #b 2 1", "BITCOUNT #b", "2"),
            later("SETRANGE #k 0 J", "SETRANGE #k 4 y", "GET #k", "Jelly").on("SET #k hello"),
            later("SET #k a", "SETBIT #k 15 1", "BITCOUNT #k", "4").on("SET #k old"),
            later("DEL #b", "SETBIT #b 5 1", "BITCOUNT #b", "1").on("SETBIT #b 1 1"),
            later("DEL #b", "SETBIT #b 100 0", "STRLEN #b", "13").on("SET #b old"),
            later("SETBIT #b 100 0", "SETBIT #b 3 1", "STRLEN #b", "13"),
            later("PEXPIRE #b 1000000", "SETBIT #b 3 1", "BITCOUNT #b", "2").on("SETBIT #b 1 1"),
            later("SETBIT #k 40 1", "APPEND #k x", "GET #k", SAME).on("SET #k 1"),
            later("SETBIT #k 1 1", "INCR #k", "GET #k", SAME).on("SET #k 1"),
            later("SETBIT #k 1 1", "BITFIELD #k INCRBY u8 0 1", "GET #k", SAME),
            later("SETBIT #k 1 1", "SADD #k m", "TYPE #k", SAME),
        ],
    );
}

#[test]
fn hyperloglogs_follow_their_rule() {
    play(
        "conflicts of HyperLogLogs",
        &[],
        &[
            later("PFADD #p c", "PFADD #p d e", "PFCOUNT #p", "5").on("PFADD #p a b"),
            later("DEL #p", "PFADD #p c", "PFCOUNT #p", "1").on("PFADD #p a b"),
            later("DEL #p ; PFADD #p d", "PFADD #p c", "PFCOUNT #p", "2").on("PFADD #p a b"),
            later("PEXPIRE #p 1000000", "PFADD #p c", "PFCOUNT #p", "3").on("PFADD #p a b"),
            later("SET #p v", "PFADD #p c", "GET #p", "v").on("PFADD #p a b"),
            later("PFADD #p", "PFADD #p c", "PFCOUNT #p", "1"),
        ],
    );
}

/// What the rules give needs nobody's value.
#[test]
fn bits_and_hyperloglogs_in_conflict_ship_no_value() {
    Random::announced("no values");
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    clients[0].ok("SETBIT b 1000000 1");
    clients[0].ok("PFADD p a b");
    cluster.converge();
    cluster.cut(0, 1);
    for (site, client) in clients.iter_mut().enumerate() {
        client.ok(&format!("SETBIT b {} 1", 7 + site));
        client.ok(&format!("SETBIT b 70 {site}"));
        client.ok(&format!("PFADD p {site}"));
    }
    clients[0].ok("DEL p");
    clients[1].ok("DEL b");
    clients[1].ok("SETBIT b 9 1");
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.converge();
    for (site, client) in clients.iter_mut().enumerate() {
        let status = cluster.sites[site].status().unwrap();
        assert_eq!(status.0.pointer("/conflicts/states_shipped"), None);
        assert_eq!(client.run("PFCOUNT p").int(), 1);
        assert_eq!(client.run("BITCOUNT b").int(), 2);
    }
}

fn has(client: &mut Client, command: &str) -> bool {
    let known = client.run(&format!("COMMAND INFO {command}"));
    known
        .array()
        .first()
        .is_some_and(|row| matches!(row, Reply::Array(_)))
}

const FIRST: &str = "HPEXPIREAT #h 4102444800000 FIELDS 1 f";
const LONGER: &str = "HPEXPIREAT #h 4102444900000 FIELDS 2 f g";
const TIME: &str = "HPEXPIRETIME #h FIELDS 1 f";
const HASH: &str = "HSET #h f v g w";

const TIMED: &str = "HSET #h f v g w ; HPEXPIREAT #h 4102444800000 FIELDS 1 f";
const NONE: &str = "[-1]";

/// From Redis 7.4 and Valkey 9 on.
#[test]
fn expiry_times_of_fields_follow_their_rule() {
    if !has(
        &mut RedisServer::start(ServerOptions::default()).client(),
        "HPEXPIREAT",
    ) {
        return;
    }
    let several = "HPEXPIREAT #h 4102444700000 NX FIELDS 2 f g";
    let persist = "HPERSIST #h FIELDS 1 f";
    play(
        "field expiry",
        &[],
        &[
            later(FIRST, LONGER, TIME, "[4102444900000]").on(HASH),
            later(FIRST, "HSET #h f x", TIME, NONE).on(HASH),
            later(FIRST, "HSET #h f x", "HGET #h f", "x").on(HASH),
            later(persist, LONGER, TIME, NONE).on(TIMED),
            later(
                "HPEXPIREAT #h 4102444700000 LT FIELDS 1 f",
                LONGER,
                TIME,
                "[4102444900000]",
            )
            .on(TIMED),
            later(several, LONGER, TIME, SAME).on(HASH),
            later(FIRST, "HDEL #h f", "HEXISTS #h f", "0").on(HASH),
            later(FIRST, "DEL #h", "EXISTS #h", "0").on(HASH),
            later(FIRST, "HINCRBY #h n 1", "HGET #h n", "1").on(HASH),
            // Valkey sends what came of it.
            later("HINCRBY #h f 2", "HINCRBY #h f 3", "HGET #h f", SAME)
                .on("HSET #h f 1 ; HPEXPIREAT #h 4102444800000 FIELDS 1 f"),
            later(LONGER, "HINCRBY #h g 3", "HGET #h g", "4").on("HSET #h f 1 g 1"),
            later(LONGER, "HINCRBYFLOAT #h f 0.5", "HGET #h f", "1.5").on("HSET #h f 1 g 1"),
            later(FIRST, "HSET #h q x", TIME, "[4102444800000]").on(HASH),
            later("DEL #h ; HSET #h f n", FIRST, TIME, NONE).on(HASH),
            later("HPEXPIRE #h 1 FIELDS 1 f", "HSET #h f x", "HGET #h f", "x").on(HASH),
            later("HPEXPIRE #h 1 FIELDS 2 f g", "HSET #h q x", "HGET #h q", "x").on(HASH),
            // As a whole value: Valkey deletes the key while that is on its way.
            later("HPEXPIRE #h 1 NX FIELDS 2 f g", "HSET #h q x", "HGET #h q", "x").on(HASH),
        ],
    );
}

/// From Redis 8 and Valkey 9 on.
#[test]
fn fields_read_or_written_with_a_time_follow_their_rule() {
    if !has(
        &mut RedisServer::start(ServerOptions::default()).client(),
        "HSETEX",
    ) {
        return;
    }
    let timed = "HSETEX #h PXAT 4102444800000 FIELDS 1 f z";
    let kept = "HSETEX #h KEEPTTL FIELDS 1 f z";
    play(
        "HSETEX and HGETEX",
        &[
            later("HSET #h f x", timed, "HGET #h f", "z").on(HASH),
            later(timed, "HSET #h f x", "HGET #h f", "x").on(HASH),
            later("HSET #h f x", kept, "HGET #h f", "z").on(TIMED),
        ],
        &[
            later(
                FIRST,
                "HSETEX #h PXAT 4102444900000 FIELDS 1 f z",
                TIME,
                "[4102444900000]",
            )
            .on(HASH),
            later(timed, "HSET #h f x", TIME, NONE).on(HASH),
            later(kept, LONGER, TIME, "[4102444900000]").on(TIMED),
            later(kept, "HDEL #h f", "HGET #h f", "z").on(TIMED),
            later("HSETEX #h FXX FIELDS 1 f z", LONGER, TIME, NONE).on(TIMED),
            later("HGETDEL #h FIELDS 2 f q", "HSET #h f x", "HGET #h f", "x").on(TIMED),
            later(timed, "HGETEX #h PERSIST FIELDS 1 f", TIME, NONE)
                .on("HSETEX #h PXAT 4102444700000 FIELDS 1 f v"),
            later(timed, "HSET #h g y", "HMGET #h f g", "[z y]").on(HASH),
            later(
                "HGETEX #h PXAT 4102444800000 FIELDS 1 f",
                "HSET #h g y",
                TIME,
                "[4102444800000]",
            )
            .on(HASH),
            later(
                FIRST,
                "HGETEX #h PXAT 4102444900000 FIELDS 1 g",
                TIME,
                "[4102444800000]",
            )
            .on(HASH),
        ],
    );
}

/// Both databases are written at both sites while the link is cut and one of them swaps.
#[test]
fn swapped_databases_converge() {
    Random::announced("SWAPDB");
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    clients[0].load(&[
        "SET zero 0",
        "SET both 0",
        "RPUSH list a",
        "SELECT 1",
        "SET one 1",
        "SET both 1",
        "HSET h f v",
    ]);
    cluster.converge();
    cluster.cut(0, 1);
    clients[0].load(&[
        "SELECT 0",
        "INCR zero",
        "SWAPDB 0 1",
        "SET behind 1",
        "SWAPDB 4 4",
        "HSET h a a",
    ]);
    clients[1].load(&["SELECT 0", "SET other 1", "HSET h b b", "SET zero 10"]);
    cluster.wait_read();
    cluster.heal(0, 1);
    cluster.wait_connected();
    cluster.converge();
    for client in &mut clients {
        client.ok("SELECT 0");
        let read = [
            "GET one",
            "GET both",
            "GET behind",
            "GET other",
            "GET zero",
            "HGET h b",
        ];
        let found = read.map(|line| client.run(line).text());
        assert_eq!(found, ["1", "1", "1", "1", "10", "b"]);
        client.ok("SELECT 1");
        assert_eq!(
            ["GET zero", "GET both"].map(|line| client.run(line).text()),
            ["1", "0"]
        );
        assert_eq!(client.run("LINDEX list 0").text(), "a");
    }
    // It goes on, and again.
    clients[1].load(&["SELECT 1", "INCR zero", "SWAPDB 0 1", "INCR zero"]);
    clients[0].load(&["SELECT 2", "SET two 2"]);
    cluster.converge();
    for client in &mut clients {
        client.ok("SELECT 0");
        assert_eq!(client.run("GET zero").text(), "2");
        client.ok("SELECT 1");
        assert_eq!(client.run("GET zero").text(), "11");
        client.ok("SELECT 2");
        assert_eq!(client.run("GET two").text(), "2");
    }
}

#[test]
fn swapped_databases_go_as_they_came_if_so_configured() {
    Random::announced("SWAPDB verbatim");
    let cluster = Cluster::build(2)
        .config("[swapdb]\npolicy = \"verbatim\"\n")
        .start();
    let mut clients = [cluster.client(0), cluster.client(1)];
    clients[0].load(&["SET zero 0", "SWAPDB 0 1", "SET new 1"]);
    cluster.converge();
    for client in &mut clients {
        assert_eq!(
            ["GET zero", "GET new"].map(|line| client.run(line).text()),
            ["(nil)", "1"]
        );
        client.ok("SELECT 1");
        assert_eq!(client.run("GET zero").text(), "0");
    }
}

#[test]
fn functions_reach_the_other_sites() {
    Random::announced("functions");
    let cluster = Cluster::new(2);
    let mut clients = [cluster.client(0), cluster.client(1)];
    let code = |name: &str, value: u8| {
        format!("#!lua name={name}\nredis.register_function('{name}', function() return {value} end)")
    };
    if clients[0].args(&["FUNCTION", "LOAD", &code("one", 1)]).is_error() {
        return;
    }
    cluster.converge();
    assert_eq!(clients[1].run("FCALL one 0").int(), 1);
    // What is there already is replaced, not refused.
    assert!(
        !clients[1]
            .args(&["FUNCTION", "LOAD", "REPLACE", &code("one", 2)])
            .is_error()
    );
    let dump = clients[1].run("FUNCTION DUMP");
    clients[1].ok("FUNCTION FLUSH");
    cluster.converge();
    assert!(clients[0].run("FCALL one 0").is_error());
    let dump = dump.bytes().unwrap().to_vec();
    assert!(!clients[1].args(&[&b"FUNCTION"[..], b"RESTORE", &dump]).is_error());
    cluster.converge();
    assert_eq!(clients[0].run("FCALL one 0").int(), 2);
    clients[0].ok("FUNCTION DELETE one");
    cluster.converge();
    assert!(clients[1].run("FCALL one 0").is_error());
    for site in &cluster.sites {
        assert_eq!(site.status().unwrap().number("totals.commands_refused"), 0);
    }
}

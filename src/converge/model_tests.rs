#![allow(clippy::unwrap_used)]
//! Random histories of two to four sites with races between clients and the engine, on a small model of the
//! database: afterwards every site holds the same and every key is settled.

mod commands;
mod database;
mod load;
mod servers;
mod world;

use load::Load;
use world::World;

/// Histories per load; a longer search sets it higher.
const SEEDS: u64 = 400;

fn run(load: Load, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed, load);
        if let Err(fault) = world.run() {
            panic!("seed {seed} of {load:?}: {fault}\n{}", world.history());
        }
    }
}

/// Short histories of two sites on one key.
fn run_short(load: Load, seeds: std::ops::Range<u64>) {
    for writes in [4, 6, 8] {
        let short = Load {
            sites: 2,
            writes,
            keys: 1,
            ..load
        };
        run(short, seeds.clone());
    }
}

#[test]
fn strings_and_counters() {
    run(
        Load {
            sites: 3,
            writes: 40,
            keys: 2,
            texts: true,
            ..Load::default()
        },
        0..SEEDS,
    );
}

#[test]
fn sets_and_hashes() {
    run(
        Load {
            sites: 3,
            writes: 40,
            keys: 2,
            sets: true,
            hashes: true,
            ..Load::default()
        },
        0..SEEDS,
    );
}

#[test]
fn sorted_sets() {
    let load = Load {
        sites: 3,
        writes: 40,
        keys: 2,
        sorted: true,
        ..Load::default()
    };
    run(load, 0..SEEDS);
    run_short(load, 0..3 * SEEDS);
}

#[test]
fn types_that_fight_for_a_key() {
    let load = Load {
        sites: 3,
        writes: 50,
        keys: 1,
        texts: true,
        sets: true,
        hashes: true,
        ..Load::default()
    };
    run(load, 0..SEEDS);
}

#[test]
fn lists_by_element() {
    let load = Load {
        lists: true,
        queue: true,
        ..Load::default()
    };
    run_short(load, 0..3 * SEEDS);
    run_sizes(load);
    let load = Load { queue: false, ..load };
    run_sizes(load);
    run_sizes(Load { expiry: true, ..load });
    run_sizes(Load { sets: true, ..load });
}

#[test]
fn lists_by_replay() {
    let load = Load {
        edits: true,
        ..Load::default()
    };
    run(Load { keys: 1, ..load }, 0..SEEDS);
    run_sizes(load);
    run_sizes(Load { lists: true, ..load });
}

#[test]
fn expiry_times() {
    let load = Load {
        sites: 3,
        writes: 40,
        keys: 2,
        texts: true,
        expiry: true,
        ..Load::default()
    };
    run(load, 0..SEEDS);
}

#[test]
fn everything_at_two_and_four_sites() {
    for sites in [2, 4] {
        let load = Load {
            sites,
            writes: 60,
            keys: 2,
            texts: true,
            sets: true,
            hashes: true,
            ..Load::default()
        };
        run(load, 0..SEEDS / 2);
    }
}

#[test]
fn expiry_times_of_fields() {
    let load = Load {
        hashes: true,
        fields: true,
        ..Load::default()
    };
    run_sizes(load);
    run_short(load, 0..8 * SEEDS);
    run_sizes(Load { expiry: true, ..load });
    run_sizes(Load { sets: true, ..load });
    run_sizes(Load { queue: true, ..load });
}

/// Short histories on one key find what long ones bury.
#[test]
fn short_histories() {
    for writes in [4, 6, 8] {
        let load = Load {
            sites: 2,
            writes,
            keys: 1,
            ..Load::default()
        };
        let texts = Load {
            texts: true,
            expiry: true,
            ..load
        };
        let lists = Load { lists: true, ..load };
        let each = [
            texts,
            Load { sets: true, ..load },
            Load { hashes: true, ..load },
            lists,
        ];
        each.into_iter().for_each(|load| run(load, 0..3 * SEEDS));
        run(Load { sites: 3, ..lists }, 0..3 * SEEDS);
    }
}

/// A load at two to four sites, long and short.
fn run_sizes(load: Load) {
    for sites in [2, 3, 4] {
        run(Load { sites, ..load }, 0..SEEDS / 2);
    }
    run_short(load, 0..2 * SEEDS);
}

#[test]
fn bitmaps() {
    let load = Load {
        bits: true,
        ..Load::default()
    };
    run_sizes(load);
    run_sizes(Load { texts: true, ..load });
    run_sizes(Load { expiry: true, ..load });
}

#[test]
fn hyperloglogs() {
    let load = Load {
        unions: true,
        ..Load::default()
    };
    run_sizes(load);
    run_sizes(Load { texts: true, ..load });
    run_sizes(Load { bits: true, ..load });
}

//! Scenes: runs in which nothing happens on a key but one race, so that nothing comes behind that makes good what went
//! wrong. A write goes to a database that is late; a client there writes right before it, and perhaps once more right
//! before what repairs that, while the other sites hear of it long before they hear of the client.

use crate::clients::{Mix, in_scene};
use crate::plan::{ACTIONS, Place, Race, What};
use crate::random::Random;

/// One seed of so many is a run of scenes.
const EVERY: u64 = 10;

/// What lets a database execute what its syncer sends.
const SERVE: usize = 2;

/// Whether a seed is a run of scenes.
pub fn is_one(seed: u64) -> bool {
    seed % EVERY == 7
}

/// All scenes of a run: what happens, and for how many steps.
pub fn scenes(random: &mut Random, (sites, late): (u64, u64), timed: bool) -> (Vec<(u64, usize, What)>, u64) {
    let mut events = Vec::new();
    let mut step = 0;
    for number in 0..8 + random.below(25) {
        let mixes = match timed {
            true => Mix::of_field_scene(random),
            false => Mix::of_scene(random),
        };
        scene(random, mixes, (number, step), (sites, late), &mut events);
        step += 300;
    }
    (events, step)
}

/// How often a site does what: all the time everything, but the late one's database executes seldom.
pub fn weights(random: &mut Random, is_late: bool) -> [u64; ACTIONS] {
    let mut weights = [30; ACTIONS];
    if is_late {
        weights[SERVE] = random.pick(&[1, 2, 4, 8]);
    }
    weights
}

fn scene(
    random: &mut Random,
    [before, first, second]: [Mix; 3],
    (number, begin): (u64, u64),
    (sites, late): (u64, u64),
    events: &mut Vec<(u64, usize, What)>,
) {
    let key = format!("scene{number}").into_bytes();
    let late = late as usize;
    let other = (late + 1 + random.below(sites - 1) as usize) % sites as usize;
    let mut at = 0;
    let mut command = |random: &mut Random, mix: &Mix| {
        at += 1;
        in_scene(random, mix, number * 10 + at, &key)
    };
    let write = |commands| What::Write {
        db: 0,
        commands: vec![commands],
        block: false,
    };
    let race = |place, commands| {
        What::Race(Race {
            place,
            db: 0,
            commands: vec![commands],
            block: false,
            beside: Some(key.clone()),
        })
    };
    let mut middle = begin;
    if random.chance(70) {
        events.push((
            begin,
            random.pick(&[late, other]),
            write(command(random, &before)),
        ));
        middle += random.pick(&[20, 100, 150]);
    }
    events.push((middle, late, race(Place::Before, command(random, &first))));
    events.push((middle, other, write(command(random, &before))));
    if random.chance(70) {
        events.push((middle, late, race(Place::BeforeRepair, command(random, &second))));
    }
    if random.chance(15) {
        let step = middle + random.below(100);
        events.push((step, random.pick(&[late, other]), write(command(random, &second))));
    }
}

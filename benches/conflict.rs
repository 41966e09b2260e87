//! What a hot key in conflict costs: two sites write it at full speed, each sees the other some writes late. Either
//! nothing becomes stable, as while a third site is away, or everything does some writes later; the key is never at
//! rest, so there is no point that all have seen. Between two writes of this key each site writes others.
//!
//! The state grows with every operation, so each line is one run from an empty key to that many operations: the
//! time in all, for each operation. Every 32 operations the key is compared, and what was submitted comes back.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use syncer::causality::{Dot, Hlc, SiteIx, Vector};
use syncer::command::FieldTimes;
use syncer::command::effect::{Effect, SetExpiry};
use syncer::command::entries::name_of;
use syncer::converge::{KeyState, Means, Operation, Repair, Took};

const A: SiteIx = SiteIx(0);
const B: SiteIx = SiteIx(1);
/// How far each site is behind the other, and how many operations there are between two comparisons.
const LAG: u64 = 32;
/// Of so many operations of a site one is on this key.
const OF_ALL: u64 = 3;
const MEANS: Means = Means {
    replay_max: 256,
    may_script: true,
    field_times: FieldTimes::Whole,
};
const TIME: u64 = 1_700_000_000_000;

/// The effect of the operation with this number.
type Load = fn(u64) -> Effect;

fn name(number: u64) -> Bytes {
    Bytes::from(format!("field:{number}"))
}

fn operation(number: u64, effect: Effect) -> Operation {
    // Even numbers are A's.
    let (site, other) = if number.is_multiple_of(2) { (A, B) } else { (B, A) };
    let seq = (number / 2 + 1) * OF_ALL;
    let mut past = Vector::zero(2);
    past.advance(site, seq - 1);
    past.advance(other, (number / 2).saturating_sub(LAG) * OF_ALL / 8 * 8);
    Operation {
        dot: Dot { site, seq },
        past: Rc::new(past),
        time: Hlc::from_unix_ms(TIME + number),
        effect,
        raw: Bytes::new(),
        contested: false,
        joint: false,
    }
}

fn field(number: u64) -> Effect {
    Effect::HashSet(vec![(name(number % 16), name(number))])
}

fn counter(number: u64) -> Effect {
    match number {
        0 => Effect::Set {
            value: Bytes::from_static(b"0"),
            expiry: SetExpiry::At(2 * TIME),
        },
        number => Effect::Count { delta: number as i64 },
    }
}

fn hash(number: u64) -> Effect {
    match number {
        0 => Effect::Del,
        2 => Effect::Expire {
            at_unix_ms: Some(2 * TIME),
        },
        number => field(number),
    }
}

fn hash_counter(number: u64) -> Effect {
    match number % 64 {
        0 => Effect::Expire {
            at_unix_ms: Some(2 * TIME + number),
        },
        _ => Effect::HashCount {
            field: name(number % 16),
            delta: 1,
        },
    }
}

/// One in eight takes a field away.
fn hash_removals(number: u64) -> Effect {
    match number {
        0 | 2 => hash(number),
        number if number % 8 == 7 => Effect::HashRemove(vec![name(number % 16)]),
        number => field(number),
    }
}

/// Increments of one field beside what another one is set to.
fn counter_beside_field(number: u64) -> Effect {
    match number % 4 {
        0 | 1 => Effect::HashSet(vec![(name(0), name(number))]),
        _ => Effect::HashCount {
            field: name(1),
            delta: 1,
        },
    }
}

/// Few members that come, go and count, now and then the whole key goes or is made anew: it is empty as often as not.
fn sorted(number: u64) -> Effect {
    let member = name(number * 7 % 4);
    match (number * 5 + number / 16) % 16 {
        0 if number.is_multiple_of(32) => Effect::Derived,
        0 => Effect::Del,
        1..=5 => Effect::SortedRemove(vec![member]),
        6..=9 => Effect::SortedCount { member, delta: 1.0 },
        _ => Effect::SortedAdd(vec![(number as f64, member)]),
    }
}

/// One in eight takes an entry of its own site away.
fn stream(number: u64) -> Effect {
    let id = |number: u64| name_of(TIME + number, 0);
    match number % 8 {
        7 => Effect::StreamRemove(vec![id(number - 6)]),
        _ => Effect::StreamAdd {
            id: id(number),
            fields: vec![name(number % 16), name(number)],
            trim: None,
        },
    }
}

/// How far behind the newest write everything is stable.
fn stable(number: u64) -> Vector {
    let upto = (number / 2).saturating_sub(2 * LAG) * OF_ALL;
    let mut stable = Vector::zero(2);
    stable.advance(A, upto);
    stable.advance(B, upto);
    stable
}

/// The repair comes back, and the key has no expiry time.
fn echo(key: &mut KeyState, txn: u64, repair: &Repair) {
    key.echoed(txn, &vec![Took::whole(); repair.commands.len()]);
    if repair.tells_time {
        key.no_time();
    }
}

/// Nanoseconds for each operation, and how many are kept in the end.
fn run(operations: u64, effect: Load, settles: bool) -> (f64, usize) {
    let operations: Vec<Operation> = (0..operations)
        .map(|number| operation(number, effect(number)))
        .collect();
    let count = operations.len();
    let start = Instant::now();
    let mut key = KeyState::new(0, Bytes::from_static(b"key"));
    for (at, op) in operations.into_iter().enumerate() {
        match op.dot.site == A {
            true => key.executed(op),
            false => key.delivered(op),
        }
        if at as u64 % LAG == LAG - 1 {
            let repair = key.reconcile(A, at as u64, TIME, MEANS);
            echo(&mut key, at as u64, &repair);
            if settles {
                key.prune(&stable(at as u64));
            }
        }
    }
    let each = start.elapsed().as_nanos() as f64 / count as f64;
    (each, key.operations().len())
}

/// A queue: both sites push at its head, A pops at its tail as often, and what is older than twice the lag is stable.
/// The database held `len` elements when the conflict began; gives the time and the commands of an operation.
fn run_queue(operations: u64, len: usize) -> (f64, f64) {
    let effect = |number| match number % 4 {
        2 => Effect::ListPop {
            left: false,
            count: 2,
            took: None,
        },
        _ => Effect::ListPush {
            left: true,
            elements: vec![(Bytes::new(), name(number))],
        },
    };
    let operations: Vec<Operation> = (0..operations)
        .filter(|number| number % 4 != 3)
        .map(|number| operation(number, effect(number)))
        .collect();
    // What A's database holds when it is read.
    let mut held: VecDeque<Bytes> = (0..len as u64).map(|number| name(u64::MAX - number)).collect();
    let mut is_read = false;
    let count = operations.len() as f64;
    let mut commands = 0;
    let start = Instant::now();
    let mut key = KeyState::new(0, Bytes::from_static(b"key"));
    let mut stable: VecDeque<Rc<Vector>> = VecDeque::new();
    for (at, op) in operations.into_iter().enumerate() {
        stable.push_back(Rc::clone(&op.past));
        match &op.effect {
            _ if is_read || op.dot.site != A => {}
            Effect::ListPush { elements, .. } => held.push_front(elements[0].1.clone()),
            _ => held.truncate(held.len() - 2),
        }
        match op.dot.site == A {
            true => key.executed(op),
            false => key.delivered(op),
        }
        if at as u64 % LAG == LAG - 1 {
            let repair = key.reconcile(A, at as u64, TIME, MEANS);
            commands += repair.commands.len();
            echo(&mut key, at as u64, &repair);
            if repair.read {
                is_read = true;
                key.read(Some(held.make_contiguous()));
            }
            while stable.len() > 4 * LAG as usize {
                let oldest = stable.pop_front();
                oldest.inspect(|oldest| assert!(!key.prune(oldest), "a hot key stays"));
            }
        }
    }
    (start.elapsed().as_nanos() as f64 / count, commands as f64 / count)
}

fn main() {
    let smoke = !std::env::args().any(|arg| arg == "--bench");
    let loads: [(&str, Load); 7] = [
        ("counter", counter),
        ("hash", hash),
        ("hash, HINCRBY", hash_counter),
        ("hash, 1/8 HDEL", hash_removals),
        ("hash, HINCRBY beside HSET", counter_beside_field),
        ("stream, 1/8 XDEL", stream),
        ("sorted set that comes and goes", sorted),
    ];
    for (name, effect) in loads {
        for (settles, operations) in [(false, 1_000), (false, 10_000), (true, 1_000), (true, 10_000)] {
            if smoke && operations > 1_000 {
                continue;
            }
            let (each, kept) = run(operations, effect, settles);
            let when = if settles { "stable later" } else { "nothing stable" };
            println!("{name}, {when}, {operations} operations: {each:.0} ns each, {kept} kept");
        }
    }
    for len in [100, 100_000] {
        let operations = if smoke { 1_000 } else { 40_000 };
        let (nanos, commands) = run_queue(operations, len);
        println!(
            "queue, {len} elements, {operations} operations: {nanos:.0} ns each, {commands:.2} commands"
        );
    }
}

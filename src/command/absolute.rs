//! Commands that mean the same only in the stream of their own server, made to mean it everywhere.
//!
//! A relative time, as Redis 6.2 sends it, means another moment wherever and whenever it is executed. A stream
//! trimmed with `~ LIMIT` is sent as trimmed to an exact length with the LIMIT left in, which a server takes from
//! its master only. A ZADD keeps a condition that has held where it was made, and so does an HSETEX. All are rewritten
//! once, at the site that captured them.

use super::fields::{self, FieldTimes};
use super::keys::Args;
use super::table::Spec;

/// The command's arguments as any server takes them, or `None` when they need no change. `field_times` is what the database
/// knows that sent it.
pub fn absolute<A: Args + ?Sized>(
    spec: &Spec,
    args: &A,
    field_times: FieldTimes,
    now_unix_ms: u64,
) -> Option<Vec<Vec<u8>>> {
    let owned = |from: usize, to: usize| (from..to).map(|at| args.arg(at).to_vec()).collect::<Vec<_>>();
    let count = args.count();
    match spec.name {
        "EXPIRE" | "PEXPIRE" => {
            let at = later(
                args.arg(2),
                if spec.name == "EXPIRE" { 1000 } else { 1 },
                now_unix_ms,
            )?;
            let mut all = vec![b"PEXPIREAT".to_vec(), args.arg(1).to_vec(), at];
            all.extend(owned(3, count));
            Some(all)
        }
        "SETEX" | "PSETEX" => {
            let at = later(
                args.arg(2),
                if spec.name == "SETEX" { 1000 } else { 1 },
                now_unix_ms,
            )?;
            Some(vec![
                b"SET".to_vec(),
                args.arg(1).to_vec(),
                args.arg(3).to_vec(),
                b"PXAT".to_vec(),
                at,
            ])
        }
        "SET" => {
            let place = (3..count).find(|&at| is(args.arg(at), b"EX") || is(args.arg(at), b"PX"))?;
            let unit_ms = if is(args.arg(place), b"EX") { 1000 } else { 1 };
            let mut all = owned(0, count);
            all[place] = b"PXAT".to_vec();
            *all.get_mut(place + 1)? = later(args.arg(place + 1), unit_ms, now_unix_ms)?;
            Some(all)
        }
        "RESTORE" | "RESTORE-ASKING" => {
            let has_time = args.arg(2) != b"0";
            if !has_time || (4..count).any(|at| is(args.arg(at), b"ABSTTL")) {
                return None;
            }
            let mut all = owned(0, count);
            all[2] = later(args.arg(2), 1, now_unix_ms)?;
            all.push(b"ABSTTL".to_vec());
            Some(all)
        }
        "ZADD" if count > 4 => condition_of_one(args),
        "XADD" | "XTRIM" => {
            let limit = (2..count.min(8)).find(|&at| is(args.arg(at), b"LIMIT"))?;
            let exact = (2..limit).any(|at| args.arg(at) == b"=");
            let mut all = owned(0, limit);
            all.extend(owned(limit + 2, count));
            exact.then_some(all)
        }
        name if name.starts_with('H') => fields::absolute(name, args, field_times),
        _ => None,
    }
}

/// ZADD of a single member without the condition that it held: where another site's score or removal has come between,
/// a command that finds it not to hold could not be told from one that finds its score there already.
fn condition_of_one<A: Args + ?Sized>(args: &A) -> Option<Vec<Vec<u8>>> {
    let pair = args.count().checked_sub(2)?;
    let is_one_of = |at: usize, names: &[&[u8]]| names.iter().any(|name| is(args.arg(at), name));
    let has_held = (2..pair).any(|at| is_one_of(at, &[b"NX", b"XX", b"GT", b"LT"]));
    let is_single = (2..pair).all(|at| is_one_of(at, &[b"NX", b"XX", b"GT", b"LT", b"CH"]));
    (has_held && is_single).then(|| [0, 1, pair, pair + 1].map(|at| args.arg(at).to_vec()).to_vec())
}

fn is(word: &[u8], name: &[u8]) -> bool {
    word.eq_ignore_ascii_case(name)
}

fn later(relative: &[u8], unit_ms: i64, now_unix_ms: u64) -> Option<Vec<u8>> {
    let relative: i64 = std::str::from_utf8(relative).ok()?.parse().ok()?;
    let now = i64::try_from(now_unix_ms).ok()?;
    let at = now.checked_add(relative.checked_mul(unit_ms)?)?;
    Some(at.max(1).to_string().into_bytes())
}

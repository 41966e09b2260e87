//! Relative expiry times, as Redis 6.2 sends them, made absolute.
//!
//! A relative time means another moment wherever and whenever it is executed, so it is rewritten once, at the
//! site that captured it.

use super::keys::Args;
use super::table::Spec;

/// The command's arguments with an absolute time, or `None` when it has no relative one.
pub fn absolute<A: Args + ?Sized>(spec: &Spec, args: &A, now_unix_ms: u64) -> Option<Vec<Vec<u8>>> {
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
        _ => None,
    }
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

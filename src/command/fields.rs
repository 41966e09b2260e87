//! Hash fields with expiry times, as a stream carries them: HPEXPIREAT, HPERSIST, HSETEX, HGETDEL.
//!
//! Redis names in HPEXPIREAT the fields that took the time. Valkey names those that were asked for, also under a
//! condition, so there a condition with several fields does not tell which of them took it: that is left to a replay. HSETEX
//! writes all of its fields or none.

use bytes::Bytes;

use super::effect::{Effect, SetExpiry, moment, number};
use super::keys::Args;

/// What a database knows of the expiry times of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FieldTimes {
    /// Nothing: before Redis 7.4 and Valkey 9.
    #[default]
    None,
    /// HPEXPIREAT and HPERSIST: Redis 7.4.
    Apart,
    /// Also HSETEX: Redis 8.
    Whole,
    /// The same, but where the time of an HSETEX is over and the fields are not there, nothing tells of it: Valkey 9.
    Quiet,
}

impl FieldTimes {
    /// What this version knows.
    pub fn of(is_valkey: bool, version: (u32, u32)) -> FieldTimes {
        match (is_valkey, version) {
            (true, (9.., _)) => FieldTimes::Quiet,
            (false, (8.., _)) => FieldTimes::Whole,
            (false, (7, 4..)) => FieldTimes::Apart,
            _ => FieldTimes::None,
        }
    }

    /// Whether it names the fields that took a time, and not all that were asked for.
    fn names_takers(self) -> bool {
        matches!(self, FieldTimes::Apart | FieldTimes::Whole)
    }
}

/// Where the parts of such a command stand.
struct Parts {
    /// NX, XX, GT, LT, FNX or FXX.
    is_conditional: bool,
    /// HSETEX: what becomes of the times.
    expiry: SetExpiry,
    /// The first field; all that follows is fields, or pairs.
    from: usize,
}

/// Reads options up to the fields; `width` words belong to each.
fn parts<A: Args + ?Sized>(args: &A, options_at: usize, width: usize) -> Option<Parts> {
    let mut parts = Parts {
        is_conditional: false,
        expiry: SetExpiry::Clear,
        from: 0,
    };
    let mut at = options_at;
    loop {
        if at + 1 >= args.count() {
            return None;
        }
        let word = args.arg(at);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"FIELDS") {
            let count = usize::try_from(number(args.arg(at + 1))?).ok()?;
            parts.from = at + 2;
            let is_whole = count > 0 && args.count() == count.checked_mul(width)?.checked_add(parts.from)?;
            return is_whole.then_some(parts);
        }
        if [&b"NX"[..], b"XX", b"GT", b"LT", b"FNX", b"FXX"]
            .into_iter()
            .any(is)
        {
            parts.is_conditional = true;
        } else if is(b"KEEPTTL") {
            parts.expiry = SetExpiry::Keep;
        } else if is(b"PXAT") || is(b"EXAT") {
            let unit_ms = if is(b"EXAT") { 1000 } else { 1 };
            at += 1;
            parts.expiry = SetExpiry::At(moment(args.arg(at), unit_ms)?);
        } else {
            return None;
        }
        at += 1;
    }
}

/// What such a command does to its hash, by its name in capitals; opaque if it is not one or does not tell.
pub(super) fn effect(name: &str, args: &[Bytes]) -> Effect {
    try_effect(name, args).unwrap_or(Effect::Opaque)
}

fn try_effect(name: &str, args: &[Bytes]) -> Option<Effect> {
    let rest = |parts: &Parts| args.get(parts.from..).unwrap_or_default().to_vec();
    match name {
        "HPEXPIREAT" => {
            let at_unix_ms = Some(moment(args.get(2)?, 1)?);
            let parts = parts(args, 3, 1)?;
            let fields = rest(&parts);
            let is_told = !parts.is_conditional || fields.len() == 1;
            is_told.then_some(Effect::FieldExpire { fields, at_unix_ms })
        }
        "HPERSIST" => {
            let fields = rest(&parts(args, 2, 1)?);
            Some(Effect::FieldExpire {
                fields,
                at_unix_ms: None,
            })
        }
        "HGETDEL" => Some(Effect::HashRemove(rest(&parts(args, 2, 1)?))),
        "HSETEX" => {
            let parts = parts(args, 2, 2)?;
            let pairs = rest(&parts)
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect();
            Some(match parts.expiry {
                SetExpiry::Clear => Effect::HashSet(pairs),
                expiry => Effect::HashSetTimed { pairs, expiry },
            })
        }
        _ => None,
    }
}

/// The command without the condition that held where it was made, and as an older server knows it where one does;
/// `None` where that is what it is.
pub(super) fn absolute<A: Args + ?Sized>(name: &str, args: &A, sender: FieldTimes) -> Option<Vec<Vec<u8>>> {
    let words = |from: usize| (from..args.count()).map(|at| args.arg(at).to_vec());
    let begin = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    match name {
        "HPEXPIREAT" => {
            let parts = parts(args, 3, 1)?;
            let has_held = sender.names_takers() || args.count() == parts.from + 1;
            let mut all = begin(&[args.arg(0), args.arg(1), args.arg(2)]);
            all.extend(words(parts.from - 2));
            (parts.is_conditional && has_held).then_some(all)
        }
        "HGETDEL" => {
            let mut all = begin(&[b"HDEL", args.arg(1)]);
            all.extend(words(parts(args, 2, 1)?.from));
            Some(all)
        }
        "HSETEX" => {
            let parts = parts(args, 2, 2)?;
            let mut all = match parts.expiry {
                SetExpiry::Clear => begin(&[b"HSET", args.arg(1)]),
                _ if !parts.is_conditional => return None,
                SetExpiry::Keep => begin(&[args.arg(0), args.arg(1), b"KEEPTTL"]),
                SetExpiry::At(ms) => begin(&[args.arg(0), args.arg(1), b"PXAT", ms.to_string().as_bytes()]),
            };
            let from = match parts.expiry {
                SetExpiry::Clear => parts.from,
                _ => parts.from - 2,
            };
            all.extend(words(from));
            Some(all)
        }
        _ => None,
    }
}

/// HSETEX for a database that has none: HSET of the same, and whether a time is left out. `None` for other commands.
pub fn plain<A: Args + ?Sized>(args: &A) -> Option<(Vec<Vec<u8>>, bool)> {
    if args.count() < 4 || !args.arg(0).eq_ignore_ascii_case(b"HSETEX") {
        return None;
    }
    let parts = parts(args, 2, 2)?;
    let mut all = vec![b"HSET".to_vec(), args.arg(1).to_vec()];
    all.extend((parts.from..args.count()).map(|at| args.arg(at).to_vec()));
    Some((all, matches!(parts.expiry, SetExpiry::At(_))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Vec<Bytes> {
        text.split(' ').map(|word| Bytes::from(word.to_owned())).collect()
    }

    fn read(text: &str) -> Effect {
        let args = words(text);
        effect(std::str::from_utf8(&args[0]).unwrap(), &args)
    }

    fn written(text: &str) -> Option<String> {
        written_by(FieldTimes::Quiet, text)
    }

    fn written_by(sender: FieldTimes, text: &str) -> Option<String> {
        let args = words(text);
        let name = std::str::from_utf8(&args[0]).unwrap();
        let all = absolute(name, &args[..], sender)?;
        let all: Vec<String> = all
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect();
        Some(all.join(" "))
    }

    #[test]
    fn times_have_effects_by_field() {
        let at = |fields: &str, at_unix_ms| Effect::FieldExpire {
            fields: words(fields),
            at_unix_ms,
        };
        assert_eq!(read("HPEXPIREAT h 5 FIELDS 2 f g"), at("f g", Some(5)));
        assert_eq!(read("HPEXPIREAT h 5 NX FIELDS 1 f"), at("f", Some(5)));
        assert_eq!(read("HPERSIST h FIELDS 2 f g"), at("f g", None));
        assert_eq!(read("HGETDEL h FIELDS 1 f"), Effect::HashRemove(words("f")));
        let pairs = || vec![(words("f").remove(0), words("v").remove(0))];
        assert_eq!(read("HSETEX h FIELDS 1 f v"), Effect::HashSet(pairs()));
        let timed = |expiry| Effect::HashSetTimed {
            pairs: pairs(),
            expiry,
        };
        assert_eq!(read("HSETEX h KEEPTTL FIELDS 1 f v"), timed(SetExpiry::Keep));
        assert_eq!(read("HSETEX h FNX PXAT 7 FIELDS 1 f v"), timed(SetExpiry::At(7)));
    }

    #[test]
    fn what_does_not_tell_or_does_not_fit_is_opaque() {
        for text in [
            "HPEXPIREAT h 5 NX FIELDS 2 f g",
            "HPEXPIREAT h 5 FIELDS 2 f",
            "HPEXPIREAT h x FIELDS 1 f",
            "HPEXPIREAT h 5 FIELDS 0",
            "HPEXPIREAT h 5",
            "HPERSIST h f",
            "HSETEX h EX 5 FIELDS 1 f v",
            "HSETEX h PXAT 5 FIELDS 1 f",
            "HSETEX h PXAT",
            "HSETEX",
            "HSETEX h FIELDS 9223372036854775807 f v",
        ] {
            assert_eq!(read(text), Effect::Opaque, "{text}");
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn conditions_that_held_are_left_out() {
        let is = |text, to: &str| assert_eq!(written(text).as_deref(), Some(to), "{text}");
        is("HPEXPIREAT h 5 GT FIELDS 1 f", "HPEXPIREAT h 5 FIELDS 1 f");
        is(
            "HSETEX h FXX KEEPTTL FIELDS 1 f v",
            "HSETEX h KEEPTTL FIELDS 1 f v",
        );
        is(
            "HSETEX h FNX EXAT 7 FIELDS 2 f v g w",
            "HSETEX h PXAT 7000 FIELDS 2 f v g w",
        );
        is("HSETEX h FNX FIELDS 1 f v", "HSET h f v");
        is("HSETEX h FIELDS 1 f v", "HSET h f v");
        is("HGETDEL h FIELDS 2 f g", "HDEL h f g");
        let several = written_by(FieldTimes::Whole, "HPEXPIREAT h 5 XX FIELDS 2 f g");
        assert_eq!(several.as_deref(), Some("HPEXPIREAT h 5 FIELDS 2 f g"));
        for text in [
            "HPEXPIREAT h 5 XX FIELDS 2 f g",
            "HPEXPIREAT h 5 FIELDS 1 f",
            "HSETEX h PXAT 7 FIELDS 1 f v",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_without_times_gets_the_values() {
        let at = |text: &str| plain(&words(text)[..]).map(|(all, lost)| (all.join(&b' '), lost));
        assert_eq!(
            at("HSETEX h KEEPTTL FIELDS 2 f v g w"),
            Some((b"HSET h f v g w".to_vec(), false))
        );
        assert_eq!(
            at("hsetex h PXAT 7 FIELDS 1 f v"),
            Some((b"HSET h f v".to_vec(), true))
        );
        assert_eq!(at("HPEXPIREAT h 5 FIELDS 1 f"), None);
    }

    #[test]
    fn versions_know_what_they_know() {
        let redis = [(6, 2), (7, 2), (7, 4), (8, 0)].map(|version| FieldTimes::of(false, version));
        assert_eq!(
            redis,
            [
                FieldTimes::None,
                FieldTimes::None,
                FieldTimes::Apart,
                FieldTimes::Whole
            ]
        );
        let valkey = [(8, 1), (9, 0)].map(|version| FieldTimes::of(true, version));
        assert_eq!(valkey, [FieldTimes::None, FieldTimes::Quiet]);
    }
}

//! The notations of values: sizes, times, addresses, names. Each check answers with the value or a sentence.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::database::Url;

/// One kibibyte, mebibyte, gibibyte, tebibyte.
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// Longest host name, as DNS has it.
const HOST_BYTES_MAX: usize = 253;
/// Longest database id.
const DATABASE_ID_BYTES_MAX: usize = 64;

const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", TIB),
    ("GiB", GIB),
    ("MiB", MIB),
    ("KiB", KIB),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)];

/// A size such as `8 GiB`, `64MiB`, `1.5 GB` or a plain number of bytes.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = scaled(text, &SIZE_UNITS, 1)
        .ok_or_else(|| format!("{text:?} is not a size; write one such as \"64 MiB\" or \"8 GiB\""))?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!(
        "{text:?} is out of range; from {} to {}",
        say_size(*range.start()),
        say_size(*range.end())
    ))
}

/// A time such as `500 ms`, `5s`, `1 min`. A number alone is refused: nobody can tell its unit.
pub(super) fn time(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let ms = scaled(text, &TIME_UNITS, 0).ok_or_else(|| {
        format!("{text:?} is not a time; write one such as \"500 ms\", \"5 s\" or \"1 min\"")
    })?;
    let time = Duration::from_millis(ms);
    if range.contains(&time) {
        return Ok(time);
    }
    Err(format!(
        "{text:?} is out of range; from {} to {}",
        say_time(*range.start()),
        say_time(*range.end())
    ))
}

/// A number times its unit; `bare` is the unit of a number without one, 0 if that is refused.
fn scaled(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let scale = match units.iter().find(|(name, _)| *name == unit) {
        Some(&(_, scale)) => scale,
        None if unit.is_empty() && bare != 0 => bare,
        None => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (fraction.is_empty() && number.contains('.')) || fraction.len() > 6 {
        return None;
    }
    let whole = whole.replace('_', "").parse::<u64>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let parts = fraction.parse::<u64>().ok()?.checked_mul(scale)?;
    whole.checked_add(parts / 10u64.pow(fraction.len() as u32))
}

/// A size in the largest unit that keeps it whole.
pub(super) fn say_size(bytes: u64) -> String {
    let units = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    let whole = units
        .iter()
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale));
    whole.map_or_else(
        || format!("{bytes} B"),
        |(name, scale)| format!("{} {name}", bytes / scale),
    )
}

/// A time in the largest unit that keeps it whole.
pub(super) fn say_time(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let whole = units
        .iter()
        .find(|(_, scale)| ms >= *scale && ms.is_multiple_of(*scale));
    whole.map_or_else(
        || format!("{ms} ms"),
        |(name, scale)| format!("{} {name}", ms / scale),
    )
}

/// A whole number.
pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.trim().replace('_', "").parse::<u64>();
    let number = number.map_err(|_| format!("{text:?} is not a whole number"))?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(format!(
        "{number} is out of range; from {} to {}",
        range.start(),
        range.end()
    ))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
    let near = crate::suggest::nearest(text, choices.iter().map(|(name, _)| *name));
    let near = near
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default();
    Err(format!("{text:?} is none of {}{near}", names.join(", ")))
}

/// A path: not empty, no zero byte.
pub(super) fn path(text: &str) -> Result<std::path::PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("the path is empty or holds a zero byte".into());
    }
    Ok(text.into())
}

/// The name of an environment variable.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is not the name of a variable; A-Z, 0-9 and _"));
    }
    Ok(text.into())
}

/// The id that all sites of one database share.
pub(super) fn database_id(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > DATABASE_ID_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(format!(
            "{text:?} is not a database id; 1 to {DATABASE_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, '.', '_', '-'"
        ));
    }
    Ok(text.into())
}

/// The name of a host: a DNS name or an IP address (IPv6 without brackets).
pub(super) fn host(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is not a host name or an IP address"));
    }
    Ok(text.into())
}

/// `host:port`, `1.2.3.4:port` or `[v6]:port`, as text that the resolver takes.
pub(super) fn address(text: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("{text:?} is not an address: {why}; write one such as \"10.0.0.7:9400\"");
    let (name, port) = text
        .rsplit_once(':')
        .ok_or_else(|| wrong("the port is missing"))?;
    let bracketed = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    match bracketed {
        Some(v6) => drop(
            v6.parse::<std::net::Ipv6Addr>()
                .map_err(|_| wrong("no IPv6 address in the brackets"))?,
        ),
        None if name.contains(':') => return Err(wrong("an IPv6 address stands in brackets")),
        None => drop(host(name).map_err(|_| wrong("the host is not a name"))?),
    }
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(text.into()),
        _ => Err(wrong("the port is not from 1 to 65535")),
    }
}

/// A database URL, looked at from outside: scheme, host, port, no database number. Never quotes it, for the
/// password may be in it. The answer says whether it asks for TLS and whether it carries a password.
pub(super) fn database_url(text: &str) -> Result<UrlTraits, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    Ok(UrlTraits {
        tls: url.tls,
        password: url.password.is_some(),
    })
}

/// What a database URL shows without being taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct UrlTraits {
    /// `rediss://`.
    pub tls: bool,
    /// A password stands in it.
    pub password: bool,
}

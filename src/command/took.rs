//! What a pop took, told by the site that executed it.
//!
//! A stream tells of a pop its end and its count. Which elements those were follows from what the site had seen, but
//! for the moment in which its list stood in another order, before a repair. The site knows, and tells the others in an
//! operation of its own behind the pop: `SYNCER.TOOK key number name place value ...`, the number being the pop's. Each
//! name is [that of the element](crate::converge), empty where it has one at its own site alone; the place is that in
//! the list as the rules had it for the pop, from 0 on at the head and from -1 on at the tail, empty where it was in
//! none; the value stands behind a `+`, and a `-` alone tells that it is not known.
//!
//! No database ever gets it.

use bytes::{Bytes, BytesMut};

use super::effect::{Effect, number};
use crate::resp::encode;

/// Its name.
pub const TOOK: &str = "SYNCER.TOOK";

/// An element that a pop took.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its name, if others know it by that.
    pub name: Bytes,
    /// Its place in the list, as the rules had that for the pop: from 0 on at the head, from -1 on at the tail.
    pub place: Option<i64>,
    /// Its value.
    pub value: Option<Bytes>,
}

/// The command.
pub fn encode(key: &[u8], pop: u64, took: &[Told]) -> Bytes {
    let number = encode::Decimal::new(pop);
    let texts: Vec<(String, Vec<u8>)> = took
        .iter()
        .map(|told| {
            let place = told.place.map(|place| place.to_string()).unwrap_or_default();
            let value = match &told.value {
                Some(value) => [b"+", value.as_ref()].concat(),
                None => b"-".to_vec(),
            };
            (place, value)
        })
        .collect();
    let mut words: Vec<&[u8]> = vec![TOOK.as_bytes(), key, number.as_bytes()];
    for (told, (place, value)) in took.iter().zip(&texts) {
        words.extend([told.name.as_ref(), place.as_bytes(), value]);
    }
    let mut command = BytesMut::new();
    encode::command(&mut command, &words);
    command.freeze()
}

/// What it tells.
pub(super) fn parse(args: &[Bytes]) -> Result<Effect, &'static str> {
    let pop = args.get(2).and_then(|word| number(word));
    let pop = pop
        .and_then(|pop| u64::try_from(pop).ok())
        .ok_or("no number of a pop")?;
    let rest = args.get(3..).unwrap_or_default();
    if !rest.len().is_multiple_of(3) {
        return Err("an element without name, place and value");
    }
    // Copied, so that they do not hold the batch that they came in.
    let element = |words: &[Bytes]| Told {
        name: Bytes::copy_from_slice(&words[0]),
        place: number(&words[1]),
        value: words[2].strip_prefix(b"+").map(Bytes::copy_from_slice),
    };
    Ok(Effect::ListTook {
        pop,
        took: rest.chunks_exact(3).map(element).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(of: &[&str]) -> Vec<Bytes> {
        of.iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    #[test]
    fn it_reads_what_it_wrote() {
        let told = |name: &'static [u8], place, value| Told {
            name: Bytes::from_static(name),
            place,
            value,
        };
        let took = vec![
            told(b"\0name", Some(-2), Some(Bytes::from_static(b"-"))),
            told(b"", Some(0), None),
            told(b"third", None, Some(Bytes::new())),
        ];
        let command = encode(b"k", 7, &took);
        let mut scanner = crate::resp::Scanner::new(crate::resp::Limits::default());
        assert!(matches!(
            scanner.next(&command),
            Ok(crate::resp::Scan::Command { .. })
        ));
        let args: Vec<Bytes> = scanner
            .args()
            .iter()
            .map(|arg| command.slice(arg.range()))
            .collect();
        assert_eq!(parse(&args), Ok(Effect::ListTook { pop: 7, took }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(parse(&words(&[TOOK, "k"])).is_err());
        assert!(parse(&words(&[TOOK, "k", "-1"])).is_err());
        assert!(parse(&words(&[TOOK, "k", "1", "name"])).is_err());
    }
}

//! What a list should hold that was only pushed to and popped from: the plain definition, over all that ever happened.
//!
//! What was pushed at the head stands before what was pushed at the tail, the newest outermost. A pop took what stood
//! at its end in the list of what it had seen, or what its site told of it; whatever some pop took is gone.

use std::collections::BTreeSet;

use super::operation::{Effect, Op};
use crate::resp::{Word, words};

/// An element: the place of its push among the operations, and its own within that.
type Element = (usize, usize);

struct Step {
    words: Vec<Word>,
    left: bool,
    is_push: bool,
    took: BTreeSet<Element>,
}

/// Whether these operations are pushes and pops alone.
pub fn are_pushes_and_pops(names: &[Word]) -> bool {
    names.iter().all(|name| {
        matches!(
            name.as_slice(),
            b"LPUSH" | b"RPUSH" | b"LPUSHX" | b"RPUSHX" | b"LPOP" | b"RPOP"
        )
    })
}

/// What a list should hold.
///
/// # Errors
/// A pop is counted for something else than its client was given.
pub fn evaluate(ops: &[&Op], told: &[Op], given: &[Vec<Vec<Word>>]) -> Result<Vec<Word>, String> {
    let mut ops = ops.to_vec();
    ops.sort_by_key(|op| op.order());
    let mut steps: Vec<Step> = Vec::new();
    for op in &ops {
        let words = words(&op.text);
        let name = words[0].to_ascii_uppercase();
        let mut step = Step {
            left: name[0] == b'L',
            is_push: name.len() > 4,
            took: BTreeSet::new(),
            words,
        };
        if !step.is_push {
            let count = step.words.get(2).map_or(1, |count| {
                String::from_utf8_lossy(count)
                    .parse()
                    .expect("a count in the stream")
            });
            let mut seen = list(&steps, |at| op.sees(ops[at]));
            if !step.left {
                seen.reverse();
            }
            step.took = match elements_told(op, told) {
                Some(elements) => elements
                    .iter()
                    .filter_map(|element| find(&steps, element))
                    .collect(),
                None => seen.into_iter().take(count).collect(),
            };
        }
        steps.push(step);
    }
    let value = |(at, item): (usize, usize)| steps[at].words[2 + item].clone();
    for (site, given) in given.iter().enumerate() {
        let pops = ops
            .iter()
            .zip(&steps)
            .filter(|(op, step)| op.site == site && !step.is_push);
        for ((op, step), given) in pops.zip(given) {
            let took: BTreeSet<Word> = step.took.iter().copied().map(value).collect();
            if took != given.iter().cloned().collect() {
                return Err(format!(
                    "{} of site {site} gave {} and took {}",
                    op.text,
                    crate::resp::show(given),
                    crate::resp::show(&took.into_iter().collect::<Vec<_>>())
                ));
            }
        }
    }
    Ok(list(&steps, |_| true).into_iter().map(value).collect())
}

/// What a pop's site told of it; the newest word counts.
fn elements_told<'a>(pop: &Op, told: &'a [Op]) -> Option<&'a Vec<Word>> {
    let of_pop = told.iter().rev().filter(|word| word.site == pop.site);
    let mut elements = of_pop.filter_map(|word| match &word.effect {
        Effect::Told(seq, elements) if *seq == pop.seq => Some(elements),
        _ => None,
    });
    elements.next()
}

/// The push of an element.
fn find(steps: &[Step], element: &Word) -> Option<Element> {
    let pushes = steps.iter().enumerate().filter(|(_, step)| step.is_push);
    let mut places = pushes.filter_map(|(at, step)| {
        let item = step.words[2..].iter().position(|other| other == element)?;
        Some((at, item))
    });
    places.next()
}

fn list(steps: &[Step], is_seen: impl Fn(usize) -> bool) -> Vec<Element> {
    let seen = |is_push: bool| {
        let is_seen = &is_seen;
        (steps.iter().enumerate()).filter(move |(at, step)| step.is_push == is_push && is_seen(*at))
    };
    let taken: BTreeSet<Element> = seen(false)
        .flat_map(|(_, step)| step.took.iter().copied())
        .collect();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (at, step) in seen(true) {
        let elements = (0..step.words.len() - 2).map(|item| (at, item));
        if step.left { &mut head } else { &mut tail }.extend(elements);
    }
    head.reverse();
    head.extend(tail);
    head.retain(|element| !taken.contains(element));
    head
}

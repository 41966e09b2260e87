//! Making a failure small: events are left out for as long as it still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::plan::Plan;
use crate::world::World;

/// Runs a plan; a panic is a failure like any other.
pub fn outcome(plan: &Plan) -> Result<(), String> {
    let run = || World::new(plan.clone()).run();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

/// The failure's kind: its words up to the first colon or digit.
fn kind(failure: &str) -> &str {
    failure
        .split(|c: char| c == ':' || c.is_ascii_digit())
        .next()
        .unwrap_or_default()
}

/// A plan with as few events as can be that fails in the same way, and how.
pub fn shrink(plan: &Plan, failure: &str, tries: usize) -> (Plan, String) {
    let (mut plan, mut failure) = (plan.clone(), failure.to_owned());
    let mut tries = tries;
    let mut size = plan.events.len().div_ceil(2);
    while size > 0 && tries > 0 {
        let mut from = 0;
        let mut found = false;
        while from < plan.events.len() && tries > 0 {
            tries -= 1;
            let mut smaller = plan.clone();
            smaller.events.drain(from..(from + size).min(plan.events.len()));
            match outcome(&smaller) {
                Err(new) if kind(&new) == kind(&failure) => {
                    (plan, failure, found) = (smaller, new, true);
                }
                _ => from += size,
            }
        }
        if size == 1 && !found {
            break;
        }
        size = if found && size == 1 { 1 } else { size / 2 };
    }
    (plan, failure)
}

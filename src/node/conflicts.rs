//! The conflict log: what was resolved against somebody, for whoever has to explain it later.

use super::shared::Shared;
use crate::config::ConflictLog;
use crate::converge::Loss;

/// How many were written in the current second.
#[derive(Debug, Default)]
pub(super) struct Written {
    second: u64,
    count: u64,
    left_out: u64,
}

impl Written {
    /// Whether one more may be written at this second, with how many were left out before.
    fn allow(&mut self, second: u64, per_second: u64) -> Option<u64> {
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        if self.count >= per_second {
            self.left_out += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Writes down what was resolved since the last call, as the configuration says.
pub(super) fn write(shared: &Shared, losses: Vec<Loss>) {
    let settings = &shared.settings.conflicts;
    let per_second = match settings.log {
        ConflictLog::Off => return,
        ConflictLog::Sampled => settings.sample_per_second,
        ConflictLog::All => u64::MAX,
    };
    let second = shared.started.elapsed().as_secs();
    for loss in losses {
        let Some(left_out) = shared.conflicts.borrow_mut().allow(second, per_second) else {
            continue;
        };
        let node = shared.node.borrow();
        let roster = node.site.roster();
        tracing::info!(
            target: "syncer::conflict",
            rule = loss.rule.label(),
            key = %String::from_utf8_lossy(&loss.key),
            db = loss.db,
            kind = ?loss.kind,
            winner = %roster.name(loss.winner),
            loser = %roster.name(loss.loser),
            entry = loss.entry.map(|entry| format!("{}-{}", entry.id.0, entry.id.1)),
            groups = loss.entry.map(|entry| entry.groups),
            left_out,
            "resolved"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::Written;

    #[test]
    fn so_many_a_second_and_the_rest_is_counted() {
        let mut written = Written::default();
        let allowed: Vec<_> = (0..4).map(|_| written.allow(7, 2)).collect();
        assert_eq!(allowed, [Some(0), Some(0), None, None]);
        assert_eq!(written.allow(8, 2), Some(2));
    }
}

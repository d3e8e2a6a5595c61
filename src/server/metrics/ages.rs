//! How long the oldest side effect of a group has not ended. Its op says which it is, and when that was applied here says since when: for
//! as long as this process runs, and as far back as it remembers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::server::status::StatusReport;

/// Of all groups. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages(Arc<Mutex<BTreeMap<u32, Age>>>);

#[derive(Debug, Default)]
struct Age {
    /// The op of the oldest one, and since when it has been there.
    oldest: Option<(u64, Instant)>,
    /// What was applied when, in this order.
    applied: VecDeque<(u64, Instant)>,
}

impl Ages {
    /// The node was like this then.
    pub(super) fn note(&self, report: &StatusReport, now: Instant) {
        let mut ages = self.ages();
        for group in &report.groups {
            ages.entry(group.group).or_default().note(group.applied, group.oldest_side_effect, now);
        }
    }

    pub(super) fn of(&self, group: u32, now: Instant) -> Duration {
        let oldest = self.ages().get(&group).and_then(|age| age.oldest);
        oldest.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }

    fn ages(&self) -> MutexGuard<'_, BTreeMap<u32, Age>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Age {
    fn note(&mut self, applied: u64, oldest: Option<u64>, now: Instant) {
        let is_due =
            self.applied.back().is_none_or(|(_, at)| now.saturating_duration_since(*at) >= NOTE_EVERY);
        if is_due && self.applied.back().is_none_or(|(op, _)| *op < applied) {
            self.applied.push_back((applied, now));
            if self.applied.len() > NOTES_MAX {
                self.applied.pop_front();
            }
        }
        self.oldest = match (oldest, self.oldest) {
            (Some(op), Some((known, since))) if op == known => Some((op, since)),
            (Some(op), _) => {
                let later = self.applied.iter().find(|(applied, _)| *applied >= op);
                Some((op, later.map_or(now, |(_, at)| *at)))
            }
            (None, _) => None,
        };
    }
}

/// How exact it is,
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// and how far back it goes while the group is busy: an hour.
const NOTES_MAX: usize = 3600;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Age;

    #[test]
    fn the_age_of_the_oldest_is_told_even_when_an_older_one_has_hidden_it() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut age = Age::default();
        age.note(10, Some(9), start);
        assert_eq!(age.oldest, Some((9, start)));
        age.note(20, Some(9), start + 5 * second);
        age.note(30, Some(9), start + 10 * second);
        // The one of op 15 was applied when op 20 was at the latest.
        age.note(31, Some(15), start + 11 * second);
        assert_eq!(age.oldest, Some((15, start + 5 * second)));
        age.note(31, None, start + 12 * second);
        assert_eq!(age.oldest, None);
    }
}

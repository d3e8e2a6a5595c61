//! What is known of recurring schedules: up to where each is planned, and when it wants the next plan.

use std::collections::BTreeMap;

use chronon_core::events::{EventsAnswer, EventsCommand, NewEvent, Published, RecurringView};
use chronon_core::types::Op;

use super::Compared;
use super::broken::Broken;
use super::fate::EventFate;

/// All schedules, by topic and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Plans(BTreeMap<(String, String), Schedule>);

#[derive(Clone, Copy, Debug)]
struct Schedule {
    revision: Op,
    until_ms: i64,
    is_paused: bool,
    /// It wants a plan from then on, in nanoseconds.
    wants_from: u64,
}

impl Plans {
    /// A command about a schedule was executed, at `now`.
    pub(super) fn told(
        &mut self,
        command: &EventsCommand,
        answer: &EventsAnswer,
        now: u64,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        match (command, answer) {
            (
                EventsCommand::Recur { topic, schedule, .. } | EventsCommand::Pause { topic, schedule, .. },
                EventsAnswer::Recurs { revision, until_ms, .. },
            ) => {
                let is_paused = matches!(command, EventsCommand::Pause { pauses: true, .. });
                let known = self.0.entry((topic.clone(), schedule.clone()));
                let known = known.or_insert(Schedule {
                    revision: Op::GENESIS,
                    until_ms: 0,
                    is_paused: false,
                    wants_from: 0,
                });
                // Whoever orders what is so already changes nothing.
                if known.revision != *revision {
                    *known =
                        Schedule { revision: *revision, until_ms: *until_ms, is_paused, wants_from: now };
                }
                Ok(())
            }
            (
                EventsCommand::Occur { topic, schedule, revision, after_ms, events, .. },
                EventsAnswer::Occurred { until_ms, published },
            ) => {
                compared.planned += 1;
                compared.fate(EventFate::Planned);
                let known = self.0.get_mut(&(topic.clone(), schedule.clone()));
                let is_next = |known: &Schedule| {
                    !known.is_paused && (known.revision, known.until_ms) == (*revision, *after_ms)
                };
                match known {
                    Some(known) if is_next(known) => {
                        known.until_ms = *until_ms;
                        // What is over already is asked for by the next wake-up.
                        known.wants_from = half_of(events, published, *until_ms).max(now + 1);
                        Ok(())
                    }
                    other => Err(Broken::new(
                        "PlannedOnce",
                        format!(
                            "{schedule} is planned behind {after_ms} of revision {revision}, and is {other:?}"
                        ),
                    )),
                }
            }
            (EventsCommand::Forget { topic, schedule }, _) => {
                self.0.remove(&(topic.clone(), schedule.clone()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every schedule whose plan is half over wants the next one.
    pub(super) fn audit(
        &self,
        unplanned: &[RecurringView],
        woken: u64,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        for ((topic, name), known) in &self.0 {
            compared.planned += 1;
            let row = unplanned.iter().find(|row| (&row.topic, &row.name) == (topic, name));
            let must = !known.is_paused && known.wants_from <= woken && known.until_ms < i64::MAX;
            let may = !known.is_paused && known.until_ms < i64::MAX;
            if must && row.is_none() || !may && row.is_some() {
                let what = format!("{name} of {topic} is {known:?}, and told as {row:?} at {woken}");
                return Err(Broken::new("PlannedOnce", what));
            }
        }
        Ok(())
    }
}

/// When half of a plan's occurrences are over.
fn half_of(events: &[NewEvent], published: &[Published], until_ms: i64) -> u64 {
    let mut dues: Vec<i64> = events
        .iter()
        .zip(published)
        .filter_map(|(_, result)| match result {
            Published::Accepted { due_ms, .. } => Some(*due_ms),
            Published::Duplicate { .. } | Published::Refused(_) => None,
        })
        .collect();
    dues.sort_unstable();
    let half = dues.get(dues.len() / 2).copied().unwrap_or(until_ms);
    u64::try_from(half).unwrap_or_default().saturating_mul(1_000_000)
}

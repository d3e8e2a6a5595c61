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

#[derive(Clone, Debug)]
struct Schedule {
    revision: Op,
    until_ms: i64,
    is_paused: bool,
    /// It wants a plan from then on, in nanoseconds.
    wants_from: u64,
    /// When which occurrence is due, in nanoseconds, by offset.
    planned: BTreeMap<u64, u64>,
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
                EventsAnswer::Recurs { revision, until_ms, withdrawn },
            ) => {
                let is_paused = matches!(command, EventsCommand::Pause { pauses: true, .. });
                let known = self.0.entry((topic.clone(), schedule.clone()));
                let known = known.or_insert(Schedule {
                    revision: Op::GENESIS,
                    until_ms: 0,
                    is_paused: false,
                    wants_from: 0,
                    planned: BTreeMap::new(),
                });
                // Whoever orders what is so already changes nothing.
                if known.revision == *revision {
                    return Ok(());
                }
                known.check_withdrawn(schedule, withdrawn, now)?;
                *known = Schedule {
                    revision: *revision,
                    until_ms: *until_ms,
                    is_paused,
                    wants_from: now,
                    planned: BTreeMap::new(),
                };
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
                        known.planned.extend(published.iter().filter_map(|result| match result {
                            Published::Accepted { offset, due_ms } => Some((*offset, nanos(*due_ms))),
                            Published::Duplicate { .. } | Published::Refused(_) => None,
                        }));
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
            (EventsCommand::Forget { topic, schedule }, EventsAnswer::Forgotten { withdrawn }) => {
                let known = self.0.remove(&(topic.clone(), schedule.clone()));
                known.map_or(Ok(()), |known| known.check_withdrawn(schedule, withdrawn, now))
            }
            _ => Ok(()),
        }
    }

    /// The topic is no more.
    pub(super) fn forget(&mut self, topic: &str) {
        self.0.retain(|(of, _), _| of != topic);
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

impl Schedule {
    /// Whoever changes a schedule takes back everything of it that is still to come.
    fn check_withdrawn(&self, name: &str, withdrawn: &[u64], now: u64) -> Result<(), Broken> {
        let stays = |(offset, due): &(&u64, &u64)| **due > now && !withdrawn.contains(offset);
        match self.planned.iter().find(stays) {
            Some((offset, due)) => {
                let what = format!(
                    "{name} is changed at {now}, and occurrence {offset}, which is due at {due}, is not taken back"
                );
                Err(Broken::new("PlannedOnce", what))
            }
            None => Ok(()),
        }
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
    nanos(half)
}

fn nanos(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().saturating_mul(1_000_000)
}

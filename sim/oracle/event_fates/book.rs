//! What the log of a group was asked and answered about events, and in what state each was seen.

use std::collections::BTreeMap;

use chronon_core::builtin::BuiltinError;
use chronon_core::codec;
use chronon_core::events::{
    EventName, EventsAnswer, EventsCommand, EventsError, EventsQuery, EventsView, Published, Stored,
};
use chronon_core::kernel::Outcome;
use chronon_core::types::{Nanos, Op, Timestamp};

use super::Compared;
use super::broken::Broken;
use super::consumers::{Consumers, Times, count};
use super::fate::EventFate;
use super::plans::Plans;
use super::topic::{Topic, check_due, nanos};

/// What is known of all topics.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    topics: BTreeMap<String, Topic>,
    plans: Plans,
    /// The latest topic of a name that was closed, and whether there is another one by now.
    closed: BTreeMap<String, (u32, bool)>,
    /// Consensus time, by op.
    times: BTreeMap<Op, u64>,
    now: u64,
    op: Op,
    /// Everything that was due by then has happened.
    woken: u64,
    audited: u64,
}

impl Book {
    pub(super) fn entry(&mut self, op: Op, now: Timestamp, wakes: bool, compared: &mut Compared) {
        let before = self.now;
        (self.op, self.now) = (op, now.as_nanos());
        self.times.insert(op, self.now);
        if wakes && self.now >= before.saturating_add(QUIET_NS) {
            compared.fate(EventFate::Quiet);
        }
    }

    /// The names of all topics.
    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        self.topics.keys()
    }

    /// Everything that was due before `next`, or by now, has happened.
    pub(super) fn woken(&mut self, next: Option<Timestamp>) {
        let until = next.map_or(self.now, |next| next.as_nanos().saturating_sub(1));
        self.woken = self.woken.max(until.min(self.now));
    }

    /// Nothing fails any more, and has not for long: what was due has happened.
    pub(super) fn healed(&mut self) {
        self.woken = self.woken.max(self.now.saturating_sub(LATE_NS));
    }

    /// The command at this place of the entry was executed.
    pub(super) fn command(
        &mut self,
        index: u32,
        body: &[u8],
        outcome: &Outcome,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let Ok(command) = codec::decode::<EventsCommand>(body) else { return Ok(()) };
        let answer = match outcome {
            Outcome::Done(answer) => codec::decode::<EventsAnswer>(answer.as_slice()),
            Outcome::Refused(why) => {
                let why = codec::decode(why.as_slice());
                if let Ok(BuiltinError::Events(EventsError::NotScheduled(_))) = why {
                    compared.fate(EventFate::TooLate);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Ok(answer) = answer else { return Ok(()) };
        let times = self.at();
        self.plans.told(&command, &answer, times.now, compared)?;
        match (command, answer) {
            (EventsCommand::Open { topic, config, id }, _) => {
                compared.generation += 1;
                if let Some((closed, is_open)) = self.closed.get_mut(&topic) {
                    if *closed >= id {
                        let what =
                            format!("topic {topic}, number {id}, is opened; number {closed} was closed");
                        return Err(Broken::new("GenerationHolds", what));
                    }
                    *is_open = true;
                }
                let known = self.topics.entry(topic).or_default();
                if known.config.revision < config.revision {
                    if known.pauses.is_to_pause(self.op, config.is_paused) {
                        compared.fate(EventFate::Paused);
                    }
                    known.config = config;
                }
                Ok(())
            }
            (EventsCommand::Close { topic, id }, _) => {
                let (closed, is_open) = self.closed.entry(topic.clone()).or_insert((0, false));
                // A copy of the order may come when another topic has the name.
                if *closed < id {
                    (*closed, *is_open) = (id, false);
                    self.topics.remove(&topic);
                    self.plans.forget(&topic);
                    compared.fate(EventFate::TopicDeleted);
                }
                Ok(())
            }
            (EventsCommand::Publish { topic, events }, EventsAnswer::Published(results))
            | (
                EventsCommand::Occur { topic, events, .. },
                EventsAnswer::Occurred { published: results, .. },
            ) => {
                let topic = self.topics.entry(topic).or_default();
                for (item, (event, result)) in (0..).zip(events.iter().zip(&results)) {
                    if let Published::Accepted { offset, .. } = result {
                        topic.stored.insert(*offset, Stored { op: self.op, index, item });
                    }
                    topic.published(event, result, times.now, compared)?;
                }
                Ok(())
            }
            (EventsCommand::Cancel { topic, event }, EventsAnswer::Cancelled { offset }) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.names.get(&event);
                if known.is_some_and(|known| known.offset != offset) {
                    let what =
                        format!("event {offset} is cancelled by the name {event:?}, which is {known:?}");
                    return Err(Broken::new("OwnerOnly", what));
                }
                topic.check_waits(offset, "cancelled")?;
                topic.cancelled.insert(offset);
                topic.expires.remove(&offset);
                compared.fate(EventFate::Cancelled);
                Ok(())
            }
            (EventsCommand::Reschedule { topic, due, .. }, EventsAnswer::Rescheduled { offset, due_ms }) => {
                let topic = self.topics.entry(topic).or_default();
                topic.check_waits(offset, "put off")?;
                check_due(due, due_ms, times.now)?;
                topic.is_due_at(offset, nanos(due_ms), times.now);
                compared.fate(if topic.waited.contains(&offset) {
                    EventFate::Rescheduled
                } else {
                    EventFate::RescheduledToThePast
                });
                Ok(())
            }
            (
                EventsCommand::Recur { topic, .. }
                | EventsCommand::Pause { topic, .. }
                | EventsCommand::Forget { topic, .. },
                EventsAnswer::Recurs { withdrawn, .. } | EventsAnswer::Forgotten { withdrawn },
            ) => {
                let topic = self.topics.entry(topic).or_default();
                for offset in withdrawn {
                    topic.check_waits(offset, "taken back by its schedule")?;
                    // The schedule may mean the instant again, and name another event by it.
                    topic.names.retain(|_, known| known.offset != offset);
                    topic.cancelled.insert(offset);
                    topic.expires.remove(&offset);
                }
                Ok(())
            }
            (EventsCommand::Retain { topic, below, .. }, EventsAnswer::Retained { .. }) => {
                let topic = self.topics.entry(topic).or_default();
                topic.let_go = topic.let_go.max(below.unwrap_or_default());
                Ok(())
            }
            (command, answer) => self.consumed(command, answer, times, compared),
        }
    }

    /// A consumer's command was executed.
    fn consumed(
        &mut self,
        command: EventsCommand,
        answer: EventsAnswer,
        times: Times,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        match (command, answer) {
            (
                EventsCommand::Attach { topic, group, member, credits, lease, .. },
                EventsAnswer::Attached { options, open },
            ) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.groups.entry(group.clone()).or_default();
                let count = count(&open);
                known.attached(&options, (member, credits, lease), count, times, compared);
                topic.told((&group, member), &open, &self.times, compared)
            }
            (
                EventsCommand::Claim { topic, group, member, count: asked, lease, .. },
                EventsAnswer::Claimed { options, granted },
            ) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.groups.entry(group.clone()).or_default();
                known.claimed(&options, (member, asked, lease), count(&granted), times, compared)?;
                topic.told((&group, member), &granted, &self.times, compared)
            }
            (
                EventsCommand::Settle { topic, group, member, settlements, .. },
                EventsAnswer::Settled { results, granted, .. },
            ) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.groups.entry(group.clone()).or_default();
                known.settled(member, (&settlements, &results), times, compared)?;
                topic.told((&group, member), &granted, &self.times, compared)
            }
            (EventsCommand::Detach { topic, group, member }, EventsAnswer::Detached) => {
                let known = self.topics.entry(topic).or_default().groups.entry(group).or_default();
                known.detached(member, compared);
                Ok(())
            }
            (
                EventsCommand::Redrive { topic, group, letters }
                | EventsCommand::Discard { topic, group, letters },
                EventsAnswer::Revived(count),
            ) => {
                let known = self.topics.entry(topic).or_default().groups.entry(group).or_default();
                known.revived(&letters, count, compared);
                Ok(())
            }
            (
                EventsCommand::PauseGroup { topic, group, .. }
                | EventsCommand::AlterGroup { topic, group, .. },
                EventsAnswer::GroupChanged { options, is_paused },
            ) => {
                let known = self.topics.entry(topic).or_default().groups.entry(group).or_default();
                known.changed(self.op, &options, is_paused, compared);
                Ok(())
            }
            (EventsCommand::Seek { topic, group, .. }, EventsAnswer::Sought { seq, .. }) => {
                let topic = self.topics.entry(topic).or_default();
                topic.forget_states(&group);
                topic.groups.entry(group).or_default().sought(self.op, seq);
                compared.fate(EventFate::Sought);
                Ok(())
            }
            (EventsCommand::DeleteGroup { topic, group, .. }, EventsAnswer::GroupDeleted { .. }) => {
                let topic = self.topics.entry(topic).or_default();
                topic.forget_states(&group);
                topic.groups.insert(group, Consumers::deleted(self.op));
                compared.fate(EventFate::GroupDeleted);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at(&self) -> Times {
        Times { now: self.now, woken: self.woken, audited: self.audited }
    }

    /// Holds every state that is seen against what is known.
    pub(super) fn audit(
        &mut self,
        ask: impl Fn(EventsQuery) -> EventsView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let times = self.at();
        self.audited = times.now;
        for (name, (id, is_open)) in &self.closed {
            compared.generation += 1;
            let view = ask(EventsQuery::Partition { topic: name.clone() });
            if !is_open && view != EventsView::Unknown {
                let what = format!("topic {name}, number {id}, was closed, and is {view:?}");
                return Err(Broken::new("GenerationHolds", what));
            }
        }
        for (name, topic) in &mut self.topics {
            let EventsView::Partition(partition) = ask(EventsQuery::Partition { topic: name.clone() }) else {
                return Err(Broken::new("NeverSilent", format!("topic {name} is gone")));
            };
            topic.audit_counts(&partition, compared)?;
            let kept = |from| ask(EventsQuery::Kept { topic: name.clone(), group: String::new(), from });
            topic.audit_kept(kept, &partition, compared)?;
            topic.groups.values_mut().for_each(|group| group.lose(times.woken, compared));
            let of = |event: &EventName| EventsQuery::Event { topic: name.clone(), event: event.clone() };
            let mut names = core::mem::take(&mut topic.names);
            let mut forgotten = Vec::new();
            for (event, known) in &mut names {
                let must_be_known = topic.remembers(known, times.now);
                match ask(of(event)) {
                    EventsView::Event(Some(view)) if view.offset == known.offset => {
                        topic.judge(event, known, &view, times, compared)?;
                    }
                    // Its name was free again, and may have been given to another.
                    _ if !must_be_known => forgotten.push(event.clone()),
                    other => {
                        let what =
                            format!("the fate of {event:?}, which is known to be {known:?}, is {other:?}");
                        return Err(Broken::new("NeverSilent", what));
                    }
                }
            }
            for event in forgotten {
                names.remove(&event);
            }
            topic.judge_groups(&names, &partition, compared)?;
            topic.names = names;
        }
        let EventsView::Recurring(unplanned) = ask(EventsQuery::Unplanned) else {
            return Err(Broken::new("PlannedOnce", "nothing is told of what wants a plan".to_owned()));
        };
        self.plans.audit(&unplanned, times.woken, compared)
    }
}

/// A wake-up so long after the entry before it found nobody asking.
const QUIET_NS: u64 = Nanos::from_secs(1).as_nanos();
/// In a healed world nothing is later than this.
const LATE_NS: u64 = Nanos::from_secs(5).as_nanos();

//! The event database: publish an event for a time; at that time it is delivered, and its fate is never silent.
//!
//! A group of this kind holds a partition of each topic. Everything that decides is in the log, in consensus time: a publisher's
//! events, that an event is due, to whom it is granted, how that ended, that a lease or a member's time is over. Nothing is known
//! to the primary alone, so a failover loses nothing and needs no handing over.
//!
//! ```text
//!           ids                schedule              backlog                  group
//! publish ---------> accepted ----------> scheduled ---------> ready (seq) ----------> open ----> settled, dead
//!          refused,                cancel     agenda: due        by every consumer group      agenda: not settled in time
//!          duplicate
//! ```
//!
//! Invariants:
//! * An event that was accepted is scheduled, ready, or has ended; `schedule.rs` alone makes a [`schedule::Due`], and nothing
//!   becomes ready without one; `group/settle.rs` alone makes a [`group::Ended`], and nothing ends for a group without one.
//! * Nothing is ready before its time: consensus time only rises.
//! * The agenda follows from the rest of the state.
//! * A consumer group's floor never passes what is not settled or dead.

mod administration;
mod agenda;
mod backlog;
mod bounds;
mod closing;
mod command;
mod error;
mod expiry;
mod group;
mod ids;
mod partition;
mod planning;
mod recurring;
mod retention;
mod schedule;
mod snapshot;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_administration;
#[cfg(test)]
mod tests_courses;
#[cfg(test)]
mod tests_recurring;
#[cfg(test)]
mod tests_schedule;
mod timers;
mod topic;
mod view;
mod views;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec;
use crate::collections::PersistentMap;
use crate::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
use crate::types::{GroupInit, Nanos, Op, Timestamp, u64_of};
use agenda::{Agenda, Alarm};
use bounds::Bounds;
pub use command::{
    Deliveries, Delivery, Disposition, Due, EventName, EventsAnswer, EventsCommand, Expires, GrantPlace,
    GroupChange, GroupOptions, MemberId, Mode, NewEvent, Published, Refusal, Rule, Settled, Settlement,
    Start, Stored,
};
pub use error::{EventsError, check_name};
pub use group::DeadLetter;
use group::Moment;
pub use ids::EventState;
use partition::Partition;
use recurring::Plan;
pub use recurring::RECURRING_PAYLOAD_BYTES_MAX;
pub use timers::Timers;
pub use topic::{KEY_BYTES_MAX, MESSAGE_ID_BYTES_MAX, META_BYTES_MAX, NAME_BYTES_MAX, TopicConfig};
pub use view::{
    DeadView, DeliveryState, EventView, EventsQuery, EventsView, GroupView, KeptFrom, KeptView,
    PartitionView, RecurringView, ScheduledView,
};

/// The application. It holds nothing itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events;

/// A group's partitions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventsState {
    numbers: PersistentMap<String, u32>,
    partitions: PersistentMap<u32, Partition>,
    /// Topics that were closed, by number, and when. The latest of them: whoever has not heard of it by then opens none again.
    closed: BTreeMap<u32, Op>,
    agenda: Agenda,
}

impl ChrApplication for Events {
    const SCHEMA: Schema = Schema(1);
    type State = EventsState;
    type QueryRequest = EventsQuery;
    type QueryResponse = EventsView;
    type Error = EventsError;

    fn genesis(&self, _group: &GroupInit) -> EventsState {
        EventsState::default()
    }

    fn apply(
        &self,
        state: &mut EventsState,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, EventsError> {
        let moment = Moment { now: ctx.timestamp(), op: ctx.op() };
        match event {
            Event::Command(body) => {
                let command = codec::decode(body).map_err(|_| EventsError::Malformed)?;
                let answer = state.execute(command, ctx.index(), moment)?;
                Ok(Bytes::from(codec::encode(&answer)))
            }
            Event::Wakeup => {
                state.ring(moment);
                Ok(Bytes::new())
            }
            Event::SideEffect { .. } => Err(EventsError::Malformed),
        }
    }

    fn query(&self, state: &EventsState, request: EventsQuery, _ctx: &mut QueryContext) -> EventsView {
        state.view(&request)
    }

    fn has_news(&self, state: &EventsState, request: &EventsQuery) -> bool {
        state.has_news(request)
    }

    fn snapshot(&self, state: &EventsState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        snapshot::write(state, &from, out)
    }

    fn restore(&self, state: &mut EventsState, _from: Schema, chunk: &[u8]) -> Result<(), EventsError> {
        snapshot::read(state, chunk)
    }

    fn next_wakeup(&self, state: &EventsState) -> Option<Timestamp> {
        state.agenda.next()
    }
}

impl EventsState {
    fn execute(
        &mut self,
        command: EventsCommand,
        index: u32,
        moment: Moment,
    ) -> Result<EventsAnswer, EventsError> {
        match command {
            EventsCommand::Open { topic, config, id } => self.open((topic, id), config, moment),
            EventsCommand::Close { topic, id } => Ok(self.close(&topic, id, moment)),
            EventsCommand::Publish { topic, events } => self.publish(&topic, &events, index, moment),
            EventsCommand::Cancel { topic, event } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.cancel(&event, agenda).map(|offset| EventsAnswer::Cancelled { offset })
            }
            EventsCommand::Reschedule { topic, event, due } => {
                let (partition, agenda) = self.partition(&topic)?;
                let (offset, due_ms) = partition.reschedule(&event, due, moment, agenda)?;
                partition.grant(None, moment, agenda);
                Ok(EventsAnswer::Rescheduled { offset, due_ms })
            }
            EventsCommand::Recur { topic, schedule, rule, event } => {
                let (partition, agenda) = self.partition(&topic)?;
                let made = Stored { op: moment.op, index, item: 0 };
                partition.recur(schedule, rule, (&event, made), moment, agenda)
            }
            EventsCommand::Occur { topic, schedule, revision, after_ms, until_ms, events } => {
                check_range("occurrences", u64_of(events.len()), 0, OCCURRENCES_MAX)?;
                let (partition, agenda) = self.partition(&topic)?;
                let stored = |item| Stored { op: moment.op, index, item };
                let plan = Plan { revision, after_ms, until_ms };
                partition.occur(&schedule, plan, (&events, stored), moment, agenda)
            }
            EventsCommand::Pause { topic, schedule, pauses } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.pause(&schedule, pauses, moment, agenda)
            }
            EventsCommand::Forget { topic, schedule } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.forget_schedule(&schedule, agenda)
            }
            EventsCommand::MakeGroup { topic, group, options } => {
                let (partition, _) = self.partition(&topic)?;
                partition.group_or_new(&group, &options, true, moment).map(|_| EventsAnswer::GroupMade)
            }
            EventsCommand::Attach { topic, group, options, insists, member, credits, lease } => {
                check_range("credits", u64::from(credits), 0, u64::from(CREDITS_MAX))?;
                check_range("a member's lease in ms", ms(lease), LEASE_MS_MIN, LEASE_MS_MAX)?;
                let (partition, agenda) = self.partition(&topic)?;
                let number = partition.group_or_new(&group, &options, insists, moment)?;
                let place = partition.place(number);
                let mut options = options;
                if let Some(group) = partition.groups.get_mut(&number) {
                    group.attach(place, (member, credits, lease), moment, agenda)?;
                    options.clone_from(&group.head.options);
                }
                partition.grant(Some(number), moment, agenda);
                let open = partition.deliveries(number, member, GrantPlace::default());
                Ok(EventsAnswer::Attached { options, open })
            }
            EventsCommand::Claim { topic, group, options, insists, member, count, lease } => {
                check_range("count", u64::from(count), 1, u64::from(CLAIM_MAX))?;
                check_range("a member's lease in ms", ms(lease), LEASE_MS_MIN, LEASE_MS_MAX)?;
                let (partition, agenda) = self.partition(&topic)?;
                let number = partition.group_or_new(&group, &options, insists, moment)?;
                let granted = partition.claim(number, (member, count, lease), moment, agenda)?;
                let made_with = partition.groups.get(&number).map(|group| group.head.options.clone());
                Ok(EventsAnswer::Claimed { options: made_with.unwrap_or(options), granted })
            }
            EventsCommand::Settle { topic, group, member, settlements, after } => {
                self.settle((&topic, &group), member, settlements, after, moment)
            }
            EventsCommand::Detach { topic, group, member } => {
                let (partition, agenda) = self.partition(&topic)?;
                let number = partition.group_named(&group)?;
                let place = partition.place(number);
                if let Some(group) = partition.groups.get_mut(&number) {
                    group.detach(place, member, moment, agenda)?;
                }
                partition.grant(Some(number), moment, agenda);
                Ok(EventsAnswer::Detached)
            }
            EventsCommand::Redrive { topic, group, letters } => {
                check_range("letters", u64_of(letters.len()), 1, BATCH_MAX)?;
                let (partition, agenda) = self.partition(&topic)?;
                let number = partition.group_named(&group)?;
                let count = partition.redrive(number, letters);
                partition.grant(Some(number), moment, agenda);
                Ok(EventsAnswer::Revived(count))
            }
            EventsCommand::Retain { topic, age, bytes, below } => {
                let (partition, agenda) = self.partition(&topic)?;
                let bounds = Bounds::ordered(moment.now, age, bytes, below);
                let (events, bytes) = partition.let_go(&bounds, BATCH_MAX, agenda);
                partition.keep_to_bounds(moment, agenda);
                Ok(EventsAnswer::Retained { events, bytes })
            }
            EventsCommand::PauseGroup { topic, group, pauses } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.pause_group(&group, pauses, moment, agenda)
            }
            EventsCommand::Seek { topic, group, to } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.seek(&group, to, moment, agenda)
            }
            EventsCommand::AlterGroup { topic, group, change } => {
                let (partition, _) = self.partition(&topic)?;
                partition.alter_group(&group, &change)
            }
            EventsCommand::DeleteGroup { topic, group, force } => {
                let (partition, agenda) = self.partition(&topic)?;
                partition.delete_group(&group, force, moment, agenda)
            }
            EventsCommand::Discard { topic, group, letters } => {
                check_range("letters", u64_of(letters.len()), 1, BATCH_MAX)?;
                let (partition, agenda) = self.partition(&topic)?;
                let number = partition.group_named(&group)?;
                let mut count = 0;
                for seq in letters {
                    let group = partition.groups.get_mut(&number);
                    if let Some(ended) = group.and_then(|group| group.discard(seq)) {
                        partition.settled(&ended);
                        count += 1;
                    }
                }
                partition.keep_to_bounds(moment, agenda);
                Ok(EventsAnswer::Revived(count))
            }
        }
    }

    fn open(
        &mut self,
        (topic, id): (String, u32),
        config: TopicConfig,
        moment: Moment,
    ) -> Result<EventsAnswer, EventsError> {
        check_name("a topic's name", &topic)?;
        if self.closed.contains_key(&id) {
            return Err(EventsError::TopicDeleted(topic));
        }
        if let Some(number) = self.numbers.get(&topic) {
            let partition = self.partitions.get_mut(number);
            if let Some(other) = partition.as_ref().filter(|known| known.id != id) {
                return Err(EventsError::OtherTopic { topic, id: other.id });
            }
            if let Some(partition) = partition.filter(|known| known.config.revision < config.revision) {
                partition.config = config;
                partition.clear_retain_alarm(&mut self.agenda);
                partition.grant(None, moment, &mut self.agenda);
            }
            return Ok(EventsAnswer::Opened);
        }
        if u64_of(self.partitions.len()) >= u64::from(TOPICS_MAX) {
            return Err(EventsError::TooMany { what: "topics".into(), max: TOPICS_MAX });
        }
        let number = self.partitions.last().map_or(1, |(last, _)| last + 1);
        self.numbers.insert(topic.clone(), number);
        self.partitions.insert(number, Partition::new(number, (topic, id), config));
        Ok(EventsAnswer::Opened)
    }

    /// The topic is no more, whether it was ever opened here or not.
    fn close(&mut self, topic: &str, id: u32, moment: Moment) -> EventsAnswer {
        self.closed.insert(id, moment.op);
        if u64_of(self.closed.len()) > u64::from(TOPICS_MAX)
            && let Some(oldest) = self.closed.iter().min_by_key(|(_, op)| **op).map(|(id, _)| *id)
        {
            self.closed.remove(&oldest);
        }
        let number = self.number_of(topic);
        let partition = number.and_then(|number| self.partitions.get_mut(&number));
        let Some(partition) = partition.filter(|known| known.id == id) else {
            return EventsAnswer::Closed { scheduled: 0, ready: 0, dead: 0 };
        };
        self.numbers.remove(&String::from(topic));
        partition.close(moment, &mut self.agenda)
    }

    fn publish(
        &mut self,
        topic: &str,
        events: &[NewEvent],
        index: u32,
        moment: Moment,
    ) -> Result<EventsAnswer, EventsError> {
        check_range("events", u64_of(events.len()), 1, BATCH_MAX)?;
        let (partition, agenda) = self.partition(topic)?;
        let mut results = Vec::with_capacity(events.len());
        for (item, event) in (0..).zip(events) {
            let stored = Stored { op: moment.op, index, item };
            results.push(partition.publish(event, stored, moment, agenda));
        }
        partition.grant(None, moment, agenda);
        Ok(EventsAnswer::Published(results))
    }

    fn settle(
        &mut self,
        (topic, group): (&str, &str),
        member: MemberId,
        settlements: Vec<Settlement>,
        after: Option<GrantPlace>,
        moment: Moment,
    ) -> Result<EventsAnswer, EventsError> {
        check_range("settlements", u64_of(settlements.len()), 0, BATCH_MAX)?;
        let (partition, agenda) = self.partition(topic)?;
        let number = partition.group_named(group)?;
        let place = partition.place(number);
        if let Some(group) = partition.groups.get_mut(&number) {
            group.renew(place, member, moment, agenda)?;
        }
        let mut results = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let Some(group) = partition.groups.get_mut(&number) else { break };
            results.push(match group.settle(place, member, settlement, moment, agenda) {
                Ok(ended) => {
                    ended.iter().for_each(|ended| partition.settled(ended));
                    Settled::Done
                }
                Err(why) => Settled::Stale { why },
            });
        }
        partition.grant(Some(number), moment, agenda);
        let granted = after.map(|after| partition.deliveries(number, member, after)).unwrap_or_default();
        let floor = partition.groups.get(&number).map_or(0, |group| group.head.floor);
        Ok(EventsAnswer::Settled { results, granted, floor })
    }

    /// Sees to what is due, and no more than one entry may: the rest follows at once.
    fn ring(&mut self, moment: Moment) {
        let mut touched = Vec::new();
        let mut left = ALARMS_MAX;
        while left > 0
            && let Some((at, alarm)) = self.agenda.take_due(moment.now)
        {
            let mut seen_to = 1;
            let (topic, group) = match alarm {
                Alarm::Due { topic }
                | Alarm::Expires { topic, .. }
                | Alarm::Retain { topic }
                | Alarm::Close { topic }
                | Alarm::Plan { topic, .. } => (topic, None),
                Alarm::Rested { topic, group, .. }
                | Alarm::Unsettled { topic, group, .. }
                | Alarm::Silent { topic, group, .. }
                | Alarm::Grant { topic, group } => (topic, Some(group)),
            };
            let Some(partition) = self.partitions.get_mut(&topic) else { continue };
            let agenda = &mut self.agenda;
            match (alarm, group.and_then(|number| partition.groups.get_mut(&number))) {
                (Alarm::Due { .. }, _) => seen_to = partition.fire(at, left, moment, agenda),
                (Alarm::Expires { seq, .. }, _) => partition.expire(seq, agenda),
                (Alarm::Close { .. }, _) => {
                    partition.close_further(moment, agenda);
                    if partition.closes.is_none() {
                        self.partitions.remove(&topic);
                    }
                }
                (Alarm::Retain { .. }, _) => partition.retain_alarm_was_taken(),
                (Alarm::Plan { schedule, .. }, _) => partition.wants_plan(schedule, agenda),
                (_, None) => {}
                (Alarm::Rested { seq, .. }, Some(group)) => group.rested(seq),
                (Alarm::Unsettled { topic, group: number, seq }, Some(group)) => {
                    group.time_out(group::Place { topic, group: number }, seq, moment, agenda);
                }
                (Alarm::Silent { topic, group: number, member }, Some(group)) => {
                    group.lose(group::Place { topic, group: number }, member, moment, agenda);
                }
                (Alarm::Grant { .. }, Some(group)) => group.owes_no_more(),
            }
            touched.push((topic, group));
            left -= seen_to;
        }
        touched.sort_unstable();
        touched.dedup();
        for (topic, group) in touched {
            if let Some(partition) = self.partitions.get_mut(&topic) {
                partition.grant(group, moment, &mut self.agenda);
            }
        }
    }

    fn partition(&mut self, topic: &str) -> Result<(&mut Partition, &mut Agenda), EventsError> {
        let unknown = || EventsError::UnknownTopic(String::from(topic));
        let number = self.number_of(topic).ok_or_else(unknown)?;
        let partition = self.partitions.get_mut(&number).ok_or_else(unknown)?;
        Ok((partition, &mut self.agenda))
    }

    fn number_of(&self, topic: &str) -> Option<u32> {
        self.numbers.get(&String::from(topic)).copied()
    }
}

fn check_range(what: &str, value: u64, least: u64, most: u64) -> Result<(), EventsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(EventsError::OutOfRange { what: what.into(), allowed: alloc::format!("{least} to {most}") })
}

fn ms(span: Nanos) -> u64 {
    span.as_nanos() / 1_000_000
}

/// Topics of a group.
const TOPICS_MAX: u32 = 10_000;
/// Events of a publish, settlements of a settle, letters of a redrive.
pub const BATCH_MAX: u64 = 4096;
/// Occurrences of one plan.
pub const OCCURRENCES_MAX: u64 = 64;
/// Deliveries that may be open with one member.
pub const CREDITS_MAX: u32 = 10_000;
/// Deliveries of one claim: as many as an answer holds.
pub const CLAIM_MAX: u32 = 1000;
/// The shortest lease of a member, in milliseconds.
const LEASE_MS_MIN: u64 = 100;
/// And the longest.
const LEASE_MS_MAX: u64 = 3_600_000;
/// What one entry sees to: events that become ready, deliveries that time out or have rested, members that are lost.
pub const ALARMS_MAX: u32 = 4096;

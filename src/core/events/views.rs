//! How a state answers questions.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use super::EventsState;
use crate::events::backlog::Ready;
use crate::events::command::{Deliveries, Delivery, EventName, GrantPlace, MemberId};
use crate::events::group::Group;
use crate::events::ids::{Fate, NameHash};
use crate::events::partition::Partition;
use crate::events::recurring::Recurring;
use crate::events::schedule::{Record, Slot};
use crate::events::view::{
    DeadView, DeliveryState, EventView, EventsQuery, EventsView, GroupView, KeptFrom, KeptView,
    PartitionView, RecurringView, ScheduledView,
};
use crate::types::u64_of;

impl EventsState {
    pub(super) fn view(&self, query: &EventsQuery) -> EventsView {
        match query {
            EventsQuery::Topics => {
                EventsView::Topics(self.numbers.iter().map(|(name, _)| name.clone()).collect())
            }
            EventsQuery::Deliveries { topic, group, member, after } => {
                let Some((partition, number)) = self.group_of(topic, group) else {
                    return EventsView::Unknown;
                };
                match partition.groups.get(&number).and_then(|group| group.member(*member)) {
                    Some(_) => EventsView::Deliveries(partition.deliveries(number, *member, *after)),
                    None => EventsView::NotAMember,
                }
            }
            EventsQuery::Buffered { topic, group } => match self.group_of(topic, group) {
                Some((partition, number)) => EventsView::Buffered(partition.has_buffered(number)),
                None => EventsView::Unknown,
            },
            EventsQuery::Event { topic, event } | EventsQuery::Watch { topic, event, .. } => {
                match self.partition_of(topic) {
                    Some(partition) => EventsView::Event(partition.event(event)),
                    None => EventsView::Unknown,
                }
            }
            EventsQuery::Partition { topic } => match self.partition_of(topic) {
                Some(partition) => EventsView::Partition(partition.seen()),
                None => EventsView::Unknown,
            },
            EventsQuery::Scheduled { topic, after } => match self.partition_of(topic) {
                Some(partition) => EventsView::Scheduled(partition.scheduled(*after)),
                None => EventsView::Unknown,
            },
            EventsQuery::PartitionsAfter(topic) => {
                let rows = self.numbers.range(Bound::Excluded(topic)).take(PARTITIONS_MAX);
                let seen = rows.filter_map(|(topic, number)| {
                    self.partitions.get(number).map(|partition| (topic.clone(), partition.seen()))
                });
                EventsView::Partitions { next_alarm: self.agenda.next(), partitions: seen.collect() }
            }
            EventsQuery::Kept { topic, group, from } => match self.partition_of(topic) {
                Some(partition) => partition.kept(group, *from),
                None => EventsView::Unknown,
            },
            EventsQuery::Recurring { topic } => match self.partition_of(topic) {
                Some(partition) => {
                    let rows = partition.recurring.values().take(ROWS_MAX);
                    EventsView::Recurring(rows.map(|known| partition.recurring_seen(known)).collect())
                }
                None => EventsView::Unknown,
            },
            EventsQuery::Unplanned => {
                let row = |(topic, schedule)| {
                    let partition = self.partitions.get(&topic)?;
                    Some(partition.recurring_seen(partition.recurring.get(&schedule)?))
                };
                EventsView::Recurring(self.agenda.unplanned().filter_map(row).take(PARTITIONS_MAX).collect())
            }
            EventsQuery::Dead { topic, group, from } => match self.group_of(topic, group) {
                Some((partition, number)) => EventsView::Dead(partition.dead(number, *from)),
                None => EventsView::Unknown,
            },
        }
    }

    /// Whether a question that waits has nothing to wait for any more: a member's next delivery is here, or an event's fate another.
    pub(super) fn has_news(&self, query: &EventsQuery) -> bool {
        if let EventsQuery::Watch { topic, event, known } = query {
            return self.partition_of(topic).is_none_or(|partition| partition.event(event) != *known);
        }
        if *query == EventsQuery::Unplanned {
            return self.agenda.unplanned().next().is_some();
        }
        if let EventsQuery::Buffered { topic, group } = query {
            let group = self.group_of(topic, group);
            return group.is_none_or(|(partition, number)| partition.has_buffered(number));
        }
        let EventsQuery::Deliveries { topic, group, member, after } = query else { return true };
        let Some((partition, number)) = self.group_of(topic, group) else { return true };
        let Some(group) = partition.groups.get(&number) else { return true };
        group.member(*member).is_none() || group.in_flight_of(*member, *after).next().is_some()
    }

    fn partition_of(&self, topic: &str) -> Option<&Partition> {
        self.partitions.get(&self.number_of(topic)?)
    }

    fn group_of(&self, topic: &str, group: &str) -> Option<(&Partition, u32)> {
        let partition = self.partition_of(topic)?;
        partition.group_named(group).ok().map(|number| (partition, number))
    }
}

impl Partition {
    /// What is open with a member, of grants later than `after`; as much as an answer holds.
    pub(in crate::events) fn deliveries(
        &self,
        number: u32,
        member: MemberId,
        after: GrantPlace,
    ) -> Deliveries {
        let Some(group) = self.groups.get(&number) else { return Deliveries::default() };
        let mut found = group.in_flight_of(member, after);
        let of = |seq| self.delivery(group, seq);
        let deliveries: Vec<Delivery> = found.by_ref().take(ROWS_MAX).filter_map(of).collect();
        Deliveries { deliveries, more: found.next().is_some() }
    }

    /// What is open of the event at this place.
    pub(in crate::events) fn delivery(&self, group: &Group, seq: u64) -> Option<Delivery> {
        let (open, ready) = (group.open(seq)?, self.backlog.get(seq)?);
        Some(Delivery {
            grant: GrantPlace { op: open.granted, seq },
            attempt: open.attempt,
            until: open.until,
            offset: ready.record.offset,
            due_ms: ready.record.due_ms,
            stored: ready.record.stored,
        })
    }

    /// Whether somebody who asked a consumer group for a delivery now might get one.
    fn has_buffered(&self, number: u32) -> bool {
        let may_grant = |group: &Group| !group.head.is_paused && group.has_buffered(self.backlog.next_seq());
        !self.config.is_paused && self.groups.get(&number).is_some_and(may_grant)
    }

    fn event(&self, event: &EventName) -> Option<EventView> {
        let named = self.ids.get(NameHash::of(event))?;
        let (offset, accepted_at, state) = (named.offset, named.accepted_at, named.fate.seen());
        let (open, deliveries) = match named.fate {
            Fate::Scheduled { due_ms } => (self.schedule.get(Slot { due_ms, offset }), Vec::new()),
            Fate::Ready { seq } | Fate::Expired { seq } => {
                let ready = self.backlog.get(seq);
                let state =
                    |group: &Group, ready| (group.head.name.clone(), delivery_state(group, seq, ready));
                let states = ready
                    .into_iter()
                    .flat_map(|ready| self.present().map(move |(_, group)| state(group, ready)));
                (ready.map(|ready| ready.record), states.collect())
            }
            Fate::Settled | Fate::Cancelled => (None, Vec::new()),
        };
        let open = open.map(|record| (record.due_ms, record.stored));
        Some(EventView { offset, accepted_at, state, open, deliveries })
    }

    fn seen(&self) -> PartitionView {
        PartitionView {
            config: self.config.clone(),
            next_offset: self.next_offset,
            next_seq: self.backlog.next_seq(),
            scheduled: self.schedule.len(),
            ready: self.backlog.len(),
            kept: self.backlog.kept(),
            kept_bytes: self.backlog.bytes(),
            first_seq: self.backlog.first_seq(),
            ids: self.ids.len(),
            groups: self.present().map(|(_, group)| self.group_seen(group)).collect(),
        }
    }

    fn group_seen(&self, group: &Group) -> GroupView {
        let (head, counts) = (&group.head, group.counts());
        GroupView {
            name: head.name.clone(),
            options: head.options.clone(),
            is_paused: head.is_paused,
            floor: head.floor,
            lag: group.lag(self.backlog.next_seq()),
            open: u64_of(counts.open),
            resting: u64_of(counts.resting),
            dead: u64_of(counts.dead),
            dead_dropped: head.dead_dropped,
            expired: head.expired,
            members: u32::try_from(group.members()).unwrap_or(u32::MAX),
        }
    }

    fn scheduled(&self, after: Option<(i64, u64)>) -> Vec<ScheduledView> {
        let after = after.map(|(due_ms, offset)| Slot { due_ms, offset });
        let rows = self.schedule.saved(after).take(ROWS_MAX);
        rows.map(|record| ScheduledView {
            offset: record.offset,
            due_ms: record.due_ms,
            stored: record.stored,
        })
        .collect()
    }

    fn kept(&self, group: &str, from: KeptFrom) -> EventsView {
        let group = match self.group_named(group) {
            Ok(number) => self.groups.get(&number),
            Err(_) if group.is_empty() => None,
            Err(_) => return EventsView::Unknown,
        };
        let seq = match from {
            KeptFrom::Seq(seq) => seq,
            KeptFrom::Time(at) => self.backlog.since(at),
        };
        let mut found = self.backlog.from(seq);
        let row = |(seq, ready): (u64, &Ready)| {
            let Record { offset, due_ms, stored, .. } = ready.record;
            let delivery = group.map(|group| delivery_state(group, seq, ready));
            KeptView { seq, offset, due_ms, at: ready.at, stored, ended: ready.ended, delivery }
        };
        let rows = found.by_ref().take(ROWS_MAX).map(row).collect();
        EventsView::Kept { rows, is_end: found.next().is_none() }
    }

    fn recurring_seen(&self, known: &Recurring) -> RecurringView {
        RecurringView {
            topic: self.name.clone(),
            name: known.name.clone(),
            rule: known.rule.clone(),
            made: known.made,
            revision: known.revision,
            until_ms: known.until_ms,
            is_paused: known.is_paused,
            planned: known.planned.clone(),
        }
    }

    fn dead(&self, number: u32, from: u64) -> Vec<DeadView> {
        let Some(group) = self.groups.get(&number) else { return Vec::new() };
        let row = |(seq, letter): (u64, &crate::events::group::DeadLetter)| {
            let record = self.backlog.get(seq)?.record;
            Some(DeadView { seq, offset: record.offset, letter: letter.clone(), stored: record.stored })
        };
        group.dead_letters(from).take(ROWS_MAX).filter_map(row).collect()
    }
}

fn delivery_state(group: &Group, seq: u64, ready: &Ready) -> DeliveryState {
    if !group.is_for(seq) {
        return DeliveryState::Skipped;
    }
    if let Some(open) = group.open(seq) {
        let (member, attempt, until) = (open.member, open.attempt, open.until);
        return DeliveryState::Processing { member, attempt, until };
    }
    if let Some(rests) = group.resting(seq) {
        let (attempts, until, why): (u32, _, String) = (rests.attempts, rests.until, rests.why.clone());
        return DeliveryState::FailedRetryable { attempts, until, why };
    }
    if group.has_expired(seq) {
        return DeliveryState::Expired;
    }
    match group.dead_letter(seq) {
        Some(letter) => DeliveryState::FailedTerminal(letter.clone()),
        None if group.is_settled(seq, ready.record.key) => DeliveryState::Processed,
        None if ready.expired => DeliveryState::Expired,
        None => DeliveryState::Buffered,
    }
}

/// Rows of an answer.
const ROWS_MAX: usize = 1000;
/// Partitions of an answer, each with its consumer groups.
const PARTITIONS_MAX: usize = 50;

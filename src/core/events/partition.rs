//! A topic's share of a group: what was accepted, what waits, what is ready, and who consumes it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::collections::PersistentMap;
use crate::events::agenda::{Agenda, Alarm};
use crate::events::backlog::Backlog;
use crate::events::command::{
    Deliveries, Due, EventName, Expires, GroupOptions, MemberId, NewEvent, Published, Refusal, Start, Stored,
};
use crate::events::error::{EventsError, check_name};
use crate::events::group::{Candidate, Ended, Group, Moment, Place};
use crate::events::ids::{Fate, Ids, NameHash, Named};
use crate::events::recurring::Recurring;
use crate::events::schedule::{self, Record, Schedule, Slot, at_ms};
use crate::events::topic::{KEY_BYTES_MAX, MESSAGE_ID_BYTES_MAX, META_BYTES_MAX, TopicConfig};
use crate::types::{Hash, Nanos, Timestamp, u64_of};

/// The partition. Its groups are numbered as they come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::events) struct Partition {
    pub(in crate::events) number: u32,
    pub(in crate::events) name: String,
    /// Which topic of this name.
    pub(in crate::events) id: u32,
    /// Its topic was deleted: it lets go of what it has, more of it then.
    pub(in crate::events) closes: Option<Timestamp>,
    pub(in crate::events) config: TopicConfig,
    pub(in crate::events) next_offset: u64,
    pub(in crate::events) ids: Ids,
    pub(in crate::events) schedule: Schedule,
    pub(in crate::events) backlog: Backlog,
    pub(in crate::events) groups: BTreeMap<u32, Group>,
    /// Of events that are not due yet, by offset: from when on they are of no use.
    pub(in crate::events) expiries: PersistentMap<u64, i64>,
    /// Schedules that publish again and again. They are numbered as they come.
    pub(in crate::events) recurring: BTreeMap<u32, Recurring>,
    /// When it looks again at what is too old.
    pub(in crate::events) retain_at: Option<Timestamp>,
}

impl Partition {
    pub(in crate::events) fn new(number: u32, (name, id): (String, u32), config: TopicConfig) -> Self {
        Self {
            number,
            name,
            id,
            closes: None,
            config,
            next_offset: 0,
            ids: Ids::default(),
            schedule: Schedule::default(),
            backlog: Backlog::default(),
            groups: BTreeMap::new(),
            expiries: PersistentMap::default(),
            recurring: BTreeMap::new(),
            retain_at: None,
        }
    }

    /// Accepts an event, or says why not.
    pub(in crate::events) fn publish(
        &mut self,
        event: &NewEvent,
        stored: Stored,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Published {
        if let Some(refusal) = self.refusal(event) {
            return Published::Refused(refusal);
        }
        self.ids.forget_old(moment.now, self.config.dedup_window, IDS_FORGOTTEN_AT_ONCE);
        let name = NameHash::of(&event.name);
        let known = self.ids.get(name).map(|named| named.offset);
        if let Some(offset) = known.filter(|_| !event.allow_duplicate) {
            return Published::Duplicate { offset };
        }
        if known.is_none() && !self.ids.make_room(&self.config) {
            return Published::Refused(Refusal::TooManyIds { max: self.config.dedup_ids_max });
        }
        let due_ms = due_ms(event.due, moment);
        let (offset, bytes) = (self.next_offset, u32::try_from(bytes_of(event)).unwrap_or(u32::MAX));
        let record = Record { offset, due_ms, stored, name: name.tag(), key: key_of(event), bytes };
        let expires = expires_ms(event.expires, record.due().max(moment.now));
        if expires.is_some_and(|expires| at_ms(expires) <= record.due().max(moment.now)) {
            return Published::Refused(Refusal::ExpiresTooEarly);
        }
        if record.due() > moment.now && self.schedule.len() >= self.config.pending_max {
            return Published::Refused(Refusal::TooManyPending { max: self.config.pending_max });
        }
        self.next_offset += 1;
        if let Some(expires) = expires {
            self.expiries.insert(record.offset, expires);
        }
        if known.is_none() {
            let (offset, accepted_at, fate) = (record.offset, moment.now, Fate::Scheduled { due_ms });
            self.ids.put(name, Named { offset, accepted_at, fate });
        }
        self.wait(record, moment, agenda);
        Published::Accepted { offset: record.offset, due_ms }
    }

    /// The time of the next events has come: at most so many become ready that are due at `at`. Their alarm has been taken; how many
    /// it was.
    pub(in crate::events) fn fire(
        &mut self,
        at: Timestamp,
        most: u32,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> u32 {
        let mut fired = 0;
        while fired < most
            && let Some(due) = self.schedule.take_due(at)
        {
            self.open(&due, moment, agenda);
            fired += 1;
        }
        self.follow(None, agenda);
        fired
    }

    /// Takes an event back that is not due yet; its offset.
    ///
    /// # Errors
    /// Why it cannot be taken back.
    pub(in crate::events) fn cancel(
        &mut self,
        event: &EventName,
        agenda: &mut Agenda,
    ) -> Result<u64, EventsError> {
        let record = self.take_scheduled(event, agenda)?;
        self.ids.moved(record.name, record.offset, Fate::Cancelled);
        self.expiries.remove(&record.offset);
        Ok(record.offset)
    }

    /// Has an event that is not due yet be due at another time; its offset and that time.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(in crate::events) fn reschedule(
        &mut self,
        event: &EventName,
        due: Due,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<(u64, i64), EventsError> {
        let due_ms = due_ms(due, moment);
        let named = self.ids.get(NameHash::of(event));
        if let Some(expires) = named.and_then(|named| self.expiries.get(&named.offset))
            && *expires <= due_ms
        {
            return Err(EventsError::ExpiresEarlier(*expires));
        }
        let mut record = self.take_scheduled(event, agenda)?;
        record.due_ms = due_ms;
        self.ids.moved(record.name, record.offset, Fate::Scheduled { due_ms });
        self.wait(record, moment, agenda);
        Ok((record.offset, record.due_ms))
    }

    /// The number of a consumer group, which is made if there is none of this name. Who `insists` takes only one that was made with
    /// these options.
    ///
    /// # Errors
    /// When it was made with other options, or there are too many.
    pub(in crate::events) fn group_or_new(
        &mut self,
        name: &str,
        options: &GroupOptions,
        insists: bool,
        moment: Moment,
    ) -> Result<u32, EventsError> {
        if let Some((number, group)) = self.present().find(|(_, group)| group.head.name == name) {
            return if insists { group.check_options(options).map(|()| number) } else { Ok(number) };
        }
        check_name("a consumer group's name", name)?;
        check_options(options)?;
        if u64_of(self.present().count()) >= u64::from(GROUPS_MAX) {
            return Err(EventsError::TooMany {
                what: "consumer groups of the topic".into(),
                max: GROUPS_MAX,
            });
        }
        let number = self.next_group();
        let start = self.place_of(options.start);
        self.groups.insert(number, Group::new(name.to_string(), options.clone(), start, moment.op));
        Ok(number)
    }

    /// The number of the next group: higher than that of any other, those that leave among them.
    pub(in crate::events) fn next_group(&self) -> u32 {
        self.groups.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// The place in the ready sequence with which a group begins.
    pub(in crate::events) fn place_of(&self, start: Start) -> u64 {
        match start {
            Start::Earliest => self.backlog.first_seq(),
            Start::Latest => self.backlog.next_seq(),
            Start::At(seq) => seq.clamp(self.backlog.first_seq(), self.backlog.next_seq()),
            Start::Since(at) => self.backlog.since(at),
        }
    }

    /// The consumer groups, but for those that leave.
    pub(in crate::events) fn present(&self) -> impl Iterator<Item = (u32, &Group)> {
        let groups = self.groups.iter().filter(|(_, group)| !group.leaves());
        groups.map(|(number, group)| (*number, group))
    }

    /// The consumer group of this name.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`].
    pub(in crate::events) fn group_named(&self, name: &str) -> Result<u32, EventsError> {
        let found = self.present().find(|(_, group)| group.head.name == name);
        found.map(|(number, _)| number).ok_or_else(|| EventsError::UnknownGroup(name.to_string()))
    }

    /// Where the alarms of a group belong.
    pub(in crate::events) fn place(&self, group: u32) -> Place {
        Place { topic: self.number, group }
    }

    /// A consumer group has settled an event for good.
    pub(in crate::events) fn settled(&mut self, ended: &Ended) {
        self.backlog.settle(ended.seq(), self.groups_that_hold(ended.seq()));
    }

    /// Gives what is buffered to those who have room, in one group or in all, and lets go of what is too much or too old.
    pub(in crate::events) fn grant(&mut self, group: Option<u32>, moment: Moment, agenda: &mut Agenda) {
        if self.closes.is_some() {
            return;
        }
        let numbers: Vec<u32> = match group {
            Some(number) => alloc::vec![number],
            None => self.present().map(|(number, _)| number).collect(),
        };
        for number in numbers {
            if self.groups.get(&number).is_some_and(Group::leaves) {
                self.take_leave(number, moment, agenda);
                continue;
            }
            let (place, end) = (self.place(number), self.backlog.next_seq());
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let backlog = &self.backlog;
            let candidate = |seq| match backlog.get(seq) {
                None => Candidate::Gone,
                Some(ready) if ready.expired => Candidate::Expired,
                Some(ready) if ready.expires.is_some_and(|expires| expires <= moment.now) => {
                    Candidate::Expires
                }
                Some(ready) => Candidate::Key(ready.record.key),
            };
            if !self.config.is_paused {
                group.grant(place, end, candidate, moment, agenda);
            }
            while let Some(ended) =
                self.groups.get_mut(&number).and_then(|group| group.drop_oldest_letter(self.config.dead_max))
            {
                self.settled(&ended);
            }
        }
        self.keep_to_bounds(moment, agenda);
    }

    /// A member takes of what is buffered, so many at most.
    ///
    /// # Errors
    /// When the consumer group has too many members.
    pub(in crate::events) fn claim(
        &mut self,
        number: u32,
        (member, count, lease): (MemberId, u32, Nanos),
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<Deliveries, EventsError> {
        let place = self.place(number);
        let Some(group) = self.groups.get_mut(&number) else { return Ok(Deliveries::default()) };
        let before = group.claims(place, (member, count, lease), moment, agenda)?;
        self.grant(Some(number), moment, agenda);
        let claimer = self.groups.get_mut(&number);
        let granted = claimer.map(|group| group.takes_no_more(member, &before)).unwrap_or_default();
        let Some(group) = self.groups.get(&number) else { return Ok(Deliveries::default()) };
        let deliveries = granted.into_iter().filter_map(|seq| self.delivery(group, seq)).collect();
        Ok(Deliveries { deliveries, more: false })
    }

    /// Dead letters of a consumer group are to be delivered again, but for those that are of no use any more; how many.
    pub(in crate::events) fn redrive(&mut self, number: u32, mut letters: Vec<u64>) -> u32 {
        letters.retain(|seq| self.backlog.get(*seq).is_some_and(|ready| !ready.expired));
        self.groups.get_mut(&number).map_or(0, |group| group.redrive(&letters))
    }

    fn open(&mut self, due: &schedule::Due, moment: Moment, agenda: &mut Agenda) {
        let record = due.record();
        let expires = self.expiries.remove(&record.offset).map(at_ms);
        let seq = self.backlog.open(due, moment.now, expires);
        if let Some(expires) = expires {
            agenda.set(expires, Alarm::Expires { topic: self.number, seq });
        }
        self.ids.moved(record.name, record.offset, Fate::Ready { seq });
    }

    /// Has an event wait until it is due; one that is due is ready.
    fn wait(&mut self, record: Record, moment: Moment, agenda: &mut Agenda) {
        let before = self.schedule.next();
        match self.schedule.accept(record, moment.now) {
            Some(due) => self.open(&due, moment, agenda),
            None => self.follow(before, agenda),
        }
    }

    /// The schedule has changed: the alarm follows, which is set for `before`.
    pub(in crate::events) fn follow(&self, before: Option<Timestamp>, agenda: &mut Agenda) {
        let (next, alarm) = (self.schedule.next(), Alarm::Due { topic: self.number });
        if before == next || self.closes.is_some() {
            return;
        }
        if let Some(at) = before {
            agenda.clear(at, alarm);
        }
        if let Some(at) = next {
            agenda.set(at, alarm);
        }
    }

    fn take_scheduled(&mut self, event: &EventName, agenda: &mut Agenda) -> Result<Record, EventsError> {
        let named = self.ids.get(NameHash::of(event));
        let named = named.ok_or_else(|| EventsError::UnknownEvent(event.message_id.clone()))?;
        let not_scheduled = |state: &str| EventsError::NotScheduled(state.to_string());
        let slot = match named.fate {
            Fate::Scheduled { due_ms } => Slot { due_ms, offset: named.offset },
            Fate::Ready { .. } => return Err(not_scheduled("ready")),
            Fate::Settled => return Err(not_scheduled("settled")),
            Fate::Cancelled => return Err(not_scheduled("cancelled")),
            Fate::Expired { .. } => return Err(not_scheduled("expired")),
        };
        let before = self.schedule.next();
        let record = self.schedule.take_back(slot);
        let record = record.ok_or_else(|| not_scheduled("scheduled"))?;
        self.follow(before, agenda);
        Ok(record)
    }

    fn refusal(&self, event: &NewEvent) -> Option<Refusal> {
        let EventName { partition_key, message_id } = &event.name;
        if message_id.is_empty() {
            return Some(Refusal::NoMessageId);
        }
        let names = [
            ("message_id", message_id, MESSAGE_ID_BYTES_MAX),
            ("partition_key", partition_key, KEY_BYTES_MAX),
            ("ordering_key", &event.ordering_key, KEY_BYTES_MAX),
        ];
        for (what, name, max) in names {
            if u64_of(name.len()) > u64::from(max) {
                return Some(Refusal::NameTooLong { what: what.to_string(), max });
            }
        }
        let max = self.config.payload_bytes_max;
        if u64_of(event.payload.as_slice().len()) > u64::from(max) {
            return Some(Refusal::PayloadTooLong { max });
        }
        (u64_of(meta_bytes(event)) > u64::from(META_BYTES_MAX))
            .then_some(Refusal::MetaTooLong { max: META_BYTES_MAX })
    }
}

/// When an event that is due at `due` is of no use any more.
fn expires_ms(expires: Option<Expires>, due: Timestamp) -> Option<i64> {
    match expires? {
        Expires::At(at) => Some(at),
        Expires::After(useful) => {
            let due_ms = due.as_nanos().div_ceil(NANOS_PER_MS);
            Some(i64::try_from(due_ms.saturating_add(useful)).unwrap_or(i64::MAX))
        }
    }
}

fn bytes_of(event: &NewEvent) -> usize {
    event.payload.as_slice().len() + meta_bytes(event)
}

fn meta_bytes(event: &NewEvent) -> usize {
    event.meta.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// What is in the past is due at once.
fn due_ms(due: Due, moment: Moment) -> i64 {
    match due {
        Due::At(at) => at,
        Due::In(delay) => {
            let at = (moment.now.as_nanos() / NANOS_PER_MS).saturating_add(delay);
            // Never early: the millisecond has begun already.
            i64::try_from(at.saturating_add(u64::from(delay > 0))).unwrap_or(i64::MAX)
        }
    }
}

/// What has no ordering key is ordered by what partitions it, or stands alone.
fn key_of(event: &NewEvent) -> u64 {
    let NewEvent { ordering_key, name: EventName { partition_key, message_id }, .. } = event;
    let keys = [ordering_key, partition_key, message_id];
    let key = keys.into_iter().find(|key| !key.is_empty());
    let hash = Hash::of(key.map_or(&[], |key| key.as_bytes()));
    let (first, _) = hash.as_bytes().split_at(8);
    first.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(in crate::events) fn check_options(options: &GroupOptions) -> Result<(), EventsError> {
    let is_allowed = ACK_TIMEOUT_MS.contains(&(options.ack_timeout.as_nanos() / NANOS_PER_MS));
    if !is_allowed {
        let (least, most) = (ACK_TIMEOUT_MS.start(), ACK_TIMEOUT_MS.end());
        return Err(EventsError::OutOfRange {
            what: "ack_timeout".into(),
            allowed: format!("{least} to {most} ms"),
        });
    }
    Ok(())
}

/// Consumer groups of a partition.
pub(in crate::events) const GROUPS_MAX: u32 = 256;
/// A delivery may be open for so long, in milliseconds.
const ACK_TIMEOUT_MS: core::ops::RangeInclusive<u64> = 10..=12 * 3600 * 1000;
/// Old names that each event pushes out, at most: so that they go faster than they come.
const IDS_FORGOTTEN_AT_ONCE: usize = 4;
const NANOS_PER_MS: u64 = 1_000_000;

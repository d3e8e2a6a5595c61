//! A topic's share of a group: what was accepted, what waits, what is ready, and who consumes it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::events::agenda::{Agenda, Alarm};
use crate::events::backlog::Backlog;
use crate::events::command::{
    Due, EventName, EventsError, GroupOptions, NewEvent, Published, Refusal, Start, Stored, check_name,
};
use crate::events::group::{Ended, Group, Moment, Place};
use crate::events::ids::{Fate, Ids, NameHash, Named};
use crate::events::schedule::{self, Record, Schedule, Slot};
use crate::events::topic::{KEY_BYTES_MAX, MESSAGE_ID_BYTES_MAX, META_BYTES_MAX, TopicConfig};
use crate::types::{Hash, Timestamp, u64_of};

/// The partition. Its groups are numbered as they come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::events) struct Partition {
    pub(in crate::events) number: u32,
    pub(in crate::events) name: String,
    pub(in crate::events) config: TopicConfig,
    pub(in crate::events) next_offset: u64,
    pub(in crate::events) ids: Ids,
    pub(in crate::events) schedule: Schedule,
    pub(in crate::events) backlog: Backlog,
    pub(in crate::events) groups: BTreeMap<u32, Group>,
}

impl Partition {
    pub(in crate::events) fn new(number: u32, name: String, config: TopicConfig) -> Self {
        Self {
            number,
            name,
            config,
            next_offset: 0,
            ids: Ids::default(),
            schedule: Schedule::default(),
            backlog: Backlog::default(),
            groups: BTreeMap::new(),
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
        let record =
            Record { offset: self.next_offset, due_ms, stored, name: name.tag(), key: key_of(event) };
        if record.due() > moment.now && self.schedule.len() >= self.config.pending_max {
            return Published::Refused(Refusal::TooManyPending { max: self.config.pending_max });
        }
        self.next_offset += 1;
        if known.is_none() {
            let (offset, accepted_at, fate) = (record.offset, moment.now, Fate::Scheduled { due_ms });
            self.ids.put(name, Named { offset, accepted_at, fate });
        }
        self.wait(record, moment, agenda);
        Published::Accepted { offset: record.offset, due_ms }
    }

    /// The time of the next events has come: at most so many become ready that are due at `at`. Their alarm has been taken; how many
    /// it was.
    pub(in crate::events) fn fire(&mut self, at: Timestamp, most: u32, agenda: &mut Agenda) -> u32 {
        let mut fired = 0;
        while fired < most
            && let Some(due) = self.schedule.take_due(at)
        {
            self.open(&due);
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
        let mut record = self.take_scheduled(event, agenda)?;
        record.due_ms = due_ms(due, moment);
        let fate = Fate::Scheduled { due_ms: record.due_ms };
        self.ids.moved(record.name, record.offset, fate);
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
    ) -> Result<u32, EventsError> {
        if let Some((number, group)) = self.groups.iter().find(|(_, group)| group.head.name == name) {
            return if insists { group.check_options(options).map(|()| *number) } else { Ok(*number) };
        }
        check_name("a consumer group's name", name)?;
        check_options(options)?;
        if u64_of(self.groups.len()) >= u64::from(GROUPS_MAX) {
            return Err(EventsError::TooMany {
                what: "consumer groups of the topic".into(),
                max: GROUPS_MAX,
            });
        }
        let number = self.groups.last_key_value().map_or(1, |(last, _)| last + 1);
        let start = match options.start {
            Start::Earliest => self.backlog.first_seq(),
            Start::Latest => self.backlog.next_seq(),
        };
        self.groups.insert(number, Group::new(name.to_string(), options.clone(), start));
        Ok(number)
    }

    /// The consumer group of this name.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`].
    pub(in crate::events) fn group_named(&self, name: &str) -> Result<u32, EventsError> {
        let found = self.groups.iter().find(|(_, group)| group.head.name == name);
        found.map(|(number, _)| *number).ok_or_else(|| EventsError::UnknownGroup(name.to_string()))
    }

    /// Where the alarms of a group belong.
    pub(in crate::events) fn place(&self, group: u32) -> Place {
        Place { topic: self.number, group }
    }

    /// A consumer group has settled an event for good.
    pub(in crate::events) fn settled(&mut self, ended: &Ended) {
        let groups = &self.groups;
        let groups_of = |seq| {
            let count = groups.values().filter(|group| group.head.start <= seq).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        self.backlog.settle(ended.seq(), groups_of(ended.seq()));
        while let Some(record) = self.backlog.drop_oldest(self.config.kept_max, groups_of) {
            self.ids.moved(record.name, record.offset, Fate::Settled);
        }
    }

    /// Gives what is buffered to those who have room, in one group or in all, and lets go of dead letters that are too many.
    pub(in crate::events) fn grant(&mut self, group: Option<u32>, moment: Moment, agenda: &mut Agenda) {
        let numbers: Vec<u32> = match group {
            Some(number) => alloc::vec![number],
            None => self.groups.keys().copied().collect(),
        };
        for number in numbers {
            let (place, end) = (self.place(number), self.backlog.next_seq());
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let backlog = &self.backlog;
            let key = |seq| backlog.get(seq).map(|ready| ready.record.key);
            group.grant(place, end, key, moment, agenda);
            while let Some(ended) =
                self.groups.get_mut(&number).and_then(|group| group.drop_oldest_letter(self.config.dead_max))
            {
                self.settled(&ended);
            }
        }
    }

    fn open(&mut self, due: &schedule::Due) {
        let (seq, record) = (self.backlog.open(due), due.record());
        self.ids.moved(record.name, record.offset, Fate::Ready { seq });
    }

    /// Has an event wait until it is due; one that is due is ready.
    fn wait(&mut self, record: Record, moment: Moment, agenda: &mut Agenda) {
        let before = self.schedule.next();
        match self.schedule.accept(record, moment.now) {
            Some(due) => self.open(&due),
            None => self.follow(before, agenda),
        }
    }

    /// The schedule has changed: the alarm follows, which is set for `before`.
    pub(in crate::events) fn follow(&self, before: Option<Timestamp>, agenda: &mut Agenda) {
        let (next, alarm) = (self.schedule.next(), Alarm::Due { topic: self.number });
        if before == next {
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
        let meta: usize = event.meta.iter().map(|(key, value)| key.len() + value.len()).sum();
        (u64_of(meta) > u64::from(META_BYTES_MAX)).then_some(Refusal::MetaTooLong { max: META_BYTES_MAX })
    }
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

fn check_options(options: &GroupOptions) -> Result<(), EventsError> {
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
const GROUPS_MAX: u32 = 256;
/// A delivery may be open for so long, in milliseconds.
const ACK_TIMEOUT_MS: core::ops::RangeInclusive<u64> = 10..=12 * 3600 * 1000;
/// Old names that each event pushes out, at most: so that they go faster than they come.
const IDS_FORGOTTEN_AT_ONCE: usize = 4;
const NANOS_PER_MS: u64 = 1_000_000;

//! Events that are not due yet. Whoever has a [`Due`] has an event whose time has come: nothing else makes one.
//!
//! One ordered map holds them, by when they are due and then by their offsets. So the next one stands first, what is due at one time
//! becomes ready in the order in which it was accepted, and a state is the same whatever came and went before it. There is no second
//! index: who wants an event back knows its [`Slot`] from its name.

use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::command::Stored;
use crate::events::ids::NameTag;
use crate::types::{Op, Timestamp, u64_of};

/// An event, from when it was accepted to when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Record {
    pub offset: u64,
    /// In milliseconds since the Unix epoch.
    pub due_ms: i64,
    pub stored: Stored,
    /// With its offset, what the partition remembers it by; of a duplicate that was allowed, nothing.
    pub name: NameTag,
    /// 64 bits of a hash over its ordering key: events that share them are taken to share the key.
    pub key: u64,
    /// Of its payload and meta.
    pub bytes: u32,
}

impl Record {
    /// Before this it is never ready.
    pub(in crate::events) fn due(&self) -> Timestamp {
        self.slot().due()
    }

    /// Where it stands until then.
    pub(in crate::events) fn slot(&self) -> Slot {
        Slot { due_ms: self.due_ms, offset: self.offset }
    }
}

/// Where an event stands in the schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Slot {
    /// In milliseconds since the Unix epoch.
    pub due_ms: i64,
    pub offset: u64,
}

impl Slot {
    /// None is before it.
    pub(in crate::events) const FIRST: Self = Self { due_ms: i64::MIN, offset: 0 };

    fn due(self) -> Timestamp {
        at_ms(self.due_ms)
    }
}

/// A time in milliseconds since the Unix epoch.
pub(in crate::events) fn at_ms(ms: i64) -> Timestamp {
    let ms = u64::try_from(ms).unwrap_or_default();
    Timestamp::from_nanos(ms.saturating_mul(NANOS_PER_MS))
}

/// An event whose time has come.
#[derive(Debug)]
pub(in crate::events) struct Due(Record);

impl Due {
    pub(in crate::events) fn record(&self) -> &Record {
        &self.0
    }
}

/// All events that are not due yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Schedule(PersistentMap<Slot, Waiting>);

/// What is known of an event beside its slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Waiting {
    op: Op,
    /// The command's place in the entry, and the event's in the command: in one word, for there are many of these.
    place: u32,
    bytes: u32,
    name: NameTag,
    key: u64,
}

impl Schedule {
    pub(in crate::events) fn len(&self) -> u64 {
        u64_of(self.0.len())
    }

    pub(in crate::events) fn get(&self, slot: Slot) -> Option<Record> {
        self.0.get(&slot).map(|waiting| waiting.at(slot))
    }

    /// When the next event is due.
    pub(in crate::events) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(slot, _)| slot.due())
    }

    /// Takes an event; gives it back at once when its time has come already.
    pub(in crate::events) fn accept(&mut self, record: Record, now: Timestamp) -> Option<Due> {
        if record.due() <= now {
            return Some(Due(record));
        }
        self.restore(record);
        None
    }

    /// Takes out the next event, if its time has come.
    pub(in crate::events) fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        self.next().filter(|due| *due <= now)?;
        self.0.pop_first().map(|(slot, waiting)| Due(waiting.at(slot)))
    }

    /// Takes out the next event of a topic that is no more; whether there was one.
    pub(in crate::events) fn forget_next(&mut self) -> bool {
        self.0.pop_first().is_some()
    }

    /// What a snapshot holds: it waited then.
    pub(in crate::events) fn restore(&mut self, record: Record) {
        let Record { stored: Stored { op, index, item }, name, key, bytes, .. } = record;
        let place = index << ITEM_BITS | item;
        self.0.insert(record.slot(), Waiting { op, place, bytes, name, key });
    }

    /// Takes an event back whose time has not come.
    pub(in crate::events) fn take_back(&mut self, slot: Slot) -> Option<Record> {
        self.0.remove(&slot).map(|waiting| waiting.at(slot))
    }

    /// The events behind `after`, the next one first.
    pub(in crate::events) fn saved(&self, after: Option<Slot>) -> impl Iterator<Item = Record> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range(from).map(|(slot, waiting)| waiting.at(*slot))
    }
}

impl Waiting {
    fn at(self, slot: Slot) -> Record {
        let Self { op, place, bytes, name, key } = self;
        let stored = Stored { op, index: place >> ITEM_BITS, item: place & ITEM_MASK };
        Record { offset: slot.offset, due_ms: slot.due_ms, stored, name, key, bytes }
    }
}

/// A command has 4,096 events at most. That leaves room for more commands than an entry has bytes for.
const ITEM_BITS: u32 = 12;
const ITEM_MASK: u32 = (1 << ITEM_BITS) - 1;
const NANOS_PER_MS: u64 = 1_000_000;

//! Events that are not due yet. Whoever has a [`Due`] has an event whose time has come: nothing else makes one.

use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::command::Stored;
use crate::events::ids::NameHash;
use crate::types::{Timestamp, u64_of};

/// An event, from when it was accepted to when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Record {
    pub offset: u64,
    /// In milliseconds since the Unix epoch.
    pub due_ms: i64,
    pub stored: Stored,
    /// What the partition remembers it by; none of a duplicate that was allowed.
    pub name: Option<NameHash>,
    /// 64 bits of a hash over its ordering key: events that share them are taken to share the key.
    pub key: u64,
    /// Of its payload and meta.
    pub bytes: u32,
}

impl Record {
    /// Before this it is never ready.
    pub(in crate::events) fn due(&self) -> Timestamp {
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

/// All events that are not due yet, by offset.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Schedule(PersistentMap<u64, Record>);

impl Schedule {
    pub(in crate::events) fn len(&self) -> u64 {
        u64_of(self.0.len())
    }

    pub(in crate::events) fn get(&self, offset: u64) -> Option<&Record> {
        self.0.get(&offset)
    }

    /// Takes an event; gives it back at once when its time has come already.
    pub(in crate::events) fn accept(&mut self, record: Record, now: Timestamp) -> Option<Due> {
        if record.due() <= now {
            return Some(Due(record));
        }
        self.0.insert(record.offset, record);
        None
    }

    /// The time of an event has come.
    ///
    /// # Panics
    /// When it has not, or the event does not wait: its alarm is set and cleared with it.
    pub(in crate::events) fn fire(&mut self, offset: u64, now: Timestamp) -> Due {
        match self.0.remove(&offset) {
            Some(record) if record.due() <= now => Due(record),
            other => panic!("event {offset} was to become ready at {now}: {other:?}"),
        }
    }

    /// What a snapshot holds: it waited then.
    pub(in crate::events) fn restore(&mut self, record: Record) {
        self.0.insert(record.offset, record);
    }

    /// Takes an event back whose time has not come.
    pub(in crate::events) fn take_back(&mut self, offset: u64) -> Option<Record> {
        self.0.remove(&offset)
    }

    /// The events behind `after`, in the order of their offsets.
    pub(in crate::events) fn saved(&self, after: Option<u64>) -> impl Iterator<Item = &Record> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range(from).map(|(_, record)| record)
    }
}

const NANOS_PER_MS: u64 = 1_000_000;

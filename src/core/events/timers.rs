//! A schedule of its own, for who wants to know what one costs.

use crate::events::command::Stored;
use crate::events::ids::NameTag;
use crate::events::schedule::{Record, Schedule, Slot};
use crate::types::{Op, Timestamp};

/// Events that are not due yet, and nothing else: no names, no topic. What a partition has of each is here.
#[derive(Clone, Debug, Default)]
pub struct Timers(Schedule);

impl Timers {
    /// How many are pending.
    pub fn pending(&self) -> u64 {
        self.0.len()
    }

    /// Sets one for an event; `due_ms` is in milliseconds since the Unix epoch, and lies ahead.
    pub fn set(&mut self, due_ms: i64, offset: u64) {
        let stored = Stored { op: Op::new(offset), index: 0, item: 0 };
        self.0.restore(Record { offset, due_ms, stored, name: NameTag::default(), key: offset, bytes: 0 });
    }

    /// Takes back the one that was set so; whether there was one.
    pub fn cancel(&mut self, due_ms: i64, offset: u64) -> bool {
        self.0.take_back(Slot { due_ms, offset }).is_some()
    }

    /// Takes out the next one whose time has come; the offset of its event.
    pub fn expire(&mut self, now: Timestamp) -> Option<u64> {
        self.0.take_due(now).map(|due| due.record().offset)
    }
}

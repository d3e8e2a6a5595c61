//! What is to happen when: one order for all partitions of a group.
//!
//! The agenda follows from the rest of the state: each alarm belongs to a record that says when it is due, is set with it and goes
//! with it; a partition's schedule has one, for its first event. So no snapshot holds it, and a replica that was restored has the same one.

use alloc::collections::BTreeSet;

use crate::collections::PersistentMap;
use crate::events::command::MemberId;
use crate::types::Timestamp;

/// What is to happen. Within a moment, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(in crate::events) enum Alarm {
    /// The next event of a partition is due. There is one alarm for all that are not: the schedule has them in order.
    Due { topic: u32 },
    /// A delivery has rested.
    Rested { topic: u32, group: u32, seq: u64 },
    /// A delivery was not settled in time.
    Unsettled { topic: u32, group: u32, seq: u64 },
    /// A member has said nothing for long.
    Silent { topic: u32, group: u32, member: MemberId },
    /// A group has more to grant than one entry may.
    Grant { topic: u32, group: u32 },
    /// An event that is ready is of no use any more.
    Expires { topic: u32, seq: u64 },
    /// The oldest event that is ready has been kept for as long as it may be.
    Retain { topic: u32 },
    /// Half of what a recurring schedule has planned is over.
    Plan { topic: u32, schedule: u32 },
    /// A topic that was deleted has more to let go of than one entry may.
    Close { topic: u32 },
}

/// All alarms, the next one first; and what waits for somebody outside.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Agenda {
    alarms: PersistentMap<(Timestamp, Alarm), ()>,
    /// By topic and number: recurring schedules that want a plan.
    unplanned: BTreeSet<(u32, u32)>,
}

impl Agenda {
    pub(in crate::events) fn set(&mut self, at: Timestamp, alarm: Alarm) {
        self.alarms.insert((at, alarm), ());
    }

    /// # Panics
    /// When it was not set: then the agenda does not follow from the state any more.
    pub(in crate::events) fn clear(&mut self, at: Timestamp, alarm: Alarm) {
        assert!(self.alarms.remove(&(at, alarm)).is_some(), "{alarm:?} at {at} is on the agenda");
    }

    /// Takes the next alarm that is due, and when it was.
    pub(in crate::events) fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, Alarm)> {
        self.alarms.first().filter(|((at, _), ())| *at <= now)?;
        self.alarms.pop_first().map(|(entry, ())| entry)
    }

    /// When the next one is due.
    pub(in crate::events) fn next(&self) -> Option<Timestamp> {
        self.alarms.first().map(|((at, _), ())| *at)
    }

    pub(in crate::events) fn want_plan(&mut self, topic: u32, schedule: u32) {
        self.unplanned.insert((topic, schedule));
    }

    pub(in crate::events) fn want_no_plan(&mut self, topic: u32, schedule: u32) {
        self.unplanned.remove(&(topic, schedule));
    }

    pub(in crate::events) fn unplanned(&self) -> impl Iterator<Item = (u32, u32)> {
        self.unplanned.iter().copied()
    }
}

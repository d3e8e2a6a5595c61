//! Events that are ready, in the dense order in which they became so, until every consumer group has settled them; and the latest of
//! those beyond that, for groups that come later.

use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::schedule::{Due, Record};
use crate::types::u64_of;

/// An event that is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Ready {
    pub record: Record,
    /// Consumer groups that have settled it.
    pub settled_by: u32,
    /// Every consumer group that there was then had settled it.
    pub ended: bool,
}

/// All of them, by their place in the ready sequence.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Backlog {
    next_seq: u64,
    events: PersistentMap<u64, Ready>,
    /// Those that have ended.
    ended: PersistentMap<u64, ()>,
}

impl Backlog {
    /// The place that the next event gets.
    pub(in crate::events) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Events that some consumer group has not settled, or for which there is none.
    pub(in crate::events) fn len(&self) -> u64 {
        u64_of(self.events.len() - self.ended.len())
    }

    /// The oldest event that is kept, or the next one.
    pub(in crate::events) fn first_seq(&self) -> u64 {
        self.events.first().map_or(self.next_seq, |(seq, _)| *seq)
    }

    pub(in crate::events) fn get(&self, seq: u64) -> Option<&Ready> {
        self.events.get(&seq)
    }

    /// An event is ready.
    pub(in crate::events) fn open(&mut self, due: &Due) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.events.insert(seq, Ready { record: *due.record(), settled_by: 0, ended: false });
        seq
    }

    /// One of the `groups` that the event is for has settled it.
    ///
    /// # Panics
    /// When the event is not kept any more: somebody settled it twice.
    pub(in crate::events) fn settle(&mut self, seq: u64, groups: u32) {
        let Some(ready) = self.events.get_mut(&seq) else {
            panic!("event {seq} of the ready sequence was settled by all before");
        };
        ready.settled_by += 1;
        if ready.settled_by >= groups && !ready.ended {
            ready.ended = true;
            self.ended.insert(seq, ());
        }
    }

    /// Lets go of the oldest event that has ended, when there are more than `most`; of one that is for more groups by now, as
    /// `groups_of` tells, when these have settled it too.
    pub(in crate::events) fn drop_oldest(
        &mut self,
        most: u64,
        groups_of: impl Fn(u64) -> u32,
    ) -> Option<Record> {
        while u64_of(self.ended.len()) > most {
            let (seq, ()) = self.ended.pop_first()?;
            let ready = self.events.get_mut(&seq)?;
            if ready.settled_by >= groups_of(seq) {
                return self.events.remove(&seq).map(|ready| ready.record);
            }
            ready.ended = false;
        }
        None
    }

    /// The events behind `after`, in order.
    pub(in crate::events) fn saved(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Ready)> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.events.range(from).map(|(seq, ready)| (*seq, ready))
    }

    /// What a snapshot holds: the next place, before the events.
    pub(in crate::events) fn restore_next(&mut self, next_seq: u64) {
        self.next_seq = next_seq;
    }

    /// What a snapshot holds.
    pub(in crate::events) fn restore(&mut self, seq: u64, ready: Ready) {
        if ready.ended {
            self.ended.insert(seq, ());
        }
        self.events.insert(seq, ready);
    }
}

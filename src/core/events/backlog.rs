//! Events that are ready, in the dense order in which they became so, until every consumer group has settled them; and the latest of
//! those beyond that, for groups that come later.

use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::bounds::Bounds;
use crate::events::schedule::{Due, Record};
use crate::types::{Timestamp, u64_of};

/// An event that is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Ready {
    pub record: Record,
    /// Consumer groups that have settled it.
    pub settled_by: u32,
    /// Every consumer group that there was then had settled it.
    pub ended: bool,
    /// When it became ready: it never falls with the place in the ready sequence.
    pub at: Timestamp,
    /// It is of no use from then on.
    pub expires: Option<Timestamp>,
    /// It is of no use any more, or let go: it is delivered no more.
    pub expired: bool,
}

/// All of them, by their place in the ready sequence.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Backlog {
    next_seq: u64,
    events: PersistentMap<u64, Ready>,
    /// Those that have ended.
    ended: PersistentMap<u64, ()>,
    /// Of all payloads and meta.
    bytes: u64,
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

    /// All that are kept.
    pub(in crate::events) fn kept(&self) -> u64 {
        u64_of(self.events.len())
    }

    pub(in crate::events) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest event that no consumer group holds up.
    pub(in crate::events) fn first_ended(&self) -> Option<(u64, &Ready)> {
        let (seq, ()) = self.ended.first()?;
        Some((*seq, self.events.get(seq)?))
    }

    /// The oldest event.
    pub(in crate::events) fn first(&self) -> Option<(u64, &Ready)> {
        self.events.first().map(|(seq, ready)| (*seq, ready))
    }

    /// The place of the first event that is ready since `at` or later.
    pub(in crate::events) fn since(&self, at: Timestamp) -> u64 {
        let (mut least, mut most) = (self.first_seq(), self.next_seq);
        while least < most {
            let middle = least + (most - least) / 2;
            match self.from(middle).next() {
                Some((seq, ready)) if ready.at < at => least = seq + 1,
                _ => most = middle,
            }
        }
        least
    }

    /// An event is ready.
    pub(in crate::events) fn open(&mut self, due: &Due, at: Timestamp, expires: Option<Timestamp>) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let record = *due.record();
        self.bytes += u64::from(record.bytes);
        self.events.insert(seq, Ready { record, settled_by: 0, ended: false, at, expires, expired: false });
        seq
    }

    /// An event is delivered no more, which ends it for so many groups. Its alarm has been taken or cleared.
    pub(in crate::events) fn expire(&mut self, seq: u64, groups: u32) {
        if let Some(ready) = self.events.get_mut(&seq) {
            (ready.expires, ready.expired) = (None, true);
            ready.settled_by += groups;
        }
    }

    /// The alarm of an event's expiry has been taken.
    pub(in crate::events) fn expires_no_more(&mut self, seq: u64) {
        if let Some(ready) = self.events.get_mut(&seq) {
            ready.expires = None;
        }
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
        self.end_settled_by(seq, groups);
    }

    /// An event has ended if so many groups have settled it.
    pub(in crate::events) fn end_settled_by(&mut self, seq: u64, groups: u32) {
        let Some(ready) = self.events.get_mut(&seq) else { return };
        if ready.settled_by >= groups && !ready.ended {
            ready.ended = true;
            self.ended.insert(seq, ());
        }
    }

    /// A group is no more that had settled the event, or not. It has ended when so many have settled it; when that is nobody, it has
    /// if `alone` says so.
    pub(in crate::events) fn release(&mut self, seq: u64, had_settled: bool, groups: u32, alone: bool) {
        let Some(ready) = self.events.get_mut(&seq) else { return };
        if had_settled && !ready.expired {
            ready.settled_by -= 1;
        }
        let has_ended = ready.settled_by >= groups && (groups > 0 || alone || ready.ended || ready.expired);
        if has_ended && !ready.ended {
            self.ended.insert(seq, ());
        } else if !has_ended && ready.ended {
            self.ended.remove(&seq);
        }
        ready.ended = has_ended;
    }

    /// Lets go of the oldest event that has ended, if it is beyond the bounds; of one that is for more groups by now, as `holders`
    /// tells, when these have settled it too.
    pub(in crate::events) fn drop_oldest(
        &mut self,
        bounds: &Bounds,
        holders: impl Fn(u64, &Ready) -> u32,
    ) -> Option<(u64, Ready)> {
        loop {
            let (seq, ready) = self.first_ended()?;
            if !bounds.tell_to_go(seq, ready.at, u64_of(self.ended.len()), self.bytes) {
                return None;
            }
            let goes = ready.settled_by >= holders(seq, ready);
            self.ended.remove(&seq);
            if goes {
                let ready = self.events.remove(&seq)?;
                self.bytes -= u64::from(ready.record.bytes);
                return Some((seq, ready));
            }
            self.events.get_mut(&seq)?.ended = false;
        }
    }

    /// Takes out the oldest event of a topic that is no more.
    pub(in crate::events) fn forget_oldest(&mut self) -> Option<(u64, Ready)> {
        let (seq, ready) = self.events.pop_first()?;
        self.ended.remove(&seq);
        self.bytes -= u64::from(ready.record.bytes);
        Some((seq, ready))
    }

    /// The events from `seq` on, in order.
    pub(in crate::events) fn from(&self, seq: u64) -> impl Iterator<Item = (u64, &Ready)> {
        self.events.range(Bound::Included(&seq)).map(|(seq, ready)| (*seq, ready))
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
        self.bytes += u64::from(ready.record.bytes);
        self.events.insert(seq, ready);
    }
}

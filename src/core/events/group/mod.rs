//! A consumer group of a partition: which deliveries are open with whom, and how each ended.
//!
//! ```text
//! buffered --grant--> open --ack--> settled
//!    ^                 |  |
//!    |                 |  '-- term, or the attempts are spent --> dead --redrive--> buffered
//!    '---- rested <----'  nack, not settled in time, the member was lost
//! ```
//!
//! Buffered is what lies from `next` on in the ready sequence, what has rested (`again`), and what waits behind its ordering key
//! (`held`). Everything below the floor is settled or dead, and nothing at the floor is. A group that begins anew, or is no more, is
//! one that leaves (`leaving.rs`), and in the first case another one in its place.

mod grant;
mod leaving;
mod members;
mod saved;
mod settle;

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::ops::Bound;

pub(in crate::events) use grant::Candidate;
pub(in crate::events) use leaving::Leaves;
pub(in crate::events) use members::Member;
pub(in crate::events) use saved::{GroupRow, RowPlace};
pub(in crate::events) use settle::Ended;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::command::{GrantPlace, GroupOptions, MemberId};
use crate::events::error::EventsError;
use crate::types::{Nanos, Op, Timestamp, u64_of};

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub(in crate::events) struct Moment {
    pub now: Timestamp,
    pub op: Op,
}

impl Moment {
    pub(in crate::events) fn after(self, span: Nanos) -> Timestamp {
        Timestamp::from_nanos(self.now.as_nanos().saturating_add(span.as_nanos()))
    }
}

/// Which of a topic's consumer groups an alarm is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::events) struct Place {
    pub topic: u32,
    pub group: u32,
}

/// A delivery that is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Open {
    pub member: MemberId,
    pub attempt: u32,
    pub granted: Op,
    pub until: Timestamp,
    /// The ordering key of the event.
    pub key: u64,
}

/// A delivery that failed, and is to be tried again.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Rests {
    pub attempts: u32,
    pub until: Timestamp,
    pub why: String,
}

/// A dead letter.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct DeadLetter {
    /// Attempts that were made.
    pub attempts: u32,
    /// When it died.
    pub at: Timestamp,
    /// What was said last.
    pub why: String,
}

/// What a snapshot holds of a group beside its deliveries.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Head {
    pub name: String,
    pub options: GroupOptions,
    /// The op that made it, or had it begin anew: what was granted before is over.
    pub since: Op,
    pub is_paused: bool,
    /// It is no group any more, and lets go of its events.
    pub leaves: Option<Leaves>,
    pub start: u64,
    pub floor: u64,
    pub next: u64,
    pub turn: Option<MemberId>,
    pub owes: Option<Timestamp>,
    pub dead_dropped: u64,
    /// Events that have expired before it had settled them.
    pub expired: u64,
}

/// The group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::events) struct Group {
    pub(in crate::events) head: Head,
    open: PersistentMap<u64, Open>,
    resting: PersistentMap<u64, Rests>,
    /// What is to be granted before anything new, with the attempts that were made.
    again: PersistentMap<u64, u32>,
    /// Of an ordered group: what waits behind its key.
    held: PersistentMap<(u64, u64), u32>,
    /// Of an ordered group: by key, what holds it up.
    busy: PersistentMap<u64, u64>,
    /// What is settled above the floor; of what is not granted yet, what never is to be.
    settled: PersistentMap<u64, ()>,
    /// What it has had from before its start: dead letters that it had when it began anew.
    earlier: PersistentMap<u64, ()>,
    dead: PersistentMap<u64, DeadLetter>,
    /// Of what is kept, what has expired.
    expired: PersistentMap<u64, ()>,
    members: BTreeMap<MemberId, Member>,
}

impl Group {
    pub(in crate::events) fn new(name: String, options: GroupOptions, start: u64, since: Op) -> Self {
        let (floor, next) = (start, start);
        Self::restored(Head {
            name,
            options,
            since,
            is_paused: false,
            leaves: None,
            start,
            floor,
            next,
            turn: None,
            owes: None,
            dead_dropped: 0,
            expired: 0,
        })
    }

    /// A group without its deliveries and members.
    pub(in crate::events) fn restored(head: Head) -> Self {
        Self {
            head,
            open: PersistentMap::default(),
            resting: PersistentMap::default(),
            again: PersistentMap::default(),
            held: PersistentMap::default(),
            busy: PersistentMap::default(),
            settled: PersistentMap::default(),
            earlier: PersistentMap::default(),
            dead: PersistentMap::default(),
            expired: PersistentMap::default(),
            members: BTreeMap::new(),
        }
    }

    /// Whether an event is for it.
    pub(in crate::events) fn is_for(&self, seq: u64) -> bool {
        seq >= self.head.start || self.earlier.contains_key(&seq)
    }

    /// Whether `options` are those that it has, but for its start.
    ///
    /// # Errors
    /// [`EventsError::OtherOptions`].
    pub(in crate::events) fn check_options(&self, options: &GroupOptions) -> Result<(), EventsError> {
        let is_same = GroupOptions { start: self.head.options.start, ..options.clone() } == self.head.options;
        if is_same { Ok(()) } else { Err(EventsError::OtherOptions(self.head.name.clone())) }
    }

    /// What is open, resting, waiting to be granted again or behind its key, and dead.
    pub(in crate::events) fn counts(&self) -> Counts {
        let again = self.again.len() + self.held.len();
        Counts { open: self.open.len(), resting: self.resting.len(), again, dead: self.dead.len() }
    }

    pub(in crate::events) fn open(&self, seq: u64) -> Option<&Open> {
        self.open.get(&seq)
    }

    pub(in crate::events) fn dead_letter(&self, seq: u64) -> Option<&DeadLetter> {
        self.dead.get(&seq)
    }

    pub(in crate::events) fn has_expired(&self, seq: u64) -> bool {
        self.expired.contains_key(&seq)
    }

    pub(in crate::events) fn resting(&self, seq: u64) -> Option<&Rests> {
        self.resting.get(&seq)
    }

    /// So many events are still to be granted, or settled; the ready sequence ends at `end`.
    pub(in crate::events) fn lag(&self, end: u64) -> u64 {
        let Counts { open, resting, again, .. } = self.counts();
        let never = self.settled.range(Bound::Included(&self.head.next)).count();
        end - self.head.next + u64_of(open + resting + again) - u64_of(never)
    }

    /// Whether this group has settled the event, whose ordering key is `key`, and nobody is to deliver it again.
    pub(in crate::events) fn is_settled(&self, seq: u64, key: u64) -> bool {
        let is_passed = seq < self.head.floor || self.settled.contains_key(&seq);
        let is_buffered = self.again.contains_key(&seq) || self.held.contains_key(&(key, seq));
        is_passed && !is_buffered && !self.open.contains_key(&seq) && !self.resting.contains_key(&seq)
    }

    pub(in crate::events) fn member(&self, member: MemberId) -> Option<&Member> {
        self.members.get(&member)
    }

    pub(in crate::events) fn members(&self) -> usize {
        self.members.len()
    }

    pub(in crate::events) fn in_flight_of(
        &self,
        member: MemberId,
        after: GrantPlace,
    ) -> impl Iterator<Item = u64> {
        let member = self.members.get(&member);
        member.into_iter().flat_map(move |member| member.granted_after(after))
    }

    pub(in crate::events) fn dead_letters(&self, from: u64) -> impl Iterator<Item = (u64, &DeadLetter)> {
        self.dead.range(Bound::Included(&from)).map(|(seq, dead)| (*seq, dead))
    }
}

/// How many of each a group has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::events) struct Counts {
    pub open: usize,
    pub resting: usize,
    pub again: usize,
    pub dead: usize,
}

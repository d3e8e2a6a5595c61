//! The names of events that a partition remembers: what is published twice is accepted once, and who knows a name can ask for the
//! fate of its event.
//!
//! A name is remembered while its event is open, and for a window of time after it was accepted. What is kept of it is 128 bits of
//! a hash over partition key and message id.

use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::command::EventName;
use crate::events::topic::TopicConfig;
use crate::types::{Hash, Nanos, Timestamp, u64_of};

/// A name as the partition remembers it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct NameHash(u128);

/// The first half of a name's hash. An event's record keeps this much: with the offset, which no other event has, it tells the name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct NameTag(u64);

impl NameHash {
    pub(in crate::events) fn of(name: &EventName) -> Self {
        let length = u64_of(name.partition_key.len()).to_le_bytes();
        let hash = Hash::of_pieces(&[&length, name.partition_key.as_bytes(), name.message_id.as_bytes()]);
        let (first, _) = hash.as_bytes().split_at(16);
        Self(first.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    pub(in crate::events) fn tag(self) -> NameTag {
        NameTag(u64::try_from(self.0 >> 64).unwrap_or(u64::MAX))
    }

    /// The least of those with this tag.
    fn first_with(tag: NameTag) -> Self {
        Self(u128::from(tag.0) << 64)
    }
}

/// In which state an event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventState {
    /// It is not due yet.
    Scheduled,
    /// It was due. Some consumer group has not settled it, or there is none, or it is kept for groups that come later.
    Ready {
        /// Its place in the ready sequence.
        seq: u64,
    },
    /// All consumer groups have settled it, processed it or given it up, and it is not kept for others any more.
    Settled,
    /// Its publisher has taken it back before it was due.
    Cancelled,
    /// It is of no use any more, or its topic does not keep it any longer, before all consumer groups had settled it.
    Expired {
        /// Its place in the ready sequence.
        seq: u64,
    },
}

/// The same, as the partition keeps it: of what is scheduled it knows where.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) enum Fate {
    Scheduled { due_ms: i64 },
    Ready { seq: u64 },
    Settled,
    Cancelled,
    Expired { seq: u64 },
}

impl Fate {
    pub(in crate::events) fn seen(self) -> EventState {
        match self {
            Self::Scheduled { .. } => EventState::Scheduled,
            Self::Ready { seq } => EventState::Ready { seq },
            Self::Settled => EventState::Settled,
            Self::Cancelled => EventState::Cancelled,
            Self::Expired { seq } => EventState::Expired { seq },
        }
    }

    fn is_end(self) -> bool {
        matches!(self, Self::Settled | Self::Cancelled | Self::Expired { .. })
    }
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Named {
    pub offset: u64,
    pub accepted_at: Timestamp,
    pub fate: Fate,
}

/// All names that are remembered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Ids {
    names: PersistentMap<NameHash, Named>,
    /// Those whose events have ended, in the order in which they were accepted.
    ended: PersistentMap<u64, NameHash>,
}

impl Ids {
    pub(in crate::events) fn len(&self) -> u64 {
        u64_of(self.names.len())
    }

    pub(in crate::events) fn get(&self, name: NameHash) -> Option<&Named> {
        self.names.get(&name)
    }

    /// Adds a name that is not known, or one that a snapshot holds.
    pub(in crate::events) fn put(&mut self, name: NameHash, named: Named) {
        if named.fate.is_end() {
            self.ended.insert(named.offset, name);
        }
        self.names.insert(name, named);
    }

    /// The event at `offset`, whose name has this tag, has another fate from here on. Of one that has no name, or whose name is
    /// another's by now, nothing is known.
    pub(in crate::events) fn moved(&mut self, tag: NameTag, offset: u64, fate: Fate) {
        let Some(name) = self.name_of(tag, offset) else { return };
        if fate.is_end() {
            self.ended.insert(offset, name);
        }
        if let Some(named) = self.names.get_mut(&name) {
            named.fate = fate;
        }
    }

    /// The event is kept no more: it was settled by all, unless it has expired.
    pub(in crate::events) fn kept_no_more(&mut self, tag: NameTag, offset: u64) {
        let fate = self.name_of(tag, offset).and_then(|name| self.names.get(&name)).map(|named| named.fate);
        if matches!(fate, Some(Fate::Ready { .. })) {
            self.moved(tag, offset, Fate::Settled);
        }
    }

    /// An event that was taken back is no reason any more not to accept another of this name.
    pub(in crate::events) fn forget_cancelled(&mut self, name: &EventName) {
        let name = NameHash::of(name);
        if let Some(known) = self.names.get(&name).filter(|known| matches!(known.fate, Fate::Cancelled)) {
            let offset = known.offset;
            self.ended.remove(&offset);
            self.names.remove(&name);
        }
    }

    /// Whether the event of this name is not due yet.
    pub(in crate::events) fn is_scheduled(&self, name: &EventName) -> bool {
        self.names.get(&NameHash::of(name)).is_some_and(|named| matches!(named.fate, Fate::Scheduled { .. }))
    }

    /// Forgets names whose window is over, `most` at a time.
    pub(in crate::events) fn forget_old(&mut self, now: Timestamp, window: Nanos, most: usize) {
        for _ in 0..most {
            let Some((_, name)) = self.ended.first() else { return };
            let is_over = |named: &Named| {
                named.accepted_at.as_nanos().saturating_add(window.as_nanos()) <= now.as_nanos()
            };
            if !self.names.get(name).is_some_and(is_over) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Forgets a name, of a topic that is no more; whether there was one.
    pub(in crate::events) fn forget_any(&mut self) -> bool {
        let ended = self.ended.pop_first();
        self.names.pop_first().is_some() || ended.is_some()
    }

    /// Makes room for one more name; whether there is some.
    pub(in crate::events) fn make_room(&mut self, config: &TopicConfig) -> bool {
        if self.len() < config.dedup_ids_max {
            return true;
        }
        !config.strict && self.forget_oldest()
    }

    /// The names behind `after`, ascending, as a snapshot holds them.
    pub(in crate::events) fn saved(
        &self,
        after: Option<NameHash>,
    ) -> impl Iterator<Item = (NameHash, Named)> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range(from).map(|(name, named)| (*name, *named))
    }

    fn name_of(&self, tag: NameTag, offset: u64) -> Option<NameHash> {
        let from = NameHash::first_with(tag);
        let mut tagged = self.names.range(Bound::Included(&from)).take_while(|(name, _)| name.tag() == tag);
        tagged.find(|(_, named)| named.offset == offset).map(|(name, _)| *name)
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, name)) = self.ended.pop_first() else { return false };
        self.names.remove(&name).is_some()
    }
}

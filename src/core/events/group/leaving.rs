//! How a group ends, and how it begins anew.
//!
//! Every event counts the groups that have settled it, so a group cannot just be gone: what it has settled is to be counted no more,
//! and what it held up may end. That is done event by event, no more than one entry may. A group that is told to begin at another
//! place leaves in that way as well, and another one with its name, members and dead letters is there at once: what was open
//! belongs to the one that leaves, and is nobody's any more.

use super::{Group, Head, Place};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::agenda::{Agenda, Alarm};
use crate::types::Op;

/// Why a group leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) enum Leaves {
    /// It was deleted: what it had not settled waits for other groups.
    Deleted,
    /// It has begun anew: what lies before the new place is passed over.
    Sought,
}

impl Group {
    pub(in crate::events) fn leaves(&self) -> bool {
        self.head.leaves.is_some()
    }

    /// It leaves; the group that is there in its place, which begins at `start`.
    pub(in crate::events) fn begin_anew(
        &mut self,
        (place, anew): (Place, Place),
        start: u64,
        since: Op,
        agenda: &mut Agenda,
    ) -> Self {
        let mut group = Self::restored(Head {
            since,
            leaves: None,
            start,
            floor: start,
            next: start,
            owes: None,
            ..self.head.clone()
        });
        (group.dead, group.expired) = (self.dead.clone(), self.expired.clone());
        for (seq, _) in self.dead.iter() {
            if *seq < start {
                group.earlier.insert(*seq, ());
            } else {
                // A redrive delivers it again, and nothing else.
                group.settled.insert(*seq, ());
            }
        }
        group.raise_floor();
        group.members = self.move_members(place, anew, agenda);
        self.leave(Leaves::Sought, place, agenda);
        group
    }

    /// It is nobody's group any more.
    pub(in crate::events) fn leave(&mut self, why: Leaves, place: Place, agenda: &mut Agenda) {
        self.forget_members(place, agenda);
        self.head.leaves = Some(why);
    }

    /// Ends what is open or rests, `most` at a time, with its alarms; how many these were.
    pub(in crate::events) fn end_deliveries(&mut self, place: Place, most: u64, agenda: &mut Agenda) -> u64 {
        let Place { topic, group } = place;
        let mut count = 0;
        while count < most {
            // It has settled neither.
            if let Some((seq, open)) = self.open.pop_first() {
                agenda.clear(open.until, Alarm::Unsettled { topic, group, seq });
                self.again.insert(seq, open.attempt);
            } else if let Some((seq, rests)) = self.resting.pop_first() {
                agenda.clear(rests.until, Alarm::Rested { topic, group, seq });
                self.again.insert(seq, rests.attempts);
            } else {
                break;
            }
            count += 1;
        }
        count
    }

    /// The first event that was for it before its start, which is for it no more.
    pub(in crate::events) fn release_earlier(&mut self) -> Option<u64> {
        self.earlier.pop_first().map(|(seq, ())| seq)
    }

    /// No event up to this one is for it any more.
    pub(in crate::events) fn release_to(&mut self, seq: u64) {
        self.head.start = seq + 1;
    }

    /// Whether it has settled an event that it lets go of.
    pub(in crate::events) fn had_settled(&self, seq: u64, key: u64) -> bool {
        !self.dead.contains_key(&seq) && self.is_settled(seq, key)
    }

    /// It has let go of everything.
    pub(in crate::events) fn clear_alarm(&mut self, place: Place, agenda: &mut Agenda) {
        if let Some(at) = self.head.owes.take() {
            agenda.clear(at, Alarm::Grant { topic: place.topic, group: place.group });
        }
    }

    /// Whether an event that is next is never to be granted. Of what was granted some is settled, and comes before it.
    pub(super) fn is_passed_over(&self, seq: u64) -> bool {
        self.settled.last().is_some_and(|(last, ())| *last >= seq) && self.settled.contains_key(&seq)
    }
}

//! A consumer group as a snapshot holds it: a row each for its members and deliveries.

use alloc::boxed::Box;
use core::ops::Bound;

use super::{DeadLetter, Group, Member, Open, Place, Rests};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::MemberId;

/// A row, and with it its place.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) enum GroupRow {
    Member(MemberId, Member),
    Open(u64, Open),
    Rests(u64, Rests),
    Again(u64, u32),
    Held((u64, u64), u32),
    Busy(u64, u64),
    Settled(u64),
    Dead(u64, DeadLetter),
    Expired(u64),
    Earlier(u64),
}

/// Where a row stands in its group. Rows are written in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) enum RowPlace {
    Head,
    Member(MemberId),
    Open(u64),
    Rests(u64),
    Again(u64),
    Held((u64, u64)),
    Busy(u64),
    Settled(u64),
    Dead(u64),
    Expired(u64),
    Earlier(u64),
}

impl GroupRow {
    pub(in crate::events) fn place(&self) -> RowPlace {
        match self {
            Self::Member(member, _) => RowPlace::Member(*member),
            Self::Open(seq, _) => RowPlace::Open(*seq),
            Self::Rests(seq, _) => RowPlace::Rests(*seq),
            Self::Again(seq, _) => RowPlace::Again(*seq),
            Self::Held(place, _) => RowPlace::Held(*place),
            Self::Busy(key, _) => RowPlace::Busy(*key),
            Self::Settled(seq) => RowPlace::Settled(*seq),
            Self::Dead(seq, _) => RowPlace::Dead(*seq),
            Self::Expired(seq) => RowPlace::Expired(*seq),
            Self::Earlier(seq) => RowPlace::Earlier(*seq),
        }
    }
}

type Rows<'a> = Box<dyn Iterator<Item = GroupRow> + 'a>;

impl Group {
    /// The rows behind `after`.
    pub(in crate::events) fn saved(&self, after: RowPlace) -> Rows<'_> {
        let members = match after {
            RowPlace::Head => self.saved_members(None),
            RowPlace::Member(last) => self.saved_members(Some(last)),
            _ => return self.saved_deliveries(after),
        };
        let members = members.map(|(member, known)| GroupRow::Member(member, known.clone()));
        Box::new(members.chain(self.saved_deliveries(after)))
    }

    fn saved_deliveries(&self, after: RowPlace) -> Rows<'_> {
        use RowPlace::{Again, Busy, Dead, Earlier, Expired, Held, Open, Rests, Settled};
        let last = |place: RowPlace| match place {
            Open(key) | Rests(key) | Again(key) | Busy(key) | Settled(key) | Dead(key) | Expired(key)
            | Earlier(key) => key,
            Held(_) | RowPlace::Head | RowPlace::Member(_) => 0,
        };
        let last = last(after);
        let open = section(&self.open, after, (Open(0), Open(u64::MAX)), &last)
            .map(|(seq, open)| GroupRow::Open(*seq, *open));
        let resting = section(&self.resting, after, (Rests(0), Rests(u64::MAX)), &last)
            .map(|(seq, rests)| GroupRow::Rests(*seq, rests.clone()));
        let again = section(&self.again, after, (Again(0), Again(u64::MAX)), &last)
            .map(|(seq, attempts)| GroupRow::Again(*seq, *attempts));
        let last_held = if let Held(place) = after { place } else { (0, 0) };
        let held = section(&self.held, after, (Held((0, 0)), Held((u64::MAX, u64::MAX))), &last_held)
            .map(|(place, attempts)| GroupRow::Held(*place, *attempts));
        let busy = section(&self.busy, after, (Busy(0), Busy(u64::MAX)), &last)
            .map(|(key, seq)| GroupRow::Busy(*key, *seq));
        let settled = section(&self.settled, after, (Settled(0), Settled(u64::MAX)), &last)
            .map(|(seq, ())| GroupRow::Settled(*seq));
        let dead = section(&self.dead, after, (Dead(0), Dead(u64::MAX)), &last)
            .map(|(seq, dead)| GroupRow::Dead(*seq, dead.clone()));
        let expired = section(&self.expired, after, (Expired(0), Expired(u64::MAX)), &last)
            .map(|(seq, ())| GroupRow::Expired(*seq));
        let earlier = section(&self.earlier, after, (Earlier(0), Earlier(u64::MAX)), &last)
            .map(|(seq, ())| GroupRow::Earlier(*seq));
        let dead = dead.chain(expired).chain(earlier);
        Box::new(open.chain(resting).chain(again).chain(held).chain(busy).chain(settled).chain(dead))
    }

    /// Takes a row that a snapshot holds.
    pub(in crate::events) fn restore(&mut self, place: Place, row: GroupRow, agenda: &mut Agenda) {
        let Place { topic, group } = place;
        match row {
            GroupRow::Member(member, known) => self.restore_member(place, member, known, agenda),
            GroupRow::Open(seq, open) => {
                agenda.set(open.until, Alarm::Unsettled { topic, group, seq });
                self.open.insert(seq, open);
            }
            GroupRow::Rests(seq, rests) => {
                agenda.set(rests.until, Alarm::Rested { topic, group, seq });
                self.resting.insert(seq, rests);
            }
            GroupRow::Again(seq, attempts) => {
                self.again.insert(seq, attempts);
            }
            GroupRow::Held(place, attempts) => {
                self.held.insert(place, attempts);
            }
            GroupRow::Busy(key, seq) => {
                self.busy.insert(key, seq);
            }
            GroupRow::Settled(seq) => {
                self.settled.insert(seq, ());
            }
            GroupRow::Dead(seq, letter) => {
                self.dead.insert(seq, letter);
            }
            GroupRow::Expired(seq) => {
                self.expired.insert(seq, ());
            }
            GroupRow::Earlier(seq) => {
                self.earlier.insert(seq, ());
            }
        }
    }
}

/// The rows of `map`, whose places are `first` to `last`, that come behind `after`, which has this key if it is one of them.
fn section<'a, K: Ord, V>(
    map: &'a PersistentMap<K, V>,
    after: RowPlace,
    (first, last): (RowPlace, RowPlace),
    key: &K,
) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
    let from = if after < first {
        Some(Bound::Unbounded)
    } else if after <= last {
        Some(Bound::Excluded(key))
    } else {
        None
    };
    from.map(|from| map.range(from)).into_iter().flatten()
}

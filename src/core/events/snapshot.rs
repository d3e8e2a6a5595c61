//! A state as a snapshot holds it: rows.
//!
//! ```text
//! closed topics | partition | its names | its scheduled events | their expiries | its recurring schedules | its ready events | group | its rows | group | ... | partition | ...
//! ```
//!
//! A row belongs to the last partition, and to the last group, before it. The agenda is set again from what the rows say.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use super::EventsState;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::agenda::Alarm;
use crate::events::backlog::Ready;
use crate::events::error::EventsError;
use crate::events::group::{self, Group, GroupRow, RowPlace};
use crate::events::ids::{NameHash, Named};
use crate::events::partition::Partition;
use crate::events::recurring::Recurring;
use crate::events::schedule::{Record, Slot};
use crate::events::topic::TopicConfig;
use crate::kernel::{Chunk, Cursor, NoRows, read_rows, write_rows};
use crate::types::{Op, Timestamp};

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
enum Row {
    Partition(Head),
    Name(NameHash, Named),
    Scheduled(Record),
    Expires(u64, i64),
    Recurring(u32, Recurring),
    Ready(u64, Ready),
    Group(u32, group::Head),
    Of(GroupRow),
    Closed(u32, Op),
}

/// A partition without what it has many of.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
struct Head {
    number: u32,
    name: String,
    config: TopicConfig,
    next_offset: u64,
    next_seq: u64,
    retain_at: Option<Timestamp>,
    id: u32,
    closes: Option<Timestamp>,
}

/// Where a row stands in its partition. Rows are written in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
enum Place {
    Head,
    Name(NameHash),
    Scheduled(Slot),
    Expires(u64),
    Recurring(u32),
    Ready(u64),
    Group(u32, RowPlace),
    /// Of no partition: of number 0, before the first.
    Closed(u32),
}

/// Writes rows behind `from` until there are enough; where to go on.
pub(super) fn write(state: &EventsState, from: &Cursor, out: &mut Chunk) -> Option<Cursor> {
    write_rows(rows(state, from.get()), out)
}

/// Takes the rows of a slice.
///
/// # Errors
/// When they are none.
pub(super) fn read(state: &mut EventsState, slice: &[u8]) -> Result<(), EventsError> {
    let rows: Vec<Row> = read_rows(slice).map_err(|NoRows| EventsError::Malformed)?;
    rows.into_iter().try_for_each(|row| take(state, row)).ok_or(EventsError::Malformed)
}

type Rows<'a> = Box<dyn Iterator<Item = ((u32, Place), Row)> + 'a>;

fn rows(state: &EventsState, after: Option<(u32, Place)>) -> Rows<'_> {
    let closed = match after {
        None => Some(Bound::Unbounded),
        Some((NO_PARTITION, Place::Closed(id))) => Some(Bound::Excluded(id)),
        Some(_) => None,
    };
    if let Some(from) = closed {
        let closed = state.closed.range((from, Bound::Unbounded));
        let closed = closed.map(|(id, op)| ((NO_PARTITION, Place::Closed(*id)), Row::Closed(*id, *op)));
        return Box::new(closed.chain(state.partitions.values().flat_map(whole)));
    }
    let Some((number, place)) = after else { return Box::new(core::iter::empty()) };
    let begun = state.partitions.get(&number).into_iter();
    let begun = begun.flat_map(move |partition| rows_of(partition, place));
    let later = state.partitions.range(Bound::Excluded(&number));
    Box::new(begun.chain(later.flat_map(|(_, partition)| whole(partition))))
}

fn whole(partition: &Partition) -> Rows<'_> {
    let Partition { number, name, id, closes, config, next_offset, backlog, retain_at, .. } = partition;
    let head = Row::Partition(Head {
        number: *number,
        name: name.clone(),
        config: config.clone(),
        next_offset: *next_offset,
        next_seq: backlog.next_seq(),
        retain_at: *retain_at,
        id: *id,
        closes: *closes,
    });
    Box::new(core::iter::once(((*number, Place::Head), head)).chain(rows_of(partition, Place::Head)))
}

/// The rows of a partition behind `after`.
fn rows_of(partition: &Partition, after: Place) -> Rows<'_> {
    let number = partition.number;
    let in_names = after < Place::Scheduled(Slot::FIRST);
    let last_name = if let Place::Name(name) = after { Some(name) } else { None };
    let names = in_names.then(|| partition.ids.saved(last_name)).into_iter().flatten();
    let names = names.map(move |(name, named)| ((number, Place::Name(name)), Row::Name(name, named)));
    let in_scheduled = after < Place::Expires(0);
    let last_scheduled = if let Place::Scheduled(slot) = after { Some(slot) } else { None };
    let scheduled = in_scheduled.then(|| partition.schedule.saved(last_scheduled)).into_iter().flatten();
    let scheduled =
        scheduled.map(move |record| ((number, Place::Scheduled(record.slot())), Row::Scheduled(record)));
    let in_expires = after < Place::Recurring(0);
    let last_expires = if let Place::Expires(offset) = after { Some(offset) } else { None };
    let from = last_expires.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let expires = in_expires.then(|| partition.expiries.range(from)).into_iter().flatten();
    let expires =
        expires.map(move |(offset, at)| ((number, Place::Expires(*offset)), Row::Expires(*offset, *at)));
    let in_recurring = after < Place::Ready(0);
    let last_recurring =
        if let Place::Recurring(number) = after { Bound::Excluded(number) } else { Bound::Unbounded };
    let recurring = in_recurring.then(|| partition.recurring.range((last_recurring, Bound::Unbounded)));
    let recurring = recurring.into_iter().flatten().map(move |(schedule, known)| {
        ((number, Place::Recurring(*schedule)), Row::Recurring(*schedule, known.clone()))
    });
    let in_ready = after < Place::Group(0, RowPlace::Head);
    let last_ready = if let Place::Ready(seq) = after { Some(seq) } else { None };
    let ready = in_ready.then(|| partition.backlog.saved(last_ready)).into_iter().flatten();
    let ready = ready.map(move |(seq, ready)| ((number, Place::Ready(seq)), Row::Ready(seq, *ready)));
    let (group, place) =
        if let Place::Group(group, place) = after { (group, Some(place)) } else { (0, None) };
    let begun = place.and_then(|place| Some((partition.groups.get(&group)?, place))).into_iter();
    let begun = begun.flat_map(move |(known, place)| rows_of_group(number, group, known, place));
    let later = partition.groups.range((Bound::Excluded(group), Bound::Unbounded));
    let later = later.flat_map(move |(group, known)| {
        let head = ((number, Place::Group(*group, RowPlace::Head)), Row::Group(*group, known.head.clone()));
        core::iter::once(head).chain(rows_of_group(number, *group, known, RowPlace::Head))
    });
    Box::new(names.chain(scheduled).chain(expires).chain(recurring).chain(ready).chain(begun).chain(later))
}

fn rows_of_group(
    partition: u32,
    number: u32,
    group: &Group,
    after: RowPlace,
) -> impl Iterator<Item = ((u32, Place), Row)> {
    group.saved(after).map(move |row| ((partition, Place::Group(number, row.place())), Row::Of(row)))
}

/// Takes a row; none when it belongs nowhere.
fn take(state: &mut EventsState, row: Row) -> Option<()> {
    if let Row::Closed(id, op) = row {
        state.closed.insert(id, op);
        return Some(());
    }
    if let Row::Partition(Head { number, name, config, next_offset, next_seq, retain_at, id, closes }) = row {
        match closes {
            None => {
                state.numbers.insert(name.clone(), number);
            }
            Some(at) => state.agenda.set(at, Alarm::Close { topic: number }),
        }
        let mut partition = Partition::new(number, (name, id), config);
        partition.closes = closes;
        partition.next_offset = next_offset;
        partition.backlog.restore_next(next_seq);
        partition.retain_at = retain_at;
        if let Some(at) = retain_at {
            state.agenda.set(at, Alarm::Retain { topic: number });
        }
        state.partitions.insert(number, partition);
        return Some(());
    }
    let (last, _) = state.partitions.last()?;
    let last = *last;
    let (partition, agenda) = (state.partitions.get_mut(&last)?, &mut state.agenda);
    match row {
        Row::Partition(_) | Row::Closed(..) => {}
        Row::Name(name, named) => partition.ids.put(name, named),
        Row::Scheduled(record) => {
            let before = partition.schedule.next();
            partition.schedule.restore(record);
            partition.follow(before, agenda);
        }
        Row::Expires(offset, at) => {
            partition.expiries.insert(offset, at);
        }
        Row::Recurring(number, recurring) => partition.restore_recurring(number, recurring, agenda),
        Row::Ready(seq, ready) => {
            if let Some(at) = ready.expires {
                agenda.set(at, Alarm::Expires { topic: last, seq });
            }
            partition.backlog.restore(seq, ready);
        }
        Row::Group(number, head) => {
            if let Some(at) = head.owes {
                agenda.set(at, Alarm::Grant { topic: last, group: number });
            }
            partition.groups.insert(number, Group::restored(head));
        }
        Row::Of(row) => {
            let number = *partition.groups.last_key_value()?.0;
            let place = partition.place(number);
            partition.groups.get_mut(&number)?.restore(place, row, agenda);
        }
    }
    Some(())
}

/// Of rows that belong to none: partitions count from 1.
const NO_PARTITION: u32 = 0;

/// Whether a snapshot that goes on behind any of its rows gives those behind it.
#[cfg(test)]
pub(super) fn goes_on_anywhere(state: &EventsState) -> bool {
    let places: Vec<(u32, Place)> = rows(state, None).map(|(place, _)| place).collect();
    let ascends = places.is_sorted_by(|before, after| before < after);
    let goes_on = |(at, place): (usize, &(u32, Place))| {
        rows(state, Some(*place)).map(|(next, _)| next).eq(places.iter().copied().skip(at + 1))
    };
    ascends && places.iter().enumerate().all(goes_on)
}

//! A group's log in memory: headers without gaps, chained by hash, and the payloads that are here.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::engine::{RecoveredEntry, archived_bytes};
use crate::types::{Entry, EntryHeader, Hash, Op, Ordinal, Timestamp, u64_of, usize_of};

/// The log of a replica.
///
/// Invariant: every slot's parent is the hash of the slot below, down to the base.
#[derive(Clone, Debug)]
pub(super) struct Log {
    base: Base,
    slots: VecDeque<Slot>,
    /// A snapshot covers the log up to here, the base included: what is faulty below is not needed.
    covered_to: Op,
    /// Every slot up to this one is durable, or covered.
    durable_to: Op,
    /// Every slot from what was released up to here is whole and has a durable record, as far as was looked.
    recorded_to: Op,
}

/// What the lowest slot follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    op: Op,
    hash: Hash,
    /// Known unless the base is only the parent of an entry in the journal.
    header: Option<EntryHeader>,
}

#[derive(Clone, Debug)]
struct Slot {
    header: EntryHeader,
    body: Body,
    /// The entry was on this disk, and may have been acknowledged: a replica never says that it was not.
    was_durable: bool,
    /// Its newest record has this ordinal, if it has any.
    recorded: Option<Ordinal>,
}

/// Where a slot's payload is.
#[derive(Clone, Debug)]
enum Body {
    /// Nowhere here: the header came with a view change.
    Missing,
    /// It was on the disk, and is not readable any more.
    Faulty,
    /// In memory, its record on the way to the disk under this ordinal.
    Held(Bytes, Ordinal),
    /// In memory and on the disk.
    Durable(Bytes),
}

impl Base {
    /// The genesis, or the last entry that a snapshot covers.
    pub(super) fn entry(header: EntryHeader) -> Self {
        Self { op: header.op(), hash: header.hash(), header: Some(header) }
    }

    /// What `lowest` follows.
    pub(super) fn parent_of(lowest: &EntryHeader) -> Option<Self> {
        lowest.op().previous().map(|op| Self { op, hash: lowest.parent(), header: None })
    }
}

impl Slot {
    fn is_missing(&self) -> bool {
        matches!(self.body, Body::Missing | Body::Faulty)
    }
}

impl Log {
    pub(super) fn new(base: Base) -> Self {
        let (covered_to, durable_to, recorded_to) = (base.op, base.op, base.op);
        Self { base, slots: VecDeque::new(), covered_to, durable_to, recorded_to }
    }

    pub(super) fn head_op(&self) -> Op {
        self.slots.back().map_or(self.base.op, |slot| slot.header.op())
    }

    pub(super) fn head_hash(&self) -> Hash {
        self.slots.back().map_or(self.base.hash, |slot| slot.header.hash())
    }

    /// Consensus time of the head; zero where only the parent of the lowest entry is known.
    pub(super) fn head_timestamp(&self) -> Timestamp {
        self.header(self.head_op()).map(EntryHeader::timestamp).unwrap_or_default()
    }

    /// Whether `header` may follow the head.
    pub(super) fn can_follow(&self, header: &EntryHeader) -> bool {
        header.op() == self.head_op().next()
            && header.parent() == self.head_hash()
            && header.timestamp() > self.head_timestamp()
    }

    /// The op below the lowest slot.
    pub(super) fn base_op(&self) -> Op {
        self.base.op
    }

    /// Every slot up to this one is durable.
    pub(super) fn durable_to(&self) -> Op {
        self.durable_to
    }

    pub(super) fn header(&self, op: Op) -> Option<&EntryHeader> {
        if op == self.base.op { self.base.header.as_ref() } else { self.slot(op).map(|slot| &slot.header) }
    }

    /// Whether the log goes through the entry with this op and hash.
    pub(super) fn contains(&self, op: Op, hash: Hash) -> bool {
        if op == self.base.op {
            return self.base.hash == hash;
        }
        self.slot(op).is_some_and(|slot| slot.header.hash() == hash)
    }

    /// The entry at `op`, when its payload is here.
    pub(super) fn entry(&self, op: Op) -> Option<Entry> {
        let slot = self.slot(op)?;
        let payload = match &slot.body {
            Body::Missing | Body::Faulty => return None,
            Body::Held(payload, _) | Body::Durable(payload) => payload.clone(),
        };
        Some(Entry::trusted(slot.header, payload))
    }

    pub(super) fn is_missing(&self, op: Op) -> bool {
        self.slot(op).is_some_and(Slot::is_missing)
    }

    /// A record of the entry at `op` is on its way under this ordinal.
    pub(super) fn note_recorded(&mut self, op: Op, ordinal: Ordinal) {
        if let Some(slot) = self.slot_mut(op) {
            slot.recorded = Some(ordinal);
        }
    }

    /// The ordinal of the newest record of the entry at `op`.
    pub(super) fn recorded(&self, op: Op) -> Option<Ordinal> {
        self.slot(op)?.recorded
    }

    /// Bytes of all entries of the log.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.iter().map(|slot| archived_bytes(&slot.header)).sum()
    }

    /// Whether the entry with this op and hash was on this disk once.
    pub(super) fn was_durable(&self, op: Op, hash: Hash) -> bool {
        self.slot(op).is_some_and(|slot| slot.was_durable && slot.header.hash() == hash)
    }

    /// Whether the entry at `op` survives a crash: in the journal, or in the snapshot.
    pub(super) fn is_durable(&self, op: Op) -> bool {
        op <= self.covered_to || self.slot(op).is_some_and(|slot| matches!(slot.body, Body::Durable(_)))
    }

    /// The lowest slot above `op` without a payload.
    pub(super) fn first_missing_above(&self, op: Op) -> Option<Op> {
        let from = op.max(self.base.op).next();
        let skip = usize_of(from.above(self.base.op.next()));
        self.slots.iter().skip(skip).find(|slot| slot.is_missing()).map(|slot| slot.header.op())
    }

    /// Every slot from `released` up to here is whole and has a durable record: it is not in memory alone.
    pub(super) fn recorded_to(&self, released: Op) -> Op {
        self.recorded_to.max(released)
    }

    /// Takes note of records that became durable: all up to this ordinal are.
    pub(super) fn advance_recorded(&mut self, released: Op, durable: Ordinal) {
        let is_recorded =
            |slot: &Slot| !slot.is_missing() && slot.recorded.is_some_and(|ordinal| ordinal <= durable);
        let mut op = self.recorded_to.max(released).max(self.base.op);
        while self.slot(op.next()).is_some_and(is_recorded) {
            op = op.next();
        }
        self.recorded_to = op;
    }

    /// The lowest slot above `op` whose payload was on this disk, and is not here.
    pub(super) fn first_faulty_above(&self, op: Op) -> Option<Op> {
        let mut above = self.slots.iter().skip_while(|slot| slot.header.op() <= op);
        above.find(|slot| slot.is_missing() && slot.was_durable).map(|slot| slot.header.op())
    }

    /// The highest op up to `to` below which, from `from` on, no payload is missing.
    pub(super) fn held_to(&self, from: Op, to: Op) -> Op {
        let mut held = from;
        while held < to && held < self.head_op() && !self.is_missing(held.next()) {
            held = held.next();
        }
        held
    }

    /// Appends an entry whose record is on its way under `ordinal`.
    pub(super) fn append(&mut self, entry: &Entry, ordinal: Ordinal) {
        self.push(*entry.header(), Body::Held(entry.payload().clone(), ordinal));
        self.note_recorded(entry.op(), ordinal);
    }

    /// Appends a header without its payload.
    pub(super) fn append_header(&mut self, header: EntryHeader) {
        self.push(header, Body::Missing);
    }

    /// Appends an entry that the journal held at the start, whole or not.
    pub(super) fn append_recovered(&mut self, ordinal: Ordinal, entry: &RecoveredEntry) {
        let body = match entry {
            RecoveredEntry::Whole(entry) => Body::Durable(entry.payload().clone()),
            RecoveredEntry::Faulty(_) => Body::Faulty,
        };
        self.push(*entry.header(), body);
        if let Some(slot) = self.slots.back_mut() {
            slot.was_durable = true;
            slot.recorded = Some(ordinal);
        }
        self.advance_durable();
    }

    /// A snapshot covers the log up to `op`: what is faulty up to there is not needed here.
    pub(super) fn cover(&mut self, op: Op) {
        self.covered_to = op;
        self.durable_to = self.durable_to.max(op);
        self.advance_durable();
    }

    /// Whether the slot of `entry` is its own and waits for the payload.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        self.is_missing(entry.op()) && self.contains(entry.op(), entry.hash())
    }

    /// Gives the slot of `entry` its payload, whose record is on its way under `ordinal`.
    pub(super) fn fill(&mut self, entry: &Entry, ordinal: Ordinal) {
        assert!(self.wants(entry), "op {} is not missing, or another entry's", entry.op());
        if let Some(slot) = self.slot_mut(entry.op()) {
            slot.body = Body::Held(entry.payload().clone(), ordinal);
        }
        self.note_recorded(entry.op(), ordinal);
    }

    /// The record with this op and ordinal is on the disk. Without effect when the slot has another record by now: an
    /// entry can be cut, come back and be written again while its first write is still on its way.
    pub(super) fn mark_durable(&mut self, op: Op, written: Ordinal) {
        if let Some(slot) = self.slot_mut(op)
            && let Body::Held(payload, ordinal) = &slot.body
            && *ordinal == written
        {
            slot.body = Body::Durable(payload.clone());
            slot.was_durable = true;
        }
        self.advance_durable();
    }

    /// Cuts everything above `op`.
    pub(super) fn truncate_above(&mut self, op: Op) {
        let keep = usize_of(op.above(self.base.op));
        self.slots.truncate(keep);
        self.durable_to = self.durable_to.min(op);
        self.recorded_to = self.recorded_to.min(op);
    }

    /// Forgets the slots up to `op`, which becomes the base.
    pub(super) fn forget_to(&mut self, op: Op) {
        while self.base.op < op {
            let Some(slot) = self.slots.pop_front() else { break };
            self.base = Base::entry(slot.header);
        }
        self.covered_to = self.covered_to.max(self.base.op);
    }

    /// A snapshot that ends with the entry of `header` takes the place of everything up to there, and of what does not follow
    /// from it; whether the log went through that entry.
    pub(super) fn install(&mut self, header: EntryHeader) -> bool {
        let joins = self.contains(header.op(), header.hash());
        if joins {
            self.forget_to(header.op());
        } else {
            self.slots.clear();
            self.durable_to = header.op();
        }
        self.base = Base::entry(header);
        self.cover(header.op());
        joins
    }

    /// The log begins with `entry`, if that is what it follows; a snapshot covers it.
    pub(super) fn grow_downward(&mut self, entry: &Entry) -> bool {
        let header = *entry.header();
        let is_base = (header.op(), header.hash()) == (self.base.op, self.base.hash);
        let Some(below) = Base::parent_of(&header).filter(|_| is_base) else { return false };
        let body = Body::Durable(entry.payload().clone());
        self.slots.push_front(Slot { header, body, was_durable: true, recorded: None });
        self.base = below;
        self.recorded_to = below.op;
        true
    }

    fn push(&mut self, header: EntryHeader, body: Body) {
        assert!(
            self.can_follow(&header),
            "a log is a chain without gaps: {header} after op {}",
            self.head_op()
        );
        self.slots.push_back(Slot { header, body, was_durable: false, recorded: None });
    }

    fn advance_durable(&mut self) {
        while self.is_durable(self.durable_to.next()) {
            self.durable_to = self.durable_to.next();
        }
    }

    fn slot(&self, op: Op) -> Option<&Slot> {
        self.slots.get(self.index(op)?)
    }

    fn slot_mut(&mut self, op: Op) -> Option<&mut Slot> {
        let index = self.index(op)?;
        self.slots.get_mut(index)
    }

    fn index(&self, op: Op) -> Option<usize> {
        let offset = op.get().checked_sub(self.base.op.next().get())?;
        (offset < u64_of(self.slots.len())).then(|| usize_of(offset))
    }
}

//! A group's log in memory: headers without gaps, chained by hash, and the payloads that are here.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::types::{Entry, EntryHeader, Hash, Op, u64_of, usize_of};

/// The log of a replica.
///
/// Invariant: every slot's parent is the hash of the slot below, down to the base.
#[derive(Clone, Debug)]
pub(super) struct Log {
    base: EntryHeader,
    slots: VecDeque<Slot>,
    /// Every slot up to this one is durable.
    durable_to: Op,
}

#[derive(Clone, Debug)]
struct Slot {
    header: EntryHeader,
    body: Body,
}

/// Where a slot's payload is.
#[derive(Clone, Debug)]
enum Body {
    /// Nowhere here: the header came with a view change.
    Missing,
    /// In memory, its record on the way to the disk.
    Held(Bytes),
    /// In memory and on the disk.
    Durable(Bytes),
}

impl Log {
    pub(super) fn new(base: EntryHeader) -> Self {
        Self { base, slots: VecDeque::new(), durable_to: base.op() }
    }

    /// The highest slot, or the base.
    pub(super) fn head(&self) -> &EntryHeader {
        self.slots.back().map_or(&self.base, |slot| &slot.header)
    }

    pub(super) fn head_op(&self) -> Op {
        self.head().op()
    }

    /// Every slot up to this one is durable.
    pub(super) fn durable_to(&self) -> Op {
        self.durable_to
    }

    pub(super) fn header(&self, op: Op) -> Option<&EntryHeader> {
        if op == self.base.op() { Some(&self.base) } else { self.slot(op).map(|slot| &slot.header) }
    }

    /// Whether the log goes through the entry with this op and hash.
    pub(super) fn contains(&self, op: Op, hash: Hash) -> bool {
        self.header(op).is_some_and(|header| header.hash() == hash)
    }

    /// The entry at `op`, when its payload is here.
    pub(super) fn entry(&self, op: Op) -> Option<Entry> {
        let slot = self.slot(op)?;
        let payload = match &slot.body {
            Body::Missing => return None,
            Body::Held(payload) | Body::Durable(payload) => payload.clone(),
        };
        Some(Entry::trusted(slot.header, payload))
    }

    pub(super) fn is_missing(&self, op: Op) -> bool {
        self.slot(op).is_some_and(|slot| matches!(slot.body, Body::Missing))
    }

    pub(super) fn is_durable(&self, op: Op) -> bool {
        op == self.base.op() || self.slot(op).is_some_and(|slot| matches!(slot.body, Body::Durable(_)))
    }

    /// The lowest slot above `op` without a payload.
    pub(super) fn first_missing_above(&self, op: Op) -> Option<Op> {
        let from = op.max(self.base.op()).next();
        let skip = usize_of(from.above(self.base.op().next()));
        let missing = |slot: &&Slot| matches!(slot.body, Body::Missing);
        self.slots.iter().skip(skip).find(missing).map(|slot| slot.header.op())
    }

    /// Appends an entry whose record is on its way.
    pub(super) fn append(&mut self, entry: &Entry) {
        self.push(*entry.header(), Body::Held(entry.payload().clone()));
    }

    /// Appends a header without its payload.
    pub(super) fn append_header(&mut self, header: EntryHeader) {
        self.push(header, Body::Missing);
    }

    /// Appends an entry that the journal held at the start.
    pub(super) fn append_durable(&mut self, entry: &Entry) {
        self.push(*entry.header(), Body::Durable(entry.payload().clone()));
        self.advance_durable();
    }

    /// Gives a slot its payload; false when the slot is of another entry or has one.
    pub(super) fn fill(&mut self, entry: &Entry) -> bool {
        match self.slot_mut(entry.op()) {
            Some(slot) if slot.header.hash() == entry.hash() && matches!(slot.body, Body::Missing) => {
                slot.body = Body::Held(entry.payload().clone());
                true
            }
            Some(_) | None => false,
        }
    }

    /// The record of the entry with this op and hash is on the disk. Without effect when the slot is another's by now.
    pub(super) fn mark_durable(&mut self, op: Op, hash: Hash) {
        if let Some(slot) = self.slot_mut(op)
            && slot.header.hash() == hash
            && let Body::Held(payload) = &slot.body
        {
            slot.body = Body::Durable(payload.clone());
        }
        self.advance_durable();
    }

    /// Cuts everything above `op`.
    pub(super) fn truncate_above(&mut self, op: Op) {
        let keep = usize_of(op.above(self.base.op()));
        self.slots.truncate(keep);
        self.durable_to = self.durable_to.min(op);
    }

    fn push(&mut self, header: EntryHeader, body: Body) {
        let head = self.head();
        assert!(header.op() == head.op().next(), "a log has no gaps: {} after {}", header.op(), head.op());
        assert!(header.parent() == head.hash(), "a log is a chain: op {} has another parent", header.op());
        assert!(header.timestamp() > head.timestamp(), "consensus time rises: op {}", header.op());
        self.slots.push_back(Slot { header, body });
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
        let offset = op.get().checked_sub(self.base.op().next().get())?;
        (offset < u64_of(self.slots.len())).then(|| usize_of(offset))
    }
}

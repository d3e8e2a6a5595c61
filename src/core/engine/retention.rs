//! What a segment holds, and what keeps it from being freed once it is sealed.
//!
//! A segment may go when everything in it has a later home: its entries in a snapshot in force (and on every peer that
//! may still ask for them), its promises in a later, durable record. Segments go oldest first.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::engine::findings::RecordName;
use crate::engine::manifest::SegmentMeta;
use crate::types::{GroupId, Op, Ordinal, u64_of};

/// What a segment holds.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SegmentContents {
    pub meta: SegmentMeta,
    /// In order; their numbers have no gaps.
    pub flushes: Vec<FlushPlace>,
    /// Number of its last flush, or of the one before it while it holds nothing.
    pub last_number: u64,
    /// What that holds.
    pub last_records: Vec<RecordName>,
    last_ordinal: Ordinal,
    /// Whether any flush is rotten: asked at every completion of the disk, while flushes are many.
    is_rotten: bool,
    /// The highest op of each group's entries.
    entries: BTreeMap<GroupId, Op>,
    promises: BTreeSet<GroupId>,
}

/// Where a flush lies.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct FlushPlace {
    pub from: u64,
    pub to: u64,
    /// Whether it was found not to be as it was written.
    pub is_rotten: bool,
    /// The ordinal of its last record, or of the last one before it; set when it is noted.
    pub last_ordinal: Ordinal,
}

/// Why the oldest segment cannot go: groups that need a snapshot, and groups whose promise must be written again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pins {
    /// Groups with entries that no snapshot covers.
    pub snapshots: Vec<GroupId>,
    /// Groups whose newest promise is in the segment.
    pub promises: Vec<GroupId>,
}

impl SegmentContents {
    /// A segment that holds nothing yet, behind the flush of this number.
    pub(in crate::engine) fn behind(last_number: u64, meta: SegmentMeta) -> Self {
        Self {
            meta,
            flushes: Vec::new(),
            last_number,
            last_records: Vec::new(),
            last_ordinal: Ordinal::default(),
            is_rotten: false,
            entries: BTreeMap::new(),
            promises: BTreeSet::new(),
        }
    }

    /// The segment's next flush has this number, place and records, whole or not: what is lost is pinned until it has a
    /// later home, as what is whole.
    pub(in crate::engine) fn note(
        &mut self,
        number: u64,
        place: FlushPlace,
        records: impl Iterator<Item = (Ordinal, RecordName)>,
    ) {
        self.last_number = number;
        self.is_rotten |= place.is_rotten;
        self.flushes.push(place);
        self.last_records.clear();
        for (ordinal, record) in records {
            self.last_records.push(record);
            self.last_ordinal = self.last_ordinal.max(ordinal);
            match record {
                RecordName::Entry(group, op) => {
                    let highest = self.entries.entry(group).or_default();
                    *highest = (*highest).max(op);
                }
                RecordName::Promise(group) => {
                    self.promises.insert(group);
                }
                RecordName::Truncation(..) => {}
            }
        }
        if let Some(place) = self.flushes.last_mut() {
            place.last_ordinal = self.last_ordinal;
        }
    }

    /// The ordinals of the records of the flush at this place: those above the first, up to the second.
    pub(in crate::engine) fn ordinals_of(&self, index: usize) -> (Ordinal, Ordinal) {
        let last = |index: usize| self.flushes.get(index).map(|place| place.last_ordinal).unwrap_or_default();
        (index.checked_sub(1).map(last).unwrap_or_default(), last(index))
    }

    /// The highest op of each group's entries.
    pub(in crate::engine) fn entries(&self) -> impl Iterator<Item = (GroupId, Op)> {
        self.entries.iter().map(|(group, op)| (*group, *op))
    }

    /// The ordinal of its last record.
    pub(in crate::engine) fn last_ordinal(&self) -> Ordinal {
        self.last_ordinal
    }

    /// These flushes were found rotten.
    pub(in crate::engine) fn mark_rotten(&mut self, is_rotten: impl Fn(&FlushPlace) -> bool) {
        for flush in &mut self.flushes {
            flush.is_rotten |= is_rotten(flush);
            self.is_rotten |= flush.is_rotten;
        }
    }

    /// Whether a flush of it was found rotten: it is to go as soon as nothing needs it.
    pub(in crate::engine) fn is_rotten(&self) -> bool {
        self.is_rotten
    }

    /// The number of the flush at this place of [`SegmentContents::flushes`].
    pub(in crate::engine) fn number_of(&self, index: usize) -> u64 {
        (self.last_number + 1 + u64_of(index)).saturating_sub(u64_of(self.flushes.len()))
    }

    /// Whether every promise in it was made again later; `promised` gives the ordinal of a group's newest durable one.
    pub(in crate::engine) fn is_free_of_promises(&self, promised: &BTreeMap<GroupId, Ordinal>) -> bool {
        self.promises.iter().all(|group| !self.holds_newest(*group, promised))
    }

    /// What pins the segment: `saved` gives the op up to which a snapshot in force covers a group.
    pub(in crate::engine) fn pins(
        &self,
        saved: impl Fn(GroupId) -> Op,
        promised: &BTreeMap<GroupId, Ordinal>,
    ) -> Pins {
        let uncovered = self.entries.iter().filter(|(group, op)| saved(**group) < **op);
        let promises = self.promises.iter().filter(|group| self.holds_newest(**group, promised));
        Pins {
            snapshots: uncovered.map(|(group, _)| *group).collect(),
            promises: promises.copied().collect(),
        }
    }

    fn holds_newest(&self, group: GroupId, promised: &BTreeMap<GroupId, Ordinal>) -> bool {
        promised.get(&group).is_none_or(|newest| *newest <= self.last_ordinal)
    }
}

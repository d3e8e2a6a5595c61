//! Segments are made before they are needed, and let go of once nothing pins them.

use alloc::collections::BTreeMap;
use alloc::vec;

use super::Running;
use crate::engine::disk::{BLOCK_BYTES, DiskOp, DiskOpId, DiskOut, FileId};
use crate::engine::manifest::SegmentMeta;
use crate::engine::retention::{Pins, SegmentContents};
use crate::types::{Blob, GroupId, Mark, Marks, Op, Ordinal, u64_of};

/// Slots behind the highest one in use that may have been used before.
const NAMELESS_BEHIND: u32 = 8;

#[derive(Clone, Copy, Debug)]
pub(super) struct MakingSpare {
    pub id: DiskOpId,
    pub meta: SegmentMeta,
    /// It is a new file, and needs space.
    pub is_new: bool,
}

impl Running {
    pub(in crate::engine) fn set_floors(&mut self, floors: impl Iterator<Item = (GroupId, Op)>) {
        self.floors.extend(floors);
    }

    /// What pins the oldest segment, once it is to go; and groups that want another snapshot.
    pub(in crate::engine) fn pins(&self) -> Option<Pins> {
        let oldest = self.journal.sealed().front().filter(|_| self.surplus() > 0);
        let mut pins = oldest
            .map(|oldest| oldest.pins(|group| self.saved(group), self.journal.promised()))
            .unwrap_or_default();
        pins.snapshots.extend(self.snapshots.rotten());
        (pins != Pins::default()).then_some(pins)
    }

    /// Whether the oldest segment cannot go because of its entries, or a snapshot is wanted.
    fn is_pinned_by_entries(&self) -> bool {
        let oldest = self.journal.sealed().front().filter(|_| self.surplus() > 0);
        let is_pinned =
            |oldest: &SegmentContents| oldest.entries().any(|(group, op)| self.released(group) < op);
        oldest.is_some_and(is_pinned) || !self.snapshots.rotten().is_empty()
    }

    /// A new segment found no space. Files of segments that a process let go of before it died take some, and no manifest
    /// names them.
    pub(super) fn let_go_of_nameless_segments(&mut self) {
        let body = self.manifest.body();
        let is_named = |slot: u32| body.segments.iter().any(|meta| meta.slot == slot);
        let is_kept = |slot: u32| self.recycled.iter().any(|meta| meta.slot == slot);
        let slots = body.segments.iter().map(|meta| meta.slot).max().unwrap_or_default();
        let nameless = (0..=slots + NAMELESS_BEHIND).filter(|slot| !is_named(*slot) && !is_kept(*slot));
        nameless.for_each(|slot| self.space.let_go(FileId::Segment(slot)));
    }

    /// Starts to make a spare segment when one is wanted, so that rolling never waits for the disk.
    pub(super) fn make_spare(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let coming = self.spare.is_some() || self.pending.spare.is_some() || self.installing.spare.is_some();
        // While a manifest is being written it is not sure which files are in use.
        if coming || !self.journal.wants_spare() || self.manifest.is_writing() {
            return;
        }

        let (bytes, generation) = (self.config.segment_bytes, self.manifest.body().next_generation);
        // A recycled file is used as it is, for what it holds is of an older generation, but for its first block: one that
        // cannot be read might later be that of a flush with which the journal went on there.
        if let Some(index) = self.recycled.iter().position(|meta| meta.bytes == bytes) {
            let slot = self.recycled.swap_remove(index).slot;
            let id = ids();
            let data = Blob::from(vec![0; BLOCK_BYTES]);
            out.push(DiskOp::Write { id, file: FileId::Segment(slot), offset: 0, data });
            let meta = SegmentMeta { slot, bytes, generation, from: 0, end: None };
            self.spare = Some(MakingSpare { id, meta, is_new: false });
            out.marks.hit(Mark::SegmentRecycled);
            return;
        }
        // On a full disk what little there is serves snapshots and archives first: they free segments, and no segment frees
        // anything. But nothing can be saved that waits for the journal, and what pins a segment may not be there to be
        // saved: an entry that was never committed, of a group that takes no new ones.
        let goes_on = self.space.is_full() && !self.journal.is_blocked() && !self.spare_comes_first;
        if !self.space.may_allocate() || (goes_on && self.is_pinned_by_entries()) {
            return;
        }
        let slot = self.manifest.body().free_segment_slot();
        self.recycled.retain(|meta| meta.slot != slot);
        self.space.keep(FileId::Segment(slot));
        let meta = SegmentMeta { slot, bytes, generation, from: 0, end: None };
        let id = ids();
        out.push(DiskOp::Allocate { id, file: FileId::Segment(meta.slot), bytes: meta.bytes });
        self.spare = Some(MakingSpare { id, meta, is_new: true });
    }

    /// Lets go of the oldest segments that nothing pins, as far as the journal is longer than it should be.
    pub(super) fn free_segments(&mut self) {
        if !self.pending.freed.is_empty() || !self.installing.freed.is_empty() {
            return;
        }
        let surplus = self.surplus();
        let covered = |group| self.floors.get(&group).copied().unwrap_or_default();
        let oldest = self.journal.sealed().iter().take(surplus);
        let promised = self.journal.promised();
        let count = oldest
            .take_while(|segment| {
                let needs_no_entries =
                    self.is_copied(segment) || segment.entries().all(|(group, op)| covered(group) >= op);
                needs_no_entries && segment.is_free_of_promises(promised)
            })
            .count();
        self.pending.freed = self.manifest.body().segments[..count].to_vec();
    }

    /// How many of the oldest segments are to go: those beyond what the journal should hold, and all up to the last one
    /// in which something rotted; every one when no space is left.
    fn surplus(&self) -> usize {
        let sealed = self.journal.sealed();
        let target = usize::try_from(self.config.sealed_segments_target).unwrap_or(usize::MAX);
        if self.space.is_full() {
            return sealed.len();
        }
        let rotten = sealed.iter().rposition(SegmentContents::is_rotten).map_or(0, |last| last + 1);
        sealed.len().saturating_sub(target).max(rotten)
    }

    fn is_copied(&self, segment: &SegmentContents) -> bool {
        let durable = self.writer.durable();
        self.copied
            .is_some_and(|(generation, through)| generation == segment.meta.generation && through <= durable)
    }

    /// The highest op of each group of which the oldest segment has entries that are needed, when that is to go.
    pub(in crate::engine) fn oldest_entries(&self) -> Option<(BTreeMap<GroupId, Op>, Ordinal)> {
        let most = self.config.sealed_segments_max.max(self.config.sealed_segments_target);
        let is_too_long = u64_of(self.journal.sealed().len()) > u64::from(most);
        let has_rotten = self.journal.sealed().iter().any(SegmentContents::is_rotten);
        let oldest = self.journal.sealed().front().filter(|_| is_too_long || has_rotten)?;
        let covered = |group| self.floors.get(&group).copied().unwrap_or_default();
        let live = oldest.entries().filter(|(group, op)| covered(*group) < *op).collect();
        Some((live, oldest.last_ordinal()))
    }

    /// Whether what the oldest segment holds may be written again.
    pub(in crate::engine) fn may_copy_forward(&self) -> bool {
        let oldest = self.journal.sealed().front().map(|segment| segment.meta.generation);
        let is_under_way = self.copied.is_some_and(|(generation, _)| Some(generation) == oldest);
        !is_under_way && !self.space.is_full() && !self.journal.is_blocked()
    }

    pub(in crate::engine) fn note_copied_forward(&mut self) {
        let oldest = self.journal.sealed().front();
        self.copied = oldest.map(|segment| (segment.meta.generation, self.writer.last()));
    }

    /// Whether the journal is longer than it may be: only what no snapshot of this node covers is kept then.
    pub(in crate::engine) fn is_too_long(&self) -> bool {
        let most = self.config.sealed_segments_max.max(self.config.sealed_segments_target);
        self.space.is_full() || u64_of(self.journal.sealed().len()) > u64::from(most)
    }
}

//! A running engine: the journal, the manifest's changes, spare segments and snapshots in the making.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::journal::Journal;
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::{ManifestBody, SegmentMeta};
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::retention::{Pins, SegmentContents};
use crate::engine::scrub::{Live, Rotten, Scrub};
use crate::engine::snapshot_store::{SavingSnapshot, SnapshotMeta};
use crate::engine::{EngineConfig, EngineError, EngineEvent};
use crate::types::{Blob, GroupId, Hash, Mark, Marks, Monotonic, Op, u64_of};

#[derive(Clone, Debug)]
pub(in crate::engine) struct Running {
    pub config: EngineConfig,
    pub manifest: ManifestStore,
    pub journal: Journal,
    pub writer: LogWriter,
    /// The file of the next spare segment is being made, or made ready to be used again.
    spare: Option<(DiskOpId, SegmentMeta)>,
    saving: Option<SavingSnapshot>,
    /// Files of segments let go since the start: whole, written out, and in no manifest.
    recycled: Vec<SegmentMeta>,
    /// What the next manifest will say, and what the one being written says.
    pending: Changes,
    installing: Changes,
    /// Every voter of a group, this one among them, has a snapshot of it in force up to here.
    floors: BTreeMap<GroupId, Op>,
    scrub: Scrub,
    /// Groups whose snapshot in force rotted, and which want another one.
    rotten_snapshots: BTreeSet<GroupId>,
}

/// Differences between two manifests.
#[derive(Clone, Debug, Default)]
struct Changes {
    spare: Option<SegmentMeta>,
    snapshot: Option<SnapshotMeta>,
    /// The oldest segments, which go.
    freed: Vec<SegmentMeta>,
    /// A copy of the manifest rotted: two versions more, and every copy was written again.
    rewrites: u32,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.spare.is_none() && self.snapshot.is_none() && self.freed.is_empty() && self.rewrites == 0
    }

    fn apply(&self, body: &mut ManifestBody, first_flush: u64) {
        if let Some(meta) = self.spare {
            body.segments.push(meta);
            body.next_generation = meta.generation + 1;
        }
        if let Some(meta) = self.snapshot {
            body.snapshots.retain(|other| other.group != meta.group);
            body.snapshots.push(meta);
        }
        if !self.freed.is_empty() {
            body.segments.drain(..self.freed.len());
            body.first_flush = first_flush;
        }
    }
}

impl Running {
    pub(in crate::engine) fn new(
        config: EngineConfig,
        manifest: ManifestStore,
        journal: Journal,
        writer: LogWriter,
    ) -> Self {
        Self {
            scrub: Scrub::new(config.scrub_every, config.scrub_bytes_per_second),
            rotten_snapshots: BTreeSet::new(),
            config,
            manifest,
            journal,
            writer,
            spare: None,
            saving: None,
            recycled: Vec::new(),
            pending: Changes::default(),
            installing: Changes::default(),
            floors: BTreeMap::new(),
        }
    }

    pub(in crate::engine) fn on_done(
        &mut self,
        now: Monotonic,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        let event = self.take_done(now, done, ids, out)?;
        self.keep_house(ids, out)?;
        Ok(event)
    }

    /// Makes a spare segment, frees old ones, and writes the manifest that says so.
    pub(in crate::engine) fn keep_house(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        self.make_spare(ids, out);
        self.free_segments();
        self.write_manifest(ids, out)
    }

    /// Starts to save a snapshot of `group`, unless another one is on its way.
    pub(in crate::engine) fn save_snapshot(
        &mut self,
        group: GroupId,
        op: Op,
        body: Bytes,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if self.is_saving() {
            return;
        }
        let slot = self.manifest.body().free_snapshot_slot();
        let meta = SnapshotMeta { group, op, slot, bytes: u64_of(body.len()), hash: Hash::of(&body) };
        self.saving = Some(SavingSnapshot::start(meta, body, ids(), out));
    }

    /// Whether a snapshot is not in force yet.
    pub(in crate::engine) fn is_saving(&self) -> bool {
        self.saving.is_some() || self.pending.snapshot.is_some() || self.installing.snapshot.is_some()
    }

    pub(in crate::engine) fn set_floors(&mut self, floors: impl Iterator<Item = (GroupId, Op)>) {
        self.floors.extend(floors);
    }

    /// Lets the scrub read on.
    pub(in crate::engine) fn scrub(
        &mut self,
        now: Monotonic,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let live = Live { manifest: self.manifest.current(), journal: &self.journal };
        self.scrub.go_on(now, live, ids, out);
    }

    /// What pins the oldest segment, once it is to go; and groups that want another snapshot.
    pub(in crate::engine) fn pins(&self) -> Option<Pins> {
        let oldest = self.journal.sealed().front().filter(|_| self.surplus() > 0);
        let mut pins = oldest
            .map(|oldest| oldest.pins(|group| self.saved(group), self.journal.promised()))
            .unwrap_or_default();
        pins.snapshots.extend(&self.rotten_snapshots);
        (pins != Pins::default()).then_some(pins)
    }

    /// Whether the snapshot in force of `group` is not as it was written.
    pub(in crate::engine) fn is_snapshot_rotten(&self, group: GroupId) -> bool {
        self.rotten_snapshots.contains(&group)
    }

    /// How many of the oldest segments are to go: those beyond what the journal should hold, and all up to the last one
    /// in which something rotted.
    fn surplus(&self) -> usize {
        let sealed = self.journal.sealed();
        let target = usize::try_from(self.config.sealed_segments_target).unwrap_or(usize::MAX);
        let rotten = sealed.iter().rposition(SegmentContents::is_rotten).map_or(0, |last| last + 1);
        sealed.len().saturating_sub(target).max(rotten)
    }

    /// The op up to which a snapshot in force covers `group`.
    pub(in crate::engine) fn saved(&self, group: GroupId) -> Op {
        let meta = self.manifest.body().snapshots.iter().find(|meta| meta.group == group);
        meta.map_or(Op::GENESIS, |meta| meta.op)
    }

    fn take_done(
        &mut self,
        now: Monotonic,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        match self.manifest.on_done(done, ids, out).map_err(EngineError::Storage)? {
            ManifestEvent::Step => return Ok(None),
            ManifestEvent::Installed => {
                self.installed(out.marks);
                return Ok(None);
            }
            ManifestEvent::NotMine => {}
        }
        let live = Live { manifest: self.manifest.current(), journal: &self.journal };
        if let Some(found) = self.scrub.on_done(done, live, ids, out) {
            return Ok(self.take_rotten(found));
        }
        fail_stop(done)?;
        if let Some((_, meta)) = self.spare.take_if(|(id, _)| *id == done.id) {
            self.pending.spare = Some(meta);
            return Ok(None);
        }
        if let Some(saving) = &mut self.saving
            && let Some(meta) = saving.on_done(done, &mut *ids, out)
        {
            self.saving = None;
            self.pending.snapshot = Some(meta);
            return Ok(None);
        }
        let Some(through) = self.journal.on_done(now, done.id, out.marks) else { return Ok(None) };
        self.writer.mark_durable(through);
        Ok(Some(EngineEvent::Durable(through)))
    }

    /// Sees to what the scrub found; what the owners of records have to write again.
    fn take_rotten(&mut self, found: Vec<Rotten>) -> Option<EngineEvent> {
        let mut records = Vec::new();
        for rotten in found {
            match rotten {
                Rotten::Manifest => self.pending.rewrites = 2,
                Rotten::Snapshot(group) => {
                    self.rotten_snapshots.insert(group);
                }
                Rotten::Flush { generation, from, lost } => {
                    self.journal.mark_rotten(generation, |flush| flush.from == from);
                    records.extend(lost);
                }
            }
        }
        (!records.is_empty()).then_some(EngineEvent::Rotten(records))
    }

    /// A new manifest is in force: what it changed may be relied on.
    fn installed(&mut self, marks: &mut impl Marks) {
        let changes = core::mem::take(&mut self.installing);
        if let Some(meta) = changes.snapshot {
            marks.hit(Mark::SnapshotInForce);
            self.rotten_snapshots.remove(&meta.group);
        }
        self.pending.rewrites = self.pending.rewrites.max(changes.rewrites.saturating_sub(1));
        if !changes.freed.is_empty() {
            marks.hit(Mark::SegmentsFreed);
        }
        self.journal.forget_sealed(changes.freed.len());
        self.recycled.extend(changes.freed);
        if let Some(meta) = changes.spare {
            self.journal.add_spare(meta);
        }
    }

    /// Starts to make a spare segment when one is wanted, so that rolling never waits for the disk.
    fn make_spare(&mut self, ids: &mut impl FnMut() -> DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
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
            self.spare = Some((id, SegmentMeta { slot, bytes, generation, end: None }));
            out.marks.hit(Mark::SegmentRecycled);
            return;
        }
        let slot = self.manifest.body().free_segment_slot();
        self.recycled.retain(|meta| meta.slot != slot);
        let meta = SegmentMeta { slot, bytes, generation, end: None };
        let id = ids();
        out.push(DiskOp::Allocate { id, file: FileId::Segment(meta.slot), bytes: meta.bytes });
        self.spare = Some((id, meta));
    }

    /// Lets go of the oldest segments that nothing pins, as far as the journal is longer than it should be.
    fn free_segments(&mut self) {
        if !self.pending.freed.is_empty() || !self.installing.freed.is_empty() {
            return;
        }
        let surplus = self.surplus();
        let covered = |group| self.floors.get(&group).copied().unwrap_or_default();
        let oldest = self.journal.sealed().iter().take(surplus);
        let count = oldest.take_while(|s| s.is_free(covered, self.journal.promised())).count();
        self.pending.freed = self.manifest.body().segments[..count].to_vec();
    }

    fn write_manifest(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if !self.pending.is_empty() && self.manifest.is_writing() {
            out.marks.hit(Mark::ManifestBusy);
        }
        if self.pending.is_empty() || self.manifest.is_writing() {
            return Ok(());
        }
        let changes = core::mem::take(&mut self.pending);
        let mut body = self.manifest.body().clone();
        changes.apply(&mut body, self.journal.first_flush_after(changes.freed.len()));
        self.manifest.write(body, ids, out).map_err(EngineError::Storage)?;
        self.installing = changes;
        Ok(())
    }
}

/// A write, a barrier or an allocation that failed ends the engine: what is durable is unknown from there on.
fn fail_stop(done: &DiskDone) -> Result<(), EngineError> {
    let id = done.id.0;
    match done.outcome {
        DiskOutcome::Done | DiskOutcome::Read(_) => Ok(()),
        DiskOutcome::Missing => Err(EngineError::Disk(format!("operation {id}: the file is missing"))),
        DiskOutcome::Full => Err(EngineError::Disk(format!("operation {id}: no space is left"))),
        DiskOutcome::Failed => Err(EngineError::Disk(format!("operation {id} failed"))),
    }
}

//! A running engine: the journal, the manifest's changes, spare segments and snapshots in the making.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::incoming_snapshot::IncomingSnapshot;
use crate::engine::journal::Journal;
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::{ManifestBody, SegmentMeta};
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::retention::{Pins, SegmentContents};
use crate::engine::scrub::{Live, Rotten, Scrub};
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::engine::snapshot_store::{SnapshotEvent, SnapshotStore};
use crate::engine::space::{Space, SpaceEvent};
use crate::engine::{EngineConfig, EngineError, EngineEvent, SnapshotChunk};
use crate::types::{Blob, GroupId, Mark, Marks, Monotonic, NodeId, Op, u64_of};

#[derive(Clone, Debug)]
pub(in crate::engine) struct Running {
    pub config: EngineConfig,
    pub manifest: ManifestStore,
    pub journal: Journal,
    pub writer: LogWriter,
    /// The file of the next spare segment is being made, or made ready to be used again.
    spare: Option<MakingSpare>,
    /// Files of segments let go since the start: whole, written out, and in no manifest.
    recycled: Vec<SegmentMeta>,
    /// What the next manifest will say, and what the one being written says.
    pending: Changes,
    installing: Changes,
    /// Nobody needs what the journal has of a group up to here.
    floors: BTreeMap<GroupId, Op>,
    snapshots: SnapshotStore,
    scrub: Scrub,
    space: Space,
    /// On a full disk it is a spare segment's turn to be made, and not a snapshot's.
    spare_comes_first: bool,
}

#[derive(Clone, Copy, Debug)]
struct MakingSpare {
    id: DiskOpId,
    meta: SegmentMeta,
    /// It is a new file, and needs space.
    is_new: bool,
}

/// Differences between two manifests.
#[derive(Clone, Debug, Default)]
struct Changes {
    spare: Option<SegmentMeta>,
    snapshot: Option<SnapshotMeta>,
    /// The one that it takes the place of.
    replaced: Option<SnapshotMeta>,
    /// The snapshot that is coming from a peer, or that none is.
    incoming: Option<Option<SnapshotMeta>>,
    /// The oldest segments, which go.
    freed: Vec<SegmentMeta>,
    /// A copy of the manifest rotted: two versions more, and every copy was written again.
    rewrites: u32,
    /// Bytes of the reserve: it was made, or is to be given back.
    reserve: Option<u64>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.spare.is_none()
            && self.snapshot.is_none()
            && self.incoming.is_none()
            && self.freed.is_empty()
            && self.rewrites == 0
            && self.reserve.is_none()
    }

    /// Snapshots whose files the next manifest names.
    fn snapshots(&self) -> impl Iterator<Item = &SnapshotMeta> {
        self.snapshot.iter().chain(self.incoming.iter().flatten())
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
        body.incoming = self.incoming.unwrap_or(body.incoming);
        body.reserve = self.reserve.unwrap_or(body.reserve);
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
        recycled: Vec<SegmentMeta>,
        snapshots: SnapshotStore,
    ) -> Self {
        let mut space = Space::default();
        if manifest.body().reserve == 0 {
            // A process may have died before it gave back what the manifest had let go of.
            space.let_go(FileId::Reserve);
        }
        Self {
            scrub: Scrub::new(config.scrub_every, config.scrub_bytes_per_second),
            snapshots,
            space,
            spare_comes_first: true,
            config,
            manifest,
            journal,
            writer,
            spare: None,
            recycled,
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
        self.see_to_incoming(ids, out);
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
        if !self.can_save() {
            return;
        }
        let name = SnapshotName::of(op, &body, self.config.snapshot_chunk_bytes);
        let meta = SnapshotMeta { group, slot: self.free_snapshot_slot(), name };
        self.space.keep(meta.file());
        self.snapshots.save(meta, body, ids(), out);
    }

    fn free_snapshot_slot(&self) -> u32 {
        let changing = || [&self.pending, &self.installing].into_iter().flat_map(Changes::snapshots);
        let is_used =
            |slot| self.snapshots.uses(slot) || changing().any(|meta: &SnapshotMeta| meta.slot == slot);
        self.manifest.body().free_snapshot_slot(is_used)
    }

    /// Whether [`Running::save_snapshot`] would start: the one before is in force, and there may be space.
    pub(in crate::engine) fn can_save(&self) -> bool {
        !self.is_saving() && self.space.may_allocate()
    }

    fn is_saving(&self) -> bool {
        self.snapshots.is_saving() || self.pending.snapshot.is_some() || self.installing.snapshot.is_some()
    }

    /// The snapshot in force of `group`, when it is as it was written, for all that is known.
    pub(in crate::engine) fn snapshot(&self, group: GroupId) -> Option<SnapshotName> {
        let meta = self.manifest.body().snapshots.iter().find(|meta| meta.group == group);
        meta.filter(|_| !self.snapshots.rotten().contains(&group)).map(|meta| meta.name)
    }

    /// Whether chunks of this snapshot can be read: it is in force, or lent.
    pub(in crate::engine) fn has_snapshot(&self, group: GroupId, name: &SnapshotName) -> bool {
        self.snapshot(group) == Some(*name) || self.snapshots.lends(group, name)
    }

    /// Reads a chunk of a snapshot for a peer.
    pub(in crate::engine) fn read_chunk(
        &mut self,
        asked: (Monotonic, NodeId),
        chunk: (GroupId, SnapshotName, u32),
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        self.snapshots.read_for(asked, &self.manifest.body().snapshots, chunk, ids(), out);
    }

    /// The snapshot that is coming from a peer, and the first of its chunks that are not here, `most` at most.
    pub(in crate::engine) fn incoming(&self, most: usize) -> Option<(GroupId, SnapshotName, Vec<u32>)> {
        let incoming = self.snapshots.incoming().filter(|incoming| !incoming.is_forsaken())?;
        let SnapshotMeta { group, name, .. } = *incoming.meta();
        Some((group, name, incoming.wanted(most)))
    }

    /// Takes a chunk that came from a peer; the first one of a snapshot begins it. Whether it was news.
    pub(in crate::engine) fn take_chunk(&mut self, chunk: SnapshotChunk) -> bool {
        let SnapshotChunk { group, name, index, bytes } = chunk;
        let begins = self.snapshots.incoming().is_none() && self.is_wanted(group, &name);
        if begins && name.is_sound() && self.space.may_allocate() {
            let meta = SnapshotMeta { group, slot: self.free_snapshot_slot(), name };
            self.space.keep(meta.file());
            self.snapshots.set_incoming(IncomingSnapshot::new(meta));
            self.pending.incoming = Some(Some(meta));
        }
        let named = |incoming: &&mut IncomingSnapshot| {
            let meta = incoming.meta();
            meta.group == group && meta.name == name && !incoming.is_forsaken()
        };
        self.snapshots.incoming_mut().filter(named).is_some_and(|incoming| incoming.take(index, bytes))
    }

    /// Whether a snapshot of a peer would be of use: it covers more than the one in force, or that one rotted.
    fn is_wanted(&self, group: GroupId, name: &SnapshotName) -> bool {
        let saved = self.saved(group);
        name.op > saved || (name.op == saved && self.is_snapshot_rotten(group))
    }

    /// Nobody wants the snapshot that is coming from a peer any more.
    pub(in crate::engine) fn forsake_incoming(&mut self) {
        let coming_in_force = [self.pending.snapshot, self.installing.snapshot];
        if let Some(incoming) = self.snapshots.incoming_mut()
            && !coming_in_force.contains(&Some(*incoming.meta()))
        {
            incoming.forsake();
        }
    }

    /// Goes on with the snapshot that is coming from a peer.
    fn see_to_incoming(&mut self, ids: &mut impl FnMut() -> DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
        let is_busy = self.is_saving();
        let Some(incoming) = self.snapshots.incoming_mut() else { return };
        let meta @ SnapshotMeta { group, name, .. } = *incoming.meta();
        if self.manifest.body().incoming == Some(meta) {
            incoming.named(ids(), out);
        }
        incoming.go_on(ids, out);
        if incoming.is_over() {
            self.snapshots.drop_incoming();
            self.pending.incoming = Some(None);
            self.space.let_go(meta.file());
        } else if incoming.whole().is_some() && !is_busy {
            // One of this node's own may have come to be in force meanwhile.
            if self.is_wanted(group, &name) {
                self.pending.snapshot = Some(meta);
                self.pending.incoming = Some(None);
            } else {
                self.forsake_incoming();
            }
        }
    }

    /// The start found no space.
    pub(in crate::engine) fn lacks_space(&mut self, marks: &mut impl Marks) {
        self.space.found_none(marks);
    }

    /// Whether no space is left.
    pub(in crate::engine) fn is_full(&self) -> bool {
        self.space.is_full()
    }

    /// Sees to the reserve; when no space is left, gives back what is not needed, and tries again.
    pub(in crate::engine) fn keep_space(
        &mut self,
        now: Monotonic,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if let Some(meta) = self.snapshots.take_back(now, self.space.is_full()) {
            self.space.let_go(meta.file());
        }
        self.space.shrink(ids, out);
        if !self.space.tries(now) || !self.space.may_allocate() {
            return Ok(());
        }
        self.spare_comes_first = !self.spare_comes_first;
        let held = self.manifest.body().reserve;
        let is_changing = self.pending.reserve.is_some() || self.installing.reserve.is_some();
        if self.space.is_full() && held > 0 && !is_changing {
            self.pending.reserve = Some(0);
        } else if self.space.is_full() && !self.journal.wants_spare() {
            for meta in self.recycled.drain(..) {
                self.space.let_go(FileId::Segment(meta.slot));
            }
        }
        let is_wanted = held < self.reserve_wanted() && !is_changing && self.pending.reserve.is_none();
        if is_wanted && !self.journal.wants_spare() && !self.is_saving() {
            self.space.make_reserve(self.reserve_wanted(), ids, out);
        }
        self.keep_house(ids, out)
    }

    /// So long the reserve should be: for a segment, and for the largest snapshot beside the one that it follows.
    fn reserve_wanted(&self) -> u64 {
        let largest = self.manifest.body().snapshots.iter().map(|meta| meta.name.file_bytes()).max();
        (self.config.segment_bytes + 2 * largest.unwrap_or(0)).next_multiple_of(self.config.segment_bytes)
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
        pins.snapshots.extend(self.snapshots.rotten());
        (pins != Pins::default()).then_some(pins)
    }

    /// Whether the snapshot in force of `group` is not as it was written.
    pub(in crate::engine) fn is_snapshot_rotten(&self, group: GroupId) -> bool {
        self.snapshots.rotten().contains(&group)
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

    /// Whether the journal is longer than it may be: only what no snapshot of this node covers is kept then.
    pub(in crate::engine) fn is_too_long(&self) -> bool {
        let most = self.config.sealed_segments_max.max(self.config.sealed_segments_target);
        self.space.is_full() || u64_of(self.journal.sealed().len()) > u64::from(most)
    }

    /// The op up to which a snapshot in force covers `group`.
    pub(in crate::engine) fn saved(&self, group: GroupId) -> Op {
        let meta = self.manifest.body().snapshots.iter().find(|meta| meta.group == group);
        meta.map_or(Op::GENESIS, |meta| meta.name.op)
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
                let event = self.installed(out.marks);
                self.space.shrink(ids, out);
                return Ok(event);
            }
            ManifestEvent::NotMine => {}
        }
        let live = Live { manifest: self.manifest.current(), journal: &self.journal };
        if let Some(found) = self.scrub.on_done(done, live, ids, out) {
            return Ok(self.take_rotten(found));
        }
        match self.space.on_done(done, out.marks) {
            SpaceEvent::NotMine => {}
            SpaceEvent::Step => return Ok(None),
            SpaceEvent::ReserveMade(bytes) => {
                self.pending.reserve = Some(bytes);
                return Ok(None);
            }
        }
        let in_force = &self.manifest.body().snapshots;
        if let Some(event) = self.snapshots.on_read(done, in_force, ids, out) {
            return Ok(event);
        }
        if done.outcome == DiskOutcome::Full && self.finds_no_space(done.id) {
            self.space.found_none(out.marks);
            return Ok(None);
        }
        fail_stop(done)?;
        if let Some(MakingSpare { meta, .. }) = self.spare.take_if(|spare| spare.id == done.id) {
            self.pending.spare = Some(meta);
            return Ok(None);
        }
        match self.snapshots.on_done(done, ids, out) {
            SnapshotEvent::Saved(meta) => {
                self.saved_own(meta);
                return Ok(None);
            }
            SnapshotEvent::Step => return Ok(None),
            SnapshotEvent::NotMine => {}
        }
        let Some(through) = self.journal.on_done(now, done.id, out.marks) else { return Ok(None) };
        self.writer.mark_durable(through);
        Ok(Some(EngineEvent::Durable(through)))
    }

    /// Whether the operation with this id was to make a file: nothing is there yet that would have to be undone.
    fn finds_no_space(&mut self, id: DiskOpId) -> bool {
        let spare = self.spare.take_if(|spare| spare.is_new && spare.id == id);
        spare.is_some() || self.snapshots.finds_no_space(id)
    }

    /// A snapshot of this node's own is durable. One of a peer that goes farther may have come to be in force meanwhile.
    fn saved_own(&mut self, meta: SnapshotMeta) {
        if meta.name.op > self.saved(meta.group) || self.is_snapshot_rotten(meta.group) {
            self.pending.snapshot = Some(meta);
        } else {
            self.space.let_go(meta.file());
        }
    }

    /// Sees to what the scrub found; what the owners of records have to write again.
    fn take_rotten(&mut self, found: Vec<Rotten>) -> Option<EngineEvent> {
        let mut records = Vec::new();
        for rotten in found {
            match rotten {
                Rotten::Manifest => self.pending.rewrites = 2,
                Rotten::Snapshot(group) => {
                    self.snapshots.mark_rotten(group);
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
    fn installed(&mut self, marks: &mut impl Marks) -> Option<EngineEvent> {
        let changes = core::mem::take(&mut self.installing);
        let received = changes.snapshot.and_then(|meta| {
            marks.hit(Mark::SnapshotInForce);
            self.snapshots.renewed(meta.group);
            let received = self.snapshots.take_received(&meta)?;
            Some(EngineEvent::Received { group: meta.group, body: received })
        });
        self.pending.rewrites = self.pending.rewrites.max(changes.rewrites.saturating_sub(1));
        if !changes.freed.is_empty() {
            marks.hit(Mark::SegmentsFreed);
        }
        self.journal.forget_sealed(changes.freed.len());
        self.recycled.extend(self.manifest.body().unused(&changes.freed));
        if let Some(gone) = changes.replaced.and_then(|meta| self.snapshots.replaced(meta)) {
            self.space.let_go(gone.file());
        }
        match changes.reserve {
            Some(0) => self.space.let_go(FileId::Reserve),
            Some(_) => self.space.found(marks),
            None => {}
        }
        if let Some(meta) = changes.spare {
            self.journal.add_spare(meta);
        }
        received
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
            let meta = SegmentMeta { slot, bytes, generation, from: 0, end: None };
            self.spare = Some(MakingSpare { id, meta, is_new: false });
            out.marks.hit(Mark::SegmentRecycled);
            return;
        }
        // On a full disk what little there is serves snapshots first: they free segments, and no segment frees anything. But
        // nothing can be saved that waits for the journal, and what pins a segment may not be there to be saved: an entry
        // that was never committed, of a group that takes no new ones.
        let goes_on = self.space.is_full() && !self.journal.is_blocked() && !self.spare_comes_first;
        let snapshots_first = goes_on && self.pins().is_some_and(|pins| !pins.snapshots.is_empty());
        if !self.space.may_allocate() || snapshots_first {
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
        let mut changes = core::mem::take(&mut self.pending);
        let of = |new: SnapshotMeta| {
            self.manifest
                .body()
                .snapshots
                .iter()
                .find(|old| old.group == new.group && old.slot != new.slot)
                .copied()
        };
        changes.replaced = changes.snapshot.and_then(of);
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

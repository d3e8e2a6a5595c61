//! A running engine: which of its parts a completion belongs to, and what a manifest in force sets going.

mod archiving;
mod changes;
mod receiving;
mod segments;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use archiving::{CHUNKS_AHEAD_MAX, durable_archive};
use changes::Changes;
use segments::MakingSpare;

use crate::engine::archive::{ArchiveEvent, ArchiveMeta, ArchiveStore, archive_file};
use crate::engine::boots::{Amnesia, Witnessed};
use crate::engine::disk::{DiskDone, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::journal::Journal;
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::SegmentMeta;
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::scrub::{Live, Rotten, Scrub};
use crate::engine::snapshot_body::SnapshotBody;
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::engine::snapshot_store::{SnapshotEvent, SnapshotStore};
use crate::engine::space::{Space, SpaceEvent};
use crate::engine::{EngineConfig, EngineError, EngineEvent};
use crate::types::{GroupId, Mark, Marks, Monotonic, Nanos, NodeId, Op, Ordinal};

/// Chunks that two versions of a manifest let go of at most, unless chunks were skipped.
const DROPPED_AT_ONCE: u64 = 2 * CHUNKS_AHEAD_MAX;
/// How far the disks of peers go is written so often, while they go on.
const WITNESSED_WRITTEN_EVERY: Nanos = Nanos::from_secs(60);

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
    /// What peers said last of their disks.
    witnessed: BTreeMap<NodeId, Witnessed>,
    /// When that was written last.
    witnessed_written_at: Monotonic,
    /// Nobody needs what the journal has of a group up to here.
    floors: BTreeMap<GroupId, Op>,
    /// What is needed of the entries in the segment of this generation was staged again, up to this ordinal.
    copied: Option<(u64, Ordinal)>,
    snapshots: SnapshotStore,
    archive: ArchiveStore,
    scrub: Scrub,
    space: Space,
    /// On a full disk it is a spare segment's turn to be made, and not a snapshot's.
    spare_comes_first: bool,
    /// Files that earlier processes left in no manifest were given back.
    nameless_gone: bool,
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
        for ArchiveMeta { group, first, .. } in &manifest.body().archives {
            let dropped_last = first.saturating_sub(DROPPED_AT_ONCE).max(1)..*first;
            dropped_last.for_each(|number| space.let_go(archive_file(*group, number)));
        }
        Self {
            witnessed: manifest.body().all_witnessed(),
            witnessed_written_at: Monotonic::default(),
            scrub: Scrub::new(config.scrub_every, config.scrub_bytes_per_second),
            snapshots,
            archive: ArchiveStore::default(),
            space,
            spare_comes_first: true,
            nameless_gone: false,
            config,
            manifest,
            journal,
            writer,
            spare: None,
            recycled,
            pending: Changes::default(),
            installing: Changes::default(),
            floors: BTreeMap::new(),
            copied: None,
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
        body: SnapshotBody,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if !self.can_save() {
            return;
        }
        let meta = SnapshotMeta { group, slot: self.free_snapshot_slot(), name: body.name(op) };
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
        if self.space.tries(now) {
            self.try_for_space(ids, out);
        }
        self.space.shrink(ids, out);
        self.keep_house(ids, out)
    }

    fn try_for_space(&mut self, ids: &mut impl FnMut() -> DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
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
        let may_be_made = !self.journal.wants_spare() && !self.is_saving() && self.space.may_allocate();
        if is_wanted && may_be_made {
            self.space.make_reserve(self.reserve_wanted(), ids, out);
        }
    }

    /// So long the reserve should be: for a segment, and for the largest snapshot beside the one that it follows.
    fn reserve_wanted(&self) -> u64 {
        let largest = self.manifest.body().snapshots.iter().map(|meta| meta.name.file_bytes()).max();
        (self.config.segment_bytes + 2 * largest.unwrap_or(0)).next_multiple_of(self.config.segment_bytes)
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

    /// Whether the snapshot in force of `group` is not as it was written.
    pub(in crate::engine) fn is_snapshot_rotten(&self, group: GroupId) -> bool {
        self.snapshots.rotten().contains(&group)
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
            SpaceEvent::Step => {
                self.space.shrink(ids, out);
                return Ok(None);
            }
            SpaceEvent::ReserveMade(bytes) => {
                self.pending.reserve = Some(bytes);
                return Ok(None);
            }
        }
        let in_force = &self.manifest.body().snapshots;
        if let Some(event) = self.snapshots.on_read(done, in_force, ids, out) {
            return Ok(event);
        }
        let archives = |group| durable_archive([&self.pending, &self.installing], &self.manifest, group);
        if let Some(event) = self.archive.on_read(done, archives, ids, out) {
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
        match self.archive.on_done(done.id, out.marks) {
            ArchiveEvent::Sealed(meta) => {
                self.chunk_sealed(meta);
                return Ok(None);
            }
            ArchiveEvent::Repaired => return Ok(None),
            ArchiveEvent::NotMine => {}
        }
        let Some(through) = self.journal.on_done(now, done.id, out.marks) else { return Ok(None) };
        self.writer.mark_durable(through);
        Ok(Some(EngineEvent::Durable(through)))
    }

    /// Whether the operation with this id was to make a file: nothing is there yet that would have to be undone.
    fn finds_no_space(&mut self, id: DiskOpId) -> bool {
        let spare = self.spare.take_if(|spare| spare.is_new && spare.id == id);
        if spare.is_some() && !core::mem::replace(&mut self.nameless_gone, true) {
            self.let_go_of_nameless_segments();
        }
        spare.is_some() || self.snapshots.finds_no_space(id) || self.archive.finds_no_space(id)
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
        let (mut records, mut nameless) = (Vec::new(), Vec::new());
        for rotten in found {
            match rotten {
                Rotten::Manifest => self.pending.rewrites = 2,
                Rotten::Snapshot(group) => {
                    self.snapshots.mark_rotten(group);
                }
                Rotten::Chunk(group, name) => self.archive.mark_rotten(group, name),
                Rotten::Flush { generation, from, lost } => {
                    self.journal.mark_rotten(generation, |flush| flush.from == from);
                    records.extend(lost);
                }
                Rotten::Nameless { generation, from, ordinals } => {
                    self.journal.mark_rotten(generation, |flush| flush.from == from);
                    nameless.push(ordinals);
                }
            }
        }
        let is_anything = !records.is_empty() || !nameless.is_empty();
        is_anything.then_some(EngineEvent::Rotten { records, nameless })
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
        self.archives_installed(&changes, marks);
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

    /// Lets peers know of this start, once that is durable.
    pub(in crate::engine) fn announce(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        self.pending.announces = !self.installing.announces && !self.manifest.body().boots.is_announced();
        self.write_manifest(ids, out)
    }

    /// Writes down that a peer has disowned this disk.
    pub(in crate::engine) fn disown(
        &mut self,
        amnesia: Amnesia,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        self.pending.amnesia = Some(amnesia);
        self.write_manifest(ids, out)
    }

    /// Takes note of what a peer says of its disk. Another start is written at once, how far it goes now and then, or with
    /// whatever else there is to write.
    pub(in crate::engine) fn witness(
        &mut self,
        now: Monotonic,
        (peer, witnessed): (NodeId, Witnessed),
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        self.witnessed.insert(peer, witnessed);
        let noted = self.manifest.body().witnessed(peer);
        let is_late = now.since(self.witnessed_written_at) >= WITNESSED_WRITTEN_EVERY;
        let is_news = noted.boot != witnessed.boot || (is_late && noted.flush != witnessed.flush);
        // What comes while another version is being written is said again.
        if is_news && !self.installing.witnessed {
            self.witnessed_written_at = now;
            self.pending.witnessed = true;
        }
        self.write_manifest(ids, out)
    }

    /// The manifest need not hold what is known of other peers any more.
    pub(in crate::engine) fn keep_witnessed(&mut self, is_kept: impl Fn(NodeId) -> bool) {
        self.witnessed.retain(|peer, _| is_kept(*peer));
    }

    fn write_manifest(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.manifest.is_writing() {
            out.marks.hit(Mark::ManifestBusy);
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
        body.witnessed = self.witnessed.iter().map(|(node, witnessed)| (*node, *witnessed)).collect();
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

//! Snapshots on disk: each is a file of its own, visible once the manifest names it.
//!
//! ```text
//! its own      file made -> chunks, barrier -> the manifest names it -> in force; the one before goes
//! of a peer    the manifest names the file as coming -> file made -> chunks as they come, barrier -> in force
//! to a peer    a chunk is read, verified and handed out; a file that is being fetched outlives its being replaced
//! ```

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome};
use crate::engine::incoming_snapshot::IncomingSnapshot;
use crate::engine::saving_snapshot::SavingSnapshot;
use crate::engine::snapshot_body::SnapshotBody;
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::engine::{EngineEvent, SnapshotChunk};
use crate::types::{Blob, GroupId, Mark, Marks, Monotonic, Nanos, NodeId};

/// What happens to snapshots, beside what the manifest says of them.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct SnapshotStore {
    saving: Option<SavingSnapshot>,
    incoming: Option<IncomingSnapshot>,
    /// Chunks that are being read for peers.
    reads: Vec<ChunkRead>,
    /// The snapshot in force that a peer asked for last, and when.
    fetched: Option<Fetched>,
    /// One that was, when another came to be in force.
    lent: Option<Fetched>,
    /// Groups whose snapshot in force rotted, and which want another one.
    rotten: BTreeSet<GroupId>,
}

#[derive(Clone, Copy, Debug)]
struct Fetched {
    meta: SnapshotMeta,
    asked_at: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct ChunkRead {
    id: DiskOpId,
    to: NodeId,
    meta: SnapshotMeta,
    index: u32,
    /// It was read before, and was not as it was written.
    again: bool,
}

/// What a completion meant to the snapshots.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::engine) enum SnapshotEvent {
    NotMine,
    Step,
    /// One of this node's own is durable: the manifest can name it.
    Saved(SnapshotMeta),
}

/// Chunks that are read for peers at once; what is asked for beyond that is asked for again.
const READS_MAX: usize = 8;
/// A snapshot that nobody has asked for any more for so long is not being fetched.
const FETCHED_FOR: Nanos = Nanos::from_secs(5);

impl SnapshotStore {
    /// What a start begins with: a snapshot that was coming, and the groups whose snapshot is lost.
    pub(in crate::engine) fn opened(incoming: Option<IncomingSnapshot>, rotten: BTreeSet<GroupId>) -> Self {
        Self { incoming, rotten, ..Self::default() }
    }

    /// Whether `slot` has a file that the manifest may not name.
    pub(in crate::engine) fn uses(&self, slot: u32) -> bool {
        let saving = self.saving.iter().map(SavingSnapshot::meta);
        let incoming = self.incoming.iter().map(IncomingSnapshot::meta);
        let lent = self.lent.iter().map(|lent| &lent.meta);
        saving.chain(incoming).chain(lent).any(|meta| meta.slot == slot)
    }

    pub(in crate::engine) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    pub(in crate::engine) fn save(
        &mut self,
        meta: SnapshotMeta,
        body: SnapshotBody,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        self.saving = Some(SavingSnapshot::start(meta, body, id, out));
    }

    pub(in crate::engine) fn incoming(&self) -> Option<&IncomingSnapshot> {
        self.incoming.as_ref()
    }

    pub(in crate::engine) fn incoming_mut(&mut self) -> Option<&mut IncomingSnapshot> {
        self.incoming.as_mut()
    }

    pub(in crate::engine) fn set_incoming(&mut self, incoming: IncomingSnapshot) {
        self.incoming = Some(incoming);
    }

    /// The incoming one is over.
    pub(in crate::engine) fn drop_incoming(&mut self) {
        self.incoming = None;
    }

    /// `meta` is in force: all of it, if it is the one that came from a peer.
    pub(in crate::engine) fn take_received(&mut self, meta: &SnapshotMeta) -> Option<Bytes> {
        let received = self.incoming.take_if(|incoming| incoming.meta() == meta)?;
        received.whole().cloned()
    }

    pub(in crate::engine) fn rotten(&self) -> &BTreeSet<GroupId> {
        &self.rotten
    }

    pub(in crate::engine) fn mark_rotten(&mut self, group: GroupId) {
        self.rotten.insert(group);
    }

    /// The snapshot of `group` that is in force now was written after anything rotted.
    pub(in crate::engine) fn renewed(&mut self, group: GroupId) {
        self.rotten.remove(&group);
    }

    /// Whether this one is in force no more, but kept for a peer that fetches it.
    pub(in crate::engine) fn lends(&self, group: GroupId, name: &SnapshotName) -> bool {
        self.lent.is_some_and(|lent| lent.meta.group == group && lent.meta.name == *name)
    }

    /// Reads a chunk for a peer, of one of the snapshots in force or of the one lent.
    pub(in crate::engine) fn read_for(
        &mut self,
        (now, to): (Monotonic, NodeId),
        in_force: &[SnapshotMeta],
        (group, name, index): (GroupId, SnapshotName, u32),
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if index >= name.chunks() || self.reads.len() >= READS_MAX {
            return;
        }
        let named = |meta: &&SnapshotMeta| meta.group == group && meta.name == name;
        let asked = |meta| Fetched { meta, asked_at: now };
        let meta = if let Some(meta) = in_force.iter().find(named).copied() {
            self.fetched = Some(asked(meta));
            meta
        } else if let Some(lent) = self.lent.as_mut().filter(|lent| named(&&lent.meta)) {
            *lent = asked(lent.meta);
            lent.meta
        } else {
            return;
        };
        self.read(ChunkRead { id, to, meta, index, again: false }, out);
    }

    fn read(&mut self, read: ChunkRead, out: &mut DiskOut<'_, impl Marks>) {
        let ChunkRead { id, meta, index, .. } = read;
        let (offset, bytes) = (meta.name.offset(index), meta.name.length(index));
        out.push(DiskOp::Read { id, file: meta.file(), offset, bytes });
        self.reads.push(read);
    }

    /// `meta` is in force no more: the snapshot whose file can go now. While `meta` is being fetched that is another one.
    pub(in crate::engine) fn replaced(&mut self, meta: SnapshotMeta) -> Option<SnapshotMeta> {
        match self.fetched.take_if(|fetched| fetched.meta == meta) {
            Some(fetched) => self.lent.replace(fetched).map(|before| before.meta),
            None => Some(meta),
        }
    }

    /// The snapshot that was lent, once nobody fetches it any more, or at once.
    pub(in crate::engine) fn take_back(&mut self, now: Monotonic, at_once: bool) -> Option<SnapshotMeta> {
        let lent = self.lent.take_if(|lent| at_once || now.since(lent.asked_at) >= FETCHED_FOR);
        lent.map(|lent| lent.meta)
    }

    /// Takes a completion.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> SnapshotEvent {
        if let Some(incoming) = &mut self.incoming
            && incoming.on_done(done)
        {
            return SnapshotEvent::Step;
        }
        if let Some(saving) = &mut self.saving
            && let Some(meta) = saving.on_done(done, ids, out)
        {
            self.saving = None;
            return SnapshotEvent::Saved(meta);
        }
        SnapshotEvent::NotMine
    }

    /// Takes the completion of a read, which may have failed: `None` when it is somebody else's, else the chunk for a peer, once
    /// it is as it was written.
    pub(in crate::engine) fn on_read(
        &mut self,
        done: &DiskDone,
        in_force: &[SnapshotMeta],
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<Option<EngineEvent>> {
        let at = self.reads.iter().position(|read| read.id == done.id)?;
        let read @ ChunkRead { to, meta, index, again, .. } = self.reads.swap_remove(at);
        let SnapshotMeta { group, name, .. } = meta;
        match &done.outcome {
            DiskOutcome::Read(Blob(bytes)) if name.open(group, index, bytes).is_some() => {
                let chunk = SnapshotChunk { group, name, index, bytes: Blob(bytes.clone()) };
                return Some(Some(EngineEvent::ChunkRead { to, chunk }));
            }
            _ if !again => self.read(ChunkRead { id: ids(), again: true, ..read }, out),
            _ if in_force.contains(&meta) => {
                out.marks.hit(Mark::RottenFoundByFetch);
                self.mark_rotten(group);
            }
            _ => {}
        }
        Some(None)
    }

    /// An allocation found no space: whether it was for a snapshot, which is given up.
    pub(in crate::engine) fn finds_no_space(&mut self, id: DiskOpId) -> bool {
        let saving = self.saving.take_if(|saving| saving.is_making_its_file(id));
        let is_incoming = self.incoming.as_ref().is_some_and(|incoming| incoming.is_making_its_file(id));
        if is_incoming && let Some(incoming) = &mut self.incoming {
            incoming.no_space();
        }
        saving.is_some() || is_incoming
    }
}

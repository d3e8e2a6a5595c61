//! Snapshots that come from a peer: chunk by chunk into a file, and then in force like one of this node's own.

use alloc::vec::Vec;

use super::Running;
use crate::engine::SnapshotChunk;
use crate::engine::disk::{DiskOpId, DiskOut};
use crate::engine::incoming_snapshot::IncomingSnapshot;
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::types::{GroupId, Marks};

impl Running {
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
    pub(super) fn see_to_incoming(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
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
}

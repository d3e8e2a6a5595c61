//! Snapshots on disk: each is a file of its own, visible once the manifest names it.
//!
//! ```text
//! allocate -> writes, barrier -> manifest names it -> in force; the file of the one before is free
//! ```

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, FileId};
use crate::types::{Blob, GroupId, Hash, Marks, Op, u64_of};

/// One write carries at most this much of a snapshot, so that it does not hold up the journal for long.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// A snapshot as the manifest names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct SnapshotMeta {
    pub group: GroupId,
    /// What the snapshot holds was applied up to here.
    pub op: Op,
    /// The file.
    pub slot: u32,
    /// Its length without padding.
    pub bytes: u64,
    /// Blake3 of these bytes.
    pub hash: Hash,
}

impl SnapshotMeta {
    /// Length of the file.
    pub(in crate::engine) fn file_bytes(&self) -> u64 {
        self.bytes.next_multiple_of(u64_of(BLOCK_BYTES)).max(u64_of(BLOCK_BYTES))
    }
}

/// A snapshot on its way to the disk; one at a time.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SavingSnapshot {
    meta: SnapshotMeta,
    body: Bytes,
    awaited: DiskOpId,
    written: bool,
}

impl SavingSnapshot {
    pub(in crate::engine) fn start(
        meta: SnapshotMeta,
        body: Bytes,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let file = FileId::Snapshot(meta.slot);
        out.push(DiskOp::Allocate { id, file, bytes: meta.file_bytes() });
        Self { meta, body, awaited: id, written: false }
    }

    /// Whether the file is still being made, by the operation with this id.
    pub(in crate::engine) fn is_making_its_file(&self, id: DiskOpId) -> bool {
        !self.written && id == self.awaited
    }

    /// Takes a completion; the meta once all of it is durable.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<SnapshotMeta> {
        if done.id != self.awaited {
            return None;
        }
        if self.written {
            return Some(self.meta);
        }
        let file = FileId::Snapshot(self.meta.slot);
        for (index, piece) in self.body.chunks(WRITE_BYTES_MAX).enumerate() {
            let mut data = piece.to_vec();
            data.resize(data.len().next_multiple_of(BLOCK_BYTES), 0);
            let offset = u64_of(index * WRITE_BYTES_MAX);
            out.push(DiskOp::Write { id: ids(), file, offset, data: Blob::from(data) });
        }
        self.awaited = ids();
        self.written = true;
        out.push(DiskOp::Barrier { id: self.awaited });
        None
    }
}

//! A snapshot of this node's own on its way to the disk.

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut};
use crate::engine::snapshot_body::SnapshotBody;
use crate::engine::snapshot_file::SnapshotMeta;
use crate::types::{Marks, usize_of};

/// One at a time. Its chunks go to the disk one by one, so that they do not hold up the journal.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SavingSnapshot {
    meta: SnapshotMeta,
    body: SnapshotBody,
    awaited: DiskOpId,
    step: Step,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Making,
    /// The chunk with this index is on its way.
    Writing(u32),
    Barrier,
}

impl SavingSnapshot {
    pub(in crate::engine) fn start(
        meta: SnapshotMeta,
        body: SnapshotBody,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        out.push(DiskOp::Allocate { id, file: meta.file(), bytes: meta.name.file_bytes() });
        Self { meta, body, awaited: id, step: Step::Making }
    }

    pub(in crate::engine) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Whether the file is still being made, by the operation with this id.
    pub(in crate::engine) fn is_making_its_file(&self, id: DiskOpId) -> bool {
        self.step == Step::Making && id == self.awaited
    }

    /// Takes a completion; the meta once all of it is durable.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<SnapshotMeta> {
        if done.id != self.awaited {
            return None;
        }
        let next = match self.step {
            Step::Making => 0,
            Step::Writing(index) => index + 1,
            Step::Barrier => return Some(self.meta),
        };
        self.awaited = ids();
        let SnapshotMeta { group, name, .. } = self.meta;
        if next < name.chunks() {
            self.step = Step::Writing(next);
            let (id, file, offset) = (self.awaited, self.meta.file(), name.offset(next));
            let payload = self.body.payload(usize_of(u64::from(next)));
            out.push(DiskOp::Write { id, file, offset, data: name.seal(group, next, payload) });
        } else {
            self.step = Step::Barrier;
            out.push(DiskOp::Barrier { id: self.awaited });
        }
        None
    }
}

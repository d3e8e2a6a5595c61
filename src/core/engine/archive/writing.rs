//! A chunk on its way to the disk, a few pieces at a time, so that it does not hold up the journal.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{ArchiveMeta, ChunkName, archive_file};
use crate::engine::disk::{DiskOp, DiskOpId, DiskOut};
use crate::types::{Blob, GroupId, Marks, u64_of};

#[derive(Clone, Debug)]
pub(super) struct WritingChunk {
    pub group: GroupId,
    pub name: ChunkName,
    /// What the manifest is to say then; nothing new when what rotted is written over.
    pub meta: Option<ArchiveMeta>,
    file: Bytes,
    /// So much is written, or on its way.
    to: usize,
    awaited: Vec<DiskOpId>,
    step: Step,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Making,
    Writing,
    Barrier,
}

/// Pieces on their way at once.
const PIECES_MAX: usize = 2;

impl WritingChunk {
    pub(super) fn start(
        group: GroupId,
        name: ChunkName,
        file: Bytes,
        meta: Option<ArchiveMeta>,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        out.push(DiskOp::Allocate { id, file: archive_file(group, name.number), bytes: name.bytes });
        Self { group, name, meta, file, to: 0, awaited: Vec::from([id]), step: Step::Making }
    }

    pub(super) fn awaits(&self, id: DiskOpId) -> bool {
        self.awaited.contains(&id)
    }

    /// Whether the file is still being made, by the operation with this id.
    pub(super) fn is_making_its_file(&self, id: DiskOpId) -> bool {
        self.step == Step::Making && self.awaits(id)
    }

    /// This one of what was awaited is done; whether all of the chunk is durable.
    pub(super) fn on_done(
        &mut self,
        id: DiskOpId,
        piece_bytes: usize,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        self.awaited.retain(|awaited| *awaited != id);
        if self.step == Step::Barrier {
            return true;
        }
        self.step = Step::Writing;
        while self.awaited.len() < PIECES_MAX && self.to < self.file.len() {
            let (id, offset) = (ids(), u64_of(self.to));
            let to = (self.to + piece_bytes).min(self.file.len());
            let data = Blob(self.file.slice(self.to..to));
            out.push(DiskOp::Write { id, file: archive_file(self.group, self.name.number), offset, data });
            self.awaited.push(id);
            self.to = to;
        }
        if self.awaited.is_empty() {
            self.step = Step::Barrier;
            let id = ids();
            out.push(DiskOp::Barrier { id });
            self.awaited.push(id);
        }
        false
    }
}

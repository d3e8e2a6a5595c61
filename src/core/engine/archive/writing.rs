//! A chunk on its way to the disk, piece by piece, so that it does not hold up the journal.

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
    awaited: DiskOpId,
    step: Step,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Making,
    /// So much is written, or on its way.
    Writing(usize),
    Barrier,
}

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
        Self { group, name, meta, file, awaited: id, step: Step::Making }
    }

    pub(super) fn awaits(&self, id: DiskOpId) -> bool {
        self.awaited == id
    }

    /// Whether the file is still being made, by the operation with this id.
    pub(super) fn is_making_its_file(&self, id: DiskOpId) -> bool {
        self.step == Step::Making && id == self.awaited
    }

    /// What was awaited is done; whether all of the chunk is durable.
    pub(super) fn on_done(
        &mut self,
        piece_bytes: usize,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let from = match self.step {
            Step::Making => 0,
            Step::Writing(to) => to,
            Step::Barrier => return true,
        };
        self.awaited = ids();
        let id = self.awaited;
        if from < self.file.len() {
            let to = (from + piece_bytes).min(self.file.len());
            self.step = Step::Writing(to);
            let (file, data) = (archive_file(self.group, self.name.number), self.file.slice(from..to));
            out.push(DiskOp::Write { id, file, offset: u64_of(from), data: Blob(data) });
        } else {
            self.step = Step::Barrier;
            out.push(DiskOp::Barrier { id });
        }
        false
    }
}

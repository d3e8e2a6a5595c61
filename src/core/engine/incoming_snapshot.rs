//! A snapshot of a peer on its way to this disk, chunk by chunk.
//!
//! ```text
//! the manifest names the file -> the file is made -> chunks as they come -> barrier -> the manifest puts it in force
//! ```
//!
//! A start finds the file by the manifest, and in it the chunks that are there: they need not come again.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut};
use crate::engine::snapshot_file::SnapshotMeta;
use crate::types::{Blob, Mark, Marks, u64_of, usize_of};

/// One at a time.
#[derive(Clone, Debug)]
pub(in crate::engine) struct IncomingSnapshot {
    meta: SnapshotMeta,
    /// The payloads of the chunks that are here.
    payloads: Vec<Option<Bytes>>,
    /// Chunks that are here, and not on their way to the disk yet.
    unwritten: VecDeque<(u32, Blob)>,
    step: Step,
    /// Nobody wants it any more.
    is_forsaken: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// The manifest does not name the file yet.
    Naming,
    Making(DiskOpId),
    /// Nothing is on its way.
    Idle,
    Writing(DiskOpId),
    Barrier(DiskOpId),
    /// All of it is durable, and this is it.
    Whole(Bytes),
    /// What the peer sent is not the snapshot that it named, or nobody wants it, and nothing is on its way.
    Over,
}

impl IncomingSnapshot {
    /// One of which nothing is here; the manifest is to name it.
    pub(in crate::engine) fn new(meta: SnapshotMeta) -> Self {
        let payloads = vec![None; usize_of(u64::from(meta.name.chunks()))];
        Self { meta, payloads, unwritten: VecDeque::new(), step: Step::Naming, is_forsaken: false }
    }

    /// One that the manifest named before the start; `payloads` are those of the chunks that its file holds, none when the
    /// file is not there as long as it should be: it is made again then.
    pub(in crate::engine) fn resumed(
        meta: SnapshotMeta,
        payloads: Option<Vec<Option<Bytes>>>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let mut resumed = Self::new(meta);
        match payloads {
            Some(payloads) => {
                if payloads.iter().any(Option::is_some) {
                    out.marks.hit(Mark::TransferResumed);
                }
                (resumed.payloads, resumed.step) = (payloads, Step::Idle);
            }
            None => resumed.make_file(ids(), out),
        }
        resumed
    }

    pub(in crate::engine) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    pub(in crate::engine) fn is_forsaken(&self) -> bool {
        self.is_forsaken
    }

    /// The manifest names it: the file can be made.
    pub(in crate::engine) fn named(&mut self, id: DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
        if matches!(self.step, Step::Naming) {
            self.make_file(id, out);
        }
    }

    fn make_file(&mut self, id: DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
        out.push(DiskOp::Allocate { id, file: self.meta.file(), bytes: self.meta.name.file_bytes() });
        self.step = Step::Making(id);
    }

    /// Whether the file is still being made, by the operation with this id.
    pub(in crate::engine) fn is_making_its_file(&self, done: DiskOpId) -> bool {
        matches!(self.step, Step::Making(id) if id == done)
    }

    /// Indexes of the first chunks that are not here, `most` at most.
    pub(in crate::engine) fn wanted(&self, most: usize) -> Vec<u32> {
        let missing = (0_u32..).zip(&self.payloads).filter(|(_, payload)| payload.is_none());
        missing.map(|(index, _)| index).take(most).collect()
    }

    /// Takes a chunk; whether it was one that was wanted.
    pub(in crate::engine) fn take(&mut self, index: u32, chunk: Blob) -> bool {
        let length = u64_of(chunk.as_slice().len());
        let SnapshotMeta { group, name, .. } = self.meta;
        let Some(slot) = self.payloads.get_mut(usize_of(u64::from(index))) else { return false };
        if slot.is_some() || length != u64::from(name.length(index)) {
            return false;
        }
        *slot = name.open(group, index, &chunk.0);
        let is_taken = slot.is_some();
        if is_taken {
            self.unwritten.push_back((index, chunk));
        }
        is_taken
    }

    /// Nobody wants it any more: it is over once nothing is on its way.
    pub(in crate::engine) fn forsake(&mut self) {
        self.is_forsaken = true;
        self.unwritten.clear();
        if matches!(self.step, Step::Naming | Step::Idle | Step::Whole(_)) {
            self.step = Step::Over;
        }
    }

    /// There is no space for its file.
    pub(in crate::engine) fn no_space(&mut self) {
        self.step = Step::Over;
    }

    /// Takes a completion; whether it was for this.
    pub(in crate::engine) fn on_done(&mut self, done: &DiskDone) -> bool {
        match self.step {
            Step::Making(id) | Step::Writing(id) if id == done.id => self.step = Step::Idle,
            Step::Barrier(id) if id == done.id => {
                let payloads = self.payloads.iter().flatten().cloned().collect();
                let body = self.meta.name.join(payloads);
                self.step = body.map_or(Step::Over, Step::Whole);
            }
            _ => return false,
        }
        if self.is_forsaken {
            self.step = Step::Over;
        }
        true
    }

    /// Writes the next chunk; once all of them are written, the barrier.
    pub(in crate::engine) fn go_on(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if !matches!(self.step, Step::Idle) {
            return;
        }
        if let Some((index, data)) = self.unwritten.pop_front() {
            let id = ids();
            let offset = self.meta.name.offset(index);
            out.push(DiskOp::Write { id, file: self.meta.file(), offset, data });
            self.step = Step::Writing(id);
        } else if self.payloads.iter().all(Option::is_some) {
            let id = ids();
            out.push(DiskOp::Barrier { id });
            self.step = Step::Barrier(id);
        }
    }

    /// All of it, once it is durable.
    pub(in crate::engine) fn whole(&self) -> Option<&Bytes> {
        match &self.step {
            Step::Whole(body) => Some(body),
            Step::Naming
            | Step::Making(_)
            | Step::Idle
            | Step::Writing(_)
            | Step::Barrier(_)
            | Step::Over => None,
        }
    }

    pub(in crate::engine) fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }
}

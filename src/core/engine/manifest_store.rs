//! Writes new versions of the manifest: one write, one barrier, read back. A read may lie, so that one which does not give
//! what was written is repeated; a write may be lost, so that it is repeated too: the other area holds the version in
//! force all the while.

use alloc::string::String;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::manifest::{AREA_BYTES, Manifest, ManifestBody};
use crate::types::{Blob, Mark, Marks};

/// The manifest in force, and the one being written.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ManifestStore {
    current: Manifest,
    writing: Option<Writing>,
}

#[derive(Clone, Debug)]
struct Writing {
    next: Manifest,
    area: Blob,
    barrier: DiskOpId,
    read_back: DiskOpId,
    /// Times that it may be read back once more, and be written once more.
    reads_left: u32,
    writes_left: u32,
}

/// Times that a version is read back at most before it is written again, and times that it is written.
const READS_MAX: u32 = 3;
const WRITES_MAX: u32 = 3;

/// What a completion meant to the manifest.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::engine) enum ManifestEvent {
    /// It was not the manifest's.
    NotMine,
    /// It was a step on the way.
    Step,
    /// The new version is in force.
    Installed,
}

impl ManifestStore {
    pub(in crate::engine) fn opened(current: Manifest) -> Self {
        Self { current, writing: None }
    }

    pub(in crate::engine) fn body(&self) -> &ManifestBody {
        &self.current.body
    }

    pub(in crate::engine) fn current(&self) -> &Manifest {
        &self.current
    }

    pub(in crate::engine) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Starts to write the next version. `ids` gives unused ids.
    ///
    /// # Errors
    /// When the body does not fit; a sentence for the operator.
    pub(in crate::engine) fn write(
        &mut self,
        body: ManifestBody,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), String> {
        assert!(self.writing.is_none(), "one version at a time");
        let next = Manifest { sequence: self.current.sequence + 1, body };
        let area = Blob::from(next.to_area()?);
        let (barrier, read_back) = (DiskOpId(0), DiskOpId(0));
        let mut writing = Writing { next, area, barrier, read_back, reads_left: 0, writes_left: WRITES_MAX };
        writing.write(&mut ids, out);
        self.writing = Some(writing);
        Ok(())
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// When what was read back is not what was written; a sentence for the operator.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<ManifestEvent, String> {
        let Some(writing) = &mut self.writing else { return Ok(ManifestEvent::NotMine) };
        if done.id == writing.barrier && done.outcome == DiskOutcome::Done {
            writing.read(ids, out);
            return Ok(ManifestEvent::Step);
        }
        if done.id != writing.read_back {
            return Ok(ManifestEvent::NotMine);
        }
        match &done.outcome {
            DiskOutcome::Read(found) if *found == writing.area => {
                self.current = writing.next.clone();
                self.writing = None;
                Ok(ManifestEvent::Installed)
            }
            _ if writing.reads_left > 0 => {
                out.marks.hit(Mark::ManifestReadAgain);
                writing.read(ids, out);
                Ok(ManifestEvent::Step)
            }
            _ if writing.writes_left > 0 => {
                out.marks.hit(Mark::ManifestWrittenAgain);
                writing.write(ids, out);
                Ok(ManifestEvent::Step)
            }
            _ => Err(String::from("the manifest read back is not the one written")),
        }
    }
}

impl Writing {
    fn write(&mut self, ids: &mut impl FnMut() -> DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
        self.writes_left -= 1;
        self.reads_left = READS_MAX;
        let (id, file, offset) = (ids(), FileId::Manifest, self.next.offset());
        self.barrier = ids();
        out.push(DiskOp::Write { id, file, offset, data: self.area.clone() });
        out.push(DiskOp::Barrier { id: self.barrier });
    }

    fn read(&mut self, ids: &mut impl FnMut() -> DiskOpId, out: &mut DiskOut<'_, impl Marks>) {
        self.reads_left -= 1;
        self.read_back = ids();
        let bytes = u32::try_from(AREA_BYTES).unwrap_or(u32::MAX);
        let (id, file, offset) = (self.read_back, FileId::Manifest, self.next.offset());
        out.push(DiskOp::Read { id, file, offset, bytes });
    }
}

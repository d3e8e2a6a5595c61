//! Writes new versions of the manifest: one write, one barrier, read back.

use alloc::string::String;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::manifest::{AREA_BYTES, Manifest, ManifestBody};
use crate::types::{Blob, Marks};

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
}

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
        let (file, offset) = (FileId::Manifest, next.offset());
        let (write, barrier, read_back) = (ids(), ids(), ids());
        out.push(DiskOp::Write { id: write, file, offset, data: area.clone() });
        out.push(DiskOp::Barrier { id: barrier });
        self.writing = Some(Writing { next, area, barrier, read_back });
        Ok(())
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// When what was read back is not what was written; a sentence for the operator.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<ManifestEvent, String> {
        let Some(writing) = &self.writing else { return Ok(ManifestEvent::NotMine) };
        if done.id == writing.barrier {
            let bytes = u32::try_from(AREA_BYTES).unwrap_or(u32::MAX);
            let (file, offset) = (FileId::Manifest, writing.next.offset());
            out.push(DiskOp::Read { id: writing.read_back, file, offset, bytes });
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
            _ => Err(String::from("the manifest read back is not the one written")),
        }
    }
}

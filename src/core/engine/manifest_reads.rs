//! Reads the manifest at a start: each of its copies alone and twice, so that one that cannot be read hides no other, and
//! so that no single read that lies decides which version is in force.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::manifest::{COPY_BYTES, FILE_BYTES, Manifest};
use crate::types::{ClusterId, Marks, NodeId, u64_of};

/// What is on its way, and what has come in.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ManifestReads {
    /// Reads on their way, and the place of the file that each asks for.
    asked: Vec<(DiskOpId, usize)>,
    places: Vec<Vec<Bytes>>,
    is_missing: bool,
}

impl ManifestReads {
    pub(in crate::engine) fn ask(
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let mut asked = Vec::new();
        let bytes = u32::try_from(COPY_BYTES).unwrap_or(u32::MAX);
        for _ in 0..READS_EACH {
            for place in 0..PLACES {
                let id = ids();
                let offset = u64_of(place * COPY_BYTES);
                out.push(DiskOp::Read { id, file: FileId::Manifest, offset, bytes });
                asked.push((id, place));
            }
        }
        Self { asked, places: vec![Vec::new(); PLACES], is_missing: false }
    }

    /// Takes a completion; whether all have come in.
    pub(in crate::engine) fn take(&mut self, done: DiskDone) -> bool {
        if let Some(index) = self.asked.iter().position(|(id, _)| *id == done.id) {
            let (_, place) = self.asked.swap_remove(index);
            match done.outcome {
                DiskOutcome::Read(bytes) => self.places[place].push(bytes.0),
                DiskOutcome::Missing => self.is_missing = true,
                DiskOutcome::Done | DiskOutcome::Full | DiskOutcome::Failed => {}
            }
        }
        self.asked.is_empty()
    }

    /// The manifest in force, if it is the one of this node.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(in crate::engine) fn open(
        &self,
        (cluster, node): (ClusterId, NodeId),
        marks: &mut impl Marks,
    ) -> Result<Manifest, String> {
        if self.is_missing {
            return Err(
                "it has no manifest: it was never formatted, or it was wiped; a wiped node comes back under \
                        a new id"
                    .to_string(),
            );
        }
        let manifest = Manifest::open(&self.places, marks)?;
        let owner = &manifest.body.identity;
        if owner.cluster != cluster {
            return Err(format!(
                "it belongs to cluster {:032x}, not to {:032x}",
                owner.cluster.get(),
                cluster.get()
            ));
        }
        if owner.node != node {
            return Err(format!("it belongs to node {}, not to {node}", owner.node));
        }
        Ok(manifest)
    }
}

/// Copies in the file.
const PLACES: usize = FILE_BYTES / COPY_BYTES;
/// Times that each is read.
const READS_EACH: usize = 2;

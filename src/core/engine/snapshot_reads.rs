//! Reads snapshots at a start, chunk by chunk: those in force, and what there is of one that was coming from a peer.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome};
use crate::engine::identity::Identity;
use crate::engine::manifest::ManifestBody;
use crate::engine::snapshot_file::SnapshotMeta;
use crate::types::{Blob, GroupId, Mark, Marks, Op, u64_of};

/// What was found of snapshots.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct FoundSnapshots {
    /// Those in force.
    pub bodies: BTreeMap<GroupId, Bytes>,
    /// Those in force that are not as they were written: up to where they covered their groups.
    pub lost: BTreeMap<GroupId, Op>,
    /// The payloads of the chunks that are there of the one that was coming; none when its file is not there whole.
    pub incoming: Option<Vec<Option<Bytes>>>,
}

/// The reads, one after the other.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SnapshotReads {
    id: DiskOpId,
    /// Those that are to be read still, last one first.
    left: Vec<Sought>,
    /// What is here of the one that is being read.
    payloads: Vec<Option<Bytes>>,
    /// Times that the present chunk was read and was not as it was written.
    failures: u32,
    found: FoundSnapshots,
}

#[derive(Clone, Copy, Debug)]
enum Sought {
    InForce(SnapshotMeta),
    Incoming(SnapshotMeta),
}

/// Times that a chunk is read at most: a read may lie.
const READS_MAX: u32 = 3;

impl SnapshotReads {
    pub(in crate::engine) fn new(body: &ManifestBody) -> Self {
        let incoming = body.incoming.iter().copied().map(Sought::Incoming);
        let in_force = body.snapshots.iter().rev().copied().map(Sought::InForce);
        let (id, found) = (DiskOpId::default(), FoundSnapshots::default());
        Self { id, left: incoming.chain(in_force).collect(), payloads: Vec::new(), failures: 0, found }
    }

    /// Asks for the next chunk; what was found, when nothing is left.
    pub(in crate::engine) fn next(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<FoundSnapshots> {
        let Some(Sought::InForce(meta) | Sought::Incoming(meta)) = self.left.last() else {
            return Some(core::mem::take(&mut self.found));
        };
        self.id = ids();
        let (file, offset) = (meta.file(), meta.name.offset(self.chunk()));
        out.push(DiskOp::Read { id: self.id, file, offset, bytes: meta.name.length(self.chunk()) });
        None
    }

    fn chunk(&self) -> u32 {
        u32::try_from(self.payloads.len()).unwrap_or(u32::MAX)
    }

    /// Takes a completion; whether it was one of these reads.
    ///
    /// # Errors
    /// When a snapshot is lost that nobody else has; a sentence for the operator.
    pub(in crate::engine) fn take(
        &mut self,
        done: &DiskDone,
        identity: &Identity,
        marks: &mut impl Marks,
    ) -> Result<bool, String> {
        let Some(sought) = self.left.last().copied().filter(|_| done.id == self.id) else { return Ok(false) };
        let (Sought::InForce(meta) | Sought::Incoming(meta)) = sought;
        let (SnapshotMeta { group, name, .. }, index) = (meta, self.chunk());
        let length = u64::from(name.length(index));
        let read = match &done.outcome {
            DiskOutcome::Read(Blob(bytes)) if u64_of(bytes.len()) == length => Some(bytes),
            DiskOutcome::Read(_)
            | DiskOutcome::Done
            | DiskOutcome::Missing
            | DiskOutcome::Full
            | DiskOutcome::Failed => None,
        };
        let payload = read.and_then(|bytes| name.open(group, index, bytes));
        match sought {
            Sought::InForce(_) if payload.is_some() => {
                self.payloads.push(payload);
                self.failures = 0;
                if self.chunk() == name.chunks() {
                    let payloads = self.over().into_iter().flatten().collect();
                    match name.join(payloads) {
                        Some(body) => drop(self.found.bodies.insert(group, body)),
                        None => self.lose(&meta, "its checksum is wrong", identity, marks)?,
                    }
                }
            }
            Sought::InForce(_) => {
                marks.hit(Mark::SnapshotReadAgain);
                self.failures += 1;
                if self.failures == READS_MAX {
                    let why = match &done.outcome {
                        DiskOutcome::Read(_) => "its checksum is wrong".to_string(),
                        other => other.to_string(),
                    };
                    self.over();
                    self.lose(&meta, &why, identity, marks)?;
                }
            }
            // Its file was not made yet.
            Sought::Incoming(_) if read.is_none() => drop(self.over()),
            Sought::Incoming(_) => {
                self.payloads.push(payload);
                if self.chunk() == name.chunks() {
                    self.found.incoming = Some(self.over());
                }
            }
        }
        Ok(true)
    }

    /// The present one is read, as far as it can be.
    fn over(&mut self) -> Vec<Option<Bytes>> {
        self.left.pop();
        self.failures = 0;
        core::mem::take(&mut self.payloads)
    }

    /// A snapshot in force cannot be read: it can come from a peer, if there is one.
    fn lose(
        &mut self,
        meta: &SnapshotMeta,
        why: &str,
        identity: &Identity,
        marks: &mut impl Marks,
    ) -> Result<(), String> {
        let alone = identity.groups.iter().any(|init| init.group == meta.group && init.voters.len() == 1);
        if alone {
            return Err(format!("snapshot {} of group {}: {why}", meta.slot, meta.group));
        }
        marks.hit(Mark::SnapshotLost);
        self.found.lost.insert(meta.group, meta.name.op);
        Ok(())
    }
}

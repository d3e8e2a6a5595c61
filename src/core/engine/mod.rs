//! The durable engine: one short journal a node, and a manifest. Emits [`DiskOp`], takes [`DiskDone`].
//!
//! ```text
//! start   barrier -> manifest -> segments, oldest first -> fresh segment -> new manifest -> Opened
//! then    records staged with the LogWriter -> flush: one write, one barrier -> Durable
//! ```
//!
//! * Nothing that was acknowledged is ever voted away by this room: what recovery cannot read and may have been
//!   acknowledged stops the node, by name.
//! * Before the node says its first word, the manifest records where the old tail ended; nothing behind it is read
//!   again. The node goes on in a fresh segment.
//! * One flush carries whatever all groups have staged. A failed write or barrier stops the node: what is durable is
//!   unknown from there on, and it is never retried.

mod disk;
mod flush;
mod identity;
mod journal;
mod log_reader;
mod log_writer;
mod manifest;
mod manifest_store;
mod opening;
mod record;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, VirtualDisk};
pub use identity::{EngineConfig, FormatError, Identity, format};
use journal::Journal;
pub use log_reader::RecoveredLog;
pub use log_writer::LogWriter;
use manifest::SegmentMeta;
use manifest_store::{ManifestEvent, ManifestStore};
use opening::{Opening, free_slot};
pub use record::Record;

use crate::types::{ClusterId, GroupId, Incarnation, Monotonic, NodeId, Ordinal};

/// The engine of a node.
#[derive(Clone, Debug)]
pub struct Engine {
    config: EngineConfig,
    ids: u64,
    phase: EnginePhase,
}

#[derive(Clone, Debug)]
enum EnginePhase {
    Opening(Opening),
    Running(Running),
    Halted,
}

/// The parts of a running engine.
#[derive(Clone, Debug)]
struct Running {
    manifest: ManifestStore,
    journal: Journal,
    writer: LogWriter,
    spare: SparePhase,
}

/// A spare segment in the making: the file first, then its name in the manifest.
#[derive(Clone, Copy, Debug)]
enum SparePhase {
    None,
    Allocating(DiskOpId, SegmentMeta),
    Naming(SegmentMeta),
}

/// What a completion led to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EngineEvent {
    /// The disk was read; from here on records can be staged.
    Opened(Opened),
    /// Every record up to this ordinal is durable.
    Durable(Ordinal),
}

/// What the disk held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Whose it is.
    pub identity: Identity,
    /// Which start this is, from 1.
    pub incarnation: Incarnation,
    /// What the journal held, for each group that it held anything of.
    pub logs: BTreeMap<GroupId, RecoveredLog>,
}

/// Why the engine cannot go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// A write or a barrier failed.
    #[error("disk: {0}")]
    Disk(String),
    /// The directory cannot be used as it is.
    #[error("data directory: {0}")]
    Storage(String),
}

impl Engine {
    /// An engine that has not read anything yet.
    pub fn new(config: EngineConfig) -> Self {
        Self { config, ids: 0, phase: EnginePhase::Opening(Opening::new(config)) }
    }

    /// Begins to read the disk, which must hold the data of this node.
    pub fn start(&mut self, cluster: ClusterId, node: NodeId, out: &mut Vec<DiskOp>) {
        if let EnginePhase::Opening(opening) = &mut self.phase {
            opening.start(cluster, node, || next_id(&mut self.ids), out);
        }
    }

    /// Where records are staged; `None` until the disk was read.
    pub fn writer(&mut self) -> Option<&mut LogWriter> {
        match &mut self.phase {
            EnginePhase::Running(running) => Some(&mut running.writer),
            EnginePhase::Opening(_) | EnginePhase::Halted => None,
        }
    }

    /// Whether a flush could start at once.
    pub fn wants_flush(&self) -> bool {
        match &self.phase {
            EnginePhase::Running(running) => running.journal.wants_flush(&running.writer),
            EnginePhase::Opening(_) | EnginePhase::Halted => false,
        }
    }

    /// Whether a flush of records staged from now on could start at once.
    pub fn is_flush_slot_free(&self) -> bool {
        match &self.phase {
            EnginePhase::Running(running) => running.journal.is_slot_free(),
            EnginePhase::Opening(_) | EnginePhase::Halted => false,
        }
    }

    /// When the engine wants [`Engine::flush`] although nothing is staged.
    pub fn deadline(&self) -> Option<Monotonic> {
        match &self.phase {
            EnginePhase::Running(running) => running.journal.mark_due(),
            EnginePhase::Opening(_) | EnginePhase::Halted => None,
        }
    }

    /// Sends to the disk what is staged, as far as flushes may be in flight.
    pub fn flush(&mut self, now: Monotonic, out: &mut Vec<DiskOp>) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.journal.flush(now, &mut running.writer, || next_id(&mut self.ids), out);
        }
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn on_done(
        &mut self,
        now: Monotonic,
        done: DiskDone,
        out: &mut Vec<DiskOp>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        let result = self.take_done(now, done, out);
        if result.is_err() {
            self.phase = EnginePhase::Halted;
        }
        result
    }

    fn take_done(
        &mut self,
        now: Monotonic,
        done: DiskDone,
        out: &mut Vec<DiskOp>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        let mut ids = || next_id(&mut self.ids);
        match &mut self.phase {
            EnginePhase::Halted => Ok(None),
            EnginePhase::Opening(opening) => {
                let Some((opened, mut running)) = opening.on_done(done, &mut ids, out)? else {
                    return Ok(None);
                };
                running.prepare_spare(self.config.segment_bytes, ids, out)?;
                self.phase = EnginePhase::Running(running);
                Ok(Some(EngineEvent::Opened(opened)))
            }
            EnginePhase::Running(running) => {
                fail_stop(&done)?;
                let event = running.on_done(now, &done, &mut ids, out)?;
                running.prepare_spare(self.config.segment_bytes, ids, out)?;
                Ok(event)
            }
        }
    }
}

impl Running {
    fn on_done(
        &mut self,
        now: Monotonic,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut Vec<DiskOp>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        match self.manifest.on_done(done, out).map_err(EngineError::Storage)? {
            ManifestEvent::Step => return Ok(None),
            ManifestEvent::Installed => {
                if let SparePhase::Naming(meta) = self.spare {
                    self.spare = SparePhase::None;
                    self.journal.add_spare(meta);
                }
                return Ok(None);
            }
            ManifestEvent::NotMine => {}
        }
        if let SparePhase::Allocating(id, meta) = self.spare
            && id == done.id
        {
            let mut body = self.manifest.body().clone();
            body.segments.push(meta);
            body.next_generation = meta.generation + 1;
            self.manifest.write(body, ids, out).map_err(EngineError::Storage)?;
            self.spare = SparePhase::Naming(meta);
            return Ok(None);
        }
        let Some(through) = self.journal.on_done(now, done.id) else { return Ok(None) };
        self.writer.mark_durable(through);
        Ok(Some(EngineEvent::Durable(through)))
    }

    /// Starts to make a spare segment when one is wanted, so that rolling never waits for the disk.
    fn prepare_spare(
        &mut self,
        segment_bytes: u64,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut Vec<DiskOp>,
    ) -> Result<(), EngineError> {
        let idle = matches!(self.spare, SparePhase::None) && !self.manifest.is_writing();
        if !idle || !self.journal.wants_spare() {
            return Ok(());
        }
        let generation = self.manifest.body().next_generation;
        let slot = free_slot(&self.manifest.body().segments);
        let meta = SegmentMeta { slot, bytes: segment_bytes, generation, end: None };
        let id = ids();
        out.push(DiskOp::Allocate { id, file: FileId::Segment(meta.slot), bytes: meta.bytes });
        self.spare = SparePhase::Allocating(id, meta);
        Ok(())
    }
}

/// A running engine reads nothing but what it has just written: every failure ends it.
fn fail_stop(done: &DiskDone) -> Result<(), EngineError> {
    match done.outcome {
        DiskOutcome::Done | DiskOutcome::Read(_) => Ok(()),
        DiskOutcome::Missing => {
            Err(EngineError::Disk(format!("operation {}: the file is missing", done.id.0)))
        }
        DiskOutcome::Full => Err(EngineError::Disk(format!("operation {}: no space is left", done.id.0))),
        DiskOutcome::Failed => Err(EngineError::Disk(format!("operation {} failed", done.id.0))),
    }
}

fn next_id(ids: &mut u64) -> DiskOpId {
    *ids += 1;
    DiskOpId(*ids)
}

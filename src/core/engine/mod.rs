//! The durable engine: one short journal a node, and a manifest. Emits [`DiskOp`], takes [`DiskDone`].
//!
//! ```text
//! start   barrier -> manifest -> segments, oldest first -> fresh segment -> new manifest -> Opened
//! then    records staged with the LogWriter -> flush: one write, one barrier -> Durable
//!         snapshots written beside the journal -> manifest names them -> segments they cover are freed
//! ```
//!
//! * Nothing that was acknowledged is ever voted away by this room: what recovery cannot read and may have been
//!   acknowledged stops the node, by name.
//! * Before the node says its first word, the manifest records where the old tail ended; nothing behind it is read
//!   again. The node goes on in a fresh segment.
//! * One flush carries whatever all groups have staged. A failed write or barrier stops the node: what is durable is
//!   unknown from there on, and it is never retried.

mod archive;
mod archiving;
mod boots;
mod disk;
mod findings;
mod flush;
mod footer;
mod format;
mod identity;
mod incoming_snapshot;
mod inspect;
mod journal;
mod log_reader;
mod log_writer;
mod manifest;
mod manifest_reads;
mod manifest_store;
mod opening;
#[cfg(test)]
pub(crate) mod perfect_disk;
mod record;
pub(crate) mod recovered_log;
mod retention;
mod running;
mod saving_snapshot;
mod scrub;
mod second_reads;
mod segment_reads;
mod snapshot_body;
mod snapshot_file;
mod snapshot_reads;
mod snapshot_store;
mod space;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

pub use archive::{
    At, ChunkName, ChunkPiece, Found, InspectedChunk, InspectedRun, Sealed, Sought, archived_bytes,
};
pub use boots::{Amnesia, Witnessed};
pub use disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId, VirtualDisk};
pub use findings::{Damage, Finding, InspectedFlush, InspectedRecord, ReadFile, RecordName};
pub use format::format;
pub use identity::{EngineConfig, FormatError, Identity};
pub use inspect::{InspectedSegment, InspectedSnapshot, Inspection, identity_of, inspect};
pub use log_writer::LogWriter;
use opening::Opening;
pub use record::Record;
pub use recovered_log::{RecoveredEntry, RecoveredLog};
pub use retention::Pins;
use running::Running;
pub use snapshot_body::SnapshotBody;
pub use snapshot_file::SnapshotName;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{Blob, BootId, ClusterId, GroupId, Marks, Monotonic, NodeId, Op, Ordinal};

/// The engine of a node.
#[derive(Clone, Debug)]
pub struct Engine {
    ids: u64,
    phase: EnginePhase,
}

#[derive(Clone, Debug)]
enum EnginePhase {
    Opening(Box<Opening>),
    Running(Box<Running>),
    Halted,
}

/// What a completion led to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EngineEvent {
    /// The disk was read; from here on records can be staged.
    Opened(Opened),
    /// Every record up to this ordinal is durable.
    Durable(Ordinal),
    /// What a peer asked for with [`Engine::read_chunk`].
    ChunkRead {
        /// The peer.
        to: NodeId,
        /// As it lies on this disk.
        chunk: SnapshotChunk,
    },
    /// A snapshot that came from a peer is in force.
    Received {
        /// Whose state it holds.
        group: GroupId,
        /// All of it.
        body: Bytes,
    },
    /// What a peer asked for with [`Engine::read_piece`].
    PieceRead {
        /// The peer.
        to: NodeId,
        /// As it lies on this disk.
        piece: ChunkPiece,
    },
    /// What [`Engine::look_up`] asked for.
    Found {
        /// The caller's word for it.
        token: u64,
        /// What became of it.
        found: Found,
    },
    /// Records rotted on the disk while the node runs: whoever holds them in memory writes them again.
    Rotten {
        /// These.
        records: Vec<RecordName>,
        /// And whatever was recorded under an ordinal above the first of these, up to the second: nothing names it any more.
        nameless: Vec<(Ordinal, Ordinal)>,
    },
}

/// A piece of a snapshot, on its way between two nodes.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct SnapshotChunk {
    /// Whose state the snapshot holds.
    pub group: GroupId,
    /// Which snapshot.
    pub name: SnapshotName,
    /// Which chunk, from 0.
    pub index: u32,
    /// The chunk as it lies on a disk; it is verified by itself.
    pub bytes: Blob,
}

notation_struct!("chunk" => SnapshotChunk { group, name, index, bytes });

/// What the disk held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Whose it is.
    pub identity: Identity,
    /// Which start this is.
    pub boot: BootId,
    /// What this node has taken note of, of its peers.
    pub witnessed: BTreeMap<NodeId, Witnessed>,
    /// The disk was disowned by a peer before.
    pub amnesia: Option<Amnesia>,
    /// The snapshot in force of each group that has one.
    pub snapshots: BTreeMap<GroupId, Bytes>,
    /// Groups whose snapshot in force is not as it was written, and up to where it covered them. What they have acknowledged
    /// goes at least so far.
    pub lost: BTreeMap<GroupId, Op>,
    /// A snapshot that was coming from a peer.
    pub incoming: Option<(GroupId, SnapshotName)>,
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
        Self { ids: 0, phase: EnginePhase::Opening(Box::new(Opening::new(config))) }
    }

    /// Begins to read the disk, which must hold the data of this node. `nonce` is to be drawn anew at each start.
    pub fn start(&mut self, cluster: ClusterId, node: NodeId, nonce: u64, out: &mut DiskOut<'_, impl Marks>) {
        if let EnginePhase::Opening(opening) = &mut self.phase {
            opening.start(cluster, node, nonce, || next_id(&mut self.ids), out);
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
        self.running().is_some_and(|running| running.journal.wants_flush(&running.writer))
    }

    /// Whether a flush of records staged from now on could start at once.
    pub fn is_flush_slot_free(&self) -> bool {
        self.running().is_some_and(|running| running.journal.is_slot_free())
    }

    /// Since when the disk has owed the oldest flush, or room for the next one; a full disk owes nothing.
    pub fn owed_since(&self) -> Option<Monotonic> {
        self.running().filter(|running| !running.is_full()).and_then(|running| running.journal.owed_since())
    }

    /// When the engine wants [`Engine::flush`] although nothing is staged.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.running().and_then(|running| running.journal.mark_due())
    }

    /// Sends to the disk what is staged, as far as flushes may be in flight.
    pub fn flush(&mut self, now: Monotonic, out: &mut DiskOut<'_, impl Marks>) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.journal.flush(now, &mut running.writer, || next_id(&mut self.ids), out);
        }
    }

    /// Starts to save a snapshot of `group`, of all that was applied up to `op`. While another one is on its way it
    /// does nothing: ask again later.
    pub fn save_snapshot(
        &mut self,
        group: GroupId,
        op: Op,
        body: SnapshotBody,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.save_snapshot(group, op, body, || next_id(&mut self.ids), out);
        }
    }

    /// Whether [`Engine::save_snapshot`] would start.
    pub fn can_save_snapshot(&self) -> bool {
        self.running().is_some_and(|running| running.can_save())
    }

    /// Takes note that nobody needs what the journal has of these groups up to their floors, no higher than a snapshot in
    /// force covers them, and lets go of segments that nothing needs any more.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn set_floors(
        &mut self,
        floors: impl Iterator<Item = (GroupId, Op)>,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        running.set_floors(floors);
        self.keep_house(out)
    }

    /// What keeps the journal longer than it should be; `None` when it is not.
    pub fn pins(&self) -> Option<Pins> {
        self.running().and_then(|running| running.pins())
    }

    /// Lets the scrub read on; called now and then.
    pub fn scrub(&mut self, now: Monotonic, out: &mut DiskOut<'_, impl Marks>) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.scrub(now, &mut || next_id(&mut self.ids), out);
        }
    }

    /// Sees to the reserve, and tries again when no space was left; called now and then.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn keep_space(
        &mut self,
        now: Monotonic,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        let result = running.keep_space(now, &mut || next_id(&mut self.ids), out);
        self.stopping_at(result)
    }

    /// Whether no space is left: nothing that would need more is to be begun.
    pub fn is_full(&self) -> bool {
        self.running().is_some_and(|running| running.is_full())
    }

    /// The snapshot in force of `group`, as far as it can be read.
    pub fn snapshot(&self, group: GroupId) -> Option<SnapshotName> {
        self.running().and_then(|running| running.snapshot(group))
    }

    /// Whether chunks of this snapshot can be read.
    pub fn has_snapshot(&self, group: GroupId, name: &SnapshotName) -> bool {
        self.running().is_some_and(|running| running.has_snapshot(group, name))
    }

    /// Reads a chunk of a snapshot for a peer; it comes as [`EngineEvent::ChunkRead`], unless the snapshot is gone, cannot be
    /// read, or too much is being read already.
    pub fn read_chunk(
        &mut self,
        now: Monotonic,
        to: NodeId,
        chunk: (GroupId, SnapshotName, u32),
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.read_chunk((now, to), chunk, || next_id(&mut self.ids), out);
        }
    }

    /// The snapshot that is coming from a peer, with the first of its chunks that are not here, `most` at most.
    pub fn incoming(&self, most: usize) -> Option<(GroupId, SnapshotName, Vec<u32>)> {
        self.running().and_then(|running| running.incoming(most))
    }

    /// Takes a chunk that came from a peer; whether it was news. While no snapshot is coming, its first chunk begins one.
    /// Once all of it is in force it is given out as [`EngineEvent::Received`].
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn take_chunk(
        &mut self,
        chunk: SnapshotChunk,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<bool, EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(false) };
        let is_news = running.take_chunk(chunk);
        self.keep_house(out).map(|()| is_news)
    }

    /// Gives up the snapshot that is coming from a peer.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn forsake_incoming(&mut self, out: &mut DiskOut<'_, impl Marks>) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        running.forsake_incoming();
        self.keep_house(out)
    }

    fn keep_house(&mut self, out: &mut DiskOut<'_, impl Marks>) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        let result = running.keep_house(&mut || next_id(&mut self.ids), out);
        self.stopping_at(result)
    }

    fn running(&self) -> Option<&Running> {
        match &self.phase {
            EnginePhase::Running(running) => Some(running),
            EnginePhase::Opening(_) | EnginePhase::Halted => None,
        }
    }

    /// An engine that failed has stopped for good.
    fn stopping_at<T>(&mut self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        if result.is_err() {
            self.phase = EnginePhase::Halted;
        }
        result
    }

    /// Lets peers know of this start once [`Engine::is_announced`], and that is durable.
    ///
    /// # Errors
    /// [`EngineError::Storage`] when the manifest has no room for it.
    pub fn announce(&mut self, out: &mut DiskOut<'_, impl Marks>) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        let result = running.announce(&mut || next_id(&mut self.ids), out);
        self.stopping_at(result)
    }

    /// Whether peers may know of this start: that is in the manifest in force.
    pub fn is_announced(&self) -> bool {
        self.running().is_some_and(|running| running.manifest.body().boots.is_announced())
    }

    /// Takes note of what `peer` says of its disk. It is in force once [`Engine::witnessed`] gives it.
    ///
    /// # Errors
    /// [`EngineError::Storage`] when the manifest has no room for it.
    pub fn witness(
        &mut self,
        now: Monotonic,
        peer: NodeId,
        witnessed: Witnessed,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        let result = running.witness(now, (peer, witnessed), &mut || next_id(&mut self.ids), out);
        self.stopping_at(result)
    }

    /// What the manifest in force says of the disk of `peer`.
    pub fn witnessed(&self, peer: NodeId) -> Witnessed {
        self.running().map_or(Witnessed::default(), |running| running.manifest.body().witnessed(peer))
    }

    /// Other peers share no group with this node any more: what is known of their disks may go with the next manifest.
    pub fn keep_witnessed(&mut self, is_kept: impl Fn(NodeId) -> bool) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.keep_witnessed(is_kept);
        }
    }

    /// Writes down that a peer has disowned this disk.
    ///
    /// # Errors
    /// [`EngineError::Storage`] when the manifest has no room for it.
    pub fn disown(&mut self, amnesia: Amnesia, out: &mut DiskOut<'_, impl Marks>) -> Result<(), EngineError> {
        let EnginePhase::Running(running) = &mut self.phase else { return Ok(()) };
        let result = running.disown(amnesia, &mut || next_id(&mut self.ids), out);
        self.stopping_at(result)
    }

    /// Holds what a peer knows of this node's disk against what is on it.
    ///
    /// # Errors
    /// A sentence for the operator when this is an older or another copy of the disk that the peer knows.
    pub fn judge(&self, known: Witnessed) -> Result<(), String> {
        let judge = |running: &Running| running.manifest.body().boots.judge(known, running.journal.barrier());
        self.running().map_or(Ok(()), judge)
    }

    /// The number of the last durable flush that holds records.
    pub fn durable_flush(&self) -> u64 {
        self.running().map_or(0, |running| running.journal.durable())
    }

    /// Whether the journal is longer than it may be: voters that lag behind do not count then.
    pub fn is_too_long(&self) -> bool {
        self.running().is_some_and(|running| running.is_too_long())
    }

    /// The highest op of each group of which the oldest segment has entries that are needed, when that is to go; and the
    /// ordinal of the last record in it.
    pub fn oldest_entries(&self) -> Option<(BTreeMap<GroupId, Op>, Ordinal)> {
        self.running()?.oldest_entries()
    }

    /// Whether what the oldest segment holds may be written again: that is not on its way yet, and there is space.
    pub fn may_copy_forward(&self) -> bool {
        self.running().is_some_and(|running| running.may_copy_forward())
    }

    /// Takes note that what is needed of the oldest segment's entries was staged again: once that is durable it may go.
    pub fn note_copied_forward(&mut self) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.note_copied_forward();
        }
    }

    /// Whether the snapshot in force of `group` rotted, and another one is wanted although nothing is new.
    pub fn is_snapshot_rotten(&self, group: GroupId) -> bool {
        self.running().is_some_and(|running| running.is_snapshot_rotten(group))
    }

    /// The op up to which a snapshot in force covers `group`.
    pub fn saved(&self, group: GroupId) -> Op {
        self.running().map_or(Op::GENESIS, |running| running.saved(group))
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped for good then.
    pub fn on_done(
        &mut self,
        now: Monotonic,
        done: DiskDone,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        let result = self.take_done(now, done, out);
        self.stopping_at(result)
    }

    fn take_done(
        &mut self,
        now: Monotonic,
        done: DiskDone,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<EngineEvent>, EngineError> {
        let mut ids = || next_id(&mut self.ids);
        match &mut self.phase {
            EnginePhase::Halted => Ok(None),
            EnginePhase::Opening(opening) => {
                let Some((opened, mut running)) = opening.on_done(done, &mut ids, out)? else {
                    return Ok(None);
                };
                running.keep_house(&mut ids, out)?;
                self.phase = EnginePhase::Running(Box::new(running));
                Ok(Some(EngineEvent::Opened(opened)))
            }
            EnginePhase::Running(running) => running.on_done(now, &done, &mut ids, out),
        }
    }
}

fn next_id(ids: &mut u64) -> DiskOpId {
    *ids += 1;
    DiskOpId(*ids)
}

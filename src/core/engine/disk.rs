//! What the engine asks of a disk, and what it hears back.

use alloc::vec::Vec;

use crate::types::notation::{Notation, NotationError, Scanner};
use crate::types::{Blob, GroupId, Marks};

/// The unit of alignment: every write begins and ends on a multiple of this many bytes.
pub const BLOCK_BYTES: usize = 4096;

/// A file of a node's data directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum FileId {
    /// The manifest: two areas of four copies.
    Manifest,
    /// A journal segment, by slot. Slots are recycled; the generation inside tells one use from the next.
    Segment(u32),
    /// A snapshot file, by slot.
    Snapshot(u32),
    /// A chunk of a group's archive, by its number.
    Archive {
        /// The group.
        group: GroupId,
        /// From 1.
        number: u64,
    },
    /// Zeros that are given back when no space is left.
    Reserve,
}

notation_enum!(FileId {
    "manifest" => Manifest,
    "segment" => Segment(slot),
    "snapshot" => Snapshot(slot),
    "archive" => Archive { group, number },
    "reserve" => Reserve,
});

/// Ties a completion to its operation. Never used twice between two starts of a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct DiskOpId(pub u64);

impl Notation for DiskOpId {
    fn show(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.show(f)
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        Notation::scan(scanner).map(Self)
    }
}

/// An operation for the disk. Operations may complete in any order; only a barrier orders them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DiskOp {
    /// Make `file` exist with `bytes` zeros, written out and not merely reserved (what the file held before is
    /// gone). Completes once that is durable, the file's name included. Without bytes a chunk of an
    /// archive is removed, and of another file no more is said than that it takes no space.
    Allocate {
        /// Ties the completion to this operation.
        id: DiskOpId,
        /// The file.
        file: FileId,
        /// Its length, a multiple of [`BLOCK_BYTES`].
        bytes: u64,
    },
    /// Make `file` hold `data` and nothing else. What it held before is there until that is durable, and the operation completes
    /// then, the file's name included: no barrier has to follow it, and none waits for it.
    Put {
        /// Ties the completion to this operation.
        id: DiskOpId,
        /// The file.
        file: FileId,
        /// All of it, a multiple of [`BLOCK_BYTES`] long.
        data: Blob,
    },
    /// Write `data` at `offset`. Speculative until a later barrier completes: a crash may keep any subset of its
    /// atomic units. Never reaches past the end of the file.
    Write {
        /// Ties the completion to this operation.
        id: DiskOpId,
        /// The file.
        file: FileId,
        /// Bytes from its start, a multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// What to write, a multiple of [`BLOCK_BYTES`] long.
        data: Blob,
    },
    /// Completes once every write submitted before it, to any file, is durable.
    Barrier {
        /// Ties the completion to this operation.
        id: DiskOpId,
    },
    /// Read `bytes` at `offset`, from the disk itself and not from a cache that a crash would have emptied.
    Read {
        /// Ties the completion to this operation.
        id: DiskOpId,
        /// The file.
        file: FileId,
        /// Bytes from its start, a multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// How many, a multiple of [`BLOCK_BYTES`].
        bytes: u32,
    },
}

notation_enum!(DiskOp {
    "allocate" => Allocate { id, file, bytes },
    "put" => Put { id, file, data },
    "write" => Write { id, file, offset, data },
    "barrier" => Barrier { id },
    "read" => Read { id, file, offset, bytes },
});

impl DiskOp {
    /// What ties the completion to this operation.
    pub fn id(&self) -> DiskOpId {
        match self {
            Self::Allocate { id, .. }
            | Self::Put { id, .. }
            | Self::Write { id, .. }
            | Self::Barrier { id }
            | Self::Read { id, .. } => *id,
        }
    }
}

/// Where the operations of a step go, with the marks of the paths that led to them.
#[derive(Debug)]
pub struct DiskOut<'a, M> {
    /// Operations, in the order in which they are to be submitted.
    pub ops: &'a mut Vec<DiskOp>,
    /// Takes note of the paths taken.
    pub marks: &'a mut M,
}

impl<M: Marks> DiskOut<'_, M> {
    pub(in crate::engine) fn push(&mut self, op: DiskOp) {
        self.ops.push(op);
    }
}

/// A completion.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DiskDone {
    /// The operation that completed.
    pub id: DiskOpId,
    /// How.
    pub outcome: DiskOutcome,
}

notation_struct!("done" => DiskDone { id, outcome });

/// How an operation ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DiskOutcome {
    /// As asked. For a barrier: what went before it is durable.
    Done,
    /// As asked: these bytes.
    Read(Blob),
    /// The file does not exist.
    Missing,
    /// No space is left.
    Full,
    /// The device failed.
    Failed,
}

notation_enum!(DiskOutcome {
    "done" => Done,
    "bytes" => Read(data),
    "missing" => Missing,
    "full" => Full,
    "failed" => Failed,
});

/// A disk as a driver provides it: operations are submitted, completions are polled.
///
/// Writes are speculative until a barrier that was submitted after them completes. A barrier completes only when
/// every write submitted before it, to any file, is durable.
pub trait VirtualDisk {
    /// Starts `op`. Its completion comes from [`VirtualDisk::poll`], never from here.
    fn submit(&mut self, op: DiskOp);

    /// Sends what was submitted on its way, for a disk that sends operations together: a driver calls it when it has no
    /// more of them. Other disks have nothing to do.
    fn kick(&mut self) {}

    /// Moves completions that have arrived to `done`.
    fn poll(&mut self, done: &mut Vec<DiskDone>);
}

//! Whose data directory this is, and how its first bytes come to be.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::disk::BLOCK_BYTES;
use crate::engine::flush::COMMIT_BYTES;
use crate::engine::footer::footer_bytes;
use crate::engine::snapshot_file::CHUNK_BYTES_MAX;
use crate::types::{ClusterId, GroupInit, GroupInitError, Nanos, NodeId, u64_of};

/// Bounds and paces of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EngineConfig {
    /// Bytes of a journal segment; a multiple of the block, at least twice the largest flush.
    pub segment_bytes: u64,
    /// Bytes of a flush at most.
    pub flush_bytes_max: u32,
    /// Flushes that may be on their way to the disk at once.
    pub flushes_in_flight_max: u32,
    /// Sealed segments to keep; beyond that, snapshots are taken so that the oldest can be freed.
    pub sealed_segments_target: u32,
    /// Sealed segments to keep at most: beyond that, voters that lag behind do not keep the oldest from being freed. They
    /// get a snapshot instead.
    pub sealed_segments_max: u32,
    /// Bytes of a chunk of a snapshot; a multiple of the block.
    pub snapshot_chunk_bytes: u32,
    /// How long the journal must have been idle before a barrier mark is written.
    pub idle_mark_after: Nanos,
    /// How often the scrub reads everything, so that what rots is found while others still have it.
    pub scrub_every: Nanos,
    /// Bytes that it reads in a second at most.
    pub scrub_bytes_per_second: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            flush_bytes_max: 8 << 20,
            flushes_in_flight_max: 1,
            sealed_segments_target: 3,
            sealed_segments_max: 8,
            snapshot_chunk_bytes: 1 << 20,
            idle_mark_after: Nanos::from_millis(20),
            scrub_every: Nanos::from_millis(3_600_000),
            scrub_bytes_per_second: 4 << 20,
        }
    }
}

/// Whose data directory this is.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node. A wiped disk comes back under another one.
    pub node: NodeId,
    /// The founding facts of every group the node holds a replica of, ascending by group.
    pub groups: Vec<GroupInit>,
}

/// Why a data directory cannot be formatted, or an engine not be configured so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// A group cannot be founded.
    #[error(transparent)]
    Group(#[from] GroupInitError),
    /// The list of groups is not strictly ascending.
    #[error("groups must be listed once each, in ascending order")]
    GroupOrder,
    /// A group is founded for another cluster.
    #[error("group {group} is founded for another cluster")]
    OtherCluster {
        /// The group.
        group: u32,
    },
    /// The manifest could not hold all that may come to be in it.
    #[error("{groups} groups are too many for one node: with all that may come to be in it, {what}")]
    TooLarge {
        /// How many there are.
        groups: usize,
        /// How long the manifest would be.
        what: String,
    },
    /// Segments are too small for the largest flush.
    #[error("segment_bytes is {segment_bytes}; it must be a multiple of {BLOCK_BYTES} and at least {least}")]
    Segment {
        /// What was asked for.
        segment_bytes: u64,
        /// The least that works.
        least: u64,
    },
    /// Chunks of snapshots are not blocks, or too long for a message.
    #[error(
        "snapshot_chunk_bytes is {bytes}; it must be a multiple of {BLOCK_BYTES} and at most {CHUNK_BYTES_MAX}"
    )]
    SnapshotChunk {
        /// What was asked for.
        bytes: u32,
    },
}

impl Identity {
    /// Checks the founding facts of all groups.
    pub(in crate::engine) fn validate(&self) -> Result<(), FormatError> {
        if !self.groups.is_sorted_by(|a, b| a.group < b.group) {
            return Err(FormatError::GroupOrder);
        }
        for init in &self.groups {
            init.validate()?;
            let group = init.group.get();
            if init.cluster != self.cluster {
                return Err(FormatError::OtherCluster { group });
            }
        }
        Ok(())
    }
}

impl EngineConfig {
    /// Checks the bounds against each other, on a node with `groups` groups.
    ///
    /// # Errors
    /// [`FormatError::Segment`] when the largest flush would not fit a segment; [`FormatError::SnapshotChunk`].
    pub fn validate(&self, groups: usize) -> Result<(), FormatError> {
        let least = self.segment_bytes_least(groups);
        if self.segment_bytes < least || !self.segment_bytes.is_multiple_of(u64_of(BLOCK_BYTES)) {
            return Err(FormatError::Segment { segment_bytes: self.segment_bytes, least });
        }
        let bytes = self.snapshot_chunk_bytes;
        if !(1..=CHUNK_BYTES_MAX).contains(&u64::from(bytes))
            || !u64::from(bytes).is_multiple_of(u64_of(BLOCK_BYTES))
        {
            return Err(FormatError::SnapshotChunk { bytes });
        }
        Ok(())
    }

    /// Bytes of a segment that holds the largest flush and its footers.
    pub(in crate::engine) fn segment_bytes_least(&self, groups: usize) -> u64 {
        self.flush_bytes_most(groups) + 2 * u64_of(footer_bytes(groups))
    }

    /// Bytes of the largest flush.
    pub(in crate::engine) fn flush_bytes_most(&self, groups: usize) -> u64 {
        let block = u64_of(BLOCK_BYTES);
        // Beside its records a flush repeats the directory of the one before, which is no longer than half of that one,
        // pads twice, and tells a commit of each group.
        let commits = u64_of(groups * COMMIT_BYTES);
        (2 * u64::from(self.flush_bytes_max) + commits).next_multiple_of(block) + 2 * block
    }
}

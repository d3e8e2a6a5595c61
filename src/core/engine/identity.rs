//! Whose data directory this is, and how its first bytes come to be.

use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::DiskOp;
use crate::types::{ClusterId, GroupInit, Nanos, NodeId};

/// Bounds and paces of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EngineConfig {
    /// Bytes of a journal segment; a multiple of the block, at least twice the largest flush.
    pub segment_bytes: u64,
    /// Bytes of a flush at most.
    pub flush_bytes_max: u32,
    /// Flushes that may be on their way to the disk at once.
    pub flushes_in_flight_max: u32,
    /// How long the journal must have been idle before a barrier mark is written.
    pub idle_mark_after: Nanos,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            flush_bytes_max: 4 << 20,
            flushes_in_flight_max: 1,
            idle_mark_after: Nanos::from_millis(20),
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

/// The operations that make an empty directory the first data directory of `identity`, to be done one by one.
pub fn format(_identity: &Identity) -> Vec<DiskOp> {
    Vec::new()
}

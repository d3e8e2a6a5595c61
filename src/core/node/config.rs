//! What a node is told when it is made.

use crate::consensus::{Limits, Timeouts};
use crate::engine::EngineConfig;
use crate::kernel::COMMAND_OVERHEAD_BYTES;
use crate::types::{ClusterId, ENTRY_HEADER_BYTES, NodeId, u64_of};

/// A node's configuration. The founding facts of its groups are not here: they are in its manifest, where formatting
/// put them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeConfig {
    /// The cluster; must be the manifest's.
    pub cluster: ClusterId,
    /// The node; must be the manifest's.
    pub node: NodeId,
    /// Journal and manifest.
    pub engine: EngineConfig,
    /// Bounds of queues and messages.
    pub limits: Limits,
    /// Spans of the timers.
    pub timeouts: Timeouts,
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NodeConfigError {
    /// A bound that must allow at least one of its things allows none.
    #[error("{name} is 0; at least 1 is needed")]
    Zero {
        /// The bound.
        name: &'static str,
    },
    /// The largest unit that the journal may have to write at once does not fit a flush.
    #[error("flush_bytes_max is {found}; with these limits a flush may need {least}")]
    Flush {
        /// What was asked for.
        found: u32,
        /// The least that works.
        least: u64,
    },
}

impl NodeConfig {
    /// Checks the bounds against each other.
    ///
    /// # Errors
    /// [`NodeConfigError`] naming the bound and what it must be.
    pub fn validate(&self) -> Result<(), NodeConfigError> {
        let limits = &self.limits;
        let bounds = [
            ("pipeline_entries_max", limits.pipeline_entries_max),
            ("batch_commands_max", limits.batch_commands_max),
            ("queue_requests_max", limits.queue_requests_max),
            ("repair_entries_max", limits.repair_entries_max),
            ("side_effects_max", limits.side_effects_max),
            ("outbox_max", limits.outbox_max),
            ("outbox_bytes_max", limits.outbox_bytes_max),
            ("flushes_in_flight_max", self.engine.flushes_in_flight_max),
        ];
        if let Some((name, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(NodeConfigError::Zero { name });
        }
        let (found, least) = (self.engine.flush_bytes_max, flush_bytes_least(limits));
        if u64::from(found) < least { Err(NodeConfigError::Flush { found, least }) } else { Ok(()) }
    }
}

/// The largest unit that a journal may have to write at once under these bounds, in bytes.
pub fn flush_bytes_least(limits: &Limits) -> u64 {
    // An entry holds a batch, or one command that is longer; a promise holds a header for each entry that may follow
    // the commit, which is twice the pipeline, and is written twice.
    let overhead = u64_of(ENTRY_HEADER_BYTES + COMMAND_OVERHEAD_BYTES);
    let entry = overhead + u64::from(limits.batch_bytes_max.max(limits.command_bytes_max));
    let promise = 2 * u64_of(ENTRY_HEADER_BYTES) * (2 * u64::from(limits.pipeline_entries_max) + 2);
    entry.max(promise)
}

//! What a node is told when it is made.

use crate::consensus::{Limits, Timeouts};
use crate::engine::EngineConfig;
use crate::types::{ClusterId, NodeId};

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

//! Composition: the one door, and the routing between the rooms below.

mod config;
mod door;
mod heartbeat;
mod status;

pub use config::NodeConfig;
pub use crate::consensus::{Limits, Timeouts};
pub use door::{Answer, Effect, Effects, HaltReason, Input, Message, Reply, Request, Route};
pub use heartbeat::{GroupBeat, Heartbeat};
pub use status::{GroupStatus, NodeStatus, Phase, Role};

use crate::kernel::ChrApplication;
use crate::types::{GroupId, Monotonic, Now};

/// A whole node.
#[derive(Clone)]
pub struct Node<A: ChrApplication> {
    application: A,
}

impl<A: ChrApplication> Node<A> {
    /// A node that has not read its disk yet: its first deadline is at once. `entropy` must be fresh at each start.
    pub fn new(_config: NodeConfig, application: A, _entropy: [u8; 32]) -> Self {
        Self { application }
    }

    /// Takes `input` at `now` and appends what follows from it to `effects`.
    pub fn step(&mut self, _now: Now, _input: Input, _effects: &mut Effects) {}

    /// When `step(Input::Timeout)` is due. Never before; any lateness is allowed.
    pub fn deadline(&self) -> Option<Monotonic> {
        None
    }

    /// What the node would tell an operator.
    pub fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }

    /// The state of a group's application, once the node runs.
    pub fn state(&self, _group: GroupId) -> Option<&A::State> {
        let _ = &self.application;
        None
    }
}

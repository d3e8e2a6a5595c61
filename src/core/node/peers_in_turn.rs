//! Whom to ask for something that any of several peers may have: the same one as long as something comes, then the next.

use alloc::vec::Vec;

use crate::types::{Monotonic, Nanos, NodeId};

/// Peers that are asked in turn.
#[derive(Clone, Debug)]
pub(in crate::node) struct PeersInTurn {
    peers: Vec<NodeId>,
    /// Requests that were not answered; they go round the peers.
    attempts: usize,
    /// The same, since something came last.
    in_vain: usize,
    /// When the last request was made.
    asked_at: Monotonic,
}

impl PeersInTurn {
    /// These peers, `first` first, if it is one of them.
    pub(in crate::node) fn new(peers: Vec<NodeId>, first: Option<NodeId>) -> Self {
        let attempts = peers.iter().position(|peer| Some(*peer) == first).unwrap_or_default();
        Self { peers, attempts, in_vain: 0, asked_at: Monotonic::default() }
    }

    pub(in crate::node) fn has(&self, peer: NodeId) -> bool {
        self.peers.contains(&peer)
    }

    /// Whom to ask now; `None` when there is nobody.
    pub(in crate::node) fn ask(&mut self, now: Monotonic) -> Option<NodeId> {
        let peer = *self.peers.get(self.attempts % self.peers.len().max(1))?;
        self.asked_at = now;
        Some(peer)
    }

    /// Whether the last request was made so long ago.
    pub(in crate::node) fn is_overdue(&self, now: Monotonic, after: Nanos) -> bool {
        now.since(self.asked_at) >= after
    }

    /// Something of use came.
    pub(in crate::node) fn came(&mut self) {
        self.in_vain = 0;
    }

    /// Nothing came, or nothing of use: the next request goes to somebody else.
    pub(in crate::node) fn give_up(&mut self) {
        self.attempts = self.attempts.wrapping_add(1);
        self.in_vain += 1;
    }

    /// Whether all were asked so often since something came.
    pub(in crate::node) fn were_asked_in_vain(&self, rounds: usize) -> bool {
        self.in_vain >= rounds * self.peers.len()
    }
}

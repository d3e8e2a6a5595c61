//! Snapshots between nodes: a replica that lacks what its peers have let go of fetches one, chunk by chunk.
//!
//! ```text
//! RequestSnapshot without a name  ->  the first chunk of the snapshot in force, which names it
//! RequestSnapshot with a name     ->  the chunks asked for; when that snapshot is gone, the first one of that in force
//! ```
//!
//! One at a time a node. Peers are asked in turn; one snapshot is given up for another only when no peer has it any more.

use alloc::vec::Vec;

use super::peers_in_turn::PeersInTurn;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::SnapshotName;
use crate::types::{GroupId, Monotonic, NodeId, Op};

/// A request for a snapshot, or for chunks of one.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct RequestSnapshot {
    /// Whose state.
    pub group: GroupId,
    /// One that covers less is of no use.
    pub at_least: Op,
    /// The snapshot of which chunks are here; none when there is none yet.
    pub name: Option<SnapshotName>,
    /// Indexes of the chunks wanted.
    pub chunks: Vec<u32>,
}

notation_struct!("snapshot-wanted" => RequestSnapshot { group, at_least, name, chunks });

/// Chunks asked for at once.
pub(in crate::node) const CHUNKS_AT_ONCE: usize = 4;

/// A snapshot that is being fetched.
#[derive(Clone, Debug)]
pub(in crate::node) struct Transfer {
    pub group: GroupId,
    pub at_least: Op,
    /// The other voters of the group.
    pub peers: PeersInTurn,
    /// Chunks that were asked for last and have not come.
    awaited: usize,
}

impl Transfer {
    /// A transfer from one of `peers`, `first` first, if it is one.
    pub(in crate::node) fn new(
        group: GroupId,
        at_least: Op,
        peers: Vec<NodeId>,
        first: Option<NodeId>,
    ) -> Self {
        Self { group, at_least, peers: PeersInTurn::new(peers, first), awaited: 0 }
    }

    /// The next request, and to whom, when of the snapshot that is coming these chunks are wanted.
    pub(in crate::node) fn ask(
        &mut self,
        now: Monotonic,
        coming: Option<(SnapshotName, Vec<u32>)>,
    ) -> Option<(NodeId, RequestSnapshot)> {
        let to = self.peers.ask(now)?;
        let (name, chunks) = coming.map_or((None, Vec::new()), |(name, chunks)| (Some(name), chunks));
        self.awaited = chunks.len().max(1);
        Some((to, RequestSnapshot { group: self.group, at_least: self.at_least, name, chunks }))
    }

    /// Whether nobody is left who has the snapshot that is coming.
    pub(in crate::node) fn takes_another(&self) -> bool {
        self.peers.were_asked_in_vain(1)
    }

    /// A chunk came; whether it is the last of those asked for.
    pub(in crate::node) fn took(&mut self) -> bool {
        self.peers.came();
        self.awaited = self.awaited.saturating_sub(1);
        self.awaited == 0
    }
}

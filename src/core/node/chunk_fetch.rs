//! A chunk of an archive on its way from a peer.
//!
//! ```text
//! RequestChunk  ->  a piece of the chunk's file; ChunkGone when the peer keeps it no more
//! ```

use alloc::vec::Vec;

use super::peers_in_turn::PeersInTurn;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::BLOCK_BYTES;
use crate::types::{GroupId, Monotonic, NodeId, u64_of};

/// A request for a piece of a chunk's file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct RequestChunk {
    /// Whose archive.
    pub group: GroupId,
    /// Which chunk of it.
    pub number: u64,
    /// From where in the file; a multiple of the block.
    pub offset: u64,
    /// How many bytes; a multiple of the block.
    pub bytes: u32,
}

notation_struct!("chunk-wanted" => RequestChunk { group, number, offset, bytes });

/// A peer keeps a chunk no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct ChunkGone {
    /// Whose archive.
    pub group: GroupId,
    /// The oldest chunk that it keeps.
    pub first: u64,
}

notation_struct!("chunk-gone" => ChunkGone { group, first });

/// A chunk that is being fetched.
#[derive(Clone, Debug)]
pub(in crate::node) struct ChunkFetch {
    pub group: GroupId,
    pub number: u64,
    /// Peers have no earlier one any more.
    pub skips: bool,
    /// The other voters of the group.
    pub peers: PeersInTurn,
    /// The oldest chunk that any peer keeps, of those that keep this one no more.
    pub gone: Option<u64>,
    /// Length of the file, once its head is here.
    pub length: Option<u64>,
    pub file: Vec<u8>,
}

/// After so many rounds of the peers a chunk is given up: for a later one, or for now.
const ROUNDS_MAX: usize = 2;

impl ChunkFetch {
    /// A chunk that is to come from one of `peers`.
    pub(in crate::node) fn new(group: GroupId, number: u64, peers: Vec<NodeId>) -> Self {
        let peers = PeersInTurn::new(peers, None);
        Self { group, number, skips: false, peers, gone: None, length: None, file: Vec::new() }
    }

    pub(in crate::node) fn is_whole(&self) -> bool {
        self.length == Some(u64_of(self.file.len()))
    }

    /// The next piece, and whom to ask for it.
    pub(in crate::node) fn ask(
        &mut self,
        now: Monotonic,
        piece_bytes: u32,
    ) -> Option<(NodeId, RequestChunk)> {
        let to = self.peers.ask(now)?;
        let (group, number, offset) = (self.group, self.number, u64_of(self.file.len()));
        let left = self.length.map_or(u64_of(BLOCK_BYTES), |length| length - offset);
        let bytes = u32::try_from(left).unwrap_or(u32::MAX).min(piece_bytes);
        Some((to, RequestChunk { group, number, offset, bytes }))
    }

    pub(in crate::node) fn begin_anew(&mut self) {
        self.length = None;
        self.file.clear();
    }

    /// Takes the next bytes of the file.
    pub(in crate::node) fn took(&mut self, bytes: &[u8]) {
        self.peers.came();
        self.file.extend_from_slice(bytes);
    }

    /// Nothing came, or nothing of use.
    pub(in crate::node) fn give_up_on_peer(&mut self) {
        self.peers.give_up();
        if let Some(first) = self.gone.filter(|first| self.is_in_vain() && *first > self.number) {
            (self.number, self.skips, self.gone) = (first, true, None);
            self.peers.came();
            self.begin_anew();
        }
    }

    /// Whether all peers were asked, and nothing came.
    pub(in crate::node) fn is_in_vain(&self) -> bool {
        self.peers.were_asked_in_vain(ROUNDS_MAX)
    }
}

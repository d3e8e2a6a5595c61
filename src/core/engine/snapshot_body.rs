//! What a snapshot holds, cut into chunks while it is being written: nothing of it is looked at as a whole.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::snapshot_file::{SnapshotName, payload_bytes_of};
use crate::types::{Hasher, Op, u64_of};

/// A snapshot that grows, or is on its way to the disk.
#[derive(Clone, Debug)]
pub struct SnapshotBody {
    chunk_bytes: u32,
    /// Of full chunks.
    payloads: Vec<Bytes>,
    /// Of the chunk that is not full yet.
    open: Vec<u8>,
    hasher: Hasher,
}

impl SnapshotBody {
    /// An empty one, to be cut into chunks of so many bytes: those of the engine's configuration.
    pub fn new(chunk_bytes: u32) -> Self {
        Self { chunk_bytes, payloads: Vec::new(), open: Vec::new(), hasher: Hasher::default() }
    }

    /// Goes on with `piece`.
    pub fn put(&mut self, mut piece: &[u8]) {
        self.hasher.update(piece);
        let most = payload_bytes_of(self.chunk_bytes);
        while !piece.is_empty() {
            let (here, rest) = piece.split_at(piece.len().min(most - self.open.len()));
            self.open.reserve_exact(if self.open.is_empty() { most } else { 0 });
            self.open.extend_from_slice(here);
            if self.open.len() == most {
                self.payloads.push(Bytes::from(core::mem::take(&mut self.open)));
            }
            piece = rest;
        }
    }

    /// Its name, as the snapshot of all that was applied up to `op`.
    pub(in crate::engine) fn name(&self, op: Op) -> SnapshotName {
        let full = self.payloads.len() * payload_bytes_of(self.chunk_bytes);
        let bytes = u64_of(full + self.open.len());
        SnapshotName { op, bytes, chunk_bytes: self.chunk_bytes, hash: self.hasher.finish() }
    }

    /// The payload of the chunk at `index`; the last one may be empty.
    pub(in crate::engine) fn payload(&self, index: usize) -> &[u8] {
        self.payloads.get(index).map_or(self.open.as_slice(), |payload| payload.as_ref())
    }
}

//! A replica's own snapshot, as far as it was read again.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::SnapshotName;

/// The snapshot in force, and its chunks that are here.
#[derive(Clone, Debug)]
pub(in crate::node) struct StateReads {
    pub name: SnapshotName,
    pub payloads: Vec<Bytes>,
}

impl StateReads {
    /// Nothing was read yet.
    pub(in crate::node) fn of(name: SnapshotName) -> Self {
        Self { name, payloads: Vec::new() }
    }

    /// The index of the next chunk.
    pub(in crate::node) fn next(&self) -> u32 {
        u32::try_from(self.payloads.len()).unwrap_or(u32::MAX)
    }
}

//! What the next manifest will say that the one before does not.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use crate::engine::archive::ArchiveMeta;
use crate::engine::boots::Amnesia;
use crate::engine::manifest::{ManifestBody, SegmentMeta};
use crate::engine::snapshot_file::SnapshotMeta;
use crate::types::GroupId;

/// Differences between two manifests.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub spare: Option<SegmentMeta>,
    pub snapshot: Option<SnapshotMeta>,
    /// The one that it takes the place of.
    pub replaced: Option<SnapshotMeta>,
    /// The snapshot that is coming from a peer, or that none is.
    pub incoming: Option<Option<SnapshotMeta>>,
    /// Archives of which more chunks are durable.
    pub archives: BTreeMap<GroupId, ArchiveMeta>,
    /// How many chunks.
    pub chunks: u64,
    /// Chunks that are kept no more then.
    pub dropped: Vec<(GroupId, Range<u64>)>,
    /// The oldest segments, which go.
    pub freed: Vec<SegmentMeta>,
    /// A copy of the manifest rotted: two versions more, and every copy was written again.
    pub rewrites: u32,
    /// This start is to be announced to peers.
    pub announces: bool,
    /// A peer has disowned this disk.
    pub amnesia: Option<Amnesia>,
    /// A peer has said something of its disk that is to be noted.
    pub witnessed: bool,
    /// Bytes of the reserve: it was made, or is to be given back.
    pub reserve: Option<u64>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.spare.is_none()
            && self.snapshot.is_none()
            && self.incoming.is_none()
            && self.archives.is_empty()
            && self.freed.is_empty()
            && self.rewrites == 0
            && !self.announces
            && self.amnesia.is_none()
            && !self.witnessed
            && self.reserve.is_none()
    }

    /// Snapshots whose files the next manifest names.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = &SnapshotMeta> {
        self.snapshot.iter().chain(self.incoming.iter().flatten())
    }

    pub(super) fn apply(&self, body: &mut ManifestBody, first_flush: u64) {
        if let Some(meta) = self.spare {
            body.segments.push(meta);
            body.next_generation = meta.generation + 1;
        }
        if let Some(meta) = self.snapshot {
            body.snapshots.retain(|other| other.group != meta.group);
            body.snapshots.push(meta);
        }
        body.archives.retain(|meta| !self.archives.contains_key(&meta.group));
        body.archives.extend(self.archives.values());
        if self.amnesia.is_some() {
            body.amnesia = self.amnesia.clone();
        }
        if self.announces {
            body.boots.announce();
        }
        body.incoming = self.incoming.unwrap_or(body.incoming);
        body.reserve = self.reserve.unwrap_or(body.reserve);
        if !self.freed.is_empty() {
            body.segments.drain(..self.freed.len());
            body.first_flush = first_flush;
        }
    }
}

//! The manifest: whose directory this is, which segments the journal has, how often the node has started.
//!
//! Two areas of four copies. Sequence n goes to area n mod 2, all four copies in one write under one barrier, and is
//! read back; the other area still holds n - 1. The manifest is opened at the highest sequence that has two equal
//! copies, so that neither a torn write nor one stray copy decides.
//!
//! ```text
//! 0    magic "CHRNMANI"        8
//! 8    format version          u32
//! 12   body length             u32
//! 16   sequence                u64
//! 24   hash                    32   blake3 of bytes 8..24 and the body
//! 56   body                    the encoding of ManifestBody
//! ..   zeros up to COPY_BYTES
//! ```

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter};
use crate::engine::archive::{ArchiveMeta, ChunkName};
use crate::engine::boots::{Amnesia, Boots, Witnessed};
use crate::engine::identity::Identity;
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::types::{GroupInit, Hash, Mark, Marks, NodeId, Op, Timestamp, usize_of};

/// Bytes of one copy.
pub(in crate::engine) const COPY_BYTES: usize = 16 << 10;
/// Bytes of one area: four copies.
pub(in crate::engine) const AREA_BYTES: usize = COPIES * COPY_BYTES;
/// Bytes of the file.
pub(in crate::engine) const FILE_BYTES: usize = 2 * AREA_BYTES;
/// The version of everything on disk.
pub(in crate::engine) const FORMAT_VERSION: u32 = 10;

const MAGIC: [u8; 8] = *b"CHRNMANI";
const HEAD_BYTES: usize = 56;
/// Copies of an area.
pub(in crate::engine) const COPIES: usize = 4;
/// There is to be room for so many segments of the journal, and for a word on amnesia as long as this.
const SEGMENTS: usize = 64;
const AMNESIA_BYTES: usize = 512;
/// And for so many nodes that were not there when the groups were founded.
const PEERS_MORE: u64 = 16;

/// A segment of the journal: a file, or what is behind the end of another segment in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct SegmentMeta {
    /// The file.
    pub slot: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// Which use of the file this is: flushes of other generations in it are ghosts.
    pub generation: u64,
    /// Where it begins in the file.
    pub from: u64,
    /// Where recovery found its end; nothing of it behind that is ever read. `None` while it may still grow.
    pub end: Option<u64>,
}

/// What the manifest says.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct ManifestBody {
    pub identity: Identity,
    /// Its starts.
    pub boots: Boots,
    /// What is known of the disks of peers, one each.
    pub witnessed: Vec<(NodeId, Witnessed)>,
    pub next_generation: u64,
    /// The disk was disowned by a peer: its node says nothing any more, however often it starts.
    pub amnesia: Option<Amnesia>,
    /// The number of the oldest flush that is kept.
    pub first_flush: u64,
    /// The number of the last flush that the last start found: everything up to it may have been acknowledged.
    pub last_flush: u64,
    /// The journal's segments, oldest first.
    pub segments: Vec<SegmentMeta>,
    /// The snapshots in force, one a group at most.
    pub snapshots: Vec<SnapshotMeta>,
    /// The one that is coming from a peer.
    pub incoming: Option<SnapshotMeta>,
    /// The archives of groups that have any chunk.
    pub archives: Vec<ArchiveMeta>,
    /// Bytes of the file that is there to be given back when no space is left.
    pub reserve: u64,
}

impl ManifestBody {
    /// What is known of the disks of all peers.
    pub(in crate::engine) fn all_witnessed(&self) -> BTreeMap<NodeId, Witnessed> {
        self.witnessed.iter().copied().collect()
    }

    /// What is known of the disk of `peer`.
    pub(in crate::engine) fn witnessed(&self, peer: NodeId) -> Witnessed {
        let known = self.witnessed.iter().find(|(node, _)| *node == peer);
        known.map_or(Witnessed::default(), |(_, witnessed)| *witnessed)
    }

    /// The lowest slot that no segment has: files let go are used again.
    pub(in crate::engine) fn free_segment_slot(&self) -> u32 {
        lowest_free(|slot| self.segments.iter().all(|meta| meta.slot != slot))
    }

    /// Those of `files` in which no segment lies, each file once.
    pub(in crate::engine) fn unused(&self, files: &[SegmentMeta]) -> Vec<SegmentMeta> {
        let mut unused: Vec<SegmentMeta> = Vec::new();
        for meta in files {
            let is_used = |other: &SegmentMeta| other.slot == meta.slot;
            if !self.segments.iter().any(is_used) && !unused.iter().any(is_used) {
                unused.push(*meta);
            }
        }
        unused
    }

    /// The lowest slot that no snapshot has, nor whatever `is_used` knows of.
    pub(in crate::engine) fn free_snapshot_slot(&self, is_used: impl Fn(u32) -> bool) -> u32 {
        let named = self.snapshots.iter().chain(&self.incoming);
        lowest_free(|slot| named.clone().all(|meta| meta.slot != slot) && !is_used(slot))
    }
}

fn lowest_free(is_free: impl Fn(u32) -> bool) -> u32 {
    (0..).find(|slot| is_free(*slot)).unwrap_or(u32::MAX)
}

/// One version of the manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    pub(in crate::engine) sequence: u64,
    pub(in crate::engine) body: ManifestBody,
}

impl Manifest {
    /// The manifest of a directory that was just formatted.
    pub(in crate::engine) fn first(identity: Identity) -> Self {
        let body = ManifestBody {
            identity,
            boots: Boots::default(),
            witnessed: Vec::new(),
            amnesia: None,
            next_generation: 1,
            first_flush: 1,
            last_flush: 0,
            segments: Vec::new(),
            snapshots: Vec::new(),
            incoming: None,
            archives: Vec::new(),
            reserve: 0,
        };
        Self { sequence: 1, body }
    }

    /// The same with all that may come to be in it, and a journal of [`SEGMENTS`] segments.
    pub(in crate::engine) fn fullest(identity: Identity) -> Self {
        let snapshot = |group| {
            let name = SnapshotName { op: Op::GENESIS, bytes: 0, chunk_bytes: 0, hash: Hash::ZERO };
            SnapshotMeta { group, slot: 0, name }
        };
        let archive = |init: &GroupInit| {
            let (number, last_op, last_time, bytes) = (1, Op::GENESIS, Timestamp::default(), 0);
            let newest = ChunkName { number, last_op, last_time, bytes, hash: Hash::ZERO };
            init.archive.map(|_| ArchiveMeta { group: init.group, first: 1, newest })
        };
        let mut peers: BTreeSet<NodeId> =
            identity.groups.iter().flat_map(|init| init.voters.clone()).collect();
        // Nodes that come later.
        peers.extend((0..PEERS_MORE).map(|later| NodeId::new(u64::MAX - later)));
        let by = identity.node;
        let mut full = Self::first(identity);
        let body = &mut full.body;
        body.boots = Boots::fullest();
        body.witnessed = peers.into_iter().map(|peer| (peer, Witnessed::default())).collect();
        body.amnesia = Some(Amnesia { by, what: " ".repeat(AMNESIA_BYTES) });
        let segment = SegmentMeta { slot: 0, bytes: 0, generation: 0, from: 0, end: Some(0) };
        body.segments = vec![segment; SEGMENTS];
        body.snapshots = body.identity.groups.iter().map(|init| snapshot(init.group)).collect();
        body.incoming = body.snapshots.first().copied();
        body.archives = body.identity.groups.iter().filter_map(archive).collect();
        full
    }

    /// Where this version goes in the file.
    pub(in crate::engine) fn offset(&self) -> u64 {
        self.sequence % 2 * crate::types::u64_of(AREA_BYTES)
    }

    /// The four copies of an area.
    ///
    /// # Errors
    /// When the body does not fit a copy; says how large it is.
    pub(in crate::engine) fn to_area(&self) -> Result<Vec<u8>, String> {
        let body = codec::encode(&self.body);
        let body_bytes = u32::try_from(body.len()).ok().filter(|_| HEAD_BYTES + body.len() <= COPY_BYTES);
        let Some(body_bytes) = body_bytes else {
            return Err(format!(
                "the manifest needs {} bytes; a copy holds {COPY_BYTES}",
                HEAD_BYTES + body.len()
            ));
        };
        let mut hashed = ByteWriter::with_capacity(16 + body.len());
        hashed.u32(FORMAT_VERSION).u32(body_bytes).u64(self.sequence).put(&body);
        let hash = Hash::of(hashed.as_slice());
        let mut area = ByteWriter::with_capacity(AREA_BYTES);
        for _ in 0..COPIES {
            area.put(&MAGIC).put(&hashed.as_slice()[..16]).put(hash.as_bytes()).put(&body);
            area.pad_to(COPY_BYTES);
        }
        Ok(area.finish())
    }

    /// Opens the highest sequence that has equal copies in two places. `reads` are the places in order, each with what was
    /// read there, which may be nothing, or differ where a read lied.
    ///
    /// # Errors
    /// A sentence for the operator when there is none, or when another version of the format wrote it.
    pub(in crate::engine) fn open(reads: &[Vec<Bytes>], marks: &mut impl Marks) -> Result<Self, String> {
        let places: Vec<Vec<Copy>> =
            reads.iter().map(|reads| reads.iter().filter_map(|bytes| read_copy(bytes)).collect()).collect();
        let copies = || places.iter().flatten();
        let held = |copy: &Copy| places.iter().filter(|place| place.contains(copy)).count();
        let Some(newest) = copies().filter(|copy| held(copy) >= 2).max_by_key(|copy| copy.sequence) else {
            let found = places.iter().filter(|place| !place.is_empty()).count();
            return Err(format!("no two equal copies of the manifest ({found} of 8 copies are readable)"));
        };
        if copies().any(|copy| held(copy) < COPIES) {
            marks.hit(Mark::ManifestTorn);
        }
        if copies().any(|copy| copy.sequence > newest.sequence) {
            marks.hit(Mark::ManifestOlderWins);
        }
        if newest.version != FORMAT_VERSION {
            let found = newest.version;
            return Err(format!(
                "the directory has format version {found}; this build reads {FORMAT_VERSION}"
            ));
        }
        let body: ManifestBody = codec::decode(newest.body)
            .map_err(|error| format!("the manifest's copies are whole but say nothing readable: {error}"))?;
        if let Some(meta) = body.archives.iter().find(|meta| !meta.is_sound()) {
            let ArchiveMeta { group, first, newest } = meta;
            return Err(format!(
                "the manifest names an archive of group {group} that no node writes: chunks {first} to {}, of which the \
                 newest has {} bytes",
                newest.number, newest.bytes
            ));
        }
        match body.snapshots.iter().chain(&body.incoming).find(|meta| !meta.name.is_sound()) {
            Some(SnapshotMeta { group, name, .. }) => Err(format!(
                "the manifest names a snapshot of group {group} that no node writes: {} bytes in chunks of {}",
                name.bytes, name.chunk_bytes
            )),
            None => Ok(Self { sequence: newest.sequence, body }),
        }
    }
}

/// The places of a manifest's file.
pub(in crate::engine) fn places(file: &Bytes) -> Vec<Vec<Bytes>> {
    file.chunks(COPY_BYTES).map(|copy| vec![file.slice_ref(copy)]).collect()
}

#[derive(Debug, Eq, PartialEq)]
struct Copy<'a> {
    version: u32,
    sequence: u64,
    body: &'a [u8],
}

fn read_copy(bytes: &[u8]) -> Option<Copy<'_>> {
    let mut reader = ByteReader::new(bytes);
    if reader.array().ok()? != MAGIC {
        return None;
    }
    let fixed = reader.rest();
    let version = reader.u32().ok()?;
    let body_bytes = reader.u32().ok()?;
    let sequence = reader.u64().ok()?;
    let hash = Hash::from_bytes(reader.array().ok()?);
    let body = reader.take(usize_of(u64::from(body_bytes))).ok()?;
    (Hash::of_pieces(&[&fixed[..16], body]) == hash).then_some(Copy { version, sequence, body })
}

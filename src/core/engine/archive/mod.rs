//! The archive of each group: its committed entries for good, chunk by chunk, off the path of the acknowledgement.
//!
//! ```text
//! its own      entries applied -> a chunk is sealed -> its file is put on the disk -> the manifest names it
//! of a peer    pieces come -> all of it verified -> the same way; it takes the place of what rotted
//! to a peer    pieces of the file are read and handed out; who gets them verifies the whole
//! ```
//!
//! The manifest names the newest chunk alone: that one names the earlier ones, and a start reads none of them. A chunk is never
//! changed, and dropped oldest first.

mod chunk;
mod inspection;
mod lookup;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;
use chunk::names_after;
pub use chunk::{At, ChunkName, Sealed, Sought, archived_bytes};
pub(in crate::engine) use chunk::{ChunkHead, HEAD_BYTES, open};
pub(in crate::engine) use inspection::inspect_archive;
pub use inspection::{InspectedChunk, InspectedRun};
pub use lookup::Found;
use lookup::Lookup;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::EngineEvent;
use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::types::{Blob, GroupId, Mark, Marks, NodeId, Op};

/// The archive of a group as the manifest names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct ArchiveMeta {
    pub group: GroupId,
    /// The number of the oldest chunk that is kept.
    pub first: u64,
    pub newest: ChunkName,
}

/// A piece of a chunk's file, on its way between two nodes.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct ChunkPiece {
    /// Whose archive.
    pub group: GroupId,
    /// Which chunk of it.
    pub number: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// As they lie on a disk.
    pub bytes: Blob,
}

notation_struct!("piece" => ChunkPiece { group, number, offset, bytes });

/// What happens to archives, beside what the manifest says of them.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct ArchiveStore {
    /// The names that the next chunk of a group is to carry, as far as they are known.
    names: BTreeMap<GroupId, Vec<ChunkName>>,
    /// Heads that are being read for them.
    heads: Vec<HeadRead>,
    writing: Option<WritingChunk>,
    lookups: Vec<Lookup>,
    /// Pieces that are being read for peers.
    pieces: Vec<PieceRead>,
    /// Chunks that are not as they were sealed, and are to come from a peer.
    rotten: BTreeMap<(GroupId, u64), ChunkName>,
    /// Those of them of which not even the head can be read.
    headless: BTreeSet<(GroupId, u64)>,
}

/// A chunk on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct WritingChunk {
    id: DiskOpId,
    group: GroupId,
    name: ChunkName,
    /// What the manifest is to say then; nothing new when it takes the place of what rotted.
    meta: Option<ArchiveMeta>,
}

#[derive(Clone, Copy, Debug)]
struct HeadRead {
    id: DiskOpId,
    group: GroupId,
    name: ChunkName,
    /// It was read before, and was not as it was sealed.
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct PieceRead {
    id: DiskOpId,
    to: NodeId,
    group: GroupId,
    number: u64,
    offset: u64,
}

/// What a completion meant to the archives.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::engine) enum ArchiveEvent {
    NotMine,
    /// What rotted is whole again.
    Repaired,
    /// Another chunk is durable: the manifest can name it.
    Sealed(ArchiveMeta),
}

/// Pieces that are read for peers at once, and entries that are looked up; what is asked for beyond that is asked for again.
const READS_MAX: usize = 8;

impl ArchiveMeta {
    /// Whether a node could have written it.
    pub(in crate::engine) fn is_sound(&self) -> bool {
        self.newest.is_sound() && (1..=self.newest.number).contains(&self.first)
    }

    fn has(&self, number: u64) -> bool {
        (self.first..=self.newest.number).contains(&number)
    }

    /// The same with one chunk more, of which there are to be so many at most.
    fn with(before: Option<&Self>, group: GroupId, newest: ChunkName, chunks_max: u32) -> Self {
        let follows = before.filter(|before| before.newest.number + 1 == newest.number);
        let first = follows.map_or(newest.number, |before| before.first);
        let least = (newest.number + 1).saturating_sub(u64::from(chunks_max)).max(1);
        Self { group, first: first.max(least), newest }
    }
}

impl ArchiveStore {
    /// Whether a chunk is on its way to the disk.
    pub(in crate::engine) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether the names are known that the chunk behind the newest is to carry; when they are not they are read.
    pub(in crate::engine) fn knows_names(
        &mut self,
        group: GroupId,
        meta: Option<&ArchiveMeta>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let Some(ArchiveMeta { newest, .. }) = meta else { return true };
        let is_known = self.names.get(&group).is_some_and(|names| names.first() == Some(newest));
        let is_lost = self.headless.contains(&(group, newest.number));
        if !is_known && !is_lost && self.heads.iter().all(|read| read.group != group) {
            self.read_head(HeadRead { id: ids(), group, name: *newest, again: false }, out);
        }
        is_known
    }

    fn read_head(&mut self, read: HeadRead, out: &mut DiskOut<'_, impl Marks>) {
        let HeadRead { id, group, name, .. } = read;
        let bytes = u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX);
        out.push(DiskOp::Read { id, file: archive_file(group, name.number), offset: 0, bytes });
        self.heads.push(read);
    }

    /// Seals `entries`, which follow the chunk that `names` begins with, and starts to write them; no other chunk is on its
    /// way.
    pub(in crate::engine) fn seal(
        &mut self,
        (group, before, chunks_max): (GroupId, Option<&ArchiveMeta>, u32),
        entries: &[Sealed],
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let names = before.and_then(|_| self.names.get(&group)).cloned().unwrap_or_default();
        let (name, file, is_whole) = chunk::seal(group, &names, entries);
        out.marks.hit(Mark::ChunkSealed);
        if !is_whole {
            out.marks.hit(Mark::ChunkSealedWithHole);
            self.rotten.insert((group, name.number), name);
        }
        let meta = ArchiveMeta::with(before, group, name, chunks_max);
        self.names.insert(group, names_after(name, &names));
        self.put(WritingChunk { id, group, name, meta: Some(meta) }, file, out);
    }

    /// Takes all bytes of a chunk that came from a peer: one that rotted here, the next one, or, if peers have no earlier ones
    /// any more, a later one. Whether it was of use.
    pub(in crate::engine) fn take(
        &mut self,
        (group, before, chunks_max): (GroupId, Option<&ArchiveMeta>, u32),
        file: &Bytes,
        skips: bool,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let Some(head) = open(group, file) else {
            out.marks.hit(Mark::ChunkRefused);
            return false;
        };
        let name = head.name;
        if let Some(before) = before.filter(|before| name.number <= before.newest.number) {
            let is_wanted = before.has(name.number) && self.rotten.get(&(group, name.number)) == Some(&name);
            if is_wanted {
                self.put(WritingChunk { id, group, name, meta: None }, Blob(file.clone()), out);
            }
            return is_wanted;
        }
        let follows = head.earlier.first() == before.map(|before| &before.newest);
        if !follows && !skips {
            out.marks.hit(Mark::ChunkRefused);
            return false;
        }
        out.marks.hit(if follows { Mark::ChunkFetched } else { Mark::ChunksSkipped });
        let meta = ArchiveMeta::with(before, group, name, chunks_max);
        self.names.insert(group, names_after(name, &head.earlier));
        self.put(WritingChunk { id, group, name, meta: Some(meta) }, Blob(file.clone()), out);
        true
    }

    fn put(&mut self, chunk: WritingChunk, data: Blob, out: &mut DiskOut<'_, impl Marks>) {
        let WritingChunk { id, group, name, .. } = chunk;
        out.push(DiskOp::Put { id, file: archive_file(group, name.number), data });
        self.writing = Some(chunk);
    }

    /// `meta` is in force: what is older than its first chunk is not wanted any more.
    pub(in crate::engine) fn installed(&mut self, meta: &ArchiveMeta) {
        let is_kept = |group: GroupId, number| group != meta.group || number >= meta.first;
        self.rotten.retain(|(group, number), _| is_kept(*group, *number));
        self.headless.retain(|(group, number)| is_kept(*group, *number));
    }

    /// The next chunk behind `last` that is to come from a peer because it rotted; they go round.
    pub(in crate::engine) fn rotten_behind(&self, last: (GroupId, u64)) -> Option<(GroupId, u64)> {
        let behind = self.rotten.range((Bound::Excluded(last), Bound::Unbounded)).next();
        behind.or_else(|| self.rotten.first_key_value()).map(|(chunk, _)| *chunk)
    }

    pub(in crate::engine) fn is_rotten(&self, chunk: (GroupId, u64)) -> bool {
        self.rotten.contains_key(&chunk)
    }

    pub(in crate::engine) fn mark_rotten(&mut self, group: GroupId, name: ChunkName) {
        self.rotten.insert((group, name.number), name);
    }

    /// Reads a piece of a chunk for a peer.
    pub(in crate::engine) fn read_piece(
        &mut self,
        to: NodeId,
        meta: &ArchiveMeta,
        (number, offset, bytes): (u64, u64, u32),
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if !meta.has(number) || self.pieces.len() >= READS_MAX {
            return;
        }
        let group = meta.group;
        out.push(DiskOp::Read { id, file: archive_file(group, number), offset, bytes });
        self.pieces.push(PieceRead { id, to, group, number, offset });
    }

    /// Looks up an entry that is no newer than the newest chunk, and what follows it there; whether it is begun.
    pub(in crate::engine) fn look_up(
        &mut self,
        token: u64,
        meta: &ArchiveMeta,
        sought: Sought,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let is_begun = self.lookups.len() < READS_MAX;
        if is_begun {
            self.lookups.push(Lookup::begin(token, meta, sought, id, out));
        }
        is_begun
    }

    /// Takes the completion of a read, which may have failed: `None` when it is somebody else's, else what it leads to.
    pub(in crate::engine) fn on_read<'a>(
        &mut self,
        done: &DiskDone,
        of: impl Fn(GroupId) -> Option<&'a ArchiveMeta>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<Option<EngineEvent>> {
        let bytes = match &done.outcome {
            DiskOutcome::Read(bytes) => bytes.0.clone(),
            DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full | DiskOutcome::Failed => {
                Bytes::new()
            }
        };
        if let Some(index) = self.pieces.iter().position(|read| read.id == done.id) {
            let PieceRead { to, group, number, offset, .. } = self.pieces.swap_remove(index);
            let piece = ChunkPiece { group, number, offset, bytes: Blob(bytes) };
            let is_read = !piece.bytes.as_slice().is_empty();
            return Some(is_read.then_some(EngineEvent::PieceRead { to, piece }));
        }
        if let Some(index) = self.heads.iter().position(|read| read.id == done.id) {
            let read = self.heads.swap_remove(index);
            self.take_head(read, &bytes, ids, out);
            return Some(None);
        }
        let index = self.lookups.iter().position(|lookup| lookup.is_reading(done.id))?;
        let mut lookup = self.lookups.swap_remove(index);
        let (token, group) = (lookup.token, lookup.group);
        let first = of(group).map_or(u64::MAX, |meta| meta.first);
        let Some(found) = lookup.go_on(&bytes, first, ids, out) else {
            self.lookups.push(lookup);
            return Some(None);
        };
        if found == Found::Unreadable {
            out.marks.hit(Mark::ChunkRottenFoundByLookup);
            self.mark_rotten(group, lookup.chunk());
        }
        Some(Some(EngineEvent::Found { token, found }))
    }

    fn take_head(
        &mut self,
        read: HeadRead,
        bytes: &[u8],
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let HeadRead { group, name, again, .. } = read;
        match ChunkHead::read(bytes).filter(|head| head.is_of(group, &name)) {
            Some(head) => {
                self.names.insert(group, names_after(name, &head.earlier));
            }
            None if !again => self.read_head(HeadRead { id: ids(), again: true, ..read }, out),
            None => {
                out.marks.hit(Mark::ChunkHeadRotten);
                self.headless.insert((group, name.number));
                self.mark_rotten(group, name);
            }
        }
    }

    /// Takes a completion of a write.
    pub(in crate::engine) fn on_done(&mut self, id: DiskOpId, marks: &mut impl Marks) -> ArchiveEvent {
        let written = self.writing.take_if(|writing| writing.id == id);
        let Some(WritingChunk { group, name, meta, .. }) = written else { return ArchiveEvent::NotMine };
        let Some(meta) = meta else {
            marks.hit(Mark::ChunkRepaired);
            self.rotten.remove(&(group, name.number));
            self.headless.remove(&(group, name.number));
            return ArchiveEvent::Repaired;
        };
        ArchiveEvent::Sealed(meta)
    }

    /// An operation found no space: whether it was a chunk's, which is given up.
    pub(in crate::engine) fn finds_no_space(&mut self, id: DiskOpId) -> bool {
        let given_up = self.writing.take_if(|writing| writing.id == id);
        if let Some(WritingChunk { group, name, meta: Some(_), .. }) = &given_up {
            self.names.remove(group);
            self.rotten.remove(&(*group, name.number));
        }
        given_up.is_some()
    }
}

/// Where a chunk lies.
pub(in crate::engine) fn archive_file(group: GroupId, number: u64) -> FileId {
    FileId::Archive { group, number }
}

/// The archive of `group` among these.
pub(in crate::engine) fn meta_of(metas: &[ArchiveMeta], group: GroupId) -> Option<&ArchiveMeta> {
    metas.iter().find(|meta| meta.group == group)
}

/// The op up to which the archive of a group reaches.
pub(in crate::engine) fn reaches(meta: Option<&ArchiveMeta>) -> Op {
    meta.map_or(Op::GENESIS, |meta| meta.newest.last_op)
}

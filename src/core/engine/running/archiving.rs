//! Archives of a running engine: which chunk may be sealed or taken now, and what a manifest in force lets go of.

use bytes::Bytes;

use super::Running;
use super::changes::Changes;
use crate::engine::archive::{ArchiveMeta, At, Sealed, Sought, archive_file, meta_of, reaches};
use crate::engine::disk::{DiskOpId, DiskOut};
use crate::engine::manifest_store::ManifestStore;
use crate::types::{Archiving, GroupId, Mark, Marks, NodeId, Op};

/// Chunks that the manifest which is written next may have more than the one before.
pub(super) const CHUNKS_AHEAD_MAX: u64 = 2;

/// What is durable of the archive of `group`, whether or not a manifest in force names all of it; changes newest first.
pub(super) fn durable_archive<'a>(
    changes: [&'a Changes; 2],
    manifest: &'a ManifestStore,
    group: GroupId,
) -> Option<&'a ArchiveMeta> {
    let coming = changes.into_iter().find_map(|changes| changes.archives.get(&group));
    coming.or_else(|| meta_of(&manifest.body().archives, group))
}

impl Running {
    fn archiving(&self, group: GroupId) -> Option<Archiving> {
        let groups = &self.manifest.body().identity.groups;
        groups.iter().find(|init| init.group == group)?.archive
    }

    fn archive_meta(&self, group: GroupId) -> Option<&ArchiveMeta> {
        durable_archive([&self.pending, &self.installing], &self.manifest, group)
    }

    /// The op up to which the archive in force of `group` reaches: a start finds so much.
    pub(in crate::engine) fn archived(&self, group: GroupId) -> Op {
        reaches(meta_of(&self.manifest.body().archives, group))
    }

    pub(in crate::engine) fn released(&self, group: GroupId) -> Op {
        let saved = self.saved(group);
        if self.archiving(group).is_some() { saved.min(self.archived(group)) } else { saved }
    }

    /// The op behind which the next chunk of `group` begins.
    pub(in crate::engine) fn sealed(&self, group: GroupId) -> Op {
        reaches(self.archive_meta(group))
    }

    /// The number of the chunk that the archive of `group` wants next.
    pub(in crate::engine) fn next_chunk(&self, group: GroupId) -> u64 {
        self.archive_meta(group).map_or(1, |meta| meta.newest.number + 1)
    }

    /// The number of the oldest chunk of `group` that is kept.
    pub(in crate::engine) fn first_chunk(&self, group: GroupId) -> Option<u64> {
        self.archive_meta(group).map(|meta| meta.first)
    }

    /// The next chunk behind `last` that rotted.
    pub(in crate::engine) fn rotten_chunk_behind(&self, last: (GroupId, u64)) -> Option<(GroupId, u64)> {
        self.archive.rotten_behind(last)
    }

    pub(in crate::engine) fn is_chunk_rotten(&self, chunk: (GroupId, u64)) -> bool {
        self.archive.is_rotten(chunk)
    }

    pub(in crate::engine) fn can_write_chunk(&self) -> bool {
        !self.archive.is_writing() && self.pending.chunks < CHUNKS_AHEAD_MAX && self.space.may_allocate()
    }

    /// Whether a chunk of `group` can be sealed now; what is lacking for it is read.
    pub(in crate::engine) fn archive_ready(
        &mut self,
        group: GroupId,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let meta = self.archive_meta(group).copied();
        self.can_write_chunk() && self.archive.knows_names(group, meta.as_ref(), ids, out)
    }

    /// Seals the next chunk of `group`; [`Running::archive_ready`] has said yes.
    pub(in crate::engine) fn seal_chunk(
        &mut self,
        group: GroupId,
        entries: &[Sealed],
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let Some(Archiving { chunks_max, .. }) = self.archiving(group) else { return };
        self.space.keep(archive_file(group, self.next_chunk(group)));
        let before = self.archive_meta(group).copied();
        self.archive.seal((group, before.as_ref(), chunks_max), entries, id, out);
    }

    /// Takes all bytes of a chunk that came from a peer; whether it was of use.
    pub(in crate::engine) fn take_chunk_file(
        &mut self,
        group: GroupId,
        file: &Bytes,
        skips: bool,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let Some(Archiving { chunks_max, .. }) = self.archiving(group) else { return false };
        if !self.can_write_chunk() {
            return false;
        }
        let before = self.archive_meta(group).copied();
        self.archive.take((group, before.as_ref(), chunks_max), file, skips, id, out)
    }

    /// Reads a piece of a chunk for a peer.
    pub(in crate::engine) fn read_piece(
        &mut self,
        to: NodeId,
        group: GroupId,
        piece: (u64, u64, u32),
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if let Some(meta) = self.archive_meta(group).copied() {
            self.archive.read_piece(to, &meta, piece, id, out);
        }
    }

    /// Looks an entry up that the archive reaches; whether that is begun.
    pub(in crate::engine) fn look_up(
        &mut self,
        token: u64,
        group: GroupId,
        sought: Sought,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let Some(meta) = self.archive_meta(group).copied() else { return false };
        self.archive.look_up(token, &meta, sought, id, out)
    }

    /// Whether the archive of `group` reaches the entry that `at` asks for.
    pub(in crate::engine) fn archive_reaches(&self, group: GroupId, at: At) -> bool {
        self.archive_meta(group).is_some_and(|meta| at.is_within(&meta.newest))
    }

    /// A chunk more is durable: the next manifest names it, and not those that it takes the place of.
    pub(super) fn chunk_sealed(&mut self, meta: ArchiveMeta) {
        if let Some(before) = self.archive_meta(meta.group) {
            let kept_no_more = before.first..meta.first.min(before.newest.number + 1);
            self.pending.dropped.push((meta.group, kept_no_more));
        }
        self.pending.archives.insert(meta.group, meta);
        self.pending.chunks += 1;
    }

    /// A manifest with these changes is in force.
    pub(super) fn archives_installed(&mut self, changes: &Changes, marks: &mut impl Marks) {
        changes.archives.values().for_each(|meta| self.archive.installed(meta));
        for (group, numbers) in &changes.dropped {
            for number in numbers.clone() {
                marks.hit(Mark::ChunkDropped);
                self.space.let_go(archive_file(*group, number));
            }
        }
    }
}

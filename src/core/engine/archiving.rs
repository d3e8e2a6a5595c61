//! What a node asks of its archives.

use bytes::Bytes;

use super::archive::{At, ChunkHead, Sealed, Sought};
use super::{DiskOut, Engine, EnginePhase, next_id};
use crate::types::{GroupId, Marks, NodeId, Op};

impl Engine {
    /// The op up to which the archive in force of `group` reaches: a start finds so much.
    pub fn archived(&self, group: GroupId) -> Op {
        self.running().map_or(Op::GENESIS, |running| running.archived(group))
    }

    /// The journal is not needed for a start up to here: snapshot and, where the group has one, archive cover it.
    pub fn released(&self, group: GroupId) -> Op {
        self.running().map_or(Op::GENESIS, |running| running.released(group))
    }

    /// The op behind which the next chunk of `group` begins: chunks up to there are durable, and in force soon.
    pub fn sealed(&self, group: GroupId) -> Op {
        self.running().map_or(Op::GENESIS, |running| running.sealed(group))
    }

    /// The number of the chunk that the archive of `group` wants next.
    pub fn next_chunk(&self, group: GroupId) -> u64 {
        self.running().map_or(1, |running| running.next_chunk(group))
    }

    /// The number of the oldest chunk of `group` that is kept; `None` while there is none.
    pub fn first_chunk(&self, group: GroupId) -> Option<u64> {
        self.running()?.first_chunk(group)
    }

    /// The next chunk behind `last`, by group and number, that rotted and is to come from a peer; they go round.
    pub fn rotten_chunk_behind(&self, last: (GroupId, u64)) -> Option<(GroupId, u64)> {
        self.running()?.rotten_chunk_behind(last)
    }

    /// Whether this chunk rotted and is to come from a peer.
    pub fn is_chunk_rotten(&self, group: GroupId, number: u64) -> bool {
        self.running().is_some_and(|running| running.is_chunk_rotten((group, number)))
    }

    /// Whether a chunk can be written now: no other one is on its way, and there may be space.
    pub fn can_write_chunk(&self) -> bool {
        self.running().is_some_and(|running| running.can_write_chunk())
    }

    /// Whether [`Engine::seal_chunk`] can seal one of `group` now; what is lacking for it is read.
    pub fn archive_ready(&mut self, group: GroupId, out: &mut DiskOut<'_, impl Marks>) -> bool {
        let EnginePhase::Running(running) = &mut self.phase else { return false };
        running.archive_ready(group, &mut || next_id(&mut self.ids), out)
    }

    /// Seals the next chunk of `group`: the committed entries that follow what is archived, in order, up to the one with which
    /// they reach the length of a chunk. Payloads that are not here are left out, and come from a peer later.
    pub fn seal_chunk(&mut self, group: GroupId, entries: &[Sealed], out: &mut DiskOut<'_, impl Marks>) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.seal_chunk(group, entries, next_id(&mut self.ids), out);
        }
    }

    /// The length of the chunk's file of which these are the first bytes; `None` when they are no chunk's.
    pub fn chunk_length(group: GroupId, number: u64, file: &[u8]) -> Option<u64> {
        let head = ChunkHead::read(file)?;
        (head.group == group && head.name.number == number).then_some(head.name.bytes)
    }

    /// Takes all bytes of a chunk that came from a peer: one that rotted, or the next one; with `skips` a later one, before
    /// which nothing is kept then. Whether it was of use.
    pub fn take_chunk_file(
        &mut self,
        group: GroupId,
        file: &Bytes,
        skips: bool,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let EnginePhase::Running(running) = &mut self.phase else { return false };
        running.take_chunk_file(group, file, skips, next_id(&mut self.ids), out)
    }

    /// Reads a piece of a chunk for a peer: of which chunk, from where, and how many bytes. It comes as
    /// [`super::EngineEvent::PieceRead`], unless the chunk is not here, cannot be read, or too much is being read already.
    pub fn read_piece(
        &mut self,
        to: NodeId,
        group: GroupId,
        piece: (u64, u64, u32),
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if let EnginePhase::Running(running) = &mut self.phase {
            running.read_piece(to, group, piece, next_id(&mut self.ids), out);
        }
    }

    /// Whether the archive of `group` reaches the entry that `at` asks for.
    pub fn archive_reaches(&self, group: GroupId, at: At) -> bool {
        self.running().is_some_and(|running| running.archive_reaches(group, at))
    }

    /// Looks up an entry that the archive of `group` reaches, and what follows it there; whether that is begun. It comes as
    /// [`super::EngineEvent::Found`].
    pub fn look_up(
        &mut self,
        token: u64,
        group: GroupId,
        sought: Sought,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let EnginePhase::Running(running) = &mut self.phase else { return false };
        running.look_up(token, group, sought, next_id(&mut self.ids), out)
    }
}

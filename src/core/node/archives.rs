//! Archives of groups: sealing chunks of what was applied, fetching from peers what is not here, looking entries up.
//!
//! A chunk is fetched when the log begins behind what the archive reaches, for a snapshot took the place of the rest; and when
//! one rotted. One at a time a node, piece by piece; peers are asked in turn, and what comes is verified as a whole.

use alloc::vec::Vec;

use bytes::Bytes;

use super::chunk_fetch::{ChunkFetch, ChunkGone, RequestChunk};
use super::{Effects, Group, Life, Message, Node};
use crate::engine::{At, BLOCK_BYTES, ChunkPiece, DiskOut, Engine, Found, Sought};
use crate::kernel::ChrApplication;
use crate::node::door::{Effect, Route};
use crate::types::{GroupId, Mark, Marks, NodeId, Op, u64_of};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// Seals the next chunk of a group of which enough was applied; one at a time.
    pub(super) fn archive(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        for group in &mut running.groups {
            let id = group.id();
            let Group { replica, chunk, .. } = group;
            if replica.init().archive.is_none() || !chunk.is_stale(replica.applied()) {
                continue;
            }
            let Some((from, to)) = chunk.due(replica, self.engine.sealed(id)) else { continue };
            if !self.engine.archive_ready(id, out) {
                continue;
            }
            let ops = (from.get()..=to.get()).map(Op::new);
            let entries: Vec<_> = ops.filter_map(|op| replica.committed(op)).collect();
            self.engine.seal_chunk(id, &entries, out);
        }
        self.emit_disk_ops(effects);
    }

    /// Begins to fetch a chunk when one is lacking, asks again, and gives up for now.
    pub(super) fn see_to_chunks(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        if let Some(fetch) = &mut running.fetch {
            let is_rotten = self.engine.is_chunk_rotten(fetch.group, fetch.number);
            let is_here = !is_rotten && fetch.number < self.engine.next_chunk(fetch.group);
            if is_here || (fetch.is_in_vain() && !fetch.is_whole()) {
                running.fetch = None;
            } else if fetch.is_whole() {
                return self.take_whole_chunk(effects);
            } else if fetch.peers.is_overdue(self.now.monotonic, self.config.timeouts.resend) {
                self.marks.hit(Mark::ChunkAskedAgain);
                fetch.give_up_on_peer();
                return self.ask_for_piece(effects);
            } else {
                return;
            }
        }
        self.begin_fetch(effects);
    }

    /// What no peer may have sealed yet is asked for entry by entry.
    pub(super) fn fill_gaps(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &self.life else { return };
        let archiving = running.groups.iter().filter(|group| group.replica.init().archive.is_some());
        for id in archiving.map(Group::id).collect::<Vec<_>>() {
            let sealed = self.engine.sealed(id);
            self.with_group(id, effects, |group, turn| group.replica.ask_below(turn, sealed));
        }
    }

    fn begin_fetch(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let rotten = self.engine.rotten_chunk_behind(running.last_rotten);
        let lacking: Vec<GroupId> =
            running.groups.iter().filter(|group| group.chunk.is_lacking()).map(Group::id).collect();
        // They take turns, all of them: of some there may be nobody who has them.
        running.fetches = running.fetches.wrapping_add(1);
        let next = lacking.get(running.fetches / 2 % lacking.len().max(1));
        let next = next.map(|group| (*group, self.engine.next_chunk(*group)));
        let wanted = if running.fetches.is_multiple_of(2) { next.or(rotten) } else { rotten.or(next) };
        let Some((group, number)) = wanted else { return };
        running.last_rotten =
            rotten.filter(|rotten| *rotten == (group, number)).unwrap_or(running.last_rotten);
        let peers = running.peers(group, self.config.node);
        if peers.is_empty() {
            return;
        }
        self.marks.hit(Mark::ChunkFetchBegun);
        running.fetch = Some(ChunkFetch::new(group, number, peers));
        self.ask_for_piece(effects);
    }

    fn ask_for_piece(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(fetch) = &mut running.fetch else { return };
        let asked = fetch.ask(self.now.monotonic, self.config.engine.snapshot_chunk_bytes);
        if let Some((to, ask)) = asked {
            self.send(to, Message::RequestChunk(ask), effects);
        }
    }

    /// A peer wants a piece of a chunk.
    pub(super) fn on_request_chunk(&mut self, from: NodeId, ask: RequestChunk, effects: &mut Effects) {
        let RequestChunk { group: id, number, offset, bytes } = ask;
        let concerns_it = self.concerns(id, from);
        let block = u64_of(BLOCK_BYTES);
        let is_sound = offset.is_multiple_of(block)
            && (block..=u64::from(self.config.engine.snapshot_chunk_bytes)).contains(&u64::from(bytes))
            && u64::from(bytes).is_multiple_of(block)
            && offset.checked_add(u64::from(bytes)).is_some();
        let (true, true, Some(first)) = (concerns_it, is_sound, self.engine.first_chunk(id)) else { return };
        if number < first {
            let gone = ChunkGone { group: id, first };
            return self.send(from, Message::ChunkGone(gone), effects);
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        self.engine.read_piece(from, id, (number, offset, bytes), out);
        self.emit_disk_ops(effects);
    }

    /// A peer keeps a chunk no more.
    pub(super) fn on_chunk_gone(&mut self, from: NodeId, gone: ChunkGone, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(fetch) = &mut running.fetch else { return };
        if fetch.group != gone.group || gone.first <= fetch.number || !fetch.peers.has(from) {
            return;
        }
        self.marks.hit(Mark::ChunkGoneAtPeer);
        fetch.gone = Some(fetch.gone.map_or(gone.first, |first| first.min(gone.first)));
        fetch.give_up_on_peer();
        self.ask_for_piece(effects);
    }

    /// A peer sends a piece of a chunk.
    pub(super) fn on_piece(&mut self, from: NodeId, piece: &ChunkPiece, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(fetch) = &mut running.fetch else { return };
        let is_next = (fetch.group, fetch.number, u64_of(fetch.file.len()))
            == (piece.group, piece.number, piece.offset);
        if !is_next || fetch.is_whole() || !fetch.peers.has(from) {
            return;
        }
        fetch.took(piece.bytes.as_slice());
        if fetch.length.is_none() {
            fetch.length = Engine::chunk_length(fetch.group, fetch.number, &fetch.file);
        }
        if fetch.length.is_none_or(|length| length < u64_of(fetch.file.len())) {
            self.marks.hit(Mark::PieceRefused);
            fetch.begin_anew();
            fetch.give_up_on_peer();
        }
        if fetch.is_whole() {
            self.take_whole_chunk(effects);
        } else {
            self.ask_for_piece(effects);
        }
    }

    /// All of a chunk is here: the engine verifies and keeps it. While it writes another one, this one waits.
    fn take_whole_chunk(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(mut fetch) = running.fetch.take() else { return };
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        if !self.engine.can_write_chunk() {
            out.marks.hit(Mark::ChunkWaits);
            running.fetch = Some(fetch);
            return;
        }
        let file = Bytes::from(core::mem::take(&mut fetch.file));
        if !self.engine.take_chunk_file(fetch.group, &file, fetch.skips, out) {
            fetch.begin_anew();
            fetch.give_up_on_peer();
            running.fetch = Some(fetch);
            return self.ask_for_piece(effects);
        }
        running.keeps_fetched = true;
        self.emit_disk_ops(effects);
    }

    /// Goes on with the next chunk once the last one that was fetched is on the disk: a node that joins has many to fetch.
    pub(super) fn fetch_next(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        if running.keeps_fetched && self.engine.can_write_chunk() {
            running.keeps_fetched = false;
            self.see_to_chunks(effects);
        }
    }

    /// Looks up entries of the log that were committed and applied, in memory or in the archive.
    pub(super) fn look_up(&mut self, route: Route, id: GroupId, sought: Sought, effects: &mut Effects) {
        let sought = Sought { room: sought.room.min(LOOK_UP_ROOM_MAX), ..sought };
        let at = sought.at;
        let is_archived = self.engine.archive_reaches(id, at);
        let found = match self.group(id) {
            None => Found::Refused,
            Some(_) if is_archived && at != At::Op(Op::GENESIS) => {
                let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
                let is_begun = self.engine.look_up(route.0, id, sought, out);
                self.emit_disk_ops(effects);
                if is_begun {
                    return;
                }
                Found::Refused
            }
            Some(group) => {
                let archives = group.replica.init().archive.is_some();
                match group.replica.find(sought, self.engine.sealed(id)) {
                    // What is between archive and log comes from peers.
                    Found::Gone if archives && at != At::Op(Op::GENESIS) => Found::Unreadable,
                    // It rotted, and nobody needs it but who asks.
                    Found::Unreadable if !archives => Found::Gone,
                    found => found,
                }
            }
        };
        effects.push(Effect::Found { route, found });
    }
}

/// Nobody gets more bytes along with the entry that is sought.
const LOOK_UP_ROOM_MAX: u32 = 1 << 20;

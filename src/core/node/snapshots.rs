//! Snapshots of groups: taking them, giving them to peers, fetching them from peers.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;

use super::transfer::{CHUNKS_AT_ONCE, RequestSnapshot, Transfer};
use super::writing_snapshot::WritingSnapshot;
use super::{Effects, HaltReason, Life, Message, Node};
use crate::engine::{DiskOut, SnapshotChunk};
use crate::kernel::{ChrApplication, Executor};
use crate::types::{EntryHeader, GroupId, Mark, Marks, NodeId, Op};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// Whether what a group holds here concerns `node`.
    pub(super) fn concerns(&self, id: GroupId, node: NodeId) -> bool {
        self.group(id).is_some_and(|group| group.replica.membership().concerns(node))
    }

    pub(super) fn save_snapshot(&mut self, id: GroupId) {
        // Who stands still has no state: what its snapshot in force holds is what it has.
        let Some(group) = self.group(id).filter(|group| group.halted().is_none()) else { return };
        let is_wanted =
            |last: &EntryHeader| last.op() > self.engine.saved(id) || self.engine.is_snapshot_rotten(id);
        let news = group.replica.last_applied().filter(is_wanted);
        let Some(last) = news else { return };
        let is_writing = matches!(&self.life, Life::Running(running) if running.writing.is_some());
        if is_writing || !self.engine.can_save_snapshot() {
            self.marks.hit(Mark::SnapshotWaits);
            return;
        }
        let writer = group.executor().snapshot(last);
        let (now, chunk_bytes) = (self.now.monotonic, self.config.engine.snapshot_chunk_bytes);
        if let Life::Running(running) = &mut self.life {
            running.writing = Some(WritingSnapshot::new(now, id, writer, chunk_bytes));
        }
    }

    /// Writes a piece of the snapshot that is being written, if one is due; the last one lets it go to the disk.
    pub(super) fn write_snapshot_on(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let (now, chunk_bytes) = (self.now.monotonic, self.config.engine.snapshot_chunk_bytes);
        let Some(writing) = running.writing.as_mut().filter(|writing| writing.due() <= now) else { return };
        if !writing.go_on(now, chunk_bytes) {
            self.marks.hit(Mark::SnapshotPiece);
            return;
        }
        // There was space when it began.
        if !self.engine.can_save_snapshot() {
            writing.wait(now, self.config.timeouts.heartbeat);
            self.marks.hit(Mark::SnapshotWaits);
            return;
        }
        let Some(WritingSnapshot { group, writer, body, .. }) = running.writing.take() else { return };
        // One of a peer may have come meanwhile that goes farther.
        let (op, saved) = (writer.op(), self.engine.saved(group));
        if op > saved || op == saved && self.engine.is_snapshot_rotten(group) {
            self.marks.hit(Mark::SnapshotTaken);
            let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
            self.engine.save_snapshot(group, op, body, out);
            self.emit_disk_ops(effects);
        }
    }

    /// A peer wants a snapshot. Where there is none that goes far enough, one is taken: the peer will ask again.
    pub(super) fn on_request_snapshot(&mut self, from: NodeId, ask: RequestSnapshot, effects: &mut Effects) {
        let RequestSnapshot { group: id, at_least, name, mut chunks } = ask;
        if !self.concerns(id, from) {
            return;
        }
        let in_force = self.engine.snapshot(id).filter(|name| name.op >= at_least);
        let known = name.filter(|name| self.engine.has_snapshot(id, name));
        let Some(name) = known.or(in_force) else {
            if self.group(id).is_some_and(|group| group.replica.applied() >= at_least) {
                self.save_snapshot(id);
                self.emit_disk_ops(effects);
            }
            return;
        };
        if known.is_none() {
            chunks = Vec::from([0]);
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        for index in chunks.into_iter().take(CHUNKS_AT_ONCE) {
            self.engine.read_chunk(self.now.monotonic, from, (id, name, index), out);
        }
        self.emit_disk_ops(effects);
    }

    /// A peer sends a chunk of a snapshot.
    pub(super) fn on_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(transfer) = &mut running.transfer else { return };
        let is_wanted =
            transfer.group == chunk.group && transfer.peers.has(from) && chunk.name.op >= transfer.at_least;
        if !is_wanted {
            return;
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        let coming = self.engine.incoming(0);
        let is_another = coming.is_some_and(|(group, name, _)| (group, name) != (chunk.group, chunk.name));
        let result = if is_another && transfer.takes_another() {
            out.marks.hit(Mark::TransferBegunAnew);
            self.engine.forsake_incoming(out).map(|()| false)
        } else {
            self.engine.take_chunk(chunk, out)
        };
        let is_over = *result.as_ref().unwrap_or(&false) && transfer.took();
        self.emit_disk_ops(effects);
        match result {
            Err(error) => self.halt_over(error, effects),
            Ok(_) if is_over => self.ask_for_snapshot(effects),
            Ok(_) => {}
        }
    }

    /// A snapshot that came from a peer is in force.
    pub(super) fn on_received(&mut self, id: GroupId, body: Bytes, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        running.transfer.take_if(|transfer| transfer.group == id);
        if let Some(waiting) = running.waiting.remove(&id) {
            self.marks.hit(Mark::GroupBackByTransfer);
            match self.recover_group(waiting.init, Some(body), waiting.log, waiting.beats) {
                Ok(group) => self.add_group(group, effects),
                Err(what) => self.halt(HaltReason::Storage { what }, effects),
            }
            return;
        }
        let Some(group) = self.group(id) else { return };
        let (application, init) = (self.application.clone(), group.replica.init().clone());
        match Executor::restore(application, init, &body) {
            Ok((executor, last)) => {
                let executor = executor.guarded(self.guard);
                self.with_group(id, effects, |group, turn| group.install(turn, executor, last));
            }
            Err(error) => {
                self.halt(HaltReason::Storage { what: format!("group {id}: {error}") }, effects);
            }
        }
    }

    /// Begins to fetch a snapshot when one is lacking, asks again, and ends it when it is not needed any more.
    pub(super) fn see_to_transfer(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &self.life else { return };
        if let Some(transfer) = &running.transfer {
            if running.lacks(transfer.group, transfer.at_least) {
                if transfer.peers.is_overdue(self.now.monotonic, self.config.timeouts.resend) {
                    self.ask_somebody_else(effects);
                }
                return;
            }
            self.end_transfer(effects);
        }
        self.begin_transfer(effects);
    }

    fn end_transfer(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        running.transfer = None;
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        let result = self.engine.forsake_incoming(out);
        self.emit_disk_ops(effects);
        if let Err(error) = result {
            self.halt_over(error, effects);
        }
    }

    /// Fetches first what was being fetched before a start, then what a group cannot run without, then what peers have let
    /// go of.
    fn begin_transfer(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let me = self.config.node;
        let coming = self.engine.incoming(0).map(|(group, name, _)| (group, name.op, None));
        let coming = coming.filter(|(group, op, _)| running.lacks(*group, *op));
        let waiting = running.waiting.iter().map(|(id, waiting)| (*id, waiting.at_least, None)).next();
        let lagging = running.groups.iter().find_map(|group| {
            let (peer, to) = group.replica.needs_snapshot()?;
            Some((group.id(), to, Some(peer)))
        });
        let Some((id, at_least, first)) = coming.or(waiting).or(lagging) else { return };
        let mut peers = running.peers(id, me);
        // Who joins may hear of it from a member that it does not know as one yet.
        peers.extend(first.filter(|first| !peers.contains(first)));
        running.transfer = Some(Transfer::new(id, at_least, peers, first));
        self.marks.hit(Mark::TransferBegun);
        self.ask_for_snapshot(effects);
    }

    fn ask_somebody_else(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(transfer) = &mut running.transfer else { return };
        self.marks.hit(Mark::TransferAskedAgain);
        transfer.peers.give_up();
        self.ask_for_snapshot(effects);
    }

    fn ask_for_snapshot(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(transfer) = &mut running.transfer else { return };
        let coming = self.engine.incoming(CHUNKS_AT_ONCE);
        let coming = coming.filter(|(group, ..)| *group == transfer.group);
        let chunks = coming.map(|(_, name, chunks)| (name, chunks));
        // All of it is here, and on its way to be in force.
        if chunks.as_ref().is_some_and(|(_, chunks)| chunks.is_empty()) {
            return;
        }
        if let Some((to, ask)) = transfer.ask(self.now.monotonic, chunks) {
            self.send(to, Message::RequestSnapshot(ask), effects);
        }
    }
}

impl<A: ChrApplication> super::Running<A> {
    /// Whether a group has no state here, or one of less than `op`.
    fn lacks(&self, group: GroupId, op: Op) -> bool {
        let known = self.groups.binary_search_by_key(&group, super::Group::id);
        known.map_or(self.waiting.contains_key(&group), |index| self.groups[index].replica.applied() < op)
    }

    /// The members of a group, but for `me`.
    pub(super) fn peers(&self, group: GroupId, me: NodeId) -> Vec<NodeId> {
        let members: Vec<NodeId> = match self.groups.binary_search_by_key(&group, super::Group::id) {
            Ok(index) => self.groups[index].replica.membership().members().collect(),
            Err(_) => {
                let waiting = self.waiting.get(&group);
                waiting.map(|waiting| waiting.members.iter().copied().collect()).unwrap_or_default()
            }
        };
        members.into_iter().filter(|member| *member != me).collect()
    }
}

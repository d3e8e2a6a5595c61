//! Groups that stand still over an event that their application cannot execute, and how they go on once the log skips it.
//!
//! ```text
//! panic at op n -> the state is lost; votes, log and archive go on; clients and questions are told why
//! operator      -> Deed::Skip, to the primary -> an entry like any other, prepared, acknowledged, committed
//! committed     -> the snapshot in force, read again from the disk, and the log behind it up to n - 1 -> n without the event
//! ```

use super::{Effects, Group, Life, Node};
use crate::engine::{DiskOut, SnapshotChunk};
use crate::kernel::{ChrApplication, Executor, Halt};
use crate::node::state_reads::StateReads;
use crate::types::{GroupId, Marks, Op};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// Groups that may go on read their snapshot again, one chunk at a time; what was asked for and did not come is asked for
    /// again.
    pub(super) fn see_to_halted(&mut self, effects: &mut Effects) {
        for index in 0..self.groups().len() {
            let group = &self.groups()[index];
            if group.may_go_on() {
                self.read_state(group.id(), effects);
            }
        }
    }

    fn read_state(&mut self, id: GroupId, effects: &mut Effects) {
        let Some(name) = self.engine.snapshot(id) else {
            // Nothing was saved yet, or what was has rotted: then a start fetches one from a peer.
            if let Some(group) = self.group(id).filter(|_| self.engine.saved(id) == Op::GENESIS) {
                let executor = Executor::new(self.application.clone(), group.replica.init().clone());
                self.go_on_from(id, executor, effects);
            }
            return;
        };
        let me = self.config.node;
        let Some(group) = self.group_mut(id) else { return };
        let reads = group.state_reads.take_if(|reads| reads.name == name);
        let reads = group.state_reads.insert(reads.unwrap_or_else(|| StateReads::of(name)));
        let chunk = (id, name, reads.next());
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        self.engine.read_chunk(self.now.monotonic, me, chunk, out);
        self.emit_disk_ops(effects);
    }

    /// A chunk of this node's own snapshot was read.
    pub(super) fn on_own_chunk(&mut self, chunk: &SnapshotChunk, effects: &mut Effects) {
        let SnapshotChunk { group: id, name, index, bytes } = chunk;
        let Some(group) = self.group_mut(*id) else { return };
        let Some(reads) = &mut group.state_reads else { return };
        // What was asked for twice comes twice.
        if reads.name != *name || reads.next() != *index {
            return;
        }
        let Some(payload) = name.open(*id, *index, &bytes.0) else { return };
        reads.payloads.push(payload);
        if reads.next() < name.chunks() {
            return self.read_state(*id, effects);
        }
        let payloads = core::mem::take(&mut reads.payloads);
        let init = group.replica.init().clone();
        let Some(body) = name.join(payloads) else { return };
        if let Ok((executor, _)) = Executor::restore(self.application.clone(), init, &body) {
            self.go_on_from(*id, executor, effects);
        }
    }

    fn go_on_from(&mut self, id: GroupId, executor: Executor<A>, effects: &mut Effects) {
        let executor = executor.guarded(self.guard);
        let mut still: Option<Halt> = None;
        self.with_group(id, effects, |group, turn| {
            still = group.come_back(executor, turn.marks).err();
        });
        if let (Some(halt), Life::Running(running)) = (still, &mut self.life)
            && let Ok(index) = running.groups.binary_search_by_key(&id, Group::id)
        {
            running.groups[index].stand_still(halt, effects, &mut self.marks);
        }
    }

    fn group_mut(&mut self, id: GroupId) -> Option<&mut Group<A>> {
        let Life::Running(running) = &mut self.life else { return None };
        let index = running.groups.binary_search_by_key(&id, Group::id).ok()?;
        Some(&mut running.groups[index])
    }
}

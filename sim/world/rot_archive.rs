//! Chunks of archives rot as long as another voter has the same one, whole.

use std::sync::Arc;

use bytes::Bytes;
use chronon_core::engine::{DiskOp, FileId};
use chronon_core::kernel::ChrApplication;
use chronon_core::types::{GroupId, NodeId};

use super::World;
use super::rot::damaged;
use crate::plan::Damage;
use crate::random::Purpose;
use crate::trace::Entity;
use crate::workload::Workload;

/// The chunk that `op` puts there anew.
pub(super) fn chunk_put(op: &DiskOp) -> Option<(GroupId, u64)> {
    match op {
        DiskOp::Put { file: FileId::Archive { group, number }, .. } => Some((*group, *number)),
        _ => None,
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A chunk on the disk of `node` rots, if there is one that may.
    pub(super) fn rot_archive(&mut self, node: NodeId, how: Damage, nth: u64) {
        if !self.losses.lost.is_empty() {
            return;
        }
        let index = self.machine_of(node);
        let mut files: Vec<(GroupId, u64, Bytes)> = Vec::new();
        for (file, bytes) in self.machines[index].disk.durable().files() {
            let FileId::Archive { group, number } = file else { continue };
            let data = self.machines[index].disk.durable().read(file, 0, bytes as usize);
            files.extend(data.filter(|data| !data.is_empty()).map(|data| (group, number, data)));
        }
        files.sort_by_key(|(group, number, _)| (std::cmp::Reverse(*number), *group));
        let may_rot =
            |(group, number, data): &&(GroupId, u64, Bytes)| self.has_twin(node, (*group, *number), data);
        let chosen = files.iter().filter(may_rot).take(usize::try_from(nth).unwrap_or(usize::MAX)).last();
        let Some((group, number, data)) = chosen.cloned() else { return };
        let stray = files.iter().find(|(_, _, other)| *other != data).map(|(_, _, other)| other.clone());
        let mut draw = self.randomness.draw(Purpose::Rot, node.get(), &[self.now.as_nanos(), nth, 3]);
        let meant = data.len() - data.iter().rev().take_while(|byte| **byte == 0).count();
        let (harmed, instead) = damaged(&data, meant, &stray.unwrap_or_default(), how, &mut draw);
        let file = FileId::Archive { group, number };
        let machine = &mut self.machines[index];
        machine.rotted_chunks.insert((group, number));
        match how {
            Damage::Unreadable => machine.disk.spoil(file, harmed.start as u64),
            _ => machine.disk.harm(file, harmed.start as u64, &instead),
        }
        self.tally.rotted += 1;
        let line = format_args!("node {node} {file} bytes {harmed:?}");
        self.trace.note(self.now, Entity::Node(node), "rot", [number, harmed.start as u64], line);
    }

    /// Whether another voter of the group has this chunk, and it did not rot there.
    fn has_twin(&self, node: NodeId, chunk: (GroupId, u64), data: &Bytes) -> bool {
        let (group, number) = chunk;
        let config = Arc::clone(&self.config);
        let Some(init) = config.groups.iter().find(|init| init.group == group) else { return false };
        self.members(init).into_iter().filter(|member| *member != node).any(|member| {
            let machine = self.machine(member);
            let file = FileId::Archive { group, number };
            let is_whole = !machine.rotted_chunks.contains(&chunk);
            is_whole && machine.disk.durable().read(file, 0, data.len()).as_ref() == Some(data)
        })
    }
}

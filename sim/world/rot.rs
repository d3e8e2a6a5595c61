//! Rot, and the budget that keeps it within what the design promises to survive.
//!
//! A flush may rot once the next one, which names it, is durable as well, and neither of its neighbours has rotted; one
//! with a promise never as a whole, for nobody else has that. Of
//! the copies of an entry only so many may rot that any quorum holds another one: which, is drawn for the entry, so that
//! what rots on one disk does not hang on what rotted on others. Nothing rots any more once a disk was lost. A run that goes
//! beyond its budget minds none of this but the last.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use chronon_core::engine::{BLOCK_BYTES, DiskOp, FileId};
use chronon_core::kernel::ChrApplication;
use chronon_core::types::{GroupId, NodeId, Op, Quorums};

use super::World;
use crate::config::WorldConfig;
use crate::disk::{DiskImage, SimDisk};
use crate::journal::{self, Placed, Proven, Record, RecordKind};
use crate::oracle::Observed;
use crate::plan::Damage;
use crate::random::{Draw, Purpose, Randomness};
use crate::trace::Entity;
use crate::workload::Workload;

/// The `nth` of the flushes on `disk` that may still rot, from the newest, or the oldest when there are fewer.
/// `near` tells whether one next to this number has, and `spends` whether this copy of a record may go; `beyond` the budget
/// nothing has to name what is lost.
fn choose(
    disk: &DiskImage,
    nth: u64,
    beyond: bool,
    near: impl Fn(u64) -> bool,
    spends: impl Fn(&Record) -> bool,
) -> Option<Chosen> {
    let mut flushes: BTreeMap<u64, Placed> = BTreeMap::new();
    for flush in journal::on_disk(disk) {
        // A number comes again where what was torn behind it was left.
        let known = flushes.get(&flush.number);
        if known.is_none_or(|known| known.generation < flush.generation) {
            flushes.insert(flush.number, flush);
        }
    }
    let barrier = flushes.values().map(|flush| flush.barrier).max()?;
    // Without any flush behind it nobody can tell here that it was there.
    let behind = |number: u64| flushes.range(number + 1..).next().map(|(next, _)| *next);
    let named =
        |number: u64| number < barrier && behind(number).is_some_and(|next| beyond || next == number + 1);
    let may_rot = flushes.values().rev().filter(|flush| named(flush.number) && !near(flush.number));
    let mut chosen = None;
    let mut left = nth;
    for flush in may_rot {
        let Ok(Some(read)) = journal::read(&flush.data, flush.offset, &mut Proven::default()) else {
            continue;
        };
        if read.records.iter().all(&spends) {
            chosen = Some((flush.clone(), read.meant));
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    let (flush, meant) = chosen?;
    let stray = flushes.values().find(|other| other.number != flush.number)?.data.clone();
    Some(Chosen { flush, meant, stray })
}

/// A flush that is to rot.
struct Chosen {
    flush: Placed,
    /// Length of what it says.
    meant: usize,
    /// Another flush of the disk.
    stray: Bytes,
}

/// Whether `node` may lose its copy of the entry of this group at this op: the copies of a few ops in a row may be lost
/// on the same nodes, so that whole flushes can rot.
fn spends(config: &WorldConfig, randomness: Randomness, node: NodeId, group: GroupId, op: u64) -> bool {
    let Some(init) = config.groups.iter().find(|init| init.group == group) else { return false };
    let key = randomness.key(Purpose::Rot, u64::from(group.get())).and(op / OPS_ALIKE);
    let rank = |voter: NodeId| key.draw(&[voter.get()]).word();
    if config.changes_members_of(group) {
        return false;
    }
    let spare = init.voters.len() - Quorums::of(init.voters.len()).replication() as usize;
    let before = init.voters.iter().filter(|voter| rank(**voter) < rank(node)).count();
    before < spare
}

/// So many ops in a row may be lost on the same nodes.
const OPS_ALIKE: u64 = 8;

/// Which bytes of a flush are to be others, and what; `meant` of them say something, and `stray` is another flush.
pub(super) fn damaged(
    data: &Bytes,
    meant: usize,
    stray: &Bytes,
    how: Damage,
    draw: &mut Draw,
) -> (Range<usize>, Vec<u8>) {
    let piece = |bytes: usize, draw: &mut Draw| {
        let at = draw.below(meant.div_ceil(bytes) as u64) as usize * bytes;
        at..at + bytes
    };
    match how {
        Damage::Bit => {
            let at = draw.below(meant as u64) as usize;
            (at..at + 1, vec![data[at] ^ 1 << draw.below(8)])
        }
        Damage::Sector | Damage::Block => {
            let place = piece(if how == Damage::Sector { 512 } else { BLOCK_BYTES }, draw);
            let fill = if draw.coin() { 0 } else { draw.word() as u8 };
            // What stays as it was did not rot.
            let is_same = data[place.start..place.end.min(meant)].iter().all(|byte| *byte == fill);
            let bytes = vec![if is_same { !fill } else { fill }; place.len()];
            (place, bytes)
        }
        Damage::Lost => (0..data.len(), vec![0; data.len()]),
        Damage::Stray => {
            let mut bytes = stray[..stray.len().min(data.len())].to_vec();
            bytes.resize(data.len(), 0);
            (0..data.len(), bytes)
        }
        Damage::Unreadable => (piece(BLOCK_BYTES, draw), Vec::new()),
    }
}

/// Blocks that cannot be read count only in flushes of the last use of their segment: where a file is used again the
/// device has found others for them. Else they might lie where the journal ends, and nobody can tell what was there.
pub(super) fn cure(disk: &mut SimDisk) {
    if disk.is_spoilt() {
        let flushes = journal::on_disk(disk.durable()).into_iter();
        let places = flushes.map(|flush| (flush.file, flush.offset..flush.offset + flush.data.len() as u64));
        let manifest = (FileId::Manifest, 0..2 * COPIES * COPY_BYTES);
        let is_other = |file: &FileId| matches!(file, FileId::Snapshot(_) | FileId::Archive { .. });
        let others = disk.durable().files().filter(|(file, _)| is_other(file));
        let others = others.map(|(file, bytes)| (file, 0..bytes));
        disk.cure(&places.chain(others).chain([manifest]).collect::<Vec<_>>());
    }
}

/// The copies of the manifest that `op` writes anew.
pub(super) fn copies_written(op: &DiskOp) -> Option<Range<u64>> {
    match op {
        DiskOp::Write { file: FileId::Manifest, offset, data, .. } => {
            Some(offset / COPY_BYTES..(offset + data.as_slice().len() as u64) / COPY_BYTES)
        }
        _ => None,
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A part of the journal of `node` rots, if there is any that the design survives.
    pub(super) fn rot(&mut self, node: NodeId, how: Damage, nth: u64) {
        if !self.losses.lost.is_empty() {
            return;
        }
        let (config, randomness) = (&self.config, self.randomness);
        let index = self.machine_of(node);
        let machine = &mut self.machines[index];
        let beyond = config.beyond_budget;
        let near = |number: u64| (number.saturating_sub(1)..=number + 1).any(|n| machine.rotted.contains(&n));
        let near = |number| if beyond { machine.rotted.contains(&number) } else { near(number) };
        let spends = |record: &Record| match &record.kind {
            RecordKind::Entry(entry) => beyond || spends(config, randomness, node, record.group, entry.op),
            RecordKind::Truncation(_) => true,
            // Its two copies lie in different blocks of the flush.
            RecordKind::Promise { .. } => beyond || how.leaves_a_block(),
        };
        let Some(Chosen { flush, meant, stray }) = choose(machine.disk.durable(), nth, beyond, near, spends)
        else {
            return;
        };
        machine.rotted.insert(flush.number);
        let mut draw = self.randomness.draw(Purpose::Rot, node.get(), &[self.now.as_nanos(), nth]);
        let (harmed, instead) = damaged(&flush.data, meant, &stray, how, &mut draw);
        let at = flush.offset + harmed.start as u64;
        match how {
            Damage::Unreadable => machine.disk.spoil(flush.file, at),
            _ => machine.disk.harm(flush.file, at, &instead),
        }
        self.tally.rotted += 1;
        let line = format_args!("node {node} flush {} bytes {harmed:?}", flush.number);
        self.trace.note(self.now, Entity::Node(node), "rot", [flush.number, harmed.start as u64], line);
        self.judges.see(
            self.now,
            &Observed::Rot { node, file: flush.file, offset: flush.offset, flush: &flush.data, harmed },
        );
    }
}

/// Copies of one version of the manifest, and how many of them may be gone: two that are left open it.
const COPIES: u64 = 4;
const COPIES_SPARE: usize = 2;
/// Bytes of one copy.
const COPY_BYTES: u64 = 16 << 10;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A copy of the manifest of `node` rots, unless too few of its version would be left.
    pub(super) fn rot_manifest(&mut self, node: NodeId, copy: u64, how: Damage) {
        let index = self.machine_of(node);
        let (copy, machine) = (copy - 1, &mut self.machines[index]);
        let area = copy / COPIES * COPIES;
        let gone = machine.rotted_copies.range(area..area + COPIES).filter(|other| **other != copy).count();
        if gone >= COPIES_SPARE {
            return;
        }
        let at = copy * COPY_BYTES;
        let Some(data) = machine.disk.durable().read(FileId::Manifest, at, COPY_BYTES as usize) else {
            return;
        };
        let meant = data.len() - data.iter().rev().take_while(|byte| **byte == 0).count();
        if meant == 0 {
            return;
        }
        machine.rotted_copies.insert(copy);
        let mut draw = self.randomness.draw(Purpose::Rot, node.get(), &[self.now.as_nanos(), copy, 1]);
        let other = (copy + COPIES) % (2 * COPIES) * COPY_BYTES;
        let stray =
            machine.disk.durable().read(FileId::Manifest, other, COPY_BYTES as usize).unwrap_or_default();
        let (harmed, instead) = damaged(&data, meant, &stray, how, &mut draw);
        match how {
            Damage::Unreadable => machine.disk.spoil(FileId::Manifest, at + harmed.start as u64),
            _ => machine.disk.harm(FileId::Manifest, at + harmed.start as u64, &instead),
        }
        self.tally.rotted += 1;
        let line = format_args!("node {node} manifest copy {copy} bytes {harmed:?}");
        self.trace.note(self.now, Entity::Node(node), "rot", [copy, harmed.start as u64], line);
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A snapshot in force of `node` rots, if another voter of its group has one that goes as far and has not rotted.
    pub(super) fn rot_snapshot(&mut self, node: NodeId, how: Damage, nth: u64) {
        if !self.losses.lost.is_empty() {
            return;
        }
        let mut may_rot = Vec::new();
        for (group, op) in self.saved(node) {
            let others = self.nodes.iter().filter(|other| **other != node);
            let other_has = |other: NodeId| {
                let is_whole = |op: &Op| !self.machine(other).rotted_snapshots.contains(&(group, *op));
                let saved = self.saved(other).find(|(of, _)| *of == group).map(|(_, op)| op);
                saved.filter(is_whole).is_some_and(|saved| saved >= op)
            };
            if others.copied().any(other_has) {
                may_rot.push((group, op));
            }
        }
        let chosen = usize::try_from(nth - 1).unwrap_or(usize::MAX).checked_rem(may_rot.len());
        let Some((group, op)) = chosen.map(|place| may_rot[place]) else { return };
        let mut draw = self.randomness.draw(Purpose::Rot, node.get(), &[self.now.as_nanos(), nth, 2]);
        let files = |disk: &DiskImage| -> Vec<(FileId, Bytes)> {
            let all = disk.files().filter(|(file, _)| matches!(file, FileId::Snapshot(_)));
            all.filter_map(|(file, bytes)| Some((file, disk.read(file, 0, bytes as usize)?))).collect()
        };
        let index = self.machine_of(node);
        let all = files(self.machines[index].disk.durable());
        let is_it = |data: &Bytes| journal::snapshot_named(data) == Some((group, op));
        let stray =
            all.iter().find(|(_, data)| !is_it(data)).map(|(_, data)| data.clone()).unwrap_or_default();
        for (file, data) in all.iter().filter(|(_, data)| is_it(data)) {
            let meant = data.len() - data.iter().rev().take_while(|byte| **byte == 0).count();
            let (harmed, instead) = damaged(data, meant, &stray, how, &mut draw);
            let machine = &mut self.machines[index];
            machine.rotted_snapshots.insert((group, op));
            match how {
                Damage::Unreadable => machine.disk.spoil(*file, harmed.start as u64),
                _ => machine.disk.harm(*file, harmed.start as u64, &instead),
            }
            self.tally.rotted += 1;
            let line = format_args!("node {node} {file} of group {group} at op {op} bytes {harmed:?}");
            self.trace.note(self.now, Entity::Node(node), "rot", [op.get(), harmed.start as u64], line);
            self.judges.see(self.now, &Observed::Rot { node, file: *file, offset: 0, flush: data, harmed });
        }
    }

    /// What snapshots in force of the process of `node` cover.
    fn saved(&self, node: NodeId) -> impl Iterator<Item = (GroupId, Op)> + '_ {
        let groups = self.machine(node).process.iter().flat_map(|process| &process.status.groups);
        groups.filter(|status| status.saved > Op::GENESIS).map(|status| (status.group, status.saved))
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::types::{ClusterId, GroupId, GroupInit, NodeId, Quorums};

    use super::{OPS_ALIKE, spends};
    use crate::config::WorldConfig;
    use crate::random::Randomness;

    #[test]
    fn any_quorum_holds_a_copy_that_does_not_rot() {
        for size in 1..=7_u64 {
            let voters: Vec<NodeId> = (1..=size).map(NodeId::new).collect();
            let (cluster, group) = (ClusterId::new(1), GroupId::new(4));
            let kind = "register".to_owned();
            let init =
                GroupInit { cluster, group, kind, voters: voters.clone(), sessions_max: 1, archive: None };
            let config = WorldConfig { groups: vec![init], ..WorldConfig::of_seed(9, &["register"]) };
            let randomness = Randomness::new(9, 0);
            let spenders = |op| -> Vec<NodeId> {
                let spends = |node: &NodeId| spends(&config, randomness, *node, group, op);
                voters.iter().copied().filter(spends).collect()
            };
            let spare = voters.len() - Quorums::of(voters.len()).replication() as usize;
            let mut all: Vec<Vec<NodeId>> = (0..400).map(spenders).collect();
            assert!(
                all.iter().all(|spenders| spenders.len() == spare),
                "of {size} voters {spare} may lose one"
            );
            let alike = |ops: &[Vec<NodeId>]| ops.iter().all(|spenders| *spenders == ops[0]);
            assert!(all.chunks(OPS_ALIKE as usize).all(alike), "whole flushes can rot");
            all.dedup();
            assert!(spare == 0 || all.len() > 1, "they are not always the same ones");
        }
    }
}

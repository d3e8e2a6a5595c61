//! Disks that are lost: wiped and formatted again, or put back as they were some time ago.
//!
//! A node cannot tell this by itself; its peers can, as far as they have noted its starts and how far its journal went. So
//! a disk is lost only once every peer has on its own disk that it was another: what else is lost is lost silently, whoever
//! wrote the node. It is the only copy of a run that is lost, on a cluster that has a quorum without it, unless a scenario says
//! that more may be lost: then every peer must know it whose own disk was not lost.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::engine::{Inspection, ReadFile, Witnessed, inspect};
use chronon_core::kernel::ChrApplication;
use chronon_core::types::{GroupInit, NodeId};

use super::World;
use crate::disk::DiskImage;
use crate::journal;
use crate::oracle::Observed;
use crate::trace::Entity;
use crate::workload::Workload;

/// The disks of a run that were lost, and those that are to be put back.
#[derive(Clone, Default)]
pub(super) struct Losses {
    /// Disks as they were when a fault began, by its place in the plan.
    images: BTreeMap<usize, Image>,
    pub(super) lost: BTreeSet<NodeId>,
}

/// A disk, and which copies of the manifest on it have rotted.
#[derive(Clone, Default)]
struct Image {
    disk: DiskImage,
    rotted_copies: BTreeSet<u64>,
}

/// What a disk can answer for: its last start, and its last flush. `None` of one that nobody has started on.
fn reaches(disk: &DiskImage) -> Option<Witnessed> {
    let boot = inspected(disk).map(|inspection| inspection.boot).filter(|boot| boot.is_known())?;
    let flush = journal::on_disk(disk).iter().map(|flush| flush.number).max().unwrap_or_default();
    Some(Witnessed { boot, flush })
}

/// The disk as the engine reads it.
fn inspected(disk: &DiskImage) -> Option<Inspection> {
    let file = |file| {
        let length = usize::try_from(disk.length(file)?).ok()?;
        Some(ReadFile { bytes: disk.read(file, 0, length)?, unreadable: Vec::new() })
    };
    inspect(file).ok()
}

/// Whether who knows so much tells a disk from another one that goes so far, `None` for an empty one.
fn knows_better(known: Witnessed, last: Option<Witnessed>) -> bool {
    match last {
        None => known.boot.is_known(),
        Some(last) if known.boot == last.boot => known.flush > last.flush,
        Some(last) => known.boot.incarnation > last.boot.incarnation,
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// The disk of `node` is kept as it is now.
    pub(super) fn keep_image(&mut self, fault: usize, node: NodeId) {
        let machine = self.machine(node);
        let (disk, rotted_copies) = (machine.disk.durable().clone(), machine.rotted_copies.clone());
        self.losses.images.insert(fault, Image { disk, rotted_copies });
    }

    /// The disk of `node` is put back as it was when the fault began.
    pub(super) fn put_back(&mut self, fault: usize, node: NodeId, down_ns: u64) {
        if let Some(image) = self.losses.images.remove(&fault) {
            self.lose(node, image, down_ns);
        }
    }

    /// The disk of `node` is wiped, and formatted like one that is new.
    pub(super) fn wipe(&mut self, node: NodeId, down_ns: u64) {
        self.lose(node, Image::default(), down_ns);
    }

    fn lose(&mut self, node: NodeId, image: Image, down_ns: u64) {
        let Image { disk, rotted_copies } = image;
        if !self.may_lose(node, &disk) {
            return;
        }
        let index = self.machine_of(node);
        self.crash(index, down_ns);
        let is_wiped = disk.files().next().is_none();
        let machine = &mut self.machines[index];
        machine.disk.put_back(disk);
        machine.rotted_copies = rotted_copies;
        self.losses.lost.insert(node);
        self.tally.disks_lost += 1;
        let line = format_args!("node {node} {}", if is_wiped { "wiped" } else { "put back" });
        self.trace.note(self.now, Entity::Node(node), "lose", [node.get(), u64::from(is_wiped)], line);
        self.judges.see(self.now, &Observed::DiskLost { node });
        if is_wiped {
            // It could be formatted once already.
            self.format(index).unwrap_or_else(|error| panic!("node {node}: {error}"));
        }
    }

    fn may_lose(&self, node: NodeId, disk: &DiskImage) -> bool {
        let mut groups = self.config.hosted_by(node);
        let has_rotted = |other: &NodeId| {
            let machine = self.machine(*other);
            let rotted = &machine.rotted;
            let others = machine.rotted_snapshots.len() + machine.rotted_chunks.len();
            *other != node && (!rotted.is_empty() || others > 0)
        };
        let lost = &self.losses.lost;
        let is_spent = lost.len() as u64 >= u64::from(self.config.disks_lost_max) || lost.contains(&node);
        if is_spent || self.nodes.iter().any(has_rotted) {
            return false;
        }
        let last = reaches(disk);
        let is_known = |peer: &NodeId| {
            let inspection = inspected(self.machine(*peer).disk.durable());
            let known = inspection.and_then(|inspection| inspection.witnessed.get(&node).copied());
            *peer == node || self.is_lost(*peer) || known.is_some_and(|known| knows_better(known, last))
        };
        // Who could tell it, and how many may lose a copy, is known while the members stay.
        let stays = |init: &GroupInit| !self.config.changes_members_of(init.group);
        groups.all(|init| stays(init) && init.voters.len() > 2 && init.voters.iter().all(is_known))
    }

    /// Whether the disk of `node` was lost: it takes no part any more.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.losses.lost.contains(&node)
    }

    /// Whether its process has learned so.
    pub(super) fn is_mute(&self, node: NodeId) -> bool {
        self.machine(node).process.as_ref().is_some_and(|process| process.status.amnesia.is_some())
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::engine::Witnessed;
    use chronon_core::types::{BootId, Incarnation};

    use super::knows_better;

    #[test]
    fn a_peer_knows_better_by_a_later_start_or_by_a_later_flush() {
        let known = |start, flush| {
            let boot = BootId { incarnation: Incarnation::new(start), nonce: start };
            Witnessed { boot, flush }
        };
        assert!(knows_better(known(1, 0), None) && !knows_better(Witnessed::default(), None));
        assert!(
            knows_better(known(4, 0), Some(known(3, 9))) && !knows_better(known(2, 99), Some(known(3, 9)))
        );
        assert!(
            knows_better(known(3, 10), Some(known(3, 9))) && !knows_better(known(3, 9), Some(known(3, 9)))
        );
    }
}

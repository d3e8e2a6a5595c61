//! SnapshotAtomic (43): a snapshot that a manifest names is complete and as it was written, unless it rotted; and what
//! snapshots of a replica cover never goes back.
//!
//! A start reads every snapshot in force. A node that has to fetch one from a peer could not read it, and must not take part
//! with one that covers less: it has acknowledged more.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::engine::FileId;
use chronon_core::node::Phase;
use chronon_core::types::{GroupId, NodeId, Op};

use super::few::Few;
use super::{Counts, Observed, Oracle, Violation};
use crate::journal;
use crate::time::WorldTime;

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct SnapshotAtomic {
    /// Snapshots that rotted at some time, on which disk.
    rotten: BTreeSet<(NodeId, GroupId, Op)>,
    /// Whether a node's process has still to show what it read.
    starting: Few<NodeId, bool>,
    /// What a snapshot in force covered of each replica at most.
    saved: BTreeMap<(NodeId, GroupId), Op>,
    compared: u64,
}

impl Oracle for SnapshotAtomic {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Start { node, .. } => {
                self.starting.insert(*node, true);
            }
            Observed::Rot { node, file: FileId::Snapshot(_), flush, .. } => {
                let named = journal::snapshot_named(flush);
                self.rotten.extend(named.map(|(group, op)| (*node, group, op)));
            }
            Observed::Step { node, status, changed, .. } if status.phase == Phase::Running => {
                for shown in *changed {
                    let most = self.saved.entry((*node, shown.group)).or_default();
                    if shown.saved < *most {
                        let what = format!(
                            "a snapshot covers it up to op {}, and one up to op {most} did",
                            shown.saved
                        );
                        found.push(Violation::new("SnapshotAtomic", what).at(*node).of(shown.group));
                    }
                    *most = shown.saved.max(*most);
                }
                if !std::mem::take(self.starting.or_default(*node)) {
                    return;
                }
                self.compared += status.groups.iter().filter(|group| group.saved.get() > 0).count() as u64;
                let rotted = |lost: &&(GroupId, Op)| self.rotten.contains(&(*node, lost.0, lost.1));
                for (group, op) in status.waiting.iter().filter(|lost| !rotted(lost)) {
                    let what = format!(
                        "the snapshot in force, which covers it up to op {op}, cannot be read, and rotted nowhere"
                    );
                    found.push(Violation::new("SnapshotAtomic", what).at(*node).of(*group));
                }
            }
            _ => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["SnapshotAtomic"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("SnapshotAtomic", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

//! Who has replicas in a world whose operator changes groups.

use chronon_core::types::{GroupId, GroupInit, Membership, MembershipChange, NodeId};

use super::WorldConfig;
use crate::changes::{Change, Wanted};

impl WorldConfig {
    /// The nodes that have a replica of a group, ascending: its voters, and whoever is to join.
    pub fn hosts(&self, init: &GroupInit) -> Vec<NodeId> {
        let joining = self.changes_of(init.group).filter_map(|change| match change.what {
            Wanted::Members(MembershipChange::AddLearner { node, .. }) => Some(node),
            _ => None,
        });
        let mut hosts: Vec<NodeId> = init.voters.iter().copied().chain(joining).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The groups that a node has a replica of.
    pub fn hosted_by(&self, node: NodeId) -> impl Iterator<Item = &GroupInit> {
        self.groups.iter().filter(move |init| self.hosts(init).contains(&node))
    }

    /// What the operator wants of a group, in order.
    pub fn changes_of(&self, group: GroupId) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.group == group)
    }

    /// Whether the members of a group come and go.
    pub fn changes_members_of(&self, group: GroupId) -> bool {
        self.changes_of(group).any(|change| matches!(change.what, Wanted::Members(_)))
    }

    /// What is wrong with the changes: one that the ones before it do not allow.
    ///
    /// # Errors
    /// The place of the change, and why it cannot be.
    pub fn check_changes(&self) -> Result<(), (usize, String)> {
        for init in &self.groups {
            let mut membership = Membership::founding(init);
            for (place, change) in self.changes.iter().enumerate() {
                if change.group == init.group {
                    membership = change.what.after(&membership, init).map_err(|what| (place, what))?;
                }
            }
        }
        Ok(())
    }
}

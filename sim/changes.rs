//! Changes of membership that the world's operator wants, one after the other in each group.

use chronon_core::types::{GroupId, GroupInit, Membership, MembershipChange, NodeId, Op};

use crate::config::WorldConfig;
use crate::random::Draw;
use crate::time::{SECOND, WorldTime};

/// One change. The operator asks for it again and again, from when it is due until it is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// When it is due.
    pub at: WorldTime,
    /// The group.
    pub group: GroupId,
    /// What is wanted.
    pub what: MembershipChange,
}

impl WorldConfig {
    /// The nodes that have a replica of a group, ascending: its voters, and whoever is to join.
    pub fn hosts(&self, init: &GroupInit) -> Vec<NodeId> {
        let joining = self.changes_of(init.group).filter_map(|change| match change.what {
            MembershipChange::AddLearner { node, .. } => Some(node),
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

    /// What is wrong with the changes: one that the ones before it do not allow.
    ///
    /// # Errors
    /// The place of the change, and why it cannot be.
    pub fn check_changes(&self) -> Result<(), (usize, String)> {
        for init in &self.groups {
            let mut membership = Membership::founding(init);
            for (place, change) in self.changes.iter().enumerate() {
                if change.group == init.group {
                    let at = membership.at.next();
                    let changed = membership.changed(&change.what, at, init.voters[0]);
                    membership = changed.map_err(|error| (place, error.to_string()))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the change is done in this membership.
pub(crate) fn is_done(what: &MembershipChange, membership: &Membership) -> bool {
    let votes = |node: &NodeId| membership.voters.contains(node);
    match what {
        MembershipChange::AddLearner { node, .. } => membership.is_member(*node),
        MembershipChange::Promote { node } => votes(node),
        MembershipChange::Remove { node } => !membership.is_member(*node),
        MembershipChange::Replace { node, by } => votes(by) && !votes(node),
    }
}

/// A few changes of one group among these nodes.
pub(crate) fn draw_changes(
    draw: &mut Draw,
    init: &GroupInit,
    nodes: &[NodeId],
    until_ns: u64,
) -> Vec<Change> {
    let mut membership = Membership::founding(init);
    let mut times: Vec<u64> = (0..draw.between(1, 6)).map(|_| draw.between(3 * SECOND, until_ns)).collect();
    times.sort_unstable();
    let mut changes = Vec::new();
    for at in times {
        let possible = possible(&membership, nodes);
        let what = draw.pick(&possible).clone();
        let next = membership.changed(&what, Op::new(membership.at.get() + 1), init.voters[0]);
        membership = next.unwrap_or_else(|error| panic!("{what}: {error}"));
        changes.push(Change { at: WorldTime::from_nanos(at), group: init.group, what });
    }
    changes
}

fn possible(membership: &Membership, nodes: &[NodeId]) -> Vec<MembershipChange> {
    let mut possible = Vec::new();
    for node in nodes.iter().copied().filter(|node| !membership.is_member(*node)) {
        possible.push(MembershipChange::AddLearner { node, address: String::new() });
    }
    for node in membership.learners.iter().copied() {
        // Learners are there to vote.
        possible.extend([MembershipChange::Promote { node }, MembershipChange::Promote { node }]);
        let replaces = |voter: &NodeId| MembershipChange::Replace { node: *voter, by: node };
        possible.extend(membership.voters.iter().map(replaces));
        possible.push(MembershipChange::Remove { node });
    }
    if membership.voters.len() > 1 {
        possible.extend(membership.voters.iter().map(|node| MembershipChange::Remove { node: *node }));
    }
    possible
}

//! What the world's operator wants of each group, one after the other: other members, another primary.

use std::fmt;

use chronon_core::node::Deed;
use chronon_core::types::{GroupId, GroupInit, Membership, MembershipChange, NodeId};

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
    pub what: Wanted,
}

/// What an operator wants of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Other members.
    Members(MembershipChange),
    /// That this voter leads.
    Lead(NodeId),
}

impl Wanted {
    /// What is said to whoever leads the group.
    pub fn deed(&self) -> Deed {
        match self {
            Self::Members(change) => Deed::Change(change.clone()),
            Self::Lead(node) => Deed::Lead(*node),
        }
    }

    /// Whether it says anything of `node`.
    pub fn concerns(&self, node: NodeId) -> bool {
        match self {
            Self::Members(change) => change.concerns(node),
            Self::Lead(to) => *to == node,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members(change) => write!(f, "{change}"),
            Self::Lead(node) => write!(f, "lead{{node={node}}}"),
        }
    }
}

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
                    membership = after(&membership, &change.what, init).map_err(|what| (place, what))?;
                }
            }
        }
        Ok(())
    }
}

/// The membership once this is done.
fn after(membership: &Membership, what: &Wanted, init: &GroupInit) -> Result<Membership, String> {
    match what {
        Wanted::Members(change) => {
            let changed = membership.changed(change, membership.at.next(), init.voters[0]);
            changed.map_err(|error| error.to_string())
        }
        Wanted::Lead(node) if membership.voters.contains(node) => Ok(membership.clone()),
        Wanted::Lead(node) => Err(format!("node {node} has no vote by then, and can lead nothing")),
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

/// A few things that are wanted of one group among these nodes: other primaries, and other members where those come and go.
pub(crate) fn draw_changes(
    draw: &mut Draw,
    init: &GroupInit,
    nodes: &[NodeId],
    (changes_members, until_ns): (bool, u64),
) -> Vec<Change> {
    let mut membership = Membership::founding(init);
    let mut times: Vec<u64> = (0..draw.between(1, 6)).map(|_| draw.between(3 * SECOND, until_ns)).collect();
    times.sort_unstable();
    let mut changes = Vec::new();
    for at in times {
        let what = if changes_members && draw.below(4) > 0 {
            Wanted::Members(draw.pick(&possible(&membership, nodes)).clone())
        } else {
            Wanted::Lead(*draw.pick(&membership.voters))
        };
        membership = after(&membership, &what, init).unwrap_or_else(|error| panic!("{what}: {error}"));
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

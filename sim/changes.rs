//! What the world's operator wants of each group, one after the other: other members, another primary.

use std::fmt;

use chronon_core::node::Deed;
use chronon_core::types::{GroupId, GroupInit, Membership, MembershipChange, NodeId};

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

    /// The membership once this is done.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn after(&self, membership: &Membership, init: &GroupInit) -> Result<Membership, String> {
        match self {
            Self::Members(change) => {
                let changed = membership.changed(change, membership.at.next(), init.voters[0]);
                changed.map_err(|error| error.to_string())
            }
            Self::Lead(node) if membership.voters.contains(node) => Ok(membership.clone()),
            Self::Lead(node) => Err(format!("node {node} has no vote by then, and can lead nothing")),
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
        membership = what.after(&membership, init).unwrap_or_else(|error| panic!("{what}: {error}"));
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

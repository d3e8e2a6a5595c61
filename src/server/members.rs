//! Which changes make a node a member of a group, or none, for whoever gives the orders. One that was done already is left out, so that
//! what was interrupted may be begun again.

use chronon_core::types::{MembershipChange, NodeId};

use super::status::{GroupReport, MemberReport};

/// A node is to hold the group's log, and to vote if `votes`.
pub(crate) fn to_join(
    group: &GroupReport,
    node: NodeId,
    address: &str,
    votes: bool,
) -> Vec<MembershipChange> {
    let known = member(group, node);
    let learns = known.is_none().then(|| MembershipChange::AddLearner { node, address: address.to_owned() });
    let is_to_vote = votes && known.is_none_or(|known| !known.votes);
    let promoted = is_to_vote.then_some(MembershipChange::Promote { node });
    learns.into_iter().chain(promoted).collect()
}

/// A node is to leave.
pub(crate) fn to_leave(group: &GroupReport, node: NodeId) -> Vec<MembershipChange> {
    member(group, node).map(|_| MembershipChange::Remove { node }).into_iter().collect()
}

/// A new node is to vote where another one does; of a group in which that one has no vote, nobody is to.
pub(crate) fn to_replace(
    group: &GroupReport,
    node: NodeId,
    by: NodeId,
    address: &str,
) -> Vec<MembershipChange> {
    if member(group, node).is_none_or(|known| !known.votes) {
        return Vec::new();
    }
    let mut changes = to_join(group, by, address, false);
    changes.push(MembershipChange::Replace { node, by });
    changes
}

/// Whether a change has been made.
pub(crate) fn is_done(group: &GroupReport, change: &MembershipChange) -> bool {
    let votes = |node| member(group, node).is_some_and(|member| member.votes);
    match change {
        MembershipChange::AddLearner { node, .. } => member(group, *node).is_some(),
        MembershipChange::Promote { node } => votes(*node),
        MembershipChange::Remove { node } => member(group, *node).is_none(),
        MembershipChange::Replace { node, by } => votes(*by) && !votes(*node),
    }
}

fn member(group: &GroupReport, node: NodeId) -> Option<&MemberReport> {
    group.members.iter().find(|member| member.node == node.get())
}

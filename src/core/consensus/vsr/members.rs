//! The members of a group as one of its replicas sees them: each has an index.

use alloc::vec::Vec;

use crate::types::{Majority, Membership, NodeId, Quorums, View};

/// Voters come first, then learners: the two take part. Then those that were left out last, and this node, where it is none of
/// them.
#[derive(Clone, Debug)]
pub(super) struct Members {
    membership: Membership,
    list: Vec<NodeId>,
    me: usize,
}

impl Members {
    /// As node `me` sees them.
    pub(super) fn new(membership: Membership, me: NodeId) -> Self {
        let mut list: Vec<NodeId> = membership.members().chain(membership.former.iter().copied()).collect();
        let me = list.iter().position(|node| *node == me).unwrap_or_else(|| {
            list.push(me);
            list.len() - 1
        });
        Self { membership, list, me }
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn voters(&self) -> &[NodeId] {
        &self.membership.voters
    }

    pub(super) fn quorums(&self) -> Quorums {
        Quorums::of(self.voters().len())
    }

    /// A majority of the voters.
    pub(super) fn majority(&self) -> Majority {
        Majority::of(0..self.voters().len())
    }

    /// A majority of the voters of the membership that is to follow, all of whom take part in this one.
    pub(super) fn majority_of(&self, next: &Membership) -> Majority {
        Majority::of(next.voters.iter().filter_map(|voter| self.index(*voter)))
    }

    /// How many have an index.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn index(&self, node: NodeId) -> Option<usize> {
        self.list.iter().position(|member| *member == node)
    }

    pub(super) fn node(&self, index: usize) -> NodeId {
        self.list[index]
    }

    pub(super) fn me(&self) -> usize {
        self.me
    }

    pub(super) fn is_voter(&self, index: usize) -> bool {
        index < self.voters().len()
    }

    /// Voters and learners but for this one.
    pub(super) fn others(&self) -> impl Iterator<Item = usize> {
        let (me, count) = (self.me, self.taking_part());
        (0..count).filter(move |index| *index != me)
    }

    /// Whether it is a voter or a learner.
    pub(super) fn takes_part(&self, index: usize) -> bool {
        index < self.taking_part()
    }

    /// How many voters and learners there are.
    pub(super) fn taking_part(&self) -> usize {
        self.voters().len() + self.membership.learners.len()
    }

    /// The primary of a view of this epoch.
    pub(super) fn primary_of(&self, view: View) -> usize {
        let primary = self.membership.primary_of(view);
        self.voters().iter().position(|voter| *voter == primary).unwrap_or(self.me)
    }
}

//! Who a group consists of: its configuration, and how one follows from the other.
//!
//! ```text
//! founded with voters          epoch 0
//! an entry of a new membership epoch + 1, from its commit on; nothing follows that entry in its own epoch
//! ```
//!
//! Learners hold the log and count for nothing. A voter was a learner before, so that what a quorum is to hold is there when
//! the quorum changes (the Raft thesis, 4.2.1; VRR section 7, whose epochs these are).

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{Epoch, GroupInit, NodeId, Op, VOTERS_MAX, View, u64_of, usize_of};

/// A group has at most this many learners.
pub const LEARNERS_MAX: usize = 8;
/// So many former members are remembered.
const FORMER_MAX: usize = 4;
/// An address is at most this long, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// The members of a group in one epoch.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Membership {
    /// Counts the changes.
    pub epoch: Epoch,
    /// The entry that made it; the genesis for the founding one.
    pub at: Op,
    /// The epoch's first view.
    pub first_view: View,
    /// The voters, ascending. A replica's index is its place in this list.
    pub voters: Vec<NodeId>,
    /// Nodes that hold the log and do not vote, ascending.
    pub learners: Vec<NodeId>,
    /// Those that changes left out last, oldest first: they are told so, and may ask for what tells it.
    pub former: Vec<NodeId>,
    /// Where members are to be found that came later than the group was founded, ascending by node.
    pub addresses: Vec<(NodeId, String)>,
}

/// What an operator wants of a group's membership. One step each.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum MembershipChange {
    /// A new node is to hold the log.
    AddLearner {
        /// The node.
        node: NodeId,
        /// Where the others find it.
        address: String,
    },
    /// A learner is to vote.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A voter or a learner is to leave.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// A learner is to vote in the place of a voter, who leaves.
    Replace {
        /// The voter.
        node: NodeId,
        /// The learner.
        by: NodeId,
    },
}

notation_enum!(MembershipChange {
    "add-learner" => AddLearner { node, address },
    "promote" => Promote { node },
    "remove" => Remove { node },
    "replace" => Replace { node, by },
});

/// Why a membership cannot be changed so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MembershipError {
    /// It is there already.
    #[error("node {node} is a member already: {members}")]
    Member {
        /// The node.
        node: u64,
        /// Who is one.
        members: String,
    },
    /// It is no learner.
    #[error("node {node} is no learner: {members}; a node is added as one first")]
    NoLearner {
        /// The node.
        node: u64,
        /// Who is a member.
        members: String,
    },
    /// It is no member, or no voter where it must be one.
    #[error("node {node} is not one that could leave: {members}")]
    NoMember {
        /// The node.
        node: u64,
        /// Who is a member.
        members: String,
    },
    /// Nobody would be left, or too many would vote.
    #[error("{voters} voters would be left; 1 to {VOTERS_MAX} are allowed")]
    Voters {
        /// How many.
        voters: usize,
    },
    /// Too many would learn.
    #[error("{learners} learners would be there; {LEARNERS_MAX} are allowed")]
    Learners {
        /// How many.
        learners: usize,
    },
    /// The address is too long.
    #[error("an address of {bytes} bytes; {ADDRESS_BYTES_MAX} are allowed")]
    Address {
        /// How long it is.
        bytes: usize,
    },
}

impl MembershipChange {
    /// Whether it says anything of `node`.
    pub fn concerns(&self, node: NodeId) -> bool {
        match self {
            Self::AddLearner { node: one, .. } | Self::Promote { node: one } | Self::Remove { node: one } => {
                *one == node
            }
            Self::Replace { node: one, by } => *one == node || *by == node,
        }
    }
}

impl Membership {
    /// The one a group is founded with.
    pub fn founding(init: &GroupInit) -> Self {
        Self {
            epoch: Epoch::default(),
            at: Op::GENESIS,
            first_view: init.first_view(),
            voters: init.voters.clone(),
            learners: Vec::new(),
            former: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// The one that `change` makes of it by the entry at `at`, led by `lead`, or by the first voter where that one leaves.
    ///
    /// # Errors
    /// [`MembershipError`] naming what is not allowed.
    pub fn changed(&self, change: &MembershipChange, at: Op, lead: NodeId) -> Result<Self, MembershipError> {
        let mut next = Self { epoch: self.epoch.next(), at, ..self.clone() };
        match change {
            MembershipChange::AddLearner { node, address } => {
                if self.is_member(*node) {
                    return Err(MembershipError::Member { node: node.get(), members: self.named() });
                }
                if address.len() > ADDRESS_BYTES_MAX {
                    return Err(MembershipError::Address { bytes: address.len() });
                }
                put(&mut next.learners, *node);
                next.former.retain(|former| former != node);
                next.addresses.push((*node, address.clone()));
                next.addresses.sort();
            }
            MembershipChange::Promote { node } => {
                self.take_learner(*node, &mut next)?;
                put(&mut next.voters, *node);
            }
            MembershipChange::Remove { node } => {
                if !self.is_member(*node) {
                    return Err(MembershipError::NoMember { node: node.get(), members: self.named() });
                }
                next.leave(*node);
            }
            MembershipChange::Replace { node, by } => {
                if !self.voters.contains(node) {
                    return Err(MembershipError::NoMember { node: node.get(), members: self.named() });
                }
                self.take_learner(*by, &mut next)?;
                put(&mut next.voters, *by);
                next.leave(*node);
            }
        }
        if !(1..=VOTERS_MAX).contains(&next.voters.len()) {
            return Err(MembershipError::Voters { voters: next.voters.len() });
        }
        if next.learners.len() > LEARNERS_MAX {
            return Err(MembershipError::Learners { learners: next.learners.len() });
        }
        let leads = next.voters.iter().position(|voter| *voter == lead).unwrap_or_default();
        next.first_view = View::of(next.epoch, 1 + u64_of(leads));
        Ok(next)
    }

    /// The primary of a view of this epoch: r((v - 1) mod N) (VRR section 4).
    pub fn primary_of(&self, view: View) -> NodeId {
        let index = view.in_epoch().saturating_sub(1) % u64_of(self.voters.len());
        self.voters[usize_of(index)]
    }

    /// Voters and learners.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether the node is a voter or a learner.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.members().any(|member| member == node)
    }

    /// Whether the node is to be heard: a member, or one that was left out not long ago.
    pub fn concerns(&self, node: NodeId) -> bool {
        self.is_member(node) || self.former.contains(&node)
    }

    /// Whether it is one that a node makes, by the entry at `at`.
    pub fn is_sound(&self, at: Op) -> bool {
        let sorted = |nodes: &[NodeId]| nodes.is_sorted_by(|a, b| a < b);
        let is_apart = self.learners.iter().chain(&self.former).all(|node| !self.voters.contains(node));
        self.at == at
            && (1..=VOTERS_MAX).contains(&self.voters.len())
            && self.learners.len() <= LEARNERS_MAX
            && self.former.len() <= FORMER_MAX
            && sorted(&self.voters)
            && sorted(&self.learners)
            && is_apart
            && self.first_view.epoch() == self.epoch
            && self.first_view.in_epoch() > 0
    }

    fn take_learner(&self, node: NodeId, next: &mut Self) -> Result<(), MembershipError> {
        if !self.learners.contains(&node) {
            return Err(MembershipError::NoLearner { node: node.get(), members: self.named() });
        }
        next.learners.retain(|learner| *learner != node);
        Ok(())
    }

    fn leave(&mut self, node: NodeId) {
        self.voters.retain(|voter| *voter != node);
        self.learners.retain(|learner| *learner != node);
        self.addresses.retain(|(at, _)| *at != node);
        self.former.push(node);
        if self.former.len() > FORMER_MAX {
            self.former.remove(0);
        }
    }

    fn named(&self) -> String {
        let list = |nodes: &[NodeId]| {
            let texts: Vec<String> = nodes.iter().map(|node| alloc::format!("{node}")).collect();
            if texts.is_empty() { "none".into() } else { texts.join(", ") }
        };
        alloc::format!("voters {}, learners {}", list(&self.voters), list(&self.learners))
    }
}

fn put(nodes: &mut Vec<NodeId>, node: NodeId) {
    nodes.push(node);
    nodes.sort_unstable();
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::{LEARNERS_MAX, Membership, MembershipChange, MembershipError};
    use crate::types::{ClusterId, Epoch, GroupId, GroupInit, NodeId, Op, View, u64_of};

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId::new).collect()
    }

    fn founding(ids: &[u64]) -> Membership {
        Membership::founding(&GroupInit {
            cluster: ClusterId::new(7),
            group: GroupId::new(1),
            kind: "register".into(),
            voters: nodes(ids),
            sessions_max: 1,
            archive: None,
        })
    }

    fn add(node: u64) -> MembershipChange {
        MembershipChange::AddLearner { node: NodeId::new(node), address: "there".into() }
    }

    fn promote(node: u64) -> MembershipChange {
        MembershipChange::Promote { node: NodeId::new(node) }
    }

    fn remove(node: u64) -> MembershipChange {
        MembershipChange::Remove { node: NodeId::new(node) }
    }

    fn apply(of: &Membership, change: &MembershipChange) -> Result<Membership, MembershipError> {
        of.changed(change, of.at.next(), NodeId::new(2))
    }

    #[test]
    fn a_node_learns_before_it_votes_and_the_epoch_begins_with_who_led() {
        let three = founding(&[1, 2, 3]);
        assert_eq!(three.primary_of(three.first_view), NodeId::new(2), "spread by group");
        let learns = apply(&three, &add(9)).expect("room");
        assert_eq!((learns.epoch, learns.at), (Epoch::new(1), Op::new(1)));
        assert_eq!((&learns.voters, &learns.learners), (&nodes(&[1, 2, 3]), &nodes(&[9])));
        assert_eq!(learns.first_view, View::of(Epoch::new(1), 2));
        assert_eq!(learns.primary_of(learns.first_view), NodeId::new(2));
        let votes = apply(&learns, &promote(9)).expect("a learner");
        assert_eq!((&votes.voters, &votes.learners), (&nodes(&[1, 2, 3, 9]), &nodes(&[])));
        assert_eq!(votes.addresses, [(NodeId::new(9), "there".to_string())]);
        assert!(votes.first_view > learns.first_view);
    }

    #[test]
    fn who_leaves_is_told_and_leads_no_more() {
        let gone = apply(&founding(&[1, 2, 3]), &remove(2)).expect("two are left");
        assert_eq!((&gone.voters, &gone.former), (&nodes(&[1, 3]), &nodes(&[2])));
        assert_eq!(gone.primary_of(gone.first_view), NodeId::new(1));
        assert!(gone.concerns(NodeId::new(2)) && !gone.is_member(NodeId::new(2)));
        let mut next = apply(&gone, &add(2)).expect("it comes again");
        assert!(next.is_member(NodeId::new(2)) && next.former.is_empty());
        for node in [2, 3, 4, 5, 6] {
            next = apply(&next, &add(node + 10)).expect("room");
            next = apply(&next, &remove(node + 10)).expect("it is there");
        }
        assert_eq!(next.former, nodes(&[13, 14, 15, 16]), "those that left last");
    }

    #[test]
    fn a_learner_takes_the_place_of_a_voter_in_one_step() {
        let learns = apply(&founding(&[1, 2, 3]), &add(4)).expect("room");
        let change = MembershipChange::Replace { node: NodeId::new(1), by: NodeId::new(4) };
        let replaced = apply(&learns, &change).expect("a learner for a voter");
        assert_eq!((&replaced.voters, &replaced.former), (&nodes(&[2, 3, 4]), &nodes(&[1])));
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let three = founding(&[1, 2, 3]);
        let told = |of: &Membership, change: &MembershipChange| {
            apply(of, change).map(|_| ()).map_err(|error| error.to_string())
        };
        let says = |what: &str| Err(what.to_string());
        let members = "voters 1, 2, 3, learners none";
        assert_eq!(told(&three, &add(3)), says(&alloc::format!("node 3 is a member already: {members}")));
        let no_learner = alloc::format!("node 3 is no learner: {members}; a node is added as one first");
        assert_eq!(told(&three, &promote(3)), says(&no_learner));
        let no_member = alloc::format!("node 4 is not one that could leave: {members}");
        assert_eq!(told(&three, &remove(4)), says(&no_member));
        let voters = "0 voters would be left; 1 to 7 are allowed";
        assert_eq!(told(&founding(&[1]), &remove(1)), says(voters));
        let mut full = founding(&[1]);
        for node in 2..2 + u64_of(LEARNERS_MAX) {
            full = apply(&full, &add(node)).expect("room");
        }
        let learners = "9 learners would be there; 8 are allowed";
        assert_eq!(told(&full, &add(99)), says(learners));
        let far = MembershipChange::AddLearner { node: NodeId::new(9), address: "a".repeat(256) };
        assert_eq!(told(&three, &far), says("an address of 256 bytes; 255 are allowed"));
    }
}

//! Who holds which of the primary's uncommitted entries.

use alloc::collections::VecDeque;

use crate::types::{Majority, Op, ReplicaSet, usize_of};

/// Acknowledgements of the ops above the commit, one set of replicas an op.
#[derive(Clone, Debug)]
pub struct QuorumTracker {
    commit: Op,
    acks: VecDeque<ReplicaSet>,
}

impl QuorumTracker {
    /// Nothing above `commit` is acknowledged; ops up to `head` are waiting.
    pub(super) fn new(commit: Op, head: Op) -> Self {
        let waiting = usize_of(head.above(commit));
        Self { commit, acks: core::iter::repeat_n(ReplicaSet::default(), waiting).collect() }
    }

    /// One more op waits.
    pub(super) fn push(&mut self) {
        self.acks.push_back(ReplicaSet::default());
    }

    /// Ops that wait.
    pub fn waiting(&self) -> usize {
        self.acks.len()
    }

    /// `replica` holds the ops `from..=to` durably.
    pub(super) fn acknowledge(&mut self, replica: usize, from: Op, to: Op) {
        let first = usize_of(from.above(self.commit.next()));
        let count = usize_of(to.above(self.commit)).saturating_sub(first);
        for acks in self.acks.iter_mut().skip(first).take(count) {
            acks.insert(replica);
        }
    }

    /// Commits in order whatever a majority holds, the last one only where `next` holds it as well, which is the majority of
    /// the membership that it makes; the new commit.
    pub(super) fn advance(&mut self, majority: Majority, next: Option<Majority>) -> Op {
        while let Some(acks) = self.acks.front() {
            let is_last = self.acks.len() == 1;
            let may_go = next.is_none_or(|next| !is_last || next.is_in(*acks));
            if !(majority.is_in(*acks) && may_go) {
                break;
            }
            self.acks.pop_front();
            self.commit = self.commit.next();
        }
        self.commit
    }
}

#[cfg(test)]
mod tests {
    use super::QuorumTracker;
    use crate::types::{Majority, Op};

    #[test]
    fn commits_in_order_and_on_a_quorum_alone() {
        let three = Majority::of(0..3);
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(7));
        tracker.acknowledge(1, Op::new(6), Op::new(7));
        tracker.acknowledge(0, Op::new(5), Op::new(7));
        assert_eq!(tracker.advance(three, None), Op::new(4), "op 5 is held by one");
        tracker.acknowledge(1, Op::new(1), Op::new(5));
        assert_eq!(tracker.advance(three, None), Op::new(7));
        assert_eq!(tracker.waiting(), 0);
    }

    #[test]
    fn a_new_membership_is_committed_by_both_and_what_lies_below_by_one() {
        let (old, new) = (Majority::of(0..3), Majority::of([0, 3]));
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(6));
        tracker.acknowledge(0, Op::new(5), Op::new(6));
        tracker.acknowledge(3, Op::new(5), Op::new(6));
        assert_eq!(tracker.advance(old, Some(new)), Op::new(4), "a learner counts for nothing");
        tracker.acknowledge(1, Op::new(5), Op::new(6));
        assert_eq!(tracker.advance(old, Some(new)), Op::new(6));
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(6));
        tracker.acknowledge(0, Op::new(5), Op::new(6));
        tracker.acknowledge(1, Op::new(5), Op::new(6));
        assert_eq!(tracker.advance(old, Some(new)), Op::new(5));
        tracker.acknowledge(3, Op::new(6), Op::new(6));
        assert_eq!(tracker.advance(old, Some(new)), Op::new(6));
    }

    #[test]
    fn acknowledgements_beyond_what_waits_count_for_nothing() {
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(5));
        tracker.acknowledge(1, Op::new(1), Op::new(4));
        tracker.acknowledge(1, Op::new(9), Op::new(12));
        tracker.acknowledge(1, Op::new(9), Op::new(3));
        assert_eq!(tracker.advance(Majority::of([0]), None), Op::new(4));
    }
}

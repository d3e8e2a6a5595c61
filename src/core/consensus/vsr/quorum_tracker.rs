//! Who holds which of the primary's uncommitted entries.

use alloc::collections::VecDeque;

use crate::types::{Op, Quorums, ReplicaSet, usize_of};

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

    /// Commits in order whatever a quorum holds; the new commit.
    pub(super) fn advance(&mut self, quorums: Quorums) -> Op {
        while self.acks.front().is_some_and(|acks| acks.count() >= quorums.replication()) {
            self.acks.pop_front();
            self.commit = self.commit.next();
        }
        self.commit
    }
}

#[cfg(test)]
mod tests {
    use super::QuorumTracker;
    use crate::types::{Op, Quorums};

    #[test]
    fn commits_in_order_and_on_a_quorum_alone() {
        let three = Quorums::of(3);
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(7));
        tracker.acknowledge(1, Op::new(6), Op::new(7));
        tracker.acknowledge(0, Op::new(5), Op::new(7));
        assert_eq!(tracker.advance(three), Op::new(4), "op 5 is held by one");
        tracker.acknowledge(1, Op::new(1), Op::new(5));
        assert_eq!(tracker.advance(three), Op::new(7));
        assert_eq!(tracker.waiting(), 0);
    }

    #[test]
    fn acknowledgements_beyond_what_waits_count_for_nothing() {
        let mut tracker = QuorumTracker::new(Op::new(4), Op::new(5));
        tracker.acknowledge(1, Op::new(1), Op::new(4));
        tracker.acknowledge(1, Op::new(9), Op::new(12));
        tracker.acknowledge(1, Op::new(9), Op::new(3));
        assert_eq!(tracker.advance(Quorums::of(1)), Op::new(4));
    }
}

//! The floor: every member has released its journal up to there, for its snapshot goes so far, and its archive if it keeps one.
//! Journals and logs keep what lies above it, as long as they are not too long.

use alloc::vec::Vec;

use super::VsrNode;
use crate::consensus::Turn;
use crate::types::{Mark, Marks, NodeId, Op, Ordinal};

impl VsrNode {
    /// Every member has released its journal up to here: nobody will ever ask for what lies below, whatever of a journal rots.
    pub fn floor(&self) -> Op {
        let members = self.members_released().iter().copied().min().unwrap_or_default();
        members.min(self.released())
    }

    /// Whether this replica is the one that keeps the floor down: a member has released more.
    pub fn holds_floor_down(&self) -> bool {
        let own = self.released();
        own == self.floor() && self.members_released().iter().any(|released| *released > own)
    }

    /// Of voters and learners.
    fn members_released(&self) -> &[Op] {
        &self.released[..self.members.taking_part()]
    }

    /// Up to here this disk has all that the group keeps: in snapshot and archive, and in the log behind them. What is missing
    /// above, only peers have.
    pub fn complete_to(&self) -> Op {
        let released = self.released();
        if released < self.log.base_op() { released } else { self.log.recorded_to(released) }
    }

    /// Snapshot and archive on this disk cover the replica up to `op`.
    pub fn set_released(&mut self, op: Op, marks: &mut impl Marks) {
        self.note_released(self.members.me(), op, marks);
    }

    /// Up to where snapshot and archive on this disk cover the replica.
    pub fn released(&self) -> Op {
        self.released[self.members.me()]
    }

    pub(super) fn note_released(&mut self, member: usize, op: Op, marks: &mut impl Marks) {
        let before = self.floor();
        self.released[member] = self.released[member].max(op);
        if self.floor() > before {
            marks.hit(Mark::FloorRaised);
        }
    }

    /// Forgets the log up to `op`, which is released here. Who asks for it is told so.
    pub fn forget_to(&mut self, op: Op) {
        assert!(op <= self.applied, "op {op} is in a snapshot, and was not applied");
        self.log.forget_to(op);
        let lags = |member: &usize| self.released[*member] < op;
        let lagging: Vec<usize> = (0..self.members.taking_part()).filter(lags).collect();
        self.left_behind.extend(lagging);
    }

    /// Whether what of the entries up to `to` has no record after `through` can be written again: none of it rotted.
    pub fn is_whole(&self, to: Op, through: Ordinal) -> bool {
        self.live_ops(to, through).all(|op| !self.log.is_missing(op))
    }

    /// Bytes of all that the journal is to keep of the group.
    pub fn live_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Writes once more what of the entries up to `to` has no record after `through`.
    pub fn copy_forward(&mut self, turn: &mut Turn<'_, impl Marks>, to: Op, through: Ordinal) {
        for op in self.live_ops(to, through).collect::<Vec<_>>() {
            if let Some(entry) = self.log.entry(op) {
                let ordinal = self.record(turn, entry);
                self.log.note_recorded(op, ordinal);
            }
        }
    }

    fn live_ops(&self, to: Op, through: Ordinal) -> impl Iterator<Item = Op> {
        let ops = self.log.base_op().next().get()..=to.min(self.log.head_op()).get();
        let is_behind = move |op: &Op| self.log.recorded(*op).is_some_and(|ordinal| ordinal <= through);
        ops.map(Op::new).filter(is_behind)
    }

    /// Members that were not waited for, and that are not known to have released what was forgotten.
    pub fn left_behind(&self) -> impl Iterator<Item = NodeId> {
        let base = self.log.base_op();
        let lagging = self.left_behind.iter().filter(move |voter| self.released[**voter] < base);
        lagging.map(|voter| self.members.node(*voter))
    }
}

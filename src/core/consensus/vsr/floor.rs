//! The floor: up to where a snapshot covers every voter. Journals and logs keep what lies above it, as long as they are not
//! too long.

use super::VsrNode;
use crate::types::{Mark, Marks, NodeId, Op};

impl VsrNode {
    /// A snapshot covers every voter up to here: nobody will ever ask for what lies below, whatever of its journal rots.
    pub fn floor(&self) -> Op {
        self.saved.iter().copied().min().unwrap_or_default()
    }

    /// Whether this replica is the one that keeps the floor down: a voter has a snapshot of more.
    pub fn holds_floor_down(&self) -> bool {
        let own = self.saved();
        own == self.floor() && self.saved.iter().any(|saved| *saved > own)
    }

    /// A snapshot on this disk covers the replica up to `op`.
    pub fn set_saved(&mut self, op: Op, marks: &mut impl Marks) {
        self.note_saved(self.me, op, marks);
    }

    /// Up to where a snapshot on this disk covers the replica.
    pub fn saved(&self) -> Op {
        self.saved[self.me]
    }

    pub(super) fn note_saved(&mut self, voter: usize, op: Op, marks: &mut impl Marks) {
        let before = self.floor();
        self.saved[voter] = self.saved[voter].max(op);
        if self.floor() > before {
            marks.hit(Mark::FloorRaised);
        }
    }

    /// Forgets the log up to `op`, which a snapshot here covers. Who asks for it is told so.
    pub fn forget_to(&mut self, op: Op) {
        assert!(op <= self.applied, "op {op} is in a snapshot, and was not applied");
        self.log.forget_to(op);
        let lags = |saved: &Op| *saved < op;
        self.left_behind
            .extend(self.saved.iter().enumerate().filter(|(_, saved)| lags(saved)).map(|(voter, _)| voter));
    }

    /// Voters that were not waited for, and of which no snapshot is known that covers what was forgotten.
    pub fn left_behind(&self) -> impl Iterator<Item = NodeId> {
        let base = self.log.base_op();
        let lagging = self.left_behind.iter().filter(move |voter| self.saved[**voter] < base);
        lagging.map(|voter| self.init.voters[*voter])
    }
}

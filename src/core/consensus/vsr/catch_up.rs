//! Catching up by a snapshot: where peers have let go of the entries that a replica lacks (VRR 5.2, 5.3).
//!
//! A snapshot holds what was committed and nothing else. To take one over is to take all entries up to its op at once, as
//! [`super::repair`] takes committed entries one by one: the log view stays what it was.

use super::{Phase, Status, ViewChange, VsrNode};
use crate::consensus::{Discard, Turn};
use crate::types::{CommitIndex, EntryHeader, Mark, Marks, Membership, NodeId, Op};

impl VsrNode {
    /// `from` has let go of entries that this replica may lack.
    pub(super) fn on_covered(&mut self, from: NodeId, to: Op) -> Result<(), Discard> {
        if matches!(self.status, Status::Primary(_)) || to <= self.applied {
            return Err(Discard::OutOfPlace);
        }
        self.covered_by = Some((from, to));
        Ok(())
    }

    /// The node that said last that entries which this replica lacks are in its snapshot alone, and up to where.
    pub fn needs_snapshot(&self) -> Option<(NodeId, Op)> {
        self.covered_by.filter(|(_, to)| *to > self.applied)
    }

    /// Takes over a snapshot, which is in force on this disk, ends with the entry of `last`, and tells the members there;
    /// whether it was of use.
    pub fn install(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        last: EntryHeader,
        membership: &Membership,
    ) -> bool {
        // A primary has every entry that it may lack.
        if last.op() <= self.applied || matches!(self.status, Status::Primary(_)) {
            return false;
        }
        let contradicts = self.contradicts_log_of_view(&last);
        let joins = self.log.install(last);
        turn.marks.hit(if joins { Mark::SnapshotJoinsLog } else { Mark::SnapshotReplacesLog });
        self.applied = last.op();
        if self.init.archive.is_none() {
            self.set_released(last.op(), turn.marks);
        }
        self.commit = self.commit.max(last.op());
        turn.journal.note_commit(self.init.group, CommitIndex::At(self.commit));
        if let Status::Backup(backup) = &mut self.status {
            backup.early = backup.early.split_off(&last.op().next());
        }
        if membership.epoch > self.membership().epoch {
            turn.marks.hit(Mark::EpochBySnapshot);
            self.enter_epoch(turn, membership.clone());
        } else if contradicts || (!joins && self.has_told_its_log()) {
            turn.marks.hit(Mark::SilentAfterSnapshot);
            self.set_phase(Phase::Silent);
            self.wish(turn);
        }
        // Its primary may have said that entries behind the snapshot are committed, while one that the snapshot holds was
        // missing here. It has heard that this was heard, and in a group that goes idle nobody says so again.
        self.commit_as_told(turn);
        self.on_durable(turn);
        self.ask(turn);
        true
    }

    /// Whether peers may rely on the log being what this replica has told of it in its view.
    fn has_told_its_log(&self) -> bool {
        matches!(
            &self.status,
            Status::ViewChange(ViewChange { phase: Phase::Collecting(_) | Phase::Repairing, .. })
        )
    }

    /// Whether the log that this replica is about to adopt does not go through `last`: a later view committed that.
    fn contradicts_log_of_view(&self, last: &EntryHeader) -> bool {
        let Status::ViewChange(ViewChange { phase: Phase::CatchingUp(chosen), .. }) = &self.status else {
            return false;
        };
        let beyond = chosen.headers.last().is_some_and(|head| head.op() < last.op());
        let other =
            chosen.headers.iter().any(|header| header.op() == last.op() && header.hash() != last.hash());
        other || (beyond && self.primary_of(self.view) == self.members.me())
    }
}

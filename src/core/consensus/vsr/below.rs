//! What an archive wants and the log has not: entries below the log, where a snapshot of a peer took their place, and payloads that
//! rotted and are in a snapshot here.
//!
//! All of it is committed, and hashes name it: headers of the log the payloads, the hash of its base what lies below. So
//! whatever comes is held against these, and the log grows downward by what fits. Nothing else of the protocol hears of it.

use alloc::vec::Vec;

use super::VsrNode;
use crate::consensus::{Discard, Turn, VsrMessage};
use crate::types::{CommitIndex, Entry, Mark, Marks, Op};

impl VsrNode {
    /// Asks a peer for what the archive, which reaches `archived`, wants and the log has not, when there is any.
    pub fn ask_below(&mut self, turn: &mut Turn<'_, impl Marks>, archived: Op) {
        self.wants_below = Some(archived);
        let Some((from, to)) = self.lacks_below(archived) else { return };
        turn.marks.hit(Mark::AskedBelow);
        let most = u64::from(turn.limits.repair_entries_max).max(1) - 1;
        let (peer, to) = (self.next_peer(), to.min(from.plus(most)));
        turn.out.push((peer, VsrMessage::RequestEntries { from, to }));
    }

    fn lacks_below(&mut self, archived: Op) -> Option<(Op, Op)> {
        let base = self.log.base_op();
        self.below.retain(|op, _| *op > archived && *op <= base);
        let mut lacking = (archived.next().get()..=base.get()).map(Op::new);
        if let Some(from) = lacking.find(|op| !self.below.contains_key(op)) {
            return Some((from, base));
        }
        let faulty = self.log.first_missing_above(archived).filter(|op| *op <= self.applied)?;
        Some((faulty, self.applied))
    }

    /// Takes those of `entries` that the archive wants, and gives back the others.
    pub(super) fn take_below(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        commit: CommitIndex,
        entries: Vec<Entry>,
    ) -> Result<Vec<Entry>, Discard> {
        let Some(archived) = self.wants_below else { return Ok(entries) };
        let (base, applied) = (self.log.base_op(), self.applied);
        let is_wanted =
            |entry: &Entry| entry.op() > archived && entry.op() <= applied && commit.covers(entry.op());
        let (wanted, others): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_wanted);
        for entry in wanted {
            self.check_entry(&entry)?;
            if entry.op() <= base {
                self.below.insert(entry.op(), entry);
            } else if self.log.wants(&entry) {
                turn.marks.hit(Mark::FaultyFilledForArchive);
                self.extend_or_fill(turn, entry)?;
            }
        }
        while let Some(entry) = self.below.remove(&self.log.base_op()) {
            if !self.log.grow_downward(&entry) {
                break;
            }
            // Until a chunk holds it, it is not to be in memory alone.
            let op = entry.op();
            let ordinal = self.record(turn, entry);
            self.log.note_recorded(op, ordinal);
            turn.marks.hit(Mark::LogGrewDownward);
        }
        Ok(others)
    }
}

//! Entries below the log: a snapshot of a peer took their place, and the archive still wants them.
//!
//! They are committed, and the hash of the base names them all: whatever comes is held against that, and the log grows downward
//! by what fits. Nothing else of the protocol hears of it.

use alloc::vec::Vec;

use super::VsrNode;
use crate::consensus::{Turn, VsrMessage};
use crate::types::{CommitIndex, Entry, Mark, Marks, Op};

impl VsrNode {
    /// Asks a peer for entries between `archived` and the log, when there are any.
    pub fn ask_below(&mut self, turn: &mut Turn<'_, impl Marks>, archived: Op) {
        let base = self.log.base_op();
        self.below.retain(|op, _| *op > archived && *op <= base);
        let lacking = (archived.next().get()..=base.get()).map(Op::new);
        let Some(from) = lacking.into_iter().find(|op| !self.below.contains_key(op)) else { return };
        turn.marks.hit(Mark::AskedBelow);
        let most = u64::from(turn.limits.repair_entries_max).max(1) - 1;
        let (peer, to) = (self.next_peer(), base.min(from.plus(most)));
        self.wants_below = Some(archived);
        self.send(turn, peer, VsrMessage::RequestEntries { from, to });
    }

    /// Takes those of `entries` that lie below the log and were asked for; whether there were any.
    pub(super) fn take_below(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        commit: CommitIndex,
        entries: &[Entry],
    ) -> bool {
        let Some(archived) = self.wants_below else { return false };
        let base = self.log.base_op();
        let is_wanted =
            |entry: &&Entry| entry.op() > archived && entry.op() <= base && commit.covers(entry.op());
        let wanted: Vec<&Entry> = entries.iter().filter(is_wanted).collect();
        self.below.extend(wanted.iter().map(|entry| (entry.op(), (*entry).clone())));
        while let Some(entry) = self.below.remove(&self.log.base_op()) {
            if !self.log.grow_downward(&entry) {
                break;
            }
            turn.marks.hit(Mark::LogGrewDownward);
        }
        !wanted.is_empty()
    }
}

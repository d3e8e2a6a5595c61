//! A group that stands still over an event which its application cannot execute: how it gets there, and back.

use alloc::vec::Vec;

use super::Group;
use crate::codec;
use crate::kernel::{ChrApplication, EventPlace, Executor, Halt};
use crate::node::door::{Answer, Effect, Effects};
use crate::types::{EntryKind, Mark, Marks};

impl<A: ChrApplication> Group<A> {
    /// Notes what the log skips above what was applied, as far as it is committed: whoever executes such an event would panic.
    pub(super) fn look_ahead(&mut self) {
        self.looked_to = self.looked_to.max(self.replica.applied());
        let commit = self.replica.commit().op_or_genesis();
        while self.looked_to < commit {
            let op = self.looked_to.next();
            if self.replica.committed_kind(op) == Some(EntryKind::Skip) {
                let Some(entry) = self.replica.committed_entry(op) else { return };
                // One that is none is found when its turn comes.
                let place = codec::decode::<EventPlace>(entry.payload());
                place.into_iter().for_each(|place| self.executor.expect_skip(place));
            }
            self.looked_to = op;
        }
    }

    /// The application cannot go on: its state is no state any more, and everybody who waits for it is told.
    pub(in crate::node) fn stand_still(&mut self, halt: Halt, effects: &mut Effects, marks: &mut impl Marks) {
        marks.hit(Mark::GroupHalted);
        self.executor.lose_state();
        self.executed.clear();
        self.queue.clear();
        self.waking = None;
        for (client, (number, route)) in core::mem::take(&mut self.waiting) {
            let reply = self.reply(client, number, Answer::Halted(halt.clone()));
            effects.push(Effect::Reply { route, reply });
        }
        self.queries.halt(&halt, effects);
        self.halted = Some(halt);
    }

    /// Whether the log skips the event at which the replica stands: it can go on, once it has its state again.
    pub(in crate::node) fn may_go_on(&self) -> bool {
        let halt = self.halted.as_ref().filter(|halt| halt.skippable);
        halt.is_some_and(|halt| self.executor.skips().contains(&halt.place))
    }

    /// Executes what follows a snapshot, up to where the replica stands, once more.
    ///
    /// # Errors
    /// Why it stands still for good: the log gives something else this time.
    pub(in crate::node) fn come_back(
        &mut self,
        mut executor: Executor<A>,
        marks: &mut impl Marks,
    ) -> Result<(), Halt> {
        self.executor.skips().iter().for_each(|place| executor.expect_skip(*place));
        while executor.applied() < self.replica.applied() {
            // What rotted on the disk is in memory still, or comes from a peer.
            let Some(entry) = self.replica.committed_entry(executor.applied().next()) else { return Ok(()) };
            // It was executed here before: where it panics now, it is not a function of the log.
            let again = executor.apply(&entry, &mut Vec::new(), marks);
            again.map_err(|halt| Halt { skippable: false, ..halt })?;
        }
        if executor.digest() != self.executor.digest() {
            let place = EventPlace { op: executor.applied(), index: 0 };
            let what = "what was applied up to here, applied once more, gives something else: the application is not \
                        deterministic";
            return Err(Halt { place, skippable: false, what: what.into() });
        }
        marks.hit(Mark::StateRebuilt);
        self.take_executor(executor);
        Ok(())
    }
}

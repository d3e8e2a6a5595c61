//! Gray failure: a primary that hears and is heard, and is of no use. Its heartbeats go on, so nobody else can tell; it gives
//! the view up itself, and quickly enough that nothing waits for it for ever, slowly enough that a stall of a disk is
//! waited for (Huang et al., "Gray Failure: The Achilles' Heel of Cloud-Scale Systems", HotOS'17).
//!
//! | what does not go on | for how long |
//! |---|---|
//! | its oldest entry is not committed | `abdicate` |
//! | no majority of clocks agrees | `abdicate` |
//! | its disk completes nothing | `disk_patience` |

use super::{Phase, Status, ViewChange, VsrNode};
use crate::consensus::Turn;
use crate::types::{Mark, Marks, Monotonic};

impl VsrNode {
    /// A primary that does not know the time, or whose disk has owed it something since `disk_owes_since`, gives its view
    /// up after a while. Asked with every heartbeat.
    pub fn judge_own_use(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        knows_time: bool,
        disk_owes_since: Option<Monotonic>,
    ) {
        let now = turn.now.monotonic;
        let Status::Primary(primary) = &mut self.status else { return };
        primary.timeless_since = if knows_time { None } else { primary.timeless_since.or(Some(now)) };
        let lasts = |since: Option<Monotonic>, patience| since.is_some_and(|at| now.since(at) >= patience);
        let is_timeless = lasts(primary.timeless_since, turn.timeouts.abdicate);
        let is_stalled = lasts(disk_owes_since, turn.timeouts.disk_patience);
        if self.members.voters().len() == 1 || !(is_timeless || is_stalled) {
            return;
        }
        turn.marks.hit(if is_timeless { Mark::ResignedWithoutTime } else { Mark::ResignedOverDisk });
        self.resign(turn);
        self.arm_patience(turn);
    }

    /// Gives the view up, and says nothing in it any more.
    pub(super) fn resign(&mut self, turn: &mut Turn<'_, impl Marks>) {
        turn.marks.hit(Mark::Resigned);
        self.fall_silent();
        self.wish(turn);
    }

    /// Says nothing in this view any more.
    pub(super) fn fall_silent(&mut self) {
        let message = self.view_change_message(self.commit, &self.suffix_headers());
        self.status = Status::ViewChange(ViewChange { message, phase: Phase::Silent });
    }
}

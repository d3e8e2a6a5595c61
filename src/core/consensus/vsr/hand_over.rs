//! A view that goes to the primary that an operator wants (leadership transfer of the Raft thesis, 3.10).
//!
//! ```text
//! primary                         target                        other voters
//! | prepares nothing any more
//! | <------- PrepareOk(its head) -|
//! | HandOver(w) ----------------> | --------------------------> |    w: the target's next view
//! | enters w                      | enters w                    | enters w
//! | DoViewChange(w) ------------> | <---------- DoViewChange(w) |    and so on, as in any view change
//! ```
//!
//! Nothing rests on it. A word that a view is to begin is a quorum's wish in one message: who hears it leaves its view as it
//! would by wishes, and the target chooses the log of a quorum as any new primary does. That it holds all of the old one's log
//! makes the change short. When it does not come to hold that within a time, the primary goes on as if nobody had asked.

use super::{Status, VsrNode};
use crate::consensus::{Discard, Turn, VsrMessage};
use crate::types::{Mark, Marks, Monotonic, NodeId, View};

/// To whom a primary hands its group over.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandingOver {
    to: usize,
    /// Until then nothing is prepared.
    until: Monotonic,
    /// The target did not come to hold everything in time. The next attempt waits until then: an operator who asks again and
    /// again must not keep the group from its work.
    rests_until: Option<Monotonic>,
}

/// Why a group is not handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoHandOver {
    /// Who is to lead has no vote.
    NoVoter,
    /// It leads the group.
    Leads,
    /// A change of the membership is on its way.
    Changing,
    /// It was not heard of for so long that it may be dead.
    Silent,
    /// It lacks so many ops: more than may be on their way to it.
    Lags {
        /// How many.
        ops: u64,
    },
    /// The last attempt was given up just now.
    Rests,
}

impl VsrNode {
    /// Has this primary hand its group over to `node`, as soon as that one holds all of the log.
    ///
    /// # Errors
    /// [`NoHandOver`]: why not, or why not now. Everything goes on then.
    pub fn hand_over(&mut self, turn: &mut Turn<'_, impl Marks>, node: NodeId) -> Result<(), NoHandOver> {
        let now = turn.now.monotonic;
        let to = self.members.index(node).filter(|index| self.members.is_voter(*index));
        let to = to.ok_or(NoHandOver::NoVoter)?;
        if to == self.members.me() {
            return Err(NoHandOver::Leads);
        }
        if self.ends_epoch() {
            return Err(NoHandOver::Changing);
        }
        let lacks = self.head().above(self.acknowledged_by(node).unwrap_or_default());
        if lacks > u64::from(turn.limits.pipeline_entries_max) {
            turn.marks.hit(Mark::HandOverTooEarly);
            return Err(NoHandOver::Lags { ops: lacks });
        }
        let heard = turn.heard.get(&node).copied().unwrap_or_default();
        if now.since(heard) >= turn.timeouts.primary_silence {
            return Err(NoHandOver::Silent);
        }
        let Status::Primary(primary) = &mut self.status else { return Err(NoHandOver::NoVoter) };
        match primary.handing_over {
            Some(HandingOver { rests_until: Some(until), .. }) if now < until => {
                return Err(NoHandOver::Rests);
            }
            // It is on its way, and its time does not begin anew.
            Some(HandingOver { to: known, rests_until: None, .. }) if known == to => {}
            _ => {
                let until = now.after(turn.timeouts.view_change);
                primary.handing_over = Some(HandingOver { to, until, rests_until: None });
                self.prepare_head_again(turn, to);
            }
        }
        self.settle_hand_over(turn);
        Ok(())
    }

    /// What acknowledged the head may have been lost: it is not repeated once all is committed, but for a prepare.
    fn prepare_head_again(&self, turn: &mut Turn<'_, impl Marks>, to: usize) {
        let Some(entry) = self.log.entry(self.log.head_op()) else { return };
        let (view, commit) = (self.view, self.commit());
        self.send(turn, to, VsrMessage::Prepare { view, commit, entry });
    }

    /// Whether this primary prepares nothing, for it hands its group over.
    pub(super) fn hands_over(&self) -> bool {
        matches!(&self.status, Status::Primary(primary)
            if primary.handing_over.is_some_and(|handing| handing.rests_until.is_none()))
    }

    /// Gives the view to the target once that one holds the whole log; goes on with it when that takes too long.
    pub(super) fn settle_hand_over(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let now = turn.now.monotonic;
        let Status::Primary(primary) = &self.status else { return };
        let Some(HandingOver { to, until, rests_until: None }) = primary.handing_over else { return };
        if self.leads() && primary.acknowledged[to] >= self.head() {
            turn.marks.hit(Mark::HandedOver);
            let view = self.next_view_of(to);
            for voter in self.members.others().filter(|index| self.members.is_voter(*index)) {
                self.send(turn, voter, VsrMessage::HandOver { view });
            }
            self.enter(turn, view);
        } else if now >= until {
            turn.marks.hit(Mark::HandOverGivenUp);
            let rests_until = Some(now.after(turn.timeouts.view_change.times(RESTS_FOR)));
            if let Status::Primary(primary) = &mut self.status {
                primary.handing_over = Some(HandingOver { to, until, rests_until });
            }
        }
    }

    /// When the target has had its time.
    pub(super) fn hand_over_deadline(&self) -> Option<Monotonic> {
        let Status::Primary(primary) = &self.status else { return None };
        primary.handing_over.filter(|handing| handing.rests_until.is_none()).map(|handing| handing.until)
    }

    /// The first view above the present one that this voter leads.
    fn next_view_of(&self, voter: usize) -> View {
        let mut view = self.view.next();
        while self.primary_of(view) != voter {
            view = view.next();
        }
        view
    }

    /// A primary has given its view up, and says which one is to follow.
    pub(super) fn on_hand_over(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        view: View,
    ) -> Result<(), Discard> {
        if view <= self.view {
            return Err(Discard::OldView);
        }
        if !self.members.is_voter(from) || !self.votes() {
            return Err(Discard::OutOfPlace);
        }
        turn.marks.hit(Mark::HandOverFollowed);
        self.enter(turn, view);
        Ok(())
    }
}

/// After an attempt that was given up the group works for so many times as long as it stood.
const RESTS_FOR: u64 = 4;

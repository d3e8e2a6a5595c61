//! New memberships (VRR section 7, in one group's own log).
//!
//! ```text
//! primary       entry of a new membership: the last one of its epoch. Nothing is prepared behind it
//! committed     once majorities of the voters before and after hold it: so the epochs share every commit
//! whoever knows that it is, and holds all up to it, is in the first view of the next epoch: its log is known, so nobody
//!               needs to be asked. Later views of the epoch begin as views do
//! ```
//!
//! A word of a later epoch means nothing to who does not know its members: it asks for the entries between, and follows the log
//! there. So does a node that is to join, from the genesis on.

use alloc::vec;

use bytes::Bytes;

use super::members::Members;
use super::{Backup, Beat, Primary, Status, VsrNode, Wish};
use crate::codec;
use crate::consensus::{Limits, Turn, VsrMessage};
use crate::types::{
    EntryKind, Majority, Mark, Marks, Membership, MembershipChange, MembershipError, Monotonic, NodeId, Op,
    Timestamp, View,
};

/// Somebody who is in a later epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) node: NodeId,
    view: View,
    /// What the primary of the latest view said that is known to have begun there: it will not say it again.
    beat: Option<(NodeId, Beat)>,
}

/// Why a membership is not changed now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotNow {
    /// Another change is on its way, the pipeline has no room, or the view's log is not committed yet.
    Busy,
    /// A learner that is to vote lacks so many ops.
    Lags {
        /// How many.
        ops: u64,
    },
    /// A node that is to vote lacks something that the group keeps, or nobody but one that leaves is known to have all of it.
    Lacks {
        /// Who lacks something, or who leaves.
        node: NodeId,
    },
    /// It may not be changed so.
    Refused(MembershipError),
}

impl VsrNode {
    /// Who the group consists of, as far as this replica knows.
    pub fn membership(&self) -> &Membership {
        self.members.membership()
    }

    /// Whether this node votes.
    pub fn votes(&self) -> bool {
        self.members.is_voter(self.members.me())
    }

    /// Whether this node is no member.
    pub fn is_outside(&self) -> bool {
        matches!(self.status, Status::Outside)
    }

    /// What of a member's log is known to be durable on its disk; on the primary alone.
    pub fn acknowledged_by(&self, node: NodeId) -> Option<Op> {
        let Status::Primary(primary) = &self.status else { return None };
        let index = self.members.index(node)?;
        // An acknowledgement of this view that was lost is not repeated once all is committed; beats say as much.
        let acknowledged = primary.acknowledged[index].max(self.complete[index]);
        Some(if index == self.members.me() { self.log.durable_to() } else { acknowledged })
    }

    /// Up to where a member is known to have all that the group keeps.
    fn complete_at(&self, node: NodeId) -> Op {
        match self.members.index(node) {
            Some(index) if index == self.members.me() => self.complete_to(),
            Some(index) => self.complete[index],
            None => Op::GENESIS,
        }
    }

    /// Makes a new membership the next entry; its op.
    ///
    /// # Errors
    /// [`NotNow`]: why not, or why never.
    pub fn propose_change(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        timestamp: Timestamp,
        change: &MembershipChange,
    ) -> Result<Op, NotNow> {
        let lead = self.members.node(self.members.me());
        let next = self.membership().changed(change, self.head().next(), lead).map_err(NotNow::Refused)?;
        if !self.can_change(turn.limits) {
            return Err(NotNow::Busy);
        }
        if next.voters != self.membership().voters
            && let Err(why) = self.may_vote(&next.voters, turn.limits)
        {
            turn.marks.hit(match why {
                NotNow::Lags { .. } => Mark::PromotionTooEarly,
                NotNow::Busy | NotNow::Lacks { .. } | NotNow::Refused(_) => Mark::ChangeWaitsForHistory,
            });
            return Err(why);
        }
        let payload = Bytes::from(codec::encode(&next));
        Ok(self.propose(turn, timestamp, EntryKind::Membership, payload))
    }

    /// Whether these may vote: who is new among them has the log, but for what may be on its way, and knows that it is a member;
    /// and what somebody who leaves has kept does not leave with it.
    fn may_vote(&self, next: &[NodeId], limits: &Limits) -> Result<(), NotNow> {
        let head = self.head();
        let on_its_way = u64::from(limits.pipeline_entries_max);
        let least = Op::new(head.get().saturating_sub(on_its_way)).max(self.membership().at);
        let is_new = |voter: &&NodeId| !self.membership().voters.contains(voter);
        for voter in next.iter().filter(is_new) {
            let acknowledged = self.acknowledged_by(*voter).unwrap_or_default();
            if acknowledged < least {
                return Err(NotNow::Lags { ops: head.above(acknowledged) });
            }
            if self.complete_at(*voter) < least {
                return Err(NotNow::Lacks { node: *voter });
            }
        }
        let me = self.members.node(self.members.me());
        let is_kept = if next.contains(&me) {
            self.complete_to() >= least
        } else {
            next.iter().any(|voter| self.complete_at(*voter) >= least)
        };
        if is_kept { Ok(()) } else { Err(NotNow::Lacks { node: me }) }
    }

    /// What earlier views prepared is committed before the membership changes (Ongaro, "bug in single-server membership
    /// changes", raft-dev 2015).
    fn can_change(&self, limits: &Limits) -> bool {
        let Status::Primary(primary) = &self.status else { return false };
        self.can_propose(limits) && self.commit >= primary.confirming.began_with()
    }

    /// Whether the group is known to be in a later epoch.
    pub(super) fn is_behind(&self) -> bool {
        self.ahead.is_some_and(|ahead| ahead.view.epoch() > self.view.epoch())
    }

    /// Whether the log ends its epoch: nothing follows until that is committed.
    pub(super) fn ends_epoch(&self) -> bool {
        let head = self.log.header(self.log.head_op());
        head.is_some_and(|head| head.kind() == EntryKind::Membership && head.op() > self.membership().at)
    }

    /// The majority that the head of the log needs beside the usual one.
    pub(super) fn next_majority(&self) -> Option<Majority> {
        if !self.ends_epoch() {
            return None;
        }
        let next = self.membership_at(self.log.head_op())?;
        Some(self.members.majority_of(&next))
    }

    /// The membership that the entry at `op` makes, when it makes one and is here.
    fn membership_at(&self, op: Op) -> Option<Membership> {
        let entry = self.log.entry(op).filter(|entry| entry.header().kind() == EntryKind::Membership)?;
        match codec::decode(entry.payload()) {
            Ok(membership) => Some(membership),
            Err(error) => panic!("group {} op {op} is no membership: {error}", self.init.group),
        }
    }

    /// The first op above the commit, up to `op`, that ends its epoch, or `op`.
    pub(super) fn end_of_epoch(&self, op: Op) -> Op {
        if self.commit > self.membership().at && self.makes_a_membership(self.commit) {
            return self.commit;
        }
        let mut below = (self.commit.next().get()..op.get()).map(Op::new);
        below.find(|op| self.makes_a_membership(*op)).unwrap_or(op)
    }

    fn makes_a_membership(&self, op: Op) -> bool {
        self.log.header(op).is_some_and(|header| header.kind() == EntryKind::Membership)
    }

    /// Goes into the next epoch where the last one is known to be over.
    pub(super) fn settle_epoch(&mut self, turn: &mut Turn<'_, impl Marks>) {
        while self.commit > self.membership().at {
            let Some(next) = self.membership_at(self.commit) else { return };
            self.tell_of_the_end(turn);
            self.enter_epoch(turn, next);
        }
    }

    /// The primary tells everybody that its epoch is over: nothing that it prepares would.
    fn tell_of_the_end(&self, turn: &mut Turn<'_, impl Marks>) {
        let Some(entry) = self.log.entry(self.commit).filter(|_| self.leads()) else { return };
        let message =
            VsrMessage::Entries { log_view: self.log_view, commit: self.commit(), entries: vec![entry] };
        self.send_to_others(turn, &message);
    }

    /// The first view of an epoch, whose log is what is committed here.
    pub(super) fn enter_epoch(&mut self, turn: &mut Turn<'_, impl Marks>, membership: Membership) {
        turn.marks.hit(Mark::EpochEntered);
        let has_voted = self.votes() && !self.waits_to_vote;
        self.take_membership(membership);
        self.waits_to_vote = self.votes() && !has_voted;
        let view = self.membership().first_view;
        (self.view, self.log_view) = (view, view);
        self.status = if self.waits_to_vote {
            Status::Outside
        } else if self.members.takes_part(self.members.me()) {
            self.status_in_first_view(turn.now.monotonic)
        } else {
            turn.marks.hit(Mark::LeftOut);
            Status::Outside
        };
        self.promise(turn, None);
        self.timers.resend = None;
        self.arm_patience(turn);
        self.follow(turn);
    }

    fn status_in_first_view(&self, now: Monotonic) -> Status {
        if self.primary_of(self.view) == self.members.me() {
            Status::Primary(Primary::new(self.commit, self.log.head_op(), self.members.len(), now))
        } else {
            Status::Backup(Backup::new(now))
        }
    }

    /// Whether this replica has become a voter, and says nothing as one yet: not before a quorum knows its node's start. Who was
    /// none when its node started had nobody to convince then that its disk is what it was; a disk that was wiped, and
    /// formatted once more as one that is to join, comes the same way.
    pub fn waits_to_vote(&self) -> bool {
        self.waits_to_vote
    }

    /// A quorum of the voters knows this start of the node: the replica takes part.
    pub fn take_part(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if !core::mem::take(&mut self.waits_to_vote) {
            return;
        }
        self.status = self.status_in_first_view(turn.now.monotonic);
        self.arm_patience(turn);
        if let Some(beat) = self.last_beat.filter(|beat| beat.view >= self.view) {
            turn.marks.hit(Mark::NewVoterIsLate);
            let from = self.members.node(self.primary_of(beat.view));
            self.take_beat(turn, from, beat);
        }
        self.on_durable(turn);
    }

    /// Goes where somebody ahead is, if that is in this epoch by now.
    fn follow(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Some(ahead) = self.ahead else { return };
        if ahead.view.epoch() > self.view.epoch() {
            return self.ask(turn);
        }
        self.ahead = None;
        if let Some((primary, beat)) = ahead.beat {
            self.take_beat(turn, primary, beat);
        }
    }

    /// What is known of each member goes with its node.
    fn take_membership(&mut self, membership: Membership) {
        let me = self.members.node(self.members.me());
        let members = Members::new(membership, me);
        let before = |index: usize| self.members.index(members.node(index));
        let released = |index| before(index).map_or(Op::GENESIS, |index| self.released[index]);
        self.released = (0..members.len()).map(released).collect();
        let left = |index: &usize| before(*index).is_some_and(|index| self.left_behind.contains(&index));
        self.left_behind = (0..members.len()).filter(left).collect();
        let complete = |index| before(index).map_or(Op::GENESIS, |index| self.complete[index]);
        self.complete = (0..members.len()).map(complete).collect();
        self.wishes = vec![Wish::default(); members.len()];
        self.members = members;
    }

    /// Somebody speaks of a view of a later epoch.
    pub(super) fn hear_of_later_epoch(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        node: NodeId,
        (view, beat): (View, Option<Beat>),
    ) {
        turn.marks.hit(Mark::LaterEpochHeardOf);
        let known = self.ahead;
        let before = known.and_then(|known| known.beat);
        // A wish for a view that may never begin takes nothing back of what a primary has said.
        let led = beat.filter(|beat| beat.leads).map(|beat| (node, beat));
        let led = led.filter(|(_, beat)| before.is_none_or(|(_, known)| known.view <= beat.view));
        let is_news = known.is_none_or(|known| {
            known.view < view || (known.view == view && (led.is_some() || known.beat.is_none()))
        });
        let (node, view) = known.filter(|_| !is_news).map_or((node, view), |known| (known.node, known.view));
        self.ahead = Some(Ahead { node, view, beat: led.or(before) });
        self.ask_later(turn);
    }
}

impl VsrMessage {
    /// The view that its sender is in, or would go to.
    pub(super) fn view(&self) -> Option<View> {
        match self {
            Self::Prepare { view, .. }
            | Self::PrepareOk { view, .. }
            | Self::StartViewChange { view }
            | Self::HandOver { view }
            | Self::StartView { view, .. }
            | Self::ConfirmView { view, .. }
            | Self::ViewConfirmed { view, .. } => Some(*view),
            Self::DoViewChange(message) => Some(message.view),
            Self::RequestEntries { .. }
            | Self::Covered { .. }
            | Self::Entries { .. }
            | Self::RequestReadIndex { .. }
            | Self::ReadIndex { .. } => None,
        }
    }
}

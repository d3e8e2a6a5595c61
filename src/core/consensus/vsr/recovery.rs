//! After a start: what the replica is, as its disk tells it, and its first words.
//!
//! | the disk says | the replica |
//! |---|---|
//! | nothing was ever promised | begins in the first view, as its primary or a backup |
//! | view = log view | a backup goes on; a primary is silent in its view from now on (rule 10) |
//! | log view < view | tells its log again, or is silent if that is not the one it told of |
//! | an epoch is over, and nothing was promised in the next | is in the first view of that, silent if it would lead it |

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;

use super::hard_state::{self, HardState};
use super::log::Log;
use super::members::Members;
use super::reads::Asking;
use super::{Backup, Phase, Primary, Status, Timers, ViewChange, VsrNode, Wish};
use crate::codec::{self, CodecError};
use crate::consensus::Turn;
use crate::engine::RecoveredLog;
use crate::types::{EntryHeader, EntryKind, GroupInit, Mark, Marks, Membership, Monotonic, NodeId, Op};

impl VsrNode {
    /// The replica of node `me` with what its journal held, the last entry that its snapshot covers, or the genesis, and who
    /// the members were there.
    ///
    /// # Errors
    /// When the journal's promise is not readable.
    pub fn recover(
        init: GroupInit,
        me: NodeId,
        (snapshot, membership): (EntryHeader, Membership),
        recovered: &RecoveredLog,
        marks: &mut impl Marks,
    ) -> Result<Self, CodecError> {
        let recovered = hard_state::recover(snapshot, recovered, marks)?;
        let promise = recovered.promise;
        let promised = promise.as_ref().map(|promise| promise.membership.clone());
        let newest = promised.filter(|promised| promised.epoch > membership.epoch).unwrap_or(membership);
        let (membership, commit) = Self::recovered_membership(&recovered.log, recovered.commit, newest);
        let durable =
            promise.as_ref().map_or_else(Default::default, |promise| (promise.view, promise.log_view));
        // The last start ended between the end of an epoch and the first promise of the next.
        let first = membership.first_view;
        let is_behind = durable.0.epoch() < membership.epoch;
        let (view, log_view) = if promise.is_none() || is_behind { (first, first) } else { durable };
        let promise = promise.filter(|_| !is_behind);
        let is_fresh = promise.is_none() && !is_behind;
        let members = Members::new(membership, me);
        let mut released = vec![Op::GENESIS; members.len()];
        // How far an archive reaches is not known here.
        released[members.me()] = if init.archive.is_none() { snapshot.op() } else { Op::GENESIS };
        let complete = vec![Op::GENESIS; members.len()];
        let mut replica = Self {
            view,
            log_view,
            durable,
            status: Status::Backup(Backup::new(Monotonic::default())),
            released,
            complete,
            left_behind: BTreeSet::new(),
            log: recovered.log,
            commit,
            applied: snapshot.op(),
            wishes: vec![Wish::default(); members.len()],
            last_beat: None,
            writes: VecDeque::new(),
            timers: Timers::default(),
            attempts: 0,
            covered_by: None,
            ahead: None,
            waits_to_vote: false,
            wants_below: None,
            below: BTreeMap::new(),
            asking: Asking::default(),
            members,
            init,
        };
        replica.status = replica.status_after_start(promise, is_fresh);
        Ok(replica)
    }

    /// Who the members were when the journal's last promise was made, if there is one that can be read: all that a node knows of
    /// them that has lost its snapshot.
    pub fn promised_membership(recovered: &RecoveredLog) -> Option<Membership> {
        let (_, state) = recovered.hard_state.as_ref()?;
        codec::decode::<HardState>(state).ok().map(|state| state.membership)
    }

    /// The membership in force at the commit of a log that was just read; and that commit, no higher than is known of who is
    /// a member there.
    fn recovered_membership(log: &Log, commit: Op, mut membership: Membership) -> (Membership, Op) {
        let from = membership.at.max(log.base_op()).next();
        let makes_one =
            |op: &Op| log.header(*op).is_some_and(|header| header.kind() == EntryKind::Membership);
        for op in (from.get()..=commit.get()).map(Op::new).filter(makes_one) {
            // A payload that rotted comes from a peer.
            let Some(entry) = log.entry(op) else { return (membership, op.previous().unwrap_or_default()) };
            if let Ok(next) = codec::decode::<Membership>(entry.payload()) {
                membership = next;
            }
        }
        (membership, commit)
    }

    /// A backup goes on in its view. A primary never does (rule 10), unless it never promised anything at all: then it
    /// has never said a word either.
    fn status_after_start(&self, promise: Option<HardState>, is_fresh: bool) -> Status {
        let leads = self.primary_of(self.view) == self.members.me();
        if !self.members.takes_part(self.members.me()) {
            Status::Outside
        } else if let Some(promise) = promise.filter(|promise| promise.log_view < promise.view) {
            // The log may have gone on since, by entries that the started view had committed. The message of a view
            // says the same before and after a restart; where the log lost what it told of, it is not said again, nor where
            // it begins behind all of that: a snapshot of a peer may have taken the place of another log.
            let message = self.view_change_message(promise.commit, &promise.suffix);
            let base = self.log.base_op();
            let mut told = promise.suffix.iter().filter(|header| header.op() >= base).peekable();
            let whole =
                told.peek().is_some() && told.all(|header| self.log.contains(header.op(), header.hash()));
            let phase = if whole { self.collecting() } else { Phase::Silent };
            Status::ViewChange(ViewChange { message, phase })
        } else if leads && is_fresh {
            let (commit, head) = (self.commit, self.log.head_op());
            Status::Primary(Primary::new(commit, head, self.members.len(), Monotonic::default()))
        } else if leads {
            let message = self.view_change_message(self.commit, &self.suffix_headers());
            Status::ViewChange(ViewChange { message, phase: Phase::Silent })
        } else {
            Status::Backup(Backup::new(Monotonic::default()))
        }
    }

    /// The first input: the disk was read, the node takes part.
    pub fn begin(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if self.durable != (self.view, self.log_view) {
            self.promise(turn, None);
        }
        match &mut self.status {
            Status::Backup(backup) => backup.last_word = turn.now.monotonic,
            Status::Primary(primary) => primary.waiting_since = turn.now.monotonic,
            Status::ViewChange(_) | Status::Outside => {}
        }
        if self.missing().is_some() {
            self.ask_later(turn);
        }
        if let Status::ViewChange(change) = &self.status {
            turn.marks.hit(match change.phase {
                Phase::Silent if self.log_view == self.view => Mark::RestartedPrimarySilent,
                Phase::Silent => Mark::RestartedReplicaSilent,
                Phase::Collecting(_) | Phase::CatchingUp(_) | Phase::Repairing => Mark::RestartInViewChange,
            });
        }
        if let Status::ViewChange(ViewChange { phase: Phase::Silent, .. }) = self.status {
            self.wish(turn);
        }
        self.arm_patience(turn);
        self.on_durable(turn);
    }
}

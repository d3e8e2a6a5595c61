//! Viewstamped Replication Revisited (Liskov, Cowling 2012), with logs that live on disks and view changes that ask
//! what the disks still hold (Alagappan et al., FAST'18).
//!
//! ```text
//! normal      client    primary            backups
//!             request ->  | entry, Prepare ->|
//!                         | <- PrepareOk     |  once durable in the current view
//!             <- reply    | commit at a quorum of durable copies
//!
//! view change   every replica: silence -> StartViewChange(v), a wish; at a quorum of wishes:
//!               view := v, durable -> DoViewChange(log) to the primary of v
//!               primary: quorum -> choose, log view := v, durable; repair -> StartView(log) to all
//!               backups: adopt, log view := v, durable -> PrepareOk
//! ```
//!
//! Invariants:
//! * Log view <= view; equal while normal. Nothing authored in a view leaves before that view is durable, and no
//!   `PrepareOk`, `DoViewChange` or `StartView` before the log view is.
//! * The log has no gaps and is a chain. It changes in three ways: the primary of the view extends it, a view's start
//!   replaces its uncommitted end, committed entries of peers, or a snapshot of them, replace what contradicts them.
//! * commit <= head; applied <= commit; none of them goes back.
//! * An entry that rotted on this disk is faulty: never nacked, and not acknowledged before it is durable here again.
//! * A primary that restarts or gives up never leads the same view again.

mod below;
mod catch_up;
mod choose;
mod epochs;
mod floor;
mod hand_over;
mod hard_state;
mod log;
mod members;
mod normal;
mod quorum_tracker;
mod reads;
mod recovery;
mod repair;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_members;
mod usefulness;
mod view_change;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use choose::ChosenLog;
use epochs::Ahead;
pub use epochs::NotNow;
use hand_over::HandingOver;
pub use hand_over::NoHandOver;
use hard_state::HardState;
use log::Log;
use members::Members;
pub use quorum_tracker::QuorumTracker;
pub use reads::ReadTicket;
use reads::{Asking, Confirming};

use crate::consensus::{Discard, DoViewChange, Turn, VsrMessage};
use crate::engine::{At, Found, Record, Sought, archived_bytes};
use crate::types::{
    CommitIndex, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Hash, Mark, Marks, Monotonic, NodeId, Op,
    Ordinal, Timestamp, View, u64_of,
};

/// A replica of one group.
#[derive(Clone, Debug)]
pub struct VsrNode {
    init: GroupInit,
    members: Members,
    view: View,
    log_view: View,
    /// View and log view that a restart would find.
    durable: (View, View),
    status: Status,
    log: Log,
    commit: Op,
    applied: Op,
    /// Up to where each member has released its journal, as far as is known.
    released: Vec<Op>,
    /// Up to where each member has said that it has all that the group keeps.
    complete: Vec<Op>,
    /// Members that had not released what was forgotten when it was.
    left_behind: BTreeSet<usize>,
    /// What each replica wished for last.
    wishes: Vec<Wish>,
    /// The last beat of a primary. Heartbeats do not repeat themselves: it must wait for a view that starts here later.
    last_beat: Option<Beat>,
    /// Records on their way to the disk, in order.
    writes: VecDeque<Write>,
    timers: Timers,
    /// Counts repair requests, so that they go round the peers.
    attempts: usize,
    /// Who said last that entries asked for are in its snapshot alone, and up to where.
    covered_by: Option<(NodeId, Op)>,
    /// Who said last that it is in a later epoch.
    ahead: Option<Ahead>,
    /// It has become a voter, and does not take part yet.
    waits_to_vote: bool,
    /// The archive reaches so far, and wants what lies between that and the log.
    wants_below: Option<Op>,
    /// What came of that, and does not join the log yet.
    below: BTreeMap<Op, Entry>,
    asking: Asking,
}

/// What the replica is doing in its view.
#[derive(Clone, Debug)]
enum Status {
    Primary(Primary),
    /// It follows the view. Also what a learner is.
    Backup(Backup),
    ViewChange(ViewChange),
    /// It is no member, as far as it knows, or a voter that waits: see [`VsrNode::waits_to_vote`].
    Outside,
}

#[derive(Clone, Debug)]
struct Primary {
    tracker: QuorumTracker,
    /// Up to where each member holds the log durably, as far as it said in this view.
    acknowledged: Vec<Op>,
    /// When the oldest uncommitted entry began to wait.
    waiting_since: Monotonic,
    /// Since when it has not known the time.
    timeless_since: Option<Monotonic>,
    confirming: Confirming,
    /// An operator wants another primary.
    handing_over: Option<HandingOver>,
}

#[derive(Clone, Debug)]
struct Backup {
    /// Prepares that came before the one they follow.
    early: BTreeMap<Op, Entry>,
    /// The highest op acknowledged in this view.
    acknowledged: Op,
    /// The highest op that the primary is known to have prepared.
    prepared: Op,
    /// The primary said that it leads, and has not taken it back.
    led: bool,
    /// What the primary said is committed, in this view; it may lie above the head.
    told: Op,
    /// When the primary last spoke of this group itself.
    last_word: Monotonic,
}

#[derive(Clone, Debug)]
struct ViewChange {
    /// The message of this view, made when the view was entered: a repetition says the same.
    message: DoViewChange,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The view is not durable, or its log is not chosen yet. One slot a replica, filled on its primary alone.
    Collecting(Vec<Option<DoViewChange>>),
    /// The log is known; committed entries below it are missing here.
    CatchingUp(ChosenLog),
    /// On the new primary: the log is adopted; payloads are missing, or the log view is not durable yet.
    Repairing,
    /// It says nothing in this view any more, and wishes for the next: the former primary of this very view, after a
    /// restart or after giving up; or a replica whose log is not the one it told of.
    Silent,
}

/// A wish for a view. It counts for as long as it is repeated.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    view: View,
    at: Monotonic,
}

#[derive(Clone, Debug)]
enum Write {
    Entry(Ordinal, Op),
    Promise(Ordinal, View, View),
}

#[derive(Clone, Copy, Debug, Default)]
struct Timers {
    /// Backup: the primary has been silent. View change: it takes too long. Primary: an entry waits too long.
    patience: Option<Monotonic>,
    /// Something was asked for and has not come.
    resend: Option<Monotonic>,
}

impl VsrNode {
    /// Takes what `from` says.
    ///
    /// # Errors
    /// [`Discard`] when the message was dropped; it has changed nothing then.
    pub fn on_message(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: NodeId,
        message: VsrMessage,
    ) -> Result<(), Discard> {
        let result = self.take_message(turn, from, message);
        self.settle(turn);
        result
    }

    fn take_message(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        node: NodeId,
        message: VsrMessage,
    ) -> Result<(), Discard> {
        if let Some(view) = message.view().filter(|view| view.epoch() > self.view.epoch()) {
            self.hear_of_later_epoch(turn, node, (view, None));
            return Ok(());
        }
        let Some(from) = self.members.index(node) else {
            return self.take_from_stranger(turn, node, message);
        };
        // Views are not for who is no member: it only hears what is committed.
        if matches!(self.status, Status::Outside) && message.view().is_some() {
            return Err(Discard::OutOfPlace);
        }
        match message {
            VsrMessage::Prepare { view, commit, entry } => self.on_prepare(turn, from, view, commit, entry),
            VsrMessage::PrepareOk { view, from: first, to, hash } => {
                self.on_prepare_ok(turn, from, view, (first, to, hash))
            }
            VsrMessage::StartViewChange { view } => self.on_start_view_change(turn, from, view),
            VsrMessage::DoViewChange(message) => self.on_do_view_change(turn, from, message),
            VsrMessage::HandOver { view } => self.on_hand_over(turn, from, view),
            VsrMessage::StartView { view, commit, headers } => {
                self.on_start_view(turn, from, view, ChosenLog { commit, headers, source: from })
            }
            VsrMessage::RequestEntries { from: first, to } => {
                self.on_request_entries(turn, from, first, to);
                Ok(())
            }
            VsrMessage::Covered { to } => self.on_covered(node, to),
            VsrMessage::RequestReadIndex { token } => self.on_request_read_index(turn, from, token),
            VsrMessage::ConfirmView { view, round } => self.on_confirm_view(turn, from, (view, round)),
            VsrMessage::ViewConfirmed { view, round } => self.on_view_confirmed(turn, from, (view, round)),
            VsrMessage::ReadIndex { token, index } => self.on_read_index(turn, token, index),
            VsrMessage::Entries { log_view, commit, entries } => {
                self.on_entries(turn, log_view, commit, entries)
            }
        }
    }

    /// Somebody who is no member here may be one in a later epoch: what it says is committed is.
    fn take_from_stranger(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        node: NodeId,
        message: VsrMessage,
    ) -> Result<(), Discard> {
        match message {
            VsrMessage::Covered { to } if self.is_behind() => self.on_covered(node, to),
            VsrMessage::Entries { commit, entries, .. } if self.is_behind() => {
                self.on_entries(turn, View::default(), commit, entries)
            }
            _ => Err(Discard::Stranger),
        }
    }

    /// Takes what the pair's heartbeat says of this group: whether `from` leads `view`, its commit and its head.
    pub fn on_beat(&mut self, turn: &mut Turn<'_, impl Marks>, from: NodeId, beat: Beat) {
        if beat.view.epoch() > self.view.epoch() {
            self.hear_of_later_epoch(turn, from, (beat.view, Some(beat)));
        } else {
            self.take_beat(turn, from, beat);
        }
        self.settle(turn);
    }

    fn take_beat(&mut self, turn: &mut Turn<'_, impl Marks>, from: NodeId, beat: Beat) {
        let Some(from) = self.members.index(from) else { return };
        self.note_released(from, beat.released, turn.marks);
        self.complete[from] = self.complete[from].max(beat.complete_to);
        if beat.leads && self.last_beat.is_none_or(|last| last.view <= beat.view) {
            self.last_beat = Some(beat);
        }
        if matches!(self.status, Status::Outside) {
            return;
        }
        if beat.leads && beat.view > self.view {
            turn.marks.hit(Mark::EnteredByBeat);
            self.enter(turn, beat.view);
        } else if beat.leads && beat.view == self.view && self.primary_of(self.view) == from {
            self.on_primary_beat(turn, beat);
        } else if !beat.leads && self.primary_of(self.view) == from {
            self.on_primary_lost(turn);
        }
    }

    /// The node of replica `from` has restarted: it leads nothing of what it led.
    pub fn on_peer_restarted(&mut self, turn: &mut Turn<'_, impl Marks>, from: NodeId) {
        if self.primary() == from {
            self.on_primary_lost(turn);
        }
    }

    /// The journal's durable ordinal may have grown.
    pub fn on_durable(&mut self, turn: &mut Turn<'_, impl Marks>) {
        self.note_durable(turn);
        self.settle(turn);
    }

    /// The last thing done with every input.
    fn settle(&mut self, turn: &mut Turn<'_, impl Marks>) {
        self.settle_epoch(turn);
        self.settle_hand_over(turn);
    }

    fn note_durable(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let durable = turn.journal.durable();
        self.log.advance_recorded(self.released(), durable);
        while let Some(write) = self.writes.front() {
            match *write {
                Write::Entry(ordinal, op) if ordinal <= durable => self.log.mark_durable(op, ordinal),
                Write::Promise(ordinal, view, log_view) if ordinal <= durable => {
                    self.durable = (view, log_view)
                }
                Write::Entry(..) | Write::Promise(..) => break,
            }
            self.writes.pop_front();
        }
        if self.durable != (self.view, self.log_view) {
            return;
        }
        match &self.status {
            Status::Primary(_) => self.acknowledge_own(turn),
            Status::Backup(_) => self.acknowledge(turn),
            Status::ViewChange(_) => self.go_on_with_view_change(turn),
            Status::Outside => {}
        }
    }

    /// The deadline has passed.
    pub fn on_timeout(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let now = turn.now.monotonic;
        if self.timers.patience.is_some_and(|at| at <= now) {
            self.timers.patience = None;
            self.lose_patience(turn);
        }
        if self.timers.resend.is_some_and(|at| at <= now) {
            self.timers.resend = None;
            self.resend(turn);
        }
        self.repeat_ask(turn);
        self.settle(turn);
    }

    /// When [`VsrNode::on_timeout`] is due.
    pub fn deadline(&self) -> Option<Monotonic> {
        let timers =
            [self.timers.patience, self.timers.resend, self.read_deadline(), self.hand_over_deadline()];
        timers.into_iter().flatten().min()
    }

    /// The next committed entry to be applied, when its payload is here.
    pub fn next_to_apply(&self) -> Option<Entry> {
        let op = self.applied.next();
        if op <= self.commit { self.log.entry(op) } else { None }
    }

    /// What the entry at `op` holds, once it is committed, unless it is no longer in memory.
    pub fn committed_kind(&self, op: Op) -> Option<EntryKind> {
        let header = self.log.header(op).filter(|_| op <= self.commit)?;
        Some(header.kind())
    }

    /// Which entry lies at `op`, while the log goes so far down.
    pub fn hash_at(&self, op: Op) -> Option<Hash> {
        self.log.header(op).map(EntryHeader::hash)
    }

    /// The entry at `op`, once it is committed, when its payload is here: it need not be applied.
    pub fn committed_entry(&self, op: Op) -> Option<Entry> {
        self.log.entry(op).filter(|_| op <= self.commit)
    }

    /// The entry that [`VsrNode::next_to_apply`] gave was applied.
    pub fn mark_applied(&mut self) {
        self.applied = self.applied.next();
        assert!(self.applied <= self.commit, "nothing is applied before it is committed");
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.init.group
    }

    /// The group's founding facts.
    pub fn init(&self) -> &GroupInit {
        &self.init
    }

    /// The view, and the view whose log the replica holds.
    pub fn views(&self) -> (View, View) {
        (self.view, self.log_view)
    }

    /// Whether the replica leads its view, durably.
    pub fn leads(&self) -> bool {
        matches!(self.status, Status::Primary(_)) && self.durable == (self.view, self.log_view)
    }

    /// Whether the replica follows a view that has started.
    pub fn follows(&self) -> bool {
        matches!(self.status, Status::Backup(_))
    }

    /// The primary of the present view.
    pub fn primary(&self) -> NodeId {
        self.members.membership().primary_of(self.view)
    }

    /// What is known to be committed.
    pub fn commit(&self) -> CommitIndex {
        CommitIndex::At(self.commit)
    }

    /// The highest op of the log.
    pub fn head(&self) -> Op {
        self.log.head_op()
    }

    /// The highest op applied.
    pub fn applied(&self) -> Op {
        self.applied
    }

    /// The lowest op that was not applied and whose payload is not here.
    pub fn missing(&self) -> Option<Op> {
        self.log.first_missing_above(self.applied)
    }

    /// The entry at `op`, when it was applied and its header is here; its payload may not be.
    pub fn committed(&self, op: Op) -> Option<(EntryHeader, Option<Bytes>)> {
        let is_slot = self.log.base_op() < op && op <= self.applied;
        let header = self.log.header(op).filter(|_| is_slot)?;
        Some((*header, self.log.entry(op).map(|entry| entry.payload().clone())))
    }

    /// Looks in memory for an entry that was applied, and is none of those up to `archived`: it is gone when the log begins
    /// behind it. What follows it and was applied comes along, as far as there is room.
    pub fn find(&self, Sought { at, room }: Sought, archived: Op) -> Found {
        let base = self.log.base_op();
        let slots = base.next().get()..=self.applied.get();
        let op = match at {
            At::Op(op) if op > self.applied => return Found::Later,
            At::Op(op) if op <= base => return Found::Gone,
            At::Op(op) => op,
            At::Time(time) if base > archived && self.base_time().is_none_or(|base| time <= base) => {
                return Found::Gone;
            }
            At::Time(time) => {
                let is_later =
                    |op: &Op| self.log.header(*op).is_some_and(|header| header.timestamp() >= time);
                match slots.map(Op::new).find(is_later) {
                    Some(op) => op,
                    None => return Found::Later,
                }
            }
        };
        let Some(first) = self.log.entry(op) else { return Found::Unreadable };
        let mut entries = Vec::from([first]);
        let mut room = u64::from(room);
        let behind = (op.next().get()..=self.applied.get()).map_while(|op| self.log.entry(Op::new(op)));
        for entry in behind {
            let Some(rest) = room.checked_sub(archived_bytes(entry.header())) else { break };
            room = rest;
            entries.push(entry);
        }
        Found::Entries(entries)
    }

    /// The entry below the log is no later than this, as far as that is known.
    fn base_time(&self) -> Option<Timestamp> {
        let base = self.log.base_op();
        let before = |time: Timestamp| Timestamp::from_nanos(time.as_nanos().saturating_sub(1));
        let above = || self.log.header(base.next()).map(|header| before(header.timestamp()));
        self.log.header(base).map(EntryHeader::timestamp).or_else(above)
    }

    /// The header of the last entry applied, once everything up to it is durable here.
    pub fn last_applied(&self) -> Option<EntryHeader> {
        let durable = self.applied <= self.log.durable_to();
        if durable { self.log.header(self.applied).copied() } else { None }
    }

    /// Writes the promise again, so that the record of the present one need not be kept; not while one is on its way, nor
    /// in a view change: the headers that were told there may not be those of the log any more, and stay as they are.
    pub fn renew_promise(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if matches!(self.status, Status::ViewChange(_)) {
            return;
        }
        if self.durable == (self.view, self.log_view) && !self.writes.iter().any(Write::is_promise) {
            turn.marks.hit(Mark::PinnedByPromise);
            self.promise(turn, None);
        }
    }

    fn primary_of(&self, view: View) -> usize {
        self.members.primary_of(view)
    }

    fn collecting(&self) -> Phase {
        Phase::Collecting(vec![None; self.members.voters().len()])
    }

    /// Records view, log view and header suffix; together with the cut that they follow from.
    fn promise(&mut self, turn: &mut Turn<'_, impl Marks>, cut_above: Option<Op>) {
        let suffix = self.suffix_headers();
        let membership = self.membership().clone();
        let state =
            HardState { view: self.view, log_view: self.log_view, commit: self.commit, suffix, membership };
        let group = self.init.group;
        let mut records = Vec::with_capacity(2);
        records.extend(cut_above.map(|above| Record::Truncation { group, above }));
        records.push(Record::HardState { group, state: state.to_bytes() });
        let ordinal = turn.journal.append_together(records);
        self.writes.push_back(Write::Promise(ordinal, self.view, self.log_view));
    }

    /// Records an entry; the ordinal of its record.
    fn record(&mut self, turn: &mut Turn<'_, impl Marks>, entry: Entry) -> Ordinal {
        let op = entry.op();
        let ordinal = turn.journal.append(Record::Entry(entry));
        self.writes.push_back(Write::Entry(ordinal, op));
        ordinal
    }

    /// The header at the commit, and all above it.
    fn suffix_headers(&self) -> Vec<EntryHeader> {
        let ops = self.commit.get()..=self.log.head_op().get();
        ops.filter_map(|op| self.log.header(Op::new(op)).copied()).collect()
    }

    /// Raises the commit; no higher than the log goes without a missing payload. So the promise, whose headers begin at
    /// the commit, names every header that no record names: a restart finds the whole log of its log view. Nor any farther than
    /// its epoch goes: see [`VsrNode::settle_epoch`].
    fn commit_up_to(&mut self, turn: &mut Turn<'_, impl Marks>, op: Op) {
        let op = self.end_of_epoch(self.log.held_to(self.commit, op));
        if op > self.commit {
            self.commit = op;
            turn.journal.note_commit(self.init.group, CommitIndex::At(op));
        }
    }

    fn send(&self, turn: &mut Turn<'_, impl Marks>, to: usize, message: VsrMessage) {
        turn.out.push((self.members.node(to), message));
    }

    fn send_to_others(&self, turn: &mut Turn<'_, impl Marks>, message: &VsrMessage) {
        for index in self.members.others() {
            turn.out.push((self.members.node(index), message.clone()));
        }
    }

    fn waiting(&self) -> u64 {
        match &self.status {
            Status::Primary(primary) => u64_of(primary.tracker.waiting()),
            Status::Backup(_) | Status::ViewChange(_) | Status::Outside => 0,
        }
    }
}

impl Write {
    fn is_promise(&self) -> bool {
        matches!(self, Self::Promise(..))
    }
}

impl Primary {
    /// With this commit, and this head of the log that the view begins with, among so many members.
    fn new(commit: Op, head: Op, members: usize, now: Monotonic) -> Self {
        let (tracker, confirming) = (QuorumTracker::new(commit, head), Confirming::new(head));
        let acknowledged = vec![Op::GENESIS; members];
        Self {
            tracker,
            acknowledged,
            waiting_since: now,
            timeless_since: None,
            confirming,
            handing_over: None,
        }
    }
}

/// What a heartbeat says of one group.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// The sender's view.
    pub view: View,
    /// Whether the sender leads it.
    pub leads: bool,
    /// What the sender knows to be committed.
    pub commit: CommitIndex,
    /// The highest op of the sender's log.
    pub head: Op,
    /// Snapshot and archive on the sender's disk cover it up to here.
    pub released: Op,
    /// Up to here the sender has all that the group keeps.
    pub complete_to: Op,
}

impl Backup {
    fn new(now: Monotonic) -> Self {
        Self {
            early: BTreeMap::new(),
            acknowledged: Op::GENESIS,
            prepared: Op::GENESIS,
            told: Op::GENESIS,
            led: false,
            last_word: now,
        }
    }
}

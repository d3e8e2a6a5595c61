//! One group on a node: its replica, its application, and the clients that wait for it.

mod orders;
mod standstill;
mod work;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::consensus::vsr::{Beat, VsrNode};
use crate::consensus::{Discard, Limits, Turn};
use crate::kernel::{
    Attempt, Batch, COMMAND_OVERHEAD_BYTES, ChrApplication, Command, Executed, Executor, Halt, Pace,
    SideEffectManager, VsrAuthority,
};
use crate::node::chunk_cursor::ChunkCursor;
use crate::node::door::{Answer, Effect, Effects, Reply, Request, Route};
use crate::node::heartbeat::GroupBeat;
use crate::node::queries::Queries;
use crate::node::state_reads::StateReads;
use crate::node::status::{GroupStatus, Role};
use crate::types::{
    ClientId, CommitIndex, EntryHeader, EntryKind, Epoch, GroupId, Hash, Mark, Marks, Monotonic, Nanos,
    NodeId, Op, Quorums, RequestNumber, Timestamp, u64_of, usize_of,
};

/// So long a replica may keep the floor down before it takes a snapshot that its own journal does not ask for.
const SNAPSHOT_FOLLOWS_AFTER: Nanos = Nanos::from_secs(10);

/// A group's replica with everything that belongs to it alone.
#[derive(Clone)]
pub(in crate::node) struct Group<A: ChrApplication> {
    pub replica: VsrNode,
    /// What peers said of the group while this node waits to be known to a quorum of them: they will not say it again.
    arriving: Option<BTreeMap<NodeId, Beat>>,
    executor: Executor<A>,
    /// Requests that no entry holds yet.
    queue: VecDeque<Command>,
    /// Where the reply to each client's present request goes; queued or prepared.
    waiting: BTreeMap<ClientId, (RequestNumber, Route)>,
    /// The wake-up that is prepared and not applied yet.
    waking: Option<Op>,
    led: bool,
    /// Since when this replica has kept segments of the others from being freed.
    holds_floor_since: Option<Monotonic>,
    /// The journal is too long, and this group's part of it cannot be written again elsewhere.
    pub keeps_too_much: bool,
    /// No majority of clocks agreed when this was last looked at.
    lacks_clock: bool,
    pub chunk: ChunkCursor,
    pub queries: Queries<A>,
    pub side_effects: SideEffectManager,
    /// A buffer of attempts that begin.
    attempts: Vec<Attempt>,
    discards: BTreeMap<Discard, u64>,
    executed: Vec<Executed>,
    /// Why nothing is executed any more.
    halted: Option<Halt>,
    /// Reads the state again that a panic spoilt.
    pub state_reads: Option<StateReads>,
    /// What the log skips is known up to here.
    looked_to: Op,
    /// Operators that wait for what they ordered, by its entry.
    ordered: Vec<(Op, Hash, Route)>,
    /// The epoch whose members this node has met.
    pub met: Epoch,
}

impl<A: ChrApplication> Group<A> {
    /// A group that takes no part yet; these beats of its peers were heard before.
    pub(in crate::node) fn new(
        replica: VsrNode,
        executor: Executor<A>,
        beats: BTreeMap<NodeId, Beat>,
    ) -> Self {
        Self {
            replica,
            arriving: Some(beats),
            executor,
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            waking: None,
            led: false,
            holds_floor_since: None,
            keeps_too_much: false,
            lacks_clock: false,
            chunk: ChunkCursor::default(),
            queries: Queries::default(),
            side_effects: SideEffectManager::default(),
            attempts: Vec::new(),
            discards: BTreeMap::new(),
            executed: Vec::new(),
            halted: None,
            state_reads: None,
            looked_to: Op::GENESIS,
            ordered: Vec::new(),
            met: Epoch::default(),
        }
    }

    /// Why nothing is executed any more, if so it is.
    pub(in crate::node) fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
    }

    pub(in crate::node) fn id(&self) -> GroupId {
        self.replica.group()
    }

    /// Whether the group takes no part yet.
    pub(in crate::node) fn is_arriving(&self) -> bool {
        self.arriving.is_some()
    }

    /// The group takes part from here on.
    pub(in crate::node) fn arrive(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Some(beats) = self.arriving.take() else { return };
        self.replica.begin(turn);
        beats.into_iter().for_each(|(from, beat)| self.replica.on_beat(turn, from, beat));
    }

    /// Takes what `from` says of the group.
    pub(in crate::node) fn on_beat(&mut self, turn: &mut Turn<'_, impl Marks>, from: NodeId, beat: Beat) {
        match &mut self.arriving {
            Some(beats) => {
                beats.insert(from, beat);
            }
            None => self.replica.on_beat(turn, from, beat),
        }
    }

    /// Looks whether this replica could be of use, and gives its view up when it has not been for long.
    pub(in crate::node) fn judge_own_use(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        disk_owes_since: Option<Monotonic>,
    ) {
        let time = self.replica.time(turn.now, turn.clock, turn.timeouts);
        self.lacks_clock = time.is_none() && self.replica.votes();
        if time.is_some_and(|time| time.as_nanos() != turn.now.wall.as_nanos()) {
            turn.marks.hit(Mark::ClockOutvoted);
        }
        // Until a quorum knows this start it has heard too few clocks.
        if !self.is_arriving() {
            self.replica.judge_own_use(turn, !self.lacks_clock, disk_owes_since);
        }
    }

    /// More of what was staged is durable.
    pub(in crate::node) fn on_durable(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if !self.is_arriving() {
            self.replica.on_durable(turn);
        }
    }

    /// `peer` has started again: what it said before holds no more.
    pub(in crate::node) fn on_peer_restarted(&mut self, turn: &mut Turn<'_, impl Marks>, peer: NodeId) {
        match &mut self.arriving {
            Some(beats) => {
                beats.remove(&peer);
            }
            None => self.replica.on_peer_restarted(turn, peer),
        }
    }

    /// Whether these voters are a quorum.
    pub(in crate::node) fn is_quorum(&self, among: impl Fn(NodeId) -> bool) -> bool {
        let voters = &self.replica.membership().voters;
        let count = voters.iter().filter(|voter| among(**voter)).count();
        count >= usize_of(u64::from(Quorums::of(voters.len()).replication()))
    }

    /// Whether this replica has kept the floor down for long: its own journal may be short enough, and another voter's
    /// be full of what a snapshot here would let it free.
    pub(in crate::node) fn must_follow_with_a_snapshot(&mut self, now: Monotonic) -> bool {
        if !self.replica.holds_floor_down() {
            self.holds_floor_since = None;
            return false;
        }
        now.since(*self.holds_floor_since.get_or_insert(now)) >= SNAPSHOT_FOLLOWS_AFTER
    }

    pub(in crate::node) fn executor(&self) -> &Executor<A> {
        &self.executor
    }

    pub(in crate::node) fn discard(&mut self, discard: Discard, marks: &mut impl Marks) {
        match discard {
            // No node of this build says such a thing.
            Discard::Stranger | Discard::NotFromPrimary => {}
            Discard::OldView => marks.hit(Mark::OldViewDropped),
            Discard::OutOfPlace => marks.hit(Mark::OutOfPlaceDropped),
            Discard::Inconsistent => marks.hit(Mark::InconsistentDropped),
        }
        *self.discards.entry(discard).or_default() += 1;
    }

    /// Takes a client's request, or answers it at once.
    pub(in crate::node) fn request(
        &mut self,
        route: Route,
        request: Request,
        is_full: bool,
        limits: &Limits,
        marks: &mut impl Marks,
    ) -> Option<Reply> {
        let command = request.command;
        if let Some(answer) = self.answer_at_once(&command, is_full, limits, marks) {
            return Some(self.reply(command.client, command.number, answer));
        }
        let before = self.waiting.insert(command.client, (command.number, route));
        let on_its_way = before.is_some_and(|(number, _)| number == command.number);
        if on_its_way {
            marks.hit(Mark::RetryUnderWay);
        } else {
            self.queue.push_back(command);
        }
        None
    }

    /// The answer that can be given now; `None` when the command is to be queued.
    fn answer_at_once(
        &self,
        command: &Command,
        is_full: bool,
        limits: &Limits,
        marks: &mut impl Marks,
    ) -> Option<Answer> {
        if u64_of(command.body.as_slice().len()) > u64::from(limits.command_bytes_max) {
            return Some(Answer::TooLong { max: limits.command_bytes_max });
        }
        if self.is_arriving() {
            marks.hit(Mark::BusyArriving);
            return Some(Answer::Busy);
        }
        if !self.replica.leads() {
            marks.hit(Mark::NotPrimary);
            return Some(self.not_primary());
        }
        if let Some(halt) = &self.halted {
            marks.hit(Mark::RefusedHalted);
            return Some(Answer::Halted(halt.clone()));
        }
        if let Some((op, outcome)) = self.executor.answered(command) {
            marks.hit(Mark::RetryAnswered);
            return Some(Answer::Committed { op, outcome });
        }
        let is_waited_for =
            self.waiting.get(&command.client).is_some_and(|(number, _)| *number == command.number);
        if is_full && !is_waited_for {
            marks.hit(Mark::RefusedFull);
            return Some(Answer::Full);
        }
        if self.keeps_too_much && !is_waited_for {
            marks.hit(Mark::RefusedOverQuota);
            return Some(Answer::Busy);
        }
        let is_full = self.executor.outbox().is_full(limits.outbox_max, limits.outbox_bytes_max);
        if is_full && !is_waited_for {
            marks.hit(Mark::OutboxFull);
            return Some(Answer::Busy);
        }
        if u64_of(self.queue.len()) >= u64::from(limits.queue_requests_max) {
            marks.hit(Mark::QueueFull);
            return Some(Answer::Busy);
        }
        None
    }

    /// Whether, of the voters that are not full, no quorum would be left.
    pub(in crate::node) fn lacks_space(&self, is_full: impl Fn(NodeId) -> bool) -> bool {
        !self.is_quorum(|voter| !is_full(voter))
    }

    fn not_primary(&self) -> Answer {
        let (view, _) = self.replica.views();
        Answer::NotPrimary { view, primary: self.replica.primary() }
    }

    fn reply(&self, client: ClientId, number: RequestNumber, answer: Answer) -> Reply {
        Reply { group: self.id(), client, number, answer }
    }

    /// Whether [`Group::propose`] would do anything.
    pub(in crate::node) fn wants_to_propose(
        &self,
        limits: &Limits,
        time: impl FnOnce(&Self) -> Option<Timestamp>,
    ) -> bool {
        if self.halted.is_some() {
            return false;
        }
        let has_work = self.side_effects.wants_to_report() || !self.queue.is_empty();
        let wakeup = self.wakeup();
        if !(has_work || wakeup.is_some()) || !self.replica.can_propose(limits) {
            return false;
        }
        time(self).is_some_and(|time| has_work || wakeup.is_some_and(|at| at <= time))
    }

    /// When this primary is to prepare a wake-up.
    pub(in crate::node) fn wakeup(&self) -> Option<Timestamp> {
        let is_idle = self.waking.is_none() && self.halted.is_none();
        let may_wake = is_idle && self.replica.leads() && !self.is_arriving();
        if may_wake { self.executor.next_wakeup() } else { None }
    }

    /// Prepares a due wake-up, or an entry of outcomes, or one entry of what is queued.
    pub(in crate::node) fn propose(&mut self, turn: &mut Turn<'_, impl Marks>, pace: Pace) {
        if self.halted.is_some() {
            return;
        }
        if !self.replica.can_propose(turn.limits) {
            if self.replica.leads() && !self.queue.is_empty() {
                turn.marks.hit(Mark::PipelineFull);
            }
            return;
        }
        if self.queue.is_empty() && self.wakeup().is_none() && !self.side_effects.wants_to_report() {
            return;
        }
        let Some(time) = self.replica.next_timestamp(turn.now, turn.clock, turn.timeouts) else {
            turn.marks.hit(Mark::ClockHeldBack);
            return;
        };
        if self.wakeup().is_some_and(|at| at <= time) {
            self.waking = Some(self.replica.propose(turn, time, EntryKind::Wakeup, bytes::Bytes::new()));
            return;
        }
        if self.side_effects.wants_to_report() {
            let payload = self.side_effects.report(pace);
            self.replica.propose(turn, time, EntryKind::SideEffects, payload);
            return;
        }
        let mut batch = Batch::default();
        while let Some(command) = self.queue.front() {
            let bytes = batch.bytes() + COMMAND_OVERHEAD_BYTES + command.body.as_slice().len();
            let full = batch.commands() >= turn.limits.batch_commands_max
                || bytes > usize_of(u64::from(turn.limits.batch_bytes_max));
            if full && batch.commands() > 0 {
                turn.marks.hit(Mark::BatchFull);
                break;
            }
            batch.push(command);
            self.queue.pop_front();
        }
        if batch.commands() > 0 {
            self.replica.propose(turn, time, EntryKind::Commands, batch.finish());
        }
    }

    /// Applies what is committed and answers the clients that wait for it; turns them away when the group is led
    /// elsewhere by now.
    pub(in crate::node) fn settle(&mut self, effects: &mut Effects, marks: &mut impl Marks) {
        self.look_ahead();
        while self.halted.is_none()
            && let Some(entry) = self.replica.next_to_apply()
        {
            if let Err(halt) = self.executor.apply(&entry, &mut self.executed, marks) {
                self.stand_still(halt, effects, marks);
                break;
            }
            self.replica.mark_applied();
            let mut executed = core::mem::take(&mut self.executed);
            for done in executed.drain(..) {
                self.answer(done, effects);
            }
            self.executed = executed;
        }
        if self.waking.is_some_and(|op| op <= self.replica.applied()) {
            self.waking = None;
        }
        self.answer_operators(effects);
        if self.halted.is_none() {
            self.queries.settle(&self.replica, &self.executor, effects, marks);
        }
        let leads = self.replica.leads();
        if self.led && !leads {
            self.turn_clients_away(effects, marks);
        }
        self.led = leads;
    }

    /// Begins the side effects that are due, if this replica may act in the outside world.
    pub(in crate::node) fn see_to_side_effects(
        &mut self,
        when: (Monotonic, Pace),
        is_mute: bool,
        effects: &mut Effects,
        marks: &mut impl Marks,
    ) {
        let may_act = !is_mute && !self.is_arriving() && self.halted.is_none();
        let token = VsrAuthority::token(&self.replica).filter(|_| may_act);
        let of = (self.executor.init(), self.executor.outbox());
        self.side_effects.attend(when, token, of, &mut self.attempts, marks);
        let group = self.id();
        effects.extend(self.attempts.drain(..).map(|attempt| Effect::Execute { group, attempt }));
        self.answer_workers(effects);
    }

    /// Takes over a snapshot of a peer, which is in force on this disk and ends with the entry of `last`.
    pub(in crate::node) fn install(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        executor: Executor<A>,
        last: EntryHeader,
    ) {
        if self.replica.install(turn, last, executor.membership()) {
            self.take_executor(executor);
        }
    }

    /// Takes a state that goes on where the replica is.
    pub(in crate::node) fn take_executor(&mut self, mut executor: Executor<A>) {
        self.executor.skips().iter().for_each(|place| executor.expect_skip(*place));
        (self.executor, self.halted, self.state_reads) = (executor, None, None);
    }

    fn answer(&mut self, done: Executed, effects: &mut Effects) {
        let Executed { client, number, op, outcome } = done;
        if let Some((waits_for, route)) = self.waiting.get(&client).copied()
            && waits_for == number
        {
            self.waiting.remove(&client);
            let reply = self.reply(client, number, Answer::Committed { op, outcome });
            effects.push(Effect::Reply { route, reply });
        }
    }

    /// What is queued was never prepared: its clients may go elsewhere at once. The fate of what was prepared is
    /// open: its clients hear nothing and ask again.
    fn turn_clients_away(&mut self, effects: &mut Effects, marks: &mut impl Marks) {
        let answer = self.not_primary();
        if !self.queue.is_empty() {
            marks.hit(Mark::QueueTurnedAway);
        }
        for command in core::mem::take(&mut self.queue) {
            if let Some((number, route)) = self.waiting.remove(&command.client) {
                let reply = self.reply(command.client, number, answer.clone());
                effects.push(Effect::Reply { route, reply });
            }
        }
        if !self.waiting.is_empty() {
            marks.hit(Mark::PreparedForsaken);
        }
        self.waiting.clear();
        self.ordered.clear();
        self.waking = None;
    }

    pub(in crate::node) fn beat(&self) -> GroupBeat {
        let (view, _) = self.replica.views();
        let (released, complete_to) = (self.replica.released(), self.replica.complete_to());
        if self.replica.leads() {
            let (commit, head) = (self.replica.commit(), self.replica.head());
            GroupBeat { group: self.id(), view, leads: true, commit, head, released, complete_to }
        } else {
            let (commit, head) = (CommitIndex::None, Op::GENESIS);
            GroupBeat { group: self.id(), view, leads: false, commit, head, released, complete_to }
        }
    }

    /// The group, when a snapshot on the disk covers it and an archive reaches so far.
    pub(in crate::node) fn status(&self, saved: Op, archived: Op) -> GroupStatus {
        let (view, log_view) = self.replica.views();
        let role = if self.is_arriving() {
            Role::ViewChange
        } else if self.replica.leads() {
            Role::Primary
        } else if self.replica.is_outside() {
            Role::Outside
        } else if self.replica.follows() {
            if self.replica.votes() { Role::Backup } else { Role::Learner }
        } else {
            Role::ViewChange
        };
        GroupStatus {
            group: self.id(),
            role,
            view,
            log_view,
            commit: self.replica.commit(),
            head: self.replica.head(),
            applied: self.replica.applied(),
            saved: saved.min(self.replica.applied()),
            archived,
            keeps_too_much: self.keeps_too_much,
            lacks_clock: self.lacks_clock,
            missing: self.replica.missing(),
            halted: self.halted.as_ref().map(|halt| halt.place),
            schema: self.executor.schema(),
            side_effects: u64_of(self.executor.outbox().len()),
            oldest_side_effect: self.executor.outbox().oldest(),
            dead: u64_of(self.executor.outbox().dead().len()),
            applied_digest: self.executor.digest(),
        }
    }

    /// Messages dropped, by reason.
    pub(in crate::node) fn discards(&self) -> &BTreeMap<Discard, u64> {
        &self.discards
    }
}

//! Composition: the one door, and the routing between the rooms below.
//!
//! Whatever an input leads to is done in its step, with two exceptions that wait for the end of a burst: preparing
//! entries and flushing the journal. For these the node sets its deadline to the present, and does both at the next
//! [`Input::Timeout`]. A driver that first hands over every input it has, and only then a due timeout, gets one flush
//! for all of them; a driver that does not gets the same answers, later.

mod archives;
mod chunk_cursor;
mod chunk_fetch;
mod config;
mod door;
mod group;
mod halts;
mod heartbeat;
mod introductions;
mod journal_length;
mod orders;
mod peers_in_turn;
mod queries;
mod snapshots;
mod state_reads;
mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_awaiting;
#[cfg(test)]
mod tests_membership;
#[cfg(test)]
mod tests_nonsense;
#[cfg(test)]
mod tests_notation;
#[cfg(test)]
mod tests_side_effects;
mod transfer;
mod work;
mod writing_snapshot;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use chunk_fetch::ChunkFetch;
pub use chunk_fetch::{ChunkGone, RequestChunk};
pub use config::{NodeConfig, NodeConfigError, flush_bytes_least};
pub use door::{
    About, Answer, Deed, Effect, Effects, Freshness, HaltReason, Input, Message, Order, Query, QueryAnswer,
    Reply, Request, Route, Wish, Work, WorkAnswer,
};
use group::Group;
use heartbeat::Heartbeats;
pub use heartbeat::{ClockBeat, GroupBeat, Heartbeat};
pub use status::{GroupStatus, NodeStatus, Phase, Role};
pub use transfer::RequestSnapshot;
use transfer::Transfer;
pub use writing_snapshot::SNAPSHOT_PIECE_BYTES_MAX;
use writing_snapshot::WritingSnapshot;

use crate::consensus::vsr::{Beat, VsrNode};
pub use crate::consensus::{Discard, Limits, Timeouts};
use crate::consensus::{Turn, VsrMessage};
use crate::engine::{
    Amnesia, DiskDone, DiskOp, DiskOut, Engine, EngineError, EngineEvent, Opened, RecordName, RecoveredLog,
};
use crate::kernel::{ChrApplication, Executor, Guard, Halt, Pace};
use crate::types::{
    Entry, GroupId, GroupInit, Incarnation, Mark, Marks, Membership, Monotonic, Nanos, NoMarks, NodeId, Now,
    Op, Prng, Timestamp,
};

/// A whole node, and what takes note of the paths that it takes.
#[derive(Clone)]
pub struct Node<A: ChrApplication, M = NoMarks> {
    config: NodeConfig,
    application: A,
    engine: Engine,
    prng: Prng,
    guard: Guard,
    life: Life<A>,
    now: Now,
    disk_ops: Vec<DiskOp>,
    outgoing: Vec<(NodeId, VsrMessage)>,
    marks: M,
}

#[derive(Clone)]
enum Life<A: ChrApplication> {
    /// Nothing was asked of the disk yet.
    Unborn,
    /// The disk is being read.
    Recovering,
    Running(Box<Running<A>>),
    Halted(Incarnation),
}

#[derive(Clone)]
struct Running<A: ChrApplication> {
    /// Ascending by group.
    groups: Vec<Group<A>>,
    /// Groups whose snapshot is lost: they take no part until one came from a peer.
    waiting: BTreeMap<GroupId, Waiting>,
    /// The snapshot that is being written.
    writing: Option<WritingSnapshot<A>>,
    /// The snapshot that is being fetched.
    transfer: Option<Transfer>,
    /// The chunk of an archive that is being fetched, and how many were.
    fetch: Option<ChunkFetch>,
    fetches: usize,
    /// The last one is on its way to the disk: the next is asked for when it is there.
    keeps_fetched: bool,
    /// The last one of those that had rotted.
    last_rotten: (GroupId, u64),
    heartbeats: Heartbeats,
    next_beat: Monotonic,
    /// A peer has known this disk otherwise: the node says nothing any more.
    amnesia: Option<Amnesia>,
}

/// A group that lacks its snapshot.
#[derive(Clone)]
struct Waiting {
    init: GroupInit,
    /// Those that founded it, and those of the last promise: who may have the snapshot.
    members: BTreeSet<NodeId>,
    log: RecoveredLog,
    /// The snapshot that is lost covered so much.
    at_least: Op,
    /// What peers said of the group last: they will not say it again.
    beats: BTreeMap<NodeId, Beat>,
}

impl<A: ChrApplication> Node<A> {
    /// A node that has not read its disk yet: its first deadline is at once. `entropy` must be fresh at each start.
    pub fn new(config: NodeConfig, application: A, entropy: [u8; 32]) -> Self {
        Self::with_marks(config, application, entropy, NoMarks)
    }
}

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// The same, with somebody who takes note of the paths that the node takes.
    pub fn with_marks(config: NodeConfig, application: A, entropy: [u8; 32], marks: M) -> Self {
        let engine = Engine::new(config.engine);
        Self {
            config,
            application,
            engine,
            prng: Prng::from_key(entropy),
            guard: Guard::NONE,
            life: Life::Unborn,
            now: Now::default(),
            disk_ops: Vec::new(),
            outgoing: Vec::new(),
            marks,
        }
    }

    /// The same, which survives panics of its application: the group in question alone stands still.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Takes `input` at `now` and appends what follows from it to `effects`.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        self.now = now;
        match input {
            Input::Timeout => self.on_timeout(effects),
            Input::Message { from, message: Message::Heartbeat(beat) } => {
                self.on_heartbeat(from, &beat, effects)
            }
            Input::Message { from, message: Message::RequestSnapshot(ask) } => {
                self.on_request_snapshot(from, ask, effects);
            }
            Input::Message { from, message: Message::SnapshotChunk(chunk) } => {
                self.on_chunk(from, chunk, effects)
            }
            Input::Message { from, message: Message::RequestChunk(ask) } => {
                self.on_request_chunk(from, ask, effects);
            }
            Input::Message { from, message: Message::ChunkPiece(piece) } => {
                self.on_piece(from, &piece, effects)
            }
            Input::Message { from, message: Message::ChunkGone(gone) } => {
                self.on_chunk_gone(from, gone, effects)
            }
            // Who is mute commits nothing any more either.
            Input::Message { message: Message::Group { .. }, .. } if self.amnesia().is_some() => {}
            Input::Message { from, message: Message::Group { group, body } } => {
                self.with_group(group, effects, |group, turn| {
                    if group.is_arriving() {
                        turn.marks.hit(Mark::HeardWhileArriving);
                    } else if let Err(discard) = group.replica.on_message(turn, from, body) {
                        group.discard(discard, turn.marks);
                    }
                });
            }
            Input::Disk(done) => self.on_disk(done, effects),
            Input::Client { route, request } => self.on_request(route, request, effects),
            Input::Query { route, query } => self.on_query(route, &query, effects),
            Input::SideEffectDone { group, done } => {
                let pace = pace(&self.config);
                self.with_group(group, effects, |group, turn| {
                    group.side_effects.ended(done, pace, turn.marks);
                });
            }
            Input::LookUp { route, group, sought } => self.look_up(route, group, sought, effects),
            Input::Order { route, order } => self.on_order(route, order, effects),
            Input::Work { route, work } => self.on_work(route, work, effects),
        }
    }

    /// When `step(Input::Timeout)` is due. Never before; any lateness is allowed.
    pub fn deadline(&self) -> Option<Monotonic> {
        match &self.life {
            Life::Unborn => Some(Monotonic::default()),
            Life::Recovering | Life::Halted(_) => None,
            Life::Running(running) if self.wants_to_pump(running) => Some(self.now.monotonic),
            Life::Running(running) => {
                let replicas = running.groups.iter().filter_map(|group| group.replica.deadline());
                let wakeups = running.groups.iter().filter_map(|group| self.wakeup_deadline(running, group));
                let pace = pace(&self.config);
                let side_effects =
                    running.groups.iter().filter_map(|group| group.side_effects.deadline(pace));
                replicas
                    .chain(wakeups)
                    .chain(side_effects)
                    .chain(self.engine.deadline())
                    .chain(running.writing.as_ref().map(WritingSnapshot::due))
                    .chain([running.next_beat])
                    .min()
            }
        }
    }

    /// What took note of the paths taken.
    pub fn marks(&self) -> &M {
        &self.marks
    }

    /// What the node would tell an operator.
    pub fn status(&self) -> NodeStatus {
        let (phase, incarnation) = match &self.life {
            Life::Unborn | Life::Recovering => (Phase::Recovering, Incarnation::default()),
            Life::Running(running) => (Phase::Running, running.heartbeats.boot().incarnation),
            Life::Halted(incarnation) => (Phase::Halted, *incarnation),
        };
        let full = self.engine.is_full();
        let groups = self.groups();
        let amnesia = self.amnesia().cloned();
        let waiting = match &self.life {
            Life::Running(running) => {
                running.waiting.iter().map(|(id, waiting)| (*id, waiting.at_least)).collect()
            }
            Life::Unborn | Life::Recovering | Life::Halted(_) => Vec::new(),
        };
        let left_behind = |group: &Group<A>| {
            let id = group.id();
            group.replica.left_behind().map(|voter| (id, voter)).collect::<Vec<_>>()
        };
        let left_behind = groups.iter().flat_map(left_behind).collect();
        let halted = |group: &Group<A>| group.halted().map(|halt| (group.id(), halt.clone()));
        let halted = groups.iter().filter_map(halted).collect();
        let groups = groups.iter().map(|group| self.status_of(group)).collect();
        NodeStatus { phase, incarnation, full, groups, waiting, left_behind, halted, amnesia }
    }

    /// Why the node is mute, once a peer has told it.
    pub fn amnesia(&self) -> Option<&Amnesia> {
        match &self.life {
            Life::Running(running) => running.amnesia.as_ref(),
            Life::Unborn | Life::Recovering | Life::Halted(_) => None,
        }
    }

    /// What the node would tell an operator about one group, once it runs.
    pub fn group_status(&self, group: GroupId) -> Option<GroupStatus> {
        self.group(group).map(|group| self.status_of(group))
    }

    fn status_of(&self, group: &Group<A>) -> GroupStatus {
        group.status(self.engine.saved(group.id()), self.engine.archived(group.id()))
    }

    /// The state of a group's application, once the node runs, unless the group stands still.
    pub fn state(&self, group: GroupId) -> Option<&A::State> {
        self.group(group).filter(|group| group.halted().is_none()).map(|group| group.executor().state())
    }

    /// Who a group consists of, as far as this node knows, once it runs.
    pub fn membership(&self, group: GroupId) -> Option<&Membership> {
        self.group(group).map(|group| group.replica.membership())
    }

    /// Up to where a member of a group that is led here is known to hold its log durably.
    pub fn acknowledged(&self, group: GroupId, member: NodeId) -> Option<Op> {
        self.group(group)?.replica.acknowledged_by(member)
    }

    /// An entry of a group that is known here to be committed, and is in memory still.
    pub fn committed_entry(&self, group: GroupId, op: Op) -> Option<Entry> {
        self.group(group)?.replica.committed_entry(op)
    }

    /// Why a group stands still here, if it does.
    pub fn halted(&self, group: GroupId) -> Option<&Halt> {
        self.group(group)?.halted()
    }

    /// Messages that the replicas of this node dropped, by reason.
    pub fn discards(&self) -> impl Iterator<Item = (GroupId, Discard, u64)> {
        let of = |group: &Group<A>| {
            let id = group.id();
            group.discards().iter().map(move |(discard, count)| (id, *discard, *count)).collect::<Vec<_>>()
        };
        self.groups().iter().flat_map(of)
    }

    fn groups(&self) -> &[Group<A>] {
        match &self.life {
            Life::Running(running) => &running.groups,
            Life::Unborn | Life::Recovering | Life::Halted(_) => &[],
        }
    }

    fn group(&self, id: GroupId) -> Option<&Group<A>> {
        let groups = self.groups();
        groups.binary_search_by_key(&id, Group::id).ok().map(|index| &groups[index])
    }

    fn on_timeout(&mut self, effects: &mut Effects) {
        match &self.life {
            Life::Unborn => {
                if let Err(error) = self.config.validate() {
                    return self.halt(HaltReason::Config { what: error.to_string() }, effects);
                }
                self.life = Life::Recovering;
                let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
                let nonce = self.prng.next_u64();
                self.engine.start(self.config.cluster, self.config.node, nonce, out);
                self.emit_disk_ops(effects);
            }
            Life::Recovering | Life::Halted(_) => {}
            Life::Running(running) => {
                let beats = running.next_beat <= self.now.monotonic;
                let now = self.now.monotonic;
                let disk_owes_since = self.engine.owed_since();
                self.for_each_group(effects, |group, turn| {
                    if beats {
                        group.judge_own_use(turn, disk_owes_since);
                    }
                    // Side effects that are due are seen to when the group settles.
                    if group.replica.deadline().is_some_and(|at| at <= now) {
                        group.replica.on_timeout(turn);
                    }
                });
                if beats {
                    self.send_heartbeats(effects);
                    self.give_up_queries(effects);
                    self.shorten_journal(effects);
                    self.see_to_transfer(effects);
                    self.see_to_halted(effects);
                    self.see_to_chunks(effects);
                    self.fill_gaps(effects);
                    self.copy_forward(effects);
                    self.keep_disk(effects);
                }
                if matches!(self.life, Life::Running(_)) {
                    self.write_snapshot_on(effects);
                    self.pump(effects);
                }
            }
        }
    }

    fn on_disk(&mut self, done: DiskDone, effects: &mut Effects) {
        if matches!(self.life, Life::Halted(_)) {
            return;
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        let event = self.engine.on_done(self.now.monotonic, done, out);
        self.emit_disk_ops(effects);
        match event {
            Ok(Some(EngineEvent::Opened(opened))) => self.run(opened, effects),
            Ok(Some(EngineEvent::Durable(_))) => {
                self.for_each_group(effects, |group, turn| group.on_durable(turn))
            }
            Ok(Some(EngineEvent::Rotten { records, nameless })) => {
                self.write_again(&records, effects);
                for ordinals in nameless {
                    self.for_each_group(effects, |group, turn| {
                        group.replica.write_again_all(turn, ordinals);
                    });
                }
            }
            Ok(Some(EngineEvent::ChunkRead { to, chunk })) if to == self.config.node => {
                self.on_own_chunk(&chunk, effects);
            }
            Ok(Some(EngineEvent::ChunkRead { to, chunk })) => {
                self.send(to, Message::SnapshotChunk(chunk), effects);
            }
            Ok(Some(EngineEvent::PieceRead { to, piece })) => {
                self.send(to, Message::ChunkPiece(piece), effects);
            }
            Ok(Some(EngineEvent::Found { token, found })) => {
                effects.push(Effect::Found { route: Route(token), found });
            }
            Ok(Some(EngineEvent::Received { group, body })) => self.on_received(group, body, effects),
            Ok(None) => {}
            Err(error) => self.halt_over(error, effects),
        }
        self.archive(effects);
        self.fetch_next(effects);
        self.introduce(effects);
    }

    /// These records rotted on the disk: what is in memory is written again.
    fn write_again(&mut self, records: &[RecordName], effects: &mut Effects) {
        for record in records {
            match *record {
                RecordName::Entry(group, op) => {
                    self.with_group(group, effects, |group, turn| group.replica.write_again(turn, op));
                }
                RecordName::Promise(group) => {
                    self.with_group(group, effects, |group, turn| group.replica.renew_promise(turn));
                }
                // The directory that named it held all of it, and stands in two flushes.
                RecordName::Truncation(..) => {}
            }
        }
    }

    /// The disk was read: the node takes part from here on.
    fn run(&mut self, mut opened: Opened, effects: &mut Effects) {
        let me = self.config.node;
        let mut groups = Vec::new();
        let mut waiting = BTreeMap::new();
        let mut peers = BTreeSet::new();
        for init in opened.identity.groups {
            peers.extend(&init.voters);
            let log = opened.logs.remove(&init.group).unwrap_or_default();
            if let Some(at_least) = opened.lost.remove(&init.group) {
                let promised = VsrNode::promised_membership(&log);
                let later = promised.iter().flat_map(Membership::members);
                let members: BTreeSet<NodeId> = init.voters.iter().copied().chain(later).collect();
                peers.extend(&members);
                waiting.insert(init.group, Waiting { init, members, log, at_least, beats: BTreeMap::new() });
                continue;
            }
            let snapshot = opened.snapshots.remove(&init.group);
            match self.recover_group(init, snapshot, log, BTreeMap::new()) {
                Ok(group) => {
                    let membership = group.replica.membership();
                    peers.extend(membership.members().chain(membership.former.iter().copied()));
                    groups.push(group);
                }
                Err(what) => return self.halt(HaltReason::Storage { what }, effects),
            }
        }
        peers.remove(&me);
        let noted = |peer| (peer, opened.witnessed.get(&peer).copied().unwrap_or_default());
        let heartbeats = Heartbeats::new(opened.boot, peers.into_iter().map(noted));
        let running = Running {
            groups,
            waiting,
            writing: None,
            transfer: None,
            fetch: None,
            fetches: 0,
            keeps_fetched: false,
            last_rotten: Default::default(),
            heartbeats,
            next_beat: self.now.monotonic,
            amnesia: opened.amnesia,
        };
        self.life = Life::Running(Box::new(running));
        self.let_groups_arrive(effects);
    }

    /// A group as its snapshot and its journal tell it.
    fn recover_group(
        &mut self,
        init: GroupInit,
        snapshot: Option<Bytes>,
        log: RecoveredLog,
        beats: BTreeMap<NodeId, Beat>,
    ) -> Result<Group<A>, String> {
        let named = |error: &dyn ToString| format!("group {}: {}", init.group, error.to_string());
        let application = self.application.clone();
        let (executor, last) = match snapshot {
            Some(bytes) => {
                self.marks.hit(Mark::SnapshotRestored);
                Executor::restore(application, init.clone(), &bytes).map_err(|error| named(&error))?
            }
            None => (Executor::new(application, init.clone()), init.genesis()),
        };
        let executor = executor.guarded(self.guard);
        let base = (last, executor.membership().clone());
        let replica = VsrNode::recover(init.clone(), self.config.node, base, &log, &mut self.marks)
            .map_err(|error| named(&error))?;
        Ok(Group::new(replica, executor, beats))
    }

    /// A group has its snapshot again.
    fn add_group(&mut self, group: Group<A>, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let id = group.id();
        let Err(index) = running.groups.binary_search_by_key(&id, Group::id) else {
            panic!("group {id} takes part already");
        };
        running.groups.insert(index, group);
        self.let_groups_arrive(effects);
    }

    fn halt(&mut self, reason: HaltReason, effects: &mut Effects) {
        let incarnation = match &self.life {
            Life::Running(running) => running.heartbeats.boot().incarnation,
            Life::Unborn | Life::Recovering | Life::Halted(_) => Incarnation::default(),
        };
        self.life = Life::Halted(incarnation);
        effects.push(Effect::Halt(reason));
    }

    /// Why the engine stopped, as an operator reads it.
    fn halt_over(&mut self, error: EngineError, effects: &mut Effects) {
        let reason = match error {
            EngineError::Disk(what) => HaltReason::Disk { what },
            EngineError::Storage(what) => HaltReason::Storage { what },
        };
        self.halt(reason, effects);
    }

    fn on_request(&mut self, route: Route, request: Request, effects: &mut Effects) {
        let refused = |request: &Request, answer: Answer| {
            let (client, number) = (request.command.client, request.command.number);
            Effect::Reply { route, reply: Reply { group: request.group, client, number, answer } }
        };
        match &mut self.life {
            Life::Halted(_) => {}
            Life::Unborn | Life::Recovering => {
                self.marks.hit(Mark::BusyRecovering);
                effects.push(refused(&request, Answer::Busy));
            }
            Life::Running(running) if running.amnesia.is_some() => {
                self.marks.hit(Mark::BusyMute);
                effects.push(refused(&request, Answer::Busy));
            }
            Life::Running(running) => {
                let Ok(index) = running.groups.binary_search_by_key(&request.group, Group::id) else {
                    let waits = running.waiting.contains_key(&request.group);
                    effects.push(refused(&request, if waits { Answer::Busy } else { Answer::UnknownGroup }));
                    return;
                };
                let me = self.config.node;
                let is_full = |voter: NodeId| {
                    if voter == me { self.engine.is_full() } else { running.heartbeats.is_full(voter) }
                };
                let is_full = is_full(me) || running.groups[index].lacks_space(is_full);
                let limits = &self.config.limits;
                let reply = running.groups[index].request(route, request, is_full, limits, &mut self.marks);
                effects.extend(reply.map(|reply| Effect::Reply { route, reply }));
            }
        }
    }

    /// Whether an entry could be prepared or a flush be started at once.
    fn wants_to_pump(&self, running: &Running<A>) -> bool {
        let limits = &self.config.limits;
        let time = |group: &Group<A>| self.time_of(running, group);
        self.engine.wants_flush()
            || (self.engine.is_flush_slot_free()
                && running.groups.iter().any(|group| group.wants_to_propose(limits, time)))
    }

    /// Prepares entries from what is queued and flushes what is staged. While a flush is on its way and no other may
    /// be, requests wait: the next flush takes them all.
    fn pump(&mut self, effects: &mut Effects) {
        if self.engine.is_flush_slot_free() {
            let pace = pace(&self.config);
            self.for_each_group(effects, |group, turn| group.propose(turn, pace));
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        self.engine.flush(self.now.monotonic, out);
        self.emit_disk_ops(effects);
    }

    /// The group's time, when a majority of its clocks agrees.
    fn time_of(&self, running: &Running<A>, group: &Group<A>) -> Option<Timestamp> {
        group.replica.next_timestamp(self.now, running.heartbeats.clock(), &self.config.timeouts)
    }

    /// When the group's next wake-up is due, if no clock jumps; while the time is not known, the next beat may tell it.
    fn wakeup_deadline(&self, running: &Running<A>, group: &Group<A>) -> Option<Monotonic> {
        let at = group.wakeup()?;
        // One that is due waits for a place in the pipeline or for the journal, not for time.
        self.time_of(running, group).filter(|next| *next < at)?;
        // A log that is ahead of the clocks stands still until they are where it is.
        let time = group.replica.time(self.now, running.heartbeats.clock(), &self.config.timeouts)?;
        let wait = at.as_nanos().saturating_sub(time.as_nanos());
        Some(self.now.monotonic.after(Nanos::from_nanos(wait)))
    }

    fn emit_disk_ops(&mut self, effects: &mut Effects) {
        effects.extend(self.disk_ops.drain(..).map(Effect::Disk));
    }

    fn with_group(
        &mut self,
        id: GroupId,
        effects: &mut Effects,
        act: impl FnOnce(&mut Group<A>, &mut Turn<'_, M>),
    ) {
        let Life::Running(running) = &mut self.life else { return };
        let Ok(index) = running.groups.binary_search_by_key(&id, Group::id) else { return };
        let Some(journal) = self.engine.writer() else { return };
        let mut turn = Turn {
            now: self.now,
            journal,
            prng: &mut self.prng,
            heard: running.heartbeats.heard(),
            clock: running.heartbeats.clock(),
            limits: &self.config.limits,
            timeouts: &self.config.timeouts,
            out: &mut self.outgoing,
            marks: &mut self.marks,
        };
        act(&mut running.groups[index], &mut turn);
        let is_arriving = running.groups[index].is_arriving();
        for (to, body) in self.outgoing.drain(..) {
            if is_arriving || !running.may_speak_to(to) {
                self.marks.hit(Mark::NotIntroduced);
                continue;
            }
            effects.push(Effect::Send { to, message: Message::Group { group: id, body } });
        }
        let membership = running.groups[index].replica.membership();
        if running.groups[index].met < membership.epoch {
            let addresses = membership.addresses.iter().filter(|(node, _)| *node != self.config.node);
            effects.extend(
                addresses.map(|(node, address)| Effect::Meet { node: *node, address: address.clone() }),
            );
            running.meet_members(index, self.config.node, &mut self.engine);
        }
        let group = &mut running.groups[index];
        group.settle(effects, &mut self.marks);
        let (when, is_mute) = ((self.now.monotonic, pace(&self.config)), running.amnesia.is_some());
        group.see_to_side_effects(when, is_mute, effects, &mut self.marks);
        if group.replica.waits_to_vote() {
            self.let_new_voters_take_part(effects);
            if self.group(id).is_some_and(|group| group.replica.waits_to_vote()) {
                self.marks.hit(Mark::NewVoterWaits);
            }
        }
    }

    fn for_each_group(
        &mut self,
        effects: &mut Effects,
        mut act: impl FnMut(&mut Group<A>, &mut Turn<'_, M>),
    ) {
        for index in 0..self.groups().len() {
            let id = self.groups()[index].id();
            self.with_group(id, effects, &mut act);
        }
    }
}

/// How this node paces the side effects of each group that it leads.
fn pace(config: &NodeConfig) -> Pace {
    let limits = &config.limits;
    Pace {
        in_flight_max: limits.side_effects_max,
        attempt: config.timeouts.attempt,
        entry_bytes_max: limits.batch_bytes_max,
    }
}

//! A machine: a disk and clocks that outlive the processes that run on it.

use std::collections::BTreeSet;

use chronon_core::engine::{DiskDone, DiskOp, DiskOpId};
use chronon_core::kernel::ChrApplication;
use chronon_core::node::{GroupStatus, Input, Message, Node, NodeStatus, Phase};
use chronon_core::types::{GroupId, NodeId, Op};

use crate::clock::SimClock;
use crate::config::WorldConfig;
use crate::disk::SimDisk;
use crate::marks::MarkCounts;
use crate::panics::GUARD;
use crate::plan::{Aim, Misread};
use crate::random::{Purpose, Randomness};
use crate::time::{SECOND, WorldTime};

/// One machine.
#[derive(Clone)]
pub(super) struct Machine<A: ChrApplication> {
    pub(super) node: NodeId,
    /// The process, while one runs.
    pub(super) process: Option<Process<A>>,
    /// Counts its processes.
    pub(super) boot: u64,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    /// Numbers of the flushes that have rotted.
    pub(super) rotted: BTreeSet<u64>,
    /// When the process wants its timeout, as it said after its last step.
    due: Option<WorldTime>,
    /// Its timeouts on the agenda, the earliest last. They outlive the process that asked for them.
    timeouts: Vec<WorldTime>,
    /// The disk completes nothing before.
    pub(super) stalled_until: WorldTime,
    /// What was due since it stalled, in that order.
    pub(super) stalled: Vec<DiskOpId>,
    paused: bool,
    held: Vec<Input>,
    /// Dies at this many more disk operations of this kind, and stays away so long.
    dies_in: Option<(u64, Aim, u64)>,
    /// The same of operations as they complete: one fails, and the node that stops over it stays away so long.
    fails_in: Option<(u64, Aim, u64)>,
    /// At this many more reads of this kind, one gives other bytes than lie there.
    misreads_in: Option<(u64, Aim, Misread)>,
    /// The process to which a read lied while it read its disk: it believes no single read, and two are beyond that.
    lied_at_start: u64,
    /// Copies of the manifest that are not what was written there last, from 0.
    pub(super) rotted_copies: BTreeSet<u64>,
    /// Snapshots that rotted: of which group, and up to where they went.
    pub(super) rotted_snapshots: BTreeSet<(GroupId, Op)>,
    /// Chunks of archives that rotted and were not written again.
    pub(super) rotted_chunks: BTreeSet<(GroupId, u64)>,
    /// An operation of this process has failed.
    failed: Option<u64>,
    /// Of the processes that died.
    marks: MarkCounts,
}

/// A process.
#[derive(Clone)]
pub(super) struct Process<A: ChrApplication> {
    pub(super) node: Node<A, MarkCounts>,
    pub(super) status: NodeStatus,
}

/// Messages that wait for a paused process at most; sockets hold no more.
const HELD_MAX: usize = 10_000;

impl<A: ChrApplication> Machine<A> {
    pub(super) fn new(config: &WorldConfig, node: NodeId, randomness: Randomness) -> Self {
        let mut draw = randomness.draw(Purpose::Clock, node.get(), &[]);
        let (drift_max, offset_max) = (u64::from(config.clocks.drift_ppm), config.clocks.offset_ns);
        let drift = draw.between(0, 2 * drift_max) as i64 - drift_max as i64;
        let offset = draw.between(0, 2 * offset_max) as i64 - offset_max as i64;
        let clock = SimClock::new(drift as i32, draw.below(1_000_000 * SECOND), offset);
        Self {
            node,
            process: None,
            boot: 0,
            disk: SimDisk::new(node.get(), config.disk, randomness),
            clock,
            rotted: BTreeSet::new(),
            due: None,
            timeouts: Vec::new(),
            stalled_until: WorldTime::ZERO,
            stalled: Vec::new(),
            paused: false,
            held: Vec::new(),
            dies_in: None,
            fails_in: None,
            misreads_in: None,
            lied_at_start: 0,
            rotted_copies: BTreeSet::new(),
            rotted_snapshots: BTreeSet::new(),
            rotted_chunks: BTreeSet::new(),
            failed: None,
            marks: MarkCounts::default(),
        }
    }

    /// Asks the process when it wants its timeout.
    pub(super) fn ask_when_due(&mut self) {
        let deadline = self.process.as_ref().and_then(|process| process.node.deadline());
        self.due = deadline.map(|deadline| self.clock.when(deadline));
    }

    /// The earliest timeout on the agenda has come; whether the process takes it.
    pub(super) fn takes_timeout(&mut self, now: WorldTime) -> bool {
        self.timeouts.pop();
        !self.paused && self.due.is_some_and(|due| due <= now)
    }

    /// When one more timeout must come, unless one on the agenda comes in time.
    pub(super) fn wants_timeout(&mut self, now: WorldTime) -> Option<WorldTime> {
        let due = self.due.filter(|_| !self.paused)?.max(now);
        if self.timeouts.last().is_some_and(|at| *at <= due) {
            return None;
        }
        self.timeouts.push(due);
        Some(due)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// The process runs again; what waited for it is for the caller to give to it.
    pub(super) fn resume(&mut self) -> Vec<Input> {
        self.paused = false;
        std::mem::take(&mut self.held)
    }

    /// Keeps what reaches a paused process.
    pub(super) fn hold(&mut self, input: Input) {
        if self.held.len() < HELD_MAX || matches!(input, Input::Disk(_)) {
            self.held.push(input);
        }
    }

    /// The process dies, and with it what its disk had not made durable.
    pub(super) fn die(&mut self) {
        if let Some(process) = self.process.take() {
            self.marks.merge(process.node.marks());
        }
        self.paused = false;
        self.held.clear();
        self.stalled.clear();
        self.due = None;
        self.dies_in = None;
        self.failed = None;
        self.disk.crash();
    }

    /// The marks that its processes passed.
    pub(super) fn add_marks(&self, sum: &mut MarkCounts) {
        sum.merge(&self.marks);
        if let Some(process) = &self.process {
            sum.merge(process.node.marks());
        }
    }

    /// Arms a crash at the `nth` disk operation from now of those that `aim` takes.
    pub(super) fn die_at_disk_op(&mut self, nth: u64, aim: Aim, down_ns: u64) {
        self.dies_in = Some((nth, aim, down_ns));
    }

    /// Arms a failure in the same way.
    pub(super) fn fail_at_disk_op(&mut self, nth: u64, aim: Aim, down_ns: u64) {
        self.fails_in = Some((nth, aim, down_ns));
    }

    /// Arms a read that lies in the same way.
    pub(super) fn misread(&mut self, nth: u64, aim: Aim, gives: Misread) {
        self.misreads_in = Some((nth, aim, gives));
    }

    /// Disarms all of these.
    pub(super) fn live_on(&mut self) {
        self.dies_in = None;
        self.fails_in = None;
        self.misreads_in = None;
    }

    /// Completes a disk operation, or fails it when it is the one that fails.
    pub(super) fn complete(&mut self, id: DiskOpId) -> Option<DiskDone> {
        let op = self.disk.operation(id)?;
        let is_read = matches!(op, DiskOp::Read { .. });
        if let Some((left, _, down_ns)) = self.fails_in.as_mut().filter(|(_, aim, _)| aim.takes(op)) {
            *left -= 1;
            if *left == 0 {
                self.failed = Some(*down_ns);
                self.fails_in = None;
                return self.disk.fail(id);
            }
        }
        if let Some((left, _, gives)) =
            self.misreads_in.as_mut().filter(|(_, aim, _)| is_read && aim.takes(op))
        {
            *left -= 1;
            if *left == 0 {
                let gives = *gives;
                self.misreads_in = None;
                let process = self.process.as_ref();
                let starts = process.is_some_and(|process| process.status.phase == Phase::Recovering);
                if !(starts && self.lied_at_start == self.boot) {
                    self.lied_at_start = if starts { self.boot } else { self.lied_at_start };
                    return self.disk.misread(id, gives);
                }
            }
        }
        self.disk.complete(id)
    }

    /// How long a node stays away that stopped over an operation that failed.
    pub(super) fn stops_for(&self) -> Option<u64> {
        self.failed
    }

    /// Counts a disk operation; how long the machine stays away when this is the one it dies at.
    pub(super) fn dies_at_this_disk_op(&mut self, op: &DiskOp) -> Option<u64> {
        let (left, _, down_ns) = self.dies_in.as_mut().filter(|(_, aim, _)| aim.takes(op))?;
        *left = left.saturating_sub(1);
        (*left == 0).then_some(*down_ns)
    }
}

/// The one group that `input` concerns, if it concerns but one.
pub(super) fn concerned(input: &Input) -> Option<GroupId> {
    match input {
        Input::Message { message: Message::Group { group, .. }, .. } => Some(*group),
        Input::Client { request, .. } => Some(request.group),
        Input::Query { query, .. } => Some(query.group),
        Input::Order { order, .. } => Some(order.group),
        Input::Work { work, .. } => Some(work.group),
        Input::SideEffectDone { group, .. } | Input::LookUp { group, .. } => Some(*group),
        Input::Timeout | Input::Message { .. } | Input::Disk(_) => None,
    }
}

impl<A: ChrApplication> Process<A> {
    pub(super) fn new(config: &WorldConfig, application: A, node: NodeId, entropy: [u8; 32]) -> Self {
        let node = Node::with_marks(config.node(node), application, entropy, MarkCounts::default());
        let node = node.guarded(GUARD);
        Self { node, status: NodeStatus::default() }
    }

    /// Takes the node's status anew after an input that concerned one group alone, or any of them, and appends the
    /// replicas that changed.
    /// What replicas were, as they were shown last, that are in another epoch by now.
    pub(super) fn entered_epochs(&self, concerned: Option<GroupId>) -> Vec<GroupStatus> {
        let is_concerned = |known: &&GroupStatus| concerned.is_none_or(|group| group == known.group);
        let has_entered = |known: &&GroupStatus| {
            let membership = self.node.membership(known.group);
            membership.is_some_and(|membership| membership.epoch != known.view.epoch())
        };
        self.status.groups.iter().filter(is_concerned).filter(has_entered).copied().collect()
    }

    pub(super) fn refresh(&mut self, concerned: Option<GroupId>, changed: &mut Vec<GroupStatus>) {
        if let Some(group) = concerned
            && self.status.phase == Phase::Running
        {
            let Some(status) = self.node.group_status(group) else { return };
            let known = self.status.groups.iter_mut().find(|known| known.group == group);
            if let Some(known) = known.filter(|known| **known != status) {
                *known = status;
                changed.push(status);
            }
            return;
        }
        let all_are_known = self.status.phase == Phase::Running
            && self.status.waiting.is_empty()
            && self.status.amnesia.as_ref() == self.node.amnesia();
        if all_are_known && self.refresh_replicas(changed) {
            return;
        }
        let status = self.node.status();
        for (index, group) in status.groups.iter().enumerate() {
            if self.status.groups.get(index) != Some(group) {
                changed.push(*group);
            }
        }
        self.status = status;
    }

    /// Takes the replicas of a running node anew in their places; false when the node may no longer run.
    fn refresh_replicas(&mut self, changed: &mut Vec<GroupStatus>) -> bool {
        for known in &mut self.status.groups {
            let Some(status) = self.node.group_status(known.group) else { return false };
            if *known != status {
                *known = status;
                changed.push(status);
            }
        }
        !self.status.groups.is_empty()
    }
}

//! The nodes' side of the world: what they are given, and what becomes of their effects.

use chronon_core::consensus::VsrMessage;
use chronon_core::engine::{DiskOp, DiskOpId, DiskOutcome};
use chronon_core::kernel::{ChrApplication, Halt};
use chronon_core::node::{
    Answer, Deed, Effect, GroupStatus, HaltReason, Input, Message, Order, Reply, Role, Route,
};
use chronon_core::types::EntryKind;

use super::machine::{self, Process};
use super::{Failure, Item, World};
use super::{rot, rot_archive};
use crate::journal;
use crate::oracle::{Observed, Violation};
use crate::random::Purpose;
use crate::trace::Entity;
use crate::workload::Workload;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A new process on the machine's disk, unless one runs.
    pub(super) fn start(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if machine.process.is_some() {
            return;
        }
        machine.boot += 1;
        rot::cure(&mut machine.disk);
        let (node, boot) = (machine.node, machine.boot);
        let entropy = self.randomness.draw(Purpose::Entropy, node.get(), &[boot]).bytes32();
        machine.process = Some(Process::new(&self.config, self.application.clone(), node, entropy));
        self.tally.starts += 1;
        let line = format_args!("node {node} boot {boot}");
        self.trace.note(self.now, Entity::Node(node), "start", [node.get(), boot], line);
        self.judges.see(self.now, &Observed::Start { node, boot });
        self.schedule_timeout(index);
    }

    pub(super) fn timeout(&mut self, index: usize) {
        if self.machines[index].takes_timeout(self.now) {
            self.step_node(index, Input::Timeout);
        } else {
            self.put_timeout(index);
        }
    }

    pub(super) fn disk_due(&mut self, index: usize, boot: u64, id: DiskOpId) {
        let machine = &mut self.machines[index];
        if machine.boot != boot || machine.process.is_none() {
            return;
        }
        if machine.stalled_until > self.now || !machine.stalled.is_empty() {
            machine.stalled.push(id);
            return;
        }
        let op = machine.disk.operation(id);
        let may_grow = matches!(op, Some(DiskOp::Allocate { .. } | DiskOp::Put { .. }));
        let chunk = op.and_then(rot_archive::chunk_put);
        let Some(done) = machine.complete(id) else { return };
        let node = machine.node;
        if let Some(chunk) = chunk.filter(|_| done.outcome == DiskOutcome::Done) {
            machine.rotted_chunks.remove(&chunk);
        }
        if may_grow {
            self.tally.disk_bytes_max = self.tally.disk_bytes_max.max(machine.disk.durable().bytes());
        }
        self.judges.see(self.now, &Observed::DiskCompleted { node, done: &done });
        self.step_node(index, Input::Disk(done));
    }

    /// A stall of the disk is over, unless another one goes on: everything that was due goes on in that order, so that a barrier
    /// stays behind its writes.
    pub(super) fn release_disk(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if machine.stalled_until > self.now {
            return;
        }
        let boot = machine.boot;
        for id in std::mem::take(&mut machine.stalled) {
            self.agenda.put(self.now, Item::Disk { machine: index, boot, id });
        }
    }

    /// Gives `input` to the process, if one runs; one that is paused takes it later.
    pub(super) fn step_node(&mut self, index: usize, input: Input) {
        let machine = &mut self.machines[index];
        let (node, boot, paused) = (machine.node, machine.boot, machine.is_paused());
        let Some(process) = &mut machine.process else { return };
        if paused {
            machine.hold(input);
            return;
        }
        let now = machine.clock.now(self.now);
        self.trace.input(self.now, index, &input);
        self.judges.see(self.now, &Observed::Input { node, boot, now, input: &input });
        let concerned = machine::concerned(&input);
        let mut effects = std::mem::take(&mut self.effects);
        process.node.step(now, input, &mut effects);
        let entered = process.entered_epochs(concerned);
        self.steps += 1;
        self.steps_now += 1;
        if self.steps_now > STEPS_AT_ONE_MOMENT_MAX {
            self.failure.get_or_insert(Failure::Spins { node });
        }
        self.changed.clear();
        process.refresh(concerned, &mut self.changed);
        entered.into_iter().for_each(|before| self.note_epoch(index, before));
        self.trace.effects(index, &effects);
        let found = self.judge_execution(index);
        let Some(process) = &self.machines[index].process else { return };
        let (status, changed) = (&process.status, self.changed.as_slice());
        let seen = Observed::Step { node, effects: &effects, status, changed };
        self.judges.see(self.now, &seen);
        found.into_iter().for_each(|violation| self.judges.report(violation));
        self.note_views();
        for effect in effects.drain(..) {
            if self.machines[index].process.is_none() {
                // It died right after one of its disk operations.
                break;
            }
            self.carry_out(index, effect);
        }
        self.effects = effects;
        self.schedule_timeout(index);
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                if let Message::Group { body: VsrMessage::Prepare { entry, .. }, .. } = &message
                    && entry.header().kind() == EntryKind::Commands
                {
                    let held = journal::commands(entry.payload()).map_or(0, |commands| commands.len() as u64);
                    self.tally.entry_commands_max = self.tally.entry_commands_max.max(held);
                }
                self.send(index, to, message);
            }
            Effect::Disk(op) => {
                let machine = &mut self.machines[index];
                let (node, boot, id) = (machine.node, machine.boot, op.id());
                self.judges.see(self.now, &Observed::DiskSubmitted { node, op: &op });
                if let Some(copies) = rot::copies_written(&op) {
                    machine.rotted_copies.retain(|copy| !copies.contains(copy));
                }
                let dies = machine.dies_at_this_disk_op(&op);
                let due = machine.disk.submit(self.now, op);
                self.agenda.put(due, Item::Disk { machine: index, boot, id });
                self.tally.disk_ops += 1;
                if let Some(down_ns) = dies {
                    self.crash(index, down_ns);
                }
            }
            Effect::Reply { route: OPERATOR, reply } => self.tell_operator(index, &reply),
            Effect::Reply { route, reply } => self.reply(index, route, reply),
            Effect::Answer { route, answer, .. } => self.told(self.machines[index].node, route, answer),
            Effect::Execute { group, attempt } => self.execute(index, group, attempt),
            Effect::Worked { number, answer, .. } => self.worked(index, number, answer),
            Effect::Found { route, found } => self.found(self.machines[index].node, route, &found),
            // Its links lead everywhere.
            Effect::Meet { .. } => {}
            Effect::Halt(reason) if let Some(down_ns) = self.machines[index].stops_for() => {
                let (node, line) = (self.machines[index].node, format_args!("{reason}"));
                self.trace.note(self.now, Entity::Node(node), "halt", [node.get(), 1], line);
                self.crash(index, down_ns);
            }
            Effect::Halt(HaltReason::Storage { what }) if self.may_halt(index) => {
                let (node, line) = (self.machines[index].node, format_args!("{what}"));
                self.trace.note(self.now, Entity::Node(node), "halt", [node.get(), 0], line);
                self.tally.halts += 1;
            }
            Effect::Halt(reason) => {
                let (node, reason) = (self.machines[index].node, reason.to_string());
                self.failure.get_or_insert(Failure::Halt { node, reason });
            }
        }
    }

    /// Whether the node may stop over what its disk holds: more rotted than the design survives.
    fn may_halt(&self, index: usize) -> bool {
        self.config.beyond_budget && !self.machines[index].rotted.is_empty()
    }

    /// The process has started, or taken a step: when does it want its timeout now?
    fn schedule_timeout(&mut self, index: usize) {
        self.machines[index].ask_when_due();
        self.put_timeout(index);
    }

    /// Puts a timeout on the agenda if one is missing. A later deadline waits for the one that is there already.
    pub(super) fn put_timeout(&mut self, index: usize) {
        if let Some(due) = self.machines[index].wants_timeout(self.now) {
            self.agenda.put(due, Item::Timeout { machine: index });
        }
    }

    /// Shows what the node's replicas have applied first, and holds what they have against what the world makes of the same log.
    fn judge_execution(&mut self, index: usize) -> Vec<Violation> {
        let machine = &self.machines[index];
        let (node, Some(process), mut found) = (machine.node, &machine.process, Vec::new()) else {
            return Vec::new();
        };
        if self.is_lost(node) {
            return found;
        }
        for status in &self.changed {
            let Some(group) = self.group_index(status.group) else { continue };
            let entry = |op| process.node.committed_entry(status.group, op);
            let mut applied = Vec::new();
            found.extend(self.executions[group].show(node, status, entry, &mut applied));
            for entry in &applied {
                self.judges.see(self.now, &Observed::Applied { group: status.group, entry });
            }
            let Some(halt) = process.node.halted(status.group) else { continue };
            match self.workload.skips_after() {
                Some(after_ns) if !self.operators[group] => {
                    self.operators[group] = true;
                    self.agenda.put(self.now.after(after_ns), Item::Operator { group });
                }
                Some(_) => {}
                None => {
                    let Halt { place, what, .. } = halt;
                    let what = format!("op {}, event {}: {what}", place.op, place.index);
                    found.push(Violation::new("NeverPanics", what).at(node).of(status.group));
                }
            }
        }
        found
    }

    /// Operators look at what becomes of the group; what they are told is judged.
    fn tell_operator(&mut self, index: usize, reply: &Reply) {
        let (node, group) = (self.machines[index].node, self.group_index(reply.group));
        if let (Answer::Committed { op, .. }, Some(group)) = (&reply.answer, group)
            && let Some(violation) = self.executions[group].told(node, *op)
        {
            self.judges.report(violation);
        }
    }

    /// An operator looks at a group that stood still, and has the event skipped where it still does.
    pub(super) fn see_to_group(&mut self, group: usize) {
        let id = self.config.groups[group].group;
        let running = |index: &usize| !self.is_lost(self.machines[*index].node);
        let standing = |index: usize| {
            let process = self.machines[index].process.as_ref()?;
            Some((index, process.node.halted(id)?.place, process.node.group_status(id)?.role))
        };
        let found: Vec<_> = (0..self.machines.len()).filter(running).filter_map(standing).collect();
        self.operators[group] = !found.is_empty();
        for (index, place, role) in found {
            if role == Role::Primary {
                let order = Order { group: id, deed: Deed::Skip(place) };
                self.step_node(index, Input::Order { route: OPERATOR, order });
            }
        }
        if let Some(after_ns) = self.workload.skips_after().filter(|_| self.operators[group]) {
            self.agenda.put(self.now.after(after_ns), Item::Operator { group });
        }
    }

    /// An operator activates the latest schema where it is not in force yet.
    pub(super) fn activate(&mut self) {
        let Some(again_ns) = self.workload.activates_at() else { return };
        for group in 0..self.config.groups.len() {
            let id = self.config.groups[group].group;
            for index in 0..self.machines.len() {
                let Some(process) = &self.machines[index].process else { continue };
                let status = process.node.group_status(id);
                let wants = |status: GroupStatus| status.role == Role::Primary && status.schema < A::SCHEMA;
                if !self.is_lost(self.machines[index].node) && status.is_some_and(wants) {
                    let order = Order { group: id, deed: Deed::Activate(A::SCHEMA) };
                    self.step_node(index, Input::Order { route: OPERATOR, order });
                }
            }
        }
        self.agenda.put(self.now.after(again_ns), Item::Activation);
    }

    /// Counts the views that were led for the first time.
    fn note_views(&mut self) {
        for status in self.changed.iter().filter(|status| status.role == Role::Primary) {
            let Some(group) = self.group_index(status.group) else { continue };
            if status.view > self.views[group] {
                self.tally.view_changes += u64::from(self.views[group].get() > 0);
                self.views[group] = status.view;
            }
        }
    }
}

/// The route of operators, which is none of a client or a reader.
pub(super) const OPERATOR: Route = Route(1 << 62);
/// A node that takes so many steps at one moment loops.
const STEPS_AT_ONE_MOMENT_MAX: u32 = 100_000;

//! Carries the fault plan out.

use std::sync::Arc;

use chronon_core::kernel::ChrApplication;
use chronon_core::types::NodeId;

use super::{Item, World};
use crate::oracle::Observed;
use crate::plan::FaultKind;
use crate::workload::Workload;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    pub(super) fn fault_begins(&mut self, index: usize) {
        let config = Arc::clone(&self.config);
        let fault = &config.plan[index];
        self.tally.fault(fault.what.word());
        self.trace.note(self.now, "fault", [index as u64, 0], &fault.what);
        let lasts = match &fault.what {
            FaultKind::Crash { node, down_ns } => {
                self.crash(machine_of(*node), *down_ns);
                None
            }
            FaultKind::CrashAtDiskOp { node, nth, aim, down_ns } => {
                self.machines[machine_of(*node)].die_at_disk_op(*nth, *aim, *down_ns);
                None
            }
            FaultKind::PowerLoss { down_ns, apart_ns } => {
                let mut down_ns = *down_ns;
                for machine in 0..self.machines.len() {
                    self.crash(machine, down_ns);
                    down_ns += apart_ns;
                }
                None
            }
            FaultKind::Pause { node, for_ns } => {
                let machine = &mut self.machines[machine_of(*node)];
                if machine.process.is_some() {
                    machine.pause();
                }
                Some(*for_ns)
            }
            FaultKind::Cut { links, for_ns } => {
                links.iter().for_each(|(from, to)| self.net.cut(*from, *to));
                Some(*for_ns)
            }
            FaultKind::Lossy { links, loss_ppm, for_ns } => {
                links.iter().for_each(|(from, to)| self.net.set_loss(*from, *to, *loss_ppm));
                Some(*for_ns)
            }
            FaultKind::Clog { links, for_ns } => {
                let until = self.now.after(*for_ns);
                links.iter().for_each(|(from, to)| self.net.clog(*from, *to, until));
                None
            }
            FaultKind::Drop { rule, for_ns } => {
                self.net.add_rule(index as u64, *rule);
                Some(*for_ns)
            }
            FaultKind::DiskStall { node, for_ns } => {
                let machine = &mut self.machines[machine_of(*node)];
                machine.stalled_until = machine.stalled_until.max(self.now.after(*for_ns));
                None
            }
            FaultKind::ClockJump { node, by_ns } => {
                self.machines[machine_of(*node)].clock.jump(*by_ns);
                None
            }
        };
        if let Some(for_ns) = lasts {
            self.agenda.put(self.now.after(for_ns), Item::FaultEnd(index));
        }
    }

    pub(super) fn fault_ends(&mut self, index: usize) {
        let config = Arc::clone(&self.config);
        match &config.plan[index].what {
            FaultKind::Pause { node, .. } => self.resume(machine_of(*node)),
            FaultKind::Cut { links, .. } => links.iter().for_each(|(from, to)| self.net.mend(*from, *to)),
            FaultKind::Lossy { links, .. } => {
                links.iter().for_each(|(from, to)| self.net.set_loss(*from, *to, 0))
            }
            FaultKind::Drop { .. } => self.net.remove_rule(index as u64),
            FaultKind::Crash { .. }
            | FaultKind::CrashAtDiskOp { .. }
            | FaultKind::PowerLoss { .. }
            | FaultKind::Clog { .. }
            | FaultKind::DiskStall { .. }
            | FaultKind::ClockJump { .. } => {}
        }
    }

    /// The process of a machine dies, unless none runs, and another one starts later.
    pub(super) fn crash(&mut self, index: usize, down_ns: u64) {
        let machine = &mut self.machines[index];
        if machine.process.is_none() {
            return;
        }
        machine.die();
        let (node, boot) = (machine.node, machine.boot);
        self.tally.crashes += 1;
        self.trace.note(self.now, "crash", [node.get(), boot], format_args!("node {node} boot {boot}"));
        let disk = self.machines[index].disk.durable();
        self.judges.see(self.now, &Observed::Crash { node, boot, disk });
        self.agenda.put(self.now.after(down_ns), Item::Start { machine: index });
    }

    /// A paused process runs again, with everything that waited for it.
    pub(super) fn resume(&mut self, index: usize) {
        if !self.machines[index].is_paused() {
            return;
        }
        let node = self.machines[index].node;
        self.trace.note(self.now, "resume", [node.get(), 0], format_args!("node {node}"));
        for input in self.machines[index].resume() {
            self.step_node(index, input);
        }
        self.schedule_timeout(index);
    }
}

/// Nodes have ids from 1; machines lie in their order.
fn machine_of(node: NodeId) -> usize {
    node.get() as usize - 1
}

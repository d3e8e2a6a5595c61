//! Carries the fault plan out.

use std::sync::Arc;

use chronon_core::kernel::ChrApplication;

use super::{Item, World};
use crate::oracle::Observed;
use crate::plan::FaultKind;
use crate::trace::Entity;
use crate::workload::Workload;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    pub(super) fn fault_begins(&mut self, index: usize) {
        let config = Arc::clone(&self.config);
        let fault = &config.plan[index];
        self.tally.fault(fault.what.word());
        self.trace.note(self.now, Entity::World, "fault", [index as u64, 0], &fault.what);
        let lasts = match &fault.what {
            FaultKind::Crash { node, down_ns } => {
                self.crash(self.machine_of(*node), *down_ns);
                None
            }
            FaultKind::CrashAtDiskOp { node, nth, aim, down_ns } => {
                self.machine_mut(*node).die_at_disk_op(*nth, *aim, *down_ns);
                None
            }
            FaultKind::DiskError { node, nth, aim, down_ns } => {
                self.machine_mut(*node).fail_at_disk_op(*nth, *aim, *down_ns);
                None
            }
            FaultKind::PowerLoss { down_ns, apart_ns } => {
                for machine in 0..self.machines.len() {
                    // By its number, so that it comes back at the same moment whoever else exists.
                    let before = self.nodes[machine].get() - 1;
                    self.crash(machine, down_ns + before * apart_ns);
                }
                None
            }
            FaultKind::Pause { node, for_ns } => {
                let machine = self.machine_mut(*node);
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
            FaultKind::Echo { links, for_ns } => {
                links.iter().for_each(|(from, to)| self.echoes.begin(*from, *to));
                Some(*for_ns)
            }
            FaultKind::Drop { rule, for_ns } => {
                self.net.add_rule(index as u64, *rule);
                Some(*for_ns)
            }
            FaultKind::DiskStall { node, for_ns } => {
                let until = self.now.after(*for_ns);
                let machine = self.machine_mut(*node);
                machine.stalled_until = machine.stalled_until.max(until);
                Some(*for_ns)
            }
            FaultKind::Rot { node, how, nth } => {
                self.rot(*node, *how, *nth);
                None
            }
            FaultKind::DiskFull { node, room, for_ns } => {
                self.machine_mut(*node).disk.fill(Some(*room));
                Some(*for_ns)
            }
            FaultKind::Misread { node, nth, aim, gives } => {
                self.machine_mut(*node).misread(*nth, *aim, *gives);
                None
            }
            FaultKind::RotManifest { node, copy, how } => {
                self.rot_manifest(*node, *copy, *how);
                None
            }
            FaultKind::RotSnapshot { node, how, nth } => {
                self.rot_snapshot(*node, *how, *nth);
                None
            }
            FaultKind::RotArchive { node, how, nth } => {
                self.rot_archive(*node, *how, *nth);
                None
            }
            FaultKind::Wipe { node, down_ns } => {
                self.wipe(*node, *down_ns);
                None
            }
            FaultKind::PutBack { node, for_ns, .. } => {
                self.keep_image(index, *node);
                Some(*for_ns)
            }
            FaultKind::ClockJump { node, by_ns } => {
                self.machine_mut(*node).clock.jump(*by_ns);
                None
            }
            FaultKind::ClockFreeze { node, for_ns } => {
                let (now, until) = (self.now, self.now.after(*for_ns));
                self.machine_mut(*node).clock.freeze(now, until);
                Some(*for_ns)
            }
        };
        if let Some(for_ns) = lasts {
            self.agenda.put(self.now.after(for_ns), Item::FaultEnd(index));
        }
    }

    pub(super) fn fault_ends(&mut self, index: usize) {
        let config = Arc::clone(&self.config);
        match &config.plan[index].what {
            FaultKind::Pause { node, .. } => self.resume(self.machine_of(*node)),
            FaultKind::Cut { links, .. } => links.iter().for_each(|(from, to)| self.net.mend(*from, *to)),
            FaultKind::Lossy { links, .. } => {
                links.iter().for_each(|(from, to)| self.net.set_loss(*from, *to, 0))
            }
            FaultKind::Echo { links, .. } => links.iter().for_each(|(from, to)| self.echoes.end(*from, *to)),
            FaultKind::DiskFull { node, .. } => self.machine_mut(*node).disk.fill(None),
            FaultKind::ClockFreeze { node, .. } => {
                let now = self.now;
                self.machine_mut(*node).clock.go_on(now);
            }
            FaultKind::DiskStall { node, .. } => self.release_disk(self.machine_of(*node)),
            FaultKind::Drop { .. } => self.net.remove_rule(index as u64),
            FaultKind::PutBack { node, down_ns, .. } => self.put_back(index, *node, *down_ns),
            FaultKind::Crash { .. }
            | FaultKind::CrashAtDiskOp { .. }
            | FaultKind::DiskError { .. }
            | FaultKind::PowerLoss { .. }
            | FaultKind::Clog { .. }
            | FaultKind::Rot { .. }
            | FaultKind::Misread { .. }
            | FaultKind::RotManifest { .. }
            | FaultKind::RotSnapshot { .. }
            | FaultKind::RotArchive { .. }
            | FaultKind::Wipe { .. }
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
        self.stop_waiting_for(node);
        self.tally.crashes += 1;
        let line = format_args!("node {node} boot {boot}");
        self.trace.note(self.now, Entity::Node(node), "crash", [node.get(), boot], line);
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
        self.trace.note(self.now, Entity::Node(node), "resume", [node.get(), 0], format_args!("node {node}"));
        for input in self.machines[index].resume() {
            self.step_node(index, input);
        }
        self.put_timeout(index);
    }
}

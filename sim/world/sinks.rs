//! The world's side of sinks: attempts travel there, and their ends back to the process that began them.

use chronon_core::kernel::{Attempt, AttemptDone, ChrApplication};
use chronon_core::node::Input;
use chronon_core::types::GroupId;

use super::{Item, World};
use crate::oracle::Observed;
use crate::sink::Fate;
use crate::workload::Workload;

/// An attempt as it travels.
#[derive(Clone, Debug)]
pub(super) struct Going {
    machine: usize,
    boot: u64,
    group: GroupId,
    attempt: Attempt,
    fate: Fate,
}

/// Its end, on the way back.
#[derive(Clone, Debug)]
pub(super) struct Coming {
    machine: usize,
    boot: u64,
    group: GroupId,
    done: AttemptDone,
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    pub(super) fn execute(&mut self, machine: usize, group: GroupId, attempt: Attempt) {
        let (boot, fate) = (self.machines[machine].boot, self.sinks.fate(&attempt));
        let at = self.now.after(fate.arrives_ns);
        self.agenda.put(at, Item::Attempt(Box::new(Going { machine, boot, group, attempt, fate })));
    }

    /// An attempt reaches its sink, whatever has become of the process that began it.
    pub(super) fn attempt_arrives(&mut self, going: Going) {
        let Going { machine, boot, group, attempt, fate } = going;
        let (verdict, result) = self.sinks.take(self.now, group, &attempt, &fate);
        self.tally.side_effect(verdict);
        let node = self.machines[machine].node;
        let seen = Observed::Executed { node, group, attempt: &attempt, verdict };
        self.judges.see(self.now, &seen);
        let Some(returns_ns) = fate.returns_ns else { return };
        let Attempt { place, number, token, .. } = attempt;
        let done = AttemptDone { place, number, token, result };
        let coming = Coming { machine, boot, group, done };
        self.agenda.put(self.now.after(returns_ns), Item::AttemptEnded(Box::new(coming)));
    }

    pub(super) fn attempt_ended(&mut self, coming: Coming) {
        let Coming { machine, boot, group, done } = coming;
        if self.machines[machine].boot == boot {
            self.step_node(machine, Input::SideEffectDone { group, done });
        }
    }
}

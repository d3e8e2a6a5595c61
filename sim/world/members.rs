//! Memberships: what the operator wants of them, and what replicas show (ConfigEqualsLog).

use chronon_core::node::{GroupStatus, Input, Order, Role};
use chronon_core::types::{GroupId, GroupInit, Membership, NodeId, View};

use super::nodes::OPERATOR;
use super::{Item, World};
use crate::changes::{Wanted, is_done};
use crate::oracle::{Observed, Violation};
use crate::time::MILLISECOND;
use crate::workload::Workload;
use chronon_core::kernel::ChrApplication;

/// The memberships of one group.
#[derive(Clone, Debug)]
pub(super) struct Memberships {
    /// By epoch, as the first replica showed each.
    shown: Vec<Membership>,
    /// Changes that are done.
    done: usize,
    pub(super) compared: u64,
}

impl Memberships {
    pub(super) fn new(init: &GroupInit) -> Self {
        Self { shown: vec![Membership::founding(init)], done: 0, compared: 0 }
    }

    /// The latest one.
    pub(super) fn latest(&self) -> &Membership {
        &self.shown[self.shown.len() - 1]
    }

    /// Those that replicas have shown are those of the log, in its order.
    pub(super) fn end(&mut self, of_the_log: &[Membership]) -> Option<String> {
        self.compared += 1;
        (self.shown[1..] != *of_the_log)
            .then(|| format!("replicas were in {:?}, and the log makes {of_the_log:?}", &self.shown[1..]))
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// The members of a group, in the latest epoch that any replica has shown.
    pub(super) fn members(&self, init: &GroupInit) -> Vec<NodeId> {
        self.membership(init).members().collect()
    }

    /// The latest membership of a group that any replica has shown.
    pub(super) fn membership(&self, init: &GroupInit) -> &Membership {
        let index = self.group_index(init.group).unwrap_or_default();
        self.memberships[index].latest()
    }

    /// A step took a replica into an epoch: what it shows of that is what all others show, and the oracles hear of it before they
    /// see what it does there. `before` is what the replica was.
    pub(super) fn note_epoch(&mut self, index: usize, before: GroupStatus) {
        let Some(group) = self.group_index(before.group) else { return };
        let machine = &self.machines[index];
        let Some(process) = &machine.process else { return };
        let Some(membership) = process.node.membership(before.group) else { return };
        let (node, membership) = (machine.node, membership.clone());
        let epoch = membership.epoch.get() as usize;
        let known = &mut self.memberships[group];
        if let Some(shown) = known.shown.get(epoch) {
            known.compared += 1;
            if *shown != membership {
                let what = format!("it is in {membership:?}, and somebody was in {shown:?}");
                self.judges.report(Violation::new("ConfigEqualsLog", what).at(node).of(before.group));
            }
            return;
        }
        if epoch != known.shown.len() {
            let what = format!("it enters epoch {epoch} before anybody was in the one before it");
            self.judges.report(Violation::new("ConfigEqualsLog", what).at(node).of(before.group));
            return;
        }
        let is_alone = known.latest().voters == [node];
        known.shown.push(membership.clone());
        self.members_changed = self.now;
        // Who is alone needs nobody's word: its view may have begun within the same step.
        let led = before.role == Role::Primary || is_alone;
        let led: Option<View> = led.then_some(before.view);
        let seen = Observed::Epoch { node, group: before.group, membership: &membership, led };
        self.judges.see(self.now, &seen);
    }

    /// The operator wants the next change of a group, if it is due.
    pub(super) fn change_members(&mut self, group: usize) {
        let init = &self.config.groups[group];
        let id = init.group;
        let changes: Vec<_> = self.config.changes_of(id).cloned().collect();
        let done =
            |place: &usize| changes.get(*place).is_none_or(|change| !self.has_done(group, &change.what));
        let done = (self.memberships[group].done..).find(done).unwrap_or_default();
        self.memberships[group].done = done;
        let Some(change) = changes.get(done) else { return };
        let again = self.now.after(AGAIN_NS).max(change.at);
        self.agenda.put(again, Item::Change { group });
        if change.at > self.now {
            return;
        }
        for index in 0..self.machines.len() {
            let process = self.machines[index].process.as_ref();
            let status = process.and_then(|process| process.node.group_status(id));
            if status.is_some_and(|status| status.role == Role::Primary)
                && !self.is_lost(self.machines[index].node)
            {
                let order = Order { group: id, deed: change.what.deed() };
                self.step_node(index, Input::Order { route: OPERATOR, order });
            }
        }
    }

    /// Whether what the operator wants of a group is so.
    fn has_done(&self, group: usize, what: &Wanted) -> bool {
        match what {
            Wanted::Members(change) => is_done(change, self.memberships[group].latest()),
            // A node that is of no use any more leads nothing.
            Wanted::Lead(node) => {
                let gone = self.is_lost(*node) || self.has_halted(*node);
                gone || self.leads(self.machine_of(*node), self.config.groups[group].group)
            }
        }
    }

    /// What the operator still wants of a group.
    pub(super) fn wanted_change(&self, group: GroupId) -> Option<String> {
        let known = &self.memberships[self.group_index(group)?];
        let mut changes = self.config.changes_of(group).skip(known.done);
        changes.next().map(|change| format!("change: {} is not done", change.what))
    }
}

/// How often the operator asks again.
const AGAIN_NS: u64 = 400 * MILLISECOND;

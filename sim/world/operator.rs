//! An operator who looks after side effects that were given up: asks any replica for them, and has some of them tried again and some
//! forgotten. What it is told may be old, and what it wants may have been done meanwhile.

use chronon_core::codec;
use chronon_core::kernel::{ChrApplication, DeadPage, DeadView};
use chronon_core::node::{Deed, Freshness, Input, Order, Role};
use chronon_core::types::{Blob, GroupId, NodeId, Op};

use super::machine::Machine;
use super::nodes::OPERATOR;
use super::settle::Stage;
use super::{Item, World};
use crate::oracle::{Observed, Violation};
use crate::random::Purpose;
use crate::time::MILLISECOND;
use crate::workload::Workload;

/// What an operator has decided about a group.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    group: GroupId,
    deeds: Vec<Deed>,
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A look at one replica of a group.
    pub(super) fn look_at_the_dead(&mut self, group: usize, look: u64) {
        if self.stage != Stage::Faults {
            return;
        }
        let init = &self.config.groups[group];
        let id = init.group;
        let mut draw = self.randomness.draw(Purpose::Operator, u64::from(id.get()), &[look]);
        let node = *draw.pick(&self.members(init));
        let freshness = if draw.coin() { Freshness::Stale } else { Freshness::Linearizable };
        if !self.is_lost(node) {
            self.ask_for_the_dead((node, None), id, freshness);
        }
        let next = self.now.after(self.config.operator.every_ns);
        self.agenda.put(next, Item::DeadLook { group, look: look + 1 });
    }

    /// A replica has shown what was given up.
    pub(super) fn told_of_the_dead(&mut self, node: NodeId, group: GroupId, op: Op, body: &Blob) {
        let Ok(DeadView::List(page)) = codec::decode(body.as_slice()) else {
            let what = format!("a question for dead side effects is answered with {body:?}");
            self.judges.report(Violation::new("DeadKept", what).at(node).of(group));
            return;
        };
        self.judges.see(self.now, &Observed::ToldOfTheDead { node, group, op, page: &page });
        if self.stage == Stage::Faults {
            self.decide(group, &page);
        }
    }

    /// What becomes of those of the page; some of it is asked for twice.
    fn decide(&mut self, group: GroupId, page: &DeadPage) {
        let operator = self.config.operator;
        let key = self.randomness.key(Purpose::Operator, u64::from(group.get())).and(self.now.as_nanos());
        let mut deeds = Vec::new();
        for row in &page.rows {
            let mut draw = key.draw(&[row.place.op.get(), u64::from(row.place.index)]);
            let (redrives, discards) = (draw.chance(operator.redrive_ppm), draw.chance(operator.discard_ppm));
            let deed = match (redrives, discards) {
                (true, _) => Deed::Redrive(row.id),
                (false, true) => Deed::Discard(row.id),
                (false, false) => continue,
            };
            let times = if draw.below(4) == 0 { 2 } else { 1 };
            deeds.extend(std::iter::repeat_n(deed, times));
        }
        if !deeds.is_empty() {
            let soon = self.now.after(MILLISECOND);
            self.agenda.put(soon, Item::Orders(Box::new(Orders { group, deeds })));
        }
    }

    /// Whether a machine leads the group, as it believes.
    pub(super) fn leads(&self, index: usize, group: GroupId) -> bool {
        let Machine { process, node, .. } = &self.machines[index];
        let status = process.as_ref().and_then(|process| process.node.group_status(group));
        status.is_some_and(|own| own.role == Role::Primary) && !self.is_lost(*node)
    }

    /// Whoever leads the group is told what to do.
    pub(super) fn order(&mut self, orders: &Orders) {
        let Orders { group, ref deeds } = *orders;
        for deed in deeds {
            for index in 0..self.machines.len() {
                if self.leads(index, group) {
                    let order = Order { group, deed: deed.clone() };
                    self.step_node(index, Input::Order { route: OPERATOR, order });
                }
            }
        }
    }
}

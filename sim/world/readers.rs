//! Readers: they look up entries of the log, now and then while faults go on, and in the end on every node until it answers.

use std::collections::BTreeMap;

use chronon_core::engine::{At, Found};
use chronon_core::kernel::ChrApplication;
use chronon_core::node::{Input, Phase, Route};
use chronon_core::types::{GroupId, NodeId, Op, Timestamp};

use super::{Item, World};
use crate::random::{Draw, Purpose};
use crate::time::{MILLISECOND, WorldTime};
use crate::workload::Workload;

/// What is looked up and not answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    asked: BTreeMap<NodeId, u64>,
    /// What must be answered before the run is over.
    last: BTreeMap<(NodeId, Route), (GroupId, At)>,
}

impl Readers {
    /// Routes of readers are none of clients.
    fn route(&mut self, node: NodeId) -> Route {
        let asked = self.asked.entry(node).or_default();
        *asked += 1;
        Route(*asked | READERS)
    }

    pub(super) fn are_done(&self) -> bool {
        self.last.is_empty()
    }

    /// Who waits, for people.
    pub(super) fn waits_for(&self) -> Option<String> {
        let ((node, _), (group, at)) = self.last.first_key_value()?;
        Some(format!("node {node} does not find {at} of group {group}"))
    }
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// One look, at any entry of any group.
    pub(super) fn look_up_now_and_then(&mut self, index: usize) {
        let node = self.machines[index].node;
        let route = self.readers.route(node);
        let key = self.randomness.key(Purpose::Reader, node.get()).and(route.0);
        let rank = |group: &GroupId| key.draw(&[u64::from(group.get())]).word();
        let groups = self.config.groups.iter().map(|init| init.group);
        if let Some(group) = groups.min_by_key(rank) {
            let applied = self.applied(node, group);
            let at = self.place(index, applied.get() + 2, &mut key.draw(&[]));
            self.step_node(index, Input::LookUp { route, group, at });
        }
        self.agenda.put(self.now.after(LOOK_UP_NS), Item::LookUp { machine: index });
    }

    /// An op below `end`, or a time so far.
    fn place(&self, index: usize, end: u64, draw: &mut Draw) -> At {
        if draw.coin() {
            At::Op(Op::new(draw.below(end)))
        } else {
            let at = WorldTime::from_nanos(draw.below(self.now.as_nanos() + 1));
            At::Time(Timestamp::from_nanos(self.machines[index].clock.now(at).wall.as_nanos()))
        }
    }

    fn applied(&self, node: NodeId, group: GroupId) -> Op {
        let process = self.machine(node).process.iter();
        let status = process.flat_map(|process| &process.status.groups).find(|status| status.group == group);
        status.map_or(Op::GENESIS, |status| status.applied)
    }

    /// From here on every replica has to find a few entries.
    pub(super) fn read_on_every_node(&mut self) {
        let config = std::sync::Arc::clone(&self.config);
        for init in &config.groups {
            for node in init.voters.iter().copied() {
                if self.is_lost(node) {
                    continue;
                }
                let applied = self.applied(node, init.group);
                for _ in 0..LOOKS_LAST {
                    let route = self.readers.route(node);
                    let mut draw = self.randomness.draw(Purpose::Reader, node.get(), &[route.0]);
                    let at = self.place(self.machine_of(node), applied.get() + 1, &mut draw);
                    self.readers.last.insert((node, route), (init.group, at));
                }
            }
        }
        self.read_again();
    }

    /// Asks again for what was not found.
    pub(super) fn read_again(&mut self) {
        for ((node, route), (group, at)) in self.readers.last.clone() {
            let index = self.machine_of(node);
            let process = &self.machines[index].process;
            if process.as_ref().is_some_and(|process| process.status.phase == Phase::Running) {
                self.step_node(index, Input::LookUp { route, group, at });
            }
        }
    }

    /// What is not readable yet is asked for again, unless nobody may have it any more.
    pub(super) fn found(&mut self, node: NodeId, route: Route, found: &Found) {
        let is_over = match found {
            Found::Unreadable => self.config.beyond_budget,
            Found::Refused => false,
            Found::Entry(_) | Found::Later | Found::Gone => true,
        };
        if is_over {
            self.readers.last.remove(&(node, route));
        }
    }
}

const READERS: u64 = 1 << 63;
/// Between two looks while faults go on.
const LOOK_UP_NS: u64 = 700 * MILLISECOND;
/// Looks at the end, for each replica.
const LOOKS_LAST: usize = 4;

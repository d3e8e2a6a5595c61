//! Readers: they look up entries of the log and ask for the state, now and then while faults go on, and in the end on every
//! node until it answers.

use std::collections::BTreeMap;

use chronon_core::codec;
use chronon_core::engine::{At, Found, Sought};
use chronon_core::kernel::{ChrApplication, DeadQuery};
use chronon_core::node::{About, Freshness, Input, Phase, Query, QueryAnswer, Route};
use chronon_core::types::{Blob, GroupId, Nanos, NodeId, Op, Timestamp};

use super::{Item, World};
use crate::oracle::{Observed, Violation};
use crate::random::{Draw, Purpose};
use crate::time::{MILLISECOND, WorldTime};
use crate::workload::Workload;

/// What is looked up and not answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    asked: BTreeMap<NodeId, u64>,
    /// Questions for the state, or for what was given up, that are open.
    open: BTreeMap<(NodeId, Route), (GroupId, About)>,
    /// What must be answered before the run is over.
    last: BTreeMap<(NodeId, Route), (GroupId, Reading)>,
}

/// What a reader wants.
#[derive(Clone, Debug)]
enum Reading {
    /// An entry of the log.
    Entry(At),
    /// The state, as of now.
    State(Blob),
    /// Side effects that were given up, as of now.
    Dead,
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
        let ((node, _), (group, reading)) = self.last.first_key_value()?;
        Some(match reading {
            Reading::Entry(at) => format!("node {node} does not find {at} of group {group}"),
            Reading::State(_) | Reading::Dead => format!("node {node} does not answer for group {group}"),
        })
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
            let mut draw = key.draw(&[]);
            let at = self.place(index, applied.get() + 2, &mut draw);
            let room = if draw.coin() { 0 } else { draw.below(ROOM) as u32 };
            self.step_node(index, Input::LookUp { route, group, sought: Sought { at, room } });
            let questions = draw.below(QUESTIONS);
            for _ in 0..questions {
                let route = self.readers.route(node);
                let freshness = *draw.pick(&[
                    Freshness::Linearizable,
                    Freshness::Stale,
                    Freshness::Awaited { patience: PATIENCE },
                ]);
                if let Some(question) = self.question(group, &mut draw) {
                    self.ask_state((node, route), group, question, freshness);
                }
            }
        }
        let pause = LOOK_UP_NS.max(self.config.faults_ns / LOOKS_MAX);
        self.agenda.put(self.now.after(pause), Item::LookUp { machine: index });
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

    fn question(&self, group: GroupId, draw: &mut Draw) -> Option<Blob> {
        let init = self.config.groups.iter().find(|init| init.group == group)?;
        self.workload.question(init, draw)
    }

    /// Asks for the state of a replica that may be down.
    fn ask_state(
        &mut self,
        (node, route): (NodeId, Route),
        group: GroupId,
        body: Blob,
        freshness: Freshness,
    ) {
        let index = self.machine_of(node);
        if self.machines[index].process.is_none() {
            return;
        }
        let number = read_of(node, route);
        self.readers.open.insert((node, route), (group, About::State));
        self.judges.see(self.now, &Observed::Asked { node, read: number, group, body: &body, freshness });
        let query = Query { number, group, about: About::State, body, freshness };
        self.step_node(index, Input::Query { route, query });
    }

    /// Asks a replica, which may be down, for the side effects that were given up; on a route of its own, or the one of the last look.
    pub(super) fn ask_for_the_dead(
        &mut self,
        at: (NodeId, Option<Route>),
        group: GroupId,
        freshness: Freshness,
    ) {
        let (node, route) = at;
        let index = self.machine_of(node);
        if self.machines[index].process.is_none() {
            return;
        }
        let route = route.unwrap_or_else(|| self.readers.route(node));
        self.readers.open.insert((node, route), (group, About::Dead));
        let body = Blob::from(codec::encode(&DeadQuery::List { after: None }));
        let query = Query { number: read_of(node, route), group, about: About::Dead, body, freshness };
        self.step_node(index, Input::Query { route, query });
    }

    /// A question for the state was answered.
    pub(super) fn told(&mut self, node: NodeId, route: Route, answer: QueryAnswer) {
        let Some((group, about)) = self.readers.open.remove(&(node, route)) else {
            let what = format!("a question's answer goes to route {}, where nobody waits for one", route.0);
            self.judges.report(Violation::new("Addressed", what).at(node));
            return;
        };
        let QueryAnswer::State { op, body } = answer else { return };
        self.readers.last.remove(&(node, route));
        match about {
            About::State => {
                let told = Observed::Told { node, read: read_of(node, route), group, op, body: &body };
                self.judges.see(self.now, &told);
            }
            About::Dead => self.told_of_the_dead(node, group, op, &body),
        }
    }

    pub(super) fn applied(&self, node: NodeId, group: GroupId) -> Op {
        let process = self.machine(node).process.iter();
        let status = process.flat_map(|process| &process.status.groups).find(|status| status.group == group);
        status.map_or(Op::GENESIS, |status| status.applied)
    }

    /// From here on every replica has to find a few entries.
    pub(super) fn read_on_every_node(&mut self) {
        let config = std::sync::Arc::clone(&self.config);
        for init in &config.groups {
            for node in self.members(init) {
                if self.is_lost(node) {
                    continue;
                }
                let applied = self.applied(node, init.group);
                for _ in 0..LOOKS_LAST {
                    let route = self.readers.route(node);
                    let mut draw = self.randomness.draw(Purpose::Reader, node.get(), &[route.0]);
                    let at = self.place(self.machine_of(node), applied.get() + 1, &mut draw);
                    self.readers.last.insert((node, route), (init.group, Reading::Entry(at)));
                }
                let route = self.readers.route(node);
                let mut draw = self.randomness.draw(Purpose::Reader, node.get(), &[route.0]);
                if let Some(question) = self.workload.question(init, &mut draw) {
                    self.readers.last.insert((node, route), (init.group, Reading::State(question)));
                }
                let route = self.readers.route(node);
                self.readers.last.insert((node, route), (init.group, Reading::Dead));
            }
        }
        self.read_again();
    }

    /// Asks again for what was not found.
    pub(super) fn read_again(&mut self) {
        for ((node, route), (group, reading)) in self.readers.last.clone() {
            let index = self.machine_of(node);
            let process = &self.machines[index].process;
            if process.as_ref().is_none_or(|process| process.status.phase != Phase::Running) {
                continue;
            }
            match reading {
                Reading::Entry(at) => {
                    self.step_node(index, Input::LookUp { route, group, sought: at.into() });
                }
                Reading::State(_) | Reading::Dead if self.readers.open.contains_key(&(node, route)) => {}
                Reading::Dead => self.ask_for_the_dead((node, Some(route)), group, Freshness::Linearizable),
                Reading::State(question) => {
                    self.ask_state((node, route), group, question, Freshness::Linearizable);
                }
            }
        }
    }

    /// The process of a node has died, and its questions with it.
    pub(super) fn stop_waiting_for(&mut self, node: NodeId) {
        self.readers.open.retain(|(asked, _), _| *asked != node);
    }

    /// What is not readable yet is asked for again, unless nobody may have it any more.
    pub(super) fn found(&mut self, node: NodeId, route: Route, found: &Found) {
        let is_over = match found {
            Found::Unreadable => self.config.beyond_budget,
            Found::Refused => false,
            Found::Entries(_) | Found::Later | Found::Gone => true,
        };
        if is_over {
            self.readers.last.remove(&(node, route));
        }
    }
}

/// The number of a read, of all those of the run.
fn read_of(node: NodeId, route: Route) -> u64 {
    node.get() << 40 | route.0 & !READERS
}

/// A reader waits so long for news.
const PATIENCE: Nanos = Nanos::from_millis(300);
const READERS: u64 = 1 << 63;
/// Bytes that may come along with an entry: fewer than so many.
const ROOM: u64 = 64 << 10;
/// For the state, each time that a reader looks: fewer than so many.
const QUESTIONS: u64 = 3;
/// Between two looks while faults go on.
const LOOK_UP_NS: u64 = 700 * MILLISECOND;
/// Looks at each replica while faults go on, at most: a simulated day is to be about more than readers.
const LOOKS_MAX: u64 = 10_000;
/// Looks at the end, for each replica.
const LOOKS_LAST: usize = 4;

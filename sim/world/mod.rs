//! The world: a cluster of real nodes, their disks, clocks and links, and the clients, in one thread.
//!
//! ```text
//!  agenda -> World::step -> Node::step -> effects -> disk, net, clients -> agenda
//!                 |              |
//!               trace         oracles
//! ```
//!
//! One step takes one thing off the agenda. A world is cloned cheaply at any moment, and both copies go on alike. It
//! runs in two phases: faults after the plan, then a healed world that must converge.

mod agenda;
mod clients;
mod execution;
mod faults;
mod links;
mod loss;
mod machine;
mod members;
mod nodes;
mod operator;
mod readers;
mod rot;
mod rot_archive;
mod settle;
mod sinks;
mod workers;

use std::sync::Arc;

use bytes::Bytes;
use chronon_core::engine::{DiskOpId, FormatError, Identity, format};
use chronon_core::kernel::ChrApplication;
use chronon_core::node::{Effects, GroupStatus, Message, Reply, Request, Route};
use chronon_core::types::{GroupId, GroupInit, Hash, NodeId, View};

use agenda::Agenda;
use execution::Execution;
use loss::Losses;
use machine::Machine;
use members::Memberships;
use operator::Orders;
use readers::Readers;
use settle::Stage;
use sinks::{Coming, Going};
use workers::{WorkerStep, Workers};

use crate::client::{Note, Session};
use crate::config::{Asks, WorldConfig};
use crate::echo::Echoes;
use crate::marks::MarkCounts;
use crate::net::SimNet;
use crate::oracle::{Counts, Judges, Observed, Oracle, Violation};
use crate::random::{Purpose, Randomness};
use crate::sink::Sinks;
use crate::tally::Tally;
use crate::time::{MILLISECOND, WorldTime};
use crate::trace::{Entity, Trace};
use crate::workload::Workload;

/// A whole run, at one moment of it.
#[derive(Clone)]
pub struct World<A: ChrApplication, W> {
    config: Arc<WorldConfig>,
    nodes: Arc<[NodeId]>,
    application: A,
    workload: W,
    randomness: Randomness,
    now: WorldTime,
    steps: u64,
    steps_now: u32,
    agenda: Agenda<Item>,
    machines: Vec<Machine<A>>,
    net: SimNet,
    echoes: Echoes<Item>,
    sessions: Vec<Session>,
    session_timers: Vec<Option<WorldTime>>,
    operations: u64,
    judges: Judges,
    /// One a group.
    executions: Vec<Execution<A>>,
    /// One a group.
    memberships: Vec<Memberships>,
    /// When an epoch was entered last: who joins has a log to learn from then on.
    members_changed: WorldTime,
    /// Whether an operator sees to the group.
    operators: Vec<bool>,
    trace: Trace,
    tally: Tally,
    views: Vec<View>,
    stage: Stage,
    losses: Losses,
    readers: Readers,
    sinks: Sinks,
    workers: Workers,
    failure: Option<Failure>,
    // Buffers that steps reuse.
    effects: Effects,
    changed: Vec<GroupStatus>,
    notes: Vec<Note>,
}

/// What is going to happen. Small, for it is moved about; what is large lies in a box.
#[derive(Clone, Debug)]
enum Item {
    /// A node may be due.
    Timeout { machine: usize },
    /// A disk operation of a process is due.
    Disk { machine: usize, boot: u64, id: DiskOpId },
    /// A message between nodes arrives.
    Message { from: usize, to: usize, packet: Packet },
    /// A client's request arrives.
    Request { session: usize, to: usize, route: Route, request: Box<Request> },
    /// An answer arrives at a client.
    Reply { from: usize, session: usize, reply: Box<Reply> },
    /// A client may be due.
    Wake { session: usize },
    /// A process starts.
    Start { machine: usize },
    /// A fault of the plan begins.
    Fault(usize),
    /// It ends.
    FaultEnd(usize),
    /// An attempt at a side effect reaches its sink.
    Attempt(Box<Going>),
    /// Its end comes back.
    AttemptEnded(Box<Coming>),
    /// An operator sees to a group that stood still.
    Operator { group: usize },
    /// An operator activates what is not in force yet.
    Activation,
    /// An operator wants the next change of a group's members.
    Change { group: usize },
    /// An operator looks at the side effects of a group that were given up.
    DeadLook { group: usize, look: u64 },
    /// It has decided what becomes of them.
    Orders(Box<Orders>),
    /// Workers look for something to do.
    WorkerLooks { group: usize, look: u64 },
    /// A worker goes on.
    Worker(Box<WorkerStep>),
    /// Somebody looks an entry up.
    LookUp { machine: usize },
    /// The first phase ends.
    Heal,
    /// Has the healed world converged?
    Check,
}

/// A message as it travels.
#[derive(Clone, Debug)]
enum Packet {
    Value(Box<Message>),
    Bytes(Bytes),
}

/// Why a run failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// An invariant broke.
    Violation(Violation),
    /// A node stopped by itself.
    Halt {
        /// Which.
        node: NodeId,
        /// What it said.
        reason: String,
    },
    /// A node takes step after step and world time stands still.
    Spins {
        /// Which.
        node: NodeId,
    },
    /// The steps of the configuration are used up.
    OutOfSteps {
        /// How many there were.
        steps: u64,
    },
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// There is.
    GoesOn,
    /// The run is over: it converged, or [`World::failure`] says what went wrong.
    Over,
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// The world before its first step: formatted disks, processes about to start. `lines` asks for trace lines.
    ///
    /// # Errors
    /// [`FormatError`] when the configuration names a cluster that cannot be.
    pub fn new(
        config: WorldConfig,
        application: A,
        mut workload: W,
        oracles: Vec<Box<dyn Oracle>>,
        lines: bool,
    ) -> Result<Self, FormatError> {
        workload.begin(&config);
        let randomness = Randomness::new(config.seed, config.branch);
        let nodes = config.nodes.last().map_or(0, |node| node.get() as usize);
        let clients = config.asking.last().map_or(0, |asks| asks.client as usize);
        let net = SimNet::new(nodes, clients, config.net, randomness);
        let sinks = Sinks::new(config.sinks, randomness);
        let groups = config.groups.len();
        let trace = Trace::new(&config.nodes, &config.client_ids(), lines);
        let echoes = Echoes::new(&config.plan, randomness);
        let tally = Tally { beyond_budget: u64::from(config.beyond_budget), ..Tally::default() };
        let execution = |init| Execution::new(application.clone(), init);
        let executions = config.groups.iter().map(execution).collect();
        let memberships = config.groups.iter().map(Memberships::new).collect();
        let mut world = Self {
            nodes: config.nodes.iter().copied().collect(),
            config: Arc::new(config),
            application,
            workload,
            randomness,
            now: WorldTime::ZERO,
            steps: 0,
            steps_now: 0,
            agenda: Agenda::default(),
            machines: Vec::new(),
            net,
            echoes,
            sessions: Vec::new(),
            session_timers: Vec::new(),
            operations: 0,
            judges: Judges::new(oracles),
            executions,
            memberships,
            members_changed: WorldTime::ZERO,
            operators: vec![false; groups],
            trace,
            tally,
            views: vec![View::new(0); groups],
            losses: Losses::default(),
            readers: Readers::default(),
            sinks,
            workers: Workers::default(),
            stage: Stage::Faults,
            failure: None,
            effects: Vec::new(),
            changed: Vec::new(),
            notes: Vec::new(),
        };
        world.populate()?;
        Ok(world)
    }

    /// Takes one thing off the agenda.
    pub fn step(&mut self) -> Progress {
        if self.failure.is_some() || self.stage == Stage::Over {
            return Progress::Over;
        }
        let Some((at, item)) = self.agenda.pop() else { return Progress::Over };
        if at > self.now {
            self.now = at;
            self.steps_now = 0;
        }
        self.happen(item);
        if let Some(violation) = self.judges.first_found() {
            self.failure.get_or_insert(Failure::Violation(violation));
        }
        if self.steps >= self.config.steps_max {
            self.failure.get_or_insert(Failure::OutOfSteps { steps: self.steps });
        }
        if self.failure.is_some() { Progress::Over } else { Progress::GoesOn }
    }

    /// Steps until the run is over.
    pub fn run(&mut self) {
        while self.step() == Progress::GoesOn {}
    }

    /// Steps until the next thing happens at `end` or later, or the run is over.
    pub fn run_until(&mut self, end: WorldTime) {
        while self.agenda.next_at().is_some_and(|at| at < end) && self.step() == Progress::GoesOn {}
    }

    /// World time.
    pub fn now(&self) -> WorldTime {
        self.now
    }

    /// Steps of nodes so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What went wrong.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// What the run was made of.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The hash of everything that happened.
    pub fn trace_hash(&self) -> Hash {
        self.trace.hash()
    }

    /// The hash of what happened to each node and each client, and of what happened to the world as a whole.
    pub fn trace_parts(&self) -> Vec<(Entity, Hash)> {
        self.trace.parts()
    }

    /// The trace lines since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.trace.take_lines()
    }

    /// What there was of everything.
    pub fn tally(&self) -> Tally {
        let (lost, duplicated) = self.net.losses_and_duplicates();
        let mut tally = Tally { lost, duplicated, echoed: self.echoes.count(), ..self.tally.clone() };
        self.judges.tally(&mut tally);
        tally
    }

    /// How much the oracles compared.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.judges.count(&mut counts);
        self.executions.iter().for_each(|execution| execution.count(&mut counts));
        counts.add("ConfigEqualsLog", self.memberships.iter().map(|known| known.compared).sum());
        counts.add("Heals", u64::from(self.stage == Stage::Over));
        counts
    }

    /// The marks that its nodes passed.
    pub fn marks(&self) -> MarkCounts {
        let mut sum = MarkCounts::default();
        self.machines.iter().for_each(|machine| machine.add_marks(&mut sum));
        sum
    }

    fn populate(&mut self) -> Result<(), FormatError> {
        let config = Arc::clone(&self.config);
        let begin = Observed::Begin {
            nodes: &self.nodes,
            groups: &config.groups,
            limits: &config.limits,
            timeouts: &config.timeouts,
        };
        self.judges.see(self.now, &begin);
        if let Some(at) = self.workload.activates_at() {
            self.agenda.put(WorldTime::from_nanos(at), Item::Activation);
        }
        for (group, init) in config.groups.iter().enumerate() {
            if let Some(change) = config.changes_of(init.group).next() {
                self.agenda.put(change.at, Item::Change { group });
            }
            self.agenda.put(WorldTime::ZERO, Item::WorkerLooks { group, look: 0 });
        }
        if config.operator.every_ns > 0 {
            let first = WorldTime::from_nanos(config.operator.every_ns);
            (0..config.groups.len())
                .for_each(|group| self.agenda.put(first, Item::DeadLook { group, look: 0 }));
        }
        for node in config.nodes.iter().copied() {
            let own = config.hosted_by(node).count();
            config.engine.validate(own)?;
            self.machines.push(Machine::new(&config, node, self.randomness));
            let index = self.machines.len() - 1;
            self.format(index)?;
            let start = self.randomness.draw(Purpose::Config, node.get(), &[]).below(50 * MILLISECOND);
            self.agenda.put(WorldTime::from_nanos(start), Item::Start { machine: index });
            self.agenda.put(WorldTime::from_nanos(start), Item::LookUp { machine: index });
        }
        for asks in &config.asking {
            let Asks { client, group } = *asks;
            let Some(group) = self.group_index(group) else {
                panic!("client {client} asks group {group}, which does not exist")
            };
            let init = &config.groups[group];
            let hosts = config.hosts(init);
            self.sessions.push(Session::new(client, (group, init), hosts, &config.clients, self.randomness));
            self.session_timers.push(None);
            self.schedule_session(self.sessions.len() - 1);
        }
        for (index, fault) in config.plan.iter().enumerate() {
            self.agenda.put(fault.at, Item::Fault(index));
        }
        self.agenda.put(WorldTime::from_nanos(config.faults_ns), Item::Heal);
        Ok(())
    }

    /// Makes an empty disk the data directory of its node.
    fn format(&mut self, index: usize) -> Result<(), FormatError> {
        let config = Arc::clone(&self.config);
        let node = self.machines[index].node;
        let groups: Vec<GroupInit> = config.hosted_by(node).cloned().collect();
        let identity = Identity { cluster: config.groups[0].cluster, node, groups };
        for op in format(&identity)? {
            self.judges.see(self.now, &Observed::DiskSubmitted { node, op: &op });
            let id = op.id();
            let disk = &mut self.machines[index].disk;
            disk.submit(self.now, op);
            if let Some(done) = disk.complete(id) {
                self.judges.see(self.now, &Observed::DiskCompleted { node, done: &done });
            }
        }
        Ok(())
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Timeout { machine } => self.timeout(machine),
            Item::Disk { machine, boot, id } => self.disk_due(machine, boot, id),
            Item::Message { from, to, packet } => self.message_arrives(from, to, packet),
            Item::Request { session, to, route, request } => {
                self.request_arrives(session, to, route, *request)
            }
            Item::Reply { from, session, reply } => self.reply_arrives(from, session, *reply),
            Item::Wake { session } => self.session_timer(session),
            Item::Start { machine } => self.start(machine),
            Item::Fault(index) => self.fault_begins(index),
            Item::FaultEnd(index) => self.fault_ends(index),
            Item::Attempt(going) => self.attempt_arrives(*going),
            Item::AttemptEnded(coming) => self.attempt_ended(*coming),
            Item::Operator { group } => self.see_to_group(group),
            Item::Activation => self.activate(),
            Item::Change { group } => self.change_members(group),
            Item::DeadLook { group, look } => self.look_at_the_dead(group, look),
            Item::Orders(orders) => self.order(&orders),
            Item::WorkerLooks { group, look } => self.worker_looks(group, look),
            Item::Worker(step) => self.worker_steps(*step),
            Item::LookUp { machine } => self.look_up_now_and_then(machine),
            Item::Heal => self.heal(),
            Item::Check => self.check(),
        }
    }

    /// The machine of a node of the configuration.
    fn machine_of(&self, node: NodeId) -> usize {
        self.nodes.binary_search(&node).unwrap_or_else(|_| panic!("node {node} does not exist"))
    }

    fn machine(&self, node: NodeId) -> &Machine<A> {
        &self.machines[self.machine_of(node)]
    }

    fn machine_mut(&mut self, node: NodeId) -> &mut Machine<A> {
        let index = self.machine_of(node);
        &mut self.machines[index]
    }

    fn group_index(&self, group: GroupId) -> Option<usize> {
        self.config.groups.binary_search_by_key(&group, |init| init.group).ok()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_activation;
#[cfg(test)]
mod tests_execution;
#[cfg(test)]
mod tests_keyed;

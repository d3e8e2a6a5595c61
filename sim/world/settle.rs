//! The second phase: no faults any more, and the world must converge within a bound.
//!
//! ```text
//! heal -> clients go on until enough is acknowledged -> they finish, and ask for their last answer once more
//!      -> a fresh request a group -> replicas are equal
//! ```

use std::fmt::Write;
use std::sync::Arc;

use chronon_core::kernel::{ChrApplication, EventPlace};
use chronon_core::node::{GroupStatus, Phase, Role};
use chronon_core::types::{GroupInit, NodeId, Quorums};

use super::{Item, World};
use crate::config::Asks;
use crate::oracle::{Observed, Stall, Violation};
use crate::random::Purpose;
use crate::time::{MILLISECOND, WorldTime};
use crate::trace::Entity;
use crate::workload::Workload;

/// How far a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The plan is being carried out.
    Faults,
    /// All faults are over, and clients go on.
    GoingOn,
    /// Clients finish what is open.
    WindingDown,
    /// Each group is asked something fresh.
    Probing,
    /// Replicas become equal.
    Converging,
    /// They are, and find what is looked up.
    Reading,
    /// They have.
    Over,
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    pub(super) fn heal(&mut self) {
        self.trace.note(self.now, Entity::World, "heal", [0, 0], "");
        self.net.heal();
        self.echoes.heal();
        self.sinks.heal();
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            machine.live_on();
            machine.stalled_until = WorldTime::ZERO;
            machine.disk.fill(None);
            machine.clock.set_right(self.now);
            if machine.process.is_none() {
                let soon =
                    self.randomness.draw(Purpose::Config, machine.node.get(), &[1]).below(100 * MILLISECOND);
                self.agenda.put(self.now.after(soon), Item::Start { machine: index });
            }
            self.release_disk(index);
            self.resume(index);
        }
        self.judges.see(self.now, &Observed::Healed);
        self.stage = Stage::GoingOn;
        self.check();
    }

    pub(super) fn check(&mut self) {
        let idle = self.sessions.iter().all(|session| session.is_stopped());
        match self.stage {
            Stage::GoingOn if self.tally.committed >= self.config.operations_min => self.wind_down(),
            Stage::WindingDown if idle => self.probe(),
            Stage::Probing if idle => self.stage = Stage::Converging,
            Stage::Converging if self.has_converged() => {
                if self.has_halted_nodes() {
                    self.finish_stalled(&[]);
                    return;
                }
                self.stage = Stage::Reading;
                self.read_on_every_node();
            }
            Stage::Reading if self.readers.are_done() => {
                self.finish();
                return;
            }
            Stage::Reading => self.read_again(),
            _ => {}
        }
        let quiet_since = self.members_changed.as_nanos().max(self.config.faults_ns);
        if self.now.as_nanos() > quiet_since + self.config.heal_ns {
            if let Some(stalls) = self.excuses() {
                self.finish_stalled(&stalls);
                return;
            }
            let what = format!(
                "no progress {} s after all faults and changes ended: {}",
                self.config.heal_ns / 1_000_000_000,
                self.cause()
            );
            self.judges.report(Violation::new("Heals", what));
        }
        self.agenda.put(self.now.after(CHECK_NS), Item::Check);
    }

    fn wind_down(&mut self) {
        self.stage = Stage::WindingDown;
        for index in 0..self.sessions.len() {
            self.sessions[index].wind_down(self.now);
            self.schedule_session(index);
        }
    }

    /// The first client of each group begins again under a new name.
    fn probe(&mut self) {
        self.stage = Stage::Probing;
        for group in 0..self.config.groups.len() {
            let Some(index) = self.sessions.iter().position(|session| session.group == group) else {
                continue;
            };
            self.sessions[index].probe(self.now);
            self.schedule_session(index);
        }
    }

    fn finish(&mut self) {
        let config = Arc::clone(&self.config);
        let mut found = Vec::new();
        for (init, execution) in config.groups.iter().zip(&self.executions) {
            for voter in self.members(init).into_iter().filter(|voter| !self.is_lost(*voter)) {
                let Some(process) = &self.machine(voter).process else { continue };
                let Some(state) = process.node.state(init.group) else { continue };
                let applied = process.node.group_status(init.group).map(|status| status.applied);
                found.extend(applied.and_then(|applied| execution.end(voter, applied, state)));
                if let Err(what) = self.workload.converged(init, &self.application, state) {
                    found.push(Violation::new("Workload", what).at(voter).of(init.group));
                }
            }
        }
        for (known, execution) in self.memberships.iter_mut().zip(&self.executions) {
            let group = execution.group();
            let differs = known.end(execution.memberships());
            found.extend(differs.map(|what| Violation::new("ConfigEqualsLog", what).of(group)));
        }
        found.into_iter().for_each(|violation| self.judges.report(violation));
        self.trace.note(self.now, Entity::World, "end", [self.steps, self.operations], "converged");
        self.judges.see(self.now, &Observed::End);
        self.stage = Stage::Over;
    }

    /// More rotted than the design survives, and the run ends where it is.
    fn finish_stalled(&mut self, stalls: &[Stall]) {
        self.tally.stalled += 1;
        let line = format_args!("{stalls:?}");
        self.trace.note(self.now, Entity::World, "stalled", [self.steps, stalls.len() as u64], line);
        let halted: Vec<NodeId> = self.nodes.iter().copied().filter(|node| self.has_halted(*node)).collect();
        self.judges.see(self.now, &Observed::Stalled { stalls, halted: &halted });
        self.stage = Stage::Over;
    }

    /// Why a run beyond its fault budget may stand still: each group that does names an entry that it lacks, or has lost
    /// its quorum to nodes that halted. `None` when something has no such excuse.
    fn excuses(&self) -> Option<Vec<Stall>> {
        let mut stalls = Vec::new();
        for init in self.config.groups.iter().filter(|init| self.difference(init).is_some()) {
            // Without a quorum nothing goes on, whatever is missing beside it.
            if self.has_lost_quorum(init) {
                continue;
            }
            let members = self.members(init);
            let statuses = members.iter().filter_map(|member| self.replica(init, *member).ok());
            let missing = statuses.filter_map(|status| status.missing).min();
            stalls.push(Stall { group: init.group, op: missing? });
        }
        self.config.beyond_budget.then_some(stalls)
    }

    fn has_lost_quorum(&self, init: &GroupInit) -> bool {
        let voters = &self.membership(init).voters;
        let halted = voters.iter().filter(|voter| self.has_halted(**voter) || self.is_lost(**voter)).count();
        let voters = voters.len();
        halted > voters - Quorums::of(voters).replication() as usize
    }

    pub(super) fn has_halted(&self, node: NodeId) -> bool {
        self.machine(node).process.as_ref().is_some_and(|process| process.status.phase == Phase::Halted)
    }

    fn has_halted_nodes(&self) -> bool {
        self.nodes.iter().any(|node| self.has_halted(*node))
    }

    fn has_converged(&self) -> bool {
        self.config.groups.iter().all(|init| self.difference(init).is_none())
    }

    /// What keeps the replicas of a group from being equal.
    fn difference(&self, init: &GroupInit) -> Option<String> {
        let mut first: Option<(NodeId, GroupStatus)> = None;
        let mut primaries = 0;
        if self.has_lost_quorum(init) {
            return Some("quorum: its nodes have halted".to_owned());
        }
        // Within the budget a halt ends the run: beyond it the others go on.
        if let Some(wanted) = self.wanted_change(init.group) {
            return Some(wanted);
        }
        let members = self.members(init);
        for voter in members.iter().filter(|member| !self.has_halted(**member)) {
            if self.is_lost(*voter) {
                if self.is_mute(*voter) {
                    continue;
                }
                return Some(format!("node {voter} has not learned that its disk is not what it was"));
            }
            let status = match self.replica(init, *voter) {
                Ok(status) => status,
                Err(what) => return Some(what),
            };
            primaries += u32::from(status.role == Role::Primary);
            if matches!(status.role, Role::ViewChange | Role::Outside) {
                return Some(format!("quorum: node {voter} is still changing to view {}", status.view));
            }
            if let Some(EventPlace { op, index }) = status.halted {
                return Some(format!("skip: node {voter} stands still at event {index} of op {op}"));
            }
            if status.side_effects > 0 {
                let count = status.side_effects;
                let at = short(&status);
                return Some(format!("sink: {count} side effects have not ended on node {voter}, at {at}"));
            }
            let Some(first) = first else {
                first = Some((*voter, status));
                continue;
            };
            let own = (status.view, status.log_view, status.commit, status.head, status.applied);
            let (_, other) = first;
            if own != (other.view, other.log_view, other.commit, other.head, other.applied) {
                let theirs = short(&other);
                return Some(format!(
                    "entry: node {voter} is at {}, node {} at {theirs}",
                    short(&status),
                    first.0
                ));
            }
            if status.applied_digest != other.applied_digest {
                return Some(format!(
                    "state: node {voter} and node {} differ at {}",
                    first.0,
                    short(&status)
                ));
            }
        }
        (primaries != 1).then(|| format!("quorum: {primaries} nodes lead"))
    }

    fn replica(&self, init: &GroupInit, node: NodeId) -> Result<GroupStatus, String> {
        let Some(process) = &self.machine(node).process else {
            return Err(format!("quorum: node {node} is down"));
        };
        match process.status.phase {
            Phase::Running => {}
            Phase::Recovering => return Err(format!("quorum: node {node} is still recovering")),
            Phase::Halted => return Err(format!("quorum: node {node} has halted")),
        }
        let found = process.status.groups.iter().find(|status| status.group == init.group);
        found.copied().ok_or_else(|| format!("quorum: node {node} does not show the group"))
    }

    /// What is missing, for people.
    fn cause(&self) -> String {
        let mut cause = String::new();
        for init in &self.config.groups {
            if let Some(what) = self.difference(init) {
                let _ = write!(cause, "group {}: {what}; ", init.group);
            }
            let lacks_clock = |node: &&NodeId| {
                let process = self.machine(**node).process.as_ref();
                let status = process.and_then(|process| process.node.group_status(init.group));
                status.is_some_and(|status| status.lacks_clock)
            };
            if let Some(node) = self.membership(init).voters.iter().find(lacks_clock) {
                let _ = write!(
                    cause,
                    "group {}: node {node} knows of no majority of clocks that agree; ",
                    init.group
                );
            }
        }
        for session in &self.sessions {
            if let Some((number, attempts)) = session.waits_for() {
                let Asks { client, group } = session.asks;
                let _ = write!(
                    cause,
                    "client {client} waits for request {number} in group {group}, sent {attempts} times; "
                );
            }
        }
        if let Some(what) = self.readers.waits_for() {
            let _ = write!(cause, "{what}; ");
        }
        let _ = write!(cause, "stage {:?}", self.stage);
        cause
    }
}

fn short(status: &GroupStatus) -> String {
    let GroupStatus { view, log_view, commit, head, applied, .. } = status;
    format!("view {view} log view {log_view} commit {commit} head {head} applied {applied}")
}

/// Between two looks at the healed world.
const CHECK_NS: u64 = 20 * MILLISECOND;

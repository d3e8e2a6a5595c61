//! The story of a run: who died, who led, what was acknowledged, in order. An oracle that judges nothing and tells.

use std::collections::BTreeMap;
use std::sync::mpsc;

use chronon_core::node::{Answer, Effect, GroupStatus, Role, Route};
use chronon_core::types::{GroupId, NodeId, Op};

use crate::client::Session;
use crate::oracle::{Counts, Observed, Oracle, Violation};
use crate::sink::Verdict;
use crate::time::WorldTime;

/// Something worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// When.
    pub at: WorldTime,
    /// In which group; none when it concerns all.
    pub group: Option<GroupId>,
    /// What, in words.
    pub what: String,
}

/// Tells what happens as it happens.
#[derive(Clone, Debug)]
pub(super) struct Narrator {
    listener: mpsc::Sender<Told>,
    replicas: BTreeMap<(GroupId, NodeId), GroupStatus>,
    /// Acknowledged since something was told of the group, and the last op of them.
    acknowledged: BTreeMap<GroupId, (u64, Op)>,
}

impl Narrator {
    pub(super) fn new(listener: mpsc::Sender<Told>) -> Self {
        Self { listener, replicas: BTreeMap::new(), acknowledged: BTreeMap::new() }
    }

    fn tell(&mut self, at: WorldTime, group: Option<GroupId>, what: String) {
        match group {
            Some(group) => self.tell_acknowledged(at, group),
            None => {
                let groups: Vec<GroupId> = self.acknowledged.keys().copied().collect();
                groups.into_iter().for_each(|group| self.tell_acknowledged(at, group));
            }
        }
        self.pass(Told { at, group, what });
    }

    /// Before something else is told: what went well meanwhile.
    fn tell_acknowledged(&mut self, at: WorldTime, group: GroupId) {
        if let Some((count, op)) = self.acknowledged.remove(&group) {
            let what = format!("{count} requests have been acknowledged in group {group}, up to op {op}");
            self.pass(Told { at, group: Some(group), what });
        }
    }

    fn pass(&self, told: Told) {
        // Whoever listened may have heard enough.
        let _ = self.listener.send(told);
    }

    fn step(&mut self, at: WorldTime, node: NodeId, changed: &[GroupStatus], effects: &[Effect]) {
        for status in changed {
            let before = self.replicas.insert((status.group, node), *status);
            if let Some(what) = change(node, before.as_ref(), status) {
                self.tell(at, Some(status.group), what);
            }
        }
        for effect in effects {
            if let Effect::Halt(reason) = effect {
                self.tell(at, None, format!("node {node} halts: {reason}"));
            }
        }
    }
}

/// A change of role or view, or a log that became shorter, in words.
fn change(node: NodeId, before: Option<&GroupStatus>, status: &GroupStatus) -> Option<String> {
    let GroupStatus { group, role, view, head, commit, .. } = status;
    let log = format!("its log ends at op {head}, committed up to op {commit}");
    let moved = before.is_none_or(|before| (before.role, before.view) != (*role, *view));
    if moved {
        return Some(match role {
            Role::Primary => format!("node {node} leads view {view} of group {group}; {log}"),
            Role::Backup => format!("node {node} follows view {view} of group {group}; {log}"),
            Role::Learner => {
                format!("node {node} follows view {view} of group {group} without a vote; {log}")
            }
            Role::Outside => format!("node {node} is no member of group {group} in view {view}; {log}"),
            Role::ViewChange => match before {
                Some(before) if before.view == *view => {
                    format!("node {node} takes no more part in view {view} of group {group}; {log}")
                }
                Some(before) => {
                    format!("node {node} leaves view {} of group {group} for view {view}; {log}", before.view)
                }
                None => {
                    format!("node {node} comes up within a change to view {view} of group {group}; {log}")
                }
            },
        });
    }
    let before = before.filter(|before| before.head > *head)?;
    Some(format!("node {node} cuts its log of group {group} from op {} to op {head}", before.head))
}

impl Oracle for Narrator {
    fn observe(&mut self, at: WorldTime, seen: &Observed<'_>, _found: &mut Vec<Violation>) {
        match seen {
            Observed::Start { node, boot: 1 } => self.tell(at, None, format!("node {node} starts")),
            Observed::Start { node, .. } => {
                self.tell(at, None, format!("node {node} starts on what its disk kept"))
            }
            Observed::Crash { node, .. } => {
                self.replicas.retain(|(_, other), _| other != node);
                self.tell(at, None, format!("node {node} dies"));
            }
            Observed::DiskLost { node } => {
                self.tell(at, None, format!("the disk of node {node} is not what it was any more"));
            }
            Observed::Rot { node, harmed, .. } => {
                self.tell(at, None, format!("{} bytes of the journal of node {node} rot", harmed.len()));
            }
            Observed::Step { node, changed, effects, .. } => self.step(at, *node, changed, effects),
            Observed::Return { group, answer: Answer::Committed { op, .. }, .. } => {
                let acknowledged = self.acknowledged.entry(*group).or_default();
                *acknowledged = (acknowledged.0 + 1, acknowledged.1.max(*op));
            }
            Observed::Abandoned { process, operation } => {
                let client = Session::asks_on(Route(*process)).client;
                self.tell(
                    at,
                    None,
                    format!(
                        "client {client} gives operation {operation} up: it may or may not have happened"
                    ),
                );
            }
            Observed::Epoch { node, group, membership, .. } => {
                let ids =
                    |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let (voters, learners) = (ids(&membership.voters), ids(&membership.learners));
                let learners =
                    if learners.is_empty() { String::new() } else { format!(", learners {learners}") };
                let what = format!(
                    "node {node} is the first in epoch {} of group {group}: voters {voters}{learners}",
                    membership.epoch
                );
                self.tell(at, Some(*group), what);
            }
            Observed::Healed => self.tell(at, None, "all faults are over".to_owned()),
            Observed::Stalled { .. } => {
                self.tell(at, None, "what rotted cannot be repaired, and the run ends".to_owned());
            }
            Observed::End => self.tell(at, None, "the replicas are equal, and the run ends".to_owned()),
            Observed::Executed { group, attempt, verdict: Verdict::TookEffect, .. } => {
                let place = attempt.place;
                self.tell(at, Some(*group), format!("the side effect of op {} takes effect", place.op));
            }
            Observed::Begin { .. }
            | Observed::Executed { .. }
            | Observed::Applied { .. }
            | Observed::ToldOfTheDead { .. }
            | Observed::Recorded { .. }
            | Observed::Input { .. }
            | Observed::DiskSubmitted { .. }
            | Observed::DiskCompleted { .. }
            | Observed::Invoke { .. }
            | Observed::Asked { .. }
            | Observed::Told { .. }
            | Observed::Return { .. }
            | Observed::Repeated { .. } => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &[]
    }

    fn count(&self, _counts: &mut Counts) {}

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

//! What a node tells about itself: to `chronon status`, to HTTP, to tests.

use std::sync::{Arc, Mutex, PoisonError};

use chronon_core::codec::wire::{DecodeDerive, EncodeDerive};
use chronon_core::engine::Amnesia;
use chronon_core::kernel::{ChrApplication, Halt};
use chronon_core::node::{GroupStatus, Node, Phase, Role};
use chronon_core::types::{CommitIndex, GroupId, Marks, Membership, NodeId, Op};
use serde::Serialize;

use super::protocol::Greeting;

/// A node from outside, with its links.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct StatusReport {
    /// The cluster, in hex.
    pub cluster: String,
    /// The node.
    pub node: u64,
    /// `recovering`, `running` or `halted`.
    pub phase: String,
    /// How many times it has started.
    pub incarnation: u64,
    /// Whether it recovered, sees a majority, and every group has a primary.
    pub ready: bool,
    /// No space is left on its disk: its primaries take no new commands.
    pub full: bool,
    /// Why it says nothing any more: its disk is not what a peer knows that it was.
    pub amnesia: Option<String>,
    /// Its replicas.
    pub groups: Vec<GroupReport>,
    /// Groups that take no part here, for their snapshot is lost: one of a peer is being fetched.
    pub waiting: Vec<WaitingReport>,
    /// Voters that are to fetch a snapshot: this node has let go of entries that they lack, for its journal had become too long.
    pub left_behind: Vec<LeftBehindReport>,
    /// Its links.
    pub peers: Vec<PeerReport>,
    /// What its gateway posts to.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint of a topic, as the node sees it that posts there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct EndpointReport {
    /// The topic.
    pub topic: String,
    /// The endpoint.
    pub endpoint: String,
    /// Whether it is left alone.
    pub breaker: BreakerReport,
    /// Failures since the target answered last.
    pub failures: u32,
}

/// Whether an endpoint is left alone; what is worse comes later.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
#[serde(rename_all = "snake_case")]
pub enum BreakerReport {
    /// It is posted to.
    Closed,
    /// One event is posted to see.
    HalfOpen,
    /// Nothing is posted, for so long.
    Open {
        /// Milliseconds.
        ms: u64,
    },
}

/// A replica from outside.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct GroupReport {
    /// The group.
    pub group: u32,
    /// `primary`, `backup`, `learner`, `outside` or `view-change`.
    pub role: String,
    /// Who leads its view, once that has started here.
    pub primary: Option<u64>,
    /// Counts the changes of its members.
    pub epoch: u32,
    /// Who its members are, voters first, as far as the node knows.
    pub members: Vec<MemberReport>,
    /// Its view.
    pub view: u64,
    /// The view whose log it holds.
    pub log_view: u64,
    /// The highest op it knows to be committed; none when it knows nothing yet.
    pub commit: Option<u64>,
    /// The highest op of its log.
    pub head: u64,
    /// The highest op it has applied.
    pub applied: u64,
    /// A snapshot on its disk covers it up to here.
    pub saved: u64,
    /// Its archive reaches up to here; zero while there is none.
    pub archived: u64,
    /// It keeps too much of the journal, and takes no new commands until that is less.
    pub keeps_too_much: bool,
    /// No majority of its voters' clocks agrees, as far as the node knows: it takes no new commands.
    pub lacks_clock: bool,
    /// The behaviour of its application that is in force.
    pub schema: u32,
    /// Side effects that have not ended.
    pub side_effects: u64,
    /// The op that emitted the oldest of them.
    pub oldest_side_effect: Option<u64>,
    /// Side effects that were given up and wait for an operator: `chronon effect list` names them.
    pub dead: u64,
    /// The op that it waits for before it can apply more, if its payload is not here: it is asked of peers.
    pub missing: Option<u64>,
    /// The event that the application cannot execute, if the group stands still here.
    pub halted: Option<HaltReport>,
    /// Hash over all that was applied, in hex.
    pub digest: String,
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct MemberReport {
    /// The node.
    pub node: u64,
    /// Whether it votes; a learner does not.
    pub votes: bool,
    /// Where the others find it, if it came later than the group.
    pub address: Option<String>,
    /// Up to where its log is known to be durable there; told by the primary alone.
    pub acknowledged: Option<u64>,
}

/// Where a group stands still, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct HaltReport {
    /// The entry.
    pub op: u64,
    /// Which of its events, from 0.
    pub index: u32,
    /// Whether an operator may have the event skipped.
    pub skippable: bool,
    /// What is wrong.
    pub what: String,
}

/// A group whose snapshot is lost here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct WaitingReport {
    /// The group.
    pub group: u32,
    /// The snapshot that comes must cover it at least so far.
    pub at_least: u64,
}

/// A voter that lags too far behind.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct LeftBehindReport {
    /// The group.
    pub group: u32,
    /// The voter.
    pub node: u64,
}

/// A link from outside.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct PeerReport {
    /// The other node.
    pub node: u64,
    /// Whether there is a connection to it.
    pub linked: bool,
}

impl StatusReport {
    /// Puts together what node and links say.
    pub(super) fn of<A: ChrApplication, M: Marks>(
        Greeting { cluster, node: id }: Greeting,
        node: &Node<A, M>,
        linked: impl Iterator<Item = (NodeId, bool)>,
    ) -> Self {
        let status = node.status();
        let peers: Vec<PeerReport> =
            linked.map(|(peer, linked)| PeerReport { node: peer.get(), linked }).collect();
        // This node counts on both sides of the comparison.
        let majority = 2 * (1 + peers.iter().filter(|peer| peer.linked).count()) > 1 + peers.len();
        let led = status.waiting.is_empty() && status.groups.iter().all(has_primary);
        let waiting = status.waiting.iter();
        let waiting = waiting.map(|(group, op)| WaitingReport { group: group.get(), at_least: op.get() });
        let left_behind = status.left_behind.iter();
        let left_behind =
            left_behind.map(|(group, node)| LeftBehindReport { group: group.get(), node: node.get() });
        Self {
            cluster: format!("{:032x}", cluster.get()),
            node: id.get(),
            phase: phase(status.phase).to_owned(),
            incarnation: status.incarnation.get(),
            full: status.full,
            ready: status.phase == Phase::Running && majority && led && status.amnesia.is_none(),
            amnesia: status.amnesia.as_ref().map(amnesia),
            groups: status.groups.iter().map(|group| GroupReport::of(group, node, &status.halted)).collect(),
            waiting: waiting.collect(),
            left_behind: left_behind.collect(),
            peers,
            endpoints: Vec::new(),
        }
    }
}

fn amnesia(Amnesia { by, what }: &Amnesia) -> String {
    format!(
        "this disk is not the one that node {by} knows: {what}. A disk that was wiped or put back has forgotten what its \
         node promised, so this node says nothing; it must come back under another id"
    )
}

impl StatusReport {
    /// Logs what an operator would want to know of the way from `before` to here.
    pub(super) fn tell_changes_since(&self, before: &Self) {
        if self.phase != before.phase {
            tracing::info!(
                phase = self.phase,
                incarnation = self.incarnation,
                "the node has changed its phase"
            );
        }
        if self.ready != before.ready {
            tracing::info!(ready = self.ready, "readiness has changed");
        }
        if self.full != before.full && self.full {
            tracing::warn!(
                "no space is left on the disk: new commands are refused, what was accepted goes on"
            );
        } else if self.full != before.full {
            tracing::info!("there is space on the disk again");
        }
        if let (Some(amnesia), None) = (&self.amnesia, &before.amnesia) {
            tracing::error!("{amnesia}");
        }
        for WaitingReport { group, at_least } in &self.waiting {
            if !before.waiting.iter().any(|other| other.group == *group) {
                tracing::warn!(
                    group,
                    at_least,
                    "the group's snapshot is lost here, and is fetched from a peer"
                );
            }
        }
        for WaitingReport { group, .. } in &before.waiting {
            if !self.waiting.iter().any(|other| other.group == *group) {
                tracing::info!(group, "the group has a snapshot again, and takes part");
            }
        }
        for left_behind @ LeftBehindReport { group, node } in &self.left_behind {
            if !before.left_behind.contains(left_behind) {
                tracing::warn!(
                    group,
                    node,
                    "the journal was too long to wait for this voter: it is to fetch a snapshot"
                );
            }
        }
        for group in &self.groups {
            let seen = before.groups.iter().find(|other| other.group == group.group);
            if seen.is_none_or(|seen| (&seen.role, seen.view) != (&group.role, group.view)) {
                tracing::info!(
                    group = group.group,
                    role = group.role,
                    view = group.view,
                    "the replica has changed its role"
                );
            }
            let was_halted = seen.and_then(|seen| seen.halted.as_ref());
            match &group.halted {
                Some(halt) if was_halted != Some(halt) => tracing::error!(
                    group = group.group,
                    op = halt.op,
                    event = halt.index,
                    "the group stands still here: {}",
                    halt.what
                ),
                None if was_halted.is_some() => tracing::info!(group = group.group, "the group goes on"),
                Some(_) | None => {}
            }
            if group.keeps_too_much && seen.is_none_or(|seen| !seen.keeps_too_much) {
                tracing::warn!(
                    group = group.group,
                    "the group keeps too much of the journal, and takes no new commands"
                );
            }
            if group.lacks_clock && seen.is_some_and(|seen| !seen.lacks_clock) {
                tracing::warn!(
                    group = group.group,
                    "no majority of the voters' clocks agrees, or too few are heard: the group can take no commands"
                );
            }
            if let Some(op) = group.missing.filter(|op| seen.is_none_or(|seen| seen.missing != Some(*op))) {
                tracing::warn!(
                    group = group.group,
                    op,
                    "an entry is not here, and is asked of the other voters"
                );
            }
        }
    }
}

impl GroupReport {
    fn of<A: ChrApplication, M: Marks>(
        status: &GroupStatus,
        node: &Node<A, M>,
        halted: &[(GroupId, Halt)],
    ) -> Self {
        let membership = node.membership(status.group);
        let halted = halted.iter().find(|(group, _)| *group == status.group);
        Self {
            group: status.group.get(),
            role: role(status.role).to_owned(),
            primary: membership
                .filter(|_| has_primary(status))
                .map(|known| known.primary_of(status.view).get()),
            epoch: membership.map_or(0, |membership| membership.epoch.get()),
            members: membership.map(|known| members(status.group, known, node)).unwrap_or_default(),
            view: status.view.get(),
            log_view: status.log_view.get(),
            commit: match status.commit {
                CommitIndex::None => None,
                CommitIndex::At(op) => Some(op.get()),
            },
            head: status.head.get(),
            applied: status.applied.get(),
            saved: status.saved.get(),
            archived: status.archived.get(),
            keeps_too_much: status.keeps_too_much,
            lacks_clock: status.lacks_clock,
            schema: status.schema.0,
            side_effects: status.side_effects,
            oldest_side_effect: status.oldest_side_effect.map(Op::get),
            dead: status.dead,
            missing: status.missing.map(Op::get),
            halted: halted.map(|(_, halt)| HaltReport {
                op: halt.place.op.get(),
                index: halt.place.index,
                skippable: halt.skippable,
                what: halt.what.clone(),
            }),
            digest: hex(status.applied_digest.as_bytes()),
        }
    }
}

fn members<A: ChrApplication, M: Marks>(
    group: GroupId,
    membership: &Membership,
    node: &Node<A, M>,
) -> Vec<MemberReport> {
    let report = |member: NodeId| MemberReport {
        node: member.get(),
        votes: membership.voters.contains(&member),
        address: membership.addresses.iter().find(|(of, _)| *of == member).map(|(_, at)| at.clone()),
        acknowledged: node.acknowledged(group, member).map(Op::get),
    };
    membership.members().map(report).collect()
}

/// The latest report, for those who may not ask the node's thread.
#[derive(Clone, Debug, Default)]
pub struct StatusCell {
    report: Arc<Mutex<StatusReport>>,
    endpoints: Arc<Mutex<Vec<EndpointReport>>>,
}

impl StatusCell {
    /// Whether the node leads a group.
    pub fn leads(&self, group: GroupId) -> bool {
        self.get().groups.iter().any(|report| report.group == group.get() && report.role == "primary")
    }

    /// The latest report.
    pub fn get(&self) -> StatusReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the gateway posts to.
    pub(super) fn endpoints(&self) -> Vec<EndpointReport> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The gateway tells what it posts to.
    pub(crate) fn set_endpoints(&self, endpoints: Vec<EndpointReport>) {
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    /// Replaces the report.
    pub(super) fn set(&self, report: StatusReport) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

fn has_primary(group: &GroupStatus) -> bool {
    match group.role {
        Role::Primary | Role::Backup | Role::Learner => group.view == group.log_view,
        Role::Outside | Role::ViewChange => false,
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Recovering => "recovering",
        Phase::Running => "running",
        Phase::Halted => "halted",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Backup => "backup",
        Role::Learner => "learner",
        Role::Outside => "outside",
        Role::ViewChange => "view-change",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

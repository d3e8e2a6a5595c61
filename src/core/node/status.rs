//! What a node tells an operator, and an oracle, about itself.

use alloc::vec::Vec;

use crate::engine::Amnesia;
use crate::kernel::Schema;
use crate::kernel::{EventPlace, Halt};
use crate::types::{CommitIndex, GroupId, Hash, Incarnation, NodeId, Op, View};

/// A node from outside.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeStatus {
    /// How far it is.
    pub phase: Phase,
    /// How many times it has started; 0 until its manifest was read.
    pub incarnation: Incarnation,
    /// No space is left on its disk: its primaries take no new commands.
    pub full: bool,
    /// Its replicas, ascending by group; empty until it runs.
    pub groups: Vec<GroupStatus>,
    /// Groups that take no part, for their snapshot is lost: one that goes at least so far is to come from a peer.
    pub waiting: Vec<(GroupId, Op)>,
    /// Voters that lack entries which this node has let go of, as far as it knows: they are to fetch a snapshot.
    pub left_behind: Vec<(GroupId, NodeId)>,
    /// Groups that stand still here, and why.
    pub halted: Vec<(GroupId, Halt)>,
    /// Its disk is not what a peer knows that it was: the node says nothing, and must come back under another id.
    pub amnesia: Option<Amnesia>,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    /// It reads its disk.
    #[default]
    Recovering,
    /// It takes part.
    Running,
    /// It stopped and says nothing more.
    Halted,
}

/// What a replica is in its view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It leads the view.
    Primary,
    /// It follows the view.
    Backup,
    /// It holds the log, and does not vote.
    Learner,
    /// It is no member: it is to be added, or was removed.
    Outside,
    /// The view has not started here.
    ViewChange,
}

/// A replica from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// What it is in its view.
    pub role: Role,
    /// Its view.
    pub view: View,
    /// The view whose log it holds.
    pub log_view: View,
    /// What it knows to be committed.
    pub commit: CommitIndex,
    /// The highest op of its log.
    pub head: Op,
    /// The highest op it has applied.
    pub applied: Op,
    /// A snapshot on its disk covers it up to here.
    pub saved: Op,
    /// Its archive on its disk reaches up to here.
    pub archived: Op,
    /// It keeps too much of the journal, and takes no new commands until that is less.
    pub keeps_too_much: bool,
    /// No majority of its voters' clocks agrees, as far as it knows: it could prepare nothing.
    pub lacks_clock: bool,
    /// The lowest op above `applied` whose payload is not here, if there is one: it is to come from a peer.
    pub missing: Option<Op>,
    /// The event that the application could not execute: the replica stands still there.
    pub halted: Option<EventPlace>,
    /// The behaviour of its application that is in force.
    pub schema: Schema,
    /// Side effects that have not ended.
    pub side_effects: u64,
    /// The op that emitted the oldest of them.
    pub oldest_side_effect: Option<Op>,
    /// Side effects that were given up and wait for an operator.
    pub dead: u64,
    /// Chained hash of (op, outcomes) over all that was applied.
    pub applied_digest: Hash,
}

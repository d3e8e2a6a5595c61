//! Oracles: what judges a run, from outside.
//!
//! An oracle is shown everything that crosses a border of the world (inputs, effects, disk operations, what survives
//! a crash, what clients ask and hear) in the order in which it happens, and says which invariant of the design broke.
//! It never calls the code that it judges: it imports the types of the door and of the messages, and reads disks with
//! decoders of its own. Oracles are part of the world: they are cloned with it.

mod acks;
mod amnesia;
#[cfg(test)]
mod amnesia_tests;
mod archives;
mod cluster_time;
#[cfg(test)]
mod cluster_time_tests;
mod courses;
mod digests;
mod event_fates;
mod few;
mod linearizability;
mod promises;
mod read_fresh;
mod replication;
mod replication_claims;
mod replication_commits;
#[cfg(test)]
mod replication_tests;
#[cfg(test)]
mod rot_tests;
mod scrub;
mod sessions;
mod shadow;
mod side_effects;
#[cfg(test)]
mod side_effects_tests;
mod simple;
mod snapshots;
mod wishes;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;

use bytes::Bytes;
use chronon_core::engine::{DiskDone, DiskOp, FileId};
use chronon_core::kernel::{Attempt, AttemptResult, Command, DeadPage};
use chronon_core::node::{Answer, Effect, Freshness, GroupStatus, Input, Limits, NodeStatus, Timeouts};
use chronon_core::types::{Blob, Entry, GroupId, GroupInit, Membership, NodeId, Now, Op, View};
use serde::{Deserialize, Serialize};

pub use amnesia::AmnesiacMute;
pub use archives::Archives;
pub use cluster_time::ClusterTime;
pub use event_fates::{EventFate, EventFates};
pub use promises::promise_of;
pub use read_fresh::ReadFresh;
pub use replication::Replication;
pub use scrub::RotRepaired;
pub use side_effects::SideEffects;
pub use simple::{AckedSurvives, Bounded, FailStop, OnePrimary};
pub use snapshots::SnapshotAtomic;

use crate::disk::DiskImage;
use crate::sink::Verdict;
use crate::tally::Tally;
use crate::time::WorldTime;

/// One thing that happened in the world.
#[derive(Debug)]
pub enum Observed<'a> {
    /// The first thing shown, once.
    Begin {
        /// Every node, ascending.
        nodes: &'a [NodeId],
        /// Every group, ascending.
        groups: &'a [GroupInit],
        /// The bounds that all nodes run with.
        limits: &'a Limits,
        /// The paces that all nodes run with.
        timeouts: &'a Timeouts,
    },
    /// A process starts on the disk that its last one left. Shown before its first step.
    Start {
        /// The node.
        node: NodeId,
        /// Counts its processes, from 1.
        boot: u64,
    },
    /// A node is about to take an input. What comes of it is shown next, as an [`Observed::Step`].
    Input {
        /// The node.
        node: NodeId,
        /// Its process.
        boot: u64,
        /// What its clocks say.
        now: Now,
        /// What it takes.
        input: &'a Input,
    },
    /// A node took an input. Shown after the step and before any effect of it happens; the disk operations among the
    /// effects are then shown once more, each as [`Observed::DiskSubmitted`].
    Step {
        /// The node.
        node: NodeId,
        /// What it wants done, in order.
        effects: &'a [Effect],
        /// What it is now, all of it.
        status: &'a NodeStatus,
        /// The replicas whose status is not what it was after the step before, as they are now.
        changed: &'a [GroupStatus],
    },
    /// A replica is the first one in an epoch: the one before it is over, by the commit of the entry that made this one. Shown
    /// before the [`Observed::Step`] that took it there.
    Epoch {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// Who the members are, and which entry says so.
        membership: &'a Membership,
        /// The view that it led until then, if it did: as its primary it has committed that entry.
        led: Option<View>,
    },
    /// A disk takes an operation: of a node, or of the formatting that made the data directory.
    DiskSubmitted {
        /// The node.
        node: NodeId,
        /// The operation.
        op: &'a DiskOp,
    },
    /// A disk completed an operation. From here on a barrier's writes survive any crash, whether or not the node
    /// lives to hear of it; the node hears of it in a later [`Observed::Step`], or never.
    DiskCompleted {
        /// The node.
        node: NodeId,
        /// Which operation, and how.
        done: &'a DiskDone,
    },
    /// A process dies. Operations that did not complete never will.
    Crash {
        /// The node.
        node: NodeId,
        /// The process that died.
        boot: u64,
        /// What its disk holds from now on: what a barrier covered, and whatever survived of the rest. A clone of it
        /// is cheap.
        disk: &'a DiskImage,
    },
    /// A flush that was durable rots where it lies.
    Rot {
        /// The node.
        node: NodeId,
        /// The file.
        file: FileId,
        /// Where the flush begins in it.
        offset: u64,
        /// The flush as it was.
        flush: &'a Bytes,
        /// The bytes of it that are no longer what they were.
        harmed: std::ops::Range<usize>,
    },
    /// A disk was wiped, or put back as it was: its node is to take no part any more. What it does from here on is
    /// shown to those alone that want [`Kind::Lost`].
    DiskLost {
        /// The node.
        node: NodeId,
    },
    /// A client asks. Shown once an operation, however often the client sends it again.
    Invoke {
        /// Counts all operations of all clients, from 1.
        operation: u64,
        /// Who asks. A process has one open operation, and never asks again after one that it abandoned.
        process: u64,
        /// The group it asks.
        group: GroupId,
        /// What it asks.
        command: &'a Command,
    },
    /// The client hears the first answer that settles an operation.
    Return {
        /// The operation.
        operation: u64,
        /// Who asked.
        process: u64,
        /// The group it asked.
        group: GroupId,
        /// What it asked.
        command: &'a Command,
        /// Always [`Answer::Committed`].
        answer: &'a Answer,
    },
    /// A client that had its answer sent the same request again, and heard this. It must be the first answer, byte for
    /// byte, unless the session was evicted in between.
    Repeated {
        /// The operation.
        operation: u64,
        /// Who asked.
        process: u64,
        /// The group it asked.
        group: GroupId,
        /// What it asked.
        command: &'a Command,
        /// What it heard first.
        first: &'a Answer,
        /// What it heard now. Always [`Answer::Committed`].
        answer: &'a Answer,
    },
    /// The client gave up: the operation may have taken effect, may still do so, or never.
    Abandoned {
        /// The operation.
        operation: u64,
        /// Who asked.
        process: u64,
    },
    /// Somebody asks a replica for the state of its group.
    Asked {
        /// The replica's node.
        node: NodeId,
        /// Tells it from all others of the run.
        read: u64,
        /// The group.
        group: GroupId,
        /// The question.
        body: &'a Blob,
        /// How new the state must be.
        freshness: Freshness,
    },
    /// It was answered.
    Told {
        /// The replica's node.
        node: NodeId,
        /// Which.
        read: u64,
        /// The group.
        group: GroupId,
        /// The op that the answer is said to reflect.
        op: Op,
        /// The answer.
        body: &'a Blob,
    },
    /// The next entry of a group's committed log: shown once, before the first [`Observed::Step`] after which a replica has applied it,
    /// unless nobody had it then any more.
    Applied {
        /// The group.
        group: GroupId,
        /// The entry.
        entry: &'a Entry,
    },
    /// Somebody asked a replica for the side effects of its group that were given up, and was answered.
    ToldOfTheDead {
        /// The replica's node.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// The op that the answer is said to reflect.
        op: Op,
        /// The first page of them.
        page: &'a DeadPage,
    },
    /// A worker is told that how an attempt ended is recorded.
    Recorded {
        /// Who says so.
        node: NodeId,
        /// The group whose side effect it is.
        group: GroupId,
        /// What that node has applied.
        op: Op,
        /// The attempt.
        attempt: &'a Attempt,
        /// How it ended.
        result: &'a AttemptResult,
    },
    /// An attempt at a side effect reached its sink.
    Executed {
        /// Whose attempt it is.
        node: NodeId,
        /// The group whose side effect it is.
        group: GroupId,
        /// The attempt.
        attempt: &'a Attempt,
        /// What became of it.
        verdict: Verdict,
    },
    /// All faults are over: every node is up or starting, every link works.
    Healed,
    /// More rotted than the design survives: the run is over, and these groups stand still for want of an entry, or others
    /// for want of a quorum of nodes that have not halted.
    Stalled {
        /// One a group.
        stalls: &'a [Stall],
        /// Nodes that have halted.
        halted: &'a [NodeId],
    },
    /// The healed world has converged, and the run is over. What can be judged only as a whole is judged now.
    End,
}

/// A group stands still: it names an entry that no replica has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stall {
    /// The group.
    pub group: GroupId,
    /// The entry's op.
    pub op: Op,
}

/// What sort of thing happened: an oracle says which it wants to see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// [`Observed::Input`].
    Input,
    /// [`Observed::Step`] after which every replica's status is as it was.
    Step,
    /// [`Observed::Step`] after which some replica's is not.
    Change,
    /// [`Observed::DiskSubmitted`] and [`Observed::DiskCompleted`].
    Disk,
    /// Whatever happens to a node whose disk was lost.
    Lost,
    /// Whatever else: rare beside these.
    Rest,
}

impl Observed<'_> {
    /// The node that it befalls, if it befalls one.
    fn node(&self) -> Option<NodeId> {
        match self {
            Self::Start { node, .. }
            | Self::Input { node, .. }
            | Self::Step { node, .. }
            | Self::Epoch { node, .. }
            | Self::DiskSubmitted { node, .. }
            | Self::DiskCompleted { node, .. }
            | Self::Crash { node, .. }
            | Self::Rot { node, .. }
            | Self::Asked { node, .. }
            | Self::Told { node, .. }
            | Self::ToldOfTheDead { node, .. }
            | Self::Recorded { node, .. }
            | Self::DiskLost { node } => Some(*node),
            Self::Begin { .. }
            | Self::Invoke { .. }
            | Self::Return { .. }
            | Self::Repeated { .. }
            | Self::Abandoned { .. }
            | Self::Applied { .. }
            // What is on its way takes effect, whatever has become of its sender.
            | Self::Executed { .. }
            | Self::Healed
            | Self::Stalled { .. }
            | Self::End => None,
        }
    }
}

impl Kind {
    const ALL: [Self; 6] = [Self::Input, Self::Step, Self::Change, Self::Disk, Self::Lost, Self::Rest];

    fn of(seen: &Observed<'_>, lost: &[NodeId]) -> Self {
        match seen {
            _ if !lost.is_empty() && seen.node().is_some_and(|node| lost.contains(&node)) => Self::Lost,
            Observed::Input { .. } => Self::Input,
            Observed::Step { changed: [], .. } => Self::Step,
            Observed::Step { .. } => Self::Change,
            Observed::DiskSubmitted { .. } | Observed::DiskCompleted { .. } => Self::Disk,
            _ => Self::Rest,
        }
    }
}

/// A broken invariant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Its name in the list of invariants, such as `AckedSurvives`.
    pub invariant: &'static str,
    /// The node that broke it, if one did.
    pub node: Option<NodeId>,
    /// The group in which it broke, if in one.
    pub group: Option<GroupId>,
    /// What was seen and what was demanded, in a sentence.
    pub what: String,
    /// The line that reported it: violations of one line are taken for one bug.
    pub site: &'static Location<'static>,
}

impl Violation {
    /// A violation that belongs to no node or group in particular.
    #[track_caller]
    pub fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, node: None, group: None, what, site: Location::caller() }
    }

    /// The same, at `node`.
    #[must_use]
    pub fn at(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// The same, in `group`.
    #[must_use]
    pub fn of(mut self, group: GroupId) -> Self {
        self.group = Some(group);
        self
    }
}

/// How often each invariant was held against something, by its name. A run that compared nothing is a failure.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Counts(BTreeMap<Cow<'static, str>, u64>);

impl Counts {
    /// Adds `count` comparisons under `invariant`.
    pub fn add(&mut self, invariant: &'static str, count: u64) {
        *self.0.entry(Cow::Borrowed(invariant)).or_default() += count;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (invariant, count) in &other.0 {
            *self.0.entry(invariant.clone()).or_default() += count;
        }
    }

    /// Every invariant that reported, by name, and its comparisons.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(invariant, count)| (invariant.as_ref(), *count))
    }

    /// All comparisons.
    pub fn total(&self) -> u64 {
        self.0.values().sum::<u64>() - self.given_up()
    }

    /// Histories of objects that were not judged to the end.
    pub fn given_up(&self) -> u64 {
        self.0.get(GIVEN_UP).copied().unwrap_or_default()
    }
}

/// What the world asserts of itself, beside the oracles.
pub(crate) const OF_THE_WORLD: [&str; 8] =
    ["Addressed", "ApplyPure", "Codec", "ErrorKeepsState", "Heals", "NeverPanics", "PanicHalts", "Workload"];

/// Under this name stands what was not compared after all.
pub(crate) const GIVEN_UP: &str = "Linearizable (given up)";

/// What judges a run.
///
/// `observe` runs at every step of every world: it must not allocate or hash where nothing of its concern happened.
pub trait Oracle: Send {
    /// Takes note of `seen`, and appends what broke to `found`. The run ends at the first violation.
    fn observe(&mut self, at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>);

    /// Whether it is shown what is of this kind: everything but what lost disks lead to, unless it says otherwise.
    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Lost
    }

    /// The invariants it asserts, by their names in the list.
    fn invariants(&self) -> &'static [&'static str];

    /// Adds how much it compared so far.
    fn count(&self, counts: &mut Counts);

    /// Adds what it saw of what a tally counts.
    fn tally(&self, tally: &mut Tally) {
        let _ = tally;
    }

    /// A copy, for a clone of the world: `Box::new(self.clone())`.
    fn fork(&self) -> Box<dyn Oracle>;
}

/// Every oracle there is.
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::<OnePrimary>::default(),
        Box::<AckedSurvives>::default(),
        Box::<Bounded>::default(),
        Box::<ClusterTime>::default(),
        Box::<ReadFresh>::default(),
        Box::<FailStop>::default(),
        Box::<RotRepaired>::default(),
        Box::<SnapshotAtomic>::default(),
        Box::<AmnesiacMute>::default(),
        Box::<Archives>::default(),
        Box::<SideEffects>::default(),
        Box::<EventFates>::default(),
        Box::<Replication>::default(),
    ]
}

/// The oracles of one run, and what they found.
pub(crate) struct Judges {
    oracles: Vec<Box<dyn Oracle>>,
    /// By kind: the places of the oracles that want it.
    wanted: [Vec<usize>; Kind::ALL.len()],
    /// Nodes whose disks were lost.
    lost: Vec<NodeId>,
    found: Vec<Violation>,
}

impl Clone for Judges {
    fn clone(&self) -> Self {
        let oracles = self.oracles.iter().map(|oracle| oracle.fork()).collect();
        let (wanted, lost) = (self.wanted.clone(), self.lost.clone());
        Self { oracles, wanted, lost, found: self.found.clone() }
    }
}

impl Judges {
    pub(crate) fn new(oracles: Vec<Box<dyn Oracle>>) -> Self {
        let by_kind = |kind| (0..oracles.len()).filter(|place| oracles[*place].wants(kind)).collect();
        let wanted = Kind::ALL.map(by_kind);
        Self { oracles, wanted, lost: Vec::new(), found: Vec::new() }
    }

    pub(crate) fn see(&mut self, at: WorldTime, seen: &Observed<'_>) {
        for place in &self.wanted[Kind::of(seen, &self.lost) as usize] {
            self.oracles[*place].observe(at, seen, &mut self.found);
        }
        if let Observed::DiskLost { node } = seen {
            self.lost.push(*node);
        }
    }

    /// Takes what the world itself found.
    pub(crate) fn report(&mut self, violation: Violation) {
        self.found.push(violation);
    }

    pub(crate) fn first_found(&self) -> Option<Violation> {
        self.found.first().cloned()
    }

    pub(crate) fn count(&self, counts: &mut Counts) {
        for oracle in &self.oracles {
            oracle.count(counts);
        }
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        self.oracles.iter().for_each(|oracle| oracle.tally(tally));
    }
}

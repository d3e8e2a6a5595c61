//! The oracles that need no more than answers and statuses: OnePrimary, AckedSurvives, SameReply, Bounded, FailStop,
//! FullDiskPrefix.

use std::collections::BTreeMap;

use chronon_core::consensus::VsrMessage;
use chronon_core::engine::{DiskOp, DiskOpId, DiskOutcome};
use chronon_core::kernel::Outcome;
use chronon_core::node::{Answer, Effect, GroupStatus, Input, Limits, Message, Role};
use chronon_core::types::{GroupId, NodeId, Op, View};

use super::few::Few;
use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::time::WorldTime;

/// At most one node ever leads a view.
#[derive(Clone, Debug, Default)]
pub struct OnePrimary {
    /// Of each group, who led which views. Views below the highest are kept: a late claim to one breaks the rule too.
    leaders: Few<GroupId, BTreeMap<View, NodeId>>,
    compared: u64,
}

impl Oracle for OnePrimary {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        let Observed::Step { node, changed, .. } = seen else { return };
        for status in changed.iter().filter(|status| status.role == Role::Primary) {
            self.compared += 1;
            let leader = *self.leaders.or_default(status.group).entry(status.view).or_insert(*node);
            if leader != *node {
                let what =
                    format!("view {} is led by node {node}, and was led by node {leader}", status.view);
                found.push(Violation::new("OnePrimary", what).at(*node).of(status.group));
            }
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        kind == Kind::Change
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["OnePrimary"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("OnePrimary", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

/// What a client was told is committed stays so: the same question gets the same answer, and once the world has
/// converged every replica has applied all that was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct AckedSurvives {
    groups: Few<GroupId, Acked>,
    survived: u64,
    same: u64,
}

#[derive(Clone, Debug)]
struct Acked {
    sessions_max: u64,
    sessions: u64,
    members: Vec<NodeId>,
    /// What each replica has applied.
    applied: Few<NodeId, Op>,
    highest: Op,
}

impl AckedSurvives {
    fn acknowledged(&mut self, group: GroupId, answer: &Answer) {
        let Answer::Committed { op, outcome } = answer else { return };
        if let Some(acked) = self.groups.get_mut(group) {
            acked.highest = acked.highest.max(*op);
            acked.sessions += u64::from(matches!(outcome, Outcome::Registered { .. }));
        }
    }

    fn repeated(&mut self, group: GroupId, first: &Answer, answer: &Answer) -> Option<Violation> {
        let (Answer::Committed { op: first_op, outcome: was }, Answer::Committed { op, outcome: is }) =
            (first, answer)
        else {
            return None;
        };
        // A registration asked for again after an eviction opens another session.
        let anew = matches!(is, Outcome::Registered { .. }) && first_op != op;
        if *is == Outcome::Evicted || anew {
            return self.evicted(group);
        }
        self.same += 1;
        if first_op != op {
            let what = format!(
                "a command acknowledged at op {first_op} was executed again, or lost, and is at op {op}"
            );
            return Some(Violation::new("AckedSurvives", what).of(group));
        }
        (was != is).then(|| {
            let what = format!("op {op}: a retry was answered {is}, and the first answer was {was}");
            Violation::new("SameReply", what).of(group)
        })
    }

    /// An eviction forgets a session; with fewer sessions than the group holds, only a lost log does.
    fn evicted(&self, group: GroupId) -> Option<Violation> {
        let acked = self.groups.get(group)?;
        (acked.sessions <= acked.sessions_max / 4).then(|| {
            let Acked { sessions, sessions_max, .. } = acked;
            let what =
                format!("a session is gone, although only {sessions} of {sessions_max} were acknowledged");
            Violation::new("AckedSurvives", what).of(group)
        })
    }

    fn judge_the_end(&mut self, found: &mut Vec<Violation>) {
        for (group, acked) in self.groups.iter() {
            for member in &acked.members {
                self.survived += 1;
                let applied = acked.applied.get(*member).copied().unwrap_or(Op::GENESIS);
                if applied < acked.highest {
                    let highest = acked.highest;
                    let what = format!(
                        "applied up to op {applied}, and a client was told that op {highest} is committed"
                    );
                    found.push(Violation::new("AckedSurvives", what).at(*member).of(group));
                }
            }
        }
    }
}

impl Oracle for AckedSurvives {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, .. } => {
                for init in *groups {
                    let (members, sessions_max) = (init.voters.clone(), u64::from(init.sessions_max));
                    let (applied, highest) = (Few::default(), Op::GENESIS);
                    let acked = Acked { sessions_max, sessions: 0, members, applied, highest };
                    self.groups.insert(init.group, acked);
                }
            }
            Observed::Step { node, changed, .. } => {
                for GroupStatus { group, applied, .. } in *changed {
                    if let Some(acked) = self.groups.get_mut(*group) {
                        acked.applied.insert(*node, *applied);
                    }
                }
            }
            Observed::DiskLost { node } => {
                for (_, acked) in self.groups.iter_mut() {
                    acked.members.retain(|member| member != node);
                }
            }
            Observed::Epoch { group, membership, .. } => {
                if let Some(acked) = self.groups.get_mut(*group) {
                    acked.members = membership.members().collect();
                }
            }
            Observed::Return { group, answer, .. } => self.acknowledged(*group, answer),
            Observed::Repeated { group, first, answer, .. } => {
                found.extend(self.repeated(*group, first, answer))
            }
            Observed::End => self.judge_the_end(found),
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Change | Kind::Rest)
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["AckedSurvives", "SameReply"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("AckedSurvives", self.survived);
        counts.add("SameReply", self.same);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

/// After a write, a barrier or an allocation failed, a node says nothing more.
#[derive(Clone, Debug, Default)]
pub struct FailStop {
    /// Reads that have not completed.
    reads: Few<NodeId, Vec<DiskOpId>>,
    failed: Few<NodeId, bool>,
    /// An allocation of this process found no space.
    full: Few<NodeId, bool>,
    compared: u64,
    compared_full: u64,
}

impl Oracle for FailStop {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Start { node, .. } => {
                self.failed.insert(*node, false);
                self.full.insert(*node, false);
                self.reads.or_default(*node).clear();
            }
            Observed::DiskSubmitted { node, op: DiskOp::Read { id, .. } } => {
                self.reads.or_default(*node).push(*id);
            }
            // When the node hears of it: a paused one may do so late.
            Observed::Input { node, input: Input::Disk(done), .. } => {
                let reads = self.reads.or_default(*node);
                let read = reads.iter().position(|id| *id == done.id).map(|place| reads.swap_remove(place));
                if read.is_none() && done.outcome == DiskOutcome::Failed {
                    self.failed.insert(*node, true);
                }
                if done.outcome == DiskOutcome::Full {
                    self.compared_full += 1;
                    self.full.insert(*node, true);
                }
            }
            Observed::Step { node, effects, .. } if self.failed.get(*node) == Some(&true) => {
                self.compared += 1;
                if let Some(effect) = effects.iter().find(|effect| !matches!(effect, Effect::Halt(_))) {
                    let what = format!("{effect}, after a disk operation failed");
                    found.push(Violation::new("FailStop", what).at(*node));
                }
            }
            Observed::Step { node, effects, .. } if self.full.get(*node) == Some(&true) => {
                if let Some(effect) = effects.iter().find(|effect| matches!(effect, Effect::Halt(_))) {
                    let what = format!("{effect}, although all that it lacks is space");
                    found.push(Violation::new("FullDiskPrefix", what).at(*node));
                }
            }
            _ => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["FailStop", "FullDiskPrefix"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("FailStop", self.compared);
        counts.add("FullDiskPrefix", self.compared_full);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

/// What leaves a node stays within the limits that it was given.
#[derive(Clone, Debug, Default)]
pub struct Bounded {
    limits: Limits,
    disk_ops: Few<NodeId, u64>,
    compared: u64,
}

/// A node has at most this many disk operations in flight.
const DISK_OPS_MAX: u64 = 1024;
/// A step has at most this many effects.
const EFFECTS_MAX: usize = 65_536;

impl Bounded {
    fn message(&mut self, message: &Message) -> Option<String> {
        let Message::Group { body, .. } = message else { return None };
        match body {
            VsrMessage::Prepare { entry, .. } => {
                self.compared += 1;
                let (bytes, max) = (entry.payload().len() as u64, u64::from(self.limits.batch_bytes_max));
                (bytes > max).then(|| {
                    format!("op {}: an entry of {bytes} bytes; at most {max} are allowed", entry.op())
                })
            }
            VsrMessage::Entries { entries, .. } => {
                self.compared += 1;
                let (count, max) = (entries.len() as u64, u64::from(self.limits.repair_entries_max));
                if count > max {
                    return Some(format!("an answer with {count} entries; at most {max} are allowed"));
                }
                let bytes: u64 = entries.iter().map(|entry| entry.payload().len() as u64).sum();
                let max = u64::from(self.limits.repair_bytes_max);
                (count > 1 && bytes > max)
                    .then(|| format!("an answer of {bytes} bytes; at most {max} are allowed"))
            }
            _ => None,
        }
    }
}

impl Oracle for Bounded {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { limits, .. } => self.limits = **limits,
            Observed::Step { node, effects, .. } => {
                if effects.len() > EFFECTS_MAX {
                    let what =
                        format!("{} effects in one step; at most {EFFECTS_MAX} are sane", effects.len());
                    found.push(Violation::new("Bounded", what).at(*node));
                }
                for effect in *effects {
                    if let Effect::Send { message, .. } = effect
                        && let Some(what) = self.message(message)
                    {
                        found.push(Violation::new("Bounded", what).at(*node));
                    }
                }
            }
            Observed::DiskSubmitted { node, .. } => {
                let count = self.disk_ops.or_default(*node);
                *count += 1;
                self.compared += 1;
                if *count > DISK_OPS_MAX {
                    let what = format!("{count} disk operations in flight; at most {DISK_OPS_MAX} are sane");
                    found.push(Violation::new("Bounded", what).at(*node));
                }
            }
            Observed::DiskCompleted { node, .. } => {
                let count = self.disk_ops.or_default(*node);
                *count = count.saturating_sub(1);
            }
            Observed::Crash { node, .. } => {
                self.disk_ops.insert(*node, 0);
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Input
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["Bounded"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("Bounded", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

//! Consensus time, judged from outside: TimeMonotone (59) and TimeBounded (60).
//!
//! The judge sees what every node's wall clock shows, at every input that the node takes, and what its own primary puts
//! on each entry that it makes. A timestamp lies within what a majority of the group's clocks bears out, and is above the
//! one before it.

use std::collections::{BTreeMap, VecDeque};

use chronon_core::consensus::VsrMessage;
use chronon_core::node::{Effect, Message};
use chronon_core::types::{Entry, GroupId, GroupInit, Hash, Membership, Nanos, NodeId, Now, View};

use super::few::Few;
use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::time::{MILLISECOND, WorldTime};

/// What each node's clock has shown of late, and what each entry was stamped with.
#[derive(Clone, Debug, Default)]
pub struct ClusterTime {
    groups: Vec<GroupInit>,
    /// Those that came after the founding ones.
    memberships: Vec<(GroupId, Membership)>,
    /// A clock may be off by so much.
    tolerance_ns: i64,
    /// For so long a node may believe what it heard of another's clock.
    heard_lasts_ns: u64,
    clocks: Few<NodeId, Offsets>,
    /// By hash: what each entry was stamped with.
    stamps: BTreeMap<(GroupId, Hash), u64>,
    monotone: u64,
    bounded: u64,
}

/// How far a wall clock has been ahead of the world's time, in nanoseconds since the epoch: since when, oldest first.
#[derive(Clone, Debug, Default)]
struct Offsets(VecDeque<(WorldTime, i64)>);

impl Offsets {
    fn note(&mut self, at: WorldTime, offset: i64) {
        let moved = self.0.back().is_none_or(|(_, last)| last.abs_diff(offset) > JITTER_NS);
        if moved {
            self.0.push_back((at, offset));
        }
    }

    /// Forgets what was over before `at`.
    fn forget(&mut self, at: WorldTime) {
        while self.0.get(1).is_some_and(|(since, _)| *since <= at) {
            self.0.pop_front();
        }
    }

    fn latest(&self) -> Option<i64> {
        self.0.back().map(|(_, offset)| *offset)
    }
}

impl Oracle for ClusterTime {
    fn observe(&mut self, at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, timeouts, .. } => {
                self.groups = groups.to_vec();
                self.tolerance_ns = signed(timeouts.clock_tolerance);
                self.heard_lasts_ns = HEARD_LASTS_PATIENCES * timeouts.abdicate.as_nanos();
            }
            Observed::Input { node, now, .. } => self.note_clock(at, *node, now),
            Observed::Epoch { group, membership, .. } => {
                self.memberships.push((*group, (*membership).clone()));
            }
            Observed::Step { node, effects, .. } => {
                for effect in *effects {
                    if let Effect::Send { message: Message::Group { group, body }, .. } = effect
                        && let VsrMessage::Prepare { entry, .. } = body
                    {
                        self.judge(at, (*node, *group), entry, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        // The clocks of a node whose disk was lost are clocks still.
        kind != Kind::Disk
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["TimeMonotone", "TimeBounded"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("TimeMonotone", self.monotone);
        counts.add("TimeBounded", self.bounded);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

impl ClusterTime {
    fn note_clock(&mut self, at: WorldTime, node: NodeId, now: &Now) {
        let offset = now.wall.as_nanos() as i64 - at.as_nanos() as i64;
        let oldest = WorldTime::from_nanos(at.as_nanos().saturating_sub(self.heard_lasts_ns));
        let offsets = self.clocks.or_default(node);
        offsets.note(at, offset);
        offsets.forget(oldest);
    }

    /// An entry goes out; the first time that it does, it has just been made.
    fn judge(
        &mut self,
        at: WorldTime,
        (node, group): (NodeId, GroupId),
        entry: &Entry,
        found: &mut Vec<Violation>,
    ) {
        let (header, hash) = (entry.header(), entry.hash());
        let stamp = header.timestamp().as_nanos();
        if self.stamps.insert((group, hash), stamp).is_some() {
            return;
        }
        let parent = self.stamps.get(&(group, header.parent())).copied();
        let report = |invariant, what: String| Violation::new(invariant, what).at(node).of(group);
        if let Some(parent) = parent {
            self.monotone += 1;
            if stamp <= parent {
                let what = format!("op {} is stamped {stamp}, and the op before it {parent}", entry.op());
                found.push(report("TimeMonotone", what));
            }
        }
        self.bounded += 1;
        let Some(voters) = self.voters(group, header.view()) else { return };
        let shown = stamp as i64 - at.as_nanos() as i64;
        // Who was alone has sent the entry below to nobody: where the log stood is not known then.
        let below = if entry.op().get() == 1 { Some(0) } else { parent };
        let follows = below.is_none_or(|below| stamp == below + 1);
        let late = self.clocks_within(voters, node, |offset, off| offset + off >= shown);
        let early = self.clocks_within(voters, node, |offset, off| offset - off <= shown);
        let majority = voters.len() / 2 + 1;
        if late < majority && !follows || early < majority {
            let (side, clocks) = if early < majority { ("behind", early) } else { ("ahead of", late) };
            let what = format!(
                "op {} is stamped {side} what its voters' clocks show: {clocks} of {} bear it out",
                entry.op(),
                voters.len()
            );
            found.push(report("TimeBounded", what));
        }
    }

    /// Who votes in a view.
    fn voters(&self, group: GroupId, view: View) -> Option<&[NodeId]> {
        let is_its =
            |(of, membership): &&(GroupId, Membership)| *of == group && membership.epoch == view.epoch();
        let later = self.memberships.iter().find(is_its).map(|(_, membership)| membership.voters.as_slice());
        let founding = || self.groups.iter().find(|init| init.group == group);
        later.or_else(|| founding().map(|init| init.voters.as_slice()))
    }

    /// How many voters' clocks bear something out: of the maker its own clock as it is, of others also as it was a while
    /// ago.
    fn clocks_within(&self, voters: &[NodeId], maker: NodeId, holds: impl Fn(i64, i64) -> bool) -> usize {
        let own = self.tolerance_ns + JITTER_NS as i64;
        // What is known of another's clock is off by the way there and back, and by drift.
        let others = own + self.tolerance_ns + self.heard_lasts_ns as i64 / DRIFT_ONE_IN;
        let bears_out = |node: &NodeId| {
            let Some(offsets) = self.clocks.get(*node) else { return false };
            if *node == maker {
                return offsets.latest().is_some_and(|offset| holds(offset, own));
            }
            offsets.0.iter().any(|(_, offset)| holds(*offset, others))
        };
        voters.iter().filter(|node| bears_out(node)).count()
    }
}

fn signed(span: Nanos) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A clock that drifts does not move by this much between two looks that matter.
const JITTER_NS: u64 = MILLISECOND;
/// What was heard of a clock is believed for so many of a primary's patiences; once as much again for what was on its way.
const HEARD_LASTS_PATIENCES: u64 = 8;
/// Clocks drift apart by no more than a nanosecond in so many.
const DRIFT_ONE_IN: i64 = 1000;

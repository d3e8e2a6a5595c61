//! What the judge of consensus time says of entries that a test makes up.

use bytes::Bytes;
use chronon_core::consensus::VsrMessage;
use chronon_core::node::{Effect, Input, Limits, Message, NodeStatus, Timeouts};
use chronon_core::types::{
    ClusterId, CommitIndex, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Monotonic, NodeId, Now,
    Timestamp, View, Wall,
};

use super::{ClusterTime, Counts, Observed, Oracle};
use crate::time::{MILLISECOND, SECOND, WorldTime};

/// All clocks show this when the test begins.
const EPOCH: u64 = 1_000 * SECOND;

fn init() -> GroupInit {
    GroupInit {
        cluster: ClusterId::new(7),
        group: GroupId::new(1),
        kind: "register".to_owned(),
        voters: (1..=3).map(NodeId::new).collect(),
        sessions_max: 8,
        archive: None,
    }
}

/// Three nodes, whose clocks are a minute off by what is given.
struct Stage {
    oracle: ClusterTime,
    head: EntryHeader,
    at: WorldTime,
}

impl Stage {
    fn new(offsets_ms: [i64; 3]) -> Self {
        let mut oracle = ClusterTime::default();
        let (nodes, groups) = ([1, 2, 3].map(NodeId::new), [init()]);
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        let begin = Observed::Begin { nodes: &nodes, groups: &groups, limits: &limits, timeouts: &timeouts };
        oracle.observe(WorldTime::ZERO, &begin, &mut Vec::new());
        let mut stage = Self { oracle, head: init().genesis(), at: WorldTime::ZERO };
        for (node, offset) in (1..).zip(offsets_ms) {
            stage.show(node, offset);
        }
        stage
    }

    /// A node's clock shows this many milliseconds more than the world's.
    fn show(&mut self, node: u64, offset_ms: i64) {
        let wall = EPOCH + self.at.as_nanos();
        let now = Now {
            monotonic: Monotonic::from_nanos(self.at.as_nanos()),
            wall: Wall::from_nanos(wall.saturating_add_signed(offset_ms * MILLISECOND as i64)),
        };
        let input = Observed::Input { node: NodeId::new(node), boot: 1, now, input: &Input::Timeout };
        self.oracle.observe(self.at, &input, &mut Vec::new());
    }

    /// Node 1 makes an entry, stamped so many milliseconds after the world's time; what breaks.
    fn stamp(&mut self, offset_ms: i64) -> Option<&'static str> {
        let now = EPOCH + self.at.as_nanos();
        self.stamp_at(now.saturating_add_signed(offset_ms * MILLISECOND as i64))
    }

    fn stamp_at(&mut self, ns: u64) -> Option<&'static str> {
        let view = View::new(2);
        let entry =
            Entry::next(&self.head, EntryKind::Commands, view, Timestamp::from_nanos(ns), Bytes::new());
        self.head = *entry.header();
        let body = VsrMessage::Prepare { view, commit: CommitIndex::None, entry };
        let message = Message::Group { group: GroupId::new(1), body };
        let effects = [Effect::Send { to: NodeId::new(2), message }];
        let status = NodeStatus::default();
        let step = Observed::Step { node: NodeId::new(1), effects: &effects, status: &status, changed: &[] };
        let mut found = Vec::new();
        self.oracle.observe(self.at, &step, &mut found);
        found.first().map(|violation| violation.invariant)
    }
}

#[test]
fn what_a_majority_bears_out_is_fine_and_is_counted() {
    let mut stage = Stage::new([0, 100, -100]);
    assert_eq!(stage.stamp(0), None);
    assert_eq!(stage.stamp(1), None);
    let mut counts = Counts::default();
    stage.oracle.count(&mut counts);
    assert_eq!(counts.iter().collect::<Vec<_>>(), [("TimeBounded", 2), ("TimeMonotone", 1)]);
}

#[test]
fn a_time_far_ahead_or_behind_breaks_the_bound_whatever_the_makers_own_clock_shows() {
    assert_eq!(Stage::new([60_000, 0, 0]).stamp(60_000), Some("TimeBounded"));
    assert_eq!(Stage::new([-60_000, 0, 0]).stamp(-60_000), Some("TimeBounded"));
    assert_eq!(Stage::new([60_000, 0, 60_000]).stamp(60_000), None);
    assert_eq!(Stage::new([60_000, 0, -60_000]).stamp(60_000), Some("TimeBounded"), "no two agree");
}

#[test]
fn an_entry_just_after_the_one_before_it_is_fine_although_the_clocks_went_back() {
    let mut stage = Stage::new([0, 0, 0]);
    assert_eq!(stage.stamp(0), None);
    let head = stage.head.timestamp().as_nanos();
    for at in [100, 200] {
        stage.at = WorldTime::from_nanos(at * SECOND);
        for node in [1, 2, 3] {
            stage.show(node, -3_600_000);
        }
    }
    assert_eq!(stage.stamp_at(head + 1), None);
    assert_eq!(stage.stamp_at(head + 5_000_000_000), Some("TimeBounded"));
}

#[test]
fn what_was_shown_a_while_ago_counts_for_others_and_not_for_ever() {
    let mut stage = Stage::new([0, 0, 0]);
    stage.at = WorldTime::from_nanos(50 * SECOND);
    for node in [2, 3] {
        stage.show(node, -60_000);
    }
    assert_eq!(stage.stamp(0), None, "the maker may not have heard of it");
    stage.at = WorldTime::from_nanos(100 * SECOND);
    for node in [1, 2, 3] {
        stage.show(node, if node == 1 { 0 } else { -60_000 });
    }
    assert_eq!(stage.stamp(0), Some("TimeBounded"));
}

#[test]
fn time_that_stands_still_breaks_the_order() {
    let mut stage = Stage::new([0, 0, 0]);
    assert_eq!(stage.stamp(0), None);
    assert_eq!(stage.stamp(0), Some("TimeMonotone"));
}

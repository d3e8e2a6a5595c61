//! Heartbeats: one a node pair, for all groups that the two share.
//!
//! A beat tells what its sender leads, but only what the other side has not acknowledged yet: an idle group costs
//! nothing. While beats of the same start arrive, what was said before still holds. A beat of another start takes
//! everything back: a node that restarted leads nothing.
//!
//! Beats also introduce a node to its peers, each time it has started:
//!
//! ```text
//! B    is there somebody?                          it has no name yet
//! A    I know your start S, and that flush F was durable in it
//! B    (S and F hold on this disk, or it is mute from here on; writes into its manifest that S' is known from now on)
//!      my start is S', and I have heard you
//! A    (writes S' into its manifest)
//!      I know your start S'
//! B    from here on it says to A whatever it has to say
//! ```
//!
//! So a disk that was wiped, or put back as it was, promises nothing to a peer that has known it otherwise.
//!
//! And each beat answers the last one that was heard with what the sender's wall clock shows, and for how long it has
//! held the answer back: what the way took, and where that clock stands, follows.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::consensus::{ClockSample, ClusterClock, Trust};
use crate::engine::Witnessed;
use crate::kernel::Schema;
use crate::types::{
    BootId, CommitIndex, GroupId, Mark, Marks, Monotonic, Nanos, NodeId, Now, Op, View, Wall,
};

/// One heartbeat.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Heartbeat {
    /// The sender's start, once it is announced; a new one takes back all that earlier ones said.
    pub boot: BootId,
    /// Counts the sender's beats to this receiver, from 1.
    pub sequence: u64,
    /// The receiver's start, as the sender last heard it.
    pub heard_boot: BootId,
    /// The receiver's highest beat that the sender heard, of that start.
    pub heard_sequence: u64,
    /// The receiver's start that the sender has durably noted, and the last flush of it that it has heard of.
    pub witnessed: Witnessed,
    /// The number of the last flush with records that is durable on the sender's disk.
    pub flush: u64,
    /// No space is left on the sender's disk.
    pub full: bool,
    /// The latest schema that the sender's build knows.
    pub schema: Schema,
    /// The sender's clocks.
    pub clock: ClockBeat,
    /// What changed since the last beat that the receiver is known to have heard.
    pub groups: Vec<GroupBeat>,
}

notation_struct!("beat" => Heartbeat {
    boot, sequence, heard_boot, heard_sequence, witnessed, flush, full, schema, clock, groups
});

/// What a beat says of its sender's clocks, and of when the receiver's last beat came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct ClockBeat {
    /// When the sender made this beat, by its clock that never goes back: to be returned as it is.
    pub sent: Monotonic,
    /// The same moment by its wall clock.
    pub wall: Wall,
    /// What the receiver's last beat said in `sent`, of the start that `heard_boot` names.
    pub returned: Monotonic,
    /// How long ago that was heard, by the sender's clock.
    pub held: Nanos,
}

notation_struct!("clock-beat" => ClockBeat { sent, wall, returned, held });

/// What a node says of one group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GroupBeat {
    /// The group.
    pub group: GroupId,
    /// The sender's view.
    pub view: View,
    /// Whether the sender leads that view.
    pub leads: bool,
    /// What the sender knows to be committed.
    pub commit: CommitIndex,
    /// The highest op of its log.
    pub head: Op,
    /// Snapshot and archive on the sender's disk cover it up to here.
    pub released: Op,
    /// Up to here the sender's disk has all that the group keeps.
    pub complete_to: Op,
}

notation_struct!("group-beat" => GroupBeat { group, view, leads, commit, head, released, complete_to });

/// The heartbeats of a node with every peer.
#[derive(Clone, Debug)]
pub(in crate::node) struct Heartbeats {
    boot: BootId,
    is_announced: bool,
    /// Of peers that were let go of, the highest beat sent: one that is met again has heard it, and takes no lower one.
    said_to_the_left: u64,
    pairs: BTreeMap<NodeId, Pair>,
    heard: BTreeMap<NodeId, Monotonic>,
    clock: ClusterClock,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    /// The last beat sent.
    sequence: u64,
    /// What beats said that the peer has not acknowledged, oldest first.
    unacknowledged: VecDeque<(u64, Vec<GroupBeat>)>,
    /// What the peer knows, to our knowledge.
    known: BTreeMap<GroupId, GroupBeat>,
    /// The start of the peer that is heard, and how far it says that its disk goes.
    heard: Witnessed,
    heard_sequence: u64,
    /// When the last beat of that start was made, by the peer's clock, and when it came, by this node's.
    heard_sent: Monotonic,
    heard_at: Monotonic,
    /// That start leads on from the one that is noted.
    is_proven: bool,
    /// The start of the peer that is durably noted, and how far its disk went as far as was heard.
    noted: Witnessed,
    /// The first beat that told the peer so.
    told_from: u64,
    /// The peer has durably noted this start of this node.
    is_introduced: bool,
    /// No space is left on the peer's disk.
    peer_is_full: bool,
    /// The latest schema that the peer's build knows.
    peer_schema: Option<Schema>,
}

/// What a node says of itself in every beat.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct OwnFacts {
    /// The number of the last durable flush with records.
    pub flush: u64,
    pub full: bool,
    /// The latest schema that this build knows.
    pub schema: Schema,
}

/// What a beat that was heard means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) enum Heard {
    /// It is of a stranger, or older than one heard before.
    Stale,
    /// The peer has no name yet.
    Unnamed,
    /// It is the first one of the peer.
    First,
    /// The peer goes on.
    GoesOn,
    /// The peer has restarted since the last beat.
    Restarted,
}

/// Two clocks measure one span within one part in so many.
const HELD_OFF_ONE_IN: u64 = 1000;
/// Beats whose acknowledgement is waited for, a pair.
const UNACKNOWLEDGED_MAX: usize = 16;

impl Heartbeats {
    /// Of a node in this start, with what it has noted of each of its peers.
    pub(in crate::node) fn new(boot: BootId, peers: impl Iterator<Item = (NodeId, Witnessed)>) -> Self {
        let pairs = peers.map(|(peer, noted)| (peer, Pair::of(noted))).collect();
        Self {
            boot,
            is_announced: false,
            said_to_the_left: 0,
            pairs,
            heard: BTreeMap::new(),
            clock: ClusterClock::default(),
        }
    }

    /// From now on `peer` shares a group with this node, which has noted this of it.
    pub(in crate::node) fn meet(&mut self, peer: NodeId, noted: Witnessed) {
        let sequence = self.said_to_the_left;
        let pair = || Pair { sequence, told_from: sequence + 1, ..Pair::of(noted) };
        self.pairs.entry(peer).or_insert_with(pair);
    }

    /// Lets go of all other peers.
    pub(in crate::node) fn keep(&mut self, is_kept: impl Fn(NodeId) -> bool) {
        let left = self.pairs.iter().filter(|(peer, _)| !is_kept(**peer)).map(|(_, pair)| pair.sequence);
        self.said_to_the_left = left.max().unwrap_or_default().max(self.said_to_the_left);
        self.pairs.retain(|peer, _| is_kept(*peer));
        self.heard.retain(|peer, _| is_kept(*peer));
    }

    /// The start that the node is in.
    pub(in crate::node) fn boot(&self) -> BootId {
        self.boot
    }

    pub(in crate::node) fn peers(&self) -> Vec<NodeId> {
        self.pairs.keys().copied().collect()
    }

    /// Whether no space was left on the disk of `peer` when it last said.
    pub(in crate::node) fn is_full(&self, peer: NodeId) -> bool {
        self.pairs.get(&peer).is_some_and(|pair| pair.peer_is_full)
    }

    /// The latest schema that the build of `peer` knows, once it has said so since it started.
    pub(in crate::node) fn schema(&self, peer: NodeId) -> Option<Schema> {
        self.pairs.get(&peer).and_then(|pair| pair.peer_schema)
    }

    /// Whether `peer` knows this start of this node, and may hear more than beats.
    pub(in crate::node) fn is_introduced_to(&self, peer: NodeId) -> bool {
        self.pairs.get(&peer).is_some_and(|pair| pair.is_introduced)
    }

    /// Whether it shares a group with this node.
    pub(in crate::node) fn is_peer(&self, node: NodeId) -> bool {
        self.pairs.contains_key(&node)
    }

    /// When the last beat of each peer came whose start was proven.
    pub(in crate::node) fn heard(&self) -> &BTreeMap<NodeId, Monotonic> {
        &self.heard
    }

    /// What the wall clocks of the peers show.
    pub(in crate::node) fn clock(&self) -> &ClusterClock {
        &self.clock
    }

    /// From now on beats name this start; whether they did not before.
    pub(in crate::node) fn announce(&mut self) -> bool {
        !core::mem::replace(&mut self.is_announced, true)
    }

    /// The next beat to `peer`; `groups` is what is true now of the groups that both share.
    pub(in crate::node) fn beat(
        &mut self,
        now: Now,
        peer: NodeId,
        own: OwnFacts,
        groups: impl Iterator<Item = GroupBeat>,
        marks: &mut impl Marks,
    ) -> Heartbeat {
        let boot = if self.is_announced { self.boot } else { BootId::default() };
        let pair = self.pairs.entry(peer).or_default();
        let groups: Vec<GroupBeat> = groups.filter(|beat| pair.is_introduced && pair.is_news(beat)).collect();
        pair.sequence += 1;
        pair.unacknowledged.push_back((pair.sequence, groups.clone()));
        if pair.unacknowledged.len() > UNACKNOWLEDGED_MAX {
            marks.hit(Mark::BeatsForgotten);
            pair.unacknowledged.pop_front();
        }
        Heartbeat {
            boot,
            sequence: pair.sequence,
            heard_boot: pair.heard.boot,
            heard_sequence: pair.heard_sequence,
            witnessed: pair.witnessed(),
            flush: own.flush,
            full: own.full,
            schema: own.schema,
            clock: ClockBeat {
                sent: now.monotonic,
                wall: now.wall,
                returned: pair.heard_sent,
                held: now.monotonic.since(pair.heard_at),
            },
            groups,
        }
    }

    /// Takes a beat of `peer`.
    pub(in crate::node) fn hear(
        &mut self,
        (now, trust): (Monotonic, Trust),
        peer: NodeId,
        beat: &Heartbeat,
        marks: &mut impl Marks,
    ) -> Heard {
        let own = self.boot;
        let Some(pair) = self.pairs.get_mut(&peer) else { return Heard::Stale };
        if !beat.boot.is_known() {
            return Heard::Unnamed;
        }
        let before = pair.heard.boot;
        let told = pair.witnessed();
        let same = beat.boot == before;
        let newer = beat.boot.incarnation > before.incarnation;
        if !(newer || same && beat.sequence > pair.heard_sequence) {
            marks.hit(Mark::BeatStale);
            return Heard::Stale;
        }
        if same && beat.sequence > pair.heard_sequence + 1 {
            marks.hit(Mark::BeatLost);
        }
        if newer {
            pair.begin_anew();
        }
        // An old beat may come late, and tell of less than is noted.
        let known = if beat.boot == pair.noted.boot { pair.noted.flush } else { 0 };
        pair.heard = Witnessed { boot: beat.boot, flush: beat.flush.max(known) };
        pair.heard_sequence = beat.sequence;
        (pair.heard_sent, pair.heard_at) = (beat.clock.sent, now);
        pair.peer_is_full = beat.full;
        pair.peer_schema = Some(beat.schema);
        pair.is_introduced |= beat.witnessed.boot == own;
        if beat.heard_boot == own {
            pair.acknowledge(beat.heard_sequence);
            if let Some(sample) = beat.clock.sample(now) {
                self.clock.hear(peer, sample, trust);
            }
        } else {
            pair.known.clear();
        }
        let has_heard = beat.heard_boot == own && beat.heard_sequence >= pair.told_from;
        pair.is_proven |= beat.boot == pair.noted.boot || !pair.noted.boot.is_known() || has_heard;
        if pair.witnessed() != told {
            // What was told before does not say all of this.
            pair.told_from = pair.sequence + 1;
        }
        if pair.is_proven {
            self.heard.insert(peer, now);
        }
        match (newer, before.is_known()) {
            (false, _) => Heard::GoesOn,
            (true, false) => Heard::First,
            (true, true) => Heard::Restarted,
        }
    }

    /// What is to be noted of the disk of `peer`: its start, if that leads on from the one that is noted.
    pub(in crate::node) fn to_note(&self, peer: NodeId) -> Option<Witnessed> {
        self.pairs.get(&peer).filter(|pair| pair.is_proven).map(|pair| pair.heard)
    }

    /// Whether a peer's start is on its way to the disk.
    pub(in crate::node) fn is_noting(&self) -> bool {
        self.pairs.values().any(|pair| pair.is_proven && pair.heard.boot != pair.noted.boot)
    }

    /// This is durably noted of `peer`; whether it is another start than before.
    pub(in crate::node) fn set_noted(&mut self, peer: NodeId, noted: Witnessed) -> bool {
        let Some(pair) = self.pairs.get_mut(&peer) else { return false };
        if pair.noted.boot == noted.boot {
            return false;
        }
        pair.noted = noted;
        // What was shown was that it leads on from another one.
        pair.is_proven &= noted.boot == pair.heard.boot;
        pair.told_from = pair.sequence + 1;
        true
    }
}

impl ClockBeat {
    /// What it says of its sender's wall clock, to who hears it `now`; nothing when the clock that never goes back stood still
    /// meanwhile, as it does in a machine that is suspended: then nobody knows how long the way took.
    fn sample(&self, now: Monotonic) -> Option<ClockSample> {
        let (away, held) = (now.since(self.returned).as_nanos(), self.held.as_nanos());
        if held > away.saturating_add(held / HELD_OFF_ONE_IN) {
            return None;
        }
        let round_trip = Nanos::from_nanos(away.saturating_sub(held));
        Some(ClockSample { taken: now, wall: self.wall, round_trip })
    }
}

impl Pair {
    /// A peer that was not heard in this start; this is noted of it.
    fn of(noted: Witnessed) -> Self {
        Self { noted, told_from: 1, ..Self::default() }
    }

    /// The peer has started again: it knows nothing of what this node said.
    fn begin_anew(&mut self) {
        let Self { sequence, told_from, is_introduced, .. } = *self;
        let noted = self.witnessed();
        *self = Self { sequence, noted, told_from, is_introduced, ..Self::default() };
    }

    /// What this node can answer for of the peer's disk: of the start that is noted, all that was heard.
    fn witnessed(&self) -> Witnessed {
        if self.heard.boot == self.noted.boot { self.heard } else { self.noted }
    }

    /// A group that the sender leads is news when anything changed; one that it does not lead, when the peer believes
    /// that it does, or does not know what the sender keeps.
    fn is_news(&self, beat: &GroupBeat) -> bool {
        match self.known.get(&beat.group) {
            // While something is not committed yet, the peer's acknowledgement may have been lost: it repeats it when told.
            Some(known) if beat.leads => known != beat || !beat.commit.covers(beat.head),
            Some(known) => {
                let facts = |beat: &GroupBeat| (beat.released, beat.complete_to);
                known.leads || facts(known) != facts(beat) || self.may_believe(beat.group)
            }
            None => true,
        }
    }

    /// A beat on its way may have told the peer that the sender leads the group.
    fn may_believe(&self, group: GroupId) -> bool {
        self.unacknowledged
            .iter()
            .flat_map(|(_, groups)| groups)
            .any(|beat| beat.group == group && beat.leads)
    }

    fn acknowledge(&mut self, sequence: u64) {
        while let Some((oldest, groups)) = self.unacknowledged.front() {
            if *oldest > sequence {
                break;
            }
            if *oldest == sequence {
                for beat in groups {
                    self.known.insert(beat.group, *beat);
                }
            }
            self.unacknowledged.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{ClockBeat, Heard, Heartbeat, Heartbeats, OwnFacts};
    use crate::consensus::{ClockSample, Timeouts};
    use crate::engine::Witnessed;
    use crate::kernel::Schema;
    use crate::types::{BootId, Incarnation, Monotonic, Nanos, NoMarks, NodeId, Now, Wall};

    const A: NodeId = NodeId::new(1);
    const B: NodeId = NodeId::new(2);

    fn boot(incarnation: u64) -> BootId {
        BootId { incarnation: Incarnation::new(incarnation), nonce: 100 + incarnation }
    }

    fn known(incarnation: u64, flush: u64) -> Witnessed {
        Witnessed { boot: boot(incarnation), flush }
    }

    /// A node in this start, which has noted this of its only peer.
    fn node(start: u64, peer: NodeId, noted: Witnessed) -> Heartbeats {
        let mut beats = Heartbeats::new(boot(start), [(peer, noted)].into_iter());
        assert!(beats.announce());
        beats
    }

    fn beat_of(beats: &mut Heartbeats, to: NodeId, flush: u64) -> Heartbeat {
        let own = OwnFacts { flush, full: false, schema: Schema::FIRST };
        beats.beat(Now::default(), to, own, Vec::new().into_iter(), &mut NoMarks)
    }

    fn hear(beats: &mut Heartbeats, from: NodeId, beat: &Heartbeat) -> Heard {
        beats.hear((Monotonic::default(), Timeouts::default().trust()), from, beat, &mut NoMarks)
    }

    #[test]
    fn a_node_is_introduced_once_its_start_is_noted() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(4, A, known(7, 5));
        let first = beat_of(&mut b, A, 50);
        assert_eq!(hear(&mut a, B, &first), Heard::First);
        assert_eq!(a.to_note(B), None, "it has not shown that it knows of start 3");
        assert_eq!(hear(&mut b, A, &beat_of(&mut a, B, 9)), Heard::First);
        let second = beat_of(&mut b, A, 50);
        assert_eq!(hear(&mut a, B, &second), Heard::GoesOn);
        assert_eq!(a.to_note(B), Some(known(4, 50)));
        assert!(a.is_noting() && !b.is_introduced_to(A));

        assert!(a.set_noted(B, known(4, 50)) && !a.is_noting());
        hear(&mut b, A, &beat_of(&mut a, B, 9));
        assert!(b.is_introduced_to(A));
    }

    #[test]
    fn a_beat_that_was_acknowledged_before_a_start_was_noted_proves_no_other() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(4, A, Witnessed::default());
        hear(&mut b, A, &beat_of(&mut a, B, 9));
        let acknowledges = beat_of(&mut b, A, 50);
        assert!(a.set_noted(B, known(4, 50)));
        let other = Heartbeat { boot: BootId { nonce: 1, ..boot(5) }, ..acknowledges };
        hear(&mut a, B, &other);
        assert_eq!(a.to_note(B), None, "what it has heard was of start 3");
    }

    #[test]
    fn a_beat_that_was_acknowledged_before_a_flush_was_heard_proves_nothing_of_it() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(3, A, Witnessed::default());
        let mut again = node(4, A, Witnessed::default());
        hear(&mut again, A, &beat_of(&mut a, B, 9));
        hear(&mut a, B, &beat_of(&mut b, A, 200));
        hear(&mut a, B, &beat_of(&mut again, A, 60));
        assert_eq!(a.to_note(B), None, "what it has heard was of flush 40");
        hear(&mut again, A, &beat_of(&mut a, B, 9));
        hear(&mut a, B, &beat_of(&mut again, A, 60));
        assert_eq!(a.to_note(B), Some(known(4, 60)));
    }

    #[test]
    fn a_beat_that_comes_late_lowers_nothing() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(3, A, Witnessed::default());
        let late = beat_of(&mut b, A, 30);
        hear(&mut a, B, &late);
        assert_eq!(a.to_note(B), Some(known(3, 40)));
        assert_eq!(beat_of(&mut a, B, 9).witnessed, known(3, 40));
    }

    #[test]
    fn a_peer_that_is_met_again_hears_the_next_beat() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(3, A, Witnessed::default());
        (0..5).for_each(|flush| {
            hear(&mut b, A, &beat_of(&mut a, B, flush));
        });
        a.keep(|_| false);
        a.meet(B, known(3, 40));
        assert_eq!(hear(&mut b, A, &beat_of(&mut a, B, 9)), Heard::GoesOn);
    }

    #[test]
    fn what_was_heard_of_a_disk_outlives_the_start_that_said_so() {
        let mut a = node(7, B, known(3, 40));
        let mut b = node(3, A, Witnessed::default());
        hear(&mut a, B, &beat_of(&mut b, A, 60));
        let mut again = node(4, A, Witnessed::default());
        assert_eq!(hear(&mut a, B, &beat_of(&mut again, A, 10)), Heard::Restarted);
        assert_eq!(beat_of(&mut a, B, 9).witnessed, known(3, 60), "the disk went that far");
    }

    #[test]
    fn a_clock_is_read_by_the_way_there_and_back_and_not_at_all_when_time_stood_still() {
        let at = |ms: u64| Monotonic::from_nanos(1_000_000 * ms);
        let ms = Nanos::from_millis;
        let beat =
            |held| ClockBeat { sent: at(7), wall: Wall::from_nanos(5), returned: at(100), held: ms(held) };
        let sample = |round_trip| ClockSample { taken: at(160), wall: Wall::from_nanos(5), round_trip };
        assert_eq!(beat(50).sample(at(160)), Some(sample(ms(10))));
        assert_eq!(beat(60).sample(at(160)), Some(sample(ms(0))));
        assert_eq!(beat(61).sample(at(160)), None, "it was held for longer than it was away");
    }

    #[test]
    fn who_has_no_name_yet_is_not_taken_for_anybody() {
        let mut a = node(7, B, known(3, 40));
        let mut b = Heartbeats::new(boot(4), [(A, Witnessed::default())].into_iter());
        assert_eq!(hear(&mut a, B, &beat_of(&mut b, A, 50)), Heard::Unnamed);
        assert!(a.to_note(B).is_none() && a.heard().is_empty());
    }
}

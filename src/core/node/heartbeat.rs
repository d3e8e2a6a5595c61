//! Heartbeats: one a node pair, for all groups that the two share.
//!
//! A beat tells what its sender leads, but only what the other side has not acknowledged yet: an idle group costs
//! nothing. While beats with the same incarnation arrive, what was said before still holds. A beat with another
//! incarnation takes everything back: a node that restarted leads nothing.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{CommitIndex, GroupId, Incarnation, Mark, Marks, Monotonic, NodeId, Op, View};

/// One heartbeat.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Heartbeat {
    /// The sender's start; a new one takes back all that earlier ones said.
    pub incarnation: Incarnation,
    /// Counts the sender's beats to this receiver, from 1.
    pub sequence: u64,
    /// The receiver's incarnation, as the sender last heard it.
    pub heard_incarnation: Incarnation,
    /// The receiver's highest beat that the sender heard, under that incarnation.
    pub heard_sequence: u64,
    /// No space is left on the sender's disk.
    pub full: bool,
    /// What changed since the last beat that the receiver is known to have heard.
    pub groups: Vec<GroupBeat>,
}

notation_struct!("beat" => Heartbeat {
    incarnation, sequence, heard_incarnation, heard_sequence, full, groups
});

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
    /// A snapshot on the sender's disk covers it up to here.
    pub saved: Op,
}

notation_struct!("group-beat" => GroupBeat { group, view, leads, commit, head, saved });

/// The heartbeats of a node with every peer.
#[derive(Clone, Debug)]
pub(in crate::node) struct Heartbeats {
    incarnation: Incarnation,
    pairs: BTreeMap<NodeId, Pair>,
    heard: BTreeMap<NodeId, Monotonic>,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    /// The last beat sent.
    sequence: u64,
    /// What beats said that the peer has not acknowledged, oldest first.
    unacknowledged: VecDeque<(u64, Vec<GroupBeat>)>,
    /// What the peer knows, to our knowledge.
    known: BTreeMap<GroupId, GroupBeat>,
    peer_incarnation: Incarnation,
    peer_sequence: u64,
    /// No space is left on the peer's disk.
    peer_is_full: bool,
}

/// What a beat that was heard means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) enum Heard {
    /// It is of a stranger, or older than one heard before.
    Stale,
    /// The peer goes on.
    GoesOn,
    /// The peer has restarted since the last beat.
    Restarted,
}

/// Beats whose acknowledgement is waited for, a pair.
const UNACKNOWLEDGED_MAX: usize = 16;

impl Heartbeats {
    pub(in crate::node) fn new(incarnation: Incarnation, peers: impl Iterator<Item = NodeId>) -> Self {
        let pairs = peers.map(|peer| (peer, Pair::default())).collect();
        Self { incarnation, pairs, heard: BTreeMap::new() }
    }

    pub(in crate::node) fn peers(&self) -> Vec<NodeId> {
        self.pairs.keys().copied().collect()
    }

    /// Whether no space was left on the disk of `peer` when it last said.
    pub(in crate::node) fn is_full(&self, peer: NodeId) -> bool {
        self.pairs.get(&peer).is_some_and(|pair| pair.peer_is_full)
    }

    /// When the last beat of each peer came.
    pub(in crate::node) fn heard(&self) -> &BTreeMap<NodeId, Monotonic> {
        &self.heard
    }

    /// The next beat to `peer`; `groups` is what is true now of the groups that both share.
    pub(in crate::node) fn beat(
        &mut self,
        peer: NodeId,
        full: bool,
        groups: impl Iterator<Item = GroupBeat>,
        marks: &mut impl Marks,
    ) -> Heartbeat {
        let incarnation = self.incarnation;
        let pair = self.pairs.entry(peer).or_default();
        let groups: Vec<GroupBeat> = groups.filter(|beat| pair.is_news(beat)).collect();
        pair.sequence += 1;
        pair.unacknowledged.push_back((pair.sequence, groups.clone()));
        if pair.unacknowledged.len() > UNACKNOWLEDGED_MAX {
            marks.hit(Mark::BeatsForgotten);
            pair.unacknowledged.pop_front();
        }
        Heartbeat {
            incarnation,
            sequence: pair.sequence,
            heard_incarnation: pair.peer_incarnation,
            heard_sequence: pair.peer_sequence,
            full,
            groups,
        }
    }

    /// Takes a beat of `peer`.
    pub(in crate::node) fn hear(
        &mut self,
        now: Monotonic,
        peer: NodeId,
        beat: &Heartbeat,
        marks: &mut impl Marks,
    ) -> Heard {
        let own = self.incarnation;
        let Some(pair) = self.pairs.get_mut(&peer) else { return Heard::Stale };
        let first = pair.peer_incarnation == Incarnation::default();
        let same = beat.incarnation == pair.peer_incarnation;
        if beat.incarnation < pair.peer_incarnation || (same && beat.sequence <= pair.peer_sequence) {
            marks.hit(Mark::BeatStale);
            return Heard::Stale;
        }
        if same && beat.sequence > pair.peer_sequence + 1 {
            marks.hit(Mark::BeatLost);
        }
        if !same {
            *pair = Pair { sequence: pair.sequence, ..Pair::default() };
        }
        pair.peer_incarnation = beat.incarnation;
        pair.peer_sequence = beat.sequence;
        pair.peer_is_full = beat.full;
        if beat.heard_incarnation == own {
            pair.acknowledge(beat.heard_sequence);
        } else {
            pair.known.clear();
        }
        self.heard.insert(peer, now);
        if same || first { Heard::GoesOn } else { Heard::Restarted }
    }
}

impl Pair {
    /// A group that the sender leads is news when anything changed; one that it does not lead, when the peer believes
    /// that it does, or does not know of the sender's last snapshot.
    fn is_news(&self, beat: &GroupBeat) -> bool {
        match self.known.get(&beat.group) {
            // While something is not committed yet, the peer's acknowledgement may have been lost: it repeats it when told.
            Some(known) if beat.leads => known != beat || !beat.commit.covers(beat.head),
            Some(known) => known.leads || known.saved != beat.saved || self.may_believe(beat.group),
            None => beat.leads || beat.saved > Op::GENESIS || self.may_believe(beat.group),
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

//! Heartbeats: one a node pair, for all groups that the two share.
//!
//! A beat tells what its sender leads, but only what the other side has not acknowledged yet: an idle group costs
//! nothing. While beats with the same incarnation arrive, what was said before still holds. A beat with another
//! incarnation takes everything back: a node that restarted leads nothing.

use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{CommitIndex, GroupId, Incarnation, Op, View};

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
    /// What changed since the last beat that the receiver is known to have heard.
    pub groups: Vec<GroupBeat>,
}

notation_struct!("beat" => Heartbeat { incarnation, sequence, heard_incarnation, heard_sequence, groups });

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
}

notation_struct!("group-beat" => GroupBeat { group, view, leads, commit, head });

//! Consensus: protocols behind one contract.
//!
//! A replica is a state machine without time, disk or network. It is handed a [`Turn`] (the time, the journal's
//! writer, a random stream, a place for messages) with one of six inputs:
//!
//! | input | what it brings |
//! |---|---|
//! | `on_message` | what another replica says |
//! | `on_beat` | what the pair's heartbeat says of this group |
//! | `on_durable` | the journal's durable ordinal has grown |
//! | `on_timeout` | the deadline it asked for has passed |
//! | `propose` | a payload for the next entry, on the primary alone |
//! | `ask_read_index` | somebody wants to read beside the log |
//!
//! What it stages with the journal's writer waits for `on_durable`; what claims durability is sent from there. What it
//! has committed is handed out entry by entry, in order (`next_to_apply`); what peers only have in a snapshot is named
//! (`needs_snapshot`), and comes as a whole (`install`).
//!
//! The contract speaks VSR's words. To a second protocol, Raft, they will be:
//!
//! | here | Raft |
//! |---|---|
//! | view, op, primary, backup | term, index, leader, follower |
//! | hard state: view, log view, header suffix | hard state: term, vote. The suffix has no counterpart: Raft never adopts headers without entries |
//! | `Prepare`, `PrepareOk` | AppendEntries and its response. `PrepareOk` names the exact slots held; Raft's match index is cumulative |
//! | `StartViewChange` | pre-vote: a wish that changes no state |
//! | `HandOver` | TimeoutNow; to all, since a view is entered by all |
//! | `DoViewChange`, quorum of them | RequestVote and its response: there the log stays where it is, and the votes move |
//! | `StartView` | the first AppendEntries of a term, with the no-op |
//! | `RequestEntries`, `Entries` | AppendEntries after a conflict hint |
//! | `Covered`, and the snapshot that the nodes then pass on | InstallSnapshot |
//! | `RequestReadIndex`, `ReadIndex` | the same; `ConfirmView` and its answer are AppendEntries without entries |
//! | heartbeat of the node pair | AppendEntries without entries |

mod clock;
mod config;
mod message;
pub mod vsr;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use clock::{ClockSample, ClusterClock, Interval, Trust};
pub use config::{Limits, Timeouts};
pub use message::{DoViewChange, SuffixEntry, VsrMessage};

use crate::engine::LogWriter;
use crate::types::{Monotonic, Nanos, NodeId, Now, Prng};

/// What a replica may use while it takes one input.
#[derive(Debug)]
pub struct Turn<'a, M> {
    /// The time.
    pub now: Now,
    /// Takes records; tells how far they are durable.
    pub journal: &'a mut LogWriter,
    /// For jitter.
    pub prng: &'a mut Prng,
    /// When the last heartbeat of each peer came.
    pub heard: &'a BTreeMap<NodeId, Monotonic>,
    /// What the clocks of the peers show.
    pub clock: &'a ClusterClock,
    /// Bounds.
    pub limits: &'a Limits,
    /// Paces.
    pub timeouts: &'a Timeouts,
    /// Messages to be sent, in order.
    pub out: &'a mut Vec<(NodeId, VsrMessage)>,
    /// Takes note of the paths taken.
    pub marks: &'a mut M,
}

impl<M> Turn<'_, M> {
    /// The moment `span` from now, plus up to half as much again.
    pub(in crate::consensus) fn jittered(&mut self, span: Nanos) -> Monotonic {
        let jitter = self.jitter(span);
        self.now.monotonic.after(span).after(jitter)
    }

    /// Up to half of `span`.
    pub(in crate::consensus) fn jitter(&mut self, span: Nanos) -> Nanos {
        Nanos::from_nanos(self.prng.below(span.as_nanos() / 2 + 1))
    }
}

/// Why a message was dropped. None of these is an error of this node: networks repeat, delay and reorder.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Discard {
    /// The sender is not a voter of the group.
    Stranger,
    /// Only the primary of the view says such a thing.
    NotFromPrimary,
    /// It is of a view that is over here.
    OldView,
    /// It does not fit what this replica is doing.
    OutOfPlace,
    /// It contradicts itself: ops that do not ascend, hashes that do not chain.
    Inconsistent,
}

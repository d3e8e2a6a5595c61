//! What replicas of a group say to each other.

use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{CommitIndex, Entry, EntryHeader, Hash, Op, View};

/// A message of one group. The words are VRR's; the contract in [`crate::consensus`] says what each is to Raft.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum VsrMessage {
    /// Primary to backups: hold this entry (VRR 4.1).
    Prepare {
        /// The sender's view.
        view: View,
        /// What the sender knows to be committed.
        commit: CommitIndex,
        /// The entry, under the view in which it was first prepared.
        entry: Entry,
    },
    /// Backup to primary: the ops `from..=to` of the log that ends in `hash` are on my disk.
    PrepareOk {
        /// The sender's view; durable, as its log view is.
        view: View,
        /// First op acknowledged.
        from: Op,
        /// Last op acknowledged.
        to: Op,
        /// Hash of the entry at `to`; by the chain it names every op below.
        hash: Hash,
    },
    /// Anyone to all: I would leave the view below `view`. A wish, not a promise: nothing is durable yet.
    StartViewChange {
        /// The view the sender would go to.
        view: View,
    },
    /// Replica to the new primary: I have left all views below `view`, and this is my log (VRR 4.2).
    DoViewChange(DoViewChange),
    /// New primary to all: this is the log of the view.
    StartView {
        /// The view that starts.
        view: View,
        /// What the sender knows to be committed.
        commit: Op,
        /// The headers from `commit` to the head, ascending.
        headers: Vec<EntryHeader>,
    },
    /// Replica to any other: send me the entries `from..=to` that you hold.
    RequestEntries {
        /// First op asked for.
        from: Op,
        /// Last op asked for.
        to: Op,
    },
    /// Some of the entries asked for are gone here: a snapshot of mine covers them.
    Covered {
        /// Up to here nothing is left but the snapshot; all of it is committed.
        to: Op,
    },
    /// Entries asked for, ascending, as many as the limits allow.
    Entries {
        /// The sender's log view: within it, the entries are a prefix of its primary's log.
        log_view: View,
        /// What the sender knows to be committed.
        commit: CommitIndex,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Any replica to the primary: what must I have applied to show all that is committed by now?
    RequestReadIndex {
        /// What tells the answer from all others.
        token: u64,
    },
    /// Primary to all: is this still your view?
    ConfirmView {
        /// The sender's view.
        view: View,
        /// Counts the questions of a view.
        round: u64,
    },
    /// To the primary: it is.
    ViewConfirmed {
        /// The sender's view; durable.
        view: View,
        /// Which question is answered.
        round: u64,
    },
    /// Primary to who asked: so much, and a quorum has confirmed that I led since.
    ReadIndex {
        /// As it was asked.
        token: u64,
        /// All that was committed when it was asked is no higher.
        index: Op,
    },
    /// A primary that gives its view up to all voters: this is the view that follows, whose primary has all of my log.
    HandOver {
        /// The view to go to.
        view: View,
    },
}

notation_enum!(VsrMessage {
    "prepare" => Prepare { view, commit, entry },
    "prepare-ok" => PrepareOk { view, from, to, hash },
    "start-view-change" => StartViewChange { view },
    "do-view-change" => DoViewChange(message),
    "start-view" => StartView { view, commit, headers },
    "request-entries" => RequestEntries { from, to },
    "covered" => Covered { to },
    "entries" => Entries { log_view, commit, entries },
    "request-read-index" => RequestReadIndex { token },
    "confirm-view" => ConfirmView { view, round },
    "view-confirmed" => ViewConfirmed { view, round },
    "read-index" => ReadIndex { token, index },
    "hand-over" => HandOver { view },
});

/// A replica's log as a view change sees it.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct DoViewChange {
    /// The view to go to; durable at the sender.
    pub view: View,
    /// The view whose log this is; durable at the sender.
    pub log_view: View,
    /// Every op up to here is committed, to the sender's knowledge.
    pub commit: Op,
    /// The op at `commit`, then everything above it, ascending.
    pub suffix: Vec<SuffixEntry>,
}

notation_struct!("dvc" => DoViewChange { view, log_view, commit, suffix });

/// One op of a view-change log (`consensus.md`, rule 5).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct SuffixEntry {
    /// Its header.
    pub header: EntryHeader,
    /// The sender holds the entry durably. May rise while the view change lasts.
    pub present: bool,
    /// The sender is sure that it never acknowledged the entry, and never will in an earlier view. Stays valid.
    pub nack: bool,
}

notation_struct!("slot" => SuffixEntry { header, present, nack });

//! Coverage marks: names for the paths that a test wants to know it has taken.
//!
//! A node is built over a [`Marks`], and whoever steps it for production takes [`NoMarks`]: nothing is counted, nothing
//! is kept, and no name is in the binary. A simulator counts, one recorder a node, so that worlds stay apart and a
//! clone counts on by itself. A mark belongs on a rare branch: one that every run takes tells nothing.

/// Takes note of the marks that a node passes.
pub trait Marks: Clone {
    /// `mark` was passed.
    fn hit(&mut self, mark: Mark);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMarks;

impl Marks for NoMarks {
    #[inline(always)]
    fn hit(&mut self, _mark: Mark) {}
}

macro_rules! marks {
    ($($name:ident => $text:literal,)+) => {
        /// A path worth knowing about.
        #[derive(Clone, Copy, Eq, PartialEq)]
        pub enum Mark {
            $(#[doc = $text] $name,)+
        }

        impl Mark {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The room, and what happened there.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

marks! {
    // The engine: start.
    TornFlush => "engine: torn flush cut",
    BlockUnreadable => "engine: block of the journal that cannot be read",
    ReadsDiffer => "engine: two reads of the journal differ",
    FlushRotten => "engine: flush without its head named by the next",
    FlushBodyRotten => "engine: records lost from a flush's body",
    FlushLost => "engine: flush lost whole behind which another survived",
    EmptySegmentDropped => "engine: empty segment let go at a start",
    ManifestTorn => "engine: torn version of the manifest found",
    ManifestOlderWins => "engine: torn version of the manifest gives way to the one before",
    SnapshotReadAgain => "engine: snapshot read once more",
    ManifestReadAgain => "engine: manifest read back once more",
    ManifestWrittenAgain => "engine: manifest written once more",
    SnapshotLost => "engine: snapshot lost, it is to come from a peer",
    TransferResumed => "engine: chunks of a coming snapshot found after a start",
    // The engine: archives.
    ChunkSealed => "engine: chunk of an archive sealed",
    ChunkSealedWithHole => "engine: chunk sealed although a payload of it is lost here",
    ChunkHeadRotten => "engine: head of the newest chunk lost",
    ChunkRottenFoundByLookup => "engine: rotten chunk found by a lookup",
    ChunkRefused => "engine: chunk of a peer is not as it was sealed, or not the next",
    ChunkFetched => "engine: next chunk taken from a peer",
    ChunksSkipped => "engine: later chunk taken from a peer, for the next is gone there",
    ChunkRepaired => "engine: rotten chunk written over with a peer's",
    ChunkDropped => "engine: oldest chunk dropped",
    // Consensus: what archives lack.
    AskedBelow => "vsr: entries below the log asked for",
    FaultyFilledForArchive => "vsr: payload taken that only the archive wants",
    LogGrewDownward => "vsr: log grown downward",
    // The node: the journal's length.
    CopiedForward => "node: what the oldest segment holds written again",
    RefusedOverQuota => "node: command refused, for its group keeps too much of the journal",
    // The node: archives.
    ChunkFetchBegun => "node: chunk of an archive asked for",
    ChunkAskedAgain => "node: chunk asked for again, of another peer",
    ChunkGoneAtPeer => "node: chunk wanted that a peer keeps no more",
    PieceRefused => "node: piece of a chunk refused",
    ChunkWaits => "node: whole chunk waits for another to be written",
    // The engine: running.
    FlushSplit => "engine: flush split",
    SegmentRolled => "engine: segment rolled",
    RollBlocked => "engine: flush waits for a spare segment",
    SegmentRecycled => "engine: segment file used again",
    SegmentsFreed => "engine: segments freed",
    IdleBarrier => "engine: idle journal notes its last barrier",
    FlushesOverlap => "engine: flush starts while another is in flight",
    FlushCompletedEarly => "engine: flush completes before an older one",
    ManifestBusy => "engine: manifest changes wait for those being written",
    SnapshotInForce => "engine: snapshot in force",
    RottenFoundByFetch => "engine: snapshot found rotten by a peer that fetches it",
    PinnedByPromise => "engine: promise written again so that its segment can go",
    WentOnBehind => "engine: journal goes on behind its end",
    WentOnInSpare => "engine: journal goes on in an empty file",
    ReserveUsedAtStart => "engine: reserve given back for a start",
    WentOnWithoutRoom => "engine: journal goes on with no room left",
    DiskFull => "engine: no space is left",
    DiskFullNoMore => "engine: there is space again",
    ScrubPassOver => "engine: scrub has read everything once more",
    ScrubFound => "engine: scrub found what rotted",
    // VSR: start.
    FaultyRepairedInViewChange => "vsr: faulty entry repaired while logs are collected",
    RestartWithFaultyEntry => "vsr: restart with a faulty entry",
    RestartWithoutPayload => "vsr: header without payload after a restart",
    RestartInViewChange => "vsr: restart within a view change",
    RestartedPrimarySilent => "vsr: restarted primary is silent in its view",
    RestartedReplicaSilent => "vsr: restarted replica is silent, its log is not the one it told of",
    RottenWrittenAgain => "vsr: entry that rotted on the disk written again",
    // VSR: normal operation.
    EpochEntered => "vsr: epoch entered with its membership",
    EpochBySnapshot => "vsr: epoch entered by a snapshot of it",
    LeftOut => "vsr: replica is no member of the epoch",
    LaterEpochHeardOf => "vsr: later epoch heard of",
    NewVoterIsLate => "vsr: new voter takes part in a view that has begun",
    EntryOfTheNextEpoch => "vsr: entry waits for its epoch",
    SilentToCatchUp => "vsr: view left to the epoch that followed",
    ChangeWaitsForHistory => "vsr: membership stays, a voter may lack what the group keeps",
    PromotionTooEarly => "vsr: learner lags too far behind to vote",
    EarlyPrepare => "vsr: prepare kept until those before it come",
    EarlyPrepareTaken => "vsr: prepare that was kept follows at last",
    PrepareTooEarly => "vsr: prepare too far ahead to be kept",
    PayloadFilled => "vsr: header gets its payload",
    LogStopped => "vsr: log stopped by a payload that stays away",
    CommitHeldBack => "vsr: commit waits for entries that are missing",
    FloorRaised => "vsr: floor raised",
    BeatShowsGap => "vsr: heartbeat tells of entries that never came",
    AckRepeated => "vsr: acknowledgement repeated after a heartbeat",
    PrepareAnsweredAgain => "vsr: acknowledgement repeated after a prepare that came twice",
    PrimaryLost => "vsr: primary leads its view no more",
    // VSR: view change.
    Resigned => "vsr: primary gives its view up",
    ResignedWithoutTime => "vsr: primary gives its view up, no majority of clocks agrees",
    ResignedOverDisk => "vsr: primary gives its view up, its disk completes nothing",
    HandedOver => "vsr: primary hands its group over",
    HandOverTooEarly => "vsr: group stays, who is to lead it lags too far behind",
    HandOverGivenUp => "vsr: primary goes on, who is to lead does not come to hold its log",
    HandOverFollowed => "vsr: view left for the one that the primary hands its group over to",
    ResignationFollowed => "vsr: backup follows its primary's wish",
    WishTakenBack => "vsr: wish taken back, the primary spoke",
    WishExpired => "vsr: wish too old to count",
    LateWishAnswered => "vsr: late wish answered with the view's start",
    WishAnsweredByTheNext => "vsr: wish answered by the primary that waits for the log of who wishes",
    NextWishAnswered => "vsr: wish for the next view answered with this one's start",
    LateLogAnswered => "vsr: late view-change message answered with the view's start",
    EnteredByWishes => "vsr: view entered, a quorum wishes for it",
    EnteredByLaterWish => "vsr: view entered, somebody wishes for the next",
    EnteredByPrepare => "vsr: view entered by a prepare",
    EnteredByBeat => "vsr: view entered by a heartbeat",
    EnteredByLog => "vsr: view entered by a view-change message",
    EnteredByStart => "vsr: view entered by its start",
    NackTruncation => "vsr: nack truncation",
    ShorterLogChosen => "vsr: shorter log chosen for its log view",
    PeersLogChosen => "vsr: another replica's log chosen",
    CatchUpBeforeAdopting => "vsr: committed entries fetched before a log is adopted",
    TailCut => "vsr: adopted log cuts the tail",
    HeadersAdopted => "vsr: headers adopted without payloads",
    CommittedTailKept => "vsr: entries committed since the view's start stay",
    EarlyBeatTaken => "vsr: heartbeat heard before its view starts here",
    StartWaitsForPayloads => "vsr: new primary fetches payloads before it starts",
    // VSR: repair.
    EntriesAskedFor => "vsr: missing entries asked for",
    LogToldAgain => "vsr: view-change message repeated",
    AskedForForgotten => "vsr: entries asked for that are forgotten",
    NothingToAnswer => "vsr: entries asked for that are not here",
    AnswerBoundByBytes => "vsr: answer with entries bounded by its bytes",
    AnswerForNoView => "vsr: answer with entries before the log view is durable",
    HeadExtendedByRepair => "vsr: entries of the same log view extend the head",
    ContradictionReplaced => "vsr: committed entry replaces what contradicts it",
    ContradictionOfLaterView => "vsr: entry committed in a later view is left",
    ContradictionWithoutParent => "vsr: committed entry contradicts, and does not join yet",
    CommittedBeyondHead => "vsr: committed entry beyond the head is left",
    SnapshotJoinsLog => "vsr: snapshot of a peer covers the log up to where it goes",
    SnapshotReplacesLog => "vsr: snapshot of a peer takes the place of the log",
    SilentAfterSnapshot => "vsr: silent in the view after a snapshot",
    // The kernel.
    RetryCommitted => "kernel: retry committed twice, executed once",
    RegisteredAgain => "kernel: registration committed twice",
    SessionEvicted => "kernel: session evicted",
    EvictedRefused => "kernel: command of an evicted session refused",
    OutOfOrderRefused => "kernel: command out of order refused",
    CommandRefused => "kernel: application refuses a command",
    TransferBegun => "node: snapshot asked of a peer",
    TransferAskedAgain => "node: snapshot asked of the next peer",
    TransferBegunAnew => "node: snapshot that nobody has any more given up for another",
    GroupBackByTransfer => "node: group takes part again, its snapshot came from a peer",
    LaggardsLeft => "node: journal too long, voters that lag are left to fetch a snapshot",
    SnapshotFollows => "node: snapshot taken for others' journals",
    SchemaActivated => "kernel: schema activated",
    SnapshotPiece => "kernel: snapshot written on, and more is to come",
    SnapshotTaken => "kernel: snapshot taken",
    SnapshotWaits => "kernel: snapshot waits for one that is being saved",
    SnapshotRestored => "kernel: snapshot restored",
    SideEffectRests => "kernel: side effect failed and rests",
    SideEffectRefused => "kernel: side effect refused by its executor",
    SideEffectGivenUp => "kernel: side effect given up, it failed too often",
    LeaseExpired => "kernel: lease of a worker ended",
    LeaseStale => "node: worker turned away, its lease is none any more",
    DeadDropped => "kernel: dead side effect dropped, there are too many",
    DeadRedriven => "kernel: dead side effect redriven",
    DeadDiscarded => "kernel: dead side effect discarded",
    DeadNoMore => "kernel: operator's wish about a side effect that is dead no more",
    RedrivenDone => "kernel: redriven side effect took effect",
    SideEffectsForsaken => "kernel: side effects under way when their primary lost its authority",
    AttemptTimedOut => "kernel: attempt at a side effect that nobody answered in time",
    AttemptEndedTooLate => "kernel: attempt at a side effect that ended too late",
    // The node.
    BusyRecovering => "node: request refused while the disk is read",
    QueueFull => "node: request refused, the queue is full",
    RefusedFull => "node: request refused, no space is left",
    NotPrimary => "node: request turned away, another leads",
    // Reads beside the log.
    ReadsShareAnAsk => "vsr: read that shares the next ask for an index",
    ReadAskedAgain => "vsr: read index asked for again",
    ReadWaitsForTheViewsLog => "vsr: read that waits for what the view began with",
    QueryBeforeArrival => "node: query refused, the node has just started and no quorum knows it yet",
    OutboxFull => "node: command refused, too many side effects have not ended",
    QueriesFull => "node: query refused, too many wait",
    GroupHalted => "node: application cannot go on, its group stands still",
    RefusedHalted => "node: command refused, for its group stands still",
    MembershipPrepared => "node: membership changed by an operator",
    NewVoterWaits => "node: new voter waits until a quorum knows its start",
    MembershipDeclined => "node: membership not changed",
    StrangerMet => "node: node met that it may join",
    ActivationPrepared => "node: schema activated by an operator",
    RedrivePrepared => "node: dead side effect redriven by an operator",
    DiscardPrepared => "node: dead side effect discarded by an operator",
    SkipPrepared => "node: event skipped by an operator",
    StateRebuilt => "node: state rebuilt from the snapshot and the log",
    QueryGivenUp => "node: query refused, no quorum confirmed its index",
    QueryWaitsToBeApplied => "node: query that waits until its index is applied",
    RetryAnswered => "node: retry answered from its session",
    RetryUnderWay => "node: retry of a request under way",
    ClockHeldBack => "node: requests wait, no majority of clocks agrees",
    ClockOutvoted => "node: clock that a majority of others outvotes",
    PipelineFull => "node: requests wait, the pipeline is full",
    BatchFull => "node: batch full",
    QueueTurnedAway => "node: queued requests turned away",
    PreparedForsaken => "node: requests prepared and never answered",
    BeatLost => "node: heartbeat lost",
    BusyArriving => "node: request comes before a quorum knows this start",
    HeardWhileArriving => "node: message dropped before a quorum knows this start",
    NotIntroduced => "node: message held back from a peer that does not know this start",
    BusyMute => "node: request comes to a node that is mute",
    DiskDisowned => "node: mute, a peer knows another state of this disk",
    BeatStale => "node: heartbeat late or doubled",
    BeatsForgotten => "node: unacknowledged heartbeats forgotten",
    PeerRestarted => "node: peer restarted",
    OldViewDropped => "node: message of an old view dropped",
    OutOfPlaceDropped => "node: message out of place dropped",
    InconsistentDropped => "node: inconsistent message dropped",
}

#[cfg(test)]
mod tests {
    use super::{Mark, NoMarks};

    #[test]
    fn no_marks_take_no_room() {
        assert_eq!(size_of::<NoMarks>(), 0);
    }

    #[test]
    fn a_text_is_one_marks_alone_and_names_its_room() {
        for (index, mark) in Mark::ALL.iter().enumerate() {
            assert!(!Mark::ALL[..index].iter().any(|other| other.text() == mark.text()), "{}", mark.text());
            let room = mark.text().split_once(": ").map(|(room, _)| room);
            assert!(matches!(room, Some("engine" | "vsr" | "kernel" | "node")), "{}", mark.text());
        }
    }
}

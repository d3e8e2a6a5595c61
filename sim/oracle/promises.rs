//! What each invariant promises, in a sentence.

/// The promise behind an invariant's name; none when there is no such invariant.
pub fn promise_of(invariant: &str) -> Option<&'static str> {
    PROMISES.iter().find(|(name, _)| *name == invariant).map(|(_, promise)| *promise)
}

const PROMISES: [(&str, &str); 78] = [
    ("AckedSurvives", "what a client was told is committed is in every replica once the world has healed"),
    ("Addressed", "messages and answers go to somebody who exists"),
    ("AmnesiacMute", "a disk that was wiped or put back says nothing under its old name, and is told so"),
    ("ApplyOnce", "a request of a session is executed once, at one op, however often it is sent"),
    (
        "ApplyPure",
        "an event does the same whenever and wherever it is applied to one state: answer, side effects, state",
    ),
    (
        "ArchiveAgree",
        "a chunk of an archive is the same on every disk, and holds what was committed and nothing else",
    ),
    ("Bounded", "every queue stays within its named limit"),
    ("CancelWins", "an event that was cancelled before it was due never becomes ready"),
    ("CaughtUpToVote", "who gets a vote holds the log up to the entry that made it a member"),
    ("ChainMatch", "each entry names the hash of the one before it, so that one hash names a whole prefix"),
    ("Codec", "a message is read back as it was written"),
    ("CommittedImmutable", "what is committed at an op never changes"),
    ("CommittedOnQuorum", "an entry is committed only once a quorum has held it durably"),
    ("ConfigEqualsLog", "who the members of a group are is what its log says, everywhere and in its order"),
    ("CreditRespected", "nobody has more deliveries open than it has credits for"),
    ("DeadKept", "what was given up is shown as it ended, until it is tried again or forgotten"),
    ("DedupHolds", "a name is accepted once within its window, and a duplicate is told of the first"),
    ("DurableMonotone", "the views that a disk promises never go back"),
    ("EffectEventually", "a side effect that was promised takes effect, or is given up and shown so"),
    ("EffectFromCommit", "a side effect is executed only once what emitted it is committed"),
    ("EffectOnce", "a side effect takes effect once at a receiver that knows its key"),
    ("EndRecorded", "what a worker is told is recorded, the log says of its attempt"),
    ("ErrorKeepsState", "what an application refuses leaves its state as it was"),
    ("EvictDeterministic", "sessions are evicted in one order, and the evicted never execute"),
    (
        "ExpiryHolds",
        "an event is delivered while it is of use and not after, and expires by its time or its topic's bounds alone",
    ),
    ("FailStop", "after a failed disk operation a node says nothing more"),
    ("FaultySilent", "an entry that rotted counts as held again only once it is repaired"),
    (
        "FenceMonotone",
        "a fencing token is one primary's alone, that of its view, and no sink accepts a lower one than before",
    ),
    ("FireBounded", "an entry sees to all that is due, up to its limit"),
    ("FireOnce", "an event becomes ready once, and has one place in the ready sequence"),
    ("FloorContiguous", "a consumer group's floor passes nothing that is not settled or dead"),
    ("FlushPrefix", "an acknowledged flush has every earlier flush durable"),
    (
        "FullDiskPrefix",
        "a disk on which no space is left stops no node, and changes nothing that was durable",
    ),
    ("GrantedOnce", "under one token an attempt is granted to one worker, once"),
    ("HandedOverWhole", "who is handed a group holds all of the log of whoever led it"),
    (
        "GenerationHolds",
        "once a consumer group is set to another place or deleted, what it was granted before never counts, and it begins there; a topic that was deleted never comes back",
    ),
    (
        "Heals",
        "once faults stop, one primary leads, the replicas become equal and a fresh request is answered",
    ),
    ("Intersect", "the quorum that starts a view meets every quorum that committed in an earlier one"),
    (
        "KeptInOrder",
        "what is kept is told in the order in which it became ready, from any place and any time",
    ),
    ("KeyOrder", "of one ordering key one delivery is open, and none overtakes an earlier one"),
    ("KeyStable", "all attempts at a side effect have one key, and no other side effect has it"),
    ("LeaderComplete", "the log that a view starts with holds everything committed before"),
    ("LearnerNeverCounts", "who does not vote leads nothing, and tells no new primary of its log"),
    ("Linearizable", "each operation takes effect at one moment between its request and its answer"),
    ("LogView", "the log view is not above the view, and equal to it while normal"),
    ("NackSound", "a replica never says that it did not hold what rotted on its disk"),
    ("NeverEarly", "no event is ready before its time, in consensus time"),
    ("NeverPanics", "an application panics over nothing that it is asked"),
    ("NeverSilent", "an event that was accepted is in exactly one state, which can be asked for"),
    ("NoCommittedTruncate", "no replica cuts a copy on which a commit rests"),
    ("NoGap", "below a commit that a disk promises no entry is missing on it"),
    (
        "NoStartAfterAck",
        "a node begins no attempt at what it knows to have ended, unless an operator has it tried again",
    ),
    ("NoStraddle", "after a view-change message for a view nothing is acknowledged in an earlier one"),
    ("OnePrimary", "at most one node ever leads a view"),
    ("OrdinalWins", "of two records of one op the later one is read, wherever it lies"),
    ("OwnAcks", "a commit rests on a quorum's acknowledgements in its own view"),
    ("OwnerOnly", "an event changes its state only by the hand that may change it"),
    (
        "PanicHalts",
        "a panic halts every replica of its group at the event, until the log skips that, and nothing else",
    ),
    ("PauseHolds", "while a consumer group pauses, or its topic, nothing is granted to it"),
    (
        "PlannedOnce",
        "an instant of a recurring schedule is planned once and taken back with it, and the next plan is asked for in time",
    ),
    ("ReadAsOf", "a read beside the log shows the state as of the op that it names, stale or not"),
    (
        "ReadFresh",
        "a linearizable read beside the log shows everything that was acknowledged before it began",
    ),
    ("ReplyOnlyCommitted", "a client is told only what a committed entry did"),
    ("RetainedReadable", "an entry that an archive keeps is found by op and by time, as it was committed"),
    ("RotNotTruncated", "a start never drops what was acknowledged, whatever rotted"),
    ("RotRepaired", "what a running node has read and found rotten it writes again"),
    ("SameReply", "a request that is sent again gets the first answer, byte for byte"),
    ("SendImpliesDurable", "what a message claims, its sender had made durable before"),
    ("SnapshotAtomic", "a snapshot in force is complete and as it was written, unless it rotted"),
    ("StallNamed", "a group that stands still beyond the fault budget names an entry that no voter has"),
    ("StateSafety", "replicas that applied the same op are in the same state"),
    ("TerminalStays", "a delivery that has ended stays as it ended, unless an operator revives it"),
    ("TimeBounded", "an entry is stamped with a time that a majority of its group's clocks bears out"),
    ("TimeMonotone", "each entry is stamped later than the one before it, across views"),
    ("Undisturbed", "a view is left only when a quorum of the voters wishes so"),
    ("ViewChangeStable", "a replica says the same about its log as often as it is asked in one view change"),
    ("Workload", "answers and final states are such as the application promises"),
    ("not deterministic", "the same seed goes the same way"),
];

#[cfg(test)]
mod tests {
    use super::promise_of;

    #[test]
    fn every_invariant_of_an_oracle_has_a_promise() {
        for oracle in crate::oracle::all() {
            for name in oracle.invariants() {
                assert!(promise_of(name).is_some(), "{name} promises nothing");
            }
        }
        assert!(crate::oracle::OF_THE_WORLD.iter().all(|name| promise_of(name).is_some()));
        assert_eq!(promise_of("Nonsense"), None);
    }
}

//! One replica, one input, what follows. Whole clusters are the simulator's.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::choose::{Choice, choose};
use super::{Beat, VsrNode};
use crate::consensus::{
    ClockSample, ClusterClock, Discard, DoViewChange, Limits, SuffixEntry, Timeouts, Turn, VsrMessage,
};
use crate::engine::{LogWriter, Record, RecoveredEntry, RecoveredLog};
use crate::types::{
    ClusterId, CommitIndex, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Membership, Monotonic, Nanos,
    NoMarks, NodeId, Now, Op, Ordinal, Prng, Quorums, Timestamp, View, Wall, usize_of,
};

pub(super) fn init(voters: u64) -> GroupInit {
    GroupInit {
        cluster: ClusterId::new(7),
        group: GroupId::new(0),
        kind: "register".to_string(),
        voters: (1..=voters).map(NodeId::new).collect(),
        sessions_max: 8,
        archive: None,
    }
}

/// A replica with the things that a node would lend it.
pub(super) struct Stage {
    pub(super) replica: VsrNode,
    pub(super) journal: LogWriter,
    prng: Prng,
    pub(super) heard: BTreeMap<NodeId, Monotonic>,
    clock: ClusterClock,
    pub(super) now: u64,
}

fn founding() -> Membership {
    Membership::founding(&init(3))
}

impl Stage {
    /// A replica of three that has never said a word; node 1 leads the first view.
    fn fresh(node: u64) -> Self {
        Self::recovered(node, &RecoveredLog::default(), Ordinal::new(0))
    }

    /// A replica of three that finds this in its journal, which ends with this ordinal.
    fn recovered(node: u64, log: &RecoveredLog, last: Ordinal) -> Self {
        let init = init(3);
        let genesis = (init.genesis(), Membership::founding(&init));
        Self::restored(node, genesis, log, last)
    }

    /// The same, with a snapshot that ends with this entry and holds these members.
    pub(super) fn restored(
        node: u64,
        snapshot: (EntryHeader, Membership),
        log: &RecoveredLog,
        last: Ordinal,
    ) -> Self {
        let replica = VsrNode::recover(init(3), NodeId::new(node), snapshot, log, &mut NoMarks);
        let replica = replica.expect("it is readable");
        let journal = LogWriter::after(last);
        let prng = Prng::from_key([3; 32]);
        Self { replica, journal, prng, heard: BTreeMap::new(), clock: ClusterClock::default(), now: 1_000 }
    }

    /// A replica that has begun, its first promise durable.
    pub(super) fn begun(node: u64) -> Self {
        let mut stage = Self::fresh(node);
        stage.turn(|replica, turn| replica.begin(turn));
        stage.sync();
        stage
    }

    pub(super) fn turn<R>(
        &mut self,
        act: impl FnOnce(&mut VsrNode, &mut Turn<'_, NoMarks>) -> R,
    ) -> (R, Vec<(u64, VsrMessage)>) {
        let mut out = Vec::new();
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        let now = Now { monotonic: Monotonic::from_nanos(self.now), wall: Wall::from_nanos(self.now) };
        let mut turn = Turn {
            now,
            journal: &mut self.journal,
            prng: &mut self.prng,
            heard: &self.heard,
            clock: &self.clock,
            limits: &limits,
            timeouts: &timeouts,
            out: &mut out,
            marks: &mut NoMarks,
        };
        let result = act(&mut self.replica, &mut turn);
        (result, out.into_iter().map(|(to, message)| (to.get(), message)).collect())
    }

    /// Everything staged becomes durable.
    pub(super) fn sync(&mut self) -> Vec<(u64, VsrMessage)> {
        let last = self.journal.last();
        self.journal.mark_durable(last);
        self.turn(|replica, turn| replica.on_durable(turn)).1
    }

    pub(super) fn hear(
        &mut self,
        from: u64,
        message: VsrMessage,
    ) -> (Result<(), Discard>, Vec<(u64, VsrMessage)>) {
        self.turn(|replica, turn| replica.on_message(turn, NodeId::new(from), message))
    }

    /// Makes an entry, whose time the clocks of all voters bear out.
    pub(super) fn propose(&mut self, payload: &'static str) -> (Op, Vec<(u64, VsrMessage)>) {
        self.agree();
        self.turn(|replica, turn| {
            let timestamp = replica.next_timestamp(turn.now, turn.clock, turn.timeouts);
            let timestamp = timestamp.expect("a majority of clocks agrees");
            replica.propose(turn, timestamp, EntryKind::Commands, Bytes::from_static(payload.as_bytes()))
        })
    }

    /// The clocks of the others show the same as the own one.
    fn agree(&mut self) {
        let (taken, wall) = (Monotonic::from_nanos(self.now), Wall::from_nanos(self.now));
        for peer in 1..=3 {
            let sample = ClockSample { taken, wall, round_trip: Nanos::default() };
            self.clock.hear(NodeId::new(peer), sample, Timeouts::default().trust());
        }
    }

    /// Lets the deadline pass.
    pub(super) fn wait(&mut self) -> Vec<(u64, VsrMessage)> {
        let deadline = self.replica.deadline().expect("something is waited for");
        self.now = deadline.as_nanos() + 1;
        self.turn(|replica, turn| replica.on_timeout(turn)).1
    }
}

pub(super) fn follow(parent: &EntryHeader, view: u64) -> Entry {
    let payload = Bytes::copy_from_slice(&view.to_le_bytes());
    Entry::next(parent, EntryKind::Commands, View::new(view), parent.timestamp().next(), payload)
}

fn prepare(view: u64, entry: &Entry) -> VsrMessage {
    VsrMessage::Prepare { view: View::new(view), commit: CommitIndex::At(Op::new(0)), entry: entry.clone() }
}

pub(super) fn kinds(messages: &[(u64, VsrMessage)]) -> Vec<(u64, &'static str)> {
    let kind = |message: &VsrMessage| match message {
        VsrMessage::Prepare { .. } => "prepare",
        VsrMessage::PrepareOk { .. } => "prepare-ok",
        VsrMessage::StartViewChange { .. } => "start-view-change",
        VsrMessage::DoViewChange(_) => "do-view-change",
        VsrMessage::StartView { .. } => "start-view",
        VsrMessage::RequestEntries { .. } => "request-entries",
        VsrMessage::Covered { .. } => "covered",
        VsrMessage::Entries { .. } => "entries",
        VsrMessage::RequestReadIndex { .. } => "request-read-index",
        VsrMessage::ConfirmView { .. } => "confirm-view",
        VsrMessage::ViewConfirmed { .. } => "view-confirmed",
        VsrMessage::ReadIndex { .. } => "read-index",
        VsrMessage::HandOver { .. } => "hand-over",
    };
    messages.iter().map(|(to, message)| (*to, kind(message))).collect()
}

#[test]
fn a_primary_does_not_propose_before_its_first_promise_is_durable() {
    let mut primary = Stage::fresh(1);
    primary.turn(|replica, turn| replica.begin(turn));
    assert!(!primary.replica.can_propose(&Limits::default()));
    primary.sync();
    assert!(primary.replica.can_propose(&Limits::default()));
}

#[test]
fn a_backup_acknowledges_what_is_durable_and_not_before() {
    let mut backup = Stage::begun(2);
    let entry = follow(&init(3).genesis(), 1);
    let (taken, messages) = backup.hear(1, prepare(1, &entry));
    assert_eq!((taken, kinds(&messages)), (Ok(()), vec![]));
    assert_eq!(kinds(&backup.sync()), [(1, "prepare-ok")]);
}

#[test]
fn a_quorum_of_durable_copies_commits() {
    let mut primary = Stage::begun(1);
    let (op, messages) = primary.propose("x");
    assert_eq!(kinds(&messages), [(2, "prepare"), (3, "prepare")]);
    primary.sync();
    assert_eq!(primary.replica.commit(), CommitIndex::At(Op::new(0)), "one copy of three is no quorum");
    let Some((_, VsrMessage::Prepare { entry, .. })) = messages.into_iter().next() else {
        panic!("no prepare")
    };
    let ok = VsrMessage::PrepareOk { view: View::new(1), from: op, to: op, hash: entry.hash() };
    primary.hear(3, ok).0.expect("it counts");
    assert_eq!(primary.replica.commit(), CommitIndex::At(op));
}

#[test]
fn an_acknowledgement_of_another_entry_counts_for_nothing() {
    let mut primary = Stage::begun(1);
    let (op, _) = primary.propose("x");
    primary.sync();
    let other = follow(&init(3).genesis(), 9).hash();
    let ok = VsrMessage::PrepareOk { view: View::new(1), from: op, to: op, hash: other };
    assert_eq!(primary.hear(3, ok).0, Err(Discard::Inconsistent));
    assert_eq!(primary.replica.commit(), CommitIndex::At(Op::new(0)));
}

#[test]
fn prepares_that_overtake_each_other_are_taken_in_order() {
    let mut backup = Stage::begun(2);
    let first = follow(&init(3).genesis(), 1);
    let second = follow(first.header(), 1);
    backup.hear(1, prepare(1, &second)).0.expect("it is kept");
    assert_eq!(backup.replica.head(), Op::new(0));
    backup.hear(1, prepare(1, &first)).0.expect("it is taken");
    assert_eq!(backup.replica.head(), Op::new(2));
    let messages = backup.sync();
    assert!(
        matches!(messages[..], [(1, VsrMessage::PrepareOk { from, to, .. })] if from.get() == 1 && to.get() == 2)
    );
}

#[test]
fn one_silent_primary_and_one_wish_do_not_make_a_view() {
    let mut backup = Stage::begun(2);
    assert_eq!(kinds(&backup.wait()), [(1, "start-view-change"), (3, "start-view-change")]);
    assert_eq!(backup.replica.views().0, View::new(1));
}

#[test]
fn a_quorum_of_wishes_enters_the_view_and_the_log_goes_out_once_that_is_durable() {
    let mut backup = Stage::begun(3);
    backup.wait();
    let (_, messages) = backup.hear(2, VsrMessage::StartViewChange { view: View::new(2) });
    assert_eq!(backup.replica.views(), (View::new(2), View::new(1)));
    assert_eq!(kinds(&messages), []);
    assert_eq!(kinds(&backup.sync()), [(2, "do-view-change")]);
}

#[test]
fn who_wishes_last_says_so_and_who_did_not_hear_it_is_told_again() {
    let wish = || VsrMessage::StartViewChange { view: View::new(2) };
    let mut primary = Stage::begun(2);
    primary.now = primary.replica.deadline().expect("it waits for the primary").as_nanos();
    assert_eq!(primary.hear(3, wish()).0, Ok(()));
    let messages = primary.wait();
    assert_eq!(primary.replica.views().0, View::new(2));
    assert_eq!(kinds(&messages), [(1, "start-view-change"), (3, "start-view-change")]);
    assert_eq!(primary.hear(3, wish()), (Err(Discard::OldView), Vec::new()), "it is not durably there yet");
    primary.sync();
    let (dropped, messages) = primary.hear(3, wish());
    assert_eq!((dropped, kinds(&messages)), (Err(Discard::OldView), alloc::vec![(3, "start-view-change")]));

    let mut other = Stage::begun(3);
    other.wait();
    other.hear(2, messages[0].1.clone()).0.expect("it is a wish like others");
    assert_eq!(other.replica.views().0, View::new(2));
}

#[test]
fn a_new_primary_starts_its_view_once_its_log_view_is_durable() {
    let mut primary = Stage::begun(2);
    primary.wait();
    primary.hear(3, VsrMessage::StartViewChange { view: View::new(2) }).0.expect("it counts");
    primary.sync();
    let message = vote(2, 1, &[init(3).genesis()], 0);
    let (_, messages) = primary.hear(3, VsrMessage::DoViewChange(message));
    assert_eq!(kinds(&messages), []);
    assert_eq!(kinds(&primary.sync()), [(1, "start-view"), (3, "start-view")]);
    assert!(primary.replica.leads());
}

#[test]
fn a_primary_that_restarts_never_leads_its_view_again() {
    let mut primary = Stage::begun(1);
    let promise = super::hard_state::HardState {
        view: View::new(1),
        log_view: View::new(1),
        commit: Op::new(0),
        suffix: vec![init(3).genesis()],
        membership: founding(),
    };
    let recovered =
        RecoveredLog { hard_state: Some((Ordinal::new(1), promise.to_bytes())), ..Default::default() };
    let genesis = init(3).genesis();
    primary.replica =
        VsrNode::recover(init(3), NodeId::new(1), (genesis, founding()), &recovered, &mut NoMarks)
            .expect("it is readable");
    let (_, messages) = primary.turn(|replica, turn| replica.begin(turn));
    assert!(!primary.replica.leads());
    assert_eq!(kinds(&messages), [(2, "start-view-change"), (3, "start-view-change")]);
    let mine = VsrMessage::DoViewChange(vote(1, 1, &[init(3).genesis()], 0));
    primary.hear(2, mine.clone()).0.expect_err("the view is over");
    primary.hear(3, mine).0.expect_err("the view is over");
    assert!(!primary.replica.leads());
}

#[test]
fn a_message_of_an_older_view_is_dropped() {
    let mut backup = Stage::begun(2);
    let entry = follow(&init(3).genesis(), 1);
    backup.turn(|replica, turn| {
        let beat = Beat {
            view: View::new(4),
            leads: true,
            commit: CommitIndex::None,
            head: Op::new(0),
            released: Op::new(0),
            complete_to: Op::GENESIS,
        };
        replica.on_beat(turn, NodeId::new(1), beat);
    });
    assert_eq!(backup.replica.views().0, View::new(4));
    assert_eq!(backup.hear(1, prepare(1, &entry)).0, Err(Discard::OldView));
}

#[test]
fn strangers_are_not_heard() {
    let mut backup = Stage::begun(2);
    assert_eq!(backup.hear(9, VsrMessage::StartViewChange { view: View::new(2) }).0, Err(Discard::Stranger));
}

#[test]
fn consensus_time_rises_although_the_wall_clock_falls() {
    let mut primary = Stage::begun(1);
    primary.propose("x");
    primary.now = 500;
    let (_, messages) = primary.propose("y");
    let Some((_, VsrMessage::Prepare { entry, .. })) = messages.into_iter().next() else {
        panic!("no prepare")
    };
    assert_eq!(entry.header().timestamp(), Timestamp::from_nanos(1_001));
}

#[test]
fn without_a_majority_of_clocks_there_is_no_time_and_its_primary_gives_up_in_a_while() {
    let mut primary = Stage::begun(1);
    let no_time = |r: &mut VsrNode, turn: &mut Turn<'_, _>| {
        r.next_timestamp(turn.now, turn.clock, turn.timeouts).is_none()
    };
    assert!(primary.turn(no_time).0, "it has heard of no other clock");
    let abdicate = Timeouts::default().abdicate.as_nanos();
    let mut judged = |after: u64, knows_time| {
        primary.now += after;
        primary.turn(|r, turn| r.judge_own_use(turn, knows_time, None));
        primary.replica.leads()
    };
    assert!(judged(0, false) && judged(abdicate - 1, false));
    assert!(judged(1, true), "it knows it again");
    assert!(judged(1, false) && judged(abdicate - 1, false));
    assert!(!judged(1, false));
}

#[test]
fn a_primary_whose_disk_completes_nothing_waits_for_it_and_then_gives_up() {
    let mut primary = Stage::begun(1);
    let since = Monotonic::from_nanos(primary.now);
    let patience = Timeouts::default().disk_patience.as_nanos();
    primary.now += patience - 1;
    primary.turn(|r, turn| r.judge_own_use(turn, true, Some(since)));
    assert!(primary.replica.leads());
    primary.now += 1;
    let (_, messages) = primary.turn(|r, turn| r.judge_own_use(turn, true, Some(since)));
    assert!(!primary.replica.leads());
    let wish = VsrMessage::StartViewChange { view: View::new(2) };
    assert_eq!(messages, [(2, wish.clone()), (3, wish)], "what is durable lets it say so");
}

/// A view-change message about `headers`, whose first is committed; bit i of `present` tells whether the i-th is held.
fn vote(view: u64, log_view: u64, headers: &[EntryHeader], present: u32) -> DoViewChange {
    let suffix = (0_u32..).zip(headers).map(|(index, header)| {
        let present = index == 0 || present & (1 << index) != 0;
        SuffixEntry { header: *header, present, nack: !present }
    });
    let commit = headers[0].op();
    DoViewChange { view: View::new(view), log_view: View::new(log_view), commit, suffix: suffix.collect() }
}

fn chosen_head(messages: &[Option<DoViewChange>]) -> Option<u64> {
    match choose(messages, Quorums::of(messages.len()), &mut NoMarks) {
        Choice::Wait => None,
        Choice::Log(chosen) => chosen.headers.last().map(|header| header.op().get()),
    }
}

#[test]
fn the_log_of_the_highest_log_view_wins_over_a_longer_one() {
    let genesis = init(3).genesis();
    let (old_one, new_one) = (follow(&genesis, 1), follow(&genesis, 2));
    let old_two = follow(old_one.header(), 1);
    let longer = vote(3, 1, &[genesis, *old_one.header(), *old_two.header()], 0b110);
    let newer = vote(3, 2, &[genesis, *new_one.header()], 0b10);
    assert_eq!(chosen_head(&[Some(longer), Some(newer), None]), Some(1));
}

#[test]
fn an_op_with_one_copy_is_kept() {
    let genesis = init(3).genesis();
    let one = follow(&genesis, 1);
    let with = vote(2, 1, &[genesis, *one.header()], 0b10);
    let without = vote(2, 1, &[genesis], 0);
    assert_eq!(chosen_head(&[Some(with), Some(without), None]), Some(1));
}

#[test]
fn an_op_without_a_copy_is_dropped_by_a_quorum_of_nacks_alone() {
    let genesis = init(3).genesis();
    let one = follow(&genesis, 1);
    let header_alone = vote(2, 1, &[genesis, *one.header()], 0);
    let without = vote(2, 1, &[genesis], 0);
    assert_eq!(chosen_head(&[Some(header_alone.clone()), Some(without.clone()), None]), Some(0));
    let mut uncertain = header_alone;
    uncertain.suffix[1].nack = false;
    assert_eq!(
        chosen_head(&[Some(uncertain.clone()), Some(without.clone()), None]),
        None,
        "one nack is not enough"
    );
    assert_eq!(chosen_head(&[Some(uncertain), Some(without.clone()), Some(without)]), Some(0));
}

#[test]
fn fewer_messages_than_a_quorum_choose_nothing() {
    let genesis = init(3).genesis();
    assert_eq!(chosen_head(&[Some(vote(2, 1, &[genesis], 0)), None, None]), None);
}

#[test]
fn a_view_change_message_that_does_not_chain_is_dropped() {
    let mut primary = Stage::begun(2);
    let genesis = init(3).genesis();
    let one = follow(&genesis, 1);
    let two = follow(one.header(), 1);
    let gap = vote(2, 1, &[genesis, *two.header()], 0);
    assert_eq!(primary.hear(3, VsrMessage::DoViewChange(gap)).0, Err(Discard::Inconsistent));
}

#[test]
fn patience_has_jitter_within_its_bounds() {
    let timeouts = Timeouts::default();
    for node in [2, 3] {
        let backup = Stage::begun(node);
        let wait =
            backup.replica.deadline().expect("it waits for the primary").since(Monotonic::from_nanos(1_000));
        let (least, most) = (timeouts.primary_silence, timeouts.primary_silence.as_nanos() * 3 / 2);
        assert!(wait >= least && wait <= Nanos::from_nanos(most), "{wait}");
    }
}

/// The first entries of a log, in view 1.
fn first_entries(count: usize) -> Vec<Entry> {
    let first = follow(&init(3).genesis(), 1);
    core::iter::successors(Some(first), |last| Some(follow(last.header(), 1))).take(count).collect()
}

/// What a start finds of the group after these records.
pub(super) fn log_of(records: Vec<(Ordinal, Record)>) -> RecoveredLog {
    crate::engine::recovered_log::recovered(records).remove(&GroupId::new(0)).unwrap_or_default()
}

/// The payload of an entry rots.
fn lose(log: &mut RecoveredLog, op: u64) {
    let (_, entry) = log.entries.get_mut(&Op::new(op)).expect("it was staged");
    *entry = RecoveredEntry::Faulty(*entry.header());
}

/// Everything ever staged, so that a crash can be played.
fn after_crash(records: &[(Ordinal, Record)], through: Ordinal, node: u64) -> VsrNode {
    let kept: Vec<_> = records.iter().filter(|(o, _)| *o <= through).cloned().collect();
    let log = log_of(kept);
    VsrNode::recover(init(3), NodeId::new(node), (init(3).genesis(), founding()), &log, &mut NoMarks)
        .expect("readable")
}

#[test]
fn a_new_primary_catches_up_to_the_commit_before_it_adopts_the_log() {
    let entries = first_entries(5);
    let headers: Vec<EntryHeader> = entries.iter().map(|entry| *entry.header()).collect();
    let mut primary = Stage::begun(2);
    primary.hear(1, prepare(1, &entries[0])).0.expect("it is taken");
    primary.hear(1, prepare(1, &entries[1])).0.expect("it is taken");
    primary.sync();
    // It lags at op 2. Both others hold op 5; node 1 knows that op 4 is committed. Its own disk is slow.
    primary.wait();
    primary.hear(3, VsrMessage::StartViewChange { view: View::new(2) }).0.expect("it counts");
    primary.hear(1, VsrMessage::DoViewChange(vote(2, 1, &headers[3..], 0b11))).0.expect("it counts");
    primary.hear(3, VsrMessage::DoViewChange(vote(2, 1, &headers, 0b11111))).0.expect("it counts");
    // Were the log view promised now, a restart would find a log of view 2 that ends at op 2: ops 3 and 4 are lost.
    assert_eq!(kinds(&primary.sync()), [(1, "request-entries")]);
    assert_eq!((primary.replica.views().1, primary.replica.head()), (View::new(1), Op::new(2)));
    let committed = VsrMessage::Entries {
        log_view: View::new(1),
        commit: CommitIndex::At(Op::new(4)),
        entries: entries[2..4].to_vec(),
    };
    primary.hear(1, committed).0.expect("they are taken");
    assert_eq!((primary.replica.views().1, primary.replica.head()), (View::new(2), Op::new(5)));
}

#[test]
fn a_write_that_was_overtaken_does_not_make_its_successor_durable() {
    let genesis = init(3).genesis();
    let x = follow(&genesis, 1);
    let mut r = Stage::begun(3); // ordinal 1
    r.hear(1, prepare(1, &x)).0.unwrap(); // 2
    let start = |view: u64, headers: Vec<EntryHeader>| VsrMessage::StartView {
        view: View::new(view),
        commit: Op::new(0),
        headers,
    };
    r.hear(2, start(2, vec![genesis])).0.unwrap(); // 3 enter, 4 cut + 5 promise
    r.hear(1, start(4, vec![genesis, *x.header()])).0.unwrap(); // 6, 7
    r.hear(
        1,
        VsrMessage::Entries { log_view: View::new(4), commit: CommitIndex::None, entries: vec![x.clone()] },
    )
    .0
    .unwrap(); // 8
    assert_eq!(r.journal.last(), Ordinal::new(8));
    let records = r.journal.take(8);
    r.journal.mark_durable(Ordinal::new(7));
    let out = r.turn(|replica, turn| replica.on_durable(turn)).1;
    let again = after_crash(&records, Ordinal::new(7), 3);
    assert!(again.log.is_missing(Op::new(1)), "a crash now would lose it");
    assert_eq!(kinds(&out), vec![], "op 1's record (ordinal 8) is not durable");
}

#[test]
fn entries_of_a_view_not_heard_of_yet_are_let_be() {
    let genesis = init(3).genesis();
    let mut r = Stage::begun(3);
    r.hear(1, prepare(1, &follow(&genesis, 1))).0.unwrap();
    r.sync();
    let committed = follow(&genesis, 2);
    let answer = VsrMessage::Entries {
        log_view: View::new(2),
        commit: CommitIndex::At(Op::new(1)),
        entries: vec![committed],
    };
    assert_eq!(r.hear(2, answer).0, Ok(()));
    assert_eq!(r.replica.head(), Op::new(1));
    assert_eq!(r.replica.commit(), CommitIndex::At(Op::new(0)));
}

#[test]
fn a_wish_is_taken_back_when_the_primary_speaks_again() {
    let mut r = Stage::begun(2);
    let beat = Beat {
        view: View::new(1),
        leads: true,
        commit: CommitIndex::At(Op::new(0)),
        head: Op::new(0),
        released: Op::new(0),
        complete_to: Op::GENESIS,
    };
    r.turn(|x, t| x.on_beat(t, NodeId::new(1), beat));
    // Silence for a while.
    while r.replica.wishes[1].view == View::default() {
        r.wait();
    }
    // Then the pair's beats come again; the group has no news.
    let (mut said, from) = (0, r.now);
    while r.now < from + 60_000_000_000 {
        r.now = r.replica.deadline().unwrap().as_nanos() + 1;
        r.heard.insert(NodeId::new(1), Monotonic::from_nanos(r.now));
        said += kinds(&r.turn(|x, t| x.on_timeout(t)).1).len();
    }
    assert_eq!(said, 0, "in a minute of a healthy primary it sent {said} wishes");
}

#[test]
fn a_stale_wish_and_a_deaf_replica_do_not_depose_a_healthy_primary() {
    let mut p = Stage::begun(1);
    let wish = VsrMessage::StartViewChange { view: View::new(2) };
    p.hear(2, wish.clone()).0.unwrap();
    p.now += 3_600_000_000_000; // node 2 has been content for an hour
    p.hear(3, wish).0.unwrap();
    assert_eq!(p.replica.views().0, View::new(1));
}

/// A backup of view 1 that starts with these entries, of which op 2 is faulty.
fn with_faulty_second(entries: &[Entry]) -> Stage {
    let mut first = Stage::fresh(3);
    first.turn(|replica, turn| replica.begin(turn));
    for entry in entries {
        first.hear(1, prepare(1, entry)).0.expect("it is taken");
    }
    let last = first.journal.last();
    let staged = usize_of(last.get());
    let mut log = log_of(first.journal.take(staged));
    lose(&mut log, 2);
    let mut stage = Stage::recovered(3, &log, last);
    stage.turn(|replica, turn| replica.begin(turn));
    stage
}

#[test]
fn a_faulty_entry_is_neither_held_nor_nacked_and_is_repaired_from_a_peer() {
    let entries = first_entries(3);
    let mut backup = with_faulty_second(&entries);
    let told = |stage: &Stage| -> Vec<(u64, bool, bool)> {
        let message = stage.replica.view_change_message(Op::GENESIS, &stage.replica.suffix_headers());
        message.suffix.iter().skip(1).map(|slot| (slot.header.op().get(), slot.present, slot.nack)).collect()
    };
    assert_eq!(told(&backup), [(1, true, false), (2, false, false), (3, true, false)]);
    assert_eq!(kinds(&backup.wait()), [(1, "request-entries")]);
    let answer = VsrMessage::Entries {
        log_view: View::new(1),
        commit: CommitIndex::None,
        entries: entries[1..2].to_vec(),
    };
    backup.hear(1, answer).0.expect("it is taken");
    assert_eq!(told(&backup)[1], (2, false, false), "it is on its way to the disk, and was there before");
    backup.sync();
    assert_eq!(told(&backup)[1], (2, true, false));
}

#[test]
fn a_backup_that_takes_over_a_snapshot_commits_what_it_was_told_before() {
    let entries = first_entries(4);
    let mut backup = with_faulty_second(&entries);
    let commit = CommitIndex::At(Op::new(4));
    let (view, head) = (View::new(1), Op::new(4));
    let beat = Beat { view, leads: true, commit, head, released: Op::new(3), complete_to: head };
    backup.turn(|replica, turn| replica.on_beat(turn, NodeId::new(1), beat));
    assert_eq!(backup.replica.commit(), CommitIndex::At(Op::new(1)), "op 2 rotted");
    backup.hear(1, VsrMessage::Covered { to: Op::new(3) }).0.expect("it lacks op 2");
    assert_eq!(backup.replica.needs_snapshot(), Some((NodeId::new(1), Op::new(3))));
    let last = *entries[2].header();
    assert!(backup.turn(|replica, turn| replica.install(turn, last, &founding())).0);
    assert_eq!(backup.replica.commit(), commit, "the beat was heard, and is not repeated");
    assert_eq!(backup.replica.next_to_apply(), Some(entries[3].clone()));
}

#[test]
fn what_a_snapshot_covers_is_held_whatever_of_it_rotted() {
    let genesis = init(3).genesis();
    let entries = first_entries(3);
    let mut first = Stage::fresh(3);
    first.turn(|replica, turn| replica.begin(turn));
    for entry in &entries {
        first.hear(1, prepare(1, entry)).0.expect("it is taken");
    }
    let staged = usize_of(first.journal.last().get());
    let mut log = log_of(first.journal.take(staged));
    let whole = log.clone();
    lose(&mut log, 2);
    let snapshot = *entries[1].header();
    let replica = VsrNode::recover(init(3), NodeId::new(3), (snapshot, founding()), &log, &mut NoMarks)
        .expect("readable");
    assert_eq!(replica.missing(), None, "it is in the snapshot");
    let message = replica.view_change_message(Op::new(2), &replica.suffix_headers());
    assert!(message.suffix.iter().all(|slot| slot.present), "{message:?}");

    // A later snapshot, and the log forgets what it covers.
    let mut replica = VsrNode::recover(init(3), NodeId::new(3), (genesis, founding()), &whole, &mut NoMarks)
        .expect("readable");
    replica.log.forget_to(Op::new(2));
    let message = replica.view_change_message(Op::new(2), &replica.suffix_headers());
    assert!(message.suffix.iter().all(|slot| slot.present), "{message:?}");
}

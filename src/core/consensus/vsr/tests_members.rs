//! One replica, one input: a group that is handed over, and learners beside the voters.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::tests::{Stage, follow, init, kinds, log_of};
use super::{Beat, NoHandOver, VsrNode};
use crate::codec;
use crate::consensus::{Discard, DoViewChange, Limits, SuffixEntry, VsrMessage};
use crate::engine::RecoveredLog;
use crate::types::{
    CommitIndex, Entry, EntryKind, Membership, MembershipChange, Monotonic, NodeId, Op, Ordinal, View,
    usize_of,
};

/// A primary of three that has prepared an entry and hears of both others; what acknowledges the entry.
fn primary() -> (Stage, VsrMessage) {
    let mut primary = Stage::begun(1);
    let (op, messages) = primary.propose("x");
    primary.sync();
    let Some((_, VsrMessage::Prepare { entry, .. })) = messages.into_iter().next() else {
        panic!("no prepare")
    };
    let now = Monotonic::from_nanos(primary.now);
    primary.heard.extend([2, 3].map(|node| (NodeId::new(node), now)));
    (primary, VsrMessage::PrepareOk { view: View::new(1), from: op, to: op, hash: entry.hash() })
}

impl Stage {
    fn hand_over(&mut self, to: u64) -> (Result<(), NoHandOver>, Vec<(u64, VsrMessage)>) {
        self.turn(|replica, turn| replica.hand_over(turn, NodeId::new(to)))
    }

    fn proposes(&self) -> bool {
        self.replica.can_propose(&Limits::default())
    }
}

#[test]
fn a_group_is_handed_over_once_the_target_holds_the_whole_log_and_nothing_is_prepared_meanwhile() {
    let (mut primary, ok) = primary();
    let (asked, messages) = primary.hand_over(3);
    assert_eq!((asked, kinds(&messages)), (Ok(()), vec![(3, "prepare")]));
    assert!(!primary.proposes());
    let (_, messages) = primary.hear(2, ok.clone());
    assert_eq!(kinds(&messages), [], "somebody else holds it");
    assert_eq!(primary.replica.commit(), CommitIndex::At(Op::new(1)));
    let (_, messages) = primary.hear(3, ok);
    assert_eq!(kinds(&messages), [(2, "hand-over"), (3, "hand-over")]);
    assert_eq!(primary.replica.views(), (View::new(3), View::new(1)));
    assert_eq!(kinds(&primary.sync()), [(3, "do-view-change")]);
}

#[test]
fn who_is_told_of_the_view_that_follows_enters_it_and_an_old_word_changes_nothing() {
    let mut backup = Stage::begun(2);
    let word = || VsrMessage::HandOver { view: View::new(3) };
    assert_eq!(backup.hear(1, word()).0, Ok(()));
    assert_eq!(kinds(&backup.sync()), [(3, "do-view-change")]);
    assert_eq!(backup.hear(1, word()).0, Err(Discard::OldView));
    assert_eq!(backup.hear(9, VsrMessage::HandOver { view: View::new(7) }).0, Err(Discard::Stranger));

    let mut target = Stage::begun(3);
    assert_eq!(target.hear(1, word()).0, Ok(()));
    target.sync();
    let genesis = SuffixEntry { header: init(3).genesis(), present: true, nack: false };
    let (view, log_view, commit) = (View::new(3), View::new(1), Op::GENESIS);
    let told = DoViewChange { view, log_view, commit, suffix: vec![genesis] };
    target.hear(1, VsrMessage::DoViewChange(told)).0.expect("it counts");
    assert_eq!(kinds(&target.sync()), [(1, "start-view"), (2, "start-view")]);
    assert!(target.replica.leads(), "two of three are enough");
}

#[test]
fn a_target_that_does_not_come_to_hold_the_log_in_time_is_not_waited_for() {
    let (mut primary, ok) = primary();
    primary.hand_over(3).0.expect("it hears of node 3");
    primary.wait();
    assert!(primary.proposes(), "it goes on as if nobody had asked");
    let (_, messages) = primary.hear(3, ok);
    assert_eq!(kinds(&messages), [], "it is too late");
    primary.heard.insert(NodeId::new(3), Monotonic::from_nanos(primary.now));
    assert_eq!(primary.hand_over(3).0, Err(NoHandOver::Rests));
}

#[test]
fn an_acknowledgement_is_repeated_for_a_prepare_that_comes_again() {
    let mut backup = Stage::begun(2);
    let entry = follow(&init(3).genesis(), 1);
    let (view, commit) = (View::new(1), CommitIndex::At(Op::new(1)));
    let prepare = || VsrMessage::Prepare { view, commit, entry: entry.clone() };
    let (_, messages) = backup.hear(1, prepare());
    assert_eq!(kinds(&messages), []);
    let (_, messages) = backup.hear(1, prepare());
    assert_eq!(kinds(&messages), [], "it is not durable yet");
    assert_eq!(kinds(&backup.sync()), [(1, "prepare-ok")]);
    let (_, messages) = backup.hear(1, prepare());
    assert_eq!(kinds(&messages), [(1, "prepare-ok")]);
}

#[test]
fn what_cannot_be_handed_over_is_named() {
    let (mut primary, _) = primary();
    assert_eq!(primary.hand_over(9).0, Err(NoHandOver::NoVoter));
    assert_eq!(primary.hand_over(1).0, Err(NoHandOver::Leads));
    for _ in 0..20 {
        let (op, messages) = primary.propose("x");
        primary.sync();
        let Some((_, VsrMessage::Prepare { entry, .. })) = messages.into_iter().next() else {
            panic!("no prepare")
        };
        let ok = VsrMessage::PrepareOk { view: View::new(1), from: Op::new(1), to: op, hash: entry.hash() };
        primary.hear(2, ok).0.expect("it counts");
    }
    assert_eq!(primary.hand_over(3).0, Err(NoHandOver::Lags { ops: 21 }));
    primary.heard.clear();
    primary.now += 1_000_000_000;
    assert_eq!(primary.hand_over(2).0, Err(NoHandOver::Silent));
    assert!(primary.proposes(), "nothing of it keeps the group from its work");
}

fn a_learner() -> Membership {
    let change = MembershipChange::AddLearner { node: NodeId::new(4), address: String::new() };
    let founding = Membership::founding(&init(3));
    founding.changed(&change, Op::new(1), NodeId::new(1)).expect("there is room")
}

/// Of three voters and a learner, node 4, by the entry at op 1.
fn with_a_learner(node: u64) -> Stage {
    let (entry, log) = (follow(&init(3).genesis(), 1), RecoveredLog::default());
    let mut stage = Stage::restored(node, (*entry.header(), a_learner()), &log, Ordinal::new(0));
    stage.turn(|replica, turn| replica.begin(turn));
    stage.sync();
    stage
}

#[test]
fn what_a_learner_says_in_a_view_change_counts_for_nothing_and_harms_nobody() {
    // Node 2 is to start the second view of the epoch: it has room for what three voters say, and the learner is the fourth member.
    let mut primary = with_a_learner(2);
    let first = primary.replica.views().0;
    primary.hear(3, VsrMessage::HandOver { view: first.next() }).0.expect("it goes there");
    primary.sync();
    let view = primary.replica.views().0;
    assert_eq!(primary.replica.primary(), NodeId::new(2));
    for wish in [first, view, view.next(), view.next().next()] {
        let (said, messages) = primary.hear(4, VsrMessage::StartViewChange { view: wish });
        assert!(said.is_err() && messages.is_empty(), "{said:?} {messages:?}");
    }
    let header = *follow(&init(3).genesis(), 1).header();
    let suffix = vec![SuffixEntry { header, present: true, nack: false }];
    let told = |view| DoViewChange { view, log_view: first, commit: Op::new(1), suffix: suffix.clone() };
    for view in [view, view.next()] {
        let said = primary.hear(4, VsrMessage::DoViewChange(told(view))).0;
        assert_eq!(said, Err(Discard::OutOfPlace));
    }
    assert_eq!(primary.hear(4, VsrMessage::HandOver { view: view.next() }).0, Err(Discard::OutOfPlace));
    assert_eq!(primary.replica.views(), (view, first));
    primary.hear(3, VsrMessage::DoViewChange(told(view))).0.expect("a voter's word counts");
    primary.sync();
    assert!(primary.replica.leads());
}

#[test]
fn a_learner_goes_along_with_no_hand_over() {
    let mut learner = with_a_learner(4);
    let first = learner.replica.views().0;
    assert_eq!(learner.hear(1, VsrMessage::HandOver { view: first.next() }).0, Err(Discard::OutOfPlace));
    assert_eq!(learner.hand_over(4).0, Err(NoHandOver::NoVoter));
}

#[test]
fn a_new_voter_says_nothing_as_one_before_a_quorum_knows_its_start() {
    let mut learner = with_a_learner(4);
    let change = MembershipChange::Promote { node: NodeId::new(4) };
    let next = a_learner().changed(&change, Op::new(2), NodeId::new(1)).expect("a learner");
    let (view, first) = (learner.replica.views().0, next.first_view);
    let header = *follow(&init(3).genesis(), 1).header();
    let (kind, time) = (EntryKind::Membership, header.timestamp().next());
    let entry = Entry::next(&header, kind, view, time, Bytes::from(codec::encode(&next)));
    let commit = CommitIndex::At(Op::new(2));
    learner.hear(1, VsrMessage::Prepare { view, commit, entry: entry.clone() }).0.expect("it follows");
    assert_eq!(learner.replica.views(), (first, first));
    assert!(learner.replica.votes() && learner.replica.waits_to_vote());
    assert_eq!(kinds(&learner.sync()), [], "it acknowledges nothing");
    let third = Entry::next(entry.header(), EntryKind::Commands, first, time.next(), Bytes::new());
    let prepare = || VsrMessage::Prepare { view: first, commit, entry: third.clone() };
    assert_eq!(learner.hear(1, prepare()).0, Err(Discard::OutOfPlace));
    assert_eq!(
        learner.hear(2, VsrMessage::StartViewChange { view: first.next() }).0,
        Err(Discard::OutOfPlace)
    );
    assert_eq!(learner.hear(2, VsrMessage::HandOver { view: first.next() }).0, Err(Discard::OutOfPlace));

    let ((), messages) = learner.turn(|replica, turn| replica.take_part(turn));
    assert_eq!(kinds(&messages), [(1, "prepare-ok")]);
    assert!(learner.replica.follows());
    learner.hear(1, prepare()).0.expect("it follows");
    assert_eq!(kinds(&learner.sync()), [(1, "prepare-ok")]);
}

#[test]
fn a_sole_voter_asks_learners_for_what_it_lacks() {
    let founding = Membership::founding(&init(1));
    let change = MembershipChange::AddLearner { node: NodeId::new(4), address: String::new() };
    let members = founding.changed(&change, Op::new(1), NodeId::new(1)).expect("there is room");
    let (entry, log) = (follow(&init(3).genesis(), 1), RecoveredLog::default());
    let mut voter = Stage::restored(1, (*entry.header(), members), &log, Ordinal::new(0));
    let asked: Vec<NodeId> = (0..4).map(|_| voter.replica.next_peer()).collect();
    assert_eq!(asked, [NodeId::new(4); 4]);
}

#[test]
fn who_the_members_are_is_known_of_a_group_whose_snapshot_is_lost() {
    let mut voter = with_a_learner(2);
    let view = voter.replica.views().0;
    assert_eq!(VsrNode::promised_membership(&RecoveredLog::default()), None);
    voter.hear(1, VsrMessage::HandOver { view: view.next() }).0.expect("it goes there");
    let staged = usize_of(voter.journal.last().get());
    let log = log_of(voter.journal.take(staged));
    assert_eq!(VsrNode::promised_membership(&log), Some(a_learner()));
}

#[test]
fn what_a_primary_said_of_a_later_epoch_outlives_a_wish_to_leave_its_view() {
    let mut backup = Stage::begun(3);
    let (next, op) = (a_learner(), Op::new);
    let first = next.first_view;
    let (commit, head) = (CommitIndex::At(op(3)), op(3));
    let (released, complete_to) = (Op::GENESIS, Op::GENESIS);
    let beat = Beat { view: first, leads: true, commit, head, released, complete_to };
    backup.turn(|replica, turn| replica.on_beat(turn, NodeId::new(1), beat));
    backup.hear(2, VsrMessage::StartViewChange { view: first.next() }).0.expect("it is heard");
    let genesis = init(3).genesis();
    let (kind, time) = (EntryKind::Membership, genesis.timestamp().next());
    let entry = Entry::next(&genesis, kind, View::new(1), time, Bytes::from(codec::encode(&next)));
    let entries =
        VsrMessage::Entries { log_view: View::new(1), commit: CommitIndex::At(op(1)), entries: vec![entry] };
    backup.hear(1, entries).0.expect("it is committed");
    assert_eq!(backup.replica.views().0, first);
    let messages = backup.wait();
    let asks = |(_, message): &(u64, VsrMessage)| matches!(message, VsrMessage::RequestEntries { from, to } if (*from, *to) == (op(2), op(3)));
    assert!(messages.iter().any(asks), "{messages:?}");
}

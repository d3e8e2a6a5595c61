//! What operators order about consumer groups.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::command::EventsCommand as Command;
use super::tests::{Lone, event, kept, nack, options, settlement};
use super::{
    Disposition, Due, EventsAnswer, EventsError, EventsQuery, EventsView, GroupChange, GroupOptions,
    GroupView, KeptFrom, MemberId, Mode, Settled, Settlement, Start, TopicConfig,
};
use crate::types::{Nanos, Timestamp};

/// A partition with events `a` to `d` that are ready; group `g` has member 1, which has two of them open.
fn four() -> Lone {
    let mut lone = Lone::keeping(100, TopicConfig::default());
    for id in ["a", "b", "c", "d"] {
        lone.publish(id, "", Due::In(0));
    }
    lone.attach("g", 1, 2, patient());
    assert_eq!(lone.open("g", 1), [(0, 1), (1, 1)]);
    lone
}

fn patient() -> GroupOptions {
    GroupOptions { ack_timeout: Nanos::from_secs(60), ..options(Mode::Shared) }
}

fn pause(lone: &mut Lone, pauses: bool) {
    let (topic, group) = ("t".to_string(), "g".to_string());
    let answer = lone.ask(Command::PauseGroup { topic, group, pauses });
    assert_eq!(answer, Ok(EventsAnswer::GroupChanged { options: patient(), is_paused: pauses }));
}

fn seek(lone: &mut Lone, to: Start) -> (u64, u64) {
    match lone.ask(Command::Seek { topic: "t".to_string(), group: "g".to_string(), to }) {
        Ok(EventsAnswer::Sought { seq, closed }) => (seq, closed),
        other => panic!("{other:?}"),
    }
}

fn delete(lone: &mut Lone, force: bool) -> Result<EventsAnswer, EventsError> {
    lone.ask(Command::DeleteGroup { topic: "t".to_string(), group: "g".to_string(), force })
}

fn ack(lone: &mut Lone, seq: u64) -> Vec<Settled> {
    lone.settle("g", 1, vec![settlement(seq, 1, Disposition::Ack)]).expect("a member")
}

fn groups(lone: &Lone) -> Vec<GroupView> {
    match lone.state.view(&EventsQuery::Partition { topic: "t".to_string() }) {
        EventsView::Partition(view) => view.groups,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_that_pauses_is_granted_nothing_and_settles_what_it_has() {
    let mut lone = four();
    pause(&mut lone, true);
    assert_eq!(ack(&mut lone, 0), [Settled::Done]);
    lone.settle("g", 1, vec![settlement(1, 1, nack())]).expect("a member");
    lone.pass(1000);
    assert_eq!(lone.open("g", 1), [], "what has rested waits as well");
    lone.publish("e", "", Due::In(0));
    lone.attach("g", 1, 2, patient());
    assert_eq!(lone.open("g", 1), []);
    assert!(groups(&lone)[0].is_paused);
    assert_eq!(lone.restored(), lone.state);
    pause(&mut lone, false);
    assert_eq!(lone.open("g", 1), [(1, 2), (2, 1)]);
}

#[test]
fn a_seek_ends_what_is_open_and_delivers_what_lies_behind_the_place() {
    let mut lone = four();
    assert_eq!(ack(&mut lone, 0), [Settled::Done]);
    let before = lone.deliveries("g", 1);
    assert_eq!(seek(&mut lone, Start::Earliest), (0, 2));
    assert_eq!(lone.open("g", 1), [(0, 1), (1, 1)], "with their attempts before them");
    let late: Vec<Settlement> = before
        .iter()
        .map(|open| Settlement { granted: open.grant.op, ..settlement(open.grant.seq, 1, Disposition::Ack) })
        .collect();
    let (topic, group, member) = ("t".to_string(), "g".to_string(), MemberId(1));
    match lone.ask(Command::Settle { topic, group, member, settlements: late, after: None }) {
        Ok(EventsAnswer::Settled { results, .. }) => {
            let is_named = |result: &Settled| match result {
                Settled::Stale { why } => why.contains("set to another place"),
                Settled::Done => false,
            };
            assert!(results.len() == 2 && results.iter().all(is_named), "{results:?}");
        }
        other => panic!("{other:?}"),
    }
    for seq in 0..4 {
        assert_eq!(ack(&mut lone, seq), [Settled::Done]);
    }
    assert_eq!((groups(&lone)[0].floor, groups(&lone)[0].lag), (4, 0));
    assert_eq!(seek(&mut lone, Start::At(3)), (3, 0));
    assert_eq!(lone.open("g", 1), [(3, 1)]);
    assert_eq!(lone.restored(), lone.state);
}

#[test]
fn a_seek_goes_to_a_time_and_to_the_end() {
    let mut lone = Lone::keeping(100, TopicConfig::default());
    for id in ["a", "b", "c"] {
        lone.publish(id, "", Due::In(0));
        lone.pass(100);
    }
    lone.attach("g", 1, 5, patient());
    assert_eq!(seek(&mut lone, Start::Since(Timestamp::from_nanos(1_050_000_000))), (1, 3));
    assert_eq!(lone.open("g", 1), [(1, 1), (2, 1)]);
    assert_eq!(seek(&mut lone, Start::Latest), (3, 2));
    assert_eq!(lone.open("g", 1), []);
    lone.publish("d", "", Due::In(0));
    assert_eq!(lone.open("g", 1), [(3, 1)]);
    // Nobody has settled b and c, and nobody is to any more: they are kept like what is settled.
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [0, 1, 2, 3]);
    let config = TopicConfig { revision: 1, kept_max: 0, ..TopicConfig::default() };
    lone.ask(Command::Open { topic: "t".to_string(), config, id: 1 }).expect("another configuration");
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [3]);
}

#[test]
fn dead_letters_stay_over_a_seek_and_are_delivered_by_a_redrive_alone() {
    for to in [Start::Earliest, Start::Latest] {
        let mut lone = four();
        let term = Disposition::Term { why: "never".to_string() };
        lone.settle("g", 1, vec![settlement(1, 1, term)]).expect("a member");
        seek(&mut lone, to);
        for seq in [0, 2, 3] {
            ack(&mut lone, seq);
        }
        assert_eq!(
            (lone.open("g", 1), groups(&lone)[0].dead, groups(&lone)[0].lag),
            (vec![], 1, 0),
            "{to:?}"
        );
        assert_eq!(lone.restored(), lone.state);
        let (topic, group, letters) = ("t".to_string(), "g".to_string(), vec![1]);
        let redriven = lone.ask(Command::Redrive { topic, group, letters });
        assert_eq!(redriven, Ok(EventsAnswer::Revived(1)));
        assert_eq!(lone.open("g", 1), [(1, 1)]);
        assert_eq!(ack(&mut lone, 1), [Settled::Done]);
        assert_eq!((groups(&lone)[0].floor, groups(&lone)[0].lag), (4, 0));
    }
}

#[test]
fn a_group_that_is_deleted_is_another_one_when_it_is_made_again() {
    let mut lone = four();
    let term = Disposition::Term { why: "never".to_string() };
    lone.settle("g", 1, vec![settlement(0, 1, term)]).expect("a member");
    let refused = delete(&mut lone, false);
    assert_eq!(refused, Err(EventsError::HasMembers { group: "g".to_string(), members: 1 }));
    let late = lone.deliveries("g", 1);
    assert_eq!(delete(&mut lone, true), Ok(EventsAnswer::GroupDeleted { closed: 2, dead: 1 }));
    assert_eq!(groups(&lone), []);
    assert_eq!(lone.restored(), lone.state);
    assert_eq!(delete(&mut lone, true), Err(EventsError::UnknownGroup("g".to_string())));
    // What it had not settled waits for whoever comes next.
    let open = lone.attach("g", 1, 9, patient());
    assert_eq!(open.len(), 4);
    assert!(open.iter().all(|open| open.grant > late[1].grant), "{open:?}");
    let late = Settlement { granted: late[0].grant.op, ..settlement(late[0].grant.seq, 1, Disposition::Ack) };
    let (topic, group, member) = ("t".to_string(), "g".to_string(), MemberId(1));
    match lone.ask(Command::Settle { topic, group, member, settlements: vec![late], after: None }) {
        Ok(EventsAnswer::Settled { results, .. }) => {
            assert!(matches!(results[..], [Settled::Stale { .. }]), "{results:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_deleted_group_held_up_goes_with_what_the_others_have_settled() {
    let mut lone = four();
    lone.attach("other", 2, 9, patient());
    for seq in 0..4 {
        let acked = vec![settlement(seq, 1, Disposition::Ack)];
        lone.settle("other", 2, acked).expect("a member");
    }
    ack(&mut lone, 0);
    let config = TopicConfig { revision: 1, kept_max: 0, ..TopicConfig::default() };
    lone.ask(Command::Open { topic: "t".to_string(), config, id: 1 }).expect("another configuration");
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [1, 2, 3]);
    delete(&mut lone, true).expect("forced");
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), []);
}

#[test]
fn a_group_behaves_otherwise_from_then_on() {
    let mut lone = four();
    let alter = |change| Command::AlterGroup { topic: "t".to_string(), group: "g".to_string(), change };
    let change = GroupChange { attempts_max: Some(1), ..GroupChange::default() };
    let options = GroupOptions { attempts_max: 1, ..patient() };
    assert_eq!(lone.ask(alter(change)), Ok(EventsAnswer::GroupChanged { options, is_paused: false }));
    lone.settle("g", 1, vec![settlement(0, 1, nack())]).expect("a member");
    assert_eq!(groups(&lone)[0].dead, 1);
    let none = GroupChange { ack_timeout: Some(Nanos::from_millis(1)), ..GroupChange::default() };
    assert!(matches!(lone.ask(alter(none)), Err(EventsError::OutOfRange { .. })));
}

#[test]
fn a_long_way_is_let_go_of_by_several_entries() {
    let mut lone = Lone::keeping(0, TopicConfig::default());
    for batch in 0..3 {
        let new = |number: u64| event(&(batch * 4096 + number).to_string(), "", Due::In(0));
        let events = (0..4096).map(new).collect();
        lone.ask(Command::Publish { topic: "t".to_string(), events }).expect("a topic");
    }
    lone.attach("g", 1, 10_000, patient());
    assert_eq!(seek(&mut lone, Start::Latest), (12_288, 4096));
    assert_eq!(kept(&lone, KeptFrom::Seq(12_000)).len(), 288, "the rest follows");
    assert_eq!((groups(&lone).len(), groups(&lone)[0].lag), (1, 0));
    assert_eq!(lone.restored(), lone.state);
    lone.publish("next", "", Due::In(0));
    assert_eq!(lone.open("g", 1), [(12_288, 1)]);
    lone.pass(10);
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [12_288]);
    assert_eq!(lone.restored(), lone.state);
}

#[test]
fn a_topic_that_pauses_accepts_and_fires_and_delivers_nothing() {
    let mut lone = four();
    let open = |revision, is_paused| {
        let config = TopicConfig { revision, is_paused, kept_max: 100, ..TopicConfig::default() };
        Command::Open { topic: "t".to_string(), config, id: 1 }
    };
    lone.ask(open(1, true)).expect("another configuration");
    assert_eq!(ack(&mut lone, 0), [Settled::Done]);
    lone.publish("e", "", Due::In(100));
    lone.pass(200);
    assert_eq!(lone.open("g", 1), [(1, 1)]);
    assert_eq!(groups(&lone)[0].lag, 4, "e is ready, and waits");
    lone.ask(open(2, false)).expect("another configuration");
    assert_eq!(lone.open("g", 1), [(1, 1), (2, 1)]);
}

#[test]
fn a_topic_that_is_closed_ends_with_all_it_has_and_another_one_may_have_its_name() {
    let mut lone = four();
    lone.publish("later", "", Due::In(500));
    let term = Disposition::Term { why: "never".to_string() };
    lone.settle("g", 1, vec![settlement(0, 1, term)]).expect("a member");
    let close = Command::Close { topic: "t".to_string(), id: 1 };
    assert_eq!(lone.ask(close.clone()), Ok(EventsAnswer::Closed { scheduled: 1, ready: 4, dead: 1 }));
    assert_eq!(lone.state.view(&EventsQuery::Partition { topic: "t".to_string() }), EventsView::Unknown);
    assert_eq!(lone.restored(), lone.state);
    let open = |id| Command::Open { topic: "t".to_string(), config: TopicConfig::default(), id };
    assert_eq!(lone.ask(open(1)), Err(EventsError::TopicDeleted("t".to_string())));
    assert_eq!(lone.ask(close), Ok(EventsAnswer::Closed { scheduled: 0, ready: 0, dead: 0 }));
    assert_eq!(lone.ask(open(2)), Ok(EventsAnswer::Opened));
    assert_eq!(lone.restored(), lone.state);
    lone.pass(1);
    assert_eq!(lone.state.partitions.len(), 1, "nothing is left of the first");
    assert_eq!(lone.ask(open(3)), Err(EventsError::OtherTopic { topic: "t".to_string(), id: 2 }));
    lone.attach("g", 1, 9, patient());
    lone.pass(1000);
    assert_eq!(lone.open("g", 1), [], "what was due is not any more");
    assert_eq!(lone.restored(), lone.state);
}

#[test]
fn a_large_topic_is_let_go_of_by_several_entries() {
    let mut lone = Lone::keeping(0, TopicConfig::default());
    for batch in 0..3 {
        let new = |number: u64| event(&(batch * 4096 + number).to_string(), "", Due::In(number % 2 * 60_000));
        let events = (0..4096).map(new).collect();
        lone.ask(Command::Publish { topic: "t".to_string(), events }).expect("a topic");
    }
    lone.attach("g", 1, 10_000, patient());
    lone.ask(Command::Close { topic: "t".to_string(), id: 1 }).expect("always");
    let mut entries = 0;
    while !lone.state.partitions.is_empty() {
        assert_eq!(lone.restored(), lone.state);
        lone.pass(1);
        entries += 1;
        assert!(entries < 100, "it never ends");
    }
    assert_eq!(lone.state.agenda.next(), None);
}

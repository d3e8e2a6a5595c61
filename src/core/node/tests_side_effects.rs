//! Side effects of whole nodes on perfect disks and links.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::tests::{Cluster, GROUP};
use crate::builtin::BuiltinState;
use crate::codec;
use crate::engine::Witnessed;
use crate::kernel::{
    Attempt, AttemptDone, AttemptResult, Command, DeadQuery, DeadView, Held, Outcome, Retry, SideEffectId,
};
use crate::node::{
    About, Answer, Deed, Freshness, Heartbeat, Input, Message, Order, Query, QueryAnswer, Route, Wish, Work,
    WorkAnswer,
};
use crate::post::{Letter, PostAnswer, PostCommand};
use crate::types::{Blob, BootId, ClientId, Incarnation, Nanos, NodeId, RequestNumber};

/// Three nodes that have accepted a letter, and the attempt that its primary has begun.
fn posted() -> (Cluster, usize, Attempt) {
    let (mut cluster, primary, letter) = accepted("there");
    let (by, attempt) = cluster.attempts.pop().expect("it is tried at once");
    assert_eq!((by, cluster.attempts.len()), (primary, 0), "by the primary alone");
    assert_eq!(attempt.id, letter);
    (cluster, primary, attempt)
}

/// Three nodes that have accepted a letter to this target; the primary, and the letter's id.
fn accepted(target: &str) -> (Cluster, usize, SideEffectId) {
    let mut cluster = Cluster::of("post", 3);
    cluster.run(1000);
    let session = cluster.register(1);
    let (target, body) = (target.to_string(), Blob::from(b"hello".to_vec()));
    let send = PostCommand::Send { target, body, retry: Retry::default() };
    let (client, number) = (ClientId::new(1), RequestNumber::new(1));
    let command = Command { client, session, number, body: Blob::from(codec::encode(&send)) };
    let Answer::Committed { outcome: Outcome::Done(answer), .. } = cluster.ask(command) else {
        panic!("it is accepted")
    };
    let Ok(PostAnswer::Sent { letter }) = codec::decode(answer.as_slice()) else { panic!("it is sent") };
    let primary = cluster.primary().expect("there is a primary");
    (cluster, primary, letter)
}

fn end(cluster: &mut Cluster, index: usize, attempt: &Attempt, answer: &[u8]) {
    let Attempt { place, number, token, .. } = *attempt;
    let result = AttemptResult::Done(Blob::from(answer.to_vec()));
    let done = AttemptDone { place, number, token, result };
    cluster.step(index, Input::SideEffectDone { group: GROUP, done });
    cluster.run(500);
}

fn refuse(cluster: &mut Cluster, index: usize, attempt: &Attempt) {
    let Attempt { place, number, token, .. } = *attempt;
    let done =
        AttemptDone { place, number, token, result: AttemptResult::Refused(Blob::from(b"no".to_vec())) };
    cluster.step(index, Input::SideEffectDone { group: GROUP, done });
    cluster.run(500);
}

/// The letter, as each node that runs has it.
fn letters(cluster: &Cluster, attempt: &Attempt) -> Vec<Letter> {
    let states = cluster.nodes.iter().flatten().filter_map(|node| node.state(GROUP));
    let letter = |state: &BuiltinState| match state {
        BuiltinState::Post(post) => post.letter(attempt.id).cloned(),
        BuiltinState::Bank(_)
        | BuiltinState::Catalog(_)
        | BuiltinState::Events(_)
        | BuiltinState::Register(_)
        | BuiltinState::Unknown => None,
    };
    states.filter_map(letter).collect()
}

#[test]
fn a_letter_is_tried_by_the_primary_and_all_nodes_hear_of_its_end() {
    let (mut cluster, primary, attempt) = posted();
    cluster.run(200);
    assert_eq!(letters(&cluster, &attempt), [Letter::UnderWay, Letter::UnderWay, Letter::UnderWay]);
    end(&mut cluster, primary, &attempt, b"thanks");
    let delivered = Letter::Delivered { answer: Blob::from(b"thanks".to_vec()) };
    assert_eq!(letters(&cluster, &attempt), [delivered.clone(), delivered.clone(), delivered]);
    assert_eq!(cluster.attempts, [], "it is not tried again");
}

/// What the primary says to an order, if it is asked `times` times at once.
fn order(cluster: &mut Cluster, deed: Deed, times: usize) -> Vec<Answer> {
    let primary = cluster.primary().expect("there is a primary");
    cluster.replies.clear();
    for _ in 0..times {
        let order = Order { group: GROUP, deed: deed.clone() };
        cluster.step(primary, Input::Order { route: Route(7), order });
    }
    cluster.run(500);
    cluster.replies.drain(..).map(|reply| reply.answer).collect()
}

/// The dead side effects that each node shows.
fn dead(cluster: &mut Cluster) -> Vec<Vec<SideEffectId>> {
    cluster.answers.clear();
    for (number, index) in (0..).zip(0..cluster.nodes.len()) {
        let body = Blob::from(codec::encode(&DeadQuery::List { after: None }));
        let (about, freshness) = (About::Dead, Freshness::Linearizable);
        let query = Query { number, group: GROUP, about, body, freshness };
        cluster.step(index, Input::Query { route: Route(9), query });
    }
    cluster.run(200);
    let mut answers = core::mem::take(&mut cluster.answers);
    answers.sort_by_key(|(number, _)| *number);
    let ids = |answer: &QueryAnswer| match answer {
        QueryAnswer::State { body, .. } => match codec::decode(body.as_slice()) {
            Ok(DeadView::List(page)) => page.rows.iter().map(|row| row.id).collect(),
            other => panic!("no list: {other:?}"),
        },
        other => panic!("no list: {other}"),
    };
    answers.iter().map(|(_, answer)| ids(answer)).collect()
}

#[test]
fn what_was_given_up_is_shown_by_all_nodes_and_tried_again_once_however_often_that_is_asked_for() {
    let (mut cluster, primary, attempt) = posted();
    refuse(&mut cluster, primary, &attempt);
    assert_eq!(dead(&mut cluster), [vec![attempt.id], vec![attempt.id], vec![attempt.id]]);
    let told = order(&mut cluster, Deed::Redrive(attempt.id), 2);
    assert!(matches!(told[..], [Answer::Committed { .. }, Answer::Committed { .. }]), "{told:?}");
    assert_eq!(dead(&mut cluster), [[]; 3]);
    let (_, again) = cluster.attempts.pop().expect("it is tried again");
    assert_eq!((again.id, again.number, cluster.attempts.len()), (attempt.id, 2, 0));
    let told = order(&mut cluster, Deed::Redrive(attempt.id), 1);
    assert!(matches!(told[..], [Answer::Committed { .. }]), "it is under way: {told:?}");
    end(&mut cluster, primary, &again, b"thanks");
    let delivered = Letter::Delivered { answer: Blob::from(b"thanks".to_vec()) };
    assert_eq!(letters(&cluster, &attempt), [delivered.clone(), delivered.clone(), delivered]);
    let told = order(&mut cluster, Deed::Redrive(attempt.id), 1);
    assert!(matches!(told[..], [Answer::Declined { .. }]), "it took effect: {told:?}");
}

#[test]
fn what_is_discarded_is_tried_no_more_and_what_is_unknown_cannot_be() {
    let (mut cluster, primary, attempt) = posted();
    let told = order(&mut cluster, Deed::Discard(attempt.id), 1);
    assert!(matches!(told[..], [Answer::Declined { .. }]), "it is not given up: {told:?}");
    refuse(&mut cluster, primary, &attempt);
    let told = order(&mut cluster, Deed::Discard(attempt.id), 2);
    assert!(matches!(told[..], [Answer::Committed { .. }, Answer::Committed { .. }]), "{told:?}");
    assert_eq!(dead(&mut cluster), [[]; 3]);
    let told = order(&mut cluster, Deed::Redrive(attempt.id), 1);
    let [Answer::Declined { why }] = &told[..] else { panic!("there is nothing left: {told:?}") };
    assert!(why.contains(&attempt.id.to_string()) && why.contains("chronon effect list"), "{why}");
    assert_eq!(cluster.attempts, []);
}

#[test]
fn the_next_primary_tries_again_with_the_same_key_and_a_higher_token() {
    let (mut cluster, primary, attempt) = posted();
    cluster.stop(primary);
    cluster.run(3000);
    let (next, again) = cluster.attempts.pop().expect("it is tried again");
    assert!(next != primary && again.token > attempt.token);
    assert_eq!((again.id, again.number, &again.side_effect), (attempt.id, 1, &attempt.side_effect));
    end(&mut cluster, next, &attempt, b"too late");
    assert_eq!(letters(&cluster, &attempt), [Letter::UnderWay, Letter::UnderWay]);
    end(&mut cluster, next, &again, b"thanks");
    let delivered = Letter::Delivered { answer: Blob::from(b"thanks".to_vec()) };
    assert_eq!(letters(&cluster, &attempt), [delivered.clone(), delivered]);
}

#[test]
fn a_primary_whose_disk_is_disowned_lets_go_of_its_side_effects_and_comes_to_rest() {
    let (mut cluster, primary, _) = posted();
    let boot = BootId { incarnation: Incarnation::new(99), nonce: 7 };
    let beat = Heartbeat {
        boot,
        sequence: 1,
        heard_boot: BootId::default(),
        heard_sequence: 0,
        witnessed: Witnessed { boot, flush: 99 },
        flush: 0,
        full: false,
        schema: crate::kernel::Schema::FIRST,
        clock: Default::default(),
        groups: Vec::new(),
    };
    let from = if primary == 0 { NodeId::new(2) } else { NodeId::new(1) };
    cluster.step(primary, Input::Message { from, message: Message::Heartbeat(beat) });
    assert!(cluster.nodes[primary].as_ref().is_some_and(|node| node.amnesia().is_some()));
    // An attempt that nobody ends would be due after half a minute.
    cluster.run(40_000);
    assert!(cluster.attempts.iter().all(|(index, _)| *index != primary), "it says nothing any more");
    assert!(!cluster.attempts.is_empty(), "and another one does");
}

/// What a node answers a worker.
fn work(cluster: &mut Cluster, index: usize, wish: Wish) -> Option<WorkAnswer> {
    cluster.worked.clear();
    let work = Work { number: 5, group: GROUP, wish };
    cluster.step(index, Input::Work { route: Route(3), work });
    cluster.run(100);
    assert!(cluster.worked.iter().all(|(number, _)| *number == 5));
    assert!(cluster.worked.len() <= 1, "one answer to one wish");
    cluster.worked.pop().map(|(_, answer)| answer)
}

fn claim(cluster: &mut Cluster, index: usize) -> Vec<Attempt> {
    let wish = Wish::Claim { queue: "press".to_string(), most: 9, lease: Nanos::from_secs(2) };
    match work(cluster, index, wish) {
        Some(WorkAnswer::Granted(attempts)) => attempts,
        other => panic!("nothing is granted: {other:?}"),
    }
}

fn held(attempt: &Attempt) -> Held {
    Held { place: attempt.place, number: attempt.number, token: attempt.token }
}

fn finish(cluster: &mut Cluster, index: usize, attempt: &Attempt) -> Option<WorkAnswer> {
    let result = AttemptResult::Done(Blob::from(b"printed".to_vec()));
    work(cluster, index, Wish::End { held: held(attempt), result })
}

#[test]
fn what_is_for_workers_waits_until_one_claims_it_and_its_end_is_told_once_it_is_recorded() {
    let (mut cluster, primary, letter) = accepted("worker:press");
    cluster.run(40_000);
    assert_eq!(cluster.attempts, [], "nobody is pushed what workers pull");
    let backup = (primary + 1) % 3;
    let wish = Wish::Claim { queue: "press".to_string(), most: 1, lease: Nanos::from_secs(2) };
    assert!(matches!(work(&mut cluster, backup, wish), Some(WorkAnswer::NotPrimary { .. })));
    let other = Wish::Claim { queue: "other".to_string(), most: 1, lease: Nanos::from_secs(2) };
    assert_eq!(work(&mut cluster, primary, other), Some(WorkAnswer::Granted(vec![])));
    let granted = claim(&mut cluster, primary);
    assert_eq!(granted.iter().map(|attempt| (attempt.id, attempt.number)).collect::<Vec<_>>(), [(letter, 1)]);
    assert_eq!(claim(&mut cluster, primary), [], "it is somebody's");
    assert_eq!(finish(&mut cluster, primary, &granted[0]), Some(WorkAnswer::Recorded));
    cluster.run(200);
    let delivered = Letter::Delivered { answer: Blob::from(b"printed".to_vec()) };
    assert_eq!(letters(&cluster, &granted[0]), [delivered.clone(), delivered.clone(), delivered]);
    let again = finish(&mut cluster, primary, &granted[0]);
    assert!(matches!(again, Some(WorkAnswer::Stale { .. })), "it has ended: {again:?}");
}

#[test]
fn a_lease_that_is_not_renewed_ends_as_a_failed_attempt_and_who_comes_late_is_told_so() {
    let (mut cluster, primary, _) = accepted("worker:press");
    let first = claim(&mut cluster, primary).pop().expect("it is granted");
    for _ in 0..3 {
        cluster.run(1500);
        let wish = Wish::Renew { held: held(&first), lease: Nanos::from_secs(2) };
        assert_eq!(work(&mut cluster, primary, wish), Some(WorkAnswer::Renewed));
    }
    cluster.run(2500);
    let late = finish(&mut cluster, primary, &first);
    assert!(matches!(late, Some(WorkAnswer::Stale { .. })), "{late:?}");
    cluster.run(1000);
    let second = claim(&mut cluster, primary).pop().expect("it has rested");
    assert_eq!((second.id, second.number, second.token), (first.id, 2, first.token));
    let Some(WorkAnswer::Stale { why }) = finish(&mut cluster, primary, &first) else {
        panic!("another attempt is under way");
    };
    assert_eq!(why, "attempt 2 is under way, and not 1");
    assert_eq!(finish(&mut cluster, primary, &second), Some(WorkAnswer::Recorded));
}

#[test]
fn the_next_primary_grants_again_under_its_own_token_and_turns_the_old_one_away() {
    let (mut cluster, primary, _) = accepted("worker:press");
    let first = claim(&mut cluster, primary).pop().expect("it is granted");
    cluster.stop(primary);
    cluster.run(3000);
    let next = cluster.primary().expect("another one leads");
    let Some(WorkAnswer::Stale { why }) = finish(&mut cluster, next, &first) else {
        panic!("its token is out of force");
    };
    assert!(why.starts_with(&alloc::format!("token {} is out of force", first.token)), "{why}");
    let second = claim(&mut cluster, next).pop().expect("it is granted again");
    assert_eq!((second.id, second.number), (first.id, 1));
    assert!(second.token > first.token);
    assert_eq!(finish(&mut cluster, next, &second), Some(WorkAnswer::Recorded));
}

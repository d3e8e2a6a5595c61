//! Side effects of whole nodes on perfect disks and links.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::tests::{Cluster, GROUP};
use crate::builtin::BuiltinState;
use crate::codec;
use crate::engine::Witnessed;
use crate::kernel::{Attempt, AttemptDone, AttemptResult, Command, Outcome, Retry};
use crate::node::{Answer, Heartbeat, Input, Message};
use crate::post::{Letter, PostAnswer, PostCommand};
use crate::types::{Blob, BootId, ClientId, Incarnation, NodeId, RequestNumber};

/// Three nodes that have accepted a letter, and the attempt that its primary has begun.
fn posted() -> (Cluster, usize, Attempt) {
    let mut cluster = Cluster::of("post", 3);
    cluster.run(1000);
    let session = cluster.register(1);
    let (target, body) = ("there".to_string(), Blob::from(b"hello".to_vec()));
    let send = PostCommand::Send { target, body, retry: Retry::default() };
    let (client, number) = (ClientId::new(1), RequestNumber::new(1));
    let command = Command { client, session, number, body: Blob::from(codec::encode(&send)) };
    let Answer::Committed { outcome: Outcome::Done(answer), .. } = cluster.ask(command) else {
        panic!("it is accepted")
    };
    let (primary, attempt) = cluster.attempts.pop().expect("it is tried at once");
    assert_eq!(codec::decode(answer.as_slice()), Ok(PostAnswer::Sent { letter: attempt.id }));
    assert_eq!((cluster.primary(), cluster.attempts.len()), (Some(primary), 0), "by the primary alone");
    (cluster, primary, attempt)
}

fn end(cluster: &mut Cluster, index: usize, attempt: &Attempt, answer: &[u8]) {
    let Attempt { place, number, token, .. } = *attempt;
    let result = AttemptResult::Done(Blob::from(answer.to_vec()));
    let done = AttemptDone { place, number, token, result };
    cluster.step(index, Input::SideEffectDone { group: GROUP, done });
    cluster.run(500);
}

/// The letter, as each node that runs has it.
fn letters(cluster: &Cluster, attempt: &Attempt) -> Vec<Letter> {
    let states = cluster.nodes.iter().flatten().filter_map(|node| node.state(GROUP));
    let letter = |state: &BuiltinState| match state {
        BuiltinState::Post(post) => post.letter(attempt.id).cloned(),
        BuiltinState::Bank(_) | BuiltinState::Register(_) | BuiltinState::Unknown => None,
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

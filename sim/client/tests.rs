use bytes::Bytes;
use chronon_core::kernel::Outcome;
use chronon_core::node::{Answer, Reply};
use chronon_core::types::{Blob, ClusterId, GroupId, GroupInit, NodeId, Op, RequestNumber, SessionId, View};

use super::{Note, Outgoing, Session};
use crate::config::ClientModel;
use crate::random::Randomness;
use crate::time::{MILLISECOND, SECOND, WorldTime};

const MODEL: ClientModel = ClientModel {
    think_ns: 10 * MILLISECOND,
    resend_ns: 100 * MILLISECOND,
    give_up_ns: 2 * SECOND,
    repeat_ppm: 0,
    requests_max: u64::MAX,
};

struct Play {
    session: Session,
    init: GroupInit,
    operations: u64,
    notes: Vec<Note>,
}

impl Play {
    fn new() -> Self {
        let voters = (1..=3).map(NodeId::new).collect();
        let (cluster, group) = (ClusterId::new(1), GroupId::new(1));
        let init =
            GroupInit { cluster, group, kind: "register".to_owned(), voters, sessions_max: 4, archive: None };
        let session = Session::new(1, (0, &init), init.voters.clone(), &MODEL, Randomness::new(1, 0));
        Self { session, init, operations: 0, notes: Vec::new() }
    }

    /// Lets time pass until the session does something.
    fn wake(&mut self) -> (WorldTime, Outgoing) {
        let at = self.session.wake_at.expect("something is left to do");
        let body = |_, _: &mut _| Bytes::from_static(b"command");
        let outgoing = self.session.wake(at, &MODEL, &self.init, &mut self.operations, body, &mut self.notes);
        (at, outgoing)
    }

    fn hear(&mut self, at: WorldTime, from: NodeId, number: u64, answer: Answer) {
        let (group, client) = (self.init.group, self.session.id());
        let reply = Reply { group, client, number: RequestNumber::new(number), answer };
        self.session.hear(at, &MODEL, from, reply, &mut self.notes);
    }

    fn register(&mut self) {
        let (at, outgoing) = self.wake();
        let (node, request) = outgoing.expect("a registration");
        assert_eq!(request.command.number.get(), 0);
        let outcome = Outcome::Registered { session: SessionId::new(7) };
        self.hear(at, node, 0, Answer::Committed { op: Op::new(7), outcome });
    }
}

fn done(op: u64, body: &[u8]) -> Answer {
    Answer::Committed { op: Op::new(op), outcome: Outcome::Done(Blob::from(body.to_vec())) }
}

#[test]
fn a_session_registers_and_then_counts_its_requests() {
    let mut play = Play::new();
    play.register();
    for number in 1..=3 {
        let (at, outgoing) = play.wake();
        let (node, request) = outgoing.expect("a request");
        assert_eq!((request.command.number.get(), request.command.session.get()), (number, 7));
        play.hear(at, node, number, done(10 + number, b"ok"));
    }
    let returns = play.notes.iter().filter(|note| matches!(note, Note::Return { .. })).count();
    assert_eq!((returns, play.operations), (4, 4));
}

#[test]
fn an_unanswered_request_goes_to_another_node_and_stays_the_same() {
    let mut play = Play::new();
    play.register();
    let (first_at, first) = play.wake();
    let (second_at, second) = play.wake();
    let (Some((first_node, first)), Some((second_node, second))) = (first, second) else {
        panic!("two sendings")
    };
    assert!(second_at.since(first_at) >= MODEL.resend_ns);
    assert_ne!(first_node, second_node);
    assert_eq!(first, second);
    assert_eq!(play.operations, 2, "sending again is no new operation");
}

#[test]
fn a_hint_is_followed_at_once() {
    let mut play = Play::new();
    let (at, outgoing) = play.wake();
    let (node, _) = outgoing.expect("a registration");
    let primary = NodeId::new(node.get() % 3 + 1);
    play.hear(at, node, 0, Answer::NotPrimary { view: View::new(4), primary });
    let (again_at, again) = play.wake();
    assert_eq!(again.map(|(node, _)| node), Some(primary));
    assert!(again_at.since(at) <= MILLISECOND);
}

#[test]
fn what_takes_too_long_is_abandoned_under_its_name() {
    let mut play = Play::new();
    play.register();
    let (name, process) = (play.session.id(), play.session.process());
    for _ in 0..64 {
        if play.notes.iter().any(|note| matches!(note, Note::Abandoned { operation: 2 })) {
            assert_ne!(play.session.id(), name);
            assert_ne!(play.session.process(), process);
            return;
        }
        play.wake();
    }
    panic!("the request was never abandoned");
}

#[test]
fn a_late_answer_to_an_earlier_request_is_ignored() {
    let mut play = Play::new();
    play.register();
    let (at, outgoing) = play.wake();
    let node = outgoing.expect("a request").0;
    let before = play.notes.len();
    play.hear(at, node, 0, done(7, b"late"));
    assert_eq!(play.notes.len(), before);
}

#[test]
fn winding_down_asks_for_the_last_answer_once_more() {
    let mut play = Play::new();
    play.register();
    let (at, outgoing) = play.wake();
    let (node, request) = outgoing.expect("a request");
    play.hear(at, node, 1, done(11, b"ok"));
    play.session.wind_down(at);
    let (at, outgoing) = play.wake();
    assert_eq!(outgoing.expect("a repetition").1, request);
    play.hear(at, node, 1, done(12, b"ok"));
    let Some(Note::Repeated { first, answer, .. }) = play.notes.last() else {
        panic!("a repetition was heard")
    };
    assert_ne!(first, answer, "the oracle is told both");
    play.wake();
    assert!(play.session.is_stopped());
}

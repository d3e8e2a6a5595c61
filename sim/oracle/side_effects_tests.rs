//! The oracle of side effects tells what is wrong, each by its name, and lets what is right be.

use bytes::Bytes;
use chronon_core::codec;
use chronon_core::kernel::{
    Attempt, AttemptResult, Command, DeadPage, DeadRow, FencingToken, Outcome, Place, Report, Retry,
    SideEffect, SideEffectId,
};
use chronon_core::node::{Answer, Effect, GroupStatus, Limits, NodeStatus, Role, Timeouts};
use chronon_core::post::{PostAnswer, PostCommand};
use chronon_core::types::{
    Blob, ClientId, ClusterId, CommitIndex, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Hash, NodeId,
    Op, RequestNumber, SessionId, View,
};

use super::{Observed, Oracle, SideEffects};
use crate::sink::Verdict;
use crate::time::WorldTime;

const GROUP: GroupId = GroupId::new(1);

fn init() -> GroupInit {
    let voters = (1..=3).map(NodeId::new).collect();
    let (cluster, kind) = (ClusterId::new(7), "post".to_owned());
    GroupInit { cluster, group: GROUP, kind, voters, sessions_max: 2, archive: None }
}

/// A world of one post office, told by hand; a client has asked it to send `body`, and was told that it will be.
struct Told {
    oracle: SideEffects,
    /// The last entry of the committed log that was shown.
    last: EntryHeader,
}

impl Told {
    fn new() -> Self {
        let mut told = Self { oracle: SideEffects::default(), last: init().genesis() };
        let nodes: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
        let begin = Observed::Begin {
            nodes: &nodes,
            groups: &[init()],
            limits: &Limits::default(),
            timeouts: &Timeouts::default(),
        };
        assert_eq!(told.see(&begin), Vec::<&str>::new());
        let (target, body) = ("sink".to_owned(), Blob::from(b"body".to_vec()));
        let send = PostCommand::Send { target, body, retry: Retry::default() };
        let (client, session, number) = (ClientId::new(1), SessionId::new(1), RequestNumber::new(1));
        let command = Command { client, session, number, body: Blob::from(codec::encode(&send)) };
        told.see(&Observed::Invoke { operation: 1, process: 1, group: GROUP, command: &command });
        let letter = attempt().id;
        let outcome = Outcome::Done(Blob::from(codec::encode(&PostAnswer::Sent { letter })));
        let answer = Answer::Committed { op: Op::new(5), outcome };
        let heard =
            Observed::Return { operation: 1, process: 1, group: GROUP, command: &command, answer: &answer };
        told.see(&heard);
        told
    }

    fn see(&mut self, seen: &Observed<'_>) -> Vec<&'static str> {
        let mut found = Vec::new();
        self.oracle.observe(WorldTime::ZERO, seen, &mut found);
        found.iter().map(|violation| violation.invariant).collect()
    }

    /// A node that leads view 4 and knows ops up to `commit` to be committed begins the attempt.
    fn begins(&mut self, node: u64, commit: u64, attempt: Attempt) -> Vec<&'static str> {
        let status = GroupStatus {
            group: GROUP,
            role: Role::Primary,
            view: View::new(4),
            log_view: View::new(4),
            commit: CommitIndex::At(Op::new(commit)),
            head: Op::new(commit),
            applied: Op::new(commit),
            saved: Op::GENESIS,
            archived: Op::GENESIS,
            keeps_too_much: false,
            lacks_clock: false,
            missing: None,
            halted: None,
            schema: chronon_core::kernel::Schema::FIRST,
            side_effects: 1,

            oldest_side_effect: None,
            dead: 0,
            applied_digest: Hash::ZERO,
        };
        let status = NodeStatus { groups: vec![status], ..NodeStatus::default() };
        let effects = [Effect::Execute { group: GROUP, attempt }];
        let node = NodeId::new(node);
        self.see(&Observed::Step { node, effects: &effects, status: &status, changed: &[] })
    }

    /// The next entry of the log is committed.
    fn commits(&mut self, kind: EntryKind, payload: Vec<u8>) {
        let time = self.last.timestamp().next();
        let entry = Entry::next(&self.last, kind, View::new(4), time, Bytes::from(payload));
        self.last = *entry.header();
        assert_eq!(self.see(&Observed::Applied { group: GROUP, entry: &entry }), NOTHING);
    }

    /// Op 5 emits a side effect, whose first attempt is refused as op 6 says.
    fn refused() -> Self {
        let mut told = Self::new();
        (1..=5).for_each(|_| told.commits(EntryKind::Wakeup, Vec::new()));
        assert_eq!(told.begins(1, 5, attempt()), NOTHING);
        assert_eq!(told.reaches(&attempt(), Verdict::Refused), NOTHING);
        let report = Report { place: attempt().place, attempt: 1, result: AttemptResult::Refused(why()) };
        told.commits(EntryKind::SideEffects, codec::encode(&vec![report]));
        told
    }

    fn redriven() -> Self {
        let mut told = Self::refused();
        told.commits(EntryKind::Redrive, codec::encode(&attempt().id));
        told
    }

    /// A replica shows these side effects as dead, as of `op`.
    fn shows_dead(&mut self, op: u64, rows: Vec<DeadRow>) -> Vec<&'static str> {
        let count = rows.len() as u64;
        let page = DeadPage { rows, next: None, count, bytes: 0, dropped: 0 };
        let (node, op) = (NodeId::new(1), Op::new(op));
        self.see(&Observed::ToldOfTheDead { node, group: GROUP, op, page: &page })
    }

    fn reaches(&mut self, attempt: &Attempt, verdict: Verdict) -> Vec<&'static str> {
        self.see(&Observed::Executed { node: NodeId::new(1), group: GROUP, attempt, verdict })
    }
}

/// The first attempt at what op 5 emitted.
fn attempt() -> Attempt {
    let place = Place { op: Op::new(5), index: 0 };
    let body = Blob::from(b"body".to_vec());
    Attempt {
        id: SideEffectId::of(&init(), place),
        place,
        number: 1,
        token: FencingToken(4),
        side_effect: SideEffect::new("sink".to_owned(), body, Retry::default()).expect("a short one"),
    }
}

/// It, as it is shown when it was refused.
fn row() -> DeadRow {
    let Attempt { id, place, .. } = attempt();
    DeadRow { id, place, since: Op::new(6), attempts: 1, target: "sink".to_owned(), why: why() }
}

fn why() -> Blob {
    Blob::from(b"no".to_vec())
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_committed_and_takes_effect_once_is_let_be() {
    let mut told = Told::new();
    assert_eq!(told.begins(1, 5, attempt()), NOTHING);
    assert_eq!(told.reaches(&attempt(), Verdict::TookEffect), NOTHING);
    let again = Attempt { number: 2, ..attempt() };
    assert_eq!(told.begins(1, 5, again.clone()), NOTHING);
    assert_eq!(told.reaches(&again, Verdict::Repeated), NOTHING);
    assert_eq!(told.see(&Observed::End), NOTHING);
}

#[test]
fn what_nobody_has_committed_or_asked_for_is_told() {
    assert_eq!(Told::new().begins(1, 4, attempt()), ["EffectFromCommit"]);
    let body = Blob::from(b"another".to_vec());
    let side_effect = SideEffect::new("sink".to_owned(), body, Retry::default()).expect("a short one");
    assert_eq!(Told::new().begins(1, 5, Attempt { side_effect, ..attempt() }), ["EffectFromCommit"]);
    assert_eq!(Told::new().reaches(&attempt(), Verdict::TookEffect), ["EffectFromCommit"]);
}

#[test]
fn another_key_is_told() {
    let id = SideEffectId(Hash::of(b"another"));
    assert_eq!(Told::new().begins(1, 5, Attempt { id, ..attempt() }), ["KeyStable"]);
}

#[test]
fn a_token_of_another_view_of_two_nodes_or_below_one_that_was_accepted_is_told() {
    assert_eq!(Told::new().begins(1, 5, Attempt { token: FencingToken(3), ..attempt() }), ["FenceMonotone"]);
    let mut told = Told::new();
    assert_eq!(told.begins(1, 5, attempt()), NOTHING);
    assert_eq!(told.begins(2, 5, attempt()), ["FenceMonotone"]);
    assert_eq!(told.reaches(&attempt(), Verdict::TookEffect), NOTHING);
    let earlier = Attempt { token: FencingToken(3), ..attempt() };
    assert_eq!(told.reaches(&earlier, Verdict::Fenced), NOTHING);
    assert_eq!(told.reaches(&earlier, Verdict::Repeated), ["FenceMonotone"]);
}

#[test]
fn what_takes_effect_twice_or_never_is_told() {
    let mut told = Told::new();
    assert_eq!(told.see(&Observed::End), ["EffectEventually"], "it was promised");
    told.begins(1, 5, attempt());
    assert_eq!(told.see(&Observed::End), ["EffectEventually"], "it was tried, and nothing came of it");
    assert_eq!(told.reaches(&attempt(), Verdict::TookEffect), NOTHING);
    assert_eq!(told.reaches(&attempt(), Verdict::TookEffect), ["EffectOnce"]);
}

#[test]
fn what_has_ended_begins_again_only_when_it_was_redriven_and_under_a_number_of_its_own() {
    assert_eq!(Told::refused().begins(1, 6, Attempt { number: 2, ..attempt() }), ["NoStartAfterAck"]);
    assert_eq!(Told::refused().begins(1, 5, Attempt { number: 2, ..attempt() }), NOTHING, "it cannot know");
    assert_eq!(Told::redriven().begins(1, 7, Attempt { number: 2, ..attempt() }), NOTHING);
    assert_eq!(Told::redriven().begins(1, 7, attempt()), ["NoStartAfterAck"]);
    let mut told = Told::refused();
    told.commits(EntryKind::Discard, codec::encode(&attempt().id));
    told.commits(EntryKind::Redrive, codec::encode(&attempt().id));
    assert_eq!(
        told.begins(1, 8, Attempt { number: 2, ..attempt() }),
        ["NoStartAfterAck"],
        "it was forgotten"
    );
}

#[test]
fn what_is_redriven_comes_to_an_end_again() {
    assert_eq!(Told::refused().see(&Observed::End), NOTHING);
    let mut told = Told::redriven();
    assert_eq!(told.see(&Observed::End), ["EffectEventually"]);
    let result = AttemptResult::Done(Blob::default());
    let report = Report { place: attempt().place, attempt: 2, result };
    told.commits(EntryKind::SideEffects, codec::encode(&vec![report]));
    assert_eq!(told.see(&Observed::End), NOTHING);
}

#[test]
fn what_was_given_up_is_shown_as_it_ended_until_it_is_redriven() {
    assert_eq!(Told::refused().shows_dead(6, vec![row()]), NOTHING);
    assert_eq!(Told::refused().shows_dead(5, vec![]), NOTHING);
    assert_eq!(Told::refused().shows_dead(6, vec![]), ["DeadKept"]);
    assert_eq!(Told::refused().shows_dead(5, vec![row()]), ["DeadKept"]);
    assert_eq!(Told::refused().shows_dead(6, vec![DeadRow { attempts: 2, ..row() }]), ["DeadKept"]);
    assert_eq!(Told::redriven().shows_dead(7, vec![]), NOTHING);
    assert_eq!(Told::redriven().shows_dead(6, vec![row()]), NOTHING, "as of then it was dead");
    assert_eq!(Told::redriven().shows_dead(7, vec![row()]), ["DeadKept"]);
}

//! Whole nodes, a few of them, on perfect disks and links: what holds when nothing goes wrong, and after plain restarts. Everything
//! that goes wrong is the simulator's.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::builtin::{Builtin, BuiltinQuery, BuiltinView};
use crate::codec::{self, ByteWriter};
use crate::engine::perfect_disk::PerfectDisk;
use crate::engine::{EngineConfig, FileId, Found, Identity, format};
use crate::kernel::{
    ApplyContext, Attempt, ChrApplication, Chunk, Command, Cursor, Event, Outcome, QueryContext, Schema,
};
use crate::node::{
    About, Answer, Effect, Freshness, Input, Life, Limits, Node, NodeConfig, Query, QueryAnswer, Reply,
    Request, Role, Route, Timeouts, WorkAnswer,
};
use crate::register::{RegisterAnswer, RegisterCommand};
use crate::types::{
    Blob, ClientId, ClusterId, GroupId, GroupInit, Monotonic, NodeId, Now, RequestNumber, SessionId,
    Timestamp, Wall, usize_of,
};

const CLUSTER: ClusterId = ClusterId::new(7);
pub(super) const GROUP: GroupId = GroupId::new(0);

fn config(node: u64) -> NodeConfig {
    NodeConfig {
        cluster: CLUSTER,
        node: NodeId::new(node),
        engine: EngineConfig {
            segment_bytes: 64 << 10,
            flush_bytes_max: 16 << 10,
            ..EngineConfig::default()
        },
        limits: Limits { batch_bytes_max: 8 << 10, command_bytes_max: 4 << 10, ..Limits::default() },
        timeouts: Timeouts::default(),
    }
}

/// Of the voters, and of nodes that are to join.
fn formatted_disks(voters: &[NodeId], kind: &str, joining: &[NodeId]) -> Vec<PerfectDisk> {
    let init = GroupInit {
        cluster: CLUSTER,
        group: GROUP,
        kind: kind.to_string(),
        voters: voters.to_vec(),
        sessions_max: 2,
        archive: None,
    };
    let formatted = |node: &NodeId| {
        let identity = Identity { cluster: CLUSTER, node: *node, groups: vec![init.clone()] };
        let mut disk = PerfectDisk::default();
        for op in format(&identity).expect("the identity is right") {
            disk.run(op);
        }
        disk
    };
    voters.iter().chain(joining).map(formatted).collect()
}

pub(super) struct Cluster {
    now: Now,
    pub(super) nodes: Vec<Option<Node<Builtin>>>,
    disks: Vec<PerfectDisk>,
    inputs: VecDeque<(usize, Input)>,
    pub(super) replies: Vec<Reply>,
    found: Vec<Found>,
    pub(super) answers: Vec<(u64, QueryAnswer)>,
    pub(super) attempts: Vec<(usize, Attempt)>,
    pub(super) worked: Vec<(u64, WorkAnswer)>,
    starts: u8,
}

impl Cluster {
    fn new(count: u64) -> Self {
        Self::of("register", count)
    }

    /// A cluster whose one group is of this kind.
    pub(super) fn of(kind: &str, count: u64) -> Self {
        Self::with_joining(kind, count, 0)
    }

    /// The same, and so many nodes that are to join.
    pub(super) fn with_joining(kind: &str, count: u64, joining: u64) -> Self {
        let nodes = |from: u64, to: u64| (from..=to).map(NodeId::new).collect::<Vec<_>>();
        let (voters, joining) = (nodes(1, count), nodes(count + 1, count + joining));
        let disks = formatted_disks(&voters, kind, &joining);
        let now = Now { monotonic: Monotonic::from_nanos(0), wall: Wall::from_nanos(1_000_000_000) };
        let nodes = disks.iter().map(|_| None).collect();
        let mut cluster = Self {
            now,
            nodes,
            disks,
            inputs: VecDeque::new(),
            replies: Vec::new(),
            found: Vec::new(),
            answers: Vec::new(),
            attempts: Vec::new(),
            worked: Vec::new(),
            starts: 0,
        };
        for index in 0..cluster.nodes.len() {
            cluster.start(index);
        }
        cluster
    }

    pub(super) fn start(&mut self, index: usize) {
        self.starts += 1;
        let config = config(crate::types::u64_of(index) + 1);
        self.nodes[index] = Some(Node::new(config, Builtin, [self.starts; 32]));
    }

    pub(super) fn stop(&mut self, index: usize) {
        self.nodes[index] = None;
        self.inputs.retain(|(to, _)| *to != index);
    }

    pub(super) fn step(&mut self, index: usize, input: Input) {
        let Some(node) = &mut self.nodes[index] else { return };
        let mut effects = Vec::new();
        node.step(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    let from = NodeId::new(crate::types::u64_of(index) + 1);
                    self.inputs.push_back((usize_of(to.get()) - 1, Input::Message { from, message }));
                }
                Effect::Disk(op) => {
                    let done = self.disks[index].run(op);
                    self.inputs.push_back((index, Input::Disk(done)));
                }
                Effect::Reply { reply, .. } => self.replies.push(reply),
                Effect::Found { found, .. } => self.found.push(found),
                Effect::Answer { number, answer, .. } => self.answers.push((number, answer)),
                Effect::Execute { attempt, .. } => self.attempts.push((index, attempt)),
                Effect::Worked { number, answer, .. } => self.worked.push((number, answer)),
                Effect::Meet { .. } => {}
                Effect::Halt(reason) => panic!("node {} halted: {reason}", index + 1),
            }
        }
    }

    /// Runs for `ms` milliseconds.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            let ns = self.now.monotonic.as_nanos() + 1_000_000;
            self.now =
                Now { monotonic: Monotonic::from_nanos(ns), wall: Wall::from_nanos(1_000_000_000 + ns) };
            for round in 0.. {
                assert!(round < 10_000, "the nodes never come to rest");
                if let Some((to, input)) = self.inputs.pop_front() {
                    self.step(to, input);
                    continue;
                }
                let due = |node: &Option<Node<Builtin>>| {
                    node.as_ref().and_then(Node::deadline).is_some_and(|at| at <= self.now.monotonic)
                };
                match self.nodes.iter().position(due) {
                    Some(index) => self.step(index, Input::Timeout),
                    None => break,
                }
            }
        }
    }

    pub(super) fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.as_ref().and_then(|n| n.group_status(GROUP)).is_some_and(|s| s.role == Role::Primary)
        })
    }

    /// Asks the primary, and gives the answer.
    pub(super) fn ask(&mut self, command: Command) -> Answer {
        let primary = self.primary().expect("there is a primary");
        let request = Request { group: GROUP, command };
        self.replies.clear();
        self.step(primary, Input::Client { route: Route(1), request });
        self.run(50);
        assert_eq!(self.replies.len(), 1, "one answer to one request");
        self.replies[0].answer.clone()
    }

    pub(super) fn register(&mut self, client: u128) -> SessionId {
        match self.ask(Command::register(ClientId::new(client))) {
            Answer::Committed { outcome: Outcome::Registered { session }, .. } => session,
            other => panic!("not registered: {other}"),
        }
    }
}

/// Asks a node for the value of a register.
fn query(number: u64, key: &[u8], freshness: Freshness) -> Input {
    let body = Blob::from(codec::encode(&BuiltinQuery::Value { key: Blob::from(key.to_vec()) }));
    Input::Query {
        route: Route(9),
        query: Query { number, group: GROUP, about: About::State, body, freshness },
    }
}

/// The value that an answer shows, and the op that it reflects.
fn shown(answer: &QueryAnswer) -> Option<(u64, Option<Blob>)> {
    let QueryAnswer::State { op, body } = answer else { return None };
    let BuiltinView::Value(value) = codec::decode(body.as_slice()).ok()? else { return None };
    Some((op.get(), value))
}

#[test]
fn every_replica_answers_with_what_was_committed_before_it_was_asked() {
    let mut cluster = Cluster::new(3);
    cluster.run(1000);
    let session = cluster.register(7);
    let (key, value) = (Blob::from(b"k".to_vec()), Blob::from(b"v".to_vec()));
    cluster.ask(command(7, session, 1, &RegisterCommand::Write { key, value: value.clone() }));
    for node in 0..3 {
        cluster.step(node, query(10 + crate::types::u64_of(node), b"k", Freshness::Linearizable));
    }
    cluster.run(20);
    let answers = core::mem::take(&mut cluster.answers);
    let mut numbers: Vec<u64> = answers.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [10, 11, 12]);
    assert!(answers.iter().all(|(_, answer)| shown(answer) == Some((2, Some(value.clone())))), "{answers:?}");
}

#[test]
fn who_finds_no_quorum_answers_no_question_but_for_what_it_has() {
    let mut cluster = Cluster::new(3);
    cluster.run(1000);
    let primary = cluster.primary().expect("there is a primary");
    (0..3).filter(|node| *node != primary).for_each(|node| cluster.stop(node));
    cluster.step(primary, query(1, b"k", Freshness::Linearizable));
    cluster.step(primary, query(2, b"k", Freshness::Stale));
    assert_eq!(cluster.answers.len(), 1, "what it has is told at once");
    assert_eq!((cluster.answers[0].0, shown(&cluster.answers[0].1)), (2, Some((0, None))));
    cluster.run(5000);
    assert_eq!(cluster.answers[1..], [(1, QueryAnswer::Busy)]);
}

#[test]
fn what_is_no_question_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.step(0, query(1, b"k", Freshness::Linearizable));
    cluster.run(100);
    for (number, group, freshness) in [
        (2, GROUP, Freshness::Stale),
        (3, GROUP, Freshness::Linearizable),
        (4, GroupId::new(5), Freshness::Stale),
    ] {
        let query = Query { number, group, about: About::State, body: Blob::from(vec![1]), freshness };
        cluster.step(0, Input::Query { route: Route(9), query });
    }
    cluster.step(0, query(5, b"k", Freshness::Linearizable));
    cluster.run(1);
    assert_eq!(
        cluster.answers[..4],
        [
            (1, QueryAnswer::Busy),
            (2, QueryAnswer::Malformed),
            (3, QueryAnswer::Malformed),
            (4, QueryAnswer::UnknownGroup)
        ]
    );
    assert_eq!(shown(&cluster.answers[4].1), Some((0, None)), "a quorum of one is enough for one");
}

fn command(client: u128, session: SessionId, number: u64, body: &RegisterCommand) -> Command {
    let (client, number) = (ClientId::new(client), RequestNumber::new(number));
    Command { client, session, number, body: Blob::from(codec::encode(body)) }
}

fn write(value: &str) -> RegisterCommand {
    RegisterCommand::Write { key: text("k"), value: text(value) }
}

fn read() -> RegisterCommand {
    RegisterCommand::Read { key: text("k") }
}

fn text(text: &str) -> Blob {
    Blob(Bytes::copy_from_slice(text.as_bytes()))
}

fn done(answer: &Answer) -> RegisterAnswer {
    match answer {
        Answer::Committed { outcome: Outcome::Done(body), .. } => {
            codec::decode(body.as_slice()).expect("an answer")
        }
        other => panic!("not done: {other}"),
    }
}

#[test]
fn one_node_serves_and_remembers_over_a_restart() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let session = cluster.register(9);
    assert_eq!(done(&cluster.ask(command(9, session, 1, &write("a")))), RegisterAnswer::Written);
    let (before, _) =
        cluster.nodes[0].as_ref().unwrap().group_status(GROUP).map(|s| (s.view, s.head)).unwrap();
    cluster.stop(0);
    cluster.start(0);
    cluster.run(2000);
    let status = cluster.nodes[0].as_ref().unwrap().group_status(GROUP).unwrap();
    assert!(status.view > before, "a restarted primary never resumes its view");
    assert_eq!(done(&cluster.ask(command(9, session, 2, &read()))), RegisterAnswer::Value(Some(text("a"))));
}

#[test]
fn a_group_that_keeps_too_much_of_the_journal_takes_nothing_new() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let session = cluster.register(9);
    let first = cluster.ask(command(9, session, 1, &write("a")));
    let Some(Life::Running(running)) = cluster.nodes[0].as_mut().map(|node| &mut node.life) else {
        panic!("the node runs");
    };
    running.groups[0].keeps_too_much = true;
    let refused = cluster.nodes[0].as_ref().and_then(|node| node.group_status(GROUP));
    assert!(refused.is_some_and(|status| status.keeps_too_much), "its status says so");
    let request = Request { group: GROUP, command: command(9, session, 2, &write("b")) };
    cluster.replies.clear();
    cluster.step(0, Input::Client { route: Route(1), request });
    assert_eq!(cluster.replies.pop().map(|reply| reply.answer), Some(Answer::Busy));
    let request = Request { group: GROUP, command: command(9, session, 1, &write("a")) };
    cluster.step(0, Input::Client { route: Route(1), request });
    assert_eq!(cluster.replies.pop().map(|reply| reply.answer), Some(first), "what was answered is answered");
    cluster.run(2000);
    assert_eq!(done(&cluster.ask(command(9, session, 2, &write("b")))), RegisterAnswer::Written);
}

#[test]
fn a_retried_request_gets_the_first_answer_and_is_not_executed_again() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let session = cluster.register(9);
    let swap = RegisterCommand::CompareAndSet { key: text("k"), expected: None, value: text("a") };
    let first = cluster.ask(command(9, session, 1, &swap));
    assert_eq!(done(&first), RegisterAnswer::Swapped);
    assert_eq!(cluster.ask(command(9, session, 1, &swap)), first);
}

#[test]
fn the_session_used_least_recently_makes_room() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let (first, second) = (cluster.register(1), cluster.register(2));
    cluster.ask(command(1, first, 1, &read()));
    cluster.register(3);
    let answer = cluster.ask(command(2, second, 1, &read()));
    assert!(matches!(answer, Answer::Committed { outcome: Outcome::Evicted, .. }), "{answer}");
    assert_eq!(done(&cluster.ask(command(1, first, 2, &read()))), RegisterAnswer::Value(None));
}

#[test]
fn three_nodes_survive_the_loss_of_their_primary() {
    let mut cluster = Cluster::new(3);
    cluster.run(300);
    let session = cluster.register(9);
    cluster.ask(command(9, session, 1, &write("a")));
    let old = cluster.primary().expect("there is a primary");
    cluster.stop(old);
    cluster.run(5000);
    assert_ne!(cluster.primary(), Some(old));
    assert_eq!(done(&cluster.ask(command(9, session, 2, &read()))), RegisterAnswer::Value(Some(text("a"))));
    cluster.ask(command(9, session, 3, &write("b")));
    cluster.start(old);
    cluster.run(3000);
    let statuses = cluster.nodes.iter().map(|n| n.as_ref().unwrap().group_status(GROUP).unwrap());
    let states: Vec<_> = statuses.map(|s| (s.view, s.applied, s.applied_digest)).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[1], states[2]);
}

#[test]
fn a_cluster_that_lost_power_everywhere_serves_again() {
    let mut cluster = Cluster::new(3);
    cluster.run(300);
    let session = cluster.register(9);
    for (number, value) in (1..).zip(["a", "b", "c"]) {
        cluster.ask(command(9, session, number, &write(value)));
        for node in 0..3 {
            cluster.stop(node);
        }
        for node in 0..3 {
            cluster.start(node);
        }
        cluster.run(5000);
    }
    assert_eq!(done(&cluster.ask(command(9, session, 4, &read()))), RegisterAnswer::Value(Some(text("c"))));
}

#[test]
fn the_journal_rolls_over_its_segments() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let session = cluster.register(9);
    for number in 1..=60 {
        cluster.ask(command(9, session, number, &write(&number.to_string())));
    }
    assert!(cluster.disks[0].0.len() > 3, "manifest and several segments");
    cluster.stop(0);
    cluster.start(0);
    cluster.run(3000);
    assert_eq!(done(&cluster.ask(command(9, session, 61, &read()))), RegisterAnswer::Value(Some(text("60"))));
}

#[test]
fn old_segments_are_freed_behind_snapshots_and_the_state_survives() {
    let mut cluster = Cluster::new(3);
    cluster.run(300);
    let session = cluster.register(9);
    for number in 1..=400 {
        cluster.ask(command(9, session, number, &write(&number.to_string())));
    }
    for disk in &cluster.disks {
        let segments = disk.0.keys().filter(|file| matches!(file, FileId::Segment(_))).count();
        assert!(segments <= 12, "{segments} segment files; about 60 were written");
        assert!(disk.0.keys().any(|file| matches!(file, FileId::Snapshot(_))), "no snapshot was saved");
    }
    for node in 0..3 {
        cluster.stop(node);
        cluster.start(node);
    }
    cluster.run(5000);
    assert_eq!(
        done(&cluster.ask(command(9, session, 401, &read()))),
        RegisterAnswer::Value(Some(text("400")))
    );
}

#[test]
fn a_request_that_is_on_its_way_is_not_queued_again() {
    let mut cluster = Cluster::new(1);
    cluster.run(20);
    let request = Request { group: GROUP, command: Command::register(ClientId::new(1)) };
    cluster.step(0, Input::Client { route: Route(1), request: request.clone() });
    cluster.step(0, Input::Client { route: Route(2), request });
    cluster.run(50);
    assert_eq!(cluster.replies.len(), 1, "one execution, one answer, on the route heard last");
    assert_eq!(cluster.nodes[0].as_ref().unwrap().group_status(GROUP).unwrap().head.get(), 1);
}

#[test]
fn a_configuration_that_cannot_work_stops_the_node_by_name() {
    let halted = |change: fn(&mut NodeConfig)| {
        let mut config = config(1);
        change(&mut config);
        let mut effects = Vec::new();
        Node::new(config, Builtin, [0; 32]).step(Now::default(), Input::Timeout, &mut effects);
        effects[0].to_string()
    };
    assert!(
        halted(|c| c.limits.pipeline_entries_max = 0)
            .contains("pipeline_entries_max is 0; at least 1 is needed")
    );
    assert!(
        halted(|c| c.limits.batch_bytes_max = 1 << 30)
            .contains("flush_bytes_max is 16384; with these limits")
    );
    assert!(halted(|_| {}).starts_with("disk("), "it reads its disk");
}

#[test]
fn a_backup_sends_clients_to_the_primary() {
    let mut cluster = Cluster::new(3);
    cluster.run(300);
    let primary = cluster.primary().expect("there is a primary");
    let request = Request { group: GROUP, command: Command::register(ClientId::new(1)) };
    cluster.step((primary + 1) % 3, Input::Client { route: Route(4), request });
    let answer = &cluster.replies[0].answer;
    let expected = NodeId::new(crate::types::u64_of(primary) + 1);
    assert!(matches!(answer, Answer::NotPrimary { primary, .. } if *primary == expected), "{answer}");
}

/// Wants to be woken every 100 ms of consensus time, and counts.
#[derive(Clone)]
struct Alarm;

#[derive(Clone, Default)]
struct AlarmState {
    rung: Vec<Timestamp>,
    next: Timestamp,
}

const ALARM_EVERY_NS: u64 = 100_000_000;

impl ChrApplication for Alarm {
    const SCHEMA: Schema = Schema(1);
    type State = AlarmState;
    type QueryRequest = ();
    type QueryResponse = usize;
    type Error = u8;

    fn genesis(&self, _group: &GroupInit) -> AlarmState {
        AlarmState { rung: Vec::new(), next: Timestamp::from_nanos(1_500_000_000) }
    }

    fn apply(
        &self,
        state: &mut AlarmState,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, u8> {
        let Event::Wakeup = event else { return Err(1) };
        state.rung.push(ctx.timestamp());
        state.next = Timestamp::from_nanos(ctx.timestamp().as_nanos() + ALARM_EVERY_NS);
        Ok(Bytes::new())
    }

    fn query(&self, state: &AlarmState, _request: (), _ctx: &mut QueryContext) -> usize {
        state.rung.len()
    }

    fn snapshot(&self, _state: &AlarmState, _from: Cursor, _out: &mut Chunk) -> Option<Cursor> {
        None
    }

    fn restore(&self, _state: &mut AlarmState, _from: Schema, _chunk: &[u8]) -> Result<(), u8> {
        Ok(())
    }

    fn next_wakeup(&self, state: &AlarmState) -> Option<Timestamp> {
        Some(state.next)
    }
}

#[test]
fn an_application_is_woken_at_the_consensus_time_it_asked_for_and_never_early() {
    let mut disk = formatted_disks(&[NodeId::new(1)], "register", &[]).remove(0);
    let mut node = Node::new(config(1), Alarm, [1; 32]);
    let mut inputs = VecDeque::new();
    for ms in 0..2_000_u64 {
        let ns = ms * 1_000_000;
        let now = Now { monotonic: Monotonic::from_nanos(ns), wall: Wall::from_nanos(1_000_000_000 + ns) };
        while node.deadline().is_some_and(|at| at <= now.monotonic) || !inputs.is_empty() {
            let mut effects = Vec::new();
            node.step(now, inputs.pop_front().unwrap_or(Input::Timeout), &mut effects);
            inputs.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Disk(op) => Some(Input::Disk(disk.run(op))),
                Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Answer { .. }
                | Effect::Execute { .. }
                | Effect::Worked { .. }
                | Effect::Found { .. }
                | Effect::Meet { .. }
                | Effect::Halt(_) => None,
            }));
        }
    }
    let state = node.state(GROUP).expect("the node runs");
    assert_eq!(state.rung.len(), 15, "from 0.5 s to 1.9 s, every 0.1 s");
    let due = (0_u64..).map(|n| 1_500_000_000 + n * ALARM_EVERY_NS);
    assert!(state.rung.iter().zip(due).all(|(rung, due)| rung.as_nanos() >= due));
    assert_eq!(node.group_status(GROUP).map(|status| status.applied.get()), Some(15));
}

#[test]
fn the_floor_of_an_idle_group_rises_as_all_follow_with_snapshots_and_after_a_restart_of_all() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let session = cluster.register(9);
    for n in 1..6 {
        cluster.ask(command(9, session, n, &write("a")));
    }
    cluster.run(1000);
    let floors = |cluster: &Cluster| -> Vec<(u64, u64)> {
        let group = |node: &Option<Node<Builtin>>| {
            let group = node.as_ref().expect("it runs").group(GROUP).expect("it is there");
            (group.replica.floor().get(), group.replica.applied().get())
        };
        cluster.nodes.iter().map(group).collect()
    };
    cluster.nodes[0].as_mut().expect("it runs").save_snapshot(GROUP);
    cluster.run(5_000);
    assert!(floors(&cluster).iter().all(|(floor, _)| *floor == 0), "the others have no snapshot yet");
    // Their own journals are short: they follow because the first one's waits for them.
    cluster.run(10_000);
    assert!(floors(&cluster).iter().all(|(floor, applied)| floor == applied), "{:?}", floors(&cluster));
    for place in 0..3 {
        cluster.stop(place);
    }
    for place in 0..3 {
        cluster.start(place);
    }
    cluster.run(20_000);
    // A view may have begun with an entry or two of its own since.
    assert!(
        floors(&cluster).iter().all(|(floor, _)| *floor >= 6),
        "an idle group pins its segments for ever: {:?}",
        floors(&cluster)
    );
}

#[test]
fn a_due_wakeup_behind_a_flush_does_not_spin() {
    let mut disk = formatted_disks(&[NodeId::new(1)], "register", &[]).remove(0);
    let mut node = Node::new(config(1), Alarm, [1; 32]);
    let mut inputs = VecDeque::new();
    let mut idle_steps = 0;
    for ms in 0..1_000_u64 {
        let ns = ms * 1_000_000;
        let now = Now { monotonic: Monotonic::from_nanos(ns), wall: Wall::from_nanos(1_000_000_000 + ns) };
        // The disk stands still from 0.65 s on; a second alarm falls due meanwhile at 0.6 + 0.1 s.
        let stalled = ms >= 520;
        let mut rounds = 0;
        while rounds < 100
            && (node.deadline().is_some_and(|at| at <= now.monotonic) || (!stalled && !inputs.is_empty()))
        {
            rounds += 1;
            let mut effects = Vec::new();
            let input = if stalled { Input::Timeout } else { inputs.pop_front().unwrap_or(Input::Timeout) };
            node.step(now, input, &mut effects);
            idle_steps += usize::from(effects.is_empty());
            inputs.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Disk(op) => Some(Input::Disk(disk.run(op))),
                Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Answer { .. }
                | Effect::Execute { .. }
                | Effect::Worked { .. }
                | Effect::Found { .. }
                | Effect::Meet { .. }
                | Effect::Halt(_) => None,
            }));
        }
        assert!(
            rounds < 100,
            "at {ms} ms the deadline stands at the present and no step changes that ({idle_steps} steps without effect)"
        );
    }
}

#[test]
fn sessions_longer_than_a_body_are_restored() {
    // 300 sessions whose last answers are 60 KiB each: register's values may be that long.
    let init = GroupInit {
        cluster: CLUSTER,
        group: GROUP,
        kind: "register".to_string(),
        voters: vec![NodeId::new(1)],
        sessions_max: 1000,
        archive: None,
    };
    let mut executor = crate::kernel::Executor::new(Builtin, init.clone());
    let mut last = init.genesis();
    let mut executed = Vec::new();
    let mut push = |executor: &mut crate::kernel::Executor<Builtin>, command: &Command| {
        let mut batch = crate::kernel::Batch::default();
        batch.push(command);
        let entry = crate::types::Entry::next(
            &last,
            crate::types::EntryKind::Commands,
            crate::types::View::new(1),
            last.timestamp().next(),
            batch.finish(),
        );
        last = *entry.header();
        executor.apply(&entry, &mut executed, &mut crate::types::NoMarks).expect("it executes all");
        match executed.pop().unwrap().outcome {
            Outcome::Registered { session } => session,
            Outcome::Done(_) => SessionId::new(0),
            other => panic!("{other}"),
        }
    };
    let big = "v".repeat(60 << 10);
    for client in 1..=300 {
        let session = push(&mut executor, &Command::register(ClientId::new(client)));
        push(&mut executor, &command(client, session, 1, &write(&big)));
        push(&mut executor, &command(client, session, 2, &read()));
    }
    let mut snapshot = ByteWriter::default();
    let mut writer = executor.snapshot(last);
    while writer.go_on(1, &mut snapshot) {}
    let snapshot = snapshot.as_slice();
    let error = crate::kernel::Executor::restore(Builtin, init, snapshot).err().map(|e| e.to_string());
    assert_eq!(error, None);
}

//! The oracles of replication tell what is wrong, each by its name, and let what is right be.

use bytes::Bytes;
use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::codec;
use chronon_core::consensus::{DoViewChange, SuffixEntry, VsrMessage};
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, EngineConfig, FileId, Identity, format};
use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::{
    Answer, Effect, Freshness, Input, Limits, Node, NodeConfig, Phase, Reply, Request, Route, Timeouts,
};
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{
    Blob, ClientId, ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Hash, Monotonic, NodeId,
    Now, Op, RequestNumber, SessionId, Timestamp, View, Wall,
};

use super::acks::Acks;
use super::linearizability::History;
use super::replication_claims::{Said, judge};
use super::replication_commits::Group;
use super::sessions::Sessions;
use super::shadow::{Broken, DiskShadow, DurableLog};
use super::wishes::Wishes;
use crate::disk::{DiskModel, SimDisk};
use crate::journal::{self, CommandId, EntryRecord, Flush, Payload, Promise, Proven, Record, RecordKind};
use crate::random::Randomness;
use crate::time::WorldTime;

pub(super) const FILE: FileId = FileId::Segment(0);

pub(super) fn init(voters: u64) -> GroupInit {
    let voters = (1..=voters).map(NodeId::new).collect();
    let (cluster, group) = (ClusterId::new(7), GroupId::new(0));
    GroupInit { cluster, group, kind: "register".to_owned(), voters, sessions_max: 2, archive: None }
}

/// What a real node of one voter writes into its journal while it starts and executes a few commands.
pub(super) fn real_writes() -> Vec<(u64, Bytes)> {
    let identity = Identity { cluster: ClusterId::new(7), node: NodeId::new(1), groups: vec![init(1)] };
    let limits = Limits { batch_bytes_max: 8 << 10, command_bytes_max: 4 << 10, ..Limits::default() };
    let engine =
        EngineConfig { segment_bytes: 1 << 20, flush_bytes_max: 64 << 10, ..EngineConfig::default() };
    let (cluster, timeouts) = (identity.cluster, Timeouts::default());
    let config = NodeConfig { cluster, node: identity.node, engine, limits, timeouts };
    let mut node = Node::new(config, chronon_core::builtin::Builtin, [3; 32]);
    let mut disk = empty_disk();
    let mut writes = Vec::new();
    for op in format(&identity).expect("the identity is right") {
        run(&mut disk, op, &mut writes);
    }
    let mut asked = 0;
    for ms in 0..400 {
        let now = Now {
            monotonic: Monotonic::from_nanos(ms * 1_000_000),
            wall: Wall::from_nanos(ms * 1_000_000 + 5),
        };
        let mut inputs = vec![Input::Timeout];
        if node.status().phase == Phase::Running && asked < 6 && ms % 20 == 0 {
            let command =
                Command { body: Blob::from(vec![1; 300]), ..Command::register(ClientId::new(asked)) };
            asked += 1;
            inputs.push(Input::Client {
                route: Route(ms),
                request: Request { group: GroupId::new(0), command },
            });
        }
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            node.step(now, input, &mut effects);
            for effect in effects {
                if let Effect::Disk(op) = effect {
                    inputs.insert(0, Input::Disk(run(&mut disk, op, &mut writes)));
                }
            }
        }
    }
    assert_eq!(asked, 6, "the node never ran");
    writes
}

fn run(disk: &mut SimDisk, op: DiskOp, writes: &mut Vec<(u64, Bytes)>) -> DiskDone {
    if let DiskOp::Write { file: FILE, offset, data, .. } = &op {
        writes.push((*offset, data.0.clone()));
    }
    let id = op.id();
    disk.submit(WorldTime::ZERO, op);
    disk.complete(id).expect("the operation is in flight")
}

fn empty_disk() -> SimDisk {
    SimDisk::new(1, DiskModel::default(), Randomness::new(1, 0))
}

#[test]
fn what_a_node_writes_is_what_the_page_says() {
    let mut entries = 0;
    let mut promises = 0;
    for (offset, data) in real_writes() {
        let flush = journal::read(&data, offset, &mut Proven::default());
        let flush = flush.expect("a node writes flushes").expect("no segment is full");
        for record in &flush.records {
            match &record.kind {
                RecordKind::Entry(entry) => {
                    entries += 1;
                    assert_eq!(journal::commands(&entry.payload.bytes).map(|all| all.len()), Some(1));
                }
                RecordKind::Promise { .. } => promises += 1,
                RecordKind::Truncation(_) => {}
            }
        }
    }
    assert_eq!(entries, 6);
    assert!(promises >= 1);
}

#[test]
fn a_damaged_flush_is_told() {
    let writes = real_writes();
    let (offset, data) = writes.iter().find(|(_, data)| data.len() <= 8192).expect("a small flush");
    let used = data.iter().rposition(|byte| *byte != 0).expect("a flush is not empty");
    // The intact one was read before: no part of the damaged one is taken for it.
    let mut proven = Proven::default();
    assert!(journal::read(data, *offset, &mut proven).is_ok());
    assert!(journal::read(data, offset + 4096, &mut proven).is_err(), "it lies elsewhere");
    for place in (0..used).step_by(7) {
        let mut damaged = data.to_vec();
        damaged[place] ^= 0x10;
        assert!(journal::read(&Bytes::from(damaged), *offset, &mut proven).is_err(), "byte {place}");
    }
}

/// A shadow, fed by hand.
#[derive(Default)]
struct Fed {
    shadow: DiskShadow,
    proven: Proven,
    ids: u64,
    broken: Vec<Broken>,
}

impl Fed {
    fn write(&mut self, offset: u64, data: &Bytes) {
        self.ids += 1;
        let op = DiskOp::Write { id: DiskOpId(self.ids), file: FILE, offset, data: Blob(data.clone()) };
        self.shadow.submit(&op, &mut self.proven, &mut self.broken);
    }

    fn barrier(&mut self) -> DiskOpId {
        self.ids += 1;
        let op = DiskOp::Barrier { id: DiskOpId(self.ids) };
        self.shadow.submit(&op, &mut self.proven, &mut self.broken);
        DiskOpId(self.ids)
    }

    /// How many records become durable.
    fn complete(&mut self, id: DiskOpId) -> usize {
        let mut count = 0;
        let done = DiskDone { id, outcome: DiskOutcome::Done };
        self.shadow.complete(&done, &mut self.broken, &mut |_| count += 1);
        count
    }

    fn told(&self) -> Vec<&'static str> {
        self.broken.iter().map(|broken| broken.invariant).collect()
    }
}

#[test]
fn a_flush_is_durable_once_a_barrier_submitted_after_it_completes() {
    let writes = real_writes();
    let mut fed = Fed::default();
    let early = fed.barrier();
    fed.write(writes[0].0, &writes[0].1);
    assert_eq!(fed.complete(early), 0, "it was submitted before");
    let late = fed.barrier();
    assert!(fed.complete(late) > 0);
    assert_eq!(fed.told(), Vec::<&str>::new());
}

#[test]
fn after_a_crash_only_what_survived_whole_and_in_order_is_durable() {
    let writes = real_writes();
    let survives = |kept: &[usize]| {
        let mut fed = Fed::default();
        let mut disk = empty_disk();
        let mut id = 0;
        let mut put = |op: &dyn Fn(DiskOpId) -> DiskOp| {
            id += 1;
            run(&mut disk, op(DiskOpId(id)), &mut Vec::new());
        };
        put(&|id| DiskOp::Allocate { id, file: FILE, bytes: 1 << 20 });
        // Nothing is durable yet, so that a claim that something is would be told.
        for (index, (offset, data)) in writes.iter().take(3).enumerate() {
            fed.write(*offset, data);
            if kept.contains(&index) {
                put(&|id| DiskOp::Write { id, file: FILE, offset: *offset, data: Blob(data.clone()) });
            }
        }
        put(&|id| DiskOp::Barrier { id });
        let mut records = 0;
        fed.shadow.crash(disk.durable(), &mut fed.broken, &mut |_| records += 1);
        records
    };
    let (first, second) = (survives(&[0]), survives(&[0, 1]));
    assert!(first > 0 && second >= first);
    assert_eq!(survives(&[1, 2]), 0, "the first flush is gone, and all behind it with it");
    assert_eq!(survives(&[0, 2]), first);
}

#[test]
fn a_promise_with_a_commit_above_a_missing_entry_is_told() {
    let group = GroupId::new(0);
    let entry = |op| {
        let payload = Payload { is_commands: false, bytes: Bytes::new() };
        RecordKind::Entry(EntryRecord { op, hash: Hash::ZERO, parent: Hash::ZERO, payload, at: 0 })
    };
    let promise = |commit| RecordKind::Promise { promise: Promise { view: 1, log_view: 1 }, commit };
    let told = |kinds: Vec<RecordKind>| {
        let records = (1..).zip(kinds).map(|(ordinal, kind)| Record { group, ordinal, kind }).collect();
        let (hash, previous) = (Hash::ZERO, Hash::ZERO);
        let flush =
            Flush { generation: 1, head: 0, meant: 0, number: 1, hash, previous, barrier: 0, records };
        let mut fed = Fed::default();
        fed.shadow.fold(&flush, &mut fed.broken, &mut |_| ());
        fed.told()
    };
    assert_eq!(told(vec![entry(1), entry(2), promise(2)]), Vec::<&str>::new());
    assert_eq!(told(vec![entry(1), promise(2), entry(2)]), ["NoGap"], "it comes later");
    assert_eq!(told(vec![entry(2), promise(2)]), ["NoGap"]);
    assert_eq!(
        told(vec![entry(1), promise(1), RecordKind::Truncation(0), promise(1)]),
        ["NoGap"],
        "it was cut"
    );
}

#[test]
fn another_entry_below_a_snapshot_in_force_changes_nothing_and_above_it_counts() {
    let group = GroupId::new(0);
    let hash = |op: u64, version: u8| Hash::of(&[version, op as u8]);
    let fold = |fed: &mut Fed, op: u64, version: u8| {
        let payload = Payload { is_commands: false, bytes: Bytes::new() };
        let (hash, parent) = (hash(op, version), hash(op - 1, version));
        let kind = RecordKind::Entry(EntryRecord { op, hash, parent, payload, at: 0 });
        let records = vec![Record { group, ordinal: 10 * u64::from(version) + op, kind }];
        let (hash, previous) = (Hash::ZERO, Hash::ZERO);
        let flush =
            Flush { generation: 1, head: 0, meant: 0, number: 1, hash, previous, barrier: 0, records };
        fed.shadow.fold(&flush, &mut fed.broken, &mut |_| ());
    };
    let mut fed = Fed::default();
    (1..=3).for_each(|op| fold(&mut fed, op, 1));
    fed.shadow.save(group, 2, |op| Some(hash(op, 1)));
    [2, 3].into_iter().for_each(|op| fold(&mut fed, op, 2));
    let log = fed.shadow.log(group).expect("the group has a log");
    let held = |op| log.entry(op).map(|entry| entry.hash);
    assert_eq!(held(2), Some(hash(2, 1)), "the snapshot covers it");
    assert_eq!(held(3), Some(hash(3, 2)), "nothing covers it");
    assert_eq!(fed.told(), Vec::<&str>::new());
}

#[test]
fn a_flush_that_claims_too_much_or_leaves_one_out_is_told() {
    let writes = real_writes();
    // The later flush says that the earlier one is durable, and no barrier has completed.
    let claims = writes.windows(2).position(|pair| {
        let read = |index: usize| {
            let read = journal::read(&pair[index].1, pair[index].0, &mut Proven::default());
            read.expect("a flush").expect("a flush")
        };
        read(1).barrier == read(0).number
    });
    let at = claims.expect("a node that waits for its barriers says so");
    let mut fed = Fed::default();
    for (offset, data) in &writes[..at + 2] {
        fed.write(*offset, data);
    }
    assert!(fed.told().contains(&"FlushPrefix"));
    let mut fed = Fed::default();
    fed.write(writes[1].0, &writes[1].1);
    assert_eq!(fed.told()[0], "FlushPrefix", "the first flush is missing");
    let mut fed = Fed::default();
    fed.write(writes[0].0, &writes[0].1);
    fed.write(writes[0].0, &writes[0].1);
    assert!(fed.broken.iter().any(|broken| broken.what.contains("goes over blocks")));
    assert!(fed.told().contains(&"OrdinalWins"));
}

/// The first few entries of a group's log.
fn chain(init: &GroupInit, count: u64, view: u64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut parent = init.genesis();
    for number in 1..=count {
        let time = Timestamp::from_nanos(number + 10 * view);
        let entry = Entry::next(&parent, EntryKind::Wakeup, View::new(view), time, Bytes::new());
        parent = *entry.header();
        entries.push(entry);
    }
    entries
}

fn name<T>(judged: Result<T, Broken>) -> &'static str {
    match judged {
        Ok(_) => "held",
        Err(broken) => broken.invariant,
    }
}

#[test]
fn a_message_that_claims_more_than_is_durable_is_told() {
    let init = init(3);
    let entries = chain(&init, 1, 1);
    let (view, op, hash) = (View::new(1), Op::new(1), entries[0].hash());
    let nothing: Option<&DurableLog> = None;
    let say = |message: &VsrMessage| name(judge(message, nothing, &mut Said::default()));
    let commit = chronon_core::types::CommitIndex::None;
    assert_eq!(say(&VsrMessage::PrepareOk { view, from: op, to: op, hash }), "SendImpliesDurable");
    assert_eq!(say(&VsrMessage::Prepare { view, commit, entry: entries[0].clone() }), "SendImpliesDurable");
    assert_eq!(say(&VsrMessage::StartView { view, commit: op, headers: Vec::new() }), "SendImpliesDurable");
    assert_eq!(say(&VsrMessage::StartViewChange { view: View::new(2) }), "SendImpliesDurable");
    assert_eq!(say(&VsrMessage::RequestEntries { from: op, to: op }), "held");
    let log_view = View::new(1);
    assert_eq!(say(&VsrMessage::Entries { log_view, commit, entries: Vec::new() }), "SendImpliesDurable");
    assert_eq!(say(&VsrMessage::Entries { log_view: View::new(0), commit, entries: Vec::new() }), "held");
}

#[test]
fn an_acknowledgement_after_leaving_its_view_is_told_and_so_is_another_log_for_one_view() {
    let init = init(3);
    let suffix = |header: EntryHeader, present| vec![SuffixEntry { header, present, nack: false }];
    let message = |view, header, present| {
        let (view, log_view) = (View::new(view), View::new(0));
        VsrMessage::DoViewChange(DoViewChange {
            view,
            log_view,
            commit: Op::GENESIS,
            suffix: suffix(header, present),
        })
    };
    // A log of which nothing was ever promised says view 0.
    let log = DurableLog::default();
    let genesis = init.genesis();
    let mut said = Said::default();
    let mut say = |message: &VsrMessage| name(judge(message, Some(&log), &mut said));
    assert_eq!(say(&message(0, genesis, true)), "held");
    assert_eq!(say(&message(0, genesis, true)), "held", "the same again");
    assert_eq!(say(&message(0, genesis, false)), "ViewChangeStable", "what was present is not");
    let other = *chain(&init, 1, 0)[0].header();
    assert_eq!(say(&message(0, other, false)), "ViewChangeStable", "another head");
    assert_eq!(say(&message(3, genesis, true)), "SendImpliesDurable", "the view is not durable");
}

#[test]
fn a_log_that_a_start_finds_shorter_than_what_was_acknowledged_is_told() {
    let promised = |view| Promise { view, log_view: view };
    let mut log = DurableLog::default();
    log.promise = Some(promised(1));
    let (mut said, view, op) = (Said::default(), View::new(1), Op::new(3));
    let acknowledge = VsrMessage::PrepareOk { view, from: op, to: op, hash: Hash::ZERO };
    assert_eq!(name(judge(&acknowledge, Some(&log), &mut said)), "SendImpliesDurable", "but it was said");
    assert_eq!(name(said.judge_start(promised(1), 3)), "held");
    assert_eq!(name(said.judge_start(promised(1), 2)), "RotNotTruncated");
    assert_eq!(name(said.judge_start(promised(2), 2)), "held", "another view may have cut it");
}

/// A group of three in which op 1 was committed in view 1, held by nodes 1 and 2.
fn committed() -> (Group, Vec<Entry>) {
    let init = init(3);
    let entries = chain(&init, 2, 1);
    let mut group = Group::new(&init, &init.voters);
    for entry in &entries {
        let (op, hash, parent) = (entry.op().get(), entry.hash(), entry.header().parent());
        group.see_entry(op, hash, parent, || Payload { is_commands: false, bytes: Bytes::new() });
        assert_eq!(name(group.lead(1, op, hash)), "held");
    }
    for node in [1, 2] {
        group.hold(NodeId::new(node), 1, entries[0].hash());
    }
    assert_eq!(name(group.raise((1, 1), None, |_| None, |_| true, |_| ())), "held");
    (group, entries)
}

#[test]
fn a_cut_that_takes_a_committed_copy_is_told() {
    let (mut group, _) = committed();
    let [one, two, three] = [1, 2, 3].map(NodeId::new);
    assert_eq!(name(group.cut(one, 1)), "held", "op 2 is not committed");
    assert_eq!(name(group.cut(three, 0)), "held", "it has no copy");
    assert_eq!(name(group.cut(two, 0)), "NoCommittedTruncate");
}

#[test]
fn a_copy_that_is_cut_backs_no_commit_and_one_that_nobody_counted_may_be_cut() {
    let (mut group, entries) = committed();
    let [one, two, three] = [1, 2, 3].map(NodeId::new);
    let hold = |group: &mut Group, node| group.hold(node, 2, entries[1].hash());
    hold(&mut group, one);
    hold(&mut group, three);
    assert_eq!(name(group.cut(three, 1)), "held", "op 2 is not committed");
    let all = |_| true;
    assert_eq!(
        name(group.clone().raise((1, 2), None, |_| None, all, |_| ())),
        "CommittedOnQuorum",
        "one copy is gone"
    );
    hold(&mut group, two);
    // The copy of node 3 is one of an earlier view, with its truncation on the way.
    hold(&mut group, three);
    assert_eq!(name(group.raise((1, 2), None, |_| None, |voter| voter != three, |_| ())), "held");
    assert_eq!(name(group.cut(three, 1)), "held", "the commit does not rest on it");
    assert_eq!(name(group.cut(two, 1)), "NoCommittedTruncate");
}

#[test]
fn a_commit_without_a_quorum_of_durable_copies_is_told() {
    let (mut group, entries) = committed();
    assert_eq!(group.commit(), 1);
    group.hold(NodeId::new(1), 2, entries[1].hash());
    group.hold(NodeId::new(1), 2, entries[1].hash());
    assert_eq!(
        name(group.clone().raise((1, 2), None, |_| None, |_| true, |_| ())),
        "CommittedOnQuorum",
        "one voter, twice"
    );
    group.hold(NodeId::new(3), 2, entries[1].hash());
    assert_eq!(name(group.raise((1, 2), None, |_| None, |_| true, |_| ())), "held");
    assert_eq!(name(group.known(3)), "CommittedOnQuorum", "nobody has committed op 3");
    assert_eq!(
        name(group.raise((1, 3), None, |_| None, |_| true, |_| ())),
        "CommittedOnQuorum",
        "nobody has sent op 3"
    );
}

#[test]
fn what_is_committed_stays_and_is_in_the_log_of_every_later_view() {
    let (mut group, entries) = committed();
    let other = chain(&init(3), 2, 2);
    let headers =
        |entries: &[Entry]| -> Vec<EntryHeader> { entries.iter().map(|entry| *entry.header()).collect() };
    let node = NodeId::new(2);
    assert_eq!(name(group.lead(2, 1, other[0].hash())), "CommittedImmutable");
    assert_eq!(name(group.told(1, other[0].hash())), "CommittedImmutable");
    assert_eq!(name(group.told(1, entries[0].hash())), "held");
    assert_eq!(name(group.clone().start(node, 2, &[init(3).genesis()])), "LeaderComplete", "it ends below");
    assert_eq!(
        name(group.clone().start(node, 2, &headers(&other))),
        "LeaderComplete",
        "it goes through another entry"
    );
    assert_eq!(
        name(group.clone().start(node, 2, &headers(&entries))),
        "Intersect",
        "nobody left the views before"
    );
    group.leave(NodeId::new(3), 2);
    assert_eq!(name(group.start(node, 2, &headers(&entries))), "held");
}

#[test]
fn an_entry_that_does_not_follow_the_one_below_is_told() {
    let (mut group, _) = committed();
    let stray = chain(&init(3), 2, 9).remove(1);
    let (hash, parent) = (stray.hash(), stray.header().parent());
    group.see_entry(2, hash, parent, || Payload { is_commands: false, bytes: Bytes::new() });
    for node in [1, 2] {
        group.hold(NodeId::new(node), 2, hash);
    }
    assert_eq!(name(group.lead(1, 2, hash)), "held");
    assert_eq!(name(group.raise((1, 2), None, |_| None, |_| true, |_| ())), "ChainMatch");
}

#[test]
fn a_view_that_too_few_wished_for_is_told() {
    let mut wishes = Wishes::new(&init(5));
    let [one, two, three] = [1, 2, 3].map(NodeId::new);
    assert_eq!(name(wishes.show(one, 1)), "held", "the first view begins by itself");
    wishes.wish(two, 2);
    wishes.wish(two, 2);
    wishes.wish(one, 2);
    assert_eq!(name(wishes.clone().show(one, 2)), "Undisturbed", "one of the others, and itself");
    assert_eq!(name(wishes.clone().show(three, 2)), "held", "who moves needs no message of its own");
    wishes.wish(three, 3);
    assert_eq!(name(wishes.show(one, 2)), "held", "who wishes for a later view wishes for this one too");
    assert_eq!(name(wishes.show(two, 2)), "held", "the others follow");
    assert_eq!(name(wishes.show(one, 3)), "Undisturbed");
}

#[test]
fn a_commit_that_rests_on_acknowledgements_of_another_view_is_told() {
    let mut acks = Acks::new(&init(3), &init(3).voters);
    let [one, two, four] = [1, 2, 4].map(NodeId::new);
    assert_eq!(name(acks.commit(one, (2, 5), None)), "OwnAcks", "the primary alone");
    acks.hear(two, 1, 5);
    acks.hear(one, 2, 5);
    acks.hear(four, 2, 5);
    assert_eq!(name(acks.commit(one, (2, 5), None)), "OwnAcks", "an older view, itself, and who has no vote");
    acks.hear(two, 2, 4);
    assert_eq!(name(acks.commit(one, (2, 5), None)), "OwnAcks", "not so far");
    acks.hear(two, 2, 7);
    assert_eq!(name(acks.commit(one, (2, 5), None)), "held");
    assert_eq!(
        name(Acks::new(&init(1), &[one]).commit(one, (1, 9), None)),
        "held",
        "one voter needs no other"
    );
    (3..40).for_each(|view| acks.hear(two, view, 1));
    assert_eq!(name(acks.commit(one, (2, 9), None)), "held", "what was said so long ago is not known");
    assert_eq!(name(acks.commit(one, (39, 9), None)), "OwnAcks");
}

fn command(client: u128, session: u64, number: u64) -> CommandId {
    CommandId { client, session, number }
}

fn reply(client: u128, number: u64, op: u64, outcome: Outcome) -> Reply {
    let answer = Answer::Committed { op: Op::new(op), outcome };
    Reply {
        group: GroupId::new(0),
        client: ClientId::new(client),
        number: RequestNumber::new(number),
        answer,
    }
}

fn done(body: u8) -> Outcome {
    Outcome::Done(Blob::from(vec![body]))
}

#[test]
fn a_command_is_applied_at_one_op_with_one_outcome() {
    let mut sessions = Sessions::new(&init(3));
    assert!(sessions.commit(1, 0, command(7, 0, 0)));
    assert!(sessions.commit(2, 0, command(7, 1, 1)));
    assert!(!sessions.commit(3, 0, command(7, 1, 1)), "a retry is not executed");
    let registered = Outcome::Registered { session: SessionId::new(1) };
    assert_eq!(name(sessions.reply(&reply(7, 0, 1, registered), 3)), "held");
    assert_eq!(name(sessions.reply(&reply(7, 1, 2, done(1)), 3)), "held");
    assert_eq!(name(sessions.reply(&reply(7, 1, 3, done(1)), 3)), "ApplyOnce");
    assert_eq!(name(sessions.reply(&reply(7, 1, 2, done(2)), 3)), "SameReply");
    assert_eq!(
        name(sessions.reply(&reply(7, 1, 4, done(1)), 3)),
        "ReplyOnlyCommitted",
        "op 4 is not committed"
    );
    assert_eq!(name(sessions.reply(&reply(7, 2, 3, done(1)), 3)), "ReplyOnlyCommitted", "nobody asked that");
    assert_eq!(name(sessions.reply(&reply(7, 1, 2, Outcome::Evicted), 3)), "EvictDeterministic");
}

#[test]
fn a_reply_from_long_ago_is_no_violation_and_a_false_one_is() {
    let mut sessions = Sessions::new(&init(3));
    assert!(sessions.commit(1, 0, command(7, 0, 0)));
    for number in 1..=1000 {
        assert!(sessions.commit(1 + number, 0, command(7, 1, number)));
    }
    assert_eq!(name(sessions.reply(&reply(7, 5, 6, done(1)), 1001)), "held", "a paused primary tells late");
    assert_eq!(name(sessions.reply(&reply(7, 900, 901, done(1)), 1001)), "held");
    assert_eq!(name(sessions.reply(&reply(7, 900, 902, done(1)), 1001)), "ApplyOnce");
    assert_eq!(name(sessions.reply(&reply(7, 1001, 1001, done(1)), 1001)), "ReplyOnlyCommitted");
    assert_eq!(
        name(sessions.reply(&reply(7, 900, 3, done(1)), 1001)),
        "ReplyOnlyCommitted",
        "it was at op 901"
    );
}

#[test]
fn the_session_used_least_recently_makes_room() {
    let mut sessions = Sessions::new(&init(3));
    assert!(sessions.commit(1, 0, command(1, 0, 0)));
    assert!(sessions.commit(1, 1, command(2, 0, 0)));
    assert!(sessions.commit(2, 0, command(1, 1, 1)));
    assert!(sessions.commit(3, 0, command(3, 0, 0)), "the second client goes");
    assert!(!sessions.commit(4, 0, command(2, 1, 1)), "the evicted never execute");
    assert!(sessions.commit(5, 0, command(1, 1, 2)));
    assert!(!sessions.commit(6, 0, command(1, 1, 4)), "a number is left out");
    assert!(sessions.commit(7, 0, command(2, 0, 0)), "it may register again");
    assert!(!sessions.commit(8, 0, command(2, 1, 1)), "under its old session it is nobody");
    assert!(sessions.commit(9, 0, command(2, 7, 1)));
}

fn asked(client: u128, number: u64, body: &RegisterCommand) -> Command {
    let (client, session) = (ClientId::new(client), SessionId::new(1));
    Command { client, session, number: RequestNumber::new(number), body: Blob::from(codec::encode(body)) }
}

#[test]
fn a_stale_read_is_told_whatever_the_log_says() {
    let key = Blob::from(b"r".to_vec());
    let value = Blob::from(b"v".to_vec());
    let write = asked(1, 1, &RegisterCommand::Write { key: key.clone(), value: value.clone() });
    let read = asked(2, 1, &RegisterCommand::Read { key });
    let judged = |seen: Option<Blob>, order: [u128; 2]| {
        let mut history = History::new(&init(3)).expect("registers are known");
        let answer = |answer: &RegisterAnswer| Outcome::Done(Blob::from(codec::encode(answer)));
        history.invoke(1, &write);
        history.answer(1, &answer(&RegisterAnswer::Written));
        history.invoke(2, &read);
        history.answer(2, &answer(&RegisterAnswer::Value(seen)));
        for (op, client) in (1..).zip(order) {
            history.commit(op, command(client, 1, 1));
        }
        let broken = history.judge();
        broken.iter().map(|broken| broken.invariant).collect::<Vec<_>>()
    };
    assert_eq!(judged(Some(value.clone()), [1, 2]), Vec::<&str>::new());
    assert_eq!(
        judged(Some(value), [2, 1]),
        Vec::<&str>::new(),
        "the search finds the order that the log does not show"
    );
    assert_eq!(judged(None, [1, 2]), ["Linearizable"]);
    assert_eq!(judged(None, [2, 1]), ["Linearizable"], "an order that real time forbids proves nothing");
}

#[test]
fn a_read_beside_the_log_that_shows_too_little_is_told() {
    let (key, value) = (Blob::from(b"r".to_vec()), Blob::from(b"v".to_vec()));
    let write = asked(1, 1, &RegisterCommand::Write { key: key.clone(), value: value.clone() });
    let question = Blob::from(codec::encode(&BuiltinQuery::Value { key: key.clone() }));
    let judged = |seen: Option<Blob>| {
        let mut history = History::new(&init(3)).expect("registers are known");
        history.invoke(1, &write);
        history.answer(1, &Outcome::Done(Blob::from(codec::encode(&RegisterAnswer::Written))));
        history.ask(1, &question, Freshness::Linearizable);
        history.tell(1, Op::new(1), &Blob::from(codec::encode(&BuiltinView::Value(seen))));
        // Nobody hears the answer to this one.
        history.ask(2, &question, Freshness::Linearizable);
        history.commit(1, command(1, 1, 1));
        let broken = history.judge();
        (broken.iter().map(|broken| broken.invariant).collect::<Vec<_>>(), history.compared)
    };
    assert_eq!(judged(Some(value)), (Vec::new(), 2));
    assert_eq!(judged(None).0, ["Linearizable", "ReadAsOf"]);
}

#[test]
fn a_read_that_shows_another_state_than_that_of_its_op_is_told() {
    let key = Blob::from(b"r".to_vec());
    let value = |text: &str| Blob::from(text.as_bytes().to_vec());
    let question = Blob::from(codec::encode(&BuiltinQuery::Value { key: key.clone() }));
    let judged = |freshness: Freshness, op: u64, seen: Option<&str>| {
        let mut history = History::new(&init(3)).expect("registers are known");
        for (number, text) in [(1, "v"), (2, "w")] {
            let command = asked(1, number, &RegisterCommand::Write { key: key.clone(), value: value(text) });
            history.invoke(number, &command);
            history.answer(number, &Outcome::Done(Blob::from(codec::encode(&RegisterAnswer::Written))));
        }
        // Nobody hears what becomes of a third, which finds another value than it expects.
        let swap = RegisterCommand::CompareAndSet {
            key: key.clone(),
            expected: Some(value("v")),
            value: value("x"),
        };
        history.invoke(3, &asked(1, 3, &swap));
        history.ask(1, &question, freshness);
        history.tell(1, Op::new(op), &Blob::from(codec::encode(&BuiltinView::Value(seen.map(value)))));
        (1..=3).for_each(|number| history.commit(number, command(1, 1, number)));
        let broken = history.judge();
        (broken.iter().map(|broken| broken.invariant).collect::<Vec<_>>(), history.read_as_of)
    };
    for (op, seen) in [(0, None), (1, Some("v")), (2, Some("w")), (3, Some("w"))] {
        assert_eq!(judged(Freshness::Stale, op, seen), (Vec::new(), 1), "as of op {op}");
    }
    for (op, seen) in [(0, Some("v")), (1, Some("w")), (2, Some("v")), (3, Some("x"))] {
        assert_eq!(judged(Freshness::Stale, op, seen).0, ["ReadAsOf"], "as of op {op}");
    }
    assert_eq!(judged(Freshness::Linearizable, 1, Some("w")).0, ["ReadAsOf"], "the state is new enough");
    assert_eq!(judged(Freshness::Linearizable, 1, Some("v")).0, ["Linearizable"], "the label is right");
}

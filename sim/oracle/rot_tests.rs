//! The oracles of rot and of failing disks: each tells what is wrong, and lets what is right be.

use bytes::Bytes;
use chronon_core::consensus::{DoViewChange, SuffixEntry, VsrMessage};
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, EngineConfig, FileId};
use chronon_core::node::{
    Effect, HaltReason, Input, Limits, Message, Node, NodeConfig, NodeStatus, Timeouts,
};
use chronon_core::types::{Blob, EntryHeader, GroupId, NodeId, Now, Op, View};

use super::replication_tests::{FILE, init, real_writes};
use super::{FailStop, Observed, Oracle, Replication, RotRepaired, Stall, Violation};
use crate::journal::{self, EntryRecord, Proven, RecordKind};
use crate::time::WorldTime;

const NODE: NodeId = NodeId::new(1);
const GROUP: GroupId = GroupId::new(0);
const VIEW: u64 = 1;

/// The oracle after a node of one voter wrote its journal, and what it wrote.
fn written() -> (Replication, Vec<(u64, Bytes)>) {
    let (mut oracle, writes) = (Replication::default(), real_writes());
    see(
        &mut oracle,
        &Observed::Begin {
            nodes: &[NODE],
            groups: &[init(1)],
            limits: &Limits::default(),
            timeouts: &Timeouts::default(),
        },
    );
    let mut ids = (1..).map(DiskOpId);
    for (offset, data) in &writes {
        let id = ids.next().expect("there are more");
        let op = DiskOp::Write { id, file: FILE, offset: *offset, data: Blob(data.clone()) };
        see(&mut oracle, &Observed::DiskSubmitted { node: NODE, op: &op });
        let id = ids.next().expect("there are more");
        see(&mut oracle, &Observed::DiskSubmitted { node: NODE, op: &DiskOp::Barrier { id } });
        let done = DiskDone { id, outcome: DiskOutcome::Done };
        see(&mut oracle, &Observed::DiskCompleted { node: NODE, done: &done });
    }
    (oracle, writes)
}

fn see(oracle: &mut dyn Oracle, seen: &Observed<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    oracle.observe(WorldTime::ZERO, seen, &mut found);
    found.iter().map(|Violation { invariant, .. }| *invariant).collect()
}

/// The flush with the entry of this op, where it lies, and the entry.
fn flush_of(op: u64, writes: &[(u64, Bytes)]) -> (u64, Bytes, EntryRecord) {
    let found = writes.iter().find_map(|(offset, data)| {
        let flush = journal::read(data, *offset, &mut Proven::default()).expect("a flush")?;
        flush.records.into_iter().find_map(|record| match record.kind {
            RecordKind::Entry(entry) if entry.op == op => Some((*offset, data.clone(), entry)),
            _ => None,
        })
    });
    found.expect("the node wrote it")
}

/// The payload of op 2 rots.
fn rot(oracle: &mut Replication, writes: &[(u64, Bytes)]) -> EntryRecord {
    let (offset, flush, entry) = flush_of(2, writes);
    let harmed = entry.at..entry.at + 1;
    assert_eq!(
        see(oracle, &Observed::Rot { node: NODE, file: FILE, offset, flush: &flush, harmed }),
        [""; 0]
    );
    entry
}

/// What the oracle says when the node sends a message.
fn say(oracle: &mut Replication, body: VsrMessage) -> Vec<&'static str> {
    let effects = [Effect::Send { to: NodeId::new(2), message: Message::Group { group: GROUP, body } }];
    see(oracle, &Observed::Step { node: NODE, effects: &effects, status: &idle(), changed: &[] })
}

/// The status of a node that has not started.
fn idle() -> NodeStatus {
    let config = NodeConfig {
        cluster: init(1).cluster,
        node: NODE,
        engine: EngineConfig::default(),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
    };
    Node::new(config, chronon_core::builtin::Builtin, [3; 32]).status()
}

#[test]
fn who_acknowledges_a_faulty_entry_is_told() {
    let (mut oracle, writes) = written();
    let entry = rot(&mut oracle, &writes);
    let (view, op) = (View::new(VIEW), Op::new(2));
    let acknowledge = VsrMessage::PrepareOk { view, from: op, to: op, hash: entry.hash };
    assert_eq!(say(&mut oracle, acknowledge.clone()), [""; 0], "the process that runs has it in memory");
    see(&mut oracle, &Observed::Start { node: NODE, boot: 2 });
    assert_eq!(say(&mut oracle, acknowledge.clone()), ["FaultySilent"]);
    let below = flush_of(1, &writes).2;
    let acknowledge = VsrMessage::PrepareOk { view, from: Op::new(1), to: Op::new(1), hash: below.hash };
    assert_eq!(say(&mut oracle, acknowledge.clone()), [""; 0], "op 1 is whole");
}

#[test]
fn who_calls_a_faulty_entry_present_or_nacks_it_is_told() {
    let (mut oracle, writes) = written();
    rot(&mut oracle, &writes);
    let header: EntryHeader = header_of(2, &writes);
    let message = |present, nack| {
        let (view, log_view) = (View::new(VIEW), View::new(VIEW));
        let suffix = vec![SuffixEntry { header, present, nack }];
        VsrMessage::DoViewChange(DoViewChange { view, log_view, commit: Op::GENESIS, suffix })
    };
    assert_eq!(say(&mut oracle, message(true, false)), [""; 0], "it was not read since");
    see(&mut oracle, &Observed::Start { node: NODE, boot: 2 });
    assert_eq!(say(&mut oracle, message(true, false)), ["FaultySilent"]);
    assert_eq!(say(&mut oracle, message(false, true)), ["NackSound"]);
    assert_eq!(say(&mut oracle, message(false, false)), [""; 0]);
}

/// The header of the entry of this op, from its line in the directory of its flush.
fn header_of(op: u64, writes: &[(u64, Bytes)]) -> EntryHeader {
    let (_, flush, entry) = flush_of(op, writes);
    let mut found = (0..flush.len()).filter_map(|at| EntryHeader::from_layout(&flush[at..]).ok());
    found.find(|header| header.hash() == entry.hash).expect("the directory has it")
}

#[test]
fn a_stall_for_want_of_an_entry_that_somebody_has_is_told() {
    let (mut oracle, writes) = written();
    let stalled = |op, halted: &[NodeId], oracle: &mut Replication| {
        see(oracle, &Observed::Stalled { stalls: &[Stall { group: GROUP, op: Op::new(op) }], halted })
    };
    assert_eq!(stalled(2, &[], &mut oracle), ["Heals"], "it is whole on a disk");
    rot(&mut oracle, &writes);
    see(&mut oracle, &Observed::Start { node: NODE, boot: 2 });
    assert_eq!(stalled(2, &[], &mut oracle), [""; 0], "nobody has it any more");
    assert_eq!(stalled(3, &[], &mut oracle), ["Heals"], "op 3 rotted nowhere");
}

#[test]
fn who_reads_rot_twice_and_does_not_write_it_again_is_told() {
    let (_, writes) = written();
    let (offset, flush, entry) = flush_of(2, &writes);
    let told = |outcomes: &[DiskOutcome], writes_again: bool, ends: u64| {
        let mut oracle = RotRepaired::default();
        let harmed = entry.at..entry.at + 1;
        see(&mut oracle, &Observed::Rot { node: NODE, file: FILE, offset, flush: &flush, harmed });
        for (id, outcome) in (1..).map(DiskOpId).zip(outcomes) {
            // Of more than the flush: a read that fails does not tell which part of it cannot be read.
            let op = DiskOp::Read { id, file: FILE, offset: 0, bytes: 1 << 20 };
            see(&mut oracle, &Observed::DiskSubmitted { node: NODE, op: &op });
            let done = DiskDone { id, outcome: outcome.clone() };
            see(&mut oracle, &Observed::DiskCompleted { node: NODE, done: &done });
        }
        if writes_again {
            let op = DiskOp::Write { id: DiskOpId(9), file: FILE, offset, data: Blob(flush.clone()) };
            see(&mut oracle, &Observed::DiskSubmitted { node: NODE, op: &op });
        }
        let mut found = Vec::new();
        oracle.observe(WorldTime::from_nanos(ends), &Observed::End, &mut found);
        found.iter().map(|Violation { invariant, .. }| *invariant).collect::<Vec<_>>()
    };
    let (read, failed) = (DiskOutcome::Read(Blob::default()), DiskOutcome::Failed);
    assert_eq!(told(&[read.clone(), read.clone()], false, 5_000_000_000), ["RotRepaired"]);
    assert_eq!(told(&[read.clone(), read.clone()], true, 5_000_000_000), [""; 0], "it was written again");
    assert_eq!(told(&[read.clone(), read.clone()], false, 1_000_000_000), [""; 0], "it may still do so");
    assert_eq!(told(std::slice::from_ref(&read), false, 5_000_000_000), [""; 0], "a read may lie");
    assert_eq!(told(&[read, failed], false, 5_000_000_000), [""; 0], "nobody knows what could not be read");
}

#[test]
fn who_stops_for_want_of_space_is_told() {
    let status = idle();
    let halts = [Effect::Halt(HaltReason::Storage { what: "no space is left".into() })];
    let after = |outcome| {
        let mut oracle = FailStop::default();
        let input = Input::Disk(DiskDone { id: DiskOpId(1), outcome });
        see(&mut oracle, &Observed::Input { node: NODE, boot: 1, now: Now::default(), input: &input });
        see(&mut oracle, &Observed::Step { node: NODE, effects: &halts, status: &status, changed: &[] })
    };
    assert_eq!(after(DiskOutcome::Full), ["FullDiskPrefix"]);
    assert_eq!(after(DiskOutcome::Done), [""; 0], "it has another reason");
}

#[test]
fn who_goes_on_after_a_disk_operation_failed_is_told() {
    let status = idle();
    let go_on = [Effect::Disk(DiskOp::Barrier { id: DiskOpId(9) })];
    let after = |failed: &DiskOp, effects: &[Effect]| {
        let mut oracle = FailStop::default();
        see(&mut oracle, &Observed::DiskSubmitted { node: NODE, op: failed });
        let done = DiskDone { id: failed.id(), outcome: DiskOutcome::Failed };
        let (now, input) = (Now::default(), Input::Disk(done));
        see(&mut oracle, &Observed::Input { node: NODE, boot: 1, now, input: &input });
        let step = Observed::Step { node: NODE, effects, status: &status, changed: &[] };
        let told = see(&mut oracle, &step);
        see(&mut oracle, &Observed::Start { node: NODE, boot: 2 });
        assert_eq!(see(&mut oracle, &step), [""; 0], "its next process knows nothing of it");
        told
    };
    let id = DiskOpId(1);
    assert_eq!(after(&DiskOp::Barrier { id }, &go_on), ["FailStop"]);
    assert_eq!(
        after(&DiskOp::Barrier { id }, &[Effect::Halt(HaltReason::Disk { what: "a barrier failed".into() })]),
        [""; 0]
    );
    let read = DiskOp::Read { id, file: FileId::Segment(0), offset: 0, bytes: 4096 };
    assert_eq!(after(&read, &go_on), [""; 0], "a read that fails is asked again");
}
